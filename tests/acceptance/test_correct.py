"""Corrections by hand are validated, outrank answers of models, stay, and can be undone."""

import json
from typing import Any

import pytest

from tests.acceptance.database import sql
from tests.acceptance.product import PASSAGES, Workspace, declaration
from tests.acceptance.test_own_tasks import BATCH_COMMANDS
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
    workspace.put("tasks/notes.csv", ROWS)
    declare(workspace)
    return workspace


def declare(workspace: Workspace, *arguments: str, items: str = "notes.csv") -> None:
    """Write the file of the task."""
    all_arguments = ['quotes_in="text"', *arguments]
    workspace.put(
        "tasks/notes.py", declaration(FIELDS, prompt="{text}", items=items, more=all_arguments)
    )


def corrected(workspace: Workspace, values: str, item: str = "1", **options: Any) -> Any:
    """Correct an answer as the user ada and return the document."""
    return workspace.read("correct", item, set=values, who="ada", **options)


def test_correction_is_visible_to_every_reader(notes_workspace: Workspace) -> None:
    """Lists, conditions, exports, views and the index use the correction.

    Each edit is stored with its author, and an undo restores the answer of the model.
    """
    declare(notes_workspace, 'index="{text} {tone}"')
    notes_workspace.each(*BATCH_COMMANDS, "index")

    correction = corrected(notes_workspace, CORRECTION)
    quotation = {"quote": "the lid broke", "start": 15, "end": 28}
    expected_answer = {"tone": "praise", "stars": 1, "topics": ["lid", "price"], "why": quotation}
    assert (correction["edit"], correction["answer"]) == (1, expected_answer)
    assert corrected(notes_workspace, CORRECTION)["edit"] is None

    first, second = notes_workspace.exported()
    assert {name: first[name] for name in expected_answer} == expected_answer
    assert first["extractor"] == "person"
    assert (second["tone"], second["extractor"].partition("/")[0]) == ("blame", "notes@1")
    items_document = notes_workspace.read("items", where="tone = 'praise'")
    assert [item["id"] for item in items_document["items"]] == ["1"]
    assert sql(notes_workspace, "SELECT id, tone FROM notes_answered ORDER BY id") == [
        ("1", "praise"),
        ("2", "blame"),
    ]
    assert sql(notes_workspace, "SELECT count(*) FROM notes_answers WHERE id = '1'") == [(2,)]

    notes_workspace.do("index")
    hits = notes_workspace.read("search", "lid")
    assert {hit["key"]: hit["answer"]["tone"] for hit in hits} == {"1": "praise", "2": "blame"}

    output = notes_workspace.do("show", item="1").out
    assert "ada, by hand" in output
    assert "tone: blame → praise" in notes_workspace.do("correct", "1").out
    assert notes_workspace.read("doctor")["healthy"]

    undo_document = notes_workspace.read("correct", "1", undo=1, who="bob")
    assert undo_document["answer"]["tone"] == "blame"
    assert [edit["who"] for edit in undo_document["edits"]] == ["ada", "bob"]
    query = "SELECT extractor FROM notes_answered WHERE id = '1'"
    [(extractor,)] = sql(notes_workspace, query)
    assert extractor.startswith("notes@1")


@pytest.mark.alike
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("tone=good", "'praise' or 'blame'"),
        ("ton=praise", "did you mean 'tone'"),
        ("why=it never stood there", "is not in the text"),
        ('why="the lid; stars=2', "is not valid JSON"),
        ("stars=many", "stars"),
        ("topics=lid; price", "'price' is not field=value"),
        ("tone=praise; topics=[1]", "topics.0"),
    ],
)
def test_invalid_correction_changes_nothing(
    notes_workspace: Workspace, values: str, message: str
) -> None:
    """The error names the invalid value and the valid values."""
    notes_workspace.each(*BATCH_COMMANDS)
    rows_before = notes_workspace.exported()
    assert message in notes_workspace.do("correct", "1", set=values, code=2).err
    assert "no row '7'" in notes_workspace.do("correct", "7", set=CORRECTION, code=2).err
    assert "no edit 1" in notes_workspace.do("correct", "1", undo=1, code=2).err
    assert (notes_workspace.exported(), notes_workspace.read("correct", "1")["edits"]) == (
        rows_before,
        [],
    )


def test_correction_survives_later_answers_of_models(
    notes_workspace: Workspace, outside_server: Outside
) -> None:
    """A correction outlasts a running batch, a new version and a rollback.

    A row that a person answered is not asked about.
    """
    notes_workspace.do("submit")
    corrected(notes_workspace, "tone=praise; topics=hum; why=It hums.", item="2")
    notes_workspace.each("poll", "ingest")
    assert notes_workspace.states() == {"answered": 2}
    assert [row["tone"] for row in notes_workspace.exported()] == ["blame", "praise"]

    corrected(notes_workspace, "stars=5")
    declare(notes_workspace, "version=2")
    notes_workspace.put("tasks/notes.csv", ROWS + "3,New.\n")
    notes_workspace.each(*BATCH_COMMANDS)
    assert min(notes_workspace.exported(), key=lambda row: str(row["id"]))["stars"] == 5
    assert sum(outside_server.kept.questions().values()) == 3

    notes_workspace.do("rollback", "notes@1")
    notes_workspace.do("rollback", "notes@2")
    rows = notes_workspace.exported()[:2]
    assert [(row["stars"], row["extractor"]) for row in rows] == [(5, "person"), (None, "person")]
    assert "by hand is no version" in notes_workspace.do("rollback", "person", code=2).err
    notes_workspace.do("correct", "2", undo=1)
    assert notes_workspace.states() == {"answered": 1, "open": 2}


def test_target_tables_follow_corrections(
    notes_workspace: Workspace, outside_server: Outside
) -> None:
    """A target column and a target table follow a correction, an undo and a later answer."""
    notes_workspace.people(1)
    sql(notes_workspace, "CREATE TABLE orders (id INTEGER PRIMARY KEY, text TEXT, tone TEXT)")
    values = "(1, 'It boils fast; the lid broke.', NULL), (2, 'It hums.', NULL)"
    sql(notes_workspace, f"INSERT INTO orders VALUES {values}")  # noqa: S608 - constant values
    declare(notes_workspace, 'write_to="orders.tone=tone"', items="SELECT id, text FROM orders")
    notes_workspace.each(*BATCH_COMMANDS)
    corrected(notes_workspace, "tone=praise")
    assert sql(notes_workspace, "SELECT tone FROM orders ORDER BY id") == [("praise",), ("blame",)]
    notes_workspace.do("correct", "1", undo=1)
    assert sql(notes_workspace, "SELECT tone FROM orders ORDER BY id") == [("blame",), ("blame",)]

    # A second task writes a row for each answer.
    columns = (
        "note_id INTEGER, provider TEXT, model TEXT, tone TEXT, stars INTEGER, topics TEXT, "
        "why TEXT, created_at TEXT"
    )
    sql(notes_workspace, f"CREATE TABLE note_ai ({columns})")
    declare(
        notes_workspace,
        'name="seconds"',
        'write_to="note_ai.note_id"',
        items="SELECT id, text FROM orders",
    )
    notes_workspace.task = "seconds"
    notes_workspace.put("tasks/seconds.py", (notes_workspace.home / "tasks/notes.py").read_text())
    # A dry run reads the rows.
    notes_workspace.do("tag", dry=True)
    corrected(notes_workspace, "tone=praise; topics=hum; why=It hums.", item="2")
    assert sql(notes_workspace, "SELECT model, tone FROM note_ai") == [("person", "praise")]
    notes_workspace.each(*BATCH_COMMANDS)
    assert sum(outside_server.kept.questions().values()) == 3
    corrected(notes_workspace, "tone=praise")
    assert sql(notes_workspace, "SELECT note_id, tone FROM note_ai ORDER BY 1") == [
        (1, "praise"),
        (2, "praise"),
    ]

    notes_workspace.do("correct", "1", undo=1)
    notes_workspace.do("correct", "2", undo=1)
    assert sql(notes_workspace, "SELECT note_id, tone FROM note_ai ORDER BY 1") == [(1, "blame")]
    assert notes_workspace.read("doctor")["healthy"]


def test_corrected_concepts_replace_those_of_the_model(workspace: Workspace) -> None:
    """The table, the best concepts and exports have only the corrected concepts.

    An undo restores the concepts of the model.
    """
    workspace.task = PASSAGES
    passage = {"id": "p1", "text": "Bees make honey. Honey keeps for years."}
    workspace.put("p.jsonl", json.dumps(passage) + "\n")
    workspace.do("import_passages", "p.jsonl")
    # Three concepts fail a gate, so that the exit code may be 6.
    workspace.do("tag", code="any", skip_pilot=True, yes=True, wait=True)
    names_before = [row["concept_name"] for row in workspace.exported()]
    concept = {
        "name": "honey",
        "type": "concept",
        "aliases": [],
        "confidence": 1,
        "quotes": ["Bees make honey."],
    }

    correction = corrected(workspace, f"concepts={json.dumps([concept])}", item="p1")
    [stored_concept] = correction["answer"]["concepts"]
    assert stored_concept["evidence"]["support"][0]["end"] == 16
    assert [row["concept_name"] for row in workspace.exported()] == ["honey"]
    assert [row["concept_name"] for row in workspace.exported(best=True)] == ["honey"]
    assert workspace.read("doctor")["healthy"]

    workspace.do("correct", "p1", undo=1)
    assert [row["concept_name"] for row in workspace.exported()] == names_before
