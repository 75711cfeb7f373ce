"""What asking about everyone would use, cost and take, by batch and live side by side, before anything is spent.

Reads only, and needs no key but to count a sample. Tokens and money come from the one estimator, times from what past
batches and calls of this workspace took, limits from the tier and the settings, and what is used of them today from
every process's marks.

How many prompt tokens the API itself counts: a sample of requests is counted there, and all are scaled by it.

Counting costs nothing and uses none of the quotas of answers.

Say what asking about everyone would use, cost and take, both ways, before anything is spent; see `preflighting`.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.batch import prepare
from pipeline.batch.prepare import Selection
from pipeline.core.errors import InputError, KeyRefusedError, MissingError, RemoteError
from pipeline.core.states import BatchState
from pipeline.cost import budget, estimate
from pipeline.engine import questions
from pipeline.engine.questions import PlannedRequest, RequestBuilder
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini import requests
from pipeline.gemini.error_mapping import next_midnight_pacific
from pipeline.gemini.limits import FREE, MAX_ACTIVE_BATCHES
from pipeline.gemini.tokens import usage_cost
from pipeline.quality import pilot
from pipeline.store import batches, claims, live_calls, statistics
from pipeline.workflows.batch_or_live import ModeEstimate, Name, live_seconds, percentile_90, recommend, turns

if TYPE_CHECKING:
    from pipeline.batch.prepare import BatchPlan
    from pipeline.cost.estimate import Calibration
    from pipeline.gemini.tokens import Usage
    from pipeline.store.database import Connection


MOST = 20  # ours: requests in a sample, spread evenly over all
AT_ONCE = 5  # ours


class TokenSample(NamedTuple):
    """How many requests the API counted, and how many tokens it counts for one that we count."""

    requests: int
    scale: float


def count_sample(ws: OpenWorkspace, items: int, *, limit: int | None) -> TokenSample:
    """Let the API count a sample of the requests about so many items; what it fails at is left out of the sample.

    Raises:
        ConfigurationError: no key is set.
        RemoteError: it counted none of them.
        InputError: nobody is left to be asked.
    """
    with ws.store.read() as tx:
        lines = prepare.request_lines(tx, RequestBuilder(ws.task, ws.model), Selection(limit))
        sample = list(islice(lines, 0, None, math.ceil(items / MOST)))[:MOST]
    if not sample:
        raise InputError("nobody is left to ask, so there is nothing to count")
    counts = asyncio.run(_counted(ws, sample))
    told = [(one.usage.prompt, found) for one, found in zip(sample, counts, strict=True) if isinstance(found, int)]
    if not told:
        raise next(one for one in counts if isinstance(one, RemoteError))
    return TokenSample(len(told), sum(found for _, found in told) / sum(ours for ours, _ in told))


async def _counted(ws: OpenWorkspace, sample: Sequence[PlannedRequest]) -> list[int | RemoteError]:
    """Return how many tokens the API counts in each, or why it did not; a key that is refused ends it."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(live: Any, line: PlannedRequest) -> int | RemoteError:
        """Count one request."""
        async with room:
            try:
                tokens: int = await live.count_tokens(ws.model.name, requests.object_of(line.data))
            except (KeyRefusedError, MissingError):
                raise
            except RemoteError as error:
                return error
            return tokens

    async with ws.client.live() as live:
        return await asyncio.gather(*(one(live, line) for line in sample))


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

    plan: "BatchPlan"
    batch: ModeEstimate
    live: ModeEstimate
    recommended: Name | None
    reason: str
    model: str
    tier: str
    error: float
    based_on: int
    deadline_s: float | None = None
    sampled: int = 0


def estimate_both(ws: OpenWorkspace, *, limit: int | None, deadline_s: float | None, count: bool = False) -> Preflight:
    """Return what asking everyone that can be asked would come to, at most `limit`; with `count`, a sample is counted.

    Raises:
        InputError: a request cannot be sent; the message names its item.
        RemoteError, ConfigurationError: a sample was to be counted, and the API cannot be asked.
    """
    with ws.store.read() as tx:
        askable = claims.count_askable(tx, ws.task)
    with ws.display.bar("counting tokens", min(askable, limit) if limit else askable) as bar:
        plan = prepare.plan_batches(ws, prepare.Selection(limit), bar=bar)
    sampled = 0
    if count and plan.requests:
        sample = count_sample(ws, plan.requests, limit=limit)
        plan, sampled = _scaled(ws, plan, sample.scale), sample.requests
    with ws.store.read() as tx:
        known = estimate.calibration(tx, ws.extractor)
        batch, live = _batch(ws, tx, plan, known), _live(ws, tx, plan, known)
    recommended, reason = recommend(batch, live, items=plan.requests, deadline_s=deadline_s)
    return Preflight(
        plan=plan,
        batch=batch,
        live=live,
        recommended=recommended,
        reason=reason,
        model=ws.model.name,
        tier=ws.settings.tier,
        error=known.error,
        based_on=known.answers,
        deadline_s=deadline_s,
        sampled=sampled,
    )


def _scaled(ws: OpenWorkspace, plan: "BatchPlan", scale: float) -> "BatchPlan":
    """Return a plan with its prompt tokens as the API counts them."""
    usage = plan.usage._replace(prompt=round(plan.counted_in * scale))
    return replace(plan, usage=usage, cost=usage_cost(ws.model, usage, batch=True, on=ws.now().date()))


def _batch(ws: OpenWorkspace, tx: "Connection", plan: "BatchPlan", known: "Calibration") -> ModeEstimate:
    """Return what asking by batch comes to."""
    cost = usage_cost(ws.model, plan.usage, batch=True, on=ws.now().date())
    most = ws.model.enqueued(ws.settings.tier)
    waiting = [one for one in batches.batches_in_states(tx, *AT_API) if one.model == ws.model.name]
    enqueued = sum(one.estimated_in for one in waiting)
    rounds = turns(plan.batches, plan.usage.prompt, most_tokens=most, most_batches=MAX_ACTIVE_BATCHES)
    warnings = list(_money_warnings(ws, tx, cost, known))
    absent = "the free tier has no batches" if ws.settings.tier == FREE and not ws.model.local else ""
    if absent:
        warnings.append(f"{absent}; set TIER= to yours if it is another one")
    if rounds > 1:
        warnings.append(f"{plan.batches} batches go out in {rounds} turns, for only so many tokens may wait at the API")
    elif most is not None and enqueued and enqueued + plan.usage.prompt > most:
        warnings.append(f"{enqueued:,} tokens wait at the API already; the batches go out when some of them are over")
    quota = f"{plan.usage.prompt:,} tokens would wait"
    return ModeEstimate(
        cost=cost,
        priced_on=ws.model.priced_as_of(batch=True, on=ws.now().date()).isoformat(),
        price_source=ws.model.price_source(batch=True, on=ws.now().date())[0],
        seconds=_batch_seconds(ws, tx, plan, rounds),
        count=plan.batches,
        quota=quota if most is None else f"{quota}, of {most:,} that may in tier {ws.settings.tier}",
        figures={"tokens": plan.usage.prompt, "enqueued_now": enqueued, "enqueued_most": most, "turns": rounds},
        warnings=tuple(warnings),
        affordable=_is_affordable(ws, tx, cost, known),
        refused=pilot.why_not(tx, ws.extractor),
        absent=absent,
    )


def _batch_seconds(ws: OpenWorkspace, tx: "Connection", plan: "BatchPlan", rounds: int) -> float | None:
    """Return how long batches take that go out in some turns: as nine in ten did here, else as Google says.

    At Google the wait in the queue is nearly all of it; the local engine answers one request after another.
    """
    past = statistics.batch_durations(tx, ws.model.name)
    if ws.model.local:
        each = percentile_90([one.seconds / one.requests for one in past])
        return each if each is None else each * plan.requests
    each = percentile_90([one.seconds for one in past])
    return (BATCH_S if each is None else each) * rounds


def _live(ws: OpenWorkspace, tx: "Connection", plan: "BatchPlan", known: "Calibration") -> ModeEstimate:
    """Return what asking live comes to."""
    cost, now, limits = usage_cost(ws.model, plan.usage, batch=False, on=ws.now().date()), ws.now(), ws.limits
    used = live_calls.calls_of_day(tx, ws.model.name, day=budget.today(now).isoformat())
    left = None if limits.rpd is None else max(0, limits.rpd - used)
    fits = left is None or plan.requests <= left
    reset = next_midnight_pacific(now)
    seconds = live_seconds(
        plan.requests,
        plan.usage.prompt,
        limits=limits,
        used_today=used,
        until_reset_s=(reset - now) / timedelta(seconds=1),
        rate=_rate(ws, tx),
    )
    warnings = list(_money_warnings(ws, tx, cost, known))
    if not fits:
        warnings.append(
            f"{left:,} of the day's {limits.rpd:,} requests are left; the rest waits for {reset:%Y-%m-%d %H:%M} UTC"
        )
    elif limits.rpd is not None and used + plan.requests >= WARN_AT * limits.rpd:
        warnings.append(f"{used + plan.requests:,} of the day's {limits.rpd:,} requests would be used")
    return ModeEstimate(
        cost=cost,
        priced_on=ws.model.priced_as_of(batch=False, on=now.date()).isoformat(),
        price_source=ws.model.price_source(batch=False, on=now.date())[0],
        seconds=seconds,
        count=plan.requests,
        quota=_live_quota(plan.requests, plan.usage, ws, used),
        figures={"requests": plan.requests, "used_today": used, **limits._asdict()},
        warnings=tuple(warnings),
        fits_today=fits,
        affordable=_is_affordable(ws, tx, cost, known),
    )


def _live_quota(requests: int, usage: "Usage", ws: OpenWorkspace, used: int) -> str:
    """Return what live calls would take of each limit, in words."""
    limits = ws.limits
    parts = []
    if limits.rpd is not None:
        parts.append(f"{requests:,} requests of today's {limits.rpd:,}, {used:,} of them used")
    if limits.rpm is not None:
        parts.append(f"{requests / limits.rpm:,.1f} min of {limits.rpm:,} requests")
    if limits.tpm is not None:
        parts.append(f"{usage.prompt / limits.tpm:,.1f} min of {limits.tpm:,} tokens")
    return ", ".join(parts) or "no limits"


def _rate(ws: OpenWorkspace, tx: "Connection") -> float | None:
    """Return how many calls a second come back: as past runs had it, else by the time of single calls."""
    measured = statistics.calls_per_second(tx, ws.model.name)
    if measured is not None:
        return measured
    each = statistics.call_duration(tx, ws.model.name)
    each = CALL_S if each is None and not ws.model.local else each
    return ws.settings.concurrency / each if each else None


def _is_affordable(ws: OpenWorkspace, tx: "Connection", cost: float, known: "Calibration") -> bool:
    """Return whether every budget has room for a cost, in USD, and the error of estimates."""
    room = budget.budgets(ws).room(tx, error=known.error)
    return room is None or cost * (1 + known.error) <= room


def _money_warnings(ws: OpenWorkspace, tx: "Connection", cost: float, known: "Calibration") -> "tuple[str, ...]":
    """Return a warning where a budget has no room for all of it."""
    if _is_affordable(ws, tx, cost, known):
        return ()
    room = budget.budgets(ws).room(tx, error=known.error) or 0.0
    return (f"a budget has ${room:,.4f} left: not everybody would be asked",)


def run(ws: OpenWorkspace, *, limit: int | None, deadline_s: float | None, count: bool) -> Preflight:
    """Return both ways side by side; nothing is written, and nothing is sent unless a sample is to be counted.

    Raises:
        InputError: there are no items at all, or a request cannot be sent.
        RemoteError, ConfigurationError: a sample was to be counted, and the API cannot be asked.
    """
    look = estimate_both(ws, limit=limit, deadline_s=deadline_s, count=count)
    if not look.plan.requests:
        questions.check_any_items(ws.store, ws.task)
    return look


def document(look: Preflight) -> dict[str, Any]:
    """Return a look for programs: tokens, USD, seconds; what nobody knows is null."""
    used = look.plan.usage
    return {
        "items": look.plan.requests,
        "model": look.model,
        "tier": look.tier,
        "tokens_in": used.prompt,
        "tokens_out": used.answer + used.thoughts,
        "estimate": {"error": round(look.error, 4), "answers": look.based_on, "sampled": look.sampled},
        "deadline_s": look.deadline_s,
        "batch": {"batches": look.batch.count, **_way(look.batch)},
        "live": {"calls": look.live.count, "fits_today": look.live.fits_today, **_way(look.live)},
        "recommended": look.recommended,
        "reason": look.reason,
        "probe": None,
    }


def _way(way: ModeEstimate) -> dict[str, Any]:
    """Return one way for programs."""
    return {
        "cost": round(way.cost, 6),
        "priced_on": way.priced_on,
        "price_source": way.price_source,
        "seconds": None if way.seconds is None else round(way.seconds, 1),
        "quota": dict(way.figures),
        "affordable": way.affordable,
        "refused": way.refused or None,
        "warnings": list(way.warnings),
    }
