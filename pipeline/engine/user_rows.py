"""Rows of a user's task, and the grid that lists them.

A row is stale if its input changed after its answer, or if a person asked for it again.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Subquery,
    Text,
    func,
    literal,
    select,
)

from pipeline.core.column_placeholders import fill_template, find_column
from pipeline.core.declaration import HASH_KEY
from pipeline.core.errors import InputError
from pipeline.core.settings import Settings
from pipeline.engine.task_parts import (
    KeptValues,
    TaskRows,
)
from pipeline.store import answers
from pipeline.store.answers import applied_answers, find_corrected
from pipeline.store.database import select_matching
from pipeline.store.rows import NO_HASH, delete_row
from pipeline.store.schema import answers as answers_table
from pipeline.store.workspace import TaskRecord
from pipeline.tables.answer_views import (
    ANSWERED_AT,
    EXTRACTOR,
    JSON,
    name_added_columns,
    source_column_expression,
)
from pipeline.tables.cells import parse_json_cell, to_compact_json, to_prompt_text
from pipeline.tables.column_values import to_column_value
from pipeline.tables.grid import Grid, make_grid
from pipeline.tables.row_judgements import JUDGEMENT_NAMES
from pipeline.tables.row_table import RowTable
from pipeline.tables.stored_rows import (
    CHANGED_AT_COLUMN,
    HASH_COLUMN,
    KEY_COLUMN,
    VALUES_COLUMN,
    make_row_table,
    make_rows_subquery,
    parse_stored_values,
)
from pipeline.tables.view_row import ViewColumn, ViewRow
from pipeline.tables.where_sql import JsonCell, make_number_expression
from pipeline.tables.write_to import RowTarget, TargetValue, find_filled_rows, write_column

# Longest name of a row.
MAX_ROW_NAME_CHARS = 1_000
# Fewer characters of a hash are not taken for its beginning.
MIN_HASH_CHARS = 4
# Sorts before all numbers when negated; replaces missing numbers.
MISSING_NUMBER = 9e307
# A whole number of a key column of 64 bits, as a person types it.
_WHOLE_NUMBER = re.compile(r"-?\d{1,19}")


@dataclass(eq=False, kw_only=True)
class UserRows(TaskRows):
    """Rows that are copied from the source of a user's task."""

    record: TaskRecord
    settings: Settings
    # The backend that answers now.
    provider: str
    # Table of another program that gets a row for each answer.
    row_target: RowTarget | None
    image_columns: Sequence[str] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Look up the options of the record."""
        self.image_columns = self.record.members.image_columns

    @cached_property
    def subquery(self) -> Subquery:
        """Return the stored rows as a subquery, with their values as JSON."""
        return make_rows_subquery(self.record.name)

    def table(self, tx: Connection) -> RowTable:  # noqa: ARG002 - the record is enough
        """Return the stored rows as a table with states; see `make_row_table`.

        With `write_to=`, a row that was written into another program's table for the backend and
        the model of this task counts as answered, too.
        """
        table = make_row_table(
            self.record,
            self.subquery,
            self.own_prompt_version,
            is_written=self.has_written_row(),
        )
        return dataclasses.replace(
            table,
            name_columns=self.columns if self.record.members.name_template else (),
            format_name=lambda row: self.display_name_of(self.map_row(row)),
        )

    def read_first_ids(self, tx: Connection, count: int) -> tuple[list[str], int]:
        """Return the ids of the first rows that have an input, and the number of all such rows.

        They are in the order of the source. Answered and claimed rows are included. Rows that are
        no longer in the source, or have an image that cannot be sent, are left out.
        """
        columns = self.subquery.c
        conditions = (
            columns.findable_gone_at.is_(None),
            ~columns.findable_empty,
            columns.findable_unusable.is_(None),
        )
        query = (
            select(columns.findable_key)
            .where(*conditions)
            .order_by(columns.findable_row)
            .limit(count)
        )
        row_ids = list(tx.execute(query).scalars())
        return row_ids, self.table(tx).count_rows(tx, *conditions)

    def map_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a stored row with its values by column; missing values are None."""
        return {
            **dict.fromkeys(self.record.columns),
            **row,
            **parse_stored_values(row[VALUES_COLUMN]),
        }

    def input_hash(
        self,
        row: Mapping[str, Any],
        text: str | None = None,  # noqa: ARG002 - it is stored
    ) -> str:
        """Return the hash that is stored with the row."""
        return str(row[HASH_COLUMN])

    def join_key(self, parts: Sequence[str]) -> str:
        """Return the id of a row from the parts of its key; that of several parts is JSON."""
        if len(parts) == 1:
            return parts[0]
        key_values = [
            int(part) if kind == "integer" and _WHOLE_NUMBER.fullmatch(part) else part
            for part, (_, kind) in zip(parts, self.record.key, strict=True)
        ]
        return to_compact_json(key_values)

    def id_of(self, tx: Connection, name: str) -> str:
        """Return the id of the row with a key; values of several key columns are joined by commas.

        Raises:
            InputError: There is no such row.
        """
        parts = [part.strip() for part in name.split(",")]
        if len(parts) == len(self.record.key) > 1 and not name.startswith("["):
            name = self.join_key(parts)
        return super().id_of(tx, name)

    def find_id(self, tx: Connection, name: str) -> str:
        """Return the id of the row that a person named, by its key or the beginning of its hash.

        If the ids are hashes (`key="row"`), `name` may be the beginning of an id with at least
        MIN_HASH_CHARS characters that only one row has. Otherwise it is the whole key, as `id_of`
        takes it.

        Raises:
            InputError: There is no such row, or the ids of several rows begin with `name`.
        """
        if self.record.key[0][0] != HASH_KEY or len(name) < MIN_HASH_CHARS:
            return self.id_of(tx, name)
        keys = self.subquery.c.findable_key
        begins_with_name = keys.startswith(name, autoescape=True)
        matching_keys = select(keys).where(begins_with_name).order_by(keys).limit(2)
        row_ids = list(tx.execute(matching_keys).scalars())
        if len(row_ids) > 1 and name not in row_ids:
            hint = f"`{self.nouns.command('items')}` lists all {self.nouns.plural}"
            raise InputError(f"several {self.nouns.plural} begin with {name!r}", hint=hint)
        return self.id_of(tx, row_ids[0] if len(row_ids) == 1 else name)

    def display_name_of(self, row: Mapping[str, Any]) -> str:
        """Return the name of a row: its filled name template, else its key."""
        template = self.record.members.name_template or ""
        row_name = fill_template(
            template,
            lambda name: to_prompt_text(row.get(find_column(name, row) or name)),
        )
        return " ".join(row_name.split())[:MAX_ROW_NAME_CHARS] or str(row[KEY_COLUMN])

    def grid(self, tx: Connection) -> "Grid":
        """Return the grid that lists rows and searches all their columns."""
        return _GridBuilder(tx, self).build()

    def is_answered(
        self, version: str, *, input_hash: ColumnElement[str] | None = None
    ) -> ColumnElement[bool]:
        """Return the SQL condition that a row has an applied answer; see `answers.is_answered`."""
        key = self.subquery.c.findable_key
        return answers.is_answered(self.record.name, key, version, input_hash=input_hash)

    def delete(
        self,
        tx: Connection,
        row_id: str,
        *,
        unchanged_text: str = "",  # noqa: ARG002 - never fails
    ) -> None:
        """Delete a row, and its answers from the tables of other programs."""
        if self.row_target is not None:
            self.row_target.sync_rows(tx, [row_id], removed_version="")
        self.clear_written_cells(tx, [row_id])
        delete_row(tx, self.record.name, row_id)

    def clear_written_cells(
        self, tx: Connection, row_ids: Collection[str], *, version: str | None = None
    ) -> None:
        """Set the cells of another program's column that show stored answers to NULL.

        Does nothing if `write_to=` names no column. Cells with another value are left alone.

        Args:
            version: Only answers of this version, and no cell of a row that a person corrected.
        """
        if self.row_target is not None or not self.record.members.write_to:
            return

        corrected_ids = find_corrected(tx, self.record.name, sorted(row_ids)) if version else set()
        former_answers: dict[str, list[str]] = {}
        cleared_values = []
        for row in applied_answers(tx, self.record.name, sorted(row_ids)):
            answer = TargetValue(*row)
            if version in {None, answer.version} and answer.row_id not in corrected_ids:
                former_answers.setdefault(answer.row_id, []).append(answer.answer_json)
                cleared_values.append(answer._replace(answer_json="{}"))
        write_column(tx, self.record, cleared_values, former_answers=former_answers)

    def add_kept_values(
        self, tx: Connection, row_ids: Sequence[str], kept_values: KeptValues
    ) -> None:
        """Add the values that stay in the table or column of `write_to=`; see `TaskRows`."""
        write_to = self.record.members.write_to
        if self.row_target is None and not write_to:
            return

        answered_ids = answers.read_model_answers(tx, self.record.name, row_ids).keys()
        unanswered_ids = [row_id for row_id in row_ids if row_id not in answered_ids]
        if self.row_target is not None:
            written_ids = self.row_target.find_written_rows(tx, unanswered_ids)
            kept_values.add(self.row_target.table_name, len(written_ids))
        else:
            column_name = str(write_to).rpartition("=")[0]
            filled_ids = find_filled_rows(tx, self.record, unanswered_ids)
            kept_values.add(column_name, len(filled_ids))

    def find_open_by_hash(
        self,
        tx: Connection,
        hashes: Sequence[str],
    ) -> Mapping[str, Sequence[str]]:
        """Return the ids of rows that the command asks, by input hash.

        The ids of a hash are in the order of the source. Claimed and parked rows are among them.
        Hashes without such a row are left out.
        """
        columns = self.subquery.c
        ids_by_hash = dict[str, list[str]]()
        query = (
            select(columns.findable_hash, columns.findable_key)
            .where(self.make_askable_condition(tx))
            .order_by(columns.findable_row)
        )
        for input_hash, row_id in select_matching(tx, query, columns.findable_hash, hashes):
            ids_by_hash.setdefault(input_hash, []).append(row_id)
        return ids_by_hash

    def has_written_row(self) -> ColumnElement[bool] | None:
        """Return the SQL condition that the table of `write_to=` has a row of this task's model.

        None if `write_to=` names no table that gets a row for each answer.
        """
        if self.row_target is None:
            return None
        model = self.record.members.model or self.settings.for_backend(self.provider).model
        return self.row_target.has_written_row(self.subquery.c.findable_key, model)


# ---- the list of its rows

_CELL_NAMES = (KEY_COLUMN, VALUES_COLUMN, HASH_COLUMN, CHANGED_AT_COLUMN)
# Columns with the tokens and the cost of an answer, with their kinds.
_COST_KINDS = {"tokens_in": "integer", "tokens_out": "integer", "cost": "real"}


class _GridBuilder:
    """Build the grid of a task's rows: columns of the source and fields of the answers.

    A field that has the name of a column, or of a judgement about a row such as `confidence`, is
    listed as `answer_NAME`.
    """

    def __init__(self, tx: Connection, rows: UserRows) -> None:
        """Look up names; `tx` must stay open while the grid is used."""
        self._tx = tx
        self._rows = rows
        self._record = rows.record
        self._table = rows.table(tx)
        self._values = self._table.table.c[VALUES_COLUMN]
        # A key that is a hash of the row is no column of the source.
        self._own_keys = [name for name, _ in self._record.key if name not in self._record.columns]
        sources = [*self._record.columns, *self._own_keys]
        fields = dict(self._record.fields)
        names = name_added_columns([*sources, *JUDGEMENT_NAMES], fields, "answer_")
        # Names of the fields by the names of their columns.
        self._fields = {name: field for field, name in names.items()}
        answer_parts = (EXTRACTOR, ANSWERED_AT, *_COST_KINDS)
        self._answer_names = name_added_columns([*sources, *self._fields], answer_parts, "answer_")

    def build(self) -> Grid:
        """Return the grid, a list of the task's rows that can be searched, filtered and sorted.

        Key, images, columns of the prompt and fields of the answer are shown by default.
        """
        default_names = dict.fromkeys(
            [
                *(name for name, _ in self._record.key),
                *self._rows.image_columns,
                *self._record.members.asked_columns,
                *self._fields,
            ],
        )
        # Their values are different in nearly all rows.
        uncounted_fields = {
            field.name
            for field in self._record.members.answer_fields
            if field.kind in {"quotation", "object"}
        }
        return make_grid(
            self._tx,
            self._table,
            self._make_columns(),
            preference=self._rows.preference(self._tx),
            answer_fields=self._fields,
            threshold=self._rows.settings.doubtful,
            cells={
                **{name: self._table.table.c[name] for name in _CELL_NAMES},
                **{name: answers_table.c[name] for name in _COST_KINDS},
            },
            read_values=lambda cells: parse_stored_values(cells[VALUES_COLUMN]),
            source_names=[*self._record.columns, *self._own_keys],
            default_names=list(default_names),
            cost_names=[self._answer_names[part] for part in _COST_KINDS],
            searched_cells=(self._table.row_id,),
            searched_documents=(self._values, answers_table.c.answer),
            facets=[name for name, field in self._fields.items() if field not in uncounted_fields],
        )

    def _make_columns(self) -> dict[str, ViewColumn]:
        """Return the columns of a row by name: source, key, and answer.

        Those of the answer are its fields, its version and time, and its cost. A later column
        replaces an earlier one of the same name.
        """
        columns = {
            name: ViewColumn(
                partial(_read_source_cell, name, kind),
                kind,
                JsonCell(self._values, (name,)),
                self._make_source_sort_keys(name, kind),
            )
            for name, kind in self._record.columns.items()
        }
        columns |= dict.fromkeys(self._own_keys, ViewColumn(_read_key))
        kinds = dict(self._record.fields)
        for name, field in self._fields.items():
            kind = kinds[field]
            document = answers_table.c.answer
            sort_cell = _make_sort_cell(self._tx, document, field, kind)
            columns[name] = ViewColumn(
                partial(_read_answer_field, field, kind),
                kind,
                JsonCell(document, (field,)),
                () if kind == JSON else [sort_cell],
            )
        names = self._answer_names
        columns[names[EXTRACTOR]] = ViewColumn(lambda row: row.answer and row.answer.version)
        columns[names[ANSWERED_AT]] = ViewColumn(
            lambda row: row.answer and row.answer.at.isoformat(), "time"
        )
        for part, kind in _COST_KINDS.items():
            columns[names[part]] = ViewColumn(partial(_read_cell, part), kind)
        return columns

    def _make_source_sort_keys(self, name: str, kind: str) -> list[ColumnElement[Any]]:
        """Return the expressions that rows are sorted by for a column of the source.

        Missing values are first. Columns of texts are sorted by the numbers in them before the
        texts, with other texts first.
        """
        cell = _make_sort_cell(self._tx, self._values, name, kind)
        if kind != "text":
            return [cell]
        return [_replace_missing(make_number_expression(self._tx, cell)), cell]


def _read_source_cell(name: str, kind: str, row: ViewRow) -> Any:
    """Return a cell of the source; that of a JSON column is parsed."""
    value = row.values.get(name)
    return parse_json_cell(value) if kind == JSON else value


def _read_key(row: ViewRow) -> str | None:
    """Return the key of a row; a refused row has none."""
    return None if row.cells[HASH_COLUMN] == NO_HASH else row.id


def _read_cell(name: str, row: ViewRow) -> Any:
    """Return the result of an expression of the view."""
    return row.cells[name]


def _read_answer_field(name: str, kind: str, row: ViewRow) -> Any:
    """Return the value of a field of the answer, or None if it is not of the field's kind.

    JSON stays as it is. A time is an ISO 8601 text in UTC.
    """
    value = row.fields.get(name)
    if kind == JSON:
        return value
    column_value = to_column_value(kind, value)
    if kind == "time" and column_value is not None:
        return datetime.fromisoformat(column_value).isoformat()
    return column_value


def _make_sort_cell(
    tx: Connection,
    document: ColumnElement[Any],
    name: str,
    kind: str,
) -> ColumnElement[Any]:
    """Return a member of a JSON document to sort by: a number if its kind is one, else a text."""
    sorted_kind = "real" if kind in {"integer", "real"} else "text"
    return _replace_missing(source_column_expression(tx, document, name, sorted_kind))


def _replace_missing(cell: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a text or number that is before all others instead of NULL."""
    if isinstance(cell.type, Text):
        return func.coalesce(cell, "")
    lowest_number = literal(-MISSING_NUMBER, cell.type)
    return func.coalesce(cell, lowest_number)
