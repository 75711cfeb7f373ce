"""Write request files: select open rows, write their requests in one pass, seal the file, claim.

- A file is sealed before its rows are claimed, so every claim has its file.
- Rows are selected, sealed and claimed under one lock, and leftover files are deleted under it too.
- A file is written under a random name. It gets its number and its final name in the transaction of
  the claim, so a process that lost the lock cannot write into another process's file.
- Live batches have small files, which are written in that transaction.
- Nothing here calls the API.
"""

import contextlib
import secrets
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from pipeline.batch import budget
from pipeline.batch.batch_files import FOLDER, lock_of, request_path, result_path, retry_on_conflict
from pipeline.batch.budget import Calibration
from pipeline.core import files
from pipeline.core.errors import InconsistentError, StateConflictError
from pipeline.core.progress import ProgressBar
from pipeline.core.states import Mode
from pipeline.core.text import plural
from pipeline.engine import claiming
from pipeline.engine.duplicates import EarlierRequests, find_duplicates, write_copied_answers
from pipeline.engine.judging import JudgedReply, Provenance
from pipeline.engine.request_builder import PlannedRequest, RequestBuilder
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import RowsById, TaskLabels
from pipeline.gemini.models import MAX_FILE_BYTES
from pipeline.gemini.usage import NO_USAGE, Usage, calculate_cost
from pipeline.store import batches
from pipeline.store.claims import RowClaim
from pipeline.store.database import Connection, split_into_pages
from pipeline.store.locks import Lock

# Our choice: the share of the API's queued tokens that one batch may have. A batch over the limit
# would always be refused.
MAX_QUEUE_SHARE = 0.8
PREPARE_LOCK = "prepare"
# Relative rounding error of costs that are added in another order.
ROUNDING = 1e-9
# How often a file is written again because another process changed its rows meanwhile.
MAX_TRIES = 5
# Our choice: requests in a live batch, so that answers are stored every few seconds.
LIVE_BATCH_ROWS = 256
LIVE_BATCH_IMAGES = 24
# Requests that are compared with earlier requests in a query.
LOOKUP_PAGE_REQUESTS = 500
# The approximate size of such a page.
LOOKUP_PAGE_BYTES = 4_000_000


class StopReason(StrEnum):
    """Why no further request goes into a file, or why no further file is written."""

    FULL = "the file is full"
    BUDGET = "a budget has no room"
    QUOTA = "no more tokens may wait at the API"
    NO_ROWS_LEFT = "no item is left"


@dataclass
class _Draft:
    """A request file that is being filled.

    A row is skipped and stays open if its input is already asked about, in a batch or a live call,
    or by this draft. It gets a copy of the answer if its input was answered before.
    """

    ws: WorkspaceSession
    mode: Mode
    calibration: Calibration
    # Rows that may be asked, or None for no limit.
    max_rows: int | None
    # Ask about each row, even if another row has the same input.
    asks_each: bool = False
    # Prompt tokens that the API still accepts, or None for no limit.
    quota_tokens: int | None = None
    # USD that budgets have left, or None for no limit.
    budget_usd: float | None = None
    # Requests of a live batch, which are sealed when they are claimed.
    requests: list[PlannedRequest] = field(default_factory=list)
    # The sealed file of a batch for the Batch API.
    file: files.SealedFile | None = None
    # Claims of the rows in this draft, in the order of the lines.
    row_claims: list[RowClaim] = field(default_factory=list)
    # Hashes of the rows' input hashes, which need a tenth of the memory.
    input_keys: set[int] = field(default_factory=set)
    # Copied answers that are not stored yet.
    copied_answers: list[JudgedReply] = field(default_factory=list)
    # Rows that were asked, skipped or got a copied answer.
    seen_rows: int = 0
    # The last of these rows.
    last_id: str = ""
    # Requests in the file.
    file_rows: int = 0
    file_bytes: int = 0
    # Tokens of the file, as counted from the text.
    counted_usage: Usage = NO_USAGE
    # The same, corrected by past answers.
    expected_usage: Usage = NO_USAGE

    def __post_init__(self) -> None:
        """Set the limits of one file: rows, bytes and expected prompt tokens."""
        settings = self.ws.settings
        self._max_file_tokens = settings.batch_tokens
        if self.mode is Mode.BATCH:
            self._max_file_rows = settings.batch_rows
            self._max_file_bytes = min(settings.batch_bytes, MAX_FILE_BYTES)
            max_queued_tokens = self.ws.model.max_enqueued_tokens(settings.tier)
            if max_queued_tokens is not None:
                queue_share = int(max_queued_tokens * MAX_QUEUE_SHARE)
                self._max_file_tokens = max(1, min(self._max_file_tokens, queue_share))
        else:
            live_rows = LIVE_BATCH_IMAGES if self.ws.task.sends_images else LIVE_BATCH_ROWS
            self._max_file_rows = min(live_rows, settings.batch_rows)
            self._max_file_bytes = MAX_FILE_BYTES

    def add_requests(
        self,
        tx: Connection,
        requests: Sequence[PlannedRequest],
    ) -> tuple[list[PlannedRequest], StopReason | None]:
        """Add the rows of some requests until the file or a limit is full.

        Rows with an earlier answer for the same input are added to `copied_answers` instead.

        Returns:
            The requests that were added, and why the draft ends before the rest; None if all rows
            were seen.
        """
        earlier = EarlierRequests()
        if not self.asks_each:
            earlier = find_duplicates(tx, self.ws.task, self.ws.extractor, requests)

        added: list[PlannedRequest] = []
        for request in requests:
            row = request.row
            input_key = hash(row.input_hash)
            if row.id in earlier.copied_answers:
                self.copied_answers.append(earlier.copied_answers[row.id])
            elif row.id not in earlier.running_ids and (
                self.asks_each or input_key not in self.input_keys
            ):
                if self.max_rows is not None and len(self.row_claims) >= self.max_rows:
                    return added, StopReason.NO_ROWS_LEFT
                stop_reason = self._add_to_file(request)
                if stop_reason is not None:
                    return added, stop_reason
                added.append(request)
                self.input_keys.add(input_key)
                self.row_claims.append(RowClaim(row.id, row.input_hash, len(self.row_claims) + 1))
            self.seen_rows += 1
            self.last_id = row.id
        return added, None

    def start_file(self) -> None:
        """Count the following requests as the first of another file."""
        self.file_rows = 0
        self.file_bytes = 0
        self.counted_usage = NO_USAGE
        self.expected_usage = NO_USAGE

    def _add_to_file(self, request: PlannedRequest) -> StopReason | None:
        """Count a request as part of the file; return why it does not fit, without counting it.

        The first request of a file may exceed the limits of a file, but not a budget or a quota.
        """
        rows = self.file_rows + 1
        size = self.file_bytes + request.size_bytes + 1
        counted_usage = self.counted_usage + request.usage
        expected_usage = self.calibration.applied(counted_usage, count=rows)
        is_over_limit = (
            rows > self._max_file_rows
            or size > self._max_file_bytes
            or expected_usage.prompt > self._max_file_tokens
        )
        if rows > 1 and is_over_limit:
            return StopReason.FULL

        stop_reason = self.stop_reason(expected_usage)
        if stop_reason is None:
            self.file_rows = rows
            self.file_bytes = size
            self.counted_usage = counted_usage
            self.expected_usage = expected_usage
        return stop_reason

    def stop_reason(self, usage: Usage, *, slack: float = 0.0) -> StopReason | None:
        """Return which limit a file with this expected usage exceeds: budget, quota or None.

        Args:
            slack: The share of the budget by which the file may exceed it.
        """
        if self.budget_usd is not None:
            reserved_cost = self.price(usage) * (1 + self.calibration.reserve)
            if reserved_cost > self.budget_usd * (1 + slack):
                return StopReason.BUDGET
        if self.quota_tokens is not None and usage.prompt > self.quota_tokens:
            return StopReason.QUOTA
        return None

    def price(self, usage: Usage) -> float:
        """Return the price of `usage` in USD, at today's rates."""
        return calculate_cost(self.ws.model, usage, self.mode.tier, day=self.ws.now().date())


@dataclass(frozen=True)
class BatchPlan:
    """Counts, expected tokens and cost of the batches that a command would send."""

    # Rows, including rows with the same input as another.
    items: int = 0
    batches: int = 0
    # Requests; rows with the same input share a request.
    requests: int = 0
    # Bytes of the request files.
    size_bytes: int = 0
    # Prompt tokens before calibration.
    counted_prompt_tokens: int = 0
    usage: Usage = NO_USAGE
    # In USD.
    cost: float = 0.0

    def describe_rows(self, labels: TaskLabels) -> str:
        """Return the number of rows in words, with the number of requests if that differs."""
        rows = plural(self.items, labels.singular, labels.plural)
        if self.requests == self.items:
            return rows
        return f"{rows}, {plural(self.requests, 'question')}"

    def describe(self, labels: TaskLabels) -> str:
        """Return rows, batches and tokens in words, without the price."""
        answer_tokens = self.usage.answer + self.usage.thoughts
        tokens = f"about {self.usage.prompt:,} tokens in and {answer_tokens:,} out"
        return (
            f"{self.describe_rows(labels)} in {plural(self.batches, 'batch', 'batches')}: {tokens}"
        )


@dataclass(frozen=True)
class Selection:
    """Which open rows to ask about."""

    # Rows at most, or None for no limit.
    limit: int | None = None
    # Row ids to leave out.
    excluded_ids: Collection[str] = ()
    # Only these row ids. A trial asks about them even if they are not open.
    row_ids: Sequence[str] | None = None


def plan_batches(ws: WorkspaceSession, selection: Selection, *, bar: ProgressBar) -> BatchPlan:
    """Return the plan of a submit of the selected rows, ignoring budgets and quotas.

    Writes nothing.
    """
    full_files = 0
    size = 0
    counted_usage = NO_USAGE
    with ws.store.read() as tx:
        calibration = budget.load_calibration(tx, ws.extractor)
        draft = _Draft(ws, Mode.BATCH, calibration, selection.limit)
        for page in _request_pages(tx, ws, selection, Mode.BATCH):
            remaining = page
            stop_reason = None
            while remaining and stop_reason is not StopReason.NO_ROWS_LEFT:
                seen_before = draft.seen_rows
                added, stop_reason = draft.add_requests(tx, remaining)
                draft.copied_answers.clear()
                remaining = remaining[draft.seen_rows - seen_before :]
                for request in added:
                    size += request.size_bytes + 1
                    counted_usage += request.usage
                if stop_reason is StopReason.FULL:
                    full_files += 1
                    draft.start_file()
            bar.show(draft.seen_rows)
            if stop_reason is StopReason.NO_ROWS_LEFT:
                break

    request_count = len(draft.row_claims)
    expected_usage = calibration.applied(counted_usage, count=request_count)
    return BatchPlan(
        items=draft.seen_rows,
        batches=full_files + bool(draft.file_rows),
        requests=request_count,
        size_bytes=size,
        counted_prompt_tokens=counted_usage.prompt,
        usage=expected_usage,
        cost=draft.price(expected_usage),
    )


def _request_pages(
    tx: Connection,
    ws: WorkspaceSession,
    selection: Selection,
    mode: Mode,
    *,
    after: str | None = None,
) -> Iterator[list[PlannedRequest]]:
    """Yield the requests of all selected rows in the order of rows, in pages; memory is constant.

    Args:
        after: Begin after the row with this id. Ignored if the selection names its rows.
    """
    task = ws.task
    builder = RequestBuilder(ws.task, ws.model)
    row_pages: Iterator[RowsById] = claiming.claimable_rows(tx, task, after=after)
    if selection.row_ids is not None:
        row_ids = selection.row_ids
        if mode is not Mode.TRIAL:
            row_ids = claiming.claimable_among(tx, task, selection.row_ids)
        row_pages = (task.read_rows(tx, id_page) for id_page in split_into_pages(row_ids))

    page = list[PlannedRequest]()
    page_bytes = 0
    for rows in row_pages:
        selected_rows = rows
        if selection.excluded_ids:
            selected_rows = {
                row_id: row for row_id, row in rows.items() if row_id not in selection.excluded_ids
            }
        for request in builder.plan_requests(tx, selected_rows):
            page.append(request)
            page_bytes += request.size_bytes
            if len(page) == LOOKUP_PAGE_REQUESTS or page_bytes >= LOOKUP_PAGE_BYTES:
                yield page
                page = []
                page_bytes = 0
    if page:
        yield page


def prepare_batches(
    ws: WorkspaceSession,
    selection: Selection,
    *,
    bar: ProgressBar,
) -> tuple[list[int], StopReason, int]:
    """Write, seal and claim request files for the selected rows, as far as budgets allow.

    Deletes leftover request files first.

    Returns:
        The numbers of the batches, why no further batch was prepared, and how many rows got a
        copied answer instead.
    """
    preparation = Preparation(ws, selection, bar)
    numbers = list[int]()

    def prepare_remaining() -> StopReason:
        """Prepare batches until there is a reason to stop; add their numbers to `numbers`."""
        with ws.lock(PREPARE_LOCK):
            _delete_unknown_request_files(ws)
        while True:
            prepared = preparation.prepare_next()
            if not isinstance(prepared, Prepared):
                return prepared
            numbers.append(prepared.number)

    stop_reason = retry_on_conflict(prepare_remaining, times=MAX_TRIES)
    return numbers, stop_reason, preparation.copied_rows


def _delete_unknown_request_files(ws: WorkspaceSession) -> None:
    """Delete request files without a batch, which a process left that died before its claim.

    Raises:
        InconsistentError: There is a result file without a batch. Nothing was deleted.
    """
    folder = ws.data / FOLDER
    # A write transaction keeps other processes from claiming a file before it is deleted.
    with ws.store.write() as tx:
        all_batches = batches.batches_in_states(tx)
        request_paths = {request_path(ws.data, batch.number) for batch in all_batches}
        result_paths = {result_path(ws.data, batch.number) for batch in all_batches}
        unknown_results = sorted(set(folder.glob("[0-9]*-results.jsonl")) - result_paths)
        if unknown_results:
            raise InconsistentError(
                f"{unknown_results[0]} is of a batch that the database does not know: it is an "
                "older copy than the folder",
                hint="put the newer database back, or restore a newer backup",
            )
        for path in set(folder.glob("*-requests.jsonl*")) - request_paths:
            path.unlink(missing_ok=True)


class Prepared(NamedTuple):
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
    """Prepares the selected rows batch after batch; each call of `next` prepares one batch."""

    ws: WorkspaceSession
    selection: Selection
    bar: ProgressBar
    mode: Mode = Mode.BATCH
    # Number of the first batch of a live run, or None before it exists.
    run_number: int | None = None
    # The batch belongs to no run, and does not wait for another process that prepares.
    is_single_batch: bool = False
    # Rows that got a copied answer.
    copied_rows: int = 0
    # Requests in all batches up to now.
    _prepared_rows: int = 0
    _last_id: str | None = None
    # Lock of the live batch that was claimed last.
    _lock: Lock | None = None

    def prepare_next(self) -> Prepared | StopReason:
        """Prepare and claim the next batch, or return why no batch is possible.

        Each batch begins after the last row of the batch before, so claimed rows are not read
        again and again. If no row is left there, all open rows are read once more.

        Raises:
            InconsistentError: The rows changed MAX_TRIES times while their requests were written.
        """
        with contextlib.nullcontext() if self.is_single_batch else self.ws.lock(PREPARE_LOCK):
            prepared = self._prepare(after=self._last_id)
            if prepared is StopReason.NO_ROWS_LEFT and self._last_id is not None:
                prepared = self._prepare(after=None)

        if isinstance(prepared, Prepared):
            self._prepared_rows += prepared.row_count
            self._last_id = prepared.last_id
            # The rows of a trial are not claimed, so they must leave the selection.
            if self.mode is Mode.TRIAL and self.selection.row_ids is not None:
                next_index = self.selection.row_ids.index(prepared.last_id) + 1
                self.selection = Selection(
                    limit=self.selection.limit,
                    excluded_ids=self.selection.excluded_ids,
                    row_ids=self.selection.row_ids[next_index:],
                )
        return prepared

    def _prepare(self, *, after: str | None) -> Prepared | StopReason:
        """Write and claim a batch of rows after a row id, again if they change meanwhile."""
        ws = self.ws
        limit = self.selection.limit
        if self._prepared_rows and limit is not None and self._prepared_rows >= limit:
            return StopReason.NO_ROWS_LEFT

        for _ in range(MAX_TRIES):
            with ws.store.read() as tx:
                draft = self._write_draft(tx, after)
            if isinstance(draft, StopReason):
                return draft
            # Another process may have claimed a row, or spent the money, since the file was read.
            with (
                contextlib.suppress(StateConflictError),
                self._cleaning_up(draft),
                ws.store.write() as tx,
            ):
                return self._claim(tx, draft)
        raise InconsistentError(
            f"the items to ask about changed {MAX_TRIES} times while their requests were written; "
            "nothing was claimed",
            hint="let the other command finish, then run "
            f"`{ws.task.labels.command('batch-submit')}` again",
        )

    @contextlib.contextmanager
    def _cleaning_up(self, draft: _Draft) -> Iterator[None]:
        """Delete the draft's file after a block, and release the batch's lock if the block fails.

        A file that got its final name is not deleted.
        """
        self._lock = None
        try:
            yield
        except BaseException:
            if self._lock is not None:
                self._lock.release()
            raise
        finally:
            if draft.file is not None:
                draft.file.path.unlink(missing_ok=True)

    def _write_draft(self, tx: Connection, after: str | None) -> _Draft | StopReason:
        """Fill a draft with rows after a row id; seal the file of a batch for the Batch API.

        Copied answers are stored on the way, in transactions of their own.

        Returns:
            The draft, or why it has no rows.
        """
        stop_reason = StopReason.NO_ROWS_LEFT
        is_api_batch = self.mode is Mode.BATCH
        draft = self._new_draft(tx)
        random_suffix = f".jsonl.{secrets.token_hex(4)}"
        draft_path = request_path(self.ws.data, 0).with_suffix(random_suffix)
        draft_file = files.SealedWriter(draft_path) if is_api_batch else contextlib.nullcontext()
        with draft_file as writer:
            for page in _request_pages(tx, self.ws, self.selection, self.mode, after=after):
                added, page_stop_reason = draft.add_requests(tx, page)
                if writer is None:
                    draft.requests += added
                else:
                    writer.write(b"".join(request.line + b"\n" for request in added))
                if len(draft.copied_answers) >= LOOKUP_PAGE_REQUESTS:
                    self._store_copied_answers(draft)
                self.bar.show(self._prepared_rows + draft.seen_rows)
                if page_stop_reason is not None:
                    stop_reason = page_stop_reason
                    break

            self._store_copied_answers(draft)
            if draft.row_claims and writer is not None:
                draft.file = writer.seal()
        return draft if draft.row_claims else stop_reason

    def _store_copied_answers(self, draft: _Draft) -> None:
        """Store the draft's copied answers in one transaction, and remove them from the draft."""
        if not draft.copied_answers:
            return
        ws = self.ws
        provenance = Provenance(None, ws.extractor, ws.model, ws.task.fingerprint)
        with ws.store.write() as tx:
            self.copied_rows += write_copied_answers(
                tx,
                ws.task,
                draft.copied_answers,
                provenance=provenance,
                now=ws.now(),
            )
        draft.copied_answers.clear()

    def _claim(self, tx: Connection, draft: _Draft) -> Prepared:
        """Insert the batch, claim all its rows and rename its file, in the caller's transaction.

        A live batch is locked before another process can see it.

        Raises:
            StateConflictError: A row, the budget or the quota was taken by another process. The
                transaction must be rolled back.
        """
        number = batches.next_number(tx)
        current_limits = self._new_draft(tx)
        stop_reason = current_limits.stop_reason(draft.expected_usage, slack=ROUNDING)
        if stop_reason is not None:
            raise StateConflictError(
                f"the {stop_reason.name.lower()} of batch",
                number,
                expected_state="free",
                target_state="used",
            )
        self.ws.bind_backend(tx)
        if self.mode is not Mode.BATCH:
            self._lock = self.ws.locks.acquire(lock_of(number))
            if self._lock is None:
                raise StateConflictError(
                    "the lock of batch",
                    number,
                    expected_state="free",
                    target_state="held",
                )

        path = request_path(self.ws.data, number)
        file = draft.file
        if file is None:
            lines = b"".join(request.line + b"\n" for request in draft.requests)
            file = files.seal_bytes(path, lines)
        try:
            self._insert_batch(tx, draft, number, file, str(path.relative_to(self.ws.data)))
        except BaseException:
            if file.path == path:
                path.unlink(missing_ok=True)
            raise
        if file.path != path:
            files.rename_sealed(file, path)
        return Prepared(number, len(draft.row_claims), draft.last_id, draft.requests, self._lock)

    def _insert_batch(
        self,
        tx: Connection,
        draft: _Draft,
        number: int,
        file: files.SealedFile,
        name: str,
    ) -> None:
        """Insert the row of the batch, and claim its rows unless it is a trial.

        Args:
            name: The path of the file, relative to the workspace.

        Raises:
            StateConflictError: A row is not open any more.
        """
        ws = self.ws
        task = self.ws.task
        now = self.ws.now()
        run_number = self.run_number
        is_in_run = not self.is_single_batch and self.mode not in (Mode.BATCH, Mode.TRIAL)
        if not run_number and is_in_run:
            run_number = number
        batches.add_batch(
            tx,
            mode=self.mode,
            run=run_number or None,
            now=now,
            number=number,
            task=task.name,
            extractor=ws.extractor,
            model=ws.model.name,
            requests=draft.file_rows,
            request_file=name,
            request_sha256=file.sha256,
            request_size=file.size,
            counted_in=draft.counted_usage.prompt,
            fingerprint=task.fingerprint,
            estimated_in=draft.expected_usage.prompt,
            estimated_out=draft.expected_usage.answer + draft.expected_usage.thoughts,
            estimated_cost=draft.price(draft.expected_usage),
            priced_on=ws.model.priced_on.isoformat() if ws.model.has_price else "",
        )
        if self.mode is not Mode.TRIAL:
            claiming.claim_rows(
                tx,
                task,
                ws.extractor,
                draft.row_claims,
                batch=number,
                asks_each=draft.asks_each,
                now=now,
            )

    def _new_draft(self, tx: Connection) -> _Draft:
        """Return an empty draft with the limits of now: rows, quota and budget."""
        ws = self.ws
        calibration = budget.load_calibration(tx, ws.extractor)
        max_rows = None
        if self.selection.limit is not None:
            max_rows = self.selection.limit - self._prepared_rows
        quota_tokens = None
        if self.mode is Mode.BATCH:
            quota_tokens = budget.remaining_quota_tokens(tx, ws.model, tier=ws.settings.tier)
        return _Draft(
            ws,
            self.mode,
            calibration,
            max_rows,
            asks_each=self.mode is Mode.TRIAL or self.is_single_batch,
            quota_tokens=quota_tokens,
            budget_usd=budget.current_budgets(ws).remaining_usd(
                tx,
                estimate_error=calibration.reserve,
            ),
        )
