"""Who, or which items of another task, is parked and why, and letting them go again."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.experts import table
from pipeline.experts.adopt import settle_foreign
from pipeline.runtime import Runtime
from pipeline.store import answers

if TYPE_CHECKING:
    from pipeline.store.database import Connection


@dataclass(frozen=True)
class Parked:
    """One parked item: the name it goes by, the reason, whether it is foreign text that stays, and since when."""

    name: str
    reason: str
    foreign_text: bool
    since: datetime


def listed(rt: Runtime) -> list[Parked]:
    """Return everyone who is parked, longest first."""
    with rt.store.read() as tx:
        rows = answers.parked_rows(tx, rt.task.name)
        names = rt.task.names(tx, [row[0] for row in rows])
    return [Parked(names.get(key, key), reason, foreign, since) for key, reason, foreign, since in rows]


def let_go(rt: Runtime, *, name: str | None, everyone: bool, confirm: Callable[[str], bool]) -> list[str]:
    """Let one item or all of the task go again, and return their names. Foreign text stays parked.

    Raises:
        InputError: neither or both were asked for, nothing has that name, or it was not confirmed.
    """
    if (name is None) == (not everyone):
        raise InputError(
            "say who: one by name, or --all for everyone", hint=f"`{rt.task.words.make('parked')}` lists them"
        )
    if rt.task.name == table.TASK:
        with rt.store.write() as tx:
            settle_foreign(tx)
    with rt.store.read() as tx:
        ids = None if name is None else [_id_of(rt, tx, name)]
        free = [row for row in answers.parked_rows(tx, rt.task.name) if not row[2] and (ids is None or row[0] in ids)]
    if not free:
        return []
    if everyone and not confirm(f"Let {len(free)} parked {rt.task.words.many} be asked again?"):
        raise InputError("not confirmed; nobody was let go", hint="YES=1 answers yes")
    with rt.store.write() as tx:
        gone = answers.unpark(tx, rt.task.name, ids=ids)
        names = rt.task.names(tx, gone)
    return sorted(names.get(key, key) for key in gone)


def _id_of(rt: Runtime, tx: "Connection", name: str) -> str:
    """Return the id of the item that people know by a name.

    Raises:
        InputError: there is none.
    """
    if rt.task.name == table.TASK:
        return str(table.by_username(tx, name)["id"])
    if name not in rt.task.names(tx, [name]):
        words = rt.task.words
        raise InputError(f"there is no {words.one} {name!r}", hint=f"`{words.make('parked')}` lists those that are")
    return name
