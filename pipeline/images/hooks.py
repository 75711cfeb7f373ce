"""Check, move and forget images, for the commands that keep a workspace."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Text, cast, delete

from pipeline.engine.declared.hooks import DeclaredHooks
from pipeline.images.adopt import adopt
from pipeline.images.grid import ImagesGrid, image_named
from pipeline.images.schema import asset_ai_table, assets_table, tables_as_found

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

    from pipeline.tables.grid import Grid


class ImagesHooks(DeclaredHooks):
    """The tables of images beside those of a declared task; see `pipeline.core.hooks` for what each member promises."""

    def tables(self, tx: "Connection") -> "Sequence[Table]":
        """Return the tables of items and answers, and the two that other programs read."""
        return (*super().tables(tx), *tables_as_found(tx))

    def make_tables(self, tx: "Connection", there: "Connection") -> None:
        """Make all tables and the view."""
        for one in tables_as_found(tx):
            one.create(there)
        adopt(there)
        super().make_tables(tx, there)

    def id_of(self, tx: "Connection", name: str) -> str:
        """Return the id of the image of that id or path, also of one that cannot be asked about.

        Raises:
            InputError: there is none.
        """
        item_id, _, problem = image_named(tx, name)
        return super().id_of(tx, item_id) if problem is None else item_id

    def grid(self, tx: "Connection") -> "Grid":
        """Return what lists images; of the one that is wanted also why it cannot be asked about."""
        return ImagesGrid.of(super().grid(tx))

    def remove(self, tx: "Connection", item_id: str) -> None:
        """Delete an image's rows; its file stays where it is."""
        super().remove(tx, item_id)
        for table, column in ((asset_ai_table(), "asset_id"), (assets_table(), "id")):
            tx.execute(delete(table).where(cast(table.c[column], Text) == item_id))
