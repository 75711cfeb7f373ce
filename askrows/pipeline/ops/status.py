"""Report the state of the workspace and the next command: as JSON, as lines, and while runs go on.

- A row is doubtful if a confidence is below ASKROWS_DOUBTFUL and nobody looked at its answer.
- A duplicate batch is a second batch at the provider that has the requests of a batch of ours.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from askrows.pipeline.batch import report
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.report import (
    Report,
    format_counts,
    format_members_as_line,
    format_members_as_phrase,
)
from askrows.pipeline.core.states import (
    LAST_FAILURE_INTRODUCTION,
    BatchState,
    describe_reason,
    is_unsupported,
)
from askrows.pipeline.core.text import format_usd, join_first, plural
from askrows.pipeline.ops.next_command import choose_next_command
from askrows.pipeline.quality.report import REPORTS_FOLDER, read_newest_report
from askrows.pipeline.rows.kept_counts import reuse_or_count_states
from askrows.pipeline.rows.row_state import RowState
from askrows.pipeline.run.snapshot import RunProgress, Snapshot, read_snapshot
from askrows.pipeline.store import answer_counts, batches, workspace
from askrows.pipeline.tasks.other_values import describe_unusable_values
from askrows.pipeline.tasks.selection import find_task_by_name
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

MAX_REASON_CHARACTERS = 200
# Members of the status document that are left out if they are empty.
OPTIONAL_MEMBERS = (
    "twins",
    "stale",
    "doubtful",
    "unusable_values",
    "task_file",
    "source_changed",
    "file_version",
    "waiting",
    "under_way",
    "failures",
)
MIN_NAME_WIDTH = 11
# The output fits one page: at most this many lines of open batches, and reasons of failures.
MAX_OPEN_BATCH_LINES = 10
MAX_REASONS = 5
# A run that is watched is looked at so often; it has ended if so many looks found none.
WATCH_INTERVAL_S = 1.0
LAST_LOOKS = 3


def read_status_document(ws: OpenWorkspace, task: Task, tasks: Sequence[Task]) -> dict[str, Any]:
    """Return the document of `status --json`.

    Args:
        ws: The workspace.
        task: The task in use.
        tasks: All tasks of the workspace.
    """
    with read_snapshot(ws, task, tasks) as snapshot:
        return make_status_document(snapshot)


def make_status_document(snapshot: Snapshot) -> dict[str, Any]:
    """Return the document of `status --json`; members of OPTIONAL_MEMBERS are left out if empty.

    The rows are those of the task in use; batches, runs and costs are those of all tasks.
    """
    task = snapshot.task
    tx = snapshot.tx
    workspace_row = workspace.read_workspace(tx)
    # The batches of a live run are counted once.
    state_counts = Counter(
        batch.state for batch in batches.combine_batches_by_run(snapshot.batches)
    )
    document = {
        snapshot.ws.settings.task: snapshot.rows.make_count_document(snapshot.counts),
        # The state of live batches is left out if no batch has it.
        "batches": {
            state.value: state_counts[state]
            for state in BatchState
            if state is not BatchState.ASKING or state_counts[state]
        },
        "index": snapshot.index_document,
        "twins": _list_duplicate_batches(snapshot),
        "gone": snapshot.counts.gone,
        "stale": _make_stale_document(snapshot),
        "doubtful": snapshot.doubtful_document,
        "unusable_values": describe_unusable_values(tx, task),
        "spent": snapshot.spent,
        "backend": workspace_row.backend or snapshot.ws.backend,
        "bound": workspace_row.backend is not None,
        "model": snapshot.model_name,
        "workspace": str(snapshot.ws.data),
        "workspace_id": workspace_row.workspace_id,
        "due": report.list_due_retries(tx, task),
        **_make_version_document(snapshot),
        "task_file": snapshot.syntax_error,
        "source_changed": snapshot.changed_source,
        "parked": snapshot.parked_counts,
        "others": snapshot.other_answered_tasks,
        "file_version": snapshot.file_version,
        "waiting": [run.wait for run in snapshot.runs if run.wait],
        "under_way": [run.document for run in snapshot.runs],
        "failures": _make_failures_document(snapshot),
        "next": str(choose_next_command(snapshot) or ""),
    }
    return {
        name: member for name, member in document.items() if member or name not in OPTIONAL_MEMBERS
    }


def count_rows_of_other_tasks(snapshot: Snapshot) -> dict[str, dict[str, int]]:
    """Return the counts by state of each other task that has rows, by its name.

    Gone rows are counted, too.
    """
    counts_by_task = {}
    for other in snapshot.tasks:
        if other.name == snapshot.task.name:
            continue
        table = other.rows
        counts = reuse_or_count_states(snapshot.tx, table, snapshot.ws.data)
        if counts.total or counts.gone:
            count_document = table.make_count_document(counts)
            counts_by_task[other.subject] = {**count_document, RowState.GONE: counts.gone}
    return counts_by_task


def _list_duplicate_batches(snapshot: Snapshot) -> list[dict[str, Any]]:
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


def _make_stale_document(snapshot: Snapshot) -> dict[str, Any] | None:
    """Return {count, marked, hint} of the stale rows, for JSON; None if there are none.

    `marked` is the number of rows that a person asked for again, which the next `tag` asks.
    """
    count = snapshot.counts.stale
    if not count:
        return None
    marked_count = snapshot.marked_count
    command = snapshot.task.nouns.command("tag", refresh=True if marked_count < count else None)
    return {"count": count, "marked": marked_count, "hint": f"`{command}` asks about them again"}


def _make_version_document(snapshot: Snapshot) -> dict[str, Any]:
    """Return the version that asks and its newest pilot, for JSON.

    Returns:
        {} if the version has no pilot and the task may be asked without one. Otherwise `version`,
        and `pilot` (None without a pilot).
    """
    pilot = snapshot.pilot
    if pilot is None and not snapshot.task.needs_pilot:
        return {}
    pilot_document = pilot and {
        "number": pilot.number,
        "size": pilot.size,
        "verdict": pilot.verdict,
        "report": pilot.report,
        "at": pilot.began_at.isoformat(),
    }
    return {"version": snapshot.version, "pilot": pilot_document}


def _make_failures_document(snapshot: Snapshot) -> dict[str, Any] | None:
    """Return failed rows and failed gates of the newest report for JSON; None if nothing failed.

    Rows that are parked because their text supports no answer are not counted. The members
    are `rows` (their number), `reasons` (counts by shortened reason, most frequent first), `gates`
    (names of failed gates) and `report` (path, or None).
    """
    task = snapshot.task
    data = snapshot.ws.data
    reasons_by_row = {
        **answer_counts.read_newest_failure_reasons(
            snapshot.tx, task.name, task.parked_version or None
        ),
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


def report_status(
    ws: OpenWorkspace,
    task: Task,
    tasks: Sequence[Task],
    *,
    exact: bool,
) -> Report:
    """Report rows by state, open batches, cost, the index, and the next command.

    Args:
        ws: The workspace.
        task: The task in use.
        tasks: All tasks of the workspace.
        exact: Compare the index with all rows, to find changes by other programs.
    """
    with read_snapshot(ws, task, tasks, is_exact=exact) as snapshot:
        document = make_status_document(snapshot)
        named_lines = _make_status_lines(snapshot, document)
        named_lines += [
            (name, _format_states(counts, counts.pop(RowState.GONE)))
            for name, counts in count_rows_of_other_tasks(snapshot).items()
        ]
    width = max(MIN_NAME_WIDTH, *(len(name) + 1 for name, _ in named_lines))
    lines = [f"{name:<{width}}{text}" for name, text in named_lines]
    return Report(document, parts=[*lines], next_step=document["next"])


def describe_run(snapshot: Snapshot, run: RunProgress) -> str:
    """Return a line about a run. It begins with its task if that is not in use."""
    task = find_task_by_name(snapshot.tasks, run.batch.task, default=snapshot.task)
    line = run.describe(task.nouns)
    return line if task.name == snapshot.task.name else f"task {task.subject}: {line}"


def watch_runs(
    ws: OpenWorkspace,
    task: Task,
    tasks: Sequence[Task],
    *,
    show_lines: Callable[[Sequence[str]], None],
) -> None:
    """Show a line about each run under way every WATCH_INTERVAL_S seconds, until none is left.

    Returns after LAST_LOOKS looks in a row without a run, because a live run may begin its next
    batch meanwhile. If no look found a run, a line says so. Runs that wait for a person are not
    followed: held batches, and runs whose process is dead.

    Args:
        ws: The workspace.
        task: The task in use.
        tasks: All tasks of the workspace.
        show_lines: Shows lines in the place of the former ones.
    """
    empty_looks = 0
    has_seen_run = False
    while empty_looks < LAST_LOOKS:
        with read_snapshot(ws, task, tasks) as snapshot:
            followed_runs = [
                run for run in snapshot.runs if not (run.is_killed or run.batch.is_held)
            ]
            lines = [describe_run(snapshot, run) for run in followed_runs]
        empty_looks = 0 if lines else empty_looks + 1
        if lines:
            has_seen_run = True
            show_lines(lines)
        ws.sleep(WATCH_INTERVAL_S)
    if not has_seen_run:
        show_lines(["no run is under way"])


def _make_status_lines(snapshot: Snapshot, document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the lines of `status` in order, as (name, text).

    Workspace, rows and cost are always there. Each other line is left out if its member is empty.
    At most MAX_OPEN_BATCH_LINES runs are listed, and a line has the number of the others. The last
    line is `next`, but only if there is no next command.
    """
    subject = snapshot.ws.settings.task
    engine = "local engine" if document["backend"] == "local" else document["model"]
    lines = [
        ("workspace", f"{document['workspace']}, {engine}"),
        (subject, _format_states(document[subject], document["gone"])),
    ]
    lines += [
        (name, format_member(document[member]))
        for name, member, format_member in ROW_LINES
        if document.get(member)
    ]
    listed_runs = snapshot.runs[:MAX_OPEN_BATCH_LINES]
    lines += [("under way", describe_run(snapshot, run)) for run in listed_runs]
    unlisted_count = len(snapshot.runs) - len(listed_runs)
    if unlisted_count:
        lines.append(("under way", f"{unlisted_count:,} more: `{CommandHint('batches')}`"))
    lines.append(("spent", _format_spent(document["spent"])))
    if document["index"] is not None:
        lines.append(("index", _format_index(document["index"])))
    lines += [("twice", _format_duplicate_batch(batch)) for batch in document.get("twins", ())]
    lines += [
        (name, format_member(document[member]))
        for name, member, format_member in OTHER_LINES
        if document.get(member)
    ]
    if not document["next"]:
        lines.append(("next", "nothing to do"))
    return lines


def describe_continuable_runs(ws: OpenWorkspace, task: Task, tasks: Sequence[Task]) -> list[str]:
    """Return a line for each batch and live run of the task that `tag` continues, oldest first.

    Held batches, whose replies seem to belong to other rows, are left out, because they wait for a
    person. Live runs of living processes are left out, too.
    """
    with read_snapshot(ws, task, tasks) as snapshot:
        return [
            describe_run(snapshot, run)
            for run in snapshot.task_runs
            if not run.batch.is_held
            if run.is_killed or run.batch.state is not BatchState.ASKING
        ]


def _format_duplicate_batch(batch: Mapping[str, Any]) -> str:
    """Return the remote name of a duplicate batch, its batch, and whether it still runs.

    The remote batch of a batch that was cancelled or given up is recorded as its duplicate, too, if
    it runs or succeeded.
    """
    relation = "belongs to the cancelled or given-up" if batch["is_own"] else "is a duplicate of"
    state = "cancelled or over"
    if not batch["is_over"]:
        state = f"not cancelled yet: `{CommandHint('batch-poll')}` cancels it"
    return f"{batch['remote_name']} {relation} batch {batch['batch']}, {state}"


def _format_stale(stale: Mapping[str, Any]) -> str:
    """Return the numbers of rows that changed, and of rows that are to be asked again."""
    counts = {
        "changed after the answer": stale["count"] - stale["marked"],
        "to ask again": stale["marked"],
    }
    return f"{format_counts(counts)}; {stale['hint']}"


def _format_doubtful(doubtful: Mapping[str, Any]) -> str:
    """Return the number of doubtful rows among those with confidences, and how to list them."""
    text = f"{doubtful['count']:,} of {plural(doubtful['answered'], 'row')} with confidences"
    hint = f"; `{doubtful['hint']}`" if doubtful["count"] else ""
    return f"{text} (below {doubtful['below']:g}){hint}"


def _format_states(counts_by_state: Mapping[str, int], gone_count: int) -> str:
    """Return the number of all rows, then the number in each state that has rows, as a text.

    Rows that left their source are at the end. States have the names that `items` takes, and it
    lists as many rows.

    Args:
        counts_by_state: The number of rows in each state, and of all rows as `total`.
        gone_count: The number of rows that left their source.
    """
    counts = {name: count for name, count in counts_by_state.items() if name != "total"}
    counts["gone from the source"] = gone_count
    return f"{counts_by_state['total']:,}: {format_counts(counts) or 'none'}"


def _format_index(index: Mapping[str, Any]) -> str:
    """Return the number of index entries, whether they are up to date, and refused texts.

    Vectors of another embedding model than that of the settings are named. If the index cannot be
    read, the text has the problem instead. An index without entries is "none". Refused texts are
    those that the embedding model did not accept; their rows are named.

    Args:
        index: The member `index` of the document of `status`.
    """
    if "problem" in index:
        return f"broken: {index['problem']}"
    if not index["count"]:
        return "none"
    parts = [f"{plural(index['count'], 'row')}, up to date"]
    if index["behind"]:
        parts = [f"{plural(index['count'], 'row')}, behind by {index['behind']:,}"]
    if index["model_differs"]:
        parts.append(
            f"its vectors are of {index['model']} ({index['dim']}), not as in the settings"
        )
    if index["refused"]:
        row_names = join_first([refused["name"] for refused in index["refused"]])
        parts.append(f"the embedding model refused the texts of {row_names}")
    return "; ".join(parts)


def _format_spent(spent: Mapping[str, float]) -> str:
    """Return the text about the cost in USD until now, for people.

    It has the known cost, the estimate for running requests, and the cost that may be lost on
    requests whose replies were lost. An estimate of 0 is left out.

    Args:
        spent: USD by kind. `actual` is the known cost. `estimated` is the estimate for running
            requests and lost replies together. `lost` is the part of `estimated` for lost replies.
    """
    estimates = {
        "under_way": max(0.0, spent["estimated"] - spent["lost"]),
        "lost": spent["lost"],
    }
    parts = [
        format_usd(spent["actual"]),
        format_members_as_phrase(estimates, "under_way perhaps_lost=lost"),
    ]
    return ", ".join(filter(None, parts))


def _format_due(retries: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows that are asked again because their call failed, the newest first."""
    rows = plural(len(retries), "row")
    row_names = [retry["name"] for retry in reversed(retries)]
    return f"{rows} to be asked again: {join_first(row_names)}"


def _format_failures(failures: Mapping[str, Any]) -> str:
    """Return the number of failed rows, the most frequent reasons, failed gates and the report."""
    reasons = dict(list(failures["reasons"].items())[:MAX_REASONS])
    return format_members_as_line({**failures, "reasons": reasons}, "rows reasons gates report")


# Lines about members of the document: the name, the member, and the function that returns the text
# of its value. The first follow the counts of rows, the others are last.
MemberLine = tuple[str, str, Callable[[Any], str]]
ROW_LINES: tuple[MemberLine, ...] = (
    ("task file", "task_file", "{}; correct it before rows are asked".format),
    ("task file", "file_version", "declares {} now; earlier answers stay".format),
    ("source", "source_changed", "{} changed since it was read".format),
    ("stale", "stale", _format_stale),
    ("doubtful", "doubtful", _format_doubtful),
    ("unusable", "unusable_values", str),
    ("due", "due", _format_due),
)
OTHER_LINES: tuple[MemberLine, ...] = (("failed", "failures", _format_failures),)
