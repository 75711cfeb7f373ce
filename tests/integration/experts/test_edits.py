"""`make tags EXPERT=…`: a person's word on one expert's tags, which nothing but another word of a person changes."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import ChangedMeanwhileError
from pipeline.experts import edits
from pipeline.experts.edits import Editor, TagChange
from tests.lab import Api, Workspace

People = Callable[..., list[str]]
CHAIN = ("batch-submit", "batch-poll", "batch-ingest")
ONE = "person-0000"


@pytest.fixture
def tagged(workspace: Workspace, api: Api, people: People, begun: Callable[..., None]) -> Workspace:
    """Two people whom a batch tagged, one without a bio, and an index."""

    def prepare() -> None:
        """Tag them."""
        people(2, without_bio=1)
        api.fault("answer_text", times=2, args={"text": json.dumps({"tags": ["ml", "beekeeping"]})})
        workspace.ran_each(*CHAIN, "index")

    begun(prepare)
    return workspace


def edited(workspace: Workspace, *words: str, person: str = ONE, who: str = "ada") -> Any:
    """Edit the tags of one person by a command, and return what it says."""
    return json.loads(workspace.ran("tags", "--person", person, "--who", who, *words, "--json").stdout)


def shown(workspace: Workspace, person: str = ONE) -> Any:
    """Return the tags of one person, with state and edits."""
    return json.loads(workspace.ran("tags", "--person", person, "--json").stdout)


def asked_again(workspace: Workspace, api: Api, tags: Sequence[str]) -> None:
    """Let all who may be asked be told these tags."""
    api.fault("answer_text", times=9, args={"text": json.dumps({"tags": tags})})
    workspace.ran_each(*CHAIN)
    api.clear_faults()


def test_tags_are_edited_with_who_and_when(tagged: Workspace) -> None:
    """Added, removed, renamed in one go; the answer is a person's, the index is behind, and nothing contradicts."""
    done = edited(tagged, "--add", "Water  Law; ml", "--remove", "beekeeping", "--rename", "ml=machine learning")
    assert (done["tags"], done["edit"]) == (["machine learning", "water law", "ml"], 1)
    [one] = shown(tagged)["edits"]
    assert (one["who"], one["before"], one["undoes"]) == ("ada", ["ml", "beekeeping"], None)
    answers = json.loads(tagged.ran("show", ONE, "--json").stdout)["answers"]
    assert [one["extractor"] for one in answers][1:] == ["person"]
    assert json.loads(tagged.ran("status", "--json").stdout)["index"]["behind"] == 1
    assert json.loads(tagged.ran("doctor", "--json").stdout)["healthy"]
    assert "another program changed" not in tagged.ran("doctor").output
    assert "-beekeeping" in tagged.ran("tags", "--person", ONE).stdout
    assert "ada: -beekeeping, +machine learning" in tagged.ran("show", ONE).stdout
    assert edited(tagged, "--add", "ml")["edit"] is None
    versions = json.loads(tagged.ran("versions", "--json").stdout)
    assert [one["version"] for one in versions] == ["person", "expert-tags@2"]


def test_an_edit_from_an_older_state_shows_both(tagged: Workspace) -> None:
    """The later of two editors loses nothing and changes nothing; from the state of now the edit goes through."""
    state = shown(tagged)["state"]
    assert edited(tagged, "--add", "law", "--of-state", state)["edit"] == 1
    with tagged.open() as ws, pytest.raises(ChangedMeanwhileError) as refused:
        edits.edit_tags(ws.store, ONE, TagChange(add=["art"]), Editor("bob", state), at=ws.now())
    assert refused.value.was == ["ml", "beekeeping"]
    assert refused.value.now["tags"] == ["ml", "beekeeping", "law"]
    late = tagged.ran("tags", "--person", ONE, "--undo", "1", "--of-state", state, code=2).stderr
    assert "'ada' (edit 1)" in late
    now = edited(tagged, "--remove", "law", "--of-state", refused.value.now["state"], who="bob")
    assert (now["tags"], now["edit"]) == (["ml", "beekeeping"], 2)
    assert now["state"] != state


@pytest.mark.sampled(0)
def test_the_first_word_may_be_a_persons(tagged: Workspace, api: Api) -> None:
    """People without a bio or parked are tagged by hand; undone, who has a bio is asked again."""
    score = shown(tagged, "person-0002")["findability_score"]
    assert edited(tagged, "--add", "law", person="person-0002")["findability_score"] == score + 25
    assert edited(tagged, "--undo", "1", person="person-0002")["findability_score"] == score
    tagged.ran("rollback", "expert-tags@2", "--yes")
    api.fault("error_line", times=1, args={"code": 3}, key="expert-tags/1$")
    tagged.ran_each(*CHAIN)
    assert "parked" in tagged.ran("show", ONE).stdout
    assert edited(tagged, "--add", "law")["tags"] == ["law"]
    assert json.loads(tagged.ran("status", "--json").stdout)["experts"]["parked"] == 0
    assert edited(tagged, "--undo", "1")["tags"] == []
    asked_again(tagged, api, ["soil"])
    assert shown(tagged)["tags"] == ["soil"]


@pytest.mark.sampled(0)
def test_merges_reach_what_a_person_said(tagged: Workspace) -> None:
    """A tag that goes elsewhere is written merged; undone, a list is as it was said."""
    tagged.ran("tags", "--merge", "ml=machine learning")
    done = edited(tagged, "--rename", "beekeeping=ml; machine learning=law")
    assert (done["tags"], done["edits"][0]["after"]) == (["law", "machine learning"], ["law", "ml"])
    assert json.loads(tagged.ran("doctor", "--json").stdout)["healthy"]
    tagged.ran("tags", "--undo", "1")
    assert shown(tagged)["tags"] == ["law", "ml"]
    assert shown(tagged, "person-0001")["tags"] == ["ml", "beekeeping"]


def test_edits_go_with_the_person_and_stay_with_all_else(tagged: Workspace) -> None:
    """Nothing of a forgotten person is left, neither what was said of them nor their name as an editor."""
    edited(tagged, "--add", "school of person-0000")
    edited(tagged, "--add", "school of person-0000", person="person-0001", who=ONE)
    edited(tagged, "--undo", "1", person="person-0001")
    tagged.ran("forget", ONE, "--yes")
    assert tagged.query("SELECT who FROM findable_edits ORDER BY answer") == [("…",), ("ada",)]
    assert tagged.query("SELECT count(*) FROM findable_answers WHERE extractor = 'person'") == [(2,)]
    assert [one["undoes"] for one in shown(tagged, "person-0001")["edits"]] == [None, 1]


@pytest.mark.sampled(0)
def test_local_answers_go_and_edits_stay(workspace: Workspace, people: People) -> None:
    """`rebind` clears what the local engine said, and not what a person made of it."""
    people(2)
    workspace.environ["FINDABLE_BACKEND"] = "local"
    workspace.ran_each(*CHAIN)
    tags = edited(workspace, "--add", "law")["tags"]
    workspace.ran("rebind", "--yes")
    assert shown(workspace)["tags"] == tags
    assert shown(workspace, "person-0001")["tags"] == []
    assert edited(workspace, "--undo", "1")["tags"] == tags[:-1]
    assert json.loads(workspace.ran("doctor", "--json").stdout)["healthy"]


@pytest.mark.sampled(7, sqlite=2)
@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--remove", "law"), "has no tag 'law'"),
        (("--remove", "ml; beekeeping"), "left without tags"),
        (("--remove", "ml", "--rename", "ML=law"), "two ways at once"),
        (("--add", "<b>"), "cannot be a tag"),
        (("--add", "law", "--who", " "), "no name of who edits"),
        (("--add", "law", "--undo", "1"), "--undo of another edit"),
        (("--add", "law", "--dry"), "goes without --merge"),
    ],
)
def test_what_cannot_be_edited_changes_nothing(tagged: Workspace, words: Sequence[str], why: str) -> None:
    """It is named, and exit code 2 says that it was the input."""
    assert why in tagged.ran("tags", "--person", ONE, *words, code=2).stderr
    assert (shown(tagged)["tags"], shown(tagged)["edits"]) == (["ml", "beekeeping"], [])


def test_the_tags_of_a_file_are_a_persons_word_on_each_whom_it_changes(tagged: Workspace, tmp_path: Path) -> None:
    """An export that was edited sets the tags of those alone whom it says other tags of, as edits; again, of none."""
    tagged.ran("export", TO=str(file := tmp_path / "people.csv"))
    file.write_text(file.read_text(encoding="utf-8").replace("ml;", "water law;", 1), encoding="utf-8")
    dry = json.loads(tagged.ran("tags", "--from", str(file), "--dry", "--json").stdout)
    assert (dry, shown(tagged)["edits"]) == ({"changed": 1, "unchanged": 1, "dry": True}, [])
    assert "of 1 person were set by hand" in tagged.ran("tags", "--from", str(file), "--who", "ada").stdout
    edit = shown(tagged)["edits"][0]
    assert (edit["who"], edit["before"], edit["after"]) == ("ada", ["ml", "beekeeping"], ["water law", "beekeeping"])
    tagged.ran("rollback", "expert-tags@2", "--yes")
    assert shown(tagged)["tags"] == ["water law", "beekeeping"]
    other = json.loads(tagged.ran("tags", "--from", str(file), "--json").stdout)
    assert other["changed"] == 1  # who lost them by the rollback has them again, by a person


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("username,tags\nperson-0000,a; b\nno-such-person,c\n", "line 3: there is no expert 'no-such-person'"),
        ("username,tags\nperson-0000,a\nperson-0000,b\n", "line 3: 'person-0000' stands on line 2, too"),
        ('{"username": "person-0000", "tags": ["a", 5]}', "line 1: the tags are no list"),
        ("username,tags\nperson-0000,[broken\n", "line 2: the tags are no list: '[broken'"),
        ("name,words\nx,y\n", "give a file with the columns Username and tags"),
    ],
)
def test_a_file_of_tags_is_taken_whole_or_not_at_all(tagged: Workspace, tmp_path: Path, text: str, said: str) -> None:
    """A line that cannot be taken is named, and no tags are changed."""
    (file := tmp_path / "tags.txt").write_text(text, encoding="utf-8")
    done = tagged.run("tags", "--from", str(file))
    assert done.exit_code == 2
    assert said in done.stderr
    assert shown(tagged)["edits"] == []
