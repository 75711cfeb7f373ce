"""Confidences are stored with an answer, and those of judged fields are added later."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from pipeline.store import schema
from pipeline.store.answers import FORGOTTEN_ANSWER, PERSON
from pipeline.store.confidences import (
    FieldConfidence,
    decode_confidences,
    encode_confidences,
    set_judged_confidences,
)
from pipeline.store.database import Store
from tests import postgresql
from tests.unit.store.facts import NOW

DECIDED = FieldConfidence(0.93, "gemini-decision-1")
JUDGED = FieldConfidence(0.25, "gemini-decision-1", is_judged=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    """A database with the schema."""
    url = f"sqlite:///{tmp_path / 'findable.db'}"
    if request.param == "postgresql":
        url = postgresql.database_of(tmp_path / "data")
    store = Store(url)
    schema.ensure_schema(store, [])
    yield store
    store.close()


def insert_answer(store: Store, **columns: Any) -> int:
    """Insert an answer and return its id."""
    defaults = {
        "task": "tickets",
        "item_id": "1",
        "extractor": "tickets@1/model",
        "input_hash": "",
        "answer": '{"tone": "calm"}',
        "applied": True,
        "model_version": "",
        "response_id": "",
        "tokens_in": 0,
        "tokens_out": 0,
        "cost": 0,
        "at": NOW,
    }
    with store.write() as tx:
        statement = insert(schema.answers).values(**defaults | columns)
        statement = statement.returning(schema.answers.c.id)
        return tx.execute(statement).scalar_one()


def read_confidences(store: Store, answer_id: int) -> dict[str, FieldConfidence]:
    """Return the stored confidences of an answer."""
    with store.read() as tx:
        query = select(schema.answers.c.confidences).where(schema.answers.c.id == answer_id)
        return decode_confidences(tx.execute(query).scalar_one())


def test_confidences_survive_encoding() -> None:
    """Decoding returns what was encoded; an answer without confidences has NULL."""
    confidences = {"tone": DECIDED, 'the "tone"': JUDGED}
    assert decode_confidences(encode_confidences(confidences)) == confidences
    assert encode_confidences({}) is None
    assert decode_confidences(None) == {}
    with pytest.raises(ValueError, match="JSON"):
        encode_confidences({"tone": FieldConfidence(float("nan"), "model")})


def test_judged_confidence_replaces_only_judged_confidences(store: Store) -> None:
    """A field that a decision model answered keeps its probability."""
    answer_id = insert_answer(store, confidences=encode_confidences({"tone": DECIDED}))
    for judged in (JUDGED, JUDGED._replace(probability=0.5)):
        with store.write() as tx:
            set_judged_confidences(tx, answer_id, {"tone": judged, "summary": judged})
        assert read_confidences(store, answer_id) == {"tone": DECIDED, "summary": judged}


@pytest.mark.parametrize("columns", [{"answer": FORGOTTEN_ANSWER}, {"extractor": PERSON}])
def test_forgotten_answer_and_correction_get_no_confidence(
    store: Store, columns: dict[str, str]
) -> None:
    """A judgement that arrives late changes neither."""
    answer_id = insert_answer(store, **columns)
    with store.write() as tx:
        set_judged_confidences(tx, answer_id, {"tone": JUDGED})
    assert read_confidences(store, answer_id) == {}
