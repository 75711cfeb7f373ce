"""Add the rows of a file to the source file of a task whose rows are stored in the workspace.

New rows are appended to a copy of the source file, which then replaces it; then the rows are synced.
Present rows are never changed. After a kill the same file can be added again: rows that are in the
source already count as unchanged.
"""

import csv
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pipeline.core import files
from pipeline.core.declaration import HASH_KEY, find_column
from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.files import hash_file
from pipeline.core.text import plural
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.engine.task_file import ROW_FILES_FOLDER
from pipeline.engine.task_source import open_source
from pipeline.engine.user_task import UserTask
from pipeline.tables.cells import hash_text, to_compact_json, to_prompt_text
from pipeline.tables.row_findings import Finding, SourceRow, make_rejection
from pipeline.tables.row_import import DEFAULT_IMPORT_OPTIONS, ImportOptions, ImportReport
from pipeline.tables.source import FileSource

# The source is copied in pieces of this size.
COPY_CHUNK_BYTES = 1 << 20
# Text in these encodings can be appended without a byte order mark.
_WIDE_ENCODINGS = ("utf-16", "utf-32")
_BOM_SUFFIX = "-sig"


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


def can_add_rows(task: Task, data: Path) -> bool:
    """Return whether rows can be added: the task's rows are a CSV file in the workspace's folder."""
    if not isinstance(task, UserTask) or task.record.is_query:
        return False
    source_path = Path(task.record.items)
    folder = data.resolve() / ROW_FILES_FOLDER
    return source_path.suffix.lower() == ".csv" and source_path.parent == folder


def add_rows(
    ws: WorkspaceSession,
    path: Path,
    options: ImportOptions = DEFAULT_IMPORT_OPTIONS,
) -> AdditionReport:
    """Append the new rows of a file to the source file of the session's task, and sync the rows.

    Columns are matched by their names. A column that the file lacks is blank in the new rows.

    Raises:
        InputError: The task's source cannot get rows, the file cannot be read, or it lacks a key
            column; nothing was changed.
        ConfigurationError: The source was changed meanwhile, or the disk is full.
    """
    task = ws.task
    if not isinstance(task, UserTask) or not can_add_rows(task, ws.data):
        raise InputError(
            f"rows cannot be added to {task.name}: its rows are not a CSV file of the workspace; "
            "nothing was changed",
            hint="add them where its rows come from",
        )
    declaration = task.user_file.declaration
    source = open_source(None, declaration, Path(task.record.path))
    assert isinstance(source, FileSource)  # noqa: S101 - `can_add_rows` checked it
    report = AdditionReport(path.name, dry=options.dry)
    new_file = FileSource(path, options.reading)
    adder = _RowAdder(source, new_file, declaration.keys, report)
    if options.dry:
        for _ in adder.new_lines():
            pass
        return report

    _append(source, adder)
    ws.sync_rows()
    return report


class _RowAdder:
    """Selects the rows of a file that a source lacks, and formats them as lines of the source."""

    def __init__(
        self,
        source: FileSource,
        new_file: FileSource,
        key_names: tuple[str, ...],
        report: AdditionReport,
    ) -> None:
        """Match the columns of the file, and read the keys of the source.

        Raises:
            InputError: The file lacks a key column.
        """
        self._source = source
        self._new_file = new_file
        self._report = report
        self._name_in_file = {
            name: find_column(name, new_file.columns) for name in source.names if name
        }
        has_made_key = key_names == (HASH_KEY,)
        self._keys = [name for name in source.columns if has_made_key]
        if not has_made_key:
            self._keys = [str(find_column(name, source.columns)) for name in key_names]
        missing_names = [name for name in self._keys if self._name_in_file.get(name) is None]
        if missing_names and not has_made_key:
            raise InputError(
                f"{new_file.path.name} has no column {missing_names[0]!r}, the key of the rows; "
                "nothing was changed",
                hint="add that column to the file",
            )

        report.columns = [
            {"name": name_in_file, "label": name}
            for name, name_in_file in self._name_in_file.items()
            if name_in_file is not None
        ]
        used_names = set(self._name_in_file.values())
        unused_names = [name for name in new_file.columns if name not in used_names]
        if unused_names:
            report.notes.append(f"not used: {', '.join(unused_names)}")
        # Hash of each row of the source, by key.
        self._hash_by_key = {
            self._key_of(row.values): _hash_row(row.values, source.columns)
            for row in source
            if isinstance(row, SourceRow)
        }

    def _key_of(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(to_prompt_text(values.get(name)).strip() for name in self._keys)

    def new_lines(self) -> Iterator[str]:
        """Yield a line of the source for each new row, and count all rows in the report."""
        report = self._report
        for row in self._new_file:
            report.lines += 1
            if isinstance(row, Finding):
                report.add_findings([row], None)
                continue

            values = {
                name: to_prompt_text(row.values.get(name_in_file)) if name_in_file else ""
                for name, name_in_file in self._name_in_file.items()
            }
            key = self._key_of(values)
            key_text = ", ".join(key)
            present_hash = self._hash_by_key.get(key)
            new_hash = _hash_row(values, self._source.columns)
            if not all(key):
                finding = make_rejection(
                    row.line_number, "the key is blank", "", column=self._keys[0]
                )
                report.add_findings([finding], None)
            elif present_hash == new_hash:
                report.unchanged += 1
            elif present_hash is not None:
                reason = "a row with this key exists and stays as it is"
                finding = make_rejection(row.line_number, reason, key_text, key=key_text)
                report.add_findings([finding], None)
            else:
                self._hash_by_key[key] = new_hash
                report.added += 1
                yield self._format_line([values.get(name, "") for name in self._source.names])

    def _format_line(self, cells: list[str]) -> str:
        file = io.StringIO(newline="")
        writer = csv.writer(
            file,
            delimiter=self._source.delimiter,
            quoting=csv.QUOTE_ALL,
            lineterminator="\n",
        )
        writer.writerow(cells)
        return file.getvalue()


def _hash_row(values: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    return hash_text(to_compact_json([to_prompt_text(values.get(name)) for name in columns]))


def _append(source: FileSource, adder: _RowAdder) -> None:
    """Write the source with the new lines to a part file, and replace the source by it.

    The source is unchanged if there is no new line.

    Raises:
        InputError: The text cannot be written in the encoding of the source.
        ConfigurationError: The source was changed meanwhile.
    """
    path = source.path
    encoding = source.encoding.removesuffix(_BOM_SUFFIX)
    if encoding.startswith(_WIDE_ENCODINGS):
        raise InputError(f"rows cannot be added to a file in {encoding}; nothing was changed")

    digest = hash_file(path)
    with files.SealedWriter(path) as writer:
        last_byte = b"\n"
        with path.open("rb") as reader:
            while chunk := reader.read(COPY_CHUNK_BYTES):
                writer.write(chunk)
                last_byte = chunk[-1:]
        if last_byte != b"\n":
            writer.write(os.linesep.encode())

        line_count = 0
        for line in adder.new_lines():
            try:
                writer.write(line.encode(encoding))
            except UnicodeEncodeError as error:
                raise InputError(
                    f"a new row has a character that {encoding}, the encoding of the rows, lacks; "
                    "nothing was changed",
                ) from error
            line_count += 1
        if not line_count:
            return
        if hash_file(path) != digest:
            raise ConfigurationError(
                f"{path.name} was changed meanwhile; {plural(line_count, 'row')} not added",
                hint="add the file again",
            )
        writer.seal()
