"""Where everything stands, and what to type next. Reads only, and asks nobody."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline import freshness
from pipeline.errors import FindableError
from pipeline.experts import table
from pipeline.runtime import Runtime
from pipeline.states import BatchState, RemoteState, remote_state
from pipeline.store import answers, batches, workspace
from pipeline.store.batches import Batch

if TYPE_CHECKING:
    from pipeline.store.database import Connection

SPENDING = frozenset({BatchState.SUBMITTING, BatchState.SUBMITTED, BatchState.DOWNLOADED})


@dataclass(frozen=True)
class Report:
    """The state of the workspace; `document` is what `--json` prints."""

    document: dict[str, Any]
    open_batches: list[Batch]


def run(rt: Runtime) -> Report:
    """Return where everything stands, from one snapshot."""
    with rt.store.read() as tx:
        everyone = batches.in_states(tx)
        here = workspace.get(tx)
        experts = table.counts(tx, now=rt.now())
        parked = answers.parked_rows(tx, rt.task.name)
        index = _index(rt, tx)
        document: dict[str, Any] = {
            "experts": experts,
            "batches": batches.counts(tx),
            "index": index,
            "parked": _reasons([reason for _, reason, _, _ in parked]),
            "spent": _spent(tx, everyone),
            "backend": here.backend or rt.backend,
            "bound": here.backend is not None,
            "model": rt.settings.model,
            "workspace": str(rt.data),
            "workspace_id": here.workspace_id,
        }
    document["next"] = _next(document)
    return Report(document, [batch for batch in everyone if not batch.is_over])


def _index(rt: Runtime, tx: "Connection") -> dict[str, Any]:
    """Return {count, model, dim, behind, build, built_at}; a broken index says so and counts as none."""
    try:
        manifest = rt.builds.current()
        if manifest is None:
            behind = freshness.behind(rt, tx, None)
            return {"count": 0, "model": None, "dim": None, "behind": behind, "build": None, "built_at": None}
        with rt.builds.open() as index:
            behind = freshness.behind(rt, tx, index)
    except FindableError as error:
        behind = freshness.behind(rt, tx, None)
        broken = {"count": 0, "model": None, "dim": None, "behind": behind, "build": None, "built_at": None}
        return {**broken, "problem": error.message}
    return {
        "count": manifest.count,
        "model": manifest.model,
        "dim": manifest.dim,
        "behind": behind,
        "build": manifest.number,
        "built_at": manifest.built_at.isoformat(),
    }


def _spent(tx: "Connection", everyone: list[Batch]) -> dict[str, float]:
    """Return USD: what is known, and what is estimated for batches under way, for twins, and for lost results."""
    actual = sum((batch.cost or 0.0 for batch in everyone), 0.0) + answers.live_cost(tx)
    estimated = sum((one.estimated_cost for one in everyone if one.state in SPENDING or _is_lost(one)), 0.0)
    estimated += sum(twin["estimated_cost"] for twin in batches.all_twins(tx))
    return {"actual": round(actual, 6), "estimated": round(estimated, 6)}


def _is_lost(batch: Batch) -> bool:
    """Return whether a batch succeeded and its result was never had; it is paid for all the same."""
    return batch.state is BatchState.FAILED and remote_state(batch.remote_word) is RemoteState.SUCCEEDED


def _reasons(reasons: list[str]) -> dict[str, int]:
    """Return how many items are parked for each reason, the most frequent first."""
    found: dict[str, int] = {}
    for reason in reasons:
        found[reason] = found.get(reason, 0) + 1
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def _next(document: dict[str, Any]) -> str:
    """Return what to type next, or an empty text when there is nothing to do."""
    experts, waiting, index = document["experts"], document["batches"], document["index"]
    steps = (
        (waiting["downloaded"], "make batch-ingest"),
        (waiting["submitting"] or waiting["prepared"], "make batch-submit"),
        (waiting["submitted"], "make batch-poll"),
        (experts["total"] == 0, "make import EXPERTS=people.csv"),
        (experts["untagged"], "make batch-submit"),
        (experts["tagged"] and index["behind"], "make index"),
        (experts["parked"], "findable parked"),
        (index["count"], 'make search Q="who knows …"'),
    )
    return next((command for condition, command in steps if condition), "")
