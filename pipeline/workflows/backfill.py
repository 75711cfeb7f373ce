"""Ask about everything under one version, over as many batches and days as it takes: in turns, each of which may die.

A turn looks what is over, ingests it, and sends what the window has room for. The run's row says that a person wanted
this and under which version; it stays open until nobody is left, so that every later command goes on under it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipeline.batch import poll
from pipeline.core.errors import InputError
from pipeline.core.states import OPEN, BatchState
from pipeline.cost import estimate
from pipeline.cost.budget import BudgetError
from pipeline.engine import questions
from pipeline.engine.workspace import OpenWorkspace
from pipeline.quality import evaluate, pilot
from pipeline.store import batches, claims, live_calls, pilots
from pipeline.store.pilots import PilotVerdict
from pipeline.workflows import failures, ingest, preflight
from pipeline.workflows.batch_or_live import format_duration
from pipeline.workflows.preflight import Preflight

if TYPE_CHECKING:
    from pipeline.batch.ingest import IngestSummary
    from pipeline.quality.evaluate import QualityReport as Quality


REPORTED = 20  # of the time that a report took must pass before the next one, but for the last
FAILED = "the answers fail a quality gate by far, and nothing more was sent; SKIP_PILOT=1 goes on all the same"
FULL = "the API takes no more for now"
DOWN = "batches fail at the API, and nothing more was sent"
UNDER_WAY = (BatchState.SUBMITTING, BatchState.SUBMITTED)


@dataclass
class BackfillReport:
    """What came of one command: the batches sent and ingested, who is left, and the newest report on the answers.

    `is_over` is true where nobody is left and no batch is under way; `held_back` says what keeps the rest waiting, such
    as a report that failed a gate. `failed` says of batches why they failed at the API, `parked` were parked meanwhile;
    where it `is_down` nothing more was sent.
    """

    extractor: str
    look: Preflight | None = None
    submitted: list[int] = field(default_factory=list)
    accounts: "list[IngestSummary]" = field(default_factory=list)
    polled: poll.PollReport | None = None
    failed: dict[int, str] = field(default_factory=dict)
    left: int = 0
    under_way: int = 0
    parked: int = 0
    is_down: bool = False
    held_back: str = ""
    quality: "Quality | None" = None

    @property
    def is_over(self) -> bool:
        """Return whether everything was asked and answered, or parked."""
        return not self.left and not self.under_way


@dataclass(frozen=True)
class BackfillOptions:
    """What a person asks for: a version of its own (`anew`), to do without a pilot, to wait until all is over."""

    anew: bool = False
    skip_pilot: bool = False
    wait: bool = False


def chosen_version(ws: OpenWorkspace, *, anew: bool) -> OpenWorkspace:
    """Return the workspace with the version that is meant: a new one, or the one in use.

    A new one that was begun by this and is not over is gone on with, for the same command run again means the same.
    """
    if not anew:
        return ws
    with ws.store.read() as tx:
        going = live_calls.unfinished_run(tx, ws.task.name, mode=live_calls.BACKFILL)
        if going is not None and ws.settings.version is None and ws.task.skips == (ws.task.label,):
            return ws
        task = ws.task.new_version(tx, ws.settings.version)
    subjects = tuple(one._replace(task=task) if one.task is ws.task else one for one in ws.subjects)
    return replace(ws, task=task, subjects=subjects)


def run(
    ws: OpenWorkspace,
    wish: BackfillOptions,
    *,
    announce: Callable[[Preflight, str], None],
    confirm: Callable[[float], bool],
    told: "Callable[[IngestSummary], None]" = lambda _account: None,
) -> BackfillReport:
    """Make one turn, or with `wait` as many as it takes; `ws` is of the version that is meant (see `chosen`).

    `announce` is told the look at what is left and the extractor before anything is spent; `confirm` is asked with the
    estimate (USD) where anything is to be asked.

    Raises:
        InputError: there are no items, or it was not confirmed; nothing was sent.
        GateError: no pilot of this extractor passed, or its answers turned out to be hopeless.
        RemoteError, ConfigurationError: as the steps raise them; run again, it goes on.
    """
    questions.check_any_items(ws.store, ws.task)
    evaluate.check_gate_overrides(ws)
    questions.free_dead_owners(ws.store, now=ws.now())
    if not wish.skip_pilot:
        _check_pilot(ws)
    questions.begin_asking(ws.store, ws.task, model=ws.model.name, at=ws.now())
    report = BackfillReport(ws.extractor, look=preflight.estimate_both(ws, limit=None, deadline_s=None))
    _open(ws, report, wish, announce=announce, confirm=confirm)
    turns, parked = _Turns(ws, report, told=told), failures.count_parked_items(ws)
    turns.make(wait=wish.wait)
    _account(ws, report)
    report.parked = max(0, failures.count_parked_items(ws) - parked)
    if report.is_over:
        turns.report(last=True, owed=_is_begun(ws))
        close_backfill(ws)
    return report


def close_backfill(ws: OpenWorkspace) -> None:
    """End the run of a backfill after which nobody is left and nothing is under way."""
    with ws.store.read() as tx:
        found = live_calls.unfinished_run(tx, ws.task.name, mode=live_calls.BACKFILL)
        if found is None or found.extractor != ws.extractor or claims.count_askable(tx, ws.task):
            return
    if not _count(ws, *OPEN):
        with ws.store.write() as tx:
            live_calls.end_run(tx, found.number, why="nobody is left", at=ws.now())


def _check_pilot(ws: OpenWorkspace) -> None:
    """Refuse before anything is noted of a version that may not be asked under yet.

    Raises:
        GateError: no pilot of this extractor passed.
    """
    with ws.store.read() as tx:
        if claims.count_askable(tx, ws.task):
            pilot.check_pilot(tx, ws.task, ws.extractor, compulsory=ws.task.needs_pilot)


def _open(
    ws: OpenWorkspace,
    report: BackfillReport,
    wish: BackfillOptions,
    *,
    announce: Callable[[Preflight, str], None],
    confirm: Callable[[float], bool],
) -> None:
    """Keep that everything is to be asked, once a pilot and a person allow it; what was begun is gone on with."""
    look = report.look
    assert look is not None  # noqa: S101 - it was looked before
    if not look.plan.requests:
        return
    if not wish.skip_pilot:
        with ws.store.read() as tx:
            pilot.check_pilot(tx, ws.task, ws.extractor, compulsory=ws.task.needs_pilot)
    announce(look, ws.extractor)
    if not confirm(look.batch.cost):
        raise InputError("not confirmed; nothing was sent", hint="YES=1 answers yes")
    with ws.store.write() as tx:
        if wish.skip_pilot and not pilot.is_pilot_cleared(tx, ws.task, ws.extractor):
            pilots.waive_pilot(tx, ws.task.name, ws.extractor, at=ws.now())
        found = live_calls.unfinished_run(tx, ws.task.name, mode=live_calls.BACKFILL)
        if found is not None and found.extractor == ws.extractor:
            return
        if found is not None:
            live_calls.end_run(tx, found.number, why=f"{ws.extractor} was begun instead", at=ws.now())
        plan, mode = look.plan, live_calls.BACKFILL
        estimate.begin_live_run(
            ws, tx, mode=mode, items=plan.requests, usage=plan.usage, batch=True, at=ws.now(), budget=None
        )


class _Turns:
    """The turns of one command, and the reports between them."""

    def __init__(self, ws: OpenWorkspace, report: BackfillReport, *, told: "Callable[[IngestSummary], None]") -> None:
        """Begin with no report."""
        self._rt, self._report, self._told = ws, report, told
        self._cost_s, self._reported_at = 0.0, 0.0
        self._began = ws.now()
        self._stale = False  # batches were ingested since the last report
        self._has_failed = False  # the answers are hopeless
        self._has_moved = True  # the last look that waited saw a batch end
        self._trouble = failures.BatchTrouble()

    def make(self, *, wait: bool) -> None:
        """Make one turn, or turn after turn until nothing is under way and nothing can be sent.

        Where the answers are hopeless nothing more is sent; what is at the API is brought home by the next command.
        Nor is anything where batches fail there and none succeeds, for what lasts a minute must not use up anybody's
        tries; the others are brought home all the same.
        """
        self._bring_home(wait=False)
        while not (self._has_failed or self._trouble.is_lasting) and self._send(wait=wait) and wait:
            self._bring_home(wait=True)
            if self._is_stopped():
                return
        if self._trouble.is_lasting:
            self._report.is_down = True
            self._report.held_back = self._report.held_back or DOWN
            while wait and _count(self._rt, *UNDER_WAY) and not self._is_stopped():
                self._bring_home(wait=True)

    def report(self, *, last: bool, owed: bool = False) -> None:
        """Write a report where there are new answers; but for the last not more often than it is worth.

        Where it is `owed` there is one in any case, for whoever ingested the last of them may have died before it.
        """
        ws, began = self._rt, time.monotonic()
        self._stale = self._stale or (owed and self._report.quality is None)
        if not self._stale or (not last and began - self._reported_at < REPORTED * self._cost_s):
            return
        self._report.quality = evaluate.write_report(ws, extractor=ws.extractor, notes=_notes(ws))
        self._reported_at = time.monotonic()
        self._cost_s, self._stale = self._reported_at - began, False
        if self._report.quality is not None and self._report.quality.is_hopeless:
            self._has_failed = True
            self._report.held_back = FAILED
            pilot.note_failed_pilot(ws, self._report.quality)

    def _bring_home(self, *, wait: bool) -> None:
        """Look at what is at the API, until the first batch is over where it is to be waited for, and ingest it."""
        if _count(self._rt, *UNDER_WAY):
            # where one cannot be looked at, the others would be looked at in a circle and without a pause
            polled = poll.run(self._rt, wait=wait, first=self._has_moved)
            self._has_moved = not wait or bool(polled.downloaded or polled.failed)
            self._report.polled = polled
            failed = failures.failed_batches(self._rt, polled)
            self._trouble.see(polled, failed)
            self._report.failed |= failed
        accounts = ingest.run(self._rt, done=self._told)
        self._report.accounts += accounts
        if accounts and wait:
            self._show()
        self._stale = self._stale or bool(accounts)
        self.report(last=False)

    def _show(self) -> None:
        """Say how far this command has come, how quickly, and how long the rest will take."""
        report, words = self._report, self._rt.task.words
        done = sum(one.batch.requests for one in report.accounts)
        took_s = (self._rt.now() - self._began).total_seconds()
        left = _left(self._rt)
        left_s = took_s / done * left
        self._rt.display.say(
            f"{done:,} of {done + left:,} {words.many}, {60 * done / max(took_s, 1):,.0f} a minute, "
            f"about {format_duration(left_s)} to go"
        )

    def _is_stopped(self) -> bool:
        """Return whether the API could not be asked, or a batch needs a person."""
        polled = self._report.polled
        return polled is not None and bool(polled.stopped or polled.gone or polled.unclear)

    def _send(self, *, wait: bool) -> bool:
        """Send what waits and what the window has room for; return whether anything is at the API then.

        Where it is waited for, an API that takes no more for now is no end: what is under way makes room.
        """
        ws, report = self._rt, self._report
        report.held_back = ""
        try:
            sent, full = failures.submit_what_fits(ws, limit=None, confirm=None, patient=wait)
        except BudgetError as error:
            report.held_back = error.message
        else:
            report.submitted += sent.submitted
            report.held_back = f"{sent.budget} has no room for more" if sent.held_back else ""
            report.held_back = FULL if full or sent.no_room else report.held_back
        return bool(_count(ws, *UNDER_WAY))


def _is_begun(ws: OpenWorkspace) -> bool:
    """Return whether a backfill under this version has no end yet."""
    with ws.store.read() as tx:
        found = live_calls.unfinished_run(tx, ws.task.name, mode=live_calls.BACKFILL)
    return found is not None and found.extractor == ws.extractor


def _left(ws: OpenWorkspace) -> int:
    """Return how many are to be answered still: those left, and those in batches that are not over."""
    with ws.store.read() as tx:
        waiting = sum(one.requests for one in batches.batches_in_states(tx, *OPEN, task=ws.task.name))
        return waiting + claims.count_askable(tx, ws.task)


def _notes(ws: OpenWorkspace) -> list[str]:
    """Return what a reader of the report must know."""
    with ws.store.read() as tx:
        found = pilot.deciding_pilot(tx, ws.extractor)
    if found is None or found.verdict is PilotVerdict.WAIVED:
        return ["Asked without a pilot that passed: a person wanted it so."]
    return []


def _account(ws: OpenWorkspace, report: BackfillReport) -> None:
    """Keep who is left, and how many batches are under way."""
    report.under_way = _count(ws, *OPEN)
    with ws.store.read() as tx:
        report.left = claims.count_askable(tx, ws.task)


def _count(ws: OpenWorkspace, *states: BatchState) -> int:
    """Return how many batches are in these states."""
    with ws.store.read() as tx:
        return len(batches.batches_in_states(tx, *states, task=ws.task.name))


def document(report: BackfillReport) -> dict[str, Any]:
    """Return what came of it, for programs."""
    return {
        "extractor": report.extractor,
        "asked": None if report.look is None else report.look.plan.requests,
        "submitted": report.submitted,
        "ingested": {str(one.batch.number): one.batch.answered for one in report.accounts},
        "failed": {str(number): why for number, why in report.failed.items()},
        "parked": report.parked,
        "left": report.left,
        "under_way": report.under_way,
        "held_back": report.held_back,
        "is_over": report.is_over,
        "passed": None if report.quality is None else report.quality.passed,
        "report": None if report.quality is None else str(report.quality.path),
    }
