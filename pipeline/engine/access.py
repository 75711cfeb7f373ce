"""Decide whether a command may use the folder and the database of the settings.

`check_access_and_find_workspace` runs before anything is written:

- A reading command writes nothing, so a mistyped name makes nothing.
- The first writing command in another program's database lists its additions and asks.

A shipped task comes with findable. To adopt a table is to use a table that exists, usually another
program's, and to add the columns and indexes that it lacks.
"""

from collections.abc import Callable, Sequence
from enum import Enum

from pipeline.core.command_hint import CommandHint, HintTemplate, OptionHint
from pipeline.core.errors import ConfigurationError
from pipeline.core.settings import BUILT_IN_TASKS, Settings
from pipeline.core.text import join_first
from pipeline.engine.shipped_task import find_shipped_task
from pipeline.engine.task_selection import list_missing_task_tables, names_user_task
from pipeline.store import marks, schema
from pipeline.store.database import Connection, Store

NEW_WORKSPACE_HINT = HintTemplate(
    "`{}` creates a workspace from a file; `{}` runs all steps on sample data",
    CommandHint("import", **{BUILT_IN_TASKS[0]: "people.csv"}),
    CommandHint("demo"),
)
NEW_WORKSPACE_FOR_QUERY_HINT = HintTemplate(
    "`{}` creates a workspace from a folder; the task's query needs an existing database",
    CommandHint("import-images"),
)
# Table names in a message.
MAX_LISTED_TABLES = 5


class Access(Enum):
    """What a command does: read a workspace, write to an existing one, or create one if missing."""

    READ = "read"
    WRITE = "write"
    CREATE = "create"


def _check_first_use(settings: Settings, store: Store) -> bool:
    """Check the first use of a user task.

    Returns:
        Whether its rows come from a file, from Python or from a database of its own, so that a
        workspace can begin with them.

    Raises:
        ConfigurationError, InputError: The first use would be refused.
    """
    from pipeline.engine import task_registry

    declaration, path = task_registry.load_named_declaration(settings)
    task_registry.check_task_can_be_registered(declaration, path, settings, store)
    return task_registry.brings_rows(declaration)


def check_access_and_find_workspace(
    settings: Settings,
    store: Store,
    access: Access,
    confirm: Callable[[str], bool] = lambda _question: False,
    *,
    is_whole_workspace: bool = False,
) -> bool:
    """Check whether a command may use the workspace, and ask a person if need be; write nothing.

    - READ needs a workspace with its folder.
    - WRITE needs a workspace, or at least its database if the command is about one task. For a user
      task that brings its rows from a file, from Python or from a database of its own, WRITE is
      treated as CREATE.
    - CREATE needs nothing.
    - WRITE and CREATE ask a person before they add tables, columns or views to another program's
      database, and before they make a new folder for a workspace that lost its folder.

    If there is no workspace yet, the file of a user task is run, and its first use is checked.

    Args:
        confirm: Asks a person a question; returns the answer. By default nobody agrees.
        is_whole_workspace: The command is about the whole workspace and adds no tables of a task.

    Returns:
        Whether there is a workspace already.

    Raises:
        ConfigurationError: Something that `access` needs is missing, or the person did not agree.
        InputError: The first use of the user task would be refused.
    """
    additions: list[str] = []
    other_tables: list[str] = []
    with store.open_foreign_snapshot() as tx:
        has_workspace = tx is not None and schema.is_workspace(tx)
        if tx is not None and access is not Access.READ:
            task_settings = None if has_workspace and is_whole_workspace else settings
            additions = _list_database_additions(tx, task_settings, has_workspace=has_workspace)
        if tx is not None and (additions or not has_workspace):
            made_tables = marks.read_created_tables(tx) if has_workspace else set[str]()
            other_tables = [name for name in schema.other_tables(tx) if name not in made_tables]

    if not has_workspace:
        brings_rows = names_user_task(settings) and _check_first_use(settings, store)
        has_database = tx is not None and not is_whole_workspace
        may_write = access is Access.WRITE and (brings_rows or has_database)
        if access is not Access.CREATE and not may_write:
            hint = _make_new_workspace_hint(settings, brings_rows=brings_rows)
            raise _make_no_workspace_error(settings, store, other_tables, hint)
    elif not settings.data.is_dir():
        _confirm_replacing_lost_folder(settings, store, access, confirm)

    if additions and other_tables:
        _confirm_additions(store, confirm, additions, other_tables)
    return has_workspace


def _confirm_replacing_lost_folder(
    settings: Settings, store: Store, access: Access, confirm: Callable[[str], bool]
) -> None:
    """Ask whether a writing command may make a new folder for a workspace that lost its folder.

    Raises:
        ConfigurationError: The command only reads, or the person did not agree.
    """
    message = (
        f"the folder {settings.data} does not exist, but its database {store.display_name} does: "
        "its files are in another folder, or lost"
    )
    hint = f"set {OptionHint('data')} to the folder that belongs to that database"
    if access is not Access.READ:
        hint += f"; {OptionHint(yes=True)} makes a new folder"
        if confirm(f"{message}. Go on in a new folder, without these files?"):
            return
    raise ConfigurationError(f"{message}; nothing was made", hint=hint)


def _make_new_workspace_hint(settings: Settings, *, brings_rows: bool) -> HintTemplate | str:
    """Return the hint with the command that creates a workspace for the task of the settings.

    - Built-in task: the hint names the commands `import` and `demo`.
    - User task with rows from a file or from Python: it names the command `try`.
    - User task with rows from a query: it says that a query needs an existing database.

    Args:
        brings_rows: The settings name a user task whose rows come from a file or from Python.
    """
    if not names_user_task(settings):
        return NEW_WORKSPACE_HINT
    if brings_rows:
        command = CommandHint("try", task=settings.task)
        return f"`{command}` creates a workspace and asks about a few rows"
    return NEW_WORKSPACE_FOR_QUERY_HINT


def _list_database_additions(
    tx: Connection, settings: Settings | None, *, has_workspace: bool
) -> list[str]:
    """Return what a command would add to the database, as phrases; write nothing.

    Args:
        settings: Settings whose task the command is about; None if it makes no tables of a task.
        has_workspace: The database has one. Otherwise findable's own tables are listed first.

    Raises:
        ConfigurationError: An existing table cannot be adopted.
    """
    additions: list[str] = []
    if not has_workspace:
        additions.append(f"its own tables ({', '.join(sorted(schema.metadata.tables))})")
    if settings is None:
        return additions

    names_by_kind = {"table": list_missing_task_tables(tx, settings), "view": list[str]()}
    if names_user_task(settings):
        from pipeline.engine import task_registry

        if not has_workspace or task_registry.find_registered_task_name(tx, settings) is None:
            names_by_kind["view"] = task_registry.list_planned_views(settings)
    for kind, names in names_by_kind.items():
        if names:
            plural_s = "s" if len(names) > 1 else ""
            additions.append(f"the {kind}{plural_s} {', '.join(names)}")

    shipped_task = find_shipped_task(settings.task)
    if shipped_task is not None:
        additions += shipped_task.load_tables().adoption_plan(tx, settings)
    return additions


def _confirm_additions(
    store: Store,
    confirm: Callable[[str], bool],
    additions: Sequence[str],
    other_tables: Sequence[str],
) -> None:
    """Ask a person whether findable may add to another program's database.

    The question names the database, tables of the other program, and all additions.

    Raises:
        ConfigurationError: The person did not agree.
    """
    names = join_first(other_tables, MAX_LISTED_TABLES)
    location = f"{store.display_name} has tables of another program ({names})"
    planned_text = f"would add {'; '.join(additions)}"
    if not confirm(f"{location}. Findable {planned_text}. Add them?"):
        raise ConfigurationError(
            f"{location}; findable {planned_text}; nothing was written",
            hint=f"{OptionHint(yes=True)} adds them, but not with {OptionHint(dry=True)}; "
            f"or set {OptionHint('database_url')} to a separate database",
        )


def _make_no_workspace_error(
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
