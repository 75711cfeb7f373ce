"""Read the table of a task that declares `DatabaseTable`, and write rows into it.

`task_tables` makes or adopts the table. It may belong to another program, which may go on using
it. Each sync also copies the rows to the task's stored rows, as it copies those of a query.
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    MetaData,
    Table,
    Text,
    cast,
    delete,
    insert,
    select,
    update,
)

from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.text import join_first, plural
from askrows.pipeline.rows.cells import parse_json, parse_number, stripped_text, to_column_value
from askrows.pipeline.rows.columns import ColumnLayout, ColumnMapping
from askrows.pipeline.rows.reflection import (
    fold_column_name,
    make_new_ids,
    read_columns,
)
from askrows.pipeline.rows.refusals import translate_refusals
from askrows.pipeline.rows.row_findings import (
    Finding,
    FindingKind,
    SoundRow,
    SourceRow,
    make_excerpt,
    make_rejection,
    parse_key,
)
from askrows.pipeline.rows.row_import import (
    ImportOptions,
    ImportReport,
    MappedFile,
    WrittenRows,
    import_rows,
)
from askrows.pipeline.rows.row_sync import MAX_KEY_BYTES
from askrows.pipeline.store.database import run_many, select_matching
from askrows.pipeline.store.task_record import TaskRecord
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

# Rows per write.
ROWS_PER_WRITE = 500
# Columns that a note lists.
MAX_LISTED_COLUMNS = 10
# Keys that a note lists.
MAX_LISTED_KEYS = 3
# Why a cell does not fit its column, by the column's kind.
_MISFIT_REASONS = {
    "text": "not text",
    "integer": "not a whole number",
    "real": "not a number",
}


# ---- read and write rows


def read_table_rows(
    tx: Connection, record: TaskRecord, keys: Sequence[str]
) -> dict[str, Mapping[str, Any]]:
    """Return the rows of the table that have one of these keys, by key as text."""
    table = _reflect_table(tx, record)
    key = _get_key_text(table, record)
    query = select(key.label("askrows_key"), *(table.c[name] for name in record.columns))
    rows = select_matching(tx, query, key, keys)
    return {row[0]: dict(zip(record.columns, row[1:], strict=True)) for row in rows}


def insert_table_rows(
    tx: Connection, record: TaskRecord, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert rows, given by column; a column `id` that is not the key gets new ids if it needs any.

    Raises:
        RefusedRowError: A rule of the table refuses a row.
    """
    table = _reflect_table(tx, record)
    id_column = read_columns(tx, record.table).get("id")
    if id_column is not None and "id" not in record.columns:
        ids = make_new_ids(tx, record.table, id_column, len(rows))
        if ids is not None:
            rows = [{"id": new_id, **row} for new_id, row in zip(ids, rows, strict=True)]
    with translate_refusals(record.table):
        run_many(tx, insert(table), list(rows))


def update_table_row(
    tx: Connection, record: TaskRecord, key: str, values: Mapping[str, Any]
) -> None:
    """Update columns of the row with a key.

    Raises:
        RefusedRowError: A rule of the table refuses the change.
    """
    table = _reflect_table(tx, record)
    with translate_refusals(record.table):
        tx.execute(update(table).where(_get_key_text(table, record) == key).values(values))


def delete_table_row(tx: Connection, record: TaskRecord, key: str) -> None:
    """Delete the row with a key if it exists.

    Raises:
        RefusedRowError: Another table refers to the row, or a rule refuses the deletion.
    """
    table = _reflect_table(tx, record)
    with translate_refusals(record.table, hint="remove what refers to the row, then try again"):
        tx.execute(delete(table).where(_get_key_text(table, record) == key))


def _reflect_table(tx: Connection, record: TaskRecord) -> Table:
    """Return the table with its columns as they are in the database."""
    types = {name: column["type"] for name, column in read_columns(tx, record.table).items()}
    columns = [Column(name, types[fold_column_name(tx, name)]) for name in record.columns]
    if "id" in types and "id" not in record.columns:
        columns.append(Column("id", types["id"]))
    return Table(record.table, MetaData(), *columns)


def _get_key_text(table: Table, record: TaskRecord) -> ColumnElement[str]:
    """Return the key of the table as an SQL text."""
    key: ColumnElement[Any] = table.c[record.key[0][0]]
    if isinstance(key.type, Text):
        return key
    return cast(key, Text)


# ---- rows of files and documents


def make_layout(record: TaskRecord) -> ColumnLayout:
    """Return the columns that an import of the task reads."""
    key, _ = record.key[0]
    return ColumnLayout(
        key,
        {name: name for name in record.columns},
        f"give a file with the columns {', '.join(record.columns)}",
    )


class TableRowsFile(MappedFile):
    """A file with rows for the table of a task."""

    def __init__(self, path: Path, options: ImportOptions, record: TaskRecord) -> None:
        """Open the file; see `MappedFile`."""
        self.layout = make_layout(record)
        self._record = record
        super().__init__(path, options)

    def check_row(self, row: SourceRow) -> SoundRow | Finding:
        """Return the row by column, or the finding that rejects it."""
        return check_table_row(self._record, row)

    def fold_key(self, key: str) -> str:
        """Return the key in the form that equal keys of one file share."""
        return unicodedata.normalize("NFC", key)


def check_table_row(record: TaskRecord, row: SourceRow) -> SoundRow | Finding:
    """Return a row with values of the kinds of its columns, or the finding that rejects it.

    Only the key can reject a row. Another cell that does not fit its column is left empty, with a
    finding.
    """
    key_column, key_kind = record.key[0]
    key_cell = row.values.get(key_column)
    if isinstance(key_cell, str):
        key_cell = key_cell.strip()
    key, reason = parse_key(key_cell, max_chars=MAX_KEY_BYTES // 4)
    if not reason and key_kind == "integer" and _convert_cell(key_cell, key_kind) is None:
        reason = _MISFIT_REASONS[key_kind]
    if reason:
        return make_rejection(row.line_number, reason, key_cell or "", column=key_column)

    findings = list[Finding]()
    values = {key_column: _convert_cell(key_cell, key_kind)}
    for name, kind in record.columns.items():
        if name == key_column or name not in row.values:
            continue
        cell = row.values[name]
        values[name] = _convert_cell(cell, kind)
        if values[name] is None and cell is not None and str(cell).strip():
            excerpt = make_excerpt(cell)
            reason = f"{_MISFIT_REASONS[kind]}; left empty"
            findings.append(
                Finding(row.line_number, name, reason, excerpt, FindingKind.CHANGED, key)
            )
    extra_cells = {name: cell for name, cell in row.values.items() if name not in record.columns}
    return SoundRow(key, values, row.line_number, tuple(findings), extra_cells)


def _convert_cell(cell: Any, kind: str) -> Any:
    """Return the cell of a file as a value of a column's kind; None if it is empty or does not fit.

    A text is read as a number in a column of numbers; any other value becomes text in a text
    column.
    """
    if kind == "text":
        return stripped_text(to_column_value(kind, cell)) or None
    if isinstance(cell, str):
        cell = parse_number(cell)
    return to_column_value(kind, cell)


def read_document_row(
    data: bytes, record: TaskRecord, column_map: Mapping[str, str], *, document_name: str
) -> tuple[SoundRow, Sequence[str]]:
    """Return the row of a JSON document, and notes on how its names were read; store nothing.

    Args:
        column_map: Names in the document by column, from MAP=.
        document_name: File name of the document, or "-" for standard input.

    Raises:
        InputError: The document is not a JSON object, or its row would be rejected or changed.
    """
    source_name = "standard input" if document_name == "-" else document_name
    layout = make_layout(record)
    hint = f"write a JSON object with the keys {', '.join(record.columns)}"
    try:
        document = parse_json(data.decode("utf-8-sig", "surrogateescape"))
    except ValueError as error:
        raise InputError(f"{source_name}: {error}; nothing was stored", hint=hint) from None
    if not isinstance(document, dict):
        raise InputError(f"{source_name}: not a JSON object; nothing was stored", hint=hint)

    mapping = ColumnMapping(list(document), column_map, layout=layout, path=Path(source_name))
    mapped_row = mapping.map_row(SourceRow(1, document))
    if isinstance(mapped_row, Finding):
        raise _make_document_error(source_name, mapped_row, hint)
    row = check_table_row(record, mapped_row)
    if isinstance(row, Finding):
        raise _make_document_error(source_name, row, hint)
    if row.findings:
        raise _make_document_error(source_name, row.findings[0], hint)
    return row, [*mapping.notes, *describe_unread_columns(row.extra_cells)]


def _make_document_error(source_name: str, finding: Finding, hint: str) -> InputError:
    """Return the error for a document whose row would be rejected or changed."""
    reason = finding.reason.removesuffix("; left empty")
    return InputError(
        f"{source_name}: {finding.column}: {reason} (found {finding.value!r}); nothing was stored",
        hint=hint,
        field=finding.column,
    )


def describe_unread_columns(names: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """Return a note on the names of a file that are no columns of the table; empty without any."""
    if not names:
        return []
    excerpts = [make_excerpt(name) for name in names]
    listed_names = join_first(excerpts, MAX_LISTED_COLUMNS)
    return [f"not stored, because the table has no such column: {listed_names}"]


# ---- import a file


def import_table_rows(
    workspace: OpenWorkspace, record: TaskRecord, path: Path, options: ImportOptions
) -> ImportReport:
    """Import the rows of a file into the table of a task, in one transaction.

    New keys are inserted, and known keys updated in the columns that the file has. Rows that the
    file lacks are counted, and nothing is deleted. A dry import writes nothing.

    Raises:
        InputError: The file cannot be read, or the report cannot be written. Nothing was changed.
        RefusedRowError: A rule of the table refuses a row. Nothing was changed.
    """
    file = TableRowsFile(path, options, record)
    report = import_rows(
        workspace,
        file,
        write=partial(_write_rows, record),
        task=record.name,
        max_page_rows=ROWS_PER_WRITE,
        list_gone=partial(_find_gone_keys, record, file),
    )
    report.notes += describe_unread_columns(file.mapping.kept_names)
    if report.gone:
        keys = join_first(report.gone_keys, MAX_LISTED_KEYS)
        report.notes.append(
            f"{path} lacks {plural(report.gone, 'row')} of the table {record.table} ({keys}); "
            f"none was deleted; {OptionHint(report='gone.csv')} lists them"
        )
    return report


def _find_gone_keys(
    record: TaskRecord, file: TableRowsFile, tx: Connection, report: ImportReport
) -> Iterator[str]:
    """Yield the keys of the table's rows that a file lacks.

    A file without any row that was stored before is an addition, and nothing is yielded.
    """
    if not report.updated + report.unchanged:
        return
    table = _reflect_table(tx, record)
    for (key,) in tx.execute(select(_get_key_text(table, record))):
        if not file.has_key(str(key)):
            yield str(key)


def _write_rows(
    record: TaskRecord,
    tx: Connection,
    rows: Sequence[SoundRow],
    is_dry: bool,  # noqa: FBT001 - called by `import_rows`
) -> WrittenRows:
    """Insert new rows and update changed rows; a dry import only counts."""
    stored_rows = read_table_rows(tx, record, [row.key for row in rows])
    new_rows = [row for row in rows if row.key not in stored_rows]
    columns = dict.fromkeys(name for row in new_rows for name in row.values)
    if new_rows and not is_dry:
        empty_row = dict.fromkeys(columns)
        insert_table_rows(tx, record, [{**empty_row, **row.values} for row in new_rows])

    changed_keys = list[str]()
    for row in rows:
        stored_row = stored_rows.get(row.key)
        if stored_row is None:
            continue
        changes = {name: value for name, value in row.values.items() if value != stored_row[name]}
        changes.pop(record.key[0][0], None)
        if changes:
            changed_keys.append(row.key)
            if not is_dry:
                update_table_row(tx, record, row.key, changes)
    return WrittenRows(len(new_rows), len(changed_keys), ())
