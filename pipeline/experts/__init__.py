"""Find the experts subject in a workspace and build its task.

An expert is a person in the table `experts`, with tags and a findability score.
"""

from typing import TYPE_CHECKING

from pipeline.core.command_hint import CommandHint, HintTemplate, OptionHint
from pipeline.core.errors import ConfigurationError
from pipeline.experts.names import ADOPTION_INDEX, EXPERTS
from pipeline.store import schema
from pipeline.store.workspace import UNTAGGED_EVENT, events_of

if TYPE_CHECKING:
    from pipeline.core.settings import Settings
    from pipeline.engine.task import Task
    from pipeline.store.database import Connection

how_to_begin = HintTemplate("`{}` brings people in", CommandHint("import", experts="people.csv"))


def is_here(tx: "Connection", settings: "Settings") -> bool:
    """Return whether this workspace has the experts subject.

    Returns:
        True if the setting TASK selects it, the table of people was adopted, or the database has
        neither a workspace nor a table of another program.
    """
    if settings.task == EXPERTS or schema.has_index(tx, EXPERTS, ADOPTION_INDEX):
        return True
    return not (schema.is_workspace(tx) or schema.other_tables(tx))


def task_of(tx: "Connection", settings: "Settings") -> "Task":
    """Return the task of the experts subject, with the index that the workspace uses.

    The index includes untagged people if the setting says so. If the setting is absent, the newest
    recorded choice of the workspace decides; without a choice the index has tagged people only.

    Raises:
        ConfigurationError: VERSION= is another version of this task.
    """
    from pipeline.experts.task import TAGGED_INDEX, TAGGED_OR_TEXT_INDEX, ExpertsTask

    if settings.index_untagged is not None:
        includes_untagged = settings.index_untagged
    else:
        recorded_choices = [event["new"] == "1" for event in events_of(tx, UNTAGGED_EVENT)]
        includes_untagged = bool(recorded_choices) and recorded_choices[-1]

    index = TAGGED_INDEX
    if includes_untagged:
        index = TAGGED_OR_TEXT_INDEX
    task = ExpertsTask(index, refreshes=settings.refresh)

    label = settings.version or task.label
    if label != task.label and label.partition("@")[0] == task.name:
        raise ConfigurationError(
            f"{OptionHint(version=label)}: people are asked about under {task.label}",
        )
    return task
