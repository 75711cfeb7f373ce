"""`make tags`: the tags in use, and merges by a person, which corrections of experts outlast."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askrows.pipeline.store.tag_merges import apply_rules, resolve_replacement_chains
from tests import ledger
from tests.lab import Api, Workspace

People = Callable[..., list[str]]
CHAIN = ("batch-submit", "batch-poll", "batch-ingest")
FIRST_PERSON = "person-0000"
ANSWERED_TAGS = {
    FIRST_PERSON: ["ml", "beekeeping"],
    "person-0001": ["machine learning", "ml", "bee keeping"],
    "person-0002": ["machine learning"],
}
MERGED_TAGS = {
    FIRST_PERSON: ["machine learning", "beekeeping"],
    "person-0001": ["machine learning", "bee keeping"],
    "person-0002": ["machine learning"],
    "theirs": ["machine learning", "law"],
}


@pytest.fixture
def tagged(workspace: Workspace, api: Api, people: People, begun: Callable[..., None]) -> Workspace:
    """Prepare tagged people, a person with foreign tags, a person without a bio, and an index."""

    def prepare() -> None:
        """Tag the people."""
        people(3, without_bio=1)
        for number, tags in enumerate(ANSWERED_TAGS.values(), start=1):
            api.script_fault(
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


def read_tags(workspace: Workspace) -> dict[str, list[str]]:
    """Return the tags of all tagged people."""
    rows = workspace.query(
        "SELECT username, tags FROM experts WHERE tags IS NOT NULL ORDER BY username"
    )
    return {name: json.loads(cell) for name, cell in rows}


def read_tags_report(workspace: Workspace, *words: str) -> Any:
    """Return the document of `tags`."""
    return json.loads(workspace.ran("tags", *words, "--json").stdout)


def merge_tags(workspace: Workspace, pairs: str) -> Any:
    """Merge tags as ada, and return the report."""
    return read_tags_report(workspace, "--merge", pairs, "--who", "ada")


def correct_tags(
    workspace: Workspace, *words: str, person: str = FIRST_PERSON, who: str = "ada"
) -> Any:
    """Correct the tags of a person, and return the report."""
    return json.loads(workspace.ran("correct", person, "--who", who, *words, "--json").stdout)


@pytest.mark.full
def test_tags_are_counted(tagged: Workspace) -> None:
    """Tags are counted with tags that came with the data; a part of a tag finds it."""
    report = read_tags_report(tagged)
    assert report["people"] == 4
    assert report["different"] == 5
    assert report["used_once"] == 3
    assert report["merges"] == []
    assert report["tags"][0] == {"tag": "ml", "people": 3}
    assert [tag["tag"] for tag in read_tags_report(tagged, "--find", "KEEP")["tags"]] == [
        "bee keeping",
        "beekeeping",
    ]


@pytest.mark.alike
def test_a_merge_is_recorded_and_can_be_undone(tagged: Workspace) -> None:
    """Answers stay as they are, the index becomes stale, and an undo restores the answered tags."""
    before = tagged.query("SELECT answer FROM askrows_answers ORDER BY id")
    assert merge_tags(tagged, "ml=Machine  Learning")["people"] == 3
    assert read_tags(tagged) == MERGED_TAGS
    assert tagged.query("SELECT answer FROM askrows_answers ORDER BY id") == before

    [merge] = read_tags_report(tagged)["merges"]
    assert merge["old"] == "ml"
    assert merge["new"] == "machine learning"
    assert merge["who"] == "ada"
    assert merge["undone_at"] is None
    assert json.loads(tagged.ran("status", "--json").stdout)["index"]["behind"] == 3
    assert "another program changed" not in tagged.ran("doctor").output
    assert merge_tags(tagged, "ml=machine learning")["people"] == 0
    assert len(read_tags_report(tagged)["merges"]) == 1
    again = tagged.ran("tags", "--merge", "ml=statistics", code=2)
    assert "'ml' is already merged into 'machine learning'" in again.stderr

    assert read_tags_report(tagged, "--undo", "1", "--who", "bob")["people"] == 2
    # Only the other program knows its tags from before the merge.
    assert read_tags(tagged) == {**ANSWERED_TAGS, "theirs": MERGED_TAGS["theirs"]}
    assert read_tags_report(tagged)["merges"][0]["undone_by"] == "bob"
    assert "there is no active merge 1" in tagged.ran("tags", "--undo", "1", code=2).stderr


@pytest.mark.full
def test_later_answers_are_merged_and_rolled_back(tagged: Workspace, api: Api) -> None:
    """A rollback deletes merged tags, and new answers are merged; an undo restores both."""
    merge_tags(tagged, "ml=machine learning")
    (version, *_) = json.loads(tagged.ran("versions", "--json").stdout)
    tagged.ran("rollback", version["prompt_version"], "--yes")
    assert read_tags(tagged) == {"theirs": MERGED_TAGS["theirs"]}

    # The merge also applies to answers after the rollback.
    api.script_fault("answer_text", times=3, args={"text": '{"tags": ["ml", "soil"]}'})
    tagged.ran("tag-live")
    assert ledger.people(tagged)["tagged"] == 4
    assert read_tags(tagged)["person-0002"] == ["machine learning", "soil"]
    assert json.loads(tagged.ran("doctor", "--json").stdout)["healthy"]

    read_tags_report(tagged, "--undo", "1")
    assert read_tags(tagged) == {name: ["ml", "soil"] for name in ANSWERED_TAGS} | {
        "theirs": MERGED_TAGS["theirs"]
    }


WORDS = st.sampled_from("abcde")


@pytest.mark.full
@given(st.lists(WORDS, unique=True), st.dictionaries(WORDS, WORDS))
def test_merging_leaves_no_merged_or_double_value(values: list[str], rules: dict[str, str]) -> None:
    """A merge leaves no replaced value and no duplicate, and a second merge changes nothing."""
    resolved_rules = resolve_replacement_chains(rules)
    merged_values = apply_rules(values, resolved_rules)
    assert not set(merged_values) & resolved_rules.keys()
    assert len(set(merged_values)) == len(merged_values)
    assert apply_rules(merged_values, resolved_rules) == merged_values


def test_edits_of_a_forgotten_person_are_deleted(tagged: Workspace) -> None:
    """A forgotten person's edits, and their name as an editor, are deleted."""
    correct_tags(tagged, "--set", "tags=school of person-0000")
    correct_tags(
        tagged, "--set", "tags=school of person-0000", person="person-0001", who=FIRST_PERSON
    )
    correct_tags(tagged, "--undo", "1", person="person-0001")
    merge_tags(tagged, "school of person-0000=schools")
    tagged.ran("forget", FIRST_PERSON, "--yes")

    editors = tagged.query("SELECT who FROM askrows_answers WHERE who IS NOT NULL ORDER BY id")
    assert editors[0] == ("…",)
    assert tagged.query("SELECT name, new FROM askrows_events WHERE kind LIKE 'merge %'") == [
        ("school of …", "schools")
    ]
