"""Write answers into a table of another program, as `write_to=` of a task says.

- `table.column=field`: a field of the answer goes into the column of an existing row if the column
  is NULL. A row matches if its key has the same bytes as the task's key, even if the table's own
  comparison ignores case or zeros.
- `table.column`: the table gets one row per row id, provider and model, with the answer of the
  preferred version. Rows of other programs are not changed, and no second row is added to them.

The former answers of a row are the answers that the column may show from earlier writes. They
distinguish values that findable wrote from values of other programs.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    MetaData,
    Table,
    TableClause,
    Text,
    and_,
    bindparam,
    cast,
    collate,
    column,
    delete,
    insert,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy import table as table_of

from pipeline.core.errors import InputError, RefusedRowError
from pipeline.store.answers import PERSON, applied_answers
from pipeline.store.database import run_many, select_matching, split_into_pages
from pipeline.store.schema import ColumnTyped, IsoTime
from pipeline.store.task_record import TaskRecord
from pipeline.tables.adoption_errors import translate_refusals
from pipeline.tables.column_values import to_column_value
from pipeline.tables.reflection import (
    describe_column_type,
    fold_column_name,
    is_sqlite,
    quote_label,
    quote_table_label,
    read_columns,
    read_object_kind,
)
from pipeline.tables.write_target import (
    CheckedTarget,
    TargetColumn,
    check_column_target,
    check_rights,
    parse_target,
)

# Columns of a written row in addition to the row id and the fields.
_ROW_COLUMNS = ("provider", "model", "created_at")


class TargetValue(NamedTuple):
    """An answer that is to be written."""

    row_id: str
    # Version of the answer, as `task@n/model`, or PERSON.
    version: str
    # The answer as a JSON object, by the names of its fields.
    answer_json: str
    # When the answer was given, with a time zone.
    answered_at: datetime


# A row's key in another program's table, with a part for each key column.
_Key = tuple[str, ...]


def write_column(
    tx: Connection,
    task: TaskRecord,
    rows: Sequence[TargetValue],
    *,
    former_answers: Mapping[str, Sequence[str]] = MappingProxyType({}),
    should_overwrite: bool = False,
) -> None:
    """Write a field of each answer into the column that the task names, if the cell is NULL.

    - A cell with the value of one of the row's `former_answers` is replaced, too. With
      `should_overwrite`, any cell is replaced. All other cells keep their values.
    - If the answer lacks the field, a cell that may be replaced becomes NULL.
    - An answer whose row does not exist in the table is skipped. Keys are compared by their bytes.
    - All written cells are read again, because a trigger can discard a value without an error.

    Args:
        tx: The caller's transaction, which must be rolled back after an error.
        task: The task with `write_to=`.
        rows: The answers.
        former_answers: Earlier answers as JSON, by row id.
        should_overwrite: Replace cells with any value.

    Raises:
        InputError: The column cannot take the field; see `check_column_target`.
        RefusedRowError: A rule of the table refuses a value, or the cell of an existing row is
            still NULL although the answer has a value.
    """
    target = check_column_target(tx, task)
    values, former_values = _collect_values_by_key(
        task,
        target,
        rows,
        former_answers,
        overwrite=should_overwrite,
    )

    key_names = [name for name, _ in target.key_columns]
    table = _make_table(target.column, key_names)
    cell = table.c[target.column.name]
    keys = [table.c[name] for name in key_names]
    # The table's own comparison may ignore case or zeros, so the bytes are compared, too.
    collation = "BINARY" if is_sqlite(tx) else "C"
    key_texts = [collate(cast(key, Text), collation) for key in keys]
    key_conditions = [
        operand == bindparam(f"k{index}") for index, operand in enumerate([*keys, *key_texts])
    ]

    may_write = true() if should_overwrite else cell.is_(None)
    writing = update(table).where(*key_conditions, may_write).values({cell: bindparam("new")})
    is_former = _make_former_value_condition(tx, cell, target.column)
    replacing = update(table).where(*key_conditions, is_former).values({cell: bindparam("new")})
    target_table = target.column.table
    table_label = quote_table_label(tx, target_table.name, target_table.schema)
    column_label = f"{table_label}.{quote_label(tx, target.column.name)}"
    column_label += describe_column_type(tx, target.column)

    hint = f"change the value, or the type or rules of {column_label}"
    for page_keys in split_into_pages(list(values)):
        with translate_refusals(table_label, hint=hint):
            parameters = [_key_parameters(key) | {"new": values[key]} for key in page_keys]
            run_many(tx, writing, parameters)
            replacements: list[dict[str, Any]] = []
            for key, row_parameters in zip(page_keys, parameters, strict=True):
                replacements += [
                    row_parameters | {"former": former_value} for former_value in former_values[key]
                ]
            run_many(tx, replacing, replacements)

        # A trigger can undo the write without an error.
        written_keys = [key for key in page_keys if values[key] is not None]
        is_still_empty = and_(tuple_(*keys).in_(written_keys), cell.is_(None))
        empty_rows = select(*(cast(key, Text) for key in keys)).where(is_still_empty).limit(1)
        if tx.execute(empty_rows).first() is not None:
            raise RefusedRowError(
                f"{column_label} stays NULL: "
                "a trigger or a rule of the database discards the value",
                hint="change the type of the column, or remove the trigger or rule",
            )


def _collect_values_by_key(
    task: TaskRecord,
    target: CheckedTarget,
    rows: Iterable[TargetValue],
    former_answers: Mapping[str, Sequence[str]],
    *,
    overwrite: bool,
) -> tuple[dict[_Key, Any], dict[_Key, list[Any]]]:
    """Return ({key: value to write}, {key: former values that it may replace}).

    No database is read. Both have the same keys; a list of former values may be empty. Former
    values that are None or equal the new value are left out. Answers whose key the table cannot
    store as it is are left out. An answer without a value is kept, to write NULL, only if
    `overwrite` is set or the row has former answers.

    Args:
        task: The task with the key.
        target: The checked column, field and key columns.
        rows: The answers to write.
        former_answers: The former answers as JSON, by the id of the row.
        overwrite: Keep answers without a value.
    """
    values: dict[_Key, Any] = {}
    former_values: dict[_Key, list[Any]] = {}
    for row in rows:
        key = _find_key(task, target, row.row_id)
        if key is None:
            continue

        value = _field_value(target, row.answer_json)
        old_values = [
            _field_value(target, answer_json) for answer_json in former_answers.get(row.row_id, ())
        ]
        if value is not None or overwrite or old_values:
            values[key] = value
            former_values[key] = [
                former_value for former_value in old_values if former_value not in {None, value}
            ]
    return values, former_values


def _find_key(task: TaskRecord, target: CheckedTarget, row_id: str) -> _Key | None:
    """Return the key of a row in the target table; None if the table cannot store it as it is."""
    # An id of several columns is a JSON list.
    key: _Key = (row_id,)
    if len(task.key) > 1:
        key = tuple(str(part) for part in json.loads(row_id))
    key_parts = zip(target.key_columns, key, strict=True)
    is_storable = all(ids.to_row_id(part) == part for (_, ids), part in key_parts)
    return key if is_storable else None


def find_filled_rows(tx: Connection, task: TaskRecord, row_ids: Sequence[str]) -> list[str]:
    """Return the ids of those rows whose cell in the column that the task names is not NULL.

    Raises:
        InputError: The column cannot take the field; see `check_column_target`.
    """
    target = check_column_target(tx, task)
    key_names = [name for name, _ in target.key_columns]
    table = _make_table(target.column, key_names)
    keys = [table.c[name] for name in key_names]
    query = select(*(cast(key, Text) for key in keys)).where(
        table.c[target.column.name].is_not(None),
    )

    key_by_id = {row_id: _find_key(task, target, row_id) for row_id in row_ids}
    filled_keys = set[_Key]()
    for page_keys in split_into_pages([key for key in key_by_id.values() if key is not None]):
        page_query = query.where(
            tuple_(*keys).in_(page_keys),
        )
        filled_keys.update(map(tuple, tx.execute(page_query)))
    return [row_id for row_id, key in key_by_id.items() if key in filled_keys]


def _field_value(target: CheckedTarget, answer_json: str) -> Any:
    """Return the value of the target's field in an answer, as the database stores it."""
    return to_column_value(target.kind, json.loads(answer_json).get(target.field))


def _make_table(target_column: Column[Any], key_names: Sequence[str]) -> TableClause:
    """Return the target table with its key columns and its target column, without types."""
    names = dict.fromkeys((*key_names, target_column.name))
    columns = (column(name, ColumnTyped()) for name in names)
    return table_of(target_column.table.name, *columns, schema=target_column.table.schema)


def _key_parameters(key: _Key) -> dict[str, Any]:
    """Return the parameters of a statement for a key, which is compared twice."""
    return {f"k{index}": part for index, part in enumerate(key * 2)}


def _make_former_value_condition(
    tx: Connection,
    cell: ColumnElement[Any],
    target_column: Column[Any],
) -> ColumnElement[bool]:
    """Return the SQL condition that a cell is equal to the bind parameter `former`.

    The parameter is compared as the column stores it, in the column type json of PostgreSQL as
    text.
    """
    former = bindparam("former", type_=ColumnTyped())
    if is_sqlite(tx):
        return cell == former
    # PostgreSQL compares values of the type jsonb, but not of the type json.
    is_json = isinstance(target_column.type, JSON)
    if is_json and str(target_column.type) != "JSONB":
        return cast(cell, Text) == cast(former, Text)
    return cell == cast(former, target_column.type)


class _TimedCells(NamedTuple):
    """When an answer was given, and its fields as a database stores them."""

    answered_at: datetime
    cells: Mapping[str, Any]


# Answers by row id and model, and by prompt version.
_AnswersByRow = dict[tuple[str, str], dict[str, _TimedCells]]


@dataclass(frozen=True)
class RowTarget:
    """A table of another program that gets a row for the answers of each row id and model."""

    task: TaskRecord
    # Name of the table.
    table_name: str
    # Column of the table with the row id.
    id_column: str
    # Value of the column `provider`, which marks the rows of this workspace.
    provider: str
    # Prompt versions in the order of preference. All other versions come last, and their newest
    # answer is preferred.
    preferred_prompt_versions: Sequence[str] = ()
    # Only on PostgreSQL, or None for the search path.
    schema: str | None = None

    @cached_property
    def table(self) -> Table:
        """Return the table with the columns that are written, without their types."""
        names = [self.id_column, "provider", "model", *(name for name, _ in self.task.fields)]
        columns: list[Column[Any]] = [Column(name, ColumnTyped()) for name in names]
        columns.append(Column("created_at", IsoTime()))
        return Table(self.table_name, MetaData(), *columns, schema=self.schema)

    def sync_rows(
        self,
        tx: Connection,
        ids: Collection[str],
        *,
        later_answers: Sequence[TargetValue] = (),
        removed_version: str | None = None,
        overwrite: bool = False,
    ) -> None:
        """Insert, update or delete rows of the table so that each shows the preferred answer.

        There is a row for each row id and each model that answered it, with `provider` of this
        target. If only a person answered, the column `model` is PERSON. The shown answer is a
        person's, else that of the most preferred version of this model. A row whose answers are all
        removed is deleted. A row is left alone if its text fields equal those of no stored answer,
        because another program changed it then. A row that another program deleted is inserted
        again.

        Args:
            tx: The caller's transaction, which must be rolled back after an error.
            ids: Ids of the task's rows.
            later_answers: Answers that the caller stores later in this transaction.
            removed_version: Treat the stored answers of this version as deleted. "" means the
                answers of all versions, None means no answers.
            overwrite: Also replace rows that another program changed.

        Raises:
            RefusedRowError: A rule of the table refuses a row.
        """
        stored = [TargetValue(*row) for row in applied_answers(tx, self.task.name, sorted(ids))]
        remaining = stored
        if removed_version is not None:
            remaining = [
                answer for answer in stored if removed_version and answer.version != removed_version
            ]
        stored_answers = self._group_by_row(stored)
        new_answers = self._group_by_row([*remaining, *later_answers])

        # A row without any answer left is deleted.
        keys = list(stored_answers)
        if overwrite:
            keys += [(row_id, PERSON) for row_id in ids]
        for key in keys:
            new_answers.setdefault(key, {})
        for row_id, model in sorted(new_answers):
            self._sync_row(
                tx,
                {self.id_column: row_id, "provider": self.provider, "model": model},
                stored_answers.get((row_id, model), {}).values(),
                new_answers[row_id, model],
                overwrite=overwrite,
            )

    def _sync_row(
        self,
        tx: Connection,
        row_key: Mapping[str, str],
        stored_answers: Iterable[_TimedCells],
        new_answers: Mapping[str, _TimedCells],
        *,
        overwrite: bool,
    ) -> None:
        """Insert, update or delete one row of the table, so that it shows the preferred new answer.

        The row is deleted if there are no new answers, inserted if the table lacks it, else
        updated. If the text fields of the row differ from those of each stored answer, another
        program changed the row. Then nothing is done and no error is raised, unless `overwrite` is
        set. Fields of other kinds are not compared.

        Args:
            tx: The caller's transaction.
            row_key: The row's id, provider and model, by column.
            stored_answers: The former answers. The row shows one of these now, unless another
                program changed it.
            new_answers: The answers from which the preferred one is taken, by prompt
                version. If there are none, the row is deleted.
            overwrite: Also change a row that another program changed.

        Raises:
            RefusedRowError: A constraint or trigger of the table refuses the change.
        """
        table = self.table
        # Only texts are compared: a database may spell JSON and numbers differently.
        text_fields = [name for name, kind in self.task.fields if kind == "text"]
        key_conditions = [table.c[name] == value for name, value in row_key.items()]
        row_condition = and_(*key_conditions)
        compared_columns = [table.c[name] for name in text_fields or [self.id_column]]
        row = tx.execute(select(*compared_columns).where(row_condition)).first()

        stored_texts = {
            tuple(answer.cells[name] for name in text_fields) for answer in stored_answers
        }
        # Without a text field nothing is compared, and the row only shows that it exists.
        if row is not None and not overwrite and tuple(row)[: len(text_fields)] not in stored_texts:
            return

        preferred_answer = self._select_preferred(new_answers)
        with translate_refusals(quote_table_label(tx, table.name, table.schema)):
            if preferred_answer is None:
                if row is not None:
                    tx.execute(delete(table).where(row_condition))
                return

            answered_at, cells = preferred_answer
            values = {**cells, "created_at": answered_at}
            if row is not None:
                tx.execute(update(table).where(row_condition).values(values))
            else:
                tx.execute(insert(table).values({**values, **row_key}))

    def _select_preferred(self, answers: Mapping[str, _TimedCells]) -> _TimedCells | None:
        """Return the preferred answer, or None without answers.

        A person's answer comes first, then the preferred versions in their order, then the rest, of
        which the newest is preferred.

        Args:
            answers: The answers by prompt version (`task@n`, or PERSON).
        """
        if not answers:
            return None

        prompt_versions = [PERSON, *self.preferred_prompt_versions]

        def rank(prompt_version: str) -> tuple[int, datetime]:
            position = len(prompt_versions)
            if prompt_version in prompt_versions:
                position = prompt_versions.index(prompt_version)
            return -position, answers[prompt_version].answered_at

        return answers[max(answers, key=rank)]

    def _group_by_row(self, answers: Sequence[TargetValue]) -> _AnswersByRow:
        """Return {(row id, model): {prompt version: answer}}, with the fields as column values.

        A person's answer is repeated under each model that answered the row. If no model answered
        it, its model is PERSON. The last of two answers of a version counts.

        Args:
            answers: The answers with their fields as JSON.
        """
        grouped: _AnswersByRow = {}
        for answer in answers:
            prompt_version, _, model = answer.version.partition("/")
            values = json.loads(answer.answer_json)
            cells = {
                name: to_column_value(kind, values.get(name)) for name, kind in self.task.fields
            }
            row_answers = grouped.setdefault((answer.row_id, model), {})
            row_answers[prompt_version] = _TimedCells(answer.answered_at, cells)

        ids_with_model = {row_id for row_id, model in grouped if model}
        by_row: _AnswersByRow = {}
        for (row_id, model), row_answers in grouped.items():
            if model:
                persons_answers = grouped.get((row_id, ""), {})
                by_row[row_id, model] = {**persons_answers, **row_answers}
            elif row_id not in ids_with_model:
                by_row[row_id, PERSON] = row_answers
        return by_row

    def find_written_rows(self, tx: Connection, row_ids: Sequence[str]) -> list[str]:
        """Return the ids of those rows for which the table has a row of this provider, sorted."""
        written_id = cast(self.table.c[self.id_column], Text)
        query = select(written_id).where(self.table.c.provider == self.provider)
        return sorted({row[0] for row in select_matching(tx, query, written_id, row_ids)})

    def has_written_row(self, row_id: ColumnElement[Any], model: str) -> ColumnElement[bool]:
        """Return the condition that the table has a row of this provider for a row id and a model.

        Args:
            row_id: Expression for the row id.
            model: Value of the column `model`.
        """
        table = self.table
        is_own_row = (table.c.provider == self.provider) & (table.c.model == model)
        written_ids = select(cast(table.c[self.id_column], Text)).where(is_own_row)
        return cast(row_id, Text).in_(written_ids)


def parse_row_target(write_to: str | None) -> TargetColumn | None:
    """Parse the value of `write_to=` as a table that gets a row for each answer.

    Returns:
        The table and its column for the row id, as in `tags.person_id`. None if `write_to=` is not
        given, names no column, or names a field.
    """
    target = parse_target(write_to or "")
    if target is None or target.field is not None:
        return None
    return target


def check_row_target(tx: Connection, target: RowTarget) -> None:
    """Check that a table exists and has the columns for a row per answer. Writes nothing.

    Raises:
        InputError: The table does not exist or lacks a column, or the task's key has several
            columns.
    """
    setting = f'write_to="{target.table_name}.{target.id_column}"'
    has_one_key_column = len(target.task.key) == 1
    if not has_one_key_column or read_object_kind(tx, target.table_name, target.schema) != "table":
        reason = "the task's key has several columns"
        if has_one_key_column:
            reason = f"this database has no table `{target.table_name}`"
        raise InputError(
            f"{setting}: {reason}",
            hint='write_to="table.column" writes a row per answer; the key must be one column',
        )

    existing_columns = read_columns(tx, target.table_name, target.schema)
    missing_columns = [
        column.name
        for column in target.table.c
        if fold_column_name(tx, column.name) not in existing_columns
    ]
    if missing_columns:
        raise InputError(
            f"{setting}: `{target.table_name}` lacks the columns {', '.join(missing_columns)}",
            hint=(
                f"the table needs the key column, {', '.join(_ROW_COLUMNS)}, "
                "and a column for each field of the answer"
            ),
        )
    names = [column.name for column in target.table.c]
    # A correction or a newer answer changes these.
    changing_names = [name for name, _ in target.task.fields] + ["created_at"]
    rights = {"SELECT": names, "INSERT": names, "UPDATE": changing_names}
    check_rights(tx, target.task, target.table, rights)
