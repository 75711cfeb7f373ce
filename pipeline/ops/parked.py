"""Who, or which items of another task, is parked and why, and letting them go again."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pipeline.core.errors import InputError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import table
from pipeline.experts.adopt import settle_foreign
from pipeline.store import answers

if TYPE_CHECKING:
    from pipeline.store.database import Connection


@dataclass(frozen=True)
class ParkedItem:
    """One parked item: the name it goes by, the reason, whether it is foreign text that stays, and since when."""

    name: str
    reason: str
    foreign_text: bool
    since: datetime


def list_parked(ws: OpenWorkspace) -> list[ParkedItem]:
    """Return everyone who is parked, longest first."""
    with ws.store.read() as tx:
        rows = answers.parked_rows(tx, ws.task.name)
        names = ws.task.names(tx, [row[0] for row in rows])
    return [ParkedItem(names.get(key, key), reason, foreign, since) for key, reason, foreign, since in rows]


def unpark_items(ws: OpenWorkspace, *, name: str | None, everyone: bool, confirm: Callable[[str], bool]) -> list[str]:
    """Let one item or all of the task go again, and return their names. Foreign text stays parked.

    Raises:
        InputError: neither or both were asked for, nothing has that name, or it was not confirmed.
    """
    if (name is None) == (not everyone):
        raise InputError(
            "say who: one by name, or --all for everyone", hint=f"`{ws.task.words.make('parked')}` lists them"
        )
    if ws.task.name == table.TASK:
        with ws.store.write() as tx:
            settle_foreign(tx)
    with ws.store.read() as tx:
        ids = None if name is None else [_id_of(ws, tx, name)]
        free = [row for row in answers.parked_rows(tx, ws.task.name) if not row[2] and (ids is None or row[0] in ids)]
    if not free:
        return []
    if everyone and not confirm(f"Let {len(free)} parked {ws.task.words.many} be asked again?"):
        raise InputError("not confirmed; nobody was let go", hint="YES=1 answers yes")
    with ws.store.write() as tx:
        gone = answers.unpark(tx, ws.task.name, ids=ids)
        names = ws.task.names(tx, gone)
    return sorted(names.get(key, key) for key in gone)


def _id_of(ws: OpenWorkspace, tx: "Connection", name: str) -> str:
    """Return the id of the item that people know by a name.

    Raises:
        InputError: there is none.
    """
    if ws.task.name == table.TASK:
        return str(table.by_username(tx, name)["id"])
    if name not in ws.task.names(tx, [name]):
        words = ws.task.words
        raise InputError(f"there is no {words.one} {name!r}", hint=f"`{words.make('parked')}` lists those that are")
    return name
