"""Estimate what asking about all items would use, cost and take, by batch and live, before anything is spent.

Only reads, and needs no key. Tokens and money come from the one estimator, times from past batches and calls of this
workspace, limits from the tier and the settings, and their use today from every process.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pipeline.batch import prepare, submit
from pipeline.batch.prepare import BatchPlan, Selection
from pipeline.cost import budget, estimate
from pipeline.cost.estimate import AT_API, Calibration
from pipeline.engine import questions
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini.errors import next_midnight_pacific
from pipeline.gemini.models import FREE, MAX_ACTIVE_BATCHES, RateLimits
from pipeline.gemini.tokens import usage_cost
from pipeline.quality import pilot
from pipeline.store import batches, live_calls, statistics
from pipeline.workflows.batch_or_live import Mode, ModeEstimate, live_seconds, percentile_90, recommend, turns
from pipeline.workflows.batch_steps import Backlog

if TYPE_CHECKING:
    from pipeline.store.database import Connection

BATCH_S = 24 * 3600.0  # within which a batch is over, as Google says (Batch API guide, read 2026-11)
ENOUGH = 3  # ours: past batches from which on they tell how long the next takes
CALL_S = 1.5  # ours: what a live call takes before any was measured; 1 to 2 s is the normal case
WARN_AT = 0.8  # of the day's requests


@dataclass(frozen=True)
class Preflight:
    """Both modes and what they are worked out from; `plan` holds the items, batches, and likely tokens.

    `known` is what past answers say of estimates. `waiting` is what an earlier run left in prepared batches, which go
    out with it.
    """

    plan: BatchPlan
    batch: ModeEstimate
    live: ModeEstimate
    recommended: Mode | None
    reason: str
    model: str
    tier: str
    known: Calibration
    deadline_s: float | None = None
    waiting: BatchPlan = field(default_factory=BatchPlan)

    def going_out(self, mode: str) -> tuple[BatchPlan, float]:
        """Return what goes out in a mode, with what is waiting, and its estimated cost in USD."""
        plan, more, own = self.plan, self.waiting, self.live if mode == "live" else self.batch
        items, requests, batches = plan.items + more.items, plan.requests + more.requests, plan.batches + more.batches
        return replace(plan, items=items, requests=requests, batches=batches), own.cost + more.cost


def run(ws: OpenWorkspace, *, limit: int | None, deadline_s: float | None) -> Preflight:
    """Return both modes side by side; nothing is asked or sent.

    Raises:
        InputError: there are no items at all, or a request cannot be sent.
    """
    ws.bring_items()
    estimated = estimate_both(ws, limit=limit, deadline_s=deadline_s)
    if not estimated.plan.items:
        questions.check_any_items(ws.store, ws.task)
    return estimated


def estimate_both(ws: OpenWorkspace, *, limit: int | None, deadline_s: float | None) -> Preflight:
    """Return what asking about all open items, at most `limit`, would come to.

    Raises:
        InputError: a request cannot be sent; the message names its item.
    """
    questions.free_dead_owners(ws.store, now=ws.now())
    askable = Backlog(ws.store, ws.task).askable()
    with ws.display.bar("counting tokens", min(askable, limit) if limit else askable) as bar:
        plan = prepare.plan_batches(ws, Selection(limit), bar=bar)
    with ws.store.read() as tx:
        known, waiting = estimate.calibration(tx, ws.extractor), submit.with_prepared(tx, ws.task, BatchPlan())
        modes = _Modes(ws, tx, plan, known)
        batch, live = modes.batch(), modes.live()
    recommended, reason = recommend(batch, live, items=plan.items, deadline_s=deadline_s)
    return Preflight(
        plan=plan,
        batch=batch,
        live=live,
        recommended=recommended,
        reason=reason,
        model=ws.model.name,
        tier=ws.settings.tier,
        known=known,
        deadline_s=deadline_s,
        waiting=waiting,
    )


def document(estimated: Preflight) -> dict[str, Any]:
    """Return an estimate for programs: tokens, USD, seconds; unknown values are null."""
    used = estimated.plan.usage
    known, batch, live = estimated.known, estimated.batch, estimated.live
    return {
        "items": estimated.plan.items,
        "questions": estimated.plan.requests,
        "model": estimated.model,
        "tier": estimated.tier,
        "tokens_in": used.prompt,
        "tokens_out": used.answer + used.thoughts,
        "estimate": {"error": round(known.error, 4), "answers": known.answers},
        "deadline_s": estimated.deadline_s,
        "batch": {"batches": batch.count, **_mode_document(batch)},
        "live": {"calls": live.count, "fits_today": live.fits_today, **_mode_document(live)},
        "waiting": {"items": estimated.waiting.items, "cost": round(estimated.waiting.cost, 6)},
        "recommended": estimated.recommended,
        "reason": estimated.reason,
    }


def _mode_document(mode: ModeEstimate) -> dict[str, Any]:
    return {
        "cost": round(mode.cost, 6),
        "priced_on": mode.priced_on,
        "price_source": mode.price_source,
        "seconds": None if mode.seconds is None else round(mode.seconds, 1),
        "quota": dict(mode.figures),
        "affordable": mode.affordable,
        "refused": mode.refused or None,
        "warnings": list(mode.warnings),
    }


@dataclass(frozen=True)
class _Modes:
    ws: OpenWorkspace
    tx: "Connection"
    plan: BatchPlan
    known: Calibration

    def batch(self) -> ModeEstimate:
        ws, plan, tokens = self.ws, self.plan, self.plan.usage.prompt
        most = ws.model.enqueued(ws.settings.tier)
        at_api = batches.batches_in_states(self.tx, *AT_API)
        enqueued = sum(one.estimated_in for one in at_api if one.model == ws.model.name)
        rounds = turns(plan.batches, tokens, most_tokens=most, most_batches=MAX_ACTIVE_BATCHES)
        absent = "the free tier has no batches" if ws.settings.tier == FREE and not ws.model.local else ""
        warnings = [f"{absent}; set TIER= to yours if it is another one"] * bool(absent)
        if rounds > 1:
            warnings.append(
                f"{plan.batches} batches go out in {rounds} turns, for only so many tokens may wait at the API"
            )
        elif most is not None and enqueued and enqueued + tokens > most:
            warnings.append(
                f"{enqueued:,} tokens wait at the API already; the batches go out when some of them are over"
            )
        quota = f"{tokens:,} tokens would wait"
        return replace(
            self._priced(batch=True, warnings=warnings),
            seconds=self._batch_seconds(rounds),
            count=plan.batches,
            quota=quota if most is None else f"{quota}, of {most:,} that may in tier {ws.settings.tier}",
            figures={"tokens": tokens, "enqueued_now": enqueued, "enqueued_most": most, "turns": rounds},
            refused=pilot.why_not(self.tx, ws.extractor),
            absent=absent,
        )

    def live(self) -> ModeEstimate:
        ws, count, tokens = self.ws, self.plan.requests, self.plan.usage.prompt
        now, limits = ws.now(), ws.limits
        used = live_calls.calls_of_day(self.tx, ws.model.name, day=budget.today(now).isoformat())
        left = count if limits.rpd is None else max(0, limits.rpd - used)
        reset = next_midnight_pacific(now)
        until_reset_s = (reset - now) / timedelta(seconds=1)
        at_once, each = ws.settings.concurrency, statistics.call_duration(self.tx, ws.model.name)
        each = CALL_S if each is None and not ws.model.local else each
        rate = at_once / each if each else None
        warnings = []
        if limits.rpd is not None and count > left:
            warnings.append(
                f"{left:,} of the day's {limits.rpd:,} requests are left; the rest waits for {reset:%Y-%m-%d %H:%M} UTC"
            )
        elif limits.rpd is not None and used + count >= WARN_AT * limits.rpd:
            warnings.append(f"{used + count:,} of the day's {limits.rpd:,} requests would be used")
        return replace(
            self._priced(batch=False, warnings=warnings),
            seconds=live_seconds(count, tokens, limits=limits, used_today=used, until_reset_s=until_reset_s, rate=rate),
            count=count,
            quota=_live_quota(count, tokens, limits, used),
            figures={"requests": count, "used_today": used, **limits._asdict()},
            fits_today=count <= left,
        )

    def _priced(self, *, batch: bool, warnings: Sequence[str]) -> ModeEstimate:
        model, day = self.ws.model, self.ws.now().date()
        cost = usage_cost(model, self.plan.usage, batch=batch, on=day)
        left = budget.budgets(self.ws).room(self.tx, error=self.known.error)
        affordable = left is None or cost * (1 + self.known.error) <= left
        short = [] if affordable else [f"a budget has ${left or 0:,.4f} left: not all would be asked"]
        return ModeEstimate(
            cost=cost,
            priced_on=model.priced_on.isoformat(),
            price_source=model.source,
            warnings=(*short, *warnings),
            affordable=affordable,
        )

    def _batch_seconds(self, rounds: int) -> float | None:
        """Return how long batches take that go out in some turns: as nine in ten of the model did before.

        Where there were too few it is as Google says, and unknown on the local engine.
        """
        past = statistics.batch_seconds(self.tx, self.ws.model.name)
        longest = percentile_90(past) if len(past) >= ENOUGH else None if self.ws.model.local else BATCH_S
        return None if longest is None else longest * rounds


def _live_quota(count: int, tokens: int, limits: RateLimits, used: int) -> str:
    parts = []
    if limits.rpd is not None:
        parts.append(f"{count:,} requests of today's {limits.rpd:,}, {used:,} of them used")
    if limits.rpm is not None:
        parts.append(f"{count / limits.rpm:,.1f} min of {limits.rpm:,} requests")
    if limits.tpm is not None:
        parts.append(f"{tokens / limits.tpm:,.1f} min of {limits.tpm:,} tokens")
    return ", ".join(parts) or "no limits"
