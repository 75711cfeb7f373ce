"""Subject package for images: files of a library, each with a summary and buckets of tags.

It is a declared task that ships with findable. Its answers are also written to `asset_ai`, for
other programs. The other modules of the package are imported only in a workspace with images.
"""

from typing import TYPE_CHECKING

from pipeline.core.command_hint import CommandHint, HintTemplate
from pipeline.store import schema

if TYPE_CHECKING:
    from pipeline.core.settings import Settings
    from pipeline.store.database import Connection

TASK = "images"
ASSETS = "assets"
ASSET_AI = "asset_ai"
# The last index that adoption creates. If it exists, both tables were adopted completely.
ADOPTION_INDEX = "findable_asset_ai_of_asset"
how_to_begin = HintTemplate("`{}` brings images in", CommandHint("import-images", folder="photos/"))


def is_here(tx: "Connection", settings: "Settings") -> bool:
    """Return whether the task in use is images, or the image tables are adopted."""
    return settings.task == TASK or schema.has_index(tx, ASSET_AI, ADOPTION_INDEX)


def task_of(tx: "Connection", settings: "Settings") -> None:
    """Return None, because images are among the declared tasks."""
