"""Find the tasks of a workspace, and choose the task of a command whose TASK= is not set.

A task is used in a workspace if it is registered there, or if its tables exist.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import replace

from askrows.pipeline.core.command_hint import HintTemplate, OptionHint
from askrows.pipeline.core.errors import InputError, TaskNeverUsedError
from askrows.pipeline.core.settings import BUILT_IN_TASKS, DEFAULT_TASK, Settings
from askrows.pipeline.rows.folder_files import make_import_hint
from askrows.pipeline.store import rows, schema, workspace
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.tasks.shipped_task import ShippedTask, list_shipped_tasks
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.workspace.open_workspace import check_no_link_leads_out


def is_user_task_set(settings: Settings) -> bool:
    """Return whether TASK= names a user's task or one that is recorded as a user's task is."""
    return settings.task not in BUILT_IN_TASKS


def reset_to_default_task(settings: Settings) -> Settings:
    """Return the settings with the default task, as if TASK= were not set."""
    sources = {name: place for name, place in settings.sources.items() if name != "task"}
    return replace(settings, task=DEFAULT_TASK, sources=sources)


def find_task_by_name(tasks: Iterable[Task], name: str, *, default: Task) -> Task:
    """Return the task of a name as batches store it, or the default if no task has that name."""
    return next((task for task in tasks if task.name == name), default)


def list_used_shipped_tasks(tx: Connection) -> list[ShippedTask]:
    """Return the shipped tasks whose tables this workspace has."""
    return [task for task in list_shipped_tasks() if task.is_used(tx)]


def list_used_task_names(tx: Connection) -> list[str]:
    """Return the names of the tasks that this workspace uses; shipped tasks are first."""
    names = [task.name for task in list_used_shipped_tasks(tx)]
    names += [task.name for task in workspace.list_task_records(tx)]
    return list(dict.fromkeys(names))


def replace_default_task_if_empty(settings: Settings, *, allow_several: bool) -> Settings:
    """Return the settings with the task that a command without TASK= is about; write nothing.

    It is DEFAULT_TASK, which settings without TASK= already have: these are returned unchanged. But
    if that has no rows and the workspace has a single other task, it is that task. Settings with
    TASK= are returned unchanged, too, and so are all settings if there is no workspace.

    Args:
        allow_several: If there are several other tasks, take the first one instead of raising.

    Raises:
        InputError: The default task has no row, and the workspace has several other tasks. The
            message lists them.
        ConfigurationError: A link leads out of the workspace.
    """
    if "task" in settings.sources:
        return settings

    check_no_link_leads_out(settings.data)
    with (
        contextlib.closing(Store(settings.confirm_and_get_database_url().reveal())) as store,
        store.open_foreign_snapshot_if_exists() as tx,
    ):
        if tx is None or not schema.detect_workspace_and_check_schema(tx):
            return settings

        names = list_used_task_names(tx)
        other_names = [name for name in names if name != settings.task]
        if not other_names or (settings.task in names and rows.has_rows(tx, settings.task)):
            return settings

    if allow_several or len(other_names) == 1:
        return replace(settings, task=other_names[0])
    raise InputError(
        f"this workspace has no rows of {DEFAULT_TASK} but several tasks: "
        f"{', '.join(other_names)}; nothing was done",
        hint=f"name a task, for example {OptionHint(task=other_names[0])}",
    )


def replace_unused_task_by_first_used(tx: Connection, settings: Settings) -> Settings:
    """Return settings with a task that this workspace uses, for a command about all of it.

    It is the task of the settings if that is used, else the first used task.
    `replace_default_task_if_empty` is for commands about one task.

    Raises:
        TaskNeverUsedError: The workspace uses no task, because its first command was killed.
    """
    names = list_used_task_names(tx)
    if settings.task in names:
        return settings
    if not names:
        command = make_import_hint(DEFAULT_TASK, has_folder=False)
        hint = HintTemplate("`{}` imports rows", command)
        raise TaskNeverUsedError(DEFAULT_TASK, settings.data, hint=hint)
    return replace(reset_to_default_task(settings), task=names[0])
