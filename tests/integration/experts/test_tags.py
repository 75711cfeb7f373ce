"""`make tags`: what there is, and merges by a person, which reach a person's word on one expert's tags."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.store.edits import merged, resolved
from tests import ledger
from tests.lab import Api, Workspace

People = Callable[..., list[str]]
CHAIN = ("batch-submit", "batch-poll", "batch-ingest")
ONE = "person-0000"
GIVEN = {
    ONE: ["ml", "beekeeping"],
    "person-0001": ["machine learning", "ml", "bee keeping"],
    "person-0002": ["machine learning"],
}
MERGED = {
    ONE: ["machine learning", "beekeeping"],
    "person-0001": ["machine learning", "bee keeping"],
    "person-0002": ["machine learning"],
    "theirs": ["machine learning", "law"],
}


@pytest.fixture
def tagged(workspace: Workspace, api: Api, people: People, begun: Callable[..., None]) -> Workspace:
    """Three people whom a batch tagged, one whose tags came with the data, one without a bio, and an index."""

    def prepare() -> None:
        """Tag them."""
        people(3, without_bio=1)
        for number, tags in enumerate(GIVEN.values(), start=1):
            api.fault(
                "answer_text",
                args={"text": json.dumps({"tags": tags})},
                key=f"expert-tags/{number}",
            )
        workspace.ran_each(*CHAIN)
        workspace.change(
            "INSERT INTO experts (username, tags) VALUES ('theirs', '[ \"ml\", \"law\" ]')"
        )
        workspace.ran_each("score", "index")

    begun(prepare)
    return workspace


def tags_of(workspace: Workspace) -> dict[str, list[str]]:
    """Return the tags of all who have some."""
    rows = workspace.query(
        "SELECT username, tags FROM experts WHERE tags IS NOT NULL ORDER BY username"
    )
    return {name: json.loads(cell) for name, cell in rows}


def told(workspace: Workspace, *words: str) -> Any:
    """Return what `tags` says."""
    return json.loads(workspace.ran("tags", *words, "--json").stdout)


def merge(workspace: Workspace, pairs: str) -> Any:
    """Merge tags as ada, and return what was done."""
    return told(workspace, "--merge", pairs, "--who", "ada")


def edited(workspace: Workspace, *words: str, person: str = ONE, who: str = "ada") -> Any:
    """Correct the tags of one person, and return what is said."""
    return json.loads(workspace.ran("correct", person, "--who", who, *words, "--json").stdout)


def test_tags_are_counted_with_examples(tagged: Workspace) -> None:
    """Also those that came with the data; a part of a tag finds it."""
    found = told(tagged)
    assert (found["people"], found["different"], found["used_once"], found["merges"]) == (
        4,
        5,
        3,
        [],
    )
    assert found["tags"][0] == {
        "tag": "ml",
        "people": 3,
        "examples": [ONE, "person-0001", "theirs"],
    }
    assert [tag["tag"] for tag in told(tagged, "--find", "KEEP")["tags"]] == [
        "bee keeping",
        "beekeeping",
    ]


@pytest.mark.sampled(0)
def test_a_merge_is_kept_with_who_and_when_and_undone(tagged: Workspace) -> None:
    """The answers stay as they were given; the index is behind, and nothing contradicts; undone, all is as answered."""
    before = tagged.query("SELECT answer FROM findable_answers ORDER BY id")
    assert merge(tagged, "ml=Machine  Learning")["people"] == 3
    assert tags_of(tagged) == MERGED
    assert tagged.query("SELECT answer FROM findable_answers ORDER BY id") == before
    [one] = told(tagged)["merges"]
    assert (one["old"], one["new"], one["who"], one["undone_at"]) == (
        "ml",
        "machine learning",
        "ada",
        None,
    )
    assert json.loads(tagged.ran("status", "--json").stdout)["index"]["behind"] == 3
    assert "another program changed" not in tagged.ran("doctor").output
    assert merge(tagged, "ml=machine learning")["same"] == [["ml", "machine learning"]]
    assert told(tagged, "--undo", "1", "--who", "bob")["people"] == 2
    assert tags_of(tagged) == {
        **GIVEN,
        "theirs": MERGED["theirs"],
    }  # what it was is known to the other program alone
    assert told(tagged)["merges"][0]["undone_by"] == "bob"
    assert "no merge 1 is in force" in tagged.ran("tags", "--undo", "1", code=2).stderr


def test_answers_to_come_are_merged_and_taken_back_with_their_version(
    tagged: Workspace, api: Api
) -> None:
    """A rollback takes merged tags of a model away, asked again they come merged; an undo reaches both."""
    merge(tagged, "ml=machine learning")
    tagged.ran(
        "rollback", json.loads(tagged.ran("versions", "--json").stdout)[0]["version"], "--yes"
    )
    assert tags_of(tagged) == {"theirs": MERGED["theirs"]}
    api.fault("answer_text", times=3, args={"text": '{"tags": ["ml", "soil"]}'})
    tagged.ran("tag-live")
    assert ledger.people(tagged)["tagged"] == 4
    assert tags_of(tagged)["person-0002"] == ["machine learning", "soil"]
    assert json.loads(tagged.ran("doctor", "--json").stdout)["healthy"]
    told(tagged, "--undo", "1")
    assert tags_of(tagged) == {name: ["ml", "soil"] for name in GIVEN} | {
        "theirs": MERGED["theirs"]
    }


WORDS = st.sampled_from("abcde")


@given(st.lists(WORDS, unique=True), st.dictionaries(WORDS, WORDS))
def test_values_are_merged_once_and_for_all(values: list[str], rules: dict[str, str]) -> None:
    """Whatever the rules: no value that goes elsewhere is left, none stands twice, and doing it again is nothing."""
    found = resolved(rules)
    done = merged(values, found)
    assert not set(done) & found.keys()
    assert len(set(done)) == len(done)
    assert merged(done, found) == done


def test_edits_go_with_the_person_and_stay_with_all_else(tagged: Workspace) -> None:
    """Nothing of a forgotten person is left, neither what was said of them nor their name as an editor."""
    edited(tagged, "--set", "tags=school of person-0000")
    edited(tagged, "--set", "tags=school of person-0000", person="person-0001", who=ONE)
    merge(tagged, "school of person-0000=schools")
    edited(tagged, "--undo", "1", person="person-0001")
    tagged.ran("forget", ONE, "--yes")
    assert tagged.query("SELECT who FROM findable_answers WHERE who IS NOT NULL ORDER BY id")[
        0
    ] == ("…",)
    assert tagged.query("SELECT name, new FROM findable_events WHERE kind LIKE 'merge %'") == [
        ("school of …", "schools")
    ]
