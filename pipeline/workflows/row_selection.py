"""Ask only the rows that meet a condition: `tag WHERE=`.

- If all these rows are open, the run is limited to them.
- Else they are asked again under a new version, which continues the version of the task's file. All
  other rows stay answered by their version, and the new answers come before the answers that they
  replace.

A selection is the stored list of these rows. It is stored before the estimate, and its run begins
when its cost was confirmed. A killed run is continued by the same command, and by `tag` without a
condition.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count

from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError, StateConflictError
from pipeline.core.row_listing import RowFilter, RowListOptions
from pipeline.core.text import plural
from pipeline.engine import claiming
from pipeline.engine.fingerprint import to_fingerprint_document
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.engine.user_task import UserTask
from pipeline.ops import items
from pipeline.store import answers, claims, runs, selections, workspace
from pipeline.store.database import Connection, Store
from pipeline.store.task_record import PARTIAL_VERSIONS_KEY, TaskRecord
from pipeline.tables.answer_views import make_views
from pipeline.workflows import preflight

CORRECTED = "corrected by a person"
IN_BATCH = "in a batch that is not over"
NOT_ASKABLE = "parked, empty or gone"
# Rows that are selected in one transaction.
CHUNK_ROWS = 200


@dataclass
class RowSelection:
    """The rows of a condition, and the version that asks them."""

    # Number of the run.
    run: int
    condition: str
    # Prompt version.
    label: str = ""
    # Open rows, and answered rows that are asked again.
    open_rows: int = 0
    answered_rows: int = 0
    # Rows to ask that have an answer of any version.
    asked_again_rows: int = 0
    # Rows of the condition that are not asked, by reason.
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def row_count(self) -> int:
        """Return the number of rows to ask."""
        return self.open_rows + self.answered_rows


def select_rows(ws: WorkspaceSession, condition: str, *, limit: int | None) -> RowSelection | None:
    """Store the ids of the rows that meet a condition, and let the session ask only these rows.

    The rows are open rows, and answered rows that can be asked again. If there are answered rows,
    all are asked under a new version, because the old answers stay. The session's task becomes one
    in which only these rows are open. Earlier selections of the task whose cost was not confirmed
    are deleted, also those of another running process, which then raises in `begin_selection`. A
    line with the version and the numbers of selected and left out rows is printed.

    Nothing is asked yet. Call `begin_selection` after the cost was confirmed, and `leave_selection`
    in any case, which deletes a selection that was not confirmed.

    Args:
        ws: The session, whose rows are synced; its task is replaced.
        condition: The condition; see `pipeline.core.where_parser`.
        limit: Select at most this many rows.

    Returns:
        The selection, or None if the task in use already continues an unfinished run with this very
        condition; then nothing is changed.

    Raises:
        InputError: The condition is invalid, no row of it can be asked, another condition's run is
            not finished, VERSION was used before or is not above that of the file, or the task is
            built in.
    """
    task = _require_user_task(ws.task)
    with ws.store.read() as tx:
        # An invalid condition is refused before anything is written.
        task.rows.grid(tx).make_conditions(tx, RowFilter(where=condition))
        unfinished_run = selections.find_unfinished_selection(tx, task.name)
    if task.rows.selection_run is not None and unfinished_run is not None:
        if unfinished_run.condition == condition:
            return None
        raise InputError(
            f"{task.version_label} is not finished: it asks the rows of "
            f"{unfinished_run.condition!r}; nothing was asked",
            hint=f"`{task.labels.command('tag')}` continues it, "
            f"`{task.labels.command('rollback', extractor=unfinished_run.version)}` deletes it",
        )

    with ws.store.write() as tx:
        selections.delete_unconfirmed(tx, task.name)
        run = selections.add_selection(tx, task.name, condition, now=ws.now())
    selection = RowSelection(run, condition)
    _store_rows(ws.store, task, selection=selection, limit=limit)
    if not selection.row_count:
        with ws.store.write() as tx:
            selections.delete_unconfirmed(tx, task.name)
        raise _nothing_selected_error(task, selection)

    selection.label = ws.store.query(_choose_label, task, selection, ws.settings.version)
    record = _with_partial_version(task.record, selection.label)
    continued_task = type(task)(record, task.settings, task.provider)
    ws.replace_task(UserTask.with_selection(continued_task, run, selection.label))
    ws.display.say(_describe_selection(selection))
    return selection


def _require_user_task(task: Task) -> UserTask:
    """Return the task as a user's task.

    Raises:
        InputError: The task is built in, so that rows cannot be selected by a condition.
    """
    if isinstance(task, UserTask):
        return task
    raise InputError(
        f"{OptionHint('where')} is for tasks of your own and for images, not for "
        f"{task.labels.plural}; nothing was asked",
        hint=f"`{task.labels.command('items', where='…')}` lists {task.labels.plural}",
    )


def _store_rows(
    store: Store, task: UserTask, *, selection: RowSelection, limit: int | None
) -> None:
    """Store the ids of a condition's rows that can be asked, and count them in the selection.

    Rows are read in chunks, and each chunk is committed. After `limit` stored rows no more are read
    or counted.
    """
    remaining = limit
    for row_ids in _iterate_row_ids(store, task, RowFilter(where=selection.condition)):
        with store.write() as tx:
            open_ids, answered_ids = _split_rows(tx, task, row_ids, selection.left_out)
            selected_ids = [*open_ids, *answered_ids][:remaining]
            selections.add_rows(tx, selection.run, selected_ids)
            # Open rows may have an answer of an earlier version.
            selection.asked_again_rows += len(answers.find_answered(tx, task.name, selected_ids))
        open_count = len(set(selected_ids).intersection(open_ids))
        selection.open_rows += open_count
        selection.answered_rows += len(selected_ids) - open_count
        if remaining is not None:
            remaining -= len(selected_ids)
            if not remaining:
                return


def _iterate_row_ids(store: Store, task: Task, row_filter: RowFilter) -> Iterator[list[str]]:
    """Yield the ids of the rows that match a filter, in chunks; each is read in a new transaction.

    A chunk has up to CHUNK_ROWS ids and begins after the last row of the chunk before. So no row is
    skipped if rows that were yielded no longer match.
    """
    options = RowListOptions(CHUNK_ROWS, row_filter, fields=(), within_s=None)
    while True:
        with store.read() as tx:
            page = task.rows.grid(tx).read_page(tx, options)
        if page.items:
            yield [row.id for row in page.items]
        if page.after is None:
            return
        options = options._replace(after=page.after)


def _split_rows(
    tx: Connection, task: UserTask, row_ids: list[str], left_out: Counter[str]
) -> tuple[list[str], list[str]]:
    """Return the ids of the open rows, and of the answered rows that can be asked again.

    Both are in the order of `row_ids`. The other rows are counted in `left_out` by reason:
    corrected by a person; in a batch that is not over; or parked, empty or gone from the source.

    Args:
        left_out: Counts by reason; they are increased.
    """
    open_ids = claiming.filter_claimable(tx, task, row_ids)
    claimable_ids = set(open_ids)
    corrected_ids = answers.find_corrected(tx, task.name, row_ids)
    claimed_ids = claims.filter_claimed(tx, task.name, row_ids)
    askable_ids = task.rows.filter_answered(tx, row_ids)
    answered_ids: list[str] = []
    for row_id in row_ids:
        if row_id in claimable_ids:
            continue
        if row_id in corrected_ids:
            left_out[CORRECTED] += 1
        elif row_id in claimed_ids:
            left_out[IN_BATCH] += 1
        elif row_id in askable_ids:
            answered_ids.append(row_id)
        else:
            left_out[NOT_ASKABLE] += 1
    return open_ids, answered_ids


def _nothing_selected_error(task: UserTask, selection: RowSelection) -> InputError:
    """Return the error that no row of a condition can be asked."""
    hint = f"`{task.labels.command('items', where=selection.condition)}` lists the rows"
    if not selection.left_out.total():
        return InputError(
            f"no row of {task.name} matches {selection.condition!r}; nothing was asked",
            hint=items.describe_unknown_choice(task, selection.condition) or hint,
        )
    return InputError(
        f"no row of {selection.condition!r} can be asked: {_format_reasons(selection.left_out)}; "
        "nothing was asked",
        hint=hint,
    )


def _format_reasons(left_out: Counter[str]) -> str:
    """Return the numbers of left out rows with their reasons, as a text; "" if there are none."""
    return ", ".join(f"{number:,} {reason}" for reason, number in left_out.items() if number)


def _choose_label(
    tx: Connection, task: UserTask, selection: RowSelection, version: str | None
) -> str:
    """Return the prompt version (`task@n`) under which the selected rows are asked.

    If no selected row is answered, it is the task's own prompt version. Otherwise its number is
    VERSION, or without VERSION the next free number. A number is free if it is above the version of
    the file and was never used.

    Args:
        tx: A transaction.
        task: The task of the session.
        selection: The selection, with its counts.
        version: The setting VERSION, such as "3" or "reviews@3", or None.

    Raises:
        InputError: VERSION is not a free number of the task.
    """
    record = task.record
    if not selection.answered_rows:
        return record.prompt_version

    used_labels = {counts.label for counts in answers.list_versions(tx, task.name)}
    used_labels |= record.members.get(PARTIAL_VERSIONS_KEY, {}).keys()
    if version is None:
        numbers: Iterable[int] = count(record.version + 1)
    else:
        number_text = version.removeprefix(f"{record.name}@")
        if not number_text.isdecimal():
            raise InputError(
                f"version {version!r} is not a number; nothing was asked",
                hint=f"{OptionHint(version=record.version + 1)}, or leave it out",
            )
        numbers = [int(number_text)]

    for number in numbers:
        label = f"{record.name}@{number}"
        is_declared = workspace.newest_fingerprint(tx, record.name, number) is not None
        if number > record.version and label not in used_labels and not is_declared:
            return label
    raise InputError(
        f"version {version!r} was used before, or is not above {record.version}; nothing was asked",
        hint=f"without {OptionHint('version')} the next free number is used",
    )


def _with_partial_version(record: TaskRecord, label: str) -> TaskRecord:
    """Return a record in which a version continues the version of the file."""
    if label == record.prompt_version:
        return record
    partial_versions = {
        **record.members.get(PARTIAL_VERSIONS_KEY, {}),
        label: record.prompt_version,
    }
    return replace(record, members={**record.members, PARTIAL_VERSIONS_KEY: partial_versions})


def _describe_selection(selection: RowSelection) -> str:
    """Return a line with the number of selected rows, their condition and their version.

    It also says how many of them are answered and asked again, whose old answers stay, and how many
    rows of the condition are left out, by reason.
    """
    rows_text = plural(selection.row_count, "row")
    again_rows = selection.asked_again_rows
    asked_text = "asked again" if again_rows == selection.row_count == 1 else "asked"
    line = f"{rows_text} of {selection.condition!r} will be {asked_text} under {selection.label}"
    if again_rows and selection.row_count > 1:
        line += f", {again_rows:,} of them again"
    if again_rows:
        line += f"; the old {'answer stays' if again_rows == 1 else 'answers stay'}"
    reasons = _format_reasons(selection.left_out)
    if reasons:
        line += f"; left out: {reasons}"
    return line


def begin_selection(
    tx: Connection,
    ws: WorkspaceSession,
    selection: RowSelection,
    *,
    started_at: datetime,
    estimated_cost: float,
    budget: float | None,
) -> int:
    """Begin the run of a selection after its cost was confirmed; return the run's number.

    The task's unfinished `tag` run of all open rows is ended, if there is one. If answered rows are
    selected, their new version is recorded with the task, so that its answers count, and the task's
    database views are made again; the changes of views are printed. Runs in the caller's
    transaction.

    Args:
        started_at: Since when the spending of the run counts.
        estimated_cost: In USD.
        budget: Most that the run may spend, in USD, or None.

    Raises:
        StateConflictError: Another process selected rows meanwhile; nothing was asked.
    """
    former_run = runs.find_unfinished_run(tx, ws.task.name, mode=runs.TAG)
    if former_run is not None:
        reason = f"the rows of {selection.condition!r} are asked instead"
        runs.end_run(tx, former_run.number, reason=reason, now=ws.now())
    listed_count = selections.count_rows(tx, selection.run)
    is_begun = listed_count and selections.confirm_selection(
        tx,
        selection.run,
        extractor=ws.version,
        started_at=started_at,
        items=selection.row_count,
        estimated_cost=estimated_cost,
        budget=budget,
    )
    record = workspace.get_task(tx, ws.task.name)
    if not is_begun or record is None:
        raise StateConflictError(
            "a selection of", ws.task.name, expected_state="new", target_state="begun"
        )

    if selection.answered_rows:
        record = _with_partial_version(record, selection.label)
        workspace.save_task(tx, record)
        user_task = _require_user_task(ws.task)
        workspace.save_fingerprint(
            tx,
            record.fingerprint,
            task=record.name,
            version=int(selection.label.rpartition("@")[2]),
            document=to_fingerprint_document(user_task.user_file.declaration),
            now=ws.now(),
        )
        for line in make_views(tx, record):
            ws.display.say(line)
    return selection.run


def describe_unfinished(store: Store, task: Task) -> list[str]:
    """Return a line about the unfinished selection that the session continues; else [].

    The line has the version of the selection, its number of open rows and its condition.
    """
    if not has_selection(task):
        return []
    with store.read() as tx:
        run = selections.find_unfinished_selection(tx, task.name)
        open_count = claiming.count_claimable(tx, task)
    if run is None:
        return []
    rows_text = plural(open_count, "open row")
    return [f"{task.version_label}, {rows_text} of {run.condition!r}"]


def has_selection(task: Task) -> bool:
    """Return whether only selected rows of a task are asked."""
    return isinstance(task, UserTask) and task.rows.selection_run is not None


def has_open_rows(store: Store, task: Task) -> bool:
    """Return whether a selected row can be asked."""
    return store.query(claiming.count_claimable, task) > 0


def estimate_selection(
    ws: WorkspaceSession, condition: str, *, limit: int | None, deadline_s: float | None
) -> preflight.Preflight:
    """Return the estimates of all modes for the rows of a condition; ask nothing.

    Without a condition, all open rows are estimated. Syncs the rows first. The selected rows are
    stored during the estimate and deleted after it. Afterwards the session has its recorded task
    again.

    Args:
        limit: Estimate at most this many rows, or None for all.
        deadline_s: Seconds from now, or None for no deadline.

    Raises:
        InputError: The condition is invalid, no row of it can be asked, another condition's run is
            not finished, or there is a condition and the task is built in.
    """
    ws.sync_rows()
    if condition and select_rows(ws, condition, limit=limit) is not None:
        limit = None
    try:
        return preflight.estimate_tagging(ws, limit=limit, deadline_s=deadline_s)
    finally:
        leave_selection(ws)


def leave_selection(ws: WorkspaceSession) -> None:
    """Delete the session's selection if it was not confirmed, and use the recorded task again.

    Does nothing in a session without a selection.
    """
    if not has_selection(ws.task):
        return
    with ws.store.write() as tx:
        selections.delete_unconfirmed(tx, ws.task.name)
    ws.reload_task()
