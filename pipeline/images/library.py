"""Show the library page by page: what was said of each image, or why nothing was, and the small images."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Text, cast, select, tuple_

from pipeline.core.errors import InputError
from pipeline.core.listed import ItemsWanted, ListedItem
from pipeline.engine.declared.shown import UNUSABLE, WHY
from pipeline.engine.pictures import PictureError, thumbnail
from pipeline.engine.task import Task
from pipeline.images.declaration import Buckets
from pipeline.images.table import assets_table
from pipeline.store import asks
from pipeline.store.database import Store

BUCKETS = tuple(Buckets.model_fields)
SHOWN = ("path", "summary", "buckets", WHY)  # columns of the list
PARKED = "parked"


class LibraryImage(NamedTuple):
    """One image: what was said of it last, and `reason`, why nothing was or it is not asked about; None where none.

    `input_hash` is of what was seen of it; None where it cannot be opened.
    """

    id: str
    path: str
    state: str
    summary: str
    buckets: Mapping[str, Sequence[str]]
    reason: str | None
    input_hash: str | None


class LibraryPage(NamedTuple):
    """Some images in their order; `after` is the place behind which more may be, or None."""

    images: list[LibraryImage]
    after: str | None

    @property
    def document(self) -> dict[str, Any]:
        """Return the page for programs."""
        return {"items": [one._asdict() for one in self.images], "after": self.after}


def library_page(store: Store, task: Task, wanted: ItemsWanted, *, bucket: str = "") -> LibraryPage:
    """Return images that can be asked about, in the order of their rows; a tag that is wanted is one of that bucket.

    Raises:
        InputError: there is no such place or state.
    """
    with store.read() as tx:
        found: list[LibraryImage] = []
        for page in task.grid(tx).pages(tx, wanted._replace(sort=None, fields=SHOWN)):
            shown = (_shown(tx, task, one) for one in page.items)
            found += (one for one in shown if not bucket or set(wanted.which.tags) <= set(one.buckets.get(bucket, ())))
            if len(found) > wanted.limit:
                break
    more = len(found) > wanted.limit
    return LibraryPage(found[: wanted.limit], found[wanted.limit - 1].id if more else None)


def broken_page(store: Store, *, limit: int, after: str | None = None) -> LibraryPage:
    """Return images that cannot be opened, with the reason, by their paths; `after` is the last id before."""
    assets = assets_table()
    place = (assets.c.path, cast(assets.c.id, Text))
    query = select(*place[::-1], assets.c.problem).where(assets.c.problem.is_not(None))
    with store.read() as tx:
        if after is not None:
            here = tx.execute(select(*place).where(place[1] == after)).first()
            query = query.where(tuple_(*place) > tuple_(*(here or ("", after))))
        rows = tx.execute(query.order_by(*place).limit(limit + 1)).all()
    found = [LibraryImage(one[0], one[1], UNUSABLE, "", {}, one[2], None) for one in rows[:limit]]
    return LibraryPage(found, found[-1].id if len(rows) > limit else None)


def _shown(tx: Connection, task: Task, one: ListedItem) -> LibraryImage:
    path, summary, buckets, reason = (one.values.get(name) for name in SHOWN)
    if one.state == PARKED:
        reason = asks.parked_reason(tx, task.name, one.id, own=task.own)
    said = buckets if isinstance(buckets, Mapping) else {}
    return LibraryImage(one.id, str(path), one.state, summary or "", said, reason, one.input_hash)


def thumbnail_of(store: Store, item_id: str, *, side: int) -> bytes:
    """Return the JPEG of an image, its longer side at most `side` pixels, one of `pictures.SIDES`.

    Raises:
        PictureError: it cannot be shown, for the reason that the message says.
        InputError: there is no such image, or none of that size.
    """
    assets = assets_table()
    with store.read() as tx:
        known = select(assets.c.path, assets.c.hash, assets.c.problem).where(cast(assets.c.id, Text) == item_id)
        row = tx.execute(known.limit(1)).first()
    if row is None:
        raise InputError(f"there is no image {item_id!r}", hint="`make items TASK=images` lists them")
    if row[2] is not None or not row[1]:
        raise PictureError(row[2] or "it was not looked at yet; `make import-images` does so")
    return thumbnail(row[0], row[1], side=side)
