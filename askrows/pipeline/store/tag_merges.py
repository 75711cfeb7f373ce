"""Merges of tags: each is a line of the journal, and so is each undo.

A merge replaces a tag by another one in all answers, also in later ones, until it is undone.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from askrows.pipeline.store import workspace

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


def add_merge(tx: Connection, task: str, old: str, new: str, *, editor: str, now: datetime) -> int:
    """Record a merge of `old` into `new`, and return its number."""
    workspace.record_event(
        tx, f"{MERGE_EVENT}{task}", old, old=None, new=new, reason=editor, now=now
    )
    return len(list_merges(tx, task))


def undo_merge(tx: Connection, task: str, number: int, *, editor: str, now: datetime) -> bool:
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
        for event in workspace.events_of(tx, f"{MERGE_UNDONE_EVENT}{task}")
    }
    merges = []
    for number, event in enumerate(workspace.events_of(tx, f"{MERGE_EVENT}{task}"), start=1):
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


def active_merge_rules(tx: Connection, task: str) -> dict[str, str]:
    """Return each merged value with the value that finally replaces it.

    In a writing transaction no other process changes the merges until it ends.
    """
    merges = list_merges(tx, task)
    return resolve_replacement_chains(
        {merge.old: merge.new for merge in merges if merge.undone_at is None}
    )


def resolve_replacement_chains(rules: Mapping[str, str]) -> dict[str, str]:
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
