"""Stage, promote, roll back and delete the builds of a workspace, and open the build in service.

    DATA/index/builds/<n>.<x>.staging/  being written; never read
    DATA/index/builds/<n>/              verified
    DATA/index/current                  a symlink to builds/<n>, which every reader follows
    DATA/faiss.index, metadata.json     links through `current`, for other programs
    DATA/index/tasks/<name>/            the same for another indexed task, without such links

A build number is unique in the whole workspace, so the database's record of a build needs no other
key. The database decides which build is in service: the build that was promoted last. The link
`current` follows it, also after a process was killed between the two (`correct_link`).

A build is promoted when it is put in service. A leftover is a file or directory that a killed
process did not delete. A foreign file is a file of another program in the place of one of the links
in DATA.

- Readers need no lock. If a build is replaced while a reader opens it, the reader tries again.
- `current` always points at a whole, verified build, even after a kill: it is replaced by a rename,
  after all files of the new build are on disk.
- Callers that stage, promote, roll back or delete builds have taken the lock named INDEX_LOCK. The
  callback of a promotion and of `roll_back` checks that the lock was not lost, and commits the
  database record.
- Each staging directory has a unique name, so a process that lost the lock cannot write into the
  directory of another process.
"""

import contextlib
import os
import secrets
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select

from askrows.pipeline.core import files
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import AskrowsError, InconsistentError, InputError
from askrows.pipeline.core.ranking import Entry
from askrows.pipeline.index import manifest
from askrows.pipeline.index.build_reader import Index
from askrows.pipeline.index.indexed_tasks import require_indexed_task
from askrows.pipeline.index.manifest import Manifest, StagedBuild, hash_entry_content
from askrows.pipeline.store import schema, workspace
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_values import IndexedTask
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

BuildContent = TypeVar("BuildContent")
# Records in the database that a build is in service.
RecordPromotion = Callable[[Manifest], object]

# Name of the lock for changes of builds.
INDEX_LOCK = "index"
STAGING_SUFFIX = ".staging"
# Files of the default task's build that have a link in DATA.
LINKED_FILES = (manifest.INDEX_FILE, manifest.METADATA_FILE)
# Folder below DATA/index with a folder for each indexed task except the default task.
COLLECTIONS_FOLDER = "tasks"
# A reader fails if this many builds are promoted while it opens the index.
MAX_OPEN_TRIES = 10


def find_folders_of_unindexed_tasks(data_dir: Path, indexed_folders: Container[str]) -> list[Path]:
    """Return the build folders of tasks that are not indexed any more, sorted by name.

    Args:
        data_dir: The workspace's folder DATA.
        indexed_folders: `IndexedTask.folder` of all tasks that are still indexed.
    """
    existing_paths = sorted((data_dir / "index").glob(f"{COLLECTIONS_FOLDER}/*"))
    return [
        path
        for path in existing_paths
        if f"{COLLECTIONS_FOLDER}/{path.name}" not in indexed_folders
    ]


def correct_link_and_open_builds(workspace: OpenWorkspace, task: Task) -> "Builds":
    """Return the builds of the indexed task in use, after its link was set to the database's build.

    Waits for the index lock only if the link must change.

    Raises:
        InputError: The task is not indexed.
    """
    builds = Builds(workspace.data, require_indexed_task(workspace, task).folder)
    if builds.find_recorded_build_if_link_is_wrong(workspace.store) is not None:
        with workspace.wait_for_lock(INDEX_LOCK):
            builds.correct_link(workspace.store)
    return builds


class Builds:
    """The builds of an indexed task."""

    def __init__(self, data_dir: Path, folder: str = "") -> None:
        """Set the paths; nothing is read or created yet.

        Args:
            data_dir: The workspace's folder DATA.
            folder: Folder of the indexed task below DATA/index; empty for the default task.
        """
        self._data_dir = data_dir
        self._index_dir = data_dir / "index" / folder
        self._builds_dir = self._index_dir / "builds"
        self._current_link = self._index_dir / "current"
        self._linked_files = () if folder else LINKED_FILES

        self._index_step = CommandHint(
            "index",
            task=self._index_dir.name if folder else None,
        )
        self._rebuild_hint = (
            f"run `{self._index_step}` to build it again, "
            f"or `{CommandHint('doctor')}` to find the fault"
        )

    def read_current_manifest(self) -> Manifest | None:
        """Return the manifest of the build in service, or None before the first promotion.

        Raises:
            InconsistentError: The build in service is damaged.
        """
        return self._call_with_current_build(self._read_manifest)

    def open_current(self) -> Index:
        """Open the build in service; later promotions do not affect the opened build.

        Raises:
            InputError: There is no build yet.
            InconsistentError: The build in service is damaged.
        """
        index = self._call_with_current_build(self._open_build)
        if index is None:
            raise InputError(
                f"there is no index in {self._index_dir} yet",
                hint=f"run `{self._index_step}` to build an index",
            )
        return index

    def _open_build(self, directory: Path) -> Index:
        return Index(directory, self._read_manifest(directory))

    def read_manifests(self) -> dict[int, Manifest]:
        """Return the manifests of all readable builds by ascending number.

        File sizes are checked, hashes are not; see `list_damage_messages`.
        """
        manifests = dict[int, Manifest]()
        for number in sorted(self._list_build_numbers()):
            with contextlib.suppress(InconsistentError):
                manifests[number] = self._read_manifest(self._builds_dir / str(number))
        return manifests

    def choose_next_number(self) -> int:
        """Return a build number that is larger than all in this workspace, in any indexed task."""
        build_paths = (self._data_dir / "index").glob("**/builds/*")
        number_texts = (path.name.partition(".")[0] for path in build_paths)
        numbers = [int(text) for text in number_texts if text.isdecimal()]
        return max(numbers, default=0) + 1

    def list_unused_build_numbers(self) -> list[int]:
        """Return the ascending numbers of all builds that are not in service, damaged or not.

        Raises:
            InconsistentError: The link `current` is not a link to a build.
        """
        current_directory = self._find_linked_build_directory()
        numbers = sorted(self._list_build_numbers())
        if current_directory is None:
            return numbers
        return [number for number in numbers if str(number) != current_directory.name]

    def list_damage_messages(self, number: int) -> list[str]:
        """Read all files of a build and return error messages; an empty list if it is intact."""
        directory = self._builds_dir / str(number)
        try:
            build_manifest = manifest.read_manifest(directory)
            return list(manifest.iterate_changed_file_messages(directory, build_manifest))
        except InconsistentError as error:
            return [error.message]

    def find_leftovers(self) -> list[Path]:
        """Return staging directories and temporary links that killed processes may have left.

        The staging directory of a running process is among them.
        """
        folders = (self._index_dir, self._data_dir) if self._linked_files else (self._index_dir,)
        paths = sorted(self._builds_dir.glob(f"*{STAGING_SUFFIX}"))
        for folder in folders:
            paths += folder.glob(f"*{files.NEW_LINK_SUFFIX}")
        return paths

    def find_wrong_links(self) -> list[str]:
        """Return the file names in DATA that do not link to the build in service.

        Returns an empty list if no build is in service.
        """
        if self._find_linked_build_directory() is None:
            return []
        return [name for name in self._linked_files if not self._is_linked(name)]

    def _link_and_move_foreign_file_aside(self, name: str) -> str | None:
        """Make DATA/<name> a link through `current`, and move a foreign file out of the way.

        A link that is correct already stays as it is. Returns the new name of the foreign file, or
        None if nothing was moved.
        """
        if self._is_linked(name):
            return None
        moved_to = files.move_to_free_backup_name(self._data_dir / name)
        files.replace_link(
            self._data_dir / name,
            self._make_link_target(name),
        )
        return moved_to

    def delete_leftovers(self) -> None:
        """Delete the staging directories and temporary links that `find_leftovers` returns."""
        for path in self.find_leftovers():
            files.remove_path(path)

    @contextlib.contextmanager
    def open_staging_directory(self, number: int) -> Iterator[Path]:
        """Create a staging directory for a build, and delete it after the block.

        Deletes the leftovers of killed processes first. If the block puts its build into service
        the directory was moved away, and nothing is deleted after the block.

        Yields:
            The path of the new, empty directory.
        """
        self.delete_leftovers()
        random_part = secrets.token_hex(4)
        directory = self._builds_dir / f"{number}.{random_part}{STAGING_SUFFIX}"
        try:
            directory.mkdir(parents=True)
            yield directory
        finally:
            files.remove_path(directory)

    def promote_and_list_moved_files(
        self,
        staged: StagedBuild,
        *,
        record_promotion: RecordPromotion,
    ) -> tuple[str, ...]:
        """Put a verified build in service; it is on disk when this returns.

        Also makes the links to its files in DATA. All builds are deleted except this build and the
        previous build. If the previous build is missing or damaged, the newest other build with a
        readable manifest is kept in its place.

        Args:
            staged: The build, whose directory is renamed.
            record_promotion: Called after the rename and before readers see the build. An exception
                stops the promotion; the build in service stays.

        Returns:
            New names of files of other programs that were in the place of `faiss.index` or
            `metadata.json` in DATA, and were moved aside.

        Raises:
            InconsistentError: The build was not verified.
        """
        if not staged.is_verified:
            raise InconsistentError(
                f"build {staged.manifest.number} was not verified, so it was not promoted",
            )
        previous = self.read_current_manifest_if_intact()
        number = staged.manifest.number
        staged.directory.rename(self._builds_dir / str(number))
        files.sync_directory(self._builds_dir)
        moved_files = [self._link_and_move_foreign_file_aside(name) for name in self._linked_files]

        record_promotion(staged.manifest)
        self._link_current_build(number)

        previous_number = previous.number if previous else None
        older_numbers = [
            other_number for other_number in self.read_manifests() if other_number != number
        ]
        kept_numbers = {number}
        if previous_number in older_numbers:
            kept_numbers.add(previous_number)
        elif older_numbers:
            kept_numbers.add(max(older_numbers))
        # A build that is deleted in part is not a build any more, because a file is missing.
        for other_number in self._list_build_numbers() - kept_numbers:
            files.remove_path(self._builds_dir / str(other_number))
        return tuple(name for name in moved_files if name)

    def roll_back(self, *, record_promotion: RecordPromotion) -> Manifest:
        """Put the newest intact build that is older than the build in service back in service.

        If no build is in service, it is the newest intact build. Only the link `current` changes,
        on disk at return, and the data that `record_promotion` writes. No build is deleted. Builds
        are read in full first, and damaged builds are skipped.

        Args:
            record_promotion: Called before readers see the build; an exception stops the rollback.

        Returns:
            The manifest of the build that is now in service.

        Raises:
            InputError: There is no previous build.
            InconsistentError: All previous builds are damaged.
        """
        current_directory = self._find_linked_build_directory()
        older_numbers = list(self.read_manifests())
        if current_directory is not None:
            current_number = int(current_directory.name)
            older_numbers = [number for number in older_numbers if number < current_number]
        if not older_numbers:
            raise InputError(
                "there is no previous build to return to; nothing was changed",
                hint=f"run `{self._index_step}` to build an index",
            )

        intact_numbers = (
            number for number in reversed(older_numbers) if not self.list_damage_messages(number)
        )
        number = next(intact_numbers, None)
        if number is None:
            messages = self.list_damage_messages(older_numbers[-1])
            raise InconsistentError(
                f"{messages[0]}; the build in service was not changed",
                hint=f"run `{self._index_step}`",
            )

        build_manifest = self._read_manifest(self._builds_dir / str(number))
        record_promotion(build_manifest)
        self._link_current_build(number)
        return build_manifest

    def find_recorded_build_if_link_is_wrong(self, store: Store) -> int | None:
        """Return the number of the build that `current` should point at; None to change nothing.

        The link should point at the build that was put in service last by the records of the
        database, among those whose directories exist. If `current` is missing, a directory, or
        points elsewhere, the number of that build is returned. Reads only.

        The result is None if the link is correct, if there is no such build, or if the database has
        no record of the linked build. In the last case the database is an older copy.
        """
        with store.read() as tx:
            records = tx.execute(
                select(
                    schema.builds.c.number,
                    schema.builds.c.promoted_at,
                ),
            )
            promotion_times = {record[0]: record[1] for record in records}

        linked_number = None
        # `current` is not a link in a copy of the workspace that followed links.
        with contextlib.suppress(InconsistentError):
            directory = self._find_linked_build_directory()
            linked_number = None if directory is None else int(directory.name)
        if linked_number is not None and linked_number not in promotion_times:
            return None

        existing_numbers = self._list_build_numbers() & promotion_times.keys()
        last_number = max(
            existing_numbers,
            key=promotion_times.__getitem__,
            default=linked_number,
        )
        return None if last_number == linked_number else last_number

    def correct_link(self, store: Store) -> None:
        """Set the link `current` to the build that `find_recorded_build_if_link_is_wrong` returns.

        If it returns None, nothing is done. Otherwise links in DATA to the index files that are
        missing are made first. If a file of another program is in the place of such a link, it
        stays there until the next promotion moves it aside.
        """
        number = self.find_recorded_build_if_link_is_wrong(store)
        if number is None:
            return

        for name in self._linked_files:
            path = self._data_dir / name
            if not os.path.lexists(path):
                files.replace_link(path, self._make_link_target(name))
        self._link_current_build(number)

    def delete_unused_builds(self, numbers: Iterable[int]) -> None:
        """Delete builds by number; the build in service is not deleted."""
        for number in set(numbers).intersection(self.list_unused_build_numbers()):
            files.remove_path(self._builds_dir / str(number))

    def delete_all_builds_and_links(self) -> None:
        """Delete every build and all links; there is no index afterwards.

        Files of other programs in the places of the links stay.
        """
        # Builds are deleted first, because a build without a link would come back.
        for number in self._list_build_numbers():
            files.remove_path(self._builds_dir / str(number))
        for name in self._linked_files:
            if self._is_linked(name):
                files.remove_path(self._data_dir / name)
        files.remove_path(self._current_link)

    def _link_current_build(self, number: int) -> None:
        """Point `current` at a build by a rename."""
        if self._current_link.is_dir() and not self._current_link.is_symlink():
            # A copy that followed links has a directory here, which a rename cannot replace.
            files.move_to_free_backup_name(self._current_link)
        files.replace_link(
            self._current_link,
            Path(self._builds_dir.name) / str(number),
        )

    def _find_linked_build_directory(self) -> Path | None:
        """Return the directory that `current` points at, even if it is missing.

        Returns None if there is no `current`.

        Raises:
            InconsistentError: `current` is not a link, or does not point at a build.
        """
        try:
            target = self._current_link.readlink()
        except FileNotFoundError:
            return None
        except OSError:
            raise InconsistentError(
                f"{self._current_link} is not a link to a build",
                hint=self._rebuild_hint,
            ) from None
        if target.parent.name != self._builds_dir.name or not target.name.isdecimal():
            raise InconsistentError(
                f"{self._current_link} points at {str(target)!r}, which is not a build",
                hint=self._rebuild_hint,
            )
        return self._builds_dir / target.name

    def _call_with_current_build(self, read: Callable[[Path], BuildContent]) -> BuildContent | None:
        """Call `read` with the directory of the build in service, and return its result.

        Returns None if no build is in service. If `read` fails because another build was promoted
        meanwhile, it is called again with the new directory.

        Raises:
            InconsistentError: `read` found the build damaged, `current` is not a link to a build,
                or the build was replaced MAX_OPEN_TRIES times.
            FileNotFoundError: `read` did not find a file of the build.
        """
        for _ in range(MAX_OPEN_TRIES):
            directory = self._find_linked_build_directory()
            if directory is None:
                return None
            try:
                return read(directory)
            except (InconsistentError, FileNotFoundError):
                # The link is unchanged, so the build was not replaced: it is really damaged.
                if self._find_linked_build_directory() == directory:
                    raise
        raise InconsistentError(
            "the index was replaced each time it was opened; nothing was read",
            hint="run the same command again",
        )

    def _read_manifest(self, directory: Path) -> Manifest:
        """Return the manifest of a build.

        Raises:
            InconsistentError: The manifest or a file is missing, damaged or of another size, or the
                manifest has another number than the directory. The error has a hint.
        """
        try:
            build_manifest = manifest.read_manifest(directory)
        except InconsistentError as error:
            raise InconsistentError(
                f"the index in service is broken: {error.message}",
                hint=self._rebuild_hint,
            ) from None
        if str(build_manifest.number) != directory.name:
            raise InconsistentError(
                f"{directory} has the manifest of build {build_manifest.number}",
                hint=self._rebuild_hint,
            )
        return build_manifest

    def read_current_manifest_if_intact(self) -> Manifest | None:
        """Return the manifest of the build in service, or None if it is missing or damaged."""
        try:
            return self.read_current_manifest()
        except InconsistentError:
            return None

    def _list_build_numbers(self) -> set[int]:
        names = (path.name for path in self._builds_dir.glob("*"))
        return {int(name) for name in names if name.isdecimal()}

    def _make_link_target(self, name: str) -> Path:
        return Path("index") / self._current_link.name / name

    def _is_linked(self, name: str) -> bool:
        path = self._data_dir / name
        return path.is_symlink() and path.readlink() == self._make_link_target(name)


def count_stale_entries(
    indexed_task: IndexedTask,
    tx: Connection,
    index: Index | None,
    *,
    must_compare: bool = False,
) -> int:
    """Return how many entries are missing in a build, outdated, or deleted from the database.

    To save time, the result is 0 without a comparison if the rows cannot have changed as far as
    known. Entries are compared in each of these cases:

    - `must_compare` is set.
    - A command recorded a change of the task's rows since the build.
    - The database has no record of the build.
    - The fields that are searched for words are grouped in another way than in the build.

    An entry whose text the embedding model refused counts only if its text has changed since. Reads
    only.

    Args:
        indexed_task: The indexed task.
        tx: Snapshot of the database.
        index: The open build; without a build, all entries of the task are counted.
        must_compare: Always compare, to find changes by other programs.
    """
    if index is None:
        return indexed_task.count_entries(tx)
    build_number = index.manifest.number
    position = index.manifest.position
    # Another setting changes the entries, too.
    has_other_columns = index.ranking.groups != indexed_task.ranking.groups
    if not (must_compare or has_other_columns) and not workspace.has_changed_since_build(
        tx,
        indexed_task.task,
        build_number=build_number,
        position=position,
    ):
        return 0

    refused_hashes = {entry_id: text.content for entry_id, text in index.manifest.refused.items()}
    built_hashes = index.read_content_hashes() | refused_hashes
    outdated_count = 0
    for entry in indexed_task.read_entries(tx):
        if built_hashes.pop(entry.id, None) != hash_entry_content(entry):
            outdated_count += 1

    # The remaining entries are not in the database any more. Refused texts are not in the index.
    deleted_ids = built_hashes.keys() - refused_hashes.keys()
    return outdated_count + len(deleted_ids)


def make_index_state_document(
    data: Path,
    indexed_task: IndexedTask,
    row_id: str,
    entry: Entry | None,
) -> dict[str, Any]:
    """Return whether the build in service has a row, and its content now, as JSON members.

    - `indexed`: whether the row is an entry of the build. It is False for an untagged row (without
      an answer), although a search finds its words.
    - `up_to_date`: whether the row is indexed with its present content. It is False for every row
      that is not indexed.
    - `build`: the number of the build. If there is no build or the build is damaged, it is None,
      and the others are False.
    - `problem`: the error message; only for a damaged build.

    Args:
        data: The workspace's folder DATA.
        indexed_task: The indexed task of the row.
        row_id: The row.
        entry: Its entry as it would be indexed now, or None if it would not be indexed.
    """
    not_indexed = {"indexed": False, "up_to_date": False, "build": None}
    try:
        with Builds(data, indexed_task.folder).open_current() as index:
            indexed_entry = index.find_row_and_content_hash(row_id)
            if indexed_entry is not None and indexed_entry[0] >= len(index):
                # Untagged rows are found by words, but they are no entries.
                indexed_entry = None
            build_number = index.manifest.number
    except InputError:
        # There is no build yet.
        return not_indexed
    except AskrowsError as error:
        return {**not_indexed, "problem": error.message}

    is_up_to_date = False
    if entry is not None and indexed_entry is not None:
        _, indexed_hash = indexed_entry
        is_up_to_date = indexed_hash == hash_entry_content(entry)
    return {
        "indexed": indexed_entry is not None,
        "up_to_date": is_up_to_date,
        "build": build_number,
    }
