"""The open workspace of a command, the consent of a person to change it, and its folder.

- `OpenWorkspace` has settings, store, locks, clock, and the person who may agree.
- `Access` is what a command needs. `confirm_additions` asks before another program's database is
  changed.
- The folder is made and marked here, links out of it are refused, and its files are protected.

The needs of a task are no part of it: `ops.open_task` opens a workspace together with a task.
"""

import contextlib
import errno
import os
import re
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.errors import ConfigurationError, InputError
from askrows.pipeline.core.files import PRIVATE_MODE, check_and_resolve_file_target
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.settings import DOTENV, Settings
from askrows.pipeline.core.text import SURROGATES, join_first
from askrows.pipeline.provider.models import load_models
from askrows.pipeline.provider.providers import Provider, find_provider
from askrows.pipeline.provider.service import (
    check_model_fits_backend,
    choose_backend_by_model_or_keys,
    describe_address,
)
from askrows.pipeline.store import journal, schema, workspace
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.store.locks import Lock, Locks

# Table names in a message.
MAX_LISTED_TABLES = 5
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


def answer_no(_question: str) -> bool:
    """Return the answer of a person who is not there."""
    return False


def answer_yes(_question: str) -> bool:
    """Return the answer of a person who agreed before the question."""
    return True


def _read_utc_clock() -> datetime:
    """Return the time of this machine."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class OpenWorkspace:
    """An open workspace: a user's folder and database, and the tools of a command for them."""

    settings: Settings
    store: Store
    locks: Locks
    # See the setting BACKEND.
    backend: str
    display: Progress
    # The address of the backend, and that to which the workspace is bound; None if it is not bound.
    address: str = ""
    bound_address: str | None = None
    # Asks a person a question; returns the answer.
    ask_person_and_exit_on_no: Callable[[str], bool] = answer_no
    now: Callable[[], datetime] = _read_utc_clock
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic

    @property
    def data(self) -> Path:
        """Return the folder of the workspace."""
        return self.settings.data

    @property
    def provider(self) -> Provider:
        """Return the provider that answers, with its name, limits and abilities."""
        return find_provider(self.backend)

    @property
    def has_placeholder_answers(self) -> bool:
        """Return whether the local engine answers, so that all answers are placeholders."""
        return self.backend == "local"

    def is_bound(self) -> bool:
        """Return whether rows were uploaded before, so that the backend is settled."""
        return self.store.query(workspace.read_workspace).backend is not None

    def bind_backend(self, tx: Connection) -> None:
        """Bind the workspace to its backend and address, in the caller's transaction."""
        workspace.bind_workspace_or_check_backend(tx, self.backend, self.address, now=self.now())

    def confirm(
        self,
        question: str,
        *,
        unchanged_text: str = "nothing was changed",
        hint_suffix: str = "",
    ) -> None:
        """Ask a person for confirmation.

        Args:
            unchanged_text: Text of the error that nothing was changed.
            hint_suffix: Text after the hint of the error.

        Raises:
            InputError: The person did not confirm.
        """
        if not self.ask_person_and_exit_on_no(question):
            raise InputError(
                f"not confirmed; {unchanged_text}",
                hint=f"{OptionHint(yes=True)} confirms{hint_suffix}",
            )

    def wait_for_lock(self, name: str) -> contextlib.AbstractContextManager[Lock]:
        """Lock a name for a block; wait for another process that locked it, and print who it is."""
        return self.locks.wait_for_lock(name, announce=self.display.say, sleep=self.sleep)


def check_backend_and_open_workspace(
    tx: Connection,
    settings: Settings,
    store: Store,
    display: Progress,
    *,
    confirm: Callable[[str], bool],
) -> OpenWorkspace:
    """Return the workspace of a database, with the settings of its backend; write nothing.

    Args:
        confirm: Asks a person a question; returns the answer.

    Raises:
        ConfigurationError: The workspace is bound to another backend than the settings name, or the
            user set MODEL to a model of another provider.
    """
    workspace_row = workspace.read_workspace(tx)
    _check_bound_backend(settings, workspace_row.backend)
    backend = workspace_row.backend or choose_backend_by_model_or_keys(settings)
    if "model" in settings.sources:
        _check_named_model(settings, backend)
    return OpenWorkspace(
        settings=settings.copy_with_backend_defaults(
            backend, lag_s=journal.compute_list_delay_s(tx)
        ),
        store=store,
        locks=Locks(store, settings.data / "locks", workspace_row.workspace_id),
        backend=backend,
        address=describe_address(settings, backend),
        bound_address=workspace_row.address,
        display=display,
        ask_person_and_exit_on_no=confirm,
        now=store.make_clock(tx),
    )


def _check_named_model(settings: Settings, backend: str) -> None:
    """Check that the setting MODEL names no model of another provider; unknown names pass.

    The local engine imitates Gemini's models.

    Raises:
        ConfigurationError: It is a model of another provider.
    """
    model = load_models(settings.models_file).get(settings.model.removeprefix("models/"))
    if model is not None:
        check_model_fits_backend(model, backend)


def _check_bound_backend(settings: Settings, bound_backend: str | None) -> None:
    """Check that the settings name the backend that a workspace is bound to, or none.

    Args:
        bound_backend: The backend whose answers the workspace stores; None before the first upload.

    Raises:
        ConfigurationError: They name another backend.
    """
    if bound_backend is None or settings.backend in {None, bound_backend}:
        return

    rollback_hint = ""
    if bound_backend == "local":
        rollback_hint = (
            ", or roll back all answers of the local engine: "
            f"`{CommandHint('versions')}` lists them"
        )
    requested_backend = OptionHint(backend=settings.backend)
    raise ConfigurationError(
        f"this workspace is bound to the {bound_backend} backend, "
        f"but {requested_backend} is set; nothing was changed",
        hint=f"set {OptionHint('data')} to another directory{rollback_hint}",
    )


# ---- consent


class Access(Enum):
    """Access of a command: it reads a workspace, writes to it, or creates it if it is missing."""

    READ = "read"
    WRITE = "write"
    CREATE = "create"


def list_tables_not_made_here(tx: Connection, *, has_workspace: bool) -> list[str]:
    """Return the names of the tables in the database that askrows did not make."""
    made_tables = journal.read_created_tables(tx) if has_workspace else set[str]()
    return [name for name in schema.list_tables_of_others(tx) if name not in made_tables]


def confirm_additions(
    store: Store,
    confirm: Callable[[str], bool],
    additions: Sequence[str],
    other_tables: Sequence[str],
) -> None:
    """Ask a person whether askrows may add to another program's database.

    The question names the database, tables of the other program, and all additions.

    Raises:
        ConfigurationError: The person did not agree.
    """
    names = join_first(other_tables, MAX_LISTED_TABLES)
    location = f"{store.display_name} has tables of another program ({names})"
    planned_text = f"would add {'; '.join(additions)}"
    if not confirm(f"{location}. Askrows {planned_text}. Add them?"):
        raise ConfigurationError(
            f"{location}; askrows {planned_text}; nothing was written",
            hint=f"{OptionHint(yes=True)} adds them, but not with {OptionHint(dry=True)}; "
            f"or set {OptionHint('database_url')} to a separate database",
        )


def make_no_workspace_error(
    settings: Settings,
    store: Store,
    other_tables: list[str],
    hint: object,
) -> ConfigurationError:
    """Return the error that there is no workspace in the folder, or in the named database.

    Args:
        other_tables: Tables of another program; the message lists the first MAX_LISTED_TABLES.
        hint: How to create a workspace. It is ignored if there are other tables: the error then
            names commands that ask before they add tables.
    """
    location = str(settings.data)
    unchanged = "made"
    if other_tables:
        names = join_first(other_tables, MAX_LISTED_TABLES)
        location = f"{store.display_name}, which has tables of another program ({names})"
        unchanged = "changed"
        hint = (
            f"`{CommandHint('import')}`, `{CommandHint('score')}` or `{CommandHint('tag')}` "
            "lists its additions and asks first"
        )
    elif settings.database_url is not None:
        location = f"{store.display_name} ({OptionHint(data=settings.data)})"
    return ConfigurationError(
        f"there is no workspace in {location}; nothing was {unchanged}",
        hint=hint,
    )


# ---- the folder


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
