"""The subject experts: people, their tags and their score. Its table and its task are in every workspace."""

from typing import TYPE_CHECKING

from pipeline.core.errors import ConfigurationError
from pipeline.core.step import Hint, Option, Step
from pipeline.store.workspace import takes_untagged

if TYPE_CHECKING:
    from pipeline.core.settings import Settings
    from pipeline.engine.task import Task
    from pipeline.store.database import Connection

how_to_begin = Hint("`{}` brings people in", Step("import", experts="people.csv"))


def is_here(tx: "Connection", settings: "Settings") -> bool:  # noqa: ARG001 - every workspace has experts
    """Return whether this workspace has the subject."""
    return True


def task_of(tx: "Connection", settings: "Settings") -> "Task":
    """Return the task.

    ConfigurationError where VERSION= is another version of the question about people than there is.
    """
    from pipeline.experts.task import TAGGED, WITH_TEXT, ExpertsTask

    takes = settings.index_untagged if settings.index_untagged is not None else takes_untagged(tx)
    task = ExpertsTask(WITH_TEXT if takes else TAGGED)
    label = settings.version or task.label
    if label != task.label and label.partition("@")[0] == task.name:
        raise ConfigurationError(f"{Option(version=label)}: people are asked about under {task.label}")
    return task
