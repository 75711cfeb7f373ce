"""Merges of tags: each is a line of the journal, and so is each undo.

A tag is a text in a list of an answer. A merge replaces a tag by another one in all answers, also
in later ones, until it is undone. Each list has merges of its own, see `make_list_name`.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, select

from askrows.pipeline.store import workspace
from askrows.pipeline.store.schema import events

# Kinds of the journal's lines; the name of the task follows.
MERGE_EVENT = "merge "
MERGE_UNDONE_EVENT = "undone merge "


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


def make_list_name(task: str, field: str) -> str:
    """Return the name by which the journal knows a list: the task and the field."""
    return f"{task} {field}"


def record_merge(
    tx: Connection, task: str, old: str, new: str, *, editor: str, now: datetime
) -> int:
    """Record a merge of `old` into `new`, and return its number."""
    workspace.record_event(
        tx, f"{MERGE_EVENT}{task}", old, old=None, new=new, reason=editor, now=now
    )
    return len(list_merges(tx, task))


def record_merge_undone(
    tx: Connection, task: str, number: int, *, editor: str, now: datetime
) -> bool:
    """Record that a merge is undone; return False if it does not exist or is undone already."""
    numbers_in_force = {merge.number for merge in list_merges(tx, task) if merge.undone_at is None}
    if number not in numbers_in_force:
        return False

    workspace.record_event(
        tx,
        f"{MERGE_UNDONE_EVENT}{task}",
        number,
        old=None,
        new=None,
        reason=editor,
        now=now,
    )
    return True


def list_merges(tx: Connection, task: str) -> list[TagMerge]:
    """Return all merges of a task, oldest first and numbered from 1, undone merges included.

    A merge replaces a value, such as a tag, by another value.
    """
    undo_events = {
        int(event["name"]): event
        for event in workspace.list_events(tx, f"{MERGE_UNDONE_EVENT}{task}")
    }
    merges = []
    for number, event in enumerate(workspace.list_events(tx, f"{MERGE_EVENT}{task}"), start=1):
        undo_event = undo_events.get(number)
        merges.append(
            TagMerge(
                number=number,
                old=event["name"],
                new=event["new"],
                who=event["why"],
                at=event["at"],
                undone_by=None if undo_event is None else undo_event["why"],
                undone_at=None if undo_event is None else undo_event["at"],
            ),
        )
    return merges


def read_merge_rules(tx: Connection, task: str) -> dict[str, str]:
    """Return each merged value with the value that finally replaces it.

    In a writing transaction no other process changes the merges until it ends.
    """
    merges = list_merges(tx, task)
    return resolve_chains_and_drop_circles(
        {merge.old: merge.new for merge in merges if merge.undone_at is None}
    )


def resolve_chains_and_drop_circles(rules: Mapping[str, str]) -> dict[str, str]:
    """Return {value: its final replacement}, after the rules were applied repeatedly.

    Args:
        rules: A replacement for each value; the replacement may be replaced, too.

    Returns:
        The value at the end of each chain, by the replaced value. Values whose chain runs into a
        circle are left out.
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


# ---- stored answers

# The final tag by merged tag, by field of the answer.
RulesByField = Mapping[str, Mapping[str, str]]


def read_rules_by_field(tx: Connection, task: str) -> RulesByField:
    """Return the rules in force for the lists of a task, by field; fields without are left out."""
    prefix = MERGE_EVENT + make_list_name(task, "")
    kinds = select(events.c.kind).where(events.c.kind.startswith(prefix, autoescape=True))
    names = [kind.removeprefix(MERGE_EVENT) for kind in tx.execute(kinds.distinct()).scalars()]
    rules_by_field = {name.rpartition(" ")[2]: read_merge_rules(tx, name) for name in names}
    return {field: rules for field, rules in rules_by_field.items() if rules}


def get_tags(answer: Mapping[str, Any], field: str) -> list[str]:
    """Return the tags in a field of an answer; empty if the field is not a list of texts."""
    tags = answer.get(field)
    if isinstance(tags, list) and all(isinstance(tag, str) for tag in tags):
        return tags
    return []


def merge_tags_in_answer(answer: Mapping[str, Any], rules_by_field: RulesByField) -> dict[str, Any]:
    """Return an answer with merged lists; a list without a merged tag stays as it is."""
    merged_answer = dict(answer)
    for field, rules in rules_by_field.items():
        tags = get_tags(answer, field)
        if not rules.keys().isdisjoint(tags):
            merged_answer[field] = apply_rules(tags, rules)
    return merged_answer


def merge_tags_in_json(answer_json: str, rules_by_field: RulesByField) -> tuple[str, str | None]:
    """Return an answer with merged lists, and the given answer as it was before.

    If no merge changes the answer, the second member is None.
    """
    if not rules_by_field:
        return answer_json, None
    answer = json.loads(answer_json)
    merged_answer = merge_tags_in_answer(answer, rules_by_field)
    if merged_answer == answer:
        return answer_json, None
    return json.dumps(merged_answer, ensure_ascii=False, separators=(",", ":")), answer_json


def merge_tags_in_records(
    tx: Connection, task: str, records: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return records of answers of a task, with the merges in force applied.

    In copies of the records, `unmerged` becomes the answer before the merges, or None if they do
    not change it. If the task has no merge in force, the given list is returned.
    """
    rules_by_field = read_rules_by_field(tx, task)
    if not rules_by_field:
        return records
    merged_records = []
    for record in records:
        answer_json, unmerged_json = merge_tags_in_json(record["answer"], rules_by_field)
        merged_records.append({**record, "answer": answer_json, "unmerged": unmerged_json})
    return merged_records


def delete_merges(tx: Connection, task: str) -> None:
    """Delete the merges of all lists of a task, and their undos."""
    for event_kind in (MERGE_EVENT, MERGE_UNDONE_EVENT):
        prefix = event_kind + make_list_name(task, "")
        is_of_task = events.c.kind.startswith(prefix, autoescape=True)
        tx.execute(delete(events).where(is_of_task))
