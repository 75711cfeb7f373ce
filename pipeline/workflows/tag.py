"""Ask about all items without an answer, live or by batch, whichever fits: estimate, confirm, ask, within a budget.

A killed command resumes: its row among the runs keeps the budget and its beginning, for `run` too, and stays open until
no item is left or the budget is used up. A backfill is the same by batch and under one version, over as many days as it
takes: its row keeps that all were to be asked, so that every later command goes on under that version. A pilot is a
round over a few items that are drawn, whose answers are judged; a killed one resumes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.batch.budget import BudgetError, correct_start
from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import GateError, InputError, RemoteError
from pipeline.core.settings import Budget
from pipeline.core.states import OPEN, Mode
from pipeline.engine.workspace import WorkspaceSession
from pipeline.gemini.models import describe_cost
from pipeline.ops import status
from pipeline.quality import evaluate, pilot
from pipeline.store import answers, claims, runs
from pipeline.store.runs import PilotVerdict
from pipeline.workflows import preflight, rounds
from pipeline.workflows.preflight import Preflight
from pipeline.workflows.rounds import TagReport, TagRounds

MODES = ("auto", "batch", "flex", "live")
LOOK_S = 0.2  # between two looks whether another process has sent a pilot's batch


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
            raise InputError(
                f"mode is {self.mode!r}; nothing was asked", hint=f"one of {', '.join(MODES)}"
            )
        if self.limit is not None and self.limit < 1:
            raise InputError(
                f"limit is {self.limit}; nothing was asked", hint="1 or more, or none for all"
            )
        if self.budget is not None and not self.budget >= 0:  # so that NaN is refused
            raise InputError(f"budget is {self.budget}; nothing was asked", hint="USD, 0 or more")


def choose_new_version(ws: WorkspaceSession) -> None:
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


def run(ws: WorkspaceSession, options: TagOptions) -> TagReport:
    """Ask about every item that can be asked; estimate, mode and reason are said before anything is spent.

    A backfill is asked about whatever it costs.

    Raises:
        InputError: there are no items at all, or the estimate was not confirmed; nothing was started.
        GateError: a pilot failed, is not over or is wanted and never was; the answers are stored.
        RemoteError, ConfigurationError: as the steps raise them; what was done is kept.
    """
    open_work = status.open_work(ws)
    rounds.begin(ws)
    going = TagRounds(ws, limit=options.limit)
    report = going.report
    going.began = _resume_budget(ws, options)
    if options.pilot is None and not options.skip_pilot:
        clear(ws, compulsory=options.backfill and ws.task.needs_pilot)
    waives = options.skip_pilot
    is_waiting = bool(going.batches(*OPEN))
    estimated = preflight.estimate(
        ws, limit=options.limit, deadline_s=options.deadline_s, waives_pilot=waives
    )
    report.asked = estimated.plan.items
    with ws.store.read() as tx:
        is_begun = options.pilot is not None and pilot.is_pilot_begun(tx, ws.extractor)
    if not (report.asked or is_waiting or is_begun):
        return going.end()
    report.mode, report.reason = _choose_mode(estimated, options, is_waiting=is_waiting)
    number = None
    if report.asked or not options.backfill:
        _, cost = estimated.going_out(report.mode)
        _announce(ws, estimated, report, open_work)
        is_dear = options.mode == "auto" and estimated.is_dear
        also = f", and so does {OptionHint(mode='live')}" * is_dear
        ws.spend(cost, nothing="nothing was started", always=options.backfill or is_dear, also=also)
        if options.skip_pilot:
            pilot.waive_open_pilot(ws)
        number = _begin_run(ws, options, going, estimated)
    _ask(ws, options, going)
    going.end()
    if number is not None and not options.backfill and _is_done(report, options):
        with ws.store.write() as tx:
            runs.end_run(tx, number, why=report.out_of_money or "nobody is left", at=ws.now())
    return report


def _announce(
    ws: WorkspaceSession, estimated: Preflight, report: TagReport, open_work: Sequence[str]
) -> None:
    """Say what is continued, what goes out in which way, what it may cost, and what an earlier run spares this one.

    `open_work` are the batches and runs that were not over when the command began, in words.
    """
    for line in open_work:
        ws.display.say(f"continuing {line}")
    plan, cost = estimated.going_out(report.mode)
    if plan.items:
        cost_words = describe_cost(ws.model, cost, tier=ws.settings.tier)
        said = f"{ws.model.name}: {plan.about(ws.task.words)} {report.mode}, {cost_words}"
        ws.display.say(f"{said}; {report.reason}")
    for warning in estimated.ways[report.mode].warnings:
        ws.display.warn(warning)
    with ws.store.read() as tx:
        mine = (
            one for one in answers.version_counts(tx, ws.task.name) if one.extractor == ws.extractor
        )
        if done := sum(one.items for one in mine):
            paid = answers.paid_for_version(tx, ws.task.name, ws.extractor)
            ws.display.say(f"{done:,} answered before, not asked again (${paid:,.2f})")


def _choose_mode(estimated: Preflight, options: TagOptions, *, is_waiting: bool) -> tuple[str, str]:
    """Return the mode to take and why: the one asked for, else the recommended one, else that of batches under way."""
    if options.backfill:
        return "batch", f"it takes {estimated.ways['batch'].likely}"
    if options.mode != "auto":
        return options.mode, f"{OptionHint(mode=options.mode)}"
    if not estimated.plan.items or (is_waiting and estimated.recommended is None):
        return "batch", "going on with batches that are under way"
    return estimated.recommended or "batch", estimated.reason


def _resume_budget(ws: WorkspaceSession, options: TagOptions) -> datetime:
    """Set the budget given now, else that of an unfinished run; return since when this run's spending counts."""
    if options.backfill:
        return ws.now()
    correct_start(ws)
    with ws.store.read() as tx:
        found = runs.unfinished_run(tx, ws.task.name, mode=runs.TAG)
    began = found.started_at if found else ws.now()
    usd = options.budget if options.budget is not None or found is None else found.budget
    if usd is not None:
        ws.budget = Budget(usd, began, "BUDGET")
        if options.budget is None:
            ws.display.say(
                f"going on since {began:%Y-%m-%d %H:%M} UTC with {OptionHint(budget=f'{usd:g}')}"
            )
    return began


def _begin_run(
    ws: WorkspaceSession, options: TagOptions, going: TagRounds, estimated: Preflight
) -> int:
    """Keep that all are asked, under which version and budget; return the number of the run.

    One of its kind that is not over goes on, a backfill under the same version.
    """
    plan = estimated.plan
    mode = runs.BACKFILL if options.backfill else runs.TAG
    usd = options.budget
    with ws.store.write() as tx:
        found = runs.unfinished_run(tx, ws.task.name, mode=mode)
        if found is not None and options.backfill and found.extractor != ws.extractor:
            runs.end_run(tx, found.number, why=f"{ws.extractor} was begun instead", at=ws.now())
            found = None
        if found is not None:
            if usd is not None:
                runs.set_budget(tx, found.number, usd)
            return found.number
        cost = estimated.ways[going.report.mode].cost
        skips = None if ws.task.skips is None else json.dumps(list(ws.task.skips))
        whose: dict[str, Any] = {"task": ws.task.name, "extractor": ws.extractor, "mode": mode}
        return runs.begin_run(
            tx,
            at=going.began,
            items=plan.items,
            estimated_cost=cost,
            budget=usd,
            skips=skips,
            **whose,
        )


def _ask(ws: WorkspaceSession, options: TagOptions, going: TagRounds) -> None:
    report = going.report
    wait = bool(options.wait)
    if options.pilot is not None:
        done = clear(ws, size=options.pilot, skip=options.skip_pilot, limit=options.limit)
        report.pilot = done
        report.ingested += done.ingested if done else []
    if report.mode == "batch":
        if options.backfill:
            going.collect(wait=False)
        return going.advance(wait=wait)
    asked = going.ask_live(Mode(report.mode))
    if isinstance(asked.stopped, BudgetError):
        report.no_money, report.held_back, asked.stopped = (
            asked.stopped,
            asked.stopped.message,
            None,
        )
    if wait and not asked.interrupted and going.batches(*OPEN):
        held = report.held_back
        money = report.no_money
        going.stop_asking()
        going.advance(wait=True)  # what is under way is collected, and no new item is asked
        report.held_back, report.no_money = held, money
    return None


def _is_done(report: TagReport, options: TagOptions) -> bool:
    is_cut_off = report.unasked and not report.out_of_money
    if report.under_way or report.no_room or is_cut_off:
        return False
    return bool(report.out_of_money) or options.limit is not None or not report.left


def clear(
    ws: WorkspaceSession,
    *,
    size: int | None = None,
    skip: bool = False,
    compulsory: bool = False,
    limit: int | None = None,
    agreed: bool = True,
) -> TagReport | None:
    """Make sure that no pilot stops the rest; with a `size` (at most `limit`) run one unless one passed before.

    Returns None where none was run. `skip` waives one that stops the rest, and where no item is left none does. A
    person `agreed` to its cost before, or is asked.

    Raises:
        GateError: a pilot failed, is not over or, where `compulsory`, never was.
        InputError, RemoteError, ConfigurationError: see `run_pilot`.
    """
    if skip:
        pilot.waive_open_pilot(ws)
    with ws.store.read() as tx:
        is_compulsory = compulsory and not skip if size is None else True
        # Rows are counted only if a pilot is wanted: all of them are read for it.
        if not pilot.why_not(tx, ws.extractor, compulsory=is_compulsory):
            return None
        is_any = claims.count_askable(tx, ws.task) > 0
        if size is None:
            if is_any:
                pilot.check_pilot(tx, ws.task, ws.extractor, compulsory=is_compulsory)
            return None
        if not (is_any or pilot.is_pilot_begun(tx, ws.extractor)):
            return None
    report = run_pilot(ws, size=min(size, limit or size), seed=None, agreed=agreed)
    report.check(ws.display, strict=True)
    return report


def run_pilot(
    ws: WorkspaceSession, *, size: int | None, seed: int | None, agreed: bool = False
) -> TagReport:
    """Ask about `size` items drawn by `seed`, wait for them, and judge the answers of this extractor.

    An unfinished pilot goes on, unless another size or seed is given.

    Raises:
        InputError: there is nothing to ask about, or the plan was not confirmed.
        RemoteError, ConfigurationError: what stopped it; run again, it goes on.
        GateError: no reply came, so there is nothing to judge.
    """
    rounds.begin(ws)
    with ws.store.read() as tx:
        size, seed, ids = pilot.next_pilot(tx, ws.task, ws.extractor, size=size, seed=seed)
    if not ids:
        raise InputError(
            f"{ws.task.words.all_done}, so there is nothing to try; nothing was sent",
            hint=f"{OptionHint('version')} with a new name asks about all of them anew",
        )
    with ws.store.write() as tx:
        begun = runs.begin_pilot(tx, ws.task.name, ws.extractor, size=size, seed=seed, at=ws.now())
    report = _ask_drawn(ws, ids, agreed=agreed)
    report.drawn, report.asked = begun, len(ids)
    notes = [f"Pilot {begun.number}: {len(ids)} {ws.task.words.many}, seed {begun.seed}."]
    quality = evaluate.write_report(ws, extractor=ws.extractor, notes=notes)
    why = f"`{ws.task.words.step('parked')}` says why"
    if quality is None:
        said = "no reply came for any of the pilot, so there is nothing to judge"
        raise GateError(said, hint=f"{why}, where it is over; run it again")
    report.reports[ws.extractor] = quality
    with ws.store.write() as tx:
        is_any = answers.count_answered(tx, ws.task.name, ws.extractor) > 0
        verdict = PilotVerdict.PASSED if quality.passed and is_any else PilotVerdict.FAILED
        path = str(quality.path.relative_to(ws.data))
        runs.end_pilot(tx, begun.number, verdict, report=path, at=ws.now())
    if quality.passed and not is_any:  # of so few no gate is judged
        raise GateError(
            f"none of the {len(ids)} {ws.task.words.many} of the pilot was answered", hint=why
        )
    return report


def _ask_drawn(ws: WorkspaceSession, ids: Sequence[str], *, agreed: bool) -> TagReport:
    """Go on in rounds until each of the sample is answered or parked, in whichever process's batch it stands."""
    going = TagRounds(ws, among=ids, judges=False)
    report = going.report
    is_claimed = True
    going.submit(agreed=agreed, patient=True)
    while is_claimed:
        going.advance(wait=True)
        is_any_left = going.askable() > 0
        stopped = report.errors(ws.task.words) if is_any_left or not report.is_down else []
        if is_any_left and (report.no_money or report.no_room):
            held = RemoteError(f"{report.held_back}; nothing was lost", hint="run it again later")
            stopped.append(report.no_money or held)
        for error in stopped:
            raise error
        with ws.store.read() as tx:
            is_claimed = bool(
                claims.claimed_among(tx, ws.task.name, ids)
            )  # by a process that has not sent it yet
        ws.sleep(LOOK_S if is_claimed else 0.0)
    return going.end()
