"""List, filter, count and export the rows of a task.

A page starts after the last row of the page before, by its sort values, so earlier rows are not
read again. Refused rows of a task are listed from `askrows_rows` if its table lacks them. All
queries read the rows joined with their preferred answers, so an expression of a row can name
columns of its table and of `askrows_answers`. A cell is such an expression that is read for each
row. The columns show values that are made of cells and of the answer. A facet is a column with few
values, such as tags, by which rows are counted.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Join,
    Select,
    Text,
    and_,
    cast,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    union_all,
)

from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.row_listing import (
    NO_FILTER,
    FieldCount,
    ListedRow,
    RowCounts,
    RowFilter,
    RowListOptions,
    RowPosition,
    RowsPage,
)
from askrows.pipeline.core.where_parser import parse_where
from askrows.pipeline.rows.facets import (
    MAX_VALUES,
    format_where_any_equals,
    is_countable_by_value,
    list_commonest,
    list_value_or_range_counts,
)
from askrows.pipeline.rows.kept_counts import reuse_or_count_states, reuse_or_store_counts
from askrows.pipeline.rows.row_state import STATES_WITH_REASON, RowState
from askrows.pipeline.rows.task_rows import (
    REASON_COLUMN,
    STATE_COLUMN,
    TaskRows,
    describe_state_reason,
)
from askrows.pipeline.rows.view_row import (
    CONFIDENCE,
    DOUBTFUL,
    RowJudgements,
    ViewColumn,
    ViewRow,
    choose_free_column_names,
)
from askrows.pipeline.rows.where_sql import (
    JsonCell,
    compile_where,
    make_json_cell,
    make_json_expression,
    make_word_in_text_condition,
    make_word_in_values_condition,
)
from askrows.pipeline.store.answers import (
    ANSWER_COLUMNS,
    PreferredAnswer,
    VersionPreference,
    join_preferred_answers,
    make_answers_differ_condition,
)
from askrows.pipeline.store.confidences import has_confidences
from askrows.pipeline.store.database import (
    SlowError,
    limit_statement_time,
    read_matching_rows,
)
from askrows.pipeline.store.rows import IS_REFUSED
from askrows.pipeline.store.schema import answers
from askrows.pipeline.store.schema import rows as stored_rows
from askrows.pipeline.store.task_record import has_version

# Rows that show whether the values of a column differ.
_FIRST_FACET_ROWS = 500
# The first facets, which are counted: SQLite unites at most 500 SELECTs.
_MAX_FACETS = 100
# The commonest versions that are listed.
_MAX_VERSIONS = 50
# Name of the version among the counted columns; no column has it.
_VERSION = ""
NO_FIELDS: Mapping[str, str] = MappingProxyType({})


class DoubtCounts(NamedTuple):
    """Numbers of the rows of a task by the confidence of their answers."""

    doubtful: int
    # Rows whose answer has a confidence, doubtful rows included.
    with_confidence: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Grid:
    """A list of the rows of a table, which can be searched, filtered, sorted and counted."""

    table: TaskRows
    # The order of preference among the answers.
    preference: VersionPreference
    # Confidences, doubts and reviews of the rows.
    judgements: RowJudgements
    # All columns by name.
    columns: Mapping[str, ViewColumn]
    # Names of the columns of the state and of its reason; `row_state` if `state` is taken.
    state_name: str
    reason_name: str
    # Names of the columns of the row itself, and of those that are listed by default.
    source_names: Sequence[str]
    default_names: Sequence[str]
    # Names of columns that an export has only on request.
    cost_names: Sequence[str] = ()
    # Names of columns by these names and by others, such as `answer.tone` and `tone.confidence`.
    names: Mapping[str, str]
    # Expressions that are read for each row, by name, and the function that makes the row's plain
    # values of them.
    cells: Mapping[str, ColumnElement[Any]]
    read_values: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    # Expressions that are searched for words, and JSON documents whose values are.
    searched_cells: Sequence[ColumnElement[Any]]
    searched_documents: Sequence[ColumnElement[Any]] = ()
    # Names of answer fields by the names of their columns.
    answer_fields: Mapping[str, str]
    # Names of columns whose values are counted.
    facets: Sequence[str]

    @property
    def _cells(self) -> dict[str, JsonCell]:
        """Return the cells that WHERE= compares, by the names of columns."""
        return {name: column.cell for name, column in self.columns.items() if column.cell}

    def _join_answers(self, version: str | None = None) -> Join:
        """Return the rows, each joined with its preferred answer of a version, or of any."""
        return join_preferred_answers(
            self.table.table, self.table.row_id, self.preference, version=version
        )

    def select_rows(
        self,
        tx: Connection,
        row_filter: RowFilter,
        *columns: ColumnElement[Any],
        version: str | None = None,
        has_gone_rows: bool = False,
    ) -> Select[Any]:
        """Return the SELECT of the rows that meet a filter, in no order.

        Lists, counts and exports of rows read this SELECT.

        Args:
            columns: Expressions of the row, and of its answer in `askrows_answers`.
            version: A row's answer is that of this version or prompt version; None means its
                preferred answer.
            has_gone_rows: Select rows that left their source, too. Rows whose state or ids the
                filter requests are always selected.

        Raises:
            InputError: The filter is invalid; see `_make_row_and_answer_conditions`.
        """
        conditions = self._make_row_and_answer_conditions(tx, row_filter)
        is_excluded = self._make_gone_rows_condition(row_filter)
        if is_excluded is not None and not has_gone_rows:
            conditions.append(~is_excluded)
        return select(*columns).select_from(self._join_answers(version)).where(*conditions)

    def read_rows(
        self,
        tx: Connection,
        row_filter: RowFilter = NO_FILTER,
        *,
        version: str | None = None,
        has_gone_rows: bool = False,
        conditions: Sequence[ColumnElement[bool]] = (),
        row_ids: Sequence[str] | None = None,
    ) -> Iterator[ViewRow]:
        """Yield the rows that meet a filter in the order in which they are asked.

        They are read in constant memory.

        Args:
            version: As in `select_rows`.
            has_gone_rows: As in `select_rows`.
            conditions: Only rows that meet these conditions on the row and its answer, too.
            row_ids: Only rows with these ids, of any number, which are sorted page by page.

        Raises:
            InputError: The filter is invalid.
        """
        native_ids = None
        state = self.table.scanned_state_expression
        if row_ids is not None:
            native_ids = self.table.ids.list_comparable_ids(row_ids)
            state = self.table.state_expression
        query = self.select_rows(
            tx, row_filter, *self._list_cells(state), version=version, has_gone_rows=has_gone_rows
        )
        query = query.where(*conditions)
        columns = self.table.table.c
        query = query.order_by(columns[self.table.order_column])
        records = read_matching_rows(tx, query, columns[self.table.id_column], native_ids)
        return map(self._make_view_row, records)

    def _list_cells(self, state: ColumnElement[str]) -> list[ColumnElement[Any]]:
        """Return the expressions, with that of the state, that `_make_view_row` makes a row of."""
        return [
            self.table.row_id,
            state,
            *self.table.reason_cells,
            *(answers.c[name] for name in ANSWER_COLUMNS),
            *self.cells.values(),
            self.judgements.is_doubtful,
        ]

    def _make_view_row(self, record: Sequence[Any]) -> ViewRow:
        """Return the view's row for a record of a query of `_list_cells`.

        The row has its id, state, the reason of the state, answer, cells, and the values that are
        read from the cells. Its answer is None if the row has no answer.
        """
        row_id, state, row_reason, parked_reason, is_marked, *other_cells = record
        answer_cells = other_cells[: len(ANSWER_COLUMNS)]
        answer = None
        if answer_cells[0] is not None:
            answer = PreferredAnswer(*answer_cells)
        cells = dict(zip([*self.cells, DOUBTFUL], other_cells[len(ANSWER_COLUMNS) :], strict=True))
        return ViewRow(
            row_id,
            state,
            describe_state_reason(state, row_reason, parked_reason, is_marked=is_marked),
            answer,
            cells,
            self.read_values(cells),
        )

    def read_page(self, tx: Connection, options: RowListOptions) -> RowsPage:
        """Return a page of at most `options.limit` rows; see `read_kinds_and_rows`.

        If more rows follow, the page contains the id of its last row, which is `options.after` of
        the next page.

        Raises:
            InputError: The options are invalid, or sorting takes too long.
        """
        limit = options.limit or 0
        kinds, rows = self.read_kinds_and_rows(tx, options._replace(limit=limit + 1))
        try:
            with limit_statement_time(tx, options.within_s if options.sort else None):
                listed_rows = list(rows)
        except SlowError:
            raise InputError(
                f"too many rows to sort by {options.sort} in time",
                hint=f"list fewer rows: {OptionHint(where='…')}",
            ) from None

        has_more_rows = len(listed_rows) > limit
        listed_rows = listed_rows[:limit]
        row_ids = [row.id for row in listed_rows]
        return RowsPage(
            listed_rows,
            row_ids[-1] if has_more_rows else None,
            tuple(kinds),
            self.judgements.review_name,
            self.state_name,
            self.table.read_place_titles(tx, row_ids),
        )

    def read_kinds_and_rows(
        self, tx: Connection, options: RowListOptions
    ) -> tuple[Mapping[str, str], Iterator[ListedRow]]:
        """Return the kinds of the listed columns by name, and the rows in the requested order.

        - The rows are read when iterated, in constant memory.
        - The list begins after the row `options.after`, and has at most `options.limit` rows.
        - A table may lack refused rows (`is_refused` is None). If they are requested then, the list
          has the refused rows of the task in `askrows_rows`; sort order and columns are ignored.
        - Rows that are no longer in the source are left out, unless their state or their ids
          request them.

        Raises:
            InputError: The options name an unknown row, state, column or sort order, or the filter
                is invalid; see `_make_row_and_answer_conditions`.
        """
        if self.should_list_refused(options.row_filter):
            refused_options = options._replace(sort=None, fields=None)
            return make_refused_grid(tx, self.table.task).read_kinds_and_rows(tx, refused_options)

        names = self.choose_column_names(options)
        query = self.select_rows(
            tx, options.row_filter, *self._list_cells(self.table.state_expression)
        )
        if options.after is not None:
            query = query.where(self._make_after_condition(tx, options))
        sort_keys = self._make_sort_expressions(options)
        if _is_descending(options):
            sort_keys = [key.desc() for key in sort_keys]
        query = query.order_by(*sort_keys).limit(options.limit)
        rows = map(self._make_view_row, read_matching_rows(tx, query, self.table.row_id, None))
        return (
            {name: self.columns[name].kind for name in names},
            (ListedRow(row.id, row.state, self.list_values(row, names)) for row in rows),
        )

    def list_values(self, row: ViewRow, names: Iterable[str]) -> dict[str, Any]:
        """Return the values of a row in some columns, by name."""
        return {name: self.columns[name].read(row) for name in names}

    def should_list_refused(self, row_filter: RowFilter) -> bool:
        """Return whether a filter requests refused rows, and the table does not contain them."""
        return row_filter.state == RowState.REFUSED and self.table.is_refused is None

    def _make_after_condition(self, tx: Connection, options: RowListOptions) -> ColumnElement[bool]:
        """Return the SQL condition that a row comes after the row `options.after` in the list.

        Reads the sort values of that row. `options.after` is its id, or its title such as "row 17".

        Raises:
            InputError: There is no such row, or no such sort order.
        """
        sort_keys = self._make_sort_expressions(options)
        after_name = str(options.after)
        after_id = self.table.find_id_by_place_title(tx, after_name) or after_name
        is_last_row = self.table.make_ids_condition([after_id])
        query = select(*sort_keys).select_from(self._join_answers()).where(is_last_row).limit(1)
        last_row = tx.execute(query).first()
        if last_row is None:
            raise InputError(
                f"there is no row {options.after!r} to continue after",
                hint=f"leave out {OptionHint('after')}",
            )

        bounds = [literal(value, key.type) for key, value in zip(sort_keys, last_row, strict=True)]
        row_values = tuple_(*sort_keys)
        last_values = tuple_(*bounds)
        # SQLite does not use an index on an expression for a comparison of tuples.
        if _is_descending(options):
            return and_(sort_keys[0] <= bounds[0], row_values < last_values)
        return and_(sort_keys[0] >= bounds[0], row_values > last_values)

    def find_place_and_list_length(
        self,
        tx: Connection,
        row_id: str,
        options: RowListOptions,
    ) -> RowPosition | None:
        """Return the place of a row, from 1, in the list that the options select, and its length.

        The filter and the sort order of the options count; their limit and position are ignored.

        Returns:
            The place and the length. The place is None if the row exists but is not in the list.
            The whole result is None if counting takes longer than `options.within_s` seconds.

        Raises:
            InputError: The options are invalid, or there is no such row.
        """
        reversed_options = options._replace(after=row_id, is_reversed=not options.is_reversed)
        is_earlier = self._make_after_condition(tx, reversed_options)
        query = self.select_rows(
            tx,
            options.row_filter,
            func.count(),
            func.count().filter(is_earlier),
            func.count().filter(self.table.make_ids_condition([row_id])),
        )
        try:
            with limit_statement_time(tx, options.within_s):
                total, earlier_count, own_count = tx.execute(query).one()
        except SlowError:
            return None
        number = None
        if own_count:
            number = earlier_count + 1
        return RowPosition(number, total)

    def count_doubtful_rows(self, tx: Connection) -> DoubtCounts:
        """Return how many rows are doubtful, and how many have an answer with a confidence.

        A row is doubtful if a field of its preferred answer has a probability below the threshold
        of `make_grid` and no person corrected or reviewed the answer. All rows of a list without a
        filter count, so rows that are no longer in the source do not.
        """
        if not has_confidences(tx, self.table.task):
            return DoubtCounts(0, 0)
        query = self.select_rows(
            tx,
            NO_FILTER,
            func.count().filter(self.judgements.is_doubtful),
            func.count(answers.c.confidences),
        )
        doubtful_count, answered_count = tx.execute(query).one()
        return DoubtCounts(doubtful_count, answered_count)

    def make_row_conditions(
        self, tx: Connection, row_filter: RowFilter
    ) -> list[ColumnElement[bool]]:
        """Return the conditions of a filter for queries on the table of the rows alone.

        They look up the preferred answer of each row, and do not exclude rows that are no longer in
        their source.

        Raises:
            InputError: The filter is invalid; see `_make_row_and_answer_conditions`.
        """
        conditions = self._make_row_and_answer_conditions(tx, row_filter)
        one_row = select(literal_column("1")).subquery("one_row")
        preferred = join_preferred_answers(one_row, self.table.row_id, self.preference)
        query: Select[Any] = select(literal_column("1")).select_from(preferred).where(*conditions)
        return [query.correlate(self.table.table).exists()]

    def _make_row_and_answer_conditions(
        self, tx: Connection, row_filter: RowFilter
    ) -> list[ColumnElement[bool]]:
        """Return the conditions of a filter, all of which a row and its answer must meet.

        Each word of the filter must be in one of the searched cells or documents. Then follow
        WHERE=, the choices, each tag, the state, the ids, and the conditions on answers: review,
        doubt, differing versions and version. A tag must equal the value of a facet. Parts of the
        filter that are not set add no condition.

        Raises:
            InputError: The state is unknown, or WHERE= is invalid.
        """
        conditions = [self._make_word_condition(tx, word) for word in row_filter.words]
        where_texts = [row_filter.where, *row_filter.choices.values()]
        where_texts += [format_where_any_equals(self.facets, tag) for tag in row_filter.tags]
        conditions += [self._compile_where_text(tx, text) for text in where_texts if text]

        if row_filter.state:
            states = self.table.listed_state_words
            if row_filter.state not in states:
                raise InputError(
                    f"the rows of this task have no state {row_filter.state!r}",
                    hint=f"the states are {', '.join(states)}",
                )
            conditions.append(self.table.state_expression == row_filter.state)

        if row_filter.ids:
            conditions.append(self.table.make_ids_condition(row_filter.ids))
        judged_values = (
            (self.judgements.is_doubtful, row_filter.is_doubtful),
            (self.judgements.is_checked, row_filter.is_checked),
        )
        conditions += [
            judgement == value for judgement, value in judged_values if value is not None
        ]
        if row_filter.differing_versions:
            is_different = make_answers_differ_condition(
                tx, self.table.task, self.table.row_id, *row_filter.differing_versions
            )
            conditions.append(is_different)
        if row_filter.answer_version:
            conditions.append(has_version(answers.c.version, row_filter.answer_version))
        return conditions

    def _compile_where_text(self, tx: Connection, text: str) -> ColumnElement[bool]:
        """Return the condition of a text of WHERE=.

        A name means a column of the row or answer, else a column of the judgements, else an alias.
        A plain name is a column of the source before it is a field of the answer.

        Raises:
            InputError: The text is invalid, or names an unknown column.
        """
        own_cells = self._cells
        cells = dict(own_cells)
        judgement_cells = {name: cells.pop(name) for name in self.judgements.columns}
        alias_cells = {
            alias: own_cells[name] for alias, name in self.names.items() if name in own_cells
        }
        return compile_where(parse_where(text), (cells, judgement_cells, alias_cells), tx=tx)

    def _make_word_condition(self, tx: Connection, word: str) -> ColumnElement[bool]:
        """Return the condition that a row or its answer contains a word."""
        in_cells = [
            make_word_in_text_condition(tx, cast(cell, Text), word) for cell in self.searched_cells
        ]
        in_documents = [
            make_word_in_values_condition(tx, document, word)
            for document in self.searched_documents
        ]
        return or_(*in_cells, *in_documents)

    def count_rows(
        self,
        tx: Connection,
        row_filter: RowFilter,
        *,
        data: Path,
        within_s: float | None = None,
        max_members: int = MAX_VALUES,
    ) -> RowCounts:
        """Return how many rows a filter matches: in total, by state, and by facets.

        - Rows that are no longer in the source are counted only in `gone`, unless their state or
          ids are requested.
        - A table may lack refused rows (`is_refused` is None). The refused rows of the task
          in `askrows_rows` are then counted instead if they are requested. Without any filter they
          are added to the total and to the states. All counts are then kept; see `kept_counts`.
        - Versions are None, and values are empty, if counting them takes longer than `within_s`
          seconds. Versions are the 50 commonest, without rows that have no answer.
        - A facet of lists has the `max_members` commonest members.

        Raises:
            InputError: The filter is invalid; see `_make_row_and_answer_conditions`.
        """
        if self.should_list_refused(row_filter):
            return make_refused_grid(tx, self.table.task).count_rows(tx, row_filter, data=data)

        if self._make_row_and_answer_conditions(tx, row_filter):
            return self._count_table_rows(tx, row_filter, data, within_s, max_members)

        def count() -> tuple[int, dict[str, Any]]:
            """Return the number of rows, and their counts to keep."""
            counts = self._count_table_rows(tx, row_filter, data, within_s, max_members)
            # Without all counts, none are kept.
            row_count = 0 if counts.versions is None else counts.total
            return row_count, counts._asdict()

        cells = [make_json_expression(tx, self._cells[name]) for name in self._counted_names]
        query = self.select_rows(tx, row_filter, self.table.scanned_state_expression, *cells)
        file_name = f"{self.table.task}.{max_members}.json"
        counts = RowCounts(**reuse_or_store_counts(tx, query, data, file_name, count))
        fields = {
            name: [FieldCount(*value_count) for value_count in value_counts]
            for name, value_counts in counts.fields.items()
        }
        return counts._replace(fields=fields)

    def _count_table_rows(
        self,
        tx: Connection,
        row_filter: RowFilter,
        data: Path,
        within_s: float | None,
        max_members: int,
    ) -> RowCounts:
        """Count the rows in the table for `count_rows`, without keeping the counts of facets.

        If counting facets takes longer than `within_s` seconds, only states are counted.
        """
        counters: dict[str, Counter[str | None]] = {}
        with contextlib.suppress(SlowError), limit_statement_time(tx, within_s):
            counters = self._count_facet_values(tx, row_filter)
        if self.state_name in counters:
            state_counts = counters.pop(self.state_name)
        else:
            state_counts = self._count_states(tx, row_filter, data)
        states = {name: state_counts[name] for name in self.table.listed_state_words}
        gone_count = 0
        if self._make_gone_rows_condition(row_filter) is not None:
            gone_count = states.pop(RowState.GONE)

        versions = None
        if _VERSION in counters:
            version_counts = counters.pop(_VERSION)
            # Rows without an answer.
            del version_counts[None]
            versions = dict(list_commonest(version_counts.items(), _MAX_VERSIONS))
        fields = {
            name: list_value_or_range_counts(name, counter, max_members=max_members)
            for name, counter in counters.items()
        }
        return RowCounts(
            sum(states.values()),
            states,
            versions,
            {name: value_counts for name, value_counts in fields.items() if value_counts},
            gone_count,
        )

    @property
    def _counted_names(self) -> list[str]:
        """Return the names of the columns whose values are counted if they are few."""
        return [*self.facets[:_MAX_FACETS], *self.judgements.counted_names]

    def _make_gone_rows_condition(self, row_filter: RowFilter) -> ColumnElement[bool] | None:
        """Return the condition that a row is left out because it is no longer in its source.

        None if such rows are listed, or if the table does not contain such rows.
        """
        if row_filter.state == RowState.GONE or row_filter.ids:
            return None
        return self.table.is_gone

    def _count_states(
        self, tx: Connection, row_filter: RowFilter, data: Path
    ) -> Counter[str | None]:
        """Return how many rows of a filter have each state, by the task's words, with gone rows.

        Without a filter, kept counts are used, with all refused rows of the task.
        """
        if self._make_row_and_answer_conditions(tx, row_filter):
            return self._count_values(tx, row_filter, [self.state_name])[self.state_name]
        counts = reuse_or_count_states(tx, self.table, data)
        return Counter(
            {self.table.find_state_word(state): counts.count(state) for state in RowState}
        )

    def _count_facet_values(
        self, tx: Connection, row_filter: RowFilter
    ) -> dict[str, Counter[str | None]]:
        """Count rows by version, review, doubt, and each facet that has few values.

        The first rows show whether a facet has few values; at most _MAX_FACETS facets are counted.
        With a filter, rows are also counted by state.
        """
        names = [_VERSION]
        if self._counted_names:
            # A column of texts that differ is found in a few rows, so that others are not counted.
            first_counters = self._count_values(
                tx, row_filter, self._counted_names, max_rows=_FIRST_FACET_ROWS
            )
            names += [
                name for name, counter in first_counters.items() if is_countable_by_value(counter)
            ]
        if self._make_row_and_answer_conditions(tx, row_filter):
            names.append(self.state_name)
        return self._count_values(tx, row_filter, names)

    def _count_values(
        self,
        tx: Connection,
        row_filter: RowFilter,
        names: Sequence[str],
        *,
        max_rows: int | None = None,
    ) -> dict[str, Counter[str | None]]:
        """Return, for each of some columns, the number of rows by value.

        Values are JSON, None if missing; the state and the version are plain text. The rows are
        selected once. A column is counted without its own condition: its condition in
        `row_filter.choices`. That of the state is that a row is in its source.

        Args:
            names: The name of the state, _VERSION, and names of columns with a cell.
            max_rows: Count only so many rows, in the order in which rows are asked.
        """
        expressions: dict[str, ColumnElement[Any]] = {
            **{
                name: make_json_expression(tx, cell)
                for name, cell in self._cells.items()
                if name in names
            },
            self.state_name: self.table.scanned_state_expression,
            _VERSION: answers.c.version,
        }
        choices = dict(row_filter.choices)
        own_conditions = {
            name: self._compile_where_text(tx, choices.pop(name))
            for name in names
            if name in choices
        }
        is_excluded = self._make_gone_rows_condition(row_filter)
        if is_excluded is not None:
            own_conditions[self.state_name] = ~is_excluded
        query = self.select_rows(
            tx,
            row_filter._replace(choices=choices),
            *(expressions[name] for name in names),
            *own_conditions.values(),
            has_gone_rows=True,
        )

        if max_rows is not None:
            query = query.order_by(self.table.table.c[self.table.order_column]).limit(max_rows)
        columns = [*query.cte("listed_rows").c]
        fits = dict(zip(own_conditions, columns[len(names) :], strict=True))
        queries = []
        for name, column in zip(names, columns, strict=False):
            other_fits = [fit for other_name, fit in fits.items() if other_name != name]
            counts = select(literal(name), cast(column, Text), func.count())
            queries.append(counts.where(*other_fits).group_by(column))
        counters = {name: Counter[str | None]() for name in names}
        for name, value, row_count in tx.execute(union_all(*queries)).all():
            counters[name][value] += row_count
        return counters

    def _make_sort_expressions(self, options: RowListOptions) -> list[ColumnElement[Any]]:
        """Return the expressions that rows are sorted by; the last is different for each row.

        Without `options.sort` it is the order in which rows are asked.

        Raises:
            InputError: There is no such sort order.
        """
        order = self.table.table.c[self.table.order_column]
        if not options.sort:
            return [order]

        sort_name = options.sort.removeprefix("-")
        column = self.columns.get(self.names.get(sort_name, ""))
        if column is None or not column.sort_keys:
            sortable_names = [name for name, column in self.columns.items() if column.sort_keys]
            raise InputError(
                f"rows cannot be sorted by {sort_name!r}",
                hint=f"set {OptionHint('sort')} to {', '.join(sortable_names)}; "
                "a - before the name lists the largest first",
            )
        return [*column.sort_keys, order]

    def list_default_column_names(self, row_filter: RowFilter) -> Sequence[str]:
        """Return the names of the columns that are listed by default.

        They are the default columns, then the least confidence, the reason if only rows in a state
        with reasons are listed, and the review.
        """
        names = [*self.default_names, self.judgements.least_name]
        if row_filter.state in STATES_WITH_REASON:
            names.append(self.reason_name)
        names.append(self.judgements.review_name)
        return tuple(name for name in names if name)

    def choose_column_names(self, options: RowListOptions) -> Sequence[str]:
        """Return the names of the columns to list.

        They are the default columns, or only the requested columns, each once.

        Raises:
            InputError: There is no column of a requested name.
        """
        if options.fields is None:
            return self.list_default_column_names(options.row_filter)

        for name in options.fields:
            if name not in self.names:
                raise InputError(
                    f"there is no column {name!r}",
                    hint=f"the columns are {', '.join(self.columns)}",
                )
        return tuple(dict.fromkeys(self.names[name] for name in options.fields))


def _is_descending(options: RowListOptions) -> bool:
    """Return whether rows are sorted in descending order."""
    return (options.sort or "").startswith("-") != options.is_reversed


def make_grid(
    tx: Connection,
    table: TaskRows,
    columns: Mapping[str, ViewColumn],
    *,
    answer_fields: Mapping[str, str] = NO_FIELDS,
    threshold: float = 0.0,
    **members: Any,
) -> Grid:
    """Return a grid with the columns of the judgements, of the reason and of the state added.

    A field is also found as `FIELD` or `answer.FIELD`, and its confidence as `FIELD.confidence` or
    `answer.FIELD.confidence`, if no column has that name.

    Args:
        tx: Must stay open while the grid is used.
        table: The rows.
        columns: The columns of rows and answers.
        answer_fields: Names of answer fields by the names of their columns.
        threshold: Confidence below which a field makes its row doubtful.
        members: Other members of the grid.
    """
    fields = list(answer_fields.values())
    judgements = RowJudgements(
        tx, table.task, taken_names=columns, fields=fields, threshold=threshold
    )
    all_columns = {**columns, **judgements.columns}
    row_names = choose_free_column_names(all_columns, (STATE_COLUMN, REASON_COLUMN), "row_")
    state = table.state_expression
    state_json = literal('"', Text) + state + literal('"', Text)
    all_columns[row_names[STATE_COLUMN]] = ViewColumn(
        attrgetter("state"),
        cell=make_json_cell(STATE_COLUMN, state_json),
        sort_keys=[state],
    )
    all_columns[row_names[REASON_COLUMN]] = ViewColumn(attrgetter("reason"))

    aliases = dict[str, str]()
    for name, field in answer_fields.items():
        aliases |= {field: name, f"answer.{field}": name}
    for field, name in judgements.confidence_names.items():
        aliases |= {f"{field}.{CONFIDENCE}": name, f"answer.{field}.{CONFIDENCE}": name}
    return Grid(
        table=table,
        judgements=judgements,
        columns=all_columns,
        state_name=row_names[STATE_COLUMN],
        reason_name=row_names[REASON_COLUMN],
        names=aliases | {name: name for name in all_columns},
        answer_fields=answer_fields,
        **members,
    )


def make_refused_grid(tx: Connection, task: str) -> Grid:
    """Return the grid of a task's refused rows, for a task whose table does not contain them.

    The grid reads the rows that `askrows_rows` stores as refused. Each lists the reason, with its
    line in the source, and its cells.
    """
    columns = stored_rows.c
    reason = "line " + columns.seen + ": " + columns.unusable
    query = select(columns.row_id, columns.n, columns.row, reason.label(REASON_COLUMN))
    table = query.where(columns.task == task, IS_REFUSED).subquery("refused_rows")
    return make_grid(
        tx,
        TaskRows(
            task,
            table,
            is_answered=false(),
            is_open=false(),
            is_empty=true(),
            is_refused=true(),
            row_reason=table.c[REASON_COLUMN],
            id_column="row_id",
            order_column="n",
        ),
        {"cells": ViewColumn(attrgetter("values"), "json")},
        preference=VersionPreference(task),
        source_names=("cells",),
        default_names=("cells",),
        cells={"cells": table.c.row},
        read_values=lambda cells: orjson.loads(cells["cells"]),
        searched_cells=(table.c.row,),
        facets=(),
    )
