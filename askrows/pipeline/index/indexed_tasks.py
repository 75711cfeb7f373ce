"""Which tasks of a workspace are indexed, and the request to index a task."""

from collections.abc import Iterable

from askrows.pipeline.core.errors import InputError
from askrows.pipeline.tasks.task import IndexedTask, Task
from askrows.pipeline.workspace.open_workspace import OpenWorkspace


def is_task_indexed(workspace: OpenWorkspace, task: Task) -> bool:
    """Return whether a task is indexed; some tasks only are after a first request for it."""
    index = task.index
    return index is not None and (
        not index.is_on_request or (workspace.data / "index" / index.folder).is_dir()
    )


def require_indexed_task(workspace: OpenWorkspace, task: Task) -> IndexedTask:
    """Return how a task is indexed and searched, such as its folder and its entries.

    Raises:
        InputError: The task has no index, or nobody has indexed it yet in this workspace.
    """
    index = task.index
    if index is not None and is_task_indexed(workspace, task):
        return index

    nouns = task.nouns
    export_command = nouns.command("export", to="answers.csv")
    export_hint = f"`{export_command}` writes all answers"
    raise InputError(
        f"{nouns.plural} are not in the search index yet and cannot be searched",
        hint=task.index_hint or export_hint,
    )


def list_indexed_tasks(workspace: OpenWorkspace, tasks: Iterable[Task]) -> list[IndexedTask]:
    """Return how each indexed task is indexed."""
    return [
        task.index for task in tasks if task.index is not None and is_task_indexed(workspace, task)
    ]


def mark_task_as_indexed(workspace: OpenWorkspace, task: Task) -> None:
    """Mark a task as indexed by making its index folder, unless its file has no `index=`."""
    if task.index is not None:
        (workspace.data / "index" / task.index.folder).mkdir(parents=True, exist_ok=True)
