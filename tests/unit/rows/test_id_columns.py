"""The ids that an id column can store."""

from pathlib import Path

import pytest
from sqlalchemy import text

from askrows.pipeline.rows.reflection import find_storable_ids, read_columns
from tests.unit.store.facts import open_notes


@pytest.mark.parametrize("type_name", ["SMALLINT", "INTEGER", "BIGINT"])
def test_sqlite_numbers_of_any_type_have_64_bits(tmp_path: Path, type_name: str) -> None:
    """SQLite ignores the size in a column's type, so the largest id is the same for each type."""
    with open_notes(f"sqlite:///{tmp_path / 'notes.db'}") as store, store.write() as tx:
        tx.execute(text(f"CREATE TABLE orders (id {type_name} PRIMARY KEY)"))
        tx.execute(text("INSERT INTO orders VALUES (70000)"))

        facts = find_storable_ids(tx, read_columns(tx, "orders")["id"]["type"])

    assert facts.to_stored_row_id("70000") == "70000"
    assert facts.to_stored_row_id(str(2**63 - 1)) is not None
    assert facts.to_stored_row_id(str(2**63)) is None
