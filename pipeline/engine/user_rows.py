"""Rows of a user's task, and the grid that lists them.

A row is stale if its input changed after its answer, or if a person asked for it again.
"""

import dataclasses
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
from pipeline.core.command_hint import HintTemplate, OptionHint
from pipeline.core.declaration import HASH_KEY
from pipeline.core.errors import InputError
from pipeline.core.settings import Settings
from pipeline.core.where_parser import WhereSyntaxError, parse_where
from pipeline.engine.task_parts import (
    KeptValues,
    TaskRows,
)
from pipeline.store import answers
from pipeline.store.answers import (
    PreferredAnswer,
    applied_answers,
    find_corrected,
)
from pipeline.store.database import select_matching
from pipeline.store.rows import NO_HASH, delete_row
from pipeline.store.schema import answers as answers_table
from pipeline.store.workspace import TaskRecord
from pipeline.tables.answer_views import (
    EXTRACTOR,
    JSON,
    name_added_columns,
    source_column_expression,
)
from pipeline.tables.cells import to_compact_json, to_prompt_text
from pipeline.tables.grid import Grid
from pipeline.tables.row_judgements import JUDGEMENT_NAMES, RowJudgements
from pipeline.tables.row_table import (
    CHANGED_AT_COLUMN,
    REFUSED_STATE,
    RowTable,
)
from pipeline.tables.stored_rows import (
    HASH_COLUMN,
    IMAGE_STATE_COLUMN,
    KEY_COLUMN,
    UNUSABLE_STATE,
    VALUES_COLUMN,
    make_row_table,
    make_rows_subquery,
    parse_stored_values,
)
from pipeline.tables.stored_rows import UNUSABLE_COLUMN as REASON
from pipeline.tables.text_match import join_json_values
from pipeline.tables.where_sql import JsonCell, compile_where, make_number_expression
from pipeline.tables.write_to import RowTarget, TargetValue, find_filled_rows, write_column

# Longest display name of a row.
MAX_LABEL_CHARS = 1_000
# Fewer characters of a hash are not taken for its beginning.
MIN_HASH_CHARS = 4
# Sorts before all numbers when negated; replaces missing numbers.
MISSING_NUMBER = 9e307
# A whole number of a key column of 64 bits, as a person types it.
_WHOLE_NUMBER = re.compile(r"-?\d{1,19}")
# Column heading of the reason why a row is unusable.
UNUSABLE_REASON_COLUMN = "why unusable"


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
        row_ids = list(tx.execute(select(keys).where(begins_with_name).limit(2)).scalars())
        if len(row_ids) > 1 and name not in row_ids:
            hint = f"`{self.labels.command('items')}` lists all {self.labels.plural}"
            raise InputError(f"several {self.labels.plural} begin with {name!r}", hint=hint)
        return self.id_of(tx, row_ids[0] if len(row_ids) == 1 else name)

    def display_name_of(self, row: Mapping[str, Any]) -> str:
        """Return the display name of a row: its filled label template, else its key."""
        template = self.record.members.name_template or ""
        label = fill_template(
            template,
            lambda name: to_prompt_text(row.get(find_column(name, row) or name)),
        )
        return " ".join(label.split())[:MAX_LABEL_CHARS] or str(row[KEY_COLUMN])

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

_CELL_NAMES = (
    KEY_COLUMN,
    VALUES_COLUMN,
    REASON,
    IMAGE_STATE_COLUMN,
    HASH_COLUMN,
    CHANGED_AT_COLUMN,
)


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
        self._field_kinds = dict(rows.record.fields)
        self._key_columns = [name for name, _ in rows.record.key]
        # A key that is a hash of the row is no column of the source.
        self._columns = list(dict.fromkeys([*rows.record.columns, *self._key_columns]))
        if rows.image_columns:
            self._columns.append(UNUSABLE_REASON_COLUMN)
        self._fields = {self._listed_name(name): name for name in self._field_kinds}
        self._version_name = self._listed_name(EXTRACTOR)
        answer_names = [*self._fields, self._version_name]
        self._refused_names = name_added_columns(
            [*self._columns, *answer_names],
            ("line", "reason"),
            "row_",
        )
        self._judgements = RowJudgements(
            tx,
            preference=self._rows.preference(tx),
            threshold=rows.settings.doubtful,
            fields=self._fields,
            taken_names=[*self._columns, *answer_names],
        )

    def build(self) -> Grid:
        """Return the grid, a list of the task's rows that can be searched, filtered and sorted.

        Key, images, columns of the prompt and fields of the answer are shown by default. If only
        refused rows are listed (no task can ask about them, for example because they have no key),
        there are also columns with their line in the source and the reason. If only unusable rows
        are listed (their images cannot be sent), there is a column with the reason.
        """
        has_images = bool(self._rows.image_columns)
        names_by_state = {REFUSED_STATE: list(self._refused_names.values())}
        if has_images:
            names_by_state[UNUSABLE_STATE] = [UNUSABLE_REASON_COLUMN]

        sent_columns = self._record.members.asked_columns
        default_names = dict.fromkeys(
            [*self._key_columns, *self._rows.image_columns, *sent_columns, *self._fields],
        )
        searched_cells = [
            source_column_expression(self._tx, self._values, name, kind)
            for name, kind in self._record.columns.items()
        ]
        return Grid(
            table=self._table,
            cells={name: self._table.table.c[name] for name in _CELL_NAMES},
            column_names=[*self._columns, *self._refused_names.values()],
            make_values=self._make_column_values,
            default_names=list(default_names),
            names_by_state=names_by_state,
            searched_cells=(self._table.row_id, *searched_cells),
            answer_text=join_json_values(self._tx, answers_table.c.answer, list(self._field_kinds)),
            compile_where=self._compile_where,
            sort_keys=self._make_sort_keys(),
            answer_fields=self._fields,
            judgements=self._judgements,
            facets={
                name: JsonCell(answers_table.c.answer, (field,))
                for name, field in self._fields.items()
            },
            answer_names=(
                *self._fields,
                self._version_name,
                *self._judgements.listed_names,
            ),
            make_answer_values=self._make_answer_values,
        )

    def _listed_name(self, name: str) -> str:
        """Return the name of a column about the answer, with a prefix if the name is taken.

        Names of what is known about a whole row, such as `confidence`, are taken, too.
        """
        is_taken = name in self._columns or name.casefold() in JUDGEMENT_NAMES
        return f"answer_{name}" if is_taken else name

    def _make_column_values(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the listed values of a stored row, by name.

        They are the cells of the source, a key that is a hash of the row (`key="row"`), the reason
        why the images of a row cannot be used, and the line and the reason of a refused row.
        """
        values = dict.fromkeys(self._key_columns, row[KEY_COLUMN])
        values |= self._rows.map_row({VALUES_COLUMN: row[VALUES_COLUMN]})
        if self._rows.image_columns:
            values[UNUSABLE_REASON_COLUMN] = row[REASON]
        if row[HASH_COLUMN] == NO_HASH:
            line_name, reason_name = self._refused_names.values()
            values[line_name] = int(row[IMAGE_STATE_COLUMN])
            values[reason_name] = row[REASON]
        return values

    def _make_answer_values(self, answer: PreferredAnswer) -> dict[str, Any]:
        """Return the listed values of an answer: its fields, its version and its judgements."""
        document = json.loads(answer.answer)
        return {
            self._version_name: answer.version,
            **{name: document.get(field) for name, field in self._fields.items()},
            **self._judgements.make_values(answer),
        }

    def _make_sort_keys(self) -> dict[str, list[ColumnElement[Any]]]:
        """Return the expressions that rows are sorted by, by listed name.

        Missing values are first. Columns of texts are sorted by the numbers in them before the
        texts, with other texts first. Fields with lists or objects are left out.
        """
        sort_keys: dict[str, list[ColumnElement[Any]]] = {}
        for name, kind in self._record.columns.items():
            cell = _make_sort_cell(self._tx, self._values, name, kind)
            sort_keys[name] = [cell]
            if kind == "text":
                number = make_number_expression(self._tx, cell)
                sort_keys[name] = [_replace_missing(number), cell]

        for name, field in self._fields.items():
            kind = self._field_kinds[field]
            if kind != JSON:
                cell = _make_sort_cell(self._tx, answers_table.c.answer, field, kind)
                sort_keys[name] = [cell]

        for name, probability in self._judgements.sort_expressions().items():
            sort_keys[name] = [probability]
        return sort_keys

    def _compile_where(self, text: str) -> ColumnElement[bool]:
        """Return the condition of a WHERE= text.

        Names are columns, `answer.NAME`, fields, `NAME.confidence`, `confidence`, `doubtful` or
        `reviewed`. If a name has several meanings, a column comes first, and a field last.

        Raises:
            InputError: The text is invalid, or names an unknown column or a field without
                confidences.
        """
        try:
            expression = parse_where(text)
        except WhereSyntaxError as error:
            # The example is about the first text column that is no key, or the last column.
            *_, last_column = self._record.columns
            text_columns = (
                column
                for column, kind in self._record.columns.items()
                if kind == "text" and column not in self._key_columns
            )
            name = next(text_columns, last_column)
            quoted_name = name if name.replace("_", "").isalnum() else f'"{name}"'
            example = OptionHint(where=f"{quoted_name} CONTAINS 'word'")
            hint = HintTemplate("write it like {}", example)
            raise InputError(error.message, hint=hint) from None
        self._judgements.check_condition(expression, list(self._record.columns))
        answer = answers_table.c.answer
        column_cells = {name: JsonCell(self._values, (name,)) for name in self._record.columns}
        field_cells = {name: JsonCell(answer, (name,)) for name in self._field_kinds}
        dotted_cells = {f"answer.{name}": cell for name, cell in field_cells.items()}
        return compile_where(
            expression,
            (column_cells, dotted_cells, self._judgements.make_cells(), field_cells),
            tx=self._tx,
            list_more_names=self._list_more_names,
        )

    def _list_more_names(self) -> list[str]:
        """Return the names of WHERE= about confidences and reviews."""
        names = self._judgements.list_condition_names()
        review_name = self._judgements.review_name
        return [*names, review_name] if review_name else names


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
