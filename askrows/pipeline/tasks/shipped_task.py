"""Tasks that ship with askrows as packages, and the registry of them.

A program registers them when it starts, so that no module here names one.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from askrows.pipeline.core.command_hint import HintTemplate

# Programs register the tasks when they start, so nothing heavy is imported here.
if TYPE_CHECKING:
    from sqlalchemy import Connection

    from askrows.pipeline.core.settings import Settings
    from askrows.pipeline.rows.task_tables import TaskTables
    from askrows.pipeline.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class ShippedTask:
    """A task that ships with askrows.

    The `load_` functions import the modules of the task, which a workspace without it never needs.
    """

    # Value of TASK=.
    name: str
    # Command that brings rows in.
    how_to_begin: HintTemplate
    # The database index that exists as soon as all tables of the task were adopted, and its table.
    adoption_index: str
    indexed_table: str
    # Returns the task as the workspace uses it.
    make_task: "Callable[[Connection, Settings], Task]"
    load_tables: "Callable[[], TaskTables]"
    # Returns the `quality.figures.TaskMeasure` of the task; None if the figures of all tasks are
    # enough. This package knows nothing of quality.
    load_measure: "Callable[[], object] | None" = None

    def is_used(self, tx: "Connection") -> bool:
        """Return whether a workspace uses the task: its tables are adopted, or askrows made them.

        Another program may have dropped them since.
        """
        from askrows.pipeline.store import journal, schema

        has_index = schema.has_index(tx, self.indexed_table, self.adoption_index)
        return has_index or self.indexed_table in journal.read_created_tables(tx)


_registered_tasks: dict[str, ShippedTask] = {}


def register_shipped_tasks(tasks: Iterable[ShippedTask]) -> None:
    """Make tasks known to all workspaces of this process, in the order of lists."""
    for task in tasks:
        _registered_tasks[task.name] = task


def list_shipped_tasks() -> tuple[ShippedTask, ...]:
    """Return the registered tasks in the order of registration."""
    return tuple(_registered_tasks.values())


def find_shipped_task(name: str) -> ShippedTask | None:
    """Return a registered task by the value of TASK=; None if there is none of that name."""
    return _registered_tasks.get(name)
