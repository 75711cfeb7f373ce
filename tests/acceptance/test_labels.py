"""Corrected and reviewed rows measure versions, and corrected rows become examples."""

import json

import pytest

from tests.acceptance.product import Workspace, write_declaration
from tests.outside.answers import Json, member
from tests.outside.server import Outside

FIELDS = {"tone": "Literal['praise', 'blame']", "stars": "int"}
ROW_COUNT = 30
DRAWN = "examples='corrections'"


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


def label_all(workspace: Workspace, *row_ids: int) -> None:
    """Correct the tone of some rows, and confirm their other field."""
    for row_id in row_ids:
        workspace.run_command("correct", row_id, set="tone=praise; stars=1", who="ada")


def system_texts(workspace: Workspace) -> list[str]:
    """Return the different system instructions in the request files of the newest batch."""
    number = int(workspace.batches()[-1]["number"])
    texts = {
        member(line["request"], "systemInstruction")["parts"][0]["text"]
        for line in workspace.sealed_requests(number)
    }
    return sorted(texts)


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
    sentence = "the version that notes asks now is notes@3\n"
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
    assert {row["id"] for row in tried["items"]} > {"3", "9", "27"}
    assert len(tried["items"]) == 5
    assert tried["draft_of"] == "notes@1"
    (tone,) = tried["accuracy"]
    assert (tone["field"], tone["a"]["right"], tone["a"]["of"]) == ("tone", 3, 3)


@pytest.mark.alike
def test_corrected_rows_become_examples_of_a_version(notes_workspace: Workspace) -> None:
    """Examples are drawn when a version begins, spread over choices, and stay with it.

    A row is only drawn if all its fields are labelled.
    """
    workspace = notes_workspace
    label_all(workspace, *range(1, 13))
    workspace.run_command("correct", 13, set="stars=5; tone=blame", who="ada")
    # Nobody looked at the stars of this row, so no example says that they are right.
    correct(workspace, 14)
    declare(workspace, "version=2", DRAWN)
    workspace.run_command("tag", mode="live", limit=3)
    (text,) = system_texts(workspace)
    assert text.count("Example:\n") == 8
    assert '"tone":"blame","stars":5' in text

    # Later corrections change no prompt of the version, and the question did not change.
    correct(workspace, 20, 21)
    workspace.run_command("tag", mode="live")
    assert system_texts(workspace) == [text]
    report = workspace.read_json("eval", a="2")
    assert report["versions"][0]["left_out"]["examples of its prompt"] == 8
    assert "note <14>" not in text

    # A row is no example of itself, and the next version draws again.
    example_id = next(str(row) for row in range(1, 14) if f"note <{row}>" in text)
    tried = workspace.read_json("try", item=example_id)["items"][0]["request"]
    own_text = member(tried, "systemInstruction")["parts"][0]["text"]
    assert own_text.count("Example:\n") == 7
    assert f"note <{example_id}>" not in own_text
    declare(workspace, "version=3", DRAWN)
    workspace.run_command("tag", mode="live", limit=1)
    assert system_texts(workspace) != [text]


@pytest.mark.alike
def test_missing_examples_are_named(notes_workspace: Workspace) -> None:
    """A version without examples says so, because corrections set only some fields."""
    workspace = notes_workspace
    correct(workspace, 1, 2)
    declare(workspace, "version=2", DRAWN)
    message = workspace.run_command("tag", mode="live", limit=1).stderr
    assert "notes@2 has no examples: no row has labels of all fields" in message
    assert "has no examples" not in workspace.run_command("tag", mode="live", limit=1).stderr


@pytest.mark.alike
@pytest.mark.promise("forget")
def test_forgotten_row_is_in_no_example(notes_workspace: Workspace) -> None:
    """Forgetting an example removes it from the prompt and from all sealed requests."""
    workspace = notes_workspace
    label_all(workspace, 1, 2)
    workspace.write_file("tasks/notes.csv", "id,text\n1,note SECRET\n2,note two\n3,note three\n")
    declare(workspace, "version=2", DRAWN)
    workspace.run_command("tag", mode="live")
    correct(workspace, 1, tone="blame")
    correct(workspace, 1)
    declare(workspace, "version=3", DRAWN)
    workspace.run_command("tag", mode="live")
    assert "SECRET" in json.dumps(system_texts(workspace))

    workspace.write_file("tasks/notes.csv", "id,text\n2,note two\n3,note three\n")
    workspace.run_command("status")
    workspace.run_command("forget", item="1")
    for path in workspace.data.rglob("*"):
        if path.is_file():
            assert b"SECRET" not in path.read_bytes(), path


def test_decisions_have_the_examples(notes_workspace: Workspace, outside_server: Outside) -> None:
    """A decision's input has the examples before its row, never the row itself.

    Forgetting an example removes it from all sealed decisions.
    """
    workspace = notes_workspace
    workspace.write_file("tasks/notes.csv", "id,text\n1,note SECRET\n2,note two\n3,note three\n")
    closed_fields = {"tone": FIELDS["tone"]}
    for version, examples in ((2, "examples=()"), (3, DRAWN)):
        text = write_declaration(
            closed_fields,
            prompt="{text}",
            items="notes.csv",
            extra_arguments=(f"version={version}", examples),
        )
        workspace.write_file("tasks/notes.py", text)
        if version == 2:
            workspace.run_command("tag", mode="decide")
            correct(workspace, 1, 2)
            # A corrected row is not asked again, so that it is asked by `try` below.

    decided_count = len(outside_server.decisions)
    workspace.run_command("tag", mode="decide")
    (decision,) = outside_server.decisions[decided_count:]
    assert decision["input"].count("Example:\n") == 2
    assert decision["input"].endswith("<text>note three</text>")
    assert "SECRET" in decision["input"]
    tried = workspace.read_json("try", item="1", mode="decide")["items"][0]["request"]
    assert tried["input"].count("Example:\n") == 1
    assert tried["input"].count("SECRET") == 1

    workspace.write_file("tasks/notes.csv", "id,text\n2,note two\n3,note three\n")
    workspace.run_command("status")
    workspace.run_command("forget", item="1")
    for path in workspace.data.rglob("*"):
        if path.is_file():
            assert b"SECRET" not in path.read_bytes(), path
