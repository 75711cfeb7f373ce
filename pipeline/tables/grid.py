"""List, filter and count the rows of a task, page by page.

A page starts after the last row of the page before, by its sort values, so earlier rows are not
read again. Refused rows of a task are listed from `findable_rows` if its table lacks them. All
queries read the rows joined with their preferred answers, so an expression of a row can name
columns of its table and of `findable_answers`. A cell is such an expression that is read for each
row; the listed values are made of cells and of the answer. A facet is a cell of WHERE= with few
values, such as tags, by which rows are counted. A row is doubtful if a field of its answer has a
low probability and no person corrected or reviewed it.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Join,
    Row,
    Select,
    and_,
    case,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
)

from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError
from pipeline.core.row_listing import (
    DoubtCounts,
    FieldCount,
    ListedRow,
    RowCounts,
    RowFilter,
    RowListOptions,
    RowPosition,
    RowsPage,
)
from pipeline.core.where_parser import iterate_comparisons, parse_where
from pipeline.store.answers import (
    ANSWER_COLUMNS,
    PreferredAnswer,
    VersionPreference,
    has_version,
    have_different_answers,
    is_reviewed_answer,
    join_preferred,
    select_preferred,
)
from pipeline.store.confidences import has_confidences
from pipeline.store.database import (
    SlowError,
    count_rows,
    limit_time,
    split_into_pages,
    start_timer,
    stream_rows,
)
from pipeline.store.rows import IS_REFUSED, count_refused
from pipeline.store.schema import answers
from pipeline.store.schema import rows as stored_rows
from pipeline.tables.facets import format_equality, is_countable, list_value_counts
from pipeline.tables.row_judgements import RowJudgements
from pipeline.tables.row_table import (
    CHANGED_AT_COLUMN,
    GONE_STATE,
    REFUSED_STATE,
    RowStates,
    RowTable,
)
from pipeline.tables.text_match import contains_word
from pipeline.tables.where_sql import JsonCell, select_json

# Versions and values are only counted in tables of at most this size.
_MAX_FACET_ROWS = 100_000
_FACET_PAGE_ROWS = 2_000
# Listed values of refused rows that a table lacks.
_REFUSED_NAMES = ("line", "reason", "cells")
# The commonest versions that are listed.
_MAX_VERSIONS = 50


@dataclass(frozen=True, eq=False, kw_only=True)
class Grid:
    """A list of the rows of a table, which can be searched, filtered, sorted and counted."""

    table: RowTable
    # Confidences, doubts and reviews of the rows, and the names of their columns.
    judgements: RowJudgements
    # Expressions that are read for each row, by name.
    cells: Mapping[str, ColumnElement[Any]]
    # Names of the listed values of a row, and the function that makes them of its cells.
    column_names: Sequence[str]
    make_values: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    # Names of the values that are listed by default.
    default_names: Sequence[str]
    # Expressions that are searched for words.
    searched_cells: Sequence[ColumnElement[Any]]
    # Expression for all values of an answer as a text, which is searched, too.
    answer_text: ColumnElement[Any] | None = None
    # Compiles the text of WHERE=, or None if the rows have no columns for it.
    compile_where: Callable[[str], ColumnElement[bool]] | None = None
    # Names of values that are added if only rows in a state are listed, by state.
    names_by_state: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # Expressions that rows can be sorted by, by name. They are never NULL.
    sort_keys: Mapping[str, Sequence[ColumnElement[Any]]] = field(default_factory=dict)
    # Names of the sorts that an index helps.
    indexed_sorts: Sequence[str] = ()
    # Names of answer fields by the names of their columns.
    answer_fields: Mapping[str, str] = field(default_factory=dict)
    # Expression for a row's score; negative if it has no score.
    score_expression: ColumnElement[Any] | None = None
    # Cells whose values are counted, by their names in WHERE=.
    facets: Mapping[str, JsonCell] = field(default_factory=dict)
    # Names of the listed values about a row's answer, and the function that makes them of it.
    answer_names: Sequence[str] = ()
    make_answer_values: Callable[[PreferredAnswer], Mapping[str, Any]] = lambda _answer: {}

    @property
    def listed_names(self) -> tuple[str, ...]:
        """Return the names of all values that a list can show."""
        return (*self.column_names, *self.answer_names)

    @property
    def dotted_names(self) -> dict[str, str]:
        """Return the names of listed values by the names that WHERE= accepts for them, too."""
        names = {
            f"answer{separator}{field}": name
            for name, field in self.answer_fields.items()
            for separator in "._"
        }
        return {**names, **self.judgements.dotted_names}

    @property
    def source(self) -> Join:
        """Return the rows, each joined with its preferred answer if it has one."""
        return self._join_answers()

    def _join_answers(self, version: str | None = None) -> Join:
        """Return the rows, each joined with its preferred answer of a version, or of any."""
        preference = self.judgements.preference
        return join_preferred(self.table.table, self.table.row_id, preference, version=version)

    @property
    def preferred_version(self) -> ColumnElement[str | None]:
        """Return an expression for the version of a row's preferred answer; NULL without one."""
        return select_preferred("extractor", self.table.row_id, self.judgements.preference)

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
            columns: Expressions of the row, and of its answer in `findable_answers`.
            version: A row's answer is that of this version or prompt version; None means its
                preferred answer.
            has_gone_rows: Select rows that left their source, too. Rows whose state or ids the
                filter requests are always selected.

        Raises:
            InputError: The filter is invalid; see `_make_conditions`.
        """
        conditions = self._make_conditions(tx, row_filter)
        is_excluded = self._make_excluded_condition(row_filter)
        if is_excluded is not None and not has_gone_rows:
            conditions.append(~is_excluded)
        return select(*columns).select_from(self._join_answers(version)).where(*conditions)

    def read_page(self, tx: Connection, options: RowListOptions) -> RowsPage:
        """Return a page of rows, in the requested order, after the row `options.after`.

        - The page has at most `options.limit` rows. If more rows follow, it contains the id of its
          last row, which is `options.after` of the next page.
        - A table may lack refused rows (`states.is_refused` is None). If they are requested then,
          the page lists the refused rows of the task in `findable_rows`; sort order and columns are
          ignored.
        - Rows that are no longer in the source are left out, unless their state, their ids or
          `options.only` request them.
        - `options.only` lists a single row with all columns. Columns that lists show only for some
          states (`names_by_state`) are left out of this row if they are None.

        Raises:
            InputError: The options name an unknown row, state, column or sort order, sorting takes
                too long, or the filter is invalid; see `_make_conditions`.
        """
        if self.should_list_refused(options.row_filter):
            refused_options = options._replace(sort=None, fields=None)
            return make_refused_grid(tx, self.table.task).read_page(tx, refused_options)

        row_filter = options.row_filter
        if options.only is not None:
            row_filter = row_filter._replace(ids=[options.only])
        names = self._select_names(options)
        rows = self._read_rows(tx, options, row_filter)
        page_rows = rows[: options.limit]
        # A list of one row shows all columns; those of other states are mostly empty.
        optional_names = set[str]()
        if options.only is not None:
            optional_names = set(chain.from_iterable(self.names_by_state.values()))
        listed_rows = [self._make_listed_row(row, names, optional_names) for row in page_rows]
        last_id = None
        if len(rows) > options.limit:
            last_id = page_rows[-1][0]
        return RowsPage(listed_rows, last_id, names, self.judgements.review_name)

    def should_list_refused(self, row_filter: RowFilter) -> bool:
        """Return whether a filter requests refused rows, and the table does not contain them."""
        return row_filter.state == REFUSED_STATE and self.table.states.is_refused is None

    def _make_after_condition(
        self,
        tx: Connection,
        options: RowListOptions,
        sort_keys: Sequence[ColumnElement[Any]],
    ) -> ColumnElement[bool]:
        """Return the SQL condition that a row comes after the row `options.after` in the list.

        Reads the sort values of that row. The list is in the order of `options`, which may be
        descending.

        Raises:
            InputError: There is no such row.
        """
        is_last_row = self.table.match_ids([str(options.after)])
        query = select(*sort_keys).select_from(self.source).where(is_last_row).limit(1)
        last_row = tx.execute(query).first()
        if last_row is None:
            raise InputError(
                f"there is no row {options.after!r} to continue after",
                hint=f"leave out {OptionHint('after')}",
            )

        bounds = [literal(value, key.type) for key, value in zip(sort_keys, last_row, strict=True)]
        row_values = tuple_(*sort_keys)
        last_values = tuple_(*bounds)
        if _is_descending(options):
            is_after = row_values < last_values
            is_not_before = sort_keys[0] <= bounds[0]
        else:
            is_after = row_values > last_values
            is_not_before = sort_keys[0] >= bounds[0]
        # SQLite does not use an index on an expression for a comparison of tuples.
        if (options.sort or "").removeprefix("-") in ("", *self.indexed_sorts):
            return and_(is_not_before, is_after)
        return is_after

    def _read_rows(
        self,
        tx: Connection,
        options: RowListOptions,
        row_filter: RowFilter,
    ) -> Sequence[Row[Any]]:
        """Return id, state, answer and cells of the rows of a page, and of the next row, if any.

        At most `options.limit` + 1 rows are read.

        Raises:
            InputError: Sorting by a column takes longer than `options.within_s` seconds, or the
                filter, the sort order or the row `options.after` is invalid.
        """
        query = self.select_rows(
            tx,
            row_filter,
            self.table.row_id,
            self.table.state_expression,
            *(answers.c[name] for name in ANSWER_COLUMNS),
            *self.cells.values(),
        )
        order = self._list_sort_keys(options.sort or "")
        if options.after is not None:
            query = query.where(self._make_after_condition(tx, options, order))
        if _is_descending(options):
            order = [key.desc() for key in order]

        time_limit_s = options.within_s if options.sort else None
        try:
            with limit_time(tx, time_limit_s):
                return tx.execute(query.order_by(*order).limit(options.limit + 1)).all()
        except SlowError:
            raise InputError(
                f"too many rows to sort by {options.sort} in time",
                hint=f"list fewer rows: {OptionHint(where='…')}",
            ) from None

    def _make_listed_row(
        self,
        row: Sequence[Any],
        names: Sequence[str],
        optional_names: set[str],
    ) -> ListedRow:
        """Return a row of `_read_rows` with its listed values.

        Values about the answer are None if there is no answer. The result also has the time of the
        last change of the row's input, if the grid reads the cell CHANGED_AT_COLUMN.

        Args:
            row: Id, state, columns of the preferred answer, and cells.
            names: Names of the values to list, in their order.
            optional_names: Values that are left out if they are None; not changed.
        """
        row_id, state, *row_cells = row
        answer = PreferredAnswer(*row_cells[: len(ANSWER_COLUMNS)])
        cells = dict(zip(self.cells, row_cells[len(ANSWER_COLUMNS) :], strict=True))
        made_values: dict[str, Any] = {}
        if answer.id is not None:
            made_values |= self.make_answer_values(answer)
        made_values |= self.make_values(cells)
        values = {name: made_values.get(name) for name in names}
        for name in optional_names:
            if values.get(name) is None:
                values.pop(name, None)
        return ListedRow(row_id, state, values, cells.get(CHANGED_AT_COLUMN))

    def read_pages(self, tx: Connection, options: RowListOptions) -> Iterator[RowsPage]:
        """Yield the page of these options and all pages after it.

        Raises:
            InputError: The options are invalid; see `read_page`.
        """
        page = self.read_page(tx, options)
        yield page
        while page.after is not None:
            page = self.read_page(tx, options._replace(after=page.after))
            yield page

    def find_position(
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
        sort_keys = self._list_sort_keys(options.sort or "")
        reversed_options = options._replace(after=row_id, is_reversed=not options.is_reversed)
        is_earlier = self._make_after_condition(tx, reversed_options, sort_keys)
        query = self.select_rows(
            tx,
            options.row_filter,
            func.count(),
            func.coalesce(func.sum(case((is_earlier, 1), else_=0)), 0),
            func.coalesce(func.sum(case((self.table.match_ids([row_id]), 1), else_=0)), 0),
        )
        try:
            with limit_time(tx, options.within_s):
                total, earlier_count, own_count = tx.execute(query).one()
        except SlowError:
            return None
        number = None
        if own_count:
            number = int(earlier_count) + 1
        return RowPosition(number, total)

    def count_doubtful(self, tx: Connection) -> DoubtCounts | None:
        """Return how many rows are doubtful, and how many have an answer with a confidence.

        A row is doubtful if a field of its preferred answer has a probability below
        DOUBTFUL and no person corrected or reviewed the answer. All rows of a list without a filter
        count, so rows that are no longer in the source do not.

        Returns:
            Both numbers; None if no preferred answer of these rows has a confidence.
        """
        if not has_confidences(tx, self.table.task):
            return None
        doubt = case((self.judgements.is_doubtful(), 1), else_=0)
        query = self.select_rows(
            tx,
            RowFilter(),
            func.coalesce(func.sum(doubt), 0),
            func.count(answers.c.confidences),
        )
        doubt_counts = DoubtCounts(*tx.execute(query).one())
        if not doubt_counts.rows_with_confidence:
            return None
        return doubt_counts

    def make_conditions(self, tx: Connection, row_filter: RowFilter) -> list[ColumnElement[bool]]:
        """Return the conditions of a filter for queries on the table of the rows alone.

        They look up the preferred answer of each row. Without a filter there is no condition.

        Raises:
            InputError: The filter is invalid; see `_make_conditions`.
        """
        conditions = self._make_conditions(tx, row_filter)
        if not conditions:
            return []
        one_row = select(literal_column("1")).subquery("one_row")
        preferred = join_preferred(one_row, self.table.row_id, self.judgements.preference)
        query: Select[Any] = select(literal_column("1")).select_from(preferred).where(*conditions)
        return [query.correlate(self.table.table).exists()]

    def _make_conditions(self, tx: Connection, row_filter: RowFilter) -> list[ColumnElement[bool]]:
        """Return the conditions of a filter, all of which a row of `source` must meet.

        Each word of the filter must be in one of `searched_cells` or in the answer. Then follow
        WHERE=, the state, each tag, the ids, and the conditions on answers: review, doubt,
        differing versions, version and score. Parts of the filter that are not set add no
        condition.

        Raises:
            InputError: The state is unknown, WHERE= is invalid, or the grid does not support a part
                of the filter (WHERE=, tags or scores).
        """
        conditions = [self._mentions_word(tx, word) for word in row_filter.words]
        where_texts = filter(None, [row_filter.where, *row_filter.choices.values()])
        conditions += map(self._compile_condition, where_texts)

        if row_filter.state:
            states = self.table.states.listed_names
            if row_filter.state not in states:
                raise InputError(
                    f"the rows of this task have no state {row_filter.state!r}",
                    hint=f"the states are {', '.join(states)}",
                )
            conditions.append(self.table.state_expression == row_filter.state)

        conditions += [self._compile_condition(self._format_tag(tag)) for tag in row_filter.tags]
        if row_filter.ids:
            conditions.append(self.table.match_ids(row_filter.ids))
        conditions += self._make_answer_conditions(tx, row_filter)
        return conditions

    def _compile_condition(self, text: str) -> ColumnElement[bool]:
        """Return the condition of a text of WHERE=.

        Raises:
            InputError: The text is invalid, or the rows have no columns for it.
        """
        if self.compile_where is None:
            search_command = CommandHint("search", q="…", where=text)
            raise InputError(
                f"the rows of this task have no columns for {OptionHint('where')}",
                hint=f"`{search_command}` filters indexed rows",
            )
        return self.compile_where(text)

    def _format_tag(self, tag: str) -> str:
        """Return the text of WHERE= that a value of a facet equals a tag.

        Raises:
            InputError: The rows have no facets.
        """
        if not self.facets:
            raise InputError(
                "the rows of this task have no tags",
                hint=f"{OptionHint('where')} compares columns and fields",
            )
        return " OR ".join(format_equality(name, tag) for name in self.facets)

    def _mentions_word(self, tx: Connection, word: str) -> ColumnElement[bool]:
        """Return the condition that a row or its answer contains a word."""
        is_in_row = contains_word(tx, self.searched_cells, word)
        if self.answer_text is None:
            return is_in_row
        is_in_answer = contains_word(tx, [self.answer_text], word)
        if word.isascii() and word.isalnum():
            # JSON does not escape such words, and its text is searched much faster.
            is_in_answer = and_(contains_word(tx, [answers.c.answer], word), is_in_answer)
        return or_(is_in_row, is_in_answer)

    def _make_answer_conditions(
        self,
        tx: Connection,
        row_filter: RowFilter,
    ) -> list[ColumnElement[bool]]:
        """Return a filter's conditions on review, doubt, differing versions, version and score.

        The review is whether a person marked the row's answer, and the doubt whether a field of
        the answer has a low probability. The differing versions are two versions that must have
        answered the row differently. Rows without a score meet no condition on the score. Parts of
        the filter that are not set add no condition.

        Raises:
            InputError: The filter sets a score, and the grid has none.
        """
        conditions: list[ColumnElement[bool]] = []
        if row_filter.is_reviewed is not None:
            conditions.append(is_reviewed_answer() == row_filter.is_reviewed)
        if row_filter.is_doubtful is not None:
            conditions.append(self.judgements.is_doubtful() == row_filter.is_doubtful)
        if row_filter.differing_versions:
            first, second = row_filter.differing_versions
            conditions.append(
                have_different_answers(tx, self.table.task, self.table.row_id, first, second),
            )
        if row_filter.extractor:
            conditions.append(has_version(answers.c.extractor, row_filter.extractor))
        if row_filter.min_score is not None or row_filter.max_score is not None:
            # Rows without a score have a negative number there. They are never listed by score.
            min_score = max(row_filter.min_score or 0.0, 0.0)
            max_score = row_filter.max_score
            if max_score is None:
                max_score = math.inf
            if self.score_expression is None:
                raise InputError(
                    "the rows of this task have no scores",
                    hint=f"{OptionHint('where')} compares columns and fields",
                )
            conditions.append(self.score_expression.between(min_score, max_score))
        return conditions

    def count_rows(
        self,
        tx: Connection,
        row_filter: RowFilter,
        *,
        within_s: float | None = None,
    ) -> RowCounts:
        """Return how many rows a filter matches: in total, by state, and by facets.

        - Rows that are no longer in the source are counted only in `gone`, unless their state or
          ids are requested.
        - A table may lack refused rows (`states.is_refused` is None). The refused rows of the task
          in `findable_rows` are then counted instead if they are requested. Without any filter they
          are added to the total and to the states.
        - Versions are None, and values are empty, if the table has more than 100,000 rows, or if
          counting takes longer than `within_s` seconds.

        Raises:
            InputError: The filter is invalid; see `_make_conditions`.
        """
        if self.should_list_refused(row_filter):
            return make_refused_grid(tx, self.table.task).count_rows(tx, row_filter)

        conditions = self._make_conditions(tx, row_filter)
        source = None
        # Without a filter, answers need not be looked up.
        if conditions:
            source = self.source
        row_counts = self.table.count_by_state(tx, *conditions, source=source)
        if not conditions and self.table.states.is_refused is None:
            row_counts[REFUSED_STATE] = count_refused(tx, self.table.task)
        states = {name: row_counts[name] for name in self.table.states.listed_names}

        gone_count = 0
        if self._make_excluded_condition(row_filter) is not None:
            gone_count = states.pop(GONE_STATE)
        total = sum(states.values())

        counts = RowCounts(total, states, None, gone=gone_count)
        if not self._can_count_facets(tx):
            return counts
        with contextlib.suppress(SlowError), limit_time(tx, within_s):
            return self._count_facets(tx, counts, row_filter, within_s)
        return counts

    def _make_excluded_condition(self, row_filter: RowFilter) -> ColumnElement[bool] | None:
        """Return the condition that a row is left out because it is no longer in its source.

        None if such rows are listed, or if the table does not contain such rows.
        """
        if row_filter.state == GONE_STATE or row_filter.ids:
            return None
        return self.table.states.is_missing

    def _can_count_facets(self, tx: Connection) -> bool:
        """Return whether the table has at most 100,000 rows; counts no more rows than that."""
        key = self.table.table.c[self.table.id_column]
        first_rows = select(key).limit(_MAX_FACET_ROWS + 1).subquery()
        return count_rows(tx, first_rows) <= _MAX_FACET_ROWS

    def _count_facets(
        self,
        tx: Connection,
        counts: RowCounts,
        row_filter: RowFilter,
        within_s: float | None,
    ) -> RowCounts:
        """Return the counts with the numbers of rows by version and by value of each facet.

        Only the 50 commonest versions are returned. A facet is counted without its own condition in
        `row_filter.choices`.

        Args:
            within_s: The limit of each reading of the rows, in seconds; None means no limit.

        Raises:
            SlowError: It takes longer than `within_s` seconds.
        """
        versions, fields = self._tally_rows(tx, row_filter, self.facets, within_s)
        for name in row_filter.choices:
            if name in self.facets:
                choices = {**row_filter.choices}
                del choices[name]
                own_filter = row_filter._replace(choices=choices)
                own_cells = {name: self.facets[name]}
                fields |= self._tally_rows(tx, own_filter, own_cells, within_s)[1]
        return counts._replace(versions=versions, fields=fields)

    def _tally_rows(
        self,
        tx: Connection,
        row_filter: RowFilter,
        cells: Mapping[str, JsonCell],
        within_s: float | None,
    ) -> tuple[dict[str, int], dict[str, list[FieldCount]]]:
        """Return the numbers of rows by version, and by value of each cell that can be counted.

        The rows that meet the filter are read once.

        Raises:
            SlowError: It takes longer than `within_s` seconds.
        """
        values = [select_json(tx, cell) for cell in cells.values()]
        query = self.select_rows(tx, row_filter, answers.c.extractor, *values)
        timer = start_timer(tx)
        versions = Counter[str]()
        rows_by_json = {name: Counter[str | None]() for name in cells}
        for rows in stream_rows(tx, query, page=_FACET_PAGE_ROWS).partitions():
            version_column, *value_columns = zip(*rows, strict=True)
            versions.update(filter(None, version_column))
            for counter, column in zip(rows_by_json.values(), value_columns, strict=True):
                if is_countable(counter):
                    counter.update(column)
            if within_s is not None and timer.seconds > within_s:
                raise SlowError

        counts = {name: list_value_counts(name, counter) for name, counter in rows_by_json.items()}
        fields = {name: value_counts for name, value_counts in counts.items() if value_counts}
        return _select_commonest(versions), fields

    def _list_sort_keys(self, sort: str) -> list[ColumnElement[Any]]:
        """Return the expressions that rows are sorted by; the last is different for each row.

        An empty `sort` means the order in which rows are asked. A leading `-`, for a descending
        order, is ignored here.

        Raises:
            InputError: There is no such sort order.
        """
        order = self.table.table.c[self.table.order_column]
        if not sort:
            return [order]

        name = sort.removeprefix("-")
        if name not in self.sort_keys:
            name = self.dotted_names.get(name, name)
        if name not in self.sort_keys:
            hint = f"leave out {OptionHint('sort')}"
            if self.sort_keys:
                hint = (
                    f"set {OptionHint('sort')} to {', '.join(self.sort_keys)}; "
                    "a - before the name lists the largest first"
                )
            raise InputError(f"rows cannot be sorted by {name!r}", hint=hint)
        return [*self.sort_keys[name], order]

    def _select_names(self, options: RowListOptions) -> Sequence[str]:
        """Return the names of the values to list for each row.

        A list of a single row (`options.only`) shows all columns. If no columns are requested, the
        default names are listed, then those of the requested state (`names_by_state`), then the
        column with the doubtful fields if the filter selects doubtful rows, then the review. If
        columns are requested, only these are listed, each once.

        Raises:
            InputError: There is no value of a requested name.
        """
        if options.only is not None:
            return tuple(self.column_names)
        if options.fields is None:
            names = [
                *self.default_names,
                *self.names_by_state.get(options.row_filter.state or "", ()),
            ]
            if self._shows_doubtful_fields(options.row_filter):
                names.append(self.judgements.doubtful_fields_name)
            if self.judgements.review_name in self.answer_names:
                names.append(self.judgements.review_name)
            return tuple(names)

        available_names = self.listed_names
        requested_names = [
            name if name in available_names else self.dotted_names.get(name, name)
            for name in options.fields
        ]
        for name in requested_names:
            if name not in available_names:
                raise InputError(
                    f"there is no column {name!r}",
                    hint=f"the columns are {', '.join(available_names)}",
                )
        return tuple(dict.fromkeys(requested_names))

    def _shows_doubtful_fields(self, row_filter: RowFilter) -> bool:
        """Return whether a list with this filter should show the column with the doubtful fields.

        It should if the filter lists only doubtful rows, or if WHERE= compares `doubtful`, whatever
        the value: with OR, `doubtful = false` can list doubtful rows, too. Otherwise, or if there
        is no such column, it should not.
        """
        if not self.judgements.doubtful_fields_name:
            return False
        if row_filter.is_doubtful:
            return True
        if not row_filter.where:
            return False
        return any(
            comparison.column.casefold() == self.judgements.doubtful_name
            for comparison in iterate_comparisons(parse_where(row_filter.where))
        )


def _is_descending(options: RowListOptions) -> bool:
    """Return whether rows are sorted in descending order."""
    return (options.sort or "").startswith("-") != options.is_reversed


def _select_commonest(counter: Counter[str]) -> dict[str, int]:
    """Return the commonest versions with their counts, in descending order of counts."""
    ordered = sorted(counter.items(), key=lambda pair: (-pair[1], pair[0]))
    return dict(ordered[:_MAX_VERSIONS])


def make_refused_grid(tx: Connection, task: str) -> Grid:
    """Return the grid of a task's refused rows, for a task whose table does not contain them.

    The grid reads the rows that `findable_rows` stores as refused. Each lists its line in the
    source, the reason, and its cells, and is in the state "refused". The grid has no sort orders
    and no facets. No rows are read yet.
    """
    columns = stored_rows.c
    query = select(
        columns.item_id,
        columns.n,
        columns.seen,
        columns.unusable,
        columns.row,
    )
    table = query.where(columns.task == task, IS_REFUSED).subquery("refused_rows")
    always_true = true()
    states = RowStates(
        (REFUSED_STATE, always_true),
        (REFUSED_STATE, always_true),
        REFUSED_STATE,
        is_refused=always_true,
    )
    return Grid(
        judgements=RowJudgements(tx, preference=VersionPreference(task), taken_names=()),
        table=RowTable(task, table, states, false(), id_column="item_id", order_column="n"),
        cells={"line": table.c.seen, "reason": table.c.unusable, "cells": table.c.row},
        column_names=_REFUSED_NAMES,
        make_values=lambda cells: {
            "line": int(cells["line"]),
            "reason": cells["reason"],
            "cells": orjson.loads(cells["cells"]),
        },
        default_names=_REFUSED_NAMES,
        searched_cells=(table.c.unusable, table.c.row),
    )


def distinct_value_pages(
    tx: Connection,
    column: ColumnElement[Any],
    *conditions: ColumnElement[bool],
    size: int,
) -> Iterator[list[Any]]:
    """Yield the distinct values of a column in ascending order, in lists of `size` values.

    The last list may be shorter. The values are streamed; an index on the column makes that fast.
    """
    query = select(column).where(column.is_not(None), *conditions).distinct().order_by(column)
    return split_into_pages(stream_rows(tx, query, page=size).scalars(), size)
