"""The experts as a subject: their table, their task, and what of them is indexed."""

from typing import TYPE_CHECKING

from pipeline.core.task import Subject
from pipeline.experts import adopt as experts_adopt
from pipeline.experts.collection import ExpertsCollection
from pipeline.experts.hooks import ExpertsHooks
from pipeline.experts.task import TagsTask

if TYPE_CHECKING:
    from pipeline.core.settings import Settings
    from pipeline.store.database import Connection


def is_here(tx: "Connection", settings: "Settings") -> bool:  # noqa: ARG001 - every workspace has experts
    """Return whether this workspace has the subject."""
    return True


def is_adopted(tx: "Connection", settings: "Settings") -> bool:  # noqa: ARG001 - nothing of it is a setting
    """Return whether `adopt` would find nothing to do."""
    return experts_adopt.is_adopted(tx)


def adopt(tx: "Connection", settings: "Settings") -> list[str]:  # noqa: ARG001 - nothing of it is a setting
    """Make the table, or add to an existing one what it lacks; see `experts.adopt`."""
    return experts_adopt.adopt(tx)


def check_movable(tx: "Connection", settings: "Settings") -> None:
    """Pass: the table has one name."""


def subject(tx: "Connection", settings: "Settings") -> Subject:  # noqa: ARG001 - the same for every workspace
    """Return the subject."""
    return Subject("experts", TagsTask(), ExpertsCollection(), ExpertsHooks())
