"""A sealed result file, looked up by key at flat memory: one pass for the index, then lines in whatever order is asked.

Results come in any order, so position says nothing; the key is the only link. Each line is exactly one of: a line of
the key it shows, or unreadable. A line that was cut but still shows its key at its very start or end counts as a line
of that key, so that the request is charged for it and not for a missing line. What was never asked for is unknown.
"""

import hashlib
import heapq
import re
from array import array
from bisect import bisect_left
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from pipeline.files import read_lines
from pipeline.gemini.replies import excerpt_of

EXAMPLES = 3  # how many lines are shown of each kind of oddity
BOM = b"\xef\xbb\xbf"

_AT_START = re.compile(rb'\s*\{\s*"key"\s*:\s*("(?:[^"\\]|\\.)*")\s*[,}]')
_AT_END = re.compile(rb',\s*"key"\s*:\s*("(?:[^"\\]|\\.)*")\s*\}\s*\Z')
_TAIL = 2_048  # bytes at the end of a line that may hold its key; ours are far shorter


def key_in(line: bytes) -> str | None:
    """Return the key a line shows; None when it shows none, or an ambiguous one; "" when its key is no text.

    A readable line's key is its top-level member `key`. The quick way is taken only where it must agree with that:
    the name stands once in the line, and at its start or end.
    """
    first = _AT_START.match(line)
    last = _AT_END.search(line, max(0, len(line) - _TAIL))
    if (first is None) != (last is None) and line.count(b'"key"') == 1:
        return _text(first or last)
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        shown = {_text(found) for found in (first, last) if found}
        return shown.pop() if len(shown) == 1 else None
    key = document.get("key") if isinstance(document, dict) else None
    return key if isinstance(key, str) else ""


class Results:
    """The lines of one result file by key; `with Results(path) as results`, or close it.

    After all keys were looked up, `total` = lines asked for + `unknown` + `unreadable_count`.
    """

    def __init__(self, path: Path) -> None:
        """Read the file once and keep 16 bytes for each line.

        Raises:
            OSError: the file cannot be read.
        """
        import numpy as np

        self.total = 0
        self.duplicates = 0
        self.unreadable_count = 0
        self._file = path.open("rb")
        self._path = path
        self._unreadable: list[tuple[int, bytes]] = []
        hashes, offsets = array("Q"), array("Q")
        for offset, line in read_lines(path):
            self.total += 1
            key = key_in(line)
            if key is None:
                self.unreadable_count += 1
                if len(self._unreadable) < EXAMPLES:
                    self._unreadable.append((offset, line[:_TAIL]))
                continue
            hashes.append(_hash(key))
            offsets.append(offset)
        order = np.argsort(np.frombuffer(hashes, dtype=np.uint64), kind="stable")
        # arrays of plain integers, which are quicker to bisect than numpy's
        self._hashes = array("Q", np.frombuffer(hashes, dtype=np.uint64)[order].tobytes())
        self._offsets = array("Q", np.frombuffer(offsets, dtype=np.uint64)[order].tobytes())
        self._asked = bytearray(len(order))

    def lines(self, key: str) -> list[bytes]:
        """Return the raw lines of a key in the order of the file; none when there is no line."""
        if not key:
            return []  # stands for lines whose key is no text
        wanted = _hash(key)
        found = []
        repeated = False
        for at in range(bisect_left(self._hashes, wanted), len(self._hashes)):
            if self._hashes[at] != wanted:
                break
            line = self._line(self._offsets[at])
            if key_in(line) != key:
                continue  # another key with the same hash
            repeated = repeated or bool(self._asked[at])
            self._asked[at] = 1
            found.append(line)
        if found and not repeated:
            self.duplicates += len(found) - 1
        return found

    @property
    def unreadable(self) -> list[tuple[int, str]]:
        """Return (line number from 1, excerpt) of at most three lines that show no key."""
        return [(self._line_number(offset), excerpt_of(line)) for offset, line in self._unreadable]

    @property
    def unknown(self) -> int:
        """Return how many readable lines have a key that was not looked up, or none that is a text."""
        return self._asked.count(0)

    @property
    def unknown_examples(self) -> list[str]:
        """Return the keys of at most three unknown lines in the order of the file; an excerpt where there is none."""
        unasked = (offset for offset, asked in zip(self._offsets, self._asked, strict=True) if not asked)
        lines = [self._line(offset) for offset in heapq.nsmallest(EXAMPLES, unasked)]
        return [excerpt_of(key_in(line) or line) for line in lines]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def _line(self, offset: int) -> bytes:
        """Return the line that starts at an offset, cleaned as `files.read_lines` cleans it."""
        self._file.seek(offset)
        line = self._file.readline().rstrip(b"\r\n")
        return line.removeprefix(BOM) if offset == 0 else line

    def _line_number(self, offset: int) -> int:
        """Return the number of the line at an offset, counted from 1; blank lines count."""
        self._file.seek(0)
        number = 1
        while offset > 0:
            piece = self._file.read(min(offset, 1 << 20))
            number += piece.count(b"\n")
            offset -= len(piece)
        return number


def _text(found: "re.Match[bytes] | None") -> str | None:
    """Return the text of a matched JSON string; None where its bytes are no text."""
    if found is None:
        return None
    try:
        text = orjson.loads(found.group(1))
    except orjson.JSONDecodeError:
        return None
    return str(text)


def _hash(key: str) -> int:
    """Return 64 bits for a key, the same in every process."""
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
