"""Open a workspace with a task for a command: check access, prepare tables, make the run.

- Tasks that are not in BUILT_IN_TASKS are user tasks, also those of shipped task files.
- A shipped task is used in a workspace if its tables exist there, or if TASK= names it and the
  command may make them. To adopt an existing table is to add the columns that it lacks.
- The backend is a provider or the local engine. The first upload binds a workspace to its backend.
- `check_access_and_detect_workspace` runs before anything is written. A reading command writes
  nothing, so a mistyped name makes nothing. The first writing command in another program's database
  lists its additions and asks.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.command_hint import CommandHint, HintTemplate
from askrows.pipeline.core.declaration import DatabaseTable, Folder
from askrows.pipeline.core.errors import ConfigurationError, InconsistentError, TaskNeverUsedError
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.settings import BUILT_IN_TASKS, DEFAULT_TASK, Settings
from askrows.pipeline.provider.service import Service
from askrows.pipeline.rows.folder_files import make_import_hint
from askrows.pipeline.rows.task_tables import TaskTables, make_task_tables
from askrows.pipeline.store import schema, workspace
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.tasks.selection import (
    is_user_task_set,
    list_used_shipped_tasks,
    list_used_task_names,
    replace_unused_task_by_first_used,
    reset_to_default_task,
)
from askrows.pipeline.tasks.shipped_task import find_shipped_task
from askrows.pipeline.workspace.open_workspace import (
    Access,
    answer_no,
    check_backend_and_open_workspace,
    check_folder_exists,
    check_no_link_leads_out,
    confirm_additions,
    create_data_folder,
    lacks_workspace_files,
    list_tables_not_made_here,
    make_no_workspace_error,
    write_marker_if_wrong,
)


@contextlib.contextmanager
def open_workspace(
    settings: Settings,
    display: Progress,
    *,
    access: Access = Access.CREATE,
    confirm: Callable[[str], bool] = answer_no,
    is_whole_workspace: bool = False,
    is_temporary: bool = False,
) -> Iterator[Run]:
    """Open a workspace for a block; create its folder and its tables if needed.

    Prints a line about a new workspace and about each change of tables. The store is closed at the
    end.

    Args:
        access: READ does not create a workspace or tables. WRITE also creates missing tables.
            CREATE also creates a missing workspace. See `check_access_and_detect_workspace`.
        confirm: Asks a person a question; returns the answer. By default nobody agrees.
        is_whole_workspace: The command is about the whole workspace. It creates no tables of a
            task in an existing workspace. If the task of the settings was never used here, the
            run has the first task that is used.
        is_temporary: The caller deletes the workspace, so a new one is not announced.

    Raises:
        ConfigurationError: There is no workspace and `access` creates none, a person did not agree
            to additions, answers of another backend than the settings name are stored, the folder
            belongs to another database, a link leads out of it, or with READ the task was never
            used here.
        InputError: The first use of the user task would be refused.
        InconsistentError: `access` is READ, and tables or columns of a task are missing.
    """
    check_no_link_leads_out(settings.data)
    database_url = settings.confirm_and_get_database_url().reveal()
    with contextlib.closing(Store(database_url, writes=access is not Access.READ)) as store:
        # Opening a SQLite store creates its file.
        if store.path is not None and not store.path.exists():
            workspace.check_folder_belongs_to_database(
                settings.data, None, database_name=store.display_name, absence="is missing"
            )
        has_workspace = check_access_and_detect_workspace(
            settings, store, access, confirm, is_whole_workspace=is_whole_workspace
        )
        if not has_workspace and not is_temporary:
            display.say(f"a new workspace: {settings.data}, database {store.display_name}")
        if has_workspace and is_whole_workspace:
            settings = store.query(replace_unused_task_by_first_used, settings)
        if access is not Access.READ:
            # A command about all tasks creates no tables of a task.
            settings = _prepare_folder_tables_and_task(
                settings,
                store,
                display,
                should_complete_tables=not (has_workspace and is_whole_workspace),
            )
        refuses_missing_tables = access is Access.READ or is_whole_workspace
        run = _check_and_make_run(
            settings, store, display, confirm, refuses_missing_tables=refuses_missing_tables
        )
        with contextlib.closing(run):
            yield run


def _prepare_folder_tables_and_task(
    settings: Settings,
    store: Store,
    display: Progress,
    *,
    should_complete_tables: bool,
) -> Settings:
    """Make the folder and the tables, record the task if its file is set, and write the marker.

    The preferred versions of the user task are recorded, too. The marker is written if it is
    missing or names another workspace.

    Args:
        display: Shows progress and notes.
        should_complete_tables: Create or complete the tables of the task of the settings.

    Returns:
        The settings with the task of the run.

    Raises:
        ConfigurationError: The folder belongs to another database, or a right in the database is
            missing. A new folder that is still empty is removed.
    """
    is_new_folder = not settings.data.exists()
    create_data_folder(settings.data)
    try:
        workspace_id = _create_or_complete_tables(
            settings, store, display, should_complete_tables=should_complete_tables
        )
    except ConfigurationError:
        # Without rights in the database, no empty folder stays.
        if is_new_folder:
            with contextlib.suppress(OSError):
                settings.data.rmdir()
        raise
    if is_user_task_set(settings):
        from askrows.pipeline.tasks import task_registry

        name = task_registry.register_task_and_apply_preference(store, settings, display=display)
        settings = replace(settings, task=name)

    write_marker_if_wrong(settings, store, workspace_id)
    return settings


def _check_and_make_run(
    settings: Settings,
    store: Store,
    display: Progress,
    confirm: Callable[[str], bool],
    *,
    refuses_missing_tables: bool,
) -> Run:
    """Check an existing workspace, and return its run; write nothing.

    Args:
        confirm: Asks a person a question; returns the answer.
        refuses_missing_tables: Refuse a workspace in which tables or columns of a task are missing.

    Raises:
        ConfigurationError: The workspace is bound to another backend, the folder belongs to another
            database, or the task was never used here.
        InconsistentError: Tables or columns of a task are missing.
    """
    with store.read() as tx:
        workspace_row = workspace.read_workspace(tx)
        used_tasks = list_used_shipped_tasks(tx)
        if is_user_task_set(settings):
            from askrows.pipeline.tasks import task_registry

            name = task_registry.require_registered_task_name(tx, settings)
            settings = replace(settings, task=name)
        else:
            shipped_task = find_shipped_task(settings.task)
            if shipped_task is not None and shipped_task not in used_tasks:
                hint = shipped_task.how_to_begin
                raise TaskNeverUsedError(settings.task, settings.data, hint=hint)
        workspace.check_folder_belongs_to_database(
            settings.data, workspace_row.workspace_id, database_name=store.display_name
        )
        if refuses_missing_tables:
            records = workspace.list_task_records(tx)
            used_tables = [task.load_tables() for task in used_tasks]
            used_tables += filter(None, map(make_task_tables, records))
            _check_no_table_is_missing(tx, settings, store, used_tables)

        tasks = [task.make_task(tx, settings) for task in used_tasks]
        if workspace.list_task_records(tx):
            from askrows.pipeline.tasks import task_registry

            tasks += task_registry.list_registered_tasks(tx, settings)
        opened = check_backend_and_open_workspace(tx, settings, store, display, confirm=confirm)

    return Run(
        opened,
        Service(
            opened.settings,
            opened.backend,
            display,
            now=opened.now,
            sleep=opened.sleep,
            bound_address=opened.bound_address,
        ),
        task=next(task for task in tasks if task.subject == settings.task),
        tasks=tuple(tasks),
    )


def _create_or_complete_tables(
    settings: Settings,
    store: Store,
    display: Progress,
    *,
    should_complete_tables: bool,
) -> str:
    """Create the engine's tables, and create or complete those of a task.

    A line about each change of tables is printed.

    Args:
        should_complete_tables: Create or complete the tables of the task of the settings.

    Returns:
        The id of the workspace.

    Raises:
        ConfigurationError: The folder belongs to another database.
    """
    with store.read() as tx:
        is_ready = schema.detect_workspace_and_check_schema(tx)
        workspace_id = workspace.read_workspace(tx).workspace_id if is_ready else None
        workspace.check_folder_belongs_to_database(
            settings.data, workspace_id, database_name=store.display_name
        )
        tables = None
        if should_complete_tables:
            tables = _find_task_tables(tx, settings, has_workspace=is_ready)
        is_complete = is_ready and (tables is None or tables.is_complete(tx, settings))
    if workspace_id is not None and is_complete:
        return workspace_id

    adopters = [] if tables is None else [partial(tables.create_or_adopt, settings=settings)]
    for line in schema.ensure_schema_and_adopt_tables(store, adopters):
        display.say(line)
    return store.query(workspace.read_workspace).workspace_id


def _find_task_tables(
    tx: Connection, settings: Settings, *, has_workspace: bool
) -> TaskTables | None:
    """Return the tables of the task of the settings; None if it has none of its own.

    A shipped task loads its own tables. The tables of a user task come from the registry, or from
    running its file if the task is not registered.

    Args:
        tx: A transaction of the database.
        settings: The settings, with the name of the task.
        has_workspace: Whether the database has a registry. Without one, the file is run.

    Returns:
        None if the task has no tables of its own, or if it is not shipped and the settings set no
        user task.

    Raises:
        InputError, ConfigurationError: The file is invalid, or there is no such task.
    """
    shipped_task = find_shipped_task(settings.task)
    if shipped_task is not None:
        return shipped_task.load_tables()
    if not is_user_task_set(settings):
        return None

    from askrows.pipeline.tasks import task_registry

    return task_registry.find_tables_if_source_takes_rows(tx, settings, has_workspace=has_workspace)


def _check_no_table_is_missing(
    tx: Connection,
    settings: Settings,
    store: Store,
    used_tables: Sequence[TaskTables],
) -> None:
    """Raise InconsistentError if tables or columns of the used tasks are missing."""
    missing_parts = list[str]()
    for tables in used_tables:
        missing_parts += tables.find_missing_parts(tx, settings)
    if missing_parts:
        raise InconsistentError(
            f"{store.display_name} no longer has {' and '.join(missing_parts)}; nothing was made",
            hint=f"`{CommandHint('restore')}` restores a backup; "
            "a writing command about the task makes what is missing, without content",
        )


@contextlib.contextmanager
def open_used_or_temporary_workspace(
    settings: Settings,
    display: Progress,
    *,
    may_lack_row_table: bool,
) -> Iterator[Run]:
    """Open the workspace for a block, or an empty temporary workspace that is deleted after it.

    - No workspace: the temporary workspace is opened, and announced by a line.
    - A built-in task that the workspace never used: the temporary workspace is opened.
    - A built-in task that the workspace used: the workspace is opened for reading.
    - A user task: the workspace is opened for writing, because a new task is recorded.

    Nobody is asked for consent.

    Args:
        may_lack_row_table: Open the temporary workspace also for a user task whose rows are in
            a table that a command makes; such a task has no rows then.

    Raises:
        ConfigurationError: The workspace cannot be used, or something would have to be added to
            another program's database.
    """
    is_user_task = is_user_task_set(settings)
    with contextlib.closing(Store(settings.confirm_and_get_database_url().reveal())) as store:
        with store.open_foreign_snapshot_if_exists() as tx:
            has_workspace = tx is not None and schema.detect_workspace_and_check_schema(tx)
            has_tables = has_workspace or (
                tx is not None and bool(schema.list_tables_of_others(tx))
            )
            is_new = not has_tables and lacks_workspace_files(settings.data)
            is_unused = (
                tx is not None
                and has_workspace
                and not is_user_task
                and settings.task not in list_used_task_names(tx)
            )
        if is_user_task and not is_new:
            check_access_and_detect_workspace(reset_to_default_task(settings), store, Access.READ)
        elif is_user_task and not (may_lack_row_table and _is_row_table_made_by_command(settings)):
            check_access_and_detect_workspace(settings, store, Access.WRITE)

    if not is_new and not is_unused:
        access = Access.WRITE if is_user_task else Access.READ
        with open_workspace(settings, display, access=access) as ws:
            yield ws
        return

    if is_new:
        display.say(
            f"there is no workspace in {settings.data}: the command uses an empty temporary "
            "workspace, and deletes it at the end"
        )
    with (
        tempfile.TemporaryDirectory() as folder,
        open_workspace(
            replace(settings, data=Path(folder), database_url=None), display, is_temporary=True
        ) as ws,
    ):
        yield ws


def _is_row_table_made_by_command(settings: Settings) -> bool:
    """Return whether the rows of the user task of TASK are in a table that a command makes."""
    from askrows.pipeline.tasks import task_registry

    declaration, _ = task_registry.load_named_declaration(settings)
    return isinstance(declaration.items, DatabaseTable)


# ---- access


def _check_first_use_and_detect_own_rows(settings: Settings, store: Store) -> bool:
    """Check the first use of a user task; return whether a workspace can begin with its rows.

    It can if they come from a file, from Python or from a database of their own.

    Raises:
        ConfigurationError, InputError: The first use would be refused.
    """
    from askrows.pipeline.tasks import task_registry

    declaration, path = task_registry.load_named_declaration(settings)
    task_registry.check_columns_views_and_write_target(declaration, path, settings, store)
    return task_registry.has_own_rows(declaration)


def check_access_and_detect_workspace(
    settings: Settings,
    store: Store,
    access: Access,
    confirm: Callable[[str], bool] = answer_no,
    *,
    is_whole_workspace: bool = False,
) -> bool:
    """Check whether a command may use the workspace; return whether it exists. Writes nothing.

    - READ needs a workspace with its folder.
    - WRITE needs a workspace, or at least its database if the command is about one task. For a user
      task that brings its rows from a file, from Python or from a database of its own, WRITE is
      treated as CREATE.
    - CREATE needs nothing.
    - WRITE and CREATE ask a person before they add tables, columns or views to another program's
      database.

    If there is no workspace yet, the file of a user task is run, and its first use is checked.

    Args:
        confirm: Asks a person a question; returns the answer. By default nobody agrees.
        is_whole_workspace: The command is about the whole workspace and adds no tables of a task.

    Returns:
        Whether there is a workspace already.

    Raises:
        ConfigurationError: Something that `access` needs is missing, the workspace lost its folder,
            or the person did not agree.
        InputError: The first use of the user task would be refused.
    """
    additions: list[str] = []
    other_tables: list[str] = []
    with store.open_foreign_snapshot_if_exists() as tx:
        has_workspace = tx is not None and schema.detect_workspace_and_check_schema(tx)
        if tx is not None and access is not Access.READ:
            task_settings = None if has_workspace and is_whole_workspace else settings
            additions = _list_database_additions(tx, task_settings, has_workspace=has_workspace)
        if tx is not None and (additions or not has_workspace):
            other_tables = list_tables_not_made_here(tx, has_workspace=has_workspace)

    if not has_workspace:
        has_own_rows = is_user_task_set(settings) and _check_first_use_and_detect_own_rows(
            settings, store
        )
        has_database = tx is not None and not is_whole_workspace
        may_write = access is Access.WRITE and (has_own_rows or has_database)
        if access is not Access.CREATE and not may_write:
            hint = _make_new_workspace_hint(settings, has_own_rows=has_own_rows)
            raise make_no_workspace_error(settings, store, other_tables, hint)
    else:
        check_folder_exists(settings, store)

    if additions and other_tables:
        confirm_additions(store, confirm, additions, other_tables)
    return has_workspace


def _make_new_workspace_hint(settings: Settings, *, has_own_rows: bool) -> HintTemplate | str:
    """Return the hint with the command that creates a workspace for the task of the settings.

    - Built-in task: the hint names the commands `import` and `demo`.
    - User task with rows of its own: it names the command `try`.
    - User task with a `Folder` or a `DatabaseTable`: it names the command `import`.
    - User task with rows from a query: it says that a query needs an existing database.

    Args:
        has_own_rows: It is a user task with rows from a file, Python or a database of their own.
    """
    if settings.task in {DEFAULT_TASK, *BUILT_IN_TASKS}:
        return HintTemplate(
            "`{}` creates a workspace from a file; `{}` runs all steps on sample data",
            make_import_hint(DEFAULT_TASK, has_folder=False),
            CommandHint("demo"),
        )
    if has_own_rows:
        command = CommandHint("try", task=settings.task)
        return f"`{command}` creates a workspace and asks about a few rows"

    from askrows.pipeline.tasks import task_registry

    declaration, _ = task_registry.load_named_declaration(settings)
    if isinstance(declaration.items, Folder):
        command = make_import_hint(declaration.name, has_folder=True)
        return HintTemplate("`{}` creates a workspace from a folder", command)
    if isinstance(declaration.items, DatabaseTable):
        command = make_import_hint(declaration.name, has_folder=False)
        return HintTemplate("`{}` creates a workspace from a file", command)
    return "the task's query needs an existing database"


def _list_database_additions(
    tx: Connection, settings: Settings | None, *, has_workspace: bool
) -> list[str]:
    """Return what a command would add to the database, as phrases; write nothing.

    Args:
        settings: Settings whose task the command is about; None if it makes no tables of a task.
        has_workspace: The database has one. Otherwise askrows' own tables are listed first.

    Raises:
        ConfigurationError: An existing table cannot be adopted.
    """
    additions: list[str] = []
    if not has_workspace:
        additions.append(f"its own tables ({', '.join(sorted(schema.metadata.tables))})")
    if settings is None:
        return additions

    tables = _find_task_tables(tx, settings, has_workspace=has_workspace)
    names_by_kind = {"table": list[str](), "view": list[str]()}
    if tables is not None:
        names_by_kind["table"] = tables.list_missing_tables(tx, settings)
    if is_user_task_set(settings):
        from askrows.pipeline.tasks import task_registry

        if not has_workspace or task_registry.find_registered_task_name(tx, settings) is None:
            names_by_kind["view"] = task_registry.list_planned_views(settings)
    for kind, names in names_by_kind.items():
        if names:
            plural_s = "s" if len(names) > 1 else ""
            additions.append(f"the {kind}{plural_s} {', '.join(names)}")

    if tables is not None:
        additions += tables.list_additions(tx, settings)
    return additions
