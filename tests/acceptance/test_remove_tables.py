"""`remove-tables`: another program's database is as it was before findable came, but for the answers in its cells."""

import pytest

from tests.acceptance.database import connected, schema, sql
from tests.acceptance.product import Workspace, declaration


@pytest.mark.parametrize("kind", ["own", "people"])
def test_what_findable_made_goes_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    """Values that were written stay; a batch under way, a missing yes and a foreign key are refused."""
    own = Workspace(tmp_path_factory.mktemp("here") / "home")
    sql(own, "CREATE TABLE orders (id INTEGER PRIMARY KEY, t TEXT, v TEXT)")
    sql(own, "INSERT INTO orders VALUES (1, 'a kettle that leaks', NULL)")
    if kind == "people":
        sql(own, "CREATE TABLE experts (id INTEGER PRIMARY KEY, username TEXT UNIQUE, bio TEXT)")
        sql(own, "INSERT INTO experts VALUES (1, 'ada', 'I keep bees and teach water law.')")
    before = schema(own)
    more = ['write_to="orders.v=v"']
    own.put(
        "tasks/notes.py",
        declaration({"v": "str"}, prompt="{t}", items="SELECT id, t FROM orders", more=more),
    )
    own.task = "notes" if kind == "own" else ""
    own.do("submit", yes=True)
    assert "under way" in own.do("remove-tables", yes=True, code=2).err
    own.each("poll", "ingest")
    assert "not confirmed" in own.do("remove-tables", code=2).err
    with connected(own) as another:
        another.execute(
            "CREATE TABLE theirs (batch INTEGER REFERENCES findable_batches(number) ON DELETE CASCADE)"
        )
    assert "theirs" in own.do("remove-tables", yes=True, code=3).err
    assert own.do("batches").code == 0
    sql(own, "DROP TABLE theirs")
    assert "Warning" not in own.do("remove-tables", yes=True).said
    after = schema(own)
    assert after.keys() == before.keys()
    assert after["orders"] == before["orders"]
    [(value,)] = sql(own, "SELECT v FROM orders")
    assert (value is None) == (kind == "people")
    if kind == "people":
        assert sql(own, "SELECT username, tags IS NOT NULL FROM experts") == [("ada", True)]
    own.run("status")
    assert schema(own) == after


def test_tables_that_findable_made_for_people_go_with_them(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """And with an option while a batch is under way."""
    own = Workspace(tmp_path_factory.mktemp("here") / "home")
    sql(own, "CREATE TABLE orders (id INTEGER PRIMARY KEY, t TEXT)")
    own.settings["YES"] = "1"
    own.people(2)
    own.do("submit")
    assert "Warning" not in own.do("remove-tables", give_up=True).said
    assert {name for name in schema(own) if not name.startswith("sqlite_")} == {"orders"}
