"""Describe the tables `assets` and `asset_ai`: as findable makes them, and as another program may have made them.

Ids are as the table has them; the engine sees text.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)

from pipeline.images import ASSET_AI, ASSETS, MARK
from pipeline.store.column_types import AsTheColumn, BigId, IsoTime
from pipeline.tables.adopt import TableSpec, check_demands
from pipeline.tables.columns import TEXT, Accepts, IdKind, ReflectedColumn, id_type, ids_in, ids_of
from pipeline.tables.reflect import columns_of

WORDS = Accepts((*TEXT.types, "citext"))
WHOLE = Accepts(("int4", "int8"), "whole numbers")
TIMES = Accepts(("timestamptz", "timestamp", *TEXT.types), "times or text")
OF_ASSETS: Mapping[str, tuple[Any, Accepts]] = {  # as which a column is made, and what one of another program must be
    "path": (Text(), WORDS),  # where the file is, absolute
    "hash": (Text(), WORDS),  # SHA-256 of its bytes
    "width": (Integer(), WHOLE),  # pixels, as it is seen
    "height": (Integer(), WHOLE),
    "format": (Text(), WORDS),  # the MIME type of what it really is
    "taken_at": (Text(), WORDS),  # as the camera wrote it, ISO 8601
    "bytes": (BigInteger(), Accepts(("int8",), "whole numbers of 64 bits")),
    "problem": (Text(), WORDS),  # why it cannot be asked about; its bytes are not looked at again until they change
}
OF_ANSWERS: Mapping[str, tuple[Any, Accepts]] = {
    "provider": (Text(), WORDS),
    "model": (Text(), WORDS),
    "summary": (Text(), WORDS),
    "buckets": (Text(), Accepts(("jsonb", "json", *TEXT.types), "JSON or text")),
    "created_at": (IsoTime(), TIMES),
}
KEY = ("asset_id", "provider", "model")  # of which `asset_ai` has one row
_IDS = ids_of(IdKind.TEXT, IdKind.WHOLE, IdKind.UUID, words="text, whole numbers or UUIDs")


def assets_spec() -> TableSpec:
    """Return what is needed of `assets`: ids and paths; the other columns are added, empty in every row."""
    own = Column("id", BigId, Identity(), primary_key=True)
    found_by = [Index(f"findable_assets_{name}", name) for name in ("path", "hash")]
    made = Table(ASSETS, MetaData(), own, *_columns(OF_ASSETS), *found_by, sqlite_autoincrement=True)
    return TableSpec(
        made,
        needs=("id", "path"),
        judged={"id": _IDS} | {name: accepts for name, (_, accepts) in OF_ASSETS.items()},
        holds="images",
        adds=True,
        prefix="findable_assets",
        found_by=("id", "path", "hash"),
    )


def asset_ai_spec(assets_id: ReflectedColumn) -> TableSpec:
    """Return what is needed of `asset_ai`, whose `asset_id` is of the type that the ids of the assets have."""
    kind = ids_in(assets_id).kind
    whose = Column("asset_id", AsTheColumn(assets_id.declared), nullable=False)
    return TableSpec(
        _asset_ai(whose),
        needs=("asset_id", *OF_ANSWERS),
        judged={"asset_id": ids_of(kind, IdKind.TEXT, words=kind)} | {name: one[1] for name, one in OF_ANSWERS.items()},
        holds="summaries and buckets",
        mark=(MARK, f"({', '.join(KEY)})"),
        refuses=_check_rows_fit,
    )


def _asset_ai(whose: Column[Any]) -> Table:
    key = PrimaryKeyConstraint(*KEY)
    return Table(ASSET_AI, MetaData(), whose, *_columns(OF_ANSWERS), key, sqlite_with_rowid=False)


def _check_rows_fit(tx: Connection, columns: Mapping[str, ReflectedColumn]) -> None:
    check_demands(tx, ASSET_AI, columns, known={"asset_id", *OF_ANSWERS})


def _columns(kinds: Mapping[str, tuple[Any, Accepts]]) -> list[Column[Any]]:
    return [Column(name, kind) for name, (kind, _) in kinds.items()]


def assets_table() -> Table:
    """Return `assets` with what is read and written of it, its id of whatever type it is there."""
    return _as_there(ASSETS, "id", OF_ASSETS)


def asset_ai_table() -> Table:
    """Return `asset_ai` with what is read and written of it, its types as they are there."""
    return _as_there(ASSET_AI, "asset_id", {**OF_ANSWERS, "buckets": (AsTheColumn(), TEXT)})


def tables_as_found(tx: Connection) -> tuple[Table, Table]:
    """Return the two tables as they are to be in PostgreSQL after a move."""
    found = columns_of(tx, ASSETS)
    kind = id_type(found.get("id"))
    own: Column[Any] = Column("id", kind, *([Identity()] if kind is BigInteger else []), primary_key=True)
    assets = Table(ASSETS, MetaData(), own, *(one for one in _columns(OF_ASSETS) if one.name in found))
    return assets, _asset_ai(Column("asset_id", kind, nullable=False))


def _as_there(name: str, key: str, kinds: Mapping[str, tuple[Any, Accepts]]) -> Table:
    return Table(name, MetaData(), Column(key, AsTheColumn()), *_columns(kinds))
