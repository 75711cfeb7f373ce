"""Store what people decided: merges of values, and corrections of answers.

- A merge is two events of the journal: it is in force until it is undone, and applies to later
  answers too.
- A correction is an answer of the version `person`, which has priority over the answers of models.
  The edits of a row are numbered from 1 and are never deleted by an undo. If all edits of a row are
  undone, none is applied, and the answers of models count.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from pipeline.store import workspace
from pipeline.store.answers import PERSON
from pipeline.store.schema import answers

# Kinds of events in the journal; the name of the task follows.
MERGE = "merge "
MERGE_UNDONE = "undone merge "


class TagMerge(NamedTuple):
    """A merge of one value into another. Times are aware."""

    number: int
    old: str
    new: str
    who: str
    at: datetime
    # Both are None while the merge is in force.
    undone_by: str | None
    undone_at: datetime | None


class AnswerEdit(NamedTuple):
    """One edit of the answer of a row."""

    number: int
    who: str
    at: datetime
    # The answer before the edit, empty if there was none.
    before: dict[str, Any]
    after: dict[str, Any]
    # Number of the edit that this edit undoes.
    undoes: int | None


def add_merge(tx: Connection, task: str, old: str, new: str, *, editor: str, now: datetime) -> int:
    """Record a merge of `old` into `new`, and return its number."""
    workspace.record_event(tx, f"{MERGE}{task}", old, old=None, new=new, reason=editor, now=now)
    return len(list_merges(tx, task))


def undo_merge(tx: Connection, task: str, number: int, *, editor: str, now: datetime) -> bool:
    """Record that a merge is undone; return False if it does not exist or is undone already."""
    numbers_in_force = {merge.number for merge in list_merges(tx, task) if merge.undone_at is None}
    if number not in numbers_in_force:
        return False

    workspace.record_event(
        tx,
        f"{MERGE_UNDONE}{task}",
        number,
        old=None,
        new=None,
        reason=editor,
        now=now,
    )
    return True


def list_merges(tx: Connection, task: str) -> list[TagMerge]:
    """Return all merges of a task's values, also undone ones, oldest first, numbered from 1."""
    undo_events = {
        int(event["name"]): event for event in workspace.events_of(tx, f"{MERGE_UNDONE}{task}")
    }
    merges = []
    for number, event in enumerate(workspace.events_of(tx, f"{MERGE}{task}"), start=1):
        undo_event = undo_events.get(number)
        merge = TagMerge(
            number=number,
            old=event["name"],
            new=event["new"],
            who=event["why"],
            at=event["at"],
            undone_by=None if undo_event is None else undo_event["why"],
            undone_at=None if undo_event is None else undo_event["at"],
        )
        merges.append(merge)
    return merges


def active_merge_rules(tx: Connection, task: str) -> dict[str, str]:
    """Return each merged value with the value that finally replaces it.

    In a writing transaction no other process changes the merges until it ends.
    """
    merges = list_merges(tx, task)
    return follow_chains({merge.old: merge.new for merge in merges if merge.undone_at is None})


def follow_chains(rules: Mapping[str, str]) -> dict[str, str]:
    """Follow chains of replacements to their end.

    Args:
        rules: A replacement for each value; the replacement may be replaced, too.

    Returns:
        The last replacement of each value. Values whose chain runs into a circle are left out.
    """
    final_values = {}
    for old in rules:
        visited = {old}
        new = rules[old]
        while new in rules and new not in visited:
            visited.add(new)
            new = rules[new]
        if new not in visited:
            final_values[old] = new
    return final_values


def apply_rules(values: Sequence[str], rules: Mapping[str, str]) -> list[str]:
    """Replace values by the rules, and remove repetitions; the order stays."""
    return list(dict.fromkeys(rules.get(value, value) for value in values))


def list_edits(tx: Connection, task: str, item_id: str) -> list[AnswerEdit]:
    """Return all edits of a row, also undone edits, oldest first, numbered from 1.

    `before` is an empty dict if the row had no answer.
    """
    columns = (answers.c.who, answers.c.at, answers.c.before, answers.c.answer, answers.c.undoes)
    query = select(*columns).where(*_is_correction(task, item_id)).order_by(answers.c.id)
    edits = []
    for number, row in enumerate(tx.execute(query), start=1):
        before = json.loads(row.before) or {}
        after = json.loads(row.answer)
        edits.append(AnswerEdit(number, row.who, row.at, before, after, row.undoes))
    return edits


def add_edit(
    tx: Connection,
    task: str,
    item_id: str,
    edit: AnswerEdit,
    *,
    input_hash: str,
    is_applied: bool,
) -> None:
    """Insert an edit as an answer of the version `person`.

    Args:
        input_hash: Hash of the input of the row.
        is_applied: The correction is applied. If False, all edits of the row are undone.
    """
    tx.execute(
        insert(answers).values(
            task=task,
            item_id=item_id,
            extractor=PERSON,
            applied=is_applied,
            input_hash=input_hash,
            model_version="",
            response_id="",
            tokens_in=0,
            tokens_out=0,
            cost=0,
            answer=_to_json(edit.after),
            before=_to_json(edit.before),
            who=edit.who,
            undoes=edit.undoes,
            at=edit.at,
        ),
    )
    if not is_applied:
        tx.execute(update(answers).where(*_is_correction(task, item_id)).values(applied=False))


def _to_json(answer: Mapping[str, Any]) -> str:
    return json.dumps(answer, ensure_ascii=False)


def delete_edits(tx: Connection, task: str, item_id: str) -> None:
    """Delete all edits of a row."""
    tx.execute(delete(answers).where(*_is_correction(task, item_id)))


def _is_correction(task: str, item_id: str) -> Sequence[ColumnElement[bool]]:
    return answers.c.task == task, answers.c.item_id == item_id, answers.c.extractor == PERSON
