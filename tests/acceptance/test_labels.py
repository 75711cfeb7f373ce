"""Corrected and reviewed rows measure versions."""

import pytest

from tests.acceptance.product import Workspace, write_declaration
from tests.outside.answers import Json
from tests.outside.server import Outside

FIELDS = {"tone": "Literal['praise', 'blame']", "stars": "int"}
ROW_COUNT = 30


@pytest.fixture(name="notes_workspace")
def _notes_workspace(workspace: Workspace, outside_server: Outside) -> Workspace:
    """A workspace with 30 rows, all answered `blame` by the first version."""
    outside_server.answerer = blame
    workspace.task = "notes"
    workspace.url = outside_server.url
    workspace.settings["YES"] = "1"
    lines = "".join(f"{number},note <{number}>\n" for number in range(1, ROW_COUNT + 1))
    workspace.write_file("tasks/notes.csv", f"id,text\n{lines}")
    declare(workspace)
    workspace.run_command("tag", mode="live")
    return workspace


def declare(workspace: Workspace, *arguments: str) -> None:
    """Write the task's file."""
    text = write_declaration(FIELDS, prompt="{text}", items="notes.csv", extra_arguments=arguments)
    workspace.write_file("tasks/notes.py", text)


def blame(_request: Json) -> Json:
    """Return `blame` for every row."""
    return {"tone": "blame", "stars": 1}


def praise(_request: Json) -> Json:
    """Return `praise` for every row."""
    return {"tone": "praise", "stars": 1}


def correct(workspace: Workspace, *row_ids: int, tone: str = "praise") -> None:
    """Correct the tone of some rows."""
    for row_id in row_ids:
        workspace.run_command("correct", row_id, set=f"tone={tone}", who="ada")


@pytest.mark.alike
def test_versions_are_compared_on_corrected_rows(
    notes_workspace: Workspace, outside_server: Outside
) -> None:
    """`eval` names accuracy, interval, verdict, cost and left out rows, and asks nothing."""
    workspace = notes_workspace
    assert workspace.read_json("eval")["labels_needed"] == 20

    correct(workspace, 30)
    declare(workspace, "version=2")
    outside_server.answerer = praise
    workspace.run_command("tag", mode="live")
    correct(workspace, *range(1, 8), tone="blame")
    files_before = sorted(path.name for path in workspace.data.rglob("*"))
    request_count = len(workspace.logged_requests())

    report = workspace.read_json("eval")
    assert (report["labelled"], report["measured"], report["labels_needed"]) == (8, 7, 12)
    first, second = report["versions"]
    assert first["version"].startswith("notes@1/")
    assert first["cost_per_1000"] > 0
    assert (first["left_out"], second["left_out"]) == ({}, {"no answer": 1})
    assert (first["own_corrections"], second["own_corrections"]) == (0, 7)
    comparison_text = workspace.run_command("eval").stdout
    assert "\t7\n" in comparison_text
    (tone,) = report["fields"]
    assert (tone["a"]["right"], tone["b"]["right"], tone["a"]["of"]) == (7, 0, 7)
    assert tone["verdict"] == "A is better"

    swapped = workspace.read_json("eval", a="2", b=first["version"])["fields"][0]
    assert swapped["verdict"] == "B is better"
    declare(workspace, "version=3")
    sentence = "notes@3, which notes asks now, has no answer to"
    assert sentence in workspace.run_command("eval").stdout
    assert "right B" not in workspace.run_command("eval", a="notes@1").stdout
    for options in ({"a": "9"}, {"a": "1", "b": "notes@1"}, {"a": "x"}):
        workspace.run_command("eval", code=2, **options)
    workspace.run_command("eval", "q.jsonl", code=2)
    workspace.run_command("eval", qrels="q.tsv", code=2)
    assert len(workspace.logged_requests()) == request_count
    assert sorted(path.name for path in workspace.data.rglob("*")) == files_before


@pytest.mark.alike
def test_printed_command_measures_corrected_rows(
    notes_workspace: Workspace, outside_server: Outside
) -> None:
    """After correct, a raised version and tag, `eval` prints the command that measures."""
    workspace = notes_workspace
    correct(workspace, *range(1, 26))
    declare(workspace, "version=2")
    outside_server.answerer = praise

    # Nothing is asked under the new version yet.
    measured = workspace.run_command("eval")
    assert "which notes asks now, has no answer to 25 labelled" in measured.stdout
    assert "-n 25" in measured.stderr
    workspace.run_command("tag", mode="live")
    unmeasured = workspace.run_command("eval")
    assert "has no answer to 25 labelled rows; the next command asks about them" in (
        unmeasured.stdout
    )
    assert workspace.read_json("eval")["labels_needed"] == 0


def test_draft_is_tried_on_labelled_rows(
    notes_workspace: Workspace, outside_server: Outside
) -> None:
    """`try LABELLED=1` draws labelled rows first, and prints how often the draft is right."""
    workspace = notes_workspace
    workspace.run_command("try", labelled=True, code=2)
    correct(workspace, 3, 9, 27)
    declare(workspace, "system='Think again.'")
    outside_server.answerer = praise

    tried = workspace.read_json("try", labelled=True, n=5)
    assert {row["id"] for row in tried["rows"]} > {"3", "9", "27"}
    assert len(tried["rows"]) == 5
    assert tried["draft_of"] == "notes@1"
    (tone,) = tried["accuracy"]
    assert (tone["field"], tone["a"]["right"], tone["a"]["of"]) == ("tone", 3, 3)
