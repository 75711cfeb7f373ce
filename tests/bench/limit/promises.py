"""What is done to rows, at the limit with promises: one process that does what each promise needs, and nothing for it.

What is given up is everything else: any other task, table, server, language or model, limits, budgets, lost lines,
equal items, a bar, the message to a person. What is kept: rows are asked and answered once, whatever else works there
(guarded statements, one writer, claims all or none, after the file is sealed), every commit and file is on disk, texts
are held against the answer's own model by pydantic-core, an answer against the text that was asked, each line and
question by its hash, memory is flat, and where it is killed it goes on.
"""

import hashlib
import json
import math
import os
import sqlite3
from array import array
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from tests.bench.grounds import database
from tests.bench.limit import rows
from tests.bench.measure import Said, Timed

_SELECT = (
    "SELECT id, username, coalesce(job_title, ''), bio FROM experts AS e WHERE tags IS NULL AND trim(bio) != ''"
    " AND NOT EXISTS (SELECT 1 FROM findable_requests AS r WHERE r.task = 'expert-tags' AND r.item_id = e.id || ''"
    " AND r.open) AND NOT EXISTS (SELECT 1 FROM findable_parked AS p WHERE p.task = 'expert-tags'"
    " AND p.item_id = e.id || '') ORDER BY id"
)
_CLAIM = (
    "INSERT INTO findable_requests (task, item_id, batch, line, input_hash, open, at, question)"
    " VALUES ('expert-tags', ?, 1, ?, ?, 1, '2026-11-20 08:00:00.000000', ?)"
)
_FREE = (
    "SELECT count(*) FROM findable_requests AS r JOIN experts AS e ON e.id = r.item_id"
    " WHERE r.batch = 1 AND e.tags IS NULL AND trim(e.bio) != ''"
)
_ROWS = (
    "SELECT r.id, r.line, r.item_id, r.input_hash, e.username, coalesce(e.job_title, ''), e.bio, e.profile_url,"
    " e.hourly_rate FROM findable_requests AS r JOIN experts AS e ON e.id = r.item_id"
    " WHERE r.batch = ? AND r.line > ? AND r.outcome IS NULL ORDER BY r.line LIMIT 2000"
)
_CLOSE = "UPDATE findable_requests SET open = 0, outcome = ?, reason = ? WHERE id = ? AND outcome IS NULL"
_TAG = "UPDATE experts SET tags = ?, findability_score = ? WHERE id = ? AND tags IS NULL"
_LINE = b'{"key":"expert-tags/%d","request":{"contents":[{"role":"user","parts":[{"text":%b%b'
_BLOCK = 500
_PER_TOKEN = 4


def connected(data: Path) -> sqlite3.Connection:
    """Return a connection whose commits are on disk."""
    connection = sqlite3.connect(database(data), isolation_level=None)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def requests(data: Path) -> Timed:
    """Make the bytes that every line has in common, and open the database twice: to read and to write."""
    reading, writing, rest = connected(data), connected(data), rows.line_end()
    asked = hashlib.sha256(rest)  # with each question, the digest of what it asks

    def run() -> Said:
        path = data / "batches" / "000001-requests.jsonl"
        part = path.with_suffix(".part")
        path.parent.mkdir(exist_ok=True)
        digest, tokens = hashlib.sha256(), 0
        claims: list[tuple[str, int, str, str]] = []
        with part.open("wb") as file:
            found = reading.execute(_SELECT)
            while block := list(islice(found, _BLOCK)):
                lines = []
                for one, username, title, bio in block:
                    told = _told(username, title, bio)
                    tokens += math.ceil(len(told) / _PER_TOKEN)
                    text = orjson.dumps(told)
                    lines.append(_LINE % (one, text, rest))
                    question = asked.copy()
                    question.update(text)
                    claims.append((str(one), len(claims) + 1, _hash(username, told), question.hexdigest()[:32]))
                written = b"".join(lines)
                file.write(written)
                digest.update(written)
            file.flush()
            os.fsync(file.fileno())
        _rename(part, path)
        writing.execute("BEGIN IMMEDIATE")
        writing.execute(rows.BATCH, (len(claims), digest.hexdigest()))
        writing.executemany(_CLAIM, claims)
        assert writing.execute(_FREE).fetchone() == (len(claims),)
        writing.execute("COMMIT")
        return {}

    return run


def _told(username: str, title: str, bio: str) -> str:
    """Return what a model is told of a person; made-up people have no tags of ours in their texts."""
    text = " ".join(username.split()), " ".join(title.split()), bio.strip()
    return "<username>{}</username>\n<job_title>{}</job_title>\n<biography>{}</biography>".format(*text)


def _hash(username: str, told: str) -> str:
    who, what = hashlib.sha256(username.encode()), hashlib.sha256(told.encode())
    return f"{who.hexdigest()[:16]}:{what.hexdigest()}"


def _rename(part: Path, path: Path) -> None:
    part.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def ingest(data: Path, how: str = "alone") -> Timed:
    """Open the database; result files are as they came, in no order.

    Several batches are ingested by this process and a second one, or by this one `alone`.
    """
    from pipeline.experts.prompts import CURRENT

    validator = CURRENT.answer.__pydantic_validator__
    paths = sorted((data / "batches").glob("*-results.jsonl"))

    def tags_of(text: str) -> str:
        if not (text.isascii() and "\\" not in text and text.count(":") == 1):
            json.loads(text, object_pairs_hook=_once)
        return orjson.dumps(validator.validate_json(text).tags).decode()

    def ingested(some: list[Path]) -> int:
        connection = connected(data)
        return sum(_ingested(connection, path, tags_of) for path in some)

    def run() -> Said:
        if how == "alone":
            return {"rows": ingested(paths)}
        given, taken = os.pipe()
        if not os.fork():
            os.write(taken, b"%d" % ingested(paths[1::2]))
            os._exit(0)
        ours = ingested(paths[::2])
        os.close(taken)
        theirs = os.read(given, 20)
        os.wait()
        return {"rows": ours + int(theirs)}

    return run


def _ingested(connection: sqlite3.Connection, path: Path, tags_of: Callable[[str], str]) -> int:
    """Ingest the result file of one batch, and return how many requests it had."""
    batch = int(path.name[:6])
    found = _Lines(path)
    (sealed,) = connection.execute("SELECT result_sha256 FROM findable_batches WHERE number = ?", (batch,)).fetchone()
    assert found.sha256 == sealed
    counts, used, line = Counter[str](), [0, 0, 0.0], 0
    while page := connection.execute(_ROWS, (batch, line)).fetchall():
        line = page[-1][1]
        tags, closed, answers, attempts = [], [], [], []
        for request, _, item_id, asked, username, title, bio, url, rate in page:
            first, *more = found.of(b"expert-tags/%b" % item_id.encode())
            counts["twice"] += len(more)
            outcome, row, tokens = rows.judged(orjson.loads(first), tags_of)
            counts[outcome] += 1
            used = [one + more for one, more in zip(used, tokens, strict=True)]
            if outcome == "answered":
                assert asked == _hash(username, _told(username, title, bio))
                tags.append((row[0], rows.points(bio, url, title, rate), item_id))
                closed.append((outcome, "ok", request))
                answers.append((item_id, batch, asked, *row[1:], *tokens))
            else:
                closed.append((outcome, row[0], request))
                attempts.append((item_id, batch, outcome, *row, *tokens))
        connection.execute("BEGIN IMMEDIATE")
        assert connection.executemany(_CLOSE, closed).rowcount == len(page)
        assert connection.executemany(_TAG, tags).rowcount == len(tags)
        connection.executemany(rows.ANSWER, answers)
        connection.executemany(rows.ATTEMPT, attempts)
        connection.execute("COMMIT")
    connection.execute("BEGIN IMMEDIATE")
    closing = "UPDATE findable_batches SET state = 'ingested' WHERE number = ? AND state = 'downloaded'"
    assert connection.execute(closing, (batch,)).rowcount == 1
    told = [counts[one] for one in ("answered", "refused", "invalid", "twice")]
    connection.execute(rows.FINISH, (batch, *told, *used))
    connection.execute("COMMIT")
    return sum(told[:3])


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(members)) != len(members):
        raise ValueError("a member stands twice")
    return dict(members)


class _Lines:
    """The lines of a result file by key, 20 bytes for each in memory."""

    def __init__(self, path: Path) -> None:
        """Read the file once."""
        self._file = path.open("rb")
        digest, hashes, offsets, sizes, offset = hashlib.sha256(), array("q"), array("q"), array("I"), 0
        for line in self._file:
            digest.update(line)
            hashes.append(hash(_key(line)))
            offsets.append(offset)
            sizes.append(len(line))
            offset += len(line)
        order = np.argsort(np.frombuffer(hashes, dtype=np.int64), kind="stable")
        self._places: tuple[Any, ...] = tuple(np.asarray(one)[order] for one in (hashes, offsets, sizes))
        self.sha256 = digest.hexdigest()

    def of(self, key: bytes) -> list[bytes]:
        """Return the lines of a key in the order of the file."""
        hashes, offsets, sizes = self._places
        span = range(*(int(np.searchsorted(hashes, hash(key), side=side)) for side in ("left", "right")))
        lines = [os.pread(self._file.fileno(), int(sizes[at]), int(offsets[at])) for at in span]
        return [line for line in lines if _key(line) == key]


def _key(line: bytes) -> bytes:
    return line[line.rindex(b'"key":"') + len(b'"key":"') : -len(b'"}\n')]
