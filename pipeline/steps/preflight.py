"""Say what asking about everyone would use, cost and take, both ways, before anything is spent; see `preflighting`."""

from typing import Any

from pipeline import preflighting
from pipeline.engine import questions
from pipeline.preflighting import Preflight
from pipeline.runtime import Runtime
from pipeline.ways import Way


def run(rt: Runtime, *, limit: int | None, deadline_s: float | None, count: bool) -> Preflight:
    """Return both ways side by side; nothing is written, and nothing is sent unless a sample is to be counted.

    Raises:
        InputError: there are no items at all, or a request cannot be sent.
        RemoteError, ConfigurationError: a sample was to be counted, and the API cannot be asked.
    """
    look = preflighting.look(rt, limit=limit, deadline_s=deadline_s, count=count)
    if not look.plan.requests:
        questions.check_any(rt.store, rt.task)
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


def _way(way: Way) -> dict[str, Any]:
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
