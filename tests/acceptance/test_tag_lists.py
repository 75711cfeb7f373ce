"""Tags of a user's task: the texts in a list of its answers are counted and merged."""

import json
from typing import Any

import pytest

from tests.acceptance.database import run_sql
from tests.acceptance.product import ON_POSTGRESQL, Workspace
from tests.outside.answers import Json, user_text
from tests.outside.server import Outside

BOATS = ("ml, beekeeping", "machine learning, ml, bee keeping", "machine learning", "law")
ANSWERED_TAGS = {
    "1": ["ml", "beekeeping"],
    "2": ["machine learning", "ml", "bee keeping"],
    "3": ["machine learning"],
    "4": ["law"],
}
MERGED_TAGS = {
    "1": ["machine learning", "beekeeping"],
    "2": ["machine learning", "bee keeping"],
    "3": ["machine learning"],
    "4": ["law"],
}
MERGE = "ml=Machine  Learning"
CLASS = """
class Tags(BaseModel):
    tags: list[str] = Field(max_length=4)
    stars: int = 3

    @field_validator("tags")
    @classmethod
    def _clean(cls, tags):
        if "no tag" in tags:
            raise ValueError("it is no tag")
        return [" ".join(tag.lower().split()) for tag in tags]
"""


@pytest.fixture(name="boats")
def _boats(workspace: Workspace, outside_server: Outside) -> Workspace:
    """Return a workspace with four answered rows, whose answers are in a table of the user."""
    workspace.url = outside_server.url
    workspace.task = "boats"
    workspace.settings["YES"] = "1"
    outside_server.answerer = repeat_tags
    run_sql(workspace, "CREATE TABLE boats (id INTEGER PRIMARY KEY, text TEXT, tags TEXT)")
    for number, text in enumerate(BOATS, 1):
        insert = "INSERT INTO boats (id, text) VALUES (:id, :text)"
        run_sql(workspace, insert, id=number, text=text)
    declare(workspace)
    workspace.run_command("tag_live")
    return workspace


def repeat_tags(request: Json) -> Json:
    """Return the tags in the row's text."""
    text = user_text(request).split("<text>", 1)[-1].split("</text>", 1)[0]
    return {"tags": [tag.strip() for tag in text.split(",")], "stars": 3}


def declare(
    workspace: Workspace, *arguments: str, fields: str = CLASS, write_to: str = "boats.tags=tags"
) -> None:
    """Write the file of the task."""
    members = [
        "answer=Tags",
        "items='SELECT id, text FROM boats ORDER BY id'",
        "prompt='{text}'",
        "index='{tags}'",
        "words=('boat', 'boats', 'answered', 'empty')",
        f"write_to={write_to!r}",
        *arguments,
    ]
    workspace.write_file(
        "tasks/boats.py",
        "from pydantic import BaseModel, Field, field_validator\n\nfrom askrows import Task\n\n"
        f"{fields}\n\ntask = Task({', '.join(members)})\n",
    )


def read_tags(workspace: Workspace) -> dict[str, Any]:
    """Return the exported tags of each row by key."""
    return {str(row["id"]): row["tags"] for row in workspace.exported_rows()}


def read_cells(workspace: Workspace) -> dict[str, Any]:
    """Return the tags in the user's table by key."""
    rows = run_sql(workspace, "SELECT id, tags FROM boats")
    return {str(key): cell and json.loads(cell) for key, cell in rows}


def merge(workspace: Workspace, pairs: str = MERGE) -> Any:
    """Merge tags as ada, and return the report."""
    return workspace.read_json("tags", merge=pairs, who="ada")


def test_tags_of_a_task_are_counted(boats: Workspace) -> None:
    """Each tag has the number of its rows; a part of a tag finds it."""
    report = boats.read_json("tags")
    assert report["boats"] == 4
    assert report["different"] == 5
    assert report["used_once"] == 3
    assert report["merges"] == []
    assert report["tags"][0] == {"tag": "machine learning", "boats": 2}
    assert [tag["tag"] for tag in boats.read_json("tags", find="KEEP")["tags"]] == [
        "bee keeping",
        "beekeeping",
    ]
    assert "4 boats with 5 different tags; 3 tags of a single boat" in (
        boats.run_command("tags").stdout
    )


@pytest.mark.alike
def test_a_merge_changes_stored_answers_and_an_undo_restores_them(boats: Workspace) -> None:
    """Lists, exports, the index, the page and the user's table follow."""
    boats.run_command("index")
    assert merge(boats)["boats"] == 2
    assert read_tags(boats) == MERGED_TAGS
    assert read_cells(boats) == MERGED_TAGS
    listed = boats.read_json("items", tag="machine learning")
    assert [row["id"] for row in listed["rows"]] == [1, 2, 3]
    assert boats.read_json("status")["index"]["behind"] == 2
    assert "no contradiction found" in boats.run_command("doctor").stdout
    with boats.serve_page() as page:
        assert "machine learning" in page.get("/quality?task=boats").text

    [listed_merge] = boats.read_json("tags")["merges"]
    assert (listed_merge["old"], listed_merge["new"]) == ("ml", "machine learning")
    assert merge(boats)["boats"] == 0
    assert len(boats.read_json("tags")["merges"]) == 1
    again = boats.run_command("tags", merge="ml=law", code=2)
    assert "'ml' is already merged into 'machine learning'" in again.stderr

    assert boats.read_json("tags", undo=1, who="bob")["boats"] == 2
    assert read_tags(boats) == ANSWERED_TAGS
    assert read_cells(boats) == ANSWERED_TAGS
    assert boats.read_json("tags")["merges"][0]["undone_by"] == "bob"
    assert "there is no active merge 1" in boats.run_command("tags", undo=1, code=2).stderr
    assert "no contradiction found" in boats.run_command("doctor").stdout


# A rollback deletes answers, and their rows are asked again.
@pytest.mark.excused("nobody_is_answered_twice")
def test_later_answers_are_merged_when_they_are_stored(boats: Workspace) -> None:
    """Those of a later version, of equal rows and after a rollback are merged, too."""
    merge(boats)
    boats.run_command("rollback", "boats@1")
    assert set(read_cells(boats).values()) == {None}
    insert = "INSERT INTO boats (id, text) VALUES (5, 'ml, beekeeping')"
    run_sql(boats, insert)
    boats.run_command("tag_live")
    assert read_tags(boats) == {**MERGED_TAGS, "5": MERGED_TAGS["1"]}
    assert read_cells(boats) == read_tags(boats)

    # An equal row gets the stored answer; without the merge it is the list of the reply.
    run_sql(boats, "INSERT INTO boats (id, text) VALUES (6, 'ml, beekeeping')")
    boats.run_command("tag_live")
    boats.run_command("tags", undo=1)
    assert read_tags(boats) == {
        **ANSWERED_TAGS,
        "5": ANSWERED_TAGS["1"],
        "6": ANSWERED_TAGS["1"],
    }
    assert read_cells(boats) == read_tags(boats)


@pytest.mark.excused("nobody_is_answered_twice")
def test_corrections_are_merged_and_keep_what_the_editor_did_not_change(boats: Workspace) -> None:
    """An undone merge restores a list that an editor did not set, also in a corrected row."""
    merge(boats)
    boats.run_command("correct", row=1, set="stars=5")
    boats.run_command("correct", row=3, set='tags=["ml", "soil"]')
    boats.run_command("correct", row=2, set='tags=["machine learning", "bee keeping"]; stars=1')
    merged_tags = {**MERGED_TAGS, "3": ["machine learning", "soil"]}
    assert read_tags(boats) == merged_tags
    assert read_cells(boats) == merged_tags

    boats.run_command("tags", undo=1)
    tags = {**ANSWERED_TAGS, "3": ["ml", "soil"]}
    assert read_tags(boats) == tags
    assert read_cells(boats) == tags
    for row, edit in ((1, 1), (3, 1), (2, 1)):
        boats.run_command("correct", row=row, undo=edit)
    assert read_tags(boats) == ANSWERED_TAGS
    assert {row["stars"] for row in boats.exported_rows()} == {3}


def test_right_values_are_compared_with_merged_answers(boats: Workspace) -> None:
    """A confirmed list stays right after a merge, and is not taken for a corrected value."""
    boats.run_command("correct", row=1, reviewed=True)
    boats.run_command("correct", row=2, set='tags=["machine learning", "ml", "bee keeping"]')
    merge(boats)
    # The shown list is confirmed.
    boats.run_command("correct", row=1, set='tags=["machine learning", "beekeeping"]')
    report = boats.read_json("eval", a="boats@1")
    (version,) = report["versions"]
    assert version["own_corrections"] == 0
    assert report["fields"][0]["a"]["right"] == 2
    boats.run_command("tags", undo=1)
    assert read_tags(boats) == ANSWERED_TAGS


def test_a_value_of_another_program_is_merged_but_its_cell_stays(boats: Workspace) -> None:
    """The cell is not taken for a changed one by later commands."""
    insert = "INSERT INTO boats VALUES (5, 'theirs', '[ \"ml\", \"law\" ]')"
    run_sql(boats, insert)
    boats.run_command("tag_live")
    merge(boats)
    for command in ("tag_live", "index", "doctor"):
        boats.run_command(command)
        assert read_tags(boats)["5"] == ["machine learning", "law"]
        assert read_cells(boats)["5"] == ["ml", "law"]

    run_sql(boats, 'UPDATE boats SET tags = \'["ml", "tax"]\' WHERE id = 5')
    boats.run_command("tag_live")
    assert read_tags(boats)["5"] == ["machine learning", "tax"]
    boats.run_command("tags", undo=1)
    assert read_tags(boats)["5"] == ["ml", "tax"]
    assert read_cells(boats)["5"] == ["ml", "tax"]


def test_a_wrong_merge_is_refused(boats: Workspace) -> None:
    """The message names the tag; nothing is changed."""
    for pairs, message in (
        ("ml", "is not of the form OLD=NEW"),
        ("hull=law", "no boat has the tag 'hull'"),
        ("ml=no tag", "'no tag' is not a valid tag: tags: Value error, it is no tag"),
        ("ml=law; law=ml", "would form a circle"),
    ):
        assert message in boats.run_command("tags", merge=pairs, code=2).stderr
    assert read_tags(boats) == ANSWERED_TAGS

    declare(boats, "version=2", fields="class Tags(BaseModel):\n    tags: int = 3\n")
    boats.run_command("tag", dry=True)
    refusal = boats.run_command("tags", code=2).stderr
    assert "the answers of boats have no list of texts" in refusal


def test_a_task_with_several_lists_names_one(boats: Workspace) -> None:
    """The merges of a list leave the other list as it is."""
    fields = "\nclass Tags(BaseModel):\n    tags: list[str]\n    uses: list[str] = ['ml']\n"
    declare(boats, "version=2", fields=fields)
    boats.run_command("tag_live")
    refusal = boats.run_command("tags", code=2).stderr
    assert "several lists of texts: tags, uses" in refusal
    assert "have no list of texts 'use'" in boats.run_command("tags", field="use", code=2).stderr
    boats.run_command("tags", field="tags", merge="ml=law")
    (row, *_) = boats.exported_rows()
    assert (row["tags"], row["uses"]) == (["law", "beekeeping"], ["ml"])


def test_a_row_that_the_table_refuses_keeps_its_answer(boats: Workspace) -> None:
    """The other rows are merged, and a warning counts the row."""
    action = "BEGIN SELECT RAISE(ABORT, 'kept'); END"
    if ON_POSTGRESQL:
        run_sql(
            boats,
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql "
            "AS $$BEGIN RAISE check_violation; END$$",
        )
        action = "EXECUTE FUNCTION keep()"
    trigger = f"CREATE TRIGGER keep BEFORE UPDATE ON boats FOR EACH ROW WHEN (new.id = 1) {action}"
    run_sql(boats, trigger)
    report = merge(boats)
    assert (report["boats"], report["kept"]) == (1, 1)
    tags = {**MERGED_TAGS, "1": ANSWERED_TAGS["1"]}
    assert read_tags(boats) == tags
    assert read_cells(boats) == tags


def test_merges_of_a_forgotten_task_are_deleted(boats: Workspace) -> None:
    """A later task of the same name has no merges."""
    merge(boats)
    boats.run_command("forget", task="boats")
    run_sql(boats, "UPDATE boats SET tags = NULL")
    boats.run_command("tag_live")
    assert read_tags(boats) == ANSWERED_TAGS
    assert boats.read_json("tags")["merges"] == []
