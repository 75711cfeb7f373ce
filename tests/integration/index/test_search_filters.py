"""`search`: filters, phrases, similar entries and weak hits."""

import json
from typing import Any

import pytest

from tests.lab import Workspace
from tests.people import insert_person

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
        "bio": "Sings the opera, Cyd'Opera of AT&T.",
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


def search(workspace: Workspace, *args: str, **values: str) -> list[dict[str, Any]]:
    """Return the hits of a search."""
    hits: list[dict[str, Any]] = json.loads(
        workspace.ran("search", "--json", *args, **values).stdout
    )
    return hits


def find_names(workspace: Workspace, question: str, **values: str) -> set[str]:
    """Return the names of the hits."""
    return {hit["username"] for hit in search(workspace, "--", question, **values)}


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
        ("water", {"TAG": "bees", "WHERE": "findability_score > 1 AND hourly_rate > 1"}, {"ada"}),
        ("water", {"WHERE": "hourly_rate > 1000"}, set()),
        ('"water law"', {}, {"ada", "bob", "李"}),
        ('"The LAW, of water"', {}, {"ada"}),
        ('"laws of"', {}, {"ada", "dan"}),
        ("'teach waters'", {}, {"bob"}),
        ("law \u2212bee \u2013\u201csail\u201d", {}, {"cyd", "dan", "李"}),
        ("\u00bbcydopera\u00ab", {}, {"cyd"}),
        ("AT&T -cydopera", {}, {"ada", "bob", "dan", "李"}),
        ('"水法"', {}, {"李"}),
        ("law -bees -sails", {}, {"cyd", "dan", "李"}),
        ('law -"water law"', {}, {"cyd", "dan"}),
        ("sanger -SANGER", {}, {"ada", "bob", "dan", "李"}),
        ('"teaches" -sails', {"WHERE": "findability_score > 1"}, {"ada"}),
    ],
)
def test_only_entries_that_pass_are_found(
    indexed: Workspace, question: str, filters: dict[str, str], expected: set[str]
) -> None:
    """A search finds exactly the passing entries, by vectors and by both ranks."""
    assert find_names(indexed, question, **filters) == expected
    assert find_names(indexed, question, RANK="vectors", **filters) == expected
    assert {
        hit["username"] for hit in search(indexed, "-k", "1", "--", question, **filters)
    } <= expected
    assert find_names(indexed, question, RANK="words", **filters) <= expected


def test_a_mark_that_is_not_closed_is_a_character(indexed: Workspace) -> None:
    """The words are searched."""
    result = indexed.ran("search", "--json", "--", 'teaches "water')
    assert {hit["username"] for hit in json.loads(result.stdout)[:2]} == {"ada", "bob"}


def test_a_phrase_without_an_entry_is_reported(indexed: Workspace) -> None:
    """The closest entries are found instead; excluded words and filters still apply."""
    for question in ('"of the"', '"water opera"', '"water opera" law -bees'):
        result = indexed.ran("search", "--json", "--", question, WHERE="currency = 'EUR'")
        usernames = {hit["username"] for hit in json.loads(result.stdout)}
        assert usernames == ({"bob", "李"} if "-bees" in question else {"ada", "bob", "李"})

        phrase = question.split('"')[1]
        assert f"no match contains {phrase!r}" in result.stderr


def test_the_passage_tags_and_scores_of_a_hit_are_shown(indexed: Workspace) -> None:
    """A hit shows its best short sentence with the next one, marked words and matching tags."""
    best = search(indexed, "law of the water")[0]
    assert (best["username"], best["matching_tags"]) == ("bob", ["water law"])

    text = best["snippet"]["text"]
    marks = best["snippet"]["marks"]
    assert text == "Teaches water law. Sails."
    assert [text[start:end] for start, end in marks] == ["water", "law"]
    assert best["why"] == "words: law, water; close in meaning"

    line = indexed.ran("search", "law of the water", "-k", "1").stdout.splitlines()[1].split("\t")
    assert line[7:] == [best["why"], "Teaches **water** **law**. Sails."]

    # The index text has the tag "rivers" behind the biography.
    (sailor,) = search(indexed, "sails rivers", "-k", "1", WHERE="username = 'bob'")
    assert sailor["snippet"]["text"] == "Teaches water law. Sails."

    (chinese,) = search(indexed, "水法", "-k", "1")
    assert chinese["snippet"] == {"text": "我教水法律。", "marks": [[2, 4]]}


def test_like_finds_similar_entries_without_the_entry_itself(indexed: Workspace) -> None:
    """LIKE= compares vectors with filters, and refuses unknown or unindexed names."""
    usernames = [hit["username"] for hit in search(indexed, LIKE="bob")]
    assert "leave RANK=words out" in indexed.ran("search", LIKE="bob", RANK="words", code=2).stderr
    assert sorted(usernames) == ["ada", "cyd", "dan", "李"]
    assert search(indexed, LIKE="bob", TAG="rivers")[0]["username"] == "dan"
    assert "there is no person 'eve'" in indexed.ran("search", LIKE="eve", code=2).stderr

    # A person who came after the build.
    with indexed.open() as ws, ws.workspace.store.write() as tx:
        insert_person(ws, tx, "eve", {"bio": "New."})
    assert (
        "'eve' is not in the index in service" in indexed.ran("search", LIKE="eve", code=2).stderr
    )
    assert (
        "a question or LIKE=, not both" in indexed.ran("search", "bees", LIKE="bob", code=2).stderr
    )


@pytest.mark.full
def test_questions_without_meaning_find_only_weak_hits(indexed: Workspace) -> None:
    """Meaningless questions find only weak hits and say so; a good answer has a strong hit."""
    for question in ("qwpo zxmv", "best recipe for lasagne", "42", "🍕"):
        for rank in ("hybrid", "vectors"):
            result = indexed.ran("search", question, "--json", RANK=rank)
            assert all(hit["weak"] for hit in json.loads(result.stdout))
            assert "no good match; closest results:" in result.stderr

    unrelated_question = "best water park discount tickets overnight bus hotel breakfast"
    assert "no good match" in indexed.ran("search", unrelated_question, RANK="words").stderr
    # A good hit is not weak under any rank.
    assert not search(indexed, "who sings opera", RANK="words")[0]["weak"]

    hits = search(indexed, "who teaches water law")
    assert not hits[0]["weak"]
    assert "no good match" not in indexed.ran("search", "who teaches water law").stderr

    vectors = search(indexed, "who teaches water law", RANK="vectors")
    assert {hit["username"]: hit["weak"] for hit in vectors} == {
        hit["username"]: hit["weak"] for hit in hits
    }
    assert {hit["weak"] for hit in search(indexed, LIKE="bob")} == {None}


def test_a_hit_with_the_asked_tag_is_not_weak(indexed: Workspace) -> None:
    """A hit with the tag is strong under every rank; a hit without it may be weak."""
    for question in ("Rivers", "opera", "bees"):
        for rank in ("hybrid", "vectors", "words"):
            is_weak = {hit["username"]: hit["weak"] for hit in search(indexed, question, RANK=rank)}
            tagged_names = {
                name
                for name, person in PEOPLE.items()
                if f'"{question.lower()}"' in str(person["tags"])
            }
            assert not any(is_weak[name] for name in tagged_names & is_weak.keys()), (
                question,
                rank,
            )
            assert rank == "words" or any(is_weak.values()), (question, rank)


@pytest.mark.parametrize(
    ("args", "values", "message"),
    [
        ((), {}, 'make search Q="who knows water law"'),
        (("--", "-bees"), {}, "has only excluded words"),
        (
            ("law",),
            {"WHERE": "hourly_rat < 5"},
            "WHERE, character 1: there is no column 'hourly_rat'",
        ),
    ],
)
def test_invalid_questions_are_refused(
    indexed: Workspace, args: tuple[str, ...], values: dict[str, str], message: str
) -> None:
    """An invalid question or filter exits with 2, and names the position of the error."""
    result = indexed.ran("search", *args, code=2, **values)
    assert message in " ".join(result.output.split())
