"""Open a workspace for a command: check access, prepare folder and tables, make the session.

- Shipped tasks come with findable. The people task is the default, the first of BUILT_IN_TASKS.
- The tasks that are not in BUILT_IN_TASKS are user tasks.
- A shipped task is used in a workspace if its tables exist there, or if TASK= names it and the
  command may make them. To adopt an existing table is to add the columns that it lacks.
- The backend is Gemini or the local engine. The first upload binds a workspace to its backend.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import ConfigurationError, InconsistentError, TaskNeverUsedError
from pipeline.core.progress import Progress
from pipeline.core.settings import Settings
from pipeline.engine.access import Access, check_access
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.shipped_task import ShippedTask, shipped_tasks
from pipeline.engine.task_selection import (
    find_missing_tables,
    list_registered_tasks,
    names_user_task,
    settings_for_lookup,
    used_shipped_tasks,
    with_people,
    with_used_task,
)
from pipeline.engine.workspace_folder import check_links, has_no_workspace, make_directory
from pipeline.store import marks, schema, workspace
from pipeline.store.database import Connection, Store
from pipeline.store.locks import Locks


@contextlib.contextmanager
def open_workspace(
    settings: Settings,
    display: Progress,
    *,
    access: Access = Access.CREATE,
    confirm: Callable[[str], bool] = lambda _question: False,
    is_whole_workspace: bool = False,
    is_temporary: bool = False,
) -> Iterator[WorkspaceSession]:
    """Open a workspace for a block; create its folder and its tables if needed.

    Prints a line about a new workspace and about each change of tables. The store is closed at the
    end.

    Args:
        access: READ does not create a workspace or tables. WRITE also creates missing tables.
            CREATE also creates a missing workspace. See `check_access`.
        confirm: Asks a person a question; returns the answer. By default nobody agrees.
        is_whole_workspace: The command is about the whole workspace. It creates no tables of a
            task. If the task of the settings was never used here, the session has another task: one
            that is used, or the people task.
        is_temporary: The caller deletes the workspace, so a new one is not announced.

    Raises:
        ConfigurationError: There is no workspace and `access` creates none, a person did not agree
            to additions, answers of another backend than the settings name are stored, the folder
            belongs to another database, or a link leads out of it.
        InputError: The first use of the user task would be refused.
        InconsistentError: `access` is READ, and tables of a task are missing.
    """
    check_links(settings.data)
    with contextlib.closing(Store(settings.confirmed_database_url.reveal())) as store:
        access_settings = with_people(settings) if is_whole_workspace else settings
        allowed = check_access(
            access_settings,
            store,
            access,
            confirm,
            is_whole_workspace=is_whole_workspace,
        )
        if allowed.announcement and not is_temporary:
            display.say(allowed.announcement)
        session = _open_session(
            settings,
            store,
            display,
            access,
            is_whole_workspace=is_whole_workspace,
            adopted_tasks=allowed.adopted_tasks,
        )
        with contextlib.closing(session) as opened:
            opened.ask_person = confirm
            yield opened


def _open_session(
    settings: Settings,
    store: Store,
    display: Progress,
    access: Access,
    *,
    is_whole_workspace: bool,
    adopted_tasks: list[ShippedTask] | None,
) -> WorkspaceSession:
    """Make the folder, update the schema, record the user task, and return the session.

    The folder's marker is written if it is missing or names another workspace. A command that only
    reads (READ) writes no marker, and does not record a new user task (a task that a person
    declared in a file).

    Args:
        display: Shows progress and notes.
        is_whole_workspace: The command is about the whole workspace, so it needs no particular
            task. It creates no tables of a task. If the task of the settings was never used here,
            the session has the first used task, or the people task if TASK= is set or no task was
            used.
        adopted_tasks: The used shipped tasks, if the caller just found their tables complete, so
            that they are not checked again. If None, the tables of all used tasks are checked.

    Raises:
        ConfigurationError: With any `access`, the folder belongs to another database, or the
            workspace is bound to another backend. With READ, also if the task was never used here.
        InconsistentError: `access` is READ, and tables of a task are missing.
    """
    is_new_folder = not settings.data.exists()
    make_directory(settings.data)
    marker = workspace.read_marker(settings.data)
    if is_whole_workspace:
        settings = with_used_task(settings, store)
    try:
        used_tasks = _prepare_tables(
            settings,
            store,
            marker,
            display,
            access,
            is_whole_workspace=is_whole_workspace,
            adopted_tasks=adopted_tasks,
        )
    except ConfigurationError:
        # Without rights in the database, no empty folder stays.
        if is_new_folder:
            with contextlib.suppress(OSError):
                settings.data.rmdir()
        raise
    if is_whole_workspace and not _is_task_used(settings, store, used_tasks):
        settings = with_people(settings)
    if names_user_task(settings):
        settings = _record_user_task(settings, store, display, can_write=access is not Access.READ)

    with store.read() as tx:
        workspace_row = workspace.get_workspace(tx)
        lag_s = marks.read_list_delay_s(tx)
        now = store.make_clock(tx)
        shipped_tasks_here = [task.make_task(tx, settings) for task in used_tasks]
        tasks = [task for task in shipped_tasks_here if task is not None]
        tasks.extend(list_registered_tasks(tx, settings))
    names_other_workspace = marker is None or marker.workspace_id != workspace_row.workspace_id
    if names_other_workspace and access is not Access.READ:
        location = store.address
        if store.path is not None and not settings.database_url:
            location = store.path.name
        new_marker = workspace.FolderMarker(workspace_row.workspace_id, location)
        workspace.write_marker(settings.data, new_marker)

    _check_backend(settings, workspace_row.backend)
    backend = workspace_row.backend or settings.effective_backend
    return WorkspaceSession(
        settings=settings.for_backend(backend, lag_s=lag_s),
        store=store,
        locks=Locks(store, settings.data / "locks", workspace_row.workspace_id),
        backend=backend,
        display=display,
        task=next(task for task in tasks if task.subject == settings.task),
        tasks=tuple(tasks),
        now=now,
        is_bound=workspace_row.backend is not None,
    )


def _is_task_used(settings: Settings, store: Store, used_tasks: Sequence[ShippedTask]) -> bool:
    """Return whether the task of the settings is recorded here, or is one of `used_tasks`."""
    if any(task.name == settings.task for task in used_tasks):
        return True
    if not names_user_task(settings):
        return False

    from pipeline.engine import task_registry

    with store.read() as tx:
        return task_registry.find_registered_name(tx, settings) is not None


def _record_user_task(
    settings: Settings,
    store: Store,
    display: Progress,
    *,
    can_write: bool,
) -> Settings:
    """Record a user's task and its preferred versions; return the settings with its name.

    Raises:
        ConfigurationError: `can_write` is false, and the task was never used here.
    """
    from pipeline.engine import preferred_versions, task_registry

    name = task_registry.register_if_new(store, settings, may_write=can_write, display=display)
    if can_write:
        preferred_versions.store_preference(store, name, settings, display=display)
    return replace(settings, task=name)


def _check_backend(settings: Settings, bound_backend: str | None) -> None:
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


def _prepare_tables(
    settings: Settings,
    store: Store,
    marker: workspace.FolderMarker | None,
    display: Progress,
    access: Access,
    *,
    is_whole_workspace: bool,
    adopted_tasks: list[ShippedTask] | None,
) -> list[ShippedTask]:
    """Create or complete the tables of the used shipped tasks; return these tasks.

    A shipped task is used if its tables exist, or if the settings name it and its first tables are
    made here.

    - An existing table gets the columns that it lacks, even if `access` is READ.
    - A missing table of a used shipped task is created; with READ it is an error.
    - The task of the settings gets its first tables, unless `access` is READ or the command is
      about the whole workspace.

    A line about each change of tables is printed.

    Args:
        marker: The folder's marker. If the folder has files of batches or index builds, the
            database must have the workspace that the marker names.
        is_whole_workspace: The command is about the whole workspace, so the task of the settings
            need not be used.
        adopted_tasks: The used shipped tasks, if their tables were just found complete, so that
            they are not checked again. If None, these tasks are looked up and their tables are
            checked.

    Raises:
        ConfigurationError: The folder belongs to another database, or `access` is READ, the command
            is about one task, and this task was never used here.
        InconsistentError: `access` is READ, and tables of a task are missing.
    """
    makes_tables = access is not Access.READ and not is_whole_workspace
    sealing_marker = marker if workspace.has_sealed_files(settings.data) else None
    # Opening a SQLite store would create its file.
    if sealing_marker is not None and store.path is not None and not store.path.exists():
        workspace.refuse_folder(settings.data, sealing_marker, f"{store.display_name} is missing")

    with store.read() as tx:
        if sealing_marker is not None:
            workspace.check_marker(
                settings.data,
                sealing_marker,
                tx,
                database_name=store.display_name,
            )
        lookup_settings = settings_for_lookup(tx, settings, makes_tables=makes_tables)
        used_tasks = adopted_tasks
        if used_tasks is None:
            used_tasks = used_shipped_tasks(tx, lookup_settings)
        has_tasks = used_tasks or (schema.is_workspace(tx) and workspace.list_tasks(tx))
        if not makes_tables and not has_tasks:
            lookup_settings = with_people(settings)
            used_tasks = used_shipped_tasks(tx, lookup_settings)
        if not makes_tables and not is_whole_workspace:
            _check_task_used(settings, used_tasks)

        used_tables = [task.load_tables() for task in used_tasks]
        is_ready = schema.is_workspace(tx) and (
            adopted_tasks is not None
            or all(tables.is_adopted(tx, lookup_settings) for tables in used_tables)
        )
        if access is Access.READ and not is_ready:
            _check_tables_exist(tx, lookup_settings, store)

    if not is_ready:
        adopters = [partial(tables.adopt, settings=lookup_settings) for tables in used_tables]
        for line in schema.ensure_schema(store, adopters):
            display.say(line)
    return used_tasks


def _check_task_used(settings: Settings, used_tasks: list[ShippedTask]) -> None:
    """Raise ConfigurationError if the task is shipped and not among the used tasks."""
    for task in shipped_tasks():
        if task.name == settings.task and task not in used_tasks:
            raise TaskNeverUsedError(settings.task, settings.data, hint=task.how_to_begin)


def _check_tables_exist(tx: Connection, settings: Settings, store: Store) -> None:
    """Raise InconsistentError if tables of a shipped task are missing."""
    missing_names = find_missing_tables(tx, settings)
    if missing_names:
        raise InconsistentError(
            f"{store.display_name} no longer has the table {' and the table '.join(missing_names)};"
            " nothing was made",
            hint=f"`{CommandHint('restore')}` restores a backup; "
            "a command that writes makes an empty table",
        )


@contextlib.contextmanager
def open_existing_or_temporary(
    settings: Settings,
    display: Progress,
) -> Iterator[WorkspaceSession]:
    """Open the workspace for a block; if there is none, open an empty temporary workspace.

    A temporary workspace is announced by a line, and deleted after the block. How an existing
    workspace is opened depends on TASK=:

    - A built-in task: only for reading. The session has the people task, so that a task that was
      never used here is not refused.
    - A user task: for writing, because the task is recorded if it was never used.

    Nobody is asked for consent.

    Raises:
        ConfigurationError: The workspace cannot be used, or something would have to be added to
            another program's database.
    """
    is_user_task = names_user_task(settings)
    people_settings = with_people(settings)
    with contextlib.closing(Store(settings.confirmed_database_url.reveal())) as store:
        with store.open_foreign_snapshot() as tx:
            has_tables = tx is not None and (schema.is_workspace(tx) or schema.other_tables(tx))
        is_new = not has_tables and has_no_workspace(settings.data)
        if is_user_task and is_new:
            check_access(settings, store, Access.WRITE)
        elif is_user_task:
            check_access(people_settings, store, Access.READ)

    if not is_new:
        if is_user_task:
            session_settings = settings
            access = Access.WRITE
        else:
            session_settings = people_settings
            access = Access.READ
        with open_workspace(session_settings, display, access=access) as ws:
            yield ws
        return

    display.say(
        f"there is no workspace in {settings.data}: the command uses an empty temporary workspace, "
        "and deletes it at the end"
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        open_workspace(
            replace(settings, data=Path(folder), database_url=None), display, is_temporary=True
        ) as ws,
    ):
        yield ws
