"""Write answers into a table of another program, as `write_to=` of a task says.

- `table.column=field`: a field of the preferred answer goes into the column of the row with the
  same key. Only a cell that is blank, or that shows an answer of askrows, is changed. A cell is
  blank if it is NULL or, for a list, a text that means an empty list.
- `table.column`: the table gets a record for each row id, provider and model, with all fields of
  the preferred answer. Only records that show an answer of askrows are changed.
- Other values are of another program. They are stored as answers of the version OTHER, and as long
  as one is stored for a row, nothing is written for this row.
- In the table of the task's rows, an answer does not count any more if another program changed its
  cell. If the cell is blank, the row is open again.

Keys are compared by their bytes, even if the table's own comparison ignores case or zeros.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    Integer,
    Subquery,
    TableClause,
    Text,
    Update,
    and_,
    bindparam,
    cast,
    collate,
    column,
    delete,
    exc,
    false,
    func,
    insert,
    literal,
    literal_column,
    null,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy import table as table_of

from askrows.pipeline.core.errors import InputError, RefusedRowError
from askrows.pipeline.rows.cells import EMPTY_LIST_TEXTS, JSON_WHITE_SPACE, to_column_value
from askrows.pipeline.rows.reflection import (
    TYPES_BY_KIND,
    ReflectedColumns,
    fold_column_name,
    read_columns,
    read_key_and_index_columns,
)
from askrows.pipeline.rows.refusals import translate_refusals
from askrows.pipeline.store.answers import (
    FORGOTTEN_ANSWER,
    ORIGINAL_ANSWER,
    OTHER,
    PERSON,
    VersionPreference,
    is_of_model,
)
from askrows.pipeline.store.database import (
    describe_error,
    has_row,
    is_sqlite,
    read_matching_rows,
    run_for_each_row,
    split_into_pages,
)
from askrows.pipeline.store.schema import ColumnTyped
from askrows.pipeline.store.schema import answers as answers_table
from askrows.pipeline.store.task_record import TaskRecord

if TYPE_CHECKING:
    from pydantic import BaseModel

# Part of a name; in quotation marks it may contain any character.
_NAME_PART = r'\s*(?:"((?:[^"]|"")+)"|([^".=]+))\s*'
# A schema, a table, a column and a field; the schema and the field may be missing.
_WRITE_TO = re.compile(
    rf"(?:{_NAME_PART}\.)?{_NAME_PART}\.{_NAME_PART}(?:=\s*(?P<field>.*?)\s*)?", re.DOTALL
)
# When the answer of a record was given.
_TIME_COLUMN = "created_at"


class TargetValue(NamedTuple):
    """An answer that is to be written."""

    row_id: str
    # Version of the answer, as `task@n/model`, or PERSON.
    version: str
    # The answer as a JSON object, by the names of its fields.
    answer_json: str
    # When the answer was given, with a time zone.
    answered_at: datetime
    # The answer counts for its row; it does not if it is a correction that was undone.
    is_applied: bool = True

    @property
    def model(self) -> str:
        """Return the model that gave the answer, or "" for an answer of a person."""
        return self.version.partition("/")[2]


class OtherValue(NamedTuple):
    """What a row of another program's table shows, and what is stored of that."""

    row_id: str
    # The stored row: the hash of its input, and its values as JSON.
    input_hash: str
    row_json: str
    # The stored value of another program: its id and JSON, and why it is no answer. All are None if
    # none is stored.
    answer_id: int | None
    answer_json: str | None
    unusable: str | None
    # The fingerprint of that judgement.
    fingerprint: str | None
    # The cell is NULL, or the record is missing.
    is_empty: bool
    # The cells by field of the answer.
    cells: Mapping[str, Any]


# The values of the key columns of a row in another program's table, as texts.
_Key = tuple[str, ...]


@dataclass(frozen=True)
class AnswerTarget:
    """A column or a table of another program that shows the answers of a task."""

    task: TaskRecord
    # Only on PostgreSQL, or None for the search path.
    schema: str | None
    table_name: str
    column_name: str
    # The field that the column shows. None: the table gets a record for each answer, and the column
    # stores the row id.
    field: str | None
    # Value of the column `provider` of records, which marks the records of this workspace.
    provider: str = ""
    # The member of the declaration that names the target, for messages.
    member: str = "write_to"

    @property
    def has_records(self) -> bool:
        """Return whether the table gets a record for each answer."""
        return self.field is None

    @property
    def label(self) -> str:
        """Return the name of the table for messages, with its column if only that is written."""
        names = [self.schema, self.table_name]
        if not self.has_records:
            names.append(self.column_name)
        return ".".join(filter(None, names))

    @cached_property
    def key_names(self) -> tuple[str, ...]:
        """Return the columns that identify a row of the table."""
        if self.has_records:
            return (self.column_name, "provider", "model")
        key_column, _ = self.task.key[0]
        return (key_column,)

    @property
    def shown_fields(self) -> list[str]:
        """Return the fields of the answer that the table shows."""
        return [name for name, _ in self.task.fields if self.field in {None, name}]

    @cached_property
    def column_kinds(self) -> dict[str, str]:
        """Return the kinds of the columns that show an answer: its fields, and a record's time."""
        kinds = dict(self.task.fields)
        if self.field is not None:
            return {self.column_name: kinds[self.field]}
        return {_TIME_COLUMN: "time", **kinds}

    @property
    def is_in_own_table(self) -> bool:
        """Return whether the column is in the table of the task's rows."""
        return not self.has_records and self.table_name == self.task.table

    @property
    def has_list(self) -> bool:
        """Return whether the column shows a list, so that an empty list is blank, too."""
        kinds = {field.name: field.kind for field in self.task.answer_fields}
        return kinds.get(self.field or "") == "list"

    def _make_blank_condition(self) -> ColumnElement[bool]:
        """Return the condition that the column is NULL or, if it shows a list, an empty list."""
        cell = self.table.c[self.column_name]
        if not self.has_list:
            return cell.is_(None)
        cell_text: ColumnElement[str] = cast(cell, Text)
        for character in JSON_WHITE_SPACE:
            cell_text = func.replace(cell_text, character, "")
        # A statement with many rows takes no list of values as a parameter.
        is_empty_list = or_(*(cell_text == text for text in sorted(EMPTY_LIST_TEXTS)))
        return or_(cell.is_(None), is_empty_list)

    @cached_property
    def table(self) -> TableClause:
        """Return the table with the columns that are used, without their types."""
        names = dict.fromkeys((*self.key_names, *self.column_kinds))
        columns = (column(name, ColumnTyped()) for name in names)
        return table_of(self.table_name, *columns, schema=self.schema)

    # ---- check the table

    def check_can_write(self, tx: Connection) -> None:
        """Check that answers can be written, before rows are asked. Writes nothing.

        The database explains the statements of a write. So it checks the table, the columns, their
        types, and the rights of the user. The statement is an UPDATE. For records an INSERT is
        explained, too.

        The key must be a unique key of the table, except for records. In the task's own table with
        `file_key=` this is not checked here: its ids are checked when the table is adopted.

        Raises:
            InputError: Answers cannot be written: the database refuses the statements, the answer
                lacks the field, the table is askrows' own, the column is NOT NULL although it shows
                neither a list nor records, a column would round the values, or the key of the task
                is not a unique key of the table or has several columns.
        """
        if self.table_name.startswith("askrows_"):
            raise self._make_error(f"`{self.table_name}` belongs to askrows")
        if self.field not in {None, *dict(self.task.fields)}:
            raise self._make_error(f"the answer has no field `{self.field}`")
        if len(self.task.key) > 1:
            raise self._make_error("the task needs a key of one column")

        key: dict[str, ColumnElement[Any]] = dict.fromkeys(self.key_names, literal_column("NULL"))
        new_values: dict[str, ColumnElement[Any]] = {
            name: cast(null(), TYPES_BY_KIND[kind]) for name, kind in self.column_kinds.items()
        }
        statements: list[Update | Insert] = [
            update(self.table)
            .where(self._make_exact_key_condition(tx, key, key))
            .values(new_values)
        ]
        if self.has_records:
            statements.append(insert(self.table).values(key | new_values))
        try:
            with tx.begin_nested():
                for statement in statements:
                    tx.exec_driver_sql(f"EXPLAIN {statement.compile(tx)}")
        except exc.DBAPIError as error:
            raise self._make_error(
                f"the database refuses to write there: {describe_error(error)}",
                f"change the table or {self.member}=, or grant the rights SELECT and UPDATE on the "
                "column and SELECT on the key (for records also INSERT), then run the same "
                "command again",
            ) from error

        self._check_column_types(tx)
        key_name = self.key_names[0]
        unique_keys = read_key_and_index_columns(tx, self.table_name, self.schema, only_unique=True)
        # The ids of a table with `file_key=` are checked when it is adopted.
        is_checked_id = self.task.file_key and self.table_name == self.task.table
        is_unique = is_checked_id or [fold_column_name(tx, key_name)] in unique_keys
        if not self.has_records and not is_unique:
            raise self._make_error(
                f"the key of the task ({key_name}) is not a unique key of the table",
                "add a unique key: CREATE UNIQUE INDEX …",
            )

    def _check_column_types(self, tx: Connection) -> None:
        """Check that the columns can have blank cells and store the values without rounding.

        Raises:
            InputError: The column is NOT NULL although it shows neither a list nor records. Or, on
                PostgreSQL, a column of whole numbers gets values that may be fractions.
        """
        columns = read_columns(tx, self.table_name, self.schema)
        target_column = columns[fold_column_name(tx, self.column_name)]
        if not self.has_records and not target_column["nullable"]:
            if self.has_list:
                return
            raise self._make_error(
                f"`{self.label}` is NOT NULL, and only NULL cells are filled",
                "name a column that can be NULL, or remove NOT NULL from this column",
            )
        for name, kind in self.column_kinds.items():
            is_whole = isinstance(columns[fold_column_name(tx, name)]["type"], Integer)
            # PostgreSQL would round without a message.
            if is_whole and kind in {"real", "decimal"} and not is_sqlite(tx):
                raise self._make_error(
                    f"`{name}` stores whole numbers, but answers may be fractions",
                    "give the column a type such as double precision",
                )

    def _make_error(self, reason: str, hint: str = "") -> InputError:
        """Return the error for a target that cannot be used."""
        hint = hint or f"name a table of your own in {self.member}="
        return InputError(f"{self.member}={self.task.write_to!r}: {reason}", hint=hint)

    # ---- write answers

    def sync_answers(
        self,
        tx: Connection,
        row_ids: Collection[str],
        preference: VersionPreference,
        *,
        former_answers: Sequence[TargetValue] = (),
        later_answers: Sequence[TargetValue] = (),
        removed_version: str | None = None,
    ) -> None:
        """Write, replace or remove answers, so that the table shows the preferred answer of rows.

        - Answers to an input that changed before they were stored are never shown.
        - A column shows one answer for each row, and NULL if there is none. Rows that the table
          lacks are skipped.
        - Of records, there is one for each row id and each model that answered it, with `provider`
          of this target. If only a person answered, the column `model` is PERSON. A record whose
          answers are all removed is deleted. A record that another program deleted is inserted
          again.
        - Cells that show neither NULL nor a stored answer are left alone, because another program
          or a person wrote them. The same holds for records, and for all of a row with a stored
          value of another program.

        Args:
            tx: The caller's transaction, which must be rolled back after an error.
            row_ids: Ids of the task's rows.
            preference: The order of preference among the answers.
            former_answers: Answers as they were stored before the caller changed them.
            later_answers: Answers that the caller stores later in this transaction.
            removed_version: Treat the stored answers of this version as deleted. "" means the
                answers of all versions, None means no answers.

        Raises:
            RefusedRowError: A rule of the table refuses a value, or the cell of an existing row is
                still NULL although the answer has a value.
        """
        read_answers = self.read_answers(tx, row_ids)
        other_ids = {answer.row_id for answer in read_answers if answer.version == OTHER}
        stored_answers = [answer for answer in read_answers if answer.row_id not in other_ids]
        remaining_answers = [answer for answer in stored_answers if answer.is_applied]
        if removed_version is not None:
            remaining_answers = [
                answer
                for answer in remaining_answers
                if removed_version and answer.version != removed_version
            ]
        remaining_answers += [answer for answer in later_answers if answer.row_id not in other_ids]
        former_by_key = self._group_answers_by_target_key(
            [answer for answer in former_answers if answer.row_id not in other_ids] + stored_answers
        )
        new_answers = self._group_answers_by_target_key(remaining_answers)
        keys = former_by_key.keys() | new_answers.keys()

        for page_keys in split_into_pages(sorted(keys)):
            preferred_answers = {
                key: _find_preferred_answer(new_answers.get(key, ()), preference)
                for key in page_keys
            }
            with translate_refusals(self.label, hint="change the value, or the rules of the table"):
                self._write_preferred_answers(tx, preferred_answers, former_by_key)
            written_cells = {
                key: self._make_target_cells(answer) for key, answer in preferred_answers.items()
            }
            self._check_no_write_was_undone(tx, written_cells)

    def overwrite_values(self, tx: Connection, values_by_id: Mapping[str, Any]) -> None:
        """Write a value of each row into its column, also over values of another program.

        Rows that the table lacks are skipped. A rule of the table may discard a value.

        Raises:
            RefusedRowError: A rule of the table refuses a value.
        """
        kind = self.column_kinds[self.column_name]
        changes = [
            _make_parameter_values("key", [row_id])
            | _make_parameter_values("text", [row_id])
            | _make_parameter_values("new", [to_column_value(kind, value)])
            for row_id, value in values_by_id.items()
        ]
        key_values = _make_parameters("key", self.key_names)
        new_values = _make_parameters("new", self.column_kinds)
        has_key = self._make_exact_key_condition(
            tx, key_values, _make_parameters("text", self.key_names)
        )
        with translate_refusals(self.label, hint="change the value, or the rules of the table"):
            run_for_each_row(tx, update(self.table).where(has_key).values(new_values), changes)

    def read_values(self, tx: Connection, row_ids: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """Yield the ids of rows of the table with their cells of the column."""
        key = self.table.c[self.key_names[0]]
        query = select(cast(key, Text), self.table.c[self.column_name])
        yield from map(tuple, read_matching_rows(tx, query, key, row_ids))

    def read_answers(self, tx: Connection, row_ids: Collection[str]) -> list[TargetValue]:
        """Return the stored answers that the table can show, oldest first for each row.

        Corrections that were undone, and unusable values of another program, are among them.
        """
        columns = answers_table.c
        names = ("row_id", "version", "answer", "at", "applied")
        query = (
            select(*(columns[name] for name in names))
            .where(columns.task == self.task.name, columns.answer != FORGOTTEN_ANSWER)
            .where(or_(columns.applied, ~is_of_model(columns.version)), ~columns.outdated)
            .order_by(columns.id)
        )
        rows = read_matching_rows(tx, query, columns.row_id, sorted(row_ids))
        return [TargetValue(*row) for row in rows]

    def _make_target_key(self, row_id: str, model: str) -> _Key:
        """Return the key in the table of a row, or of its record for a model."""
        if self.has_records:
            return (row_id, self.provider, model)
        return (row_id,)

    def _group_answers_by_target_key(
        self, answers: Sequence[TargetValue]
    ) -> dict[_Key, list[TargetValue]]:
        """Return the answers that each row of the table can show, in their order.

        A person's answer belongs to the records of all models that answered the row. If no model
        answered it, the record's model is PERSON.
        """
        models_by_id: dict[str, set[str]] = {answer.row_id: set() for answer in answers}
        for answer in answers:
            if answer.model:
                models_by_id[answer.row_id].add(answer.model)

        grouped: dict[_Key, list[TargetValue]] = {}
        for answer in answers:
            models = models_by_id[answer.row_id] or {PERSON}
            if answer.model:
                models = {answer.model}
            for key in {self._make_target_key(answer.row_id, model) for model in models}:
                grouped.setdefault(key, []).append(answer)
        return grouped

    def _make_target_cells(self, answer: TargetValue | None) -> dict[str, Any]:
        """Return an answer as column values, by column; all are None without an answer."""
        values = {}
        if answer is not None:
            values = {_TIME_COLUMN: answer.answered_at, **json.loads(answer.answer_json)}
        return {
            name: to_column_value(kind, values.get(self.field or name))
            for name, kind in self.column_kinds.items()
        }

    def _write_preferred_answers(
        self,
        tx: Connection,
        preferred_answers: Mapping[_Key, TargetValue | None],
        former_answers: Mapping[_Key, Sequence[TargetValue]],
    ) -> None:
        """Write the preferred answers into the rows of the table with their keys, and no others.

        - Without records, a row's cell is set if it is blank or shows a former answer. The answer
          None makes it NULL, or an empty list if it cannot be NULL.
        - With records, a missing row is inserted, a row that shows a former answer is updated, and
          the answer None deletes it.
        - A row that shows anything else is left alone.

        Args:
            tx: The caller's transaction.
            preferred_answers: The answer that each row of the table shows then, by its key.
            former_answers: Answers that the row may show from earlier writes, by its key.
        """
        empty_cells = self._make_empty_cells(tx)
        inserts: list[dict[str, Any]] = []
        fillings: list[dict[str, Any]] = []
        changes: list[dict[str, Any]] = []
        removals: list[dict[str, Any]] = []
        for key, answer in preferred_answers.items():
            former_cells = [
                self._make_target_cells(former) for former in former_answers.get(key, ())
            ]
            new_cells = empty_cells if answer is None else self._make_target_cells(answer)
            row = _make_parameter_values("key", key) | _make_parameter_values("text", key)
            row |= _make_parameter_values("new", new_cells.values())
            former_rows = [
                row | _make_parameter_values("old", cells.values())
                for cells in former_cells
                if cells != new_cells
            ]
            if self.has_records and answer is None:
                removals += former_rows
                continue

            changes += former_rows
            if not self.has_records and new_cells != empty_cells:
                fillings.append(row)
            if self.has_records:
                inserts.append(row | _make_parameter_values("inserted", key))

        key_values = _make_parameters("key", self.key_names)
        new_values = _make_parameters("new", self.column_kinds)
        has_key = self._make_exact_key_condition(
            tx, key_values, _make_parameters("text", self.key_names)
        )
        is_former = self._make_former_answer_condition(tx)
        run_for_each_row(
            tx, update(self.table).where(has_key, is_former).values(new_values), changes
        )
        is_blank = self._make_blank_condition()
        run_for_each_row(
            tx, update(self.table).where(has_key, is_blank).values(new_values), fillings
        )
        run_for_each_row(tx, delete(self.table).where(has_key, is_former), removals)
        inserted_values = _make_parameters("inserted", self.key_names) | new_values
        existing_row = select(literal(1)).select_from(self.table).where(has_key).exists()
        new_row = select(*inserted_values.values()).where(~existing_row)
        run_for_each_row(
            tx, insert(self.table).from_select(list(inserted_values), new_row), inserts
        )

    def _make_empty_cells(self, tx: Connection) -> dict[str, Any]:
        """Return the column values without an answer: NULL, or a list in a column NOT NULL."""
        cells = self._make_target_cells(None)
        if self.has_list:
            columns = read_columns(tx, self.table_name, self.schema)
            if not columns[fold_column_name(tx, self.column_name)]["nullable"]:
                cells[self.column_name] = "[]"
        return cells

    def _make_exact_key_condition(
        self,
        tx: Connection,
        key: Mapping[str, ColumnElement[Any]],
        key_texts: Mapping[str, ColumnElement[Any]],
    ) -> ColumnElement[bool]:
        """Return the condition that a row has a key.

        The table's own comparison may ignore case or zeros, so the bytes are compared, too.

        Args:
            tx: The transaction of the statement.
            key: The values by column.
            key_texts: The same values in other parameters, because a parameter has a single type.
        """
        conditions: list[ColumnElement[bool]] = []
        for name in self.key_names:
            key_text = collate(cast(self.table.c[name], Text), _find_byte_collation(tx))
            conditions.append(self.table.c[name] == key[name])
            conditions.append(key_text == key_texts[name])
        return and_(*conditions)

    def _make_former_answer_condition(self, tx: Connection) -> ColumnElement[bool]:
        """Return the condition that a row shows the former cells of the parameters.

        Texts are compared by their bytes. PostgreSQL compares all values as text, as the columns
        would store them, because it does not compare values of the type json.
        """
        columns: ReflectedColumns = {}
        if not is_sqlite(tx):
            columns = read_columns(tx, self.table_name, self.schema)
        conditions: list[ColumnElement[bool]] = []
        for name, value in _make_parameters("old", self.column_kinds).items():
            cell: ColumnElement[Any] = self.table.c[name]
            former: ColumnElement[Any] = value
            if name in columns:
                cell = cast(cell, Text)
                former = cast(cast(former, columns[name]["type"]), Text)
            conditions.append(collate(cell, _find_byte_collation(tx)).is_not_distinct_from(former))
        return and_(*conditions)

    def _check_no_write_was_undone(
        self, tx: Connection, cells_by_key: Mapping[_Key, Mapping[str, Any]]
    ) -> None:
        """Raise RefusedRowError if a written row is empty: a trigger can undo a write silently."""
        written_keys = [
            key
            for key, cells in cells_by_key.items()
            if any(value is not None for value in cells.values())
        ]
        keys = [self.table.c[name] for name in self.key_names]
        is_empty = self._make_blank_condition()
        if self.has_records:
            is_empty = and_(*(self.table.c[name].is_(None) for name in self.column_kinds))
        empty_rows = select(literal(1)).where(tuple_(*keys).in_(written_keys), is_empty)
        if has_row(tx, empty_rows):
            raise RefusedRowError(
                f"{self.label} stays NULL: a trigger or a rule of the database discards the value",
                hint="change the type of the column, or remove the trigger or rule",
            )

    def delete_own_records(self, tx: Connection, row_id: str) -> None:
        """Delete the records of a row that show an answer of askrows; cells of a column stay.

        Unlike `sync_answers`, it does so also if a value of another program is stored for the row.
        """
        if self.has_records:
            read_answers = self.read_answers(tx, [row_id])
            own_answers = [answer for answer in read_answers if answer.version != OTHER]
            former_answers = self._group_answers_by_target_key(own_answers)
            self._write_preferred_answers(tx, dict.fromkeys(former_answers), former_answers)

    # ---- find written answers

    def count_filled_rows(self, tx: Connection, row_ids: Sequence[str]) -> int:
        """Return how many of these rows have a value in the column, or a record.

        Those of other programs count, too.
        """
        key_text: ColumnElement[Any] = cast(self.table.c[self.key_names[0]], Text)
        query = select(key_text).where(~self._make_blank_condition())
        return len({row[0] for row in read_matching_rows(tx, query, key_text, row_ids)})

    def read_current_and_stored_values(
        self,
        tx: Connection,
        rows: Subquery,
        model: str,
        row_ids: Sequence[str] | None,
    ) -> Iterator[OtherValue]:
        """Yield the cells of rows in the table, and stored values that it does not show any more.

        Answers that askrows wrote are among them. In the table of the task's rows, so are blank
        cells of rows with such an answer. Of records, only those of this provider and the model are
        read.

        Args:
            rows: The task's rows; see `stored_rows.make_rows_subquery`.
            model: Value of the column `model` of records.
            row_ids: Only these rows; None means all rows, which are read with constant memory.
        """
        table = self.table.c
        key_cell = table[self.key_names[0]]
        row_id = rows.c.askrows_key
        is_of_row = collate(cast(key_cell, Text), _find_byte_collation(tx)) == row_id
        if is_sqlite(tx):
            # SQLite uses an index only if the key itself is compared.
            is_of_row &= key_cell == row_id
        if self.has_records:
            is_of_row &= (table.provider == self.provider) & (table.model == model)
        stored = answers_table.c
        is_stored = and_(
            stored.task == self.task.name, stored.version == OTHER, stored.row_id == row_id
        )
        is_blank = self._make_blank_condition()
        names = self.shown_fields
        cells = [table[self.column_name if self.field is not None else name] for name in names]
        query = (
            select(
                row_id,
                rows.c.askrows_hash,
                rows.c.askrows_values,
                stored.id,
                ORIGINAL_ANSWER,
                stored.unusable,
                stored.fingerprint,
                is_blank,
                *cells,
            )
            .select_from(rows.outerjoin(self.table, is_of_row).outerjoin(answers_table, is_stored))
            .where(or_(~is_blank, stored.id.is_not(None), self._has_model_answer(row_id)))
        )
        for row in read_matching_rows(tx, query, row_id, row_ids):
            cell_count = len(names)
            shown_cells = dict(zip(names, row[-cell_count:], strict=True))
            yield OtherValue._make((*row[:-cell_count], shown_cells))

    def _has_model_answer(self, row_id: ColumnElement[str]) -> ColumnElement[bool]:
        """Return the condition that the task's own table has a row that a model answered.

        False if the target is in another table.
        """
        if not self.is_in_own_table:
            return false()
        own = answers_table.alias().c
        own_answer = select(own.id).where(
            own.task == self.task.name,
            own.row_id == row_id,
            own.applied & ~own.outdated,
            is_of_model(own.version),
            own.answer != FORGOTTEN_ANSWER,
        )
        return self.table.c[self.key_names[0]].is_not(None) & own_answer.exists()

    def restrict_to_shown_fields(self, answer_model: "type[BaseModel]") -> "type[BaseModel]":
        """Return the answer model, or one with only the shown fields if the table lacks others."""
        from pydantic import create_model

        fields = answer_model.model_fields
        if len(fields) == len(self.shown_fields):
            return answer_model
        shown_fields: dict[str, Any] = {
            name: (fields[name].annotation, fields[name]) for name in self.shown_fields
        }
        config = answer_model.model_config
        return create_model(answer_model.__name__, __config__=config, **shown_fields)

    def find_rows_showing_stored_answer(
        self, tx: Connection, values: Mapping[str, Mapping[str, Any]], model: str
    ) -> set[str]:
        """Return the ids of rows of which the table shows a stored answer that counts.

        A row counts if the shown fields equal its stored answer, or if the table still has that
        answer as the column stores it, for example rounded. Only applied answers count: a
        correction that was undone does not.

        Args:
            values: The values that the table shows, by row id and field of the answer.
            model: Value of the column `model` of records. It is a part of the key of the row in the
                table, and does not select answers.
        """
        key_values = _make_parameters("key", self.key_names)
        has_key = self._make_exact_key_condition(
            tx, key_values, _make_parameters("text", self.key_names)
        )
        shown_row = (
            select(literal(1))
            .select_from(self.table)
            .where(has_key, self._make_former_answer_condition(tx))
        )
        own_ids = set[str]()
        for answer in self.read_answers(tx, list(values)):
            own_value = json.loads(answer.answer_json)
            value = values[answer.row_id]
            is_shown = all(value.get(name) == own_value.get(name) for name in self.shown_fields)
            if not is_shown:
                # The column may store the answer otherwise, for example rounded.
                key = self._make_target_key(answer.row_id, model)
                parameters = _make_parameter_values("key", key) | _make_parameter_values(
                    "text", key
                )
                parameters |= _make_parameter_values(
                    "old", self._make_target_cells(answer).values()
                )
                is_shown = tx.execute(shown_row, parameters).first() is not None
            if is_shown and answer.is_applied:
                own_ids.add(answer.row_id)
        return own_ids


def _make_parameter_values(prefix: str, values: Iterable[Any]) -> dict[str, Any]:
    """Return values by the names of the parameters that `_make_parameters` makes."""
    return {f"askrows_{prefix}_{index}": value for index, value in enumerate(values)}


def _make_parameters(prefix: str, names: Iterable[str]) -> dict[str, ColumnElement[Any]]:
    """Return a numbered parameter for each column, which takes the type of its column."""
    return {
        name: bindparam(parameter, type_=ColumnTyped())
        for parameter, name in _make_parameter_values(prefix, names).items()
    }


def _find_byte_collation(tx: Connection) -> str:
    """Return the name of the collation that compares texts by their bytes."""
    if is_sqlite(tx):
        return "BINARY"
    return "C"


def make_answer_target(
    record: TaskRecord,
    write_to: str,
    provider: str = "",
) -> AnswerTarget:
    """Return the table or column of another program that shows the answers.

    For example, `people.note=summary` names the column `note` of the table `people` and the field
    `summary`. A schema may precede the table. Without a field, the table gets records. Names in
    quotation marks may contain any character. The database is not read.

    Args:
        record: The task.
        write_to: The column that is written, as `write_to=` names it.
        provider: The backend that answers now.

    Raises:
        InputError: `write_to=` names no table with a column.
    """
    match = _WRITE_TO.fullmatch(write_to)
    if match is None:
        raise InputError(
            f"write_to={write_to!r} does not name a column",
            hint='write it like "table.column=field"',
        )
    *name_parts, _ = match.groups(default="")
    schema, table_name, column_name = (
        quoted_part.replace('""', '"') or bare_part.strip()
        for quoted_part, bare_part in zip(name_parts[::2], name_parts[1::2], strict=True)
    )
    return AnswerTarget(
        record,
        schema=schema or None,
        table_name=table_name,
        column_name=column_name,
        field=match["field"],
        provider=provider,
    )


def make_derived_targets(record: TaskRecord) -> dict[str, AnswerTarget]:
    """Return the columns of other programs that get derived values, by the name of the value."""
    targets = {}
    for name, place in record.derived_targets.items():
        value_record = replace(record, fields=((name, record.derived[name]),), write_to=place)
        target = make_answer_target(value_record, f"{place}={name}")
        targets[name] = replace(target, member="derive")
    return targets


def _find_preferred_answer(
    answers: Sequence[TargetValue], preference: VersionPreference
) -> TargetValue | None:
    """Return the preferred answer, the newest of a version; None without answers."""
    return min(
        reversed(answers), key=lambda answer: preference.make_sort_key(answer.version), default=None
    )
