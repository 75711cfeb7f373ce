"""Find, list and count rows of a table, which is findable's own or another program's.

- `RowTable` finds rows, their states and their names.
- `Grid` lists rows page by page. A page starts after the last row of the page before, by its sort
  values, so earlier rows are not read again.
- Functions at the end make conditions for words and recognize rows that a table refuses.
"""

import contextlib
import json
import math
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Subquery,
    Table,
    Text,
    and_,
    case,
    cast,
    exc,
    false,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
)

from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError, RefusedRowError
from pipeline.core.quotes import leaves
from pipeline.core.row_listing import (
    FieldCount,
    ListedRow,
    RowCounts,
    RowFilter,
    RowListOptions,
    RowsPage,
)
from pipeline.store import answers, claims
from pipeline.store.database import (
    SlowError,
    describe_error,
    limit_time,
    split_into_pages,
    stream_rows,
)
from pipeline.store.database import select_among as among_values
from pipeline.store.rows import IS_REFUSED, count_refused
from pipeline.store.schema import rows as stored_rows
from pipeline.tables.adopt import IdColumnFacts, is_refusal, is_sqlite

# State of a row that cannot be asked about, and of a row that is no longer in its source.
REFUSED_STATE = "refused"
GONE_STATE = "gone"
# Columns of tables that store when and whether an input changed.
INPUT_HASH_COLUMN = "findable_hash"
CHANGED_AT_COLUMN = "findable_changed_at"

# Rows that are read at once if only a few of their columns are used: they fit into the cache of a
# processor.
_CELL_PAGE_ROWS = 256
# All characters that `str.strip` removes, for SQL's trim.
_WHITE_SPACE = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())

# Tags, versions and field values are only counted in tables of at most this size.
_MAX_FACET_ROWS = 100_000
_FACET_PAGE_ROWS = 2_000
# The commonest tags and versions that are listed.
_MAX_FACET_WORDS = 50
# Values of a field that are listed. Longer values are sentences, which are not listed.
_MAX_FIELD_VALUES = 12
_MAX_FIELD_VALUE_CHARS = 30
_COUNTABLE_TYPES = frozenset({str, int, float, bool, type(None)})
# A name that WHERE= accepts without quotation marks.
_PLAIN_NAME = re.compile(
    r"(?!(?:and|or|not|in|is|contains|null|true|false)$)[a-z_]\w*",
    re.IGNORECASE,
)


class RowStates(NamedTuple):
    """Names and conditions of the states of a task's rows.

    The first condition that is met decides, in this order: missing, refused, answered, claimed,
    parked, extra states, pending. A row that meets none is in the state `default_state`.
    """

    # State of rows with an answer.
    answered_state: tuple[str, ColumnElement[bool]]
    # State of rows that can be asked about.
    pending_state: tuple[str, ColumnElement[bool]]
    default_state: str
    # More states of the task.
    extra_states: tuple[tuple[str, ColumnElement[bool]], ...] = ()
    # None if the table does not contain refused rows.
    is_refused: ColumnElement[bool] | None = None
    # Rows that are no longer in the source, or None if the table does not contain such rows.
    is_missing: ColumnElement[bool] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the states of rows in the source, in the order of counts."""
        other_names = (name for name, _ in self.extra_states)
        done_name, _ = self.answered_state
        pending_name, _ = self.pending_state
        return (
            done_name,
            pending_name,
            self.default_state,
            "claimed",
            "parked",
            *other_names,
            REFUSED_STATE,
        )

    @property
    def listed_names(self) -> tuple[str, ...]:
        """Return the names of the states that a list can be filtered by."""
        if self.is_missing is None:
            return self.names
        return (*self.names, GONE_STATE)


@dataclass(frozen=True, eq=False)
class RowTable:
    """A table with the rows of a task."""

    task: str
    table: Table | Subquery
    states: RowStates
    # Condition that a row may be asked about, claimed and parked rows included.
    is_open: ColumnElement[bool]
    # Which ids the column `key` stores.
    ids: IdColumnFacts = field(default_factory=IdColumnFacts)
    # Columns with the row ids, and with the order in which rows are asked.
    key: str = "id"
    order: str = "id"
    # Columns of a row's name for people, and the function that makes the name of their cells. The
    # name is the id if there are no such columns.
    named: Sequence[str] = ()
    name_of: Callable[[Mapping[str, Any]], str] = str
    # Count rows as parked only if they are parked under this label; empty means any version.
    own: str = ""

    @property
    def state(self) -> ColumnElement[str]:
        """Return an SQL expression for the name of a row's state."""
        states = self.states
        is_claimed = _is_selected(self.item_id, claims.claimed_ids(self.task))
        is_parked = _is_selected(self.item_id, claims.parked_ids(self.task, self.own))

        branches: list[tuple[ColumnElement[bool], str]] = []
        if states.is_missing is not None:
            branches.append((states.is_missing, GONE_STATE))
        if states.is_refused is not None:
            branches.append((states.is_refused, REFUSED_STATE))
        done_name, has_answer = states.answered_state
        branches += [(has_answer, done_name), (is_claimed, "claimed"), (is_parked, "parked")]
        branches += [
            (condition, name) for name, condition in (*states.extra_states, states.pending_state)
        ]
        return case(*branches, else_=states.default_state)

    @property
    def item_id(self) -> ColumnElement[str]:
        """Return an SQL expression for a row's id as text."""
        return cast(self.table.c[self.key], Text)

    def total(self, tx: Connection, *conditions: ColumnElement[bool]) -> int:
        """Return the number of rows that meet all conditions."""
        query = select(func.count()).select_from(self.table).where(*conditions)
        return tx.execute(query).scalar_one()

    def pending(self, *, names: Sequence[str] = (), after: str | None = None) -> Select[Any]:
        """Return the SELECT of rows that may be asked about, in the order in which they are asked.

        Args:
            names: Columns that precede the row id in the result.
            after: Select only rows after the row with this id; no rows if it does not exist.
        """
        order = self.table.c[self.order]
        columns = [self.table.c[name] for name in names]
        query = select(*columns, self.item_id.label("item_id")).where(self.is_open).order_by(order)
        if after is None:
            return query

        same_table = self.table.alias().c
        is_after_row = same_table[self.key].in_(self.ids.native([after]))
        order_of_row = select(same_table[self.order]).where(is_after_row).limit(1)
        return query.where(order > order_of_row.scalar_subquery())

    def match_ids(self, ids: Sequence[str]) -> ColumnElement[bool]:
        """Return the condition that a row has one of these ids."""
        return self.table.c[self.key].in_(self.ids.native(ids))

    def select_by_ids(
        self,
        tx: Connection,
        ids: Sequence[str],
        columns: Sequence[ColumnElement[Any]],
        *conditions: Any,
        locked: bool = False,
    ) -> Iterator[Sequence[Any]]:
        """Yield columns of the rows that have one of these ids and meet all conditions.

        Args:
            tx: The caller's transaction.
            ids: Any number of row ids; they are looked up page by page.
            columns: The expressions to select.
            *conditions: Further conditions of the rows.
            locked: No other transaction can change the rows until this transaction ends.
        """
        query = select(*columns).where(*conditions)
        if locked:
            query = query.with_for_update()
        return among_values(tx, query, self.table.c[self.key], self.ids.native(ids))

    def rows(
        self,
        tx: Connection,
        ids: Sequence[str],
        names: Sequence[str],
        *,
        locked: bool = False,
    ) -> dict[str, dict[str, Any]]:
        """Return the named columns of the existing rows with these ids, by id.

        If `locked`, no other transaction can change the rows until this transaction ends.
        """
        columns = [*(self.table.c[name] for name in names), self.item_id]
        return {
            row[-1]: dict(zip(names, row, strict=False))
            for row in self.select_by_ids(tx, ids, columns, locked=locked)
        }

    def cells(
        self,
        tx: Connection,
        names: Sequence[str],
        *conditions: ColumnElement[bool],
        among: Sequence[str] | None = None,
    ) -> Iterator[Sequence[Any]]:
        """Yield the named columns of rows that meet all conditions.

        All rows are read in their order and in constant memory. If `among` is given, only rows with
        these ids are read, in the order of the ids' pages.
        """
        columns = [self.table.c[name] for name in names]
        if among is not None:
            return self.select_by_ids(tx, among, columns, *conditions)

        query = select(*columns).where(*conditions).order_by(self.table.c[self.order])
        return chain.from_iterable(stream_rows(tx, query, page=_CELL_PAGE_ROWS).partitions())

    def ids_among(
        self,
        tx: Connection,
        ids: Sequence[str],
        *conditions: ColumnElement[bool],
    ) -> set[str]:
        """Return the ids, out of these, of existing rows that meet all conditions."""
        return {row[0] for row in self.select_by_ids(tx, ids, [self.item_id], *conditions)}

    def names(self, tx: Connection, ids: Sequence[str]) -> dict[str, str]:
        """Return the names for people of the existing rows with these ids, by id."""
        if self.named:
            rows = self.rows(tx, ids, self.named)
            return {row_id: self.name_of(row) for row_id, row in rows.items()}

        existing_ids = self.ids_among(tx, ids)
        return {row_id: row_id for row_id in ids if row_id in existing_ids}

    def counts(self, tx: Connection) -> dict[str, int]:
        """Return the number of rows in the source: `total`, and by each of `RowStates.names`.

        Each row has a single state, so the counts add up to the total.
        """
        return self.counts_and_gone(tx)[0]

    def counts_and_gone(self, tx: Connection) -> tuple[dict[str, int], int]:
        """Return `counts`, and the number of rows that are no longer in the source."""
        row_counts = self.count_by_state(tx)
        if self.states.is_refused is None:
            row_counts[REFUSED_STATE] = count_refused(tx, self.task)
        source_counts = {name: row_counts[name] for name in self.states.names}
        return {"total": sum(source_counts.values()), **source_counts}, row_counts[GONE_STATE]

    def count_by_state(self, tx: Connection, *conditions: ColumnElement[bool]) -> Counter[str]:
        """Return the number of rows in the table that meet all conditions, by state."""
        state = self.state
        query = select(state, func.count()).select_from(self.table)
        query = query.where(*conditions).group_by(state)
        return Counter({row[0]: row[1] for row in tx.execute(query)})


def _is_selected(key: ColumnElement[str], ids: Select[Any]) -> ColumnElement[bool]:
    """Return the condition that an id is among the ids of a SELECT from one table.

    The database looks up each id, which is fast if only a few rows are read.
    """
    (ids_table,) = ids.get_final_froms()
    return ids.where(ids.selected_columns[0] == key).correlate_except(ids_table).exists()


class GridFacet(NamedTuple):
    """Words by which rows are counted and filtered, such as tags."""

    # Expression for the cell with the words of a row.
    cell: ColumnElement[Any]
    # Returns the words in a cell.
    words: Callable[[Any], Iterable[str]]
    # Returns the condition that a row has a word.
    says: Callable[[str], ColumnElement[bool]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Grid:
    """A list of the rows of a table, which can be searched, filtered, sorted and counted."""

    table: RowTable
    # Columns of the table that are read for each row.
    cells: Sequence[str]
    # Functions that make the listed values of a row's `cells`, by name.
    columns: Mapping[str, Callable[[Mapping[str, Any]], Any]]
    # Names of the values that are listed by default.
    usual: Sequence[str]
    # Expressions that are searched for words.
    searched: Sequence[ColumnElement[Any]]
    # Returns more conditions that a row contains a word; one of them must be met.
    mentioned: Callable[[str], Sequence[ColumnElement[bool]]] = lambda _word: ()
    # Compiles the text of WHERE=, or None if the rows have no columns for it.
    where: Callable[[str], ColumnElement[bool]] | None = None
    # Names of values that are added if only rows in a state are listed, by state.
    in_state: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # Sort expressions by name, which are never NULL. Slow sorts have no index.
    sorts: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)
    slow_sorts: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)
    # Names of answer fields by the names of their columns. The cell of `tags` is the answer.
    fields: Mapping[str, str] = field(default_factory=dict)
    # Expression for a row's score; negative if it has no score.
    score: ColumnElement[Any] | None = None
    # Facets of tags and of versions, or None if the rows have none.
    tags: GridFacet | None = None
    versions: GridFacet | None = None
    # Names of values that are not made of `cells`, and the function that returns them by row id.
    more: Sequence[str] = ()
    more_of: Callable[[Connection, Sequence[str]], Mapping[str, Mapping[str, Any]]] | None = None

    def page(self, tx: Connection, options: RowListOptions) -> RowsPage:
        """Return a page of rows.

        Raises:
            InputError: The options name an unknown row, state, column or sort order, or sorting
                takes too long.
        """
        if self._should_list_refused(options.row_filter):
            refused_options = options._replace(sort=None, fields=None)
            return make_refused_grid(self.table.task).page(tx, refused_options)

        names = self._listed_names(options)
        conditions = self.conditions(tx, options.row_filter)
        sort_keys = self._sort_keys(options.sort or "")
        if options.only is not None:
            conditions.append(self.table.match_ids([options.only]))
        else:
            is_excluded = self._make_excluded_condition(options.row_filter)
            if is_excluded is not None:
                conditions.append(~is_excluded)
        if options.after is not None:
            conditions.append(self._is_after(tx, options, sort_keys))

        rows = self._read_rows(tx, options, conditions, sort_keys)
        page_rows = rows[: options.limit]
        ids = [row[0] for row in page_rows]
        more_values: Mapping[str, Mapping[str, Any]] = {}
        if self.more_of and not set(self.more).isdisjoint(names):
            more_values = self.more_of(tx, ids)

        # A list of one row shows all columns; those of other states are mostly empty.
        optional_names = set[str]()
        if options.only is not None:
            optional_names = set(chain.from_iterable(self.in_state.values()))
        listed_rows = [
            self._listed_row(row, names, more_values.get(row[0], {}), optional_names)
            for row in page_rows
        ]
        last_id = ids[-1] if len(rows) > options.limit else None
        return RowsPage(listed_rows, last_id, names)

    def _should_list_refused(self, row_filter: RowFilter) -> bool:
        """Return whether refused rows are wanted and the table does not contain them."""
        return row_filter.state == REFUSED_STATE and self.table.states.is_refused is None

    def _is_after(
        self,
        tx: Connection,
        options: RowListOptions,
        sort_keys: Sequence[ColumnElement[Any]],
    ) -> ColumnElement[bool]:
        """Return the condition that a row comes after the row `options.after`.

        Raises:
            InputError: There is no such row.
        """
        is_last_row = self.table.match_ids([str(options.after)])
        last_row = tx.execute(select(*sort_keys).where(is_last_row).limit(1)).first()
        if last_row is None:
            raise InputError(
                f"there is no item {options.after!r} to go on behind",
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
        if self._is_slow_sort(options):
            return is_after
        return and_(is_not_before, is_after)

    def _is_slow_sort(self, options: RowListOptions) -> bool:
        """Return whether the rows are sorted by an expression without an index."""
        return (options.sort or "").removeprefix("-") in self.slow_sorts

    def _read_rows(
        self,
        tx: Connection,
        options: RowListOptions,
        conditions: Sequence[ColumnElement[bool]],
        sort_keys: Sequence[ColumnElement[Any]],
    ) -> Sequence[Row[Any]]:
        """Return id, state and cells of the rows of a page, and of the next row if it exists.

        Raises:
            InputError: Sorting takes longer than `options.within_s`.
        """
        cells = [self.table.table.c[name] for name in self.cells]
        order = sort_keys
        if _is_descending(options):
            order = [key.desc() for key in sort_keys]
        query = select(self.table.item_id, self.table.state, *cells)
        query = query.where(*conditions).order_by(*order).limit(options.limit + 1)

        time_limit_s = None
        if self._is_slow_sort(options):
            time_limit_s = options.within_s
        try:
            with limit_time(tx, time_limit_s):
                return tx.execute(query).all()
        except SlowError:
            raise InputError(
                f"there are too many rows to sort them by {options.sort} while a page waits",
                hint=f"list fewer: {OptionHint(where='…')}",
            ) from None

    def _listed_row(
        self,
        row: Sequence[Any],
        names: Sequence[str],
        more_values: Mapping[str, Any],
        optional_names: set[str],
    ) -> ListedRow:
        """Return a row of `_read_rows` with its listed values.

        Args:
            row: Id, state and cells.
            names: Names of the values to list.
            more_values: Values that are not made of cells.
            optional_names: Values that are left out if they are None.
        """
        row_id, state, *row_cells = row
        cells = dict(zip(self.cells, row_cells, strict=True))
        values: dict[str, Any] = {}
        for name in names:
            is_made_of_cells = name in self.columns
            value = self.columns[name](cells) if is_made_of_cells else more_values.get(name)
            if value is not None or name not in optional_names:
                values[name] = value
        input_hash = cells.get(INPUT_HASH_COLUMN)
        return ListedRow(row_id, state, values, input_hash, cells.get(CHANGED_AT_COLUMN))

    def pages(self, tx: Connection, options: RowListOptions) -> Iterator[RowsPage]:
        """Yield the page of these options and all pages after it; raises as `page`."""
        page = self.page(tx, options)
        yield page
        while page.after is not None:
            page = self.page(tx, options._replace(after=page.after))
            yield page

    def conditions(self, tx: Connection, row_filter: RowFilter) -> list[ColumnElement[bool]]:
        """Return the conditions of a filter, all of which a row must meet.

        Raises:
            InputError: The rows have no such state, tags, versions or scores, or WHERE= is invalid.
        """
        conditions: list[ColumnElement[bool]] = []
        for word in row_filter.words:
            is_mentioned = contains_word(tx, self.searched, word)
            conditions.append(or_(is_mentioned, *self.mentioned(word)))

        if row_filter.where:
            if self.where is None:
                search_command = CommandHint("search", q="…", where=row_filter.where)
                raise InputError(
                    f"there are no columns for {OptionHint('where')} here",
                    hint=f"`{search_command}` filters what is indexed",
                )
            conditions.append(self.where(row_filter.where))

        if row_filter.state:
            states = self.table.states.listed_names
            if row_filter.state not in states:
                raise InputError(
                    f"no item is ever {row_filter.state!r} here",
                    hint=f"the states are {', '.join(states)}",
                )
            conditions.append(self.table.state == row_filter.state)

        conditions += [_require(self.tags, "tags").says(tag) for tag in row_filter.tags]
        if row_filter.ids:
            conditions.append(self.table.match_ids(row_filter.ids))
        if row_filter.extractor:
            conditions.append(_require(self.versions, "versions").says(row_filter.extractor))
        if row_filter.min_score is not None or row_filter.max_score is not None:
            # Rows without a score have a negative number there. They are never listed by score.
            min_score = max(row_filter.min_score or 0.0, 0.0)
            max_score = math.inf if row_filter.max_score is None else row_filter.max_score
            conditions.append(_require(self.score, "scores").between(min_score, max_score))
        return conditions

    def counts(
        self,
        tx: Connection,
        row_filter: RowFilter,
        *,
        within_s: float | None = None,
    ) -> RowCounts:
        """Return how many rows a filter matches: in all, by state, and by facets.

        Tags, versions and field values are None or empty if the table has none of them or too many
        rows, or if counting them takes longer than `within_s` seconds.

        Raises:
            InputError: The filter is invalid; see `conditions`.
        """
        if self._should_list_refused(row_filter):
            return make_refused_grid(self.table.task).counts(tx, row_filter)

        conditions = self.conditions(tx, row_filter)
        row_counts = self.table.count_by_state(tx, *conditions)
        if not conditions and self.table.states.is_refused is None:
            row_counts[REFUSED_STATE] = count_refused(tx, self.table.task)
        states = {name: row_counts[name] for name in self.table.states.listed_names}

        gone_count = 0
        is_excluded = self._make_excluded_condition(row_filter)
        if is_excluded is not None:
            gone_count = states.pop(GONE_STATE)
            conditions.append(~is_excluded)
        total = sum(states.values())

        if self._may_count_facets(tx):
            with contextlib.suppress(SlowError), limit_time(tx, within_s):
                tags, versions, fields = self._count_facets(tx, conditions, within_s)
                return RowCounts(total, states, tags, versions, fields, gone_count)
        return RowCounts(total, states, None, None, gone=gone_count)

    def _make_excluded_condition(self, row_filter: RowFilter) -> ColumnElement[bool] | None:
        """Return the condition that a row is left out because it is no longer in its source.

        None if such rows are listed, or if the table does not contain such rows.
        """
        if row_filter.state == GONE_STATE or row_filter.ids:
            return None
        return self.table.states.is_missing

    @property
    def _facets(self) -> list[GridFacet]:
        """Return the facets that the rows have; tags come first."""
        return [facet for facet in (self.tags, self.versions) if facet is not None]

    def _may_count_facets(self, tx: Connection) -> bool:
        """Return whether there are facets and few enough rows to count by them."""
        if not self._facets:
            return False
        key = self.table.table.c[self.table.key]
        first_rows = select(key).limit(_MAX_FACET_ROWS + 1).subquery()
        row_count = tx.execute(select(func.count()).select_from(first_rows)).scalar_one()
        return row_count <= _MAX_FACET_ROWS

    def _count_facets(
        self,
        tx: Connection,
        conditions: Sequence[ColumnElement[bool]],
        within_s: float | None,
    ) -> tuple[dict[str, int] | None, dict[str, int] | None, dict[str, list[FieldCount]]]:
        """Return the counts of the commonest tags and versions, and of field values.

        Raises:
            SlowError: It takes longer than `within_s` seconds.
        """
        facets = self._facets
        cells = [facet.cell for facet in facets]
        query = select(*cells).select_from(self.table.table).where(*conditions)
        row_pages = stream_rows(tx, query, page=_FACET_PAGE_ROWS).partitions()
        word_counts, fields = self._count_words_and_values(row_pages, facets, within_s)

        commonest_words = iter([_select_commonest(counter) for counter in word_counts])
        tags = None if self.tags is None else next(commonest_words)
        versions = None
        if self.versions is not None:
            versions = next(commonest_words)
        return tags, versions, fields

    def _count_words_and_values(
        self,
        row_pages: Iterator[Sequence[Any]],
        facets: Sequence[GridFacet],
        within_s: float | None,
    ) -> tuple[list[Counter[str]], dict[str, list[FieldCount]]]:
        """Count the words of facets and the values of fields.

        Args:
            row_pages: Pages of rows with the cells of all facets; the first is the answer.
            facets: The facets of the cells.
            within_s: Seconds after which SlowError is raised, or None for no limit.

        Returns:
            The number of rows by word for each facet, and the counted values by field.
        """
        deadline = math.inf if within_s is None else time.monotonic() + within_s
        word_counts = [Counter[str]() for _ in facets]
        field_tallies = {name: _FieldTally() for name in self.fields}

        for rows in row_pages:
            columns = zip(*rows, strict=True)
            for facet, counter, cells in zip(facets, word_counts, columns, strict=True):
                word_sets = (set(facet.words(cell)) for cell in cells)
                counter.update(chain.from_iterable(word_sets))
            if field_tallies:
                documents = [orjson.loads(row[0]) for row in rows if row[0] is not None]
                for name, tally in field_tallies.items():
                    tally.add([document.get(self.fields[name]) for document in documents])
            if time.monotonic() > deadline:
                raise SlowError

        field_counts = {name: tally.counts(name) for name, tally in field_tallies.items()}
        return word_counts, {name: counts for name, counts in field_counts.items() if counts}

    def _sort_keys(self, sort: str) -> list[ColumnElement[Any]]:
        """Return the expressions that rows are sorted by; the last is different for each row.

        Raises:
            InputError: There is no such sort order.
        """
        order = self.table.table.c[self.table.order]
        if not sort:
            return [order]

        sorts = {**self.slow_sorts, **self.sorts}
        name = sort.removeprefix("-")
        if name not in sorts:
            hint = f"leave out {OptionHint('sort')}"
            if sorts:
                hint = (
                    f"{OptionHint('sort')} takes {', '.join(sorts)}, "
                    "with - before it the largest first"
                )
            raise InputError(f"there is no sorting by {name!r}", hint=hint)
        return [sorts[name], order]

    def _listed_names(self, options: RowListOptions) -> Sequence[str]:
        """Return the names of the values to list for each row.

        A list of a single row shows all columns. The default is the usual names, with those of the
        requested state.

        Raises:
            InputError: There is no value of a requested name.
        """
        if options.only is not None:
            return tuple(self.columns)
        if options.fields is None:
            return (*self.usual, *self.in_state.get(options.row_filter.state or "", ()))

        available_names = (*self.columns, *self.more)
        for name in options.fields:
            if name not in available_names:
                raise InputError(
                    f"there is no column {name!r} to show",
                    hint=f"there are {', '.join(available_names)}",
                )
        return tuple(dict.fromkeys(options.fields))


def _is_descending(options: RowListOptions) -> bool:
    """Return whether rows are sorted in descending order."""
    return (options.sort or "").startswith("-")


def _select_commonest(counter: Counter[str]) -> dict[str, int]:
    """Return the commonest words with their counts, in descending order of counts."""
    ordered = sorted(counter.items(), key=lambda pair: (-pair[1], pair[0]))
    return dict(ordered[:_MAX_FACET_WORDS])


class _FieldTally:
    """Counts of the values of an answer field, or of the texts in its lists.

    Only short values are counted. A field that is no list must have few of them.
    """

    def __init__(self) -> None:
        """Begin without values."""
        # Number of rows by type and value, because 1 equals True.
        self.row_counts = Counter[tuple[type, Any]]()
        self.has_lists = False
        self.is_countable = True

    def add(self, values: Sequence[Any]) -> None:
        """Count the values of more rows, except None and "".

        After a value that cannot be counted, the field is not countable for good.
        """
        self.has_lists = self.has_lists or any(isinstance(value, list) for value in values)
        if self.has_lists and {*map(type, values)} <= {list, type(None)}:
            values = [*chain.from_iterable(value or () for value in values)]

        countable_types = _COUNTABLE_TYPES
        if self.has_lists:
            countable_types = frozenset({str})
        self.is_countable &= {*map(type, values)} <= countable_types
        if self.is_countable:
            self.row_counts.update(
                (type(value), value) for value in values if value not in {None, ""}
            )
            self.is_countable = self.has_lists or len(self.row_counts) <= _MAX_FIELD_VALUES

    def counts(self, name: str) -> list[FieldCount]:
        """Return the counts of the commonest values in descending order.

        Args:
            name: Name of the field, for the conditions that select the rows with a value.

        Returns:
            Nothing if the values are not countable, or if some are too long and not in lists.
        """
        short_values = [
            (value, row_count)
            for (_, value), row_count in self.row_counts.items()
            if len(str(value)) <= _MAX_FIELD_VALUE_CHARS
        ]
        has_long_values = len(short_values) < len(self.row_counts)
        if not self.is_countable or (has_long_values and not self.has_lists):
            return []

        if not _PLAIN_NAME.fullmatch(name):
            escaped_name = name.replace('"', '""')
            name = f'"{escaped_name}"'
        short_values.sort(key=lambda pair: (-pair[1], str(pair[0])))
        return [
            _make_field_count(name, value, row_count)
            for value, row_count in short_values[:_MAX_FIELD_VALUES]
        ]


def _make_field_count(name: str, value: Any, row_count: int) -> FieldCount:
    """Return the count of a field's value, with the WHERE= that selects its rows."""
    if isinstance(value, str):
        escaped_value = value.replace("'", "''")
        return FieldCount(value, row_count, f"{name} = '{escaped_value}'")
    literal_value = json.dumps(value)
    return FieldCount(literal_value, row_count, f"{name} = {literal_value}")


def _require(facet: Any, noun: str) -> Any:
    """Return a facet or expression; raise InputError if it is None."""
    if facet is None:
        raise InputError(f"the items of this task have no {noun}")
    return facet


def make_refused_grid(task: str) -> Grid:
    """Return the grid of the refused rows of a task whose table does not contain them."""
    columns = stored_rows.c
    query = select(columns.item_id, columns.n, columns.seen, columns.unusable, columns.row)
    table = query.where(columns.task == task, IS_REFUSED).subquery("refused_rows")
    always_true = true()
    states = RowStates(
        (REFUSED_STATE, always_true),
        (REFUSED_STATE, always_true),
        REFUSED_STATE,
        is_refused=always_true,
    )
    return Grid(
        table=RowTable(task, table, states, false(), key="item_id", order="n"),
        cells=("seen", "unusable", "row"),
        columns={
            "line": lambda row: int(row["seen"]),
            "reason": lambda row: row["unusable"],
            "cells": lambda row: orjson.loads(row["row"]),
        },
        usual=("line", "reason", "cells"),
        searched=(table.c.unusable, table.c.row),
    )


def version_facet(preference: answers.VersionPreference, key: ColumnElement[str]) -> GridFacet:
    """Return the facet of the versions of the preferred answers.

    Args:
        preference: Decides which answer of a row is preferred.
        key: Expression for the row id as text.
    """
    version = answers.preferred_of_row(preference, key, "extractor")
    return GridFacet(
        cell=version,
        words=lambda cell: () if cell is None else (cell,),
        says=partial(answers.has_version, version),
    )


def tag_facet(
    tx: Connection,
    preference: answers.VersionPreference,
    key: ColumnElement[str],
) -> GridFacet:
    """Return the facet of the texts in all lists of the preferred answers.

    Args:
        tx: A connection to the database that will run the queries.
        preference: Decides which answer of a row is preferred.
        key: Expression for the row id as text.
    """
    answer = answers.preferred_of_row(preference, key, "answer")
    return GridFacet(cell=answer, words=_list_texts, says=partial(contains_json_text, tx, answer))


def _list_texts(document: str | None) -> list[str]:
    """Return the texts that are members of lists in a JSON document, at any depth."""
    texts: list[str] = []
    for path, value in leaves(orjson.loads(document or "null")):
        is_list_member = bool(path) and isinstance(path[-1], int)
        if is_list_member and isinstance(value, str):
            texts.append(value)
    return texts


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


def is_not_blank(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a cell contains more than white space."""
    return and_(column.is_not(None), func.trim(cast(column, Text), _WHITE_SPACE) != "")


def contains_word(
    tx: Connection,
    columns: Iterable[ColumnElement[Any]],
    word: str,
) -> ColumnElement[bool]:
    """Return the condition that one of the columns contains a word, in upper or lower case."""
    texts = [func.lower(cast(column, Text)) for column in columns]
    return _contains_any(tx, texts, make_spellings(word))


def make_spellings(word: str) -> dict[str, None]:
    """Return, as keys, the spellings of a word that a database's lower() may leave in a text.

    SQLite's lower() changes ASCII letters only. Accents are composed and decomposed.
    """
    spellings: dict[str, None] = {}
    for cased_word in (word, word.lower(), word.upper(), word.title()):
        for form in ("NFC", "NFD"):
            normalized = unicodedata.normalize(form, cased_word)
            lowered = (char.lower() if char.isascii() else char for char in normalized)
            spellings["".join(lowered)] = None
    return spellings


def contains_json_text(tx: Connection, cell: ColumnElement[Any], word: str) -> ColumnElement[bool]:
    """Return the condition that a JSON cell contains a text as a string.

    Different programs escape non-ASCII letters and slashes differently; all forms are compared.
    """
    plain_json = json.dumps(word, ensure_ascii=False)
    escaped = json.dumps(word)
    with_escaped_slashes = plain_json.replace("/", "\\/")
    forms = dict.fromkeys((plain_json, escaped, with_escaped_slashes))
    return _contains_any(tx, [cast(cell, Text)], forms)


def _contains_any(
    tx: Connection,
    texts: Iterable[ColumnElement[str]],
    parts: Iterable[str],
) -> ColumnElement[bool]:
    """Return the condition that one of the texts contains one of the parts."""
    position = func.instr if is_sqlite(tx) else func.strpos
    conditions: list[ColumnElement[bool]] = []
    for text in texts:
        conditions += [position(text, part) > 0 for part in parts]
    return or_(*conditions)


@contextlib.contextmanager
def translate_refusals(table: str) -> Iterator[None]:
    """Turn database errors of a block into RefusedRowError if a table refuses a row.

    Args:
        table: Name of the table, for the message.

    Raises:
        RefusedRowError: A rule of the table refuses a row.
    """
    try:
        yield
    except exc.DBAPIError as error:
        if not is_refusal(error):
            raise
        raise RefusedRowError(
            f"the table {table} of this database refuses a row: {describe_error(error)}",
            hint=(
                "give its own columns defaults and room, its sequence a start past every id, "
                "or use another database"
            ),
        ) from error


def replace_nulls(values: Mapping[str, Any], blanks: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with each None replaced by the column's value in `blanks`, if it exists."""
    return {name: blanks.get(name) if value is None else value for name, value in values.items()}
