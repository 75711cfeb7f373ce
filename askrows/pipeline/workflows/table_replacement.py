"""Replace the table of a task, which the workspace stores, by a newer file, and sync the rows.

The file is copied over the table as a whole. Then the rows are synced, as if a person had changed
the table: rows are new, changed or gone. After a kill between both steps, the next command that
reads the table syncs the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from askrows.pipeline.batch.run import Run
from askrows.pipeline.core import files
from askrows.pipeline.core.declaration import ReadOptions
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.rows.row_import import ImportOptions, ImportReport
from askrows.pipeline.rows.stored_rows import parse_stored_values
from askrows.pipeline.run import preflight
from askrows.pipeline.store.answers import PERSON, filter_answered_ids
from askrows.pipeline.tasks import claiming, task_sync
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_file import ROW_FILES_FOLDER
from askrows.pipeline.tasks.task_values import AskedRows

# Changed and added rows of a dry run whose values are reported.
MAX_EXAMPLES = 20


@dataclass(repr=False)
class TableReport(ImportReport):
    """Result of a newer table; of a dry run, the result that it would have."""

    # Rows with a person's correction that changed; they are not asked.
    corrected: int = 0
    # Unchanged rows with other values in columns that are not asked about; they are not asked.
    unasked_changes: int = 0
    # Of a dry run: "changed, corrected", "changed", "added" or "gone", and the values, of the first
    # such rows.
    examples: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    # Of a dry run: the estimate of asking all rows that are new, changed or open.
    estimate: preflight.Preflight | None = None

    FIELDS: ClassVar[tuple[str, ...]] = (*ImportReport.FIELDS, "corrected", "unasked_changes")


def find_replacement_obstacle(task: Task, data: Path) -> str:
    """Return why the table of a task cannot be replaced; "" if it can.

    Only a table that the workspace stores can be replaced. Other files belong to their users.

    Args:
        task: The task.
        data: The workspace's folder.
    """
    if task.record.is_query:
        return "its rows come from a query"
    if Path(task.record.items).parent != data.resolve() / ROW_FILES_FOLDER:
        return "its table is not stored in the workspace"
    return ""


def replace_table(run: Run, path: Path, options: ImportOptions) -> TableReport:
    """Replace the table of the run's task by a newer file, and sync the rows.

    The file is read as the task's file says. The stored table is overwritten. Nothing is asked. A
    dry run writes nothing, and adds to the report at most MAX_EXAMPLES new or changed rows, the
    gone rows, the number of changed rows with corrections, and the estimate of asking.

    Args:
        run: The run, open for writing.
        path: The newer file.
        options: Only `dry` may be set.

    Returns:
        The number of rows that are new, changed, the same, gone and refused.

    Raises:
        InputError: The table cannot be replaced, the file has another format or lacks a column of
            the task, or it cannot be read; nothing was changed.
        ConfigurationError: The disk is full.
    """
    task = run.task
    reason = find_replacement_obstacle(task, run.workspace.data)
    if reason:
        raise InputError(f"the table of {task.name} cannot be replaced: {reason}")
    table = Path(task.record.items)
    if path.suffix.lower() != table.suffix.lower():
        raise InputError(
            f"{path.name} is not a {table.suffix} file as the table of {task.name}; "
            "nothing was changed",
            hint=f"save it as {table.suffix}, and drop it again",
        )
    if options.mapping or options.reading != ReadOptions():
        raise InputError(
            "the task's file says how its table is read; nothing was changed",
            hint="leave out encoding, header and names of columns",
        )

    report = TableReport(path.name, dry=options.dry)
    preview = task_sync.preview_table_replacement(
        run.workspace,
        run.task,
        path,
        on_refused=lambda finding: report.count_and_write_findings([finding], None),
    )
    report.added = preview.counts.new
    report.updated = preview.counts.changed
    report.unchanged = preview.counts.unchanged
    report.gone = preview.counts.gone
    report.unasked_changes = preview.counts.unasked_changes
    # The sentence that the commands print about a table that changed.
    if preview.summary:
        report.notes.append(preview.summary)
    if options.dry:
        changed_ids = [row_id for row_id, _, _ in preview.changed_rows]
        with run.workspace.store.read() as tx:
            corrected_ids = filter_answered_ids(tx, task.name, changed_ids, PERSON)
            known_ids = set(task.rows.read_names(tx, changed_ids))
        # Corrected rows come first, because a person must check their corrections.
        first_rows = sorted(preview.changed_rows, key=lambda row: row[0] not in corrected_ids)
        for row_id, _, values in first_rows[:MAX_EXAMPLES]:
            kind = "added"
            if row_id in corrected_ids:
                kind = "changed, corrected"
            elif row_id in known_ids:
                kind = "changed"
            report.examples.append((kind, parse_stored_values(values)))
        report.examples += [("gone", parse_stored_values(row)) for row in preview.gone_rows]
        report.corrected = len(corrected_ids)
        asked_rows = [row for row in preview.changed_rows if row[0] not in corrected_ids]
        report.estimate = _estimate_run(run, asked_rows)
    else:
        files.seal_copy(path, table)
        run.sync_task()
    return report


def _estimate_run(run: Run, changed_rows: Sequence[tuple[str, str, str]]) -> preflight.Preflight:
    """Return the estimate of asking the rows that are open or changed after a newer table.

    Args:
        run: The run, before the table is stored.
        changed_rows: Id, input hash and values as JSON of the new and changed rows to ask.
    """
    run = run.copy_with_asked_rows(AskedRows(has_changed=True))
    open_rows = dict[str, Any]()
    with run.workspace.store.read() as tx:
        for page in claiming.read_claimable_rows(tx, run.task, after_row_id=None):
            open_rows.update(page)
    task = task_sync.make_task_with_memory_rows(run.task, open_rows, changed_rows)
    return preflight.estimate_rows(replace(run, task=task), row_ids=task.memory_row_ids)
