"""The loop that many users write themselves: orjson, one Pydantic model, one `executemany`."""

import sqlite3
from pathlib import Path

import orjson
from pydantic import ValidationError

from tests.bench.measure import Timed
from tests.bench.peers import lines


def read(data: Path) -> Timed:
    """Read all lines, and write what is valid by one statement."""
    _into(lines.some(data), data / "some.db")
    torn = _kept_of_torn(data)
    path = lines.result(data)

    def run() -> dict[str, object]:
        count, kept, refused = _into(path, data / "loop.db")
        return lines.told(count, kept, refused, torn)

    return run


def _into(path: Path, database: Path) -> tuple[int, int, int]:
    rows, refused = {}, 0
    count = 0
    for line in path.read_bytes().splitlines():
        count += 1
        found = orjson.loads(line)
        try:
            text = found["response"]["candidates"][0]["content"]["parts"][0]["text"]
            rows[found["key"]] = lines.Tags.model_validate_json(text).tags
        except (KeyError, ValidationError):
            refused += 1
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE tags (key TEXT PRIMARY KEY, tags TEXT)")
        connection.executemany(
            "INSERT INTO tags VALUES (?, ?)", ((key, orjson.dumps(tags)) for key, tags in rows.items())
        )
    connection.close()
    return count, len(rows), refused


def _kept_of_torn(data: Path) -> int | str:
    try:
        return _into(lines.torn(data), data / "torn.db")[1]
    except orjson.JSONDecodeError as error:
        return type(error).__name__
