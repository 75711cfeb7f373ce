"""What came of a run, as one digest for each kind of row, so that ways can be held against each other row by row.

Equal digests mean equal rows in equal order; what may differ (times, numbers that a database gives, the spelling of
equal JSON) is left out.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson

from tests.bench import people
from tests.bench.grounds import database, opened, pages
from tests.bench.measure import Said

TASK = "expert-tags"


def requests(data: Path) -> Said:
    """Return digests of the request lines, parsed, and of the claims, both in their order, in however many batches."""
    files = sorted(data.glob("batches/*-requests.jsonl"))
    lines = (orjson.loads(line) for path in files for line in path.open("rb"))
    claims = _rows(data, "SELECT task, item_id, input_hash, open, outcome FROM findable_requests ORDER BY batch, line")
    return {"lines": digest(lines), "claims": digest(claims)}


def _rows(data: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(database(data))) as connection:
        return connection.execute(sql).fetchall()


def ingest(data: Path) -> Said:
    """Return digests of tags and scores, answers, attempts, claims, and the batch's account."""
    return ingested(lambda sql: _rows(data, sql))


def ingested(execute: Callable[[str], Iterable[Any]]) -> Said:
    """Return the same of a database that `execute` asks; both kinds understand these words."""
    everyone = execute("SELECT id, tags, findability_score FROM experts ORDER BY id")
    answers = execute(
        "SELECT task, item_id, batch, extractor, input_hash, answer, applied, outdated, model_version, response_id,"
        " tokens_in, tokens_out, cost FROM findable_answers ORDER BY CAST(item_id AS INTEGER), id"
    )
    attempts = execute(
        "SELECT task, item_id, batch, charged, forgiven, outcome, reason, code, tokens_in, tokens_out, cost"
        " FROM findable_attempts ORDER BY CAST(item_id AS INTEGER), id"
    )
    claims = execute("SELECT item_id, line, open, outcome, reason FROM findable_requests ORDER BY batch, line")
    account = execute(
        "SELECT state, answered, refused, invalid, missing, not_applied, unknown, duplicates, unreadable,"
        " tokens_in, tokens_out, cost FROM findable_batches LEFT JOIN findable_batch_accounts ON batch = number"
    )
    return {
        "experts": digest((one, parsed(tags), score) for one, tags, score in everyone),
        "answers": digest(
            (*row[:5], parsed(row[5]), *map(int, row[6:8]), *row[8:12], round(row[12], 9)) for row in answers
        ),
        "attempts": digest(
            (*row[:3], *map(int, row[3:5]), row[5], word(row[6]), *row[7:10], round(row[10], 9)) for row in attempts
        ),
        "claims": digest((*row[:2], int(row[2]), row[3], word(row[4])) for row in claims),
        "account": [[*row[:11], round(round(row[11], 9), 6)] for row in account],  # nine first, as it is stored
    }


def passages(data: Path) -> Said:
    """Return digests of the concepts of passages, and of what became of each request."""
    sql = "SELECT passage_id, extractor_version, concept_name, evidence FROM passage_concepts ORDER BY 1, 2, 3"
    return {
        "concepts": digest((*row[:3], parsed(row[3])) for row in _rows(data, sql)),
        "claims": digest(_rows(data, "SELECT item_id, open, outcome, reason FROM findable_requests ORDER BY item_id")),
    }


def score(data: Path) -> Said:
    """Return a digest of every person's score."""
    return {"scores": digest(_rows(data, "SELECT id, round(findability_score, 6) FROM experts ORDER BY id"))}


def index(data: Path) -> Said:
    """Return a digest of the metadata, and whether each vector is the one of its person, to six digits."""
    import faiss
    import numpy as np

    found = faiss.read_index(str(data / "faiss.index"), faiss.IO_FLAG_MMAP_IFC)
    metadata = orjson.loads((data / "metadata.json").read_bytes())
    wrong, first = 0, 0
    with opened(data) as ws, ws.store.read() as tx:
        for page in pages(ws.collection.entries(tx)):
            wanted = people.vectors([entry.text for entry in page])
            stored = found.reconstruct_n(first, len(page))
            wrong += int((~np.isclose(wanted, stored, atol=1e-6).all(axis=1)).sum())
            first += len(page)
    return {"count": found.ntotal, "people": first, "wrong vectors": wrong, "metadata": digest(metadata)}


def digest(rows: Iterable[Any]) -> str:
    """Return how many rows there are, and the SHA-256 of all of them as JSON."""
    sha, count = hashlib.sha256(), 0
    for row in rows:
        sha.update(json.dumps(row, sort_keys=True).encode())
        count += 1
    return f"{count} {sha.hexdigest()}"


def word(reason: str) -> str:
    """Return the first word of a reason, which is what is compared; the rest is a library's own wording."""
    return reason.partition(":")[0]


def parsed(text: str | None) -> Any:
    """Return JSON text as what it says; NULL is None."""
    return None if text is None else orjson.loads(text)
