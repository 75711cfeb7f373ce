"""Correct many rows by a file of labels, and list or undo edits of many rows.

A label is the right value of a field of a row. A file of labels is a table with a column of keys
and columns named like fields. Its changes are one edit of many rows, which is undone as a whole.
"""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from jobs.options import CommandReport
from jobs.output import Terminal, TextTable
from pipeline.core.command_hint import CommandHint
from pipeline.core.declaration import ReadOptions
from pipeline.core.text import join_first, plural
from pipeline.engine import bulk_edits, label_file
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task

# Columns without labels that a line names.
MAX_LISTED_COLUMNS = 8


def correct_by_file(
    ws: WorkspaceSession,
    path: Path,
    *,
    options: ReadOptions,
    editor_name: str,
    is_dry: bool,
) -> CommandReport:
    """Correct answers by a file of labels as a single edit; with `is_dry`, only check it.

    A label that is equal to the present value confirms it. The report has the counts and the next
    command. It warns if a file with the columns of an export confirms values, because its cells are
    all filled, and a person may not have looked at each.

    Raises:
        InputError: The file has faults; nothing was changed.
    """
    report = label_file.correct_by_file(
        ws.store,
        ws.task,
        ws.now,
        path,
        options=options,
        editor_name=editor_name,
        is_dry=is_dry,
    )
    output: list[Any] = [partial(Terminal().say, note) for note in report.notes]
    output += _count_lines(report, ws.task)

    # All cells of an export are filled, so a person may not have looked at each.
    if report.is_export and report.confirmed:
        message = (
            f"{path} has the columns of an export, so rows that nobody looked at may be confirmed; "
            "delete their lines from the file"
        )
        output.append(partial(Terminal().warn, message))

    next_command = None
    if report.is_dry and report.has_changes:
        # A checked file is stored next.
        next_command = ws.task.labels.command("correct", file=path)
    elif report.number is not None and ws.is_indexed:
        # The index has the answers from before.
        next_command = CommandHint("index", task=ws.task.subject)
    elif report.number is not None:
        next_command = ws.task.labels.command("eval")
    return CommandReport(asdict(report), output, hint=next_command)


def _count_lines(report: label_file.LabelFileReport, task: Task) -> list[str]:
    """Return the lines about a file of labels: corrected, confirmed, unchanged and marked rows.

    The parts add up to the labelled rows. A line before it names the ignored columns. Lines after
    it have the number of changed values of each field, the number of rows that had no answer, the
    number of rows without a changed value or a mark, and the number of the stored edit with the
    command that undoes it. Each of these other lines is left out if there is nothing to say.
    """
    lines = []
    if report.ignored_columns:
        names = join_first(report.ignored_columns, MAX_LISTED_COLUMNS)
        lines.append(f"columns that are no labels: {names}")

    rows = plural(report.labelled, f"labelled {task.labels.singular}")
    counts = (
        f"{report.corrected:,} corrected, {report.confirmed:,} confirmed, "
        f"{report.unchanged:,} unchanged"
    )
    with_values_count = report.corrected + report.confirmed + report.unchanged
    only_marked_count = report.labelled - with_values_count
    if report.reviewed:
        counts += f", {only_marked_count:,} only marked as reviewed"
    if report.reviewed > only_marked_count:
        counts += f"; {report.reviewed:,} are marked as reviewed in all"
    lines.append(f"{'would change: ' if report.is_dry else ''}{rows}: {counts}")

    if report.changed_values:
        fields = [f"{name} {count:,}" for name, count in report.changed_values.items()]
        lines.append(f"changed values: {', '.join(fields)}")
    if report.unanswered:
        lines.append(
            f"{report.unanswered:,} of them had no answer: the labels are their answers, and `tag` "
            f"does not ask them; `{task.labels.command('try', labelled=True)}` does"
        )
    if report.unlabelled:
        other_rows = plural(report.unlabelled, f"other {task.labels.singular}")
        lines.append(f"{other_rows} of the file: neither a changed value nor a mark")
    if report.number is not None:
        undo = task.labels.command("correct", undo=report.number)
        lines.append(f"edit {report.number} of many rows stored; `{undo}` undoes it")
    return lines


def undo_bulk_edit(ws: WorkspaceSession, number: int, *, editor_name: str) -> CommandReport:
    """Undo the edit of many rows with a number, and report the counts.

    A row that cannot be changed back, for example because a rule of the database refuses it, is
    counted as refused, and is in a table with the reason. Values that a later edit changed again
    stay. The edit is not undone in a row that keeps all values of the edit. Undoing an edit again
    is no error.

    Raises:
        InputError: There is no such edit, or the editor's name is invalid.
    """
    # Read before the edit is undone.
    undone_numbers = [
        edit.number for edit in bulk_edits.read_bulk_edits(ws.store, ws.task) if edit.is_undone
    ]
    with ws.display.bar("undo", None) as progress:
        report = bulk_edits.undo_bulk_edit(
            ws.store, ws.task, ws.now, number, editor_name=editor_name, progress=progress
        )

    reasons = []
    if report.changed_later:
        reasons.append(f"{report.changed_later:,} edited later")
    if report.unchanged > report.changed_later:
        reasons.append(f"{report.unchanged - report.changed_later:,} undone before")
    unchanged_rows = f"{report.unchanged:,} unchanged"
    if reasons:
        unchanged_rows += f" ({', '.join(reasons)})"
    outcome = "undone"
    # Rows that were undone before are unchanged, but not changed later.
    undone_rows = report.changed + report.unchanged - report.changed_later
    has_rows = report.unchanged + report.refused > 0
    if has_rows and not undone_rows and not report.unmarked:
        outcome = "not undone"
    message = (
        f"edit {number} of many rows {outcome}: {report.changed:,} changed back, "
        f"{unchanged_rows}, {report.refused:,} refused"
    )
    if report.unmarked:
        message += f"; {plural(report.unmarked, 'mark')} of review removed"
    if number in undone_numbers and not (report.changed or report.unmarked):
        message = f"edit {number} of many rows was undone before; nothing was changed"

    output: list[Any] = [message]
    if report.refusals:
        output.append(TextTable(("row", "reason"), report.refusals))
    return CommandReport(asdict(report), output)


def _describe_undo(kept_count: int, *, is_undone: bool) -> str:
    """Return whether an edit is undone, in all rows or except in `kept_count` rows."""
    if kept_count:
        return f"except {plural(kept_count, 'row')}"
    return "yes" if is_undone else ""


def list_bulk_edits(ws: WorkspaceSession) -> CommandReport:
    """Return a table of the task's edits of many rows.

    Its columns are number, editor, time, fields, number of changed rows, and whether the edit was
    undone. If there is no such edit, the output is a line that says how the edits of a single row
    are listed.
    """
    edits = bulk_edits.read_bulk_edits(ws.store, ws.task)
    documents = [edit._asdict() for edit in edits]
    if not edits:
        command = ws.task.labels.command("correct", item="KEY")
        return CommandReport(documents, f"no edit of many rows; `{command}` lists those of a row")
    rows = [
        (
            edit.number,
            edit.who,
            edit.at,
            edit.field,
            edit.changed_count,
            _describe_undo(edit.kept_count, is_undone=edit.is_undone),
        )
        for edit in edits
    ]
    return CommandReport(
        documents, TextTable(("edit", "who", "when", "fields", "rows", "undone"), rows)
    )
