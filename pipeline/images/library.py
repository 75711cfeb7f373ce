"""List the library page by page: what was said of each image, or why nothing was; and the small images.

A page is a document: `items`, and `after`, the place behind which more may be, or None. The `input_hash` of an image
is of what was seen of it, None where it cannot be opened; `reason` says why nothing was said, or it is not asked about.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Text, cast, select, tuple_

from pipeline.core.errors import InputError
from pipeline.core.listed import ItemsWanted, ListedItem
from pipeline.core.step import Step
from pipeline.engine.declared import UNUSABLE, WHY
from pipeline.engine.pictures import PictureError, thumbnail
from pipeline.engine.task import Task
from pipeline.images.declaration import Buckets
from pipeline.images.table import assets
from pipeline.store import asks
from pipeline.store.database import Store

BUCKETS = tuple(Buckets.model_fields)
SHOWN = ("path", "summary", "buckets", WHY)  # columns of the list


def library_page(store: Store, task: Task, wanted: ItemsWanted, *, bucket: str = "") -> dict[str, Any]:
    """Return images that can be asked about, in the order of their rows; a tag that is wanted is one of that bucket."""
    found: list[dict[str, Any]] = []
    with store.read() as tx:
        for page in task.grid(tx).pages(tx, wanted._replace(sort=None, fields=SHOWN)):
            shown = (_shown(tx, task, one) for one in page.items)
            found += (one for one in shown if not bucket or {*wanted.which.tags} <= {*one["buckets"].get(bucket, ())})
            if len(found) > wanted.limit:
                break
    return _page(found, wanted.limit)


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
    return _page([{"id": key, "path": path, **nothing, "reason": why} for path, key, why in rows], limit)


def _page(found: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    return {"items": found[:limit], "after": found[limit - 1]["id"] if len(found) > limit else None}


def _shown(tx: Connection, task: Task, one: ListedItem) -> dict[str, Any]:
    path, summary, buckets, reason = (one.values.get(name) for name in SHOWN)
    return {
        "id": one.id,
        "path": str(path),
        "state": one.state,
        "summary": summary or "",
        "buckets": buckets if isinstance(buckets, Mapping) else {},
        "reason": asks.parked_reason(tx, task.name, one.id, own=task.own) if one.state == "parked" else reason,
        "input_hash": one.input_hash,
    }


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
