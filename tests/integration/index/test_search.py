"""`search`: the shape of its answer, odd questions, and limits of K."""

import json
from typing import Any

from tests.lab import Api, Workspace

PEOPLE = {
    "ada": {
        "first_name": "Ada",
        "last_name": "Byron",
        "job_title": "Beekeeper",
        "bio": "Keeps bees.",
        "tags": '["bees"]',
    },
    "bob": {
        "first_name": "Bob",
        "bio": "Teaches the law of rivers.",
        "tags": '["water law", "rivers"]',
    },
    "cyd": {"last_name": "Zoë", "job_title": "Sänger", "tags": '["opera"]'},
    "李": {"bio": "我教水法。", "tags": '["water law"]'},
}


def _search(workspace: Workspace, question: str, *args: str, **values: str) -> list[dict[str, Any]]:
    """Search, and return the hits."""
    result = workspace.ran("search", *args, "--json", "--", question, **values)
    hits: list[dict[str, Any]] = json.loads(result.stdout)
    return hits


def test_the_json_is_a_list_of_exactly_these_keys(indexed: Workspace) -> None:
    """Hits have fourteen keys in a fixed order, rank from 1, and descending scores."""
    hits = _search(indexed, "who keeps bees")
    assert list(hits[3]) == [
        "rank",
        "username",
        "similarity",
        "name",
        "job_title",
        "company",
        "tags",
        "findability_score",
        "score",
        "weak",
        "untagged",
        "why",
        "matching_tags",
        "snippet",
    ]
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4]
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)

    best = hits[0]
    assert (best["username"], best["name"], best["job_title"]) == ("ada", "Ada Byron", "Beekeeper")
    assert (best["tags"], best["findability_score"]) == (["bees"], 35.9)
    assert {hit["username"]: hit["name"] for hit in hits} == {
        "ada": "Ada Byron",
        "bob": "Bob",
        "cyd": "Zoë",
        "李": "",
    }

    # The table is for people, and has fewer columns.
    lines = indexed.run("search", "水法").stdout.splitlines()
    assert lines[0].split("\t") == [
        "rank",
        "username",
        "name",
        "job_title",
        "company",
        "tags",
        "findability_score",
        "why",
        "matched",
    ]
    assert sorted(line.split("\t")[1] for line in lines[1:]) == ["ada", "bob", "cyd", "李"]
    assert {len(line.split("\t")) for line in lines} == {9}


def test_odd_questions_are_answered_or_refused(indexed: Workspace, api: Api) -> None:
    """Emoji, stop words and code give hits; a lone surrogate and blank questions are refused."""
    odd_questions = [
        "🐝",
        "the of and",
        "?",
        "'; DROP TABLE experts; --",
        "%s %d {}",
        "\u202e",
        "x" * 8000,
        "\x1b[2J",
    ]
    for question in odd_questions:
        assert len(_search(indexed, question)) == 4
    assert indexed.ran("search", "--json", "--", "\ud83d", code=2).stderr.startswith("error: ")

    # Invalid questions cause no call.
    calls_before = len(api.journal())
    for question in ("", "   ", "\n\t", "x" * 100_000, "law\0bees"):
        assert indexed.run("search", "--", question).exit_code == 2
    assert len(api.journal()) == calls_before
