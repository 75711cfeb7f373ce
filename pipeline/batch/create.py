"""Create exactly one remote batch per batch, although create is not idempotent and its reply may be lost.

prepared -> submitting is committed before the one create call. A clear refusal goes back; anything unclear stays
*submitting* until the whole remote list, read late enough, shows the batch (then it is adopted) or shows nothing (only
then is create called again). Every try has its own display name, and all of them are looked for.
"""

import re
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from pipeline.batch.reconcile import USELESS, Reconciliation, cancel_duplicates, lock_of, reconcile
from pipeline.batch.refused import settle_refusal
from pipeline.batch.uploads import drop_upload
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
from pipeline.core.states import BatchState
from pipeline.cost import budget, estimate
from pipeline.engine.workspace import OpenWorkspace
from pipeline.store import batches, workspace
from pipeline.store.batches import Batch
from pipeline.store.locks import Lock, LockLostError

if TYPE_CHECKING:
    from pipeline.gemini.remote import RemoteBatch
    from pipeline.store.database import Connection


UPLOAD_KEPT = timedelta(hours=40)  # for which an upload is used again; the API keeps it 48
MAX_UNCLEAR = 3  # creates of one batch in one run that nothing is known of, before a person should look
MAX_LOST = 3  # times in one run that another process went on with a batch while this one stood still


class SendOutcome(StrEnum):
    """What came of sending one batch."""

    CREATED = "created"
    ADOPTED = "adopted"  # a create whose reply was lost was found in the list
    ELSEWHERE = "in other hands"  # another process holds it, or has moved it
    REBUILD = "rebuilt"  # one line was refused; the rest goes into a new batch


def send_batch(ws: OpenWorkspace, number: int) -> SendOutcome:
    """Bring one prepared or unclear batch to *submitted*, waiting out an unclear create without holding its lock.

    Raises:
        QuotaFullError: by our own count the API takes no more for now.
        RemoteError: a clear refusal for now (4), or a create that stays unclear.
        KeyRefusedError, MissingError: something must be configured; the batch is *prepared* again.
    """
    unclear = lost = 0
    is_first = True
    while True:
        try:
            with ws.locks.hold(lock_of(number)) as lock:
                if lock is None:
                    ws.display.say(f"batch {number}: {ws.locks.holder(lock_of(number))}")
                    return SendOutcome.ELSEWHERE
                with ws.store.read() as tx:
                    send = _Send(ws, batches.get_batch(tx, number), lock, is_first=is_first)
                is_first = False
                found = send.once(may_create=unclear < MAX_UNCLEAR)
        except (StateConflictError, LockLostError):  # another process went on with it: read it again
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


class _Send(NamedTuple):
    """One step of a batch towards *submitted*, under its lock."""

    ws: OpenWorkspace
    batch: Batch
    lock: Lock
    is_first: bool  # of this process

    def once(self, *, may_create: bool) -> SendOutcome | Reconciliation | None:
        """Do what the batch's state asks for: its fate, a look that must be repeated, or None for an unclear create."""
        batch = self.batch
        if batch.state is BatchState.SUBMITTING:
            look = reconcile(self.ws, batch)
            if look.adopted:
                return SendOutcome.ADOPTED
            if not look.absent:
                return look
            if not may_create:
                raise RemoteError(
                    f"batch {batch.number}: {MAX_UNCLEAR} create calls ended without an answer, and the list shows "
                    f"none of them; last: {batch.reason}",
                    hint=f"run `{self.ws.task.words.make('batch-submit')}` again later; it looks before it creates",
                )
        elif batch.state is not BatchState.PREPARED:
            return SendOutcome.ELSEWHERE
        return self._create()

    def _create(self) -> SendOutcome | Reconciliation | None:
        """Upload if need be, commit the intent, and call create once; None when the outcome is unclear."""
        ws, number = self.ws, self.batch.number
        with ws.store.read() as tx:
            self._check_room(tx)
            workspace_id = workspace.get_workspace(tx).workspace_id
        name = batches.name_of_try(self.batch, self.batch.tries + 1, workspace_id=workspace_id)
        upload = self._upload(name)
        there = self._made_elsewhere(name) if self.is_first and self.batch.state is BatchState.PREPARED else []
        batch = self._commit_intent(name)
        if there:
            look = reconcile(ws, batch, there)
            return SendOutcome.ADOPTED if look.adopted else look
        self.lock.check()  # the last moment at which a process that stood still can know that it was overtaken
        try:
            remote = ws.client.create_batch(batch.model, file_name=upload, display_name=name)
        except RefusedError as error:
            return self._refused(batch, error)
        except NotSentError as error:
            self._put_back(batch, error, outcome="not sent", keep_upload=True)
            raise
        except UnavailableError as error:
            with ws.store.write() as tx:
                batches.note_unclear(tx, batch, why=error.message, at=ws.now())
            ws.display.warn(f"batch {number}: {error.message}; looking whether it was created")
            return None
        try:
            with ws.store.write() as tx:
                batches.mark_submitted(
                    tx, batch, remote_name=remote.name, display_name=name, how="created", at=ws.now()
                )
        except StateConflictError:
            cancel_duplicates(ws, number, [remote])  # another process went on with the batch meanwhile
            raise
        ws.display.say(f"batch {number}: created as {remote.name}, {batch.requests:,} requests")
        return SendOutcome.CREATED

    def _made_elsewhere(self, name: str) -> "list[RemoteBatch]":
        """Return what the API has of a batch that is only prepared here: the database is an older copy.

        What was asked by the same file is adopted, and not paid for again. A person is told of what other files asked.
        """
        try:
            listing = self.ws.client.list_batches()
        except RemoteError:  # a server that keeps no list, or has none to give: no reason not to ask
            return []
        number, prefix = self.batch.number, batches.name_prefix(name)
        with self.ws.store.read() as tx:  # after the list: whatever is in it was recorded before it was created
            least = batches.next_number(tx)
        ours = re.compile(re.escape(name[: name.index(self.batch.task)]) + r".+-(\d{1,9})-[0-9a-f]+")
        there = [(ours.fullmatch(batches.name_prefix(one.display_name)), one) for one in listing]
        unknown = [int(found[1]) for found, _ in there if found and found[0] != prefix]
        if count := sum(one == number or one >= least for one in unknown):
            self.ws.display.warn(
                f"batch {number}: the API has {count} of this workspace that are not known here, so the database is an "
                "older copy, and what they asked may be paid for twice. `make doctor` names them"
            )
        return [one for found, one in there if found and found[0] == prefix and one.state not in USELESS]

    def _commit_intent(self, name: str) -> Batch:
        """Move the batch to *submitting* under the name of this try, and return it as it is now."""
        ws, batch = self.ws, self.batch
        with ws.store.write() as tx:
            self._check_room(tx)  # again: others may have sent while this one uploaded
            if batch.state is BatchState.SUBMITTING:
                batches.note_absent(tx, batch)
            else:  # one prepared under another budget; error 0, for it was cut to fit with the error then known
                budget.budgets(ws).check(tx, batch.estimated_cost, error=0.0, but=batch.number)
            batches.mark_submitting(tx, batch, display_name=name, at=ws.now())
            return batches.get_batch(tx, batch.number)

    def _check_room(self, tx: "Connection") -> None:
        reason, words = estimate.quota_shortfall(tx, self.batch, self.ws.settings), self.ws.task.words
        if reason:
            raise estimate.QuotaFullError(
                f"batch {self.batch.number} is ready and waits: {reason}",
                hint=f"`{words.make('batch-poll')}` until a batch is over, then `{words.make('batch-submit')}` again",
            )

    def _upload(self, name: str) -> str:
        """Return the name of an upload of the request file that is young enough, making one where there is none."""
        ws, batch = self.ws, self.batch
        if batch.upload and batch.uploaded_at and ws.now() - batch.uploaded_at < UPLOAD_KEPT:
            return batch.upload
        what = f"the request file of batch {batch.number}"
        path = files.verify(ws.data / batch.request_file, sha256=batch.request_sha256, what=what)
        upload = ws.client.upload(path, display_name=name, sha256=batch.request_sha256, size=batch.request_size)
        with ws.store.write() as tx:
            batches.note_upload(tx, batch.number, upload=upload, at=ws.now())
        return upload

    def _refused(self, batch: Batch, error: RefusedError) -> SendOutcome:
        """Deal with a clear refusal of the create call: nothing was made.

        A quota or a matter of configuration puts the batch back for later; a refusal of the file itself costs the line
        that is named, or at the second time the batch.
        """
        ws = self.ws
        if isinstance(error, ThrottledError | KeyRefusedError | MissingError):
            self._put_back(batch, error, outcome="refused", keep_upload=isinstance(error, ThrottledError))
            raise error
        with ws.store.write() as tx:  # all at once: a moment later another process may send the batch again
            batches.mark_refused(
                tx, batch, why=error.message, outcome="refused", counts=True, keep_upload=False, at=ws.now()
            )
            refused = batches.get_batch(tx, batch.number)
            each = ws.settings.ask_each
            found = settle_refusal(tx, refused, error, task=ws.task, model=ws.model, asks_each=each, at=ws.now())
        drop_upload(ws.client, batch.upload)
        if isinstance(found, RefusedError):
            raise found
        ws.display.warn(found)
        return SendOutcome.REBUILD

    def _put_back(self, batch: Batch, error: FindableError, *, outcome: str, keep_upload: bool) -> None:
        """Put a batch back to *prepared* after a create that certainly made nothing."""
        with self.ws.store.write() as tx:
            at = self.ws.now()
            batches.mark_refused(
                tx, batch, why=error.message, outcome=outcome, counts=False, keep_upload=keep_upload, at=at
            )
