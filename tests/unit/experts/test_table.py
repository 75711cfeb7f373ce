"""The experts' table of our own: who is open, who is counted as what, and tags that are written once."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.experts import table
from pipeline.experts.table import experts
from pipeline.store import schema
from pipeline.store.database import Connection, Store
from pipeline.store.locks import Locks

NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def tx(tmp_path: Path) -> Iterator[Connection]:
    """A transaction on a fresh database."""
    store = Store(f"sqlite:///{tmp_path / 'findable.db'}")
    schema.ensure_schema(store, [table.adopt])
    store.locks = Locks(store, tmp_path / "locks", "workspace")
    with store.write() as tx:
        yield tx
    store.close()


def _open(tx: Connection) -> list[str]:
    """Return the ids that may be asked, in their order."""
    return list(tx.execute(table.people(tx).pending()).scalars())


def test_a_bio_of_white_space_is_none(tx: Connection) -> None:
    """Who has no bio is never asked, and is counted as such; the others are asked in the order of their numbers."""
    blank = [None, "", " ", "\t\n\r", "\u00a0\u3000", "\u2028"]
    table.insert_people(tx, [(f"p{number}", {"bio": "Bees."}) for number in range(1, 12)])
    table.insert_people(tx, [(f"nobody{number}", {"bio": bio}) for number, bio in enumerate(blank)])
    assert _open(tx) == [str(number) for number in range(1, 12)]
    assert table.people(tx).counts(tx)["no_bio"] == len(blank)
    with pytest.raises(InputError, match="'nobody'"):
        table.by_username(tx, "nobody")


def test_tags_are_written_once(tx: Connection) -> None:
    """The second answer changes nothing, a row that is gone is passed over, and lost tags take their points along."""
    key = table.insert_person(tx, "a", {"bio": "x" * 500})
    assert table.write_tags(tx, {key: '["law"]', "99": '["law"]'}) == {key}
    assert table.write_tags(tx, {key: '["bees"]'}) == set()
    row = table.by_username(tx, "a")
    assert (row["tags"], row["findability_score"]) == ('["law"]', 65.0)
    table.write_tags(tx, {key: None}, over=True)
    row = table.by_username(tx, "a")
    assert (row["tags"], row["findability_score"]) == (None, 40.0)
    assert _open(tx) == [key]
    tx.execute(experts.delete())  # an id is never given twice: a late answer would reach another person
    assert table.insert_person(tx, "a", {}) != key


def test_rescore_writes_what_differs(tx: Connection) -> None:
    """More than are written at once: reading stops for each writing and goes on behind it; then nothing is to do."""
    table.insert_people(tx, [(f"p{number}", {"job_title": "Judge"}) for number in range(3000)])
    for spoilt, count in ((experts.c.id > 0, 3000), (experts.c.id % 1000 == 0, 3)):
        tx.execute(experts.update().where(spoilt).values(findability_score=99.0))
        assert table.refresh_scores(tx) == count
    assert set(tx.execute(experts.select().with_only_columns(experts.c.findability_score)).scalars()) == {10.0}
    assert table.refresh_scores(tx) == 0
