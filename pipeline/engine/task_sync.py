"""Sync the stored rows of a registered task with its file and its source."""

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.declaration import Declaration, ReadOptions
from pipeline.core.errors import (
    ConfigurationError,
)
from pipeline.core.progress import Progress
from pipeline.core.settings import Settings
from pipeline.core.text import plural
from pipeline.engine.declaration_changes import (
    hash_document,
    make_fingerprint_document,
    with_stored_parts,
)
from pipeline.engine.task_registry import make_record, make_recorded_task, register_declaration
from pipeline.engine.user_task import UserTask
from pipeline.store import workspace
from pipeline.store.database import Store
from pipeline.store.locks import Locks
from pipeline.store.workspace import TaskRecord
from pipeline.tables.row_findings import Finding, make_excerpt
from pipeline.tables.row_sync import InspectImages, RowSync, RowSyncReport
from pipeline.tables.source import (
    FileSource,
    QueryCursor,
    RowSource,
    open_source,
    resolve_items,
)

MAX_LISTED_REFUSED_ROWS = 3


def sync_task(
    store: Store,
    locks: Locks,
    task: UserTask,
    settings: Settings,
    *,
    accepts_changes: bool = False,
    reads_all_rows: bool = False,
    now: datetime,
    display: Progress,
) -> None:
    """Register changes of a task's file, and sync the stored rows with their source.

    Rows with images, and those of a query with `cursor=`, are always synced; other rows only if
    their source changed. Notes and a report of the sync are printed. So is the number of rows that
    changed after their answer, unless REFRESH=1 asks them again. `task` is not changed: read the
    task again afterwards.

    Args:
        locks: The workspace's locks between processes; the sync waits for that of the task's rows.
        accepts_changes: A changed declaration keeps its version.
        reads_all_rows: Read all rows of a query, not only those that are new by its cursor.

    Raises:
        InputError: The file or the source is invalid; stored rows stay as they were.
        ConfigurationError: The file declares another task now, conflicts with the stored record, or
            another process registered a different declaration meanwhile.
        QuestionChangedError: The declaration of a used version changed and is not accepted.
    """
    record = task.record
    path = Path(record.path)
    declaration = task.user_file.declaration
    if declaration.name != record.name:
        raise ConfigurationError(
            f"{path} declares task {declaration.name!r}, but it was registered as task "
            f"{record.name!r}; nothing was changed",
            hint=f"{OptionHint(task=path)} uses the task that the file declares now",
        )

    cursor = _make_cursor(declaration, record, now=now, reads_all_rows=reads_all_rows)
    source = open_source(store, declaration, path, cursor, stored_kinds=record.columns)
    is_same_source = (
        record.items == resolve_items(declaration, path) and record.items_sha256 == source.sha256
    )
    # The saved record keeps columns that the source no longer has.
    saved_record = register_declaration(
        store,
        declaration,
        path,
        source.columns,
        settings,
        accepts_changes=accepts_changes,
        recorded_at=now,
        display=display,
    )
    # Image files change without a change of the source.
    if declaration.images or not is_same_source or saved_record.items_sha256 is None:
        _sync_rows(
            store,
            locks,
            make_recorded_task(saved_record, settings, task.provider),
            source,
            synced_at=now,
            display=display,
        )
    elif isinstance(source, FileSource) and source.stamp != saved_record.items_stamp:
        # The file was written again with the same bytes.
        with store.write() as tx:
            workspace.update_task(tx, saved_record.name, items_stamp=source.stamp)

    with store.read() as tx:
        current_record = workspace.get_task(tx, saved_record.name) or saved_record
        current_task = make_recorded_task(current_record, settings, task.provider)
        if current_task.fingerprint != saved_record.fingerprint:
            raise ConfigurationError(
                f"another process used another version of {path} meanwhile; nothing was asked",
                hint="run the same command again",
            )
        # The count reads all rows.
        row_count = 0
        if not task.asked_rows.has_changed:
            table = current_task.make_row_table(tx)
            row_count = table.count_rows(tx, table.is_changed)
    if row_count:
        display.say(
            f"{saved_record.name}: {plural(row_count, 'row')} changed after the answer; "
            f"{OptionHint(refresh=True)} asks about them again",
        )


def preview_table_replacement(
    store: Store,
    task: UserTask,
    new_table: Path,
    *,
    now: datetime,
    display: Progress,
    on_refused: Callable[[Finding], None],
) -> RowSyncReport:
    """Return what a sync would do if a task's table were replaced by another; write nothing.

    Args:
        store: The database.
        task: The task, whose rows are in a file.
        new_table: The other table. It is read as the task's file says.
        now: The time of the preview.
        display: Shows the progress.
        on_refused: Called for each refused row.

    Raises:
        InputError: The table cannot be read, or lacks a column of the task.
    """
    declaration = task.user_file.declaration
    read_options = ReadOptions(declaration.sheet, declaration.encoding, declaration.header)
    source = FileSource(new_table, read_options, stored_kinds=task.record.columns)
    task_path = Path(task.record.path)
    declared_record = make_record(declaration, task_path, source.columns, recorded_at=now)
    record = with_stored_parts(declared_record, task.record)
    row_sync = RowSync(
        store, record, now, inspect_images=_find_image_inspection(task), on_refused=on_refused
    )
    return row_sync.preview(source, display)


def _find_image_inspection(task: UserTask) -> InspectImages | None:
    """Return the function that inspects the images of a row; None for a task without images."""
    if not task.sends_images:
        return None
    return task.row_images().inspect_row


def _make_cursor(
    declaration: Declaration,
    record: TaskRecord,
    *,
    now: datetime,
    reads_all_rows: bool,
) -> QueryCursor | None:
    """Return the cursor that selects new rows of a query, or None without a declared cursor.

    Args:
        reads_all_rows: Read all rows of the query.
    """
    if not declaration.cursor:
        return None
    # All rows are read again if one of these changed.
    query_id = hash_document(
        {
            "items": declaration.items,
            "source": declaration.source,
            "asked": make_fingerprint_document(declaration),
        },
    )
    return QueryCursor(
        declaration.cursor,
        record,
        query_id=query_id,
        now=now,
        must_read_all=reads_all_rows,
    )


def _sync_rows(
    store: Store,
    locks: Locks,
    task: UserTask,
    source: RowSource,
    *,
    synced_at: datetime,
    display: Progress,
) -> None:
    """Sync the stored rows of a task with its source, and print notes and the report.

    New rows are inserted, changed rows updated, and vanished rows marked as gone, all in one
    transaction. If the source gave only new rows, because of `cursor=`, no row is marked as gone.
    The images of the rows are read and checked. Waits for the lock of the task's rows.

    Raises:
        InputError: The source cannot be read to its end; nothing is written.
    """
    record = task.record
    for note in source.notes:
        display.say(f"{record.name}: {note}")

    with locks.wait_for_lock(f"items-{record.name}", announce=display.say, sleep=time.sleep):
        inspect_images = _find_image_inspection(task)
        report = RowSync(store, record, synced_at, inspect_images=inspect_images).run(
            source,
            display,
        )
        items_command = CommandHint("items", task=record.name, state="refused")
        print_sync_report(report, record, display, list_hint=f"`{items_command}` lists all")


def print_sync_report(
    report: RowSyncReport,
    record: TaskRecord,
    display: Progress,
    *,
    list_hint: str,
) -> None:
    """Print the counts of a sync, an example of an unusable row, and the first refused rows.

    The counts are a message; the rest are warnings. At most MAX_LISTED_REFUSED_ROWS refused rows
    are printed, then how many there are. Counts of 0 are not printed.

    Args:
        list_hint: Says where all refused rows are. It is printed if there are more.
    """
    if report.summary:
        display.say(f"{record.name}: {report.summary}")
    if report.unusable:
        row_key, reason = report.unusable_example
        items_command = CommandHint("items", task=record.name, state="unusable")
        display.warn(
            f"{plural(report.unusable, 'row')} of {record.name} cannot be asked about "
            f"({row_key}: {reason}); `{items_command}` lists each reason",
        )

    for finding in report.findings[:MAX_LISTED_REFUSED_ROWS]:
        display.warn(format_refused_row_message(finding, record))
    if report.refused > MAX_LISTED_REFUSED_ROWS:
        display.warn(f"{_source_name(record)}: {report.refused:,} rows are refused; {list_hint}")


def format_refused_row_message(finding: Finding, record: TaskRecord) -> str:
    """Return the message that a row is refused, with its line, column and the reason.

    No task can ask about a refused row, for example because it has no key.
    """
    location = f"{record.line_noun} {finding.line}"
    if finding.column:
        location += f", column {finding.column!r}"
    reason = finding.reason
    if finding.key:
        reason += f" ({make_excerpt(finding.key)})"
    return f"{_source_name(record)}, {location}: {reason}; the row is refused"


def _source_name(record: TaskRecord) -> str:
    return f"the query of {record.name}" if record.is_query else record.items
