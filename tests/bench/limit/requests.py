"""Request files at the limit: rows spliced between constant bytes as they are read, hashed, written, synced, claimed.

Nothing is checked, estimated or limited, and nobody else may work in the workspace meanwhile.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from pipeline.experts.answer import ExpertTags
from pipeline.experts.task import MAX_OUTPUT_TOKENS, SYSTEM
from pipeline.gemini.schema import response_schema
from tests.bench.limit.database import connected
from tests.bench.measure import Said, Timed

_SELECT = (
    "SELECT id, username, coalesce(job_title, ''), bio FROM experts WHERE tags IS NULL AND bio IS NOT NULL ORDER BY id"
)
_CLAIM = (
    "INSERT INTO findable_requests (task, item_id, batch, line, input_hash, open, at)"
    " VALUES ('expert-tags', ?, 1, ?, ?, 1, '2026-11-20 08:00:00.000000')"
)
_BATCH = (
    "INSERT INTO findable_batches (number, task, extractor, model, state, created_at, requests, request_file,"
    " request_sha256, request_size, estimated_in, estimated_out, estimated_cost, priced_on) VALUES"
    " (1, 'expert-tags', '', '', 'prepared', '2026-11-20 08:00:00.000000', ?, '', ?, 0, 0, 0, 0, '')"
)


def ready(data: Path) -> Timed:
    """Make the bytes that every line has in common, and open the database twice: to read and to write."""
    reading, writing = connected(data), connected(data)
    schema = orjson.dumps(response_schema(ExpertTags)).decode()
    rest = (
        '}]}],"systemInstruction":{"parts":[{"text":'
        + orjson.dumps(SYSTEM).decode()
        + '}]},"generationConfig":{"responseMimeType":"application/json","responseSchema":'
        + schema
        + f',"maxOutputTokens":{MAX_OUTPUT_TOKENS},"thinkingConfig":{{"thinkingLevel":"MINIMAL"}}}}}}}}\n'
    ).encode()

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
        writing.execute(_BATCH, (count, digest.hexdigest()))
        writing.execute("COMMIT")
        return {}

    return run
