"""Add rows to the source file of a task whose rows are stored in the workspace.

New rows come from another file, or a person typed a row. They are appended to a copy of the source
file, which then replaces it; then the rows are synced. Present rows are never changed. After a kill
the same rows can be added again: rows that are in the source already count as unchanged.
"""

import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pipeline.core import files
from pipeline.core.column_placeholders import find_column
from pipeline.core.declaration import HASH_KEY
from pipeline.core.errors import ConfigurationError, InputError, TakenError
from pipeline.core.text import plural
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.engine.task_file import ROW_FILES_FOLDER
from pipeline.engine.task_source import open_source
from pipeline.engine.user_task import UserTask
from pipeline.tables.cells import hash_text, to_compact_json, to_prompt_text
from pipeline.tables.row_findings import Finding, SourceRow, make_rejection
from pipeline.tables.row_import import DEFAULT_IMPORT_OPTIONS, ImportOptions, ImportReport
from pipeline.tables.row_lines import convert_value, format_line
from pipeline.tables.sheet_append import check_cell, iterate_extended_workbook
from pipeline.tables.source import FileSource

# The source is copied in pieces of this size.
COPY_CHUNK_BYTES = 1 << 20
# Bytes by which wide text is detected.
SNIFFED_BYTES = 1 << 16
# Text in these encodings can be appended without a byte order mark.
_WIDE_ENCODINGS = ("utf-16", "utf-32")
_BOM_SUFFIX = "-sig"
# Formats of sources that can get rows.
_OPEN_FORMATS = ("csv", "jsonl", "xlsx")
_FORMAT_BY_SUFFIX = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "a JSON list",
    ".xlsx": "xlsx",
    ".parquet": "a Parquet file",
}


class AdditionReport(ImportReport):
    """Result of adding rows; of a dry run, the result that adding them would have."""

    FIELDS: ClassVar[tuple[str, ...]] = (
        "path",
        "lines",
        "dry",
        "added",
        "updated",
        "unchanged",
        "released",
        "notes",
    )
    NAMES: ClassVar[tuple[str, ...]] = ("line", "column", "reason", "value", "kind", "key")


class NewRows(NamedTuple):
    """Rows that are to be added, as a file or a person states them."""

    # Name of the file, or "the form".
    name: str
    columns: Collection[str]
    rows: Iterable[SourceRow | Finding]


def find_addition_obstacle(task: Task, data: Path) -> str:
    """Return why no rows can be added to the source of a task; "" if rows can be added.

    The reasons: it is no user task, its rows come from a query, its rows are not in a file of the
    workspace's folder of row files, or the file is not CSV, JSON lines or .xlsx, or is in UTF-16 or
    UTF-32. A file that does not exist or cannot be read is no obstacle here.

    Args:
        data: The workspace's folder.
    """
    if not isinstance(task, UserTask):
        return f"{task.name} is no task of a user"
    if task.record.is_query:
        return "its rows come from a query"
    source_path = Path(task.record.items)
    if source_path.parent != data.resolve() / ROW_FILES_FOLDER:
        return "its rows are not in a file that the workspace stores"
    file_format = _FORMAT_BY_SUFFIX.get(source_path.suffix.lower(), source_path.suffix)
    if file_format not in _OPEN_FORMATS:
        return f"its rows are in {file_format}, which cannot get single rows"
    if file_format != "xlsx" and _is_wide_text(source_path):
        return "its rows are in UTF-16 or UTF-32, which cannot get single rows"
    return ""


def _is_wide_text(path: Path) -> bool:
    """Return whether a text file is in UTF-16 or UTF-32: its separators contain null bytes."""
    try:
        with path.open("rb") as reader:
            return b"\0" in reader.read(SNIFFED_BYTES)
    except OSError:
        return False


def can_add_rows(task: Task, data: Path) -> bool:
    """Return whether rows can be added to the source of a task."""
    return not find_addition_obstacle(task, data)


def add_rows(
    ws: WorkspaceSession,
    path: Path,
    options: ImportOptions = DEFAULT_IMPORT_OPTIONS,
) -> AdditionReport:
    """Append the new rows of a file to the source file of the session's task, and sync the rows.

    Columns are matched by their names. A column that the file lacks is blank in the new rows. Rows
    that the source has already are counted as unchanged. Rows that cannot be added become findings
    of the report, and the others are added.

    Raises:
        InputError: The task's source cannot get rows, the file cannot be read, or it lacks a key
            column; nothing was changed.
        ConfigurationError: The source was changed meanwhile, or the disk is full.
    """
    new_file = FileSource(path, options.reading)
    report = AdditionReport(path.name, dry=options.dry)
    _add_new_rows(ws, NewRows(path.name, new_file.columns, new_file), report)
    return report


def add_row(ws: WorkspaceSession, texts: Mapping[str, str]) -> str:
    """Append a row to the source file of the session's task, sync the rows, and return its key.

    Args:
        ws: The workspace, open for writing.
        texts: The text of each column, which is converted to the column's kind.

    Raises:
        TakenError: A row with this key, or an equal row, exists; nothing was changed.
        InputError: The task's source cannot get rows, the key is blank, or a text cannot be
            converted; the error's `field` is its column, and nothing was changed.
        ConfigurationError: The source was changed meanwhile, or the disk is full.
    """
    values = {name: text.replace("\r\n", "\n") for name, text in texts.items()}
    report = AdditionReport("the form", dry=False)
    keys = _add_new_rows(ws, NewRows("the form", values, [SourceRow(1, values)]), report)
    if report.unchanged:
        raise TakenError("this row exists already; nothing was changed", field=next(iter(texts)))
    for finding in report.findings:
        error_class = TakenError if finding.key else InputError
        raise error_class(f"{finding.reason}; nothing was changed", field=finding.column)
    return keys[0]


def _add_new_rows(ws: WorkspaceSession, new_rows: NewRows, report: AdditionReport) -> list[str]:
    """Append new rows to the task's source and sync the rows; return the keys of the added rows.

    A row that is in the source already, or cannot be added, is skipped, and the others are added.
    The report gets the counts, and a finding for each row that cannot be added. A dry run only
    fills in the report and returns no key. Waits for other commands that add rows to the task.

    Args:
        ws: The workspace, whose task gets the rows.
        new_rows: The rows.
        report: The report to fill in; it says whether the run is dry.

    Raises:
        InputError: The task's source cannot get rows, or the rows lack a key column.
        ConfigurationError: The source was changed meanwhile, or the disk is full.
    """
    task = ws.task
    reason = find_addition_obstacle(task, ws.data)
    if reason or not isinstance(task, UserTask):
        raise InputError(
            f"rows cannot be added to {task.name}: {reason}; nothing was changed",
            hint="add them where its rows come from",
        )

    if report.dry:
        # A dry run reads only, so it takes no lock.
        for _ in _make_adder(task, new_rows, report).iterate_new_rows():
            pass
        return []

    # Without the lock, two pages that replace the source would lose the rows of one of them, and a
    # source that is replaced while it is read is refused.
    with ws.locks.wait_for_lock(f"rows-{task.name}", announce=ws.display.say, sleep=time.sleep):
        adder = _make_adder(task, new_rows, report)
        _replace_source(adder, report)
        ws.sync_rows()
    return adder.added_keys


def _make_adder(task: UserTask, new_rows: NewRows, report: AdditionReport) -> "_RowAdder":
    """Open the source of a task, read its keys, and return the selector of rows that it lacks.

    Raises:
        InputError: The source cannot get rows, or the new rows lack a key column.
    """
    declaration = task.user_file.declaration
    source = open_source(None, declaration, Path(task.record.path))
    assert isinstance(source, FileSource)  # noqa: S101 - `find_addition_obstacle` checked it
    return _RowAdder(source, new_rows, declaration.keys, report)


class _RowAdder:
    """Selects the rows that a source lacks, with the values that the source stores.

    Attributes:
        source: The source.
        added_keys: The keys of the new rows.
    """

    def __init__(
        self,
        source: FileSource,
        new_rows: NewRows,
        key_names: tuple[str, ...],
        report: AdditionReport,
    ) -> None:
        """Match the columns of the new rows, and read the keys of the source.

        Raises:
            InputError: The source is not of a format that can get lines, or the new rows lack a key
                column.
        """
        if source.format not in _OPEN_FORMATS:
            raise InputError(f"{source.path.name} cannot get single rows; nothing was changed")
        self.source = source
        self._new_rows = new_rows
        self._report = report
        self.added_keys = list[str]()
        self._name_in_file = {name: find_column(name, new_rows.columns) for name in source.columns}
        self._has_made_key = key_names == (HASH_KEY,)
        self._keys = list(source.columns)
        if not self._has_made_key:
            self._keys = [str(find_column(name, source.columns)) for name in key_names]
        missing_names = [name for name in self._keys if self._name_in_file.get(name) is None]
        if missing_names and not self._has_made_key:
            raise InputError(
                f"{new_rows.name} has no column {missing_names[0]!r}, the key of the rows; "
                "nothing was changed",
                hint="add that column to the file",
            )

        report.columns = [
            {"name": name_in_file, "label": name}
            for name, name_in_file in self._name_in_file.items()
            if name_in_file is not None
        ]
        used_names = set(self._name_in_file.values())
        unused_names = [name for name in new_rows.columns if name not in used_names]
        if unused_names:
            report.notes.append(f"not used: {', '.join(unused_names)}")
        # Hash of each row of the source, and later of each new row, by key.
        self._hash_by_key = {
            self._key_of(row.values): _hash_row(row.values, source.columns)
            for row in source
            if isinstance(row, SourceRow)
        }
        self._source_keys = frozenset(self._hash_by_key)

    def _key_of(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the texts of a row's key columns, or of all columns if the key is a hash."""
        return tuple(to_prompt_text(values.get(name)).strip() for name in self._keys)

    def iterate_new_rows(self) -> Iterator[dict[str, Any]]:
        """Yield the values of each new row by column, and collect its key in `added_keys`.

        Iterate only once, because the report counts the rows during the iteration: all, added and
        unchanged ones. `added_keys` is emptied first. A row that does not fit becomes a finding of
        the report and is not yielded.
        """
        self.added_keys.clear()
        for row in self._new_rows.rows:
            self._report.lines += 1
            if isinstance(row, Finding):
                self._report.add_findings([row], None)
                continue

            values = self._convert_row(row)
            if values is not None and self._remember_if_new(row.line_number, values):
                self._report.added += 1
                self.added_keys.append(", ".join(self._key_of(values)))
                yield values

    def _convert_row(self, row: SourceRow) -> dict[str, Any] | None:
        """Return the values of a row as its source stores them; None if a value does not fit.

        The values are texts for CSV, else converted to the kinds of the source's columns. A row
        that does not fit becomes a finding of the report.
        """
        values: dict[str, Any] = {}
        for name, name_in_file in self._name_in_file.items():
            value = row.values.get(name_in_file) if name_in_file else None
            kind = self.source.columns[name]
            if self.source.format == "csv":
                values[name] = to_prompt_text(value)
                continue
            try:
                values[name] = convert_value(value, kind)
                if self.source.format == "xlsx":
                    check_cell(values[name])
            except ValueError as error:
                self._reject(row.line_number, str(error), name, value)
                return None
        return values

    def _remember_if_new(self, line_number: int, values: Mapping[str, Any]) -> bool:
        """Return whether a row of the file is new; remember it if so.

        A row is new if its key is not blank, and neither the source nor an earlier new row has this
        key. Any other row gives False:

        - If the row with this key is equal in all columns, the report counts the row as unchanged.
        - If that row differs, or if the key is blank, the report gets a finding.

        Args:
            line_number: Line of the row, for the finding.
            values: The values of the row, as the source stores them.
        """
        key = self._key_of(values)
        new_hash = _hash_row(values, self.source.columns)
        is_blank = not any(key) if self._has_made_key else not all(key)
        if is_blank:
            blank_name = self._keys[list(map(bool, key)).index(False)]
            self._reject(line_number, "the key is blank", blank_name, "")
            return False

        present_hash = self._hash_by_key.get(key)
        if present_hash == new_hash:
            self._report.unchanged += 1
            return False
        if present_hash is not None:
            reason = "an earlier row of the file has this key"
            if key in self._source_keys:
                reason = "a row with this key exists and stays as it is"
            key_text = ", ".join(key)
            self._reject(line_number, reason, self._keys[0], key_text, key=key_text)
            return False
        self._hash_by_key[key] = new_hash
        return True

    def _reject(
        self,
        line_number: int,
        reason: str,
        column: str,
        value: object,
        *,
        key: str | None = None,
    ) -> None:
        """Add a rejected row to the findings of the report."""
        finding = make_rejection(line_number, reason, value, column=column, key=key)
        self._report.add_findings([finding], None)


def _hash_row(values: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """Return a hash of the texts of a row's columns, in the order of `columns`."""
    return hash_text(to_compact_json([to_prompt_text(values.get(name)) for name in columns]))


def _replace_source(adder: _RowAdder, report: AdditionReport) -> None:
    """Replace the source by a copy with the new rows at its end, on disk when this returns.

    If there is no new row, the source is not changed.

    Args:
        adder: Gives the source and yields the new rows, which are counted in the report.
        report: The report whose number of added rows is read.

    Raises:
        InputError: A new row has a character that the source's encoding lacks, or the encoding
            cannot be appended to.
        ConfigurationError: The source was changed while it was copied; it was not replaced.
    """
    source = adder.source
    path = source.path
    digest = files.hash_file(path)
    with files.SealedWriter(path) as writer:
        if source.format == "xlsx":
            chunks = iterate_extended_workbook(
                path, source.sheet_name, source.names, adder.iterate_new_rows()
            )
        else:
            chunks = _iterate_with_lines(source, adder.iterate_new_rows())
        for chunk in chunks:
            writer.write(chunk)

        if not report.added:
            return
        if files.hash_file(path) != digest:
            raise ConfigurationError(
                f"{path.name} was changed meanwhile; {plural(report.added, 'row')} not added",
                hint="add the file again",
            )
        writer.seal()


def _iterate_with_lines(source: FileSource, rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield the bytes of a text file, followed by a line for each new row.

    A file without a line end at its end gets one first. The lines have the format, delimiter and
    encoding of the source.

    Raises:
        InputError: The encoding of the source is UTF-16 or UTF-32, or lacks a character of a new
            row.
    """
    encoding = source.encoding.removesuffix(_BOM_SUFFIX)
    if encoding.startswith(_WIDE_ENCODINGS):
        raise InputError(f"rows cannot be added to a file in {encoding}; nothing was changed")

    last_byte = b"\n"
    with source.path.open("rb") as reader:
        while chunk := reader.read(COPY_CHUNK_BYTES):
            yield chunk
            last_byte = chunk[-1:]
    if last_byte != b"\n":
        yield os.linesep.encode()

    for values in rows:
        cells: Sequence[str] | Mapping[str, Any] = values
        if source.format == "csv":
            # A column of CSV may have no name.
            cells = [values.get(name, "") for name in source.names]
        line = format_line(cells, delimiter=source.delimiter)
        try:
            yield line.encode(encoding)
        except UnicodeEncodeError as error:
            raise InputError(
                f"a new row has a character that {encoding}, the encoding of the rows, lacks; "
                "nothing was changed",
            ) from error
