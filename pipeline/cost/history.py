"""Tell `status` what was estimated and what it came to, by batch and by run, which items are due, and the pilot.

Reads the database alone; sends nothing.
"""

from typing import TYPE_CHECKING, Any

from pipeline.core.states import BatchState
from pipeline.store import asks, batches, money, runs
from pipeline.store.money import PastUsage

if TYPE_CHECKING:
    from pipeline.engine.task import Task
    from pipeline.store.batches import Batch
    from pipeline.store.database import Connection


NEWEST = 100  # batches that are told of one by one


def usage_history(tx: "Connection", task: "Task") -> dict[str, Any]:
    """Return `estimates` (oldest first), the mean of their errors, and `due`, for programs."""
    newest = batches.by_run(batches.batches_in_states(tx, task=task.name))[-NEWEST:]
    silent = money.count_silent(tx, [one.number for one in newest])
    found = [_of_batch(one, silent=silent.get(one.number, 0)) for one in newest]
    told = [past for _, past in found if past is not None]
    mean = money.estimate_error(told)
    return {
        "estimates": sorted((entry for entry, _ in found), key=lambda entry: str(entry["at"])),
        "estimate_error": {"mean": None if mean is None else round(mean, 4), "of": len(told)},
        "due": _due(tx, task),
    }


def _of_batch(batch: "Batch", *, silent: int) -> tuple[dict[str, Any], PastUsage | None]:
    """Return a batch for programs, and what it tells of estimates: nothing before it is over, or where lines lack.

    Of `silent` requests see `estimates`.
    """
    past = None
    if batch.state is BatchState.INGESTED and not batch.missing and batch.tokens_in:
        whole = PastUsage(*(getattr(batch, name) or 0 for name in PastUsage._fields))
        past = money.without_silent(whole, silent=silent)
    used = (batch.tokens_in or 0, batch.tokens_out or 0, batch.cost or 0.0)
    actual = used if batch.state is BatchState.INGESTED else None
    facts = {"kind": batch.way.value, "number": batch.number, "at": batch.created_at.isoformat()}
    facts |= {"state": batch.state.value, "items": batch.requests}
    return facts | _amounts_of(batch, actual, past), past


def _amounts_of(one: "Batch", actual: tuple[int, int, float] | None, past: PastUsage | None) -> dict[str, Any]:
    error = None if past is None else money.estimate_error([past])
    return {
        "estimated": _amounts(one.estimated_in, one.estimated_out, one.estimated_cost),
        "actual": None if actual is None else _amounts(*actual),
        "error": None if error is None else round(error, 4),
        "priced_on": one.priced_on,
    }


def _amounts(tokens_in: int, tokens_out: int, cost: float) -> dict[str, Any]:
    return {"tokens_in": tokens_in, "tokens_out": tokens_out, "cost": round(cost, 6)}


def _due(tx: "Connection", task: "Task") -> list[dict[str, Any]]:
    """Return the items asked alone in vain that are due again, or were, by the names users know, oldest first."""
    found, waiting = list(asks.asked_in_vain(tx, task.name)), set(asks.due_ids(tx, task))
    names = task.table(tx).names(tx, [one.item_id for one in found])

    def outcome(key: str) -> str | None:
        if key in waiting:
            return None
        if key not in names:
            return "removed"
        return "tagged" if asks.parked_reason(tx, task.name, key, own=task.own) is None else "parked"

    return [
        {
            "name": names.get(one.item_id, one.item_id),
            "since": one.since.isoformat(),
            "reason": one.reason,
            "tries": one.tries,
            "outcome": outcome(one.item_id),
        }
        for one in found
    ]


def versions_of(tx: "Connection", task: "Task", model: str) -> dict[str, Any]:
    """Return the `extractor` of a model, its newest `pilot`, and the `backfill` that is not over.

    Nothing where the task needs no pilot and none was begun.
    """
    # not looked up: a model that is not known must not stop this
    extractor = f"{task.label}/{model.removeprefix('models/')}"
    pilot = runs.newest_pilot(tx, extractor)
    if pilot is None and not task.needs_pilot:
        return {}
    backfill = runs.unfinished_run(tx, task.name, mode=runs.BACKFILL)
    return {
        "extractor": extractor,
        "pilot": pilot
        and {
            "number": pilot.number,
            "size": pilot.size,
            "verdict": pilot.verdict,
            "report": pilot.report,
            "at": pilot.began_at.isoformat(),
        },
        "backfill": backfill
        and {
            "extractor": backfill.extractor,
            "since": backfill.started_at.isoformat(),
            "items": backfill.items,
            "estimated_cost": backfill.estimated_cost,
        },
    }
