"""Ask about all items without an answer, live or by batch, whichever fits: estimate, confirm, ask, within a budget.

A killed command resumes: its row among the runs keeps the budget and its beginning, for `run` too, and stays open until
no item is left or the budget is used up. A backfill is the same by batch and under one version, over as many days as it
takes: its row keeps that all were to be asked, so that every later command goes on under that version.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.batch import budget
from pipeline.batch.budget import BudgetError
from pipeline.batch.ingest import IngestSummary
from pipeline.core.errors import InputError
from pipeline.core.settings import Budget
from pipeline.core.states import OPEN
from pipeline.engine.workspace import OpenWorkspace
from pipeline.quality import pilot
from pipeline.store import runs
from pipeline.workflows import pilot as pilot_run
from pipeline.workflows import preflight, rounds, tag_live
from pipeline.workflows.preflight import Preflight
from pipeline.workflows.rounds import Report, Rounds

MODES = ("auto", "batch", "live")


@dataclass(frozen=True)
class TagOptions:
    """The options of `tag`: a mode or "auto", at most so many items, USD and seconds.

    `wait` is whether to wait for batches; a pilot's batches are waited for in any case. `pilot` is how many items to
    ask and judge before the rest; `skip_pilot` waives a pilot that stops the rest. A `backfill` goes by batch, wants a
    pilot that passed where the task needs one, and is always confirmed.
    """

    mode: str = "auto"
    limit: int | None = None
    budget: float | None = None
    deadline_s: float | None = None
    wait: bool | None = None
    pilot: int | None = None
    skip_pilot: bool = False
    backfill: bool = False

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


def choose_new_version(ws: OpenWorkspace) -> None:
    """Ask under a new version from here on: VERSION=, else the next free one.

    An unfinished backfill that began a new version goes on under it, for the same command run again means the same.
    """
    with ws.store.read() as tx:
        going = runs.unfinished_run(tx, ws.task.name, mode=runs.BACKFILL)
        if going is not None and ws.settings.version is None and ws.task.skips == (ws.task.label,):
            return
        task = ws.task.new_version(tx, ws.settings.version)
    ws.tasks = tuple(task if one is ws.task else one for one in ws.tasks)
    ws.task = task


def run(
    ws: OpenWorkspace,
    options: TagOptions,
    *,
    announce: Callable[[Preflight, str, str], None],
    confirm: Callable[[float], bool],
    ingested: Callable[[IngestSummary], None] = lambda _summary: None,
) -> Report:
    """Ask about every item that can be asked; `announce` gets the estimate, mode and reason before anything is spent.

    `confirm` is called with the estimate (USD) if it is above CONFIRM_ABOVE, and for a backfill whatever it is.

    Raises:
        InputError: there are no items at all, or the estimate was not confirmed; nothing was started.
        GateError: a pilot failed, is not over or is wanted and never was; the answers are stored.
        RemoteError, ConfigurationError: as the steps raise them; what was done is kept.
    """
    rounds.begin(ws)
    going = Rounds(ws, limit=options.limit, ingested=ingested)
    report = going.report
    going.began = _resume_budget(ws, options)
    if options.pilot is None and not options.skip_pilot:
        pilot_run.check_first(ws, compulsory=options.backfill and ws.task.needs_pilot)
    waives, is_waiting = options.skip_pilot, bool(going.batches(*OPEN))
    estimated = preflight.estimate_both(ws, limit=options.limit, deadline_s=options.deadline_s, waives_pilot=waives)
    report.asked = estimated.plan.items
    if not (report.asked or is_waiting or (options.pilot and _is_pilot_begun(ws))):
        return _ended(ws, going)
    report.mode, report.reason = _choose_mode(estimated, options, is_waiting=is_waiting)
    number = None
    if report.asked or not options.backfill:
        _, cost = estimated.going_out(report.mode)
        announce(estimated, report.mode, report.reason)
        if (options.backfill or cost > ws.settings.confirm_above) and not confirm(cost):
            raise InputError("not confirmed; nothing was started", hint="YES=1 answers yes")
        if options.skip_pilot:
            pilot.waive_open_pilot(ws)
        number = _begin_run(ws, options, going, estimated)
    _ask(ws, options, going, estimated)
    _ended(ws, going)
    if number is not None and not options.backfill and _is_done(report, options):
        with ws.store.write() as tx:
            runs.end_run(tx, number, why=report.out_of_money or "nobody is left", at=ws.now())
    return report


def document(report: Report) -> dict[str, Any]:
    """Return the report for programs, with that of live calls."""
    return report.document() | {"live": tag_live.document(report.live) if report.live else None}


def _is_pilot_begun(ws: OpenWorkspace) -> bool:
    with ws.store.read() as tx:
        return pilot.is_pilot_begun(tx, ws.extractor)


def _ended(ws: OpenWorkspace, going: Rounds) -> Report:
    """End the rounds; a backfill that is over is reported on also where the process that ingested died before it."""
    with ws.store.read() as tx:
        found = runs.unfinished_run(tx, ws.task.name, mode=runs.BACKFILL)
    is_mine = found is not None and found.extractor == ws.extractor
    return going.end(owes_report=is_mine)


def _choose_mode(estimated: Preflight, options: TagOptions, *, is_waiting: bool) -> tuple[str, str]:
    """Return the mode to take and why: the one asked for, else the recommended one, else that of batches under way."""
    if options.backfill:
        return "batch", "it may take days"
    if options.mode != "auto":
        return options.mode, f"MODE={options.mode}"
    if not estimated.plan.items or (is_waiting and estimated.recommended is None):
        return "batch", "going on with batches that are under way"
    return estimated.recommended or "batch", estimated.reason


def _resume_budget(ws: OpenWorkspace, options: TagOptions) -> datetime:
    """Set the budget given now, else that of an unfinished run; return since when this run's spending counts."""
    if options.backfill:
        return ws.now()
    with ws.store.read() as tx:
        found = runs.unfinished_run(tx, ws.task.name, mode=runs.TAG)
    began = found.started_at if found else ws.now()
    if options.budget is not None:
        ws.budget = Budget(options.budget, began, "BUDGET")
    elif found is not None and found.budget is not None:
        budget.resume_budget(ws)
        ws.display.say(f"going on since {began:%Y-%m-%d %H:%M} UTC with BUDGET={found.budget:g}")
    return began


def _begin_run(ws: OpenWorkspace, options: TagOptions, going: Rounds, estimated: Preflight) -> int:
    """Keep that all are asked, under which version and budget; return the number of the run.

    One of its kind that is not over goes on, a backfill under the same version.
    """
    plan, mode, usd = estimated.plan, runs.BACKFILL if options.backfill else runs.TAG, options.budget
    with ws.store.write() as tx:
        found = runs.unfinished_run(tx, ws.task.name, mode=mode)
        if found is not None and options.backfill and found.extractor != ws.extractor:
            runs.end_run(tx, found.number, why=f"{ws.extractor} was begun instead", at=ws.now())
            found = None
        if found is not None:
            if usd is not None:
                runs.set_budget(tx, found.number, usd)
            return found.number
        cost = (estimated.live if going.report.mode == "live" else estimated.batch).cost
        skips = None if ws.task.skips is None else json.dumps(list(ws.task.skips))
        whose: dict[str, Any] = {"task": ws.task.name, "extractor": ws.extractor, "mode": mode}
        return runs.begin_run(
            tx, at=going.began, items=plan.items, estimated_cost=cost, budget=usd, skips=skips, **whose
        )


def _ask(ws: OpenWorkspace, options: TagOptions, going: Rounds, estimated: Preflight) -> None:
    report, wait = going.report, bool(options.wait)
    if options.pilot is not None:
        done = pilot_run.run_first(ws, size=options.pilot, skip=options.skip_pilot, limit=options.limit)
        report.pilot = done
        report.ingested += done.ingested if done else []
    if report.mode == "batch":
        if options.backfill:
            going.collect(wait=False)
        going.advance(wait=wait)
        return
    report.live = tag_live.run(ws, limit=going.left(), plan=None if options.pilot else estimated.plan)
    asked = report.live.asked
    if isinstance(asked.stopped, BudgetError):
        report.no_money, report.held_back, asked.stopped = asked.stopped, asked.stopped.message, None
    if wait and not asked.interrupted and going.batches(*OPEN):
        held, money = report.held_back, report.no_money
        going.stop_asking()
        going.advance(wait=True)  # what is under way is collected, and no new item is asked
        report.held_back, report.no_money = held, money


def _is_done(report: Report, options: TagOptions) -> bool:
    is_cut_off = report.live is not None and report.live.left and not report.out_of_money
    if report.under_way or report.no_room or is_cut_off:
        return False
    return bool(report.out_of_money) or options.limit is not None or not report.left
