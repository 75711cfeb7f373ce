"""Write the experts to a file, sealed, or to whoever takes the bytes; from one snapshot, in the order of ids."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.experts import export, table
from pipeline.files import SealedWriter, sweep_abandoned, target_of
from pipeline.runtime import Runtime

if TYPE_CHECKING:
    from pipeline.store.database import Connection


@dataclass
class Report:
    """How many experts were written, where (None: to the caller) and in which format."""

    path: str | None
    format: str
    count: int = 0


def run(rt: Runtime, path: Path | None, *, format_: str | None = None, write: Callable[[bytes], object]) -> Report:
    """Write every expert to a file, or without a path by calling `write` with one piece after the other.

    The format is the one asked for, else that of the path's ending; CSV without a path.

    Raises:
        InputError: the path's ending names no format, or the file cannot be written; an old file there is as it was.
    """
    report = Report(str(path) if path else None, format_ or _format_of(path))
    with rt.store.read() as tx:
        pieces = export.encoded(_rows(rt, tx, report), format_=report.format)
        if path is None:
            for piece in pieces:
                write(piece)
        else:
            _seal(path, pieces)
    return report


def _rows(rt: Runtime, tx: "Connection", report: Report) -> Iterator[Mapping[Any, Any]]:
    """Yield every row and count it."""
    with rt.display.bar("exporting", table.counts(tx)["total"]) as bar:
        for row in table.everyone(tx):
            report.count += 1
            yield row
            bar.show(report.count)


def _seal(path: Path, pieces: Iterator[bytes]) -> None:
    """Write the pieces to a file that appears under its name when it is whole."""
    target = target_of(path)
    try:
        sweep_abandoned(target)
        with SealedWriter(target) as writer:
            for piece in pieces:
                writer.write(piece)
            writer.seal()
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; an old file there is as it was") from error


def _format_of(path: Path | None) -> str:
    """Return the format that a path's ending names."""
    if path is None:
        return "csv"
    found = export.FORMATS.get(path.suffix.lower())
    if found is None:
        endings = ", ".join(export.FORMATS)
        raise InputError(f"{path}: the ending says no format; nothing was written", hint=f"use one of {endings}")
    return found
