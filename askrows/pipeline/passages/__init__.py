"""Passages: texts, and concepts with quoted evidence.

- `declaration` has the question and the form of an answer; `task` is the task.
- `table` has the tables of passages and concepts, and the states of passages.
- `evidence` checks quotations.
- `import_` imports passages, `show` lists and exports them, and `quality` has the figures.
"""

from typing import TYPE_CHECKING

from askrows.pipeline.core.command_hint import CommandHint, HintTemplate
from askrows.pipeline.tasks.shipped_task import ShippedTask

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from askrows.pipeline.core.settings import Settings
    from askrows.pipeline.quality.figures import QualityFigures, TaskMeasure
    from askrows.pipeline.rows.task_tables import TaskTables
    from askrows.pipeline.tasks.task import Task

PASSAGES = "passages"
CONCEPTS = "passage_concepts"
# The last index that adoption creates. If it exists, both tables were adopted completely.
ADOPTION_INDEX = "passage_concepts_of_passage"
HOW_TO_BEGIN = HintTemplate(
    "`{}` imports passages",
    CommandHint("import-passages", passages="file.jsonl"),
)


def _make_task_of_selected_version(tx: "Connection", settings: "Settings") -> "Task":
    """Return the passages task under the prompt version that the settings select; only read.

    The version is VERSION=, else that of an unfinished run, which may take days, else the first
    version.

    A passage that has concepts of a skipped version is not asked. The setting SKIP_VERSIONS lists
    the skipped versions. If it is not set, they are:

    - with VERSION=, that version;
    - during an unfinished run, the versions that were skipped when it was started or continued;
    - otherwise every version, so that a passage with any concepts is not asked.
    """
    from askrows.pipeline.passages.table import TASK, read_shape
    from askrows.pipeline.passages.task import RECORD, PassagesTask
    from askrows.pipeline.store import runs

    prompt_version = settings.version
    skipped_versions = settings.skip_versions
    if prompt_version is not None:
        if skipped_versions is None:
            skipped_versions = (prompt_version,)
    else:
        unfinished_run = runs.find_unfinished_tag_run(tx, TASK)
        if unfinished_run is not None:
            prompt_version = unfinished_run.version.partition("/")[0]
            if skipped_versions is None:
                skipped_versions = unfinished_run.skipped

    shape = read_shape(tx, passages=settings.passages_table)
    return PassagesTask(shape, settings, prompt_version or RECORD.prompt_version, skipped_versions)


def _load_tables() -> "TaskTables":
    from askrows.pipeline.passages.table import TABLES

    return TABLES


def _load_concept_measure() -> "TaskMeasure":
    """Import the function that measures concepts; return it with the definitions of its figures."""
    from askrows.pipeline.passages.quality import FIGURES, measure_concept_quality
    from askrows.pipeline.passages.task import PassagesTask
    from askrows.pipeline.quality.figures import TaskMeasure

    def measure_concepts(tx: "Connection", task: "Task", version: str | None) -> "QualityFigures":
        """Measure the concepts in the tables of the task."""
        assert isinstance(task, PassagesTask)  # noqa: S101 - this registration made it
        return measure_concept_quality(tx, task.shape, version)

    return TaskMeasure(FIGURES, measure_concepts)


PASSAGES_TASK = ShippedTask(
    name=PASSAGES,
    how_to_begin=HOW_TO_BEGIN,
    adoption_index=ADOPTION_INDEX,
    indexed_table=CONCEPTS,
    make_task=_make_task_of_selected_version,
    load_tables=_load_tables,
    load_measure=_load_concept_measure,
)
