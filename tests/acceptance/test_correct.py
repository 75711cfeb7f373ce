"""Corrections by hand are validated, outrank answers of models, stay, and can be undone."""

import json
from typing import Any

import pytest

from tests.acceptance.database import run_sql
from tests.acceptance.product import BATCH_COMMANDS, PASSAGES, Workspace, write_declaration
from tests.outside.answers import Json, user_text
from tests.outside.server import Outside

FIELDS = {
    "tone": "Literal['praise', 'blame']",
    "stars": "int | None = None",
    "topics": "list[str]",
    "why": "Quote",
}
ROWS = 'id,text\n1,"It boils fast; the lid broke."\n2,It hums.\n'
CORRECTION = "tone=praise; topics=lid, price; why=the lid broke"


def answer(request: Json) -> Json:
    """Return an answer that quotes the whole row."""
    text = user_text(request).split(">", 1)[1].split("<", 1)[0].strip()
    return {"tone": "blame", "stars": 1, "topics": ["speed", "lid"], "why": text}


@pytest.fixture(name="notes_workspace")
def _notes_workspace(workspace: Workspace, outside_server: Outside) -> Workspace:
    """A workspace with the task `notes` and its rows."""
    outside_server.answerer = answer
    workspace.task = "notes"
    workspace.url = outside_server.url
    workspace.settings["YES"] = "1"
    workspace.write_file("tasks/notes.csv", ROWS)
    declare(workspace)
    return workspace


def declare(workspace: Workspace, *arguments: str, items: str = "notes.csv") -> None:
    """Write the file of the task."""
    all_arguments = ['quotes_in="text"', *arguments]
    workspace.write_file(
        "tasks/notes.py",
        write_declaration(FIELDS, prompt="{text}", items=items, extra_arguments=all_arguments),
    )


def corrected(workspace: Workspace, values: str, row: str = "1", **options: Any) -> Any:
    """Correct an answer as the user ada and return the document."""
    return workspace.read_json("correct", row, set=values, who="ada", **options)


@pytest.mark.promise("corrections")
def test_correction_is_visible_to_every_reader(notes_workspace: Workspace) -> None:
    """Lists, conditions, exports, views and the index use the correction.

    Each edit is stored with its author, and an undo restores the answer of the model.
    """
    declare(notes_workspace, 'index="{text} {tone}"')
    notes_workspace.run_commands(*BATCH_COMMANDS, "index")

    correction = corrected(notes_workspace, CORRECTION)
    quotation = {"quote": "the lid broke", "start": 15, "end": 28}
    expected_answer = {"tone": "praise", "stars": 1, "topics": ["lid", "price"], "why": quotation}
    assert (correction["edit"], correction["answer"]) == (1, expected_answer)
    assert corrected(notes_workspace, CORRECTION)["edit"] is None

    first, second = notes_workspace.exported_rows()
    assert {name: first[name] for name in expected_answer} == expected_answer
    assert first["answer_version"] == "person"
    assert (second["tone"], second["answer_version"].partition("/")[0]) == ("blame", "notes@1")
    listing = notes_workspace.read_json("items", where="tone = 'praise'")
    assert [row["id"] for row in listing["rows"]] == ["1"]
    assert run_sql(notes_workspace, "SELECT id, tone FROM notes_answered ORDER BY id") == [
        ("1", "praise"),
        ("2", "blame"),
    ]
    assert run_sql(notes_workspace, "SELECT count(*) FROM notes_answers WHERE id = '1'") == [(2,)]

    notes_workspace.run_command("index")
    hits = notes_workspace.read_json("search", "lid")
    assert {hit["key"]: hit["answer"]["tone"] for hit in hits} == {"1": "praise", "2": "blame"}

    assert notes_workspace.read_json("doctor")["healthy"]

    undo_document = notes_workspace.read_json("correct", "1", undo=1, who="bob")
    assert undo_document["answer"]["tone"] == "blame"
    assert [edit["who"] for edit in undo_document["edits"]] == ["ada", "bob"]
    query = "SELECT answer_version FROM notes_answered WHERE id = '1'"
    [(version,)] = run_sql(notes_workspace, query)
    assert version.startswith("notes@1")


@pytest.mark.alike
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("tone=good", "'praise' or 'blame'"),
        ("ton=praise", "did you mean 'tone'"),
        ("why=it never stood there", "is not in the text"),
        ('why="the lid; stars=2', "is not valid JSON"),
        (f"topics={'[' * 2000}", "is not valid JSON"),
        ("stars=many", "stars"),
        ("topics=lid; price", "'price' is not field=value"),
        ("tone=praise; topics=[1]", "topics.0"),
    ],
)
def test_invalid_correction_changes_nothing(
    notes_workspace: Workspace, values: str, message: str
) -> None:
    """The error names the invalid value and the valid values."""
    notes_workspace.run_commands(*BATCH_COMMANDS)
    rows_before = notes_workspace.exported_rows()
    assert message in notes_workspace.run_command("correct", "1", set=values, code=2).stderr
    notes_workspace.run_command("correct", "7", set=CORRECTION, code=2)
    notes_workspace.run_command("correct", "1", undo=1, code=2)
    assert (
        notes_workspace.exported_rows(),
        notes_workspace.read_json("correct", "1")["edits"],
    ) == (
        rows_before,
        [],
    )


@pytest.mark.alike
@pytest.mark.promise("corrections")
def test_correction_survives_later_answers_of_models(
    notes_workspace: Workspace, outside_server: Outside
) -> None:
    """A correction outlasts a running batch, a new version and a rollback.

    A row that a person answered is not asked about.
    """
    notes_workspace.run_command("submit")
    corrected(notes_workspace, "tone=praise; topics=hum; why=It hums.", row="2")
    notes_workspace.run_commands("poll", "ingest")
    assert notes_workspace.state_counts() == {"answered": 2}
    assert [row["tone"] for row in notes_workspace.exported_rows()] == ["blame", "praise"]

    corrected(notes_workspace, "stars=5")
    declare(notes_workspace, "version=2")
    notes_workspace.write_file("tasks/notes.csv", ROWS + "3,New.\n")
    notes_workspace.run_commands(*BATCH_COMMANDS)
    assert min(notes_workspace.exported_rows(), key=lambda row: str(row["id"]))["stars"] == 5
    assert sum(outside_server.kept.questions().values()) == 3

    notes_workspace.run_command("rollback", "notes@1")
    notes_workspace.run_command("rollback", "notes@2")
    rows = notes_workspace.exported_rows()[:2]
    assert [(row["stars"], row["answer_version"]) for row in rows] == [
        (5, "person"),
        (None, "person"),
    ]
    notes_workspace.run_command("rollback", "person", code=2)
    notes_workspace.run_command("correct", "2", undo=1)
    assert notes_workspace.state_counts() == {"answered": 1, "open": 2}


def test_target_tables_follow_corrections(
    notes_workspace: Workspace, outside_server: Outside
) -> None:
    """A target column and a target table follow a correction, an undo and a later answer."""
    notes_workspace.import_people(1)
    run_sql(notes_workspace, "CREATE TABLE orders (id INTEGER PRIMARY KEY, text TEXT, tone TEXT)")
    values = "(1, 'It boils fast; the lid broke.', NULL), (2, 'It hums.', NULL)"
    run_sql(notes_workspace, f"INSERT INTO orders VALUES {values}")  # noqa: S608 - constant values
    declare(notes_workspace, 'write_to="orders.tone=tone"', items="SELECT id, text FROM orders")
    notes_workspace.run_commands(*BATCH_COMMANDS)
    corrected(notes_workspace, "tone=praise")
    assert run_sql(notes_workspace, "SELECT tone FROM orders ORDER BY id") == [
        ("praise",),
        ("blame",),
    ]
    notes_workspace.run_command("correct", "1", undo=1)
    assert run_sql(notes_workspace, "SELECT tone FROM orders ORDER BY id") == [
        ("blame",),
        ("blame",),
    ]

    # A second task writes a row for each answer.
    columns = (
        "note_id INTEGER, provider TEXT, model TEXT, tone TEXT, stars INTEGER, topics TEXT, "
        "why TEXT, created_at TEXT"
    )
    run_sql(notes_workspace, f"CREATE TABLE note_ai ({columns})")
    declare(
        notes_workspace,
        'name="seconds"',
        'write_to="note_ai.note_id"',
        items="SELECT id, text FROM orders",
    )
    notes_workspace.task = "seconds"
    notes_workspace.write_file(
        "tasks/seconds.py", (notes_workspace.home / "tasks/notes.py").read_text()
    )
    # Reads the rows, and asks about none.
    notes_workspace.run_command("tag", where="id = 0")
    corrected(notes_workspace, "tone=praise; topics=hum; why=It hums.", row="2")
    assert run_sql(notes_workspace, "SELECT model, tone FROM note_ai") == [("person", "praise")]
    notes_workspace.run_commands(*BATCH_COMMANDS)
    assert sum(outside_server.kept.questions().values()) == 3
    corrected(notes_workspace, "tone=praise")
    assert run_sql(notes_workspace, "SELECT note_id, tone FROM note_ai ORDER BY 1") == [
        (1, "praise"),
        (2, "praise"),
    ]

    notes_workspace.run_command("correct", "1", undo=1)
    notes_workspace.run_command("correct", "2", undo=1)
    assert run_sql(notes_workspace, "SELECT note_id, tone FROM note_ai ORDER BY 1") == [
        (1, "blame")
    ]
    assert notes_workspace.read_json("doctor")["healthy"]


def test_corrected_concepts_replace_those_of_the_model(workspace: Workspace) -> None:
    """The table and exports have only the corrected concepts.

    An undo restores the concepts of the model.
    """
    workspace.task = PASSAGES
    passage = {"id": "p1", "text": "Bees make honey. Honey keeps for years."}
    workspace.write_file("p.jsonl", json.dumps(passage) + "\n")
    workspace.run_command("import_passages", "p.jsonl")
    # Three concepts fail a gate, so that the exit code may be 6.
    workspace.run_command("tag", code="any", skip_pilot=True, yes=True, wait=True)
    names_before = [row["concept_name"] for row in workspace.exported_rows()]
    concept = {
        "name": "honey",
        "type": "concept",
        "aliases": [],
        "confidence": 1,
        "quotes": ["Bees make honey."],
    }

    correction = corrected(workspace, f"concepts={json.dumps([concept])}", row="p1")
    [stored_concept] = correction["answer"]["concepts"]
    assert stored_concept["evidence"]["support"][0]["end"] == 16
    assert [row["concept_name"] for row in workspace.exported_rows()] == ["honey"]
    workspace.run_command("export", "concepts.csv")
    assert workspace.read_json("doctor")["healthy"]

    workspace.run_command("correct", "p1", undo=1)
    assert [row["concept_name"] for row in workspace.exported_rows()] == names_before


# REFRESH=1 asks about a changed row again.
@pytest.mark.excused("nobody_is_answered_twice")
def test_changed_row_with_a_correction_is_not_asked_again(
    notes_workspace: Workspace, outside_server: Outside
) -> None:
    """REFRESH=1 asks only the changed row without a correction, under each version.

    The correction would outrank the new answer, so the call would be paid in vain.
    """
    declare(notes_workspace)
    notes_workspace.run_command("tag", mode="live")
    corrected(notes_workspace, "stars=5")
    changed_rows = ROWS.replace("broke.", "broke!").replace("hums.", "hums!")
    notes_workspace.write_file("tasks/notes.csv", changed_rows)
    notes_workspace.run_command("tag")
    assert notes_workspace.status()["stale"]["count"] == 1

    notes_workspace.run_command("tag", mode="live", refresh=True)
    declare(notes_workspace, "version=2")
    notes_workspace.run_command("tag", mode="live", refresh=True)
    assert sum(outside_server.kept.questions().values()) == 4
    assert "stale" not in notes_workspace.status()
