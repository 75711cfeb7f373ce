"""Keep what people said: which values they merged, and what they wrote in the place of an item's answer.

A merge is a line of the journal, in force until it is undone, and holds for answers that come later, too. What was
written for one item is an answer of the extractor `person`, which outranks every model's; an item's edits count from 1,
and stay. Where all of them are undone none is applied any more, and what models said counts.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from pipeline.store import workspace
from pipeline.store.answers import PERSON
from pipeline.store.schema import answers

MERGE = "merge "  # the journal's kinds, before the task
UNDONE = "undone merge "


class TagMerge(NamedTuple):
    """One merge of a value into another; times are aware, `undone_at` is None while it is in force."""

    number: int
    old: str
    new: str
    who: str
    at: datetime
    undone_by: str | None
    undone_at: datetime | None


class AnswerEdit(NamedTuple):
    """One edit of an item; `before` and `after` are answers, `undoes` is the number of another edit."""

    number: int
    who: str
    at: datetime
    before: dict[str, Any]  # empty where there was no answer
    after: dict[str, Any]
    undoes: int | None


def add_merge(tx: Connection, task: str, old: str, new: str, *, who: str, at: datetime) -> int:
    """Put a merge into force, and return its number."""
    workspace.record_event(tx, f"{MERGE}{task}", old, old=None, new=new, why=who, at=at)
    return len(list_merges(tx, task))


def undo_merge(tx: Connection, task: str, number: int, *, who: str, at: datetime) -> bool:
    """Put a merge out of force; false where there is none of that number, or it was undone."""
    is_there = any(one.number == number and one.undone_at is None for one in list_merges(tx, task))
    if is_there:
        workspace.record_event(tx, f"{UNDONE}{task}", number, old=None, new=None, why=who, at=at)
    return is_there


def list_merges(tx: Connection, task: str) -> list[TagMerge]:
    """Return every merge of a task's values, oldest first, which count from 1; also those that were undone."""
    undone = {
        int(one["name"]): (one["why"], one["at"])
        for one in workspace.events_of(tx, f"{UNDONE}{task}")
    }
    return [
        TagMerge(
            number,
            one["name"],
            one["new"],
            one["why"],
            one["at"],
            *undone.get(number, (None, None)),
        )
        for number, one in enumerate(workspace.events_of(tx, f"{MERGE}{task}"), start=1)
    ]


def rules_in_force(tx: Connection, task: str) -> dict[str, str]:
    """Return into which value each merged one goes in the end; in a write no other changes them until it ends."""
    return resolved({one.old: one.new for one in list_merges(tx, task) if one.undone_at is None})


def resolved(rules: Mapping[str, str]) -> dict[str, str]:
    """Return for each value the last of the chain that begins with it; a value in a circle stays itself."""
    found = {}
    for old in rules:
        seen = {old}
        new = rules[old]
        while new in rules and new not in seen:
            seen.add(new)
            new = rules[new]
        if new not in seen:
            found[old] = new
    return found


def merged(values: Sequence[str], rules: Mapping[str, str]) -> list[str]:
    """Return values as the rules have them, each once, where it first stands."""
    return list(dict.fromkeys(rules.get(one, one) for one in values))


def list_edits(tx: Connection, task: str, item_id: str) -> list[AnswerEdit]:
    """Return every edit of an item, oldest first."""
    columns = (answers.c.who, answers.c.at, answers.c.before, answers.c.answer, answers.c.undoes)
    query = select(*columns).where(*_by_hand(task, item_id)).order_by(answers.c.id)
    return [
        AnswerEdit(
            number,
            row.who,
            row.at,
            json.loads(row.before) or {},
            json.loads(row.answer),
            row.undoes,
        )
        for number, row in enumerate(tx.execute(query), start=1)
    ]


def add_edit(
    tx: Connection, task: str, item_id: str, edit: AnswerEdit, *, input_hash: str, stands: bool
) -> None:
    """Keep an edit, as the answer to the input of a hash; where it does not `stand`, none of the item's does."""
    given = {
        "task": task,
        "item_id": item_id,
        "extractor": PERSON,
        "applied": stands,
        "input_hash": input_hash,
    }
    blank = dict.fromkeys(("model_version", "response_id"), "") | dict.fromkeys(
        ("tokens_in", "tokens_out", "cost"), 0
    )
    said = {
        "answer": _json(edit.after),
        "before": _json(edit.before),
        "who": edit.who,
        "undoes": edit.undoes,
    }
    tx.execute(insert(answers).values(**given, **blank, **said, at=edit.at))
    if not stands:
        tx.execute(update(answers).where(*_by_hand(task, item_id)).values(applied=False))


def _json(answer: Mapping[str, Any]) -> str:
    return json.dumps(answer, ensure_ascii=False)


def drop_edits(tx: Connection, task: str, item_id: str) -> None:
    """Delete what was ever said of an item by hand."""
    tx.execute(delete(answers).where(*_by_hand(task, item_id)))


def _by_hand(task: str, item_id: str) -> Sequence[ColumnElement[bool]]:
    return answers.c.task == task, answers.c.item_id == item_id, answers.c.extractor == PERSON
