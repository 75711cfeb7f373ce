"""Where everything stands, and what to type next. Reads only, and asks nobody."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import FindableError
from pipeline.core.states import BatchState
from pipeline.cost import history, queue_quota
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index import staleness
from pipeline.index.builds import Builds
from pipeline.store import answers, batches, spending, versions, workspace
from pipeline.store.batches import Batch

if TYPE_CHECKING:
    from pipeline.store.database import Connection


class StatusCounts(NamedTuple):
    """The counts of a subject's items, in the order in which every task gives them."""

    total: int
    done: int
    open: int
    unaskable: int
    claimed: int
    parked: int


@dataclass(frozen=True)
class StatusReport:
    """The state of the workspace; `document` is what `--json` prints."""

    subject: str
    document: dict[str, Any]
    open_batches: list[Batch]


def run(ws: OpenWorkspace) -> StatusReport:
    """Return where everything stands, from one snapshot."""
    with ws.store.read() as tx:
        everyone = batches.batches_in_states(tx)
        here = workspace.get_workspace(tx)
        parked = answers.parked_rows(tx, ws.task.name)
        document: dict[str, Any] = {
            ws.settings.task: ws.task.counts(tx, now=ws.now()),
            "batches": batches.count_by_state(tx),
            "index": _index(ws, tx) if ws.is_indexed else None,
            "parked": _reasons([reason for _, reason, _, _ in parked]),
            "spent": _spent(tx, everyone),
            "backend": here.backend or ws.backend,
            "bound": here.backend is not None,
            "model": ws.settings.model,
            "workspace": str(ws.data),
            "workspace_id": here.workspace_id,
            "rolling_back": [one.name for one in versions.retired_versions(tx) if one.task == ws.task.name],
            **history.usage_history(ws, tx),
            **history.versions_of(ws, tx),
        }
        mine = [one for one in everyone if one.task == ws.task.name]
        wants_room = _wants_room(ws, tx, mine)
    waiting = Counter(one.state.value for one in mine)
    document["next"] = _next(document, ws, waiting, wants_room=wants_room)
    return StatusReport(ws.settings.task, document, [batch for batch in everyone if not batch.is_over])


def _index(ws: OpenWorkspace, tx: "Connection") -> dict[str, Any]:
    """Return {count, model, dim, behind, build, built_at}; a broken index says so and counts as none."""
    try:
        manifest = Builds(ws.data).current()
        if manifest is None:
            behind = staleness.count_stale(ws.collection, tx, None, ws.display)
            return {"count": 0, "model": None, "dim": None, "behind": behind, "build": None, "built_at": None}
        with Builds(ws.data).open() as index:
            behind = staleness.count_stale(ws.collection, tx, index, ws.display)
    except FindableError as error:
        behind = staleness.count_stale(ws.collection, tx, None, ws.display)
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
    """Return USD: what is known, what is estimated beside it, and of that what nobody will know: lost calls, twins."""
    actual = sum((batch.cost or 0.0 for batch in everyone), 0.0) + answers.live_cost(tx)
    found = spending.sum_spent(tx)
    not_sent = sum(one.estimated_cost for one in everyone if one.state is BatchState.PREPARED)
    estimated = max(0.0, found.lost + found.under_way - not_sent)
    return {"actual": round(actual, 6), "estimated": round(estimated, 6), "lost": round(found.lost, 6)}


def _reasons(reasons: list[str]) -> dict[str, int]:
    """Return how many items are parked for each reason, the most frequent first."""
    found: dict[str, int] = {}
    for reason in reasons:
        found[reason] = found.get(reason, 0) + 1
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def _wants_room(ws: OpenWorkspace, tx: "Connection", mine: list[Batch]) -> bool:
    """Return whether a batch was put off, by the API or by our count, while others of its task under way make room."""
    states = {one.state for one in mine}
    if BatchState.SUBMITTED not in states or BatchState.SUBMITTING in states:
        return False
    ready = [one for one in mine if one.state is BatchState.PREPARED]
    return any(one.tries and one.upload for one in ready) or any(
        queue_quota.quota_shortfall(tx, one, ws.settings) for one in ready[:1]
    )


def _next(document: dict[str, Any], ws: OpenWorkspace, waiting: Mapping[str, int], *, wants_room: bool) -> str:
    """Return what to type next, or an empty text when there is nothing to do; `waiting` are the subject's batches."""
    items = StatusCounts(*document[ws.settings.task].values())
    index = document["index"] or {"count": 0, "behind": 0}
    half = next(iter(document["rolling_back"]), "")
    steps = (
        (half, f"make rollback EXTRACTOR={half}"),
        (waiting["downloaded"], _going_on(document, ws, "batch-ingest")),
        (wants_room, _going_on(document, ws, "batch-poll")),
        (waiting["submitting"] or waiting["prepared"], _going_on(document, ws, "batch-submit")),
        (waiting["submitted"], _going_on(document, ws, "batch-poll")),
        (items.total == 0, ws.task.how_to_fill.split("`")[1]),
        (items.open, _asking(document, ws)),
        (items.done and index["behind"], "make index"),
        (items.parked, ws.task.words.make("parked")),
        (index["count"], 'make search Q="who knows …"'),
    )
    return next((command for condition, command in steps if condition), "")


def _going_on(document: dict[str, Any], ws: OpenWorkspace, step: str) -> str:
    """Return what goes on with a batch: the pilot or the backfill that it is of, else one step of its subject."""
    pilot = document.get("pilot")
    is_begun = pilot is not None and pilot["verdict"] is None
    if not ws.task.needs_pilot:
        return f"make tag PILOT={pilot['size']}" if pilot and is_begun else f"make {step}"
    if is_begun:
        return f"make {ws.task.words.many}-pilot"
    if document["backfill"] is not None:
        return f"make {ws.task.words.many}-backfill"
    return f"make {step} TASK={ws.settings.task}"


def _asking(document: dict[str, Any], ws: OpenWorkspace) -> str:
    """Return what asks about those who are open; a few first, where the task wants that."""
    pilot = document.get("pilot") or {"verdict": None}
    if not ws.task.needs_pilot:
        is_stopped = document.get("pilot") and pilot["verdict"] in {None, "failed"}
        return f"make tag PILOT={pilot['size']}" if is_stopped else "make batch-submit"
    return f"make {ws.task.words.many}-{'backfill' if pilot['verdict'] in {'passed', 'waived'} else 'pilot'}"
