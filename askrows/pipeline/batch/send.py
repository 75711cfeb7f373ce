"""Create exactly one remote batch per batch, although a create call may lose its reply.

- prepared -> submitting is committed before the single create call.
- A clear refusal moves the batch back to prepared. A refused line charges its row, so the failure
  counts against it; the second refusal of a whole file gives up the batch.
- After an unclear create the batch stays submitting until `batch/reconcile.py` finds its remote
  batch or proves that it does not exist. Only then is create called again.
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from askrows.pipeline.batch import budget
from askrows.pipeline.batch.batch_files import (
    get_checked_request_path,
    make_batch_lock_name,
    retry_on_conflict,
)
from askrows.pipeline.batch.reconcile import (
    USELESS_STATES,
    ReconcileResult,
    find_and_adopt_remote_batch,
    record_and_cancel_duplicates,
    wait_for_next_list,
)
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core import errors, files
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.states import BatchState, Outcome
from askrows.pipeline.core.text import plural
from askrows.pipeline.provider import responses
from askrows.pipeline.provider.remote_batch import RemoteBatch
from askrows.pipeline.store import batches, claims, workspace
from askrows.pipeline.store.batches import BatchRow
from askrows.pipeline.store.claims import RowClaim
from askrows.pipeline.store.database import Connection
from askrows.pipeline.store.locks import Lock
from askrows.pipeline.tasks.equal_rows import answer_or_park_equal_rows
from askrows.pipeline.tasks.request_outcomes import Provenance, store_outcomes_and_end_claims
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_values import RequestOutcome, WriteResult

if TYPE_CHECKING:
    from askrows.pipeline.provider.port import ProviderClient

# Unclear creates of a batch in a run, before a person should look.
MAX_UNCLEAR_CREATES = 3
# A stopped process reads its batch this often after another process continued it.
MAX_CONFLICTS = 4
# A request file that was refused this often is given up.
MAX_REFUSALS = 2
# The HTTP status code after which the upload is used again.
TOO_MANY_REQUESTS = 429
# Beginning of the reason of a row whose line was refused.
REFUSED_AT_CREATE = "refused at create"


class SendOutcome(StrEnum):
    """Result of sending a batch."""

    CREATED = "created"
    # The batch of a create whose reply was lost was found in the list.
    ADOPTED = "adopted"
    # Another process works on the batch, or has moved it.
    TAKEN_BY_OTHER_PROCESS = "in other hands"
    # One line was refused. The other requests go into a new batch.
    REBUILD = "rebuilt"


def send_batch(run: Run, number: int) -> SendOutcome:
    """Create a prepared or submitting batch at the API, so that it is submitted.

    A submitting batch has an unclear create: its reply was lost, so it may or may not have made a
    remote batch. This call waits, without the lock of the batch, until the remote list shows which.
    If nothing was created, create is called again, but not after MAX_UNCLEAR_CREATES unclear
    creates in this call. Prints the holder of the lock if another process has it.

    Returns:
        CREATED, or ADOPTED if a remote batch of an earlier create was found. REBUILD if one line
        was refused and the batch was given up; its other rows are open again, and the caller
        prepares a new batch of them. TAKEN_BY_OTHER_PROCESS if another process has the lock, or has
        moved the batch to a state that is neither prepared nor submitting.

    Raises:
        QuotaFullError: The API would refuse the batch now, by our own count.
        BudgetError: The batch no longer fits a budget.
        RemoteError: The API refused the batch: it is prepared again, or given up after MAX_REFUSALS
            refusals. Or its create stays unclear: it stays submitting.
        KeyRefusedError, MissingError, SchemaRefusedError: A person must change something. The batch
            is prepared again.
        InconsistentError: The request file was changed.
        StateConflictError, LockLostError: Other processes moved the batch to another state in each
            of MAX_CONFLICTS tries.
    """
    unclear_creates = 0
    is_first = True

    def try_send() -> SendOutcome | ReconcileResult | None:
        """Create the batch at the API under its lock, after an unclear create call is resolved.

        A create call is unclear if its reply was lost. Then the API's list of batches shows whether
        it made the batch. The result is a ReconcileResult if that list must be read again, and None
        if a create call of this function is unclear. If another process has the lock, prints that
        process and returns TAKEN_BY_OTHER_PROCESS.
        """
        lock_name = make_batch_lock_name(number)
        with run.workspace.locks.try_lock(lock_name) as lock:
            if lock is None:
                holder = run.workspace.locks.describe_lock_holder(lock_name)
                run.workspace.display.say(f"batch {number}: {holder}")
                return SendOutcome.TAKEN_BY_OTHER_PROCESS
            batch = run.workspace.store.query(batches.get_batch, number)
            send = _Send(run, batch, lock, is_first=is_first)
            return send.resolve_and_create_batch(may_create=unclear_creates < MAX_UNCLEAR_CREATES)

    while True:
        step_result = retry_on_conflict(try_send, max_calls=MAX_CONFLICTS)
        is_first = False
        if isinstance(step_result, SendOutcome):
            return step_result
        if step_result is None:
            unclear_creates += 1
            continue
        wait_for_next_list(run.workspace.display, run.workspace.sleep, number, step_result)


class _Send(NamedTuple):
    """A try to send a batch, whose lock the caller has."""

    run: Run
    batch: BatchRow
    lock: Lock
    # This process has not tried to send the batch before.
    is_first: bool

    def resolve_and_create_batch(self, *, may_create: bool) -> SendOutcome | ReconcileResult | None:
        """Resolve an unclear create, then create the batch unless it was found.

        A prepared batch is created at once. A submitting batch is first searched in the remote
        list, and created only if the list proves that nothing was created.

        Args:
            may_create: False if too many creates were unclear already. Then a submitting batch that
                is not in the list is not created; a prepared batch is.

        Returns:
            The outcome, or a result after which the list must be read again, or None if the create
            is unclear. A batch in another state gives TAKEN_BY_OTHER_PROCESS.

        Raises:
            RemoteError: The list proves that nothing was created, but `may_create` is false. All
                errors of a create are raised too.
        """
        batch = self.batch
        if batch.state is BatchState.SUBMITTING:
            reconciled = find_and_adopt_remote_batch(self.run, batch)
            if reconciled.adopted:
                return SendOutcome.ADOPTED
            if not reconciled.absent:
                return reconciled
            if not may_create:
                submit = self.run.task.nouns.command("batch-submit")
                raise errors.RemoteError(
                    f"batch {batch.number}: {MAX_UNCLEAR_CREATES} create calls ended without a "
                    f"reply, and the API lists no batch of them; last: {batch.reason}",
                    hint=f"run `{submit}` again later; it searches before it creates a batch",
                )
        elif batch.state is not BatchState.PREPARED:
            return SendOutcome.TAKEN_BY_OTHER_PROCESS
        return self._upload_and_create_batch()

    def _upload_and_create_batch(self) -> SendOutcome | ReconcileResult | None:
        """Upload the file if needed, commit the intent, and call create once.

        Checks quota and budgets first. A created batch is stored as submitted, and its name is
        printed.

        Before this process sends a prepared batch for the first time, the remote list is searched
        for a batch that another copy of the workspace created from the same file. If there is one,
        it is adopted, and nothing is created.

        Returns:
            CREATED, ADOPTED or REBUILD, or a result after which the list must be read again, or
            None if the create is unclear. An unclear create is recorded and printed; the batch
            stays submitting.

        Raises:
            ConfigurationError: The batch is for another address. Nothing was created.
            QuotaFullError, BudgetError: A limit does not allow the batch. Nothing was created.
            RemoteError: The API refused the batch; it is prepared again or was given up.
            NotSentError: The create call was not sent; the batch is prepared again.
            InconsistentError: The request file was changed.
            LockLostError: Another process has the lock now. Nothing was created.
            StateConflictError: Another process moved the batch. A batch that was created here is
                then cancelled as a duplicate.
        """
        run = self.run
        number = self.batch.number
        run.check_batch_address(self.batch)
        with run.workspace.store.read() as tx:
            self._check_quota(tx)
            workspace_id = workspace.read_workspace(tx).workspace_id
        display_name = batches.make_try_name(
            self.batch,
            self.batch.tries + 1,
            workspace_id=workspace_id,
        )
        upload = self._upload_requests(display_name)
        existing_batches = []
        if self.is_first and self.batch.state is BatchState.PREPARED:
            existing_batches = self._find_batches_created_elsewhere(display_name)
        batch = self._check_limits_and_record_submitting(display_name)
        if existing_batches:
            reconciled = find_and_adopt_remote_batch(run, batch, existing_batches)
            return SendOutcome.ADOPTED if reconciled.adopted else reconciled

        # A process that was suspended can only notice now that another process has its lock.
        self.lock.raise_if_lost()
        try:
            remote = run.client.create_batch(
                batch.model,
                file_name=upload,
                display_name=display_name,
            )
        except errors.RefusedError as error:
            return self._record_refusal_and_raise_unless_of_line(batch, error)
        except errors.NotSentError as error:
            with run.workspace.store.write() as tx:
                batches.record_refused(
                    tx,
                    batch,
                    reason=error.message,
                    outcome="not sent",
                    now=run.workspace.now(),
                )
            raise
        except errors.UnavailableError as error:
            with run.workspace.store.write() as tx:
                batches.record_lost_create_reply(
                    tx, batch, reason=error.message, now=run.workspace.now()
                )
            run.workspace.display.warn(
                f"batch {number}: {error.message}; checking whether it was created"
            )
            return None

        try:
            with run.workspace.store.write() as tx:
                batches.record_submitted(
                    tx,
                    batch,
                    remote_name=remote.name,
                    display_name=display_name,
                    outcome="created",
                    now=run.workspace.now(),
                )
        except errors.StateConflictError:
            # Another process continued the batch meanwhile.
            record_and_cancel_duplicates(run, number, [remote])
            raise
        run.workspace.display.say(
            f"batch {number}: created as {remote.name}, {plural(batch.requests, 'request')}"
        )
        return SendOutcome.CREATED

    def _find_batches_created_elsewhere(self, display_name: str) -> list[RemoteBatch]:
        """Return remote batches that another copy of this workspace created from this batch.

        There are some if the database was restored from a backup that is older than their create.
        Reads the whole remote list. Warns if the list has further batches of this workspace that
        the database does not contain: another file under this number, or a number not yet used
        here. Other files under earlier numbers are not counted.

        Args:
            display_name: The name under which the batch would be created.

        Returns:
            Remote batches with this batch's name. Failed, cancelled and expired batches are left
            out, because they give no answers. Empty if the list cannot be read; this is not
            printed.
        """
        try:
            listing = self.run.client.list_batches()
        except errors.RemoteError:
            # Some servers have no list. The batch is sent nevertheless.
            return []
        number = self.batch.number
        prefix = batches.strip_try_number(display_name)
        # Read after the list: each batch in the list was recorded here before it was created.
        next_number = self.run.workspace.store.query(batches.compute_next_batch_number)

        workspace_part = display_name[: display_name.index(self.batch.task)]
        workspace_name = re.compile(re.escape(workspace_part) + r".+-(\d{1,9})-[0-9a-f]+")
        own_batches = []
        unknown_count = 0
        for remote in listing:
            remote_prefix = batches.strip_try_number(remote.display_name)
            match = workspace_name.fullmatch(remote_prefix)
            if match is None:
                continue
            if remote_prefix == prefix:
                own_batches.append(remote)
                continue
            remote_number = int(match[1])
            if remote_number == number or remote_number >= next_number:
                unknown_count += 1

        if unknown_count:
            unknown_batches = plural(unknown_count, "batch", "batches")
            self.run.workspace.display.warn(
                f"batch {number}: the API has at least {unknown_batches} of this workspace that "
                "the database does not contain, so the database is an older copy. Rows may be paid "
                f"for twice. `{CommandHint('doctor')}` lists the batches",
            )
        return [remote for remote in own_batches if remote.state not in USELESS_STATES]

    def _check_limits_and_record_submitting(self, display_name: str) -> BatchRow:
        """Commit the state submitting, with this name of the remote batch, and return the batch.

        If the batch was submitting already, the transaction also records that its last try created
        nothing. A prepared batch must still fit the budgets. The quota is checked for both.

        Raises:
            QuotaFullError, BudgetError: A limit no longer allows the batch. Nothing is changed.
            StateConflictError: Another process moved the batch. Nothing is changed.
        """
        run = self.run
        batch = self.batch
        with run.workspace.store.write() as tx:
            # Other processes may have sent batches during the upload.
            self._check_quota(tx)
            if batch.state is BatchState.SUBMITTING:
                batches.record_try_created_nothing(tx, batch)
            else:
                # The batch may have been prepared under another budget.
                budget.make_current_budgets(run).check_batch_fits(tx, batch)
            batches.record_submitting(tx, batch, display_name=display_name, now=run.workspace.now())
            return batches.get_batch(tx, batch.number)

    def _check_quota(self, tx: Connection) -> None:
        """Refuse to send a batch that the API would refuse now.

        Raises:
            QuotaFullError: Other batches use up the API's limits.
        """
        reason = budget.find_quota_refusal_reason(tx, self.batch, self.run.workspace.settings)
        if not reason:
            return
        nouns = self.run.task.nouns
        raise budget.QuotaFullError(
            f"batch {self.batch.number} is prepared and waits: {reason}",
            hint=f"wait with `{nouns.command('batch-poll')}` until a batch is over, "
            f"then run `{nouns.command('batch-submit')}` again",
        )

    def _upload_requests(self, display_name: str) -> str:
        """Upload the verified request file and record it; return the name of the upload.

        A recorded upload younger than `Provider.file_reuse_time` is used again; then the file is
        neither read nor sent. An upload recorded in the future is not used.

        Raises:
            InconsistentError: The request file was changed.
            RemoteError: The upload failed.
        """
        run = self.run
        batch = self.batch
        if batch.upload and batch.uploaded_at:
            # A time in the future was recorded by a wrong clock, so the age is unknown.
            age = run.workspace.now() - batch.uploaded_at
            if timedelta(0) <= age < run.workspace.provider.file_reuse_time:
                return batch.upload

        path = files.verify_sealed_file(
            get_checked_request_path(run.workspace.data, batch),
            sha256=batch.request_sha256,
            file_label=f"the request file of batch {batch.number}",
        )
        upload = run.client.upload_file(
            path,
            display_name=display_name,
            sha256=batch.request_sha256,
            size=batch.request_size,
            model=batch.model,
        )
        with run.workspace.store.write() as tx:
            batches.update_batch_columns(
                tx, batch.number, upload=upload, uploaded_at=run.workspace.now()
            )
        return upload

    def _record_refusal_and_raise_unless_of_line(
        self, batch: BatchRow, error: errors.RefusedError
    ) -> SendOutcome:
        """Record that the API clearly refused the create call, so nothing was created.

        - A quota (429): the batch is prepared again, and its upload is kept for the next try. If
          too many tokens are queued, the cancelled batches that use some are printed.
        - A lasting refusal, such as a bad key: the batch is prepared again, and the next try
          uploads the file again. After a refused schema the upload is deleted. A refused model is
          recorded, so that the batch is given up when another model is set.
        - A refused line: its row is charged, the batch is given up, its upload is deleted and a
          warning is printed.
        - Any other refusal: the batch is prepared again; after MAX_REFUSALS refusals it is given
          up. Its upload is deleted.

        Returns:
            REBUILD after a refused line: the other rows go into a new batch.

        Raises:
            RemoteError: The refusal, in all other cases.
        """
        run = self.run
        reason = error.message
        refused_at = run.workspace.now()
        columns: dict[str, object] = {"upload": None, "uploaded_at": None}
        if error.code == TOO_MANY_REQUESTS:
            columns = {}
        if isinstance(error, (errors.ThrottledError, *errors.LASTING_REFUSALS)):
            is_model_refused = isinstance(error, errors.ModelRefusedError)
            with run.workspace.store.write() as tx:
                batches.record_refused(
                    tx,
                    batch,
                    reason=reason,
                    outcome=batches.MODEL_REFUSED if is_model_refused else "refused",
                    now=refused_at,
                    **columns,
                )
            if isinstance(error, errors.ThrottledError) and error.is_queue_full:
                self._warn_of_full_queue()
            if isinstance(error, errors.SchemaRefusedError):
                try_delete_upload(run.client, batch.upload)
            raise error

        line = responses.parse_bad_line_number(reason)
        columns["refusals"] = batch.refusals + 1
        message = ""
        # One transaction: another process may send the batch again as soon as it is prepared.
        with run.workspace.store.write() as tx:
            batches.record_refused(
                tx,
                batch,
                reason=reason,
                outcome="refused",
                now=refused_at,
                **columns,
            )
            # The refusal removed the name of the upload from the stored batch.
            upload = batch.upload
            batch = batches.get_batch(tx, batch.number)
            line_claims = (
                claim
                for claim in claims.read_claims_of_batch(tx, batch.number)
                if claim.line == line
            )
            claim = next(line_claims, None)
            if claim is not None:
                line_reason = reason.partition(f"Error on line {line}")[2].lstrip(": ")
                line_reason = line_reason or "no reason was given"
                row_note = self._charge_refused_line_and_describe(tx, batch, claim, line_reason)
                fail_batch_and_release_claims(
                    tx,
                    batch,
                    reason=f"line {line} was refused: {line_reason}",
                    now=refused_at,
                )
                message = (
                    f"batch {batch.number}: line {line} was refused: {line_reason}; {row_note}"
                )
            elif batch.refusals >= MAX_REFUSALS:
                fail_batch_and_release_claims(
                    tx,
                    batch,
                    reason=f"refused {batch.refusals} times: {reason}",
                    now=refused_at,
                )

        try_delete_upload(run.client, upload)
        if claim is None:
            raise self._make_file_refusal_error(batch, error)
        suffix = "; the other rows go into a new batch" if batch.requests > 1 else ""
        run.workspace.display.warn(f"{message}{suffix}")
        return SendOutcome.REBUILD

    def _warn_of_full_queue(self) -> None:
        """Print which cancelled batches of the model use queued tokens; nothing if none does."""
        active_batches = self.run.workspace.store.query(
            batches.list_batches_in_states, *budget.API_STATES
        )
        cancelled_text = budget.describe_cancelled_in_queue(
            [active for active in active_batches if active.model == self.batch.model],
            self.run.workspace.provider,
        )
        if cancelled_text:
            self.run.workspace.display.warn(f"batch {self.batch.number} waits: {cancelled_text}")

    def _charge_refused_line_and_describe(
        self,
        tx: Connection,
        batch: BatchRow,
        claim: RowClaim,
        reason: str,
    ) -> str:
        """Charge the row of a refused line; return one text with its name and its next step.

        To charge the row is to count the failure against it, by the outcome REFUSED. The row may be
        parked by this; open rows with the same input are then parked too. Runs in the caller's
        transaction.
        """
        run = self.run
        provenance = Provenance(batch.number, batch.version, run.model, batch.fingerprint)
        request_outcome = RequestOutcome(claim, Outcome.REFUSED, f"{REFUSED_AT_CREATE}: {reason}")
        write_result = store_failures_and_park_equal_rows(
            tx, run.task, run.workspace.now, [request_outcome], source=provenance
        )
        names = run.task.rows.read_names(tx, [claim.row_id])
        row_name = names.get(claim.row_id, claim.row_id)
        is_parked = bool(write_result.parked)
        next_step = "is parked" if is_parked else "is asked once more by the next run"
        return f"its row, {row_name}, {next_step}"

    def _make_file_refusal_error(
        self, batch: BatchRow, error: errors.RefusedError
    ) -> errors.RefusedError:
        """Return the error that a whole file was refused; its hint names the next step of submit.

        Args:
            batch: The stored batch after the refusal. If it has MAX_REFUSALS refusals, the message
                says that it was given up.
        """
        submit = self.run.task.nouns.command("batch-submit")
        count_note = ""
        hint = f"`{submit}` sends the batch once more"
        if batch.refusals >= MAX_REFUSALS:
            count_note = f" {batch.refusals} times and given up"
            hint = f"`{submit}` asks its rows in a new batch"
        message = f"batch {batch.number} was refused{count_note}: {error.message}"
        return errors.RefusedError(message, hint=hint, code=error.code, status=error.status)


def store_failures_and_park_equal_rows(
    tx: Connection,
    task: Task,
    now: Callable[[], datetime],
    request_outcomes: Sequence[RequestOutcome],
    *,
    source: Provenance,
) -> WriteResult:
    """Store failed requests, and park rows with the same input as a row that is parked now.

    Runs in the caller's transaction. A row is parked if it has failed too often.
    """
    write_result = store_outcomes_and_end_claims(
        tx, task, request_outcomes, provenance=source, now=now()
    )
    answer_or_park_equal_rows(
        tx,
        task,
        request_outcomes,
        write_result,
        None,
        provenance=source,
        now=now(),
    )
    return write_result


def fail_batch_and_release_claims(
    tx: Connection,
    batch: BatchRow,
    *,
    reason: str,
    now: datetime,
) -> int:
    """Move a batch to failed and release its claims, without charging a row.

    Runs in the caller's transaction.

    Returns:
        The number of rows that were released.

    Raises:
        StateConflictError: Another process has moved the batch.
    """
    batches.record_failed(tx, batch, reason=reason, now=now)
    return claims.release_claims(tx, batch.number)


def try_delete_upload(
    client: "ProviderClient",
    upload: str | None,
    *,
    warn: Callable[[str], None] = lambda _: None,
) -> None:
    """Delete an upload that is not needed any more; None does nothing, and no error is raised.

    Args:
        warn: Called with a message if the upload cannot be deleted. The API deletes it later.
    """
    if not upload:
        return
    try:
        client.delete_file_or_batch(upload)
    except errors.RemoteError as error:
        warn(
            f"the upload {upload} could not be deleted; the API deletes it later: {error.message}",
        )
