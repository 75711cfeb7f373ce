"""`remove-tables` restores the database of another program, except for written answers."""

import pytest

from tests.acceptance.database import connect, read_schema, run_sql
from tests.acceptance.product import Workspace, write_declaration


@pytest.mark.parametrize("kind", ["own", "people"])
def test_only_tables_of_askrows_are_removed(
    tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    """Written values stay; a running batch, a missing yes or a foreign key refuses the command."""
    workspace = Workspace(tmp_path_factory.mktemp("here") / "home")
    run_sql(workspace, "CREATE TABLE orders (id INTEGER PRIMARY KEY, t TEXT, v TEXT)")
    run_sql(workspace, "INSERT INTO orders VALUES (1, 'a kettle that leaks', NULL)")
    if kind == "people":
        columns = "id INTEGER PRIMARY KEY, username TEXT UNIQUE, bio TEXT"
        run_sql(workspace, f"CREATE TABLE experts ({columns})")
        run_sql(
            workspace, "INSERT INTO experts VALUES (1, 'ada', 'I keep bees and teach water law.')"
        )
    schema_before = read_schema(workspace)
    arguments = ['write_to="orders.v=v"']
    workspace.write_file(
        "tasks/notes.py",
        write_declaration(
            {"v": "str"}, prompt="{t}", items="SELECT id, t FROM orders", extra_arguments=arguments
        ),
    )
    workspace.task = "notes" if kind == "own" else ""

    workspace.run_command("submit", yes=True)
    assert "batches are not over" in workspace.run_command("remove-tables", yes=True, code=2).stderr
    workspace.run_commands("poll", "ingest")
    assert "not confirmed" in workspace.run_command("remove-tables", code=2).stderr

    # A table of another program refers to a table of askrows.
    reference = "REFERENCES askrows_batches(number) ON DELETE CASCADE"
    with connect(workspace) as connection:
        connection.execute(f"CREATE TABLE theirs (batch INTEGER {reference})")
    assert "theirs" in workspace.run_command("remove-tables", yes=True, code=3).stderr

    run_sql(workspace, "DROP TABLE theirs")
    assert "Warning" not in workspace.run_command("remove-tables", yes=True).output
    schema_after = read_schema(workspace)
    assert schema_after.keys() == schema_before.keys()
    assert schema_after["orders"] == schema_before["orders"]
    [(value,)] = run_sql(workspace, "SELECT v FROM orders")
    assert (value is None) == (kind == "people")
    if kind == "people":
        assert run_sql(workspace, "SELECT username, tags IS NOT NULL FROM experts") == [
            ("ada", True)
        ]
    workspace.try_command("status")
    assert read_schema(workspace) == schema_after


def test_tables_of_people_are_removed_with_the_other_tables(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The command accepts `--give-up` to work while a batch is running."""
    workspace = Workspace(tmp_path_factory.mktemp("here") / "home")
    run_sql(workspace, "CREATE TABLE orders (id INTEGER PRIMARY KEY, t TEXT)")
    workspace.settings["YES"] = "1"
    workspace.import_people(2)
    workspace.run_command("submit")
    assert "Warning" not in workspace.run_command("remove-tables", give_up=True).output
    assert {name for name in read_schema(workspace) if not name.startswith("sqlite_")} == {"orders"}
