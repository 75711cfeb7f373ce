"""The images as a subject: a declared task that ships, its tables, and `asset_ai` for other programs.

Nothing else of this room is loaded in a workspace that has no images.
"""

from typing import TYPE_CHECKING

from pipeline.images import ASSET_AI, HOW_TO_FILL, MARK, TASK
from pipeline.store import schema

if TYPE_CHECKING:
    from pipeline.core.settings import Settings
    from pipeline.store.database import Connection

how_to_begin = HOW_TO_FILL


def is_here(tx: "Connection", settings: "Settings") -> bool:
    """Return whether images were ever imported here, or are about to be."""
    return settings.task == TASK or schema.has_index(tx, ASSET_AI, MARK)


def task_of(tx: "Connection", settings: "Settings") -> None:
    """Return None: the task comes with the declared ones."""
