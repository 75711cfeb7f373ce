"""`search`: its answer's shape, odd questions, and an index that must not be asked."""

import json
from typing import Any

import pytest

from pipeline.experts import table
from pipeline.store import workspace as workspaces
from tests.lab import Api, Workspace

pytestmark = pytest.mark.sampled(3)

PEOPLE = {
    "ada": {
        "first_name": "Ada",
        "last_name": "Byron",
        "job_title": "Beekeeper",
        "bio": "Keeps bees.",
        "tags": '["bees"]',
    },
    "bob": {"first_name": "Bob", "bio": "Teaches the law of rivers.", "tags": '["water law", "rivers"]'},
    "cyd": {"last_name": "Zoë", "job_title": "Sänger", "tags": '["opera"]'},
    "李": {"bio": "我教水法。", "tags": '["water law"]'},
}


@pytest.fixture
def indexed(workspace: Workspace) -> Workspace:
    """A workspace whose four people are indexed."""
    with workspace.open() as ws, ws.store.write() as tx:
        for username, values in PEOPLE.items():
            table.insert_person(tx, username, values)
        workspaces.touch_revision(tx)
    assert workspace.run("index").exit_code == 0
    return workspace


def _search(workspace: Workspace, question: str, *args: str, **values: str) -> list[dict[str, Any]]:
    """Search and return the JSON list."""
    result = workspace.ran("search", *args, "--json", "--", question, **values)
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_the_json_is_a_list_of_exactly_these_keys(indexed: Workspace) -> None:
    """Rank from 1, similarity descending, and the seven keys that programs read, in order."""
    hits = _search(indexed, "who keeps bees")
    assert [list(hit) for hit in hits] == [
        ["rank", "username", "similarity", "name", "job_title", "tags", "findability_score"]
    ] * 4
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4]
    assert [hit["similarity"] for hit in hits] == sorted((hit["similarity"] for hit in hits), reverse=True)
    best = hits[0]
    assert (best["username"], best["name"], best["job_title"], best["tags"]) == (
        "ada",
        "Ada Byron",
        "Beekeeper",
        ["bees"],
    )
    assert best["findability_score"] == 35.9
    assert {hit["username"]: hit["name"] for hit in hits} == {"ada": "Ada Byron", "bob": "Bob", "cyd": "Zoë", "李": ""}


def test_a_table_is_for_people(indexed: Workspace) -> None:
    """One line a hit, with a header; in a pipe cells are parted by tabs. The username is what `show` takes."""
    lines = indexed.run("search", "水法").stdout.splitlines()
    assert lines[0].split("\t") == ["rank", "similarity", "username", "name", "title", "tags", "score"]
    assert sorted(line.split("\t")[2] for line in lines[1:]) == ["ada", "bob", "cyd", "李"]
    assert {len(line.split("\t")) for line in lines} == {7}


@pytest.mark.parametrize(("k", "expected"), [("1", 1), ("3", 3), ("4", 4), ("5", 4), ("1000", 4)])
def test_k_is_how_many_at_most(indexed: Workspace, k: str, expected: int) -> None:
    """Fewer come where there are fewer, as an option and from the environment alike."""
    assert len(_search(indexed, "law", "-k", k)) == expected
    assert len(_search(indexed, "law", K=k)) == expected


@pytest.mark.parametrize("k", ["0", "-1", "x", "1001", "1.5"])
def test_k_that_is_no_count_is_refused(indexed: Workspace, k: str) -> None:
    """Exit code 2 with the range."""
    assert indexed.run("search", "law", "-k", k).exit_code == 2


@pytest.mark.parametrize(
    "question",
    [
        "🐝",
        "the of and",
        "?",
        "'; DROP TABLE experts; --",
        "%s %d {}",
        "a",
        "水",
        "\u202e",
        "x" * 8000,
        "\ud83d",
        "- -",
        "\x1b[2J",
    ],
)
def test_odd_questions_are_answered_or_refused(indexed: Workspace, question: str) -> None:
    """Emoji, stop words, marks, code, lone surrogates, a page of text: hits or a refusal with 2, never a bug."""
    result = indexed.run("search", "--json", "--", question)
    assert result.exit_code in {0, 2}, result.output
    if result.exit_code == 0:
        assert len(json.loads(result.stdout)) == 4
    else:
        assert result.stderr.startswith("error: ")


@pytest.mark.parametrize("question", ["", "   ", "\n\t", "x" * 100_000, "law\0bees"])
def test_questions_without_sense_are_refused(indexed: Workspace, api: Api, question: str) -> None:
    """Nothing, too much, or NUL: exit code 2, and nobody is asked."""
    before = len(api.journal())
    assert indexed.run("search", "--", question).exit_code == 2
    assert len(api.journal()) == before


def test_a_search_before_the_first_index_says_what_to_do(workspace: Workspace) -> None:
    """Exit code 2 with `make index`."""
    result = workspace.ran("search", "law", code=2)
    assert "make index" in result.stderr


@pytest.mark.parametrize(
    "values", [{"DIM": "256"}, {"EMBEDDING_MODEL": "gemini-embedding-2"}, {"EMBEDDING_MODEL": "gemini-embedding-001"}]
)
def test_an_index_of_another_model_or_width_is_refused(indexed: Workspace, api: Api, values: dict[str, str]) -> None:
    """Exit code 3, both named, and what to set; the question is not even sent."""
    before = len(api.journal())
    made_with = json.loads(indexed.run("status", "--json").stdout)["index"]["model"]
    if values.get("EMBEDDING_MODEL") == made_with:
        assert indexed.run("search", "law", **values).exit_code == 0
        return
    result = indexed.ran("search", "law", "--json", **values, code=3)
    assert made_with in result.stderr
    assert result.stdout == ""
    assert len(api.journal()) == before


def test_a_new_width_needs_a_new_index(indexed: Workspace) -> None:
    """After `make index` with the new width the same question is answered by it."""
    assert indexed.run("index", DIM="256").exit_code == 0
    assert len(_search(indexed, "law", DIM="256")) == 4
    assert indexed.run("search", "law").exit_code == 3


def test_a_question_waits_no_longer_than_any_other_call(indexed: Workspace, api: Api) -> None:
    """A server that hangs is given up after the time-out of a call, not that of a transfer, which is for many texts."""
    limits = {"CALL_TIMEOUT": "0.4", "TRANSFER_TIMEOUT": "1.5", "RETRY_FOR": "0"}
    api.fault("hang", times=9, path=":batchEmbedContents")
    result = indexed.ran("search", "bees", **limits, code=4)
    assert "no answer within 0.4 s" in result.stderr
    with indexed.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, "dan", {"bio": "Keeps goats.", "tags": '["goats"]'})
        workspaces.touch_revision(tx)
    assert "no answer within 1.5 s" in indexed.run("index", **limits).stderr


def test_a_search_reads_only(indexed: Workspace) -> None:
    """Nothing in the database is written, and the service sees one call."""
    before = indexed.query("SELECT * FROM findable_events"), indexed.query("SELECT * FROM findable_workspace")
    _search(indexed, "law")
    assert (indexed.query("SELECT * FROM findable_events"), indexed.query("SELECT * FROM findable_workspace")) == before


def test_a_broken_index_is_said_and_status_still_works(indexed: Workspace) -> None:
    """Exit code 5 with what to do; `status` counts the index as none and says the problem."""
    (indexed.data / "index" / "current" / "faiss.index").write_bytes(b"short")
    result = indexed.ran("search", "law", code=5)
    assert "make index" in result.stderr
    index = json.loads(indexed.run("status", "--json").stdout)["index"]
    assert (index["count"], index["behind"]) == (0, 4)
    assert "broken" in index["problem"]
    assert indexed.run("index").exit_code == 0
    assert len(_search(indexed, "law")) == 4
