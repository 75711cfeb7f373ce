"""Sync a task with its file and its source, and hold rows of a new source in memory.

A registered task's stored rows are synced with its file and its source. A task before its first
use, or before a newer table is stored, has rows in memory.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.declaration import Declaration
from askrows.pipeline.core.errors import ConfigurationError
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.text import plural
from askrows.pipeline.rows.cells import hash_text
from askrows.pipeline.rows.row_findings import Finding
from askrows.pipeline.rows.row_sync import (
    InspectImages,
    RowSync,
    RowSyncReport,
    format_refused_row_message,
    print_sync_report,
    sync_source_and_print_report,
)
from askrows.pipeline.rows.source import (
    FileSource,
    QueryCursor,
    RowSource,
    open_row_file,
    open_source,
    resolve_query_or_path,
)
from askrows.pipeline.rows.stored_rows import HASH_COLUMN, KEY_COLUMN, VALUES_COLUMN
from askrows.pipeline.store.rows import NO_HASH
from askrows.pipeline.store.workspace import TaskRecord, find_task_record, update_task_record
from askrows.pipeline.tasks.declaration_changes import (
    hash_document,
    make_fingerprint_document,
    merge_stored_into_declared_record,
)
from askrows.pipeline.tasks.derived_values import update_derived_values
from askrows.pipeline.tasks.other_values import (
    describe_unusable_values,
    has_other_changes,
    sync_values_of_other_programs,
)
from askrows.pipeline.tasks.row_images import make_row_images
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_registry import (
    check_columns_and_make_record,
    register_declaration_and_update_views,
)
from askrows.pipeline.workspace.open_workspace import OpenWorkspace


def sync_task(
    workspace: OpenWorkspace,
    task: Task,
    *,
    accepts_changes: bool = False,
    reads_all_rows: bool = False,
) -> None:
    """Register changes of a task's file, and sync the stored rows with their source.

    Rows with images, and those of a query with `cursor=`, are always synced; other rows only if
    their source or another program's values in `write_to=` changed. Notes and a report of the sync
    are printed. So are a warning about values that are no answers, and the number of rows that
    changed after their answer, unless REFRESH=1 asks them again. `task` is not changed: read the
    task again afterwards.

    Args:
        accepts_changes: A changed declaration keeps its version.
        reads_all_rows: Read all rows of a query, not only those that are new by its cursor.

    Raises:
        InputError: The file or the source is invalid; stored rows stay as they were.
        ConfigurationError: The file declares another task now or not the version of VERSION=,
            conflicts with the stored record, or another process registered a different declaration
            meanwhile.
        QuestionChangedError: The declaration of a used version changed and is not accepted.
    """
    record = task.record
    path = Path(record.path)
    declaration = task.declaration
    if declaration.name != record.name:
        raise ConfigurationError(
            f"{path} declares task {declaration.name!r}, but it was registered as task "
            f"{record.name!r}; nothing was changed",
            hint=f"{OptionHint(task=path)} uses the task that the file declares now",
        )

    now = workspace.now()
    cursor = _make_cursor(declaration, record, now=now, reads_all_rows=reads_all_rows)
    source = open_source(workspace.store, declaration, path, cursor, stored_kinds=record.columns)
    is_same_source = (
        record.items == resolve_query_or_path(declaration, path)
        and record.items_sha256 == source.sha256
    )
    declared_record = check_columns_and_make_record(
        declaration, path, source.columns, recorded_at=now
    )
    declared_version = declared_record.prompt_version
    wanted_version = workspace.settings.find_version_of_task(record.name, declared_version)
    if wanted_version not in {None, declared_version}:
        raise ConfigurationError(
            f"VERSION is {wanted_version!r}, but {path.name} declares {declared_version!r}; "
            "nothing was asked",
            hint=f"leave out {OptionHint('version')}; the file of the task sets its version",
        )
    # The saved record keeps columns that the source no longer has.
    saved_record = register_declaration_and_update_views(
        workspace.store,
        declaration,
        declared_record,
        workspace.settings,
        accepts_changes=accepts_changes,
        display=workspace.display,
    )
    saved_task = Task(saved_record, workspace.settings, task.provider)
    # Image files, and the table of `write_to=`, change without a change of the source.
    must_read = bool(declaration.images)
    if saved_record.write_to is not None:
        with workspace.store.read() as tx:
            must_read |= has_other_changes(tx, saved_task)
    if must_read or not is_same_source or saved_record.items_sha256 is None:
        row_sync = RowSync(
            workspace.store,
            saved_record,
            now,
            inspect_images=_find_image_inspection(saved_task),
            on_stored=partial(_complete_stored_rows, task=saved_task, now=now),
        )
        sync_source_and_print_report(row_sync, source, workspace.locks, workspace.display)
    elif isinstance(source, FileSource) and source.stamp != saved_record.items_stamp:
        # The file was written again with the same bytes.
        with workspace.store.write() as tx:
            update_task_record(tx, saved_record.name, items_stamp=source.stamp)

    with workspace.store.read() as tx:
        current_record = find_task_record(tx, saved_record.name) or saved_record
        current_task = Task(current_record, workspace.settings, task.provider)
        if current_task.fingerprint != saved_record.fingerprint:
            raise ConfigurationError(
                f"another process used another version of {path} meanwhile; nothing was asked",
                hint="run the same command again",
            )
        _report_unusable_and_changed_rows(
            tx, current_task, workspace.display, counts_changed=not task.asked_rows.has_changed
        )


def _report_unusable_and_changed_rows(
    tx: Connection, task: Task, display: Progress, *, counts_changed: bool
) -> None:
    """Print a warning about values that are no answers, and how many rows changed when answered.

    Args:
        counts_changed: Count the changed rows, which reads all rows.
    """
    if task.record.write_to is not None:
        unusable_values = describe_unusable_values(tx, task)
        if unusable_values:
            display.warn(f"{task.name}: {unusable_values}")
    if not counts_changed:
        return

    row_count = task.rows.count_rows(tx, task.rows.is_changed)
    if row_count:
        display.say(
            f"{task.name}: {plural(row_count, 'row')} changed after the answer; "
            f"{OptionHint(refresh=True)} asks about them again",
        )


def _complete_stored_rows(tx: Connection, *, task: Task, now: datetime) -> None:
    """Store what follows from rows that were just stored: other values, and derived values.

    Args:
        now: The time of new values of other programs.

    Raises:
        ConfigurationError: Code of the task's file failed.
        RefusedRowError: Another program's table refuses a derived value.
    """
    sync_values_of_other_programs(tx, task, now=now)
    update_derived_values(tx, task)


def preview_table_replacement(
    workspace: OpenWorkspace,
    task: Task,
    new_table: Path,
    *,
    on_refused: Callable[[Finding], None],
) -> RowSyncReport:
    """Return what a sync would do if a task's table were replaced by another; write nothing.

    Args:
        workspace: The open workspace.
        task: The task, whose rows are in a file.
        new_table: The other table. It is read as the task's file says.
        on_refused: Called for each refused row.

    Raises:
        InputError: The table cannot be read, or lacks a column of the task.
    """
    declaration = task.declaration
    source = open_row_file(declaration, new_table, stored_kinds=task.record.columns)
    task_path = Path(task.record.path)
    declared_record = check_columns_and_make_record(
        declaration, task_path, source.columns, recorded_at=workspace.now()
    )
    record = merge_stored_into_declared_record(declared_record, task.record)
    row_sync = RowSync(
        workspace.store,
        record,
        declared_record.at,
        inspect_images=_find_image_inspection(task),
        on_refused=on_refused,
    )
    return row_sync.preview_sync(source, workspace.display)


def _find_image_inspection(task: Task) -> InspectImages | None:
    """Return the function that inspects the images of a row; None for a task without images."""
    if not task.record.image_columns:
        return None
    return make_row_images(task.record, task.declaration).inspect_images_of_row


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
            "items": resolve_query_or_path(declaration, Path(record.path)),
            "source": declaration.source,
            "asked": make_fingerprint_document(declaration),
            "requires": list(declaration.requires),
        },
    )
    return QueryCursor(
        declaration.cursor,
        record,
        query_id=query_id,
        now=now,
        must_read_all=reads_all_rows,
    )


# ---- rows in memory


def make_task_with_memory_rows(
    task: Task,
    row_by_id: Mapping[str, Mapping[str, Any]],
    changed_rows: Sequence[tuple[str, str, str]],
) -> Task:
    """Return a user's task that has only the given rows, in memory.

    Args:
        task: The task.
        row_by_id: Stored rows.
        changed_rows: Id, input hash and values as JSON of rows that are not stored yet.
    """
    declaration = task.declaration
    memory_task = Task(task.record, task.settings, task.provider, declaration=declaration)
    new_rows = {row[0]: _unpack_new_row(memory_task, *row) for row in changed_rows}
    memory_task.memory_rows = {**row_by_id, **new_rows}
    return memory_task


def _unpack_new_row(
    task: Task, row_id: str, input_hash: str, values_json: str
) -> Mapping[str, Any]:
    """Return a row that is not stored, with its values by column."""
    return task.unpack_row(
        {KEY_COLUMN: row_id, HASH_COLUMN: input_hash, VALUES_COLUMN: values_json}
    )


def read_source_into_memory_task(
    workspace: OpenWorkspace,
    declaration: Declaration,
    path: Path,
    source: RowSource,
    *,
    max_rows: int,
    should_list_refused: bool,
) -> tuple[Task, RowSyncReport]:
    """Read a source to its end, and return a task about its first rows, which are in memory.

    Empty and refused rows are left out. A report about the source is printed. Nothing is written.
    Without a key, the id of a row is its number in the source.

    Args:
        workspace: The workspace, whose display gets the report; its database is only read.
        declaration: The declaration of the task.
        path: The task's file, or `<Python: name>`.
        source: The rows of the task's file or query.
        max_rows: Maximum number of rows in memory.
        should_list_refused: Print each refused row while reading; otherwise the first ones at the
            end.

    Returns:
        The task, and a report on all rows of the source, in which repeated rows are counted. The
        report also has the number of requests for all rows. It has no findings if
        `should_list_refused`, because they are printed already.

    Raises:
        InputError: The source cannot be read.
    """
    record = check_columns_and_make_record(
        declaration, path, source.columns, recorded_at=workspace.now()
    )
    task = Task(record, workspace.settings, declaration=declaration)
    memory_rows = dict[str, Mapping[str, Any]]()
    task.memory_rows = memory_rows

    def print_refused(finding: Finding) -> None:
        workspace.display.warn(format_refused_row_message(finding, record))

    sync = RowSync(
        workspace.store,
        record,
        record.at,
        on_refused=print_refused if should_list_refused else None,
    )
    # Hashes of the input hashes, which need a tenth of the memory.
    input_keys = set[int]()
    for row in sync.convert_rows(source):
        if row["input_hash"] == NO_HASH:
            continue
        if row["is_empty"]:
            sync.report.empty += 1
            continue
        # The hash of the asked columns does not cover images, which are not read here.
        input_hash = hash_text(row["row"]) if declaration.images else row["input_hash"]
        input_keys.add(hash(input_hash))
        row_id = row["row_id"]
        if declaration.has_made_key:
            row_id = str(sync.report.rows)
        if len(memory_rows) < max_rows:
            memory_rows[row_id] = _unpack_new_row(task, row_id, input_hash, row["row"])
    sync.report.requests = len(input_keys)

    list_hint = f"{OptionHint(refused=True)} lists all"
    # Refused rows that were printed must not be printed again.
    if should_list_refused:
        sync.report.findings.clear()
        list_hint = "all are above"
    print_sync_report(sync.report, record, workspace.display, list_hint=list_hint)
    return task, sync.report
