"""Find entries of a build by their ids in its `entries.jsonl`, a line for each in vector order.

A few ids are looked for in the bytes. From then on it is known where each line begins, to every reader of that file in
this process: twenty bytes for an entry, found in the time in which the ids of all are parsed.
"""

import os
from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.links import ReadHandle

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEW = 8  # ids of a file that are looked for one by one: at 100,000 entries one takes a tenth of parsing the ids of all
FILES = 4  # about which is kept where their lines begin
# of a line; inside of a JSON text no bare quotation mark stands
_BEFORE_ID, _AFTER_ID = b'{"id":', b',"content":"'

_File = tuple[int, ...]  # what tells a file from all others, those that get its number later among them


class EntryLines:
    """The lines of one open file."""

    def __init__(self, handle: ReadHandle) -> None:
        """Take the file; nothing is read before it is asked for."""
        self._handle = handle
        found = os.fstat(handle.descriptor)
        self._file: _File = (*handle.identity, found.st_size, found.st_mtime_ns)

    def row_of(self, entry_id: str) -> int | None:
        """Return the row of an entry, counted from 0; None where there is none."""
        return next((row for row, _ in self._found([entry_id])), None)

    def content_hashes(self, among: Collection[str] | None = None) -> dict[str, str]:
        """Return for each id, in vector order, the `content_hash` its entry had; for some only, in no order."""
        import orjson

        lines = (
            map(orjson.loads, self._whole().splitlines()) if among is None else (one for _, one in self._found(among))
        )
        return {line["id"]: line["content"] for line in lines}

    def _found(self, ids: Collection[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the rows of the entries with some ids, of those that are there, and what their lines say."""
        import orjson

        known = _KNOWN.get(self._file)
        if known is None:
            whole = self._whole()
            _ASKED[self._file] += len(ids)
            if _ASKED[self._file] <= FEW:
                places = (whole.find(_BEFORE_ID + orjson.dumps(one) + _AFTER_ID) for one in ids)
                yield from ((whole.count(b"\n", 0, at), orjson.loads(_line(whole, at))) for at in places if at >= 0)
                return
            known = _remembered(self._file, whole)
        for one in ids:
            for row in known.rows(orjson.dumps(one)):
                line = orjson.loads(self._handle.read(known.begins[row + 1] - known.begins[row], known.begins[row]))
                if line["id"] == one:
                    yield row, line

    def _whole(self) -> bytes:
        return self._handle.read(self._handle.size, 0)


class _Lines(NamedTuple):
    """Where the lines of a file begin, and the last one ends; the hashes of their ids, ascending, and the row of each.

    `begins` has n + 1 numbers, the others n.
    """

    begins: "array[int]"
    hashes: "NDArray[np.int64]"
    of: "NDArray[np.int32]"

    def rows(self, written: bytes) -> list[int]:
        """Return the rows whose id may be this one, as JSON writes it."""
        first, last = (int(self.hashes.searchsorted(hash(written), side)) for side in ("left", "right"))
        rows: list[int] = self.of[first:last].tolist()
        return rows


_KNOWN: dict[_File, _Lines] = {}
_ASKED: Counter[_File] = Counter()


def _remembered(file: _File, whole: bytes) -> _Lines:
    """Return where the lines of a file begin, and keep it; what was kept first gives way."""
    found = _lines_of(whole)
    _KNOWN[file] = found
    for old in list(_KNOWN)[:-FILES]:
        _KNOWN.pop(old, None)
        _ASKED.pop(old, None)
    return found


def _lines_of(whole: bytes) -> _Lines:
    """Return where the lines of a file begin."""
    import numpy as np
    import orjson

    begins, hashes = array("q", [0]), array("q")
    while (at := begins[-1]) < len(whole):
        begins.append(whole.find(b"\n", at) + 1 or len(whole))
        end = whole.find(_AFTER_ID, at, begins[-1])
        written = whole[at + len(_BEFORE_ID) : end] if end >= 0 else orjson.dumps(orjson.loads(_line(whole, at))["id"])
        hashes.append(hash(written))
    found = np.frombuffer(hashes, np.int64)
    order = np.argsort(found, kind="stable")
    return _Lines(begins, found[order], order.astype(np.int32))


def _line(whole: bytes, at: int) -> bytes:
    """Return the line that begins at a place."""
    return whole[at : whole.find(b"\n", at)]
