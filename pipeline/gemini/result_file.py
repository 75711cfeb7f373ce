"""Look up the lines of a sealed result file by key: one pass for where they begin, then lines in any order.

Results come in any order, so position says nothing; the key is the only link. Each line is exactly one of: a line of
the key it shows, or unreadable. A line that was cut but still shows its key at its very start or end counts as a line
of that key, so that the request is charged for it and not for a missing line. What was never asked for is unknown.
"""

import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import orjson

from pipeline.core.files import read_lines
from pipeline.gemini.responses import excerpt_of

EXAMPLES = 3  # how many lines are shown of each kind of anomaly
BOM = b"\xef\xbb\xbf"
_PIECE = 1 << 20  # bytes in which line ends are counted at once
_TAIL = 2_048  # bytes at the end of a line that may hold its key; ours are far shorter
_AT_START = re.compile(rb'\s*\{\s*"key"\s*:\s*("(?:[^"\\]|\\.)*")\s*[,}]')
_AT_END = re.compile(rb',\s*"key"\s*:\s*("(?:[^"\\]|\\.)*")\s*\}\s*\Z')


def key_of_line(line: bytes) -> str | None:
    """Return the key a line shows; None when it shows none, or an ambiguous one; "" when its key is no text."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        ends = (_AT_START.match(line), _AT_END.search(line, max(0, len(line) - _TAIL)))
        shown = {_text(found.group(1)) for found in ends if found}
        return shown.pop() if len(shown) == 1 else None
    key = document.get("key") if isinstance(document, dict) else None
    return key if isinstance(key, str) else ""


def _text(quoted: bytes) -> str | None:
    try:
        return str(orjson.loads(quoted))
    except orjson.JSONDecodeError:
        return None


class ResultFile(AbstractContextManager["ResultFile"]):
    """The lines of one result file by key; to be used in a `with` statement.

    After all keys were looked up, `total` = lines asked for + `unknown` + `unreadable_count`.
    """

    def __init__(self, path: Path) -> None:
        """Read the file once and keep where each line begins."""
        self.total = self.duplicates = self.unreadable_count = 0
        self._file = path.open("rb")
        self._places: dict[str, list[int]] = {}  # where the lines of each key begin
        self._asked: set[str] = set()
        self._odd: dict[str, list[tuple[int, str]]] = {"unknown": [], "duplicate": [], "unreadable": []}
        for offset, line in read_lines(path):
            self.total += 1
            if (key := key_of_line(line)) is not None:
                self._places.setdefault(key, []).append(offset)
                continue
            self.unreadable_count += 1
            self._note("unreadable", offset, excerpt_of(line))

    def lines_of(self, keys: Sequence[str]) -> list[list[bytes]]:
        """Return for each key its raw lines in the order of the file."""
        return [[self._line(offset) for offset in self._found(key)] for key in keys]

    def note_asked(self, keys: Iterable[str]) -> None:
        """Keep that these keys were asked for, whose lines are not needed any more."""
        for key in keys:
            self._found(key)

    def _found(self, key: str) -> Sequence[int]:
        """Return where the lines of a key begin, and keep that they were asked for; "" is of those that are no text."""
        found = self._places.get(key, ()) if key else ()
        if len(found) > 1 and key not in self._asked:
            self.duplicates += len(found) - 1
            self._note("duplicate", found[-1], key)
        if found:
            self._asked.add(key)
        return found

    def _note(self, kind: str, offset: int, shown: str) -> None:
        if len(self._odd[kind]) < EXAMPLES:
            self._odd[kind].append((offset, shown))

    @property
    def keys(self) -> int:
        """Return how many different keys the lines have; a line that was cut has none."""
        return len(self._places)

    @property
    def unknown(self) -> int:
        """Return how many readable lines have a key that was not looked up, or none that is a text."""
        return sum(len(found) for key, found in self._places.items() if key not in self._asked)

    def examples(self) -> dict[str, list[tuple[int, str]]]:
        """Return at most three of each kind of line that belongs to no request: (its number, its key or an excerpt)."""
        unasked = sorted((at, key) for key, found in self._places.items() if key not in self._asked for at in found)
        unknown = [(at, excerpt_of(key or self._line(at))) for at, key in unasked[:EXAMPLES]]
        return {
            kind: [(self._line_number(offset), excerpt_of(shown)) for offset, shown in some]
            for kind, some in {**self._odd, "unknown": unknown}.items()
        }

    def _line(self, offset: int) -> bytes:
        self._file.seek(offset)
        line = self._file.readline().rstrip(b"\r\n")
        return line.removeprefix(BOM) if offset == 0 else line

    def _line_number(self, offset: int) -> int:
        """Return the number of the line at an offset, counted from 1; blank lines count."""
        self._file.seek(0)
        return 1 + sum(self._file.read(min(_PIECE, offset - at)).count(b"\n") for at in range(0, offset, _PIECE))

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()
