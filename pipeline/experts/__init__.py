"""The subject experts: people, their tags and their score. Its table and its task are in every workspace."""

from typing import TYPE_CHECKING

from pipeline.core.errors import ConfigurationError
from pipeline.core.step import Hint, Option, Step
from pipeline.store.workspace import UNTAGGED, events_of

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

    said = [settings.index_untagged, *(one["new"] == "1" for one in events_of(tx, UNTAGGED)[::-1])]  # the newest first
    task = ExpertsTask(WITH_TEXT if next((one for one in said if one is not None), False) else TAGGED)
    label = settings.version or task.label
    if label != task.label and label.partition("@")[0] == task.name:
        raise ConfigurationError(f"{Option(version=label)}: people are asked about under {task.label}")
    return task
