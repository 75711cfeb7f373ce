"""Write the rows of a task, from one snapshot, to a file or to the caller in chunks."""

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.files import (
    SealedWriter,
    check_and_resolve_file_target,
    remove_abandoned_parts,
)
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.report import Report
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.core.text import FormulaGuard, make_short_repr, plural
from askrows.pipeline.rows.export import encode_rows
from askrows.pipeline.store.answers import PERSON
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.store.task_record import belongs_to_version
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_values import ExportOptions, ExportRows, TaskNouns
from askrows.pipeline.workspace.open_workspace import OpenWorkspace, check_and_resolve_target

T = TypeVar("T")


@dataclass
class ExportReport:
    """Result of an export."""

    # Path of the file. None if there was no row and so no file, or if the caller got the rows.
    path: str | None
    format: str
    # Written rows.
    count: int = 0
    # The noun for a row.
    word: str = "row"
    # Version of all answers, or None if each row has its own.
    version: str | None = None
    # The number of answered rows of each version, as {version, rows}.
    versions: Sequence[Mapping[str, Any]] = ()
    # Rows with a correction, which are in no version's count.
    corrected_rows: int = 0
    # Corrections that were left out, because a single version was exported.
    left_out_corrections: int = 0
    # Cells of CSV that got an apostrophe, because a program might run them as formulas.
    changed_cells: int = 0

    __repr__ = make_short_repr

    def to_report(self) -> Report:
        """Return the report of an export to a file; without rows, a note said so before."""
        title = ""
        if self.path is not None:
            title = f"{plural(self.count, self.word)} written to {self.path}"
        return Report(asdict(self), title)


def export_answers(
    workspace: OpenWorkspace,
    task: Task,
    path: Path | None,
    *,
    options: ExportOptions,
    overwrite: bool = False,
    write_chunks: Callable[[Iterable[bytes]], object] | None = None,
) -> ExportReport:
    """Export the rows of a task to a file, or to `write_chunks` if there is no path.

    Afterwards lines are printed on the workspace's display, also without a path: the exported
    version, the number of rows of each version, and the number of changed cells. If there are no
    rows, no file is written, a message is printed, and the report's `path` is None.

    Args:
        path: The file, which appears when it is complete. If it is None, `write_chunks` gets the
            chunks.
        options: The exported rows and columns, and the format. If no version is set, the setting
            VERSION is used.
        overwrite: Replace an existing file.
        write_chunks: Called with the chunks of the output if there is no path.

    Raises:
        InputError: The format or an option is invalid, or the file cannot be written. An existing
            file is unchanged, unless it was to be overwritten.
        ConfigurationError: The format is Parquet, and its library is not installed.
    """
    row_word = task.exported_noun
    format_ = choose_or_refuse_format(task, path, options.format_)
    report = ExportReport(str(path) if path else None, format_, word=row_word)
    if path is not None:
        check_export_target(path, workspace.store, workspace.data, overwrite=overwrite)

    guard = FormulaGuard()
    with workspace.store.read() as tx:
        export_rows = _check_options_and_read(tx, task, workspace.settings, options)

        # Read a row in advance: without a row no file is written.
        rows = iter(export_rows.rows)
        first_rows = list(islice(rows, 1))
        counted_rows = count_rows(
            chain(first_rows, rows),
            report,
            workspace.display,
        )
        # With the option `raw`, texts are written as they are.
        chunks = encode_rows(
            counted_rows,
            report.format,
            str if options.raw else guard,
            kinds=export_rows.kinds,
        )
        if write_chunks is not None:
            write_chunks(chunks)
        elif path is not None and first_rows:
            write_or_replace_file(path, chunks)
        else:
            report.path = None
    _set_version_and_correction_counts(export_rows, report)
    report.changed_cells = guard.changed_cells

    if path is not None and not first_rows:
        message = f"there is no {row_word} to export; {path} was not written"
        if "gone" in task.export_options and not options.gone:
            message += f"; {OptionHint(gone=True)} also exports rows that left their source"
        workspace.display.say(message)
        return report
    for line in _format_export_summary(report, task.nouns):
        workspace.display.say(line)
    return report


def iterate_export_chunks(
    workspace: OpenWorkspace,
    task: Task,
    options: ExportOptions,
) -> Iterator[bytes]:
    """Yield the bytes of an export, from one snapshot of the database; print nothing.

    They are the bytes that `export_answers` writes without `raw`, which is ignored: texts of CSV
    that a spreadsheet would run as formulas are changed. The snapshot stays open until the last
    chunk. Without rows, a valid file without rows is yielded, for example the header of a CSV file.
    Errors are raised when the first chunk is requested.

    Args:
        workspace: The open workspace.
        task: The task whose rows are exported.
        options: The exported rows and columns, and the format. If no version is set, the setting
            VERSION is used.

    Raises:
        InputError: The format or an option is invalid.
        ConfigurationError: The format is Parquet, and its library is not installed.
    """
    format_ = choose_or_refuse_format(task, None, options.format_)
    with workspace.store.read() as tx:
        export_rows = _check_options_and_read(tx, task, workspace.settings, options)
        yield from encode_rows(export_rows.rows, format_, FormulaGuard(), kinds=export_rows.kinds)


def choose_or_refuse_format(
    task: Task,
    path: Path | None,
    format_: str | None,
) -> str:
    """Return the given format, else that of the path's ending, else the task's first format.

    The first format is used only without a path. Without `format_`, a path with an unknown ending
    raises.

    Raises:
        InputError: The task does not have the format, or the ending is unknown.
    """
    formats = task.export_formats
    suffix = path.suffix.lower() if path else next(iter(formats))
    chosen_format = format_ or formats.get(suffix, "")
    if chosen_format in formats.values():
        return chosen_format

    raise InputError(
        f"{task.exported_noun}s cannot be written as {format_ or path}; nothing was written",
        hint=f"use one of {', '.join(formats)}",
    )


def _set_version_and_correction_counts(export_rows: ExportRows, report: ExportReport) -> None:
    """Set the exported version, the counts of rows by version, and both counts of corrections.

    Corrected rows count apart, not as rows of a version, unless PERSON is the exported version.
    """
    report.version = export_rows.version
    report.left_out_corrections = export_rows.left_out_corrections
    counts = dict(export_rows.version_counts)
    if export_rows.version != PERSON:
        report.corrected_rows = counts.pop(PERSON, 0)
    report.versions = [
        {"version": version, "rows": count} for version, count in sorted(counts.items())
    ]


def _format_export_summary(report: ExportReport, nouns: TaskNouns) -> Iterator[str]:
    """Yield the lines for the user: counts of each version, corrections, and changed cells.

    An export of a single version has only answers of that version, without corrections: the lines
    of other versions begin with "not written". A cell that begins like a formula was changed: it
    got an apostrophe. Lines with a count of 0 are left out. An export without a file also has the
    number of written rows.
    """
    for version in report.versions:
        name = version["version"] or "no version (imported with the table)"
        line = f"answers of {name}: {plural(version['rows'], nouns.singular, nouns.plural)}"
        if report.version is not None and not belongs_to_version(name, report.version):
            line = f"not written: {line}"
        yield line
    if report.corrected_rows:
        yield f"corrections: {plural(report.corrected_rows, nouns.singular, nouns.plural)}"
    if report.left_out_corrections:
        yield f"not written: {plural(report.left_out_corrections, 'correction')}"
    if report.path is None:
        yield f"{plural(report.count, report.word)} written"
    if report.changed_cells:
        cells = plural(report.changed_cells, "cell begins", "cells begin")
        yield (
            f"{cells} like a formula and got an apostrophe (') in front; "
            f"{OptionHint(raw=True)} writes them unchanged"
        )


def _check_options_and_read(
    tx: Connection,
    task: Task,
    settings: Settings,
    options: ExportOptions,
) -> ExportRows:
    """Return the rows of an export, which are read when iterated.

    The setting VERSION is used if the options have no version. A filter of rows, a format and `raw`
    are always accepted.

    Raises:
        InputError: The version has no answers, or an option is set that the task does not have. The
            hint has the options of the task.
    """
    refused_names = [
        name
        for name, value in options._asdict().items()
        if value
        and name not in task.export_options
        and name not in {"row_filter", "format_", "raw"}
    ]
    if refused_names:
        refused_settings = " and ".join(f"{name.upper()}=" for name in refused_names)
        raise InputError(
            f"an export of {task.nouns.plural} has no {refused_settings}; nothing was written",
            hint=f"its options are {', '.join(sorted(task.export_options))}",
        )

    version = options.answer_version
    if not version:
        version = settings.find_version_of_task(task.name, task.prompt_version)
    if version:
        answered_versions = [counts.version for counts in task.list_versions(tx)]
        task.check_version_has_answers(version, answered_versions)
    return task.read_export(tx, options._replace(answer_version=version))


def count_rows(
    rows: Iterable[T],
    report: ExportReport,
    display: Progress,
) -> Iterator[T]:
    """Yield the rows, count them in the report, and show their number in a progress bar."""
    with display.bar("exporting", None) as bar:
        for row in rows:
            report.count += 1
            yield row
            bar.show(report.count)


def check_export_target(
    path: Path,
    store: Store,
    data: Path,
    *,
    overwrite: bool,
) -> None:
    """Check that a file can be created at a path; write nothing.

    Args:
        path: The path.
        store: The database, which knows the files of all tasks.
        data: Folder of the workspace.
        overwrite: Accept an existing file.

    Raises:
        InputError: The folder does not exist; the file exists and must not be overwritten; the
            workspace depends on the file; or the path is in a folder whose files are a task's
            source, so that the new file would be read as rows.
    """
    target = check_and_resolve_target(path, store, data)
    if not target.parent.is_dir():
        raise InputError(
            f"{path}: the folder {path.parent} does not exist; nothing was written",
            hint=f"mkdir -p {shlex.quote(str(path.parent))}",
        )
    if target.exists() and not overwrite:
        raise InputError(
            f"{path} exists already; nothing was written",
            hint=f"{OptionHint(overwrite=True)} replaces it",
        )


def write_or_replace_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Write chunks to a file that appears at `path` when it is complete.

    An existing file is replaced. Part files of killed runs are deleted first.

    Raises:
        InputError: The file cannot be written. An existing file is unchanged.
    """
    target = check_and_resolve_file_target(path)
    try:
        remove_abandoned_parts(target)
        with SealedWriter(target) as writer:
            for chunk in chunks:
                writer.write(chunk)
            writer.seal()
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror}; an existing file is unchanged",
        ) from error
