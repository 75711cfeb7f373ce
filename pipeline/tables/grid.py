"""List the items of a task as a person wants them: some of them, in some order, page by page behind an item.

No rows are counted off to find a page: it begins behind what the last item of the page before is sorted by.
"""

import json
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Text, and_, cast, func, literal, or_, select, tuple_

from pipeline.core.errors import InputError
from pipeline.core.listed import ItemCounts, ItemFilter, ItemsPage, ItemsWanted, ListedItem
from pipeline.store import answers
from pipeline.store.database import streamed
from pipeline.tables.item_table import ItemTable
from pipeline.tables.reflect import is_sqlite
from pipeline.tables.rows import mentions

COUNTED = 100_000  # rows up to which they are counted by tags and versions, too
MOST = 50  # tags and versions that are told
PAGE = 2_000
HASH, CHANGED = "findable_hash", "findable_changed_at"  # cells of tables that keep them


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
    is `searched`. `score` is a number that is never NULL, below 0 where there is none.
    """

    table: ItemTable
    cells: Sequence[str]
    columns: Mapping[str, Callable[[Mapping[str, Any]], Any]]
    usual: Sequence[str]
    searched: Sequence[ColumnElement[Any]]
    in_state: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sorts: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)
    score: ColumnElement[Any] | None = None
    tags: GridFacet | None = None
    versions: GridFacet | None = None
    more: Sequence[str] = ()
    more_of: Callable[[Connection, Sequence[str]], Mapping[str, Mapping[str, Any]]] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all columns that can be shown."""
        return (*self.columns, *self.more)

    def page(self, tx: Connection, wanted: ItemsWanted) -> ItemsPage:
        """Return the items that are wanted, in their order, by few queries.

        Raises:
            InputError: there is no such item, state, sort or column, or the items have no tags, versions or scores.
        """
        keys, descends, fields = self._order(wanted.sort), (wanted.sort or "").startswith("-"), self._fields(wanted)
        conditions = self.conditions(tx, wanted.which)
        if wanted.only is not None:
            conditions.append(self._is(wanted.only))
        if wanted.after is not None:
            conditions.append(self._is_behind(tx, wanted.after, keys, descends=descends))
        query = select(self.table.item_id, self.table.state, *(self.table.table.c[name] for name in self.cells))
        query = query.where(*conditions).order_by(*(one.desc() if descends else one for one in keys))
        rows = tx.execute(query.limit(wanted.limit + 1)).all()
        ids = [row[0] for row in rows[: wanted.limit]]
        more = self.more_of(tx, ids) if self.more_of and not set(self.more).isdisjoint(fields) else {}
        items = []
        for key, state, *found in rows[: wanted.limit]:
            row, own = dict(zip(self.cells, found, strict=True)), more.get(key, {})
            shown = {name: self.columns[name](row) if name in self.columns else own.get(name) for name in fields}
            items.append(ListedItem(key, state, shown, row.get(HASH), row.get(CHANGED)))
        return ItemsPage(items, ids[-1] if len(rows) > wanted.limit else None, fields)

    def pages(self, tx: Connection, wanted: ItemsWanted) -> Iterator[ItemsPage]:
        """Yield one page after the other to the last."""
        page = self.page(tx, wanted)
        yield page
        while page.after is not None:
            page = self.page(tx, wanted._replace(after=page.after))
            yield page

    def conditions(self, tx: Connection, which: ItemFilter) -> list[ColumnElement[bool]]:
        """Return the conditions that a row is of the items that are wanted."""
        states = self.table.states
        found = [mentions(tx, self.searched, word) for word in which.words]
        if which.state:
            if which.state not in states.names:
                known = ", ".join(states.names)
                raise InputError(f"no item is ever {which.state!r} here", hint=f"the states are {known}")
            found.append(self.table.state == which.state)
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
        """Return how many items there are as they are wanted; by tags and versions where the table is not too large."""
        conditions, state = self.conditions(tx, which), self.table.state
        query = select(state, func.count()).select_from(self.table.table).where(*conditions).group_by(state)
        found = {row[0]: row[1] for row in tx.execute(query)}
        states = {name: found.get(name, 0) for name in self.table.states.names}
        facets = {"tags": self.tags, "versions": self.versions} if self.table.has_at_most(tx, COUNTED) else {}
        told: dict[str, dict[str, int]] = {}
        for name, facet in ((name, facet) for name, facet in facets.items() if facet is not None):
            tally = Counter[str]()
            cells = select(facet.cell).select_from(self.table.table).where(*conditions)
            for (cell,) in streamed(tx, cells, page=PAGE):
                tally.update(set(facet.words(cell)))
            told[name] = dict(sorted(tally.items(), key=lambda one: (-one[1], one[0]))[:MOST])
        return ItemCounts(sum(states.values()), states, told.get("tags"), told.get("versions"))

    def _order(self, sort: str | None) -> list[ColumnElement[Any]]:
        """Return what rows are sorted by; the last is each row's own."""
        own = self.table.table.c[self.table.order]
        if not sort:
            return [own]
        name = sort.removeprefix("-")
        if name not in self.sorts:
            known = f"SORT= takes {', '.join(self.sorts)}, with - before it the largest first"
            raise InputError(f"there is no sorting by {name!r}", hint=known if self.sorts else "leave out SORT=")
        return [self.sorts[name], own]

    def _is(self, item_id: str) -> ColumnElement[bool]:
        return self.table.table.c[self.table.key].in_(self.table.ids.native([item_id]))

    def _is_behind(
        self, tx: Connection, after: str, keys: Sequence[ColumnElement[Any]], *, descends: bool
    ) -> ColumnElement[bool]:
        here = tx.execute(select(*keys).where(self._is(after)).limit(1)).first()
        if here is None:
            raise InputError(f"there is no item {after!r} to go on behind", hint="leave out AFTER=")
        bound = [literal(value, key.type) for key, value in zip(keys, here, strict=True)]
        strictly, loosely = (operator.lt, operator.le) if descends else (operator.gt, operator.ge)
        # the first key once more, by itself: SQLite takes no pair to an index that has an expression
        return and_(loosely(keys[0], bound[0]), strictly(tuple_(*keys), tuple_(*bound)))

    def _fields(self, wanted: ItemsWanted) -> Sequence[str]:
        if wanted.only is not None:
            return tuple(self.columns)
        if wanted.fields is None:
            return (*self.usual, *self.in_state.get(wanted.which.state or "", ()))
        for name in wanted.fields:
            if name not in self.names:
                raise InputError(f"there is no column {name!r} to show", hint=f"there are {', '.join(self.names)}")
        return tuple(dict.fromkeys(wanted.fields))


def version_facet(task: str, key: ColumnElement[str]) -> GridFacet:
    """Return what tells items apart by the extractor of the last answer that was applied and stands."""
    last = answers.last_of_item(task, key, "extractor")
    return GridFacet(last, lambda cell: () if cell is None else (cell,), partial(answers.is_by, last))


def tag_facet(tx: Connection, task: str, key: ColumnElement[str]) -> GridFacet:
    """Return what tells items apart by the texts in the lists of their last answers."""
    last = answers.last_of_item(task, key, "answer")
    return GridFacet(
        last, lambda cell: () if cell is None else _members(json.loads(cell)), partial(says_text, tx, last)
    )


def answers_of(
    task: str,
    fields: Mapping[str, str],
    tx: Connection,
    ids: Sequence[str],
    *,
    whose: str,
    prefer: Sequence[str],
    label: str,
) -> dict[str, dict[str, Any]]:
    """Return the answer that an export has of each item, of one that is not in it the next best one.

    `fields` are those of the answers, by the names of the columns, and the column `whose` has the extractor.
    """
    found = answers.last_applied(tx, task, ids, rank=answers.ranks(tx, task, prefer=prefer, label=label))
    documents = ((key, by, json.loads(text)) for key, (by, text) in found.items())
    return {key: {whose: by, **{name: one.get(field) for name, field in fields.items()}} for key, by, one in documents}


def says_text(tx: Connection, cell: ColumnElement[Any], word: str) -> ColumnElement[bool]:
    """Return the condition that a text holds a word as a string of JSON, however that was written."""
    place = func.instr if is_sqlite(tx) else func.strpos
    plain = json.dumps(word, ensure_ascii=False)
    forms = dict.fromkeys((plain, json.dumps(word), plain.replace("/", "\\/")))
    return or_(*(place(cast(cell, Text), form) > 0 for form in forms))


def _members(value: Any) -> Iterator[str]:
    """Yield the texts in the lists of a document, at any depth."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inside:
        if isinstance(one, str) and isinstance(value, list):
            yield one
        else:
            yield from _members(one)


def _given(found: Any, words: str) -> Any:
    if found is None:
        raise InputError(f"the items of this task have no {words}")
    return found
