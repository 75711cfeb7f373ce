"""List the versions of answers, and roll back a version: delete its answers and records.

- A rollback is a single transaction. Costs stay in the history of batches.
- Versions whose answers another program wrote can be rolled back too.
- If no answer of the local engine is left afterwards, the workspace is no longer bound to it.

- A version is `task@n/model`, and a prompt version is `task@n`, which means all its models.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from askrows.pipeline.batch import ingest
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.report import Report, format_members_as_phrase, make_table
from askrows.pipeline.core.states import OPEN_STATES
from askrows.pipeline.core.text import format_usd, plural
from askrows.pipeline.ops.forget import delete_local_engine_files
from askrows.pipeline.store import answers, batches, request_history, workspace
from askrows.pipeline.store.answers import VersionCounts
from askrows.pipeline.store.database import Connection, Store, split_into_pages
from askrows.pipeline.tasks.derived_values import update_derived_values
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

ROLLBACK_LOCK = "rollback"
# Columns of versions, and figures of a rollback; see `make_table`.
VERSION_COLUMNS = "task version=prompt_version model records rows first last cost"
ROLLBACK_FIGURES = "answers rows rows_unparked=let_go"


class VersionSummary(NamedTuple):
    """A version that has answers or records in the workspace."""

    task: Task
    counts: VersionCounts
    # Cost in USD.
    cost: float

    @property
    def document(self) -> dict[str, Any]:
        """Return the version for JSON."""
        counts = self.counts
        return {
            "task": self.task.subject,
            "prompt_version": counts.prompt_version,
            "model": counts.model or None,
            "version": counts.version,
            "records": counts.records,
            "rows": counts.rows,
            "first": counts.first and counts.first.isoformat(),
            "last": counts.last and counts.last.isoformat(),
            "cost": round(self.cost, 6),
        }


def report_versions(ws: OpenWorkspace, task: Task, tasks: Sequence[Task]) -> Report:
    """Report the versions of all tasks, or only of the task in use if TASK= is set."""
    figures = [summary.document for summary in _read_version_summaries_of_tasks(ws, task, tasks)]
    return Report(figures, parts=[make_table(figures, VERSION_COLUMNS)])


def _read_version_summaries_of_tasks(
    ws: OpenWorkspace, task: Task, tasks: Sequence[Task]
) -> list[VersionSummary]:
    """Return the versions of all tasks, or only of the task in use if TASK= is set.

    Reads all rows, from a single snapshot.
    """
    is_limited = "task" in ws.settings.sources
    read_tasks = [other for other in tasks if other is task or not is_limited]

    summaries = []
    with ws.store.read() as tx:
        for read_task in read_tasks:
            summaries += _read_version_summaries(tx, read_task)
    return summaries


def delete_version_answers(run: Run, name: str) -> Report:
    """Delete the answers and records of a version after the user confirmed it.

    This is not the rollback of the index, which deletes nothing (`roll_back_index`). Replies of
    killed runs are ingested first. The counts of each deleted version are printed before the
    question. The deletion is one transaction, and waits for other rollbacks. If no request of any
    task is left then, a workspace of the local engine is no longer bound to it, so that a key can
    be used, and the files of the local engine are deleted. An unknown name raises nothing: the
    report has no versions, and the user is not asked.

    Args:
        run: The run.
        name: A prompt version (`task@n`), which means all its models, or a version with its model
            (`task@n/model`).

    Raises:
        InputError: A batch of the version is running, the version is of a person or of another
            program, or the user did not confirm. All versions are unchanged.
        AskrowsError: A reply of a killed run cannot be ingested.
    """
    summaries = _find_version_summaries(run.workspace, run.task, run.tasks, name)
    task = summaries[0].task if summaries else run.task
    # Batches of killed commands must not count as running, and their replies are deleted, too.
    ingest.ingest_live_batches_of_dead_processes(replace(run, task=task))
    # A person confirms counts that include the replies just ingested.
    summaries = _find_version_summaries(run.workspace, run.task, run.tasks, name)
    run.workspace.store.query(_check_versions_can_be_deleted, task, summaries)

    for summary in summaries:
        row_count = plural(summary.counts.rows, task.nouns.singular, task.nouns.plural)
        counts = f"{plural(summary.counts.records, 'record')} of {row_count}"
        run.workspace.display.say(
            f"{summary.counts.version}: {counts}, {format_usd(summary.cost)} paid"
        )
    if summaries:
        run.workspace.confirm(
            "Delete these answers for good? Their cost is not refunded. Other versions stay."
        )

    deleted = Counter[str]()
    with run.workspace.wait_for_lock(ROLLBACK_LOCK):
        with run.workspace.store.write() as tx:
            # Another process may have sent a batch of the version while the person was asked.
            _check_versions_can_be_deleted(tx, task, summaries)
            for summary in summaries:
                version = summary.counts.version
                answered_ids = list(
                    tx.execute(answers.select_answered_ids(task.name, version)).scalars()
                )
                deleted.update(
                    _delete_version(tx, task, summary.counts, answered_ids, now=run.workspace.now())
                )
        is_unbound = _unbind_local_engine_if_no_request_left(
            run.workspace.data, run.workspace.store, run.workspace.now
        )

    figures = {
        "task": task.subject,
        "version": name,
        "found": [summary.document for summary in summaries],
        "rows": deleted["rows"],
        "answers": deleted["answers"],
        "attempts": deleted["attempts"],
        "let_go": deleted["let_go"],
        "unbound": is_unbound,
    }
    report = Report(figures, f"there are no answers of {name}")
    if summaries:
        counts = format_members_as_phrase(figures, ROLLBACK_FIGURES) or "no answers"
        report.title = f"{name} deleted: {counts}"
    if is_unbound:
        report.parts.append(
            "no answer of the local engine is left: with the key of a provider, this workspace "
            "asks that provider"
        )
    return report


def _read_version_summaries(tx: Connection, task: Task) -> list[VersionSummary]:
    """Return every version of a task that has answers or was started in the workspace.

    First come versions that the workspace never asked, because another program wrote their answers,
    by name. The versions that it asked follow, oldest first.
    """
    started_counts = {
        counts.version: counts for counts in answers.list_begun_versions(tx, task.name)
    }
    answered_counts = {counts.version: counts for counts in task.list_versions(tx)}

    # Versions without an answer keep their empty counts.
    counts_by_version = started_counts | answered_counts
    foreign_versions = sorted(answered_counts.keys() - started_counts.keys())
    return [
        VersionSummary(
            task,
            counts_by_version[version],
            answers.sum_cost_of_version(tx, task.name, version),
        )
        for version in (*foreign_versions, *started_counts)
    ]


def _find_version_summaries(
    ws: OpenWorkspace,
    task: Task,
    tasks: Sequence[Task],
    name: str,
) -> list[VersionSummary]:
    """Return the versions with a name, of the first task that has one; [] if no task has.

    Args:
        ws: The workspace.
        task: The task in use. Only it is searched if TASK= is set.
        tasks: All tasks of the workspace.
        name: A label (`task@n`), or a version with its model (`task@n/model`).
    """
    summaries = [
        summary
        for summary in _read_version_summaries_of_tasks(ws, task, tasks)
        if name in {summary.counts.version, summary.counts.prompt_version}
    ]
    return [summary for summary in summaries if summary.task is summaries[0].task]


def _check_versions_can_be_deleted(
    tx: Connection,
    task: Task,
    summaries: Sequence[VersionSummary],
) -> None:
    """Raise InputError if one of the versions cannot be rolled back.

    It cannot in these cases:

    - A batch of the version is not over.
    - The version consists of corrections by people, or of values that another program wrote where
      `write_to=` writes.
    - The version is "": answers without a version belong to another program.

    An empty list of versions raises nothing.
    """
    versions = {summary.counts.version for summary in summaries}
    prompt_versions = {summary.counts.prompt_version for summary in summaries}
    open_batches = [
        batch
        for batch in batches.list_batches_in_states(tx, *OPEN_STATES, task=task.name)
        if batch.version in versions
    ]
    if open_batches:
        batch = open_batches[-1]
        raise InputError(
            f"batch {batch.number} of {batch.version} is {batch.state}, not over; "
            "nothing was changed",
            hint=f"`{CommandHint('status')}` shows how to finish it, "
            f"`{CommandHint('batch-cancel', batch=batch.number)}` cancels it",
        )

    kept_versions = {answers.PERSON, answers.OTHER, ""}
    if kept_versions.intersection(version.strip() for version in prompt_versions):
        raise InputError(
            "corrections by people, values of other programs, and rows without a version are not a "
            "model's version; nothing was changed",
            hint=(
                f"`{CommandHint('versions')}` lists the versions, "
                f"`{CommandHint('correct', row='…', undo='…')}` undoes a correction"
            ),
        )


def _delete_version(
    tx: Connection,
    task: Task,
    counts: VersionCounts,
    answered_ids: Sequence[str],
    *,
    now: datetime,
) -> dict[str, int]:
    """Delete the answers and attempts of a version, and what they wrote into the task's table.

    A row that the version added to the task's table is deleted. A row that another program owns
    only loses its answer. A row that somebody changed after the answer was written keeps its cells,
    but the stored answer is deleted. Rows that attempts of the version parked are no longer parked.
    Corrections stay. Derived values are computed again. If rows were changed, this is recorded, so
    that the index of the task is outdated. Runs in the caller's transaction.

    Args:
        counts: The version, with its prompt version and model.
        answered_ids: The rows that have an answer of the version.
        now: The time of the rollback, for the journal.

    Returns:
        `rows` (deleted table rows, or rows that lost their answer), `answers`, `attempts`, and
        `let_go` (rows that are no longer parked).
    """
    pages = list(split_into_pages(answered_ids))
    # Other programs may have written all answers of the version.
    if not pages:
        pages.append([])
    row_count = 0
    for page in pages:
        row_count += task.remove_answers_from_tables(tx, page, counts)
    deleted = answers.delete_records_and_end_runs_of_version(
        tx,
        task.name,
        counts.version,
        now=now,
    )
    update_derived_values(tx, task, answered_ids)
    if row_count:
        workspace.record_row_change(tx, task.name)
    return {
        "rows": row_count,
        "answers": deleted.answers,
        "attempts": deleted.attempts,
        "let_go": deleted.parked_rows,
    }


def _unbind_local_engine_if_no_request_left(
    data: Path,
    store: Store,
    now: Callable[[], datetime],
) -> bool:
    """Unbind the workspace from the local engine if no request of any task is left.

    A request is left if the database has a version, an answer of a model, or a batch that is not
    over. After the unbinding, the files of the local engine are deleted. Its cached vectors stay:
    they have other model names than vectors of providers, so they are never taken for these.
    Nothing happens if the workspace has another backend.

    Args:
        now: Returns the time of the change, for the journal.

    Returns:
        Whether the workspace was unbound.
    """
    with store.write() as tx:
        if workspace.read_workspace(tx).backend != "local" or request_history.has_any_request(tx):
            return False
        workspace.unbind_workspace(tx, now=now())
    delete_local_engine_files(data)
    return True
