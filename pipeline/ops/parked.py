"""List the items that are parked, and why; let them be asked again."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pipeline.core.errors import InputError
from pipeline.engine.task import Task
from pipeline.engine.workspace import OpenWorkspace
from pipeline.store import asks
from pipeline.store.database import Store


@dataclass(frozen=True)
class ParkedItem:
    """One parked item: the name it goes by, the reason, whether it is foreign text that stays, and since when."""

    name: str
    reason: str
    foreign_text: bool
    since: datetime


def list_parked(store: Store, task: Task) -> list[ParkedItem]:
    """Return every parked item of the task, longest first."""
    with store.read() as tx:
        rows = asks.parked_rows(tx, task.name, own=task.own)
        names = task.table(tx).names(tx, [row[0] for row in rows])
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
    task = ws.task
    with ws.store.write() as tx:
        ws.task.settle_foreign(tx)
    with ws.store.read() as tx:
        ids = None if name is None else [task.id_of(tx, name)]
        free = [
            row
            for row in asks.parked_rows(tx, task.name, own=task.own)
            if not row[2] and (ids is None or row[0] in ids)
        ]
    if not free:
        return []
    if everyone and not confirm(f"Let {len(free)} parked {task.words.many} be asked again?"):
        raise InputError("not confirmed; nothing was let go", hint="YES=1 answers yes")
    with ws.store.write() as tx:
        unparked = asks.unpark(tx, task.name, own=task.own, ids=ids)
        names = task.table(tx).names(tx, unparked)
    return sorted(names.get(key, key) for key in unparked)
