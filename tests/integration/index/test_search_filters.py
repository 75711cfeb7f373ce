"""What a search may find, and whether it is any good."""

import json
from typing import Any

import pytest

from pipeline.experts import table
from tests.lab import Workspace

PEOPLE: dict[str, dict[str, Any]] = {
    "ada": {
        "job_title": "Beekeeper",
        "bio": "Keeps bees in the city. Teaches the law of water to towns.",
        "hourly_rate": 90,
        "currency": "EUR",
        "tags": '["bees", "water law"]',
        "findability_score": 80,
    },
    "bob": {
        "bio": "Teaches water law. Sails.",
        "hourly_rate": 150,
        "currency": "EUR",
        "tags": '["water law", "rivers"]',
        "findability_score": 60,
    },
    "cyd": {
        "job_title": "Sänger",
        "bio": "Sings the opera.",
        "tags": '["opera"]',
        "hourly_rate": 40,
        "currency": "usd",
    },
    "dan": {
        "bio": "Measures rivers, and the laws of flow.",
        "tags": '["rivers"]',
        "findability_score": 30,
    },
    "李": {"bio": "我教水法律。", "tags": '["water law"]', "currency": "EUR"},
}


def found(workspace: Workspace, *args: str, **values: str) -> list[dict[str, Any]]:
    """Return the hits of a search."""
    hits: list[dict[str, Any]] = json.loads(
        workspace.ran("search", "--json", *args, **values).stdout
    )
    return hits


def names(workspace: Workspace, question: str, **values: str) -> set[str]:
    """Return who is found by words and vectors."""
    return {hit["username"] for hit in found(workspace, "--", question, **values)}


@pytest.mark.parametrize(
    ("question", "filters", "expected"),
    [
        ("water", {"WHERE": "hourly_rate < 120 AND Currency = 'eur'"}, {"ada"}),
        (
            "water",
            {"WHERE": "\"Hourly Rate\" IS NULL OR NOT currency = 'EUR'"},
            {"cyd", "dan", "李"},
        ),
        ("water", {"WHERE": "tags IN ('opera', 'rivers') AND bio CONTAINS 'river'"}, {"dan"}),
        ("water", {"TAG": "Water Law"}, {"ada", "bob", "李"}),
        ("water", {"TAG": "rivers, water law"}, {"bob"}),
        ("water", {"MIN_SCORE": "1", "TAG": "bees", "WHERE": "hourly_rate > 1"}, {"ada"}),
        ("water", {"WHERE": "hourly_rate > 1000"}, set()),
        ('"water law"', {}, {"bob"}),
        ('"The LAW, of water"', {}, {"ada"}),
        ('"laws of"', {}, {"dan"}),
        ('"水法"', {}, {"李"}),
        ("law -bees -sails", {}, {"cyd", "dan", "李"}),
        ('law -"water law"', {}, {"ada", "cyd", "dan", "李"}),
        ("sanger -SANGER", {}, {"ada", "bob", "dan", "李"}),
        ('"teaches" -sails', {"MIN_SCORE": "1"}, {"ada"}),
    ],
)
def test_only_what_passes_is_found(
    indexed: Workspace, question: str, filters: dict[str, str], expected: set[str]
) -> None:
    """Every entry that passes and no other one, by both sides, by vectors, and among many questions."""
    assert names(indexed, question, **filters) == expected
    assert names(indexed, question, RANK="vectors", **filters) == expected
    assert {
        hit["username"] for hit in found(indexed, "-k", "1", "--", question, **filters)
    } <= expected
    assert names(indexed, question, RANK="words", **filters) <= expected


def test_a_phrase_that_no_entry_has_is_said(indexed: Workspace) -> None:
    """The closest are found without it; what is left out, and a filter, hold all the same."""
    for question in ('"of the"', '"water opera"', '"water opera" law -bees'):
        result = indexed.ran("search", "--json", "--", question, WHERE="currency = 'EUR'")
        usernames = {hit["username"] for hit in json.loads(result.stdout)}
        assert usernames == ({"bob", "李"} if "-bees" in question else {"ada", "bob", "李"})
        assert f"no entry that passes has {question.split(chr(34))[1]!r}" in result.stderr


def test_the_sentence_tags_and_scores_of_a_hit_are_shown(indexed: Workspace) -> None:
    """The sentence with the question's words marked, the tags that match; for a pipe with plain marks."""
    best = found(indexed, "law of the water")[0]
    assert (best["username"], best["matching_tags"]) == ("bob", ["water law"])
    text = best["snippet"]["text"]
    marks = best["snippet"]["marks"]
    assert (text, [text[start:end] for start, end in marks]) == (
        "Teaches water law.",
        ["water", "law"],
    )
    assert best["why"] == "words: law, water; close in meaning"
    line = indexed.ran("search", "law of the water", "-k", "1").stdout.splitlines()[1].split("\t")
    assert line[6:] == [best["why"], "Teaches **water** **law**."]
    (chinese,) = found(indexed, "水法", "-k", "1")
    assert chinese["snippet"] == {"text": "我教水法律。", "marks": [[2, 4]]}


def test_who_is_like_another_is_found_without_that_one(indexed: Workspace) -> None:
    """By its vector, filters too; an unknown name, and one that is not in the index, are said."""
    like = [hit["username"] for hit in found(indexed, LIKE="bob")]
    assert "leave RANK=words out" in indexed.ran("search", LIKE="bob", RANK="words", code=2).stderr
    assert sorted(like) == ["ada", "cyd", "dan", "李"]
    assert found(indexed, LIKE="bob", TAG="rivers")[0]["username"] == "dan"
    assert "there is no expert 'eve'" in indexed.ran("search", LIKE="eve", code=2).stderr
    with indexed.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, "eve", {"bio": "New."})
    assert (
        "'eve' is not in the index in service" in indexed.ran("search", LIKE="eve", code=2).stderr
    )
    assert (
        "Q= and LIKE= do not go together"
        in indexed.ran("search", "bees", LIKE="bob", code=2).stderr
    )


@pytest.mark.full
def test_questions_without_meaning_find_weak_hits_alone(indexed: Workspace) -> None:
    """Their first line says so; a question that is answered has a hit that is not weak."""
    for question in ("qwpo zxmv", "best recipe for lasagne", "42", "🍕"):
        for rank in ("hybrid", "vectors"):
            result = indexed.ran("search", question, "--json", RANK=rank)
            assert all(hit["weak"] for hit in json.loads(result.stdout))
            assert "no good match; closest results:" in result.stderr
    by_words = "city plumber quotes discount bathroom tiles overnight delivery"
    assert "no good match" in indexed.ran("search", by_words, RANK="words").stderr
    assert not found(indexed, "who sings opera", RANK="words")[0]["weak"]
    hits = found(indexed, "who teaches water law")
    assert not hits[0]["weak"]
    assert "no good match" not in indexed.ran("search", "who teaches water law").stderr
    vectors = found(indexed, "who teaches water law", RANK="vectors")
    assert {hit["username"]: hit["weak"] for hit in vectors} == {
        hit["username"]: hit["weak"] for hit in hits
    }
    assert {hit["weak"] for hit in found(indexed, LIKE="bob")} == {None}


def test_who_has_what_was_asked_for_a_tag_is_no_weak_hit(indexed: Workspace) -> None:
    """However common the tag is, and whatever ranks; who has no such tag may be."""
    for question in ("Rivers", "opera", "bees"):
        for rank in ("hybrid", "vectors", "words"):
            weak = {hit["username"]: hit["weak"] for hit in found(indexed, question, RANK=rank)}
            tagged = {
                name
                for name, person in PEOPLE.items()
                if f'"{question.lower()}"' in str(person["tags"])
            }
            assert not any(weak[name] for name in tagged & weak.keys()), (question, rank)
            assert rank == "words" or any(weak.values()), (question, rank)


@pytest.mark.parametrize(
    ("args", "values", "said"),
    [
        ((), {}, 'make search Q="who knows water law"'),
        (("--", "-bees"), {}, "only what is not wanted"),
        (("--", 'law "water'), {}, "at character 5 of the question is not closed"),
        (
            ("law",),
            {"WHERE": "hourly_rat < 5"},
            "WHERE, character 1: there is no column 'hourly_rat'",
        ),
        (("law",), {"MIN_SCORE": "nan"}, "'nan' is no number"),
    ],
)
def test_what_cannot_be_asked_is_said(
    indexed: Workspace, args: tuple[str, ...], values: dict[str, str], said: str
) -> None:
    """Exit code 2, and where the fault is."""
    result = indexed.ran("search", *args, code=2, **values)
    assert said in " ".join(result.output.split())
