"""The task images: what `images/declaration.py` declares, with `assets` and `asset_ai` kept for other programs."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, Table, Text, cast, delete, or_, select

from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import InputError
from pipeline.engine.pictures import PictureError, thumbnail
from pipeline.engine.task import TaskLabels
from pipeline.engine.user_task import UserTask
from pipeline.images import ASSET_AI, how_to_begin
from pipeline.images.table import LIBRARY, adopt, asset_ai, assets
from pipeline.store.database import Store
from pipeline.tables.write_to import RowTarget

WORDS = TaskLabels(
    one="image",
    many="images",
    done="described",
    all_done="every image that can be opened is described, claimed or parked",
    input="image",
    inputs="the images",
    after=CommandHint("export", task="images", to="images.csv"),
    again=CommandHint("tag", task="images"),
    named="images",
)


class ImagesTask(UserTask):
    """Images of a library, whose answers go to one table of other programs, whatever a file says."""

    def __init__(self, *told: Any, **more: Any) -> None:
        """Make the task of a record."""
        super().__init__(*told, **more)
        self.words = WORDS
        self.how_to_fill = how_to_begin
        self.items_from = how_to_begin
        self.answer_tokens = 220
        self.index = self.index and replace(self.index, word="image")

    @cached_property
    def row_target(self) -> RowTarget:
        """Return `asset_ai`, which other programs read."""
        return RowTarget(self.record, ASSET_AI, "asset_id", self.provider, self.preferred)

    def tables(self, tx: Connection) -> Sequence[Table]:
        """Return the two that other programs read."""
        return LIBRARY.moved(tx)

    def make_tables(self, tx: Connection, there: Connection) -> None:
        """Make all tables and the view."""
        super().make_tables(tx, there)
        adopt(there)

    def id_of(self, tx: Connection, name: str) -> str:
        """Return the id of the image of that id or path."""
        key = cast(assets.c.id, Text)
        known = (
            select(key)
            .where(or_(key == name, assets.c.path == name))
            .order_by(key != name, assets.c.id)
            .limit(1)
        )
        return super().id_of(tx, tx.execute(known).scalar() or name)

    def remove_row(self, tx: Connection, item_id: str, *, so_far: str = "") -> None:
        """Delete an image's rows; its file stays where it is."""
        super().remove_row(tx, item_id, so_far=so_far)
        for table, column in ((asset_ai, "asset_id"), (assets, "id")):
            tx.execute(delete(table).where(cast(table.c[column], Text) == item_id))


task_class = ImagesTask


# ---- for the page


def thumbnail_of(store: Store, item_id: str, *, side: int) -> bytes:
    """Return the JPEG of an image, its longer side at most `side` pixels, one of `pictures.SIDES`.

    PictureError where it cannot be shown, for the reason that the message says.
    InputError where there is no such image, or none of that size.
    """
    with store.read() as tx:
        known = select(assets.c.path, assets.c.hash, assets.c.problem).where(
            cast(assets.c.id, Text) == item_id
        )
        row = tx.execute(known.limit(1)).first()
    if row is None:
        raise InputError(
            f"there is no image {item_id!r}",
            hint=f"`{CommandHint('items', task='images')}` lists them",
        )
    if row[2] is not None or not row[1]:
        raise PictureError(
            row[2] or f"it was not looked at yet; `{CommandHint('import-images')}` does so"
        )
    return thumbnail(row[0], row[1], side=side)
