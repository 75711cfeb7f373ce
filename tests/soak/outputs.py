"""What commands that ended well must have written: an export of everybody once, hits that are people, sound JSON."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.soak.crowd import Command


def wrong(command: Command, named: set[str]) -> Iterator[str]:
    """Yield what is wrong with what a command printed or wrote; `named` is everybody who ever was."""
    if command.code != 0 or command.ended is None:
        return
    names: list[str] = []
    if command.name == "export":
        path = Path(command.args[1])
        names = [row["Username"] for row in READERS[path.suffix](path.read_bytes().decode())]
    elif "--json" in command.args:
        document = json.loads(command.ended.out)
        names = [hit["username"] for hit in document] if command.name == "search" else []
    for name, count in Counter(names).items():
        if count > 1 or name not in named:
            yield f"{command} wrote {name} {count} times"


def _csv(text: str) -> list[Any]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def _lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.split("\n") if line]


READERS: dict[str, Callable[[str], list[Any]]] = {".csv": _csv, ".json": json.loads, ".jsonl": _lines}
