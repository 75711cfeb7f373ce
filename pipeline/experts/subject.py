"""The experts as a subject: their table, their task, and what of them is indexed."""

from typing import TYPE_CHECKING

from pipeline.experts import adopt as table
from pipeline.experts.collection import ExpertsCollection
from pipeline.experts.tags import TagsTask
from pipeline.task import Subject

if TYPE_CHECKING:
    from pipeline.settings import Settings
    from pipeline.store.database import Connection


def is_adopted(tx: "Connection", settings: "Settings") -> bool:  # noqa: ARG001 - nothing of it is a setting
    """Return whether `adopt` would find nothing to do."""
    return table.is_adopted(tx)


def adopt(tx: "Connection", settings: "Settings") -> list[str]:  # noqa: ARG001 - nothing of it is a setting
    """Make the table, or add to an existing one what it lacks; see `experts.adopt`."""
    return table.adopt(tx)


def subject(tx: "Connection", settings: "Settings") -> Subject:  # noqa: ARG001 - the same for every workspace
    """Return the subject."""
    return Subject("experts", TagsTask(), ExpertsCollection())
