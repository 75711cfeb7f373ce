"""Ask about all items under one version, over as many batches and days as it takes: in rounds, each of which may die.

A round polls, ingests, and submits what the quota allows. The run's row keeps that a backfill was asked for and under
which version. It stays open until no item is left, so that every later command goes on under that version.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from pipeline.batch.account import IngestSummary
from pipeline.batch.poll import PollReport
from pipeline.core.errors import InputError
from pipeline.core.states import OPEN
from pipeline.core.task import Task
from pipeline.cost import estimate
from pipeline.cost.budget import BudgetError
from pipeline.cost.estimate import AT_API
from pipeline.engine import questions
from pipeline.engine.workspace import OpenWorkspace
from pipeline.quality import evaluate, pilot
from pipeline.quality.evaluate import QualityReport
from pipeline.store import claims, live_calls, pilots
from pipeline.store.database import Store
from pipeline.store.live_calls import Run
from pipeline.store.pilots import PilotVerdict
from pipeline.workflows import preflight
from pipeline.workflows.batch_or_live import format_duration
from pipeline.workflows.batch_steps import Backlog, BatchSteps, ingest_batches
from pipeline.workflows.preflight import Preflight

REPORT_EVERY = 20  # times as long as writing a report took must pass before the next one, except the last
FAILED = "the answers fail a quality gate by far, and nothing more was sent; SKIP_PILOT=1 goes on all the same"
FULL = "the API takes no more for now"
DOWN = "batches fail at the API, and nothing more was sent"


@dataclass
class BackfillReport:
    """What one command did: the batches sent and ingested, how many items are left, and the newest quality report.

    `held_back` says what keeps the rest waiting, such as a failed gate. `failed` are reasons of batches that failed at
    the API, by number; if it `is_down` nothing more was sent. `parked` items were parked meanwhile.
    """

    extractor: str
    estimate: Preflight
    submitted: list[int] = field(default_factory=list)
    accounts: list[IngestSummary] = field(default_factory=list)
    polled: PollReport | None = None
    failed: dict[int, str] = field(default_factory=dict)
    left: int = 0
    under_way: int = 0
    parked: int = 0
    is_down: bool = False
    held_back: str = ""
    quality: QualityReport | None = None

    @property
    def is_over(self) -> bool:
        """Return whether all items were answered or parked."""
        return not self.left and not self.under_way


def chosen_version(ws: OpenWorkspace, *, anew: bool) -> OpenWorkspace:
    """Return the workspace with the version to ask under: a new one, or the one in use.

    An unfinished backfill that began a new version goes on under it, for the same command run again means the same.
    """
    if not anew:
        return ws
    with ws.store.read() as tx:
        going = live_calls.unfinished_run(tx, ws.task.name, mode=live_calls.BACKFILL)
        if going is not None and ws.settings.version is None and ws.task.skips == (ws.task.label,):
            return ws
        task = ws.task.hooks.new_version(tx, ws.task, ws.settings.version)
    subjects = tuple(one._replace(task=task) if one.task is ws.task else one for one in ws.subjects)
    return replace(ws, task=task, subjects=subjects)


def run(
    ws: OpenWorkspace,
    *,
    skip_pilot: bool,
    wait: bool,
    announce: Callable[[Preflight, str], None],
    confirm: Callable[[float], bool],
    ingested: Callable[[IngestSummary], None] = lambda _summary: None,
) -> BackfillReport:
    """Do one round, or with `wait` as many as it takes; `ws` is of the version to ask under (see `chosen_version`).

    `announce` gets the estimate of what is left and the extractor before anything is spent; `confirm` is called with
    the estimate (USD) if anything is to be asked.

    Raises:
        InputError: there are no items, or it was not confirmed; nothing was sent.
        GateError: no pilot of this extractor passed, or its answers fail the gates by far.
        RemoteError, ConfigurationError: as the steps raise them; run again, it goes on.
    """
    questions.check_any_items(ws.store, ws.task)
    evaluate.check_gate_overrides(ws)
    questions.free_dead_owners(ws.store, now=ws.now())
    if not skip_pilot:
        with ws.store.read() as tx:
            if claims.count_askable(tx, ws.task):
                pilot.check_pilot(tx, ws.task, ws.extractor, compulsory=ws.task.needs_pilot)
    questions.begin_asking(ws.store, ws.task, model=ws.model.name, at=ws.now())
    report = BackfillReport(ws.extractor, preflight.estimate_both(ws, limit=None, deadline_s=None))
    backlog = Backlog(ws.store, ws.task)
    rounds, parked = _Rounds(ws, backlog, report, ingested), backlog.parked()
    if report.estimate.plan.items:
        rounds.open(announce, confirm, skip_pilot=skip_pilot)
    rounds.run(wait=wait)
    report.under_way = len(backlog.batches(*OPEN))
    report.left = backlog.askable()
    report.parked = max(0, backlog.parked() - parked)
    if report.is_over:
        rounds.report(last=True, is_due=_unfinished(ws.store, ws.task, ws.extractor) is not None)
        close_backfill(ws.store, ws.task, ws.extractor, at=ws.now())
    return report


def close_backfill(store: Store, task: Task, extractor: str, *, at: datetime) -> None:
    """End the run of a backfill that has no item left and no batch under way."""
    found = _unfinished(store, task, extractor)
    backlog = Backlog(store, task)
    if found is None or backlog.askable() or backlog.batches(*OPEN):
        return
    with store.write() as tx:
        live_calls.end_run(tx, found.number, why="nobody is left", at=at)


def document(report: BackfillReport) -> dict[str, Any]:
    """Return the report for programs."""
    quality = report.quality
    return {
        "extractor": report.extractor,
        "asked": report.estimate.plan.items,
        "submitted": report.submitted,
        "ingested": {str(one.batch.number): one.batch.answered for one in report.accounts},
        "failed": {str(number): why for number, why in report.failed.items()},
        "parked": report.parked,
        "left": report.left,
        "under_way": report.under_way,
        "held_back": report.held_back,
        "is_over": report.is_over,
        "passed": None if quality is None else quality.passed,
        "report": None if quality is None else str(quality.path),
    }


def _unfinished(store: Store, task: Task, extractor: str) -> Run | None:
    with store.read() as tx:
        found = live_calls.unfinished_run(tx, task.name, mode=live_calls.BACKFILL)
    return found if found is not None and found.extractor == extractor else None


class _Rounds:
    def __init__(
        self, ws: OpenWorkspace, backlog: Backlog, report: BackfillReport, ingested: Callable[[IngestSummary], None]
    ) -> None:
        self._ws, self._backlog, self._report, self._ingested = ws, backlog, report, ingested
        self._steps = BatchSteps(ws)
        self._began = ws.now()
        self._report_s, self._reported_at = 0.0, 0.0
        self._is_stale = False  # batches were ingested since the last report

    def open(
        self, announce: Callable[[Preflight, str], None], confirm: Callable[[float], bool], *, skip_pilot: bool
    ) -> None:
        """Announce, confirm, and note that all items are to be asked; an unfinished run of this version goes on."""
        ws, estimated = self._ws, self._report.estimate
        if not skip_pilot:
            with ws.store.read() as tx:
                pilot.check_pilot(tx, ws.task, ws.extractor, compulsory=ws.task.needs_pilot)
        announce(estimated, ws.extractor)
        if not confirm(estimated.going_out("batch")[1]):
            raise InputError("not confirmed; nothing was sent", hint="YES=1 answers yes")
        plan, mode = estimated.plan, live_calls.BACKFILL
        with ws.store.write() as tx:
            if skip_pilot and not pilot.is_pilot_cleared(tx, ws.task, ws.extractor):
                pilots.waive_pilot(tx, ws.task.name, ws.extractor, at=ws.now())
            found = live_calls.unfinished_run(tx, ws.task.name, mode=mode)
            if found is not None and found.extractor == ws.extractor:
                return
            if found is not None:
                live_calls.end_run(tx, found.number, why=f"{ws.extractor} was begun instead", at=ws.now())
            estimate.begin_live_run(
                ws, tx, mode=mode, items=plan.items, usage=plan.usage, batch=True, at=ws.now(), budget=None
            )

    def run(self, *, wait: bool) -> None:
        """Do one round, or one after the other until nothing is under way and nothing can be sent.

        If the answers are hopeless nothing more is sent; the next command collects what is at the API. If batches fail
        at the API and none succeeds, nothing more is sent either: a short failure must not use up the tries of all
        items. The other batches are waited for all the same.
        """
        report, steps = self._report, self._steps
        self._began = self._ws.now()
        self._collect(wait=False)
        while not (self._is_hopeless() or steps.is_down) and self._submit(wait=wait) and wait:
            self._collect(wait=True)
            if steps.is_stopped:
                return
        if steps.is_down:
            report.is_down = True
            report.held_back = report.held_back or DOWN
            while wait and self._is_any_at_api() and not steps.is_stopped:
                self._collect(wait=True)

    def report(self, *, last: bool, is_due: bool = False) -> None:
        """Write a quality report if there are new answers; before the last one only if enough time has passed.

        If `is_due`, one is written without new answers too: the process that ingested them may have died before it.
        """
        ws, began = self._ws, time.monotonic()
        self._is_stale = self._is_stale or (is_due and self._report.quality is None)
        if not self._is_stale or (not last and began - self._reported_at < REPORT_EVERY * self._report_s):
            return
        self._report.quality = evaluate.write_report(ws, extractor=ws.extractor, notes=self._notes())
        self._reported_at = time.monotonic()
        self._report_s, self._is_stale = self._reported_at - began, False
        if self._report.quality is not None and self._is_hopeless():
            self._report.held_back = FAILED
            pilot.note_failed_pilot(ws, self._report.quality)

    def _is_hopeless(self) -> bool:
        return self._report.quality is not None and self._report.quality.is_hopeless

    def _is_any_at_api(self) -> bool:
        return bool(self._backlog.batches(*AT_API))

    def _collect(self, *, wait: bool) -> None:
        """Poll the batches at the API, with `wait` until the first one ends, and ingest."""
        report = self._report
        if self._is_any_at_api():
            report.polled = self._steps.poll(wait=wait, first=True)
            report.failed = self._steps.failed
        summaries = ingest_batches(self._ws, done=self._ingested)
        report.accounts += summaries
        if summaries and wait:
            self._show_progress()
        self._is_stale = self._is_stale or bool(summaries)
        self.report(last=False)

    def _show_progress(self) -> None:
        ws = self._ws
        done = sum(one.batch.accounted for one in self._report.accounts)
        took_s = (ws.now() - self._began).total_seconds()
        left = self._backlog.askable()
        left += self._backlog.under_way(*OPEN)
        rest = f", about {format_duration(took_s / done * left)} to go" if left else ""
        rate = f"{60 * done / max(took_s, 1):,.0f} a minute"
        ws.display.say(f"{done:,} of {done + left:,} {ws.task.words.many}, {rate}{rest}")

    def _submit(self, *, wait: bool) -> bool:
        """Submit what the quota allows; return whether anything is at the API then.

        With `wait`, an API that takes no more for now ends nothing: batches under way make room.
        """
        report = self._report
        report.held_back = ""
        try:
            sent, full = self._steps.submit(limit=None, patient=wait)
        except BudgetError as error:
            report.held_back = error.message
        else:
            report.submitted += sent.submitted
            report.held_back = f"{sent.budget} has no room for more" if sent.held_back else ""
            report.held_back = FULL if full or sent.no_room else report.held_back
        return self._is_any_at_api()

    def _notes(self) -> list[str]:
        with self._ws.store.read() as tx:
            found = pilots.newest_pilot(tx, self._ws.extractor, over=True)
        is_waived = found is None or found.verdict is PilotVerdict.WAIVED
        return ["Asked without a pilot that passed: a person wanted it so."] if is_waived else []
