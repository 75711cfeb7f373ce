"""Delete files that are no longer needed: files of old batches, old builds, leftovers.

- A sealed file is a request or result file of a batch whose SHA-256 is in the database.
- A part file is an unfinished file that a process writes before it renames it.
- When the files of a batch are deleted, their hashes and sizes stay in the database.
- The removal of a batch's files is recorded before they are deleted, so no check reports them as
  missing. After a killed run the next run continues.
"""

import contextlib
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from askrows.pipeline.batch import prepare
from askrows.pipeline.batch.batch_files import (
    BATCHES_FOLDER,
    get_checked_request_path,
    get_checked_result_path,
    make_batch_lock_name,
    request_path,
    result_path,
)
from askrows.pipeline.core import files
from askrows.pipeline.core.report import Report, format_members_as_phrase
from askrows.pipeline.core.states import BatchState
from askrows.pipeline.index.builds import INDEX_LOCK, Builds, find_folders_of_unindexed_tasks
from askrows.pipeline.index.indexed_tasks import list_indexed_tasks
from askrows.pipeline.index.vector_cache import (
    VectorCache,
    open_vector_store,
    read_stored_widths_by_model,
)
from askrows.pipeline.index.vectors import QUERY_TASK_TYPE
from askrows.pipeline.index.write import load_meaningless_queries
from askrows.pipeline.quality import report as reports
from askrows.pipeline.store import batches, journal, runs
from askrows.pipeline.store.database import Store
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

# Names of batch files, and of part files without a process: number and kind.
BATCH_FILE_NAME = re.compile(r"(\d{6,})-(requests|results)\.(?:jsonl|jsonl\.part|asked|calls)")
# Figures of the report; see `make_table`.
REMOVED_FIGURES = (
    "files bytes=size builds report_files=reports leftovers=litter lock_files=locks "
    "unneeded_vectors=vectors"
)
AWAITED_STATES = frozenset({BatchState.SUBMITTED, BatchState.ASKING})


@dataclass
class CleanReport:
    """Files that `clean` deleted, or would delete if `dry`. The command prints it as JSON."""

    keep_days: float
    dry: bool
    # Numbers of the batches whose files were deleted, with the number and bytes of these files.
    batches: list[int] = field(default_factory=list)
    files: int = 0
    size: int = 0
    # Numbers of deleted builds.
    builds: list[int] = field(default_factory=list)
    # Names of deleted files of quality reports, and of leftover files.
    reports: list[str] = field(default_factory=list)
    litter: list[str] = field(default_factory=list)
    # Lock files of batches that are over.
    locks: int = 0
    # Vectors of texts that no row has.
    vectors: int = 0
    # Sealed files that stay because their bytes are not those that were sealed.
    changed: list[str] = field(default_factory=list)


def clean_workspace(ws: OpenWorkspace, tasks: Sequence[Task], *, dry: bool) -> Report:
    """Delete files that are older than KEEP_DAYS, and leftovers of killed processes; report them.

    - Of batches that are over: lock files, and request and result files. Before a request or result
      file is deleted, the removal is recorded in the database. If such a file was changed, all
      request and result files of its batch stay, with a warning.
    - Quality reports, except those of pilots, and except the newest report of each task that has a
      JSON file.
    - Builds that are not in service. A damaged build is deleted at any age.
    - Cached vectors of texts that no index entry has, if there is an index folder.
    - Leftovers of any age: part files, batch files without a record, files of killed builds, and
      index folders of tasks that are no longer indexed.

    Args:
        ws: The workspace.
        tasks: All tasks of the workspace.
        dry: Delete nothing and take no lock; the report names what would be deleted.

    Raises:
        InconsistentError: The file name of an old batch in the database does not fit its number;
            nothing was deleted.
    """
    report = CleanReport(ws.settings.keep_days, dry)
    cutoff = ws.now() - timedelta(days=ws.settings.keep_days)

    with contextlib.ExitStack() as locks:
        if not dry:
            # Files of a batch or a build that is being written are not in the database yet.
            locks.enter_context(ws.wait_for_lock(prepare.PREPARE_LOCK))
            locks.enter_context(ws.wait_for_lock(INDEX_LOCK))
        _delete_old_batch_files(ws, cutoff, report)
        _, leftovers = find_unrecorded_and_leftover_files(ws.data, ws.store)
        leftovers += find_index_leftovers(ws, tasks)
        pilots = ws.store.query(runs.list_pilots)
        pilot_reports = {Path(pilot.report).stem for pilot in pilots if pilot.report is not None}
        old_reports = []
        for task in tasks:
            old_reports += reports.find_old_reports(
                ws.data, task.name, cutoff, kept_names=pilot_reports
            )
        report.litter = [path.name for path in leftovers]
        report.reports = [path.name for path in old_reports]
        if not dry:
            for path in (*leftovers, *old_reports):
                files.remove_path(path)
        _delete_old_unused_builds(ws, tasks, cutoff, report)
        if (ws.data / "index").is_dir():
            report.vectors = delete_or_count_unneeded_vectors(ws, tasks, before=cutoff, dry=dry)

    figures = asdict(report)
    removed = format_members_as_phrase(figures, REMOVED_FIGURES)
    if not removed:
        removed = f"nothing; no unneeded file is older than {report.keep_days:g} days"
    verb = "would remove" if dry else "removed"
    return Report(figures, f"{verb} {removed}")


def _delete_old_batch_files(
    ws: OpenWorkspace,
    cutoff: datetime,
    report: CleanReport,
) -> None:
    """Delete the files of batches that ended before `cutoff`; if `report.dry`, only report them.

    Lock files that no process uses are deleted first, without a record. Then the removal of a
    batch's sealed files is recorded, even if they are missing, and they are deleted. If a sealed
    file was changed, a warning is printed, and all sealed files of its batch stay.

    Raises:
        InconsistentError: The database has another file name for a batch than its number gives. All
            files are still there.
    """
    with ws.store.read() as tx:
        all_batches = batches.list_batches_in_states(tx)
        cleaned_batches = journal.read_cleaned_batches(tx)

    # All names are checked before the first file is removed.
    files_by_number = {
        batch.number: list_sealed_files(ws.data, batch)
        for batch in all_batches
        if batch.is_finished and (batch.ended_at or batch.created_at) < cutoff
    }
    # A dry run also counts the files of used locks.
    batch_locks = set(map(make_batch_lock_name, files_by_number))
    for name in batch_locks & ws.locks.list_names_with_file():
        report.locks += report.dry or ws.locks.delete_lock_file_if_free(name)
    for number, sealed_files in files_by_number.items():
        existing_files = [file for file in sealed_files if file.path.is_file()]
        changed_names = [file.path.name for file in existing_files if not file.is_sealed]
        report.changed += changed_names
        if changed_names:
            ws.display.warn(
                f"{', '.join(changed_names)}: changed after sealing; "
                f"no sealed file of batch {number} was removed",
            )
            continue
        # Lost files are recorded as removed, too.
        if number in cleaned_batches and not existing_files:
            continue

        report.batches.append(number)
        report.files += len(existing_files)
        report.size += sum(file.path.stat().st_size for file in existing_files)
        if report.dry:
            continue

        # If a killed run recorded the removal, the remaining files are deleted.
        if number not in cleaned_batches:
            reason = f"older than {report.keep_days:g} days"
            with ws.store.write() as tx:
                journal.record_files_cleaned(tx, number, reason=reason, now=ws.now())
        for file in existing_files:
            file.path.unlink(missing_ok=True)


class SealedFile(NamedTuple):
    """A sealed file of a batch as the database records it."""

    path: Path
    sha256: str
    # The noun for messages.
    description: str

    @property
    def is_sealed(self) -> bool:
        """Return whether the file has the recorded bytes."""
        return files.is_sealed(self.path, self.sha256)


def list_sealed_files(
    data: Path,
    batch: batches.BatchRow,
    cleaned_batches: Collection[int] = (),
) -> list[SealedFile]:
    """Return the sealed files of a batch: its request and result file.

    Files without a recorded hash are left out. The returned files may be missing on disk.

    Args:
        cleaned_batches: Batches whose files `clean` deleted; the result is empty for them.

    Raises:
        InconsistentError: The file name of the batch in the database does not fit its number.
    """
    if batch.number in cleaned_batches:
        return []
    request = get_checked_request_path(data, batch)
    result = get_checked_result_path(data, batch)
    batch_files = [
        SealedFile(request, batch.request_sha256, "its request file"),
        SealedFile(result, batch.result_sha256 or "", "its result"),
    ]
    return [file for file in batch_files if file.sha256]


def find_index_leftovers(ws: OpenWorkspace, tasks: Sequence[Task]) -> list[Path]:
    """Return what killed builds left, and index folders of tasks that are no longer indexed.

    While another process has INDEX_LOCK, the staging folder of its build is among them.
    """
    folders = [indexed_task.folder for indexed_task in list_indexed_tasks(ws, tasks)]
    leftovers = find_folders_of_unindexed_tasks(ws.data, folders)
    for folder in folders:
        leftovers += Builds(ws.data, folder).find_leftovers()
    return leftovers


def _delete_old_unused_builds(
    ws: OpenWorkspace,
    tasks: Sequence[Task],
    cutoff: datetime,
    report: CleanReport,
) -> None:
    """Delete builds that are not in service, if they have no manifest or are older than `cutoff`.

    The numbers of these builds are added to the report. The build that a rollback of the index
    would return to is deleted, too. If `report.dry`, nothing is deleted.
    """
    for indexed_task in list_indexed_tasks(ws, tasks):
        builds = Builds(ws.data, indexed_task.folder)
        manifests = builds.read_manifests()
        old_numbers = [
            number
            for number in builds.list_unused_build_numbers()
            if number not in manifests or manifests[number].built_at < cutoff
        ]
        report.builds += old_numbers
        if not report.dry:
            builds.delete_unused_builds(old_numbers)


def delete_or_count_unneeded_vectors(
    ws: OpenWorkspace,
    tasks: Sequence[Task],
    *,
    before: datetime | None,
    dry: bool,
) -> int:
    """Delete cached vectors, of all models, whose text is no longer needed; return how many.

    A text is needed if an index entry or a meaningless query has it.

    Args:
        tasks: All tasks of the workspace.
        before: Keep vectors that were stored since this time, because their rows may have been
            added after the entries were read. With None, vectors of any age are deleted.
        dry: Only count them.

    Returns:
        The number of unneeded vectors, deleted or with `dry` only counted.
    """
    count = 0
    queries = load_meaningless_queries()
    store = open_vector_store(ws.store, ws.data)
    for model, widths in read_stored_widths_by_model(store).items():
        needed_keys = set[bytes]()
        for width in widths:
            cache = VectorCache(store, model=model, dim=width)
            with ws.store.read() as tx:
                for indexed_task in list_indexed_tasks(ws, tasks):
                    texts = (entry.text for entry in indexed_task.read_entries(tx))
                    needed_keys.update(cache.make_keys(texts))
            needed_keys.update(cache.make_keys(queries, task_type=QUERY_TASK_TYPE))

        cache = VectorCache(store, model=model, dim=ws.settings.dim)
        unneeded_keys = cache.list_other_keys(needed_keys, stored_before=before)
        count += len(unneeded_keys) if dry else cache.delete_vectors(unneeded_keys)
    return count


def find_unrecorded_and_leftover_files(data: Path, store: Store) -> tuple[list[Path], list[Path]]:
    """Return (files of batches that the database does not have, leftover files).

    A batch is unknown if it has a result file, but no record in the database. A result file proves
    that its batch was sent, so the database is probably an older copy. Leftovers are part files of
    killed processes, in DATA and all folders below, and all other batch files without a record,
    such as a request file alone. Files that a running process may be writing are neither.
    """
    folder = data / BATCHES_FOLDER
    names = sorted(path.name for path in folder.glob("*"))
    matches = list(filter(None, map(BATCH_FILE_NAME.fullmatch, names)))

    # Read after the folder: the batch of every listed file was recorded before its file appeared.
    all_batches = store.query(batches.list_batches_in_states)
    # Paths are built from numbers. If a stored name was changed, its file is still not a leftover.
    sealed_paths = {request_path(data, batch.number) for batch in all_batches}
    sealed_paths |= {
        result_path(data, batch.number) for batch in all_batches if batch.result_sha256
    }
    # Running processes write the results of these batches.
    awaited_numbers = {batch.number for batch in all_batches if batch.state in AWAITED_STATES}
    sent_numbers = {
        int(match[1])
        for match in matches
        if match[2] == "results" and not match.string.endswith(files.PART_SUFFIX)
    }
    unrecorded_numbers = sent_numbers - {batch.number for batch in all_batches}

    unrecorded_files = []
    leftovers = sorted(filter(files.is_abandoned, data.rglob(f"*{files.PART_SUFFIX}")))
    for match in matches:
        path = folder / match.string
        number = int(match[1])
        is_awaited = match[2] == "results" and number in awaited_numbers
        if number in unrecorded_numbers:
            unrecorded_files.append(path)
        elif path not in sealed_paths and not is_awaited:
            leftovers.append(path)
    return unrecorded_files, leftovers
