"""Ask about everything under one version, over as many batches and days as it takes: in turns, each of which may die.

A turn looks what is over, ingests it, and sends what the window has room for. The run's row says that a person wanted
this and under which version; it stays open until nobody is left, so that every later command goes on under it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipeline import estimating, piloting, preflighting, reporting
from pipeline.engine import questions
from pipeline.errors import InputError
from pipeline.preflighting import Preflight
from pipeline.routines import setbacks
from pipeline.runtime import Runtime
from pipeline.spending import BudgetError
from pipeline.states import OPEN, BatchState
from pipeline.steps import batch_poll
from pipeline.store import batches, claims, pilots, runs
from pipeline.store.pilots import Verdict
from pipeline.ways import spoken
from pipeline.workflows import ingest

if TYPE_CHECKING:
    from pipeline.reporting import Report as Quality
    from pipeline.steps.batch_ingest import Account

REPORTED = 20  # of the time that a report took must pass before the next one, but for the last
FAILED = "the answers fail a quality gate by far, and nothing more was sent; SKIP_PILOT=1 goes on all the same"
FULL = "the API takes no more for now"
DOWN = "batches fail at the API, and nothing more was sent"
UNDER_WAY = (BatchState.SUBMITTING, BatchState.SUBMITTED)


@dataclass
class Report:
    """What came of one command: the batches sent and ingested, who is left, and the newest report on the answers.

    `is_over` is true where nobody is left and no batch is under way; `held_back` says what keeps the rest waiting, such
    as a report that failed a gate. `failed` says of batches why they failed at the API, `parked` were parked meanwhile;
    where it `is_down` nothing more was sent.
    """

    extractor: str
    look: Preflight | None = None
    submitted: list[int] = field(default_factory=list)
    accounts: "list[Account]" = field(default_factory=list)
    polled: batch_poll.Report | None = None
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
class Wish:
    """What a person asks for: a version of its own (`anew`), to do without a pilot, to wait until all is over."""

    anew: bool = False
    skip_pilot: bool = False
    wait: bool = False


def chosen(rt: Runtime, *, anew: bool) -> Runtime:
    """Return the workspace with the version that is meant: a new one, or the one in use.

    A new one that was begun by this and is not over is gone on with, for the same command run again means the same.
    """
    if not anew:
        return rt
    with rt.store.read() as tx:
        going = runs.unfinished(tx, rt.task.name, mode=runs.BACKFILL)
        if going is not None and rt.settings.version is None and rt.task.skips == (rt.task.label,):
            return rt
        task = rt.task.anew(tx, rt.settings.version)
    subjects = tuple(one._replace(task=task) if one.task is rt.task else one for one in rt.subjects)
    return replace(rt, task=task, subjects=subjects)


def run(
    rt: Runtime,
    wish: Wish,
    *,
    announce: Callable[[Preflight, str], None],
    confirm: Callable[[float], bool],
    told: "Callable[[Account], None]" = lambda _account: None,
) -> Report:
    """Make one turn, or with `wait` as many as it takes; `rt` is of the version that is meant (see `chosen`).

    `announce` is told the look at what is left and the extractor before anything is spent; `confirm` is asked with the
    estimate (USD) where anything is to be asked.

    Raises:
        InputError: there are no items, or it was not confirmed; nothing was sent.
        GateError: no pilot of this extractor passed, or its answers turned out to be hopeless.
        RemoteError, ConfigurationError: as the steps raise them; run again, it goes on.
    """
    questions.check_any(rt.store, rt.task)
    reporting.check_bounds(rt)
    questions.free_dead(rt.store, now=rt.now())
    if not wish.skip_pilot:
        _check_pilot(rt)
    questions.begin(rt.store, rt.task, model=rt.model.name, at=rt.now())
    report = Report(rt.extractor, look=preflighting.look(rt, limit=None, deadline_s=None))
    _open(rt, report, wish, announce=announce, confirm=confirm)
    turns, parked = _Turns(rt, report, told=told), setbacks.parked(rt)
    turns.make(wait=wish.wait)
    _account(rt, report)
    report.parked = max(0, setbacks.parked(rt) - parked)
    if report.is_over:
        turns.report(last=True, owed=_is_begun(rt))
        close(rt)
    return report


def close(rt: Runtime) -> None:
    """End the run of a backfill after which nobody is left and nothing is under way."""
    with rt.store.read() as tx:
        found = runs.unfinished(tx, rt.task.name, mode=runs.BACKFILL)
        if found is None or found.extractor != rt.extractor or claims.count_askable(tx, rt.task):
            return
    if not _count(rt, *OPEN):
        with rt.store.write() as tx:
            runs.end(tx, found.number, why="nobody is left", at=rt.now())


def _check_pilot(rt: Runtime) -> None:
    """Refuse before anything is noted of a version that may not be asked under yet.

    Raises:
        GateError: no pilot of this extractor passed.
    """
    with rt.store.read() as tx:
        if claims.count_askable(tx, rt.task):
            piloting.check(rt, tx, compulsory=rt.task.needs_pilot)


def _open(
    rt: Runtime,
    report: Report,
    wish: Wish,
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
        with rt.store.read() as tx:
            piloting.check(rt, tx, compulsory=rt.task.needs_pilot)
    announce(look, rt.extractor)
    if not confirm(look.batch.cost):
        raise InputError("not confirmed; nothing was sent", hint="YES=1 answers yes")
    with rt.store.write() as tx:
        if wish.skip_pilot and not piloting.is_cleared(rt, tx):
            pilots.waive(tx, rt.task.name, rt.extractor, at=rt.now())
        found = runs.unfinished(tx, rt.task.name, mode=runs.BACKFILL)
        if found is not None and found.extractor == rt.extractor:
            return
        if found is not None:
            runs.end(tx, found.number, why=f"{rt.extractor} was begun instead", at=rt.now())
        plan, mode = look.plan, runs.BACKFILL
        estimating.begin_run(
            rt, tx, mode=mode, items=plan.requests, usage=plan.usage, batch=True, at=rt.now(), budget=None
        )


class _Turns:
    """The turns of one command, and the reports between them."""

    def __init__(self, rt: Runtime, report: Report, *, told: "Callable[[Account], None]") -> None:
        """Begin with no report."""
        self._rt, self._report, self._told = rt, report, told
        self._cost_s, self._reported_at = 0.0, 0.0
        self._began = rt.now()
        self._stale = False  # batches were ingested since the last report
        self._has_failed = False  # the answers are hopeless
        self._has_moved = True  # the last look that waited saw a batch end
        self._trouble = setbacks.Trouble()

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
        rt, began = self._rt, time.monotonic()
        self._stale = self._stale or (owed and self._report.quality is None)
        if not self._stale or (not last and began - self._reported_at < REPORTED * self._cost_s):
            return
        self._report.quality = reporting.write(rt, extractor=rt.extractor, notes=_notes(rt))
        self._reported_at = time.monotonic()
        self._cost_s, self._stale = self._reported_at - began, False
        if self._report.quality is not None and self._report.quality.is_hopeless:
            self._has_failed = True
            self._report.held_back = FAILED
            piloting.note_failed(rt, self._report.quality)

    def _bring_home(self, *, wait: bool) -> None:
        """Look at what is at the API, until the first batch is over where it is to be waited for, and ingest it."""
        if _count(self._rt, *UNDER_WAY):
            # where one cannot be looked at, the others would be looked at in a circle and without a pause
            polled = batch_poll.run(self._rt, wait=wait, first=self._has_moved)
            self._has_moved = not wait or bool(polled.downloaded or polled.failed)
            self._report.polled = polled
            failed = setbacks.failed(self._rt, polled)
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
            f"about {spoken(left_s)} to go"
        )

    def _is_stopped(self) -> bool:
        """Return whether the API could not be asked, or a batch needs a person."""
        polled = self._report.polled
        return polled is not None and bool(polled.stopped or polled.gone or polled.unclear)

    def _send(self, *, wait: bool) -> bool:
        """Send what waits and what the window has room for; return whether anything is at the API then.

        Where it is waited for, an API that takes no more for now is no end: what is under way makes room.
        """
        rt, report = self._rt, self._report
        report.held_back = ""
        try:
            sent, full = setbacks.submit(rt, limit=None, confirm=None, patient=wait)
        except BudgetError as error:
            report.held_back = error.message
        else:
            report.submitted += sent.submitted
            report.held_back = f"{sent.budget} has no room for more" if sent.held_back else ""
            report.held_back = FULL if full or sent.no_room else report.held_back
        return bool(_count(rt, *UNDER_WAY))


def _is_begun(rt: Runtime) -> bool:
    """Return whether a backfill under this version has no end yet."""
    with rt.store.read() as tx:
        found = runs.unfinished(tx, rt.task.name, mode=runs.BACKFILL)
    return found is not None and found.extractor == rt.extractor


def _left(rt: Runtime) -> int:
    """Return how many are to be answered still: those left, and those in batches that are not over."""
    with rt.store.read() as tx:
        waiting = sum(one.requests for one in batches.in_states(tx, *OPEN, task=rt.task.name))
        return waiting + claims.count_askable(tx, rt.task)


def _notes(rt: Runtime) -> list[str]:
    """Return what a reader of the report must know."""
    with rt.store.read() as tx:
        found = piloting.standing(rt, tx)
    if found is None or found.verdict is Verdict.WAIVED:
        return ["Asked without a pilot that passed: a person wanted it so."]
    return []


def _account(rt: Runtime, report: Report) -> None:
    """Keep who is left, and how many batches are under way."""
    report.under_way = _count(rt, *OPEN)
    with rt.store.read() as tx:
        report.left = claims.count_askable(tx, rt.task)


def _count(rt: Runtime, *states: BatchState) -> int:
    """Return how many batches are in these states."""
    with rt.store.read() as tx:
        return len(batches.in_states(tx, *states, task=rt.task.name))


def document(report: Report) -> dict[str, Any]:
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
