"""The subject images: files of a library, and of each a summary and buckets of tags.

It is a declared task that ships, with its tables, and `asset_ai` for other programs. Nothing else of it is loaded where
there are no images.
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
MARK = "findable_asset_ai_of_asset"  # its index that is made last: where it is, the tables were adopted
how_to_begin = HintTemplate("`{}` brings images in", CommandHint("import-images", folder="photos/"))


def is_here(tx: "Connection", settings: "Settings") -> bool:
    """Return whether images were ever imported here, or are about to be."""
    return settings.task == TASK or schema.has_index(tx, ASSET_AI, MARK)


def task_of(tx: "Connection", settings: "Settings") -> None:
    """Return None: the task comes with the declared ones."""
