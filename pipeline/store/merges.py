"""Keep which values a person merged, by whom and when, and what each item had before.

A merge is in force until it is undone: it holds for answers that come later, too. What an item had stands beside what
was written, so that any merge can be undone in any order.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from pipeline.store import database
from pipeline.store.database import PAGE, among, pages, streamed
from pipeline.store.hand_tables import merged_items, merges


class Merge(NamedTuple):
    """One merge of a value into another; times are aware, `undone_at` is None while it is in force."""

    number: int
    old: str
    new: str
    who: str
    at: datetime
    undone_by: str | None
    undone_at: datetime | None

    def cells(self) -> tuple[str, ...]:
        """Return it as a line of a table: number, from, into, who, when, undone when and by whom."""
        undone = "" if self.undone_at is None else f"{self.undone_at:%Y-%m-%d %H:%M} {self.undone_by}"
        return (str(self.number), self.old, self.new, self.who, f"{self.at:%Y-%m-%d %H:%M}", undone)


class MergedItem(NamedTuple):
    """The values of an item before any merge, and what was written in their place."""

    given: list[str]
    merged: list[str]


def hold_merges(tx: Connection) -> None:
    """Keep other transactions from merging, and from writing answers that are to be merged, until this one ends."""
    if tx.dialect.name == "postgresql":  # on SQLite one process writes at a time
        tx.exec_driver_sql(f"LOCK TABLE {merges.name} IN SHARE ROW EXCLUSIVE MODE")


def add_merge(tx: Connection, task: str, old: str, new: str, *, who: str, at: datetime) -> int:
    """Put a merge into force, and return its number; the merges are held."""
    number = database.next_value(tx, merges.c.number)
    values = {"number": number, "task": task, "old": old, "new": new, "who": who, "at": at}
    tx.execute(insert(merges).values(values))
    return number


def undo_merge(tx: Connection, task: str, number: int, *, who: str, at: datetime) -> bool:
    """Put a merge out of force; false where there is none of that number, or it was undone."""
    here = (merges.c.task == task) & (merges.c.number == number) & merges.c.undone_at.is_(None)
    return bool(tx.execute(update(merges).where(here).values(undone_by=who, undone_at=at)).rowcount)


def list_merges(tx: Connection, task: str) -> list[Merge]:
    """Return every merge of a task's values, oldest first; also those that were undone."""
    query = select(*(merges.c[name] for name in Merge._fields)).where(merges.c.task == task)
    return [Merge._make(row) for row in tx.execute(query.order_by(merges.c.number))]


def rules_in_force(tx: Connection, task: str, *, held: bool = False) -> dict[str, str]:
    """Return into which value each merged one goes in the end.

    Rules that are `held` change only after this transaction, so that no answer goes past a merge.
    """
    if held and tx.dialect.name == "postgresql":
        tx.exec_driver_sql(f"LOCK TABLE {merges.name} IN SHARE MODE")
    return resolved({one.old: one.new for one in list_merges(tx, task) if one.undone_at is None})


def resolved(rules: Mapping[str, str]) -> dict[str, str]:
    """Return for each value the last of the chain that begins with it; a value in a circle stays itself."""
    found = {}
    for old in rules:
        seen, new = {old}, rules[old]
        while new in rules and new not in seen:
            seen.add(new)
            new = rules[new]
        if new not in seen:
            found[old] = new
    return found


def merged_values(values: Sequence[str], rules: Mapping[str, str]) -> list[str]:
    """Return values as the rules have them, each once, where it first stands."""
    return list(dict.fromkeys(rules.get(one, one) for one in values) if rules else dict.fromkeys(values))


def merged_among(tx: Connection, task: str, ids: Sequence[str]) -> dict[str, MergedItem]:
    """Return which of these items hold merged values, as they were written."""
    query = select(merged_items).where(merged_items.c.task == task)
    found = (tx.execute(query.where(among(tx, merged_items.c.item_id, some))) for some in pages(ids))
    return {row.item_id: _item(row) for rows in found for row in rows}


def every_merged(tx: Connection, task: str) -> Iterator[tuple[str, MergedItem]]:
    """Yield each item that holds merged values, with these."""
    for row in streamed(tx, select(merged_items).where(merged_items.c.task == task), page=PAGE):
        yield row.item_id, _item(row)


def keep_merged(tx: Connection, task: str, items: Mapping[str, tuple[list[str], list[str]]]) -> None:
    """Keep what items had and what was written (see `MergedItem`); those that no merge changes are not kept."""
    drop_merged(tx, task, list(items))
    names = ("task", "item_id", "given", "merged")
    rows = [(task, key, _json(given), _json(merged)) for key, (given, merged) in items.items() if given != merged]
    database.insert_rows(tx, merged_items, names, rows)


def drop_merged(tx: Connection, task: str, ids: Sequence[str]) -> None:
    """Delete what these items had before they were merged."""
    if tx.execute(select(merged_items.c.task).where(merged_items.c.task == task).limit(1)).first() is None:
        return  # as nearly always
    for some in pages(ids):
        tx.execute(delete(merged_items).where(merged_items.c.task == task, among(tx, merged_items.c.item_id, some)))


def stands_in_merged(tx: Connection, task: str, text: str) -> bool:
    """Return whether a text stands in what an item had before."""
    held = or_(*(merged_items.c[name].contains(text, autoescape=True) for name in ("given", "merged")))
    return (
        tx.execute(select(merged_items.c.item_id).where(merged_items.c.task == task, held).limit(1)).first() is not None
    )


def _item(row: Row[Any]) -> MergedItem:
    return MergedItem(json.loads(row.given), json.loads(row.merged))


def _json(values: Sequence[str]) -> str:
    return json.dumps(values, ensure_ascii=False)
