"""Registration of the task of images: a user's task that ships with findable."""

from typing import TYPE_CHECKING

from pipeline.engine.shipped_task import ShippedTask
from pipeline.images import ADOPTION_INDEX, ASSET_AI, HOW_TO_BEGIN, TASK

if TYPE_CHECKING:
    from pipeline.core.declaration import Declaration
    from pipeline.core.settings import Settings
    from pipeline.engine.task import Task
    from pipeline.store.workspace import TaskRecord
    from pipeline.tables.adopt import TaskTables


def _load_tables() -> "TaskTables":
    from pipeline.images.table import LIBRARY

    return LIBRARY


def _load_declaration() -> "Declaration":
    from pipeline.images.declaration import task

    return task


def _make_recorded_task(record: "TaskRecord", settings: "Settings", provider: str) -> "Task":
    from pipeline.images.task import make_images_task

    return make_images_task(record, settings, provider)


IMAGES_TASK = ShippedTask(
    name=TASK,
    how_to_begin=HOW_TO_BEGIN,
    adoption_index=ADOPTION_INDEX,
    indexed_table=ASSET_AI,
    # The task is among the recorded tasks of the workspace.
    make_task=lambda _tx, _settings: None,
    load_tables=_load_tables,
    load_declaration=_load_declaration,
    make_recorded_task=_make_recorded_task,
)
