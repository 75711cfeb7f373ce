"""`write_to=`: answers in a table of another program, which are never about another text than the row's."""

from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.database import schema, sql
from tests.acceptance.product import ON_POSTGRESQL, Workspace, declaration
from tests.outside.answers import Json, user_text
from tests.outside.server import Outside

ROUND = ("submit", "poll", "ingest")
QUERY = "SELECT id, t FROM orders"


@pytest.fixture(name="own")
def _own(workspace: Workspace, outside_server: Outside) -> Workspace:
    """A workspace whose commands are about the task `notes`, which is still to be written."""
    workspace.url, workspace.task, workspace.settings["YES"] = outside_server.url, "notes", "1"
    outside_server.answerer = said
    return workspace


def said(request: Json) -> Json:
    """Return an answer that repeats the row's text."""
    return {"v": "said of " + user_text(request).split(">", 1)[1].split("<", 1)[0].strip()}


def declare(
    own: Workspace, write_to: str, *, items: str = QUERY, refresh: bool = True, prompt: str = "{t}"
) -> Path:
    """Write the file of the task."""
    more = [f"write_to={write_to!r}", f"refresh={refresh}"]
    return own.put(
        "tasks/notes.py", declaration({"v": "str"}, prompt=prompt, items=items, more=more)
    )


def orders(own: Workspace, *texts: str, name: str = "orders", column: str = "v") -> None:
    """Make another program's table, with rows that have no value yet."""
    sql(own, f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, t TEXT, {column} TEXT)")
    for number, text in enumerate(texts, 1):
        sql(own, f"INSERT INTO {name} (id, t) VALUES (:id, :t)", id=number, t=text)  # noqa: S608 - names of ours


def cells(own: Workspace, name: str = "orders", column: str = "v") -> list[Any]:
    """Return the values of all rows."""
    return [row[0] for row in sql(own, f"SELECT {column} FROM {name} ORDER BY id")]  # noqa: S608 - names of ours


@pytest.mark.excused("nobody_is_answered_twice")  # REFRESH=1 asks for that
def test_no_cell_holds_an_answer_about_another_text(own: Workspace) -> None:
    """A row that changed or was replaced meanwhile gets no old answer; REFRESH=1 fills it, and mends our old value.

    A cell that another program changed stays.
    """
    orders(own, "a", "b", "c", "d", "e")
    declare(own, "orders.v=v")
    own.each("submit", "poll")
    sql(own, "UPDATE orders SET t = 'new b' WHERE id = 2")
    sql(own, "DELETE FROM orders WHERE id = 3")
    sql(own, "INSERT INTO orders (id, t) VALUES (3, 'another c')")
    ingested = own.do("ingest")
    assert cells(own) == ["said of a", None, None, "said of d", "said of e"]
    assert "2, 3" in ingested.said
    assert own.states() == {"answered": 5}

    sql(own, "UPDATE orders SET t = 'new d' WHERE id = 4")
    sql(own, "UPDATE orders SET t = 'new e', v = 'theirs' WHERE id = 5")
    own.do("tag", mode="live")
    assert own.status()["stale"]["count"] == 4
    assert cells(own) == ["said of a", None, None, "said of d", "theirs"]
    own.do("tag", mode="live", REFRESH=1)
    assert cells(own) == [
        "said of a",
        "said of new b",
        "said of another c",
        "said of new d",
        "theirs",
    ]
    assert own.status()["stale"]["count"] == 0
    assert len(own.asked()) == 9


@pytest.mark.parametrize(
    ("write_to", "items", "wrong"),
    [
        ("nowhere.v=v", QUERY, "no table `nowhere`"),
        ("orders.w=v", QUERY, "no column `w`"),
        ("orders.v=v", "SELECT id, u FROM orders", "u"),
        ("orders.v=v", "notes.csv", "notes.csv"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_added(
    tmp_path: Path, write_to: str, items: str, wrong: str
) -> None:
    """In another program's database not one table is made for a task that cannot run."""
    own = Workspace(tmp_path / "here", task="notes", settings={"YES": "1"})
    orders(own, "a")
    declare(own, write_to, items=items)
    before = schema(own)
    for verb in ("submit", "tag"):
        assert wrong in own.do(verb, code="any").err
    assert schema(own) == before


def test_tables_are_named_with_a_schema_and_in_quotation_marks(own: Workspace) -> None:
    """Also a column; without quotation marks a name is taken as it is written."""
    orders(own, "a", name='"My orders.2"', column='"The value"')
    items = 'SELECT id, t FROM "My orders.2"'
    if ON_POSTGRESQL:
        sql(own, "CREATE SCHEMA IF NOT EXISTS shop")
        sql(own, 'ALTER TABLE "My orders.2" SET SCHEMA shop')
    where = '"My orders.2"'
    where = f"shop.{where}" if ON_POSTGRESQL else where
    declare(own, f'{where}."The value"=v', items=items.replace('"My orders.2"', where))
    own.each(*ROUND)
    assert cells(own, where, '"The value"') == ["said of a"]


def test_tables_of_people_are_added_for_people_alone(own: Workspace) -> None:
    """A task of one's own adds the engine's tables and its views; people add theirs when they come."""
    orders(own, "a")
    declare(own, "orders.v=v")
    own.each(*ROUND)
    assert {"experts"} & schema(own).keys() == set()
    for verb in ("status", "doctor", "batches", "versions", "costs", "parked"):
        own.do(verb)
    own.task = ""
    for verb in ("doctor", "batches", "costs"):
        own.do(verb)
    own.people(2)
    assert {"experts"} & schema(own).keys() == {"experts"}
    assert own.states("experts") == {"untagged": 2}
