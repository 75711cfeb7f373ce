"""Who is parked and why, and letting them go again."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pipeline.errors import InputError
from pipeline.experts import adoption, table
from pipeline.runtime import Runtime
from pipeline.store import answers


@dataclass(frozen=True)
class Parked:
    """One parked person: username, the reason, whether it is foreign text that stays, and since when."""

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


def let_go(rt: Runtime, *, username: str | None, everyone: bool, confirm: Callable[[str], bool]) -> list[str]:
    """Let one person or everyone go again, and return the usernames. Foreign text stays parked.

    Raises:
        InputError: neither or both were asked for, nobody has that username, or it was not confirmed.
    """
    if (username is None) == (not everyone):
        raise InputError("say who: a username, or --all for everyone", hint="`findable parked` lists them")
    with rt.store.write() as tx:
        adoption.settle_foreign(tx)
    with rt.store.read() as tx:
        ids = None if username is None else [str(table.by_username(tx, username)["id"])]
        free = [row for row in answers.parked_rows(tx, rt.task.name) if not row[2] and (ids is None or row[0] in ids)]
    if not free:
        return []
    if everyone and not confirm(f"Let {len(free)} parked people be asked again?"):
        raise InputError("not confirmed; nobody was let go", hint="`findable unpark --all --yes` answers yes")
    with rt.store.write() as tx:
        gone = answers.unpark(tx, rt.task.name, ids=ids)
        names = rt.task.names(tx, gone)
    return sorted(names.get(key, key) for key in gone)
