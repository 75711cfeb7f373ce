"""Create exactly one remote batch per batch, although create is not idempotent and its reply may be lost.

prepared -> submitting is committed before the one create call. A clear refusal goes back; anything unclear stays
*submitting* until the whole remote list, read late enough, shows the batch or shows nothing (only then is create called
again). What is found by the name of any try is adopted, the oldest first; any other batch under one of our names is a
duplicate: recorded with its cost, and cancelled. A clear refusal of one line charges the item on it; the second refusal
of a whole file gives the batch up.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from pipeline.batch import budget
from pipeline.batch.batch_files import lock_of, read_again, sealed_request
from pipeline.core import errors, files
from pipeline.core.command_hint import CommandHint
from pipeline.core.settings import Settings
from pipeline.core.states import BatchState, Outcome, RemoteState
from pipeline.engine.record import (
    JudgedReply,
    Provenance,
    schema_refusal,
    tell_equals,
    write_judgements,
)
from pipeline.engine.task import WriteResult
from pipeline.engine.workspace import WorkspaceSession
from pipeline.gemini import responses
from pipeline.gemini.client import Client
from pipeline.gemini.remote import RemoteBatch
from pipeline.store import batches, claims, workspace
from pipeline.store.batches import BatchRow
from pipeline.store.database import Connection
from pipeline.store.locks import Lock

UPLOAD_KEPT = timedelta(hours=40)  # for which an upload is used again; the API keeps it 48
MAX_UNCLEAR = (
    3  # creates of one batch in one run that nothing is known of, before a person should look
)
MAX_LOST = 4  # times that a batch is read because another process went on with it while this one stood still
MAX_REFUSALS = 2  # a request file that was refused so often is given up
TOO_MANY_REQUESTS = 429  # HTTP's own number; the upload is used again
AT_CREATE = "refused at create"  # how the reason of an item begins whose line was refused
USELESS = frozenset({RemoteState.FAILED, RemoteState.CANCELLED, RemoteState.EXPIRED})
LEAST_WAIT_S = 0.05
# Ours: look at the list again at least so often, however long a new batch may stay unlisted.
MAX_LOOK_WAIT_S = 60.0
NEVER = datetime.max.replace(tzinfo=UTC)
BY_HAND, BEFORE_SENT = CANCELLED = (
    "cancelled by hand",
    "cancelled before it was sent",
)  # as its reason begins


class SendOutcome(StrEnum):
    """What came of sending one batch."""

    CREATED = "created"
    ADOPTED = "adopted"  # a create whose reply was lost was found in the list
    ELSEWHERE = "in other hands"  # another process holds it, or has moved it
    REBUILD = "rebuilt"  # one line was refused; the rest goes into a new batch


class ReconcileResult(NamedTuple):
    """What the list says of a batch whose create is unclear: adopted, certainly absent, or wait so many seconds."""

    adopted: bool = False
    absent: bool = False
    wait_s: float = 0.0


def send_batch(ws: WorkspaceSession, number: int) -> SendOutcome:
    """Bring one prepared or unclear batch to *submitted*, waiting out an unclear create without holding its lock.

    Raises:
        QuotaFullError: by our own count the API takes no more for now.
        RemoteError: a clear refusal for now (4), or a create that stays unclear.
        KeyRefusedError, MissingError, SchemaRefusedError: a person must change something; the batch is *prepared*
            again.
    """
    unclear = 0
    is_first = True

    def step() -> SendOutcome | ReconcileResult | None:
        with ws.locks.hold(lock_of(number)) as lock:
            if lock is None:
                ws.display.say(f"batch {number}: {ws.locks.holder(lock_of(number))}")
                return SendOutcome.ELSEWHERE
            with ws.store.read() as tx:
                send = _Send(ws, batches.get_batch(tx, number), lock, is_first=is_first)
            return send.once(may_create=unclear < MAX_UNCLEAR)

    while True:
        found = read_again(step, times=MAX_LOST)
        is_first = False
        if isinstance(found, SendOutcome):
            return found
        if found is None:
            unclear += 1
            continue
        wait_for_look(ws, number, found)


class _Send(NamedTuple):
    ws: WorkspaceSession
    batch: BatchRow
    lock: Lock
    is_first: bool  # of this process

    def once(self, *, may_create: bool) -> SendOutcome | ReconcileResult | None:
        """Do what the batch's state asks for: its fate, a look that must be repeated, or None for an unclear create."""
        batch = self.batch
        if batch.state is BatchState.SUBMITTING:
            look = reconcile(self.ws, batch)
            if look.adopted:
                return SendOutcome.ADOPTED
            if not look.absent:
                return look
            if not may_create:
                raise errors.RemoteError(
                    f"batch {batch.number}: {MAX_UNCLEAR} create calls ended without an answer, and the list shows "
                    f"none of them; last: {batch.reason}",
                    hint=f"run `{self.ws.task.words.step('batch-submit')}` again later; it looks before it creates",
                )
        elif batch.state is not BatchState.PREPARED:
            return SendOutcome.ELSEWHERE
        return self._create()

    def _create(self) -> SendOutcome | ReconcileResult | None:
        """Upload if need be, commit the intent, and call create once; None when the outcome is unclear."""
        ws = self.ws
        number = self.batch.number
        with ws.store.read() as tx:
            self._check_room(tx)
            workspace_id = workspace.get_workspace(tx).workspace_id
        name = batches.name_of_try(self.batch, self.batch.tries + 1, workspace_id=workspace_id)
        upload = self._upload(name)
        there = (
            self._made_elsewhere(name)
            if self.is_first and self.batch.state is BatchState.PREPARED
            else []
        )
        batch = self._commit_intent(name)
        if there:
            look = reconcile(ws, batch, there)
            return SendOutcome.ADOPTED if look.adopted else look
        self.lock.check()  # the last moment at which a process that stood still can know that it was overtaken
        try:
            remote = ws.client.create_batch(batch.model, file_name=upload, display_name=name)
        except errors.RefusedError as error:
            return self._refused(batch, error)
        except errors.NotSentError as error:
            with ws.store.write() as tx:
                batches.mark_refused(tx, batch, why=error.message, outcome="not sent", at=ws.now())
            raise
        except errors.UnavailableError as error:
            with ws.store.write() as tx:
                batches.note_unclear(tx, batch, why=error.message, at=ws.now())
            ws.display.warn(f"batch {number}: {error.message}; looking whether it was created")
            return None
        try:
            with ws.store.write() as tx:
                batches.mark_submitted(
                    tx,
                    batch,
                    remote_name=remote.name,
                    display_name=name,
                    how="created",
                    at=ws.now(),
                )
        except errors.StateConflictError:
            cancel_duplicates(
                ws, number, [remote]
            )  # another process went on with the batch meanwhile
            raise
        ws.display.say(f"batch {number}: created as {remote.name}, {batch.requests:,} requests")
        return SendOutcome.CREATED

    def _made_elsewhere(self, name: str) -> list[RemoteBatch]:
        """Return what the API has of a batch that is only prepared here, to be adopted by an older copy."""
        try:
            listing = self.ws.client.list_batches()
        except (
            errors.RemoteError
        ):  # a server that keeps no list, or has none to give: no reason not to ask
            return []
        number = self.batch.number
        prefix = batches.name_prefix(name)
        with (
            self.ws.store.read() as tx
        ):  # after the list: whatever is in it was recorded before it was created
            least = batches.next_number(tx)
        ours = re.compile(
            re.escape(name[: name.index(self.batch.task)]) + r".+-(\d{1,9})-[0-9a-f]+"
        )
        there = [(ours.fullmatch(batches.name_prefix(one.display_name)), one) for one in listing]
        unknown = [int(found[1]) for found, _ in there if found and found[0] != prefix]
        if count := sum(one == number or one >= least for one in unknown):
            self.ws.display.warn(
                f"batch {number}: the API has {count} of this workspace that are not known here, so the database is an "
                f"older copy, and what they asked may be paid for twice. `{CommandHint('doctor')}` names them"
            )
        return [
            one for found, one in there if found and found[0] == prefix and one.state not in USELESS
        ]

    def _commit_intent(self, name: str) -> BatchRow:
        ws = self.ws
        batch = self.batch
        with ws.store.write() as tx:
            self._check_room(tx)  # again: others may have sent while this one uploaded
            if batch.state is BatchState.SUBMITTING:
                batches.note_absent(tx, batch)
            else:  # one prepared under another budget
                budget.budgets(ws).check(tx, batch)
            batches.mark_submitting(tx, batch, display_name=name, at=ws.now())
            return batches.get_batch(tx, batch.number)

    def _check_room(self, tx: Connection) -> None:
        reason = budget.quota_shortfall(tx, self.batch, self.ws.settings)
        words = self.ws.task.words
        if reason:
            raise budget.QuotaFullError(
                f"batch {self.batch.number} is ready and waits: {reason}",
                hint=f"`{words.step('batch-poll')}` until a batch is over, then `{words.step('batch-submit')}` again",
            )

    def _upload(self, name: str) -> str:
        ws = self.ws
        batch = self.batch
        if batch.upload and batch.uploaded_at:
            # An upload that lies in the future was recorded by a wrong clock: its age is unknown.
            age = ws.now() - batch.uploaded_at
            if timedelta(0) <= age < UPLOAD_KEPT:
                return batch.upload
        what = f"the request file of batch {batch.number}"
        path = files.verify(sealed_request(ws.data, batch), sha256=batch.request_sha256, what=what)
        upload = ws.client.upload(
            path, display_name=name, sha256=batch.request_sha256, size=batch.request_size
        )
        with ws.store.write() as tx:
            batches.note(tx, batch.number, upload=upload, uploaded_at=ws.now())
        return upload

    def _refused(self, batch: BatchRow, error: errors.RefusedError) -> SendOutcome:
        """Deal with a clear refusal of the create call: nothing was made.

        A quota or a matter of configuration puts the batch back for later; a refusal of the file itself costs the line
        that is named, or at the second time the batch.
        """
        ws = self.ws
        why = error.message
        at = self.ws.now()
        facts: dict[str, object] = {"upload": None, "uploaded_at": None}
        if error.code == TOO_MANY_REQUESTS:
            facts = {}
        if isinstance(error, (errors.ThrottledError, *errors.LASTING_REFUSALS)):
            with ws.store.write() as tx:
                batches.mark_refused(tx, batch, why=why, outcome="refused", at=at, **facts)
            if isinstance(error, errors.SchemaRefusedError):
                drop_upload(ws.client, batch.upload)
            raise schema_refusal(ws.task, error)
        line = responses.line_at_fault(why)
        facts["refusals"] = batch.refusals + 1
        with (
            ws.store.write() as tx
        ):  # all at once: a moment later another process may send the batch again
            batches.mark_refused(tx, batch, why=why, outcome="refused", at=at, **facts)
            batch, upload = batches.get_batch(tx, batch.number), batch.upload
            asked = next(
                (one for one in claims.claimed(tx, batch.number) if one.line == line), None
            )
            if asked is not None:
                said = (
                    why.partition(f"Error on line {line}")[2].lstrip(": ") or "it was not said why"
                )
                source = Provenance(batch.number, batch.extractor, ws.model, batch.fingerprint)
                judged = [JudgedReply(asked, Outcome.REFUSED, f"{AT_CREATE}: {said}")]
                kept = write_failures(tx, ws, judged, source=source)
                name = (
                    ws.task.table(tx).names(tx, [asked.item_id]).get(asked.item_id, asked.item_id)
                )
                becomes = "is parked" if kept.parked else "is asked once more by a later run"
                give_up_batch(tx, batch, why=f"line {line} was refused: {said}", at=at)
            elif batch.refusals >= MAX_REFUSALS:
                give_up_batch(tx, batch, why=f"refused {batch.refusals} times: {why}", at=at)
        drop_upload(ws.client, upload)
        if asked is None:
            submit = ws.task.words.step("batch-submit")
            is_over = batch.refusals >= MAX_REFUSALS
            again = f" {batch.refusals} times and given up" if is_over else ""
            hint = (
                f"`{submit}` {'asks its items in a new batch' if is_over else 'sends it once more'}"
            )
            message = f"batch {batch.number} was refused{again}: {why}"
            raise errors.RefusedError(message, hint=hint, code=error.code, status=error.status)
        rest = "; the rest goes into a new batch" if batch.requests > 1 else ""
        ws.display.warn(
            f"batch {batch.number}: line {line} was refused: {said}; {name}, which stands there, {becomes}{rest}"
        )
        return SendOutcome.REBUILD


def write_failures(
    tx: Connection, ws: WorkspaceSession, judged: Sequence[JudgedReply], *, source: Provenance
) -> WriteResult:
    """Write what failed, and park what asks the same as what is parked."""
    kept = write_judgements(tx, ws.task, judged, source=source, at=ws.now())
    tell_equals(tx, ws.task, judged, kept, None, source=source, at=ws.now())
    return kept


def give_up_batch(tx: Connection, batch: "BatchRow", *, why: str, at: datetime) -> int:
    """End a batch and let its items go, uncharged; return how many can be asked again."""
    batches.mark_failed(tx, batch, why=why, at=at)
    return claims.release_claims(tx, batch.number)


def reconcile(
    ws: WorkspaceSession, batch: BatchRow, listing: Sequence[RemoteBatch] | None = None
) -> ReconcileResult:
    """Look for any try of a *submitting* batch in the whole remote list, and adopt the oldest that is found.

    Only a list that is read late enough proves absence. Recorded times may come from a wrong clock.
    So this process waits for the list's lag, and for the create's time-out if the end of the create
    is unknown, by the monotonic clock from its first look on. A `listing` that was read before
    proves nothing by what it lacks.
    """
    began = ws.monotonic()
    create = (batch.number, batch.tries, batch.create_ended_at)
    first_look = ws.first_looks.setdefault(create, began)
    with ws.store.read() as tx:
        prefixes = batches.numbers_by_prefix(tx, batch.number)
    remote = ws.client.list_batches() if listing is None else listing
    ours = (one for one in remote if batches.name_prefix(one.display_name) in prefixes)
    # those that may give answers first, then the oldest; those without a time come last
    found = sorted(ours, key=lambda one: (one.state in USELESS, one.created_at or NEVER, one.name))
    if found:
        with ws.store.write() as tx:
            name = found[0].name
            display_name = found[0].display_name
            at = ws.now()
            batches.mark_submitted(
                tx, batch, remote_name=name, display_name=display_name, how="adopted", at=at
            )
            _record_duplicates(tx, batches.get_batch(tx, batch.number), found, at=at)
        ws.display.say(f"batch {batch.number}: found again as {name}")
        cancel_duplicates(ws, batch.number)
        return ReconcileResult(adopted=True)
    due = first_look + ws.settings.list_lag
    if batch.create_ended_at is None:
        due += ws.settings.create_timeout
    if listing is None and began >= due:
        return ReconcileResult(absent=True)
    return ReconcileResult(wait_s=min(MAX_LOOK_WAIT_S, max(LEAST_WAIT_S, due - ws.monotonic())))


def wait_for_look(ws: WorkspaceSession, number: int, look: ReconcileResult) -> None:
    """Say that the create of a batch stays unclear, and sleep until the next look; no lock is held."""
    ws.display.say(
        f"batch {number}: the create call stays unclear; looking again in {look.wait_s:.0f} s"
    )
    ws.sleep(look.wait_s)


def hidden_for(batch: BatchRow, settings: Settings, *, now: datetime) -> float:
    """Return for how many seconds more the API may not show a batch that it has made; 0 where it must show it.

    A batch that lies in the future counts as made just now.
    """
    made = min(now, batch.submitted_at or now)
    return max(0.0, (made + timedelta(seconds=settings.list_lag) - now).total_seconds())


def cancel_duplicates(
    ws: WorkspaceSession, number: int, listing: Iterable[RemoteBatch] = ()
) -> None:
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
            with contextlib.suppress(errors.MissingError):
                ws.client.cancel_batch(name)
        except errors.RemoteError as error:
            ws.display.warn(
                f"batch {number}: its duplicate {name} could not be cancelled yet: {error.message}"
            )
            continue
        with ws.store.write() as tx:
            batches.duplicate_cancelled(tx, name, at=ws.now())
        ws.display.warn(
            f"batch {number}: a second remote batch, {name}, was cancelled and recorded"
        )


def _record_duplicates(
    tx: Connection, batch: BatchRow, listing: Iterable[RemoteBatch], *, at: datetime
) -> None:
    prefixes = batches.numbers_by_prefix(tx, batch.number)
    for one in listing:
        if batches.name_prefix(one.display_name) in prefixes and one.name != batch.remote_name:
            batches.add_duplicate(
                tx, batch, remote_name=one.name, display_name=one.display_name, at=at
            )
            if one.state.is_over:
                batches.duplicate_cancelled(tx, one.name, at=at)


def drop_upload(
    client: Client, upload: str | None, *, warn: Callable[[str], None] = lambda _: None
) -> None:
    """Delete an upload that is not needed any more; where it cannot be reached, the API forgets it after 48 h."""
    try:
        if upload:
            client.delete(upload)
    except errors.RemoteError as error:
        warn(
            f"the upload {upload} could not be deleted, and the API forgets it after 48 h: {error.message}"
        )
