"""Migrate the schema under a version table of our own, with what the subjects need, in one transaction.

Any command may be the first. A database with another program's tables is adopted: ours (`findable_…`) are added.
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from pipeline.core.errors import InconsistentError
from pipeline.store import hand_tables, odd_lines, tables, upload_tables, workspace  # noqa: F401 - with their tables
from pipeline.store.database import Store
from pipeline.store.table_base import METADATA

HEAD = "0016"  # the newest file in migrations/versions; a test holds it
VERSION_TABLE = "findable_version"
_VERSION = "SELECT version_num FROM findable_version"


def ensure_schema(store: Store, adoptions: Sequence[Callable[[Connection], Sequence[str]]]) -> list[str]:
    """Bring the schema up to date, and return a line for each change to tables that were there before.

    `adoptions` are the subjects' own functions, which return what they changed. Doing it twice changes nothing.

    Raises:
        InconsistentError: a newer version of findable made this database; nothing was changed.
    """
    with store.write() as tx:
        if not is_schema_current(tx):
            make_schema(tx)
            workspace.create_workspace(tx)
        return [line for adopt in adoptions for line in adopt(tx)]


def is_schema_current(tx: Connection) -> bool:
    """Return whether the engine's tables are those of this version.

    Raises:
        InconsistentError: a newer version of findable made this database.
    """
    version = _version(tx)
    if version is not None and version > HEAD:
        raise InconsistentError(
            f"this database was made by a newer findable (schema {version}); nothing was changed",
            hint="install the newer version",
        )
    return version == HEAD


def is_workspace(tx: Connection) -> bool:
    """Return whether a database holds a workspace, of any version of findable."""
    return inspect(tx).has_table(VERSION_TABLE)


def other_tables(tx: Connection) -> list[str]:
    """Return the names of all tables but the engine's, in alphabetical order."""
    return sorted(name for name in inspect(tx).get_table_names() if not name.startswith("findable_"))


def engine_tables() -> list[str]:
    """Return the names of all tables of the engine, in alphabetical order."""
    return sorted([VERSION_TABLE, *METADATA.tables])


def our_tables(tx: Connection, besides: Collection[str] = ()) -> list[str]:
    """Return the names of the tables that are ours, of any version of findable, or among these."""
    return [name for name in inspect(tx).get_table_names() if name.startswith("findable_") or name in besides]


def is_half_restored(tx: Connection) -> bool:
    """Return whether a backup was put into this database whose last row is not written yet."""
    return inspect(tx).has_table(VERSION_TABLE) and tx.execute(text(_VERSION)).scalar() is None


def settle_restore(tx: Connection, version: str) -> None:
    """Write the schema's version of a restored database, and bring it up to date."""
    tx.execute(text("INSERT INTO findable_version VALUES (:version)"), {"version": version})
    if not is_schema_current(tx):
        make_schema(tx)


def _version(tx: Connection) -> str | None:
    """Return the schema's version, None where there is no schema yet; a half restored one is an error."""
    if not inspect(tx).has_table(VERSION_TABLE):
        return None
    found: str | None = tx.execute(text(_VERSION)).scalar()
    if found is None:
        raise InconsistentError(
            "a backup is being put into this database, or that was interrupted; nothing was changed",
            hint="wait for `make restore`, or run it again",
        )
    return found


_HAS_INDEX = (
    text(
        "SELECT 1 FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid "
        "WHERE i.indrelid = to_regclass(:table) AND c.relname = :name"
    ),
    text("SELECT 1 FROM pragma_index_list(:table) WHERE name = :name"),
)
"""Whether a table has an index, on PostgreSQL and on SQLite."""


def has_index(tx: Connection, table: str, name: str) -> bool:
    """Return whether a table has an index of that name; for every start, quicker than reflection."""
    found = _HAS_INDEX[tx.dialect.name == "sqlite"]
    return tx.execute(found, {"table": table, "name": name}).first() is not None


def make_schema(tx: Connection) -> None:
    """Run every migration that this database has not seen, in the caller's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = tx
    command.upgrade(config, "head")
