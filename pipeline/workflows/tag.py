"""Ask about all items without an answer, live or by batch, whichever fits: estimate, confirm, ask, within a budget.

A killed command resumes: its row among the runs keeps the budget and its beginning, for `run` too, and stays open until
no item is left or the budget is used up.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipeline.batch.account import IngestSummary
from pipeline.batch.poll import PollReport
from pipeline.batch.submit import SubmitReport
from pipeline.core.errors import InputError
from pipeline.core.settings import Budget
from pipeline.core.states import OPEN
from pipeline.cost import budget, estimate
from pipeline.cost.budget import BudgetError
from pipeline.engine import questions
from pipeline.engine.workspace import OpenWorkspace
from pipeline.live import tag
from pipeline.quality import evaluate, pilot
from pipeline.quality.evaluate import QualityReport
from pipeline.store import batches, claims, live_calls, spending
from pipeline.store.batches import Batch
from pipeline.workflows import pilot as pilot_run
from pipeline.workflows import preflight
from pipeline.workflows.batch_steps import Backlog, BatchSteps, ingest_batches
from pipeline.workflows.preflight import Preflight

MODES = ("auto", "batch", "live")
MAX_ROUNDS = 20  # of submitting, polling and ingesting; an item is asked twice, and a budget may cut batches


@dataclass
class TagReport:
    """The mode that was taken and why, and what came of it; costs in USD.

    `mode` is live, batch, or empty if no item was to be asked. `failed` are reasons of batches that failed at the API,
    by number; if it `is_down` nothing more was sent. `left` items can be asked still, `no_room` of them once the API
    takes more; `under_way` are in open batches, `parked` were parked in this run. `spent` is what is known to be spent
    since the run began, `overrun` by how much that exceeds a budget.
    """

    mode: str = ""
    reason: str = ""
    pilot: pilot_run.PilotReport | None = None
    live: tag.TagLiveReport | None = None
    submitted: list[SubmitReport] = field(default_factory=list)
    polled: list[PollReport] = field(default_factory=list)
    ingested: list[Batch] = field(default_factory=list)
    reports: list[QualityReport] = field(default_factory=list)  # after each ingest
    failed: dict[int, str] = field(default_factory=dict)
    left: int = 0
    no_room: int = 0
    under_way: int = 0
    parked: int = 0
    is_down: bool = False
    spent: float = 0.0
    overrun: float = 0.0
    out_of_money: str = ""


@dataclass(frozen=True)
class TagOptions:
    """The options of `tag`: a mode or "auto", at most so many items, USD and seconds.

    `wait` is whether to wait for batches; a pilot's batches are waited for in any case. `pilot` is how many items to
    ask and judge before the rest; `skip_pilot` waives a pilot that stops the rest.
    """

    mode: str = "auto"
    limit: int | None = None
    budget: float | None = None
    deadline_s: float | None = None
    wait: bool | None = None
    pilot: int | None = None
    skip_pilot: bool = False

    def __post_init__(self) -> None:
        """Refuse what would ask about all, or about nothing in silence.

        Raises:
            InputError: there is no such mode, or a bound is none.
        """
        if self.mode not in MODES:
            raise InputError(f"mode is {self.mode!r}; nothing was asked", hint=f"one of {', '.join(MODES)}")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit is {self.limit}; nothing was asked", hint="1 or more, or none for all")
        if self.budget is not None and not self.budget >= 0:  # so that NaN is refused
            raise InputError(f"budget is {self.budget}; nothing was asked", hint="USD, 0 or more")


def run(
    ws: OpenWorkspace,
    options: TagOptions,
    *,
    announce: Callable[[Preflight, str, str], None],
    confirm: Callable[[float], bool],
) -> TagReport:
    """Tag every item that can be asked; `announce` gets the estimate, mode and reason before anything is spent.

    `confirm` is called with the estimate (USD) if it is above CONFIRM_ABOVE.

    Raises:
        InputError: there are no items at all, or the estimate was not confirmed; nothing was started.
        GateError: a pilot failed, or an earlier one stops the rest; the answers are stored.
        RemoteError, ConfigurationError: as the steps raise them; what was done is kept.
    """
    ws.bring_items()
    evaluate.check_gate_overrides(ws)
    report = TagReport()
    tagging = _Tagging(ws, options, report)
    estimated = preflight.estimate_both(ws, limit=options.limit, deadline_s=options.deadline_s)
    plan = estimated.plan
    is_waiting = bool(Backlog(ws.store, ws.task).batches(*OPEN))
    if not plan.items and not is_waiting:
        with ws.store.read() as tx:
            has_pilot = bool(options.pilot) and pilot.is_pilot_begun(tx, ws.extractor)
        if not has_pilot:
            questions.check_any_items(ws.store, ws.task)
            budget.close_budget(ws.store, ws.task, at=ws.now())
            return report
    if options.pilot is None:
        pilot_run.run_first(ws, size=None, skip=options.skip_pilot)
    report.mode, report.reason = _choose_mode(estimated, options.mode, is_waiting=is_waiting)
    _, cost = estimated.going_out(report.mode)
    announce(estimated, report.mode, report.reason)
    if cost > ws.settings.confirm_above and not confirm(cost):
        raise InputError("not confirmed; nothing was started", hint="YES=1 answers yes")
    tagging.run(estimated)
    return report


def document(report: TagReport) -> dict[str, Any]:
    """Return the report for programs."""
    return {
        "mode": report.mode,
        "reason": report.reason,
        "pilot": pilot_run.document(report.pilot) if report.pilot else None,
        "live": tag.document(report.live) if report.live else None,
        "submitted": [number for one in report.submitted for number in one.submitted],
        "ingested": {str(batch.number): batch.taken for batch in report.ingested},
        "failed": {str(number): why for number, why in report.failed.items()},
        "left": report.left,
        "no_room": report.no_room,
        "under_way": report.under_way,
        "parked": report.parked,
        "spent": report.spent,
        "overrun": report.overrun,
        "out_of_money": report.out_of_money,
    }


def _choose_mode(estimated: Preflight, mode: str, *, is_waiting: bool) -> tuple[str, str]:
    """Return the mode to take and why: the one asked for, else the recommended one, else that of batches under way."""
    if mode != "auto":
        return mode, f"MODE={mode}"
    if not estimated.plan.items or (is_waiting and estimated.recommended is None):
        return "batch", "going on with batches that are under way"
    return estimated.recommended or "batch", estimated.reason


class _Tagging:
    def __init__(self, ws: OpenWorkspace, options: TagOptions, report: TagReport) -> None:
        self._ws, self._options, self._report = ws, options, report
        self._steps, self._backlog = BatchSteps(ws), Backlog(ws.store, ws.task)
        report.polled, report.failed = self._steps.polled, self._steps.failed
        self._began = self._resume_budget()

    def _resume_budget(self) -> datetime:
        """Set the budget given now, else that of an unfinished run; return since when this run's spending counts."""
        ws, usd = self._ws, self._options.budget
        with ws.store.read() as tx:
            found = live_calls.unfinished_run(tx, ws.task.name, mode=budget.TAG)
        began = found.started_at if found else ws.now()
        if usd is not None:
            ws.budget = Budget(usd, began, "BUDGET")
        elif found is not None and found.budget is not None:
            budget.resume_budget(ws)
            ws.display.say(f"going on since {began:%Y-%m-%d %H:%M} UTC with BUDGET={found.budget:g}")
        return began

    def run(self, estimated: Preflight) -> None:
        ws, report = self._ws, self._report
        number, parked = self._open(estimated), self._backlog.parked()
        try:
            self._ask()
        except BudgetError as error:
            report.out_of_money = error.message
        finally:
            self._account()
            report.parked = max(0, self._backlog.parked() - parked)
        if self._is_done():
            with ws.store.write() as tx:
                live_calls.end_run(tx, number, why=report.out_of_money or "nobody is left", at=ws.now())

    def _open(self, estimated: Preflight) -> int:
        ws, plan, usd = self._ws, estimated.plan, self._options.budget
        with ws.store.write() as tx:
            found = live_calls.unfinished_run(tx, ws.task.name, mode=budget.TAG)
            if found is not None:
                if usd is not None:
                    live_calls.set_budget(tx, found.number, usd)
                return found.number
            return estimate.begin_live_run(
                ws,
                tx,
                mode=budget.TAG,
                items=plan.items,
                usage=plan.usage,
                batch=self._report.mode == "batch",
                at=self._began,
                budget=usd,
            )

    def _ask(self) -> None:
        ws, options, report, limit = self._ws, self._options, self._report, self._options.limit
        if options.pilot is not None:
            report.pilot = pilot_run.run_first(ws, size=options.pilot, skip=options.skip_pilot, limit=limit)
            report.ingested += [one.batch for one in report.pilot.accounts] if report.pilot else []
            limit = pilot_run.left_of(limit, report.pilot)
        if report.mode == "batch":
            self._ask_by_batch(limit)
            return
        report.live = tag.run(ws, limit=limit)
        asked = report.live.asked
        if isinstance(asked.stopped, BudgetError):
            report.out_of_money, asked.stopped = asked.stopped.message, None
        if options.wait and not asked.interrupted and self._backlog.batches(*OPEN):
            self._ask_by_batch(0)  # what is under way is collected, and no new item is asked

    def _ask_by_batch(self, limit: int | None) -> None:
        """Submit; with `wait`, poll and ingest as well, and submit again what failed or had to wait for money.

        If batches fail at the API and none succeeds, nothing more is sent: a short failure must not use up the tries of
        all items. If the API takes no more for now, it waits for the first batch to end, and submits again.
        """
        report, steps, most = self._report, self._steps, limit
        rounds, newest = 0, self._newest_number()
        while rounds < MAX_ROUNDS:
            submitted, waits = self._submit(most)
            if not self._options.wait:
                return
            summaries = self._collect(first=waits)
            if steps.is_down:
                report.is_down = True
                if waits and not steps.is_stopped:  # the others are waited for all the same
                    self._collect(first=False)
            if report.is_down or steps.is_stopped:
                return
            if waits:
                most = None if limit is None else max(0, limit - self._count_asked(since=newest))
                continue
            rounds += 1
            is_stuck = not (submitted.sent or summaries)
            if is_stuck or limit is not None or not self._backlog.askable():
                return

    def _submit(self, limit: int | None) -> tuple[SubmitReport, bool]:
        try:
            submitted, full = self._steps.submit(limit=limit, patient=bool(self._options.wait))
        except BudgetError:
            if self._steps.polled:
                self._collect(first=False)
            raise
        self._report.submitted.append(submitted)
        return submitted, full is not None or bool(submitted.no_room and self._steps.submitted())

    def _collect(self, *, first: bool) -> list[IngestSummary]:
        """Wait for the batches at the API, or for the `first` to end, and ingest."""
        self._steps.poll(wait=True, first=first)
        summaries = ingest_batches(self._ws, reported=self._report.reports.append)
        self._report.ingested += [one.batch for one in summaries]
        return summaries

    def _newest_number(self) -> int:
        with self._ws.store.read() as tx:
            return batches.next_number(tx) - 1

    def _count_asked(self, *, since: int) -> int:
        found = self._backlog.batches()
        with self._ws.store.read() as tx:
            numbers = [one.number for one in found if one.number > since]
            return claims.count_items(tx, numbers)

    def _is_done(self) -> bool:
        report = self._report
        is_cut_off = report.live is not None and report.live.left and not report.out_of_money
        if report.under_way or report.no_room or is_cut_off:
            return False
        return bool(report.out_of_money) or self._options.limit is not None or not report.left

    def _account(self) -> None:
        ws, report = self._ws, self._report
        report.left = self._backlog.askable()
        report.under_way = self._backlog.under_way(*OPEN)
        with ws.store.read() as tx:
            report.overrun = budget.budgets(ws).overrun(tx)
            report.spent = spending.sum_spent(tx, since=self._began).known
        last = report.submitted[-1] if report.submitted else None
        if last is not None and last.held_back and not report.out_of_money:
            report.out_of_money = f"{last.budget} has no room for more"
        report.no_room = min(report.left, last.no_room) if last is not None else 0
