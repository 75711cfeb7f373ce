"""Decide whether a command may use the folder and the database of the settings.

`check_readable` and `check_access` run before anything is written:

- A reading command writes nothing, so a mistyped name makes nothing.
- The first writing command in another program's database lists its additions and asks.

A shipped task comes with findable. To adopt a table is to use a table that exists, usually another
program's, and to add the columns and indexes that it lacks.
"""

from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from itertools import chain
from typing import NamedTuple

from pipeline.core.command_hint import CommandHint, HintTemplate, OptionHint
from pipeline.core.errors import ConfigurationError
from pipeline.core.settings import BUILT_IN_TASKS, Settings
from pipeline.core.text import join_first
from pipeline.engine.task_selection import (
    find_missing_tables,
    names_user_task,
    used_shipped_tasks,
)
from pipeline.store import schema
from pipeline.store.database import Connection, Store
from pipeline.tables.reflection import read_columns

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


class _PlannedAdditions(NamedTuple):
    """What a command would add to the database."""

    # Tables of other programs.
    other_tables: list[str]
    # Tables and views to create, as phrases: "the table people".
    new_objects: list[str]
    # Changes to another program's tables, as phrases.
    adoption_plan: list[str]


def check_readable(settings: Settings, store: Store) -> None:
    """Check that there is a workspace with its folder; write nothing.

    Raises:
        ConfigurationError: The workspace or its folder is missing.
        InputError: There is no workspace, and the first use of the user task would be refused.
    """
    with store.open_foreign_snapshot() as tx:
        is_ours = tx is not None and schema.is_workspace(tx)
        other_tables = [] if tx is None or is_ours else schema.other_tables(tx)

    if not is_ours:
        brings_rows = _check_first_use(settings, store)
        hint = _new_workspace_hint(settings, brings_rows=brings_rows)
        raise _no_workspace_error(settings, store, other_tables, hint)
    if not settings.data.is_dir():
        raise ConfigurationError(
            f"the folder {settings.data} does not exist, but its database "
            f"{store.display_name} does; nothing was made",
            hint=f"set {OptionHint('data')} to the folder that belongs to that database",
        )


def _check_first_use(settings: Settings, store: Store) -> bool:
    """Check the first use of a user task; return whether a workspace can begin with its rows.

    Returns:
        True if the rows come from a file, from Python or from a database of its own. False for a
        task that is not a user task.

    Raises:
        ConfigurationError, InputError: The first use would be refused.
    """
    if not names_user_task(settings):
        return False

    from pipeline.engine import task_registry

    declaration, path = task_registry.load_named_declaration(settings)
    task_registry.check_first_use(declaration, path, settings, store)
    return task_registry.brings_rows(declaration)


def check_access(
    settings: Settings,
    store: Store,
    access: Access,
    confirm: Callable[[str], bool] = lambda _question: False,
    *,
    is_whole_workspace: bool = False,
) -> str:
    """Check whether a command may write to the workspace, and ask a person if need be.

    Nothing is written here.

    - WRITE needs a workspace, or at least its database if the command is about one task. For a user
      task that brings its rows from a file, from Python or from a database of its own, WRITE is
      treated as CREATE.
    - CREATE needs nothing.
    - WRITE and CREATE ask a person before they add tables or columns to another program's database,
      and before they make a new folder for a workspace that lost its folder.

    If there is no workspace yet, the file of a user task is run, and its first use is checked.

    Args:
        confirm: Asks a person a question; returns the answer. By default nobody agrees.
        is_whole_workspace: The command is about the whole workspace and adds no tables of a task.

    Returns:
        The line to print about a workspace that will be made; "" if it exists.

    Raises:
        ConfigurationError: Something that `access` needs is missing, or the person did not agree.
        InputError: The first use of the user task would be refused.
    """
    with store.open_foreign_snapshot() as tx:
        has_database = tx is not None
        is_ours = tx is not None and schema.is_workspace(tx)
        additions = _PlannedAdditions([], [], [])
        if tx is not None:
            additions = _plan_table_additions(
                tx, settings, makes_tables=not (is_whole_workspace and is_ours)
            )

    brings_rows = not is_ours and _check_first_use(settings, store)
    # The task brings the rows, so a workspace can be created.
    if access is Access.WRITE and brings_rows:
        access = Access.CREATE

    is_there = is_ours or (has_database and not is_whole_workspace)
    if access is not Access.CREATE and not is_there:
        hint = _new_workspace_hint(settings, brings_rows=brings_rows)
        raise _no_workspace_error(settings, store, additions.other_tables, hint)

    if additions.other_tables or additions.adoption_plan:
        _confirm_additions(store, confirm, additions, is_ours=is_ours)
    elif is_ours and not settings.data.is_dir():
        lost_folder = (
            f"the folder {settings.data} does not exist; the files of the workspace in "
            f"{store.display_name} are in another folder, or lost"
        )
        _require_consent(
            confirm,
            f"{lost_folder}. Go on in a new folder, without these files?",
            f"{lost_folder}; nothing was made",
            f"set {OptionHint('data')} to the folder that belongs to that database; "
            f"{OptionHint(yes=True)} makes a new folder",
        )

    if is_ours:
        return ""
    return f"a new workspace: {settings.data}, database {store.display_name}"


def _new_workspace_hint(settings: Settings, *, brings_rows: bool) -> HintTemplate | str:
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


def _confirm_additions(
    store: Store,
    confirm: Callable[[str], bool],
    additions: _PlannedAdditions,
    *,
    is_ours: bool,
) -> None:
    """Ask a person whether tables and columns may be added to another program's database.

    Call it if there are tables of another program. The question names the database and all
    additions. Nothing happens if the person agrees.

    Args:
        confirm: Asks a person a question; returns the answer.
        is_ours: The database has a workspace already. Otherwise the tables that findable makes in
            every workspace are listed first.

    Raises:
        ConfigurationError: The person did not agree.
    """
    planned = [*additions.new_objects, *additions.adoption_plan]
    if not is_ours:
        own_tables = ", ".join(sorted(schema.metadata.tables))
        planned.insert(0, f"its own tables ({own_tables})")
    planned_text = "; ".join(planned)

    foreign_tables = "a table of another program"
    if additions.other_tables:
        names = join_first(additions.other_tables, MAX_LISTED_TABLES)
        foreign_tables = f"tables of another program ({names})"
    location = f"{store.display_name} has {foreign_tables}"
    _require_consent(
        confirm,
        f"{location}. Findable would add {planned_text}. Add them?",
        f"{location}; findable would add {planned_text}; nothing was written",
        f"{OptionHint(yes=True)} adds them, but not with {OptionHint(dry=True)}; "
        f"or set {OptionHint('database_url')} to a separate database",
    )


def _require_consent(
    confirm: Callable[[str], bool],
    question: str,
    message: str,
    hint: str,
) -> None:
    """Ask a person; raise ConfigurationError with a message and hint if the answer is no."""
    if not confirm(question):
        raise ConfigurationError(message, hint=hint)


def _plan_table_additions(
    tx: Connection, settings: Settings, *, makes_tables: bool
) -> _PlannedAdditions:
    """Return what a command would add; write nothing.

    The plan of an empty database is empty, because nobody has to be asked about it. The plan also
    names the tables of other programs. But if the database has a workspace and only columns are
    added, these names are left out.

    Args:
        makes_tables: The command makes the tables of the task of the settings.
    """
    lookup_settings = settings if makes_tables else replace(settings, task="")
    is_ours = schema.is_workspace(tx)
    used_tasks = used_shipped_tasks(tx, lookup_settings)
    used_tables = [task.load_tables() for task in used_tasks]
    table_plans = (tables.adoption_plan(tx, lookup_settings) for tables in used_tables)
    adoption_plan = list(chain.from_iterable(table_plans))

    other_tables = [] if is_ours else schema.other_tables(tx)
    names_by_kind = {"table": list[str](), "view": list[str]()}
    if is_ours or other_tables:
        names_by_kind["table"] = find_missing_tables(tx, lookup_settings)
    if (is_ours or other_tables) and names_user_task(settings):
        from pipeline.engine import task_registry

        if not is_ours or task_registry.find_registered_name(tx, settings) is None:
            names_by_kind["view"] = task_registry.list_planned_views(settings)

    new_objects = []
    for kind, names in names_by_kind.items():
        if names:
            plural_s = "s" if len(names) > 1 else ""
            new_objects.append(f"the {kind}{plural_s} {', '.join(names)}")

    if is_ours and new_objects:
        own_tables = set[str]()
        for tables in used_tables:
            for name, columns in tables.list_made_columns(tx, lookup_settings).items():
                if tuple(read_columns(tx, name)) == tuple(columns):
                    own_tables.add(name)
        other_tables = [name for name in schema.other_tables(tx) if name not in own_tables]

    return _PlannedAdditions(other_tables, new_objects, adoption_plan)


def _no_workspace_error(
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
