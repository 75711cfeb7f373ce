"""Experts: people of a table, with tags and a findability score.

- `declaration` has the question, the form of an answer and the version; `task` is the task.
- `table` has the table `experts`: its columns, the states of people, and the score.
- `import_` imports people, `person_rows` checks each of them, and `show` lists and exports them.
- `tags` counts and merges tags. `index_entries` has the indexes, and `quality` the figures.
"""

from typing import TYPE_CHECKING

from askrows.pipeline.core.command_hint import CommandHint, HintTemplate, OptionHint
from askrows.pipeline.core.errors import ConfigurationError
from askrows.pipeline.tasks.shipped_task import ShippedTask

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from askrows.pipeline.core.settings import Settings
    from askrows.pipeline.quality.figures import TaskMeasure
    from askrows.pipeline.rows.adopt import TaskTables
    from askrows.pipeline.tasks.task import Task

EXPERTS = "experts"
# This index is created last: if it exists, the adoption of the table was completed.
ADOPTION_INDEX = "askrows_experts_unscored"
HOW_TO_BEGIN = HintTemplate("`{}` imports people", CommandHint("import", experts="people.csv"))


def _make_task(tx: "Connection", settings: "Settings") -> "Task":
    """Return the people task, with the index that the workspace uses.

    The index has the columns of the setting INDEX_COLUMNS. If the setting is absent, the newest
    recorded choice of the workspace decides; without a choice the index has no other columns.

    Raises:
        ConfigurationError: VERSION= is another version of this task.
    """
    from askrows.pipeline.experts.index_entries import make_people_index
    from askrows.pipeline.experts.task import PeopleTask
    from askrows.pipeline.store import journal

    text_columns = settings.index_columns
    if text_columns is None:
        text_columns = journal.read_index_columns(tx)

    index = make_people_index(text_columns)
    task = PeopleTask(index, vocabulary_file=settings.tags_from)

    prompt_version = settings.version or task.prompt_version
    if prompt_version != task.prompt_version and prompt_version.partition("@")[0] == task.name:
        raise ConfigurationError(
            f"version {prompt_version!r} does not exist: "
            f"people are tagged with {task.prompt_version}",
            hint=f"leave out {OptionHint('version')}",
        )
    return task


def _load_tables() -> "TaskTables":
    from askrows.pipeline.experts.table import PEOPLE

    return PEOPLE


def _load_measure() -> "TaskMeasure":
    from askrows.pipeline.experts.quality import FIGURES, measure
    from askrows.pipeline.quality.figures import TaskMeasure

    return TaskMeasure(FIGURES, measure)


EXPERTS_TASK = ShippedTask(
    name=EXPERTS,
    how_to_begin=HOW_TO_BEGIN,
    adoption_index=ADOPTION_INDEX,
    indexed_table=EXPERTS,
    make_task=_make_task,
    load_tables=_load_tables,
    load_measure=_load_measure,
)
