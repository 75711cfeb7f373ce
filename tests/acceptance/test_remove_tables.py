"""`remove-tables`: another program's database is as it was before findable came, but for the answers in its cells."""

import pytest

from tests.acceptance.database import connected, schema, sql
from tests.acceptance.product import Workspace, declaration


@pytest.mark.parametrize("kind", ["own", "people"])
def test_what_findable_made_goes_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    """Values that were written stay; a batch under way, a missing yes and a foreign key are refused."""
    workspace = Workspace(tmp_path_factory.mktemp("here") / "home")
    sql(workspace, "CREATE TABLE orders (id INTEGER PRIMARY KEY, t TEXT, v TEXT)")
    sql(workspace, "INSERT INTO orders VALUES (1, 'a kettle that leaks', NULL)")
    if kind == "people":
        sql(
            workspace,
            "CREATE TABLE experts (id INTEGER PRIMARY KEY, username TEXT UNIQUE, bio TEXT)",
        )
        sql(workspace, "INSERT INTO experts VALUES (1, 'ada', 'I keep bees and teach water law.')")
    before = schema(workspace)
    more = ['write_to="orders.v=v"']
    workspace.put(
        "tasks/notes.py",
        declaration({"v": "str"}, prompt="{t}", items="SELECT id, t FROM orders", more=more),
    )
    workspace.task = "notes" if kind == "own" else ""
    workspace.do("submit", yes=True)
    assert "under way" in workspace.do("remove-tables", yes=True, code=2).err
    workspace.each("poll", "ingest")
    assert "not confirmed" in workspace.do("remove-tables", code=2).err
    with connected(workspace) as another:
        another.execute(
            "CREATE TABLE theirs (batch INTEGER REFERENCES findable_batches(number) ON DELETE CASCADE)"
        )
    assert "theirs" in workspace.do("remove-tables", yes=True, code=3).err
    assert workspace.do("batches").code == 0
    sql(workspace, "DROP TABLE theirs")
    assert "Warning" not in workspace.do("remove-tables", yes=True).said
    after = schema(workspace)
    assert after.keys() == before.keys()
    assert after["orders"] == before["orders"]
    [(value,)] = sql(workspace, "SELECT v FROM orders")
    assert (value is None) == (kind == "people")
    if kind == "people":
        assert sql(workspace, "SELECT username, tags IS NOT NULL FROM experts") == [("ada", True)]
    workspace.run("status")
    assert schema(workspace) == after


def test_tables_that_findable_made_for_people_go_with_them(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """And with an option while a batch is under way."""
    workspace = Workspace(tmp_path_factory.mktemp("here") / "home")
    sql(workspace, "CREATE TABLE orders (id INTEGER PRIMARY KEY, t TEXT)")
    workspace.settings["YES"] = "1"
    workspace.people(2)
    workspace.do("submit")
    assert "Warning" not in workspace.do("remove-tables", give_up=True).said
    assert {name for name in schema(workspace) if not name.startswith("sqlite_")} == {"orders"}
