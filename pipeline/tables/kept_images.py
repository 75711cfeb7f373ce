"""Keep the images that the source of a task gives as bytes, in a table beside its items; cells name them by their hash.

They are kept as they are sent, and made again from the source where they are not there.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Column, Connection, Integer, LargeBinary, MetaData, Table, Text, delete, insert, select

from pipeline.core.errors import ConfigurationError
from pipeline.store.database import pages
from pipeline.store.times import UtcTime
from pipeline.tables.items import ItemsSpec, items_table
from pipeline.tables.reflect import kind_of, missing_columns

KEPT = "sha256:"  # begins a cell that stood for bytes


class KeptImage(NamedTuple):
    """An image to keep: the SHA-256 of the bytes that were given, the bound of its longer side, and what is sent."""

    sha256: str
    side: int
    data: bytes


def kept_table(spec: ItemsSpec) -> Table:
    """Return the table of the images of a task whose items are in another one."""
    return Table(
        f"{spec.table.removesuffix('_items')}_kept_images",
        MetaData(),
        Column("sha256", Text, primary_key=True),
        Column("side", Integer, nullable=False),
        Column("data", LargeBinary, nullable=False),
        Column("kept_at", UtcTime, nullable=False),
    )


def kept_hashes(tx: Connection, spec: ItemsSpec, *, side: int) -> set[str]:
    """Return the hashes of the images that are kept with this bound of their longer side.

    Raises:
        ConfigurationError: a table of another program has the name that theirs has.
    """
    table = kept_table(spec)
    if not _is_there(tx, table):
        return set()
    return set(tx.execute(select(table.c.sha256).where(table.c.side == side)).scalars())


def keep_images(tx: Connection, spec: ItemsSpec, images: Sequence[KeptImage], *, at: datetime) -> None:
    """Keep images in the place of those of the same hashes; the table is made where it is not there."""
    table = kept_table(spec)
    if not _is_there(tx, table):
        table.create(tx)
    for some in pages([one.sha256 for one in images]):
        tx.execute(delete(table).where(table.c.sha256.in_(some)))
    tx.execute(insert(table), [{**one._asdict(), "kept_at": at} for one in images])


def kept_image(tx: Connection, spec: ItemsSpec, sha256: str, *, side: int) -> bytes | None:
    """Return an image as it is sent, None where it is not kept so."""
    table = kept_table(spec)
    if not _is_there(tx, table):
        return None
    return tx.execute(select(table.c.data).where(table.c.sha256 == sha256, table.c.side == side)).scalar()


def unneeded_images(tx: Connection, spec: ItemsSpec, *, before: datetime | None = None) -> list[str]:
    """Return the hashes of the images that no row names which is there; with `before` those kept before a moment."""
    table, items = kept_table(spec), items_table(spec)
    if not spec.images or not _is_there(tx, table):
        return []
    here = items.c.findable_gone_at.is_(None)
    named = (select(items.c[name]).where(here, items.c[name].is_not(None)) for name in spec.images)
    query = select(table.c.sha256).where(*((KEPT + table.c.sha256).not_in(one) for one in named))
    return list(tx.execute(query if before is None else query.where(table.c.kept_at < before)).scalars())


def drop_images(tx: Connection, spec: ItemsSpec, hashes: Iterable[str]) -> None:
    """Keep these images no longer."""
    table = kept_table(spec)
    for some in pages(list(hashes)):
        tx.execute(delete(table).where(table.c.sha256.in_(some)))


def _is_there(tx: Connection, table: Table) -> bool:
    """Return whether the table was made.

    Raises:
        ConfigurationError: another program has made one of its name.
    """
    if kind_of(tx, table.name) is None:
        return False
    if missing_columns(tx, table):
        raise ConfigurationError(
            f"there is a table `{table.name}` in this database that is not this task's; nothing was asked",
            hint='give the task other tables with table="…", or rename that one',
        )
    return True
