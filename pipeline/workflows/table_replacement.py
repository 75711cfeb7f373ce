"""Replace the table of a task, which the workspace stores, by a newer file, and sync the rows.

The file is copied over the table as a whole. Then the rows are synced, as if a person had changed
the table: rows are new, changed or gone. After a kill between both steps, the next command that
reads the table syncs the rows.
"""

from pathlib import Path
from typing import ClassVar

from pipeline.core import files
from pipeline.core.declaration import ReadOptions
from pipeline.core.errors import InputError
from pipeline.engine import task_sync
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.engine.task_file import ROW_FILES_FOLDER
from pipeline.tables.row_import import ImportOptions, ImportReport


class TableReport(ImportReport):
    """Result of a newer table; of a dry run, the result that it would have."""

    FIELDS: ClassVar[tuple[str, ...]] = (
        "path",
        "dry",
        "added",
        "updated",
        "unchanged",
        "missing",
        "released",
        "notes",
    )
    NAMES: ClassVar[tuple[str, ...]] = ("line", "column", "reason", "value", "kind", "key")


def find_replacement_obstacle(task: Task, data: Path) -> str:
    """Return why the table of a task cannot be replaced; "" if it can.

    Only a table that the workspace stores can be replaced. Other files belong to their users.

    Args:
        task: The task.
        data: The workspace's folder.
    """
    if task.user_file is None:
        return f"{task.name} is no task of a user"
    if task.user_file.record.is_query:
        return "its rows come from a query"
    if Path(task.user_file.record.items).parent != data.resolve() / ROW_FILES_FOLDER:
        return "its table is not stored in the workspace"
    return ""


def replace_table(ws: WorkspaceSession, path: Path, options: ImportOptions) -> TableReport:
    """Replace the table of the session's task by a newer file, and sync the rows.

    The file is read as the task's file says. A dry run only reads it.

    Args:
        ws: The workspace, open for writing.
        path: The newer file.
        options: Only `dry` may be set.

    Returns:
        The number of rows that are new, changed, the same, gone and refused.

    Raises:
        InputError: The table cannot be replaced, the file has another format or lacks a column of
            the task, or it cannot be read; nothing was changed.
        ConfigurationError: The disk is full.
    """
    task = ws.task
    reason = find_replacement_obstacle(task, ws.data)
    if reason or task.user_file is None:
        raise InputError(f"the table of {task.name} cannot be replaced: {reason}")
    table = Path(task.user_file.record.items)
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
    preview = task_sync.preview_sync(
        ws.store,
        task,
        path,
        now=ws.now(),
        display=ws.display,
        on_refused=lambda finding: report.add_findings([finding], None),
    )
    report.added = preview.counts.new
    report.updated = preview.counts.changed
    report.unchanged = preview.counts.unchanged
    report.missing = preview.counts.missing
    # The sentence that the commands print about a table that changed.
    if preview.summary:
        report.notes.append(preview.summary)
    if not options.dry:
        files.seal_copy(path, table)
        ws.sync_rows()
    return report
