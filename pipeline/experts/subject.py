"""The experts as a subject: their table, their task, and what of them is indexed."""

from typing import TYPE_CHECKING

from pipeline.core.task import Subject
from pipeline.experts.collection import ExpertsCollection
from pipeline.experts.task import TAGS

if TYPE_CHECKING:
    from pipeline.core.settings import Settings
    from pipeline.store.database import Connection


def is_here(tx: "Connection", settings: "Settings") -> bool:  # noqa: ARG001 - every workspace has experts
    """Return whether this workspace has the subject."""
    return True


def check_movable(tx: "Connection", settings: "Settings") -> None:
    """Pass: the table has one name."""


def subject(tx: "Connection", settings: "Settings") -> Subject:  # noqa: ARG001 - the same for every workspace
    """Return the subject."""
    return Subject("experts", TAGS, ExpertsCollection())
