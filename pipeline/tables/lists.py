"""Find, list and count rows of a table, findable's own or another program's: which are open, their states and names.

A list shows some of the items, in some order, page by page behind an item. No rows are counted off to find a page: it
begins behind what the last item of the page before is sorted by.
"""

import contextlib
import json
import math
import operator
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
from pipeline.store.database import SlowError, describe_error, pages, streamed, within
from pipeline.store.database import among as among_values
from pipeline.store.rows import count_refused, is_refused
from pipeline.store.schema import rows as stored_rows
from pipeline.tables.adopt import IdColumnFacts, is_refusal, is_sqlite

CELLS = 256  # rows read at a time where a row is only looked at: what fits into a processor's cache is quicker
REFUSED = "refused"  # states: of a row that cannot be asked about, and of one that left its source
GONE = "gone"
HASH = "findable_hash"  # cells of tables that keep them
CHANGED = "findable_changed_at"
_WHITE = "".join(
    chr(n) for n in range(0x3001) if chr(n).isspace()
)  # what str.strip() takes away, for SQL's trim
_COUNTED = 100_000  # rows up to which they are counted by tags and versions, too
_MOST = 50  # tags and versions that are told
_PAGE = 2_000
_VALUES = 12  # of a field that are told
_LONGEST = 30  # characters of a value that is told; longer ones are sentences
_COUNTABLE = frozenset({str, int, float, bool, type(None)})
_PLAIN_NAME = re.compile(
    r"(?!(?:and|or|not|in|is|contains|null|true|false)$)[a-z_]\w*", re.IGNORECASE
)


class RowStates(NamedTuple):
    """What tells the states of a task's items: `done` and `pending` are names with conditions, `rest` is another name.

    `others` come before what is pending, and so do those `refused`, where they are in the table of the items. Items
    that are `gone` from their source are no rows of it.
    """

    done: tuple[str, ColumnElement[bool]]
    pending: tuple[str, ColumnElement[bool]]
    rest: str
    others: tuple[tuple[str, ColumnElement[bool]], ...] = ()
    refused: ColumnElement[bool] | None = None
    gone: ColumnElement[bool] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the states of a source's rows, in the order in which they are counted."""
        others = (name for name, _ in self.others)
        return (self.done[0], self.pending[0], self.rest, "claimed", "parked", *others, REFUSED)

    @property
    def listed_names(self) -> tuple[str, ...]:
        """Return the names of the states by which items are listed."""
        return self.names if self.gone is None else (*self.names, GONE)


@dataclass(frozen=True, eq=False)
class RowTable:
    """A table whose rows are the items of a task: column `key` holds their ids, and by `order` they are asked.

    `is_open` is the condition that a row may be asked about. `named` are the columns of the name by which a person
    knows an item, which `name_of` makes of their cells; without any it is the id. `own` is as `asks.parked` has it.
    """

    task: str
    table: Table | Subquery
    states: RowStates
    is_open: ColumnElement[bool]
    ids: IdColumnFacts = field(default_factory=IdColumnFacts)
    key: str = "id"
    order: str = "id"
    named: Sequence[str] = ()
    name_of: Callable[[Mapping[str, Any]], str] = str
    own: str = ""

    @property
    def state(self) -> ColumnElement[str]:
        """Return a row's state as an expression."""
        told = self.states
        key = self.item_id
        claimed = _is_among(key, claims.claimed_ids(self.task))
        parked = _is_among(key, claims.parked(self.task, self.own))
        ways = [(told.gone, GONE)] if told.gone is not None else []
        ways += [(told.refused, REFUSED)] if told.refused is not None else []
        ways += [(told.done[1], told.done[0]), (claimed, "claimed"), (parked, "parked")]
        ways += [(condition, name) for name, condition in (*told.others, told.pending)]
        return case(*ways, else_=told.rest)

    @property
    def item_id(self) -> ColumnElement[str]:
        """Return an item's id as text."""
        return cast(self.table.c[self.key], Text)

    def total(self, tx: Connection, *conditions: ColumnElement[bool]) -> int:
        """Return how many rows there are of which all conditions hold."""
        return tx.execute(
            select(func.count()).select_from(self.table).where(*conditions)
        ).scalar_one()

    def pending(self, *, names: Sequence[str] = (), after: str | None = None) -> Select[Any]:
        """Return the SELECT of rows that may be asked about, in their order; see `Task.pending`."""
        order = self.table.c[self.order]
        columns = [self.table.c[name] for name in names]
        query = select(*columns, self.item_id.label("item_id")).where(self.is_open).order_by(order)
        if after is None:
            return query
        others = self.table.alias().c
        row = (
            select(others[self.order])
            .where(others[self.key].in_(self.ids.native([after])))
            .limit(1)
        )
        return query.where(order > row.scalar_subquery())

    def is_among(self, ids: Sequence[str]) -> ColumnElement[bool]:
        """Return the condition that a row is of one of these items."""
        return self.table.c[self.key].in_(self.ids.native(ids))

    def among(
        self,
        tx: Connection,
        ids: Sequence[str],
        columns: Sequence[ColumnElement[Any]],
        *conditions: Any,
        locked: bool = False,
    ) -> Iterator[Sequence[Any]]:
        """Yield some columns of the rows with these ids of which all conditions hold.

        Rows that are `locked` are changed by no other transaction until this one ends.
        """
        query = select(*columns).where(*conditions)
        query = query.with_for_update() if locked else query
        return among_values(tx, query, self.table.c[self.key], self.ids.native(ids))

    def rows(
        self, tx: Connection, ids: Sequence[str], names: Sequence[str], *, locked: bool = False
    ) -> dict[str, dict[str, Any]]:
        """Return some columns of the rows with these ids that are there, by id."""
        columns = [*(self.table.c[name] for name in names), self.item_id]
        return {
            row[-1]: dict(zip(names, row, strict=False))
            for row in self.among(tx, ids, columns, locked=locked)
        }

    def cells(
        self,
        tx: Connection,
        names: Sequence[str],
        *conditions: ColumnElement[bool],
        among: Sequence[str] | None = None,
    ) -> Iterator[Sequence[Any]]:
        """Yield some columns of rows of which all conditions hold, in their order, at flat memory; or `among` ids."""
        query = (
            select(*(self.table.c[name] for name in names))
            .where(*conditions)
            .order_by(self.table.c[self.order])
        )
        if among is None:
            return chain.from_iterable(streamed(tx, query, page=CELLS).partitions())
        return self.among(tx, among, list(query.selected_columns), *conditions)

    def ids_among(
        self, tx: Connection, ids: Sequence[str], *conditions: ColumnElement[bool]
    ) -> set[str]:
        """Return which of these ids are of rows of which all conditions hold."""
        return {row[0] for row in self.among(tx, ids, [self.item_id], *conditions)}

    def names(self, tx: Connection, ids: Sequence[str]) -> dict[str, str]:
        """Return the name of each of these items that is there, by id."""
        if not self.named:
            found = self.ids_among(tx, ids)
            return {one: one for one in ids if one in found}
        return {one: self.name_of(row) for one, row in self.rows(tx, ids, self.named).items()}

    def counts(self, tx: Connection) -> dict[str, int]:
        """Return the total and {done, pending, rest, claimed, parked, …, refused}: disjoint, and adding up to it."""
        return self.counts_and_gone(tx)[0]

    def counts_and_gone(self, tx: Connection) -> tuple[dict[str, int], int]:
        """Return the counts of the rows of the source, and how many rows are gone from it."""
        found = self.count_listed(tx)
        if self.states.refused is None:
            found[REFUSED] = count_refused(tx, self.task)
        parts = {name: found[name] for name in self.states.names}
        return {"total": sum(parts.values()), **parts}, found[GONE]

    def count_listed(self, tx: Connection, *conditions: ColumnElement[bool]) -> Counter[str]:
        """Return how many rows of the table of which all conditions hold are in each state."""
        state = self.state
        query = (
            select(state, func.count()).select_from(self.table).where(*conditions).group_by(state)
        )
        return Counter({row[0]: row[1] for row in tx.execute(query)})


def _is_among(key: ColumnElement[str], ids: Select[Any]) -> ColumnElement[bool]:
    """Return the condition that an id is among others, looked up one by one: where they are many, few rows are read."""
    (held,) = ids.get_final_froms()
    return ids.where(ids.selected_columns[0] == key).correlate_except(held).exists()


class GridFacet(NamedTuple):
    """What tells rows apart by words, such as tags: a cell, the words that it says, the condition that it says one."""

    cell: ColumnElement[Any]
    words: Callable[[Any], Iterable[str]]
    says: Callable[[str], ColumnElement[bool]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Grid:
    """What lists the items of a table.

    `columns` say what is shown of a row's `cells`, `usual` are those that are, with those `in_state` where one is asked
    for; `more` are no cells of a row, and `more_of` gives them by the ids of some items. Words are looked for in what
    is `searched`, and where `mentioned` says; `where` makes a condition of what a person wrote. What rows are sorted by
    is never NULL; for `slow_sorts` each row is looked up. `fields` are those of the answers that `tags` has as its
    cell, by the names of their columns. `score` is a number that is below 0 where there is none.
    """

    table: RowTable
    cells: Sequence[str]
    columns: Mapping[str, Callable[[Mapping[str, Any]], Any]]
    usual: Sequence[str]
    searched: Sequence[ColumnElement[Any]]
    mentioned: Callable[[str], Sequence[ColumnElement[bool]]] = lambda _word: ()
    where: Callable[[str], ColumnElement[bool]] | None = None
    in_state: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sorts: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)
    slow_sorts: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    score: ColumnElement[Any] | None = None
    tags: GridFacet | None = None
    versions: GridFacet | None = None
    more: Sequence[str] = ()
    more_of: Callable[[Connection, Sequence[str]], Mapping[str, Mapping[str, Any]]] | None = None

    def page(self, tx: Connection, wanted: RowListOptions) -> RowsPage:
        """Return the items that are wanted, in their order, by few queries."""
        if wanted.which.state == REFUSED and self.table.states.refused is None:
            return refused_grid(self.table.task).page(tx, wanted._replace(sort=None, fields=None))
        sort = wanted.sort or ""
        fields = self._fields(wanted)
        conditions = self.conditions(tx, wanted.which)
        keys = self._order(sort)
        descends = sort.startswith("-")
        is_slow = sort.removeprefix("-") in self.slow_sorts
        if wanted.only is not None:
            conditions.append(self.table.is_among([wanted.only]))
        elif (is_gone := self._is_left_out(wanted.which)) is not None:
            conditions.append(~is_gone)
        if wanted.after is not None:
            here = tx.execute(
                select(*keys).where(self.table.is_among([wanted.after])).limit(1)
            ).first()
            if here is None:
                said = f"there is no item {wanted.after!r} to go on behind"
                raise InputError(said, hint=f"leave out {OptionHint('after')}")
            bound = [literal(value, key.type) for key, value in zip(keys, here, strict=True)]
            strictly, loosely = (
                (operator.lt, operator.le) if descends else (operator.gt, operator.ge)
            )
            # the first key once more, by itself: SQLite takes no pair to an index that has an expression
            behind = strictly(tuple_(*keys), tuple_(*bound))
            conditions.append(behind if is_slow else and_(loosely(keys[0], bound[0]), behind))
        query = select(
            self.table.item_id, self.table.state, *(self.table.table.c[name] for name in self.cells)
        )
        query = query.where(*conditions).order_by(
            *(one.desc() if descends else one for one in keys)
        )
        try:
            with within(tx, wanted.within_s if is_slow else None):
                rows = tx.execute(query.limit(wanted.limit + 1)).all()
        except SlowError:
            said = f"there are too many rows to sort them by {wanted.sort} while a page waits"
            raise InputError(said, hint=f"list fewer: {OptionHint(where='…')}") from None
        ids = [row[0] for row in rows[: wanted.limit]]
        more = (
            self.more_of(tx, ids) if self.more_of and not set(self.more).isdisjoint(fields) else {}
        )
        items = []
        rare = (
            {*chain.from_iterable(self.in_state.values())}
            if wanted.only is not None
            else set[str]()
        )
        for key, state, *found in rows[: wanted.limit]:
            row = dict(zip(self.cells, found, strict=True))
            own = more.get(key, {})
            shown = {
                name: self.columns[name](row) if name in self.columns else own.get(name)
                for name in fields
            }
            shown = {
                name: value
                for name, value in shown.items()
                if value is not None or name not in rare
            }
            items.append(ListedRow(key, state, shown, row.get(HASH), row.get(CHANGED)))
        return RowsPage(items, ids[-1] if len(rows) > wanted.limit else None, fields)

    def pages(self, tx: Connection, wanted: RowListOptions) -> Iterator[RowsPage]:
        """Yield one page after the other to the last."""
        page = self.page(tx, wanted)
        yield page
        while page.after is not None:
            page = self.page(tx, wanted._replace(after=page.after))
            yield page

    def conditions(self, tx: Connection, which: RowFilter) -> list[ColumnElement[bool]]:
        """Return the conditions that a row is of the items that are wanted."""
        found = [
            or_(mentions(tx, self.searched, word), *self.mentioned(word)) for word in which.words
        ]
        if which.where and self.where is None:
            hint = f"`{CommandHint('search', q='…', where=which.where)}` filters what is indexed"
            raise InputError(f"there are no columns for {OptionHint('where')} here", hint=hint)
        found += [self.where(which.where)] if which.where and self.where else []
        states, (least, most) = self.table.states.listed_names, (which.min_score, which.max_score)
        if which.state and which.state not in states:
            raise InputError(
                f"no item is ever {which.state!r} here", hint=f"the states are {', '.join(states)}"
            )
        found += [self.table.state == which.state] if which.state else []
        found += [_given(self.tags, "tags").says(one) for one in which.tags]
        found += [self.table.is_among(which.ids)] if which.ids else []
        found += (
            [_given(self.versions, "versions").says(which.extractor)] if which.extractor else []
        )
        if least is not None or most is not None:
            score = _given(self.score, "scores")
            found.append(score.between(max(least or 0.0, 0.0), math.inf if most is None else most))
        return found

    def counts(
        self, tx: Connection, which: RowFilter, *, within_s: float | None = None
    ) -> RowCounts:
        """Return how many items there are as they are wanted; by tags, versions and fields of answers where few.

        Those are not counted where that takes longer than `within_s` seconds, either.
        """
        if which.state == REFUSED and self.table.states.refused is None:
            return refused_grid(self.table.task).counts(tx, which)
        conditions = self.conditions(tx, which)
        counted = self.table.count_listed(tx, *conditions)
        if not conditions and self.table.states.refused is None:
            counted[REFUSED] = count_refused(tx, self.table.task)
        gone = 0
        states = {name: counted[name] for name in self.table.states.listed_names}
        if (is_gone := self._is_left_out(which)) is not None:
            gone = states.pop(GONE)
            conditions.append(~is_gone)
        total = sum(states.values())
        some = select(self.table.table.c[self.table.key]).limit(_COUNTED + 1).subquery()
        facets = [one for one in (self.tags, self.versions) if one is not None]
        if facets and tx.execute(select(func.count()).select_from(some)).scalar_one() <= _COUNTED:
            with contextlib.suppress(SlowError), within(tx, within_s):
                query = (
                    select(*(one.cell for one in facets))
                    .select_from(self.table.table)
                    .where(*conditions)
                )
                tallies, fields = self._tallied(
                    streamed(tx, query, page=_PAGE).partitions(), facets, within_s
                )
                often = (
                    dict(sorted(one.items(), key=lambda each: (-each[1], each[0]))[:_MOST])
                    for one in tallies
                )
                tags, versions = (
                    next(often) if one is not None else None for one in (self.tags, self.versions)
                )
                return RowCounts(total, states, tags, versions, fields, gone)
        return RowCounts(total, states, None, None, gone=gone)

    def _is_left_out(self, which: RowFilter) -> ColumnElement[bool] | None:
        """Return the condition that a row is not listed because it left its source; None where such are, too."""
        return None if which.state == GONE or which.ids else self.table.states.gone

    def _tallied(
        self, pages: Iterator[Sequence[Any]], facets: Sequence[GridFacet], within_s: float | None
    ) -> tuple[list[Counter[str]], dict[str, list[FieldCount]]]:
        """Return how often the words of facets, and the values of fields, stand in pages of rows, all within a time."""
        until = math.inf if within_s is None else time.monotonic() + within_s
        tallies = [Counter[str]() for _ in facets]
        fields = {name: _FieldTally() for name in self.fields}
        for rows in pages:
            for facet, tally, cells in zip(facets, tallies, zip(*rows, strict=True), strict=True):
                tally.update(chain.from_iterable(set(facet.words(cell)) for cell in cells))
            said = [orjson.loads(row[0]) for row in rows if row[0] is not None] if fields else []
            for name, found in fields.items():
                found.add([one.get(self.fields[name]) for one in said])
            if time.monotonic() > until:
                raise SlowError
        return tallies, {name: told for name, one in fields.items() if (told := one.counts(name))}

    def _order(self, sort: str) -> list[ColumnElement[Any]]:
        """Return what rows are sorted by; the last is each row's own."""
        name = sort.removeprefix("-")
        sorts = {**self.slow_sorts, **self.sorts}
        own = self.table.table.c[self.table.order]
        if sort and name not in sorts:
            known = (
                f"{OptionHint('sort')} takes {', '.join(sorts)}, with - before it the largest first"
            )
            raise InputError(
                f"there is no sorting by {name!r}",
                hint=known if sorts else f"leave out {OptionHint('sort')}",
            )
        return [sorts[name], own] if sort else [own]

    def _fields(self, wanted: RowListOptions) -> Sequence[str]:
        if wanted.only is not None:
            return tuple(self.columns)
        if wanted.fields is None:
            return (*self.usual, *self.in_state.get(wanted.which.state or "", ()))
        names = (*self.columns, *self.more)
        if unknown := next((name for name in wanted.fields if name not in names), None):
            raise InputError(
                f"there is no column {unknown!r} to show", hint=f"there are {', '.join(names)}"
            )
        return tuple(dict.fromkeys(wanted.fields))


class _FieldTally:
    """How often a field of answers has each of its values, or those in its lists, where these are few and short."""

    def __init__(self) -> None:
        self.found = Counter[tuple[type, Any]]()
        self.is_list = False
        self.is_told = True

    def add(self, values: Sequence[Any]) -> None:
        """Count values, each with its type; nothing is none."""
        self.is_list = self.is_list or any(isinstance(one, list) for one in values)
        if self.is_list and {*map(type, values)} <= {list, type(None)}:
            values = [*chain.from_iterable(one or () for one in values)]
        self.is_told &= {*map(type, values)} <= ({str} if self.is_list else _COUNTABLE)
        if self.is_told:
            self.found.update((type(one), one) for one in values if one not in {None, ""})
            self.is_told = self.is_list or len(self.found) <= _VALUES

    def counts(self, name: str) -> list[FieldCount]:
        """Return how many items have each value of the field of a name, the most common first."""
        told = [(one, items) for (_, one), items in self.found.items() if len(str(one)) <= _LONGEST]
        if not self.is_told or (len(told) < len(self.found) and not self.is_list):
            return []
        name = name if _PLAIN_NAME.fullmatch(name) else '"{}"'.format(name.replace('"', '""'))
        found = []
        for one, items in sorted(told, key=lambda one: (-one[1], str(one[0])))[:_VALUES]:
            literal = (
                "'{}'".format(one.replace("'", "''")) if isinstance(one, str) else json.dumps(one)
            )
            found.append(
                FieldCount(one if isinstance(one, str) else literal, items, f"{name} = {literal}")
            )
        return found


def _given(found: Any, words: str) -> Any:
    if found is None:
        raise InputError(f"the items of this task have no {words}")
    return found


def refused_grid(task: str) -> Grid:
    """Return what lists the refused rows of a task whose items are in a table of their own."""
    told = stored_rows.c
    columns = (told.item_id, told.n, told.seen, told.unusable, told.row)
    table = select(*columns).where(told.task == task, is_refused).subquery("refused_rows")
    states = RowStates((REFUSED, true()), (REFUSED, true()), REFUSED, refused=true())
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
    """Return what tells items apart by the extractor of the answer that counts."""
    last = answers.effective_of_item(preference, key, "extractor")
    return GridFacet(
        last, lambda cell: () if cell is None else (cell,), partial(answers.is_by, last)
    )


def tag_facet(
    tx: Connection, preference: answers.VersionPreference, key: ColumnElement[str]
) -> GridFacet:
    """Return what tells items apart by the texts in the lists of the answers that count."""
    last = answers.effective_of_item(preference, key, "answer")
    return GridFacet(last, _members, partial(says_text, tx, last))


def _members(cell: str | None) -> list[str]:
    """Return the texts in the lists of a document, at any depth."""
    values = leaves(orjson.loads(cell or "null"))
    return [
        one for path, one in values if isinstance(one, str) and path and isinstance(path[-1], int)
    ]


def values_in_pages(
    tx: Connection, column: ColumnElement[Any], *conditions: ColumnElement[bool], size: int
) -> Iterator[list[Any]]:
    """Return the values of a column that an index has in order, each once, so many at a time."""
    query = select(column).where(column.is_not(None), *conditions).distinct().order_by(column)
    return pages(streamed(tx, query, page=size).scalars(), size)


def has_words(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a cell holds more than white space."""
    return and_(column.is_not(None), func.trim(cast(column, Text), _WHITE) != "")


def mentions(
    tx: Connection, columns: Iterable[ColumnElement[Any]], word: str
) -> ColumnElement[bool]:
    """Return the condition that a word stands in one of some columns, in any case."""
    return _holds(tx, [func.lower(cast(column, Text)) for column in columns], forms_of(word))


def forms_of(word: str) -> dict[str, None]:
    """Return how a word may be written in what a database made of a text in lower case."""
    cases = (word, word.lower(), word.upper(), word.title())  # SQLite's lower() knows ASCII alone
    written = (unicodedata.normalize(way, one) for one in cases for way in ("NFC", "NFD"))
    return dict.fromkeys(
        "".join(char.lower() if char.isascii() else char for char in one) for one in written
    )


def says_text(tx: Connection, cell: ColumnElement[Any], word: str) -> ColumnElement[bool]:
    """Return the condition that a text holds a word as a string of JSON, however that was written."""
    plain = json.dumps(word, ensure_ascii=False)
    return _holds(
        tx, [cast(cell, Text)], dict.fromkeys((plain, json.dumps(word), plain.replace("/", "\\/")))
    )


def _holds(
    tx: Connection, texts: Iterable[ColumnElement[str]], forms: Iterable[str]
) -> ColumnElement[bool]:
    place = func.instr if is_sqlite(tx) else func.strpos
    return or_(*(place(text, form) > 0 for text in texts for form in forms))


@contextlib.contextmanager
def refusals(table: str) -> Iterator[None]:
    """Turn a row that a table of another program refuses into a RefusedRowError that says what can be done."""
    try:
        yield
    except exc.DBAPIError as error:
        if not is_refusal(error):
            raise
        raise RefusedRowError(
            f"the table {table} of this database refuses a row: {describe_error(error)}",
            hint="give its own columns defaults and room, its sequence a start past every id, or use another database",
        ) from error


def filled(values: Mapping[str, Any], blanks: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with what stands for nothing where a column takes no NULL."""
    return {name: blanks.get(name) if value is None else value for name, value in values.items()}
