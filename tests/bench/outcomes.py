"""What came of a run, as one digest for each kind of row, so that ways can be held against each other row by row.

Equal digests mean equal rows in equal order; what may differ (times, numbers that a database gives, the spelling of
equal JSON) is left out.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson

from tests.bench.grounds import database, opened, pages
from tests.bench.measure import Said

TASK = "expert-tags"


def requests(data: Path) -> Said:
    """Return digests of the request lines, parsed, in their order, and of the claims."""
    files = sorted(data.glob("batches/*-requests.jsonl"))
    lines = (orjson.loads(line) for path in files for line in path.open("rb"))
    with closing(sqlite3.connect(database(data))) as connection:
        claims = connection.execute(
            "SELECT task, item_id, input_hash, line, batch, open, outcome FROM findable_requests ORDER BY batch, line"
        )
        return {"lines": digest(lines), "claims": digest(claims)}


def ingest(data: Path) -> Said:
    """Return digests of tags and scores, answers, attempts, claims, and the batch's account."""
    with closing(sqlite3.connect(database(data))) as connection:
        everyone = connection.execute("SELECT id, tags, findability_score FROM experts ORDER BY id")
        answers = connection.execute(
            "SELECT task, item_id, batch, extractor, input_hash, answer, applied, outdated, model_version, response_id,"
            " tokens_in, tokens_out, round(cost, 9) FROM findable_answers ORDER BY CAST(item_id AS INTEGER), id"
        )
        attempts = connection.execute(
            "SELECT task, item_id, batch, charged, forgiven, outcome,"
            " substr(reason, 1, instr(reason || ':', ':') - 1), code, tokens_in, tokens_out, round(cost, 9)"
            " FROM findable_attempts ORDER BY CAST(item_id AS INTEGER), id"
        )
        claims = connection.execute(
            "SELECT item_id, line, open, outcome, substr(reason, 1, instr(reason || ':', ':') - 1)"
            " FROM findable_requests ORDER BY batch, line"
        )
        account = connection.execute(
            "SELECT state, answered, refused, invalid, missing, not_applied, unknown, duplicates, unreadable,"
            " tokens_in, tokens_out, round(cost, 6) FROM findable_batches"
        )
        return {
            "experts": digest((one, parsed(tags), score) for one, tags, score in everyone),
            "answers": digest((*row[:5], parsed(row[5]), *row[6:]) for row in answers),
            "attempts": digest(attempts),
            "claims": digest(claims),
            "account": [list(row) for row in account],
        }


def score(data: Path) -> Said:
    """Return a digest of everybody's score."""
    with closing(sqlite3.connect(database(data))) as connection:
        rows = connection.execute("SELECT id, round(findability_score, 6) FROM experts ORDER BY id")
        return {"scores": digest(rows)}


def index(data: Path) -> Said:
    """Return a digest of the metadata, and whether each vector is the one of its person, to six digits."""
    import faiss
    import numpy as np

    found = faiss.read_index(str(data / "faiss.index"), faiss.IO_FLAG_MMAP_IFC)
    metadata = orjson.loads((data / "metadata.json").read_bytes())
    wrong, first = 0, 0
    with opened(data) as rt, rt.store.read() as tx:
        from tests.bench import people

        for page in pages(rt.collection.entries(tx)):
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


def parsed(text: str | None) -> Any:
    """Return JSON text as what it says; NULL is None."""
    return None if text is None else orjson.loads(text)
