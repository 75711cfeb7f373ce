"""The preferred version of an answer is the same in queries and in Python."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert

from pipeline.store import schema
from pipeline.store.answers import PERSON, VersionPreference, preferred_answers
from pipeline.store.database import Store
from tests import postgresql
from tests.unit.store.facts import NOW


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
