"""Write request files in one pass over the open rows, seal each file, and claim its rows.

- A file is sealed before its rows are claimed, so every claim has its file.
- Rows are selected, sealed and claimed under one lock, and leftover files are deleted under it too.
- A file is written under a random name. It gets its number and its final name in the transaction of
  the claim, so a process that lost the lock cannot write into another process's file.
- Live batches have small files, which are written in that transaction.
- Nothing here calls the API.

Terms of this module:

- A single batch asks about a few rows at once, outside of a run.
- A trial is a live batch that tests a prompt. It claims no rows.
- A control request is an invented request whose right reply is known. It shows whether a result
  gives replies to the wrong requests.
"""

import contextlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from askrows.pipeline.batch import budget
from askrows.pipeline.batch.batch_files import (
    BATCHES_FOLDER,
    make_batch_lock_name,
    request_path,
    result_path,
    retry_on_conflict,
)
from askrows.pipeline.batch.batch_plan import (
    LOOKUP_PAGE_REQUESTS,
    DraftEnd,
    RequestDraft,
    Selection,
    read_request_pages,
)
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core import files
from askrows.pipeline.core.errors import InconsistentError, StateConflictError
from askrows.pipeline.core.progress import ProgressBar
from askrows.pipeline.core.states import Mode
from askrows.pipeline.store import batches
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.store.locks import Lock
from askrows.pipeline.tasks import claiming
from askrows.pipeline.tasks.equal_rows import write_equal_answers
from askrows.pipeline.tasks.request_builder import PlannedRequest
from askrows.pipeline.tasks.request_outcomes import Provenance

PREPARE_LOCK = "prepare"
# Relative rounding error of costs that are added in another order.
ROUNDING = 1e-9
# How often a file is written again because another process changed its rows meanwhile.
MAX_TRIES = 5


class PreparedBatches(NamedTuple):
    """The batches that one call of `prepare_batches` prepared."""

    numbers: list[int]
    # Why no further batch was prepared.
    draft_end: DraftEnd
    # Rows that got the stored answer of an equal row instead.
    equal_rows: int


def prepare_batches(
    run: Run,
    selection: Selection,
    *,
    bar: ProgressBar,
    max_batches: int | None = None,
) -> PreparedBatches:
    """Prepare batches of the selected rows, as far as budgets allow; nothing is sent.

    To prepare a batch is to write and seal its request file and to claim its rows. Leftover request
    files are deleted first. Then batch after batch is prepared, until no row is left or a limit
    stops it. If a row or a lock is lost to another process, all this begins again; the batches
    prepared until then stay.

    Args:
        run: The run.
        selection: The rows.
        bar: Shows the progress.
        max_batches: The most batches to prepare; None means no limit.

    Returns:
        The batches, and why no further batch was prepared: NO_ROWS_LEFT also after `max_batches`.

    Raises:
        InconsistentError: The folder has a result file without a batch, so the database is an older
            copy. Or another process took rows, the budget or the quota of the same batch MAX_TRIES
            times.
        StateConflictError, LockLostError: Another process took a row or a lock each time, and the
            preparation began MAX_TRIES times.
    """
    preparation = Preparation(run, selection, bar)
    numbers = list[int]()

    def prepare_remaining() -> DraftEnd:
        """Delete leftover files, then prepare batches until there is a reason to stop.

        Adds the numbers of the batches to `numbers`.
        """
        with run.workspace.wait_for_lock(PREPARE_LOCK):
            _delete_unknown_request_files(run.workspace.data, run.workspace.store)
        while max_batches is None or len(numbers) < max_batches:
            prepared = preparation.prepare_next()
            if not isinstance(prepared, PreparedBatch):
                return prepared
            numbers.append(prepared.number)
        return DraftEnd.NO_ROWS_LEFT

    draft_end = retry_on_conflict(prepare_remaining, max_calls=MAX_TRIES)
    return PreparedBatches(numbers, draft_end, preparation.equal_rows)


def _delete_unknown_request_files(data: Path, store: Store) -> None:
    """Delete request files without a batch, which a process left that died before its claim.

    These are drafts and sealed request files in the batch folder. Files of known batches stay. The
    caller has the lock PREPARE_LOCK, so no other process is writing a draft.

    Raises:
        InconsistentError: There is a result file without a batch, so the database is older than the
            folder. Nothing was deleted.
    """
    folder = data / BATCHES_FOLDER
    # A write transaction keeps other processes from claiming a file before it is deleted.
    with store.write() as tx:
        all_batches = batches.list_batches_in_states(tx)
        request_paths = {request_path(data, batch.number) for batch in all_batches}
        result_paths = {result_path(data, batch.number) for batch in all_batches}
        unknown_results = sorted(set(folder.glob("[0-9]*-results.jsonl")) - result_paths)
        if unknown_results:
            raise InconsistentError(
                f"{unknown_results[0]} belongs to a batch that the database does not contain: the "
                "database is older than the folder; nothing was deleted",
                hint="use the newer database, or restore a newer backup",
            )
        for path in set(folder.glob("*-requests.jsonl*")) - request_paths:
            path.unlink(missing_ok=True)


class PreparedBatch(NamedTuple):
    """A batch that was prepared and whose rows are claimed."""

    number: int
    # Number of its requests.
    row_count: int
    # The last row that was seen, in the order of rows.
    last_id: str
    # Only of a live batch: its requests, and its lock, which the caller releases.
    requests: Sequence[PlannedRequest] = ()
    lock: Lock | None = None


@dataclass
class Preparation:
    """Prepares batches of the selected rows; each call of `prepare_next` prepares one batch."""

    run: Run
    selection: Selection
    bar: ProgressBar
    mode: Mode = Mode.BATCH
    # Number of the first batch of a live run, or None before it exists.
    run_number: int | None = None
    # Rows that got the answer of an equal row.
    equal_rows: int = 0
    # Requests in all batches up to now.
    _prepared_rows: int = 0
    _last_id: str | None = None

    def prepare_next(self) -> PreparedBatch | DraftEnd:
        """Prepare and claim the next batch, or return why no batch is possible.

        A batch begins after the last row of the batch before, so claimed rows are not read again
        and again. If no row is left there, the open rows are read once more from the first on, and
        the result is NO_ROWS_LEFT only if these give no batch either. A trial asks each row once.

        Only one process prepares batches at a time: this call waits for PREPARE_LOCK, and has the
        lock until it returns. In a run with a single batch, it neither waits for the lock nor
        takes it.

        Returns:
            The prepared batch, or the reason for no batch: no row is left, the limit of the
            selection is reached, or a budget or a quota has no room.

        Raises:
            InconsistentError: The rows changed MAX_TRIES times while their requests were written.
        """
        with (
            contextlib.nullcontext()
            if self.run.is_single_batch
            else self.run.workspace.wait_for_lock(PREPARE_LOCK)
        ):
            prepared = self._write_and_claim_batch(after_row_id=self._last_id)
            # The rows of a trial are not claimed, so they would be asked again.
            may_have_earlier_rows = self._last_id is not None and self.mode is not Mode.TRIAL
            if prepared is DraftEnd.NO_ROWS_LEFT and may_have_earlier_rows:
                prepared = self._write_and_claim_batch(after_row_id=None)

        if isinstance(prepared, PreparedBatch):
            self._prepared_rows += prepared.row_count
            self._last_id = prepared.last_id
        return prepared

    def _write_and_claim_batch(self, *, after_row_id: str | None) -> PreparedBatch | DraftEnd:
        """Write and claim a batch of rows after a row id, again if they change meanwhile.

        Args:
            after_row_id: Begin after the row with this id; None begins with the first row.

        Returns:
            The batch, or the reason why no batch is possible: NO_ROWS_LEFT if earlier batches
            reached the selection's limit or no row is left, else the limit that the first request
            exceeds.

        Raises:
            InconsistentError: Another process took a row, the budget or the quota in each of
                MAX_TRIES tries. Nothing was claimed.
        """
        run = self.run
        limit = self.selection.limit
        if self._prepared_rows and limit is not None and self._prepared_rows >= limit:
            return DraftEnd.NO_ROWS_LEFT

        for _ in range(MAX_TRIES):
            draft = run.workspace.store.query(self._fill_draft_and_seal_file, after_row_id)
            if isinstance(draft, DraftEnd):
                return draft
            # Another process may have claimed a row, or spent the money, since the file was read.
            with contextlib.suppress(StateConflictError), contextlib.ExitStack() as on_exit:
                if draft.file is not None:
                    # A file that got its final name is not deleted.
                    on_exit.callback(draft.file.path.unlink, missing_ok=True)
                on_error = on_exit.enter_context(contextlib.ExitStack())
                with run.workspace.store.write() as tx:
                    prepared = self._check_limits_and_claim_batch(tx, draft, on_error)
                on_error.pop_all()
                return prepared
        raise InconsistentError(
            f"another process changed the rows or the budget {MAX_TRIES} times while requests were "
            "written; nothing was claimed",
            hint="wait until the other command ends, then run the same command again",
        )

    def _fill_draft_and_seal_file(
        self, tx: Connection, after_row_id: str | None
    ) -> RequestDraft | DraftEnd:
        """Fill a draft with rows after a row id; seal the file of a batch for the Batch API.

        The file also gets its control requests. The requests of a live batch stay in memory. Shows
        the progress. Rows whose input was answered before get the answer of an equal row, which is
        stored in a write transaction of its own.

        Args:
            tx: A read transaction.
            after_row_id: Begin after the row with this id; None begins with the first row.

        Returns:
            The draft, or why it has no request: a limit, or NO_ROWS_LEFT.
        """
        draft_end = DraftEnd.NO_ROWS_LEFT
        is_api_batch = self.mode is Mode.BATCH
        draft = self._make_empty_draft_with_current_limits(tx)
        random_suffix = f".jsonl.{secrets.token_hex(4)}"
        draft_path = request_path(self.run.workspace.data, 0).with_suffix(random_suffix)
        draft_file = files.SealedWriter(draft_path) if is_api_batch else contextlib.nullcontext()
        with draft_file as writer:
            request_pages = read_request_pages(
                tx, self.run, self.selection, self.mode, after_row_id=after_row_id
            )
            for page in request_pages:
                added, page_stop_reason = draft.add_requests_until_limit(tx, page)
                if writer is None:
                    draft.requests += added
                else:
                    writer.write(b"".join(request.line + b"\n" for request in added))
                if len(draft.equal_answers) >= LOOKUP_PAGE_REQUESTS:
                    self._store_equal_answers(draft)
                self.bar.show(self._prepared_rows + draft.seen_rows)
                if page_stop_reason is not None:
                    draft_end = page_stop_reason
                    break

            self._store_equal_answers(draft)
            if draft.row_claims and writer is not None:
                draft.file = writer.seal()
        if draft.file is not None and draft.control_requests:
            self._rewrite_file_with_control_lines(draft, draft.file)
        return draft if draft.row_claims else draft_end

    def _rewrite_file_with_control_lines(self, draft: RequestDraft, file: files.SealedFile) -> None:
        """Write the file of a draft again with its control requests, and update the draft.

        Control requests show whether a result gives replies to the wrong requests. Only a file with
        enough rows has them, so they are added when its number of rows is known. They become the
        second, the middle and the last line. The draft's `file` is replaced, and the line numbers
        in its `row_claims` are those in the new file. After an error the file is deleted.
        """
        first_control, middle_control, last_control = draft.control_requests
        rows_before_middle = draft.file_rows // 2
        with (
            files.removed_on_error(file.path),
            files.SealedWriter(file.path) as writer,
            file.path.open("rb") as row_lines,
        ):
            writer.write(row_lines.readline())
            writer.write(first_control.line)
            for _ in range(1, rows_before_middle):
                writer.write(row_lines.readline())
            writer.write(middle_control.line)
            writer.write_rest_of(row_lines)
            writer.write(last_control.line)
            draft.file = writer.seal()
        row_claims = []
        for row_number, claim in enumerate(draft.row_claims, start=1):
            line_number = row_number
            if row_number > 1:
                line_number += 1
            if row_number > rows_before_middle:
                line_number += 1
            row_claims.append(claim._replace(line=line_number))
        draft.row_claims = row_claims

    def _store_equal_answers(self, draft: RequestDraft) -> None:
        """Store the draft's answers of equal rows in one transaction; remove them from the draft.

        Does nothing without answers of equal rows. Adds the rows that were written to `equal_rows`.
        """
        if not draft.equal_answers:
            return
        run = self.run
        provenance = Provenance(None, run.version, run.model, run.task.fingerprint)
        with run.workspace.store.write() as tx:
            self.equal_rows += write_equal_answers(
                tx,
                run.task,
                draft.equal_answers,
                provenance=provenance,
                now=run.workspace.now(),
            )
        draft.equal_answers.clear()

    def _check_limits_and_claim_batch(
        self,
        tx: Connection,
        draft: RequestDraft,
        on_error: contextlib.ExitStack,
    ) -> PreparedBatch:
        """Insert the batch, claim all its rows and rename its file, in the caller's transaction.

        Checks budget and quota again. The first batch binds the workspace to its backend. A live
        batch gets its lock before another process can see it, and its file is written here. The
        file is deleted if the insert fails.

        Args:
            on_error: Gets a callback that releases the lock.

        Returns:
            The batch, with its requests and its lock if it is live.

        Raises:
            StateConflictError: A row, the budget, the quota or the lock was taken by another
                process. The transaction must be rolled back.
        """
        number = batches.compute_next_batch_number(tx)
        current_limits = self._make_empty_draft_with_current_limits(tx)
        draft_end = current_limits.find_exceeded_limit(draft.expected_usage, slack=ROUNDING)
        if draft_end is not None:
            raise StateConflictError(
                f"the {draft_end.name.lower()} of batch",
                number,
                expected_state="free",
                target_state="used",
            )
        self.run.workspace.bind_backend(tx)
        lock = None
        if self.mode is not Mode.BATCH:
            lock = self.run.workspace.locks.try_acquire(make_batch_lock_name(number))
            if lock is None:
                raise StateConflictError(
                    "the lock of batch", number, expected_state="free", target_state="held"
                )
            on_error.callback(lock.release)

        path = request_path(self.run.workspace.data, number)
        file = draft.file
        if file is None:
            lines = b"".join(request.line + b"\n" for request in draft.requests)
            file = files.seal_bytes(path, lines)
        try:
            self._insert_batch_and_claims(
                tx,
                draft,
                number,
                file,
                str(path.relative_to(self.run.workspace.data)),
            )
        except BaseException:
            if file.path == path:
                path.unlink(missing_ok=True)
            raise
        if file.path != path:
            files.rename_sealed(file, path)
        return PreparedBatch(number, len(draft.row_claims), draft.last_id, draft.requests, lock)

    def _insert_batch_and_claims(
        self,
        tx: Connection,
        draft: RequestDraft,
        number: int,
        file: files.SealedFile,
        relative_path: str,
    ) -> None:
        """Insert the row of the batch; claim its rows unless it is a trial.

        Runs in the caller's transaction. A batch of a live run gets the run's number, which is that
        of the run's first batch. Batches for the Batch API, single batches and batches that claim
        no rows belong to no run.

        Args:
            file: The sealed request file.
            relative_path: The path of the file, relative to the workspace.

        Raises:
            StateConflictError: A row is not open any more.
        """
        run = self.run
        task = self.run.task
        now = self.run.workspace.now()
        run_number = None
        is_live_run = self.mode is not Mode.BATCH and not self.run.is_single_batch
        if is_live_run and self.mode.facts.claims_rows:
            run_number = self.run_number or number
        batches.insert_and_journal_batch(
            tx,
            mode=self.mode,
            run=run_number,
            now=now,
            number=number,
            task=task.name,
            version=run.version,
            model=run.model.name,
            requests=draft.file_rows,
            control_requests=len(draft.control_requests),
            request_file=relative_path,
            request_sha256=file.sha256,
            request_size=file.size,
            backend=run.workspace.backend,
            address=run.workspace.address,
            counted_in=draft.counted_usage.prompt,
            fingerprint=task.fingerprint,
            estimated_in=draft.expected_usage.prompt,
            estimated_out=draft.expected_usage.answer + draft.expected_usage.thoughts,
            estimated_cost=draft.calculate_price(draft.expected_usage),
            priced_on=run.model.priced_on.isoformat(),
        )
        if self.mode.facts.claims_rows:
            claiming.claim_all_rows_or_raise(
                tx,
                task,
                run.version,
                draft.row_claims,
                batch=number,
                asks_each=draft.asks_each,
                now=now,
            )

    def _make_empty_draft_with_current_limits(self, tx: Connection) -> RequestDraft:
        """Return an empty draft with the limits of now: rows, quota and budget.

        The rows of earlier batches of this preparation are subtracted from the selection's limit.
        The quota of queued tokens limits only batches for the Batch API. Single batches and batches
        that claim no rows ask about each row, even if another row has the same input.
        """
        run = self.run
        calibration = budget.measure_calibration(tx, run.version, run.task.fingerprint)
        max_rows = None
        if self.selection.limit is not None:
            max_rows = self.selection.limit - self._prepared_rows
        quota_tokens = None
        if self.mode is Mode.BATCH:
            quota_tokens = budget.compute_remaining_queue_tokens(
                tx, run.model, run.workspace.settings
            )
        return RequestDraft(
            run,
            self.mode,
            calibration,
            max_rows,
            asks_each=self.run.is_single_batch or not self.mode.facts.claims_rows,
            quota_tokens=quota_tokens,
            budget_usd=budget.make_current_budgets(run).compute_remaining_usd(tx),
        )
