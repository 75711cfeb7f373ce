"""Confidences are stored with an answer, and queries find them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from pipeline.store import schema
from pipeline.store.answers import PERSON, VersionPreference, preferred_answers
from pipeline.store.confidences import (
    LEAST_PROBABILITY,
    FieldConfidence,
    decode_confidences,
    encode_confidences,
    list_fields_with_probability,
    make_probability_expression,
    select_doubtful_ids,
)
from pipeline.store.database import Store
from tests import postgresql
from tests.unit.store.facts import NOW

SURE = FieldConfidence(0.93, "gemini-decision-1")
UNSURE = FieldConfidence(0.25, "gemini-decision-1")


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
        answer_id: int = tx.execute(statement).scalar_one()
        return answer_id


def test_confidences_survive_encoding() -> None:
    """Decoding returns what was encoded; an answer without confidences has NULL."""
    confidences = {"tone": SURE, 'the "tone"': UNSURE}
    assert decode_confidences(encode_confidences(confidences)) == confidences
    assert encode_confidences({}) is None
    assert decode_confidences(None) == {}
    with pytest.raises(ValueError, match="JSON"):
        encode_confidences({"tone": FieldConfidence(float("nan"), "model")})


def test_queries_read_probabilities_without_parsing(store: Store) -> None:
    """Each field, the least probability and the fields of a task are found by any name."""
    probabilities = {"tone": 0.5, 'a "tone": {"probability": 0.1': 1e-05, "probability": 1.0}
    confidences = {
        name: FieldConfidence(probability, "model") for name, probability in probabilities.items()
    }
    insert_answer(store, confidences=encode_confidences(confidences))
    insert_answer(store, item_id="2")
    with store.read() as tx:
        for name, probability in {**probabilities, "ton": None}.items():
            query = select(make_probability_expression(tx, name)).select_from(schema.answers)
            query = query.order_by(schema.answers.c.id)
            assert list(tx.execute(query).scalars()) == [probability, None]
        query = select(LEAST_PROBABILITY).order_by(schema.answers.c.id)
        assert list(tx.execute(query).scalars()) == [1e-05, None]
        names = (*probabilities, "ton", 'a "tone')
        assert list_fields_with_probability(tx, "tickets", names) == tuple(probabilities)
        assert list_fields_with_probability(tx, "other", names) == ()


def test_row_is_doubtful_until_a_person_looked_at_it(store: Store) -> None:
    """Only the preferred answer counts, and a correction or a review ends the doubt."""
    sure = encode_confidences({"tone": SURE})
    unsure = encode_confidences({"tone": UNSURE, "topic": SURE})
    first_id = insert_answer(store, confidences=unsure)
    insert_answer(store, item_id="2", confidences=sure)
    insert_answer(store, item_id="3", confidences=unsure)
    insert_answer(store, item_id="3", confidences=sure)
    insert_answer(store, item_id="4", confidences=unsure)
    insert_answer(store, item_id="5", confidences=unsure, applied=False)
    insert_answer(store, item_id="6", confidences=unsure, task="other")

    def read_doubtful_ids(threshold: float = 0.7) -> set[str]:
        """Return the ids of the doubtful rows."""
        with store.read() as tx:
            query = select_doubtful_ids(VersionPreference("tickets"), threshold)
            return set(tx.execute(query).scalars())

    assert read_doubtful_ids() == {"1", "4"}
    assert read_doubtful_ids(UNSURE.probability) == set()
    assert read_doubtful_ids(1.0) == {"1", "2", "3", "4"}
    insert_answer(store, item_id="4", extractor=PERSON)
    with store.write() as tx:
        review = update(schema.answers).where(schema.answers.c.id == first_id)
        tx.execute(review.values(reviewed_by="ada", reviewed_at=NOW))
    assert read_doubtful_ids() == set()


def test_versions_have_one_order_in_queries_and_in_python(store: Store) -> None:
    """A version that was never begun counts last of its rank; models of the label are equal."""
    preference = VersionPreference(
        "tickets", "tickets@3", ("tickets@1",), ("tickets@2/a", "tickets@3/a", "tickets@4/a")
    )
    versions = [
        PERSON,
        "tickets@1/a",
        "tickets@3/b",
        "tickets@3/a",
        "tickets@4/a",
        "tickets@2/a",
        "other@1/a",
    ]
    for version in reversed(versions):
        insert_answer(store, extractor=version)
    queried_versions = []
    with store.write() as tx:
        for _ in versions:
            (preferred,) = preferred_answers(tx, "tickets", preference=preference).values()
            queried_versions.append(preferred[0])
            is_preferred = schema.answers.c.extractor == preferred[0]
            tx.execute(delete(schema.answers).where(is_preferred))

    assert queried_versions == sorted(versions, key=preference.sort_key) == versions
