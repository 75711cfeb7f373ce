"""Correct the answers of one row or of many, and report the changes.

A right value of a field is one that a person set, confirmed or reviewed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.declaration import ReadOptions
from askrows.pipeline.core.report import (
    Report,
    Table,
    format_members_as_line,
    format_members_as_phrase,
    format_nested_lines,
    make_table,
)
from askrows.pipeline.tasks import corrections, right_value_file

# Columns of edits, and figures of a file of right values; see `make_table`.
EDIT_COLUMNS = "edit=number who when=at changes confirmed undoes"
FILE_FIGURES = (
    "labelled corrected confirmed unchanged marked_as_reviewed=reviewed "
    "without_an_answer_before=unanswered other_rows=unlabelled"
)


def correct_row(
    run: Run,
    row_name: str,
    change: Mapping[str, Any] | int | None,
    *,
    is_reviewed: bool | None,
    editor_name: str,
) -> Report:
    """Correct, review or only read the answer about a row; report its fields and its edits.

    A new value that is equal to the present value is stored as confirmed. If that changes nothing
    either, no edit is stored, and the report says so.

    Args:
        run: The run.
        row_name: Key or name of the row.
        change: New values by field, the number of an edit to undo, or None to change no value.
        is_reviewed: Record a review of the answer, remove it, or None to leave it.
        editor_name: Name of the editor.

    Raises:
        InputError: The row, a field, the edit or the new answer is invalid.
        AskrowsError: A rule of another program's table refuses the answer, or code of the task's
            file failed.
    """
    title = ""
    if is_reviewed is not None:
        corrections.record_or_remove_review(
            run.workspace,
            run.task,
            row_name,
            editor_name=editor_name,
            is_reviewed=is_reviewed,
        )
        title = f"{row_name}: {'reviewed' if is_reviewed else 'review removed'}"
    if change is None:
        figures = corrections.read_history(run.workspace.store, run.task, row_name)
    else:
        correction = corrections.Correction(
            change, editor_name, confirms_values=not isinstance(change, int)
        )
        figures = corrections.correct_answer_or_undo_edit(
            run.workspace, run.task, row_name, correction
        )
        title = f"{row_name}: edit {figures['edit']} stored"
        if figures["edit"] is None:
            title = f"{row_name}: nothing to change: the answer has these values already"

    report = Report(figures, title, [*format_nested_lines("answer", figures["answer"])])
    if figures["reviewed_at"] is not None:
        report.parts.append(format_members_as_line(figures, "reviewed_by reviewed_at"))
    if figures["edits"]:
        report.parts.append(_make_edit_table(figures["edits"], EDIT_COLUMNS))
    return report


def report_corrections(run: Run) -> Report:
    """Report all corrections of the task in use, row by row, undone ones included."""
    edits = corrections.list_task_edits(run.workspace.store, run.task)
    table = _make_edit_table(edits, f"row=name {EDIT_COLUMNS}")
    return Report(edits, parts=[table] if edits else ["no corrections"])


def _make_edit_table(edits: Sequence[Mapping[str, Any]], columns: str) -> Table:
    """Return a table of edits; an edit that changes no value confirms its values."""
    rows = [{**edit, "confirmed": () if edit["changes"] else edit["fields"]} for edit in edits]
    return make_table(rows, columns)


def correct_and_review_by_file(
    run: Run,
    path: Path,
    *,
    options: ReadOptions,
    editor_name: str,
    is_dry: bool,
) -> Report:
    """Correct answers by a file of right values; with `is_dry`, only check it.

    A right value that is equal to the present value confirms it. A warning says so if the file has
    the columns of an export.

    Raises:
        InputError: The file has faults; nothing was changed.
    """
    file_report = right_value_file.correct_and_review_by_file(
        run.workspace,
        run.task,
        path,
        options=options,
        editor_name=editor_name,
        is_dry=is_dry,
    )
    figures = asdict(file_report)
    report = Report(figures, format_members_as_phrase(figures, FILE_FIGURES) or "no label")
    columns = format_members_as_line(figures, "changed_values ignored_columns")
    if columns:
        report.parts.append(columns)
    report.notes += file_report.notes
    # All cells of an export are filled, so a person may not have looked at each.
    if file_report.is_export and file_report.confirmed:
        report.warnings.append(
            f"{path} has the columns of an export, so rows that nobody looked at may be confirmed; "
            "delete their lines from the file"
        )
    if is_dry:
        report.title = f"only checked: {report.title}"
    if is_dry and file_report.has_changes:
        # A checked file is stored next.
        report.next_step = run.task.nouns.command("correct", file=path)
    return report
