"""Ask about everyone without an answer, the way that fits: look, confirm, then live or by batch, within a budget.

Killed and run again it goes on: its row among the runs says what its budget is and since when it counts, for `run` too,
and stays open until nobody is left or the money is used.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pipeline.batch import ingest as batch_ingest
from pipeline.batch import poll, submit
from pipeline.core.errors import InputError
from pipeline.core.settings import Budget
from pipeline.core.states import OPEN
from pipeline.cost import budget, estimate
from pipeline.cost.budget import BudgetError
from pipeline.engine import questions
from pipeline.engine.workspace import OpenWorkspace
from pipeline.live import tag
from pipeline.quality import pilot
from pipeline.store import batches, claims, live_calls
from pipeline.workflows import failures, ingest, preflight
from pipeline.workflows import pilot as pilots
from pipeline.workflows.preflight import Preflight

if TYPE_CHECKING:
    from pipeline.quality.evaluate import QualityReport as Quality
    from pipeline.store.batches import Batch


MOST_ROUNDS = 20  # of submitting, polling and ingesting; an item is asked twice, and a budget may cut batches


@dataclass
class TagReport:
    """What was looked at, which way was taken and why, and what came of it; costs in USD.

    `way` is live, batch, or empty where nobody was to be asked. `failed` says of batches why they failed at the API;
    where it `is_down` nothing more was sent. `left` may be asked still, `no_room` of them once the API takes more;
    `under_way` are in batches that are not over, `parked` were parked in this run; `spent` is what is known to be spent
    since the run began, `overrun` is by how much that passes a budget.
    """

    way: str = ""
    reason: str = ""
    look: Preflight | None = None
    pilot: pilots.PilotReport | None = None
    live: tag.TagLiveReport | None = None
    submitted: list[submit.SubmitReport] = field(default_factory=list)
    polled: list[poll.PollReport] = field(default_factory=list)
    ingested: "list[Batch]" = field(default_factory=list)
    reports: "list[Quality]" = field(default_factory=list)  # on the answers, after each ingest
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
    """What a person asks of `tag`: a way or "auto", at most so many items, USD and seconds.

    `wait` is whether to wait for batches; a pilot's are waited for in any case. `pilot` is how many to ask in a batch
    and to judge before the rest; `skip_pilot` is to do without one that stops the rest.
    """

    mode: str = "auto"
    limit: int | None = None
    budget: float | None = None
    deadline_s: float | None = None
    wait: bool | None = None
    pilot: int | None = None
    skip_pilot: bool = False


def run(
    ws: OpenWorkspace,
    wish: TagOptions,
    *,
    announce: Callable[[Preflight, str, str], None],
    confirm: Callable[[float], bool],
) -> TagReport:
    """Tag whoever can be tagged; `announce` is told the look, the way and its reason before anything is spent.

    `confirm` is asked with the estimate (USD) where it is above CONFIRM_ABOVE.

    Raises:
        InputError: there are no items at all, or the estimate was not confirmed; nothing was started.
        GateError: a pilot failed, or an earlier one stops the rest; the answers are stored.
        RemoteError, ConfigurationError: as the steps raise them; what was done is kept.
    """
    began = _go_on(ws, wish)
    look = preflight.estimate_both(ws, limit=wish.limit, deadline_s=wish.deadline_s)
    report = TagReport(look=look)
    waiting = _waiting(ws)
    if not look.plan.requests and not waiting and not (wish.pilot and _has_pilot(ws)):
        questions.check_any_items(ws.store, ws.task)
        budget.close_budget(ws.store, ws.task, at=ws.now())
        return report
    if wish.pilot is None:
        pilots.first(ws, size=None, skip=wish.skip_pilot)
    report.way, report.reason = _way(look, wish, waiting=bool(waiting))
    cost = look.live.cost if report.way == "live" else look.batch.cost
    announce(look, report.way, report.reason)
    if look.plan.requests and cost > ws.settings.confirm_above and not confirm(cost):
        raise InputError("not confirmed; nothing was started", hint="YES=1 answers yes")
    number, parked = _open(ws, report, wish, began=began), failures.count_parked_items(ws)
    try:
        wish = _pilot_first(ws, report, wish)
        if report.way == "live":
            _by_call(ws, report, wish)
        else:
            _by_batch(ws, report, wish)
        if report.live is not None and wish.wait and not report.live.asked.interrupted and _waiting(ws):
            _by_batch(ws, report, replace(wish, limit=0))  # what is under way is brought home; nobody new
    except BudgetError as error:
        report.out_of_money = error.message
    finally:
        _account(ws, report, began=began)
        report.parked = max(0, failures.count_parked_items(ws) - parked)
    if _is_done(ws, report, wish):
        with ws.store.write() as tx:
            live_calls.end_run(tx, number, why=report.out_of_money or "nobody is left", at=ws.now())
    return report


def document(report: TagReport) -> dict[str, Any]:
    """Return the report for programs."""
    return {
        "mode": report.way,
        "reason": report.reason,
        "probe": None,
        "pilot": pilots.document(report.pilot) if report.pilot else None,
        "live": tag.document(report.live) if report.live else None,
        "submitted": [number for one in report.submitted for number in one.submitted],
        "ingested": {str(batch.number): batch.answered for batch in report.ingested},
        "failed": {str(number): why for number, why in report.failed.items()},
        "left": report.left,
        "no_room": report.no_room,
        "under_way": report.under_way,
        "parked": report.parked,
        "spent": report.spent,
        "overrun": report.overrun,
        "out_of_money": report.out_of_money,
    }


def _way(look: Preflight, wish: TagOptions, *, waiting: bool) -> tuple[str, str]:
    """Return the way to take and why: the one asked for, else the one recommended, else the one that is under way.

    With `wait` what is under way is brought home, whichever is taken.
    """
    if wish.mode != "auto":
        return wish.mode, f"MODE={wish.mode}"
    if not look.plan.requests or (waiting and look.recommended is None):
        return "batch", "going on with batches that are under way"
    return look.recommended or "batch", look.reason


def _go_on(ws: OpenWorkspace, wish: TagOptions) -> datetime:
    """Return since when this run counts, and let its budget hold: the one given now, else that of the one left open."""
    with ws.store.read() as tx:
        found = live_calls.unfinished_run(tx, ws.task.name, mode=budget.TAG)
    began = found.started_at if found else ws.now()
    if wish.budget is not None:
        ws.budget = Budget(wish.budget, began, "BUDGET")
    elif found is not None and found.budget is not None:
        budget.resume_budget(ws)
        ws.display.say(f"going on since {began:%Y-%m-%d %H:%M} UTC with BUDGET={found.budget:g}")
    return began


def _open(ws: OpenWorkspace, report: TagReport, wish: TagOptions, *, began: datetime) -> int:
    """Return the row of this run, the one that was left open where it was killed."""
    look = report.look
    assert look is not None  # noqa: S101 - it was looked before
    with ws.store.write() as tx:
        found = live_calls.unfinished_run(tx, ws.task.name, mode=budget.TAG)
        if found is None:
            return estimate.begin_live_run(
                ws,
                tx,
                mode=budget.TAG,
                items=look.plan.requests,
                usage=look.plan.usage,
                batch=report.way == "batch",
                at=began,
                budget=wish.budget,
            )
        if wish.budget is not None:
            live_calls.set_budget(tx, found.number, wish.budget)
        return found.number


def _pilot_first(ws: OpenWorkspace, report: TagReport, wish: TagOptions) -> TagOptions:
    """Run the pilot that is wanted, if any; return what is wanted of the rest.

    Raises:
        GateError: it failed.
    """
    if wish.pilot is None:
        return wish
    report.pilot = pilots.first(ws, size=wish.pilot, skip=wish.skip_pilot, limit=wish.limit)
    if report.pilot is not None:
        report.ingested += [one.batch for one in report.pilot.accounts]
    return replace(wish, limit=pilots.left_of(wish.limit, report.pilot))


def _has_pilot(ws: OpenWorkspace) -> bool:
    """Return whether a pilot is under way."""
    with ws.store.read() as tx:
        return pilot.is_pilot_begun(tx, ws.extractor)


def _by_call(ws: OpenWorkspace, report: TagReport, wish: TagOptions) -> None:
    """Ask everyone live; what ends it early stands in its report."""
    report.live = tag.run(ws, limit=wish.limit)
    stopped = report.live.asked.stopped
    if isinstance(stopped, BudgetError):
        report.out_of_money, report.live.asked.stopped = stopped.message, None


def _by_batch(ws: OpenWorkspace, report: TagReport, wish: TagOptions) -> None:
    """Submit; where it waits, poll and ingest as well, and submit again who failed or had to wait for money.

    Where batches fail at the API and none succeeds nothing more is sent: what lasts a minute there must not use up
    anybody's tries.
    Where the API takes no more for now, by its word or by our count, it waits for the first batch that is over, and
    sends again.
    """
    rounds, limit, newest, trouble = 0, wish.limit, _newest(ws), failures.BatchTrouble()
    while rounds < MOST_ROUNDS:
        try:
            submitted, full = failures.submit_what_fits(ws, limit=limit, confirm=None, patient=bool(wish.wait))
        except BudgetError:
            if report.polled:  # it waited for room, and some may be under way
                _bring_home(ws, report, trouble, first=False)
            raise
        report.submitted.append(submitted)
        if not wish.wait:
            return
        waits = full is not None or (submitted.no_room > 0 and bool(failures.batches_at_api(ws)))
        accounts = _bring_home(ws, report, trouble, first=waits)
        if trouble.is_lasting:
            report.is_down = True
            if waits and not _is_stopped(report):  # the others are waited for all the same
                _bring_home(ws, report, trouble, first=False)
        if report.is_down or _is_stopped(report):
            return
        if waits:
            limit = None if wish.limit is None else max(0, wish.limit - _asked(ws, since=newest))
            continue
        rounds += 1
        if not (submitted.sent or accounts) or wish.limit is not None or not _askable(ws):
            return


def _bring_home(
    ws: OpenWorkspace, report: TagReport, trouble: failures.BatchTrouble, *, first: bool
) -> "list[batch_ingest.IngestSummary]":
    """Wait for what is at the API, or for the first of it, and ingest it.

    Where the last look for a first one saw none end, it waits for all: one that cannot be looked at is no end.
    """
    before = report.polled[-1] if report.polled else None
    first = first and (before is None or bool(before.downloaded or before.failed))
    polled = poll.run(ws, wait=True, first=first)
    report.polled.append(polled)
    accounts = ingest.run(ws, reported=report.reports.append)
    report.ingested += [one.batch for one in accounts]
    failed = failures.failed_batches(ws, polled)
    trouble.see(polled, failed)
    report.failed |= failed
    return accounts


def _is_stopped(report: TagReport) -> bool:
    """Return whether the API could not be asked, or a batch needs a person."""
    polled = report.polled[-1]
    return bool(polled.stopped or polled.gone or polled.unclear)


def _newest(ws: OpenWorkspace) -> int:
    """Return the number of the newest batch, 0 where there is none."""
    with ws.store.read() as tx:
        return batches.next_number(tx) - 1


def _asked(ws: OpenWorkspace, *, since: int) -> int:
    """Return how many items stand in the batches after a number, sent or about to be."""
    with ws.store.read() as tx:
        numbers = [one.number for one in batches.batches_in_states(tx, task=ws.task.name) if one.number > since]
        return len({item for number in numbers for item in claims.items_of(tx, number).values()})


def _is_done(ws: OpenWorkspace, report: TagReport, wish: TagOptions) -> bool:
    """Return whether this run has nothing more to do, or no money to do it with."""
    if _waiting(ws) or report.no_room or (report.live is not None and report.live.left and not report.out_of_money):
        return False
    return bool(report.out_of_money) or wish.limit is not None or not report.left


def _account(ws: OpenWorkspace, report: TagReport, *, began: datetime) -> None:
    """Keep who is left, and how the money stands since the run began."""
    report.left = _askable(ws)
    report.under_way = sum(one.requests for one in _waiting(ws))
    with ws.store.read() as tx:
        report.overrun = budget.budgets(ws).overrun(tx)
        report.spent = budget.known_spending(tx, since=began)
    last = report.submitted[-1] if report.submitted else None
    if last is not None and last.held_back and not report.out_of_money:
        report.out_of_money = f"{last.budget} has no room for more"
    report.no_room = min(report.left, last.no_room) if last is not None else 0


def _waiting(ws: OpenWorkspace) -> "list[Batch]":
    """Return the batches that are under way."""
    with ws.store.read() as tx:
        return batches.batches_in_states(tx, *OPEN, task=ws.task.name)


def _askable(ws: OpenWorkspace) -> int:
    """Return how many items can be asked."""
    with ws.store.read() as tx:
        return claims.count_askable(tx, ws.task)
