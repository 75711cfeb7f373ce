"""The document of `status`: the state of the workspace and the next command, for JSON."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from askrows.pipeline.batch import report
from askrows.pipeline.core.states import (
    LAST_FAILURE_INTRODUCTION,
    BatchState,
    describe_reason,
    is_unsupported,
)
from askrows.pipeline.ops.next_command import choose_next_command
from askrows.pipeline.quality.report import REPORTS_FOLDER, read_newest_report
from askrows.pipeline.rows.row_state import RowState
from askrows.pipeline.run.snapshot import Snapshot, read_snapshot
from askrows.pipeline.store import answer_counts, batches, workspace
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

MAX_REASON_CHARACTERS = 200
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
    "under_way",
    "failures",
)


def read_status(ws: OpenWorkspace, task: Task, tasks: Sequence[Task]) -> dict[str, Any]:
    """Return the document of `status --json`.

    Args:
        ws: The workspace.
        task: The task in use.
        tasks: All tasks of the workspace.
    """
    with read_snapshot(ws, task, tasks) as snapshot:
        return make_status_document(snapshot)


def make_status_document(snapshot: Snapshot) -> dict[str, Any]:
    """Return the document of `status --json`. It has those of OPTIONAL_MEMBERS that say something.

    The rows are those of the task in use; batches, runs and costs are those of all tasks.
    """
    task = snapshot.task
    tx = snapshot.tx
    workspace_row = workspace.get_workspace(tx)
    # The batches of a live run are counted once.
    state_counts = Counter(batch.state for batch in batches.combine_runs(snapshot.batches))
    document = {
        snapshot.ws.settings.task: snapshot.rows.make_count_document(snapshot.counts),
        # The state of live batches is left out if no batch has it.
        "batches": {
            state.value: state_counts[state]
            for state in BatchState
            if state is not BatchState.ASKING or state_counts[state]
        },
        "index": snapshot.index_document,
        "twins": _list_duplicates(snapshot),
        "gone": snapshot.counts.gone,
        "stale": _describe_stale(snapshot),
        "doubtful": snapshot.doubtful_document,
        "foreign_records": task.describe_foreign_records(tx),
        "spent": snapshot.spent,
        "backend": workspace_row.backend or snapshot.ws.backend,
        "bound": workspace_row.backend is not None,
        "model": snapshot.model_name,
        "workspace": str(snapshot.ws.data),
        "workspace_id": workspace_row.workspace_id,
        "due": report.list_due_rows(tx, task),
        **snapshot.version_document,
        "task_file": snapshot.syntax_error,
        "source_changed": snapshot.changed_source,
        "parked": snapshot.parked_counts,
        "others": snapshot.other_answered_tasks,
        "file_version": snapshot.file_version,
        "waiting": [run.wait for run in snapshot.runs if run.wait],
        "under_way": [run.document for run in snapshot.runs],
        "failures": _describe_failures(snapshot),
        "next": str(choose_next_command(snapshot) or ""),
    }
    return {
        name: member for name, member in document.items() if member or name not in OPTIONAL_MEMBERS
    }


def count_other_tasks(snapshot: Snapshot) -> dict[str, dict[str, int]]:
    """Return the counts by state of each other task that has rows, by its name.

    Gone rows are counted, too.
    """
    counts_by_task = {}
    for other in snapshot.tasks:
        if other.name == snapshot.task.name:
            continue
        table = other.select_task_rows(snapshot.tx)
        counts = table.count_states(snapshot.tx)
        if counts.total or counts.gone:
            count_document = table.make_count_document(counts)
            counts_by_task[other.subject] = {**count_document, RowState.GONE: counts.gone}
    return counts_by_task


def _list_duplicates(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Return the second remote batches of our batches, for JSON."""
    remote_names = {batch.remote_name for batch in snapshot.batches}
    return [
        {
            "batch": duplicate["batch"],
            "remote_name": duplicate["remote_name"],
            "estimated_cost": duplicate["estimated_cost"],
            # It was cancelled.
            "is_over": duplicate["cancelled_at"] is not None,
            # It is no second remote batch, but that of a batch that was given up.
            "is_own": duplicate["remote_name"] in remote_names,
        }
        for duplicate in batches.list_duplicates(snapshot.tx)
    ]


def _describe_stale(snapshot: Snapshot) -> dict[str, Any] | None:
    """Return {count, marked, hint} of the stale rows, for JSON; None if there are none.

    `marked` is the number of rows that a person asked for again, which the next `tag` asks.
    """
    count = snapshot.counts.stale
    if not count:
        return None
    marked_count = snapshot.marked_count
    command = snapshot.task.nouns.command("tag", refresh=True if marked_count < count else None)
    return {"count": count, "marked": marked_count, "hint": f"`{command}` asks about them again"}


def _describe_failures(snapshot: Snapshot) -> dict[str, Any] | None:
    """Return failed rows and failed gates of the newest report for JSON; None if nothing failed.

    Rows that are parked because their text supports no answer are not counted. The members
    are `rows` (their number), `reasons` (counts by shortened reason, most frequent first), `gates`
    (names of failed gates) and `report` (path, or None).
    """
    task = snapshot.task
    data = snapshot.ws.data
    reasons_by_row = {
        **answer_counts.failed_reasons(snapshot.tx, task.name, task.parked_version or None),
        **snapshot.parked_reasons,
    }
    short_reasons = (
        _shorten_reason(reason) for reason in reasons_by_row.values() if not is_unsupported(reason)
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
