"""The experts as a subject: their table, their task, and what of them is indexed."""

from typing import TYPE_CHECKING

from pipeline.core.errors import ConfigurationError
from pipeline.core.task import Subject
from pipeline.experts.collection import ExpertsCollection
from pipeline.experts.table import TASK
from pipeline.experts.task import HOW_TO_FILL, LABEL, TAGS

if TYPE_CHECKING:
    from pipeline.core.settings import Settings
    from pipeline.store.database import Connection

how_to_begin = HOW_TO_FILL


def is_here(tx: "Connection", settings: "Settings") -> bool:  # noqa: ARG001 - every workspace has experts
    """Return whether this workspace has the subject."""
    return True


def subject(tx: "Connection", settings: "Settings") -> Subject:  # noqa: ARG001 - the same for every workspace
    """Return the subject.

    Raises:
        ConfigurationError: VERSION= is another version of the question about people than there is.
    """
    label = settings.version or LABEL
    if label != LABEL and label.partition("@")[0] == TASK:
        raise ConfigurationError(f"VERSION={label}: people are asked about under {LABEL}")
    return Subject("experts", TAGS, ExpertsCollection())
