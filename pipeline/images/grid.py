"""Say what a list of images shows: as of any declared task, and of a single one why it cannot be opened."""

from dataclasses import dataclass, fields
from typing import Self

from sqlalchemy import Connection, Text, cast, or_, select

from pipeline.core.listed import ItemsPage, ItemsWanted, ListedItem
from pipeline.engine.declared.grid import WHY
from pipeline.engine.declared.rows import UNUSABLE
from pipeline.images.schema import assets_table
from pipeline.tables.grid import Grid
from pipeline.tables.items import SEEN


@dataclass(frozen=True, eq=False, kw_only=True)
class ImagesGrid(Grid):
    """The list of a declared task, with the images that no question is made of where one of them is wanted."""

    @classmethod
    def of(cls, grid: Grid) -> Self:
        """Return the list of the images, made of that of their task."""
        return cls(**{one.name: getattr(grid, one.name) for one in fields(grid)})

    def page(self, tx: Connection, wanted: ItemsWanted) -> ItemsPage:
        """Return images; of the one that is wanted also why it cannot be asked about."""
        page = super().page(tx, wanted)
        key, path, problem = ("", "", None) if wanted.only is None else image_named(tx, wanted.only)
        if problem is None:
            return page
        rows = page.items or [ListedItem(key, UNUSABLE, {"id": key, "path": path})]
        return page._replace(items=[one._replace(values={**one.values, WHY[SEEN[1]]: problem}) for one in rows])


def image_named(tx: "Connection", name: str) -> tuple[str, str, str | None]:
    """Return (id, path, problem) of the image of that id, else of that path; of none the name alone."""
    assets = assets_table()
    key = cast(assets.c.id, Text)
    known = select(key, assets.c.path, assets.c.problem).where(or_(key == name, assets.c.path == name))
    row = tx.execute(known.order_by(key != name, assets.c.id).limit(1)).first()
    return (name, "", None) if row is None else (row[0], row[1], row[2])
