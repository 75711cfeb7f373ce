"""Keep what people said: which values they merged, and what they wrote in the place of an item's answer.

A merge is in force until it is undone, and holds for answers that come later, too. What was written for one item is an
answer of the extractor `person`, which outranks every model's; an item's edits count from 1, and stay.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

from pipeline.store import database
from pipeline.store.answers import PERSON
from pipeline.store.tables import answers, edits, merges


class Merge(NamedTuple):
    """One merge of a value into another; times are aware, `undone_at` is None while it is in force."""

    number: int
    old: str
    new: str
    who: str
    at: datetime
    undone_by: str | None
    undone_at: datetime | None


class Edit(NamedTuple):
    """One edit of an item; `before` and `after` are JSON as of an answer, `undoes` is the number of another edit."""

    number: int
    who: str
    at: datetime
    before: str
    after: str
    undoes: int | None


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


def merged(values: Sequence[str], rules: Mapping[str, str]) -> list[str]:
    """Return values as the rules have them, each once, where it first stands."""
    return list(dict.fromkeys(rules.get(one, one) for one in values))


def list_edits(tx: Connection, task: str, item_id: str) -> list[Edit]:
    """Return every edit of an item, oldest first."""
    columns = (edits.c.who, answers.c.at, edits.c.before, answers.c.answer, edits.c.undoes)
    query = select(*columns).join_from(edits, answers).where(answers.c.task == task, answers.c.item_id == item_id)
    return [Edit(number, *row) for number, row in enumerate(tx.execute(query.order_by(answers.c.id)), start=1)]


def add_edit(
    tx: Connection, task: str, item_id: str, answer: str, *, before: str, who: str, undoes: int | None, at: datetime
) -> None:
    """Keep the answer of a person, JSON, which stands in the item's row from this transaction on."""
    given = {"task": task, "item_id": item_id, "extractor": PERSON, "answer": answer, "applied": True, "at": at}
    blank = dict.fromkeys(("input_hash", "model_version", "response_id"), "")
    unpaid = dict.fromkeys(("tokens_in", "tokens_out", "cost"), 0)
    query = insert(answers).values(**given, **blank, **unpaid).returning(answers.c.id)
    key = tx.execute(query).scalar_one()
    tx.execute(insert(edits).values(answer=key, who=who, before=before, undoes=undoes))


def drop_edits(tx: Connection, task: str, item_id: str) -> None:
    """Delete what was ever said of an item by hand."""
    mine = (answers.c.task == task) & (answers.c.item_id == item_id) & (answers.c.extractor == PERSON)
    tx.execute(delete(edits).where(edits.c.answer.in_(select(answers.c.id).where(mine))))
    tx.execute(delete(answers).where(mine))
