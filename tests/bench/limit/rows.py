"""What is done to rows, at the limit: one process that does the least for them, one transaction, no wait for the disk.

Request lines are spliced between constant bytes as rows are read; results are sorted beforehand, parsed and not
validated; scores are one statement. Nothing is checked, estimated or limited, and nothing else may work there.
"""

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from tests.bench.grounds import PRICE_IN, PRICE_OUT, database
from tests.bench.measure import Said, Timed

_SELECT = (
    "SELECT id, username, coalesce(job_title, ''), bio FROM experts WHERE tags IS NULL AND bio IS NOT NULL ORDER BY id"
)
_CLAIM = (
    "INSERT INTO findable_requests (task, item_id, batch, line, input_hash, open, at)"
    " VALUES ('expert-tags', ?, 1, ?, ?, 1, '2026-11-20 08:00:00.000000')"
)
BATCH = (
    "INSERT INTO findable_batches (number, task, extractor, model, state, created_at, requests, request_file,"
    " request_sha256, request_size, estimated_in, estimated_out, estimated_cost, priced_on) VALUES"
    " (1, 'expert-tags', '', '', 'prepared', '2026-11-20 08:00:00.000000', ?, '', ?, 0, 0, 0, 0, '')"
)
_ROWS = (
    "SELECT r.id, r.item_id, r.input_hash, e.bio, e.profile_url, e.job_title, e.hourly_rate"
    " FROM findable_requests AS r JOIN experts AS e ON e.id = r.item_id ORDER BY r.batch, r.line"
)
_TAG = "UPDATE experts SET tags = ?, findability_score = ? WHERE id = ?"
_CLOSE = "UPDATE findable_requests SET open = 0, outcome = ?, reason = ? WHERE id = ?"
ANSWER = (
    "INSERT INTO findable_answers (task, item_id, batch, extractor, input_hash, answer, applied, outdated,"
    " model_version, response_id, tokens_in, tokens_out, cost, at)"
    " VALUES ('expert-tags', ?, ?, 'expert-tags@2/gemini-3.5-flash-lite', ?, ?, 1, 0, ?, ?, ?, ?, ?, '2026-11-20')"
)
ATTEMPT = (
    "INSERT INTO findable_attempts (task, item_id, batch, at, charged, forgiven, outcome, reason, code, excerpt,"
    " tokens_in, tokens_out, cost) VALUES ('expert-tags', ?, ?, '2026-11-20', 1, 0, ?, ?, ?, ?, ?, ?, ?)"
)
FINISH = (
    "INSERT INTO findable_batch_accounts (batch, answered, refused, invalid, missing, not_applied, unknown, duplicates,"
    " unreadable, tokens_in, tokens_out, cost) VALUES (?, ?, ?, ?, 0, 0, 0, ?, 0, ?, ?, ?)"
)
CHUNK = 5000
_UPDATE = """
UPDATE experts SET findability_score = round(
    min(40.0, length(trim(coalesce(bio, ''))) / 500.0 * 40)
    + CASE WHEN coalesce(tags, '[]') NOT IN ('', '[]', 'null') THEN 25 ELSE 0 END
    + CASE WHEN trim(coalesce(profile_url, '')) != '' THEN 15 ELSE 0 END
    + CASE WHEN trim(coalesce(job_title, '')) != '' THEN 10 ELSE 0 END
    + CASE WHEN coalesce(hourly_rate, 0) > 0 THEN 10 ELSE 0 END, 1)
"""


def connected(data: Path) -> sqlite3.Connection:
    """Return a connection that is in no other's way and promises nothing: what it wrote may be lost with the power."""
    connection = sqlite3.connect(database(data), isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -262144")
    return connection


def line_end() -> bytes:
    """Return what stands behind the text in every line."""
    from pipeline.experts.prompts import CURRENT
    from pipeline.experts.tags_rows import MAX_OUTPUT_TOKENS
    from pipeline.gemini.schema import response_schema

    schema = orjson.dumps(response_schema(CURRENT.answer)).decode()
    return (
        '}]}],"systemInstruction":{"parts":[{"text":'
        + orjson.dumps(CURRENT.system).decode()
        + '}]},"generationConfig":{"responseMimeType":"application/json","responseSchema":'
        + schema
        + f',"maxOutputTokens":{MAX_OUTPUT_TOKENS},"thinkingConfig":{{"thinkingLevel":"MINIMAL"}}}}}}}}\n'
    ).encode()


def requests(data: Path) -> Timed:
    """Make the bytes that every line has in common, and open the database twice: to read and to write."""
    reading, writing = connected(data), connected(data)
    rest = line_end()

    def run() -> Said:
        digest, sha = hashlib.sha256(), hashlib.sha256
        path = data / "batches" / "000001-requests.jsonl"
        path.parent.mkdir(exist_ok=True)

        def claims() -> Iterator[tuple[Any, ...]]:
            with path.open("wb", buffering=1 << 20) as file:
                for line, (one, username, title, bio) in enumerate(reading.execute(_SELECT), start=1):
                    told = (
                        f"<username>{username}</username>\n<job_title>{title}</job_title>\n<biography>{bio}</biography>"
                    )
                    raw = b'{"key":"expert-tags/%d","request":{"contents":[{"role":"user","parts":[{"text":%b%b' % (
                        one,
                        orjson.dumps(told),
                        rest,
                    )
                    file.write(raw)
                    digest.update(raw)
                    who = sha(username.encode()).hexdigest()[:16]
                    yield str(one), line, f"{who}:{sha(told.encode()).hexdigest()}"
                file.flush()
                os.fsync(file.fileno())

        writing.execute("BEGIN")
        writing.execute("PRAGMA defer_foreign_keys = ON")
        count = writing.executemany(_CLAIM, claims()).rowcount
        writing.execute(BATCH, (count, digest.hexdigest()))
        writing.execute("COMMIT")
        return {}

    return run


def ingest(data: Path) -> Timed:
    """Write a sorted copy of the result file, which is not measured, and open the database."""
    path = next((data / "batches").glob("*-results.jsonl"))
    lines = path.read_bytes().splitlines()
    keys = [int(orjson.loads(line)["key"].partition("/")[2]) for line in lines]
    ordered = path.with_suffix(".sorted")
    order = sorted(range(len(lines)), key=keys.__getitem__)
    ordered.write_bytes(b"\n".join([lines[place] for place in order]) + b"\n")
    del lines, keys, order
    reading, writing = connected(data), connected(data)

    def run() -> Said:
        tags, closed, answers, attempts = [], [], [], []
        counts = {"answered": 0, "refused": 0, "invalid": 0}
        duplicates, used = 0, [0, 0, 0.0]
        documents = _documents(ordered)
        document = next(documents)
        writing.execute("BEGIN")
        for request, item_id, digest, bio, url, title, rate in reading.execute(_ROWS):
            key, now = f"expert-tags/{item_id}", document
            while (document := next(documents, {"key": ""}))["key"] == key:
                duplicates += 1
            outcome, row, tokens = judged(now, _tags_of)
            counts[outcome] += 1
            for place, amount in enumerate(tokens):
                used[place] += amount
            if outcome == "answered":
                tags.append((row[0], points(bio, url, title, rate), item_id))
                closed.append((outcome, "ok", request))
                answers.append((item_id, 1, digest, *row[1:], *tokens))
            else:
                closed.append((outcome, row[0], request))
                attempts.append((item_id, 1, outcome, *row, *tokens))
            if len(closed) == CHUNK:
                _write(writing, tags, closed, answers, attempts)
        _write(writing, tags, closed, answers, attempts)
        writing.execute("UPDATE findable_batches SET state = 'ingested'")
        writing.execute(FINISH, (1, *counts.values(), duplicates, *used))
        writing.execute("COMMIT")
        return {"rows": sum(counts.values())}

    return run


def _documents(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        for line in file:
            yield orjson.loads(line)


def points(bio: str, url: str | None, title: str | None, rate: float | None) -> float:
    """Return the score of a person with tags."""
    told = (15 if url else 0) + (10 if title else 0) + (10 if rate else 0)
    return round(min(40.0, len(bio) / 500 * 40) + 25 + told, 1)


def judged(document: Any, tags_of: Callable[[str], str]) -> tuple[str, tuple[Any, ...], tuple[int, int, float]]:
    """Return what a line says: the outcome, the values of its row, and what it used."""
    if "error" in document:
        return "refused", ("error-line", document["error"]["code"], document["error"]["message"]), (0, 0, 0.0)
    response = document["response"]
    usage = response["usageMetadata"]
    tokens = usage["promptTokenCount"], usage["candidatesTokenCount"]
    spent = (*tokens, (tokens[0] * PRICE_IN + tokens[1] * PRICE_OUT) / 1_000_000)
    text = response["candidates"][0]["content"]["parts"][0]["text"]
    try:
        tags = tags_of(text)
    except ValueError:
        return "invalid", ("does-not-parse", None, text), spent
    return "answered", (tags, text, response["modelVersion"], response["responseId"]), spent


def _tags_of(text: str) -> str:
    return orjson.dumps(orjson.loads(text)["tags"]).decode()


def _write(writing: Any, tags: list[Any], closed: list[Any], answers: list[Any], attempts: list[Any]) -> None:
    for statement, rows in ((_TAG, tags), (_CLOSE, closed), (ANSWER, answers), (ATTEMPT, attempts)):
        writing.executemany(statement, rows)
        rows.clear()


def score(data: Path) -> Timed:
    """Open the database."""
    connection = connected(data)

    def run() -> Said:
        connection.execute("BEGIN")
        rows = connection.execute(_UPDATE).rowcount
        connection.execute("COMMIT")
        return {"rows": rows}

    return run
