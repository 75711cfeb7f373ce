"""Finding again what a lost create left behind: the look through the remote list, adoption, and twins.

A create whose reply was lost may have made a batch, and the list may show it late. What is found by the name of any try
is adopted, the oldest first; whatever else bears one of our names is a twin: recorded with its cost, and cancelled.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pipeline.core.errors import MissingError, RemoteError
from pipeline.core.states import BatchState, RemoteState
from pipeline.engine.workspace import OpenWorkspace
from pipeline.store import batches
from pipeline.store.batches import Batch

if TYPE_CHECKING:
    from pipeline.gemini.operations import RemoteBatch
    from pipeline.store.database import Connection
    from pipeline.store.leases import Lease


USELESS = frozenset({RemoteState.FAILED, RemoteState.CANCELLED, RemoteState.EXPIRED})
LEAST_WAIT_S = 0.05
NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Reconciliation:
    """What the list says of a batch whose create is unclear: adopted, certainly absent, or wait so many seconds."""

    adopted: bool = False
    absent: bool = False
    wait_s: float = 0.0


def reconcile(
    ws: OpenWorkspace, batch: Batch, lease: "Lease", listing: "Sequence[RemoteBatch] | None" = None
) -> Reconciliation:
    """Look for any try of a *submitting* batch in the whole remote list, and adopt the oldest that is found.

    The look counts as the last one only when it begins after the list can lag no more: counted from the end of the
    create, or where nobody saw its end from its sending plus its time-out. A `listing` that was read before proves
    nothing by what it lacks.
    """
    began = ws.now()
    batch = _without_future(ws, batch)
    with ws.store.read() as tx:
        stems = batches.name_prefixes(tx, batch.number)
    remote = ws.client.list_batches() if listing is None else listing
    found = sorted((one for one in remote if batches.name_prefix(one.display_name) in stems), key=_usable_and_old)
    if found:
        _adopt(ws, batch, lease, found)
        return Reconciliation(adopted=True)
    due = _due(ws, batch)
    if listing is None and began > due:
        return Reconciliation(absent=True)
    return Reconciliation(wait_s=max(LEAST_WAIT_S, (due - ws.now()).total_seconds() + 0.01))


def cancel_duplicates(ws: OpenWorkspace, batch: Batch, listing: "Iterable[RemoteBatch]") -> int:
    """Record and cancel every remote batch of ours that is not the adopted one; return how many were new."""
    with ws.store.write() as tx:
        new = _record_twins(ws, tx, batch, listing)
    _cancel_open(ws, batch)
    return new


def cancel_late_create(ws: OpenWorkspace, number: int, remote: "RemoteBatch") -> None:
    """Deal with what a create made after somebody else had gone on with its batch, while this process stood still.

    Where the other one adopted it all is well, and where it may yet do so it is left alone: the look by name, or the
    search for twins, finds it. Else it is a twin.
    """
    with ws.store.write() as tx:
        batch = batches.get_batch(tx, number)
        if batch.state is BatchState.SUBMITTING:
            return
        _record_twins(ws, tx, batch, [remote])
    _cancel_open(ws, batch)


def _adopt(ws: OpenWorkspace, batch: Batch, lease: "Lease", found: "Sequence[RemoteBatch]") -> None:
    """Take the first remote batch that was found as this batch's own; the others are twins, known from then on."""
    remote = found[0]
    with ws.store.write() as tx:
        lease.check(tx)
        batches.mark_submitted(
            tx, batch, remote_name=remote.name, display_name=remote.display_name, how="adopted", at=ws.now()
        )
        adopted = batches.get_batch(tx, batch.number)
        _record_twins(ws, tx, adopted, found)
    ws.display.say(f"batch {batch.number}: found again as {remote.name}")
    _cancel_open(ws, adopted)


def _record_twins(ws: OpenWorkspace, tx: "Connection", batch: Batch, listing: "Iterable[RemoteBatch]") -> int:
    """Keep which remote batches bear our names beside the adopted one; return how many were not known yet."""
    stems = batches.name_prefixes(tx, batch.number)
    new = 0
    for one in listing:
        if batches.name_prefix(one.display_name) in stems and one.name != batch.remote_name:
            new += batches.add_duplicate(tx, batch, remote_name=one.name, display_name=one.display_name, at=ws.now())
            if one.state.is_over:
                batches.duplicate_cancelled(tx, one.name, at=ws.now())
    return new


def _cancel_open(ws: OpenWorkspace, batch: Batch) -> None:
    """Cancel every twin that is not known to be over."""
    with ws.store.read() as tx:
        waiting = batches.open_duplicates(tx, batch.number)
    for name in waiting:
        _cancel_twin(ws, batch, name)


def _cancel_twin(ws: OpenWorkspace, batch: Batch, name: str) -> None:
    """Cancel one twin; one that cannot be reached now is tried again at the next look."""
    try:
        ws.client.cancel_batch(name)
    except MissingError:
        pass
    except RemoteError as error:
        ws.display.warn(f"batch {batch.number}: its twin {name} could not be cancelled yet: {error.message}")
        return
    with ws.store.write() as tx:
        batches.duplicate_cancelled(tx, name, at=ws.now())
    ws.display.warn(f"batch {batch.number}: a second remote batch, {name}, was cancelled and recorded")


def _without_future(ws: OpenWorkspace, batch: Batch) -> Batch:
    """Return the batch with its create no later than now, and keep that: nobody waits for a clock that was set back."""
    now = ws.now()
    if all(one is None or one <= now for one in (batch.create_sent_at, batch.create_ended_at)):
        return batch
    with ws.store.write() as tx:
        batches.note_create_by(tx, batch, at=now)
        return batches.get_batch(tx, batch.number)


def _due(ws: OpenWorkspace, batch: Batch) -> datetime:
    """Return the moment after which a list that does not show the batch proves that it is not there."""
    lag = timedelta(seconds=ws.settings.list_lag)
    if batch.create_ended_at is not None:
        return batch.create_ended_at + lag
    sent = batch.create_sent_at or ws.now()
    return sent + timedelta(seconds=ws.settings.create_timeout) + lag


def _usable_and_old(remote: "RemoteBatch") -> tuple[bool, datetime, str]:
    """Order remote batches: those that may give answers first, then the oldest; those without a time come last."""
    return (remote.state in USELESS, remote.created_at or NEVER, remote.name)
