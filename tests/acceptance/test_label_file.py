"""A file of labels corrects and confirms many rows at once, completely or not at all."""

from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.product import Workspace, write_declaration
from tests.acceptance.steps import Fate
from tests.outside.answers import Json
from tests.outside.server import Outside

FIELDS = {
    "tone": "Literal['praise', 'blame']",
    "urgent": "bool",
    "stars": "int | None = None",
    "topics": "list[Literal['lid', 'price', 'hum']] = Field(max_length=3)",
}
ANSWER = {"tone": "blame", "urgent": False, "stars": 1, "topics": ["lid"]}
ROW_COUNT = 8
# More than the durable steps of the command.
MAX_STEPS = 200


@pytest.fixture(name="notes_workspace")
def _notes_workspace(workspace: Workspace, outside_server: Outside) -> Workspace:
    """A workspace with 8 rows, of which 7 have the same answer and the last has none."""
    outside_server.answerer = _answer
    workspace.task = "notes"
    workspace.url = outside_server.url
    workspace.settings["YES"] = "1"
    lines = "".join(f"{number},note <{number}>\n" for number in range(1, ROW_COUNT + 1))
    workspace.write_file("tasks/notes.csv", f"id,text\n{lines}")
    text = write_declaration(FIELDS, prompt="{text}", items="notes.csv")
    text = text.replace("import BaseModel\n", "import BaseModel, Field\n")
    workspace.write_file("tasks/notes.py", text)
    workspace.run_command("tag", mode="live", limit=ROW_COUNT - 1)
    return workspace


def _answer(_: Json) -> Json:
    return ANSWER


def _correct(workspace: Workspace, path: Path, **options: Any) -> Any:
    """Return the document of `correct` with a file, by the user ada."""
    return workspace.read_json("correct", file=path, who="ada", **options)


def _answers(workspace: Workspace) -> dict[int, tuple[Any, ...]]:
    """Return the exported answer of each row by its key."""
    return {
        int(row["id"]): tuple(row[name] for name in FIELDS) for row in workspace.exported_rows()
    }


def _label_counts(workspace: Workspace) -> dict[str, tuple[int, int]]:
    """Return by field how many labels the version has right, and how many labels there are."""
    fields = workspace.read_json("eval")["fields"]
    return {field["field"]: (field["a"]["right"], field["a"]["of"]) for field in fields}


# Tables of labels with blank cells.
LABELS = {
    "labels.csv": (
        "id;tone;urgent;stars;topics\n1;praise;true;4;hum, price\n2;blame;;;\n3;;;;\n4;;;1;lid\n"
    ),
    "labels.jsonl": (
        '{"ID": 1, "Tone": "praise", "urgent": true, "stars": 4, "topics": ["hum", "price"]}\n'
        '{"ID": 2, "Tone": "blame", "urgent": null, "stars": null, "topics": null}\n'
        '{"ID": 3, "Tone": null, "urgent": null, "stars": null, "topics": null}\n'
        '{"ID": 4, "Tone": null, "urgent": null, "stars": 1, "topics": "lid"}\n'
    ),
}


@pytest.mark.parametrize("name", LABELS)
def test_file_corrects_and_confirms(notes_workspace: Workspace, name: str) -> None:
    """Other values correct an answer, present values confirm it, and blank cells do neither."""
    workspace = notes_workspace
    path = workspace.write_file(name, LABELS[name])
    before = _answers(workspace)
    planned = _correct(workspace, path, dry=True)
    assert (planned["corrected"], planned["confirmed"]) == (1, 2)
    assert (_answers(workspace), _label_counts(workspace)) == (before, {})

    report = _correct(workspace, path)
    assert (report["labelled"], report["corrected"], report["confirmed"]) == (3, 1, 2)
    assert report["changed_values"] == {"tone": 1, "urgent": 1, "stars": 1, "topics": 1}
    expected = {**before, 1: ("praise", True, 4, ["hum", "price"])}
    assert _answers(workspace) == expected
    expected_counts = {"tone": (1, 2), "urgent": (0, 1), "stars": (1, 2), "topics": (1, 2)}
    assert _label_counts(workspace) == expected_counts

    assert _correct(workspace, path)["unchanged"] == 3
    (edit,) = workspace.read_json("correct", 1)["edits"]
    assert (edit["number"], edit["who"]) == (1, "ada")
    for row_id in (1, 2, 4):
        workspace.run_command("correct", row_id, undo=1, who="ada")
    assert (_answers(workspace), _label_counts(workspace)) == (before, {})


# Each case: the file, and its faults.
FAULTY_FILES: dict[str, tuple[str, ...]] = {
    "id,tone,urgent\n1,praise,true\n2,angry,perhaps\n99,praise,\n,praise,\n1,blame,\n8,blame,\n": (
        "labels.csv has 6 faults; nothing was changed",
        "line 3, column tone: tone must be 'praise' or 'blame'",
        "line 3, column urgent: urgent must be true or false",
        "line 4, column id: there is no row '99'",
        "line 5, column id: the key is blank",
        "line 6, column id: '1' is in line 2, too",
        "line 7, column urgent: it also needs urgent",
    ),
    "id,tone,reviewed\n1,praise,perhaps\n8,,yes\n3,,\n4,,\n3,,\n4,blame,\n,,\n,,no\n": (
        "labels.csv has 4 faults; nothing was changed",
        "line 2, column reviewed: write true, yes, 1 or x, or leave it empty, not 'perhaps'",
        "line 3, column reviewed: the row has no answer to review",
        "line 6, column id: '3' is in line 4, too",
        "line 7, column id: '4' is in line 5, too",
    ),
    "id,tones,shelf\n1,praise,a\n": (
        "line 1, column tones: this is neither a field (tone, urgent, stars, topics) nor",
        "; did you mean 'tone'?",
        "line 1, column shelf: ",
    ),
    "number,tone\n1,praise\n": ("has no column 'id' with the keys of the rows",),
    "id,text\n1,praise\n": ("no column with labels",),
    "id,tone\n1,\n": ("has no label; nothing was",),
    'id,topics\n1,"lid, price, hum, lid"\n': ("line 2, column topics: topics must have at most 3",),
    f"id,tone\n1,{'[' * 2000}\n": ("column tone: tone must be 'praise' or 'blame'",),
}


def test_file_with_faults_changes_nothing(notes_workspace: Workspace) -> None:
    """Each fault is named with its line and column, also several faults of a line."""
    workspace = notes_workspace
    for text, expected_lines in FAULTY_FILES.items():
        path = workspace.write_file("labels.csv", text)
        error = workspace.run_command("correct", file=path, code=2).stderr
        assert error == workspace.run_command("correct", file=path, dry=True, code=2).stderr
        for line in expected_lines:
            assert line in error
    assert (_reviewed_ids(workspace), _label_counts(workspace)) == (set(), {})
    assert workspace.read_json("correct", 1)["edits"] == []


@pytest.mark.alike
def test_options_without_their_row_or_file_are_refused(notes_workspace: Workspace) -> None:
    """Options that exclude or need each other are named; nothing is changed."""
    workspace = notes_workspace
    wrong_options: tuple[dict[str, Any], ...] = (
        {"row": 1, "file": "labels.csv"},
        {"file": "labels.csv", "undo": 1},
        {"row": 1, "set": "tone=praise", "dry": True},
        {"set": "tone=praise"},
        {"reviewed": True},
        {"undo": 7},
    )
    for options in wrong_options:
        assert "nothing was changed" in workspace.run_command("correct", code=2, **options).stderr


@pytest.mark.alike
def test_labels_of_an_unanswered_row_are_its_answer(notes_workspace: Workspace) -> None:
    """A row without an answer takes labels of all fields; later versions do not ask it."""
    workspace = notes_workspace
    path = workspace.write_file("labels.csv", "id,tone,urgent,topics\n8,praise,true,[]\n")
    workspace.run_command("correct", file=path)
    assert _answers(workspace)[ROW_COUNT] == ("praise", True, None, [])
    assert workspace.state_counts() == {"answered": ROW_COUNT}


@pytest.mark.alike
def test_edited_export_is_a_file_of_labels(notes_workspace: Workspace) -> None:
    """Columns of the rows and of an export are no labels; the confirmed rows are warned of."""
    workspace = notes_workspace
    workspace.run_command("export", "out.csv")
    path = workspace.home / "out.csv"
    path.write_text(path.read_text().replace("note <1>,blame", "note <1>,praise"))
    report = _correct(workspace, path)
    assert (report["corrected"], report["confirmed"]) == (1, 6)
    assert _answers(workspace)[1][0] == "praise"


@pytest.mark.alike
def test_row_with_a_key_of_two_columns(workspace: Workspace) -> None:
    """Both key columns name a row, also by a negative number.

    Columns of the rows with a field's name, or called `reviewed`, are neither labels nor marks.
    """
    workspace.task = "notes"
    workspace.settings["YES"] = "1"
    workspace.write_file(
        "tasks/notes.jsonl",
        '{"shop": "a", "no": -1, "text": "fine", "tone": "x", "reviewed": "x"}\n'
        '{"shop": "b", "no": 1, "text": "bad", "tone": "y", "reviewed": "x"}\n',
    )
    fields = {"tone": "Literal['praise', 'blame']"}
    text = write_declaration(
        fields, prompt="{text}", items="notes.jsonl", extra_arguments=['key=["shop", "no"]']
    )
    workspace.write_file("tasks/notes.py", text)
    workspace.run_command("tag", mode="live")
    path = workspace.write_file(
        "labels.csv",
        "shop,no,tone,reviewed,answer_tone,answer_reviewed\na,-1,x,x,praise,\nb,1,y,x,blame,yes\n",
    )
    report = _correct(workspace, path)
    assert (report["labelled"], report["reviewed"]) == (2, 1)
    assert {"tone", "reviewed"} <= set(report["ignored_columns"])
    listing = workspace.read_json("items", where="answer_reviewed = true")["rows"]
    assert len(listing) == 1
    tones = [row["answer_tone"] for row in workspace.exported_rows()]
    assert tones == ["praise", "blame"]


def test_row_is_reviewed_by_a_command(notes_workspace: Workspace) -> None:
    """A reviewed answer labels all its fields and keeps its version, until the mark is removed."""
    workspace = notes_workspace
    workspace.run_command("correct", 1, reviewed=True, who="ada")
    assert workspace.read_json("correct", 1)["reviewed_by"] == "ada"
    assert "\tada\t20" in workspace.run_command("show", row="1").stdout
    assert _label_counts(workspace) == dict.fromkeys(FIELDS, (1, 1))
    (row,) = [row for row in workspace.exported_rows() if row["id"] == "1"]
    assert row["answer_version"].startswith("notes@1/")

    workspace.run_command("correct", 1, no_reviewed=True, who="ada")
    assert _label_counts(workspace) == {}
    workspace.run_command("correct", 8, reviewed=True, code=2)


def _reviewed_ids(workspace: Workspace) -> set[str]:
    """Return the keys of the reviewed rows, as `items` lists them."""
    rows = workspace.read_json("items", where="reviewed = true", limit=100)["rows"]
    assert all(row["reviewed"] is True for row in rows)
    return {row["id"] for row in rows}


# Labels and marks; row 5 has neither.
MARKS = {
    "marks.csv": "id,tone,Reviewed\n1,praise,yes\n2,blame,X\n3,,1\n4,,no\n5,,\n",
    "marks.json": (
        '[{"id": 1, "tone": "praise", "Reviewed": true}, {"id": 2, "tone": "blame", '
        '"Reviewed": true}, {"id": 3, "tone": null, "Reviewed": 1}, {"id": 4, "tone": null, '
        '"Reviewed": false}, {"id": 5, "tone": null, "Reviewed": null}]'
    ),
}


@pytest.mark.alike
@pytest.mark.parametrize("name", MARKS)
def test_file_marks_rows_as_reviewed(notes_workspace: Workspace, name: str) -> None:
    """Marks label all fields of the answer, once."""
    workspace = notes_workspace
    path = workspace.write_file(name, MARKS[name])
    planned = _correct(workspace, path, dry=True)
    assert (planned["reviewed"], _reviewed_ids(workspace)) == (3, set())

    report = _correct(workspace, path)
    counts = ("labelled", "corrected", "confirmed", "reviewed", "unchanged")
    assert [report[name] for name in counts] == [3, 1, 0, 3, 0]
    assert _reviewed_ids(workspace) == {"1", "2", "3"}
    assert _label_counts(workspace)["urgent"] == (3, 3)
    assert _label_counts(workspace)["tone"] == (2, 3)
    # A mark without a change keeps the version of the answer.
    versions = {row["id"]: row["answer_version"] for row in workspace.exported_rows()}
    assert versions["1"] == "person"
    assert versions["2"].startswith("notes@1/")

    again = _correct(workspace, path)
    assert (again["unchanged"], again["reviewed"]) == (3, 0)
    # A word that is no mark does not remove one.
    path = workspace.write_file("words.csv", "id,tone,reviewed\n1,,no\n4,praise,false\n")
    assert _correct(workspace, path)["corrected"] == 1
    assert _reviewed_ids(workspace) == {"1", "2", "3"}


def test_list_with_marks_is_a_file_of_labels(notes_workspace: Workspace) -> None:
    """A written list changes nothing if it is read again; an edit of a cell does what it says.

    A corrected row has no mark, so its other fields become no labels.
    """
    workspace = notes_workspace
    workspace.run_command("correct", 1, reviewed=True, who="ada")
    workspace.run_command("correct", 4, set="tone=praise", who="ada")
    expected_counts = {**dict.fromkeys(FIELDS, (1, 1)), "tone": (1, 2)}
    fields = "id,tone,urgent,topics,reviewed"
    path = workspace.home / "list.csv"
    workspace.run_command("items", to=path, fields=fields)
    header, *lines = path.read_text().splitlines()
    assert header == f"{fields},state"
    assert [line.split(",")[4] for line in lines] == ["true", *["false"] * 6, ""]

    report = _correct(workspace, path)
    counts = ("labelled", "unchanged", "unlabelled")
    assert [report[name] for name in counts] == [1, 1, 6]
    assert _label_counts(workspace) == expected_counts

    lines[1] = lines[1].replace("blame", "praise")
    lines[2] = lines[2].replace("false,answered", "x,answered").replace(",lid,false", ",lid,x")
    path.write_text("\n".join([header, *lines, ""]))
    report = _correct(workspace, path)
    assert [report[name] for name in ("labelled", "corrected", "unchanged")] == [3, 1, 1]
    assert _reviewed_ids(workspace) == {"1", "3"}
    assert _label_counts(workspace)["urgent"] == (2, 2)


def test_killed_command_stores_all_labels_and_marks_or_none(notes_workspace: Workspace) -> None:
    """After kills at each durable step, the same command stores the labels and marks once."""
    workspace = notes_workspace
    path = workspace.write_file(
        "labels.csv", "id,tone,reviewed\n1,praise,yes\n2,,yes\n3,praise,\n4,praise,\n"
    )
    for step in range(1, MAX_STEPS):
        command = workspace.try_command("correct", file=path, who="ada", fate=Fate(step))
        edit_counts = [len(workspace.read_json("correct", row_id)["edits"]) for row_id in (1, 3, 4)]
        assert edit_counts in ([0, 0, 0], [1, 1, 1])
        expected_ids = {"1", "2"} if edit_counts[0] else set()
        assert _reviewed_ids(workspace) == expected_ids
        if command.code == 0:
            break
    assert command.code == 0
    assert edit_counts == [1, 1, 1]


def test_unchanged_list_passes_after_a_field_was_renamed(notes_workspace: Workspace) -> None:
    """A row that was corrected before the rename lacks the field, but its line changes nothing."""
    notes_workspace.run_command("correct", "1", set="stars=3")
    text = write_declaration(
        {"tone": FIELDS["tone"], "hurried": "bool"},
        prompt="{text}",
        items="notes.csv",
        extra_arguments=["version=2"],
    )
    notes_workspace.write_file("tasks/notes.py", text)
    path = notes_workspace.home / "labels.csv"
    notes_workspace.run_command("tag", dry=True)
    notes_workspace.run_command("items", to=path, fields="id,tone,hurried,reviewed")
    report = _correct(notes_workspace, path)
    assert (report["corrected"], report["confirmed"]) == (0, 0)
