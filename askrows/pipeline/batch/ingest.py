"""Ingest results: give every request of a downloaded batch exactly one outcome.

- A batch moves from downloaded to ingested.
- Claims are read page by page, in the order of the request file, and the result lines of a page are
  looked up by key. So memory use is constant, and rows that are written together are stored
  together.
- Each page is one transaction. A killed ingest continues after the last page that was committed.

Kinds of failed requests:

- A charged failure counts against its row, which is parked after too many of them.
- An uncharged failure is the service's fault. A row is parked if too many of them follow each
  other.
- A forgiven failure never counts, for example after a person cancelled the batch, or if a batch
  expired without a single reply.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

from askrows.pipeline.batch.batch_files import (
    end_live_batches_of_dead_processes,
    get_checked_request_path,
    get_checked_result_path,
    iterate_claim_pages,
    make_batch_lock_name,
    retry_on_conflict,
)
from askrows.pipeline.batch.held_batches import HeldBatchError, describe_excess_broken_lines
from askrows.pipeline.batch.ingest_report import IngestSummary, summarize_batches
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core import files
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import AccountError, AskrowsError, InconsistentError
from askrows.pipeline.core.progress import NoProgress
from askrows.pipeline.core.states import BatchState, Mode, Outcome, RemoteState, parse_remote_state
from askrows.pipeline.core.text import plural
from askrows.pipeline.provider.answer_schema import make_response_schema
from askrows.pipeline.provider.control_requests import (
    count_replies_with_own_nonce,
    describe_misplaced_reply,
    read_and_mark_control_replies,
    read_nonces_by_key,
)
from askrows.pipeline.provider.models import Model
from askrows.pipeline.provider.requests import make_request_key
from askrows.pipeline.provider.responses import ParsedReply
from askrows.pipeline.provider.result_file import ResultFile
from askrows.pipeline.store import answer_counts, answers, batches, claims
from askrows.pipeline.store.batches import BatchRow
from askrows.pipeline.store.claims import RowClaim
from askrows.pipeline.store.database import Connection
from askrows.pipeline.tasks import claiming
from askrows.pipeline.tasks.claiming import find_asked_row_ids_by_hash
from askrows.pipeline.tasks.equal_rows import OpenIdsByHash, answer_or_park_equal_rows
from askrows.pipeline.tasks.request_outcomes import (
    Provenance,
    make_provenance,
    store_outcomes_and_end_claims,
    validate_lines_and_choose_outcome,
)
from askrows.pipeline.tasks.task_values import RequestOutcome, WriteResult

# Requests in one transaction. Other writers wait about 40 ms for it.
PAGE_REQUESTS = 2500
NO_LINE = "no line in the result"
NO_REPLY_REASON = "no reply came before the process ended"
NOT_APPLIED_REASON = "its row was removed or answered meanwhile"


class RowOutcome(NamedTuple):
    """Result of one row of a live batch."""

    row_id: str
    # Why the answer was not applied; empty if it was.
    reason: str
    # The row is still open and failed because of its content, so it may be asked again.
    may_retry: bool = False
    # A call for the row was made to its end.
    was_called: bool = True


def ingest_batches(
    run: Run,
    *,
    is_live_only: bool = False,
    number: int | None = None,
) -> Iterator[IngestSummary]:
    """Ingest the task's downloaded batches and yield a summary of each batch that was ingested.

    This is a generator, so nothing happens before it is iterated.

    First the live batches of all tasks whose process died are ended, and their replies are sealed.
    Then each downloaded batch is ingested, except those that another process has locked. Unless
    `is_live_only`, the iterator finally waits for the locked batches.

    A batch that cannot be ingested stays downloaded, and the other batches are still ingested. When
    the iterator ends, the last error is raised, and earlier errors are printed. A HeldBatchError is
    raised only if there is no other error, and it is never printed.

    Args:
        is_live_only: Ingest live batches only, and wait for no other process.
        number: Ingest this batch only.

    Raises:
        HeldBatchError: A batch is held, because its result gives replies to the wrong requests.
        AskrowsError: A batch could not be ingested. Or it was ingested, and requests failed
            because of the account (AccountError), or all failed in the same way.
    """
    failures: dict[int, AskrowsError] = {}
    end_live_batches_of_dead_processes(run)
    for should_wait in (False,) if is_live_only else (False, True):
        downloaded_batches = run.workspace.store.query(
            batches.list_batches_in_states,
            BatchState.DOWNLOADED,
            task=run.task.name,
            only_live=is_live_only,
        )
        for batch in downloaded_batches:
            if batch.number in failures or number not in (None, batch.number):
                continue
            attempt = partial(_ingest_with_lock, run, batch.number, should_wait=should_wait)
            try:
                summary = retry_on_conflict(attempt)
            except AskrowsError as error:
                failures[batch.number] = error
                continue
            if summary is None:
                continue

            yield summary
            batch_error = summary.make_error_to_raise(run.task.nouns)
            if batch_error is not None:
                failures[batch.number] = batch_error

    # Held batches are stored in the database, so any other error is raised instead. Callers stop
    # sending after an error of the account.
    errors = sorted(
        failures.values(),
        key=lambda error: (not isinstance(error, HeldBatchError), isinstance(error, AccountError)),
    )
    for earlier_error in errors[:-1]:
        if not isinstance(earlier_error, HeldBatchError):
            run.workspace.display.warn(earlier_error.message)
    if errors:
        raise errors[-1]


def _ingest_with_lock(run: Run, number: int, *, should_wait: bool) -> IngestSummary | None:
    """Ingest one batch under its lock and return its summary.

    Args:
        should_wait: Wait for another process that has the lock.

    Returns:
        None if another process has the lock and `should_wait` is false, or if the batch has left
        the state DOWNLOADED, for example because another process has ingested it.

    Raises:
        AskrowsError: The batch could not be ingested; see `_BatchIngest.ingest`.
    """
    name = make_batch_lock_name(number)
    with (
        run.workspace.wait_for_lock(name)
        if should_wait
        else run.workspace.locks.try_lock(name) as lock
    ):
        if lock is None:
            return None
        batch = run.workspace.store.query(batches.get_batch, number)
        if batch.state is not BatchState.DOWNLOADED:
            return None
        return _BatchIngest(run, batch).ingest()


def ingest_live_batch(
    run: Run,
    number: int,
    no_reply_reasons: Mapping[str, str],
    *,
    default_reason: str,
    max_write_wait_s: float | None = None,
) -> list[RowOutcome]:
    """Ingest a sealed live batch, whose lock the caller has; return the outcome of each row.

    Args:
        no_reply_reasons: Row id to the reason why the row got no reply.
        default_reason: Reason of all other rows without a reply.
        max_write_wait_s: The longest wait for another writer of the database; None means the
            default of all commands.

    Returns:
        The outcomes of the rows of the batch, and of other rows with the same inputs that got the
        answer of an equal row. Empty if the batch is not downloaded any more.

    Raises:
        ConfigurationError: The task's declaration is not that of the batch.
        InconsistentError: The result file was changed, or not every request has exactly one
            outcome.
        UnavailableError: Another process wrote to the database for the whole time.
    """
    batch = run.workspace.store.query(batches.get_batch, number)
    if batch.state is not BatchState.DOWNLOADED:
        return []
    ingest = _BatchIngest(
        run,
        batch,
        no_reply_reasons,
        default_reason,
        max_write_wait_s,
    )
    ingest.ingest()
    return ingest.row_outcomes


def ingest_live_batches_of_dead_processes(run: Run) -> None:
    """End the live runs whose process is dead: ingest replies, and release rows without a reply.

    Only the replies of this task are ingested. The replies of other tasks are sealed as result
    files. Says how many answers it stored. Writes nothing if there is nothing to recover.

    Raises:
        AskrowsError: A batch could not be ingested; the others were.
    """
    answer_count = sum(
        summary.answered_rows
        for summary in ingest_batches(
            run,
            is_live_only=True,
        )
    )
    if answer_count:
        run.workspace.display.say(
            f"stored {plural(answer_count, 'answer')} that a stopped live run had left on disk",
        )


@dataclass
class _BatchIngest:
    """The ingest of one batch, whose lock the caller has."""

    run: Run
    batch: BatchRow
    # Only for a live batch: row id to the reason why the row got no reply.
    no_reply_reasons: Mapping[str, str] = field(default_factory=dict)
    default_reason: str = NO_REPLY_REASON
    # How long a write waits for another writer, or None for the time of other commands.
    max_write_wait_s: float | None = None
    # Filled for a live batch only.
    row_outcomes: list[RowOutcome] = field(default_factory=list)
    # An answer that this process stored has confidences.
    has_confidences: bool = False
    # The result has more lines than those of control requests.
    has_replies: bool = True
    # Other rows with the same inputs that got an answer, and values of answers beyond the number
    # that an answer may have.
    equal_rows: int = 0
    left_out_values: int = 0

    def __post_init__(self) -> None:
        """Derive the task and whether the batch was asked live."""
        self.task = self.run.task
        self._is_live = self.batch.mode is not Mode.BATCH

    def ingest(self) -> IngestSummary:
        """Store the outcome of each request, move the batch to ingested, and return its summary.

        Each page of claims is a transaction of its own. Open rows with the same input as a row of
        the batch get the answer of an equal row, or are parked with it. Requests that a killed
        ingest stored are not stored again. Shows the progress, except for a live batch. Prints how
        many values were left out because an answer had more values than its field may have.
        Refreshes the task's views if an answer has confidences.

        Raises:
            ConfigurationError: The task's declaration is not that of the batch, and the run
                does not accept changes.
            HeldBatchError: The batch is held, because its result gives replies to the wrong
                requests; nothing of it was stored.
            InconsistentError: The result file was changed, or not every request has exactly one
                outcome.
        """
        run = self.run
        batch = self.batch
        run.task.user_file.check_declaration(
            batch.fingerprint,
            f"batch {batch.number}",
            is_change_accepted=run.accepts_changes,
        )
        if batch.held:
            raise HeldBatchError(batch, self.task.nouns)
        provenance = make_provenance(batch, settings=run.workspace.settings)
        verified_path = files.verify_sealed_file(
            get_checked_result_path(run.workspace.data, batch),
            sha256=batch.result_sha256 or "",
            file_label=f"the result of batch {batch.number}",
        )
        with run.workspace.store.read() as tx:
            # An ingest that was killed stored these.
            ingested_ids = answers.list_ended_row_ids(tx, [batch.number])
            input_hashes = [
                claim.input_hash for claim in claims.read_claims_of_batch(tx, batch.number)
            ]
            equal_ids_by_hash = find_asked_row_ids_by_hash(tx, self.task, input_hashes)

        display = NoProgress() if self._is_live else run.workspace.display
        progress_bar = display.bar(f"storing the answers of batch {batch.number}", batch.requests)
        with ResultFile(verified_path) as results, progress_bar as bar:
            nonces: Mapping[str, str] = {}
            control_replies: Mapping[str, Sequence[ParsedReply]] = {}
            if batch.control_requests:
                nonces = read_nonces_by_key(get_checked_request_path(run.workspace.data, batch))
                control_replies = read_and_mark_control_replies(results)
            # An ingest that was killed examined the result before it stored the first answer.
            if not ingested_ids:
                self._hold_if_unusable(results, nonces, control_replies)
            results.mark_keys_requested(
                make_request_key(batch.task, row_id) for row_id in ingested_ids
            )
            control_line_count = sum(map(len, control_replies.values()))
            self.has_replies = results.line_count > control_line_count
            validated_count = len(ingested_ids)
            for page, rows_by_id in self._iterate_claim_pages_with_rows():
                request_outcomes = self._validate_replies(
                    results, page, rows_by_id, provenance.model
                )
                self._store_outcomes_and_answer_or_park_equal_rows(
                    request_outcomes, equal_ids_by_hash, provenance
                )
                validated_count += len(page)
                bar.show(validated_count)
            control_cost = sum(
                provenance.calculate_reply_cost(reply, run.workspace.now())
                for replies in control_replies.values()
                for reply in replies[:1]
            )
            self._record_ingested(results, control_cost)
            # The next command that writes does this if the process dies here.
            if self.has_confidences:
                self.task.refresh_outdated_views(run.workspace.store)
            examples = results.collect_anomaly_examples()

        own_reply_count = count_replies_with_own_nonce(nonces, control_replies)
        summary = run.workspace.store.query(
            summarize_batches,
            self.task,
            [batch.number],
            examples=examples,
            unproven_controls=batch.control_requests - own_reply_count,
            equal_rows=self.equal_rows,
            left_out_values=self.left_out_values,
        )
        if self.left_out_values:
            values = plural(self.left_out_values, "value")
            run.workspace.display.warn(
                f"batch {batch.number}: left out {values} above the maximum per answer",
            )
        return summary

    def _hold_if_unusable(
        self,
        results: ResultFile,
        nonces: Mapping[str, str],
        control_replies: Mapping[str, Sequence[ParsedReply]],
    ) -> None:
        """Hold the batch if its result gives replies to the wrong requests, or is hardly readable.

        It is hardly readable if too many of its lines are not JSON. It gives replies to the wrong
        requests if replies to control requests are misplaced. Live batches are not examined, nor is
        a batch that a person accepted. This must run before an answer of the batch is stored. If
        the process is killed here, the next ingest examines the result again.

        Args:
            results: The result file.
            nonces: The nonces of the batch's control requests, by key.
            control_replies: The replies to them, by key.

        Raises:
            HeldBatchError: This call holds the batch.
        """
        if self._is_live or self.batch.held is not None:
            return
        reason = ""
        if nonces:
            schema = make_response_schema(self.task.answer_model)
            reason = describe_misplaced_reply(
                get_checked_result_path(self.run.workspace.data, self.batch),
                nonces,
                control_replies,
                row_fields=schema["properties"],
            )
        if not reason:
            reason = describe_excess_broken_lines(results)
        if not reason:
            return
        with self.run.workspace.store.write() as tx:
            batches.record_held(tx, self.batch, reason=reason, now=self.run.workspace.now())
        raise HeldBatchError(replace(self.batch, held=reason), self.task.nouns)

    def _iterate_claim_pages_with_rows(
        self,
    ) -> Iterator[tuple[Sequence[RowClaim], Mapping[str, Any]]]:
        """Yield pages of the batch's claims, each with the rows of its claims by row id.

        A claim says that the batch asks a row. A page has up to PAGE_REQUESTS claims in the order
        of the request file. The rows are read only if the task needs a row to validate its answer;
        else the mapping is empty. Each page is read from the database when it is requested.
        """
        store = self.run.workspace.store
        for page in iterate_claim_pages(store, self.batch.number, page_rows=PAGE_REQUESTS):
            rows_by_id: Mapping[str, Any] = {}
            if self.task.needs_row:
                rows_by_id = store.query(self.task.read_rows, [claim.row_id for claim in page])
            yield page, rows_by_id

    def _validate_replies(
        self,
        results: ResultFile,
        page: Sequence[RowClaim],
        rows_by_id: Mapping[str, Any],
        model: Model,
    ) -> list[RequestOutcome]:
        """Validate the replies to a page's claims, and return the outcome of each claim, in order.

        A claim without a line in the result gets the outcome MISSING. Nothing is written.

        Args:
            results: The result file, in which the replies are looked up.
            page: The claims, each with its row id and the hash of its input.
            rows_by_id: Row id to the row, for tasks that need the row to validate its answer.
            model: The model that replied.
        """
        keys = [make_request_key(self.batch.task, claim.row_id) for claim in page]
        lines_by_claim = results.read_and_mark_lines(keys)

        request_outcomes = []
        for claim, lines in zip(page, lines_by_claim, strict=True):
            request_outcome = validate_lines_and_choose_outcome(
                self.task,
                claim,
                lines,
                model=model,
                row=rows_by_id.get(claim.row_id),
            )
            request_outcomes.append(request_outcome or self._make_missing_outcome(claim))
        return request_outcomes

    def _store_outcomes_and_answer_or_park_equal_rows(
        self,
        request_outcomes: Sequence[RequestOutcome],
        equal_ids_by_hash: OpenIdsByHash,
        provenance: Provenance,
    ) -> None:
        """Store the outcomes of a page in one transaction, and answer equal rows.

        Other open rows with the same input as an answered row get the answer of an equal row. Rows
        with the input of a row that is parked now are parked, too. Only equal rows that got an
        answer are counted in `equal_rows`. Values that are beyond the number that an answer may
        have are counted in `left_out_values`.

        Sets `has_confidences` if an answer has a probability. For a live batch, adds the outcomes
        of the rows to `row_outcomes`.

        Args:
            request_outcomes: The outcomes of the page, in the order of its claims.
            equal_ids_by_hash: Input hash to the open rows with this input.
        """
        now = self.run.workspace.now
        for request_outcome in request_outcomes:
            self.left_out_values += request_outcome.dropped_value_count
            if request_outcome.answer is not None and request_outcome.confidences:
                self.has_confidences = True
        with self.run.workspace.store.write(max_write_wait_s=self.max_write_wait_s) as tx:
            write_result = store_outcomes_and_end_claims(
                tx,
                self.task,
                request_outcomes,
                provenance=provenance,
                now=now(),
            )
            equal_ids = set[str]()
            if equal_ids_by_hash:
                equal_ids = answer_or_park_equal_rows(
                    tx,
                    self.task,
                    request_outcomes,
                    write_result,
                    equal_ids_by_hash,
                    provenance=provenance,
                    now=now(),
                )
            self.equal_rows += len(equal_ids)
            if self._is_live:
                self.row_outcomes += self._iterate_row_outcomes(tx, request_outcomes, write_result)
                self.row_outcomes += [RowOutcome(row_id, "") for row_id in sorted(equal_ids)]

    def _iterate_row_outcomes(
        self,
        tx: Connection,
        request_outcomes: Sequence[RequestOutcome],
        write_result: WriteResult,
    ) -> Iterator[RowOutcome]:
        """Yield the outcome of each row of a page.

        - `reason` is "" if its answer was applied. Otherwise it is the reason of the failure, or
          why the row could not take the answer.
        - `may_retry` is true if its reply was refused or invalid and the row is still open.
        - `was_called` is false if there is no reply, and `self.no_reply_reasons` has no reason of a
          failed call for the row: then no call for it came to its end.

        Args:
            request_outcomes: The outcomes of the page.
            write_result: The rows whose answer was applied, those that could not take it
                (unwritable), and those that were parked.
        """
        asked_ids = [request_outcome.claim.row_id for request_outcome in request_outcomes]
        open_ids = set(claiming.filter_claimable_ids(tx, self.task, asked_ids))
        for request_outcome in request_outcomes:
            row_id = request_outcome.claim.row_id
            if request_outcome.answer is None:
                reason = request_outcome.reason
            else:
                reason = write_result.unwritable.get(row_id, NOT_APPLIED_REASON)
            is_missing = request_outcome.outcome is Outcome.MISSING
            has_failed = request_outcome.outcome in {Outcome.REFUSED, Outcome.INVALID}
            yield RowOutcome(
                row_id,
                "" if row_id in write_result.applied else reason,
                may_retry=has_failed and row_id in open_ids,
                was_called=not is_missing or bool(self.no_reply_reasons.get(row_id)),
            )

    def _make_missing_outcome(self, claim: RowClaim) -> RequestOutcome:
        """Return the outcome MISSING of a request without a line in the result.

        Charged failures count against the row. An uncharged failure is counted apart, and parks the
        row only if it is repeated. A forgiven failure never counts.

        - Batch API: charged if the batch succeeded and nobody asked to cancel it. Forgiven if
          somebody asked to cancel it, or if no row got a reply. Otherwise uncharged.
        - Live batch: uncharged if the call may have been paid for and its reply was lost, else
          forgiven.
        """
        batch = self.batch
        if self._is_live:
            reason = self.no_reply_reasons.get(claim.row_id) or self.default_reason
            return RequestOutcome(
                claim,
                Outcome.MISSING,
                reason,
                is_charged=False,
                is_forgiven=not reason.startswith(claims.LOST_CALL_PREFIX),
            )

        is_cancelled = batch.cancel_asked_at is not None
        if parse_remote_state(batch.remote_word) is RemoteState.SUCCEEDED and not is_cancelled:
            return RequestOutcome(claim, Outcome.MISSING, NO_LINE)
        reason = f"{NO_LINE}: {batch.reason}"
        return RequestOutcome(
            claim,
            Outcome.MISSING,
            reason,
            is_charged=False,
            is_forgiven=is_cancelled or not self.has_replies,
        )

    def _record_ingested(self, results: ResultFile, control_cost: float) -> None:
        """Move the batch to ingested; store its outcome counts, tokens, cost and unmatched lines.

        A live batch also stores its calls, at least as many as its replies.

        Args:
            results: The result file.
            control_cost: The cost of the replies to control requests, in USD.

        Raises:
            InconsistentError: The outcomes do not add up to the requests, or a claim is left; the
                batch stays downloaded.
        """
        number = self.batch.number
        with self.run.workspace.store.read() as tx:
            usage_account = answers.sum_batch_usage(tx, number)
            anomalies = answers.find_answer_anomalies(tx, [number], model=self.batch.model)

        with self.run.workspace.store.write(max_write_wait_s=self.max_write_wait_s) as tx:
            claim_counts = answer_counts.count_requests_by_batch_and_outcome(tx, number).get(
                number, {}
            )
            outcome_counts = {outcome.value: claim_counts.get(outcome, 0) for outcome in Outcome}
            accounted_count = sum(outcome_counts.values())
            if accounted_count != self.batch.requests or claim_counts.get("claimed"):
                raise InconsistentError(
                    f"batch {number} has {self.batch.requests:,} requests but {accounted_count:,} "
                    "outcomes; it stays downloaded",
                    hint=f"run `{CommandHint('doctor')}`",
                )

            call_count = 0
            if self._is_live:
                reply_count = accounted_count - outcome_counts["missing"]
                call_count = max(self.batch.calls, reply_count)
            account: dict[str, Any] = {
                **outcome_counts,
                **usage_account,
                "not_applied": len(anomalies.unapplied_ids),
                "unknown": results.unknown_count,
                "duplicates": results.duplicate_count,
                "unreadable": results.unreadable_count,
                "calls": call_count,
            }
            if self.batch.control_requests:
                account["cost"] += control_cost
                account["control_cost"] = control_cost
            batches.record_ingested(tx, self.batch, now=self.run.workspace.now(), **account)
