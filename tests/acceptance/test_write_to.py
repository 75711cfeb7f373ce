"""`write_to=` writes answers into a table of another program, only to the text they are about."""

from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.database import read_schema, run_sql
from tests.acceptance.product import (
    BATCH_COMMANDS,
    ON_POSTGRESQL,
    Workspace,
    write_declaration,
)
from tests.outside.answers import Json, user_text
from tests.outside.server import Outside

QUERY = "SELECT id, t FROM orders"


@pytest.fixture(name="notes_workspace")
def _notes_workspace(workspace: Workspace, outside_server: Outside) -> Workspace:
    """A workspace for the task `notes`, whose file the test writes."""
    workspace.url = outside_server.url
    workspace.task = "notes"
    workspace.settings["YES"] = "1"
    outside_server.answerer = repeat_text
    return workspace


def repeat_text(request: Json) -> Json:
    """Return an answer that repeats the row's text."""
    return {"v": "said of " + user_text(request).split(">", 1)[1].split("<", 1)[0].strip()}


def declare(
    workspace: Workspace,
    write_to: str,
    *options: str,
    items: str = QUERY,
    prompt: str = "{t}",
    field_type: str = "str",
) -> Path:
    """Write the file of the task."""
    arguments = [f"write_to={write_to!r}", *options]
    text = write_declaration(
        {"v": field_type}, prompt=prompt, items=items, extra_arguments=arguments
    )
    return workspace.write_file("tasks/notes.py", text)


def create_orders(
    workspace: Workspace, *texts: str, name: str = "orders", column: str = "v"
) -> None:
    """Create a table of another program; its rows have no value yet."""
    run_sql(workspace, f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, t TEXT, {column} TEXT)")
    for number, text in enumerate(texts, 1):
        insert = f"INSERT INTO {name} (id, t) VALUES (:id, :t)"  # noqa: S608 - a constant name
        run_sql(workspace, insert, id=number, t=text)


def column_values(workspace: Workspace, name: str = "orders", column: str = "v") -> list[Any]:
    """Return the values of all rows."""
    query = f"SELECT {column} FROM {name} ORDER BY id"  # noqa: S608 - constant names
    return [row[0] for row in run_sql(workspace, query)]


# REFRESH=1 asks about changed rows again.
@pytest.mark.excused("nobody_is_answered_twice")
def test_no_cell_has_an_answer_about_another_text(notes_workspace: Workspace) -> None:
    """A row that changed during a batch gets no old answer; REFRESH=1 updates old values.

    A cell that another program changed stays.
    """
    create_orders(notes_workspace, "a", "b", "c", "d", "e")
    declare(notes_workspace, "orders.v=v")
    notes_workspace.run_commands("submit", "poll")
    run_sql(notes_workspace, "UPDATE orders SET t = 'new b' WHERE id = 2")
    run_sql(notes_workspace, "DELETE FROM orders WHERE id = 3")
    run_sql(notes_workspace, "INSERT INTO orders (id, t) VALUES (3, 'another c')")
    ingest_run = notes_workspace.run_command("ingest")
    assert column_values(notes_workspace) == ["said of a", None, None, "said of d", "said of e"]
    assert "2, 3" in ingest_run.output
    assert notes_workspace.state_counts() == {"answered": 5}

    run_sql(notes_workspace, "UPDATE orders SET t = 'new d' WHERE id = 4")
    run_sql(notes_workspace, "UPDATE orders SET t = 'new e', v = 'theirs' WHERE id = 5")
    notes_workspace.run_command("tag", mode="live")
    assert notes_workspace.status()["stale"]["count"] == 4
    assert column_values(notes_workspace) == ["said of a", None, None, "said of d", "theirs"]
    notes_workspace.run_command("tag", mode="live", refresh=True)
    assert column_values(notes_workspace) == [
        "said of a",
        "said of new b",
        "said of another c",
        "said of new d",
        "theirs",
    ]
    assert "stale" not in notes_workspace.status()
    assert len(notes_workspace.logged_requests()) == 9


@pytest.mark.parametrize(
    ("write_to", "items", "message"),
    [
        ("nowhere.v=v", QUERY, "nowhere.v"),
        ("orders.w=v", QUERY, "orders.w"),
        ("orders.v=v", "SELECT id, u FROM orders", "u"),
        ("orders.v=v", "notes.csv", "notes.csv"),
    ],
)
def test_wrong_target_is_refused_before_any_table_is_added(
    tmp_path: Path, write_to: str, items: str, message: str
) -> None:
    """A task that cannot run adds no table to the database of another program."""
    workspace = Workspace(tmp_path / "here", task="notes", settings={"YES": "1"})
    create_orders(workspace, "a")
    declare(workspace, write_to, items=items)
    schema_before = read_schema(workspace)

    for verb in ("submit", "tag"):
        assert message in workspace.run_command(verb, code="any").stderr
    assert read_schema(workspace) == schema_before


@pytest.mark.parametrize(
    ("column_type", "field_type", "message"),
    [
        ("TEXT NOT NULL DEFAULT ''", "str", "`orders.v` is NOT NULL"),
        pytest.param(
            "INTEGER",
            "float",
            "`v` stores whole numbers",
            marks=pytest.mark.skipif(not ON_POSTGRESQL, reason="SQLite rounds nothing"),
        ),
    ],
)
def test_column_that_cannot_show_the_answers_is_refused_before_anything_is_asked(
    tmp_path: Path, column_type: str, field_type: str, message: str
) -> None:
    """Only NULL cells are filled, and PostgreSQL would round fractions without a message."""
    workspace = Workspace(tmp_path / "here", task="notes", settings={"YES": "1"})
    run_sql(workspace, f"CREATE TABLE orders (id INTEGER PRIMARY KEY, t TEXT, v {column_type})")
    run_sql(workspace, "INSERT INTO orders (id, t) VALUES (1, 'a')")
    declare(workspace, "orders.v=v", field_type=field_type)
    schema_before = read_schema(workspace)

    for verb in ("submit", "tag"):
        assert message in workspace.run_command(verb, code=2).stderr
    assert read_schema(workspace) == schema_before


def test_tables_are_named_with_a_schema_and_in_quotation_marks(notes_workspace: Workspace) -> None:
    """Names of tables and columns may have quotation marks and a schema."""
    create_orders(notes_workspace, "a", name='"My orders.2"', column='"The value"')
    items = 'SELECT id, t FROM "My orders.2"'
    if ON_POSTGRESQL:
        run_sql(notes_workspace, "CREATE SCHEMA IF NOT EXISTS shop")
        run_sql(notes_workspace, 'ALTER TABLE "My orders.2" SET SCHEMA shop')
    table_name = '"My orders.2"'
    table_name = f"shop.{table_name}" if ON_POSTGRESQL else table_name
    declare(
        notes_workspace,
        f'{table_name}."The value"=v',
        items=items.replace('"My orders.2"', table_name),
    )
    notes_workspace.run_commands(*BATCH_COMMANDS)
    assert column_values(notes_workspace, table_name, '"The value"') == ["said of a"]


def test_a_record_without_texts_is_rolled_back(
    notes_workspace: Workspace, outside_server: Outside
) -> None:
    """A record whose fields are all numbers is deleted with its answer, like other records."""
    outside_server.answerer = lambda _: {"stars": 2}
    create_orders(notes_workspace, "a")
    columns = "order_id INTEGER, provider TEXT, model TEXT, stars INTEGER, created_at TEXT"
    run_sql(notes_workspace, f"CREATE TABLE order_ai ({columns})")
    text = write_declaration(
        {"stars": "int"},
        prompt="{t}",
        items=QUERY,
        extra_arguments=['write_to="order_ai.order_id"'],
    )
    notes_workspace.write_file("tasks/notes.py", text)
    notes_workspace.run_commands(*BATCH_COMMANDS)
    query = "SELECT stars FROM order_ai"
    assert run_sql(notes_workspace, query) == [(2,)]

    notes_workspace.run_command("rollback", "notes@1")
    assert run_sql(notes_workspace, query) == []


def test_removed_answers_leave_the_column(notes_workspace: Workspace) -> None:
    """Forgetting a row and a rollback clear the cells that askrows wrote; `forget` names others."""
    create_orders(notes_workspace, "a", "b", "c", "d")
    declare(notes_workspace, "orders.v=v")
    notes_workspace.run_command("tag", mode="live")
    notes_workspace.run_command("correct", row="1", set="v=mine")
    run_sql(notes_workspace, "UPDATE orders SET v = 'theirs' WHERE id = 2")
    assert column_values(notes_workspace) == ["mine", "theirs", "said of c", "said of d"]

    no_values = {"place": "", "rows": 0}
    for number in ("1", "3"):
        assert notes_workspace.read_json("forget", row=number)["kept_values"] == no_values
    forget_run = notes_workspace.run_command("forget", row="2")
    assert "orders.v still has a value for 1 row, which" in forget_run.stdout
    assert column_values(notes_workspace) == [None, "theirs", None, "said of d"]
    notes_workspace.run_command("rollback", "notes@1")
    assert column_values(notes_workspace) == [None, "theirs", None, None]


def test_column_shows_the_preferred_answer(
    notes_workspace: Workspace, outside_server: Outside
) -> None:
    """After a rollback, cells of askrows show the answers of the other version."""
    create_orders(notes_workspace, "a", "b")
    declare(notes_workspace, "orders.v=v")
    notes_workspace.run_command("tag", mode="live")

    outside_server.answerer = lambda _: {"v": "second"}
    declare(notes_workspace, "orders.v=v", "version=2")
    notes_workspace.run_command("tag", mode="live")
    assert column_values(notes_workspace) == ["second", "second"]

    run_sql(notes_workspace, "UPDATE orders SET v = 'theirs' WHERE id = 2")
    notes_workspace.run_command("rollback", "notes@2")
    assert column_values(notes_workspace) == ["said of a", "theirs"]


# REFRESH=1 asks about changed rows again.
@pytest.mark.excused("nobody_is_answered_twice")
def test_a_record_is_replaced_after_an_answer_that_came_too_late(
    notes_workspace: Workspace,
) -> None:
    """An answer to an earlier text is not written, and does not protect the record before it."""
    create_orders(notes_workspace, "a")
    columns = "order_id INTEGER, provider TEXT, model TEXT, v TEXT, created_at TEXT"
    run_sql(notes_workspace, f"CREATE TABLE order_ai ({columns})")
    declare(notes_workspace, "order_ai.order_id")
    notes_workspace.run_commands(*BATCH_COMMANDS)

    run_sql(notes_workspace, "UPDATE orders SET t = 'b'")
    notes_workspace.run_command("submit", refresh=True)
    run_sql(notes_workspace, "UPDATE orders SET t = 'c'")
    notes_workspace.run_commands("poll", "ingest")
    query = "SELECT v FROM order_ai"
    assert run_sql(notes_workspace, query) == [("said of a",)]

    notes_workspace.run_command("tag", mode="live", refresh=True)
    assert run_sql(notes_workspace, query) == [("said of c",)]
