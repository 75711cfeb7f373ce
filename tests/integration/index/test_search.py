"""`search`: its answer's shape, odd questions, and an index that must not be asked."""

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
    """Search and return the JSON list."""
    result = workspace.ran("search", *args, "--json", "--", question, **values)
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_the_json_is_a_list_of_exactly_these_keys(indexed: Workspace) -> None:
    """Rank from 1, score descending, and twelve keys that programs read, in order; a table is for people."""
    before = (
        indexed.query("SELECT * FROM findable_events"),
        indexed.query("SELECT * FROM findable_workspace"),
    )
    hits = _search(indexed, "who keeps bees")
    assert list(hits[3]) == [
        *(
            "rank",
            "username",
            "similarity",
            "name",
            "job_title",
            "tags",
            "findability_score",
            "score",
            "weak",
        ),
        *("why", "matching_tags", "snippet"),
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
    lines = indexed.run("search", "水法").stdout.splitlines()
    assert lines[0].split("\t") == [
        "rank",
        "username",
        "name",
        "title",
        "tags",
        "score",
        "why",
        "matched",
    ]
    assert sorted(line.split("\t")[1] for line in lines[1:]) == ["ada", "bob", "cyd", "李"]
    assert {len(line.split("\t")) for line in lines} == {8}
    after = (
        indexed.query("SELECT * FROM findable_events"),
        indexed.query("SELECT * FROM findable_workspace"),
    )
    assert after == before  # a search reads only


def test_k_is_how_many_at_most(indexed: Workspace) -> None:
    """Fewer come where there are fewer, as an option and from the environment alike; what is no count is refused."""
    for k, expected in (("1", 1), ("4", 4), ("1000", 4)):
        assert len(_search(indexed, "law", "-k", k)) == expected
    assert len(_search(indexed, "law", K="3")) == 3
    for k in ("0", "-1", "x", "1001", "1.5"):
        assert indexed.run("search", "law", "-k", k).exit_code == 2


def test_odd_questions_are_answered_or_refused(indexed: Workspace, api: Api) -> None:
    """Emoji, stop words and code give hits, a lone surrogate is refused; of what has no sense nothing is asked."""
    odd = [
        "🐝",
        "the of and",
        "?",
        "'; DROP TABLE experts; --",
        "%s %d {}",
        "\u202e",
        "x" * 8000,
        "\x1b[2J",
    ]
    for question in odd:
        assert len(_search(indexed, question)) == 4
    assert indexed.ran("search", "--json", "--", "\ud83d", code=2).stderr.startswith("error: ")
    before = len(api.journal())
    for question in ("", "   ", "\n\t", "x" * 100_000, "law\0bees"):
        assert indexed.run("search", "--", question).exit_code == 2
    assert len(api.journal()) == before
