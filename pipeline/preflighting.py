"""What asking about everyone would use, cost and take, by batch and live side by side, before anything is spent.

Reads only, and needs no key but to count a sample. Tokens and money come from the one estimator, times from what past
batches and calls of this workspace took, limits from the tier and the settings, and what is used of them today from
every process's marks.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from pipeline import estimating, piloting, preparing, sampling, spending
from pipeline.gemini.limits import MAX_ACTIVE_BATCHES
from pipeline.gemini.refusals import next_midnight_pacific
from pipeline.gemini.tiers import FREE
from pipeline.runtime import Runtime
from pipeline.states import BatchState
from pipeline.store import batches, calls, claims, durations
from pipeline.ways import Name, Way, live_seconds, p90, recommend, turns

if TYPE_CHECKING:
    from pipeline.estimating import Calibration
    from pipeline.gemini.costs import Usage
    from pipeline.preparing import Plan
    from pipeline.store.database import Connection

BATCH_S = 24 * 3600.0  # within which a batch is over, as Google says (Batch API guide, read 2026-11)
CALL_S = 1.5  # ours: what a live call takes where none was made yet; 1 to 2 s is the normal case
WARN_AT = 0.8  # of the day's requests
AT_API = (BatchState.SUBMITTING, BatchState.SUBMITTED)


@dataclass(frozen=True)
class Preflight:
    """Both ways and what they are worked out from; `plan` holds the items, batches, and likely tokens.

    `error` is how far off estimates were so far, `based_on` how many answers they were learned from, `sampled` how
    many requests the API counted.
    """

    plan: "Plan"
    batch: Way
    live: Way
    recommended: Name | None
    reason: str
    model: str
    tier: str
    error: float
    based_on: int
    deadline_s: float | None = None
    sampled: int = 0


def look(rt: Runtime, *, limit: int | None, deadline_s: float | None, count: bool = False) -> Preflight:
    """Return what asking everyone that can be asked would come to, at most `limit`; with `count`, a sample is counted.

    Raises:
        InputError: a request cannot be sent; the message names its item.
        RemoteError, ConfigurationError: a sample was to be counted, and the API cannot be asked.
    """
    with rt.store.read() as tx:
        askable = claims.count_askable(tx, rt.task)
    with rt.display.bar("counting tokens", min(askable, limit) if limit else askable) as bar:
        plan = preparing.plan(rt, preparing.Wanted(limit), bar=bar)
    sampled = 0
    if count and plan.requests:
        sample = sampling.count(rt, plan.requests, limit=limit)
        plan, sampled = _scaled(rt, plan, sample.scale), sample.requests
    with rt.store.read() as tx:
        known = estimating.calibration(tx, rt.extractor)
        batch, live = _batch(rt, tx, plan, known), _live(rt, tx, plan, known)
    recommended, reason = recommend(batch, live, items=plan.requests, deadline_s=deadline_s)
    return Preflight(
        plan=plan,
        batch=batch,
        live=live,
        recommended=recommended,
        reason=reason,
        model=rt.model.name,
        tier=rt.settings.tier,
        error=known.error,
        based_on=known.answers,
        deadline_s=deadline_s,
        sampled=sampled,
    )


def _scaled(rt: Runtime, plan: "Plan", scale: float) -> "Plan":
    """Return a plan with its prompt tokens as the API counts them."""
    usage = plan.usage._replace(prompt=round(plan.counted_in * scale))
    return replace(plan, usage=usage, cost=estimating.cost(rt, usage, batch=True))


def _batch(rt: Runtime, tx: "Connection", plan: "Plan", known: "Calibration") -> Way:
    """Return what asking by batch comes to."""
    cost = estimating.cost(rt, plan.usage, batch=True)
    most = rt.model.enqueued(rt.settings.tier)
    waiting = [one for one in batches.in_states(tx, *AT_API) if one.model == rt.model.name]
    enqueued = sum(one.estimated_in for one in waiting)
    rounds = turns(plan.batches, plan.usage.prompt, most_tokens=most, most_batches=MAX_ACTIVE_BATCHES)
    warnings = list(_money_warnings(rt, tx, cost, known))
    absent = "the free tier has no batches" if rt.settings.tier == FREE and not rt.model.local else ""
    if absent:
        warnings.append(f"{absent}; set TIER= to yours if it is another one")
    if rounds > 1:
        warnings.append(f"{plan.batches} batches go out in {rounds} turns, for only so many tokens may wait at the API")
    elif most is not None and enqueued and enqueued + plan.usage.prompt > most:
        warnings.append(f"{enqueued:,} tokens wait at the API already; the batches go out when some of them are over")
    quota = f"{plan.usage.prompt:,} tokens would wait"
    return Way(
        cost=cost,
        priced_on=rt.model.priced_as_of(batch=True, on=rt.now().date()).isoformat(),
        price_source=rt.model.price_source(batch=True, on=rt.now().date())[0],
        seconds=_batch_seconds(rt, tx, plan, rounds),
        count=plan.batches,
        quota=quota if most is None else f"{quota}, of {most:,} that may in tier {rt.settings.tier}",
        figures={"tokens": plan.usage.prompt, "enqueued_now": enqueued, "enqueued_most": most, "turns": rounds},
        warnings=tuple(warnings),
        affordable=_is_affordable(rt, tx, cost, known),
        refused=piloting.why_not(rt, tx),
        absent=absent,
    )


def _batch_seconds(rt: Runtime, tx: "Connection", plan: "Plan", rounds: int) -> float | None:
    """Return how long batches take that go out in some turns: as nine in ten did here, else as Google says.

    At Google the wait in the queue is nearly all of it; the local engine answers one request after another.
    """
    past = durations.of_batches(tx, rt.model.name)
    if rt.model.local:
        each = p90([one.seconds / one.requests for one in past])
        return each if each is None else each * plan.requests
    each = p90([one.seconds for one in past])
    return (BATCH_S if each is None else each) * rounds


def _live(rt: Runtime, tx: "Connection", plan: "Plan", known: "Calibration") -> Way:
    """Return what asking live comes to."""
    cost, now, limits = estimating.cost(rt, plan.usage, batch=False), rt.now(), rt.limits
    used = calls.used(tx, rt.model.name, day=spending.today(now).isoformat())
    left = None if limits.rpd is None else max(0, limits.rpd - used)
    fits = left is None or plan.requests <= left
    reset = next_midnight_pacific(now)
    seconds = live_seconds(
        plan.requests,
        plan.usage.prompt,
        limits=limits,
        used_today=used,
        until_reset_s=(reset - now) / timedelta(seconds=1),
        rate=_rate(rt, tx),
    )
    warnings = list(_money_warnings(rt, tx, cost, known))
    if not fits:
        warnings.append(
            f"{left:,} of the day's {limits.rpd:,} requests are left; the rest waits for {reset:%Y-%m-%d %H:%M} UTC"
        )
    elif limits.rpd is not None and used + plan.requests >= WARN_AT * limits.rpd:
        warnings.append(f"{used + plan.requests:,} of the day's {limits.rpd:,} requests would be used")
    return Way(
        cost=cost,
        priced_on=rt.model.priced_as_of(batch=False, on=now.date()).isoformat(),
        price_source=rt.model.price_source(batch=False, on=now.date())[0],
        seconds=seconds,
        count=plan.requests,
        quota=_live_quota(plan.requests, plan.usage, rt, used),
        figures={"requests": plan.requests, "used_today": used, **limits._asdict()},
        warnings=tuple(warnings),
        fits_today=fits,
        affordable=_is_affordable(rt, tx, cost, known),
    )


def _live_quota(requests: int, usage: "Usage", rt: Runtime, used: int) -> str:
    """Return what live calls would take of each limit, in words."""
    limits = rt.limits
    parts = []
    if limits.rpd is not None:
        parts.append(f"{requests:,} requests of today's {limits.rpd:,}, {used:,} of them used")
    if limits.rpm is not None:
        parts.append(f"{requests / limits.rpm:,.1f} min of {limits.rpm:,} requests")
    if limits.tpm is not None:
        parts.append(f"{usage.prompt / limits.tpm:,.1f} min of {limits.tpm:,} tokens")
    return ", ".join(parts) or "no limits"


def _rate(rt: Runtime, tx: "Connection") -> float | None:
    """Return how many calls a second come back: as past runs had it, else by the time of single calls."""
    measured = durations.calls_a_second(tx, rt.model.name)
    if measured is not None:
        return measured
    each = durations.of_calls(tx, rt.model.name)
    each = CALL_S if each is None and not rt.model.local else each
    return rt.settings.concurrency / each if each else None


def _is_affordable(rt: Runtime, tx: "Connection", cost: float, known: "Calibration") -> bool:
    """Return whether every budget has room for a cost, in USD, and the error of estimates."""
    room = spending.budgets(rt).room(tx, error=known.error)
    return room is None or cost * (1 + known.error) <= room


def _money_warnings(rt: Runtime, tx: "Connection", cost: float, known: "Calibration") -> "tuple[str, ...]":
    """Return a warning where a budget has no room for all of it."""
    if _is_affordable(rt, tx, cost, known):
        return ()
    room = spending.budgets(rt).room(tx, error=known.error) or 0.0
    return (f"a budget has ${room:,.4f} left: not everybody would be asked",)
