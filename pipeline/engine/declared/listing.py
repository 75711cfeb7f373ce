"""List the rows of a declared task with their states: those that hold some words, or the one that is wanted."""

from typing import TYPE_CHECKING

from sqlalchemy import Table, select

from pipeline.core.errors import InputError
from pipeline.core.task import ItemsWanted, ListedItem
from pipeline.store.tasks import TaskRecord
from pipeline.tables.items import SEEN
from pipeline.tables.rows import ItemStates, mentions

if TYPE_CHECKING:
    from pipeline.store.database import Connection

UNUSABLE = "unusable"  # the state of a row that has an image which cannot be asked about
WHY = "why unusable"  # under which the reason is shown


def list_rows(
    tx: "Connection", record: TaskRecord, table: Table, states: ItemStates, wanted: ItemsWanted
) -> list[ListedItem]:
    """Return rows in the order in which they were first seen, looked for in all their columns.

    Raises:
        InputError: the state that is wanted is none of them.
    """
    mine = table.c
    if wanted.state and wanted.state not in states.names:
        raise InputError(f"no item is ever {wanted.state!r} here", hint=f"the states are {', '.join(states.names)}")
    state = states.of_row(tx, mine.findable_key, record.name, now=wanted.now)
    names = _shown(record) if wanted.only is None else list(record.columns)
    told_why = SEEN[-1] in mine and (wanted.only is not None or wanted.state == UNUSABLE)
    told = (mine.findable_key, state, mine.findable_hash, mine.findable_changed_at)
    searched = [mine.findable_key, *(mine[name] for name in record.columns)]
    shown = [*(mine[name] for name in names), *([mine[SEEN[-1]]] if told_why else [])]
    names += [WHY] * told_why
    query = select(*told, *shown).order_by(mine.findable_row).limit(wanted.limit)
    query = query.where(*(mentions(tx, searched, word) for word in wanted.words))
    if wanted.only is not None:
        query = query.where(mine.findable_key == wanted.only)
    if wanted.state:
        query = query.where(state == wanted.state)
    if wanted.after is not None:
        other = table.alias().c
        row = select(other.findable_row).where(other.findable_key == wanted.after).scalar_subquery()
        query = query.where(mine.findable_row > row)
    return [
        ListedItem(key, of_row, dict(zip(names, cells, strict=True)), *changed)
        for key, of_row, *changed, cells in ((*row[:4], row[4:]) for row in tx.execute(query))
    ]


def _shown(record: TaskRecord) -> list[str]:
    """Return the columns that a list shows: those of the key, and those that are asked about."""
    keys = [name for name, _ in record.key if name in record.columns]
    return list(dict.fromkeys([*keys, *record.words.get("images", ()), *record.words.get("asked", ())]))
