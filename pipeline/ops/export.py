"""Write experts or concepts to a file, sealed, or to whoever takes the bytes; from one snapshot, by id."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipeline.core.errors import InputError
from pipeline.core.files import SealedWriter, sweep_parts, target_of
from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import export, table

if TYPE_CHECKING:
    from pipeline.store.database import Connection


Row = TypeVar("Row")


@dataclass
class ExportReport:
    """How many rows were written, where (None: to the caller), in which format, and what one of them is called."""

    path: str | None
    format: str
    count: int = 0
    word: str = "expert"


@dataclass(frozen=True)
class ExportOptions:
    """Which concepts are wanted: the best ones, those of one extractor (label/model, or a label), or all in sight."""

    best: bool = False
    extractor: str | None = None


def run(
    ws: OpenWorkspace,
    path: Path | None,
    *,
    format_: str | None = None,
    wanted: ExportOptions | None = None,
    write: Callable[[bytes], object],
) -> ExportReport:
    """Write every row of the subject to a file, or without a path by calling `write` with one piece after the other.

    The format is the one asked for, else that of the path's ending; without a path CSV, of concepts JSON lines.

    Raises:
        InputError: no such format, no concept of that extractor, or the file cannot be written; an old file there is as
            it was.
        ConfigurationError: Parquet is wanted, and its library is not installed.
    """
    wanted = wanted or ExportOptions()
    of_passages = ws.settings.task == "passages"
    if not of_passages and wanted != ExportOptions():
        raise InputError("BEST= and EXTRACTOR= are about concepts; nothing was written", hint="add TASK=passages")
    if wanted.best and wanted.extractor:
        raise InputError(
            "BEST= and EXTRACTOR= exclude each other; nothing was written", hint="PREFER_VERSIONS= chooses"
        )
    formats = _passage_formats() if of_passages else export.FORMATS
    report = ExportReport(str(path) if path else None, format_ or _format_of(path, formats))
    report.word = "concept" if of_passages else "expert"
    if report.format not in formats.values():
        raise InputError(
            f"{report.word}s are not written as {report.format}; nothing was written",
            hint=f"use one of {', '.join(formats)}",
        )
    with ws.store.read() as tx:
        pieces = _concepts(ws, tx, report, wanted) if of_passages else _experts(ws, tx, report)
        if path is None:
            for piece in pieces:
                write(piece)
        else:
            _seal(path, pieces)
    return report


def _experts(ws: OpenWorkspace, tx: "Connection", report: ExportReport) -> Iterator[bytes]:
    """Return the bytes of every expert's row."""
    return export.encode_experts(
        _counted(ws, table.all_experts(tx), report, table.count_experts_by_state(tx)["total"]), format_=report.format
    )


def _concepts(ws: OpenWorkspace, tx: "Connection", report: ExportReport, wanted: ExportOptions) -> Iterator[bytes]:
    """Return the bytes of the concepts that are wanted."""
    from pipeline.passages import best
    from pipeline.passages import export as concepts
    from pipeline.passages.schema import read_shape

    shape = read_shape(tx, passages=ws.settings.passages_table)
    if wanted.best:
        rows = best.best_concepts(tx, shape, best.preference_of(ws.settings))
    else:
        rows = best.all_concepts(tx, shape, extractor=wanted.extractor)
    if wanted.extractor is not None:
        rows = _checked(rows, wanted.extractor)
    return concepts.encode_concepts(_counted(ws, rows, report, None), format_=report.format)


def _checked(rows: Iterator[Row], extractor: str) -> Iterator[Row]:
    """Return the rows of an extractor, where there are any.

    Raises:
        InputError: there are none; nothing was written.
    """
    first = next(rows, None)
    if first is None:
        raise InputError(
            f"there is no concept of {extractor!r}; nothing was written",
            hint="`make versions` lists whose concepts there are",
        )
    return itertools.chain([first], rows)


def _passage_formats() -> dict[str, str]:
    from pipeline.passages import export as concepts

    return concepts.FORMATS


def _counted(ws: OpenWorkspace, rows: Iterable[Row], report: ExportReport, total: int | None) -> Iterator[Row]:
    """Yield rows and count them."""
    with ws.display.bar("exporting", total) as bar:
        for row in rows:
            report.count += 1
            yield row
            bar.show(report.count)


def _seal(path: Path, pieces: Iterator[bytes]) -> None:
    """Write the pieces to a file that appears under its name when it is whole."""
    target = target_of(path)
    try:
        sweep_parts(target)
        with SealedWriter(target) as writer:
            for piece in pieces:
                writer.write(piece)
            writer.seal()
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; an old file there is as it was") from error


def _format_of(path: Path | None, formats: Mapping[str, str]) -> str:
    """Return the format that a path's ending names; the first one without a path."""
    if path is None:
        return next(iter(formats.values()))
    found = formats.get(path.suffix.lower())
    if found is None:
        endings = ", ".join(formats)
        raise InputError(f"{path}: the ending says no format; nothing was written", hint=f"use one of {endings}")
    return found
