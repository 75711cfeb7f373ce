"""Find and write rows of a table that another program may have made."""

import contextlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, Text, and_, case, cast, exc, false, func, literal, or_, select

from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.task import ItemsWanted
from pipeline.store import answers, claims
from pipeline.store.database import among, describe_error, pages
from pipeline.tables.columns import Ids
from pipeline.tables.reflect import is_sqlite

WHITE = "".join(chr(n) for n in range(0x3001) if chr(n).isspace())  # what str.strip() takes away, for SQL's trim
MISMATCH = "foreign key mismatch"  # SQLite's words where a table refers to no key
RAISED = "P0"  # how the SQLSTATE begins of what a trigger raises
GENERATED = "428C9"  # SQLSTATE: the column takes no value but those that the database gives it


def rows_among(
    tx: Connection,
    key: ColumnElement[Any],
    values: Sequence[Any],
    columns: Iterable[ColumnElement[Any]],
    *conditions: ColumnElement[bool],
    locked: bool = False,
) -> Iterator[Sequence[Any]]:
    """Yield some columns of the rows whose key is one of any number of values, of which all conditions hold.

    Rows that are `locked` are changed by no other transaction until this one ends.
    """
    for some in pages(values):
        query = select(*columns).where(among(tx, key, some), *conditions)
        yield from tx.execute(query.with_for_update() if locked else query)


def has_words(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a cell holds more than white space."""
    return and_(column.is_not(None), func.trim(cast(column, Text), WHITE) != "")


def holds(tx: Connection, columns: Iterable[ColumnElement[Any]], words: str, *conditions: ColumnElement[bool]) -> bool:
    """Return whether a text stands in some columns of a row of which all conditions hold; reads all of them."""
    place = func.instr if is_sqlite(tx) else func.strpos
    held = or_(*(place(cast(column, Text), words) > 0 for column in columns))
    return tx.execute(select(literal(1)).where(held, *conditions).limit(1)).first() is not None


class ItemStates(NamedTuple):
    """What tells the states of a task's items: `done` and `pending` are names with conditions, `rest` is another name.

    `parked` is a condition beside the parked items; `others` come before what is pending.
    """

    done: tuple[str, ColumnElement[bool]]
    pending: tuple[str, ColumnElement[bool]]
    rest: str
    parked: ColumnElement[bool] | None = None
    others: tuple[tuple[str, ColumnElement[bool]], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all states, in the order in which they are counted."""
        return (self.done[0], self.pending[0], self.rest, "claimed", "parked", *(name for name, _ in self.others))

    def of_row(self, tx: Connection, key: ColumnElement[Any], task: str, *, now: datetime) -> ColumnElement[str]:
        """Return a row's state as an expression, by the id of its item.

        A live claim whose process is dead at `now` counts no more.
        """
        key = cast(key, Text)
        claimed = and_(key.in_(claims.claimed_ids(task)), key.not_in(claims.dead_claims(tx, task, now=now)))
        held_back = or_(false() if self.parked is None else self.parked, key.in_(answers.parked_ids(task)))
        ways: tuple[tuple[ColumnElement[bool], str], ...] = (
            (self.done[1], self.done[0]),
            (claimed, "claimed"),
            (held_back, "parked"),
        )
        ways += tuple((condition, name) for name, condition in self.others)
        return case(*ways, (self.pending[1], self.pending[0]), else_=self.rest)


def count_item_states(
    tx: Connection, key: ColumnElement[Any], task: str, states: ItemStates, *, now: datetime
) -> dict[str, int]:
    """Return the total and {done, pending, rest, claimed, parked, …}, which are disjoint and add up to it.

    `key` is the column of the items' ids.
    """
    kind = states.of_row(tx, key, task, now=now)
    found = {row[0]: row[1] for row in tx.execute(select(kind, func.count(key)).group_by(kind))}
    parts = {name: found.get(name, 0) for name in states.names}
    return {"total": sum(parts.values()), **parts}


def mentions(tx: Connection, columns: Iterable[ColumnElement[Any]], word: str) -> ColumnElement[bool]:
    """Return the condition that a word stands in one of some columns, in any case."""
    place = func.instr if is_sqlite(tx) else func.strpos
    cases = (word, word.lower(), word.upper(), word.title())  # SQLite's lower() knows ASCII alone
    written = (_ascii_lower(unicodedata.normalize(way, one)) for one in cases for way in ("NFC", "NFD"))
    forms = dict.fromkeys(written)
    return or_(*(place(func.lower(cast(column, Text)), form) > 0 for column in columns for form in forms))


def list_items(
    tx: Connection,
    table: Table,
    columns: Mapping[str, ColumnElement[Any]],
    states: tuple[ColumnElement[str], Sequence[str]],
    wanted: ItemsWanted,
    *,
    searched: Sequence[ColumnElement[Any]],
    ids: Ids,
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (id, state, columns by name) of the rows that are wanted, in the order of ids; all words must be found.

    `states` are a row's own, as an expression, and the names of all.

    Raises:
        InputError: the state that is wanted is none of them.
    """
    state, names = states
    query = select(cast(table.c.id, Text), state, *columns.values()).order_by(table.c.id).limit(wanted.limit)
    if wanted.state and wanted.state not in names:
        raise InputError(f"no item is ever {wanted.state!r} here", hint=f"the states are {', '.join(names)}")
    query = query.where(*(mentions(tx, searched, word) for word in wanted.words))
    if wanted.state:
        query = query.where(state == wanted.state)
    if wanted.only is not None:
        query = query.where(table.c.id.in_(ids.native([wanted.only])))
    if wanted.after is not None:
        others = table.alias()
        row = select(others.c.id).where(others.c.id.in_(ids.native([wanted.after]))).limit(1).scalar_subquery()
        query = query.where(table.c.id > row)
    for key, of_row, *cells in tx.execute(query):
        yield key, of_row, dict(zip(columns, cells, strict=True))


def _ascii_lower(text: str) -> str:
    return "".join(char.lower() if char.isascii() else char for char in text)


@contextlib.contextmanager
def refusals(table: str) -> Iterator[None]:
    """Turn a row that a table of another program refuses into an error that says what can be done.

    Raises:
        ConfigurationError: one is refused.
    """
    try:
        yield
    except exc.DBAPIError as error:
        if not is_refusal(error):
            raise
        raise ConfigurationError(
            f"the table {table} of this database refuses a row: {describe_error(error)}; nothing was changed",
            hint="give its own columns defaults and room, its sequence a start past every id, or use another database",
        ) from error


def is_refusal(error: exc.DBAPIError) -> bool:
    """Return whether a rule of the table's owner stopped a statement: a constraint, a type, or a trigger."""
    state = str(getattr(error.orig, "sqlstate", ""))
    is_rule = isinstance(error, exc.IntegrityError | exc.DataError) or state.startswith(RAISED) or state == GENERATED
    return is_rule or MISMATCH in str(error.orig)
