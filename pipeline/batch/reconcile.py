"""Find a lost create again: look through the remote list, adopt what is found, cancel duplicates.

A create whose reply was lost may have made a batch, and the list may show it late. What is found by the name of any try
is adopted, the oldest first; any other batch under one of our names is a duplicate: recorded with its cost, and
cancelled.
"""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from pipeline.core.errors import MissingError, RemoteError, StateConflictError
from pipeline.core.states import BatchState, RemoteState
from pipeline.engine.workspace import OpenWorkspace
from pipeline.store import batches
from pipeline.store.batches import Batch
from pipeline.store.locks import LockLostError

if TYPE_CHECKING:
    from pipeline.core.settings import Settings
    from pipeline.gemini.remote import RemoteBatch
    from pipeline.store.database import Connection, Store


T = TypeVar("T")
USELESS = frozenset({RemoteState.FAILED, RemoteState.CANCELLED, RemoteState.EXPIRED})
LEAST_WAIT_S = 0.05
NEVER = datetime.max.replace(tzinfo=UTC)


def lock_of(number: int) -> str:
    """Return the name of the lock on what is done with a batch."""
    return f"batch-{number}"


def read_again(once: Callable[[], T], *, times: int) -> T:
    """Do what begins by reading its rows, anew where another process went on with them; so often at the most.

    Raises:
        StateConflictError, LockLostError: the last time, too.
    """
    for _ in range(times - 1):
        with contextlib.suppress(StateConflictError, LockLostError):
            return once()
    return once()


@dataclass(frozen=True)
class Reconciliation:
    """What the list says of a batch whose create is unclear: adopted, certainly absent, or wait so many seconds."""

    adopted: bool = False
    absent: bool = False
    wait_s: float = 0.0


def reconcile(ws: OpenWorkspace, batch: Batch, listing: "Sequence[RemoteBatch] | None" = None) -> Reconciliation:
    """Look for any try of a *submitting* batch in the whole remote list, and adopt the oldest that is found.

    The look counts as the last one only when it begins after the list can lag no more: counted from the end of the
    create, or where its end is unknown from its sending plus its time-out. A `listing` that was read before proves
    nothing by what it lacks.
    """
    began = ws.now()
    batch = _without_future(ws.store, batch, now=began)
    with ws.store.read() as tx:
        prefixes = batches.name_prefixes(tx, batch.number)
    remote = ws.client.list_batches() if listing is None else listing
    found = sorted((one for one in remote if batches.name_prefix(one.display_name) in prefixes), key=_usable_and_old)
    if found:
        with ws.store.write() as tx:
            name, display_name, at = found[0].name, found[0].display_name, ws.now()
            batches.mark_submitted(tx, batch, remote_name=name, display_name=display_name, how="adopted", at=at)
            _record_duplicates(tx, batches.get_batch(tx, batch.number), found, at=at)
        ws.display.say(f"batch {batch.number}: found again as {name}")
        cancel_duplicates(ws, batch.number)
        return Reconciliation(adopted=True)
    due = _due(batch, ws.settings, now=ws.now())
    if listing is None and began > due:
        return Reconciliation(absent=True)
    return Reconciliation(wait_s=max(LEAST_WAIT_S, (due - ws.now()).total_seconds() + 0.01))


def cancel_duplicates(ws: OpenWorkspace, number: int, listing: "Iterable[RemoteBatch]" = ()) -> None:
    """Record every remote batch of ours that is not the adopted one, and cancel those that are not known to be over.

    One that cannot be reached now is tried again at the next look. While a create of the batch is unclear its remote
    batches are left alone: reconciliation may yet adopt one.
    """
    with ws.store.write() as tx:
        batch = batches.get_batch(tx, number)
        if batch.state is BatchState.SUBMITTING:
            return
        _record_duplicates(tx, batch, listing, at=ws.now())
        waiting = batches.open_duplicates(tx, number)
    for name in waiting:
        try:
            with contextlib.suppress(MissingError):
                ws.client.cancel_batch(name)
        except RemoteError as error:
            ws.display.warn(f"batch {number}: its duplicate {name} could not be cancelled yet: {error.message}")
            continue
        with ws.store.write() as tx:
            batches.duplicate_cancelled(tx, name, at=ws.now())
        ws.display.warn(f"batch {number}: a second remote batch, {name}, was cancelled and recorded")


def _record_duplicates(tx: "Connection", batch: Batch, listing: "Iterable[RemoteBatch]", *, at: datetime) -> None:
    prefixes = batches.name_prefixes(tx, batch.number)
    for one in listing:
        if batches.name_prefix(one.display_name) in prefixes and one.name != batch.remote_name:
            batches.add_duplicate(tx, batch, remote_name=one.name, display_name=one.display_name, at=at)
            if one.state.is_over:
                batches.duplicate_cancelled(tx, one.name, at=at)


def _without_future(store: "Store", batch: Batch, *, now: datetime) -> Batch:
    """Return the batch with its create no later than now, and keep that: a clock may have been set back."""
    if all(one is None or one <= now for one in (batch.create_sent_at, batch.create_ended_at)):
        return batch
    with store.write() as tx:
        batches.note_create_by(tx, batch, at=now)
        return batches.get_batch(tx, batch.number)


def _due(batch: Batch, settings: "Settings", *, now: datetime) -> datetime:
    """Return the moment after which a list that does not show the batch proves that it is not there."""
    lag = timedelta(seconds=settings.list_lag)
    if batch.create_ended_at is not None:
        return batch.create_ended_at + lag
    return (batch.create_sent_at or now) + timedelta(seconds=settings.create_timeout) + lag


def hidden_for(batch: Batch, settings: "Settings", *, now: datetime) -> float:
    """Return for how many seconds more the API may not show a batch that it has made; 0 where it must show it."""
    made = batch.submitted_at or now
    return max(0.0, (made + timedelta(seconds=settings.list_lag) - now).total_seconds())


def _usable_and_old(remote: "RemoteBatch") -> tuple[bool, datetime, str]:
    """Order remote batches: those that may give answers first, then the oldest; those without a time come last."""
    return (remote.state in USELESS, remote.created_at or NEVER, remote.name)
