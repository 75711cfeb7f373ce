"""The images as a subject: a declared task that is built in, its tables, and `asset_ai` for other programs.

Nothing else of this room is loaded in a workspace that has no images.
"""

from dataclasses import fields
from typing import TYPE_CHECKING

from pipeline.core.task import Subject
from pipeline.images import ASSET_AI, HOW_TO_FILL, MARK, TASK
from pipeline.store import schema

if TYPE_CHECKING:
    from pipeline.core.settings import Settings
    from pipeline.store.database import Connection

how_to_begin = HOW_TO_FILL


def is_here(tx: "Connection", settings: "Settings") -> bool:
    """Return whether images were ever imported here, or are about to be."""
    return settings.task == TASK or schema.has_index(tx, ASSET_AI, MARK)


def subject(tx: "Connection", settings: "Settings") -> None:
    """Return None: the subject comes with the declared tasks."""


def of_declared(tx: "Connection", settings: "Settings", declared: Subject) -> Subject:  # noqa: ARG001 - it tells all
    """Return the subject: what was declared, with what other programs read kept beside it."""
    from pipeline.engine.declared.subjects import rows_of
    from pipeline.images.rows import ImagesCollection, ImagesRows, images_task

    known = rows_of(declared.task)
    rows = ImagesRows(**{one.name: getattr(known, one.name) for one in fields(known)})
    collection = ImagesCollection(rows, str(known.record.words.get("index") or ""))
    return Subject(TASK, images_task(declared.task, rows), collection)
