"""`search` by words, by vectors and by both, on the same build."""

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


def search(workspace: Workspace, question: str, **values: str) -> list[dict[str, Any]]:
    """Return the hits of a question."""
    hits: list[dict[str, Any]] = json.loads(
        workspace.ran("search", "--json", "--", question, **values).stdout
    )
    return hits


@pytest.mark.parametrize(
    ("question", "names"),
    [
        # A word of the text counts more than a word of the tags.
        ("who knows RIVERS?", ["bob", "李"]),
        ("水法", ["李"]),
        ("sanger", ["cyd"]),
        ("Zoe", ["cyd"]),
        ("honey", ["ada"]),
        ("keeping a bee", ["ada"]),
        ("glaciers", []),
    ],
)
def test_search_by_words_finds_entries_with_a_word(
    indexed: Workspace, api: Api, question: str, names: list[str]
) -> None:
    """Words match in every script and field, without accents and endings, and without a call."""
    calls_before = len(api.journal())
    hits = search(indexed, question, RANK="words")
    assert [hit["username"] for hit in hits] == names
    assert {hit["similarity"] for hit in hits} <= {None}
    assert len(api.journal()) == calls_before


def test_vectors_and_hybrid_rank_all_entries(indexed: Workspace) -> None:
    """By vectors a hit's score is its similarity; the hybrid default adds the words."""
    vectors = search(indexed, "law of rivers", RANK="vectors")
    assert [hit["score"] for hit in vectors] == [hit["similarity"] for hit in vectors]

    hybrid = search(indexed, "law of rivers")
    assert hybrid == search(indexed, "law of rivers", RANK="hybrid")
    assert hybrid[0]["username"] == "bob"
    assert {hit["username"]: hit["similarity"] for hit in hybrid} == {
        hit["username"]: hit["similarity"] for hit in vectors
    }
    assert "'bm25' is not one of" in indexed.ran("search", "law", RANK="bm25", code=2).stderr


def test_a_question_without_words_needs_vectors(indexed: Workspace) -> None:
    """RANK=words refuses stop words and signs, and searches a build of another model."""
    for question in ("who is it with", "🐝", "AND OR NOT", "-- ++"):
        if not question.startswith("-"):
            assert len(search(indexed, question)) == 4
        assert "RANK=words" in indexed.ran("search", "--", question, RANK="words", code=2).stderr
    indexed.ran("search", "honey", DIM="256", code=3)
    assert [hit["username"] for hit in search(indexed, "honey", DIM="256", RANK="words")] == ["ada"]


def test_a_change_of_a_field_makes_the_index_stale(indexed: Workspace) -> None:
    """A moved word changes the fields, even if the embedded text stays equal."""
    indexed.change(
        "UPDATE experts SET job_title = 'Beekeeper', company = 'Hive at Honey' "
        "WHERE username = 'ada'"
    )
    indexed.ran("tag", MODE="live", YES="1")
    assert json.loads(indexed.ran("status", "--exact", "--json").stdout)["index"]["behind"] == 1


def test_a_repeated_word_counts_each_time(indexed: Workspace) -> None:
    """The entry of the repeated word comes first; a repetition does not make a hit less weak."""
    single = search(indexed, "honey opera", RANK="words")
    scores = {hit["username"]: hit["score"] for hit in single}
    repeated = search(indexed, "opera honey opera honey opera", RANK="words")
    assert {hit["username"]: hit["score"] for hit in repeated} == {
        "ada": pytest.approx(2 * scores["ada"], abs=2e-4),
        "cyd": pytest.approx(3 * scores["cyd"], abs=2e-4),
    }
    assert [hit["username"] for hit in repeated] == ["cyd", "ada"]

    hybrid = search(indexed, "opera honey opera")
    assert hybrid[0]["username"] == "cyd"
    assert {hit["username"]: hit["weak"] for hit in repeated} == {
        hit["username"]: hit["weak"] for hit in single
    }
