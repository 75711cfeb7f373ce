"""Make the tables `assets` and `asset_ai`, or adopt such of another program, whose rows stay as they are.

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
from pipeline.store.schema import AsTheColumn, BigId, IsoTime
from pipeline.tables.adopt import Holds, Pair, TableSpec, check_demands, ids_in

OF_ASSETS: Mapping[str, tuple[Any, Holds]] = {  # as which a column is made, and what one of another program must be
    "path": (Text(), Holds.TEXT),  # where the file is, absolute
    "hash": (Text(), Holds.TEXT),  # SHA-256 of its bytes
    "width": (Integer(), Holds.INTEGER),  # pixels, as it is seen
    "height": (Integer(), Holds.INTEGER),
    "format": (Text(), Holds.TEXT),  # the MIME type of what it really is
    "taken_at": (Text(), Holds.TEXT),  # as the camera wrote it, ISO 8601
    "bytes": (BigInteger(), Holds.INTEGER),
    "problem": (Text(), Holds.TEXT),  # why it cannot be asked about, or looked at again before its bytes change
}
OF_ANSWERS: Mapping[str, tuple[Any, Holds]] = {
    "provider": (Text(), Holds.TEXT),
    "model": (Text(), Holds.TEXT),
    "summary": (Text(), Holds.TEXT),
    "buckets": (Text(), Holds.JSON),
    "created_at": (IsoTime(), Holds.TIME),
}
KEY = ("asset_id", "provider", "model")  # of which `asset_ai` has one row


def _assets_spec() -> TableSpec:
    """Return what is needed of `assets`: ids and paths; the other columns are added, empty in every row."""
    own = Column("id", BigId, Identity(), primary_key=True)
    found_by = [Index(f"findable_assets_{name}", name) for name in ("path", "hash")]
    made = Table(ASSETS, MetaData(), own, *_columns(OF_ASSETS), *found_by, sqlite_autoincrement=True)
    return TableSpec(
        made,
        needs=("id", "path"),
        judged={"id": Holds.ID} | {name: holds for name, (_, holds) in OF_ASSETS.items()},
        holds="images",
        adds=True,
        found_by=("id", "path", "hash"),
    )


def _asset_ai_spec(tx: Connection, assets_id: Column[Any]) -> TableSpec:
    """Return what is needed of `asset_ai`, whose `asset_id` is of the type that the ids of the assets have."""
    whose, key = Column("asset_id", assets_id.type, nullable=False), PrimaryKeyConstraint(*KEY)
    return TableSpec(
        Table(ASSET_AI, MetaData(), whose, *_columns(OF_ANSWERS), key, sqlite_with_rowid=False),
        needs=("asset_id", *OF_ANSWERS),
        judged={name: one[1] for name, one in OF_ANSWERS.items()},
        refers=("asset_id", ids_in(tx, assets_id)),
        holds="summaries and buckets",
        mark=(MARK, f"({', '.join(KEY)})"),
        refuses=lambda _tx, columns: check_demands(ASSET_AI, columns, known={"asset_id", *OF_ANSWERS}),
    )


def _columns(kinds: Mapping[str, tuple[Any, Holds]]) -> list[Column[Any]]:
    return [Column(name, kind) for name, (kind, _) in kinds.items()]


def _as_there(name: str, key: str, kinds: Mapping[str, tuple[Any, Holds]]) -> Table:
    return Table(name, MetaData(), Column(key, AsTheColumn()), *_columns(kinds))


# what is read and written of both, their ids and the buckets of whatever type they are there
assets = _as_there(ASSETS, "id", OF_ASSETS)
asset_ai = _as_there(ASSET_AI, "asset_id", {**OF_ANSWERS, "buckets": (AsTheColumn(), Holds.JSON)})
LIBRARY = Pair(_assets_spec(), _asset_ai_spec)
adopt, adoption_plan, is_adopted = LIBRARY.adopt, LIBRARY.adoption_plan, LIBRARY.is_adopted


def makes(settings: object = None) -> dict[str, tuple[str, ...]]:  # noqa: ARG001 - the tables have one name
    """Return each table that `adopt` makes where there is none, with its columns."""
    return {ASSETS: ("id", *OF_ASSETS), ASSET_AI: ("asset_id", *OF_ANSWERS)}
