"""Correct an answer by hand: it is valid as a model's must be, counts before every model's, stays, and is undone."""

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
SAID = "tone=praise; topics=lid, price; why=the lid broke"


def answer(request: Json) -> Json:
    """Return an answer that quotes the whole row."""
    text = user_text(request).split(">", 1)[1].split("<", 1)[0].strip()
    return {"tone": "blame", "stars": 1, "topics": ["speed", "lid"], "why": text}


@pytest.fixture(name="own")
def _own(workspace: Workspace, outside_server: Outside) -> Workspace:
    """A workspace whose commands are about the task `notes`, and its rows."""
    workspace.task, workspace.url, outside_server.answerer = "notes", outside_server.url, answer
    workspace.settings["YES"] = "1"
    workspace.put("tasks/notes.csv", ROWS)
    declare(workspace)
    return workspace


def declare(own: Workspace, *more: str, items: str = "notes.csv") -> None:
    """Write the task."""
    told = ['quotes_in="text"', *more]
    own.put("tasks/notes.py", declaration(FIELDS, prompt="{text}", items=items, more=told))


def corrected(own: Workspace, said: str, item: str = "1", **options: Any) -> Any:
    """Correct an answer as ada, and return what is told."""
    return own.read("correct", item, set=said, who="ada", **options)


def test_a_correction_is_what_every_reader_sees(own: Workspace) -> None:
    """The list and its conditions, an export, the view, one row, the index; each edit stays with who and when."""
    declare(own, 'index="{text} {tone}"')
    own.each(*BATCH_COMMANDS, "index")
    done = corrected(own, SAID)
    quotation = {"quote": "the lid broke", "start": 15, "end": 28}
    wanted = {"tone": "praise", "stars": 1, "topics": ["lid", "price"], "why": quotation}
    assert (done["edit"], done["answer"]) == (1, wanted)
    assert corrected(own, SAID)["edit"] is None
    first, second = own.exported()
    assert ({name: first[name] for name in wanted}, first["extractor"]) == (wanted, "person")
    assert (second["tone"], second["extractor"].partition("/")[0]) == ("blame", "notes@1")
    assert [one["id"] for one in own.read("items", where="tone = 'praise'")["items"]] == ["1"]
    assert sql(own, "SELECT id, tone FROM notes_answered ORDER BY id") == [
        ("1", "praise"),
        ("2", "blame"),
    ]
    assert sql(own, "SELECT count(*) FROM notes_answers WHERE id = '1'") == [(2,)]
    own.do("index")
    assert {hit["key"]: hit["answer"]["tone"] for hit in own.read("search", "lid")} == {
        "1": "praise",
        "2": "blame",
    }
    output = own.do("show", item="1").out
    assert "ada, by hand" in output
    assert "tone: blame → praise" in own.do("correct", "1").out
    assert own.read("doctor")["healthy"]
    undone = own.read("correct", "1", undo=1, who="bob")
    assert (undone["answer"]["tone"], [one["who"] for one in undone["edits"]]) == (
        "blame",
        ["ada", "bob"],
    )
    assert sql(own, "SELECT extractor FROM notes_answered WHERE id = '1'")[0][0].startswith(
        "notes@1"
    )


@pytest.mark.alike
@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("tone=good", "'praise' or 'blame'"),
        ("ton=praise", "did you mean 'tone'"),
        ("why=it never stood there", "is not in the text"),
        ('why="the lid; stars=2', "is no JSON"),
        ("stars=many", "stars"),
        ("topics=lid; price", "'price' sets no field"),
        ("tone=praise; topics=[1]", "topics.0"),
    ],
)
def test_what_is_no_valid_answer_changes_nothing(own: Workspace, said: str, why: str) -> None:
    """It is named, with what would be one."""
    own.each(*BATCH_COMMANDS)
    before = own.exported()
    assert why in own.do("correct", "1", set=said, code=2).err
    assert "no row '7'" in own.do("correct", "7", set=SAID, code=2).err
    assert "no edit 1" in own.do("correct", "1", undo=1, code=2).err
    assert (own.exported(), own.read("correct", "1")["edits"]) == (before, [])


def test_it_stays_whatever_models_say_afterwards(own: Workspace, outside_server: Outside) -> None:
    """Through a batch under way, another version and a rollback; a row that a person answered is not asked."""
    own.do("submit")
    corrected(own, "tone=praise; topics=hum; why=It hums.", item="2")
    own.each("poll", "ingest")
    assert own.states() == {"answered": 2}
    assert [one["tone"] for one in own.exported()] == ["blame", "praise"]
    corrected(own, "stars=5")
    declare(own, "version=2")
    own.put("tasks/notes.csv", ROWS + "3,New.\n")
    own.each(*BATCH_COMMANDS)
    assert min(own.exported(), key=lambda one: str(one["id"]))["stars"] == 5
    assert sum(outside_server.kept.questions().values()) == 3
    own.do("rollback", "notes@1")
    own.do("rollback", "notes@2")
    assert [(one["stars"], one["extractor"]) for one in own.exported()][:2] == [
        (5, "person"),
        (None, "person"),
    ]
    assert "by hand is no version" in own.do("rollback", "person", code=2).err
    own.do("correct", "2", undo=1)
    assert own.states() == {"answered": 1, "open": 2}


def test_the_users_own_tables_follow(own: Workspace, outside_server: Outside) -> None:
    """A column and a row of each answer: corrected, undone, and answered again by another model."""
    own.people(1)
    sql(own, "CREATE TABLE orders (id INTEGER PRIMARY KEY, text TEXT, tone TEXT)")
    sql(
        own,
        "INSERT INTO orders VALUES (1, 'It boils fast; the lid broke.', NULL), (2, 'It hums.', NULL)",
    )
    declare(own, 'write_to="orders.tone=tone"', items="SELECT id, text FROM orders")
    own.each(*BATCH_COMMANDS)
    corrected(own, "tone=praise")
    assert sql(own, "SELECT tone FROM orders ORDER BY id") == [("praise",), ("blame",)]
    own.do("correct", "1", undo=1)
    assert sql(own, "SELECT tone FROM orders ORDER BY id") == [("blame",), ("blame",)]
    columns = "note_id INTEGER, provider TEXT, model TEXT, tone TEXT, stars INTEGER, topics TEXT, why TEXT"
    sql(own, f"CREATE TABLE note_ai ({columns}, created_at TEXT)")
    declare(
        own, 'name="seconds"', 'write_to="note_ai.note_id"', items="SELECT id, text FROM orders"
    )
    own.task = "seconds"
    own.put("tasks/seconds.py", (own.home / "tasks/notes.py").read_text())
    own.do("tag", dry=True)  # which reads the rows
    corrected(own, "tone=praise; topics=hum; why=It hums.", item="2")
    assert sql(own, "SELECT model, tone FROM note_ai") == [("person", "praise")]
    own.each(*BATCH_COMMANDS)
    assert sum(outside_server.kept.questions().values()) == 3
    corrected(own, "tone=praise")
    assert sql(own, "SELECT note_id, tone FROM note_ai ORDER BY 1") == [
        (1, "praise"),
        (2, "praise"),
    ]
    own.do("correct", "1", undo=1)
    own.do("correct", "2", undo=1)
    assert sql(own, "SELECT note_id, tone FROM note_ai ORDER BY 1") == [(1, "blame")]
    assert own.read("doctor")["healthy"]


def test_concepts_of_a_passage_are_those_that_a_person_said(workspace: Workspace) -> None:
    """In the table, the best concepts and an export; a concept taken out is in none, and undone they are back."""
    workspace.task = PASSAGES
    workspace.put(
        "p.jsonl",
        json.dumps({"id": "p1", "text": "Bees make honey. Honey keeps for years."}) + "\n",
    )
    workspace.do("import_passages", "p.jsonl")
    workspace.do(
        "tag", code="any", skip_pilot=True, yes=True, wait=True
    )  # three concepts fail a gate
    before = [one["concept_name"] for one in workspace.exported()]
    kept = {
        "name": "honey",
        "type": "concept",
        "aliases": [],
        "confidence": 1,
        "quotes": ["Bees make honey."],
    }
    done = corrected(workspace, f"concepts={json.dumps([kept])}", item="p1")
    assert [one["evidence"]["support"][0]["end"] for one in done["answer"]["concepts"]] == [16]
    assert [one["concept_name"] for one in workspace.exported()] == ["honey"]
    assert [one["concept_name"] for one in workspace.exported(best=True)] == ["honey"]
    assert workspace.read("doctor")["healthy"]
    workspace.do("correct", "p1", undo=1)
    assert [one["concept_name"] for one in workspace.exported()] == before
