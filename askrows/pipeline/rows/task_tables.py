"""The tables of the workspace's database that have the rows of a task, and those of its answers.

They are made, or adopted from another program, whose rows are not changed.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Identity,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.types import TypeEngine

from askrows.pipeline.core.declaration import ID_COLUMN
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.rows.adopt import TableSpec, TaskTables
from askrows.pipeline.rows.folder_files import make_file_table
from askrows.pipeline.rows.reflection import TYPES_BY_KIND, ColumnNeed, quote_name, read_columns
from askrows.pipeline.rows.write_to import AnswerTarget, make_answer_target, make_derived_targets
from askrows.pipeline.store.schema import NUMBER_COLUMN_TYPE, BigId, UtcTime
from askrows.pipeline.store.task_record import TaskRecord

# Types of the columns of rows that are made, and values that existing columns must store.
_ROW_TYPES: Mapping[str, TypeEngine[Any]] = {"integer": BigInteger(), "real": NUMBER_COLUMN_TYPE}
_ROW_NEEDS = {
    "integer": ColumnNeed.INTEGER,
    "real": ColumnNeed.NUMBER,
    "json": ColumnNeed.JSON,
}
# The same for the columns of answers, by the kind of the field.
_RECORD_TYPES: Mapping[str, Any] = {**TYPES_BY_KIND, "json": Text(), "time": UtcTime()}
_RECORD_NEEDS = {"text": ColumnNeed.TEXT, "json": ColumnNeed.JSON, "time": ColumnNeed.TIME}


def make_task_tables(record: TaskRecord) -> TaskTables | None:
    """Return the tables of a task; None if its source takes no new rows. Nothing is read."""
    if not record.table:
        return None
    return TaskTables(partial(_make_specs, record))


def _make_record_spec(target: AnswerTarget, id_type: TypeEngine[Any]) -> TableSpec:
    """Return what the table needs that gets a record for each answer, with the ids of files."""
    kinds = {**dict(target.task.fields), **target.column_kinds}
    definition = Table(
        target.table_name,
        MetaData(),
        Column(target.column_name, id_type),
        Column("provider", Text),
        Column("model", Text),
        *(Column(name, _RECORD_TYPES[kind]) for name, kind in kinds.items()),
        PrimaryKeyConstraint(*target.key_names),
        sqlite_with_rowid=False,
    )
    needs = {name: _RECORD_NEEDS[kind] for name, kind in kinds.items() if kind in _RECORD_NEEDS}
    index_name = f"askrows_{target.table_name}_of_{target.column_name.removesuffix('_id')}"
    return TableSpec(
        definition=definition,
        required_columns=(*target.key_names, *needs),
        column_needs=needs,
        reference=target.column_name,
        marker_index=(index_name, f"({', '.join(target.key_names)})"),
    )


def _make_specs(
    record: TaskRecord,
    tx: Connection,
    settings: Settings,  # noqa: ARG001 - fixed names
) -> list[TableSpec]:
    """Return what the tables of a task need, so that they can be made or adopted.

    A `DatabaseTable` is the only table of its task. With a `Folder` there are the table of files,
    and that of `write_to=` if it gets records, which refer to the ids of files. Missing columns,
    also those of `write_to=` and `derive=`, and indexes are added to an existing table of files;
    that of records must have all columns.
    """
    if not record.has_folder:
        return [_make_row_spec(record)]

    table_name = record.table
    new_id_column: Column[Any] = Column("id", BigId, Identity(), primary_key=True)
    file_table = make_file_table(table_name, new_id_column, sqlite_autoincrement=True)
    for name, kind in list_filled_kinds(record).items():
        if name not in file_table.c:
            file_table.append_column(Column(name, _ROW_TYPES.get(kind, Text())))
    specs = [
        TableSpec(
            definition=file_table,
            required_columns=("id", "path"),
            adds_columns=True,
            indexed_columns=("id", "path"),
            marker_index=(f"askrows_{table_name}_hash", "(hash)"),
        )
    ]
    target = make_answer_target(record, record.write_to) if record.write_to else None
    if target is not None and target.has_records:
        id_column = read_columns(tx, table_name).get("id")
        id_type = new_id_column.type if id_column is None else id_column["type"]
        specs.append(_make_record_spec(target, id_type))
    return specs


def list_filled_kinds(record: TaskRecord) -> dict[str, str]:
    """Return the kinds of the columns of `write_to=` and `derive=` in the table of the rows."""
    targets = list(make_derived_targets(record).values())
    if record.write_to is not None:
        targets.append(make_answer_target(record, record.write_to))
    return {
        target.column_name: target.column_kinds[target.column_name]
        for target in targets
        if target.table_name == record.table and not target.has_records
    }


def _make_row_spec(record: TaskRecord) -> TableSpec:
    """Return what the table of a task needs: the columns of its rows, and those that askrows fills.

    An existing table must have the columns of the rows; with `file_key=`, only this column and
    `id`. Other columns, also those of `write_to=` and `derive=` if they are in this table, are
    added. With `file_key=` the table gets missing indexes, and one that marks it as adopted.
    """
    key, _ = record.key[0]
    # The columns of the rows come first, and keep their kinds.
    kinds = {**record.columns, **list_filled_kinds(record), **record.columns}
    needs = {name: _ROW_NEEDS[kind] for name, kind in kinds.items() if kind in _ROW_NEEDS}
    # A column of whole numbers would round the values.
    needs |= {
        name: ColumnNeed.FRACTION
        for name, kind in kinds.items()
        if kind == "real" and name not in record.columns
    }
    columns: list[Column[Any]] = [
        Column(
            name,
            _ROW_TYPES.get(kind, Text()),
            primary_key=name == key,
            unique=name == record.file_key,
            nullable=name not in {key, record.file_key},
        )
        for name, kind in kinds.items()
    ]
    if record.file_key:
        columns[0] = Column(ID_COLUMN, BigId, Identity(), primary_key=True)
    spec = TableSpec(
        definition=Table(
            record.table,
            MetaData(),
            *columns,
            # SQLite must not reuse the id of a deleted row.
            sqlite_autoincrement=bool(record.file_key),
        ),
        required_columns=tuple(record.columns),
        column_needs=needs | {key: ColumnNeed.ID},
        adds_columns=True,
        filled_columns=tuple(
            target.column_name
            for target in make_derived_targets(record).values()
            if target.table_name == record.table
        ),
    )
    if not record.file_key:
        return spec

    # This small index only marks the table as adopted.
    marker_sql = f"({ID_COLUMN}) WHERE {quote_name(record.file_key)} IS NULL"
    return replace(
        spec,
        required_columns=(ID_COLUMN, record.file_key),
        indexed_columns=(ID_COLUMN, record.file_key),
        marker_index=(f"askrows_{record.table}_unnamed", marker_sql),
    )
