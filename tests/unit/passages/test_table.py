"""The passages' tables of our own: who is open, who is counted as what, and concepts of several versions."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy.exc import StatementError

from pipeline.passages import adopt, table
from pipeline.passages.schema import PassagesShape, read_shape
from pipeline.passages.table import ConceptRow, PassageRow
from pipeline.store import schema, versions
from pipeline.store.database import Connection, Store
from pipeline.tables.cells import loaded
from tests import postgresql
from tests.lab import ON_POSTGRESQL

NOW = datetime(2026, 11, 20, 12, 30, 0, 5, tzinfo=UTC)
ONE, TWO = "passage-concepts@1", "passage-concepts@2"


@pytest.fixture
def tx(tmp_path: Path) -> Iterator[Connection]:
    """A transaction on a fresh database."""
    url = postgresql.database_of(tmp_path / "data") if ON_POSTGRESQL else f"sqlite:///{tmp_path / 'findable.db'}"
    store = Store(url)
    schema.ensure_schema(store, [adopt.adopt])
    with store.write() as tx:
        yield tx
    store.close()


@pytest.fixture
def shape(tx: Connection) -> PassagesShape:
    """The tables as they are in it."""
    return read_shape(tx)


def _put(tx: Connection, shape: PassagesShape, **texts: str) -> None:
    """Add passages by id."""
    table.insert_passages(tx, shape, [PassageRow(key, text, None, None) for key, text in texts.items()])


def _answer(
    tx: Connection, shape: PassagesShape, *keys: str, version: str = ONE, model: str = "m", at: datetime = NOW
) -> None:
    """Give each of these passages a concept."""
    concept = ("bees", "other", '["bee"]', 0.5, model, version, None, at)
    table.add_concepts(tx, shape, [ConceptRow(key, *concept) for key in keys])


def _open(tx: Connection, shape: PassagesShape, skip: tuple[str, ...] | None = None, label: str = "") -> list[str]:
    """Return the ids that may be asked, in their order."""
    return list(tx.execute(table.item_table(shape, skip=skip, label=label).pending()).scalars())


def test_a_text_of_white_space_is_none(tx: Connection, shape: PassagesShape) -> None:
    """Such a passage is never asked about, and is counted as empty."""
    texts = dict(zip("abcdef", ("", " ", "\t\n\r", "\u00a0\u3000", "\u2028", "\x1c\x1f\x85"), strict=True))
    _put(tx, shape, **texts)
    assert _open(tx, shape) == []
    assert table.item_table(shape).pending_among(tx, list(texts)) == set()
    assert table.item_table(shape).counts(tx, now=NOW)["empty"] == len(texts)
    assert table.passage_texts(tx, shape, list(texts)) == texts


def test_versions_say_what_is_open(tx: Connection, shape: PassagesShape) -> None:
    """Concepts of any version keep a passage from being asked, or only those of versions that are named."""
    _put(tx, shape, a="x", b="x", c="x")
    _answer(tx, shape, "a", version=ONE)
    _answer(tx, shape, "b", version="theirs@3")
    assert _open(tx, shape) == ["c"]
    assert _open(tx, shape, label=TWO) == ["c"]
    assert _open(tx, shape, skip=(), label=TWO) == ["a", "b", "c"]
    assert _open(tx, shape, skip=(ONE,)) == ["b", "c"]
    assert _open(tx, shape, skip=("theirs@3",), label=ONE) == ["c"]
    assert table.item_table(shape, skip=(ONE,)).pending_among(tx, ["a", "b", "c", "d"]) == {"b", "c"}
    assert table.item_table(shape, skip=(ONE,)).counts(tx, now=NOW)["with_concepts"] == 1


def test_a_version_that_was_withdrawn_counts_as_absent(tx: Connection, shape: PassagesShape) -> None:
    """Of its label and its model alone; other versions of another model, and rows that tell no model, stay."""
    _put(tx, shape, a="x", b="x", c="x")
    _answer(tx, shape, "a", model="m")
    _answer(tx, shape, "b", model="n")
    _answer(tx, shape, "c", model="m")
    _answer(tx, shape, "c", version=TWO, model="m")
    versions.retire_version(tx, "another-task", ONE, model="n", at=NOW)
    assert _open(tx, shape) == []
    versions.retire_version(tx, table.TASK, ONE, model="m", at=NOW)
    assert _open(tx, shape) == ["a"]
    assert table.item_table(shape).pending_among(tx, ["a", "b", "c"]) == {"a"}
    assert table.with_concepts(tx, shape, ["a", "b", "c"]) == {"b", "c"}
    assert _open(tx, shape, skip=(ONE,)) == ["a", "c"]
    assert table.item_table(shape).counts(tx, now=NOW)["with_concepts"] == 2


def test_concepts_are_kept_as_they_were_written(tx: Connection, shape: PassagesShape) -> None:
    """JSON comes back as what it says, a time as the same moment, nothing as nothing."""
    _put(tx, shape, a="x")
    elsewhere = NOW.astimezone(timezone(timedelta(hours=9)))
    evidence = '{"surface": "Bienen", "support": [{"quote": "\\u00e9 %s", "start": 0, "end": 1}]}'
    row = ConceptRow("a", "100 % bees", "method", '["é", "b"]', 0.1, "m/1", ONE, evidence, elsewhere)
    table.add_concepts(tx, shape, [row, row._replace(evidence=None)])
    first, second = tx.execute(shape.concepts.select().order_by(shape.concepts.c.id)).mappings().all()
    assert (first["passage_id"], first["concept_name"], first["confidence"]) == ("a", "100 % bees", 0.1)
    assert (loaded(first["aliases"]), first["created_at"]) == (["é", "b"], NOW)
    assert loaded(first["evidence"]) == {"surface": "Bienen", "support": [{"quote": "é %s", "start": 0, "end": 1}]}
    assert (second["evidence"], loaded(second["evidence"])) == (None, None)
    with pytest.raises(StatementError, match="naive"):
        _answer(tx, shape, "a", at=NOW.replace(tzinfo=None))
