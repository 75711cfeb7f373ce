"""Record in the journal the bulk edits of a task, which set a field in many rows.

A bulk edit is an entry with its number. Its edits of rows have the number in `findable_answers`.
Further lines record that the bulk edit is complete, and that it was undone. The journal stores a
hash of the filter and the value, because both may contain text about a person.
"""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from pipeline.store import workspace

# Kinds of the journal's lines. The name of the task follows.
BULK_EDIT_EVENT = "bulk edit "
COMPLETED_EVENT = "completed bulk edit "
UNDONE_EVENT = "undone bulk edit "


class BulkEdit(NamedTuple):
    """A bulk edit."""

    number: int
    field: str
    # Hash of the filter, the field and the value.
    digest: str
    who: str
    at: datetime
    # Number of changed rows; None if the bulk edit was interrupted.
    changed_count: int | None
    # The latest undo left no row with the edit, except in fields that a later edit changed.
    is_undone: bool
    # Number of rows that the latest undo could not change back; 0 without an undo.
    kept_count: int = 0


def list_bulk_edits(tx: Connection, task: str) -> list[BulkEdit]:
    """Return the bulk edits of a task, oldest first, numbered from 1."""
    completed_events = workspace.events_of(tx, f"{COMPLETED_EVENT}{task}")
    changed_counts = {int(event["name"]): int(event["new"]) for event in completed_events}
    undone_events = workspace.events_of(tx, f"{UNDONE_EVENT}{task}")
    # The latest undo counts.
    kept_counts = {int(event["name"]): int(event["new"] or 0) for event in undone_events}
    return [
        BulkEdit(
            number=int(event["name"]),
            field=event["old"],
            digest=event["new"],
            who=event["why"],
            at=event["at"],
            changed_count=changed_counts.get(int(event["name"])),
            is_undone=kept_counts.get(int(event["name"])) == 0,
            kept_count=kept_counts.get(int(event["name"]), 0),
        )
        for event in workspace.events_of(tx, f"{BULK_EDIT_EVENT}{task}")
    ]


def begin_bulk_edit(
    tx: Connection,
    task: str,
    *,
    field: str,
    digest: str,
    who: str,
    now: datetime,
) -> int:
    """Record in the journal that a bulk edit of a field begins, and return its number.

    If the newest bulk edit is of the same person, has the same digest and was neither completed
    nor undone, also not in a part of its rows, nothing is written and its number is returned, so
    that it continues. An older one is not continued, because the numbers are in the order of the
    edits. Numbers begin at 1 for each task. Runs in the caller's transaction.

    Args:
        digest: Hash of the filter, the field and the value.
        who: The person.
    """
    bulk_edits = list_bulk_edits(tx, task)
    for edit in bulk_edits[-1:]:
        was_undone = edit.is_undone or edit.kept_count > 0
        is_interrupted = edit.changed_count is None and not was_undone
        if is_interrupted and (edit.digest, edit.who) == (digest, who):
            return edit.number

    number = len(bulk_edits) + 1
    workspace.record_event(
        tx, f"{BULK_EDIT_EVENT}{task}", number, old=field, new=digest, reason=who, now=now
    )
    return number


def complete_bulk_edit(
    tx: Connection,
    task: str,
    number: int,
    *,
    changed_count: int,
    who: str,
    now: datetime,
) -> None:
    """Record that a bulk edit is complete."""
    workspace.record_event(
        tx,
        f"{COMPLETED_EVENT}{task}",
        number,
        old=None,
        new=str(changed_count),
        reason=who,
        now=now,
    )


def record_undone(
    tx: Connection,
    task: str,
    number: int,
    *,
    kept_count: int,
    who: str,
    now: datetime,
) -> None:
    """Record that the edits of a bulk edit were undone, except in `kept_count` rows."""
    workspace.record_event(
        tx,
        f"{UNDONE_EVENT}{task}",
        number,
        old=None,
        new=str(kept_count) if kept_count else None,
        reason=who,
        now=now,
    )
