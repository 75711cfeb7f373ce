"""List the items of a task as a person wants them: some of them, in some order, page by page behind a place.

No rows are counted off to find a page: the place behind which it begins says by what the rows before it were sorted.
"""

import base64
import json
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Text, and_, cast, func, literal, or_, select, tuple_

from pipeline.core.errors import InputError
from pipeline.core.listed import ItemCounts, ItemFilter, ItemsPage, ItemsWanted, ListedItem
from pipeline.store import answers, versions
from pipeline.store.database import streamed
from pipeline.tables.item_table import ItemTable
from pipeline.tables.reflect import is_sqlite
from pipeline.tables.rows import mentions

COUNTED = 100_000  # rows up to which they are counted by tags and versions, too
MOST = 50  # tags and versions that are told
PAGE = 2_000
HASH, CHANGED = "findable_hash", "findable_changed_at"  # cells of tables that keep them


class GridColumn(NamedTuple):
    """What a column shows: the cells of a row that it is made of, and what makes a value of them."""

    cells: Sequence[str]
    value: Callable[..., Any]


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
    `answers` are more. Words are looked for in what is `searched`. `score` is a number that is never NULL, below 0
    where there is none. With `keeps_changes` a row tells the hash of its input, and when that changed.
    """

    table: ItemTable
    columns: Mapping[str, GridColumn]
    usual: Sequence[str]
    searched: Sequence[ColumnElement[Any]]
    in_state: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sorts: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)
    score: ColumnElement[Any] | None = None
    tags: GridFacet | None = None
    versions: GridFacet | None = None
    answers: GridAnswers | None = None
    keeps_changes: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all columns that can be shown."""
        return (*self.columns, *(self.answers.names if self.answers else ()))

    def page(self, tx: Connection, wanted: ItemsWanted) -> ItemsPage:
        """Return the items that are wanted, in their order, by few queries.

        Raises:
            InputError: there is no such place, state, sort or column, or the items have no tags, versions or scores.
        """
        order = self._order(wanted.sort)
        conditions = self.conditions(tx, wanted.which)
        if wanted.only is not None:
            conditions.append(self._is_one_of([wanted.only]))
        if wanted.after is not None:
            conditions.append(order.behind(self._place(tx, wanted.after, order)))
        rows = list(self._rows(tx, wanted, order, conditions))
        place = rows[wanted.limit - 1].place if len(rows) > wanted.limit else None
        items = self._listed(tx, rows[: wanted.limit], wanted)
        return ItemsPage(items, None if place is None else _written(place), tuple(self._fields(wanted)))

    def pages(self, tx: Connection, wanted: ItemsWanted) -> Iterator[ItemsPage]:
        """Yield one page after the other to the last."""
        page = self.page(tx, wanted)
        yield page
        while page.after is not None:
            page = self.page(tx, wanted._replace(after=page.after))
            yield page

    def conditions(self, tx: Connection, which: ItemFilter) -> list[ColumnElement[bool]]:
        """Return the conditions that a row is of the items that are wanted.

        Raises:
            InputError: there is no such state, or the items have no tags, versions or scores.
        """
        states = self.table.states
        found = [mentions(tx, self.searched, word) for word in which.words]
        if which.state:
            if which.state not in states.names:
                known = ", ".join(states.names)
                raise InputError(f"no item is ever {which.state!r} here", hint=f"the states are {known}")
            found.append(self.state(tx) == which.state)
        found += [_given(self.tags, "tags").says(one) for one in which.tags]
        if which.extractor:
            found.append(_given(self.versions, "versions").says(which.extractor))
        if which.min_score is not None or which.max_score is not None:
            score = _given(self.score, "scores")
            found.append(score >= literal(max(which.min_score or 0.0, 0.0), score.type))
            if which.max_score is not None:
                found.append(score <= literal(which.max_score, score.type))
        return found

    def counts(self, tx: Connection, which: ItemFilter) -> ItemCounts:
        """Return how many items there are as they are wanted; by tags and versions where the table is not too large.

        Raises:
            InputError: as of `conditions`.
        """
        conditions, state = self.conditions(tx, which), self.state(tx)
        query = select(state, func.count()).select_from(self.table.table).where(*conditions).group_by(state)
        found = {row[0]: row[1] for row in tx.execute(query)}
        states = {name: found.get(name, 0) for name in self.table.states.names}
        told = [one for one in (self.tags, self.versions) if one is not None]
        tallies = [Counter[str]() for _ in told]
        if told and (is_counted := self.table.has_at_most(tx, COUNTED)):
            cells = select(*(one.cell for one in told)).select_from(self.table.table).where(*conditions)
            for row in streamed(tx, cells, page=PAGE):
                for tally, one, cell in zip(tallies, told, row, strict=True):
                    tally.update(set(one.words(cell)))
        counted = iter(_most_common(one) if is_counted else None for one in tallies) if told else iter(())
        return ItemCounts(
            sum(states.values()),
            states,
            None if self.tags is None else next(counted),
            None if self.versions is None else next(counted),
        )

    def state(self, tx: Connection) -> ColumnElement[str]:
        """Return a row's state as an expression."""
        mine = self.table
        return mine.states.of_row(tx, mine.table.c[mine.key], mine.task, own=mine.own)

    def _order(self, sort: str | None) -> "_Order":
        own = self.table.table.c[self.table.order]
        if not sort:
            return _Order((own,))
        name = sort.removeprefix("-")
        if name not in self.sorts:
            known = f"SORT= takes {', '.join(self.sorts)}, with - before it the largest first"
            raise InputError(f"there is no sorting by {name!r}", hint=known if self.sorts else "leave out SORT=")
        return _Order((self.sorts[name], own), sort.startswith("-"))

    def _is_one_of(self, ids: Sequence[str]) -> ColumnElement[bool]:
        return self.table.table.c[self.table.key].in_(self.table.ids.native(ids))

    def _place(self, tx: Connection, after: str, order: "_Order") -> tuple[Any, ...]:
        """Return the values of the place that a page named: those of the row, or those that it had then."""
        values = _read(after) if len(order.keys) > 1 else [after]
        row = select(order.keys[-1]).where(self._is_one_of([str(values[-1])])).limit(1)
        found = tx.execute(row).first()
        if found is None or len(values) != len(order.keys):
            raise InputError(f"there is no item {after!r} to go on behind", hint="leave out AFTER=")
        return (*values[:-1], found[0])

    def _rows(
        self, tx: Connection, wanted: ItemsWanted, order: "_Order", conditions: Sequence[ColumnElement[bool]]
    ) -> "Iterator[_Row]":
        """Yield one row more than is wanted, where there is one."""
        cells = self._cells(wanted)
        columns = (self.table.table.c[name] for name in cells)
        query: Select[Any] = select(self.table.item_id, self.state(tx), *order.keys[:-1], *columns)
        query = query.where(*conditions).order_by(*order.clauses).limit(wanted.limit + 1)
        for key, state, *others in tx.execute(query):
            sorted_by = len(order.keys) - 1
            yield _Row(key, state, (*others[:sorted_by], key), dict(zip(cells, others[sorted_by:], strict=True)))

    def _cells(self, wanted: ItemsWanted) -> list[str]:
        shown = (self.columns[name].cells for name in self._fields(wanted) if name in self.columns)
        kept = (HASH, CHANGED) if self.keeps_changes else ()
        return list(dict.fromkeys([*(cell for cells in shown for cell in cells), *kept]))

    def _fields(self, wanted: ItemsWanted) -> Sequence[str]:
        if wanted.only is not None:
            return list(self.columns)
        if wanted.fields is None:
            return [*self.usual, *self.in_state.get(wanted.which.state or "", ())]
        for name in wanted.fields:
            if name not in self.names:
                raise InputError(f"there is no column {name!r} to show", hint=f"there are {', '.join(self.names)}")
        return list(dict.fromkeys(wanted.fields))

    def _listed(self, tx: Connection, rows: "Sequence[_Row]", wanted: ItemsWanted) -> list[ListedItem]:
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

    @property
    def clauses(self) -> list[ColumnElement[Any]]:
        return [key.desc() if self.descends else key for key in self.keys]

    def behind(self, place: Sequence[Any]) -> ColumnElement[bool]:
        bound = [literal(value, key.type) for key, value in zip(self.keys, place, strict=True)]
        strictly, loosely = (operator.lt, operator.le) if self.descends else (operator.gt, operator.ge)
        if len(bound) == 1:
            return and_(strictly(self.keys[0], bound[0]))
        # the first key once more, by itself: SQLite takes no pair to an index that has an expression
        return and_(loosely(self.keys[0], bound[0]), strictly(tuple_(*self.keys), tuple_(*bound)))


def version_facet(task: str, key: ColumnElement[str]) -> GridFacet:
    """Return what tells items apart by the extractor of the last answer that was applied and stands."""
    last = answers.last_of_item(task, key, "extractor")
    return GridFacet(last, lambda cell: () if cell is None else (cell,), partial(answers.is_by, last))


def tag_facet(tx: Connection, task: str, key: ColumnElement[str]) -> GridFacet:
    """Return what tells items apart by the texts in the lists of their last answers."""
    last = answers.last_of_item(task, key, "answer")
    return GridFacet(last, _tags, partial(says_text, tx, last))


def answers_shown(
    task: str, fields: Mapping[str, str], *, whose: str, prefer: Sequence[str], label: str
) -> GridAnswers:
    """Return columns with the answer that an export has of an item, of one that is not in it the next best one.

    `fields` are those of the answers, by the names of the columns, and the column `whose` has the extractor.
    """

    def values(tx: Connection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        rank = versions.ranks(tx, task, prefer=prefer, label=label)
        found = answers.last_applied(tx, task, ids, rank=rank)
        documents = ((key, by, json.loads(text)) for key, (by, text) in found.items())
        return {
            key: {whose: by, **{name: one.get(field) for name, field in fields.items()}} for key, by, one in documents
        }

    return GridAnswers((*fields, whose), values)


def _tags(cell: str | None) -> set[str]:
    return set() if cell is None else set(_members(json.loads(cell)))


def _members(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for one in value.values():
            yield from _members(one)
    elif isinstance(value, list):
        for one in value:
            if isinstance(one, str):
                yield one
            else:
                yield from _members(one)


def says_text(tx: Connection, cell: ColumnElement[Any], word: str) -> ColumnElement[bool]:
    """Return the condition that a text holds a word as a string of JSON, however that was written."""
    place = func.instr if is_sqlite(tx) else func.strpos
    plain = json.dumps(word, ensure_ascii=False)
    forms = dict.fromkeys((plain, json.dumps(word), plain.replace("/", "\\/")))
    return or_(*(place(cast(cell, Text), form) > 0 for form in forms))


def _given(found: Any, words: str) -> Any:
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


def _most_common(found: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0]))[:MOST])
