"""Exactly one remote batch per batch, although create is not idempotent and its reply may be lost.

prepared -> submitting is committed before the one create call. A clear refusal goes back; anything unclear stays
*submitting* until the whole remote list, read late enough, shows the batch (then it is adopted) or shows nothing (only
then is create called again). Every try has its own display name, and all of them are looked for.
"""

import contextlib
import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from pipeline.batch.reconcile import Reconciliation, cancel_late_create, reconcile
from pipeline.core import files
from pipeline.core.errors import (
    FindableError,
    KeyRefusedError,
    MissingError,
    NotSentError,
    RefusedError,
    RemoteError,
    StateConflictError,
    ThrottledError,
    UnavailableError,
)
from pipeline.core.states import BatchState, Outcome
from pipeline.cost import budget, queue_quota
from pipeline.engine.record import Asked, Judgement, Source, write_judgements
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini import responses
from pipeline.store import answers, batches, claims, workspace
from pipeline.store.batches import Batch
from pipeline.store.leases import LeaseLostError

if TYPE_CHECKING:
    from pipeline.core.settings import Settings
    from pipeline.core.task import Task, Words
    from pipeline.gemini.client import Client
    from pipeline.store.database import Connection, Store
    from pipeline.store.leases import Lease


MAX_UNCLEAR = 3  # creates of one batch in one run that nothing is known of, before a person should look
MAX_LOST = 3  # times in one run that somebody else went on with a batch while this process stood still
MAX_REFUSALS = 2  # a request file that was refused so often is given up
MAX_ALIKE = 3  # batches in a row that are refused alike for the same line: the question is at fault, and no item of it
AT_CREATE = "refused at create"  # how the reason of an item begins whose line was refused


class SendOutcome(StrEnum):
    """What came of sending one batch."""

    CREATED = "created"
    ADOPTED = "adopted"  # a create whose reply was lost was found in the list
    ELSEWHERE = "in other hands"  # another process holds it, or has moved it
    REBUILD = "rebuilt"  # one line was refused; the rest goes into a new batch


def display_name_of_try(store: "Store", batch: Batch, number_of_try: int) -> str:
    """Return the name by which one try of one batch can be found again: workspace, task, number, file, try."""
    with store.read() as tx:
        workspace_id = workspace.get_workspace(tx).workspace_id
    return batches.name_of_try(batch, number_of_try, workspace_id=workspace_id)


def send_batch(ws: OpenWorkspace, number: int) -> SendOutcome:
    """Bring one prepared or unclear batch to *submitted*, waiting out an unclear create without holding its lease.

    Raises:
        NoRoomError: by our own count the API takes no more for now.
        RemoteError: a clear refusal for now (4), or a create that stays unclear.
        KeyRefusedError, MissingError: something must be configured; the batch is *prepared* again.
    """
    unclear = lost = 0
    while True:
        try:
            with ws.lease(f"batch:{number}") as lease:
                if lease is None:
                    return SendOutcome.ELSEWHERE
                found = _send_once(ws, number, lease, may_create=unclear < MAX_UNCLEAR)
        except (StateConflictError, LeaseLostError):  # somebody went on with it while we stood still: read it again
            lost += 1
            if lost > MAX_LOST:
                raise
            continue
        if isinstance(found, SendOutcome):
            return found
        if found is None:
            unclear += 1
            continue
        ws.display.say(f"batch {number}: the create call stays unclear; looking again in {found.wait_s:.0f} s")
        ws.sleep(found.wait_s)


def _send_once(
    ws: OpenWorkspace, number: int, lease: "Lease", *, may_create: bool
) -> SendOutcome | Reconciliation | None:
    """Do what the batch's state asks for: its fate, a look that must be repeated, or None for an unclear create."""
    with ws.store.read() as tx:
        batch = batches.get_batch(tx, number)
    if batch.state is BatchState.SUBMITTING:
        look = reconcile(ws, batch, lease)
        if look.adopted:
            return SendOutcome.ADOPTED
        if not look.absent:
            return look
        if not may_create:
            raise _stays_unclear(batch, submit=ws.task.words.make("batch-submit"))
    elif batch.state is not BatchState.PREPARED:
        return SendOutcome.ELSEWHERE
    return _create(ws, batch, lease)


def _create(ws: OpenWorkspace, batch: Batch, lease: "Lease") -> SendOutcome | None:
    """Upload if need be, commit the intent, and call create once; None when the outcome is unclear."""
    with ws.store.read() as tx:
        _check_room(tx, batch, ws.settings, ws.task.words)
    upload = _upload(ws, batch, lease)
    name = display_name_of_try(ws.store, batch, batch.tries + 1)
    with ws.store.write() as tx:
        lease.check(tx)
        _check_room(tx, batch, ws.settings, ws.task.words)  # again: others may have sent while this one uploaded
        if batch.state is BatchState.SUBMITTING:
            batches.note_absent(tx, batch)
        else:  # one that was prepared under another budget; error 0, for it was cut to fit with the error then known
            budget.budgets(ws).check(tx, batch.estimated_cost, error=0.0, but=batch.number)
        batches.mark_submitting(tx, batch, display_name=name, at=ws.now())
        batch = batches.get_batch(tx, batch.number)
    lease.check()  # the last moment at which a process that stood still can know that the batch is not its own
    try:
        remote = ws.client.create_batch(batch.model, file_name=upload, display_name=name)
    except RefusedError as error:
        return _refused(ws, batch, error)
    except NotSentError as error:
        _back(ws.store, batch, error, outcome="not sent", keep_upload=True, at=ws.now())
        raise
    except UnavailableError as error:
        with ws.store.write() as tx:
            batches.note_unclear(tx, batch, why=error.message, at=ws.now())
        ws.display.warn(f"batch {batch.number}: {error.message}; looking whether it was created")
        return None
    try:
        with ws.store.write() as tx:
            batches.mark_submitted(tx, batch, remote_name=remote.name, display_name=name, how="created", at=ws.now())
    except StateConflictError:
        cancel_late_create(ws, batch.number, remote)
        raise
    ws.display.say(f"batch {batch.number}: created as {remote.name}, {batch.requests:,} requests")
    return SendOutcome.CREATED


def _check_room(tx: "Connection", batch: Batch, settings: "Settings", words: "Words") -> None:
    """Hold a batch back that the API would refuse for what is there already.

    Raises:
        NoRoomError: there is no room yet; the batch stays as it is.
    """
    reason = queue_quota.quota_shortfall(tx, batch, settings)
    if reason:
        raise queue_quota.QuotaFullError(
            f"batch {batch.number} is ready and waits: {reason}",
            hint=f"`{words.make('batch-poll')}` until a batch is over, then `{words.make('batch-submit')}` again",
        )


def _upload(ws: OpenWorkspace, batch: Batch, lease: "Lease") -> str:
    """Return the name of an upload of the request file that is young enough, making one where there is none."""
    keep = timedelta(hours=ws.settings.upload_hours)
    if batch.upload and batch.uploaded_at and ws.now() - batch.uploaded_at < keep:
        return batch.upload
    path = files.verify(
        ws.data / batch.request_file, sha256=batch.request_sha256, what=f"the request file of batch {batch.number}"
    )
    lease.check()
    upload = ws.client.upload(
        path,
        display_name=display_name_of_try(ws.store, batch, batch.tries + 1),
        sha256=batch.request_sha256,
        size=batch.request_size,
    )
    with ws.store.write() as tx:
        lease.check(tx)
        batches.note_upload(tx, batch.number, upload=upload.name, at=ws.now())
    return upload.name


def _refused(ws: OpenWorkspace, batch: Batch, error: RefusedError) -> SendOutcome:
    """Deal with a clear refusal of a create call: nothing was made.

    A quota or a matter of configuration puts the batch back for later; a refusal of the file itself costs the line that
    is named, or at the second time the batch.
    """
    if isinstance(error, ThrottledError):
        _back(ws.store, batch, error, outcome="refused", keep_upload=True, at=ws.now())
        raise error
    if isinstance(error, KeyRefusedError | MissingError):
        _back(ws.store, batch, error, outcome="refused", keep_upload=False, at=ws.now())
        raise error
    line = responses.line_at_fault(error.message)
    unused = batch
    with ws.store.write() as tx:  # all at once: a moment later the batch may be somebody else's, who sends it again
        batches.mark_refused(
            tx, batch, why=error.message, outcome="refused", counts=True, keep_upload=False, at=ws.now()
        )
        batch = batches.get_batch(tx, batch.number)
        found = None if line is None else claims.request_at(tx, batch.number, line)
        if found is not None:
            said = error.message.partition(f"Error on line {found.line}")[2].lstrip(": ") or "it was not said why"
            why = f"line {found.line} was refused: {said}"
            is_alike = _is_alike(tx, batch, found, why)
            source = Source(batch=batch.number, extractor=batch.extractor, model=ws.model)
            told = "" if is_alike else _charge(tx, ws.task, found, source=source, said=said, at=ws.now())
            _give_up(tx, batch, why=why, at=ws.now())
        elif batch.refusals >= MAX_REFUSALS:
            _give_up(tx, batch, why=f"refused {batch.refusals} times: {error.message}", at=ws.now())
    drop_upload(ws.client, unused)
    submit = ws.task.words.make("batch-submit")
    if found is None:
        raise _refusal(batch, error, submit=submit)
    if is_alike:
        raise _wrong_question(batch, error, why=why, submit=submit)
    rest = "; the rest goes into a new batch" if batch.requests > 1 else ""
    ws.display.warn(f"batch {batch.number}: {why}; {told}{rest}")
    return SendOutcome.REBUILD


def _is_alike(tx: "Connection", batch: Batch, found: claims.Request, why: str) -> bool:
    """Return whether the batches sent before were refused as this one, in a row and but for figures in the reason.

    Not for an item that was refused once and others were taken since: that one is at fault.
    """
    sent = [
        one
        for one in batches.batches_in_states(tx, *BatchState, task=batch.task)
        if one.create_sent_at is not None and one.state is not BatchState.PREPARED and one.extractor == batch.extractor
    ]
    taken = max((one.number for one in sent if one.remote_name), default=0)
    _, failed = answers.of_item(tx, batch.task, found.item_id)
    if any(one["reason"].startswith(AT_CREATE) and one["batch"] < taken for one in failed):
        return False
    last = sorted(sent, key=lambda one: (one.create_sent_at, one.number))[1 - MAX_ALIKE :]
    return [_plain(one.reason or "") for one in last] == [_plain(why)] * (MAX_ALIKE - 1)


def _plain(why: str) -> tuple[str, str]:
    """Return a reason as its line and what was said of it, without figures: columns differ from item to item."""
    line, _, said = why.partition(": ")
    return line, re.sub(r"\d+", "", said)


def _wrong_question(batch: Batch, error: RefusedError, *, why: str, submit: str) -> RefusedError:
    """Return the error for batches that were refused alike: it is not for what they ask about."""
    return RefusedError(
        f"batch {batch.number} was refused as the {MAX_ALIKE - 1} before it ({why}), so the question itself must be "
        "wrong; it was given up, and nobody in it is charged",
        hint=f"another FINDABLE_MODEL may help; `{submit}` asks again",
        code=error.code,
        status=error.status,
    )


def _refusal(batch: Batch, error: RefusedError, *, submit: str) -> RefusedError:
    """Return the error for a request file that was refused as a whole."""
    if batch.refusals >= MAX_REFUSALS:
        message = f"batch {batch.number} was refused {batch.refusals} times and given up, its claims released"
        hint = f"`{submit}` asks its items in a new batch; another FINDABLE_MODEL may help"
    else:
        message = f"batch {batch.number} was refused, and waits as prepared"
        hint = f"run `{submit}` again; a second refusal gives the batch up"
    return RefusedError(f"{message}: {error.message}", hint=hint, code=error.code, status=error.status)


def drop_upload(client: "Client", batch: Batch) -> None:
    """Delete the upload of a batch that will not use it, as well as can be; the API forgets it after 48 h anyway."""
    if batch.upload:
        with contextlib.suppress(RemoteError):
            client.delete_upload(batch.upload)


def _back(store: "Store", batch: Batch, error: FindableError, *, outcome: str, keep_upload: bool, at: datetime) -> None:
    """Put a batch back to *prepared* after a create that certainly made nothing."""
    with store.write() as tx:
        batches.mark_refused(
            tx, batch, why=error.message, outcome=outcome, counts=False, keep_upload=keep_upload, at=at
        )


def _charge(tx: "Connection", task: "Task", found: claims.Request, *, source: Source, said: str, at: datetime) -> str:
    """Charge the item on a line of the request file that was refused; return who it is and what becomes of it."""
    reason = f"{AT_CREATE}: {said}"
    judgement = Judgement(Asked(found.item_id, found.input_hash), Outcome.REFUSED, reason)
    write_judgements(tx, task, [judgement], source=source, at=at)
    claims.record_outcomes(tx, [(found, Outcome.REFUSED, reason)])
    name = task.names(tx, [found.item_id]).get(found.item_id, found.item_id)
    becomes = "is parked" if answers.is_parked(tx, task.name, found.item_id) else "is asked once more by a later run"
    return f"{name}, which stands there, {becomes}"


def _give_up(tx: "Connection", batch: Batch, *, why: str, at: datetime) -> None:
    """End a batch that was never created and let its items go, uncharged."""
    batches.mark_failed(tx, batch, why=why, at=at)
    claims.release_claims(tx, batch.number, reason=why)


def _stays_unclear(batch: Batch, *, submit: str) -> RemoteError:
    """Return the error for a batch whose creates came to nothing that is known."""
    return RemoteError(
        f"batch {batch.number}: {MAX_UNCLEAR} create calls ended without an answer, and the list shows none of them; "
        f"last: {batch.reason}",
        hint=f"run `{submit}` again later; it looks before it creates",
    )
