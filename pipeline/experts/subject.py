"""The experts as a subject: their table, their task, and what of them is indexed."""

from typing import TYPE_CHECKING

from pipeline.core.errors import ConfigurationError
from pipeline.core.task import Subject
from pipeline.experts.collection import ExpertsCollection
from pipeline.experts.prompts import CURRENT, PROMPTS
from pipeline.experts.table import TASK
from pipeline.experts.task import HOW_TO_FILL, tags_task

if TYPE_CHECKING:
    from pipeline.core.settings import Settings
    from pipeline.store.database import Connection

how_to_begin = HOW_TO_FILL


def is_here(tx: "Connection", settings: "Settings") -> bool:  # noqa: ARG001 - every workspace has experts
    """Return whether this workspace has the subject."""
    return True


def subject(tx: "Connection", settings: "Settings") -> Subject:  # noqa: ARG001 - the same for every workspace
    """Return the subject, whose task asks under VERSION= where that is one of its own, else under the current one.

    Raises:
        ConfigurationError: there is no such version of the question about people.
    """
    label = settings.version or ""
    asked = PROMPTS.get(label, CURRENT)
    if label != asked.label and label.partition("@")[0] == TASK:
        raise ConfigurationError(f"VERSION={label}: people are asked about under {' or '.join(PROMPTS)}")
    return Subject("experts", tags_task(asked), ExpertsCollection())
