"""Images: files of a library, each with a summary and buckets of tags.

Images are a declared task that ships with askrows. Its answers are also written to `asset_ai`, for
other programs.

- `declaration` has the question and the form of an answer; `task` is the task.
- `table` has the tables, and `import_` imports the images of a folder.
"""

from typing import TYPE_CHECKING

from askrows.pipeline.core.command_hint import CommandHint, HintTemplate
from askrows.pipeline.tasks.shipped_task import ShippedTask

if TYPE_CHECKING:
    from askrows.pipeline.core.declaration import Declaration
    from askrows.pipeline.core.settings import Settings
    from askrows.pipeline.rows.adopt import TaskTables
    from askrows.pipeline.store.workspace import TaskRecord
    from askrows.pipeline.tasks.user_task import UserTask

TASK = "images"
ASSETS = "assets"
ASSET_AI = "asset_ai"
# The last index that adoption creates. If it exists, both tables were adopted completely.
ADOPTION_INDEX = "askrows_asset_ai_of_asset"
HOW_TO_BEGIN = HintTemplate("`{}` imports images", CommandHint("import-images", folder="photos/"))


def _load_tables() -> "TaskTables":
    from askrows.pipeline.images.table import LIBRARY

    return LIBRARY


def _load_declaration() -> "Declaration":
    from askrows.pipeline.images.declaration import task

    return task


def _make_recorded_task(record: "TaskRecord", settings: "Settings", provider: str) -> "UserTask":
    from askrows.pipeline.images.task import ImagesTask

    return ImagesTask(record, settings, provider)


IMAGES_TASK = ShippedTask(
    name=TASK,
    how_to_begin=HOW_TO_BEGIN,
    adoption_index=ADOPTION_INDEX,
    indexed_table=ASSET_AI,
    # The task is among the recorded tasks of the workspace.
    make_task=None,
    load_tables=_load_tables,
    load_declaration=_load_declaration,
    make_recorded_task=_make_recorded_task,
)
