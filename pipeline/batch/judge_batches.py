"""The batches of a live run that judges answers.

To judge an answer is to ask a decision model how probable it is that the row's text supports each
of its values.

- A batch has sealed requests about some answers. Its replies are appended to a file, as those of
  all live batches. It claims no row.
- When its requests have replies, their probabilities and the cost are stored in one transaction,
  and the files are deleted. After a kill the next command does this with the replies that arrived.
- Answers with a probability are not asked again, so a command that was killed asks the rest.
"""

import contextlib
from dataclasses import dataclass, field

from pipeline.batch import budget
from pipeline.batch.batch_files import OpenLiveBatch, request_path, store_judgements
from pipeline.batch.batch_plan import LIVE_BATCH_ROWS, Selection, StopReason
from pipeline.batch.budget import Calibration
from pipeline.batch.judge_plan import JudgePlanner
from pipeline.batch.live_batches import NOT_ASKED_REASON, LiveBatches
from pipeline.batch.live_report import INTERRUPTED_REASON, LiveReport, RunPolicy
from pipeline.batch.prepare import MAX_TRIES, ROUNDING, Prepared, acquire_batch_lock
from pipeline.core import files
from pipeline.core.errors import InconsistentError, StateConflictError
from pipeline.core.states import Mode
from pipeline.engine.request_builder import PlannedRequest
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.gemini.usage import NO_USAGE, Usage, calculate_cost
from pipeline.store import batches
from pipeline.store.database import Connection


def make_judge_version(task: Task, model_name: str) -> str:
    """Return the version of the batches that judge a task; estimates are measured by version."""
    return f"{task.name}@judge/{model_name}"


@dataclass
class _Draft:
    """The requests of a batch that is about to be made."""

    calibration: Calibration
    # USD that budgets have left, or None for no limit.
    budget_usd: float | None
    requests: list[PlannedRequest] = field(default_factory=list)
    counted_usage: Usage = NO_USAGE
    # Why no further request was added.
    stop_reason: StopReason = StopReason.NO_ROWS_LEFT

    @property
    def expected_usage(self) -> Usage:
        """Return the tokens of all requests, corrected by past requests."""
        return self.calibration.applied(self.counted_usage, count=len(self.requests))


class JudgeBatches(LiveBatches):
    """The batches of a run that judges answers."""

    def __init__(
        self,
        ws: WorkspaceSession,
        planner: JudgePlanner,
        policy: RunPolicy,
        report: LiveReport,
    ) -> None:
        """Prepare nothing yet.

        Args:
            ws: A session for decisions.
            planner: Builds the requests.
            report: Gets the counts of judged rows.
        """
        super().__init__(ws, Selection(), Mode.JUDGE, policy, report)
        self._planner = planner
        # Rows up to this id were asked in this run.
        self._last_id = ""

    def _prepare_next(self) -> Prepared | StopReason:
        """Seal the next requests, and record their batch; return it, or why there is none.

        The requests begin after the rows that were asked in this run.

        Raises:
            InconsistentError: Another process took the budget or the lock in each of MAX_TRIES
                tries.
        """
        for _ in range(MAX_TRIES):
            with self._ws.store.read() as tx:
                draft = self._fill_draft(tx)
            if not draft.requests:
                return draft.stop_reason
            with contextlib.suppress(StateConflictError):
                prepared = self._add_batch(draft)
                self._last_id = prepared.last_id
                return prepared
        raise InconsistentError(
            f"another process changed the budget {MAX_TRIES} times; nothing was asked",
            hint="run the same command again",
        )

    def _fill_draft(self, tx: Connection) -> _Draft:
        """Return a draft with the next requests, as many as a live batch and all budgets allow.

        They begin after the rows that were asked in this run. The draft's `stop_reason` says why it
        has no further request. Nothing is written.
        """
        draft = self._new_draft(tx)
        for request in self._planner.plan_requests(tx, after=self._last_id):
            if len(draft.requests) == LIVE_BATCH_ROWS:
                draft.stop_reason = StopReason.FULL
                break
            draft.requests.append(request)
            draft.counted_usage += request.usage
            if self._exceeds_budget(draft, draft.budget_usd):
                del draft.requests[-1]
                draft.counted_usage = sum((planned.usage for planned in draft.requests), NO_USAGE)
                draft.stop_reason = StopReason.BUDGET
                break
        return draft

    def _new_draft(self, tx: Connection) -> _Draft:
        """Return an empty draft with what the budgets have left now."""
        ws = self._ws
        calibration = budget.load_calibration(tx, make_judge_version(ws.task, ws.model.name))
        budget_usd = budget.read_current_budgets(ws).remaining_usd(
            tx,
            estimate_error=calibration.reserve,
        )
        return _Draft(calibration, budget_usd)

    def _price(self, usage: Usage) -> float:
        """Return the price of `usage` in USD, at today's rates."""
        ws = self._ws
        return calculate_cost(ws.model, usage, Mode.JUDGE.tier, day=ws.now().date())

    def _exceeds_budget(
        self,
        draft: _Draft,
        budget_usd: float | None,
        *,
        slack: float = 0.0,
    ) -> bool:
        """Return whether a draft, with the reserve of its estimate, costs more than a budget."""
        if budget_usd is None:
            return False
        reserved_cost = self._price(draft.expected_usage) * (1 + draft.calibration.reserve)
        return reserved_cost > budget_usd * (1 + slack)

    def _add_batch(self, draft: _Draft) -> Prepared:
        """Seal the requests of a draft and record their batch in one transaction.

        Budgets are checked again in this transaction. After an error the batch is not recorded and
        its lock is released. Its request file is deleted if the row of the batch could not be
        inserted.

        Returns:
            The batch with its lock, which the caller must release.

        Raises:
            StateConflictError: Another process spent the money or has the lock.
        """
        with contextlib.ExitStack() as on_error:
            with self._ws.store.write() as tx:
                number = batches.next_number(tx)
                if self._exceeds_budget(draft, self._new_draft(tx).budget_usd, slack=ROUNDING):
                    raise StateConflictError(
                        "the budget of batch", number, expected_state="free", target_state="used"
                    )
                self._ws.bind_backend(tx)
                lock = acquire_batch_lock(self._ws.locks, number)
                on_error.callback(lock.release)
                path = request_path(self._ws.data, number)
                lines = b"".join(request.line + b"\n" for request in draft.requests)
                file = files.seal_bytes(path, lines)
                try:
                    self._insert_batch(tx, draft, number, file)
                except BaseException:
                    path.unlink(missing_ok=True)
                    raise
            on_error.pop_all()
        return Prepared(
            number,
            len(draft.requests),
            draft.requests[-1].row.id,
            draft.requests,
            lock,
        )

    def _insert_batch(
        self,
        tx: Connection,
        draft: _Draft,
        number: int,
        file: files.SealedFile,
    ) -> None:
        """Insert the row of a batch, in the caller's transaction."""
        ws = self._ws
        usage = draft.expected_usage
        batches.add_batch(
            tx,
            mode=Mode.JUDGE,
            run=None,
            now=ws.now(),
            number=number,
            task=ws.task.name,
            extractor=make_judge_version(ws.task, ws.model.name),
            model=ws.model.name,
            requests=len(draft.requests),
            control_requests=0,
            request_file=str(file.path.relative_to(ws.data)),
            request_sha256=file.sha256,
            request_size=file.size,
            counted_in=draft.counted_usage.prompt,
            fingerprint=ws.task.fingerprint,
            estimated_in=usage.prompt,
            estimated_out=0,
            estimated_cost=self._price(usage),
            priced_on=ws.model.priced_on.isoformat() if ws.model.has_price else "",
        )

    def _store_outcomes(self, open_batch: OpenLiveBatch) -> None:
        """Store the probabilities and the cost of a batch, and count its rows in the report.

        The batch is then ingested, and its files are deleted. Rows that got a probability count as
        answered, and other rows as failed. Rows that were not asked, or whose call was interrupted,
        are not counted.
        """
        reasons_by_id = store_judgements(
            self._ws,
            open_batch.number,
            patience_s=self._write_timeout_s,
        )
        report = self._report
        for row_id, reason in reasons_by_id.items():
            if reason:
                report.fail(row_id, reason)
            else:
                report.answered += 1
        for row_id, reason in open_batch.failure_reasons.items():
            if reason not in {NOT_ASKED_REASON, INTERRUPTED_REASON}:
                report.fail(row_id, reason)
