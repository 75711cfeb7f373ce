"""Ask about every item without an answer now, by ordinary calls at full price.

The same items, requests, claims and answers as in batches; whoever is being asked live stands in no batch. Running it
again goes on with who is left.
"""

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline import estimating, piloting, preparing, reporting, spending
from pipeline.engine import questions
from pipeline.errors import UnavailableError
from pipeline.gemini.costs import Usage
from pipeline.live import asking
from pipeline.live.marking import Account, Purpose
from pipeline.live.questioning import OpenQuestions
from pipeline.runtime import Runtime
from pipeline.store import claims, runs

if TYPE_CHECKING:
    from pipeline.display import Bar
    from pipeline.reporting import Report as Quality

HASTE_S = 1.0  # so long an interrupted run waits for another program to let it say that it ended
LEAST = 0.00005  # USD; less than this is shown as nothing


@dataclass
class Report:
    """What became of everyone: counts of items, but for `calls`; costs in USD; names and reasons of some that failed.

    `everyone` is `skipped` (answered already, nothing to ask, claimed elsewhere or parked) and those that were to be
    asked; `left` of these are as they were.
    """

    everyone: int = 0
    skipped: int = 0
    left: int = 0
    run: int | None = None
    estimated: Usage = field(default_factory=Usage)
    estimated_cost: float = 0.0
    asked: asking.Report = field(default_factory=asking.Report)
    samples: list[tuple[str, str]] = field(default_factory=list)
    quality: "Quality | None" = None  # on the answers of this extractor, where there are new ones


def run(rt: Runtime, *, limit: int | None) -> Report:
    """Ask everyone that can be asked, at most `limit`.

    What ends it early (a daily quota, a budget, a service that is gone) stands in the report; so does an interrupt.

    Raises:
        InputError: there are no items at all.
        ConfigurationError: no key, or no such model; nothing was asked.
    """
    questions.free_dead(rt.store, now=rt.now())
    reporting.tidy(rt)
    questions.begin(rt.store, rt.task, model=rt.model.name, at=rt.now())
    with rt.store.read() as tx:
        everyone, askable = rt.task.total(tx), claims.count_askable(tx, rt.task)
    to_ask = askable if limit is None else min(askable, limit)
    report = Report(everyone=everyone, skipped=everyone - to_ask)
    if not to_ask:
        questions.check_any(rt.store, rt.task)
        return report
    rt.client  # noqa: B018 - a missing key or an engine that cannot start is said before anything is written
    _begin(rt, report, limit=limit, to_ask=to_ask)
    with rt.store.read() as tx:
        known = estimating.calibration(tx, rt.extractor)
    account = Account(rt, Purpose.LIVE, report.run, known, rt.limits)
    with rt.display.bar("asking", everyone, done=report.skipped) as bar:
        shown = _Shown(report, bar)
        report.asked = asking.ask(
            rt, account, OpenQuestions(questions.RequestBuilder(rt.task, rt.model), known, limit), watching=shown
        )
    _end(rt, report, to_ask=to_ask)
    if not report.left:
        spending.close(rt.store, rt.task, at=rt.now())
    if report.asked.answered and not report.asked.interrupted:
        report.quality = reporting.write(rt, extractor=rt.extractor)
    if report.quality is not None:
        piloting.note_failed(rt, report.quality)
    return report


def document(report: Report) -> dict[str, Any]:
    """Return the report for programs."""
    asked = report.asked
    return {
        "everyone": report.everyone,
        "skipped": report.skipped,
        "answered": asked.answered,
        "failed": dict(asked.failed),
        "elsewhere": asked.elsewhere,
        "left": report.left,
        "calls": asked.calls,
        "throttled": asked.throttled,
        "cost": asked.cost,
        "estimated": {
            "tokens_in": report.estimated.prompt,
            "tokens_out": report.estimated.answer + report.estimated.thoughts,
            "cost": report.estimated_cost,
        },
        "run": report.run,
        "samples": [{"username": name, "reason": reason} for name, reason in report.samples],
        "stopped": asked.stopped.message if asked.stopped else None,
        "interrupted": asked.interrupted,
        "report": None if report.quality is None else str(report.quality.path),
    }


@dataclass
class _Shown:
    """Shows how far a run has come: everyone who needs nothing more of it, skipped ones included."""

    report: Report
    bar: "Bar"

    def show(self, report: asking.Report, *, width: int) -> None:
        """Move the bar."""
        notes = [f"{width} at once"]
        if report.failed:
            reasons = "; ".join(dict.fromkeys(reason[:60] for _, reason in report.samples))
            notes.append(f"{report.failed.total()} failed ({reasons})")
        if report.cost >= LEAST:
            notes.append(f"${report.cost:.4f}")
        self.bar.show(self.report.skipped + report.done, note=", ".join(notes))


def _begin(rt: Runtime, report: Report, *, limit: int | None, to_ask: int) -> None:
    """Keep what this run sets out to do, and what it is estimated at."""
    with rt.display.bar("counting tokens", to_ask) as bar:
        plan = preparing.plan(rt, preparing.Wanted(limit), bar=bar)
    report.estimated = plan.usage
    report.estimated_cost = estimating.cost(rt, plan.usage, batch=False)
    with rt.store.write() as tx:
        report.run = estimating.begin_run(
            rt,
            tx,
            mode="live",
            items=plan.requests,
            usage=plan.usage,
            batch=False,
            at=rt.now(),
            budget=rt.budget.usd if rt.budget else None,
        )


def _end(rt: Runtime, report: Report, *, to_ask: int) -> None:
    """Keep how the run ended, and put names to what failed."""
    asked = report.asked
    report.left = max(0, to_ask - asked.done)
    why = "interrupted" if asked.interrupted else asked.stopped.message if asked.stopped else "nobody is left"
    with rt.store.read() as tx:
        names = rt.task.names(tx, [item_id for item_id, _ in asked.samples])
    hastes, patience_s = ([UnavailableError], HASTE_S) if asked.interrupted else ([], None)
    with contextlib.suppress(*hastes), rt.store.write(patience_s=patience_s) as tx:
        runs.end(tx, report.run or 0, why=why, at=rt.now())
    report.samples = [(names.get(item_id, item_id), reason) for item_id, reason in asked.samples]
