"""`search` by words, by vectors and by both, on one build."""

import json
from typing import Any

import pytest

from tests.lab import Api, Workspace

PEOPLE = {
    "ada": {
        "job_title": "Beekeeper at Hive",
        "company": "Honey",
        "bio": "Keeps bees.",
        "tags": '["bees"]',
    },
    "bob": {
        "first_name": "Bob",
        "bio": "Teaches the law of rivers; rivers, rivers.",
        "tags": '["water law"]',
    },
    "cyd": {"last_name": "Zoë", "job_title": "Sänger", "tags": '["opera"]'},
    "李": {"bio": "我教水法。", "tags": '["rivers"]'},
}


def found(workspace: Workspace, question: str, **values: str) -> list[dict[str, Any]]:
    """Return the hits of a question."""
    hits: list[dict[str, Any]] = json.loads(
        workspace.ran("search", "--json", "--", question, **values).stdout
    )
    return hits


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("who knows RIVERS?", ["bob", "李"]),  # a word of the text counts more than one of the tags
        ("水法", ["李"]),
        ("sanger", ["cyd"]),
        ("Zoe", ["cyd"]),
        ("honey", ["ada"]),
        ("keeping a bee", ["ada"]),
        ("glaciers", []),
    ],
)
def test_by_words_those_are_found_that_have_some(
    indexed: Workspace, api: Api, question: str, names: list[str]
) -> None:
    """In every script and field, without accents and endings; the question is not embedded, and has no similarity."""
    before = len(api.journal())
    hits = found(indexed, question, RANK="words")
    assert [hit["username"] for hit in hits] == names
    assert {hit["similarity"] for hit in hits} <= {None}
    assert len(api.journal()) == before


def test_by_vectors_and_by_both_all_are_ranked(indexed: Workspace) -> None:
    """By vectors a hit's score is its similarity; by both, which is usual, it is made of that and of its words."""
    vectors = found(indexed, "law of rivers", RANK="vectors")
    assert [hit["score"] for hit in vectors] == [hit["similarity"] for hit in vectors]
    both = found(indexed, "law of rivers")
    assert both == found(indexed, "law of rivers", RANK="hybrid")
    assert both[0]["username"] == "bob"
    assert {hit["username"]: hit["similarity"] for hit in both} == {
        hit["username"]: hit["similarity"] for hit in vectors
    }
    assert "'bm25' is not one of" in indexed.ran("search", "law", RANK="bm25", code=2).stderr


def test_what_has_no_words_is_answered_by_vectors_or_refused(indexed: Workspace) -> None:
    """A question of stop words or signs alone; a build of another model is searched by words all the same."""
    for question in ("who is it with", "🐝", "AND OR NOT", "-- ++"):
        if not question.startswith("-"):
            assert len(found(indexed, question)) == 4
        assert "RANK=words" in indexed.ran("search", "--", question, RANK="words", code=2).stderr
    indexed.ran("search", "honey", DIM="256", code=3)
    assert [hit["username"] for hit in found(indexed, "honey", DIM="256", RANK="words")] == ["ada"]


def test_a_change_of_a_field_alone_leaves_the_index_behind(indexed: Workspace) -> None:
    """The text that is embedded stays: "Beekeeper at Hive at Honey."."""
    indexed.change(
        "UPDATE experts SET job_title = 'Beekeeper', company = 'Hive at Honey' WHERE username = 'ada'"
    )
    assert json.loads(indexed.ran("status", "--exact", "--json").stdout)["index"]["behind"] == 1
