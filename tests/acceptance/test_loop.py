"""Drafts are tried, faults of a task file are listed, and answers are selected and exported."""

import json

import pytest

from tests.acceptance.product import Workspace, write_declaration
from tests.outside.answers import Json, user_text
from tests.outside.server import Outside

ROWS = (
    ("a", "good kettle", 5),
    ("b", "bad lamp", 1),
    ("c", "bad stool, Größe L", 2),
    ("d", "", 3),
)
FIELDS = {"verdict": "Literal['good', 'bad']"}


@pytest.fixture(name="notes_workspace")
def _notes_workspace(workspace: Workspace) -> Workspace:
    """A workspace with the task `notes`, whose rows are in a file."""
    workspace.task = "notes"
    workspace.settings["YES"] = "1"
    lines = [f'{key},"{text}",{stars}\n' for key, text, stars in ROWS]
    workspace.write_file("tasks/notes.csv", "id,text,Stars given\n" + "".join(lines))
    return workspace


def declare(
    workspace: Workspace,
    *arguments: str,
    prompt: str = "About: {text}",
    head: str = "",
    **fields: str,
) -> None:
    """Write the file of the task."""
    text = write_declaration(
        fields or FIELDS, prompt=prompt, items="notes.csv", extra_arguments=arguments
    )
    workspace.write_file("tasks/notes.py", head + text)


def test_changed_question_is_tried_as_a_draft(
    notes_workspace: Workspace,
) -> None:
    """A used task needs a new version for `tag`, and `try` runs its changed file as a draft.

    A draft stores only its cost. An unused file may change freely.
    """
    declare(notes_workspace, prompt="Of: {text}")
    notes_workspace.run_command("try", N=1)
    declare(notes_workspace)
    notes_workspace.run_command("tag", mode="live")
    rows_before = notes_workspace.exported_rows()
    # The changed prompt and the new field are only a draft.
    declare(notes_workspace, prompt="Rate: {text}", verdict=FIELDS["verdict"], why="str | None")

    try_document = notes_workspace.read_json("try", item="b")
    assert try_document["draft_of"] == "notes@1"
    assert "Rate: <text>bad lamp</text>" in json.dumps(try_document["items"][0]["request"])
    assert "why" in try_document["items"][0]["answer"]
    try_run = notes_workspace.run_command("try", N=1)
    assert "draft of version 1: 1 row tried" in try_run.stdout
    assert "next: set version=2" in try_run.stderr
    error_output = notes_workspace.run_command("tag", mode="live", code=3).stderr
    expected_message = (
        "the prompt and the answer changed since version 1 was used; nothing was asked\n"
        "next: set version=2 in "
    )
    assert expected_message in error_output
    hint = "tag --task notes --accept-changed` stores answers of both under version 1"
    assert hint in error_output

    assert (notes_workspace.exported_rows(), notes_workspace.state_counts()) == (
        rows_before,
        {"answered": 3, "empty": 1},
    )
    # Trials are stored as costs only.
    assert [batch["way"] for batch in notes_workspace.batches()] == ["live"]

    declare(notes_workspace, "version=2", prompt="Rate: {text}")
    notes_workspace.run_command("tag", mode="live")
    assert {
        version["version"]: version["items"] for version in notes_workspace.read_json("versions")
    } == {
        "notes@1": 3,
        "notes@2": 3,
    }


def test_all_faults_of_a_task_file_are_listed_by_line_and_member(
    notes_workspace: Workspace,
) -> None:
    """Faults of the file are listed first, then faults of its columns.

    Rows may be written into the task file itself.
    """
    declare(
        notes_workspace,
        "temperature=7.0",
        "versoin=2",
        "thinking={'budget': 1}",
        a="tuple[int, str]",
        b="dict",
        c="str",
    )
    path = notes_workspace.home / "tasks" / "notes.py"
    lines = notes_workspace.run_command("tag", code=2).stderr.splitlines()
    assert lines[0] == f"error: {path} has 5 faults; nothing was asked"
    line_numbers = {}
    for number, text in enumerate(path.read_text().splitlines(), 1):
        name = text.strip()[:2]
        if name in {"a:", "b:"}:
            line_numbers[name] = number
    for part in (
        "temperature= must be from",
        "did you mean 'version'?",
        "thinking= cannot have 'budget'",
        f"line {line_numbers['a:']}: Answer.a: responseSchema does not support tuples",
        f"line {line_numbers['b:']}: Answer.b: ",
    ):
        matching_lines = [line for line in lines if part in line and f"{path}, line " in line]
        assert len(matching_lines) == 1, (part, lines)

    declare(notes_workspace, "key='nr'", "label='{nme}'", prompt="{txt} {text} {star}")
    lines = notes_workspace.run_command("tag", code=2).stderr.splitlines()
    assert len([fault_line for fault_line in lines if "names the column" in fault_line]) == 4, lines

    sound_file = write_declaration(FIELDS, prompt="{text}", items="notes.csv")
    notes_workspace.write_file(
        "tasks/notes.py",
        sound_file.replace("'notes.csv'", "[{'id': 1, 'text': 'good'}, {'id': 2, 'text': 'bad'}]"),
    )
    notes_workspace.run_command("tag", mode="live")
    assert [(row["id"], row["verdict"]) for row in notes_workspace.exported_rows()] == [
        (1, "good"),
        (2, "bad"),
    ]


RICH_FIELDS = {
    "level": "Literal[1, 2, 3]",
    "size": "Size | None",
    "scores": "dict[str, int]",
    "price": "Decimal",
    "parts": "list[Part]",
}
DEFINITIONS = (
    "from decimal import Decimal\nfrom enum import IntEnum\nfrom pydantic import BaseModel\n\n"
    "class Size(IntEnum):\n    SMALL = 10\n    LARGE = 20\n\n"
    "class Part(BaseModel):\n    name: str\n    sizes: list[int]\n\n"
)


def test_numbers_and_mappings_are_sent_as_texts_and_pairs(
    notes_workspace: Workspace, outside_server: Outside
) -> None:
    """Answers return as numbers and mappings, and examples are sent in the same form.

    A double key is invalid.
    """

    def answer(request: Json) -> Json:
        """Return an answer in the form of the schema, with a double key for the lamp."""
        pairs = [
            {"key": "a", "value": 1},
            {"key": "a" if "lamp" in user_text(request) else "b", "value": 2},
        ]
        parts = [{"name": "leg", "sizes": [4, 5]}, {"name": "seat", "sizes": []}]
        return {"level": "2", "size": "20", "scores": pairs, "price": "1.10", "parts": parts}

    notes_workspace.url = outside_server.url
    outside_server.answerer = answer
    example: Json = {"level": 3, "size": None, "scores": {"x": 1}, "price": "2.50", "parts": []}
    declare(
        notes_workspace, f"examples=[({{'text': 'x'}}, {example})]", head=DEFINITIONS, **RICH_FIELDS
    )
    notes_workspace.run_command("tag", mode="live")

    (request,) = [item["request"] for item in notes_workspace.read_json("try", item="a")["items"]]
    schema = request["generationConfig"]["responseSchema"]["properties"]
    assert schema["level"]["enum"] == ["1", "2", "3"]
    assert (schema["size"]["enum"], schema["size"]["nullable"]) == (["10", "20"], True)
    assert schema["scores"]["items"]["required"] == ["key", "value"]
    instruction = request["systemInstruction"]["parts"][0]["text"]
    assert '"scores": [{"key": "x", "value": 1}]' in instruction

    rows_by_id = {
        row["id"]: row for row in notes_workspace.exported_rows() if row["level"] is not None
    }
    assert {*rows_by_id} == {"a", "c"}
    assert rows_by_id["a"]["level"] == 2
    assert rows_by_id["a"]["size"] == 20
    assert rows_by_id["a"]["scores"] == {"a": 1, "b": 2}
    assert rows_by_id["a"]["price"] == "1.10"
    assert any(
        "a mapping contains a key twice" in request["reason"]
        for request in notes_workspace.logged_requests()
    )


def test_row_whose_text_supports_nothing_is_parked(
    notes_workspace: Workspace, outside_server: Outside
) -> None:
    """Every listing gives the reason for people without tags and rows without a true quotation."""
    notes_workspace.url = outside_server.url
    outside_server.answerer = lambda request: (
        {"tags": []} if "biography" in user_text(request) else {"quote": "not there"}
    )
    notes_workspace.import_people(1, without_bio=1)
    assert (
        "1 parked: the text supports no tag"
        in notes_workspace.run_command("tag", mode="live", TASK="").stdout
    )
    assert (
        "parked: the text supports no tag"
        in notes_workspace.run_command("show", "person-0000", TASK="").stdout
    )
    output = notes_workspace.run_command("status", TASK="", more=True).stdout
    assert "parked 1: the text supports no tag" in output

    declare(notes_workspace, quote="Quote")
    # The second invalid answer parks the row.
    for _ in "12":
        notes_workspace.run_command("tag", mode="live", code="any")
    assert notes_workspace.parked_reasons()["a"].startswith(
        "the text supports no quotation: it failed 2 times"
    )
    assert (
        "parked: the text supports no quotation"
        in notes_workspace.run_command("show", item="a").stdout
    )


KEYS_BY_CONDITION = {
    "stars_given < 3": "bc",
    "verdict = 'BAD'": "bc",
    "NOT verdict = 'good'": "bc",
    "verdict IS NULL": "d",
    "text IS NULL OR level IN (3, 4)": "cd",
    "topics = 'lamp'": "b",
    "NOT topics CONTAINS 'AM'": "ac",
    "text CONTAINS 'größe' AND sure = true": "c",
    "level != 3 AND NOT (verdict = 'good')": "b",
}


def test_rows_are_selected_by_columns_and_answers(
    notes_workspace: Workspace, outside_server: Outside
) -> None:
    """Conditions and words select rows in the list, its counts and the page.

    The error for an unknown column lists the existing columns.
    """

    def answer(request: Json) -> Json:
        """Return an answer about one row."""
        text = user_text(request).split(">", 1)[1].split("<", 1)[0]
        words = text.split()
        return {
            "verdict": words[0],
            "level": len(words) - 1,
            "topics": words[1:2],
            "sure": "L" in text,
            "note": "Zest",
        }

    notes_workspace.url = outside_server.url
    outside_server.answerer = answer
    declare(
        notes_workspace,
        verdict="str",
        level="int",
        topics="list[str]",
        sure="bool",
        note="str | None",
    )
    notes_workspace.run_command("tag", mode="live")
    for condition, keys in KEYS_BY_CONDITION.items():
        rows = notes_workspace.read_json("items", where=condition)["items"]
        assert "".join(row["id"] for row in rows) == keys, condition
    assert (
        "".join(row["id"] for row in notes_workspace.read_json("items", "zest")["items"]) == "abc"
    )
    assert notes_workspace.read_json("items", where="verdict = 'bad'", counts=True)["total"] == 2
    error_output = notes_workspace.run_command("items", where="nope = 1", code=2).stderr
    assert "there is no column 'nope'" in error_output
    assert "Stars given" in error_output

    with notes_workspace.serve_page() as client:
        response = client.get("/", params={"task": "notes", "where": "verdict = 'bad'"})
        assert "stool" in response.text
        assert "kettle" not in response.text
