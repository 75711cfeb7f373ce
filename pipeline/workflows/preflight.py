"""Estimate what asking about all items would cost and take, by batch, by flex and live; recommend one.

Only reads, and needs no key. Tokens and money come from the one estimator, times from past batches and calls of this
workspace, limits from the tier and the settings, and their use today from every process. An unknown figure is None and
never guessed: a time that was not measured, a limit that is not published.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.batch import budget, ingest, submit
from pipeline.batch.budget import Calibration
from pipeline.batch.live_throttle import FLEX_CALL_S, calls_at_once
from pipeline.batch.prepare import BatchPlan, Selection, plan_batches
from pipeline.batch.report import time_words
from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import ConfigurationError
from pipeline.core.settings import Settings
from pipeline.core.states import Mode
from pipeline.core.text import one_line, usd
from pipeline.engine.workspace import WorkspaceSession
from pipeline.gemini.models import (
    FREE,
    MAX_ACTIVE_BATCHES,
    MONTHLY_SPENDING_CAPS,
    SHARES,
    RateLimits,
    usage_cost,
)
from pipeline.gemini.pace import WINDOW_S
from pipeline.gemini.remote import next_midnight_pacific
from pipeline.quality import pilot
from pipeline.quality.figures import percentile
from pipeline.store import batches, claims, money

DAY_S = 86_400.0
P90 = 0.9
CENT = 0.01  # USD; less than this more is not asked about
BATCH_S = (
    24 * 3600.0
)  # within which a batch is over, as Google says (Batch API guide, read 2026-11)
ENOUGH = 3  # ours: past batches from which on they tell how long the next takes
CALL_S = 1.5  # ours: what a live call takes before any was measured; 1 to 2 s is the normal case
WARN_AT = 0.8  # of the day's requests


@dataclass(frozen=True)
class ModeEstimate:
    """What one mode would come to: USD, seconds (None if unknown), and how many batches or calls.

    `affordable` is false if a budget has no room for it. `refused` says why a person must decide first, `absent` why
    the mode is not available.
    """

    cost: float = 0.0
    seconds: float | None = None
    count: int = 0
    warnings: tuple[str, ...] = ()
    affordable: bool = True
    refused: str = ""
    absent: str = ""
    # Of the price of a live call, if the price itself is not known; else 0.
    unpriced_share: float = 0.0

    @property
    def shown_cost(self) -> str:
        """Return the cost in words."""
        return "unknown" if self.unpriced_share else usd(self.cost)

    @property
    def likely(self) -> str:
        """Return how long it is likely to take, in words."""
        return "an unknown time" if self.seconds is None else f"about {time_words(self.seconds)}"

    def document(self, counted: str) -> dict[str, Any]:
        """Return the estimate for programs; `counted` is what its count is of."""
        seconds = None if self.seconds is None else round(self.seconds, 1)
        told = {
            "affordable": self.affordable,
            "warnings": self.warnings,
            "refused": self.refused or None,
        }
        cost = None if self.unpriced_share else round(self.cost, 6)
        return {"cost": cost, "seconds": seconds, counted: self.count, **told}


def recommend(
    ways: Mapping[str, ModeEstimate], *, items: int, deadline_s: float | None = None
) -> tuple[str | None, str]:
    """Return which way fits and why; None if no item is to be asked, or a person must decide.

    The cheapest that is over by the deadline, and of equal ones the one that is over first; where none is, whichever is
    over first. Never one that a budget has no room for where another has one.
    """
    if not items:
        return None, "no item is left to ask"
    if held := next((one.refused for one in ways.values() if one.refused and not one.absent), ""):
        return None, held
    there = {name: one for name, one in ways.items() if not one.absent}
    there = {name: one for name, one in there.items() if one.affordable} or there
    takes = {name: math.inf if one.seconds is None else one.seconds for name, one in there.items()}
    in_time = {
        name: one for name, one in there.items() if deadline_s is None or takes[name] <= deadline_s
    }
    within = "" if deadline_s is None else f" within {time_words(deadline_s)}"
    if not in_time:
        name = min(there, key=takes.__getitem__)
        return (
            name,
            f"no way is known to end{within}; {name} is likely to end first ({there[name].likely})",
        )
    name = min(
        in_time,
        key=lambda one: (round(in_time[one].cost, 6), in_time[one].unpriced_share, takes[one]),
    )
    others = [
        f"{one} costs ${way.cost:,.4f} and takes {way.likely}"
        for one, way in there.items()
        if one != name
    ]
    least = f"of what should be over{within} it costs least" if within else "it costs least"
    time = (
        "how long it takes is not known yet"
        if there[name].seconds is None
        else f"it takes {there[name].likely}"
    )
    told = [least, time, *(others if any(way.cost for way in there.values()) else ())]
    absent = "; ".join(one.absent for one in ways.values() if one.absent)
    return name, "; ".join(filter(None, [*told, absent]))


def live_seconds(
    requests: int,
    tokens: int,
    *,
    limits: RateLimits,
    used_today: int,
    until_reset_s: float,
    rate: float | None,
) -> float | None:
    """Return about how long so many calls with so many prompt tokens in all take; None if nothing bounds them.

    `rate` is how many calls a second were measured, if any were. Calls beyond the day's requests are made after the
    reset in `until_reset_s` seconds.
    """
    minutes = (limits.rpm, limits.tpm and tokens and limits.tpm * requests / tokens)
    slowest = min(filter(None, (rate, *(one and one / WINDOW_S for one in minutes))), default=None)
    taken = requests / slowest if slowest else None if requests else 0.0
    if limits.rpd is not None and (later := requests - max(0, limits.rpd - used_today)) > 0:
        taken = max(taken or 0.0, until_reset_s + (later - 1) // limits.rpd * DAY_S)
    return taken


@dataclass(frozen=True, repr=False)
class Preflight:
    """The ways, by name, and what they are worked out from; `plan` holds the items, batches, and likely tokens.

    `known` is what past answers say of estimates. `waiting` is what an earlier run left in prepared batches, which go
    out with it. `with_key` is the same estimate for Gemini's model, None where that is the model already.
    """

    plan: BatchPlan
    ways: Mapping[str, ModeEstimate]
    recommended: str | None
    reason: str
    model: str
    prices: str
    tier: str
    known: Calibration
    deadline_s: float | None = None
    waiting: BatchPlan = field(default_factory=BatchPlan)
    with_key: "Preflight | None" = None

    __repr__ = one_line

    def document(self) -> dict[str, Any]:
        """Return the estimate for programs: tokens, USD, seconds; unknown values are null."""
        used = self.plan.usage
        known = self.known
        ways = {
            name: one.document("batches" if name == "batch" else "calls")
            for name, one in self.ways.items()
        }
        return {
            "items": self.plan.items,
            "questions": self.plan.requests,
            "model": self.model,
            "prices": self.prices,
            "tier": self.tier,
            "tokens_in": used.prompt,
            "tokens_out": used.answer + used.thoughts,
            "estimate": {
                "error": None if known.error is None else round(known.error, 4),
                "answers": known.answers,
            },
            "deadline_s": self.deadline_s,
            **ways,
            "waiting": {"items": self.waiting.items, "cost": round(self.waiting.cost, 6)},
            "recommended": self.recommended,
            "reason": self.reason,
            "with_key": None if self.with_key is None else self.with_key.document(),
        }

    @property
    def is_dear(self) -> bool:
        """Return whether the recommended way costs more than another one that there is."""
        there = [one.cost for one in self.ways.values() if not one.absent]
        return self.recommended is not None and self.ways[self.recommended].cost > min(there) + CENT

    def going_out(self, mode: str) -> tuple[BatchPlan, float]:
        """Return what goes out in a mode, with what is waiting, and its estimated cost in USD."""
        plan = self.plan
        more = self.waiting
        own = self.ways[mode]
        items = plan.items + more.items
        requests = plan.requests + more.requests
        batches = plan.batches + more.batches
        return replace(plan, items=items, requests=requests, batches=batches), own.cost + more.cost


def run(ws: WorkspaceSession, *, limit: int | None, deadline_s: float | None) -> Preflight:
    """Return the ways side by side; nothing is asked or sent.

    Raises:
        InputError: there are no items at all, or a request cannot be sent.
    """
    ws.bring_items()
    ingest.end_dead(ws)
    estimated = estimate(ws, limit=limit, deadline_s=deadline_s)
    if not estimated.plan.items:
        ws.check_any_items()
        return estimated

    priced = with_gemini_model(ws)
    if priced is None:
        return estimated

    try:
        return replace(estimated, with_key=estimate(priced, limit=limit, deadline_s=deadline_s))
    except ConfigurationError as error:
        ws.display.warn(f"with a key: {error.message}")
        return estimated


def with_gemini_model(ws: WorkspaceSession) -> WorkspaceSession | None:
    """Return the workspace with the model that a key would use, to estimate with; None if it has Gemini's already."""
    if not ws.model.local:
        return None
    return replace(ws, backend="gemini", settings=replace(ws.settings, model=Settings.model))


def estimate(
    ws: WorkspaceSession, *, limit: int | None, deadline_s: float | None, waives_pilot: bool = False
) -> Preflight:
    """Return what asking about all open items, at most `limit`, would come to; `waives_pilot` if none stops them.

    Raises:
        InputError: a request cannot be sent; the message names its item.
    """
    with ws.store.read() as tx:
        askable = claims.count_askable(tx, ws.task)
    with ws.display.bar("counting tokens", min(askable, limit) if limit else askable) as bar:
        plan = plan_batches(ws, Selection(limit), bar=bar)
    return estimate_plan(ws, plan, deadline_s=deadline_s, waives_pilot=waives_pilot)


def estimate_plan(
    ws: WorkspaceSession,
    plan: BatchPlan,
    *,
    deadline_s: float | None = None,
    waives_pilot: bool = False,
) -> Preflight:
    """Return what a plan would come to by each way."""
    model = ws.model
    now = ws.now()
    limits = ws.limits
    reset = next_midnight_pacific(now)
    today = budget.today(now).isoformat()
    with ws.store.read() as tx:
        known = budget.calibration(tx, ws.extractor)
        waiting = submit.with_prepared(tx, ws.task, BatchPlan())
        room = budget.budgets(ws).room(tx, error=known.reserve)
        used = batches.calls_of_day(tx, model.name, day=today)
        past = Counter(money.batch_seconds(tx, model.name))
        times = {way: batches.call_seconds(tx, model.name, way) for way in (Mode.FLEX, Mode.LIVE)}
        refused = "" if waives_pilot else pilot.why_not(tx, ws.extractor)

    def priced(way: Mode, *warnings: str, **told: Any) -> ModeEstimate:
        cost = usage_cost(model, plan.usage, way.tier, on=now.date())
        told |= {} if model.has_price else {"unpriced_share": SHARES.get(way.tier, 1.0)}
        cap = MONTHLY_SPENDING_CAPS.get(ws.settings.tier, math.inf)
        if cost > cap:
            warnings += (f"tier {ws.settings.tier} may spend {usd(cap)} a month",)
        affordable = room is None or cost * (1 + known.reserve) <= room
        short = (
            () if affordable else (f"a budget has ${room or 0:,.4f} left: not all would be asked",)
        )
        return ModeEstimate(
            cost=cost, warnings=(*short, *filter(None, warnings)), affordable=affordable, **told
        )

    def by_calls(way: Mode) -> ModeEstimate:
        usual = None if model.local else FLEX_CALL_S if way is Mode.FLEX else CALL_S
        each = times[way] or usual
        count = plan.requests
        full = ""
        if limits.rpd is not None and used + count > limits.rpd:
            left = f"{max(0, limits.rpd - used):,} of the day's {limits.rpd:,} requests are left"
            full = f"{left}; the rest waits for {reset:%Y-%m-%d %H:%M} UTC"
        elif limits.rpd is not None and used + count >= WARN_AT * limits.rpd:
            full = f"{used + count:,} of the day's {limits.rpd:,} requests would be used"
        rate = calls_at_once(ws, each) / each if each else None
        until_s = (reset - now).total_seconds()
        how: dict[str, Any] = {
            "limits": limits,
            "used_today": used,
            "until_reset_s": until_s,
            "rate": rate,
        }
        taken = live_seconds(count, plan.usage.prompt, **how)
        absent = "" if way is Mode.LIVE or model.flex else f"{model.name} is not served by flex"
        return priced(
            way,
            full,
            seconds=max(taken, each) if taken and each else taken,
            count=count,
            absent=absent,
        )

    def by_batch() -> ModeEstimate:
        most = model.enqueued(ws.settings.tier)
        tokens = plan.usage.prompt
        together = (
            int(most * plan.batches / tokens) if most is not None and tokens else MAX_ACTIVE_BATCHES
        )
        turns = math.ceil(plan.batches / max(1, min(MAX_ACTIVE_BATCHES, together)))
        in_turns = f"{plan.batches} batches go out in {turns} turns, for only so many tokens may wait at the API"
        absent = (
            "the free tier has no batches" if ws.settings.tier == FREE and not model.local else ""
        )
        warnings = (
            absent and f"{absent}; set {OptionHint('tier')} to yours if it is another one",
            in_turns * (turns > 1),
        )
        # as nine in ten of the model did before; where there were too few as Google says, and unknown on the engine
        each = percentile(past, P90) if past.total() >= ENOUGH else None if model.local else BATCH_S
        seconds = None if each is None else each * turns
        return priced(
            Mode.BATCH,
            *warnings,
            seconds=seconds,
            count=plan.batches,
            refused=refused,
            absent=absent,
        )

    ways = {"batch": by_batch(), **{way.value: by_calls(way) for way in times}}
    recommended, reason = recommend(ways, items=plan.items, deadline_s=deadline_s)
    prices = f"{model.source} ({model.priced_on})"
    return Preflight(
        plan,
        ways,
        recommended,
        reason,
        model.name,
        prices,
        ws.settings.tier,
        known,
        deadline_s,
        waiting,
    )
