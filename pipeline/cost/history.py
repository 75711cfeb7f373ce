"""Tell `status` what was estimated and what it came to, by batch and by run, which items are due, and the pilot.

Reads the database alone; sends nothing.
"""

from typing import TYPE_CHECKING, Any

from pipeline.core.states import BatchState
from pipeline.store import answers, batches, live_calls, pilots, statistics
from pipeline.store.statistics import PastUsage

if TYPE_CHECKING:
    from pipeline.engine.task import Task
    from pipeline.store.batches import Batch
    from pipeline.store.database import Connection
    from pipeline.store.live_calls import Run


NEWEST = 100  # batches, and live runs, that are told of one by one


def usage_history(tx: "Connection", task: "Task") -> dict[str, Any]:
    """Return `estimates` (oldest first), the mean of their errors, and `due`, for programs."""
    newest = batches.batches_in_states(tx, task=task.name)[-NEWEST:]
    silent = statistics.count_silent(tx, [one.number for one in newest])
    found = [_of_batch(one, silent=silent.get(one.number, 0)) for one in newest]
    found += [_of_run(tx, one) for one in live_calls.latest_runs(tx, task.name, mode="live", limit=NEWEST)]
    told = [past for _, past in found if past is not None]
    mean = statistics.estimate_error(told)
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
        past = statistics.without_silent(whole, silent=silent)
    used = (batch.tokens_in or 0, batch.tokens_out or 0, batch.cost or 0.0)
    actual = used if batch.state is BatchState.INGESTED else None
    facts = {"kind": "batch", "number": batch.number, "at": batch.created_at.isoformat(), "state": batch.state.value}
    return facts | {"items": batch.requests} | _amounts_of(batch, actual, past), past


def _of_run(tx: "Connection", run: "Run") -> tuple[dict[str, Any], PastUsage | None]:
    actual, past = live_calls.actual_of_run(tx, run.number), statistics.usage_of_run(tx, run.number)
    state = "under way or killed" if run.ended_at is None else f"ended: {run.why}"
    facts = {"kind": "live", "number": run.number, "at": run.started_at.isoformat(), "state": state}
    return facts | {"items": run.items} | _amounts_of(run, actual, past), past


def _amounts_of(one: "Batch | Run", actual: tuple[int, int, float] | None, past: PastUsage | None) -> dict[str, Any]:
    error = None if past is None else statistics.estimate_error([past])
    return {
        "estimated": _amounts(one.estimated_in, one.estimated_out, one.estimated_cost),
        "actual": None if actual is None else _amounts(*actual),
        "error": None if error is None else round(error, 4),
        "priced_on": one.priced_on,
    }


def _amounts(tokens_in: int, tokens_out: int, cost: float) -> dict[str, Any]:
    return {"tokens_in": tokens_in, "tokens_out": tokens_out, "cost": round(cost, 6)}


def _due(tx: "Connection", task: "Task") -> list[dict[str, Any]]:
    """Return the items added while Gemini failed that are due again, or were, by the names users know, oldest first."""
    found = answers.all_retries(tx, task.name)
    ids = [one.item_id for one in found]
    names, lost = task.names(tx, ids), live_calls.lost_on_items(tx, task.name, ids)
    return [
        {
            "name": names.get(one.item_id, one.item_id),
            "since": one.since.isoformat(),
            "reason": one.reason,
            "tries": one.tries,
            "lost": round(lost.get(one.item_id, 0.0), 6),
            "outcome": one.outcome,
            "ended_at": None if one.ended_at is None else one.ended_at.isoformat(),
        }
        for one in found
    ]


def versions_of(tx: "Connection", task: "Task", model: str) -> dict[str, Any]:
    """Return the `extractor` of a model, its newest `pilot`, and the `backfill` that is not over.

    Nothing where the task needs no pilot and none was begun.
    """
    # not looked up: a model that is not known must not stop this
    extractor = f"{task.label}/{model.removeprefix('models/')}"
    pilot = pilots.newest_pilot(tx, extractor)
    if pilot is None and not task.needs_pilot:
        return {}
    backfill = live_calls.unfinished_run(tx, task.name, mode=live_calls.BACKFILL)
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
