"""Make the tables `assets` and `asset_ai`, or adopt those of another program.

Rows of another program are not changed. Ids have the type of the table; the engine sees text.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Identity,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.types import TypeEngine

from askrows.pipeline.core.settings import Settings
from askrows.pipeline.images import ADOPTION_INDEX, ASSET_AI, ASSETS
from askrows.pipeline.rows.adopt import TableSpec, TaskTables
from askrows.pipeline.rows.reflection import ColumnNeed, read_columns
from askrows.pipeline.store.schema import BigId, ColumnTyped, UtcTime

# The primary key of `asset_ai`.
KEY = ("asset_id", "provider", "model")


def _assets_table(id_column: Column[Any], **options: Any) -> Table:
    return Table(
        ASSETS,
        MetaData(),
        id_column,
        # Absolute path of the file.
        Column("path", Text),
        # SHA-256 of its bytes.
        Column("hash", Text),
        # Size in pixels after rotation.
        Column("width", Integer),
        Column("height", Integer),
        # MIME type of the content, whatever the name of the file is.
        Column("format", Text),
        # Time of the camera, ISO 8601.
        Column("taken_at", Text),
        Column("bytes", BigInteger),
        # Reason why the image cannot be asked about; the file is not read again before it changes.
        Column("problem", Text),
        **options,
    )


def _asset_ai_table(
    asset_id_type: TypeEngine[Any],
    buckets_type: TypeEngine[Any],
    **options: Any,
) -> Table:
    return Table(
        ASSET_AI,
        MetaData(),
        Column("asset_id", asset_id_type),
        Column("provider", Text),
        Column("model", Text),
        Column("summary", Text),
        Column("buckets", buckets_type),
        Column("created_at", UtcTime),
        PrimaryKeyConstraint(*KEY),
        **options,
    )


# The columns that are read and written. Ids and buckets have the types of the database.
assets = _assets_table(Column("id", ColumnTyped()))
asset_ai = _asset_ai_table(ColumnTyped(), ColumnTyped())


def _specs(tx: Connection, settings: Settings) -> Sequence[TableSpec]:  # noqa: ARG001 - fixed names
    """Return what the tables `assets` and `asset_ai` need, so that they can be made or adopted.

    `asset_ai.asset_id` gets the type of the ids of assets. Missing columns and indexes are added to
    an existing table `assets`; an existing table `asset_ai` must have all columns.
    """
    new_id_column: Column[Any] = Column("id", BigId, Identity(), primary_key=True)
    made_assets = _assets_table(new_id_column, sqlite_autoincrement=True)
    id_column = read_columns(tx, ASSETS).get("id")
    id_type = new_id_column.type if id_column is None else id_column["type"]
    made_asset_ai = _asset_ai_table(id_type, Text(), sqlite_with_rowid=False)
    return (
        TableSpec(
            definition=made_assets,
            required_columns=("id", "path"),
            adds_columns=True,
            indexed_columns=("id", "path", "hash"),
        ),
        TableSpec(
            definition=made_asset_ai,
            required_columns=tuple(made_asset_ai.c.keys()),
            column_needs={"buckets": ColumnNeed.JSON, "created_at": ColumnNeed.TIME},
            reference="asset_id",
            marker_index=(ADOPTION_INDEX, f"({', '.join(KEY)})"),
        ),
    )


LIBRARY = TaskTables(_specs)
