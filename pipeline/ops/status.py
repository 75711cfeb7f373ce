"""Say where everything stands, and what to type next; from the database and the files alone."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from pipeline.batch import batch_files, report
from pipeline.batch.budget import quota_refusal_reason
from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import FindableError
from pipeline.core.settings import Settings
from pipeline.core.states import BatchState, Mode, parked_label
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.index.builds import Builds, count_stale
from pipeline.quality.report import REPORTS_FOLDER as REPORTS
from pipeline.quality.report import read_report_documents
from pipeline.store import answers, batches, claims, money, workspace
from pipeline.store.batches import BatchRow
from pipeline.store.database import Connection
from pipeline.tables.lists import REFUSED_STATE

MAX_REASON_CHARACTERS = 200
LOOK_S = 3.0  # for which rows that changed are counted; some 200,000 biographies


class StatusCounts(NamedTuple):
    """The counts of a subject's items, in the order in which every task gives them."""

    total: int
    done: int
    open: int
    unaskable: int
    claimed: int
    parked: int
    refused: int = 0
    gone: int = 0  # beside the total


@dataclass(frozen=True)
class StatusReport:
    """The state of the workspace; `document` is what `--json` prints, `entry` what one entry of the index is called.

    `under_way` says what goes on, in words; `runs` are those of our own calls among it, of whichever process, with how
    far each is. `next` is what to type next, None where there is nothing to do.
    """

    subject: str
    counts: StatusCounts
    document: dict[str, Any]
    open_batches: list[BatchRow]
    under_way: list[str]
    runs: list[dict[str, Any]]
    entry: str
    next: CommandHint | None


def run(ws: WorkspaceSession, *, exact: bool = False) -> StatusReport:
    """Return where everything stands, from one snapshot; `exact` finds what other programs changed, too.

    Without it, the index is compared only where a command has changed what it is made of.
    """
    with ws.store.read() as tx:
        everyone = batches.batches_in_states(tx)
        here = workspace.get_workspace(tx)
        parked = claims.parked_rows(tx, ws.task.name, prompt_version=ws.task.own)
        asked = answers.tasks_with_versions(tx)
        stale = ws.task.stale(tx, within_s=None if exact else LOOK_S)
        twins = batches.list_duplicates(tx)
        by_state, gone = ws.task.table(tx).counts_and_gone(tx)
        document: dict[str, Any] = {
            ws.settings.task: by_state,
            "batches": _count_by_state(everyone),
            "index": _index(ws, tx, exact=exact) if ws.is_indexed else None,
            **({"twins": [_twin(one) for one in twins]} if twins else {}),
            "gone": gone,
            **({} if stale is None else {"stale": _stale(ws.task, *stale)}),
            "parked": dict(Counter(reason for _, reason, _ in parked).most_common()),
            "spent": _spent(tx, everyone),
            **({"unpriced": unpriced} if (unpriced := report.unpriced_models(everyone)) else {}),
            "backend": here.backend or ws.backend,
            "bound": here.backend is not None,
            "model": ws.settings.model,
            "workspace": str(ws.data),
            "workspace_id": here.workspace_id,
            "due": report.list_due_rows(tx, ws.task),
            **report.describe_version(tx, ws.task, ws.settings.model),
            "others": [
                one.subject for one in ws.tasks if one.name in asked and one.name != ws.task.name
            ],
        }
        failed_reasons = answers.failed_reasons(tx, ws.task.name, ws.task.own or None)
        mine = [one for one in everyone if one.task == ws.task.name]
        wants_room = _wants_room(tx, mine, ws.settings)
    document |= _failures(ws, failed_reasons | {item_id: reason for item_id, reason, _ in parked})
    dead = batch_files.find_dead_batches(ws)
    now = ws.now()
    waiting = Counter(one.state.value for one in mine)
    waiting["stopped"] = sum(one.task == ws.task.name and one.way is not Mode.TRIAL for one in dead)
    counts = StatusCounts(*list(by_state.values())[:6])._replace(
        refused=by_state[REFUSED_STATE], gone=gone
    )
    step = _next(document, counts, ws, waiting, wants_room=wants_room)
    document["next"] = str(step or "")
    entry = ws.collection.word if ws.is_indexed else ""
    going = [one for one in batches.combine_runs(everyone) if not one.is_over]
    killed = {one.run or one.number for one in dead}
    runs = [_of_calls(one, now, killed) for one in going if one.way not in (Mode.BATCH, Mode.TRIAL)]
    told = [_going(ws, one, killed, step) for one in going]
    return StatusReport(ws.settings.task, counts, document, going, told, runs, entry, step)


def _of_calls(one: BatchRow, now: datetime, killed: Collection[int]) -> dict[str, Any]:
    done = min(max(one.calls, one.replies), one.requests)
    number = one.run or one.number
    is_killed = number in killed
    eta_s = (
        (one.requests - done) * (now - one.created_at).total_seconds() / done
        if done and not is_killed
        else None
    )
    state = "killed" if is_killed else "under way"
    return {"number": number, "items": one.requests, "done": done, "eta_s": eta_s, "state": state}


def _going(
    ws: WorkspaceSession, one: BatchRow, killed: Collection[int], step: CommandHint | None
) -> str:
    """Return a batch that is not over in words: how far it is, since when, and of our own calls what time is left.

    A run whose process is gone has no time left; the command that continues it is named.
    """
    now = ws.now()
    if one.way is Mode.BATCH:
        took = report.duration_in_words((now - one.created_at).total_seconds())
        return (
            f"batch {one.number}, {one.requests:,} rows, {one.remote_word or one.state} for {took}"
        )
    run = _of_calls(one, now, killed)
    asked = f"{run['done']:,} of {one.requests:,} rows asked"
    if run["state"] == "killed":
        continuing = step if one.task == ws.task.name else ws.task_of(one.task).words.step("tag")
        return f"live run {run['number']} stopped, {asked}: `{continuing}` continues it"
    return f"live run {run['number']}, {asked}" + (
        f", about {report.duration_in_words(run['eta_s'])} left" if run["done"] else ""
    )


def open_work(ws: WorkspaceSession) -> list[str]:
    """Return in words each batch and each run of the task in use that is not over, the oldest first."""
    killed = {one.run or one.number for one in batch_files.find_dead_batches(ws)}
    with ws.store.read() as tx:
        runs = batches.combine_runs(batches.batches_in_states(tx, task=ws.task.name))
    return [_going(ws, one, killed, ws.task.words.step("tag")) for one in runs if not one.is_over]


def _failures(ws: WorkspaceSession, reasons: Mapping[str, str]) -> dict[str, Any]:
    """Return {"failures": …} if rows of the task failed or a gate of its newest report did, else nothing.

    `reasons` say why each row without an answer failed, or is parked, by its id.
    """
    # What stands behind a colon is about the row alone.
    kinds = (
        reason.partition(": ")[0] for reason in reasons.values() if parked_label(reason) == "parked"
    )
    failed = Counter(kind[:MAX_REASON_CHARACTERS] for kind in kinds)
    newest = next(iter(read_report_documents(ws.data, ws.task.name, limit=1)), None)
    gates = [gate["name"] for gate in (newest or {}).get("gates", ()) if gate["passed"] is False]
    if not failed and not gates:
        return {}
    path = newest and str(ws.data / REPORTS / f"{newest['name']}.md")
    told = {
        "rows": failed.total(),
        "reasons": dict(failed.most_common()),
        "gates": gates,
        "report": path,
    }
    return {"failures": told}


def _stale(task: Task, count: int, since: datetime | None) -> dict[str, Any]:
    return {"count": count, "since": since and since.isoformat(), "hint": str(task.how_to_refresh)}


def _twin(one: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: one[name] for name in ("batch", "remote_name", "estimated_cost")}
    return {**told, "is_over": one["cancelled_at"] is not None}


def _index(ws: WorkspaceSession, tx: Connection, *, exact: bool) -> dict[str, Any]:
    """Return {count, model, dim, behind, build, built_at, refused}; a broken index says so and counts as none.

    `refused` has the name of each row whose text the embedding model refused, and its reason.
    """
    builds = Builds(ws.data, ws.collection.folder)
    found: dict[str, Any] = {"count": 0, **dict.fromkeys(("model", "dim", "build", "built_at"))}
    try:
        if (built := builds.current()) is not None:
            with builds.open() as index:
                behind = count_stale(ws.collection, tx, index, exact=exact)
            when = built.built_at.isoformat()
            known = {"count": built.count, "model": built.model, "dim": built.dim, "behind": behind}
            names = ws.task.table(tx).names(tx, list(built.refused))
            refused = [
                {"name": names.get(entry_id, entry_id), "reason": text.reason}
                for entry_id, text in built.refused.items()
            ]
            return {**known, "build": built.number, "built_at": when, "refused": refused}
    except FindableError as error:
        found["problem"] = error.message
    return {**found, "behind": count_stale(ws.collection, tx, None)}


def _count_by_state(everyone: list[BatchRow]) -> dict[str, int]:
    counted = Counter(one.state for one in batches.combine_runs(everyone))
    shown = (state for state in BatchState if state is not BatchState.ASKING or counted[state])
    return {state.value: counted[state] for state in shown}


def _spent(tx: Connection, everyone: list[BatchRow]) -> dict[str, float]:
    actual = sum((batch.cost or 0.0 for batch in everyone), 0.0)
    found = money.sum_spending(tx)
    not_sent = sum(one.estimated_cost for one in everyone if one.state is BatchState.PREPARED)
    estimated = max(0.0, found.lost + found.under_way - not_sent)
    return {
        "actual": round(actual, 6),
        "estimated": round(estimated, 6),
        "lost": round(found.lost, 6),
    }


def _wants_room(tx: Connection, mine: list[BatchRow], settings: Settings) -> bool:
    """Return whether a batch was put off, by the API or by our count, while others of its task under way make room."""
    states = {one.state for one in mine}
    if BatchState.SUBMITTED not in states or BatchState.SUBMITTING in states:
        return False
    ready = [one for one in mine if one.state is BatchState.PREPARED]
    return any(one.tries and one.upload for one in ready) or any(
        quota_refusal_reason(tx, one, settings) for one in ready[:1]
    )


def _next(
    document: dict[str, Any],
    items: StatusCounts,
    ws: WorkspaceSession,
    waiting: Mapping[str, int],
    *,
    wants_room: bool,
) -> CommandHint | None:
    """Return what to type next, None when there is nothing to do; `waiting` are the task's batches."""
    task = ws.task
    index = document["index"] or {"count": 0, "behind": 0}
    asked = ws.collection.question if ws.is_indexed else ""
    others = [CommandHint("status", task=one) for one in document["others"]]
    steps = (
        (waiting["stopped"], _asking(document, task)),
        (waiting["downloaded"], _going_on(document, task, "batch-ingest")),
        (wants_room, _going_on(document, task, "batch-poll")),
        (waiting["submitting"] or waiting["prepared"], _going_on(document, task, "batch-submit")),
        (waiting["submitted"], _going_on(document, task, "batch-poll")),
        (items.total == 0, [*others, task.how_to_fill.step][0]),
        (items.open, _asking(document, task)),
        (items.done and index["behind"], task.words.step("index")),
        (items.parked, task.words.step("parked")),
        (index["count"], task.words.step("search", q=asked)),
        (items.done and task.words.after.command == "export", task.words.after),
    )
    return next((step for condition, step in steps if condition), None)


def _going_on(document: dict[str, Any], task: Task, step: str) -> CommandHint:
    """Return what goes on with a batch: the pilot or the backfill that it is of, else one step of its subject."""
    pilot = document.get("pilot")
    is_begun = pilot is not None and pilot["verdict"] is None
    if not task.needs_pilot:
        return (
            task.words.step("tag", pilot=pilot["size"])
            if pilot and is_begun
            else task.words.step(step)
        )
    if is_begun:
        return CommandHint(f"{task.words.many}-pilot")
    if document["backfill"] is not None:
        return CommandHint(f"{task.words.many}-backfill")
    return CommandHint(step, task=task.subject)


def _asking(document: dict[str, Any], task: Task) -> CommandHint:
    pilot = document.get("pilot") or {"verdict": None}
    if not task.needs_pilot:
        is_stopped = document.get("pilot") and pilot["verdict"] in {None, "failed"}
        return task.words.step("tag", pilot=pilot["size"] if is_stopped else None)
    return CommandHint(
        f"{task.words.many}-{'backfill' if pilot['verdict'] in {'passed', 'waived'} else 'pilot'}"
    )
