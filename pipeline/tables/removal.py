"""Find and drop the tables, views and indexes that findable made in a database.

A table that findable adopted from another program is kept, with all columns and values in it.
"""

import warnings
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, MetaData, exc, inspect, table, text

from pipeline.core.errors import ConfigurationError
from pipeline.store import schema, workspace
from pipeline.store.database import count_rows, describe_error
from pipeline.tables.answer_views import is_our_view
from pipeline.tables.reflection import is_sqlite, quote_identifier

_SQLITE_INDEXES_QUERY = text("SELECT name, tbl_name FROM sqlite_master WHERE type = 'index'")
_SERVER_INDEXES_QUERY = text(
    "SELECT indexname, tablename FROM pg_indexes WHERE schemaname = current_schema()",
)


@dataclass
class RemovableObjects:
    """Names of the database objects that findable made, and of the tables that are kept."""

    tables: list[str]
    views: list[str]
    # Indexes that findable made on the tables that are kept.
    indexes: list[str]
    # The tables that are kept.
    kept_tables: list[str]


def list_removable(tx: Connection, marker_indexes: Collection[str]) -> RemovableObjects:
    """Return which tables, views and indexes findable made, and which tables are kept.

    Findable's tables begin with `findable_` or were recorded as created; all others are kept. Its
    views have its mark, see `answer_views`. Its indexes are listed only if they are on kept tables;
    they begin with `findable_` or are in `marker_indexes`. Only reads the database.

    Args:
        tx: The transaction that reads.
        marker_indexes: Names of findable's indexes that do not begin with `findable_`.
    """
    inspector = inspect(tx)
    events = workspace.events_of(tx, schema.TABLE_CREATED_EVENT)
    created_names = {event["name"] for event in events}
    table_names = sorted(inspector.get_table_names())
    own_tables = [
        name for name in table_names if name.startswith("findable_") or name in created_names
    ]
    kept_tables = [name for name in table_names if name not in own_tables]
    own_views = [name for name in sorted(inspector.get_view_names()) if is_our_view(tx, name)]

    indexes_query = _SERVER_INDEXES_QUERY
    if is_sqlite(tx):
        indexes_query = _SQLITE_INDEXES_QUERY
    own_indexes = [
        name
        for name, table_name in tx.execute(indexes_query).all()
        if table_name in kept_tables and (name.startswith("findable_") or name in marker_indexes)
    ]
    return RemovableObjects(own_tables, own_views, sorted(own_indexes), kept_tables)


def count_table_rows(tx: Connection, name: str) -> int:
    """Return the number of rows in a table."""
    return count_rows(tx, table(name))


def drop_objects(tx: Connection, removed: RemovableObjects) -> None:
    """Drop the tables, views and indexes of findable, and on a server the worker's schema.

    The worker's schema has the tables of background jobs; it is dropped with all objects in it.
    Runs in the caller's transaction, which must be rolled back after an error.

    Raises:
        ConfigurationError: An object of another program depends on a dropped object.
    """
    hint = "remove the other program's object first, then run the same command again"
    _check_references(tx, removed, hint=hint)
    try:
        for name in removed.views:
            tx.execute(text(f"DROP VIEW {quote_identifier(tx, name)}"))
        for name in removed.indexes:
            tx.execute(text(f"DROP INDEX {quote_identifier(tx, name)}"))

        metadata = MetaData()
        # SQLAlchemy warns of indexes that it cannot describe. They are dropped with their tables.
        with warnings.catch_warnings(action="ignore", category=exc.SAWarning):
            metadata.reflect(tx, only=removed.tables, resolve_fks=False)
        metadata.drop_all(tx)
        if not is_sqlite(tx):
            tx.execute(text(f"DROP SCHEMA IF EXISTS {schema.WORKER_SCHEMA} CASCADE"))
    except exc.DBAPIError as error:
        raise ConfigurationError(
            "an object of another program depends on tables or views of findable: "
            f"{describe_error(error)}; nothing was changed",
            hint=hint,
        ) from error


def _check_references(tx: Connection, removed: RemovableObjects, *, hint: str) -> None:
    """Raise ConfigurationError if a foreign key of a kept table refers to a dropped table.

    Args:
        tx: The transaction that reads.
        removed: The dropped and the kept tables.
        hint: A remedy for the user.
    """
    inspector = inspect(tx)
    # SQLite would delete the rows of the table that is kept.
    for name in removed.kept_tables:
        for foreign_key in inspector.get_foreign_keys(name):
            referred_table = foreign_key["referred_table"]
            if referred_table in removed.tables:
                raise ConfigurationError(
                    f"`{name}` of another program refers to `{referred_table}`; "
                    "nothing was changed",
                    hint=hint,
                )
