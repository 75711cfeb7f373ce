"""`remove-tables` restores the database of another program, except for written answers."""

import pytest

from tests.acceptance.database import connected, schema, sql
from tests.acceptance.product import Workspace, declaration


@pytest.mark.parametrize("kind", ["own", "people"])
def test_only_tables_of_findable_are_removed(
    tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    """Written values stay; a running batch, a missing yes or a foreign key refuses the command."""
    workspace = Workspace(tmp_path_factory.mktemp("here") / "home")
    sql(workspace, "CREATE TABLE orders (id INTEGER PRIMARY KEY, t TEXT, v TEXT)")
    sql(workspace, "INSERT INTO orders VALUES (1, 'a kettle that leaks', NULL)")
    if kind == "people":
        columns = "id INTEGER PRIMARY KEY, username TEXT UNIQUE, bio TEXT"
        sql(workspace, f"CREATE TABLE experts ({columns})")
        sql(workspace, "INSERT INTO experts VALUES (1, 'ada', 'I keep bees and teach water law.')")
    schema_before = schema(workspace)
    arguments = ['write_to="orders.v=v"']
    workspace.put(
        "tasks/notes.py",
        declaration({"v": "str"}, prompt="{t}", items="SELECT id, t FROM orders", more=arguments),
    )
    workspace.task = "notes" if kind == "own" else ""

    workspace.do("submit", yes=True)
    assert "batches are not over" in workspace.do("remove-tables", yes=True, code=2).err
    workspace.each("poll", "ingest")
    assert "not confirmed" in workspace.do("remove-tables", code=2).err

    # A table of another program refers to a table of findable.
    reference = "REFERENCES findable_batches(number) ON DELETE CASCADE"
    with connected(workspace) as connection:
        connection.execute(f"CREATE TABLE theirs (batch INTEGER {reference})")
    assert "theirs" in workspace.do("remove-tables", yes=True, code=3).err
    assert workspace.do("batches").code == 0

    sql(workspace, "DROP TABLE theirs")
    assert "Warning" not in workspace.do("remove-tables", yes=True).said
    schema_after = schema(workspace)
    assert schema_after.keys() == schema_before.keys()
    assert schema_after["orders"] == schema_before["orders"]
    [(value,)] = sql(workspace, "SELECT v FROM orders")
    assert (value is None) == (kind == "people")
    if kind == "people":
        assert sql(workspace, "SELECT username, tags IS NOT NULL FROM experts") == [("ada", True)]
    workspace.run("status")
    assert schema(workspace) == schema_after


def test_tables_of_people_are_removed_with_the_other_tables(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The command accepts `--give-up` to work while a batch is running."""
    workspace = Workspace(tmp_path_factory.mktemp("here") / "home")
    sql(workspace, "CREATE TABLE orders (id INTEGER PRIMARY KEY, t TEXT)")
    workspace.settings["YES"] = "1"
    workspace.people(2)
    workspace.do("submit")
    assert "Warning" not in workspace.do("remove-tables", give_up=True).said
    assert {name for name in schema(workspace) if not name.startswith("sqlite_")} == {"orders"}
