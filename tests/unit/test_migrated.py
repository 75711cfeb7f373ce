"""The tests' own way to make a new database is Alembic's, on both kinds of database."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from pipeline.store.database import Store
from tests import migrated, postgresql

LOOKS = {
    "sqlite": ("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2",),
    "postgresql": (
        (
            "SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity "
            "FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, ordinal_position"
        ),
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
        (
            "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2"
        ),
    ),
}


def shape(tx: Connection) -> list[list[Any]]:
    """Return all that a schema is, and its version."""
    looks = (*LOOKS[tx.dialect.name], "SELECT version_num FROM findable_version")
    return [[tuple(row) for row in tx.execute(text(look))] for look in looks]


@pytest.mark.parametrize("kind", LOOKS)
def test_what_is_said_again_makes_what_alembic_makes(kind: str, tmp_path: Path) -> None:
    """The first is Alembic's, the second has it said again, the third is Alembic's once more: all are the same."""
    found = []
    for number, make in enumerate((migrated.make, migrated.make, migrated.by_alembic)):
        folder = tmp_path / str(number)
        store = Store(f"sqlite:///{folder}.db" if kind == "sqlite" else postgresql.database_of(folder))
        with store.write() as tx:
            make(tx)
            found.append(shape(tx))
        store.close()
    assert found[0] == found[1] == found[2]
    assert all(found[0])
