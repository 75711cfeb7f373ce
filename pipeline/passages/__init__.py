"""The subject passages: texts, and concepts with quoted evidence. Nothing else of it is loaded where there are none."""

from typing import TYPE_CHECKING

from pipeline.core.command_hint import CommandHint, HintTemplate
from pipeline.store import runs, schema

if TYPE_CHECKING:
    from pipeline.core.settings import Settings
    from pipeline.engine.task import Task
    from pipeline.store.database import Connection

CONCEPTS = "passage_concepts"
MARK = "passage_concepts_of_passage"  # its index that is made last: where it is, the tables were adopted
how_to_begin = HintTemplate(
    "`{}` brings passages in", CommandHint("import-passages", passages="file.jsonl")
)


def is_here(tx: "Connection", settings: "Settings") -> bool:
    """Return whether passages were ever asked about here, or are about to be."""
    if settings.task == "passages":
        return True
    if not schema.has_index(tx, CONCEPTS, MARK):
        return False
    from pipeline.passages.table import is_adopted

    return is_adopted(tx, settings)


def task_of(tx: "Connection", settings: "Settings") -> "Task":
    """Return the task.

    Answers are attributed to VERSION=, else to the version of a backfill that is not over, else to the first. Beside
    the version itself, SKIP_VERSIONS= says whose concepts keep a passage from being asked: all without it, but none
    where VERSION= or `--no-resume` began a version of its own; a backfill goes on as it began.
    """
    from pipeline.passages.table import TASK, read_shape
    from pipeline.passages.task import LABEL, ConceptsTask

    label = settings.version
    skips = settings.skip_versions
    if label is not None:
        skips = (label,) if skips is None else skips
    elif (backfill := runs.unfinished_run(tx, TASK, mode=runs.BACKFILL)) is not None:
        label = backfill.extractor.partition("/")[0]
        skips = backfill.skipped if skips is None else skips
    shape = read_shape(tx, passages=settings.passages_table)
    return ConceptsTask(shape, settings, label or LABEL, skips)
