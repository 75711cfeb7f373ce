"""Remove rows everywhere in the workspace: row, answers, vectors, and lines of sealed files.

- A sealed file is a request or result file of a batch whose SHA-256 is in the database.
- The journal is a table of the database: it has an open erasure for each row whose `forget` is not
  complete.
- Every step can be repeated. After a killed run the same command continues, even if the row itself
  is already deleted.
- A sealed file is rewritten next to the old file. Its new hash is committed before the new file
  replaces the old file, and a run that died in between writes the same new file again.
- Not covered: users' own files, the table of a task that the workspace stores, backups, copies that
  the provider keeps for a time, and words about a person in other people's rows. The report lists
  these.
"""

import contextlib
import csv
from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime
from itertools import chain
from pathlib import Path

from askrows.pipeline.batch import ingest, prepare
from askrows.pipeline.batch.batch_files import BATCHES_FOLDER, end_live_batches_of_dead_processes
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core import files
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import AskrowsError, InconsistentError, InputError, RemoteError
from askrows.pipeline.core.report import Report, format_members_as_phrase
from askrows.pipeline.core.settings import BUILT_IN_TASKS
from askrows.pipeline.core.states import OPEN_STATES
from askrows.pipeline.core.text import join_first, restore_formula
from askrows.pipeline.index import build
from askrows.pipeline.index.builds import INDEX_LOCK, Builds, correct_link_and_open_builds
from askrows.pipeline.index.indexed_tasks import is_task_indexed, require_indexed_task
from askrows.pipeline.ops import clean
from askrows.pipeline.provider.requests import make_request_key
from askrows.pipeline.provider.result_file import read_line_key
from askrows.pipeline.provider.service import Service
from askrows.pipeline.quality import report as reports
from askrows.pipeline.rows.answer_views import EXPORT_COLUMNS, drop_views, has_export_columns
from askrows.pipeline.rows.columns import fold_name
from askrows.pipeline.rows.row_import import GONE_ROW_KIND
from askrows.pipeline.store import batches, erasure, journal, rows, workspace
from askrows.pipeline.store.batches import BatchRow
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.tasks import other_values
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

# Files of the local engine, in the workspace's folder.
LOCAL_ENGINE_FILES = (
    "local-engine.sqlite",
    "local-engine.sqlite-wal",
    "local-engine.sqlite-shm",
    "local-engine-files",
)
OUT_OF_REACH = (
    "your own files, exports and backups; files that {name} keeps for {age}; "
    "mentions of them in other rows"
)
# Figures of the report; see `make_table`.
DELETED_FIGURES = "lines sealed_files=files vectors refused_rows report_files=reports"
# Shorter names are not erased from reasons and notes, because they are part of too many texts.
MIN_ERASED_NAME_CHARACTERS = 4


def read_row_names_from_file(store: Store, task: Task, path: Path) -> list[str]:
    """Read the names of rows from a CSV file with a name column, or from a text file.

    If the first line has a cell that is a name column of the task, the cells below are returned. If
    the header also has `kind` and `reason`, the file is an import's report, and only the rows that
    it lists as gone from the imported file are returned. In any other file, or if the task's key
    has several columns, each line is a name. Names are stripped, and blank names are left out. In a
    report or an export of askrows, an apostrophe before a formula is removed. No name is looked up.

    Raises:
        InputError: The file is missing, cannot be read as UTF-8, or contains no name.
    """
    files.require_utf8_path(path)
    if missing_reason := files.unreadable_reason(path):
        raise InputError(
            f"{path} {missing_reason}; nothing was changed", hint=files.make_path_hint(path)
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"{path} cannot be read as a file of names: {error}; nothing was changed",
        ) from None

    reader = csv.DictReader(lines)
    columns = {fold_name(column): column for column in reader.fieldnames or ()}
    # A key of several columns has no column of names.
    key_names = task.key_columns if len(task.key_columns) == 1 else ()
    name_columns = [columns[name] for name in map(fold_name, key_names) if name in columns]
    if name_columns:
        is_report = {"kind", "reason"} <= columns.keys()
        lines = [
            row[name_columns[0]] or ""
            for row in reader
            if not is_report or row[columns["kind"]] == GONE_ROW_KIND
        ]
        with store.read() as tx:
            export_columns = (*EXPORT_COLUMNS, {task.make_grid(tx).state_name})
        if is_report or has_export_columns(columns.values(), export_columns):
            lines = list(map(restore_formula, lines))

    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise InputError(
            f"{path} contains no name; nothing was changed",
            hint="write one name per line, or a CSV file with a Username column",
        )
    return names


def forget_rows(run: Run, names: Sequence[str]) -> Report:
    """Delete named rows of the task in use and everything about them, after a confirmation.

    Afterwards no text of the rows is in the database, the batch files, the reports, the index or
    the cached vectors. There are two exceptions: a vector stays if another entry has the same text,
    and names shorter than MIN_ERASED_NAME_CHARACTERS stay in reasons and notes.

    The answers and attempts of the rows stay, without content. Data at the provider stay.
    Rebuilding the index may call the API. If the run is killed, the same command continues without
    a question. The report names the data that stay elsewhere, and counts the rows that still have
    values of other programs in the table of `write_to=`. The steps are:

    - Record in the journal that the rows are being forgotten, and park them, so that they are not
      asked.
    - End the live runs of killed processes; the files of trials are deleted.
    - If the backend is the local engine (which answers on this computer instead of a provider),
      delete its files. If any batch is open, delete only its files of batches that may have asked
      about the rows.
    - Delete files that killed processes left, and files of batches that the database does not have.
    - Rewrite the sealed files of all batches that may have asked about the rows, without their
      lines. If a row was an example in a prompt, the requests of that version lose all examples.
    - Delete the rows, erase their texts from all records, and delete rows of these names that an
      import refused.
    - Delete the quality reports of the task, because they contain rows as samples.
    - Rebuild the index if it may contain a row, and delete all other builds.
    - Delete cached vectors that no entry needs, compact the database, and close the journal
      entries.

    Args:
        names: The keys of the rows, or the usernames of people. Equal names count once.

    Raises:
        InputError: A name is unknown, a row is in a running batch, or the user did not confirm. The
            workspace is unchanged.
        InconsistentError: A sealed file was changed, or its name in the database does not fit its
            batch number.
        ConfigurationError: The database refuses to delete a row; nothing was changed.
        RemoteError: The API is needed and cannot be reached. Completed steps stay, and the next run
            continues.
    """
    names = list(dict.fromkeys(names))
    task = run.task
    dropped_lines = dict[str, int]()
    row_ids = _confirm_and_park_rows(run.workspace, task, names)
    # A killed trial claimed no row, so only its files show which rows it asked about.
    end_live_batches_of_dead_processes(run)

    with run.workspace.wait_for_lock(prepare.PREPARE_LOCK):
        with run.workspace.store.read() as tx:
            all_batches = batches.list_batches_in_states(tx)
            row_batches = _read_batches_that_may_have_rows(tx, task, row_ids)
        if all(batch.is_finished for batch in all_batches):
            delete_local_engine_files(run.workspace.data)
        elif run.workspace.backend == "local":
            for remote_name in (batch.remote_name for batch in row_batches if batch.remote_name):
                run.client.delete_file_or_batch(remote_name)
        for path in chain.from_iterable(
            clean.find_unrecorded_and_leftover_files(run.workspace.data, run.workspace.store)
        ):
            files.remove_path(path)
        for batch in row_batches:
            dropped_lines |= _delete_lines_about_rows(
                run.workspace.data, run.workspace.store, batch, row_ids
            )
        with run.workspace.wait_for_lock(INDEX_LOCK), run.workspace.store.write() as tx:
            erased_names = [name for name in names if len(name) >= MIN_ERASED_NAME_CHARACTERS]
            _erase_rows(tx, task, row_ids, names=erased_names, now=run.workspace.now())
            kept_values = other_values.count_kept_values(tx, task, row_ids)
            refused_rows = rows.delete_refused_rows_with_equal_cell(
                tx, task.name, [*names, *row_ids]
            )

    deleted_reports = reports.delete_all_report_files(run.workspace.data, task.name)
    build_number = (
        _rebuild_without_rows_and_delete_unused_builds(
            run.workspace, run.service, task, names, row_ids
        )
        if is_task_indexed(run.workspace, task)
        else None
    )
    deleted_vectors = _delete_index_data_and_compact_database(run.workspace, run.tasks)

    with run.workspace.store.write() as tx:
        for name in names:
            journal.anonymize_erasure_lines(tx, task.name, name)

    provider = run.workspace.provider
    out_of_reach = OUT_OF_REACH.format(name=provider.name, age=provider.file_age_text)
    stored_table = _find_rows_file_in_workspace(task, run.workspace.data)
    if stored_table is not None:
        out_of_reach = f"the row, if {stored_table} has it: delete it there; {out_of_reach}"
    figures = {
        "username": ", ".join(names),
        "usernames": names,
        "lines": sum(dropped_lines.values()),
        "files": list(dropped_lines),
        "vectors": deleted_vectors,
        "refused_rows": refused_rows,
        "reports": deleted_reports,
        "build": build_number,
        "kept_values": asdict(kept_values),
        "out_of_reach": out_of_reach,
    }
    deleted = format_members_as_phrase(figures, DELETED_FIGURES) or "no other data"
    report = Report(figures, f"{join_first(names)} forgotten, with {deleted}")
    if kept_values.rows:
        report.parts.append(kept_values.message)
    report.parts.append(f"Not deleted: {out_of_reach}")
    return report


def _find_rows_file_in_workspace(task: Task, workspace_folder: Path) -> Path | None:
    """Return the file with the task's rows if it is in the workspace's folder, else None."""
    path = Path(task.record.items)
    is_stored = path.is_relative_to(workspace_folder.resolve()) and path.is_file()
    return path if is_stored else None


def forget_task(run: Run) -> Report:
    """Delete the task in use with its rows, answers and files, after a confirmation.

    Its batches keep their counts and costs. Batch files, quality reports, views and the index of
    the task are deleted, and the database is compacted. The files of the local engine are deleted
    if no batch of any task is open. The task's file and its table are deleted if they are in the
    workspace's folder; files elsewhere, and tables of other programs, stay. After a kill the same
    command continues. Replies of killed runs are ingested before the confirmation.

    Raises:
        InputError: The task is part of askrows, a batch of it is open, or the user did not
            confirm. Nothing was deleted.
        AskrowsError: A reply of a killed run cannot be ingested.
    """
    task = run.task
    if task.subject in BUILT_IN_TASKS:
        raise InputError(
            f"{task.subject} is part of askrows and cannot be forgotten; nothing was changed",
            hint="name its rows",
        )
    record = task.record
    ingest.ingest_live_batches_of_dead_processes(run)
    run.workspace.store.query(_check_no_open_batch, task)
    run.workspace.confirm(
        f"Forget the task {task.subject} for good: rows, answers, corrections and files?"
    )

    with run.workspace.wait_for_lock(prepare.PREPARE_LOCK):
        with run.workspace.store.write() as tx:
            # Another process may have prepared a batch while the person was asked.
            _check_no_open_batch(tx, task)
            task_batches = batches.list_batches_in_states(tx, task=task.name)
            has_open_batches = bool(batches.list_batches_in_states(tx, *OPEN_STATES))
            for batch in task_batches:
                journal.record_files_cleaned(
                    tx, batch.number, reason="its task was forgotten", now=run.workspace.now()
                )
        batches_folder = run.workspace.data / BATCHES_FOLDER
        for batch in task_batches:
            for path in batches_folder.glob(f"{batch.number:06d}-*"):
                path.unlink()
        if not has_open_batches:
            delete_local_engine_files(run.workspace.data)
    reports.delete_all_report_files(run.workspace.data, task.name)

    with run.workspace.wait_for_lock(INDEX_LOCK), run.workspace.store.write() as tx:
        drop_views(tx, record)
        erasure.delete_task_but_keep_batches(tx, task.name, now=run.workspace.now())
    other_tasks = tuple(other_task for other_task in run.tasks if other_task is not task)
    _delete_index_data_and_compact_database(run.workspace, other_tasks)
    # Last, because the same command finds an unfinished task by its file.
    paths = [Path(record.path)]
    if not record.is_query:
        paths.insert(0, Path(record.items))
    data = run.workspace.data.resolve()
    for path in paths:
        if path.is_file() and path.resolve().is_relative_to(data):
            path.unlink()
    title = f"the task {task.subject} is forgotten; its costs stay"
    return Report({"task": task.subject}, title, next_step="")


def _check_no_open_batch(tx: Connection, task: Task) -> None:
    """Raise InputError if a batch of the task is not over."""
    open_batches = batches.list_batches_in_states(tx, *OPEN_STATES, task=task.name)
    if open_batches:
        number = open_batches[-1].number
        raise InputError(
            f"batch {number} of {task.subject} is not over; nothing was changed",
            hint=f"`{CommandHint('batch-cancel', batch=number)}` cancels it",
        )


def delete_local_engine_files(data: Path) -> None:
    """Delete the files of the local engine, which open batches need; `data` is the folder DATA."""
    for name in LOCAL_ENGINE_FILES:
        files.remove_path(data / name)


def _delete_index_data_and_compact_database(ws: OpenWorkspace, tasks: Sequence[Task]) -> int:
    """Delete index leftovers and unneeded vectors of any age, and compact the database.

    If the database has tables of another program, it is not compacted, and a warning is printed;
    the deleted rows were overwritten.

    Returns:
        The number of deleted vectors.
    """
    with ws.wait_for_lock(INDEX_LOCK):
        # A build that was never completed may have entries of the forgotten rows.
        for path in clean.find_index_leftovers(ws, tasks):
            files.remove_path(path)
    vector_count = clean.delete_or_count_unneeded_vectors(ws, tasks, before=None, dry=False)

    table_names = []
    with ws.store.read() as tx:
        for task in tasks:
            table_names += [table.name for table in task.list_tables(tx)]
    if not ws.store.vacuum_if_possible(extra_tables=table_names):
        ws.display.warn(
            "the database was not compacted, because it has tables of another program; "
            "the deleted rows were overwritten",
        )
    return vector_count


def _confirm_and_park_rows(ws: OpenWorkspace, task: Task, names: Sequence[str]) -> list[str]:
    """Check all rows, ask the user, then journal and park the rows to forget; return their ids.

    A journal entry says that a row is being forgotten; entry and parking are one transaction. If an
    earlier run already has entries for all names, the user is not asked again.

    Returns:
        The ids to forget: those of this run and those of earlier, unfinished runs for the same
        names.

    Raises:
        InputError: A name is unknown, a row is in a running batch, or the user did not confirm.
        InconsistentError: A sealed file was changed.
        ConfigurationError: The database refuses to delete a row.
    """
    with ws.store.read() as tx:
        row_ids = [row_id for row_id, _ in _find_rows_to_forget_or_raise(tx, task, names)]
        is_continuation = all(
            journal.list_ids_of_unfinished_erasures(tx, task.name, name) for name in names
        )
        _check_sealed_files_unchanged(ws.data, task, tx, row_ids)
    if not is_continuation:
        ws.confirm(
            f"Forget {join_first(names)} for good: row, answers, lines in sealed files, vectors, "
            "and older builds?",
        )

    with ws.store.write() as tx:
        # Another process may have changed the rows while the person was asked.
        named_rows = _find_rows_to_forget_or_raise(tx, task, names)
        for row_id, name in named_rows:
            # A trial deletion shows whether the database would refuse the real deletion later.
            savepoint = tx.begin_nested()
            task.delete_row(tx, row_id)
            savepoint.rollback()
            erasure.park_row_and_record_erasure(tx, task.name, row_id, name=name, now=ws.now())
    return list(dict.fromkeys(row_id for row_id, _ in named_rows))


def _find_rows_to_forget_or_raise(
    tx: Connection,
    task: Task,
    names: Sequence[str],
) -> list[tuple[str, str]]:
    """Return the id and the typed name of each row to forget; refuse unknown names and busy rows.

    A name is the row's key, or the user name of a person. A name has several rows if a killed
    `forget` has entries in the journal for others. A name without a row is accepted if it has
    such entries, or if claims, answers or attempts are stored under it, because another program
    deleted the row. In the second case the name is the id.

    Raises:
        InputError: A name is unknown, or a row is in a batch that is not over.
    """
    named_rows = []
    for name in names:
        row_ids = journal.list_ids_of_unfinished_erasures(tx, task.name, name)
        try:
            row_ids.append(task.require_row_id(tx, name))
        except InputError:
            if erasure.has_records_of_row(tx, task.name, name):
                row_ids.append(name)
            if not row_ids:
                raise
        named_rows += [(row_id, name) for row_id in row_ids]

    for row_id, name in named_rows:
        for number in erasure.list_batches_that_may_have_row(tx, task.name, row_id):
            batch = batches.get_batch(tx, number)
            if not batch.is_finished:
                raise InputError(
                    f"{name!r} is in batch {number}, which is {batch.state}; nothing was changed",
                    hint=f"`{CommandHint('status')}` shows how to finish it, "
                    f"`{CommandHint('batch-cancel', batch=number)}` cancels it",
                )
    return named_rows


def _read_batches_that_may_have_rows(
    tx: Connection,
    task: Task,
    row_ids: Sequence[str],
) -> list[BatchRow]:
    """Return all batches that may have asked about any of the rows, oldest first."""
    numbers = set[int]().union(
        *(erasure.list_batches_that_may_have_row(tx, task.name, row_id) for row_id in row_ids)
    )
    return [batch for batch in batches.list_batches_in_states(tx) if batch.number in numbers]


def _find_sealed_files(data: Path, batch: BatchRow) -> list[clean.SealedFile]:
    """Return the sealed files of a batch that exist, also those that a killed `clean` left.

    Raises:
        InconsistentError: The database has another file name for the batch than its number gives.
    """
    return [file for file in clean.list_sealed_files(data, batch) if file.path.is_file()]


def _make_changed_file_error(batch: BatchRow, file: clean.SealedFile) -> InconsistentError:
    """Return the error for a changed file, which may contain lines about the person."""
    return InconsistentError(
        f"{file.description} of batch {batch.number} was changed after sealing "
        f"and may contain the row: {file.path}; the file was not changed",
        hint=f"put it back or remove it, then run `{CommandHint('forget')}` again",
    )


def _check_sealed_files_unchanged(
    data: Path,
    task: Task,
    tx: Connection,
    row_ids: Sequence[str],
) -> None:
    """Raise InconsistentError if a sealed file that may have lines about the rows was changed.

    Reads the existing files of all batches that may have asked about the rows. The check is skipped
    while any `forget` of the workspace is unfinished, because it may have rewritten files.
    """
    # A killed run may have recorded a hash before its file; `_delete_lines_about_rows` checks those
    # files.
    if journal.list_ids_of_unfinished_erasures(tx):
        return

    for batch in _read_batches_that_may_have_rows(tx, task, row_ids):
        for file in _find_sealed_files(data, batch):
            if not file.is_sealed:
                raise _make_changed_file_error(batch, file)


def _delete_lines_about_rows(
    data: Path,
    store: Store,
    batch: BatchRow,
    row_ids: Collection[str],
) -> dict[str, int]:
    """Delete the lines about some rows from the sealed files of a batch; return their numbers.

    Files that do not exist are skipped. The new hashes are recorded in the database.

    Returns:
        The number of deleted lines of each rewritten file, by its path relative to DATA.

    Raises:
        InconsistentError: A file, or its record, was changed.
    """
    forgotten_keys = {make_request_key(batch.task, row_id) for row_id in row_ids}
    dropped_lines = {
        file.path.relative_to(data).as_posix(): _rewrite_without_forgotten_lines(
            store, batch, file, forgotten_keys
        )
        for file in _find_sealed_files(data, batch)
    }
    return {name: count for name, count in dropped_lines.items() if count}


def _rewrite_without_forgotten_lines(
    store: Store,
    batch: BatchRow,
    file: clean.SealedFile,
    forgotten_keys: Collection[str],
) -> int:
    """Rewrite a sealed file without the lines of some keys; return the number of deleted lines.

    Lines without a readable key are deleted too. If no line is deleted, the file stays as it is.
    The new hash is committed before the new file replaces the old file. If a killed run has
    committed the new hash already, only the file is replaced.

    Args:
        store: The database.
        batch: The batch of the file.
        file: The file, with its recorded hash.
        forgotten_keys: Request keys of the rows to forget.

    Raises:
        InconsistentError: The file, or its record, was changed.
    """
    current_sha256 = files.hash_file(file.path)
    draft_path = files.new_part_path(file.path)
    dropped_count = 0
    try:
        with files.SealedWriter(draft_path) as writer, file.path.open("rb") as sealed_lines:
            for line in sealed_lines:
                key = read_line_key(line)
                if key and key not in forgotten_keys:
                    writer.write(line)
                else:
                    dropped_count += 1
            draft = writer.seal()

        # A run that was killed before the rename has recorded the new file.
        if file.sha256 not in {current_sha256, draft.sha256}:
            raise _make_changed_file_error(batch, file)
        if dropped_count:
            if current_sha256 == file.sha256:
                with store.write() as tx:
                    is_recorded = erasure.record_resealed_file(
                        tx,
                        batch.number,
                        old_sha256=current_sha256,
                        sha256=draft.sha256,
                        size=draft.size,
                    )
                    if not is_recorded:
                        raise _make_changed_file_error(batch, file)
            files.rename_sealed(draft, file.path)
    finally:
        draft_path.unlink(missing_ok=True)
    return dropped_count


def _erase_rows(
    tx: Connection,
    task: Task,
    row_ids: Sequence[str],
    *,
    names: Sequence[str],
    now: datetime,
) -> None:
    """Delete rows and erase the records about them, in the caller's transaction.

    Answers and attempts stay as records of costs, without content and under another id. If the task
    copies its rows from a source, the journal keeps later imports from adding them again. A change
    of rows is recorded, so that the index is outdated. Ids without a row are accepted. The caller
    has parked the rows, so no batch has claimed them.

    Args:
        names: Names that are erased from all reasons and notes.

    Raises:
        ConfigurationError: The database refuses to delete a row.
    """
    has_source = bool(task.source_hint)
    for row_id in row_ids:
        task.delete_row(tx, row_id)
        erasure.erase_answers_and_texts_of_row(
            tx, task.name, row_id, texts_to_erase=names, has_askrows_number=not has_source
        )
        if has_source:
            journal.record_digest_of_erased_row(tx, task.name, row_id, now=now)

    # Recorded without ids, because no list may contain the ids of forgotten rows.
    workspace.record_row_change(tx, task.name)


def _rebuild_without_rows_and_delete_unused_builds(
    ws: OpenWorkspace,
    service: Service,
    task: Task,
    names: Sequence[str],
    row_ids: Collection[str],
) -> int | None:
    """Remove rows from the index: build it again if it may contain one of them.

    Waits for the index lock. All builds that are not in service are deleted. If the index may
    contain one of the rows and no entry remains, all builds are deleted, and none is built. If the
    index contains none of the rows, the build in service stays as it is.

    Returns:
        The number of the new build, or None if no build was necessary.

    Raises:
        RemoteError: The API is needed for the build and cannot be reached; no build was deleted.
    """
    builds = correct_link_and_open_builds(ws, task)
    entry_count = ws.store.query(require_indexed_task(ws, task).count_entries)
    may_contain_rows = _may_index_have_rows(builds, row_ids)
    build_number: int | None = None

    try:
        if may_contain_rows and entry_count:
            # The rows must leave the index, even if its quality is lower afterwards.
            build_number = build.build_index(ws, service, task, worse_ok=True).number
    except RemoteError as error:
        raise RemoteError(
            f"{join_first(names)} was deleted from the database and the sealed files, "
            f"but not yet from the index: {error.message}",
            hint="run the same command again; it continues",
            code=error.code,
        ) from error

    with ws.wait_for_lock(INDEX_LOCK):
        if may_contain_rows and not entry_count:
            builds.delete_all_builds_and_links()
        builds.delete_unused_builds(builds.list_unused_build_numbers())
    return build_number


def _may_index_have_rows(builds: Builds, row_ids: Collection[str]) -> bool:
    """Return whether the build in service has an entry of one of the rows, or cannot be read.

    Without a build it is False. An unreadable build may contain any row.
    """
    with contextlib.suppress(AskrowsError):
        if builds.read_current_manifest() is None:
            return False
        with builds.open_current() as index:
            return any(index.find_row_and_content_hash(row_id) is not None for row_id in row_ids)
    return True
