"""Store facts about files and rows that only lines of the journal contain.

The journal is the table `askrows_events`.

Each kind of line has typed functions here, which write and read it:

- batches whose files a user removed, and batches whose version was rolled back
- rows that are being forgotten, and forgotten rows that their source must not import again
- how late the API lists a new batch (list delay)
"""

import hashlib
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Text, cast, delete, select, update

from askrows.pipeline.store import schema, workspace
from askrows.pipeline.store.database import cached_in_snapshot
from askrows.pipeline.store.schema import batches, events

# Kinds of the journal's lines.
FORGET_EVENT = "forget"
BURIED_EVENT = "forgotten row"
# Follows the name of the task.
_BURIED_REASON = "the row is left out if its source still has it"
CLEANED_EVENT = "clean"
ROLLBACK_EVENT = "rollback"
LIST_DELAY_EVENT = "list_lag"
# States of a line of FORGET_EVENT.
ERASURE_STARTED = "begun"
ERASURE_COMPLETED = "done"
# The text that replaces erased text.
ERASED_TEXT = "forgotten"
_SELECT_OPENING_FACTS = (
    "SELECT kind, name, new FROM askrows_events WHERE kind IN "  # noqa: S608 - constants
    f"('{LIST_DELAY_EVENT}', '{schema.TABLE_CREATED_EVENT}') ORDER BY id"
)
# Our own choice: the next delay may be longer than any that was seen.
LIST_DELAY_FACTOR = 2


def record_erasure_begun(
    tx: Connection, task: str, row_id: str, *, name: str, now: datetime
) -> None:
    """Journal that a row is being forgotten; nothing is written if it is journaled already.

    Args:
        name: The name that the user typed; the journal gets its digest.
    """
    if row_id not in list_ids_of_unfinished_erasures(tx, task, name):
        workspace.record_event(
            tx,
            FORGET_EVENT,
            _digest(tx, f"{task} {name}"),
            old=None,
            new=ERASURE_STARTED,
            reason=row_id,
            now=now,
        )


def list_ids_of_unfinished_erasures(
    tx: Connection, task: str = "", name: str | None = None
) -> list[str]:
    """Return the ids of rows that are being forgotten and not erased yet, oldest first.

    Args:
        name: Only rows of the task that were named so in `record_erasure_begun`; None means all
            rows of all tasks.
    """
    digest = None if name is None else _digest(tx, f"{task} {name}")
    lines = workspace.list_events(tx, FORGET_EVENT, digest)
    return [line["why"] for line in lines if line["new"] == ERASURE_STARTED]


def anonymize_erasure_lines(tx: Connection, task: str, name: str) -> None:
    """Change the journal's lines about a name: something was forgotten, without saying what."""
    is_of_name = events.c.name == _digest(tx, f"{task} {name}")
    end = update(events).where(events.c.kind == FORGET_EVENT, is_of_name)
    tx.execute(end.values(name=ERASED_TEXT, old=ERASURE_STARTED, new=ERASURE_COMPLETED, why=None))


def record_digest_of_erased_row(tx: Connection, task: str, row_id: str, *, now: datetime) -> None:
    """Journal the digest of a forgotten row, so that its source does not import it again."""
    reason = f"{task}: {_BURIED_REASON}"
    digest = _digest(tx, f"{task} {row_id}")
    workspace.record_event(
        tx,
        BURIED_EVENT,
        digest,
        old=None,
        new=ERASED_TEXT,
        reason=reason,
        now=now,
    )


def delete_digests_of_erased_rows(tx: Connection, task: str) -> None:
    """Delete the digests of all forgotten rows of a task."""
    is_of_task = events.c.why == f"{task}: {_BURIED_REASON}"
    tx.execute(delete(events).where(events.c.kind == BURIED_EVENT, is_of_task))


def make_forgotten_check(tx: Connection, task: str) -> Callable[[str], bool]:
    """Return a function that returns whether the row of an id was forgotten.

    The salted digests of forgotten rows are read from the journal now, not when the function is
    called.
    """
    query = select(events.c.name).where(events.c.kind == BURIED_EVENT)
    digests = set(tx.execute(query).scalars())
    salt = workspace.read_workspace(tx).workspace_id

    def is_forgotten(row_id: str) -> bool:
        return bool(digests) and _salted_digest(salt, f"{task} {row_id}") in digests

    return is_forgotten


def record_files_cleaned(tx: Connection, batch: int, *, reason: str, now: datetime) -> None:
    """Journal that a user removed the files of a batch."""
    workspace.record_event(
        tx, CLEANED_EVENT, batch, old=None, new="files removed", reason=reason, now=now
    )


def read_cleaned_batches(tx: Connection) -> set[int]:
    """Return the numbers of the batches whose files a user removed."""
    return {int(line["name"]) for line in workspace.list_events(tx, CLEANED_EVENT)}


def record_batch_rolled_back(tx: Connection, batch: int, *, reason: str, now: datetime) -> None:
    """Journal that the answers of a batch were removed with their version."""
    workspace.record_event(
        tx, ROLLBACK_EVENT, batch, old=None, new="answers removed", reason=reason, now=now
    )


def read_rolled_back_batches(tx: Connection) -> set[int]:
    """Return the numbers of the batches whose version was rolled back."""
    lines = workspace.list_events(tx, ROLLBACK_EVENT)
    return {int(line["name"]) for line in lines if line["name"].isdecimal()}


def is_rolled_back() -> ColumnElement[bool]:
    """Return the SQL condition that the journal marks a batch as rolled back."""
    rolled_back = select(events.c.name).where(events.c.kind == ROLLBACK_EVENT)
    return cast(batches.c.number, Text).in_(rolled_back)


def record_list_delay(tx: Connection, source: str, *, delay_s: float, now: datetime) -> None:
    """Journal how late the API was seen to list a new batch.

    Args:
        source: Name of the check that measured the delay.
    """
    workspace.record_event(
        tx, LIST_DELAY_EVENT, source, old=None, new=f"{delay_s:.3f}", reason="seen", now=now
    )


def compute_list_delay_s(tx: Connection) -> float:
    """Return the seconds after which the API must list a new batch; 0.0 if none was ever late.

    It is LIST_DELAY_FACTOR times the longest delay in the journal.
    """
    delays_s = (
        float(fact) for kind, _, fact in _read_lines_needed_on_open(tx) if kind == LIST_DELAY_EVENT
    )
    return LIST_DELAY_FACTOR * max(delays_s, default=0.0)


def read_created_tables(tx: Connection) -> set[str]:
    """Return the names of tables of tasks that askrows made here; some may be dropped since."""
    return {
        name
        for kind, name, _ in _read_lines_needed_on_open(tx)
        if kind == schema.TABLE_CREATED_EVENT
    }


@cached_in_snapshot
def _read_lines_needed_on_open(tx: Connection) -> list[tuple[str, str, str]]:
    """Return kind, name and new value of the journal's lines that each opening needs, in order."""
    return [tuple(line) for line in tx.exec_driver_sql(_SELECT_OPENING_FACTS)]


def _digest(tx: Connection, name: str) -> str:
    """Return the SHA-256 of a name, salted with the workspace's id."""
    return _salted_digest(workspace.read_workspace(tx).workspace_id, name)


def _salted_digest(salt: str, name: str) -> str:
    return hashlib.sha256(f"{salt} {name}".encode("utf-8", "replace")).hexdigest()
