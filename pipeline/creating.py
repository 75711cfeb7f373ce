"""Exactly one remote batch per batch, although create is not idempotent and its reply may be lost.

prepared -> submitting is committed before the one create call. A clear refusal goes back; anything unclear stays
*submitting* until the whole remote list, read late enough, shows the batch (then it is adopted) or shows nothing (only
then is create called again). Every try has its own display name, and all of them are looked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from pipeline import files
from pipeline.apply import Asked, Judgement, Source, write
from pipeline.errors import (
    FindableError,
    KeyRefusedError,
    MissingError,
    NotSentError,
    RefusedError,
    RemoteError,
    ThrottledError,
    UnavailableError,
)
from pipeline.gemini import replies
from pipeline.runtime import Runtime
from pipeline.states import BatchState, Outcome, RemoteState
from pipeline.store import batches, claims, workspace
from pipeline.store.batches import Batch

if TYPE_CHECKING:
    from pipeline.gemini.client import RemoteBatch
    from pipeline.store.database import Connection
    from pipeline.store.leases import Lease

MAX_UNCLEAR = 3  # creates of one batch in one run that nothing is known of, before a person should look
MAX_REFUSALS = 2  # a request file that was refused so often is given up


class Sent(StrEnum):
    """What came of sending one batch."""

    CREATED = "created"
    ADOPTED = "adopted"  # a create whose reply was lost was found in the list
    ELSEWHERE = "elsewhere"  # another process holds it, or has moved it
    REBUILD = "rebuild"  # one line was refused; the rest goes into a new batch
    REFUSED = "refused"  # the file was refused for good, and its items were let go


@dataclass(frozen=True)
class Look:
    """What the list says of a batch whose create is unclear: adopted, certainly absent, or wait so many seconds."""

    adopted: bool = False
    absent: bool = False
    wait_s: float = 0.0


def display_name(rt: Runtime, batch: Batch, number_of_try: int) -> str:
    """Return the name by which one try of one batch can be found again: workspace, task, number, file, try."""
    with rt.store.read() as tx:
        workspace_id = workspace.get(tx).workspace_id
    return f"findable-{workspace_id}-{batch.task}-{batch.number}-{batch.request_sha256[:16]}-t{number_of_try}"


def send(rt: Runtime, number: int) -> Sent:
    """Bring one prepared or unclear batch to *submitted*, waiting out an unclear create without holding its lease.

    Raises:
        RemoteError: a clear refusal for now (4), or a create that stays unclear.
        KeyRefusedError, MissingError: something must be configured; the batch is *prepared* again.
    """
    unclear = 0
    while True:
        with rt.lease(f"batch:{number}") as lease:
            if lease is None:
                return Sent.ELSEWHERE
            with rt.store.read() as tx:
                batch = batches.get(tx, number)
            if batch.state is BatchState.PREPARED:
                look = Look(absent=True)
            elif batch.state is BatchState.SUBMITTING:
                look = look_for(rt, batch, lease)
            else:
                return Sent.ELSEWHERE
            if look.adopted:
                return Sent.ADOPTED
            if look.absent:
                if unclear >= MAX_UNCLEAR:
                    raise _stays_unclear(batch)
                sent = _create(rt, batch, lease)
                if sent is not None:
                    return sent
                unclear += 1
                continue
        rt.display.say(f"batch {number}: the create call stays unclear; looking again in {look.wait_s:.0f} s")
        rt.sleep(look.wait_s)


def look_for(rt: Runtime, batch: Batch, lease: "Lease", listing: "Sequence[RemoteBatch] | None" = None) -> Look:
    """Look for any try of a *submitting* batch in the whole remote list, and adopt the oldest that is found.

    The look counts as the last one only when it begins after the list can lag no more: counted from the end of the
    create, or where nobody saw its end from its sending plus its time-out.
    """
    began = rt.now()
    with rt.store.read() as tx:
        names = batches.display_names(tx, batch.number)
    remote = rt.client.list_batches() if listing is None else listing
    found = sorted((one for one in remote if one.display_name in names), key=_age)
    if found:
        usable = [one for one in found if one.state not in {RemoteState.FAILED, RemoteState.CANCELLED}]
        _adopt(rt, batch, lease, usable[0] if usable else found[0])
        return Look(adopted=True)
    due = _due(rt, batch)
    if began > due:
        return Look(absent=True)
    return Look(wait_s=max(0.05, (due - rt.now()).total_seconds() + 0.01))


def cancel_twins(rt: Runtime, batch: Batch, listing: "Sequence[RemoteBatch]") -> int:
    """Record and cancel every remote batch of ours that is not the adopted one; return how many were new."""
    with rt.store.read() as tx:
        names = batches.display_names(tx, batch.number)
    new = 0
    for one in listing:
        if one.display_name in names and one.name != batch.remote_name:
            with rt.store.write() as tx:
                new += batches.add_twin(tx, batch, remote_name=one.name, display_name=one.display_name, at=rt.now())
            if one.state.is_over:
                with rt.store.write() as tx:
                    batches.twin_cancelled(tx, one.name, at=rt.now())
    with rt.store.read() as tx:
        waiting = batches.open_twins(tx, batch.number)
    for name in waiting:
        _cancel_twin(rt, batch, name)
    return new


def _cancel_twin(rt: Runtime, batch: Batch, name: str) -> None:
    """Cancel one twin; one that cannot be reached now is tried again at the next look."""
    try:
        rt.client.cancel_batch(name)
    except MissingError:
        pass
    except RemoteError as error:
        rt.display.warn(f"batch {batch.number}: its twin {name} could not be cancelled yet: {error.message}")
        return
    with rt.store.write() as tx:
        batches.twin_cancelled(tx, name, at=rt.now())
    rt.display.warn(f"batch {batch.number}: a second remote batch, {name}, was cancelled and recorded")


def _adopt(rt: Runtime, batch: Batch, lease: "Lease", remote: "RemoteBatch") -> None:
    """Take a remote batch that was found by name as this batch's own."""
    with rt.store.write() as tx:
        lease.check(tx)
        batches.mark_submitted(
            tx, batch, remote_name=remote.name, display_name=remote.display_name, how="adopted", at=rt.now()
        )
        adopted = batches.get(tx, batch.number)
    rt.display.say(f"batch {batch.number}: found again as {remote.name}")
    cancel_twins(rt, adopted, rt.client.list_batches())


def _create(rt: Runtime, batch: Batch, lease: "Lease") -> Sent | None:
    """Upload if need be, commit the intent, and call create once; None when the outcome is unclear."""
    upload = _upload(rt, batch, lease)
    name = display_name(rt, batch, batch.tries + 1)
    with rt.store.write() as tx:
        lease.check(tx)
        if batch.state is BatchState.SUBMITTING:
            batches.note_absent(tx, batch)
        batches.mark_submitting(tx, batch, display_name=name, at=rt.now())
        batch = batches.get(tx, batch.number)
    try:
        remote = rt.client.create_batch(batch.model, file_name=upload, display_name=name)
    except RefusedError as error:
        return _refused(rt, batch, error)
    except NotSentError as error:
        _back(rt, batch, error, outcome="not sent", keep_upload=True)
        raise
    except UnavailableError as error:
        with rt.store.write() as tx:
            batches.note_unclear(tx, batch, why=error.message, at=rt.now())
        rt.display.warn(f"batch {batch.number}: {error.message}; looking whether it was created")
        return None
    with rt.store.write() as tx:
        batches.mark_submitted(tx, batch, remote_name=remote.name, display_name=name, how="created", at=rt.now())
    return Sent.CREATED


def _upload(rt: Runtime, batch: Batch, lease: "Lease") -> str:
    """Return the name of an upload of the request file that is young enough, making one where there is none."""
    keep = timedelta(hours=rt.settings.upload_hours)
    if batch.upload and batch.uploaded_at and rt.now() - batch.uploaded_at < keep:
        return batch.upload
    path = files.verify(
        rt.data / batch.request_file, sha256=batch.request_sha256, what=f"the request file of batch {batch.number}"
    )
    lease.check()
    upload = rt.client.upload(
        path,
        display_name=display_name(rt, batch, batch.tries + 1),
        sha256=batch.request_sha256,
        size=batch.request_size,
    )
    with rt.store.write() as tx:
        lease.check(tx)
        batches.note_upload(tx, batch.number, upload=upload.name, at=rt.now())
    return upload.name


def _refused(rt: Runtime, batch: Batch, error: RefusedError) -> Sent:
    """Deal with a clear refusal of a create call: nothing was made.

    A quota or a matter of configuration puts the batch back for later; a refusal of the file itself costs the line that
    is named, or at the second time the batch.
    """
    if isinstance(error, ThrottledError):
        _back(rt, batch, error, outcome="refused", keep_upload=True)
        raise error
    if isinstance(error, KeyRefusedError | MissingError):
        _back(rt, batch, error, outcome="refused", keep_upload=False)
        raise error
    line = replies.line_at_fault(error.message)
    _back(rt, batch, error, outcome="refused", keep_upload=False, counts=True)
    with rt.store.write() as tx:
        batch = batches.get(tx, batch.number)
        if line is not None and _charge_line(rt, tx, batch, line, error):
            _give_up(rt, tx, batch, why=f"line {line} was refused: {error.message}")
            return Sent.REBUILD
        if batch.refusals >= MAX_REFUSALS:
            _give_up(rt, tx, batch, why=f"refused {batch.refusals} times: {error.message}")
            return Sent.REFUSED
    raise error


def _back(
    rt: Runtime, batch: Batch, error: FindableError, *, outcome: str, keep_upload: bool, counts: bool = False
) -> None:
    """Put a batch back to *prepared* after a create that certainly made nothing."""
    with rt.store.write() as tx:
        batches.mark_refused(
            tx, batch, why=error.message, outcome=outcome, counts=counts, keep_upload=keep_upload, at=rt.now()
        )


def _charge_line(rt: Runtime, tx: "Connection", batch: Batch, line: int, error: RefusedError) -> bool:
    """Charge the item on that line of the request file; false when there is no such line."""
    found = claims.request_at(tx, batch.number, line)
    if found is None:
        return False
    reason = f"refused at create: {error.message}"
    judgement = Judgement(Asked(found.item_id, found.input_hash), Outcome.REFUSED, reason)
    source = Source(batch=batch.number, extractor=batch.extractor, model=rt.model)
    write(tx, rt.task, [judgement], source=source, at=rt.now())
    claims.account(tx, [(found, Outcome.REFUSED, reason)])
    return True


def _give_up(rt: Runtime, tx: "Connection", batch: Batch, *, why: str) -> None:
    """End a batch that was never created and let its items go, uncharged."""
    batches.mark_failed(tx, batch, why=why, at=rt.now())
    claims.release(tx, batch.number, reason=why)


def _due(rt: Runtime, batch: Batch) -> datetime:
    """Return the moment after which a list that does not show the batch proves that it is not there."""
    lag = timedelta(seconds=rt.settings.list_lag)
    if batch.create_ended_at is not None:
        return batch.create_ended_at + lag
    sent = batch.create_sent_at or rt.now()
    return sent + timedelta(seconds=rt.settings.create_timeout) + lag


def _age(remote: "RemoteBatch") -> tuple[bool, datetime | None, str]:
    """Order remote batches oldest first; those without a time come last."""
    return (remote.created_at is None, remote.created_at, remote.name)


def _stays_unclear(batch: Batch) -> RemoteError:
    """Return the error for a batch whose creates came to nothing that is known."""
    return RemoteError(
        f"batch {batch.number}: {MAX_UNCLEAR} create calls ended without an answer, and the list shows none of them; "
        f"last: {batch.reason}",
        hint="run `make batch-submit` again later; it looks before it creates",
    )
