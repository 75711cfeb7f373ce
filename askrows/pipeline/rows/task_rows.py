"""The rows of a task in the database: the conditions of their states, cells, names and counts.

The table is askrows' own or another program's. Ids are text here, and are compared in the type of
the id column.
"""

import dataclasses
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Subquery,
    Table,
    Text,
    and_,
    case,
    cast,
    false,
    func,
    null,
    select,
)

from askrows.pipeline.core.states import describe_reason
from askrows.pipeline.rows.cells import MAX_INTEGER
from askrows.pipeline.rows.row_state import REPORT_ORDER, RowState, StateCounts
from askrows.pipeline.store import again, answers, claims, runs, schema
from askrows.pipeline.store.database import count_rows, has_row, read_matching_rows
from askrows.pipeline.store.rows import count_refused_rows

# Columns with the state of a row and its reason, in lists, exports and views.
STATE_COLUMN = "state"
REASON_COLUMN = "reason"
# The title of a row without a key; its number fits into a column.
_PLACE_TITLE = re.compile(r"row (\d[\d,]{0,17})")
# An integer as a database prints it: no plus sign and no leading zeros.
_INTEGER_PATTERN = re.compile(r"0|-?[1-9][0-9]{0,18}")
_UUID_PATTERN = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def describe_state_reason(
    state: str, row_reason: str | None, parked_reason: str | None, *, is_marked: bool
) -> str | None:
    """Return why a row is refused, unusable, parked or stale; None for other states.

    Args:
        state: The state of the row.
        row_reason: Why the row is refused or unusable, if it is. It takes precedence over the
            reason for parking the row.
        parked_reason: The stored reason why the row is parked, if it is.
        is_marked: A person asked for the row again, and it was not asked yet.
    """
    if state == RowState.STALE:
        return "asked for again" if is_marked else "its input changed after the answer"
    if state == RowState.PARKED and not row_reason:
        return describe_reason(parked_reason or "")
    return row_reason


@dataclass(frozen=True)
class IdColumnFacts:
    """Ids that an id column can store."""

    # "text", "whole numbers" or "UUIDs".
    kind: str = "text"
    # Largest number, if the ids are numbers.
    max_number: int = MAX_INTEGER
    # The database refuses to compare the column with other kinds of ids. True on PostgreSQL. An
    # SQLite column may store texts among numbers.
    is_typed: bool = False

    def to_stored_row_id(self, value: str) -> str | None:
        """Return an id as the column would return it, or None if the column cannot store it.

        - A column of UUIDs returns a UUID in its standard spelling. It cannot store other texts.
        - A column of whole numbers cannot store a text that is not a whole number, a number beyond
          its range, or a number with a sign `+` or leading zeros. Other ids are unchanged.
        """
        if self.kind == "whole numbers":
            if not _INTEGER_PATTERN.fullmatch(value):
                return None
            if not -self.max_number - 1 <= int(value) <= self.max_number:
                return None
        if self.kind == "UUIDs":
            if not _UUID_PATTERN.fullmatch(value):
                return None
            return str(uuid.UUID(value))
        return value

    def list_comparable_ids(self, ids: Iterable[str]) -> list[str]:
        """Return the ids that the column can be compared with, in their order.

        The others are left out, because PostgreSQL fails if an id does not fit the column's type.
        """
        return [
            row_id
            for row_id in ids
            if not self.is_typed or self.to_stored_row_id(row_id) is not None
        ]


@dataclass(frozen=True, eq=False)
class TaskRows:
    """The rows of a task: a table, and for each state the condition of its rows."""

    task: str
    table: Table | Subquery
    # Condition that a row has an answer, and was not emptied since. Stale rows are included.
    is_answered: ColumnElement[bool]
    # Condition that a row without an answer may be asked about, claimed and parked rows included.
    is_open: ColumnElement[bool]
    # Condition that a row has no content to ask about, whether it has an answer or not.
    is_empty: ColumnElement[bool]
    # None if the task cannot have unusable rows.
    is_unusable: ColumnElement[bool] | None = None
    # Condition that a row has content, a model's answer that counts, and no correction.
    is_askable_again: ColumnElement[bool] = field(default_factory=false)
    # Condition that a row has another input than its newest model answer was about.
    has_other_input: ColumnElement[bool] = field(default_factory=false)
    # None if the table does not contain refused rows.
    is_refused: ColumnElement[bool] | None = None
    # Rows that are no longer in the source, or None if the table does not contain such rows.
    is_gone: ColumnElement[bool] | None = None
    # Why a row is refused or unusable, or NULL.
    row_reason: ColumnElement[Any] = field(default_factory=null)
    # The task's own words for states; the word for another state is its name.
    state_words: Mapping[RowState, str] = field(default_factory=dict)
    # Which ids the column `key` stores.
    ids: IdColumnFacts = field(default_factory=IdColumnFacts)
    # Columns with the row ids, and with the order in which rows are asked.
    id_column: str = "id"
    order_column: str = "id"
    # Columns of a row's name for people, and the function that makes the name of their cells. The
    # name is the id if there are no such columns.
    name_columns: Sequence[str] = ()
    format_name: Callable[[Mapping[str, Any]], str] = str
    # Rows without a key of their own, which are called by their place in the source; None if all
    # rows have a key. The place is NULL for a gone row.
    has_no_key: ColumnElement[bool] | None = None
    place: ColumnElement[Any] = field(default_factory=null)
    # Count rows as parked only if parked under this prompt version; empty means any version.
    own_prompt_version: str = ""

    @property
    def state_expression(self) -> ColumnElement[str]:
        """The task's word for a row's state, as an SQL expression.

        The first condition that is met decides, in the order of `RowState`. Claims and parked rows
        are looked up for each row by correlated subqueries, which is fast if few rows are read.
        """
        return self._make_state_expression(self.is_claimed, self.is_parked)

    @property
    def scanned_state_expression(self) -> ColumnElement[str]:
        """The state expression for queries that read nearly all rows.

        One scan of the records of claims is faster than a look-up for each row.
        """
        has_claim = self._is_found_by_claim_scan(claims.IS_CLAIMED)
        return self._make_state_expression(
            has_claim, self._is_found_by_claim_scan(self._is_parking)
        )

    def _make_state_expression(
        self, is_claimed: ColumnElement[bool], is_parked: ColumnElement[bool]
    ) -> ColumnElement[str]:
        """Return the state expression with the conditions of claimed and of parked rows."""
        branches = [
            (self.is_gone, self.find_state_word(RowState.GONE)),
            (self.is_refused, self.find_state_word(RowState.REFUSED)),
            (is_claimed, self.find_state_word(RowState.CLAIMED)),
            (is_parked, self.find_state_word(RowState.PARKED)),
            (self.is_stale, self.find_state_word(RowState.STALE)),
            (self.is_answered, self.find_state_word(RowState.ANSWERED)),
            (self.is_unusable, self.find_state_word(RowState.UNUSABLE)),
            (~self.is_empty, self.find_state_word(RowState.OPEN)),
        ]
        possible_branches = [
            (condition, word) for condition, word in branches if condition is not None
        ]
        return case(*possible_branches, else_=self.find_state_word(RowState.EMPTY))

    def find_state_word(self, state: RowState) -> str:
        """Return the task's word for a state."""
        return self.state_words.get(state, state.value)

    def has_state(self, state: RowState) -> ColumnElement[bool]:
        """Return the SQL condition that a row is in a state."""
        return self.state_expression == self.find_state_word(state)

    @property
    def reason_cells(self) -> Sequence[ColumnElement[Any]]:
        """Return the expressions for `describe_state_reason`, in its order after the state."""
        parked_reason = self._select_claims(self._is_parking).with_only_columns(
            func.min(schema.row_claims.c.reason)
        )
        return self.row_reason, parked_reason.scalar_subquery(), self.has_mark

    @property
    def source_states(self) -> tuple[RowState, ...]:
        """Return the states that rows in the source can have, in the order of reports."""
        if self.is_unusable is None:
            return tuple(state for state in REPORT_ORDER if state is not RowState.UNUSABLE)
        return REPORT_ORDER

    @property
    def listed_state_words(self) -> list[str]:
        """Return the words for the states that a list can be filtered by."""
        words = [self.find_state_word(state) for state in self.source_states]
        if self.is_gone is not None:
            words.append(self.find_state_word(RowState.GONE))
        return words

    @property
    def row_id(self) -> ColumnElement[str]:
        """Return an SQL expression for a row's id as text."""
        return cast(self.table.c[self.id_column], Text)

    @property
    def is_claimed(self) -> ColumnElement[bool]:
        """Return the SQL condition that a batch that is not over asks a row."""
        return self._select_claims(claims.IS_CLAIMED).exists()

    @property
    def is_parked(self) -> ColumnElement[bool]:
        """Return the SQL condition that a row is parked; another version may claim it."""
        return self._select_claims(self._is_parking).exists()

    @property
    def is_blocked(self) -> ColumnElement[bool]:
        """Return the SQL condition that a row is claimed or parked."""
        is_blocking = claims.IS_CLAIMED | self._is_parking
        return self._select_claims(is_blocking).exists()

    @property
    def _is_parking(self) -> ColumnElement[bool]:
        """Return the SQL condition that a record of the claims parks its row."""
        return claims.is_parked(self.own_prompt_version)

    def _is_found_by_claim_scan(self, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        """Return the SQL condition that a scan of the claims finds such a record of a row."""
        query = select(schema.row_claims.c.row_id)
        return self.row_id.in_(query.where(condition, claims.is_of_task_without_index(self.task)))

    def _select_claims(self, condition: ColumnElement[bool]) -> Select[Any]:
        """Return a SELECT of the claims of a row of the outer query that meet a condition."""
        records = schema.row_claims.c
        return (
            select(records.row_id)
            .where(records.task == self.task, records.row_id == self.row_id, condition)
            .correlate_except(schema.row_claims)
        )

    @property
    def is_stale(self) -> ColumnElement[bool]:
        """Return the SQL condition that an answered row changed, or that a person asked for it."""
        return (self.has_other_input | self.has_mark) & self.is_askable_again

    @property
    def is_changed(self) -> ColumnElement[bool]:
        """Return the SQL condition that an answered row changed after its answer."""
        return self.is_askable_again & self.has_other_input

    @property
    def is_marked(self) -> ColumnElement[bool]:
        """Return the SQL condition that a person asked for an answered row again."""
        return self.is_askable_again & self.has_mark

    @property
    def is_markable(self) -> ColumnElement[bool]:
        """Return the SQL condition that a person may ask for an answered row again.

        It has a model's answer that counts, and no correction. It is not claimed, not parked, and
        not marked already.
        """
        return and_(self.is_askable_again, ~self.is_blocked, ~self.is_marked)

    @property
    def is_corrected(self) -> ColumnElement[bool]:
        """Return the SQL condition that a person corrected the answer of a row."""
        return answers.is_answered(self.task, self.row_id, answers.PERSON)

    @property
    def has_mark(self) -> ColumnElement[bool]:
        """Return the SQL condition that a row has a mark that is not done, answered or not."""
        return self._select_marks(~again.HAS_NEWER_ANSWER).exists()

    def make_marked_by_unfinished_command_condition(self, tx: Connection) -> ColumnElement[bool]:
        """Return the SQL condition that a command that is not over marked a row.

        A command is not over if its run has no end, or if another row that it marked waits to be
        asked. A mark also counts after its row was asked.
        """
        is_waiting = self.is_askable_again & (self.is_claimed | ~self.is_parked)
        times = again.list_times_of_unfinished_marks(
            tx, self.task, self.table, self.row_id, is_waiting
        )
        is_of_command: ColumnElement[bool] = schema.again.c.at.in_(times)
        run = runs.find_unfinished_tag_run(tx, self.task)
        if run is not None:
            is_of_command |= schema.again.c.at >= run.started_at
        return self._select_marks(is_of_command).exists()

    def _select_marks(self, condition: ColumnElement[bool]) -> Select[Any]:
        """Return a SELECT of the marks of a row of the outer query that meet a condition."""
        marks = schema.again.c
        return (
            select(marks.row_id)
            .where(marks.task == self.task, marks.row_id == self.row_id, condition)
            .correlate_except(schema.again)
        )

    def count_rows(self, tx: Connection, *conditions: ColumnElement[bool]) -> int:
        """Return the number of rows that meet all conditions."""
        return count_rows(tx, self.table, *conditions)

    def has_rows(self, tx: Connection) -> bool:
        """Return whether the table has a row. Reads no more than one row."""
        return has_row(tx, select(self.table.c[self.id_column]))

    def select_rows(
        self,
        condition: ColumnElement[bool],
        *,
        names: Sequence[str] = (),
        after: str | None = None,
    ) -> Select[Any]:
        """Return the SELECT of all rows that meet a condition, in the order of asking.

        Nothing is read yet. The last result column is `row_id`, the row id as text.

        Args:
            condition: The condition.
            names: Columns that precede the row id in the result.
            after: Select only rows after the row with this id; no rows if it does not exist.
        """
        order = self.table.c[self.order_column]
        columns = [self.table.c[name] for name in names]
        query = select(*columns, self.row_id.label("row_id")).where(condition).order_by(order)
        if after is None:
            return query

        same_table = self.table.alias().c
        is_after_row = same_table[self.id_column].in_(self.ids.list_comparable_ids([after]))
        order_of_row = select(same_table[self.order_column]).where(is_after_row).limit(1)
        return query.where(order > order_of_row.scalar_subquery())

    def make_ids_condition(self, ids: Sequence[str]) -> ColumnElement[bool]:
        """Return the condition that a row has one of these ids."""
        return self.table.c[self.id_column].in_(self.ids.list_comparable_ids(ids))

    def read_by_ids(
        self,
        tx: Connection,
        ids: Sequence[str] | None,
        columns: Sequence[ColumnElement[Any]],
        *conditions: Any,
        should_lock: bool = False,
    ) -> Iterator[Sequence[Any]]:
        """Yield columns of the rows that have one of these ids and meet all conditions.

        Ids that do not exist or that the column cannot store are skipped.

        Args:
            tx: The caller's transaction.
            ids: Any number of row ids, which are looked up page by page; the rows of a page are in
                their order. None means all rows, in their order and in constant memory.
            columns: The expressions to select.
            *conditions: Further conditions of the rows.
            should_lock: No other transaction can change the rows until this transaction ends.
        """
        query = select(*columns).where(*conditions).order_by(self.table.c[self.order_column])
        if should_lock:
            query = query.with_for_update()
        native_ids = None if ids is None else self.ids.list_comparable_ids(ids)
        return read_matching_rows(tx, query, self.table.c[self.id_column], native_ids)

    def read_rows(
        self,
        tx: Connection,
        ids: Sequence[str],
        names: Sequence[str],
        *,
        should_lock: bool = False,
    ) -> dict[str, dict[str, Any]]:
        """Return the named columns of the existing rows with these ids, by id.

        If `should_lock`, no other transaction can change the rows until this transaction ends.
        """
        columns = [*(self.table.c[name] for name in names), self.row_id]
        return {
            row[-1]: dict(zip(names, row, strict=False))
            for row in self.read_by_ids(tx, ids, columns, should_lock=should_lock)
        }

    def read_cells(
        self,
        tx: Connection,
        names: Sequence[str],
        *conditions: ColumnElement[bool],
        row_ids: Sequence[str] | None = None,
    ) -> Iterator[Sequence[Any]]:
        """Yield the named columns of rows that meet all conditions; see `read_by_ids`."""
        columns = [self.table.c[name] for name in names]
        return self.read_by_ids(tx, row_ids, columns, *conditions)

    def filter_ids(
        self,
        tx: Connection,
        ids: Sequence[str],
        *conditions: ColumnElement[bool],
    ) -> set[str]:
        """Return the ids, out of these, of existing rows that meet all conditions."""
        return {row[0] for row in self.read_by_ids(tx, ids, [self.row_id], *conditions)}

    def read_names(self, tx: Connection, ids: Sequence[str]) -> dict[str, str]:
        """Return the names for people of the existing rows with these ids, by id."""
        rows = self.read_rows(tx, ids, self.name_columns)
        if not self.name_columns:
            return {row_id: row_id for row_id in rows}
        return {row_id: self.format_name(row) for row_id, row in rows.items()}

    def read_titles(self, tx: Connection, ids: Sequence[str]) -> dict[str, str]:
        """Return the names of the existing rows with these ids, by id.

        A row without a key and a name is "row 17", by its place in the source, or "gone row".
        """
        titles = self.read_names(tx, ids)
        unnamed_ids = [row_id for row_id, title in titles.items() if title == row_id]
        return titles | self.read_place_titles(tx, unnamed_ids)

    def read_place_titles(self, tx: Connection, ids: Sequence[str]) -> dict[str, str]:
        """Return "row 17" or "gone row" for each row without a key, out of these, by id."""
        if self.has_no_key is None:
            return {}
        columns = [self.row_id, self.place]
        return {
            row_id: "gone row" if place is None else f"row {place:,}"
            for row_id, place in self.read_by_ids(tx, ids, columns, self.has_no_key)
        }

    def find_id_by_place_title(self, tx: Connection, title: str) -> str | None:
        """Return the id of the row without a key that has a title such as "row 17".

        None if there is no such row, or if the title has another form.
        """
        match = _PLACE_TITLE.fullmatch(title)
        if match is None or self.has_no_key is None:
            return None
        is_at_place = self.place == int(match[1].replace(",", ""))
        query = select(self.row_id).where(self.has_no_key, is_at_place)
        row_id: str | None = tx.execute(query).scalar()
        return row_id

    def count_all_rows_by_state(self, tx: Connection) -> StateCounts:
        """Return the number of all rows by state.

        Refused rows are counted in `askrows_rows` if the table does not contain them.
        """
        counts = self.count_rows_by_state(tx)
        if self.is_refused is None:
            return dataclasses.replace(counts, refused=count_refused_rows(tx, self.task))
        return counts

    def count_rows_by_state(self, tx: Connection, *conditions: ColumnElement[bool]) -> StateCounts:
        """Return the number of rows in the table that meet all conditions, by state."""
        names_by_word = {self.find_state_word(state): state.value for state in RowState}
        counts_by_word = tx.execute(self.select_state_counts(*conditions))
        return StateCounts(**{names_by_word[word]: count for word, count in counts_by_word})

    def select_state_counts(self, *conditions: ColumnElement[bool]) -> Select[Any]:
        """Return the SELECT of state word and count of the rows that meet all conditions."""
        rows = select(self.scanned_state_expression.label(STATE_COLUMN)).where(*conditions)
        # The long expression is in a subquery, because GROUP BY would repeat it.
        states = rows.select_from(self.table).subquery()
        return select(states.c.state, func.count()).group_by(states.c.state)

    def make_count_document(self, counts: StateCounts) -> dict[str, int]:
        """Return the counts of rows in the source for JSON: `total`, then by the task's words."""
        counts_by_word = {
            self.find_state_word(state): counts.count(state) for state in self.source_states
        }
        return {"total": counts.total, **counts_by_word}
