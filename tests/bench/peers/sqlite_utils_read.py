"""sqlite-utils: each line's answer inserted, nothing validated, the last line of a key staying."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from tests.bench.measure import Timed
from tests.bench.peers import lines


def read(data: Path) -> Timed:
    """Insert what `json` makes of every line, by the library's own batches."""
    _into(lines.some(data), data / "some.db")
    try:
        torn: int | str = _into(lines.torn(data), data / "torn.db")[1]
    except json.JSONDecodeError as error:
        torn = type(error).__name__
    path = lines.result(data)
    return lambda: lines.told(*_into(path, data / "peer.db"), torn)


def _into(path: Path, database: Path) -> tuple[int, int, int]:
    counts = [0, 0]

    def rows() -> Iterator[dict[str, Any]]:
        with path.open(encoding="utf-8") as file:
            for line in file:
                counts[0] += 1
                found = json.loads(line)
                if "response" not in found:
                    counts[1] += 1
                    continue
                yield {"key": found["key"], "answer": found["response"]["candidates"][0]["content"]["parts"][0]["text"]}

    with Database(database) as opened:
        opened["tags"].insert_all(rows(), pk="key", replace=True)
        return counts[0], opened["tags"].count, counts[1]
