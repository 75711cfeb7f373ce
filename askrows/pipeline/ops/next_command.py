"""The next command that a person should type, by the state of a task.

A pilot is a random sample of rows that is asked first. A backfill asks all open rows by batch under
one version, if necessary over several days.
"""

from collections.abc import Mapping
from typing import Any

from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.settings import BUILT_IN_TASKS
from askrows.pipeline.core.states import Mode
from askrows.pipeline.rows.row_state import StateCounts
from askrows.pipeline.tasks.task import Task


def choose_next_command(
    task: Task,
    document: Mapping[str, Any],
    counts: StateCounts,
    batch_counts: Mapping[str, int],
    *,
    is_waiting_for_quota: bool,
    held_step: CommandHint | None,
    is_decided: bool,
) -> CommandHint | None:
    """Return the command for the most urgent condition; None if running calls have all rows.

    The order is: check a task file with a syntax error, continue dead runs and unfinished pilots,
    ingest, poll or submit batches, end the hold of a batch, ask open rows, rows that a person asked
    for again and rows of a changed file, fill a task without rows, update the index of people or of
    a task that has a build, show parked rows, export. If an unsent batch waits for quota, the
    command is `batch-poll`, not `batch-submit`. If the task has no rows and the document names
    other tasks, the command is `status` of the first of them, not the command that fills the task.

    Parked rows, and rows that changed after their answer, wait for a person. So they do not
    precede `export` if a row is answered.

    Args:
        task: The task in use.
        document: The document of `status --json`.
        counts: Row counts of the task.
        batch_counts: Batches of the task by state, without held ones. "stopped" counts the batches
            of dead processes.
        is_waiting_for_quota: An unsent batch waits until submitted batches end.
        held_step: The command for a batch of the task that is not ingested, because its replies
            seem to belong to other rows: `batch-poll`, or `batch-cancel` if a second download has
            already brought the same result. None if there is no such batch.
        is_decided: Rows of this version, or all rows of earlier versions, were asked in the mode
            decide, so the command asks the open rows in this mode, too.
    """
    ask_command = _choose_ask_command(document, task, is_decided=is_decided)
    nouns = task.nouns
    index = document["index"] or {"behind": 0}
    is_index_outdated = index["behind"] or index.get("model_differs")
    # Only people are searched in any case. Other rows are exported if nobody built an index.
    has_build = index.get("build") is not None or "problem" in index
    is_index_wanted = task.subject == BUILT_IN_TASKS[0] or has_build
    fill_command = task.fill_hint.step
    if document["others"]:
        fill_command = CommandHint("status", task=document["others"][0])
    marked_count = document["stale"]["marked"] if "stale" in document else 0
    unsent_count = batch_counts["submitting"] or batch_counts["prepared"]
    # The command that asks rows also continues the batches of an unfinished pilot.
    pilot = document.get("pilot")
    is_in_pilot = pilot is not None and pilot["verdict"] is None
    has_batches = unsent_count or batch_counts["downloaded"] or batch_counts["submitted"]
    has_gone_rows_only = counts.total == 0 and counts.gone > 0
    export_command = nouns.command(
        "export",
        to=f"{task.subject}-answers.csv",
        gone=True if has_gone_rows_only else None,
    )

    # The command of the first condition that is met.
    commands = (
        (document.get("task_file"), nouns.command("doctor")),
        (batch_counts["stopped"] or (is_in_pilot and has_batches), ask_command),
        (batch_counts["downloaded"], nouns.command("batch-ingest")),
        (is_waiting_for_quota, nouns.command("batch-poll")),
        (unsent_count, nouns.command("batch-submit")),
        (batch_counts["submitted"], nouns.command("batch-poll")),
        (held_step, held_step),
        (counts.open or marked_count or document.get("source_changed"), ask_command),
        (counts.total + counts.gone == 0, fill_command),
        (counts.done and is_index_wanted and is_index_outdated, nouns.command("index")),
        (counts.parked and not counts.done, nouns.command("parked")),
        (has_gone_rows_only or counts.total > counts.claimed, export_command),
    )
    return next((command for condition, command in commands if condition), None)


def _choose_ask_command(
    document: Mapping[str, Any],
    task: Task,
    *,
    is_decided: bool,
) -> CommandHint:
    """Return the command that asks the open rows of a task.

    A pilot asks a small sample of rows first; a person can waive it.

    - Task that needs a pilot before its rows are asked: the backfill command if its newest pilot
      passed or was waived, else the pilot command.
    - Any other task: `tag`. If the task has a pilot nevertheless, because a person asked for one,
      and the newest is unfinished or failed, `tag` gets the size of that pilot, so that it is
      continued or repeated. Otherwise `tag` gets the mode decide if `is_decided`.

    Args:
        document: The document of `status --json`, with the newest pilot.
        task: The task.
        is_decided: Earlier rows were asked in the mode decide.
    """
    pilot = document.get("pilot")
    verdict = pilot["verdict"] if pilot else None
    if not task.needs_pilot:
        if pilot and verdict in {None, "failed"}:
            return task.nouns.command("tag", pilot=pilot["size"])
        return task.nouns.command("tag", mode=Mode.DECIDE.value if is_decided else None)

    command = "backfill" if verdict in {"passed", "waived"} else "pilot"
    return CommandHint(f"{task.nouns.plural}-{command}")
