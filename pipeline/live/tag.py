"""Ask about every item without an answer now, by ordinary calls at full price.

Items, requests, claims and answers are those of batches; an item that is asked live is in no batch. Another run goes on
with what is left.
"""

import contextlib
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.batch import prepare
from pipeline.core.errors import UnavailableError
from pipeline.cost import budget, estimate
from pipeline.engine import questions
from pipeline.engine.record import judge_kept
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini.tokens import Usage, usage_cost
from pipeline.live.questions import OpenQuestions
from pipeline.live.runner import LiveReport, ask_live
from pipeline.live.write_ahead import CallLedger, Purpose
from pipeline.quality import evaluate, pilot
from pipeline.store import asks, live_calls

if TYPE_CHECKING:
    from pipeline.core.progress import Bar
    from pipeline.engine.task import Task
    from pipeline.quality.evaluate import QualityReport as Quality
    from pipeline.store.database import Store


HASTE_S = 1.0  # so long an interrupted run waits for another program to let it say that it ended
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


def run(ws: OpenWorkspace, *, limit: int | None) -> TagLiveReport:
    """Ask about every item that can be asked, at most `limit`.

    What ends it early (a daily quota, a budget, a service that is down) stands in the report; so does an interrupt.

    Raises:
        InputError: there are no items at all.
        ConfigurationError: no key, or no such model; nothing was asked.
    """
    ws.bring_items()
    if ws.task.gates:
        evaluate.check_gate_overrides(ws)
    questions.free_dead_owners(ws.store, now=ws.now())
    judge_kept(ws)
    with ws.store.read() as tx:
        total, askable = ws.task.total(tx), asks.count_askable(tx, ws.task)
    to_ask = askable if limit is None else min(askable, limit)
    report = TagLiveReport(total=total, skipped=total - to_ask)
    if not to_ask:
        questions.check_any_items(ws.store, ws.task)
        return report
    ws.client  # noqa: B018 - a missing key or an engine that cannot start is said before anything is written
    _begin(ws, report, limit=limit, to_ask=to_ask)
    ledger = CallLedger.calibrated(ws, Purpose.LIVE, report.run)
    source = OpenQuestions(questions.RequestBuilder(ws.task, ws.model), limit)
    with ws.display.bar("asking", to_ask) as bar:
        report.asked = ask_live(ledger, source, on_progress=partial(_show, bar))
    report.left = max(0, to_ask - report.asked.done)
    _end(ws.store, ws.task, report, at=ws.now())
    if not report.left:
        budget.close_budget(ws.store, ws.task, at=ws.now())
    if (report.asked.answered or ledger.untaken) and not report.asked.interrupted:
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


def _show(bar: "Bar", report: LiveReport, concurrency: int) -> None:
    notes = [f"{concurrency} at once"]
    if report.failed:
        reasons = "; ".join(dict.fromkeys(reason[:60] for _, reason in report.samples))
        notes.append(f"{report.failed.total()} failed ({reasons})")
    if report.cost >= LEAST:
        notes.append(f"${report.cost:.4f}")
    bar.show(report.done, note=", ".join(notes))


def _begin(ws: OpenWorkspace, report: TagLiveReport, *, limit: int | None, to_ask: int) -> None:
    with ws.display.bar("counting tokens", to_ask) as bar:
        plan = prepare.plan_batches(ws, prepare.Selection(limit), bar=bar)
    report.estimated = plan.usage
    report.estimated_cost = usage_cost(ws.model, plan.usage, batch=False, on=ws.now().date())
    usd = ws.budget.usd if ws.budget else None
    with ws.store.write() as tx:
        report.run = estimate.begin_live_run(
            ws, tx, mode="live", items=plan.items, usage=plan.usage, batch=False, at=ws.now(), budget=usd
        )


def _end(store: "Store", task: "Task", report: TagLiveReport, *, at: datetime) -> None:
    asked = report.asked
    why = asked.stopped.message if asked.stopped else "nobody is left"
    if asked.interrupted:
        why = "interrupted"
    with store.read() as tx:
        names = task.names(tx, [item_id for item_id, _ in asked.samples])
    hastes, patience_s = ([UnavailableError], HASTE_S) if asked.interrupted else ([], None)
    with contextlib.suppress(*hastes), store.write(patience_s=patience_s) as tx:
        live_calls.end_run(tx, report.run or 0, why=why, at=at)
    report.samples = [(names.get(item_id, item_id), reason) for item_id, reason in asked.samples]
