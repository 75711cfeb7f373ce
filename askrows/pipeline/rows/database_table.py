"""Read the table of a task that declares `DatabaseTable`, and write rows into it.

`task_tables` makes or adopts the table. It may belong to another program, which may go on using
it. Each sync also copies the rows to the task's stored rows, as it copies those of a query.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    MetaData,
    String,
    Table,
    Text,
    and_,
    cast,
    delete,
    insert,
    select,
    type_coerce,
    update,
)

from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.declaration import ID_COLUMN, CellNote
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.text import join_first, plural
from askrows.pipeline.rows.answer_views import ANSWERED_AT, CORRECTED_BY, VERSION_COLUMN
from askrows.pipeline.rows.cells import (
    parse_finite_number,
    parse_strict_json,
    to_column_value,
    to_stripped_text,
)
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
    parse_key_or_reason,
)
from askrows.pipeline.rows.row_import import (
    ImportOptions,
    ImportReport,
    MappedFile,
    WrittenRows,
    import_rows,
)
from askrows.pipeline.rows.row_sync import MAX_KEY_BYTES
from askrows.pipeline.rows.source import RESERVED_PREFIX
from askrows.pipeline.rows.task_rows import REASON_COLUMN, STATE_COLUMN
from askrows.pipeline.rows.task_tables import find_filled_column_kinds
from askrows.pipeline.rows.view_row import ANSWER_PREFIX, COST_KINDS, choose_answer_column_names
from askrows.pipeline.store import claims, journal
from askrows.pipeline.store import rows as row_store
from askrows.pipeline.store.database import is_sqlite, read_matching_rows, run_for_each_row
from askrows.pipeline.store.schema import ColumnTyped
from askrows.pipeline.store.task_record import TaskRecord
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

# Rows per write.
ROWS_PER_WRITE = 500
# Columns that a note lists.
MAX_LISTED_COLUMNS = 10
# Characters of a `file_key=`, which is in addresses and on screens.
MAX_NAME_CHARS = 200
# Keys that a note lists.
MAX_LISTED_KEYS = 3
# Returns the cells of a row to store, and notes on changed cells, of its cells by column and its
# line.
ReadCells = Callable[[Mapping[str, Any], int], tuple[Mapping[str, Any], Sequence[CellNote]]]
# What a column that needs a value gets for an empty cell, by the column's kind.
_BLANKS_BY_KIND: Mapping[str, Any] = {"text": "", "integer": 0, "real": 0}
# Why a cell does not fit its column, by the column's kind.
_MISFIT_REASONS = {
    "text": "not text",
    "integer": "not a whole number",
    "real": "not a number",
}


# ---- read and write rows


def find_file_key_column(record: TaskRecord) -> str:
    """Return the column by which rows of files and documents are matched: `file_key=`, or the key.

    Every other function that takes the key of a row of a file means the value of this column.
    """
    return record.file_key or record.key[0][0]


def read_table_rows_by_key(
    tx: Connection, record: TaskRecord, keys: Sequence[str]
) -> dict[str, Mapping[str, Any]]:
    """Return the rows of the table that have one of these keys of a file, by this key.

    A column that ignores case also finds keys in another case, because the database would refuse
    to insert them; an exact match comes first. Of several rows with a key, the row with the lowest
    id is returned. Keys without a row are left out.
    """
    table = _reflect_task_table(tx, record)
    file_key = find_file_key_column(record)
    id_column = table.c[record.key[0][0]]
    query = select(*(table.c[name] for name in record.columns)).order_by(id_column.desc())
    rows = dict[str, Mapping[str, Any]]()
    # The lowest id comes last, and replaces the others.
    for cells in read_matching_rows(tx, query, _make_text_expression(table.c[file_key]), keys):
        row = dict(zip(record.columns, cells, strict=True))
        rows[str(row[file_key])] = row

    other_keys = rows.keys() - {*keys}
    rows_by_folded_key = {key.casefold(): rows[key] for key in other_keys}
    matches = {key: rows.get(key) or rows_by_folded_key.get(key.casefold()) for key in keys}
    return {key: row for key, row in matches.items() if row is not None}


def find_table_row_id(tx: Connection, record: TaskRecord, name: str) -> str | None:
    """Return the id of the row that has a key of a file, as text; None if there is none."""
    row = read_table_rows_by_key(tx, record, [name]).get(name)
    return None if row is None else str(row[record.key[0][0]])


def insert_table_rows(
    tx: Connection, record: TaskRecord, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert rows, given by column.

    A column `id` that files do not have gets new ids, unless the database makes them. A row gets
    NULL in a column that only other rows have, or a blank if the column needs a value. The id of a
    deleted row is not given again.

    Raises:
        RefusedRowError: A rule of the table refuses a row.
    """
    table = _reflect_task_table(tx, record)
    reflected_columns = read_columns(tx, record.table)
    file_columns = list_file_columns(record)
    needed_names = [
        name
        for name in file_columns
        if not table.c[name].nullable
        and reflected_columns[fold_column_name(tx, name)]["default"] is None
    ]
    names = dict.fromkeys([*chain.from_iterable(rows), *needed_names])
    new_rows = [
        _replace_nulls_in_required_columns(table, record, {name: row.get(name) for name in names})
        for row in rows
    ]
    id_column = reflected_columns.get(ID_COLUMN)
    if id_column is not None and ID_COLUMN not in file_columns:
        ids = make_new_ids(
            tx,
            record.table,
            id_column,
            len(rows),
            find_highest_id=partial(claims.find_highest_known_row_number, tx, record.name),
            is_forgotten=journal.make_forgotten_check(tx, record.name),
        )
        if ids is not None:
            new_rows = [
                {**row, ID_COLUMN: new_id} for new_id, row in zip(ids, new_rows, strict=True)
            ]
    with translate_refusals(record.table):
        run_for_each_row(tx, insert(table), new_rows)


def update_table_row(
    tx: Connection, record: TaskRecord, row_id: str, values: Mapping[str, Any]
) -> None:
    """Update columns of the row with an id; nothing happens if it does not exist.

    None is stored as a blank in a column that needs a value.

    Raises:
        RefusedRowError: A rule of the table refuses the change.
    """
    table = _reflect_task_table(tx, record)
    changes = _replace_nulls_in_required_columns(table, record, values)
    with translate_refusals(record.table):
        tx.execute(update(table).where(_make_id_condition(table, record, row_id)).values(changes))


def delete_table_row(tx: Connection, record: TaskRecord, row_id: str) -> None:
    """Delete the row with an id if it exists.

    Raises:
        RefusedRowError: Another table refers to the row, or a rule refuses the deletion.
    """
    table = _reflect_task_table(tx, record)
    with translate_refusals(record.table, hint="remove what refers to the row, then try again"):
        tx.execute(delete(table).where(_make_id_condition(table, record, row_id)))


def _reflect_task_table(tx: Connection, record: TaskRecord) -> Table:
    """Return the table with the task's columns and the id column as they are in the database.

    Columns that the database lacks are left out. SQLite may store any value in a column of any
    type, so its values are not converted.
    """
    reflected_columns = read_columns(tx, record.table)
    columns = list[Column[Any]]()
    for name in dict.fromkeys([*record.columns, ID_COLUMN]):
        reflected_column = reflected_columns.get(fold_column_name(tx, name))
        if reflected_column is not None:
            column_type = ColumnTyped() if is_sqlite(tx) else reflected_column["type"]
            columns.append(Column(name, column_type, nullable=reflected_column["nullable"]))
    return Table(record.table, MetaData(), *columns)


def _make_text_expression(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a column of the table that can be compared with texts, if possible by an index."""
    if isinstance(column.type, String | ColumnTyped):
        return column
    return cast(column, Text)


def _make_id_condition(table: Table, record: TaskRecord, row_id: str) -> ColumnElement[bool]:
    """Return the condition that a row has an id.

    The first comparison uses an index; the second one is exact if the column ignores case.
    """
    key = table.c[record.key[0][0]]
    return and_(type_coerce(key, ColumnTyped()) == row_id, cast(key, Text) == row_id)


def _replace_nulls_in_required_columns(
    table: Table, record: TaskRecord, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return values with a blank instead of None in columns that need a value."""
    return {
        name: _BLANKS_BY_KIND[record.columns[name]]
        if value is None and not table.c[name].nullable
        else value
        for name, value in values.items()
    }


# ---- rows of files and documents


def make_import_column_layout(record: TaskRecord) -> ColumnLayout:
    """Return the columns that an import of the task reads, with labels, and names to ignore.

    They are the columns of the table except an `id` that askrows makes, and those of
    `file_columns=`. Values under the names of answer fields, derived or filled columns, and of the
    made `id`, are ignored. Values under other names that exports add are ignored in exports only.
    """
    names = list_file_columns(record)
    labels = {name: find_column_label(record, name) for name in (*names, *record.file_columns)}
    made_names = [
        *dict(record.fields),
        *choose_answer_column_names(record).values(),
        *record.derived,
    ]
    if record.file_key:
        made_names.append(ID_COLUMN)
    confidence_names = [f"{field}_confidence" for field, _ in record.fields]
    answer_names = [VERSION_COLUMN, ANSWERED_AT, CORRECTED_BY, *COST_KINDS, *confidence_names]
    return ColumnLayout(
        find_file_key_column(record),
        labels,
        f"give a file with the columns {', '.join(labels[name] for name in names)}",
        columns_kept_twice=frozenset((record.file_key, *record.file_columns)),
        made_names=[*made_names, *find_filled_column_kinds(record)],
        export_prefixes={
            **dict.fromkeys(answer_names, ANSWER_PREFIX),
            **dict.fromkeys((STATE_COLUMN, REASON_COLUMN), "row_"),
        },
    )


def list_file_columns(record: TaskRecord) -> list[str]:
    """Return the columns that files and documents have; askrows makes the ids with `file_key=`."""
    return [name for name in record.columns if not (record.file_key and name == ID_COLUMN)]


def find_column_label(record: TaskRecord, name: str) -> str:
    """Return what messages call a column of files: its header, or its name."""
    return record.headers.get(name, name)


class TableRowsFile(MappedFile):
    """A file with rows for the table of a task."""

    def __init__(
        self, path: Path, options: ImportOptions, record: TaskRecord, read_cells: ReadCells
    ) -> None:
        """Open the file; see `MappedFile`.

        Args:
            read_cells: Returns the cells to store of a row of the file, with notes.
        """
        self.layout = make_import_column_layout(record)
        self._record = record
        self._read_cells = read_cells
        super().__init__(path, options)

    def convert_and_check_row(self, row: SourceRow) -> SoundRow | Finding:
        """Read a row with `read_cells`, and return it checked, or the finding that rejects it.

        See `make_sound_table_row`. Each note of `read_cells` is a finding of the row.
        """
        read_row, changes = _apply_read_cells(self._record, row, self._read_cells)
        checked_row = make_sound_table_row(self._record, read_row)
        if isinstance(checked_row, Finding):
            return checked_row
        findings = [change._replace(key=checked_row.key) for change in changes]
        return checked_row._replace(findings=(*findings, *checked_row.findings))

    def fold_key(self, key: str) -> str:
        """Return the key in the form that equal keys of one file share.

        With `file_key=`, the form also ignores case: such rows are almost surely about the same.
        """
        folded_key = unicodedata.normalize("NFC", key)
        return folded_key.casefold() if self._record.file_key else folded_key


def _apply_read_cells(
    record: TaskRecord, row: SourceRow, read_cells: ReadCells
) -> tuple[SourceRow, list[Finding]]:
    """Return a row of a file as `read=` reads it, and a finding without a key for each note.

    Cells of columns that are neither in the table nor in `file_columns=` are not passed to `read=`
    and stay.
    """
    names = {*list_file_columns(record), *record.file_columns}
    cells = {name: cell for name, cell in row.values.items() if name in names}
    other_cells = {name: cell for name, cell in row.values.items() if name not in names}
    cells_to_store, notes = read_cells(cells, row.line_number)
    findings = [
        Finding(
            row.line_number,
            find_column_label(record, column),
            reason,
            make_excerpt(cell),
            FindingKind.CHANGED,
        )
        for column, reason, cell in notes
    ]
    return SourceRow(row.line_number, {**cells_to_store, **other_cells}), findings


def make_sound_table_row(record: TaskRecord, row: SourceRow) -> SoundRow | Finding:
    """Return a row with values of the kinds of its columns, or the finding that rejects it.

    Only the key can reject a row: it is missing, too long or otherwise invalid, or no whole number
    in an integer column. Another cell that does not fit its column is left empty, with a finding.
    Cells without a column become `extra_cells`, unless their name is blank or begins with
    RESERVED_PREFIX.
    """
    key_column = find_file_key_column(record)
    key_kind = record.columns[key_column]
    found_cell = row.values.get(key_column)
    key_cell = found_cell.strip() if isinstance(found_cell, str) else found_cell
    max_chars = MAX_NAME_CHARS if record.file_key else MAX_KEY_BYTES // 4
    key, reason = parse_key_or_reason(key_cell, max_chars=max_chars)
    if not reason and key_kind == "integer" and _convert_cell(key_cell, key_kind) is None:
        reason = _MISFIT_REASONS[key_kind]
    if reason:
        label = find_column_label(record, key_column)
        return make_rejection(row.line_number, reason, found_cell or "", column=label)

    findings = list[Finding]()
    names = list_file_columns(record)
    values = {key_column: _convert_cell(key_cell, key_kind)}
    for name in names:
        if name == key_column or name not in row.values:
            continue
        cell = row.values[name]
        kind = record.columns[name]
        values[name] = _convert_cell(cell, kind)
        if values[name] is None and cell is not None and str(cell).strip():
            excerpt = make_excerpt(cell)
            reason = f"{_MISFIT_REASONS[kind]}; left empty"
            label = find_column_label(record, name)
            findings.append(
                Finding(row.line_number, label, reason, excerpt, FindingKind.CHANGED, key)
            )
    extra_cells = {
        name: cell
        for name, cell in row.values.items()
        if name not in names and name.strip() and not name.casefold().startswith(RESERVED_PREFIX)
    }
    return SoundRow(key, values, row.line_number, tuple(findings), extra_cells)


def _convert_cell(cell: Any, kind: str) -> Any:
    """Return the cell of a file as a value of a column's kind; None if it is empty or does not fit.

    A text is read as a number in a column of numbers. Any value becomes stripped text in a text
    column.
    """
    if kind == "text":
        return to_stripped_text(to_column_value(kind, cell)) or None
    if isinstance(cell, str):
        cell = parse_finite_number(cell)
    return to_column_value(kind, cell)


def parse_document_row_with_notes(
    data: bytes,
    record: TaskRecord,
    mapped_names: Sequence[tuple[str, str]],
    *,
    document_name: str,
    read_cells: ReadCells,
    accepts_changes: bool = True,
) -> tuple[SoundRow, Sequence[str]]:
    """Return the row of a JSON document, and notes on how its names were read; store nothing.

    Args:
        mapped_names: Columns, each with a name in the document, from MAP=.
        document_name: File name of the document, or "-" for standard input.
        read_cells: Returns the cells to store of the document, with notes.
        accepts_changes: Accept cells that `read_cells` changed; they are findings of the row.

    Raises:
        InputError: The document is not a JSON object, `mapped_names` is invalid, or the row would
            be rejected, or changed in another way.
    """
    source_name = "standard input" if document_name == "-" else document_name
    layout = make_import_column_layout(record)
    labels = [find_column_label(record, name) for name in list_file_columns(record)]
    hint = f"write a JSON object with the keys {', '.join(labels)}"
    try:
        document = parse_strict_json(data.decode("utf-8-sig", "surrogateescape"))
    except ValueError as error:
        raise InputError(f"{source_name}: {error}; nothing was stored", hint=hint) from None
    if not isinstance(document, dict):
        raise InputError(f"{source_name}: not a JSON object; nothing was stored", hint=hint)

    mapping = ColumnMapping(list(document), mapped_names, layout=layout, path=Path(source_name))
    mapped_row = mapping.map_row_and_record_names(SourceRow(1, document))
    if isinstance(mapped_row, Finding):
        raise _make_document_error(source_name, layout, mapped_row, hint)
    read_row, changes = _apply_read_cells(record, mapped_row, read_cells)
    row = make_sound_table_row(record, read_row)
    if isinstance(row, Finding):
        raise _make_document_error(source_name, layout, row, hint)
    faults = row.findings if accepts_changes else (*changes, *row.findings)
    if faults:
        hint = f"correct {faults[0].column} in the document, or remove it"
        raise _make_document_error(source_name, layout, faults[0], hint)
    row = row._replace(findings=tuple(changes))
    return row, [*mapping.notes, *iterate_other_column_notes(record, mapping)]


def _make_document_error(
    source_name: str, layout: ColumnLayout, finding: Finding, hint: str
) -> InputError:
    """Return the error for a document whose row would be rejected or changed."""
    # The rest says what an import does.
    reason = finding.reason.partition("; ")[0]
    if finding.value:
        reason += f" (found {finding.value!r})"
    columns = [name for name, label in layout.columns.items() if label == finding.column]
    return InputError(
        f"{source_name}: {finding.column}: {reason}; nothing was stored",
        hint=hint,
        field=columns[0] if columns else "",
    )


def iterate_other_column_notes(record: TaskRecord, mapping: ColumnMapping) -> Iterator[str]:
    """Yield notes on the names of a file that are no columns of the table.

    A note lists the columns that are stored outside the table, and another the ignored columns.
    """
    if mapping.kept_names:
        yield (
            f"other columns, stored for exports and {OptionHint('where')}: "
            f"{_join_first_columns(mapping.kept_names)}"
        )
    if mapping.ignored_names:
        correct_command = CommandHint("correct", task=record.name, row="…")
        yield (
            f"columns ignored: {_join_first_columns(sorted(mapping.ignored_names))}; "
            f"`{correct_command}` changes an answer"
        )


def _join_first_columns(names: Iterable[str]) -> str:
    return join_first([make_excerpt(name) for name in names], MAX_LISTED_COLUMNS)


# ---- import a file


def import_table_rows(
    workspace: OpenWorkspace,
    record: TaskRecord,
    path: Path,
    options: ImportOptions,
    read_cells: ReadCells,
) -> ImportReport:
    """Import the rows of a file into the table of a task, in one transaction.

    New keys are inserted, and known keys updated in the columns that the file has. Cells without a
    column are stored outside the table. Rows that the file lacks are counted, unless all its keys
    are new; nothing is deleted. Notes list these rows and other columns. A dry import writes no
    row. Rejected rows are stored as refused rows, see `import_rows`.

    Args:
        read_cells: Returns the cells to store of a row of the file, with notes.

    Raises:
        ConfigurationError: Code of the task's file failed. Nothing was changed.
        InputError: The file cannot be read, or the report cannot be written. Nothing was changed.
        RefusedRowError: A rule of the table refuses a row. Nothing was changed.
    """
    file = TableRowsFile(path, options, record, read_cells)
    report = import_rows(
        workspace,
        file,
        write=partial(_write_or_count_rows, record),
        task=record.name,
        max_page_rows=ROWS_PER_WRITE,
        list_gone=partial(_find_gone_keys_unless_addition, record, file),
    )
    report.notes += iterate_other_column_notes(record, file.mapping)
    if report.gone:
        keys = join_first(report.gone_keys, MAX_LISTED_KEYS)
        list_file = report.report or "gone.csv"
        list_command = CommandHint(
            "import", task=record.name, from_=path, dry=True, report=list_file
        )
        nouns = record.words[:2] or ("row", "rows")
        report.notes.append(
            f"{path} lacks {plural(report.gone, *nouns)} of the table {record.table} ({keys}); "
            f"none was deleted; `{list_command}` lists them in {list_file}, and "
            f"`{CommandHint('forget', task=record.name, file=list_file)}` deletes them"
        )
    return report


def _find_gone_keys_unless_addition(
    record: TaskRecord, file: TableRowsFile, tx: Connection, report: ImportReport
) -> Iterator[str]:
    """Yield the keys of the table's rows that a file lacks, in the order of their row ids.

    A file without any row that was stored before is an addition, and nothing is yielded.
    """
    if not report.updated + report.unchanged:
        return
    columns = _reflect_task_table(tx, record).c
    keys = select(_make_text_expression(columns[find_file_key_column(record)])).order_by(
        columns[record.key[0][0]]
    )
    for (key,) in tx.execute(keys):
        if key is not None and not file.has_read_key(to_stripped_text(key)):
            yield to_stripped_text(key)


def _write_or_count_rows(
    record: TaskRecord,
    tx: Connection,
    rows: Sequence[SoundRow],
    is_dry: bool,  # noqa: FBT001 - called by `import_rows`
) -> WrittenRows:
    """Insert new rows and update changed rows; a dry import only counts.

    Cells of other columns are stored outside the table. A row in which only they changed counts as
    updated.

    Returns:
        The numbers of new and of updated rows, and the ids of rows whose asked or required columns
        changed.
    """
    stored_rows = read_table_rows_by_key(tx, record, [row.key for row in rows])
    new_rows = [row for row in rows if row.key not in stored_rows]
    if new_rows and not is_dry:
        insert_table_rows(tx, record, [row.values for row in new_rows])

    table = _reflect_task_table(tx, record)
    changed_cells = _find_changed_extra_cells_by_key(tx, record, rows)
    if not is_dry:
        row_store.replace_extra_cells(tx, record.name, list(changed_cells.values()))
    updated_keys = set(changed_cells)
    changed_ids = list[str]()
    for row in rows:
        stored_row = stored_rows.get(row.key)
        if stored_row is None:
            continue
        changes = _find_changed_values(table, record, row, stored_row)
        if not changes:
            continue
        row_id = str(stored_row[record.key[0][0]])
        updated_keys.add(row.key)
        if not is_dry:
            update_table_row(tx, record, row_id, changes)
        if not changes.keys().isdisjoint([*record.asked_columns, *record.required_columns]):
            changed_ids.append(row_id)
    updated_count = len(updated_keys & stored_rows.keys())
    return WrittenRows(len(new_rows), updated_count, changed_ids)


def store_extra_cells(tx: Connection, record: TaskRecord, rows: Sequence[SoundRow]) -> None:
    """Store the cells of rows in the table that have no column there.

    Cells of earlier files are kept if the row lacks their columns. Rows that the table lacks are
    skipped.
    """
    changed_cells = _find_changed_extra_cells_by_key(tx, record, rows)
    row_store.replace_extra_cells(tx, record.name, list(changed_cells.values()))


def _find_changed_extra_cells_by_key(
    tx: Connection, record: TaskRecord, rows: Sequence[SoundRow]
) -> dict[str, row_store.RowExtraCells]:
    """Return all extra cells of the rows whose extra cells differ from the stored, by key.

    They have the cells of earlier files, too, if the row lacks their columns.
    Rows that the table lacks are left out.
    """
    cells_by_key = {row.key: row.extra_cells for row in rows if row.extra_cells}
    table_rows = read_table_rows_by_key(tx, record, list(cells_by_key))
    id_column, _ = record.key[0]
    file_key = find_file_key_column(record)
    names_by_id = {str(row[id_column]): str(row[file_key]) for row in table_rows.values()}
    stored_cells = row_store.read_extra_cells(tx, record.name, names_by_id)
    changed_rows = dict[str, row_store.RowExtraCells]()
    for key, row in table_rows.items():
        row_id = str(row[id_column])
        former_cells = stored_cells.get(row_id, {})
        cells = {**former_cells, **cells_by_key[key]}
        if cells != former_cells:
            changed_rows[key] = row_store.RowExtraCells(row_id, names_by_id[row_id], cells)
    return changed_rows


def _find_changed_values(
    table: Table, record: TaskRecord, row: SoundRow, stored_row: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values of a row of a file that differ from the stored row, without its key."""
    stored_values = _replace_nulls_in_required_columns(table, record, row.values)
    return {
        name: value
        for name, value in row.values.items()
        if name != find_file_key_column(record)
        and _to_comparable_cell(record.columns[name], stored_values[name])
        != _to_comparable_cell(record.columns[name], stored_row[name])
    }


def _to_comparable_cell(kind: str, cell: Any) -> str | float | None:
    """Return a cell in a form in which equal contents are equal, whatever the column's type."""
    if kind == "text":
        return to_stripped_text(cell) or None
    return parse_finite_number(cell) if kind == "real" else cell
