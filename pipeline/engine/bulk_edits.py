"""Set a field of the answers to many rows, and undo that as a whole.

Each row is corrected by itself, by the rules of its task. If the process dies, the corrected rows
stay corrected, and the same bulk edit continues: rows that have the value already do not change.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from pipeline.core.command_hint import HintTemplate
from pipeline.core.errors import InputError, RefusedRowError
from pipeline.core.progress import ProgressBar
from pipeline.core.row_listing import RowFilter, RowListOptions
from pipeline.engine import corrections
from pipeline.engine.task import Task
from pipeline.store import bulk_edits, edits, reviews
from pipeline.store.bulk_edits import BulkEdit
from pipeline.store.database import Connection, Store

# Rows that are corrected in one transaction.
CHUNK_ROWS = 200
# Refused rows that a report lists.
MAX_LISTED_REFUSALS = 100

# Why a row without an answer is refused if the answer needs more fields than the one that is set.
NO_ANSWER_REASON = "it has no answer yet"


class FieldChange(NamedTuple):
    """A new value of a field for all rows of a filter."""

    row_filter: RowFilter
    field: str
    value: Any


@dataclass
class BulkEditReport:
    """Result of a bulk edit, or of its undo."""

    number: int
    changed: int = 0
    # Rows that have the value already or the value of a later edit, or that were undone before.
    unchanged: int = 0
    # Rows that an undo left as they are, because a later edit changed them again.
    changed_later: int = 0
    # Marks of review that an undo removed.
    unmarked: int = 0
    refused: int = 0
    # (row id, reason) of the first refused rows; nothing of them was changed.
    refusals: list[tuple[str, str]] = field(default_factory=list)

    def add_refusal(self, row_id: str, reason: str) -> None:
        """Count a refused row."""
        self.refused += 1
        if len(self.refusals) < MAX_LISTED_REFUSALS:
            self.refusals.append((row_id, reason))


def set_field_of_rows(
    store: Store,
    task: Task,
    now: Callable[[], datetime],
    change: FieldChange,
    *,
    editor_name: str,
    progress: ProgressBar,
) -> BulkEditReport:
    """Set a field of the answer of each row that matches a filter; record that as a bulk edit.

    Each chunk of rows is a transaction of its own. Rows whose new answer is invalid, or that
    another program's table refuses, are counted in the report and stay as they were. A row without
    an answer gets one with this field, which is invalid if other fields are required. If the same
    editor began an edit with the same field, value and filter, and it was interrupted, it continues
    under its number.

    Args:
        change: The field, its new value and the filter.
        editor_name: Name of the editor.
        progress: Gets the number of rows that were visited.

    Returns:
        The number of the bulk edit, and how many rows this call changed, left unchanged and
        refused.

    Raises:
        InputError: The field, the filter or the editor's name is invalid.
        ConfigurationError: Code of the task's file failed; chunks before stay corrected.
    """
    editor_name = corrections.normalize_editor_name(editor_name)
    if change.field not in task.prompt.answer_model.model_fields:
        raise InputError(f"the answer has no field {change.field!r}; nothing was changed")

    # A JSON text has the same hash in each process.
    action_json = json.dumps(change, ensure_ascii=False)
    digest = hashlib.sha256(action_json.encode("utf-8", "surrogatepass")).hexdigest()
    with store.write() as tx:
        number = bulk_edits.begin_bulk_edit(
            tx,
            task.name,
            field=change.field,
            digest=digest,
            who=editor_name,
            now=now(),
        )

    report = BulkEditReport(number)
    visited_count = 0
    for row_ids in iterate_row_ids(store, task, change.row_filter):
        changes = {row_id: {change.field: change.value} for row_id in row_ids}
        with store.write() as tx:
            _edit_chunk(tx, task, changes, report, editor_name=editor_name, edited_at=now())
        visited_count += len(row_ids)
        progress.show(visited_count)

    with store.write() as tx:
        changed_count = edits.count_bulk_edited(tx, task.name, number)
        bulk_edits.complete_bulk_edit(
            tx,
            task.name,
            number,
            changed_count=changed_count,
            who=editor_name,
            now=now(),
        )
    return report


def read_bulk_edits(store: Store, task: Task) -> list[BulkEdit]:
    """Return the bulk edits of a task, oldest first, numbered from 1."""
    return store.query(bulk_edits.list_bulk_edits, task.name)


def iterate_row_ids(store: Store, task: Task, row_filter: RowFilter) -> Iterator[list[str]]:
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


def _edit_chunk(
    tx: Connection,
    task: Task,
    changes: Mapping[str, Mapping[str, Any] | int],
    report: BulkEditReport,
    *,
    editor_name: str,
    edited_at: datetime,
) -> None:
    """Edit a chunk of rows as part of a bulk edit, or undo edits, and add the counts to its report.

    Runs in the caller's transaction. A refused row is left unchanged and counted, with its reason.
    Each corrected row is unparked, and tables of other programs are updated. The number of
    statements does not depend on the number of rows, unless rows are refused or answers are rows of
    another program's table.

    Args:
        changes: New values by field, or the number of the edit to undo, by row id.
        report: The report of the bulk edit, which has its number; it is changed.
        editor_name: Name of the editor, from `normalize_editor_name`.

    Raises:
        ConfigurationError: Code of the task's file failed; the transaction must be rolled back.
    """
    planned = corrections.plan_edits(
        tx,
        task,
        changes,
        editor_name=editor_name,
        edited_at=edited_at,
    )
    write_refusals = corrections.store_edits(tx, task, planned.new_edits, bulk_edit=report.number)
    report.changed += len(planned.new_edits) - len(write_refusals)
    report.unchanged += len(planned.unchanged_ids)
    refusals = {**planned.refusals, **write_refusals}
    answers = task.answers.read_current(tx, list(refusals)) if refusals else {}
    for row_id, error in refusals.items():
        if isinstance(error, corrections.InvalidAnswerError) and not answers[row_id]:
            report.add_refusal(row_id, NO_ANSWER_REASON)
        elif isinstance(error, (corrections.InvalidAnswerError, RefusedRowError)):
            report.add_refusal(row_id, error.reason)
        else:
            report.add_refusal(row_id, error.message)


def undo_bulk_edit(
    store: Store,
    task: Task,
    now: Callable[[], datetime],
    number: int,
    *,
    editor_name: str,
    progress: ProgressBar,
) -> BulkEditReport:
    """Undo each edit of a bulk edit, also of an interrupted one, and record that it was undone.

    Each chunk of rows is a transaction. Fields that a later edit changed again keep their values. A
    row is refused, and stays as it is, if its former answer is not valid any more or the database
    refuses it. A row whose edit was undone before is not changed again, whatever its values.

    The last transaction removes the marks of review that the bulk edit set, also from rows that
    were edited later. A mark that a person set again since then stays. The undo can be called
    again, for example after an interruption: rows that are undone already count as unchanged.

    A row keeps its edit if it was refused, or if later edits changed all fields of the edit. The
    bulk edit counts as undone if no row keeps its edit. If later edits changed only some fields of
    a row, the others are changed back, and the row counts as undone.

    Args:
        now: Returns the time of an edit.
        number: The number of the bulk edit.
        editor_name: Name of the person who undoes it.
        progress: Gets the number of edits that were visited.

    Returns:
        The report, with `number` and how many rows this call changed, left unchanged and refused.

    Raises:
        InputError: There is no such bulk edit, or the editor's name is invalid.
        ConfigurationError: Code of the task's file failed. The earlier chunks of this call stay
            undone.
    """
    editor_name = corrections.normalize_editor_name(editor_name)
    bulk_edits_by_number = {edit.number: edit for edit in read_bulk_edits(store, task)}
    bulk_edit = bulk_edits_by_number.get(number)
    if bulk_edit is None:
        raise InputError(
            f"there is no edit {number} of many rows; nothing was changed",
            hint=HintTemplate("{} lists them", task.labels.command("correct")),
        )

    report = BulkEditReport(number)
    undone_before_count = 0
    visited_ids = set[str]()
    last_answer_id = 0
    visited_count = 0
    while True:
        edited_rows = store.query(
            edits.read_bulk_edited_page, task.name, number, after=last_answer_id, limit=CHUNK_ROWS
        )
        if not edited_rows:
            break
        # A bulk edit that continued may have changed a row twice.
        new_ids = (row_id for _, row_id in edited_rows if row_id not in visited_ids)
        row_ids = list(dict.fromkeys(new_ids))
        visited_ids.update(row_ids)
        with store.write() as tx:
            edit_numbers = edits.find_edits_of_bulk_edit(tx, task.name, row_ids, number)
            active_numbers = _select_active_edits(tx, task, edit_numbers)
            _edit_chunk(tx, task, active_numbers, report, editor_name=editor_name, edited_at=now())
        undone_before_count += len(edit_numbers) - len(active_numbers)
        last_answer_id = edited_rows[-1][0]
        visited_count += len(edited_rows)
        progress.show(visited_count)

    # So far, the unchanged rows are those whose edit is not undone.
    report.changed_later = report.unchanged
    kept_count = report.changed_later + report.refused
    report.unchanged += undone_before_count
    with store.write() as tx:
        report.unmarked = reviews.remove_marks(tx, task.name, who=bulk_edit.who, at=bulk_edit.at)
        bulk_edits.record_undone(
            tx, task.name, number, kept_count=kept_count, who=editor_name, now=now()
        )
    return report


def _select_active_edits(
    tx: Connection,
    task: Task,
    edit_numbers: Mapping[str, int],
) -> dict[str, int]:
    """Return those of the edits, given as numbers by row id, that are not undone."""
    edits_by_id = edits.list_edits(tx, task.name, list(edit_numbers))
    return {
        row_id: number
        for row_id, number in edit_numbers.items()
        if edits_by_id[row_id][number - 1] in edits.list_active_edits(edits_by_id[row_id])
    }
