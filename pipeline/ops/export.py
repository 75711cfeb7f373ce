"""Write the rows of a subject to a file, sealed, or to the caller in pieces; from one snapshot, by id."""

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.core.files import SealedWriter, remove_abandoned_parts, resolve_target
from pipeline.core.progress import Progress
from pipeline.core.text import FormulaGuard, format_object, plural
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import ExportOptions, ExportRows, Task, TaskLabels

EVERY = ExportOptions()
NO_ANSWER = "no version, as they came with the table"


@dataclass
class ExportReport:
    """How many rows were written, where, in which format, and what one of them is called.

    `path` is None where they went to the caller, or there was none and so no file. `extractor` says whose answers they
    are (None: each row's own), `versions` how many items have answers of each. `changed_cells` of CSV got an
    apostrophe, so that no program runs them as formulas.
    """

    path: str | None
    format: str
    count: int = 0
    word: str = "item"
    extractor: str | None = None
    versions: Sequence[Mapping[str, Any]] = ()
    changed_cells: int = 0

    __repr__ = format_object


def run(
    ws: WorkspaceSession,
    path: Path | None,
    *,
    format_: str | None = None,
    wanted: ExportOptions = EVERY,
    overwrite: bool = False,
    raw: bool = False,
    write: Callable[[bytes], object] = lambda _piece: None,
) -> ExportReport:
    """Write the rows of the subject to a file, or without a path by calling `write` with one piece after the other.

    Those are of one version, and how many items have answers of which is said. The format is the one asked for, else
    that of the path's ending, else the subject's usual one. Without a row no file is written. In CSV, what a
    spreadsheet would run as a formula gets an apostrophe before it, unless it is to be `raw`.

    Raises:
        InputError: no such format or choice of rows, or the file cannot be written; an old file there is as it was,
            unless it was to be overwritten.
        ConfigurationError: Parquet is wanted, and its library is not installed.
    """
    task = ws.task
    formats = ws.task.export_formats
    format_ = format_ or (
        formats.get(path.suffix.lower(), "") if path else next(iter(formats.values()))
    )
    word = "row" if wanted.rows else task.export_word
    if format_ not in formats.values():
        said = (
            f"{word}s are not written as {format_}"
            if format_
            else f"{path}: the ending says no format"
        )
        raise InputError(f"{said}; nothing was written", hint=f"use one of {', '.join(formats)}")
    report = ExportReport(str(path) if path else None, format_, word=word)
    _check_choices(task, wanted)
    if path is not None:
        check_target(path, overwrite=overwrite)
    is_by_version = "extractor" in task.export_choices and not wanted.best
    set_ = ws.settings.version_of(task.name, task.label) if is_by_version else None
    with ws.store.read() as tx:
        found = task.export_rows(
            tx, wanted._replace(extractor=wanted.extractor or set_, prefer=tuple(task.preferred))
        )
        report.extractor = found.extractor
        chosen_first = sorted(found.versions, key=lambda one: (one != found.extractor, one))
        report.versions = [{"extractor": one, "items": found.versions[one]} for one in chosen_first]
        rows = iter(found.rows)
        guard = FormulaGuard(raw=raw)
        first = list(islice(rows, 1))
        counted = _counted(found._replace(rows=chain(first, rows)), report, ws.display)
        pieces = found.encode(counted, report.format, guard)
        if path is not None and not first:
            report.path = None
        elif path is not None:
            write_file(path, pieces)
        else:
            for piece in pieces:
                write(piece)
    report.changed_cells = guard.changed_cells

    if path is not None and not first:
        ws.display.say(f"there is no {word} to export; {path} was not written")
        return report
    for line in _said(report, ws.task.words):
        ws.display.say(line)
    return report


def _said(report: ExportReport, words: TaskLabels) -> Iterator[str]:
    if not report.versions:
        yield f"no {words.one} is {words.done} yet"
    for one in report.versions:
        name = one["extractor"] or NO_ANSWER
        have = plural(one["items"], f"{words.one} has", f"{words.many} have")
        is_written = report.extractor in {None, one["extractor"]}
        yield (
            f"wrote {name}, which {have}"
            if is_written
            else f"{have} {name}: {OptionHint(extractor=name)} exports it"
        )
    if report.changed_cells:
        cells = plural(report.changed_cells, "cell begins", "cells begin")
        yield f"{cells} like a formula and got an apostrophe (') in front; {OptionHint(raw=True)} writes them unchanged"


def _check_choices(task: Task, wanted: ExportOptions) -> None:
    refused = [
        name
        for name, value in wanted._asdict().items()
        if value and name not in task.export_choices
    ]
    if refused:
        said = " and ".join(f"{name.upper()}=" for name in refused)
        takes = (
            ", ".join(f"{name.upper()}=" for name in sorted(task.export_choices))
            or "no choice of rows"
        )
        raise InputError(
            f"{said} is not for an export of {task.words.many}; nothing was written",
            hint=f"with {OptionHint(task=task.subject)} it takes {takes}",
        )


def _counted(found: ExportRows, report: ExportReport, display: Progress) -> Iterator[object]:
    with display.bar("exporting", found.total) as bar:
        for row in found.rows:
            report.count += 1
            yield row
            bar.show(report.count)


def check_target(path: Path, *, overwrite: bool) -> None:
    """Pass where a file may be written.

    Raises:
        InputError: its folder is not there, or it is there itself, and is not to be overwritten.
    """
    target = resolve_target(path)
    if target.exists() and not overwrite:
        raise InputError(
            f"{path} is there already; nothing was written",
            hint=f"{OptionHint(overwrite=True)} replaces it",
        )
    if not target.parent.is_dir():
        made = shlex.quote(str(path.parent))
        raise InputError(
            f"{path}: there is no folder {path.parent}; nothing was written",
            hint=f"mkdir -p {made}",
        )


def write_file(path: Path, pieces: Iterable[bytes]) -> int:
    """Write the pieces to a file that appears under its name when it is whole; return how many they are.

    Raises:
        InputError: it cannot be written; an old file there is as it was.
    """
    target = resolve_target(path)
    count = 0
    try:
        remove_abandoned_parts(target)
        with SealedWriter(target) as writer:
            for count, piece in enumerate(pieces, start=1):  # noqa: B007 - it is returned
                writer.write(piece)
            writer.seal()
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror}; an old file there is as it was"
        ) from error
    return count
