"""Ask about every item without an answer now, by our own calls at full price; another run goes on with what is left."""

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.batch import ask, prepare
from pipeline.batch.ask import LiveReport
from pipeline.engine import questions
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini.models import Usage, usage_cost
from pipeline.quality import evaluate, pilot
from pipeline.store import asks
from pipeline.workflows import rounds

if TYPE_CHECKING:
    from pipeline.batch.prepare import BatchPlan
    from pipeline.core.progress import Bar
    from pipeline.quality.evaluate import QualityReport as Quality

LEAST = 0.00005  # USD; less than this is shown as nothing


@dataclass
class TagLiveReport:
    """What became of all items: counts, costs in USD, and (name, reason) of some that failed.

    `total` is `skipped` (answered already, nothing to ask, claimed elsewhere or parked) and those that were to be
    asked; `left` of these are as they were.
    """

    total: int = 0
    skipped: int = 0
    left: int = 0
    run: int | None = None
    estimated: Usage = field(default_factory=Usage)
    estimated_cost: float = 0.0
    asked: LiveReport = field(default_factory=LiveReport)
    samples: list[tuple[str, str]] = field(default_factory=list)
    quality: "Quality | None" = None  # on the answers of this extractor, where there are new ones


def run(ws: OpenWorkspace, *, limit: int | None, plan: "BatchPlan | None" = None) -> TagLiveReport:
    """Ask about every item that can be asked, at most `limit`; `plan` says what that comes to, where it is known.

    What ends it early (a daily quota, a budget, a service that is down) stands in the report; so does an interrupt.

    Raises:
        InputError: there are no items at all.
        ConfigurationError: no key, or no such model; nothing was asked.
    """
    with ws.store.read() as tx:
        total, askable = ws.task.table(tx).total(tx), asks.count_askable(tx, ws.task)
    to_ask = askable if limit is None else min(askable, limit)
    report = TagLiveReport(total=total, skipped=total - to_ask)
    if not to_ask:
        questions.check_any_items(ws.store, ws.task)
        return report
    ws.client  # noqa: B018 - a missing key or an engine that cannot start is said before anything is written
    if plan is None:
        with ws.display.bar("counting tokens", to_ask) as bar:
            plan = prepare.plan_batches(ws, prepare.Selection(limit), bar=bar)
    report.estimated = plan.usage
    report.estimated_cost = usage_cost(ws.model, plan.usage, batch=False, on=ws.now().date())
    with ws.display.bar("asking", total, done=report.skipped) as bar:
        show = partial(_show, bar, report.skipped)
        report.asked = ask.ask_rows(ws, prepare.Selection(limit), on_progress=show)
    report.run = report.asked.run
    with ws.store.read() as tx:
        rest = max(0, to_ask - report.asked.done)
        report.left = min(rest, asks.count_askable(tx, ws.task))
        report.asked.elsewhere = rest - report.left
        names = ws.task.table(tx).names(tx, [item_id for item_id, _ in report.asked.samples])
    report.samples = [(names.get(item_id, item_id), reason) for item_id, reason in report.asked.samples]
    if not report.left:
        rounds.close_runs(ws, at=ws.now())
    if report.run is not None and not report.asked.interrupted:
        report.quality = evaluate.write_report(ws, extractor=ws.extractor)
    if report.quality is not None:
        pilot.note_failed_pilot(ws, report.quality)
    return report


def document(report: TagLiveReport) -> dict[str, Any]:
    """Return the report for programs."""
    asked = report.asked
    return {
        "everyone": report.total,
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


def _show(bar: "Bar", skipped: int, report: LiveReport) -> None:
    notes = [f"{report.at_once} at once"]
    if report.failed:
        reasons = "; ".join(dict.fromkeys(reason[:60] for _, reason in report.samples))
        notes.append(f"{report.failed.total()} failed ({reasons})")
    if report.cost >= LEAST:
        notes.append(f"${report.cost:.4f}")
    bar.show(skipped + report.replies, note=", ".join(notes))
