"""`make tags`: what there is, what may be merged, and merges by a person, which nothing but a person undoes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.store.merges import merged_values, resolved
from tests import ledger
from tests.lab import Api, Workspace

People = Callable[..., list[str]]
CHAIN = ("batch-submit", "batch-poll", "batch-ingest")
GIVEN = {
    "person-0000": ["ml", "beekeeping"],
    "person-0001": ["machine learning", "ml", "bee keeping"],
    "person-0002": ["machine learning"],
}


@pytest.fixture
def tagged(workspace: Workspace, api: Api, people: People, begun: Callable[..., None]) -> Workspace:
    """Three people whom a batch tagged, one whose tags came with the data, and an index."""

    def prepare() -> None:
        """Tag them."""
        people(3)
        for number, tags in enumerate(GIVEN.values(), start=1):
            api.fault("answer_text", args={"text": json.dumps({"tags": tags})}, key=f"expert-tags/{number}")
        workspace.ran_each(*CHAIN)
        workspace.change("INSERT INTO experts (username, tags) VALUES ('theirs', '[ \"ml\", \"law\" ]')")
        workspace.ran_each("score", "index")

    begun(prepare)
    return workspace


def tags_of(workspace: Workspace) -> dict[str, list[str]]:
    """Return the tags of all who have some."""
    rows = workspace.query("SELECT username, tags FROM experts WHERE tags IS NOT NULL ORDER BY username")
    return {name: json.loads(cell) for name, cell in rows}


def told(workspace: Workspace, *words: str) -> Any:
    """Return what `tags` says."""
    return json.loads(workspace.ran("tags", *words, "--json").stdout)


def merge(workspace: Workspace, pairs: str, *words: str) -> Any:
    """Merge tags as ada, and return what was done."""
    return told(workspace, "--merge", pairs, "--who", "ada", *words)


MERGED = {
    "person-0000": ["machine learning", "beekeeping"],
    "person-0001": ["machine learning", "bee keeping"],
    "person-0002": ["machine learning"],
    "theirs": ["machine learning", "law"],
}


def test_tags_are_counted_with_examples_and_what_may_be_merged(tagged: Workspace) -> None:
    """Also those that came with the data; nothing is written, and a part of a tag finds it."""
    found = told(tagged)
    assert (found["people"], found["different"], found["used_once"], found["merges"]) == (4, 5, 3, [])
    assert found["tags"][0] == {"tag": "ml", "people": 3, "examples": ["person-0000", "person-0001", "theirs"]}
    assert {(one["old"], one["new"], one["why"]) for one in found["near"]} == {
        ("beekeeping", "bee keeping", "form"),
        ("ml", "machine learning", "initials"),
    }
    assert [one["tag"] for one in told(tagged, "--find", "KEEP")["tags"]] == ["bee keeping", "beekeeping"]


@pytest.mark.sampled(0)
def test_tags_that_mean_the_same_are_found_by_their_vectors(tagged: Workspace, api: Api) -> None:
    """They are embedded once and cached; what is paid for is said before."""
    tagged.change("UPDATE experts SET tags = '[\"law of water\", \"water law\"]' WHERE username = 'theirs'")
    done = tagged.ran("tags", "--meaning", "--json")
    assert ("water law", "law of water", "meaning") in {
        (one["old"], one["new"], one["why"]) for one in json.loads(done.stdout)["near"]
    }
    assert "6 texts are embedded" in done.stderr
    calls = len(api.seen("POST", ":batchEmbedContents"))
    assert "are embedded" not in tagged.ran("tags", "--meaning").stderr
    assert len(api.seen("POST", ":batchEmbedContents")) == calls


@pytest.mark.sampled(0)
def test_a_plan_is_edited_and_carried_out(tagged: Workspace, tmp_path: Path) -> None:
    """What is deleted of it is not merged; a line that is none stops all of it."""
    plan = tmp_path / "plan.txt"
    tagged.ran("tags", "--to", str(plan))
    lines = [line for line in plan.read_text().splitlines() if "keeping" not in line]
    plan.write_text("\n".join([*lines, "law"]))
    assert "line 4" in tagged.ran("tags", "--merge", str(plan), code=2).stderr
    plan.write_text("\n".join(lines))
    assert told(tagged, "--merge", str(plan), "--dry")["people"] == 3
    assert tags_of(tagged) == {**GIVEN, "theirs": ["ml", "law"]}
    assert told(tagged, "--merge", str(plan))["people"] == 3
    assert tags_of(tagged) == MERGED


@pytest.mark.sampled(0)
def test_a_merge_is_kept_with_who_and_when_and_undone(tagged: Workspace) -> None:
    """The answers stay as they were given; the index is behind, and nothing contradicts; undone, all is as before."""
    before = tagged.query("SELECT answer FROM findable_answers ORDER BY id")
    scores = tagged.query("SELECT findability_score FROM experts ORDER BY id")
    assert merge(tagged, "ml=Machine  Learning")["people"] == 3
    assert tags_of(tagged) == MERGED
    assert tagged.query("SELECT answer FROM findable_answers ORDER BY id") == before
    assert json.loads(tagged.ran("show", "person-0000", "--json").stdout)["unmerged"] == GIVEN["person-0000"]
    assert "before merges" in tagged.ran("show", "person-0000").stdout
    [one] = told(tagged)["merges"]
    assert (one["old"], one["new"], one["who"], one["undone_at"]) == ("ml", "machine learning", "ada", None)
    status = json.loads(tagged.ran("status", "--json").stdout)
    assert status["index"]["behind"] == 3
    assert "another program changed" not in tagged.ran("doctor").output
    assert merge(tagged, "ml=machine learning")["same"] == [["ml", "machine learning"]]
    assert told(tagged, "--undo", "1", "--who", "bob")["people"] == 3
    assert tags_of(tagged) == {**GIVEN, "theirs": ["ml", "law"]}
    assert told(tagged)["merges"][0]["undone_by"] == "bob"
    assert tagged.query("SELECT findability_score FROM experts ORDER BY id") == scores
    assert tagged.query("SELECT * FROM findable_merged_items") == []
    assert "no merge 1 is in force" in tagged.ran("tags", "--undo", "1", code=2).stderr


def test_answers_to_come_are_merged_and_taken_back_with_their_version(tagged: Workspace, api: Api) -> None:
    """A rollback takes merged tags of a model away, asked again they come merged; an undo reaches both."""
    merge(tagged, "ml=machine learning")
    tagged.ran("rollback", json.loads(tagged.ran("versions", "--json").stdout)[0]["version"], "--yes")
    assert tags_of(tagged) == {"theirs": MERGED["theirs"]}
    api.fault("answer_text", times=3, args={"text": '{"tags": ["ml", "soil"]}'})
    tagged.ran("tag-live")
    assert ledger.people(tagged) == {"total": 4, "tagged": 4}
    assert tags_of(tagged)["person-0002"] == ["machine learning", "soil"]
    assert json.loads(tagged.ran("doctor", "--json").stdout)["healthy"]
    told(tagged, "--undo", "1")
    assert tags_of(tagged) == {name: ["ml", "soil"] for name in GIVEN} | {"theirs": ["ml", "law"]}


def test_what_another_program_changed_since_stays(tagged: Workspace) -> None:
    """An undo gives back what it took, and no more; a merge reaches what is there."""
    merge(tagged, "ml=machine learning")
    tagged.change("UPDATE experts SET tags = '[\"machine learning\", \"new\"]' WHERE username = 'person-0000'")
    told(tagged, "--undo", "1")
    assert tags_of(tagged)["person-0000"] == ["machine learning", "new"]
    assert tags_of(tagged)["person-0001"] == GIVEN["person-0001"]
    merge(tagged, "new=novelty")
    told(tagged, "--undo", "2")
    assert tags_of(tagged)["person-0000"] == ["machine learning", "new"]


@pytest.mark.sampled(0)
def test_local_answers_go_and_merges_stay(tmp_path: Path) -> None:
    """`rebind` clears what the local engine said; what a person said of tags holds for Gemini's answers."""
    local = Workspace(tmp_path / "data", {"FINDABLE_DATA": str(tmp_path / "data"), "FINDABLE_BACKEND": "local"})
    local.begin().change("INSERT INTO experts (username, bio) VALUES ('a', 'I teach water law.')")
    local.change("INSERT INTO experts (username, tags) VALUES ('theirs', '[\"ml\"]')")
    local.ran_each(*CHAIN)
    merge(local, "ml=machine learning")
    local.ran("rebind", "--yes")
    assert tags_of(local) == {"theirs": ["machine learning"]}
    told(local, "--undo", "1")
    assert tags_of(local) == {"theirs": ["ml"]}


def test_nothing_of_a_forgotten_person_stays_in_merges(tagged: Workspace) -> None:
    """Neither what they had before, nor a name in a merge, nor in what others had."""
    tagged.change("UPDATE experts SET tags = '[\"school of person-0000\"]' WHERE username IN ('theirs', 'person-0000')")
    merge(tagged, "school of person-0000=schools; ml=machine learning")
    tagged.ran("forget", "person-0000", "--yes")
    assert tagged.query("SELECT item_id FROM findable_merged_items ORDER BY item_id") == [("2",), ("4",)]
    assert tagged.query("SELECT old FROM findable_merges ORDER BY number") == [("school of …",), ("ml",)]


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    ("pairs", "why"),
    [
        ("nothing=law", "no person has the tag 'nothing'"),
        ("ml=law; law=ml", "circle"),
        ("ml=", "names no two tags"),
        ("ml=<b>", "cannot be a tag"),
        ("ml=law; ml=soil", "goes into 'law'"),
        ("missing.txt", "missing.txt"),
    ],
)
def test_what_cannot_be_merged_changes_nothing(tagged: Workspace, pairs: str, why: str) -> None:
    """It is named, and exit code 2 says that it was the input."""
    before = tags_of(tagged), tagged.query("SELECT * FROM findable_merges")
    done = tagged.ran("tags", "--merge", pairs, code=2)
    assert why in done.stderr
    assert (tags_of(tagged), tagged.query("SELECT * FROM findable_merges")) == before


WORDS = st.sampled_from("abcde")


@given(st.lists(WORDS, unique=True), st.dictionaries(WORDS, WORDS))
def test_values_are_merged_once_and_for_all(values: list[str], rules: dict[str, str]) -> None:
    """Whatever the rules: no value that goes elsewhere is left, none stands twice, and doing it again is nothing."""
    found = resolved(rules)
    merged = merged_values(values, found)
    assert not set(merged) & found.keys()
    assert len(set(merged)) == len(merged)
    assert merged_values(merged, found) == merged
