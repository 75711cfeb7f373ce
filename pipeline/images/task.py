"""The task images: the declared task with `assets` and `asset_ai` for other programs."""

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

LABELS = TaskLabels(
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
    """Images of a library. Their answers go to `asset_ai`, whatever the declaration says."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Create the task of a registered declaration; see `UserTask`."""
        super().__init__(*args, **options)
        self.words = LABELS
        self.how_to_fill = how_to_begin
        self.items_from = how_to_begin
        self.answer_tokens = 220
        if self.index is not None:
            self.index = replace(self.index, word="image")

    @cached_property
    def row_target(self) -> RowTarget:
        """The table `asset_ai`, which other programs read."""
        return RowTarget(self.record, ASSET_AI, "asset_id", self.provider, self.preferred)

    def tables(self, tx: Connection) -> Sequence[Table]:
        """Return the two tables that other programs read."""
        return LIBRARY.moved(tx)

    def make_tables(self, tx: Connection, there: Connection) -> None:
        """Make all tables and the view of the task in another database.

        Args:
            tx: A transaction of this workspace.
            there: A transaction of the other database.
        """
        super().make_tables(tx, there)
        adopt(there)

    def id_of(self, tx: Connection, name: str) -> str:
        """Return the id of the image with this id or path.

        Raises:
            InputError: There is no such image.
        """
        key = cast(assets.c.id, Text)
        query = select(key).where(or_(key == name, assets.c.path == name))
        # An id comes before a path, then the oldest image.
        query = query.order_by(key != name, assets.c.id).limit(1)
        return super().id_of(tx, tx.execute(query).scalar() or name)

    def remove_row(self, tx: Connection, item_id: str, *, so_far: str = "") -> None:
        """Delete the rows of an image in all tables. Its file is not deleted."""
        super().remove_row(tx, item_id, so_far=so_far)
        for table, column in ((asset_ai, "asset_id"), (assets, "id")):
            tx.execute(delete(table).where(cast(table.c[column], Text) == item_id))


task_class = ImagesTask


# ---- for the page


def thumbnail_of(store: Store, item_id: str, *, side: int) -> bytes:
    """Return an image as JPEG whose longer side has at most `side` pixels.

    Args:
        store: The store of the workspace.
        item_id: Id of the image.
        side: A size in `pictures.SIDES`.

    Raises:
        PictureError: The image cannot be shown; the message has the reason.
        InputError: There is no such image, or no thumbnail of this size.
    """
    with store.read() as tx:
        query = select(assets.c.path, assets.c.hash, assets.c.problem).where(
            cast(assets.c.id, Text) == item_id
        )
        row = tx.execute(query.limit(1)).first()

    if row is None:
        raise InputError(
            f"there is no image {item_id!r}",
            hint=f"`{CommandHint('items', task='images')}` lists them",
        )
    path, sha256, problem = row
    if problem is not None or not sha256:
        raise PictureError(
            problem or f"it was not looked at yet; `{CommandHint('import-images')}` does so"
        )
    return thumbnail(path, sha256, side=side)
