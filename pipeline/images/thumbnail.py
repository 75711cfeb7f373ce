"""Give the small image of one of the library, for a list that a person looks at."""

from pathlib import Path

from sqlalchemy import Text, cast, select

from pipeline.core.errors import InputError
from pipeline.engine import thumbnails
from pipeline.engine.pictures import PictureError
from pipeline.images.schema import assets_table
from pipeline.store.database import Store


def thumbnail_of(store: Store, data: Path, item_id: str, *, side: int) -> bytes:
    """Return the JPEG of an image of the workspace in the folder `data`, its longer side at most `side` pixels.

    `side` is one of `thumbnails.SIDES`.

    Raises:
        PictureError: it cannot be shown, for the reason that the message says.
        InputError: there is no such image, or none of that size.
    """
    assets = assets_table()
    with store.read() as tx:
        known = select(assets.c.path, assets.c.hash, assets.c.problem).where(cast(assets.c.id, Text) == item_id)
        row = tx.execute(known.limit(1)).first()
    if row is None:
        raise _no_image(item_id)
    if row[2] is not None or not row[1]:
        raise PictureError(row[2] or "it was not looked at yet; `make import-images` does so")
    small = thumbnails.thumbnail(data, row[0], row[1], side=side)
    with store.read() as tx:
        is_there = tx.execute(known.limit(1)).first() is not None
    if not is_there:  # forgotten while it was made
        thumbnails.drop_thumbnails(data)
        raise _no_image(item_id)
    return small


def _no_image(item_id: str) -> InputError:
    return InputError(f"there is no image {item_id!r}", hint="`make items TASK=images` lists them")
