"""Report the state of the workspace and the next command, from database and files alone.

- A held batch is not ingested, because its replies seem to belong to other rows.
- A row is doubtful if its answer has a low confidence.
- A live run is a series of live batches of one command; it is killed if its process is dead.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from askrows.pipeline.batch import batch_files, report
from askrows.pipeline.batch.budget import find_quota_refusal
from askrows.pipeline.batch.held_batches import make_hold_hint
from askrows.pipeline.batch.report import BatchWait, find_waits
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import AskrowsError
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.core.states import (
    LAST_FAILURE_INTRODUCTION,
    BatchState,
    Mode,
    describe_reason,
    describe_remote_state,
    is_unsupported,
)
from askrows.pipeline.core.text import duration_in_words, plural, shorten
from askrows.pipeline.index.builds import Builds, count_stale
from askrows.pipeline.index.indexed_tasks import find_indexed_task
from askrows.pipeline.ops.next_command import choose_next_command
from askrows.pipeline.quality.report import REPORTS_FOLDER, read_newest_report
from askrows.pipeline.rows.row_state import RowState, StateCounts
from askrows.pipeline.rows.source import read_file_stamp
from askrows.pipeline.store import answer_counts, answers, batches, claims, money, workspace
from askrows.pipeline.store.batches import BatchRow
from askrows.pipeline.store.confidences import has_decisions
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.tasks.selection import find_task_by_name
from askrows.pipeline.tasks.task import IndexedTask, Task
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

MAX_REASON_CHARACTERS = 200
MAX_REFUSAL_CHARACTERS = 300
# Members of the status document that are left out if they are empty.
OPTIONAL_MEMBERS = (
    "twins",
    "stale",
    "doubtful",
    "foreign_records",
    "task_file",
    "source_changed",
    "file_version",
    "waiting",
    "failures",
)


@dataclass(frozen=True)
class StatusReport:
    """The state of the workspace."""

    subject: str
    counts: StateCounts
    # The task's words for the states of rows.
    state_words: Mapping[RowState, str]
    # The output of `status --json`.
    document: dict[str, Any]
    # Batches that are not over; the batches of a live run are combined.
    open_batches: list[BatchRow]
    # A description of each of them, for users. It begins with the task if that is not in use.
    open_batch_lines: list[str]
    # The live runs among them, of any process, with their progress, for JSON.
    live_runs: list[dict[str, Any]]
    # How long each submitted batch has waited at the API, by number; empty with the local engine.
    waits_by_number: dict[int, BatchWait]
    # The next command, or None if there is nothing to do.
    next_command: CommandHint | None


def read_status(
    ws: OpenWorkspace,
    task: Task,
    tasks: Sequence[Task],
    *,
    exact: bool = False,
) -> StatusReport:
    """Return the state of the workspace and the next command, without any change.

    Reads one snapshot of the database, then the folders of quality reports and batches. The rows
    are those of the task in use, and `open_batches` are those of all tasks.

    Args:
        ws: The workspace.
        task: The task in use.
        tasks: All tasks of the workspace.
        exact: Find changes by other programs, too: the index is always compared with the rows. If
            false, it is compared only if a command changed rows since the build.
    """
    # It is imported here, because most commands do not need it.
    from askrows.pipeline.tasks import task_registry

    recorded_task = task
    with ws.store.read() as tx:
        task = task_registry.copy_with_version_in_file(recorded_task)
        all_batches = batches.batches_in_states(tx)
        parked_rows = claims.parked_rows(tx, task.name, prompt_version=task.parked_version)
        task_rows = task.select_task_rows(tx)
        counts = task_rows.count_states(tx)
        document = _read_status_document(
            ws,
            task,
            tx,
            all_batches=all_batches,
            counts=counts,
            exact=exact,
        )
        answered_tasks = answers.tasks_with_versions(tx)
        reasons = answer_counts.failed_reasons(tx, task.name, task.parked_version or None)
        task_batches = [batch for batch in all_batches if batch.task == task.name]
        waits_by_number = {} if ws.backend == "local" else find_waits(all_batches, now=ws.now())
        is_waiting_for_quota = _is_waiting_for_quota(tx, task_batches, ws.settings)
        is_decided = has_decisions(tx, task.name, task.prompt_version)
        held_step = _choose_held_step(tx, task, task_batches)

    reasons |= {row_id: reason for row_id, reason, _ in parked_rows}
    document |= {
        "parked": dict(Counter(reason for _, reason, _ in parked_rows).most_common()),
        "others": [
            other.subject
            for other in tasks
            if other.name in answered_tasks and other.name != task.name
        ],
        "file_version": "" if task is recorded_task else task.prompt_version,
        "waiting": [wait.document for wait in waits_by_number.values()],
        "failures": _describe_failures(ws.data, task, reasons),
    }
    document = {
        name: member for name, member in document.items() if member or name not in OPTIONAL_MEMBERS
    }

    # A closed task that only decisions answered is asked by decisions in a new version, too.
    modes = {batch.mode for batch in task_batches if batch.mode.claims_rows}
    is_decided |= modes == {Mode.DECIDE} and task.is_closed

    open_batches = _list_open_batches(all_batches)
    live_runs = _describe_live_runs(ws, open_batches)
    batch_counts = Counter(batch.state.value for batch in task_batches if not batch.is_held)
    batch_counts["stopped"] = sum(
        batch.task == task.name and live_runs[batch.number]["state"] == "killed"
        for batch in open_batches
        if batch.number in live_runs
    )
    next_command = choose_next_command(
        task,
        document,
        counts,
        batch_counts,
        is_waiting_for_quota=is_waiting_for_quota,
        held_step=held_step,
        is_decided=is_decided,
    )
    document["next"] = str(next_command or "")

    open_batch_lines = [
        _describe_open_batch(
            ws, task, tasks, batch, live_runs=live_runs, waits_by_number=waits_by_number
        )
        for batch in open_batches
    ]
    return StatusReport(
        subject=ws.settings.task,
        counts=counts,
        state_words={state: task_rows.name_state(state) for state in RowState},
        document=document,
        open_batches=open_batches,
        open_batch_lines=open_batch_lines,
        live_runs=list(live_runs.values()),
        waits_by_number=waits_by_number,
        next_command=next_command,
    )


def count_other_tasks(store: Store, task: Task, tasks: Sequence[Task]) -> dict[str, dict[str, int]]:
    """Return the counts by state of each task that has rows, by its name, except of `task`.

    Gone rows are counted, too.
    """
    counts_by_task = {}
    other_tasks = [other for other in tasks if other.name != task.name]
    with store.read() as tx:
        for other in other_tasks:
            table = other.select_task_rows(tx)
            counts = table.count_states(tx)
            if counts.total or counts.gone:
                count_document = table.make_count_document(counts)
                counts_by_task[other.subject] = {**count_document, RowState.GONE: counts.gone}
    return counts_by_task


def _choose_held_step(
    tx: Connection,
    task: Task,
    task_batches: Sequence[BatchRow],
) -> CommandHint | None:
    """Return the command for the held batches of a task; None if no batch is held.

    A result is worth a second download. If that brings the same result for all held batches, the
    first of them is given up, so that its rows are asked again.
    """
    held_numbers = [batch.number for batch in task_batches if batch.is_held]
    for number in held_numbers:
        if not batches.has_same_result(tx, number):
            return task.nouns.command("batch-poll", batch=number)
    if held_numbers:
        return task.nouns.command("batch-cancel", batch=held_numbers[0])
    return None


def _read_status_document(
    ws: OpenWorkspace,
    task: Task,
    tx: Connection,
    *,
    all_batches: Sequence[BatchRow],
    counts: StateCounts,
    exact: bool,
) -> dict[str, Any]:
    """Return the document of `status --json`, except the members that `read_status` adds later.

    Those are `failures`, `next`, `file_version`, `waiting`, `parked` and `others`. Optional
    members are returned also if they are empty.

    Args:
        counts: The rows of the task by state.
        exact: In `index`, find changes by other programs, too, without a time limit.
    """
    workspace_row = workspace.get_workspace(tx)
    index_document = None
    indexed_task = find_indexed_task(ws, task)
    if indexed_task is not None:
        index_document = _describe_index(
            tx,
            task,
            settings=ws.settings,
            indexed_task=indexed_task,
            exact=exact,
        )

    model_name = task.choose_model_name(ws.settings, ws.backend)
    remote_names = {batch.remote_name for batch in all_batches}
    # The batches of a live run are counted once.
    state_counts = Counter(batch.state for batch in batches.combine_runs(all_batches))
    syntax_error = task.user_file.describe_syntax_error() if task.user_file is not None else ""
    return {
        ws.settings.task: task.select_task_rows(tx).make_count_document(counts),
        # The state of live batches is left out if no batch has it.
        "batches": {
            state.value: state_counts[state]
            for state in BatchState
            if state is not BatchState.ASKING or state_counts[state]
        },
        "index": index_document,
        "twins": [
            {
                "batch": duplicate["batch"],
                "remote_name": duplicate["remote_name"],
                "estimated_cost": duplicate["estimated_cost"],
                # It was cancelled.
                "is_over": duplicate["cancelled_at"] is not None,
                # It is no second remote batch, but that of a batch that was given up.
                "is_own": duplicate["remote_name"] in remote_names,
            }
            for duplicate in batches.list_duplicates(tx)
        ],
        "gone": counts.gone,
        "stale": _describe_stale(tx, task, counts.stale),
        "doubtful": _describe_doubtful(tx, task, settings=ws.settings),
        "foreign_records": task.describe_foreign_records(tx),
        "spent": _sum_spent(tx, all_batches),
        "backend": workspace_row.backend or ws.backend,
        "bound": workspace_row.backend is not None,
        "model": model_name,
        "workspace": str(ws.data),
        "workspace_id": workspace_row.workspace_id,
        "due": report.list_due_rows(tx, task),
        **report.describe_version(tx, task, model_name),
        "task_file": syntax_error,
        "source_changed": _find_changed_source(task),
    }


def _find_changed_source(task: Task) -> str:
    """Return the name of the task's row file if it changed since it was read, else ""."""
    record = task.user_file.record if task.user_file is not None else None
    if record is None or record.items_stamp is None:
        return ""
    path = Path(record.items)
    stamp = read_file_stamp(path)
    return path.name if stamp not in {None, record.items_stamp} else ""


def _list_open_batches(all_batches: Iterable[BatchRow]) -> list[BatchRow]:
    """Return the batches that are not over; those of a live run are combined."""
    return [batch for batch in batches.combine_runs(all_batches) if not batch.is_finished]


def _describe_live_runs(
    ws: OpenWorkspace, open_batches: Iterable[BatchRow]
) -> dict[int, dict[str, Any]]:
    """Return the live runs among open batches, for JSON, by the number of their batch.

    A live run asks rows by direct calls. It is {number, requests, done, eta_s, state}, and
    `number` is that of the run. `done` of its `requests` are asked. `eta_s` is the estimated
    remaining time in seconds. It is None before the first call, and after the last batch ended its
    calls. `state` is "under way" or "killed". A killed run, whose process is dead, has no `eta_s`.

    Args:
        open_batches: The batches; those of a live run are combined into one with their sums.
    """
    dead_batches = batch_files.find_dead_batches(ws.store, ws.locks)
    stopped_numbers = {batch.run or batch.number for batch in dead_batches}
    live_runs = {}
    for batch in open_batches:
        if batch.mode is Mode.BATCH:
            continue
        number = batch.run or batch.number
        is_stopped = number in stopped_numbers
        done_count = min(max(batch.calls, batch.replies), batch.requests)
        eta_s = None
        if done_count and not is_stopped and batch.state is BatchState.ASKING:
            elapsed_s = (ws.now() - batch.created_at).total_seconds()
            eta_s = (batch.requests - done_count) * elapsed_s / done_count
        live_runs[batch.number] = {
            "number": number,
            "requests": batch.requests,
            "done": done_count,
            "eta_s": eta_s,
            "state": "killed" if is_stopped else "under way",
        }
    return live_runs


def _describe_open_batch(
    ws: OpenWorkspace,
    task: Task,
    tasks: Sequence[Task],
    batch: BatchRow,
    *,
    live_runs: Mapping[int, Mapping[str, Any]],
    waits_by_number: Mapping[int, BatchWait],
) -> str:
    """Return a line about a batch or live run that is not over: rows, state, age and notes.

    Notes are the progress of a live run, why a batch is held and what ends that, the reason of a
    cancel or of a refused create call, and a long wait at the API. The line begins with the task if
    that is not in use.

    Args:
        ws: The workspace.
        task: The task in use.
        tasks: All tasks of the workspace.
        batch: The batch; those of a live run are combined.
        live_runs: The progress of each live run, by the number of its batch.
        waits_by_number: How long each submitted batch has waited at the API.
    """
    batch_task = find_task_by_name(tasks, batch.task, default=task)
    name = f"batch {batch.number}"
    state = describe_remote_state(batch.remote_word or batch.state)
    reason = batch.reason or ""
    notes = [shorten(reason, MAX_REFUSAL_CHARACTERS)]
    if batch.is_held:
        state = "held"
        hold_hint = make_hold_hint(batch.number, batch_task.nouns)
        notes = [batch.held or "", str(hold_hint)]

    live_run = live_runs.get(batch.number)
    if live_run is not None:
        name = f"live run {live_run['number']}"
        state = "stopped" if live_run["state"] == "killed" else "asking"
        notes = [f"at least {live_run['done']:,} rows asked"]
    wait = waits_by_number.get(batch.number)
    if wait is not None:
        notes.append(wait.describe())

    prefix = "" if batch.task == task.name else f"task {batch_task.subject}: "
    rows = plural(batch.requests, "row")
    age = ws.now() - batch.created_at
    elapsed = duration_in_words(age.total_seconds())
    line = f"{prefix}{name}, {rows}, {state} for {elapsed}"
    return "; ".join(filter(None, [line, *notes]))


def describe_continuable_batches(ws: OpenWorkspace, task: Task, tasks: Sequence[Task]) -> list[str]:
    """Return a line for each open batch and live run that `tag` continues, oldest first.

    They are of the task in use. Held batches, whose replies seem to belong to other rows, are left
    out, because they wait for a person. Live runs of living processes are left out, too.
    """
    with ws.store.read() as tx:
        task_batches = batches.batches_in_states(tx, task=task.name)
    waits_by_number = {} if ws.backend == "local" else find_waits(task_batches, now=ws.now())
    open_batches = _list_open_batches(task_batches)
    live_runs = _describe_live_runs(ws, open_batches)
    return [
        _describe_open_batch(
            ws, task, tasks, batch, live_runs=live_runs, waits_by_number=waits_by_number
        )
        for batch in open_batches
        if not batch.is_held
        if batch.state is not BatchState.ASKING or live_runs[batch.number]["state"] == "killed"
    ]


def _describe_failures(
    data: Path,
    task: Task,
    reasons: Mapping[str, str],
) -> dict[str, Any] | None:
    """Return failed rows and failed gates of the newest report for JSON; None if nothing failed.

    Rows that are parked because their text supports no answer are not counted. The members
    are `rows` (their number), `reasons` (counts by shortened reason, most frequent first), `gates`
    (names of failed gates) and `report` (path, or None).

    Args:
        reasons: For each row id the reason why the row failed or is parked.
    """
    short_reasons = (
        _shorten_reason(reason) for reason in reasons.values() if not is_unsupported(reason)
    )
    reason_counts = Counter(reason[:MAX_REASON_CHARACTERS] for reason in short_reasons)
    newest_report = read_newest_report(data, task.name)
    gates = newest_report.get("gates", ()) if newest_report else ()
    failed_gates = [gate["name"] for gate in gates if gate["passed"] is False]
    if not reason_counts and not failed_gates:
        return None

    report_path = newest_report and str(data / REPORTS_FOLDER / f"{newest_report['name']}.md")
    return {
        "rows": reason_counts.total(),
        "reasons": dict(reason_counts.most_common()),
        "gates": failed_gates,
        "report": report_path,
    }


def _shorten_reason(reason: str) -> str:
    """Return a reason in words and without its part about a single row, which follows a colon.

    The kind of the last failure is kept: `it failed 2 times; last: invalid answer`.
    """
    cause, introduction, last_failure = reason.partition(LAST_FAILURE_INTRODUCTION)
    short_cause = cause.partition(": ")[0]
    short_failure = last_failure.partition(": ")[0]
    return describe_reason(f"{short_cause}{introduction}{short_failure}")


def _describe_stale(
    tx: Connection,
    task: Task,
    count: int,
) -> dict[str, Any] | None:
    """Return {count, marked, hint} of the stale rows, for JSON; None if there are none.

    `marked` is the number of rows that a person asked for again, which the next `tag` asks.
    """
    if not count:
        return None
    table = task.select_task_rows(tx)
    marked_count = table.count_by_state(tx, table.is_marked).stale
    command = task.nouns.command("tag", refresh=True if marked_count < count else None)
    return {"count": count, "marked": marked_count, "hint": f"`{command}` asks about them again"}


def _describe_doubtful(
    tx: Connection,
    task: Task,
    *,
    settings: Settings,
) -> dict[str, Any] | None:
    """Return {count, answered, below, hint} of doubtful rows; None if no row has a confidence.

    - `count`: rows whose preferred answer has a confidence below the setting DOUBTFUL, and was not
      reviewed
    - `answered`: rows whose preferred answer has a confidence; other answered rows do not count
    - `below`: the setting DOUBTFUL
    - `hint`: the command that lists the doubtful rows
    """
    grid = task.make_grid(tx)
    doubtful_count, answered_count = grid.count_doubtful_rows(tx)
    if not answered_count:
        return None

    condition = f"{grid.judgements.doubtful_name} = true"
    return {
        "count": doubtful_count,
        "answered": answered_count,
        "below": settings.doubtful,
        "hint": str(task.nouns.command("items", where=condition)),
    }


def _describe_index(
    tx: Connection,
    task: Task,
    *,
    settings: Settings,
    indexed_task: IndexedTask,
    exact: bool,
) -> dict[str, Any]:
    """Return the build in service of the task's index, for JSON.

    Args:
        exact: Compare the index with all rows, even if no command has changed them.

    Returns:
        `count`, `model`, `dim`, `behind` (number of outdated entries), `build`, `built_at`,
        `refused` (the name of each row whose text the embedding model refused, and the reason), and
        `model_differs` (whether the settings name another model or dim). If there is no build,
        `count` is 0, `refused` and `model_differs` are missing, and all members except `count` and
        `behind` are null. If the build is damaged, `problem` is the error message.
    """
    document: dict[str, Any] = {
        "count": 0,
        "model": None,
        "dim": None,
        "build": None,
        "built_at": None,
    }
    builds = Builds(settings.data, indexed_task.folder)
    try:
        manifest = builds.read_current_manifest()
        if manifest is not None:
            with builds.open_current() as index:
                behind = count_stale(indexed_task, tx, index, exact=exact)
            names = task.select_task_rows(tx).read_names(tx, list(manifest.refused))
            model_name = settings.embedding_model.removeprefix("models/")
            return {
                "count": manifest.count,
                "model": manifest.model,
                "dim": manifest.dim,
                "behind": behind,
                "build": manifest.number,
                "built_at": manifest.built_at.isoformat(),
                "refused": [
                    {"name": names.get(entry_id, entry_id), "reason": refused_text.reason}
                    for entry_id, refused_text in manifest.refused.items()
                ],
                "model_differs": (manifest.model, manifest.dim) != (model_name, settings.dim),
            }
    except AskrowsError as error:
        document["problem"] = error.message

    document["behind"] = count_stale(indexed_task, tx, None)
    return document


def _sum_spent(tx: Connection, all_batches: Sequence[BatchRow]) -> dict[str, float]:
    """Return {actual, estimated, lost} in USD, for JSON.

    - `actual`: cost of the batches
    - `lost`: estimated cost of requests that may have been paid for and got no reply
    - `estimated`: `lost` and the estimated cost of running batches, without unsent ones
    """
    actual_cost = sum((batch.cost or 0.0 for batch in all_batches), 0.0)
    unsent_cost = sum(
        batch.estimated_cost for batch in all_batches if batch.state is BatchState.PREPARED
    )
    spending = money.sum_spending(tx)
    estimated_cost = max(0.0, spending.lost_usd + spending.under_way_usd - unsent_cost)
    return {
        "actual": round(actual_cost, 6),
        "estimated": round(estimated_cost, 6),
        "lost": round(spending.lost_usd, 6),
    }


def _is_waiting_for_quota(
    tx: Connection,
    task_batches: Sequence[BatchRow],
    settings: Settings,
) -> bool:
    """Return whether an unsent batch waits until submitted batches of its task free their quota.

    That is if the API has refused a prepared batch before, or if it would refuse the oldest one by
    our own count. False if no batch of the task is submitted. Also False if it is unclear whether
    the API created a batch, because the next submission must find out first.
    """
    states = {batch.state for batch in task_batches}
    if BatchState.SUBMITTED not in states or BatchState.SUBMITTING in states:
        return False

    prepared_batches = [batch for batch in task_batches if batch.state is BatchState.PREPARED]
    if any(batch.tries and batch.upload for batch in prepared_batches):
        return True
    if not prepared_batches:
        return False
    refusal = find_quota_refusal(tx, prepared_batches[0], settings)
    return bool(refusal)
