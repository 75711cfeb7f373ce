"""Look up the lines of a sealed result file by key, at flat memory: one pass for the index, then lines in any order.

Results come in any order, so position says nothing; the key is the only link. Each line is exactly one of: a line of
the key it shows, or unreadable. A line that was cut but still shows its key at its very start or end counts as a line
of that key, so that the request is charged for it and not for a missing line. What was never asked for is unknown.
"""

import heapq
import os
import re
from array import array
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import orjson

from pipeline.core.files import read_lines
from pipeline.gemini.responses import excerpt_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXAMPLES = 3  # how many lines are shown of each kind of anomaly
BOM = b"\xef\xbb\xbf"

_NAME = b'"key"'
_AT_START = re.compile(rb'\s*\{\s*"key"\s*:\s*("(?:[^"\\]|\\.)*")\s*[,}]')
_AT_END = re.compile(rb',\s*"key"\s*:\s*("(?:[^"\\]|\\.)*")\s*\}\s*\Z')
_USUAL = b',"key":"'  # in front of a key that ends a line as the API writes it
_SIGN = rb"[ !#-\[\]-~]"  # of a key that is written as it is: ASCII without quotes and backslashes
_PLAIN = re.compile(_SIGN + b"+")
_ENDS = re.compile(rb'%b(%b{1,2000}+)"\}\n' % (_USUAL, _SIGN))  # of usual lines, with plain keys
_BLOCK = 1 << 17  # bytes of lines that are looked through at once
_TAIL = 2_048  # bytes at the end of a line that may hold its key; ours are far shorter
_BLANKS = 16  # bytes before the name of a key that are looked at for the comma, where nothing is unusual
_NEAR = 2_048  # bytes that are read for a line; a longer one is read to its end
_WORD = (1 << 64) - 1


def key_of_line(line: bytes) -> str | None:
    """Return the key a line shows; None when it shows none, or an ambiguous one; "" when its key is no text.

    A readable line's key is its top-level member `key`. The quick way is taken only where it must agree with that:
    the name stands once in the line, and at its start or end.
    """
    if line.count(_NAME) == 1:
        at = line.rfind(_USUAL, -_TAIL) + len(_USUAL)
        if at >= len(_USUAL) and line.endswith(b'"}') and _PLAIN.fullmatch(line, at, len(line) - 2):
            return line[at:-2].decode("ascii")  # as nearly all are
        near = max(0, line.index(_NAME) - _BLANKS, len(line) - _TAIL)
        quick = _AT_START.match(line) or _AT_END.search(line, near)
        if quick:
            return _text(quick)
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        ends = (_AT_START.match(line), _AT_END.search(line, max(0, len(line) - _TAIL)))
        shown = {_text(found) for found in ends if found}
        return shown.pop() if len(shown) == 1 else None
    key = document.get("key") if isinstance(document, dict) else None
    return key if isinstance(key, str) else ""


class ResultFile:
    """The lines of one result file by key; `with ResultFile(path) as results`, or close it.

    After all keys were looked up, `total` = lines asked for + `unknown` + `unreadable_count`.
    """

    def __init__(self, path: Path) -> None:
        """Read the file once and keep 65 bits for each line.

        Raises:
            OSError: the file cannot be read.
        """
        import numpy as np

        self.total = 0
        self.duplicates = 0
        self.unreadable_count = 0
        self._file = path.open("rb")
        self._path = path
        self._unreadable: list[tuple[int, bytes]] = []  # examples: (offset, start of the line)
        self._duplicates: list[tuple[int, str]] = []  # examples: (offset, key)
        # a place is where a line begins, below as many bits of its key's hash as are left of 64
        self._size = self._file.seek(0, os.SEEK_END)
        self._bits = self._size.bit_length()
        self._where = (1 << self._bits) - 1  # the bits of a place that say where
        usual = self._usual_places()
        self._is_usual = usual is not None
        self._places = np.frombuffer(self._any_places(), dtype=np.uint64) if usual is None else usual
        self._places.sort()  # where it is: there is no second list at any time
        self._asked = bytearray(-(-len(self._places) // 8))  # a bit for each line

    def lines_of(self, keys: Sequence[str]) -> list[list[bytes]]:
        """Return for each key its raw lines in the order of the file; many keys at once are quicker than one by one."""
        import numpy as np

        wanted = self._wanted(keys)
        firsts = np.searchsorted(self._places, wanted, side="left").tolist()
        ends = np.searchsorted(self._places, wanted | np.uint64(self._where), side="right").tolist()
        return [self._found(key, range(*span)) for key, span in zip(keys, zip(firsts, ends, strict=True), strict=True)]

    def _found(self, key: str, places: range) -> list[bytes]:
        """Return the lines of a key among those of its hash, and keep that they were asked for."""
        found: list[bytes] = []
        if not key:
            return found  # stands for lines whose key is no text
        repeated, last = False, 0
        for at in places:
            line = self._line(self._places.item(at) & self._where)
            if not self._shows(line, key):
                continue  # another key with the same hash
            byte, bit = at >> 3, 1 << (at & 7)
            repeated = repeated or bool(self._asked[byte] & bit)
            self._asked[byte] |= bit
            found.append(line)
            last = at
        if len(found) > 1 and not repeated:
            self.duplicates += len(found) - 1
            if len(self._duplicates) < EXAMPLES:
                self._duplicates.append((self._places.item(last) & self._where, key))
        return found

    @property
    def keys(self) -> int:
        """Return how many different keys the lines have, by their hashes; a line that was cut has none."""
        import numpy as np

        hashes = self._places >> np.uint64(self._bits)
        return int(np.count_nonzero(hashes[1:] != hashes[:-1])) + bool(len(hashes))

    @property
    def unknown(self) -> int:
        """Return how many readable lines have a key that was not looked up, or none that is a text."""
        return len(self._places) - int.from_bytes(self._asked, "little").bit_count()

    def examples(self) -> dict[str, list[tuple[int, str]]]:
        """Return at most three of each kind of line that belongs to no request: (line number from 1, its key).

        In the place of a key that is none, or no text, stands an excerpt of the line.
        """
        every = range(len(self._places)) if self.unknown else ()
        places = (at for at in every if not self._asked[at >> 3] >> (at & 7) & 1)
        unasked = heapq.nsmallest(EXAMPLES, (self._places.item(at) & self._where for at in places))
        unknown = ((offset, self._line(offset)) for offset in unasked)
        kinds: dict[str, list[tuple[int, str | bytes]]] = {
            "unknown": [(offset, key_of_line(line) or line) for offset, line in unknown],
            "duplicate": [*self._duplicates],
            "unreadable": [*self._unreadable],
        }
        return {
            kind: [(self._line_number(offset), excerpt_of(shown)) for offset, shown in some]
            for kind, some in kinds.items()
        }

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

    def _usual_places(self) -> "NDArray[np.uint64] | None":
        """Return the places of a file whose lines all show their key once and at the end; None of another."""
        import numpy as np

        places = np.empty(0, dtype=np.uint64)
        self._file.seek(0)
        total, offset = 0, 0
        while block := self._file.read(_BLOCK) + self._file.readline():
            keys = _ENDS.findall(block)
            ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == ord("\n")) + 1
            if not len(keys) == len(ends) == block.count(_NAME) or not block.endswith(b"\n"):
                return None
            starts = np.concatenate(([0], ends[:-1])).astype(np.uint64) + np.uint64(offset)
            offset += len(block)
            first, total = total, total + len(keys)
            if total > len(places):  # to what the whole file will have: grown bit by bit it would leave holes
                places.resize(total * self._size // offset + total // 50, refcheck=False)
            places[first:total] = self._wanted(list(map(bytes.decode, keys))) | starts
        places.resize(total, refcheck=False)
        self.total = total
        return places

    def _any_places(self) -> "array[int]":
        """Return the places of any file, and look at what is unreadable in it."""
        places = array("Q")
        for offset, line in read_lines(self._path):
            self.total += 1
            key = key_of_line(line)
            if key is None:
                self.unreadable_count += 1
                if len(self._unreadable) < EXAMPLES:
                    self._unreadable.append((offset, line[:_TAIL]))
                continue
            places.append((_hash(key) << self._bits | offset) & _WORD)
        return places

    def _wanted(self, keys: Sequence[str]) -> "NDArray[np.uint64]":
        """Return the upper bits of the places of keys."""
        import numpy as np

        hashes = np.fromiter(map(_hash, keys), dtype=np.int64, count=len(keys))
        return hashes.view(np.uint64) << np.uint64(self._bits)

    def _shows(self, line: bytes, key: str) -> bool:
        """Return whether a line shows a key; of usual lines the end alone tells."""
        return line.endswith(b'%b%b"}' % (_USUAL, key.encode())) if self._is_usual else key_of_line(line) == key

    def _line(self, offset: int) -> bytes:
        """Return the line that starts at an offset, cleaned as `files.read_lines` cleans it."""
        near = os.pread(self._file.fileno(), _NEAR, offset)
        end = near.find(b"\n")
        if end < 0:
            self._file.seek(offset)
            near = self._file.readline()
            end = len(near)
        line = near[:end].rstrip(b"\r\n")
        return line.removeprefix(BOM) if offset == 0 else line

    def _line_number(self, offset: int) -> int:
        """Return the number of the line at an offset, counted from 1; blank lines count."""
        import numpy as np

        self._file.seek(0)
        number = 1
        while offset > 0:
            piece = self._file.read(min(offset, 1 << 20))
            number += int(np.count_nonzero(np.frombuffer(piece, dtype=np.uint8) == ord("\n")))
            offset -= len(piece)
        return number


def _text(found: "re.Match[bytes] | None") -> str | None:
    """Return the text of a matched JSON string; None where its bytes are no text."""
    if found is None:
        return None
    quoted: bytes = found.group(1)
    if quoted.isascii() and b"\\" not in quoted and (plain := quoted[1:-1].decode("ascii")).isprintable():
        return plain
    try:
        text = orjson.loads(quoted)
    except orjson.JSONDecodeError:
        return None
    return str(text)


def _hash(key: str) -> int:
    """Return 64 bits for a key; keys that share them are told apart by the lines themselves."""
    return hash(key)
