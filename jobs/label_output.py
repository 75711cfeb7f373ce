"""Correct many rows by a file of labels.

A label is the right value of a field of a row. A file of labels is a table with a column of keys
and columns named like fields.
"""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from jobs.options import CommandReport
from jobs.output import Terminal
from jobs.status_command import read_next_command
from pipeline.core.command_hint import CommandHint
from pipeline.core.declaration import ReadOptions
from pipeline.core.text import join_first, plural
from pipeline.engine import label_file
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
    """Correct answers by a file of labels; with `is_dry`, only check it.

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

    next_command: CommandHint | None = None
    if report.has_changes and report.is_dry:
        # A checked file is stored next.
        next_command = ws.task.labels.command("correct", file=path)
    elif report.has_changes:
        next_command = read_next_command(ws)
    return CommandReport(asdict(report), output, hint=next_command)


def _count_lines(report: label_file.LabelFileReport, task: Task) -> list[str]:
    """Return the lines about a file of labels: corrected, confirmed, unchanged and marked rows.

    The parts add up to the labelled rows. A line before it names the ignored columns. Lines after
    it have the number of changed values of each field, the number of rows that had no answer, and
    the number of rows without a changed value or a mark. Each of these other lines is left out if
    there is nothing to say.
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
    return lines
