"""Which tasks of a workspace are indexed, and the request to index a task."""

from collections.abc import Iterable

from askrows.pipeline.core.errors import InputError
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_values import IndexedTask
from askrows.pipeline.workspace.open_workspace import OpenWorkspace


def find_indexed_task(workspace: OpenWorkspace, task: Task) -> IndexedTask | None:
    """Return how a task is indexed, such as its folder and its entries; None if it is not.

    Some tasks are only indexed after a first request for it, which makes their folder.
    """
    index = task.index
    if index is None or not index.is_on_request:
        return index
    is_requested = (workspace.data / "index" / index.folder).is_dir()
    return index if is_requested else None


def is_task_indexed(workspace: OpenWorkspace, task: Task) -> bool:
    """Return whether a task is indexed; see `find_indexed_task`."""
    return find_indexed_task(workspace, task) is not None


def require_indexed_task(workspace: OpenWorkspace, task: Task) -> IndexedTask:
    """Return how a task is indexed and searched; see `find_indexed_task`.

    Raises:
        InputError: The task has no index, or nobody has indexed it yet in this workspace.
    """
    index = find_indexed_task(workspace, task)
    if index is not None:
        return index

    raise InputError(
        f"{task.nouns.plural} are not in the search index yet and cannot be searched",
        hint=task.index_hint,
    )


def list_indexed_tasks(workspace: OpenWorkspace, tasks: Iterable[Task]) -> list[IndexedTask]:
    """Return how each indexed task is indexed."""
    indexes = (find_indexed_task(workspace, task) for task in tasks)
    return [index for index in indexes if index is not None]


def mark_task_as_indexed(workspace: OpenWorkspace, task: Task) -> None:
    """Mark a task as indexed by making its index folder, unless its file has no `index=`."""
    if task.index is not None:
        (workspace.data / "index" / task.index.folder).mkdir(parents=True, exist_ok=True)
