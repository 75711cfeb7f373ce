"""List the items of a task as a person wants them: some of them, in some order, page by page behind a place.

No rows are counted off to find a page: the place behind which it begins says by what the rows before it were sorted.
"""

import base64
import json
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Text, and_, cast, func, literal, or_, select, tuple_

from pipeline.core.errors import InputError
from pipeline.core.listed import ItemFilter, ItemsPage, ItemsWanted, ListedItem
from pipeline.store.database import among
from pipeline.tables.item_table import ItemTable
from pipeline.tables.reflect import is_sqlite
from pipeline.tables.rows import mentions

FEW = 5_000  # items that are named one by one, and not looked for along the rows
SORTED = 100_000  # rows up to which they are sorted by a column that has no index
HASH, CHANGED = "findable_hash", "findable_changed_at"  # cells of tables that keep them


class GridColumn(NamedTuple):
    """What a column shows: the cells of a row that it is made of, and what makes a value of them."""

    cells: Sequence[str]
    value: Callable[..., Any]


class GridSort(NamedTuple):
    """What a column is sorted by, which is never NULL; with an index that has it and the order of rows at any size."""

    by: ColumnElement[Any]
    has_index: bool = False


class GridFacet(NamedTuple):
    """What tells rows apart by words, such as tags: a cell, the words that it says, the condition that it says one."""

    cell: ColumnElement[Any]
    words: Callable[[Any], Iterable[str]]
    says: Callable[[str], ColumnElement[bool]]


class GridAnswers(NamedTuple):
    """Columns that are no cells of a row: their names, and what gives them by the ids of some items."""

    names: Sequence[str]
    values: Callable[[Connection, Sequence[str]], Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Grid:
    """What lists the items of a table.

    `columns` are all that can be shown of a row, `usual` those that are, with those `in_state` where one is asked for;
    `answers` are more. Words are looked for in the columns `searched`. `score` is a number that is never NULL, below 0
    where there is none. With `keeps_changes` a row tells the hash of its input, and when that changed.
    """

    table: ItemTable
    columns: Mapping[str, GridColumn]
    usual: Sequence[str]
    searched: Sequence[str]
    in_state: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sorts: Mapping[str, GridSort] = field(default_factory=dict)
    score: ColumnElement[Any] | None = None
    tags: GridFacet | None = None
    versions: GridFacet | None = None
    answers: GridAnswers | None = None
    keeps_changes: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all columns that can be shown."""
        return (*self.columns, *(self.answers.names if self.answers else ()))

    def offered_sorts(self, tx: Connection) -> list[str]:
        """Return by which columns items can be sorted, at this size of the table."""
        is_small = self.table.has_at_most(tx, SORTED)
        return [name for name, one in self.sorts.items() if one.has_index or is_small]

    def page(self, tx: Connection, wanted: ItemsWanted) -> ItemsPage:
        """Return the items that are wanted, in their order, by few queries.

        Raises:
            InputError: there is no such place, state, sort or column, or the items have no tags, versions or scores.
        """
        order = self._order(tx, wanted.sort)
        driving = [*self._driving(tx, wanted.which.state, order)]
        if wanted.only is not None:
            driving.append(self._is_one_of(tx, [wanted.only]))
        if wanted.after is not None:
            driving.append(order.behind(self._place(tx, wanted.after, order)))
        which, end = wanted.which, None
        if order.keys[0] is self.score:  # along whose index its bounds are found
            driving += self._scores(which)
            which = which._replace(min_score=None, max_score=None)
        conditions = self.conditions(tx, which, now=wanted.now)
        if conditions and wanted.looks is not None and order.has_index:
            end = self._end(tx, order, driving, wanted.looks)
        if end is not None:
            conditions.append(order.until(end[1:]))
        rows = list(self._rows(tx, wanted, order, [*driving, *conditions]))
        place = None if end is None else (*end[1:-1], end[0])
        if len(rows) > wanted.limit:
            place = rows[wanted.limit - 1].place
        items = self._listed(tx, rows[: wanted.limit], wanted)
        return ItemsPage(items, None if place is None else _written(place), tuple(self._fields(wanted)))

    def pages(self, tx: Connection, wanted: ItemsWanted) -> Iterator[ItemsPage]:
        """Yield one page after the other to the last; those of `looks` may have no item."""
        page = self.page(tx, wanted)
        yield page
        while page.after is not None:
            page = self.page(tx, wanted._replace(after=page.after))
            yield page

    def conditions(self, tx: Connection, which: ItemFilter, *, now: datetime) -> list[ColumnElement[bool]]:
        """Return the conditions that a row is of the items that are wanted.

        Raises:
            InputError: there is no such state, or the items have no tags, versions or scores.
        """
        states, columns = self.table.states, [self.table.table.c[name] for name in self.searched]
        found = [mentions(tx, columns, word) for word in which.words]
        if which.state:
            if which.state not in states.names:
                known = ", ".join(states.names)
                raise InputError(f"no item is ever {which.state!r} here", hint=f"the states are {known}")
            found.append(self.state(tx, now=now) == which.state)
        found += [_given(self.tags, "tags").says(one) for one in which.tags]
        if which.extractor:
            found.append(_given(self.versions, "versions").says(which.extractor))
        found += self._scores(which)
        return found

    def _scores(self, which: ItemFilter) -> list[ColumnElement[bool]]:
        """Return the conditions that a row has a score within the bounds that are wanted."""
        if which.min_score is None and which.max_score is None:
            return []
        score = _given(self.score, "scores")
        found = [score >= literal(max(which.min_score or 0.0, 0.0), score.type)]
        return found if which.max_score is None else [*found, score <= literal(which.max_score, score.type)]

    def state(self, tx: Connection, *, now: datetime) -> ColumnElement[str]:
        """Return a row's state as an expression."""
        return self.table.states.of_row(tx, self.table.table.c[self.table.key], self.table.task, now=now)

    def _order(self, tx: Connection, sort: str | None) -> "_Order":
        """Return what the rows are sorted by."""
        own = self.table.table.c[self.table.order]
        if not sort:
            return _Order((own,))
        name = sort.removeprefix("-")
        offered = self.offered_sorts(tx)
        if name not in offered:
            small = f" in a table of more than {SORTED:,} rows" if name in self.sorts else ""
            known = f"SORT= takes {', '.join(offered)}, with - before it the largest first"
            raise InputError(f"there is no sorting by {name!r}{small}", hint=known if offered else "leave out SORT=")
        return _Order((self.sorts[name].by, own), sort.startswith("-"), self.sorts[name].has_index)

    def _driving(self, tx: Connection, state: str | None, order: "_Order") -> Iterator[ColumnElement[bool]]:
        """Yield conditions by which the database finds the rows of a state without a look at all others."""
        if state is None:
            return
        told = self.table.told_apart(tx, state)
        if told is not None:
            ids = list(tx.execute(told.limit(FEW + 1)).scalars())
            if len(ids) <= FEW:
                yield self._is_one_of(tx, ids)
        elif len(order.keys) == 1 and (kind := self.table.is_of_kind(tx, state)) is not None:
            yield kind

    def _is_one_of(self, tx: Connection, ids: Sequence[str]) -> ColumnElement[bool]:
        return among(tx, self.table.table.c[self.table.key], self.table.ids.native(ids))

    def _place(self, tx: Connection, after: str, order: "_Order") -> tuple[Any, ...]:
        """Return the values of the place that a page named: those of the row, or those that it had then."""
        values = _read(after) if len(order.keys) > 1 else [after]
        row = select(order.keys[-1]).where(self._is_one_of(tx, [str(values[-1])])).limit(1)
        found = tx.execute(row).first()
        if found is None or len(values) != len(order.keys):
            raise InputError(f"there is no item {after!r} to go on behind", hint="leave out AFTER=")
        return (*values[:-1], found[0])

    def _end(
        self, tx: Connection, order: "_Order", driving: Sequence[ColumnElement[bool]], looks: int
    ) -> Sequence[Any] | None:
        """Return the id and the place of the last row that is looked at; None where the rows end before."""
        query = select(self.table.item_id, *order.keys).where(*driving).order_by(*order.clauses)
        return tx.execute(query.offset(looks - 1).limit(1)).first()

    def _rows(
        self, tx: Connection, wanted: ItemsWanted, order: "_Order", conditions: Sequence[ColumnElement[bool]]
    ) -> "Iterator[_Row]":
        """Yield one row more than is wanted, where there is one."""
        cells = self._cells(wanted)
        columns = (self.table.table.c[name] for name in cells)
        query: Select[Any] = select(self.table.item_id, self.state(tx, now=wanted.now), *order.keys[:-1], *columns)
        query = query.where(*conditions).order_by(*order.clauses).limit(wanted.limit + 1)
        for key, state, *others in tx.execute(query):
            told = iter(others)
            place = (*islice(told, len(order.keys) - 1), key)
            yield _Row(key, state, place, dict(zip(cells, told, strict=True)))

    def _cells(self, wanted: ItemsWanted) -> list[str]:
        """Return the cells that are read of a row, each once."""
        shown = (self.columns[name].cells for name in self._fields(wanted) if name in self.columns)
        kept = (HASH, CHANGED) if self.keeps_changes else ()
        return list(dict.fromkeys([*(cell for cells in shown for cell in cells), *kept]))

    def _fields(self, wanted: ItemsWanted) -> Sequence[str]:
        """Return the names of the columns that are shown."""
        if wanted.only is not None:
            return list(self.columns)
        if wanted.fields is None:
            return [*self.usual, *self.in_state.get(wanted.which.state or "", ())]
        for name in wanted.fields:
            if name not in self.names:
                raise InputError(f"there is no column {name!r} to show", hint=f"there are {', '.join(self.names)}")
        return list(dict.fromkeys(wanted.fields))

    def _listed(self, tx: Connection, rows: "Sequence[_Row]", wanted: ItemsWanted) -> list[ListedItem]:
        """Return rows as the items that they are, with what their answers say where that is to be shown."""
        fields, answers = self._fields(wanted), self.answers
        beside: Mapping[str, Mapping[str, Any]] = {}
        if answers is not None and not set(answers.names).isdisjoint(fields):
            beside = answers.values(tx, [one.id for one in rows])
        return [self._item(one, fields, beside.get(one.id, {})) for one in rows]

    def _item(self, row: "_Row", fields: Sequence[str], beside: Mapping[str, Any]) -> ListedItem:
        shown = {
            name: self.columns[name].value(*(row.cells[cell] for cell in self.columns[name].cells))
            if name in self.columns
            else beside.get(name)
            for name in fields
        }
        return ListedItem(row.id, row.state, shown, row.cells.get(HASH), row.cells.get(CHANGED))


class _Row(NamedTuple):
    """A row as it was read: its place is what it is sorted by, with its id at the end."""

    id: str
    state: str
    place: tuple[Any, ...]
    cells: Mapping[str, Any]


class _Order(NamedTuple):
    """What rows are sorted by; the last of the keys is each row's own."""

    keys: tuple[ColumnElement[Any], ...]
    descends: bool = False
    has_index: bool = True

    @property
    def clauses(self) -> list[ColumnElement[Any]]:
        return [key.desc() if self.descends else key for key in self.keys]

    def behind(self, place: Sequence[Any]) -> ColumnElement[bool]:
        """Return the condition that a row comes behind a place."""
        return self._beside(place, operator.lt if self.descends else operator.gt)

    def until(self, place: Sequence[Any]) -> ColumnElement[bool]:
        """Return the condition that a row stands at a place, or before it."""
        return self._beside(place, operator.ge if self.descends else operator.le)

    def _beside(self, place: Sequence[Any], is_right: Callable[[Any, Any], Any]) -> ColumnElement[bool]:
        bound = [literal(value, key.type) for key, value in zip(self.keys, place, strict=True)]
        if len(bound) == 1:
            return and_(is_right(self.keys[0], bound[0]))
        # the first key once more, by itself: SQLite takes no pair to an index that has an expression
        loosely = operator.le if is_right in (operator.lt, operator.le) else operator.ge
        return and_(loosely(self.keys[0], bound[0]), is_right(tuple_(*self.keys), tuple_(*bound)))


def says_text(tx: Connection, cell: ColumnElement[Any], word: str) -> ColumnElement[bool]:
    """Return the condition that a text holds a word as a string of JSON, however that was written."""
    place = func.instr if is_sqlite(tx) else func.strpos
    plain = json.dumps(word, ensure_ascii=False)
    forms = dict.fromkeys((plain, json.dumps(word), plain.replace("/", "\\/")))
    return or_(*(place(cast(cell, Text), form) > 0 for form in forms))


def _given(found: Any, words: str) -> Any:
    """Return what items are told apart by, where they have it."""
    if found is None:
        raise InputError(f"the items of this task have no {words}")
    return found


def _written(place: Sequence[Any]) -> str:
    """Return a place for people and programs to pass on: an id, or one with what it is sorted by, without signs."""
    if len(place) == 1:
        return str(place[0])
    return base64.urlsafe_b64encode(json.dumps(place, ensure_ascii=False).encode()).decode().rstrip("=")


def _read(after: str) -> list[Any]:
    """Return a place that was written so; nothing of it where it was not."""
    try:
        found = json.loads(base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)))
    except ValueError:
        return [after]
    return found if isinstance(found, list) and found else [after]
