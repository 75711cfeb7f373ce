"""Check the table or column that `write_to=` names, before rows are asked and before a write."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, Table

from pipeline.core.errors import InputError
from pipeline.store.task_record import TaskRecord
from pipeline.tables.answer_views import view_names_of
from pipeline.tables.column_needs import ColumnNeed, IdColumnFacts, describe_id_column
from pipeline.tables.reflection import (
    describe_column_type,
    find_missing_grant,
    find_unique_keys,
    fold_column_name,
    is_sqlite,
    quote_label,
    quote_table_label,
    read_columns,
    read_object_kind,
)

_COLUMN_HINT = 'write it like "table.column=field"'
# Part of a name; in quotation marks it may contain any character.
_NAME_PART = r'\s*(?:"((?:[^"]|"")+)"|([^".=]+))\s*'
_NAME = re.compile(rf"{_NAME_PART}(?:\.{_NAME_PART}){{1,2}}")
# Parts of a name with a schema: schema, table and column.
_MAX_NAME_PARTS = 3


class TargetColumn(NamedTuple):
    """The column that `write_to=` names, and the field that is written into it."""

    # Only on PostgreSQL, or None for the search path.
    schema: str | None
    table: str
    column: str
    # None: the table gets a row for each answer, and the column stores the row id.
    field: str | None


def parse_target(write_to: str) -> TargetColumn | None:
    """Parse the value of `write_to=`; return None if it is not of the form `table.column`.

    For example, `people.note=summary` names the column `note` of the table `people` and the field
    `summary`. A schema may precede the table. Schema and field may be left out and are None then.
    Names in quotation marks may contain any character. The database is not read.
    """
    before_field, _, field = write_to.rpartition("=")
    for name, field_name in ((before_field, field.strip()), (write_to, None)):
        if _NAME.fullmatch(name):
            parts = [
                quoted_part.replace('""', '"') or bare_part.strip()
                for quoted_part, bare_part in re.findall(_NAME_PART, name)
            ]
            schema = parts[0] if len(parts) == _MAX_NAME_PARTS else None
            return TargetColumn(schema, parts[-2], parts[-1], field_name)
    return None


class CheckedTarget(NamedTuple):
    """A column that can take a field of the answers, and the key that finds its rows."""

    column: Column[Any]
    field: str
    # Kind of the field.
    kind: str
    # Columns of the task's key in this table, with the ids that they can store.
    key_columns: list[tuple[str, IdColumnFacts]]


def check_column_target(tx: Connection, task: TaskRecord) -> CheckedTarget:
    """Check the column and the field that `write_to=` of a task names, and return them.

    The result also has the field's kind, and the table's columns for the task's key. Only reads the
    database.

    Raises:
        InputError: The column, its table or the field does not exist, the table is findable's own,
            the column cannot store the field, or the task's key is not a unique key of the table.
    """
    target = parse_target(str(task.members.write_to))
    if target is None or target.field is None:
        raise _target_error(task, " does not name a column")
    table_label = quote_table_label(tx, target.table, target.schema)
    kind = dict(task.fields).get(target.field)
    if kind is None:
        raise _target_error(task, f": the answer has no field `{target.field}`")
    if target.table.startswith("findable_") or target.table in view_names_of(task):
        raise _target_error(
            task, f": `{table_label}` belongs to findable", "name a table of your own"
        )
    if read_object_kind(tx, target.table, target.schema) != "table":
        raise _target_error(task, f": this database has no table `{table_label}`")

    columns = read_columns(tx, target.table, target.schema)
    for name in (target.column, *(key_name for key_name, _ in task.key)):
        if fold_column_name(tx, name) not in columns:
            raise _target_error(task, f": `{table_label}` has no column `{name}`")

    target_column = columns[fold_column_name(tx, target.column)]
    need = ColumnNeed[kind.upper()].find_misfit(tx, target_column)
    if need:
        column_label = f"{table_label}.{quote_label(tx, target.column)}"
        type_note = describe_column_type(tx, target_column)
        raise _target_error(
            task,
            f": `{column_label}`{type_note} must store {need}",
            "name another column, or change its type",
        )

    key_columns = _check_key_columns(tx, task, table_label, columns)
    return CheckedTarget(target_column, target.field, kind, key_columns)


def check_fillable_column(tx: Connection, task: TaskRecord) -> None:
    """Check that answers can be written into the column that `write_to=` of a task names.

    Call it before rows are asked. Only reads the database.

    Raises:
        InputError: See `check_column_target`. Or the column has no NULL cells because it is NOT
            NULL, or the user of the database may not write into it.
    """
    target = check_column_target(tx, task)
    table = target.column.table
    table_label = quote_table_label(tx, table.name, table.schema)
    column_name = quote_label(tx, target.column.name)
    if not target.column.nullable:
        hint = "name a column that can be NULL"
        if not is_sqlite(tx):
            hint += f", or ALTER TABLE {table_label} ALTER COLUMN {column_name} DROP NOT NULL"
        reason = f": `{table_label}.{column_name}` is NOT NULL, and only NULL cells are filled"
        raise _target_error(task, reason, hint)
    names = [target.column.name]
    key_names = [name for name, _ in target.key_columns]
    check_rights(tx, task, table, {"SELECT": names + key_names, "UPDATE": names})


def check_rights(
    tx: Connection, task: TaskRecord, table: Table, rights: Mapping[str, Iterable[str]]
) -> None:
    """Raise InputError if the user of the database lacks a right on columns of a table.

    Args:
        tx: The transaction that reads.
        task: The task with `write_to=`.
        table: The target table.
        rights: The names of the columns that need a right, by the right's word such as "UPDATE".
    """
    grant = find_missing_grant(tx, table, rights)
    if grant is not None:
        reason = ": the user of the database lacks rights on this table"
        raise _target_error(task, reason, f"{grant}, then run the same command again")


def _check_key_columns(
    tx: Connection,
    task: TaskRecord,
    table_label: str,
    columns: Mapping[str, Column[Any]],
) -> list[tuple[str, IdColumnFacts]]:
    """Check the columns of a key in the target table, and return the ids that they can store.

    Args:
        tx: The transaction that reads.
        task: The task with `write_to=`.
        table_label: Name of the target table for messages.
        columns: The existing columns of the target table, the key columns among them.

    Returns:
        The name of each key column with its ids, in the order of the key.

    Raises:
        InputError: A column cannot store ids, or the key does not identify a row: all columns of at
            least one unique key of the table must be among the key columns.
    """
    names = [name for name, _ in task.key]
    key_columns = {name: columns[fold_column_name(tx, name)] for name in names}
    for name, key_column in key_columns.items():
        if ColumnNeed.ID.find_misfit(tx, key_column):
            raise _target_error(
                task,
                f": key column `{table_label}.{name}` must store {ColumnNeed.ID.value[0]}",
                "name a table with such a key column",
            )

    folded_names = {fold_column_name(tx, name) for name in names}
    table = key_columns[names[0]].table
    if not any(key and key <= folded_names for key in find_unique_keys(tx, table)):
        key_label = ", ".join(names)
        raise _target_error(
            task,
            f": the key of the task ({key_label}) is not a unique key of `{table_label}`",
            "add a unique key: CREATE UNIQUE INDEX …",
        )
    return [(name, describe_id_column(tx, key_column)) for name, key_column in key_columns.items()]


def _target_error(task: TaskRecord, reason: str, hint: str = _COLUMN_HINT) -> InputError:
    """Return the error for a `write_to=` that cannot be used.

    Args:
        task: The task with `write_to=`.
        reason: Continues a sentence that begins with the value of `write_to=`.
        hint: A remedy for the user.
    """
    write_to = str(task.members.write_to)
    return InputError(f"write_to={write_to!r}{reason}", hint=hint)
