"""List images that cannot be opened, page by page, and give the small images.

A page is a document: `items`, and `after`, the place behind which more may be, or None; `reason` says why one cannot.
"""

from typing import Any

from sqlalchemy import Text, cast, select, tuple_

from pipeline.core.errors import InputError
from pipeline.core.step import Step
from pipeline.engine.declared import UNUSABLE
from pipeline.engine.pictures import PictureError, thumbnail
from pipeline.images.table import assets
from pipeline.store.database import Store


def broken_page(store: Store, *, limit: int, after: str | None = None) -> dict[str, Any]:
    """Return images that cannot be opened, with the reason, by their paths; `after` is the last id before."""
    place = (assets.c.path, cast(assets.c.id, Text))
    query = select(*place, assets.c.problem).where(assets.c.problem.is_not(None)).order_by(*place).limit(limit + 1)
    with store.read() as tx:
        if after is not None:
            here = tx.execute(select(*place).where(place[1] == after)).first()
            query = query.where(tuple_(*place) > tuple_(*(here or ("", after))))
        rows = tx.execute(query).all()
    nothing: dict[str, Any] = {"state": UNUSABLE, "summary": "", "buckets": {}, "input_hash": None}
    found = [{"id": key, "path": path, **nothing, "reason": why} for path, key, why in rows]
    return {"items": found[:limit], "after": found[limit - 1]["id"] if len(found) > limit else None}


def thumbnail_of(store: Store, item_id: str, *, side: int) -> bytes:
    """Return the JPEG of an image, its longer side at most `side` pixels, one of `pictures.SIDES`.

    Raises:
        PictureError: it cannot be shown, for the reason that the message says.
        InputError: there is no such image, or none of that size.
    """
    with store.read() as tx:
        known = select(assets.c.path, assets.c.hash, assets.c.problem).where(cast(assets.c.id, Text) == item_id)
        row = tx.execute(known.limit(1)).first()
    if row is None:
        raise InputError(f"there is no image {item_id!r}", hint=f"`{Step('items', task='images')}` lists them")
    if row[2] is not None or not row[1]:
        raise PictureError(row[2] or f"it was not looked at yet; `{Step('import-images')}` does so")
    return thumbnail(row[0], row[1], side=side)
