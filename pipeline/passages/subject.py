"""The passages as a subject: their tables, and their task under the version in use."""

from typing import TYPE_CHECKING

from pipeline.passages import adopt as tables
from pipeline.passages import preferring, table
from pipeline.passages.concepts import LABEL, ConceptsTask
from pipeline.passages.preferring import Preference
from pipeline.passages.schema import look
from pipeline.store import runs, versions
from pipeline.task import Subject

if TYPE_CHECKING:
    from pipeline.passages.schema import Shape
    from pipeline.settings import Settings
    from pipeline.store.database import Connection


def is_adopted(tx: "Connection", settings: "Settings") -> bool:
    """Return whether `adopt` would find nothing to do."""
    if not tables.is_adopted(tx, passages=settings.passages_table):
        return False
    return settings.task != "passages" or preferring.is_ready(tx, _look(tx, settings), preference(settings))


def adopt(tx: "Connection", settings: "Settings") -> list[str]:
    """Make the tables, or add to existing ones what they lack; see `passages.adopt`."""
    lines = tables.adopt(tx, passages=settings.passages_table)
    return lines + (
        preferring.ready(tx, _look(tx, settings), preference(settings)) if settings.task == "passages" else []
    )


def preference(settings: "Settings") -> Preference:
    """Return which concepts are the best ones, as it is set."""
    return Preference(settings.prefer_versions, settings.min_confidence)


def subject(tx: "Connection", settings: "Settings") -> Subject:
    """Return the subject; nothing of it is indexed.

    Answers are attributed to VERSION=, else to the version of a backfill that is not over, else to the first. Beside
    the version itself, SKIP_VERSIONS= says whose concepts keep a passage from being asked: all without it, but none
    where VERSION= or `--no-resume` began a version of its own.
    """
    label = settings.version
    begun = versions.listed(tx, table.TASK)
    if label is None:
        backfill = runs.unfinished(tx, table.TASK, mode=runs.BACKFILL)
        label = LABEL if backfill is None else backfill.extractor.partition("/")[0]
    skips = settings.skip_versions
    if skips is None and settings.version is not None:
        skips = (label,)
    elif skips is None:
        skips = next((one.skips for one in begun if one.label == label), None)
    return Subject("passages", ConceptsTask(_look(tx, settings), label, skips), None)


def _look(tx: "Connection", settings: "Settings") -> "Shape":
    return look(tx, passages=settings.passages_table)
