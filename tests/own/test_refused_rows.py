"""Answers that another program's table refuses: their rows are parked with what the database says, all others written.

The second server answers with the text of the row.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine.declared.task_file import look_again
from tests.crash import homes
from tests.lab import ON_POSTGRESQL, ran
from tests.outside.answers import Json, user_text
from tests.outside.server import Outside

FILE = """
from pydantic import BaseModel
from findable import Task

class Answer(BaseModel):
    v: {kind}

task = Task(answer=Answer, items="SELECT id, t FROM orders", prompt="{{t}}", write_to="orders.v=v")
"""
BATCH = ("batch-submit", "batch-poll", "batch-ingest")
SHORT, LONG = "bees", "an extraordinarily complicated turntable"
KEY = "SERIAL PRIMARY KEY" if ON_POSTGRESQL else "INTEGER PRIMARY KEY"


def answer(request: Json) -> Json:
    """Return the text of the row as the answer, which is a number where it is one."""
    text = user_text(request).split(">", 1)[1].split("<", 1)[0].strip()
    return {"v": int(text) if text.lstrip("-").isdigit() else text}


class Orders:
    """A table of another program, and a task that writes into one of its columns."""

    def __init__(self, root: Path, url: str) -> None:
        """Begin the workspace."""
        self.workspace = homes.workspace_at(root / "data", url, RETRY_WAIT="0.01", POLL_MOST="0.1", YES="1").begin()
        self.workspace.environ["FINDABLE_TASK"] = "v"

    def make(self, column: str, *texts: Any, kind: str = "str") -> None:
        """Make the table with a column for the answers, and the task's file."""
        self.workspace.change(f"CREATE TABLE orders (id INTEGER PRIMARY KEY, t TEXT, v {column})")
        for number, text in enumerate(texts, 1):
            self.workspace.change("INSERT INTO orders (id, t) VALUES (:id, :t)", id=number, t=str(text))
        Path("tasks").mkdir()
        Path("tasks/v.py").write_text(FILE.format(kind=kind), encoding="utf-8")
        look_again()  # a process loads a file once, and a test is many processes' work in one

    def written(self) -> list[Any]:
        """Return what stands in the column, in the order of rows."""
        return [row[0] for row in self.workspace.query("SELECT v FROM orders ORDER BY id")]

    def counts(self) -> dict[str, int]:
        """Return how many rows are in each state; states without any are left out."""
        document = json.loads(ran(self.workspace, "status", "--json"))["v"]
        return {state: count for state, count in document.items() if count and state != "total"}

    def applied(self) -> list[bool]:
        """Return of each answer that is kept whether it was applied, in the order of rows."""
        return [bool(row[0]) for row in self.workspace.query("SELECT applied FROM findable_answers ORDER BY item_id")]


@pytest.fixture
def orders(tmp_path: Path, outside: Outside, monkeypatch: pytest.MonkeyPatch) -> Orders:
    """The table and the task, asked of the second server."""
    monkeypatch.chdir(tmp_path)
    outside.answerer = answer
    return Orders(tmp_path, outside.url)


@pytest.mark.parametrize("commands", [BATCH, ("tag-live",)], ids=["batch", "live"])
def test_the_rows_that_a_table_refuses_are_parked_and_no_others(
    orders: Orders, outside: Outside, commands: tuple[str, ...]
) -> None:
    """Two of five, found within one chunk; each is paid for once, and its answer is kept."""
    workspace = orders.workspace
    orders.make("TEXT CHECK (v IS NULL OR length(v) < 10)", SHORT, LONG, "wax", "honey", LONG + "s")
    workspace.ran_each(*commands)
    assert orders.written() == [SHORT, None, "wax", "honey", None]
    assert orders.counts() == {"answered": 3, "parked": 2}
    assert orders.applied() == [True, False, True, True, False]
    said = ran(workspace, "parked")
    assert "the table orders of this database refuses" in said
    assert "CHECK constraint failed" in said or "violates check constraint" in said
    assert LONG not in said.replace(f"{LONG}s", "")
    assert json.loads(ran(workspace, "doctor", "--json"))["findings"] == []
    for command in commands:
        workspace.run(command)
    assert sum(outside.kept.questions().values()) == 5


ROOMS = {
    "text": ("VARCHAR(3)", "str", ("wax", LONG)),
    "int": ("INTEGER", "int", (3, 3_000_000_000)),
    "smallint": ("SMALLINT", "int", (-32768, 70_000)),
}


@pytest.mark.skipif(not ON_POSTGRESQL, reason="an SQLite file's columns take any value")
@pytest.mark.parametrize("room", ROOMS)
def test_an_answer_for_which_a_column_has_no_room_is_told(orders: Orders, room: str) -> None:
    """It does not count as answered while the cell stays empty; where another value stands, nothing is written."""
    column, kind, (fits, too_large) = ROOMS[room]
    orders.make(column, fits, too_large, too_large, kind=kind)
    orders.workspace.change("UPDATE orders SET v = :v WHERE id = 3", v=fits)
    orders.workspace.ran_each(*BATCH)
    assert orders.written() == [fits, None, fits]
    assert orders.counts() == {"answered": 2, "parked": 1}
    assert "stays NULL: it has no room for the answer" in ran(orders.workspace, "parked")


def test_what_was_refused_is_not_asked_again(orders: Orders, outside: Outside) -> None:
    """Once the table takes it and the row is let go, the answer that was paid for is written."""
    workspace = orders.workspace
    orders.make("TEXT", SHORT, LONG)
    workspace.change("CREATE UNIQUE INDEX narrow ON orders (length(v)) WHERE length(v) > 9")
    workspace.change("INSERT INTO orders (id, t, v) VALUES (9, NULL, :v)", v=LONG)
    workspace.ran_each(*BATCH)
    assert orders.written() == [SHORT, None, LONG]
    assert ran(workspace, "unpark", "--all", "--yes") == "1 row can be asked again. Next: make batch-submit TASK=v\n"
    assert ran(workspace, "tag-live").startswith("0 answered")
    assert orders.counts() == {"answered": 1, "parked": 1, "empty": 1}
    workspace.change("DROP INDEX narrow")
    ran(workspace, "unpark", "--all", "--yes")
    ran(workspace, "tag-live")
    assert orders.written() == [SHORT, LONG, LONG]
    assert sum(outside.kept.questions().values()) == 2
    assert json.loads(ran(workspace, "doctor", "--json"))["findings"] == []


def test_an_answer_that_a_trigger_keeps_out_is_told(orders: Orders) -> None:
    """It says nothing, and the cell stays NULL: the row does not count as answered."""
    orders.make("TEXT", SHORT, LONG)
    if ON_POSTGRESQL:
        orders.workspace.change(
            "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
        )
    act = "EXECUTE FUNCTION nothing()" if ON_POSTGRESQL else "BEGIN SELECT RAISE(IGNORE); END"
    orders.workspace.change(f"CREATE TRIGGER quiet BEFORE UPDATE ON orders FOR EACH ROW WHEN (new.id = 2) {act}")
    orders.workspace.ran_each(*BATCH)
    assert orders.written() == [SHORT, None]
    assert orders.counts() == {"answered": 1, "parked": 1}
    assert "orders.v (text) stays NULL: a trigger" in ran(orders.workspace, "parked").replace("TEXT", "text")
