"""Open a workspace: its folder, its database, and consent to add to another program's database.

What a task needs is no part of it: `ops.open_task` opens a workspace together with a task.
"""

import shlex
from collections.abc import Callable, Sequence
from enum import Enum

from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.errors import ConfigurationError
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.core.text import join_first
from askrows.pipeline.store import journal, schema, workspace
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.store.locks import Locks
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

# Table names in a message.
MAX_LISTED_TABLES = 5


class Access(Enum):
    """What a command does: read a workspace, write to an existing one, or create one if missing."""

    READ = "read"
    WRITE = "write"
    CREATE = "create"


def make_open_workspace(
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
        ConfigurationError: The workspace is bound to another backend than the settings name.
    """
    workspace_row = workspace.get_workspace(tx)
    _check_bound_backend(settings, workspace_row.backend)
    backend = workspace_row.backend or settings.effective_backend
    return OpenWorkspace(
        settings=settings.for_backend(backend, lag_s=journal.read_list_delay_s(tx)),
        store=store,
        locks=Locks(store, settings.data / "locks", workspace_row.workspace_id),
        backend=backend,
        display=display,
        ask_person=confirm,
        now=store.make_clock(tx),
    )


def _check_bound_backend(settings: Settings, bound_backend: str | None) -> None:
    """Check that the settings do not name another backend than the one a workspace is bound to.

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


def write_missing_marker(settings: Settings, store: Store, workspace_id: str) -> None:
    """Write the folder's marker if it is missing or names another workspace."""
    marker = workspace.read_marker(settings.data)
    if marker is None or marker.workspace_id != workspace_id:
        location = store.address
        if store.path is not None and not settings.database_url:
            location = store.path.name
        workspace.write_marker(settings.data, workspace.FolderMarker(workspace_id, location))


def check_folder_exists(settings: Settings, store: Store) -> None:
    """Raise ConfigurationError if the folder of an existing workspace is missing."""
    if not settings.data.is_dir():
        raise ConfigurationError(
            f"the folder {settings.data} does not exist, but its database {store.display_name} "
            "does: its files are in another folder, or lost; nothing was made",
            hint=f"set {OptionHint('data')} to the folder that belongs to that database; "
            f"`mkdir {shlex.quote(str(settings.data))}` begins a new folder, without these files",
        )


def list_other_tables(tx: Connection, *, has_workspace: bool) -> list[str]:
    """Return the names of the tables in the database that another program made."""
    made_tables = journal.read_created_tables(tx) if has_workspace else set[str]()
    return [name for name in schema.other_tables(tx) if name not in made_tables]


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
