"""The folder of a workspace: make and mark it, refuse links out of it, and protect its files."""

import contextlib
import errno
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import ConfigurationError, InputError
from askrows.pipeline.core.files import PRIVATE_MODE, check_and_resolve_file_target
from askrows.pipeline.core.settings import DOTENV, Settings
from askrows.pipeline.core.text import SURROGATES
from askrows.pipeline.store import workspace
from askrows.pipeline.store.database import Store

# Names that commands write below DATA. Links are checked there only; other files are the user's.
_WRITTEN_NAMES = re.compile(
    r"askrows\.db.*|workspace\.json.*|batches|index|locks|reports|sources|emulator|local-engine.*",
)
# Folders of the page's uploads and of task files. They do not show that there is a workspace, and a
# link in them is the user's: a command only adds files there.
_PAGE_FOLDERS = ("dropped", "tasks")
# The folder of DATA with files that no command reads again.
_REPORTS_FOLDER = "reports"
# The ends of the names of the files that SQLite puts next to a database.
_SQLITE_SUFFIX = re.compile("-(wal|shm|journal)$")


def create_data_folder(data: Path) -> None:
    """Create the workspace's directory if it is missing, readable only by its owner.

    Raises:
        ConfigurationError: It cannot be created.
    """
    with _translate_os_errors(data):
        data.mkdir(PRIVATE_MODE, parents=True, exist_ok=True)


def check_folder_exists(settings: Settings, store: Store) -> None:
    """Raise ConfigurationError if the folder of an existing workspace is missing."""
    if not settings.data.is_dir():
        raise ConfigurationError(
            f"the folder {settings.data} does not exist, but its database {store.display_name} "
            "does: its files are in another folder, or lost; nothing was made",
            hint=f"set {OptionHint('data')} to the folder that belongs to that database; "
            f"`mkdir {shlex.quote(str(settings.data))}` begins a new folder, without these files",
        )


def write_marker_if_wrong(settings: Settings, store: Store, workspace_id: str) -> None:
    """Write the folder's marker if it is missing or names another workspace."""
    marker = workspace.read_folder_marker(settings.data)
    if marker is None or marker.workspace_id != workspace_id:
        location = store.address
        if store.path is not None and not settings.database_url:
            location = store.path.name
        workspace.write_folder_marker(settings.data, workspace.FolderMarker(workspace_id, location))


def is_missing_or_empty(data: Path) -> bool:
    """Return whether a new workspace can begin in a folder: it is missing or empty."""
    return not data.exists() or (data.is_dir() and not any(data.iterdir()))


def lacks_workspace_files(data: Path) -> bool:
    """Return whether a folder is missing, or has no file or folder that commands write."""
    if not data.exists():
        return True
    if not data.is_dir():
        return False
    return not any(_WRITTEN_NAMES.fullmatch(path.name) for path in data.iterdir())


def check_no_link_leads_out(data: Path) -> None:
    """Check that the workspace's directory is no file, and that no link leads out of it.

    Otherwise a command would change files in other places. Only names that commands write are
    checked.

    Raises:
        ConfigurationError: There is a file in the place of the directory or of a parent, a link
            leads out, or the path of the directory is not valid UTF-8 or cannot be read.
    """
    with _translate_os_errors(data):
        if any(path.is_file() for path in (data, *data.parents)):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if SURROGATES.search(str(data.absolute())):
            raise ConfigurationError(
                f"{data} cannot be the workspace: {data.absolute()} is not valid UTF-8; "
                "nothing was changed",
                hint=f"set {OptionHint('data')} to a directory with a valid UTF-8 path",
            )
        root = Path(os.path.realpath(data))
        link = _find_outside_link(root)
    if link is not None:
        raise ConfigurationError(
            f"{data / link.relative_to(root)} is a link to {os.path.realpath(link)}, "
            "which is outside the workspace; nothing was changed",
            hint=f"put a real file or folder there, or set {OptionHint('data')} "
            "to the target of the link",
        )


def _find_outside_link(root: Path) -> Path | None:
    """Return the first link that leads out of a directory; None without such a link.

    Only names that commands write, and everything below them, are searched. The folders of uploads
    and of task files must not be such links, but nothing below them is searched.
    """
    for top_path in root.glob("*"):
        paths = [top_path]
        if _WRITTEN_NAMES.fullmatch(top_path.name):
            paths += top_path.rglob("*")
        elif top_path.name not in _PAGE_FOLDERS:
            continue
        for path in paths:
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
                return path
    return None


def check_and_resolve_target(
    path: Path,
    store: Store,
    data: Path,
) -> Path:
    """Return the real path of a file or folder to write, if the workspace does not depend on it.

    Links are followed, also hard links. Nothing is written.

    Args:
        path: The path that a user named.
        store: The database, which knows the files of all tasks.
        data: Folder of the workspace.

    Raises:
        InputError: The path is no regular file, is among the files and folders that commands write
            into the workspace (except reports), or is a file that the workspace needs.
    """
    target = check_and_resolve_file_target(path)
    for folder in target.parents:
        if not _is_same_path(folder, data):
            continue
        name = target.relative_to(folder).parts[0]
        is_workspace_file = name in _PAGE_FOLDERS or bool(_WRITTEN_NAMES.fullmatch(name))
        if is_workspace_file and name != _REPORTS_FOLDER:
            raise _make_needed_error(path, f"belongs to the workspace {data}")

    check_is_not_needed_by_workspace(path, store)
    return target


def check_is_not_needed_by_workspace(path: Path, store: Store) -> None:
    """Check that a path is not a file that the workspace needs, and not in a folder that it needs.

    Needed are `.env`, `tasks/*.py`, the database, SQLite's files next to it, and the task file, the
    rows and other needed files of each task. Links are followed, also hard links.

    Raises:
        InputError: The workspace needs the path.
    """
    needed_paths = [(Path(DOTENV), "has settings")]
    needed_paths += [(task_file, "is a task file") for task_file in Path("tasks").glob("*.py")]
    if store.path is not None:
        needed_paths.append((store.path, "is the database of the workspace"))
    for record in store.query(workspace.list_task_records):
        # A query in place of the file with the rows is no path of any file.
        needed_files = (record.path, record.items, *record.needed_files)
        needed_paths += [(Path(file), f"is needed by task {record.name}") for file in needed_files]

    target = check_and_resolve_file_target(path)
    database = target.with_name(_SQLITE_SUFFIX.sub("", target.name))
    for needed_path, reason in needed_paths:
        if any(_is_same_path(part, needed_path) for part in (target, database, *target.parents)):
            raise _make_needed_error(path, reason)


def _is_same_path(path: Path, other_path: Path) -> bool:
    """Return whether two paths lead to the same place, which need not exist."""
    try:
        return path.samefile(other_path)
    except OSError:
        return os.path.realpath(path) == os.path.realpath(other_path)


def _make_needed_error(path: Path, reason: str) -> InputError:
    """Return the error for a path that no command may replace."""
    return InputError(
        f"{path} {reason}; nothing was written",
        hint=f"choose another path, for example {path.stem}-answers{path.suffix}",
    )


@contextlib.contextmanager
def _translate_os_errors(data: Path) -> Iterator[None]:
    """Raise OSErrors of the block as ConfigurationErrors about the workspace's directory."""
    try:
        yield
    except OSError as error:
        reason = "it is a file" if data.is_file() else error.strerror
        raise ConfigurationError(
            f"{data} cannot be the workspace: {reason}; nothing was changed",
            hint=f"set {OptionHint('data')} to a writable directory",
        ) from error
