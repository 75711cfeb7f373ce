"""Writing the result file of a finished batch: shuffled by the seed, and spoiled as its fate says.

The answers are in the database by then, so writing is one pass that can be repeated from the start after a crash. The
order follows from the seed and the batch's number alone. Memory holds the order and the faults, not the answers.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from emulator.batches import Batch
from emulator.database import Database
from emulator.faults import Fault, Faults, in_share
from emulator.line_faults import Emitted
from emulator.settings import Settings


@dataclass(frozen=True)
class Written:
    """A result file as it was written: its digest and the counts of the answers behind it."""

    sha256: str
    succeeded: int
    failed: int


class ResultWriter:
    """Writes the result file of one batch."""

    def __init__(self, database: Database, batch: Batch, *, faults: Faults, settings: Settings) -> None:
        """Read answers from `database`; the batch's own faults are looked up in `faults`."""
        self._database = database
        self._batch = batch
        self._settings = settings
        fate = batch.told
        self._lines = [faults.by_recipe(recipe) for recipe in fate.get("lines", [])]
        self._whole = {fault.word for recipe in fate.get("whole", []) if (fault := faults.by_recipe(recipe)).fire()}

    def write(self, path: Path) -> Written:
        """Write the file, on disk when this returns, and return what it holds."""
        positions = self._order()
        struck = self._strikes(positions)
        swapping = {at for at, faults in struck.items() if any(fault.word == "swapped_bodies" for fault in faults)}
        swapped = _partners([position for position in positions if position in swapping])
        failed = 0
        digest = hashlib.sha256()
        with path.open("wb") as file:
            out = _Output(file, digest, self._whole)
            for position in positions:
                raw, was_failed = self._answer(position)
                emitted: Emitted = [raw]
                if position in swapped:
                    emitted = [_swapped(raw, self._answer(swapped[position])[0])]
                for fault in struck.get(position, []):
                    emitted = spoil(emitted, fault)
                failed += was_failed or any(isinstance(line, dict) and "error" in line for line in emitted[-1:])
                out.lines(emitted)
            out.close()
            file.flush()
            os.fsync(file.fileno())
        return Written(digest.hexdigest(), len(positions) - failed, failed)

    def _order(self) -> list[int]:
        """Return the positions to write, in order; only the share that a partial result gives up."""
        rows = self._database.rows("SELECT position FROM results WHERE batch = ?", (self._batch.number,))
        positions = sorted(int(row["position"]) for row in rows)
        if "end" in self._batch.told:
            positions = positions[: int(len(positions) * self._batch.told["partial"])]
        if not self._settings.shuffle:
            return positions
        return sorted(positions, key=lambda position: _rank(self._settings.seed, self._batch.number, position))

    def _strikes(self, positions: Sequence[int]) -> dict[int, list[Fault]]:
        """Return which faults strike at which position, counted in the order of the requests."""
        struck: dict[int, list[Fault]] = {}
        if not self._lines:
            return struck
        wanted = set(positions)
        query = "SELECT position, key FROM results WHERE batch = ? ORDER BY position"
        for row in self._database.rows(query, (self._batch.number,)):
            key = row["key"] or ""
            for fault in self._lines:
                if row["position"] in wanted and self._meant(fault, key) and fault.fire():
                    struck.setdefault(row["position"], []).append(fault)
        return struck

    def _meant(self, fault: Fault, key: str) -> bool:
        fraction = float(fault.args.get("fraction", 1.0))
        return fault.key.search(key) is not None and in_share(key, fraction=fraction, seed=self._settings.seed)

    def _answer(self, position: int) -> tuple[bytes, bool]:
        """Return one answer's line and whether its request was refused."""
        query = "SELECT line, failed FROM results WHERE batch = ? AND position = ?"
        row = self._database.rows(query, (self._batch.number, position))[0]
        return bytes(row["line"]), bool(row["failed"])


class _Output:
    """The file that is being written, with the faults that are about all of it."""

    def __init__(self, file: BinaryIO, digest: "hashlib._Hash", words: set[str]) -> None:
        """Begin the file, with a byte order mark if that is asked for."""
        self._file = file
        self._digest = digest
        self._words = words
        self._end = b"\r\n" if "crlf" in words else b"\n"
        self._waiting: bytes | None = None
        if "bom" in words:
            self._put(b"\xef\xbb\xbf")

    def lines(self, lines: Emitted) -> None:
        """Write lines; the last one waits, for it may be the file's last."""
        for line in lines:
            if self._waiting is not None:
                self._put(self._waiting + self._end + (b"\n  \n" if "blank_lines" in self._words else b""))
            self._waiting = line if isinstance(line, bytes) else orjson.dumps(line)

    def close(self) -> None:
        """Write the last line, cut or without its end if that is asked for."""
        if self._waiting is None:
            return
        cut = "cut_last_line" in self._words
        self._put(self._waiting[: len(self._waiting) // 2] if cut else self._waiting)
        if not cut and "no_last_newline" not in self._words:
            self._put(self._end)

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)


def spoil(lines: Emitted, fault: Fault) -> Emitted:
    """Let a fault strike every line that is an answer; error lines and raw bytes of other faults stay as they are."""
    spoiled: Emitted = []
    for line in lines:
        document = _document(line)
        if document is None or "response" not in document or fault.act is None:
            spoiled.append(line)
        else:
            spoiled += fault.act(document, fault.args)
    return spoiled


def _document(line: dict[str, Any] | bytes) -> dict[str, Any] | None:
    """Return a line as a document, None where it is none."""
    if isinstance(line, dict):
        return line
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def _partners(positions: Sequence[int]) -> dict[int, int]:
    """Return which positions trade, two by two; an odd one out keeps its own."""
    pairs: Iterator[tuple[int, int]] = zip(positions[::2], positions[1::2], strict=False)
    return {position: other for pair in pairs for position, other in (pair, pair[::-1])}


def _swapped(own: bytes, other: bytes) -> dict[str, Any]:
    """Return a line with the other's body under its own key."""
    bodies = {name: value for name, value in orjson.loads(other).items() if name in ("response", "error")}
    rest = {name: value for name, value in orjson.loads(own).items() if name not in ("response", "error")}
    return {**bodies, **rest}


def _rank(seed: int, number: int, position: int) -> bytes:
    """Return where a position falls in the shuffled order."""
    return hashlib.blake2b(f"{seed}:{number}:{position}".encode(), digest_size=8).digest()
