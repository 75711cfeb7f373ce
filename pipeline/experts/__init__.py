"""The subject experts: people, their tags and their score."""

from typing import TYPE_CHECKING

from pipeline.core.command_hint import CommandHint, HintTemplate, OptionHint
from pipeline.core.errors import ConfigurationError
from pipeline.experts.names import EXPERTS, MARK
from pipeline.store import schema
from pipeline.store.workspace import UNTAGGED, events_of

if TYPE_CHECKING:
    from pipeline.core.settings import Settings
    from pipeline.engine.task import Task
    from pipeline.store.database import Connection

how_to_begin = HintTemplate("`{}` brings people in", CommandHint("import", experts="people.csv"))


def is_here(tx: "Connection", settings: "Settings") -> bool:
    """Return whether this workspace has people, or is about to get some; one in a database of its own has the table."""
    if settings.task == EXPERTS or schema.has_index(tx, EXPERTS, MARK):
        return True
    return not (schema.is_workspace(tx) or schema.other_tables(tx))


def task_of(tx: "Connection", settings: "Settings") -> "Task":
    """Return the task.

    ConfigurationError where VERSION= is another version of the question about people than there is.
    """
    from pipeline.experts.task import TAGGED, WITH_TEXT, ExpertsTask

    said = [
        settings.index_untagged,
        *(one["new"] == "1" for one in events_of(tx, UNTAGGED)[::-1]),
    ]  # the newest first
    index = WITH_TEXT if next((one for one in said if one is not None), False) else TAGGED
    task = ExpertsTask(index, refreshes=settings.refresh)
    label = settings.version or task.label
    if label != task.label and label.partition("@")[0] == task.name:
        raise ConfigurationError(
            f"{OptionHint(version=label)}: people are asked about under {task.label}"
        )
    return task
