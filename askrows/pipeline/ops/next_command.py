"""The next command that a person should type, by the state of a task.

A pilot is a random sample of rows that is asked first. A backfill asks all open rows by batch under
one version, if necessary over several days.
"""

from collections.abc import Sequence

from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.settings import DEFAULT_TASK
from askrows.pipeline.core.states import BatchState, Mode
from askrows.pipeline.run.snapshot import Snapshot, read_snapshot
from askrows.pipeline.store.runs import PilotVerdict
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.workspace.open_workspace import OpenWorkspace


def read_next_command(ws: OpenWorkspace, task: Task, tasks: Sequence[Task]) -> CommandHint | None:
    """Return the next command for the task in use; None if running calls have all rows.

    Args:
        ws: The workspace.
        task: The task in use.
        tasks: All tasks of the workspace.
    """
    with read_snapshot(ws, task, tasks) as snapshot:
        return choose_next_command(snapshot)


def choose_next_command(snapshot: Snapshot) -> CommandHint | None:
    """Return the command for the most urgent condition; None if running calls have all rows.

    The order is: check a task file with a syntax error, continue dead runs and unfinished pilots,
    ingest, submit or poll batches, end the hold of a batch, ask open rows, rows that a person asked
    for again and rows of a changed file, fill a task without rows, update the index of the default
    task or of a task that has a build, show parked rows, export. If an unsent batch waits for
    quota, the command is `batch-poll`, not `batch-submit`. If the task has no rows and other tasks
    have answers, the command is `status` of the first of them, not the command that fills the task.

    Parked rows, and rows that changed after their answer, wait for a person. So they do not
    precede `export` if a row is answered. Only the parts of the snapshot that decide are read.
    """
    if snapshot.syntax_error:
        return snapshot.task.nouns.command("doctor")
    return _choose_batch_command(snapshot) or _choose_command_without_batches(snapshot)


def _choose_batch_command(snapshot: Snapshot) -> CommandHint | None:
    """Return the command that continues dead runs, a pilot or batches or ends a hold, else None."""
    nouns = snapshot.task.nouns
    states = {batch.state for batch in snapshot.task_batches if not batch.is_held}
    has_unsent = bool(states & {BatchState.SUBMITTING, BatchState.PREPARED})
    has_batches = has_unsent or bool(states & {BatchState.DOWNLOADED, BatchState.SUBMITTED})
    # The command that asks rows also continues the batches of an unfinished pilot.
    is_in_pilot = has_batches and snapshot.pilot is not None and snapshot.pilot.verdict is None
    has_dead_batch = any(batch.task == snapshot.task.name for batch in snapshot.dead_batches)
    if has_dead_batch or is_in_pilot:
        return _choose_ask_command(snapshot)
    if BatchState.DOWNLOADED in states:
        return nouns.command("batch-ingest")
    if snapshot.is_waiting_for_quota:
        return nouns.command("batch-poll")
    if has_unsent:
        return nouns.command("batch-submit")
    if BatchState.SUBMITTED in states:
        return nouns.command("batch-poll")
    return snapshot.held_step


def _choose_command_without_batches(snapshot: Snapshot) -> CommandHint | None:
    """Return the command for a task without batches to continue; None if calls have all rows."""
    nouns = snapshot.task.nouns
    counts = snapshot.counts
    if counts.open or snapshot.marked_count or snapshot.changed_source:
        return _choose_ask_command(snapshot)
    if counts.total + counts.gone == 0:
        return _choose_fill_command(snapshot)
    if counts.done and _needs_index(snapshot):
        return nouns.command("index")
    if counts.parked and not counts.done:
        return nouns.command("parked")

    has_gone_rows_only = counts.total == 0
    if not has_gone_rows_only and counts.total == counts.claimed:
        return None
    return nouns.command(
        "export",
        to=f"{snapshot.task.subject}-answers.csv",
        gone=True if has_gone_rows_only else None,
    )


def _choose_fill_command(snapshot: Snapshot) -> CommandHint | None:
    """Return the command for a task without rows: to fill it, or `status` of another task."""
    other_tasks = snapshot.other_answered_tasks
    if other_tasks:
        return CommandHint("status", task=other_tasks[0])
    return snapshot.task.no_rows_hint.step


def _needs_index(snapshot: Snapshot) -> bool:
    """Return whether the index is to be built, because it is behind or of another model.

    Only the default task is searched in any case. Others are exported if nobody built an index.
    """
    index = snapshot.index_document
    if index is None:
        return False
    has_build = index["build"] is not None or "problem" in index
    is_wanted = snapshot.task.subject == DEFAULT_TASK or has_build
    return is_wanted and bool(index["behind"] or index.get("model_differs"))


def _choose_ask_command(snapshot: Snapshot) -> CommandHint:
    """Return the command that asks the open rows of a task.

    A pilot asks a small sample of rows first; a person can waive it.

    - Task that needs a pilot before its rows are asked: the backfill command if its newest pilot
      passed or was waived, else the pilot command.
    - Any other task: `tag`. If the task has a pilot nevertheless, because a person asked for one,
      and the newest is unfinished or failed, `tag` gets the size of that pilot, so that it is
      continued or repeated. Otherwise `tag` gets the mode decide if earlier rows were asked in it.
    """
    nouns = snapshot.task.nouns
    pilot = snapshot.pilot
    verdict = pilot.verdict if pilot else None
    if not snapshot.task.needs_pilot:
        if pilot and verdict in {None, PilotVerdict.FAILED}:
            return nouns.command("tag", pilot=pilot.size)
        return nouns.command("tag", mode=Mode.DECIDE.value if snapshot.is_decided else None)

    command = "backfill" if verdict in {PilotVerdict.PASSED, PilotVerdict.WAIVED} else "pilot"
    return CommandHint(f"{nouns.plural}-{command}")
