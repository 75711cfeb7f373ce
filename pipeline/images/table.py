"""Make the tables `assets` and `asset_ai`, or adopt such of another program, whose rows stay as they are.

Ids are as the table has them; the engine sees text.
"""

from collections.abc import Sequence
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
from sqlalchemy.types import TypeEngine

from pipeline.core.settings import Settings
from pipeline.images import ASSET_AI, ASSETS, MARK
from pipeline.store.schema import BigId, ColumnTyped, IsoTime
from pipeline.tables.adopt import (
    ColumnNeed,
    TableSpec,
    TaskTables,
    check_demands,
    columns_of,
    ids_in,
)

KEY = ("asset_id", "provider", "model")  # of which `asset_ai` has one row


def _assets(own: Column[Any], *more: Any, **how: Any) -> Table:
    return Table(
        ASSETS,
        MetaData(),
        own,
        Column("path", Text),  # where the file is, absolute
        Column("hash", Text),  # SHA-256 of its bytes
        Column("width", Integer),  # pixels, as it is seen
        Column("height", Integer),
        Column("format", Text),  # the MIME type of what it really is
        Column("taken_at", Text),  # as the camera wrote it, ISO 8601
        Column("bytes", BigInteger),
        Column(
            "problem", Text
        ),  # why it cannot be asked about, or looked at again before its bytes change
        *more,
        **how,
    )


def _asset_ai(whose: TypeEngine[Any], buckets: TypeEngine[Any], **how: Any) -> Table:
    words = (Column(name, Text) for name in ("provider", "model", "summary"))
    key = PrimaryKeyConstraint(*KEY)
    made = Column("created_at", IsoTime)
    return Table(
        ASSET_AI,
        MetaData(),
        Column("asset_id", whose),
        *words,
        Column("buckets", buckets),
        made,
        key,
        **how,
    )


# what is read and written of both, their ids and the buckets of whatever type they are there
assets = _assets(Column("id", ColumnTyped()))
asset_ai = _asset_ai(ColumnTyped(), ColumnTyped())


def _specs(tx: Connection, settings: Settings) -> Sequence[TableSpec]:  # noqa: ARG001 - the tables have one name
    """Return what is needed of `assets`, ids and paths, and of `asset_ai`, which names the assets by their ids."""
    indexes = [Index(f"findable_assets_{name}", name) for name in ("path", "hash")]
    own: Column[Any] = Column("id", BigId, Identity(), primary_key=True)
    made = _assets(own, *indexes, sqlite_autoincrement=True)
    whose = columns_of(tx, ASSETS).get("id", own)
    said = _asset_ai(whose.type, Text(), sqlite_with_rowid=False)
    return (
        TableSpec(made=made, needs=("id", "path"), adds=True, found_by=("id", "path", "hash")),
        TableSpec(
            made=said,
            needs=tuple(said.c.keys()),
            holds={"buckets": ColumnNeed.JSON, "created_at": ColumnNeed.TIME},
            refers=("asset_id", ids_in(tx, whose)),
            mark=(MARK, f"({', '.join(KEY)})"),
            refuses=lambda _tx, columns: check_demands(ASSET_AI, columns, known=said.c.keys()),
        ),
    )


LIBRARY = TaskTables(_specs, names=(ASSETS, ASSET_AI))
adopt = LIBRARY.adopt
adoption_plan = LIBRARY.adoption_plan
is_adopted = LIBRARY.is_adopted
makes = LIBRARY.makes
