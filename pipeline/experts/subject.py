"""The experts as a subject: their table and their task, which every workspace has."""

from typing import TYPE_CHECKING

from pipeline.core.errors import ConfigurationError
from pipeline.experts.task import HOW_TO_FILL, LABEL, TASK

if TYPE_CHECKING:
    from pipeline.core.settings import Settings
    from pipeline.engine.task import Task
    from pipeline.store.database import Connection

how_to_begin = HOW_TO_FILL


def is_here(tx: "Connection", settings: "Settings") -> bool:  # noqa: ARG001 - every workspace has experts
    """Return whether this workspace has the subject."""
    return True


def task_of(tx: "Connection", settings: "Settings") -> "Task":  # noqa: ARG001 - the same for every workspace
    """Return the task.

    Raises:
        ConfigurationError: VERSION= is another version of the question about people than there is.
    """
    label = settings.version or LABEL
    if label != LABEL and label.partition("@")[0] == TASK.name:
        raise ConfigurationError(f"VERSION={label}: people are asked about under {LABEL}")
    return TASK
