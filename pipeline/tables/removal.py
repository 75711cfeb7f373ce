"""Find and drop what findable made in a database: tables, views, and indexes on the tables of other programs.

A table of a subject is ours if findable made it. One that was adopted stays, with every column and value in it.
"""

import warnings
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, MetaData, exc, func, inspect, select, table, text

from pipeline.core.errors import ConfigurationError
from pipeline.store import schema, workspace
from pipeline.store.database import describe_error
from pipeline.tables.adopt import is_sqlite, quoted
from pipeline.tables.answer_views import is_our_view

_INDEXES = text("SELECT name, tbl_name FROM sqlite_master WHERE type = 'index'")
_SERVER_INDEXES = text(
    "SELECT indexname, tablename FROM pg_indexes WHERE schemaname = current_schema()"
)


@dataclass
class RemovedTables:
    """Names of what is ours, and of the tables that stay."""

    tables: list[str]
    views: list[str]
    # Of tables that stay.
    indexes: list[str]
    left: list[str]


def list_removable(tx: Connection, marks: Collection[str]) -> RemovedTables:
    """Return what findable made; `marks` are names of its indexes that do not begin as all others do."""
    inspector = inspect(tx)
    made_tables = {event["name"] for event in workspace.events_of(tx, schema.TABLE_MADE)}
    table_names = sorted(inspector.get_table_names())
    our_tables = [
        name for name in table_names if name.startswith("findable_") or name in made_tables
    ]
    other_tables = [name for name in table_names if name not in our_tables]
    views = [name for name in sorted(inspector.get_view_names()) if is_our_view(tx, name)]
    indexes = tx.execute(_INDEXES if is_sqlite(tx) else _SERVER_INDEXES).all()
    on_others = [name for name, table_name in indexes if table_name in other_tables]
    our_indexes = [name for name in on_others if name.startswith("findable_") or name in marks]
    return RemovedTables(our_tables, views, sorted(our_indexes), other_tables)


def count_rows(tx: Connection, name: str) -> int:
    """Return how many rows a table has."""
    return tx.execute(select(func.count()).select_from(table(name))).scalar_one()


def drop_tables(tx: Connection, removed: RemovedTables) -> None:
    """Drop what findable made, all or nothing.

    Raises:
        ConfigurationError: Something of another program depends on it; nothing was changed.
    """
    hint = "remove that first, then run again"
    inspector = inspect(tx)
    # SQLite would delete their rows, too.
    for name in removed.left:
        for key in inspector.get_foreign_keys(name):
            if (referred := key["referred_table"]) in removed.tables:
                message = f"`{name}` of another program refers to `{referred}`; nothing was changed"
                raise ConfigurationError(message, hint=hint)

    try:
        for kind, names in (("VIEW", removed.views), ("INDEX", removed.indexes)):
            for name in names:
                tx.execute(text(f"DROP {kind} {quoted(tx, name)}"))
        described = MetaData()
        # SQLAlchemy warns of indexes that it cannot describe; they go with their tables.
        with warnings.catch_warnings(action="ignore", category=exc.SAWarning):
            described.reflect(tx, only=removed.tables, resolve_fks=False)
        described.drop_all(tx)
        if not is_sqlite(tx):
            tx.execute(text(f"DROP SCHEMA IF EXISTS {schema.WORKER_SCHEMA} CASCADE"))
    except exc.DBAPIError as error:
        message = f"something of another program depends on what is to be removed: {describe_error(error)}"
        raise ConfigurationError(f"{message}; nothing was changed", hint=hint) from error
