"""Subject package for passages: texts, and concepts with quoted evidence.

The other modules of the package are imported only in a workspace that has passages.
"""

from typing import TYPE_CHECKING

from pipeline.core.command_hint import CommandHint, HintTemplate
from pipeline.passages.table_names import ADOPTION_INDEX, CONCEPTS
from pipeline.store import runs, schema

if TYPE_CHECKING:
    from pipeline.core.settings import Settings
    from pipeline.engine.task import Task
    from pipeline.store.database import Connection

how_to_begin = HintTemplate(
    "`{}` brings passages in", CommandHint("import-passages", passages="file.jsonl")
)


def is_here(tx: "Connection", settings: "Settings") -> bool:
    """Return whether the task in use is passages, or the passage tables are adopted."""
    if settings.task == "passages":
        return True

    if not schema.has_index(tx, CONCEPTS, ADOPTION_INDEX):
        return False

    from pipeline.passages.table import is_adopted

    return is_adopted(tx, settings)


def task_of(tx: "Connection", settings: "Settings") -> "Task":
    """Return the passages task under the prompt version that the settings select.

    The version is VERSION=, else that of an unfinished backfill, else the first version.

    A passage that has concepts of a skipped version is not asked. SKIP_VERSIONS= lists the
    skipped versions. Its default is the version itself with VERSION=, the list that an
    unfinished backfill began with, and every version in all other cases.
    """
    from pipeline.passages.shape import read_shape
    from pipeline.passages.table import TASK
    from pipeline.passages.task import FIRST_VERSION, ConceptsTask

    prompt_version = settings.version
    skipped_versions = settings.skip_versions
    if prompt_version is not None:
        if skipped_versions is None:
            skipped_versions = (prompt_version,)
    else:
        backfill = runs.find_unfinished_run(tx, TASK, mode=runs.BACKFILL)
        if backfill is not None:
            prompt_version = backfill.extractor.partition("/")[0]
            if skipped_versions is None:
                skipped_versions = backfill.skipped

    shape = read_shape(tx, passages=settings.passages_table)
    return ConceptsTask(shape, settings, prompt_version or FIRST_VERSION, skipped_versions)
