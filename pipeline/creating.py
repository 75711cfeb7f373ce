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

from pipeline import files, spending, window
from pipeline.adopting import Look, cancel_twins, disown, look_for
from pipeline.apply import Asked, Judgement, Source, write
from pipeline.errors import (
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
from pipeline.gemini import replies
from pipeline.runtime import Runtime
from pipeline.states import BatchState, Outcome
from pipeline.store import answers, batches, claims, workspace
from pipeline.store.batches import Batch
from pipeline.store.leases import LeaseLostError

if TYPE_CHECKING:
    from pipeline.gemini.client import Client
    from pipeline.settings import Settings
    from pipeline.store.database import Connection, Store
    from pipeline.store.leases import Lease
    from pipeline.task import Task, Words

__all__ = ["Look", "Sent", "cancel_twins", "display_name", "drop_upload", "look_for", "send"]

MAX_UNCLEAR = 3  # creates of one batch in one run that nothing is known of, before a person should look
MAX_LOST = 3  # times in one run that somebody else went on with a batch while this process stood still
MAX_REFUSALS = 2  # a request file that was refused so often is given up
MAX_ALIKE = 3  # batches in a row that are refused alike for the same line: the question is at fault, and no item of it
AT_CREATE = "refused at create"  # how the reason of an item begins whose line was refused


class Sent(StrEnum):
    """What came of sending one batch."""

    CREATED = "created"
    ADOPTED = "adopted"  # a create whose reply was lost was found in the list
    ELSEWHERE = "in other hands"  # another process holds it, or has moved it
    REBUILD = "rebuilt"  # one line was refused; the rest goes into a new batch


def display_name(store: "Store", batch: Batch, number_of_try: int) -> str:
    """Return the name by which one try of one batch can be found again: workspace, task, number, file, try."""
    with store.read() as tx:
        workspace_id = workspace.get(tx).workspace_id
    return batches.name_of_try(batch, number_of_try, workspace_id=workspace_id)


def send(rt: Runtime, number: int) -> Sent:
    """Bring one prepared or unclear batch to *submitted*, waiting out an unclear create without holding its lease.

    Raises:
        NoRoomError: by our own count the API takes no more for now.
        RemoteError: a clear refusal for now (4), or a create that stays unclear.
        KeyRefusedError, MissingError: something must be configured; the batch is *prepared* again.
    """
    unclear = lost = 0
    while True:
        try:
            with rt.lease(f"batch:{number}") as lease:
                if lease is None:
                    return Sent.ELSEWHERE
                found = _send_once(rt, number, lease, may_create=unclear < MAX_UNCLEAR)
        except (StateConflictError, LeaseLostError):  # somebody went on with it while we stood still: read it again
            lost += 1
            if lost > MAX_LOST:
                raise
            continue
        if isinstance(found, Sent):
            return found
        if found is None:
            unclear += 1
            continue
        rt.display.say(f"batch {number}: the create call stays unclear; looking again in {found.wait_s:.0f} s")
        rt.sleep(found.wait_s)


def _send_once(rt: Runtime, number: int, lease: "Lease", *, may_create: bool) -> Sent | Look | None:
    """Do what the batch's state asks for: its fate, a look that must be repeated, or None for an unclear create."""
    with rt.store.read() as tx:
        batch = batches.get(tx, number)
    if batch.state is BatchState.SUBMITTING:
        look = look_for(rt, batch, lease)
        if look.adopted:
            return Sent.ADOPTED
        if not look.absent:
            return look
        if not may_create:
            raise _stays_unclear(batch, submit=rt.task.words.make("batch-submit"))
    elif batch.state is not BatchState.PREPARED:
        return Sent.ELSEWHERE
    return _create(rt, batch, lease)


def _create(rt: Runtime, batch: Batch, lease: "Lease") -> Sent | None:
    """Upload if need be, commit the intent, and call create once; None when the outcome is unclear."""
    with rt.store.read() as tx:
        _check_room(tx, batch, rt.settings, rt.task.words)
    upload = _upload(rt, batch, lease)
    name = display_name(rt.store, batch, batch.tries + 1)
    with rt.store.write() as tx:
        lease.check(tx)
        _check_room(tx, batch, rt.settings, rt.task.words)  # again: others may have sent while this one uploaded
        if batch.state is BatchState.SUBMITTING:
            batches.note_absent(tx, batch)
        else:  # one that was prepared under another budget; error 0, for it was cut to fit with the error then known
            spending.budgets(rt).check(tx, batch.estimated_cost, error=0.0, but=batch.number)
        batches.mark_submitting(tx, batch, display_name=name, at=rt.now())
        batch = batches.get(tx, batch.number)
    lease.check()  # the last moment at which a process that stood still can know that the batch is not its own
    try:
        remote = rt.client.create_batch(batch.model, file_name=upload, display_name=name)
    except RefusedError as error:
        return _refused(rt, batch, error)
    except NotSentError as error:
        _back(rt.store, batch, error, outcome="not sent", keep_upload=True, at=rt.now())
        raise
    except UnavailableError as error:
        with rt.store.write() as tx:
            batches.note_unclear(tx, batch, why=error.message, at=rt.now())
        rt.display.warn(f"batch {batch.number}: {error.message}; looking whether it was created")
        return None
    try:
        with rt.store.write() as tx:
            batches.mark_submitted(tx, batch, remote_name=remote.name, display_name=name, how="created", at=rt.now())
    except StateConflictError:
        disown(rt, batch.number, remote)
        raise
    rt.display.say(f"batch {batch.number}: created as {remote.name}, {batch.requests:,} requests")
    return Sent.CREATED


def _check_room(tx: "Connection", batch: Batch, settings: "Settings", words: "Words") -> None:
    """Hold a batch back that the API would refuse for what is there already.

    Raises:
        NoRoomError: there is no room yet; the batch stays as it is.
    """
    reason = window.lacking(tx, batch, settings)
    if reason:
        raise window.NoRoomError(
            f"batch {batch.number} is ready and waits: {reason}",
            hint=f"`{words.make('batch-poll')}` until a batch is over, then `{words.make('batch-submit')}` again",
        )


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
        display_name=display_name(rt.store, batch, batch.tries + 1),
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
        _back(rt.store, batch, error, outcome="refused", keep_upload=True, at=rt.now())
        raise error
    if isinstance(error, KeyRefusedError | MissingError):
        _back(rt.store, batch, error, outcome="refused", keep_upload=False, at=rt.now())
        raise error
    line = replies.line_at_fault(error.message)
    unused = batch
    with rt.store.write() as tx:  # all at once: a moment later the batch may be somebody else's, who sends it again
        batches.mark_refused(
            tx, batch, why=error.message, outcome="refused", counts=True, keep_upload=False, at=rt.now()
        )
        batch = batches.get(tx, batch.number)
        found = None if line is None else claims.request_at(tx, batch.number, line)
        if found is not None:
            said = error.message.partition(f"Error on line {found.line}")[2].lstrip(": ") or "it was not said why"
            why = f"line {found.line} was refused: {said}"
            is_alike = _is_alike(tx, batch, found, why)
            source = Source(batch=batch.number, extractor=batch.extractor, model=rt.model)
            told = "" if is_alike else _charge(tx, rt.task, found, source=source, said=said, at=rt.now())
            _give_up(tx, batch, why=why, at=rt.now())
        elif batch.refusals >= MAX_REFUSALS:
            _give_up(tx, batch, why=f"refused {batch.refusals} times: {error.message}", at=rt.now())
    drop_upload(rt.client, unused)
    submit = rt.task.words.make("batch-submit")
    if found is None:
        raise _refusal(batch, error, submit=submit)
    if is_alike:
        raise _wrong_question(batch, error, why=why, submit=submit)
    rest = "; the rest goes into a new batch" if batch.requests > 1 else ""
    rt.display.warn(f"batch {batch.number}: {why}; {told}{rest}")
    return Sent.REBUILD


def _is_alike(tx: "Connection", batch: Batch, found: claims.Request, why: str) -> bool:
    """Return whether the batches sent before were refused as this one, in a row and but for figures in the reason.

    Not for an item that was refused once and others were taken since: that one is at fault.
    """
    sent = [
        one
        for one in batches.in_states(tx, *BatchState, task=batch.task)
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
    write(tx, task, [judgement], source=source, at=at)
    claims.account(tx, [(found, Outcome.REFUSED, reason)])
    name = task.names(tx, [found.item_id]).get(found.item_id, found.item_id)
    becomes = "is parked" if answers.is_parked(tx, task.name, found.item_id) else "is asked once more by a later run"
    return f"{name}, which stands there, {becomes}"


def _give_up(tx: "Connection", batch: Batch, *, why: str, at: datetime) -> None:
    """End a batch that was never created and let its items go, uncharged."""
    batches.mark_failed(tx, batch, why=why, at=at)
    claims.release(tx, batch.number, reason=why)


def _stays_unclear(batch: Batch, *, submit: str) -> RemoteError:
    """Return the error for a batch whose creates came to nothing that is known."""
    return RemoteError(
        f"batch {batch.number}: {MAX_UNCLEAR} create calls ended without an answer, and the list shows none of them; "
        f"last: {batch.reason}",
        hint=f"run `{submit}` again later; it looks before it creates",
    )
