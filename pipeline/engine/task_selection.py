"""Find the tasks of a workspace, and choose the task of a command whose TASK= is not set.

The people task is the default: the first of BUILT_IN_TASKS. A task is used in a workspace if its
tables exist there, or if it is registered as a user's task is.
"""

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.core.settings import BUILT_IN_TASKS, Settings
from pipeline.engine.shipped_task import ShippedTask, shipped_tasks
from pipeline.engine.workspace_folder import check_links
from pipeline.store import schema, workspace
from pipeline.store.database import Connection, Store
from pipeline.tables.reflection import read_object_kind

if TYPE_CHECKING:
    from pipeline.engine.task import Task


def names_user_task(settings: Settings) -> bool:
    """Return whether TASK= names a user's task or one that is recorded as a user's task is."""
    return settings.task not in BUILT_IN_TASKS


def with_people(settings: Settings) -> Settings:
    """Return the settings with the people task as their task, as if TASK= were not set."""
    sources = {name: place for name, place in settings.sources.items() if name != "task"}
    return replace(settings, task=BUILT_IN_TASKS[0], sources=sources)


def settings_for_lookup(tx: Connection, settings: Settings, *, makes_tables: bool) -> Settings:
    """Return the settings with which `ShippedTask.is_used` is called.

    A shipped task is used if the settings name it or its tables exist. A command that makes no
    tables must find only tasks whose tables exist, so its task is left empty. If there is no
    workspace yet, the task is the people task.
    """
    if makes_tables:
        return settings
    if schema.is_workspace(tx):
        return replace(settings, task="")
    return with_people(settings)


def used_shipped_tasks(tx: Connection, settings: Settings) -> list[ShippedTask]:
    """Return the shipped tasks that this workspace uses."""
    return [task for task in shipped_tasks() if task.is_used(tx, settings)]


def find_missing_tables(tx: Connection, settings: Settings) -> dict[str, str]:
    """Return the missing tables and views of the used shipped tasks: "table" or "view" by name."""
    kinds_by_name = {}
    for task in used_shipped_tasks(tx, settings):
        for name, columns in task.load_tables().list_made_columns(tx, settings).items():
            if read_object_kind(tx, name) is None:
                kinds_by_name[name] = "table" if columns else "view"
    return kinds_by_name


def with_default_task(settings: Settings, *, allow_several: bool = False) -> Settings:
    """Return the settings with the task that a command without TASK= is about; write nothing.

    It is the people task, which settings without TASK= already have: these are returned unchanged.
    But if there are no people (no table or no row) and the workspace has a single other task, it is
    that task. Settings with TASK= are returned unchanged, too, and so are all settings if there is
    no workspace.

    Args:
        allow_several: If there are several other tasks, take the first one instead of raising.

    Raises:
        InputError: The table of people has no row, and the workspace has several other tasks. The
            message lists them.
        ConfigurationError: A link leads out of the workspace.
    """
    if "task" in settings.sources:
        return settings

    check_links(settings.data)
    with (
        contextlib.closing(Store(settings.confirmed_database_url.reveal())) as store,
        store.open_foreign_snapshot() as tx,
    ):
        if tx is None or not schema.is_workspace(tx):
            return settings

        used_tasks = {task.name: task for task in used_shipped_tasks(tx, settings)}
        people = used_tasks.pop(settings.task)
        user_task_names = [task.name for task in workspace.list_tasks(tx)]
        names = list(dict.fromkeys([*used_tasks, *user_task_names]))
        people_task = people.make_task(tx, settings)
        has_people = (
            people_task is not None
            and not find_missing_tables(tx, settings)
            and people_task.rows.table(tx).count_rows(tx) > 0
        )
        if not names or has_people:
            return settings

    if allow_several or len(names) == 1:
        return replace(settings, task=names[0])
    raise InputError(
        f"this workspace has no people but several tasks: {', '.join(names)}; nothing was done",
        hint=f"name a task, for example {OptionHint(task=names[0])}",
    )


def list_registered_tasks(tx: Connection, settings: Settings) -> "tuple[Task, ...]":
    """Return the user tasks that are recorded in this workspace."""
    if not workspace.list_tasks(tx):
        return ()

    from pipeline.engine import task_registry

    return task_registry.list_registered_tasks(tx, settings)


def with_used_task(settings: Settings, store: Store) -> Settings:
    """Return settings with the first used task, if the people task of the settings is not used.

    For commands about the whole workspace, for which any used task is good enough;
    `with_default_task` is for commands about one task. The settings are returned unchanged if TASK=
    names a task, if the database does not exist, or if no task is used.
    """
    is_named = "task" in settings.sources or settings.task != BUILT_IN_TASKS[0]
    if is_named or not (store.path is None or store.path.exists()):
        return settings

    with store.read() as tx:
        if not schema.is_workspace(tx):
            return settings
        lookup_settings = settings_for_lookup(tx, settings, makes_tables=False)
        task_names = [task.name for task in used_shipped_tasks(tx, lookup_settings)]
        task_names.extend(task.name for task in workspace.list_tasks(tx))
    if settings.task in task_names or not task_names:
        return settings
    return replace(settings, task=task_names[0])
