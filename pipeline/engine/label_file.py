"""Correct and confirm the answers of many rows by a file of labels.

Each line of the file has the key of a row and the right values of fields. A value that the answer
has already is confirmed. A blank cell is no label. A column `reviewed` marks answers as reviewed.

A file is stored in one transaction or not at all. So a killed command stores nothing, and the same
file stored twice changes nothing the second time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pipeline.core.command_hint import HintTemplate
from pipeline.core.declaration import ReadOptions
from pipeline.core.errors import FindableError, InputError, RefusedRowError
from pipeline.core.text import join_first
from pipeline.engine import corrections
from pipeline.engine.corrections import UNCHANGED_MESSAGE, InvalidAnswerError, PlannedEdits
from pipeline.engine.label_rows import (
    CORRECT_LINES_HINT,
    LabelColumns,
    LabelFault,
    LabelFileError,
    LabelledRow,
    make_repetition_fault,
    match_columns,
    read_labelled_rows,
)
from pipeline.engine.task import Task
from pipeline.store import answers, claims
from pipeline.store.database import Connection, Store
from pipeline.tables.answer_views import EXTRACTOR
from pipeline.tables.row_table import STATE_COLUMN
from pipeline.tables.source import FileSource


@dataclass
class LabelFileReport:
    """Result of a file of labels."""

    path: str
    # Rows of the file with a label or a mark of review. They are the corrected, the confirmed, the
    # unchanged, and those that are only marked.
    labelled: int = 0
    # Rows whose answer has other values now.
    corrected: int = 0
    # Rows of which only present values became labels.
    confirmed: int = 0
    # Rows whose answer is marked as reviewed now, and was not before.
    reviewed: int = 0
    # Labelled rows that had all these labels and marks before.
    unchanged: int = 0
    # Rows that are not labelled: nobody looked at them, as the file says, and no value is changed.
    unlabelled: int = 0
    # Corrected rows that had no answer before.
    unanswered: int = 0
    # Number of changed values by field.
    changed_values: dict[str, int] = field(default_factory=dict)
    # Columns of the source or of an export, which are no fields.
    ignored_columns: list[str] = field(default_factory=list)
    # Notes about how the file was read.
    notes: list[str] = field(default_factory=list)
    is_dry: bool = False

    @property
    def has_changes(self) -> bool:
        """Return whether an answer is corrected, confirmed or marked."""
        return bool(self.corrected or self.confirmed or self.reviewed)

    @property
    def is_export(self) -> bool:
        """Return whether the file has the columns of an export, so that all cells are filled."""
        return {EXTRACTOR, STATE_COLUMN} <= set(self.ignored_columns)


def correct_by_file(
    store: Store,
    task: Task,
    now: Callable[[], datetime],
    path: Path,
    *,
    options: ReadOptions,
    editor_name: str,
    is_dry: bool = False,
) -> LabelFileReport:
    """Correct, confirm and mark answers by the labels of a file, all in one transaction.

    A label is the right value of a field. A mark says whether a person reviewed the row. An empty
    cell is neither.

    - An answer that differs from its labels is corrected.
    - An answer that agrees with them is confirmed, unless the row has a mark: then the mark alone
      says whether the row was reviewed.
    - Then the answers of rows with a positive mark are marked as reviewed.

    If one label or mark is refused, nothing is stored.

    Args:
        path: A CSV, JSON, JSON lines, .xlsx or Parquet file with the key columns of the task.
        options: How the file is read.
        editor_name: Name of the editor.
        is_dry: Check the file and count the changes; store nothing.

    Returns:
        The counts of the rows.

    Raises:
        LabelFileError: A row, column or value of the file is wrong; nothing was changed.
        InputError: The file cannot be read, has no label, lacks the key or a field, or the name is
            invalid.
        ConfigurationError: Code of the task's file failed.
    """
    editor_name = corrections.normalize_editor_name(editor_name)
    source = FileSource(path, options)
    with store.read() as tx:
        columns = match_columns(task, source, task.rows.grid(tx))
    labelled_rows, faults = read_labelled_rows(task, source, columns)
    if not labelled_rows and not faults:
        raise InputError(
            f"{path} has no label; {UNCHANGED_MESSAGE}",
            hint=f"fill cells of {join_first(columns.filled)}",
        )
    report = LabelFileReport(
        str(path),
        ignored_columns=list(columns.ignored),
        notes=list(source.notes),
        is_dry=is_dry,
    )
    edited_at = now()
    with store.read() if is_dry else store.write() as tx:
        rows_by_id, row_faults = _find_rows(tx, task, labelled_rows, columns)
        planned = corrections.plan_edits(
            tx,
            task,
            {row_id: row.values for row_id, row in rows_by_id.items() if row.values},
            editor_name=editor_name,
            edited_at=edited_at,
            # A mark makes all fields labels, and nobody looked at a row without one. So a list that
            # was written to a file changes nothing if it is read again.
            unconfirmable_ids={
                row_id for row_id, row in rows_by_id.items() if row.is_reviewed is not None
            },
        )
        marked_ids, mark_faults = _plan_marks(tx, task, rows_by_id, planned, columns.review)
        faults += row_faults + mark_faults
        refusals = planned.refusals
        if not (is_dry or faults or refusals) and (planned.new_edits or marked_ids):
            refusals = corrections.store_edits(tx, task, planned.new_edits)
            marked_answers = task.rows.read_answers(tx, marked_ids).values()
            answer_ids = [answer.id for answer in marked_answers]
            answers.set_reviews(tx, answer_ids, who=editor_name, at=edited_at)
        for row_id, error in refusals.items():
            row = rows_by_id[row_id]
            faults += [
                fault._replace(column=columns.find_column(fault.column))
                for fault in _describe_refusal(tx, task, row_id, row, error=error)
            ]
        # The error rolls the transaction back.
        if faults:
            raise LabelFileError(
                path, faults, hint=_make_hint(task, has_unknown_rows=bool(row_faults))
            )

    report.reviewed = len(marked_ids)
    # A cell of a row that nobody looked at is a label only if its value is changed.
    unlabelled_ids = {
        row_id
        for row_id, row in rows_by_id.items()
        if row.is_reviewed is False and row_id not in planned.new_edits
    }
    report.unlabelled = len(unlabelled_ids)
    report.labelled = len(rows_by_id) - report.unlabelled
    report.unchanged = len(
        rows_by_id.keys() - planned.new_edits.keys() - set(marked_ids) - unlabelled_ids
    )
    _count_edits(report, planned)
    return report


def _plan_marks(
    tx: Connection,
    task: Task,
    rows_by_id: Mapping[str, LabelledRow],
    planned: PlannedEdits,
    column: str,
) -> tuple[list[str], list[LabelFault]]:
    """Return the rows to mark as reviewed, and faults of the rows that cannot be marked.

    A row is marked if the file says so, unless its answer is marked already and the planned edits
    do not change it. Rows whose labels are refused are in neither list.

    Args:
        column: The column with the marks, for the faults.
    """
    reviewed_ids = [row_id for row_id, row in rows_by_id.items() if row.is_reviewed]
    if not reviewed_ids:
        return [], []

    stored_answers = task.rows.read_answers(tx, reviewed_ids)
    forgotten_ids = claims.list_forgotten_ids(tx, task.name, reviewed_ids)
    marked_ids: list[str] = []
    faults: list[LabelFault] = []
    for row_id in reviewed_ids:
        if row_id in planned.refusals:
            continue
        if row_id in forgotten_ids:
            faults.append(LabelFault(rows_by_id[row_id].line, column, "the row is being forgotten"))
        elif row_id not in stored_answers and row_id not in planned.new_edits:
            message = "the row has no answer to review"
            faults.append(LabelFault(rows_by_id[row_id].line, column, message))
        elif row_id in planned.new_edits or stored_answers[row_id].reviewed_at is None:
            marked_ids.append(row_id)
    return marked_ids, faults


def _find_rows(
    tx: Connection,
    task: Task,
    labelled_rows: Sequence[LabelledRow],
    columns: LabelColumns,
) -> tuple[dict[str, LabelledRow], list[LabelFault]]:
    """Return the labelled rows by row id, and faults of unknown and repeated keys.

    A key is the id of a row, or another name that the task accepts for it (`id_of`). Rows with a
    fault are left out of the mapping.
    """
    existing_ids = task.rows.table(tx).filter_ids(tx, [row.key_text for row in labelled_rows])
    rows_by_id: dict[str, LabelledRow] = {}
    faults: list[LabelFault] = []
    for row in labelled_rows:
        row_id = row.key_text
        if row_id not in existing_ids:
            try:
                row_id = task.rows.id_of(tx, row.key_text.strip())
            except InputError as error:
                faults.append(LabelFault(row.line, ", ".join(columns.key), error.message))
                continue
        if row_id in rows_by_id:
            first_line = rows_by_id[row_id].line
            faults.append(make_repetition_fault(row.line, row.key_text, first_line, columns))
        else:
            rows_by_id[row_id] = row
    return rows_by_id, faults


def _make_hint(task: Task, *, has_unknown_rows: bool) -> object:
    """Return what to do about faults; unknown rows may be new in the source of a user's task."""
    if not has_unknown_rows or task.user_file is None:
        return CORRECT_LINES_HINT
    return HintTemplate(
        f"{CORRECT_LINES_HINT}; `{{}}` reads new rows of the source",
        task.labels.command("tag", dry=True),
    )


def _describe_refusal(
    tx: Connection,
    task: Task,
    row_id: str,
    row: LabelledRow,
    *,
    error: FindableError,
) -> Iterator[LabelFault]:
    """Yield the faults of a row whose labels were refused.

    The column of a fault is the name of the field, or "". If the answer is invalid, each label is
    validated on its own, so each wrong label has a fault.

    Args:
        row: The labels of the row, and its line.
        error: The error of the row.
    """
    if isinstance(error, RefusedRowError):
        yield LabelFault(row.line, "", error.reason)
        return
    if not isinstance(error, InvalidAnswerError):
        yield LabelFault(row.line, "", error.message.removesuffix(f"; {UNCHANGED_MESSAGE}"))
        return

    fields = task.prompt.answer_model.model_fields
    # The reason of the task's own check names no field.
    yield LabelFault(row.line, error.field_name if error.field_name in fields else "", error.fault)
    # The error is about the first wrong value. The others are found one by one.
    for name, value in row.values.items():
        if name != error.field_name:
            try:
                corrections.validate_change(tx, task, row_id, {name: value})
            except InvalidAnswerError as field_error:
                if field_error.field_name == name:
                    yield LabelFault(row.line, name, field_error.fault)


def _count_edits(report: LabelFileReport, planned: PlannedEdits) -> None:
    """Add the counts of planned edits to a report.

    - `corrected`: rows with a field that changes; `confirmed`: rows without such a field.
    - `unanswered`: rows without an answer before. They also count as corrected or confirmed.
    - `changed_values`: the number of rows in which a field changes, by field.
    """
    for new_edit in planned.new_edits.values():
        before = new_edit.edit.before
        changed_fields = [
            name for name, value in new_edit.edit.after.items() if before.get(name) != value
        ]
        for name in changed_fields:
            report.changed_values[name] = report.changed_values.get(name, 0) + 1
        if changed_fields:
            report.corrected += 1
        else:
            report.confirmed += 1
        report.unanswered += not before
