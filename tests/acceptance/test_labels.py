"""Corrected and reviewed rows measure versions, and corrected rows become examples."""

import json
import shlex

import pytest

from tests.acceptance.process import EndedCommand
from tests.acceptance.product import MODEL, Workspace, write_declaration
from tests.outside.answers import Json, member, user_text
from tests.outside.server import Outside

FIELDS = {"tone": "Literal['praise', 'blame']", "stars": "int"}
ROW_COUNT = 30
DECISION_MODEL = "gemini-decision-1"
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


def blame(request: Json) -> Json:
    """Return `blame` for every row."""
    assert "note" in user_text(request)
    return {"tone": "blame", "stars": 1}


def praise(request: Json) -> Json:
    """Return `praise` for every row."""
    assert "note" in user_text(request)
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
    unlabelled = workspace.run_command("eval").stdout
    assert "no row of notes is labelled: at least 20 are needed" in unlabelled
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
    assert second["own_corrections_by_field"] == {"tone": 7}
    comparison_text = workspace.run_command("eval").stdout
    assert "tone: 7 of 7 labels replaced a wrong value of B\n" in comparison_text
    assert "replaced a wrong value of A" not in comparison_text
    assert "a version is better on random rows" in comparison_text
    assert "A is not the version that notes asks now, notes@2\n" in comparison_text
    (tone,) = report["fields"]
    assert (tone["a"]["right"], tone["b"]["right"], tone["a"]["of"]) == (7, 0, 7)
    assert tone["a"]["low"] == pytest.approx(0.6457, abs=1e-3)
    assert (tone["only_a_right"], tone["only_b_right"]) == (7, 0)
    assert tone["verdict"] == "A is better"

    swapped = workspace.read_json("eval", a="2", b=first["version"])["fields"][0]
    assert swapped["verdict"] == "B is better"
    assert "that notes asks now" not in workspace.run_command("eval", a="2").stdout
    declare(workspace, "version=3")
    sentence = "neither A nor B is the version that notes asks now, notes@3\n"
    assert sentence in workspace.run_command("eval").stdout
    alone = workspace.run_command("eval", a="notes@1").stdout
    assert "tone: 1 of 8 labels replaced a wrong value of A\n" in alone
    assert "right A" in alone
    assert "right B" not in alone
    for options in ({"a": "9"}, {"a": "1", "b": "notes@1"}, {"a": "x"}):
        workspace.run_command("eval", code=2, **options)
    assert "QRELS is missing" in workspace.run_command("eval", "q.jsonl", code=2).stderr
    assert "QUERIES is missing" in workspace.run_command("eval", qrels="q.tsv", code=2).stderr
    assert len(workspace.logged_requests()) == request_count
    assert sorted(path.name for path in workspace.data.rglob("*")) == files_before


@pytest.mark.alike
def test_confirmed_value_is_a_label(notes_workspace: Workspace) -> None:
    """A field that is set to its present value is a label, once, until it is undone."""
    workspace = notes_workspace
    confirmed = workspace.run_command("correct", 1, set="tone=blame", who="ada").stdout
    assert "1: edit 1 stored: the answer has these values, which are confirmed now" in confirmed
    assert "tone confirmed" in confirmed
    repeated = workspace.run_command("correct", 1, set="tone=blame", who="ada").stdout
    assert "nothing to change" in repeated
    # The other field of a corrected row is no label.
    correct(workspace, 2)
    (tone,) = workspace.read_json("eval")["fields"]
    assert (tone["field"], tone["a"]["right"], tone["a"]["of"]) == ("tone", 1, 2)

    workspace.run_command("correct", 1, undo=1, who="ada")
    (tone,) = workspace.read_json("eval")["fields"]
    assert (tone["a"]["right"], tone["a"]["of"]) == (0, 1)
    (row,) = [row for row in workspace.exported_rows() if row["id"] == "1"]
    assert row["extractor"] != "person"


def run_next(workspace: Workspace, run: EndedCommand) -> str:
    """Run the command that another command printed last, and return its output."""
    command = run.stderr.strip().splitlines()[-1].partition("next: ")[2]
    _, verb, *words = shlex.split(command)
    return workspace.run_command(verb, *words).stdout


@pytest.mark.alike
def test_printed_command_measures_corrected_rows(
    notes_workspace: Workspace, outside_server: Outside
) -> None:
    """After correct, a raised version and tag, `eval` prints the command that measures."""
    workspace = notes_workspace
    correct(workspace, *range(1, 26))
    declare(workspace, "version=2")
    outside_server.answerer = praise

    # Nothing is asked under the new version yet. The trial registers it.
    for _ in range(2):
        measured = workspace.run_command("eval")
        assert "that notes asks now has no answers; the next command" in measured.stdout
        assert "-n 25" in measured.stderr
        assert "tone: right in 25 of 25 labelled rows" in run_next(workspace, measured)

    workspace.run_command("tag", mode="live")
    unmeasured = workspace.run_command("eval")
    assert "25 rows labelled, 0 measured" in unmeasured.stdout
    sentence = "has no answer to 25 labelled rows; the next command asks about them"
    assert f"{sentence}, stores no answer, and prints how many answers are right" in (
        unmeasured.stdout
    )
    assert "more;" not in unmeasured.stdout
    assert workspace.read_json("eval")["labels_needed"] == 0

    assert "tone: right in 25 of 25 labelled rows" in run_next(workspace, unmeasured)


@pytest.mark.alike
def test_another_model_is_tried_after_decisions_of_its_version(
    notes_workspace: Workspace, outside_server: Outside
) -> None:
    """The command after `eval` asks the present version's own model; decisions are tried, too."""
    workspace = notes_workspace
    text = write_declaration(
        {"tone": FIELDS["tone"]},
        prompt="{text}",
        items="notes.csv",
        extra_arguments=("version=2",),
    )
    workspace.write_file("tasks/notes.py", text)
    workspace.run_command("tag", mode="decide", limit=25)
    correct(workspace, *range(1, 11))
    workspace.run_command("tag", mode="live")
    unmeasured = workspace.run_command("eval")
    assert f"notes@2/{MODEL} has no answer to 10 labelled rows;" in unmeasured.stdout
    assert "stores no answer, and prints how many answers are right\n" in unmeasured.stdout
    assert "--mode" not in unmeasured.stderr
    assert "--labelled" in unmeasured.stderr
    by_number = workspace.read_json("eval", a=f"2/{DECISION_MODEL}")["versions"]
    assert [version["version"] for version in by_number] == [f"notes@2/{DECISION_MODEL}"]

    decided_count = len(outside_server.decisions)
    tried = workspace.read_json("try", labelled=True, mode="decide", n=5)
    assert tried["extractor"] == f"notes@2/{DECISION_MODEL}"
    assert len(outside_server.decisions) == decided_count + 5
    tried = workspace.read_json("try", labelled=True, n=5)
    assert tried["extractor"] == f"notes@2/{MODEL}"
    assert len(outside_server.decisions) == decided_count + 5


def check_label_commands(workspace: Workspace, text: str) -> None:
    """Assert that the first two commands of a text write a file of labels and read it again."""
    commands = [shlex.split(command) for command in text.split("`")[1::2]]
    (_, *write_words), (_, *read_words), _ = commands
    workspace.run_command(*write_words, overwrite=True)
    path = workspace.home / "labels.csv"
    header = path.read_text(encoding="utf-8").splitlines()[0].split(",")
    assert {"id", "tone", "reviewed"} <= set(header)
    workspace.run_command(*read_words, dry=True)


def test_draft_is_tried_on_labelled_rows(
    notes_workspace: Workspace, outside_server: Outside
) -> None:
    """`try LABELLED=1` draws labelled rows first, and prints how often the draft is right."""
    workspace = notes_workspace
    error_output = workspace.run_command("try", labelled=True, code=2).stderr
    assert "no row is labelled" in error_output
    check_label_commands(workspace, error_output)
    check_label_commands(workspace, workspace.run_command("eval").stdout)
    correct(workspace, 3, 9, 27)
    declare(workspace, "system='Think again.'")
    outside_server.answerer = praise

    tried = workspace.read_json("try", labelled=True, n=5)
    assert {row["id"] for row in tried["items"]} > {"3", "9", "27"}
    assert len(tried["items"]) == 5
    assert tried["draft_of"] == "notes@1"
    (tone,) = tried["accuracy"]
    assert (tone["field"], tone["a"]["right"], tone["a"]["of"]) == ("tone", 3, 3)
    assert (
        "tone: right in 3 of 3 labelled rows" in workspace.run_command("try", labelled=True).stdout
    )


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
    """A decision's input has the examples before its row, never the row itself; all are counted.

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
            plain_estimate = workspace.read_json("tag", dry=True)["decide"]
            workspace.run_command("tag", mode="decide")
            correct(workspace, 1, 2)
            # A corrected row is not asked again, so that it is asked by `try` below.
    estimate = workspace.read_json("tag", dry=True)["decide"]
    assert estimate["cost"] / estimate["calls"] > plain_estimate["cost"] / plain_estimate["calls"]

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
    newest = workspace.sealed_requests(int(workspace.batches()[-1]["number"]))
    assert newest[0]["request"]["input"].endswith("<text>note three</text>")
