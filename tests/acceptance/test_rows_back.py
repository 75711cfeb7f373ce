"""Exports contain each row and column of a file or of another database under its key."""

import csv
import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from python_calamine import load_workbook

from tests import postgresql
from tests.acceptance.product import ON_POSTGRESQL, Workspace, write_declaration
from tests.acceptance.table_files import put_book

NAMES = ("Ticket Nr.", "Kunde", "topic", "Betrag €", "説明", "text", "=leer")
TABLE = (
    ("T-9", "Ada Böhm", "old", "-12.50", "湯が漏れる", "the kettle leaks", ""),
    ("T-1", "@bo", "=1+1", "+3", "", "a lamp that hums", " kept "),
    ("T-5", "Cy", "", "007", "x", "", "x"),
)
KEYS = [row[0] for row in TABLE]


def put_table(workspace: Workspace, kind: str) -> None:
    """Write the table as a file in the workspace, or into another database in this order."""
    path = workspace.home / f"tickets.{kind}"
    records = [dict(zip(NAMES, row, strict=True)) for row in TABLE]
    if kind == "csv":
        lines = "".join(f"{','.join(row)}\n" for row in (NAMES, *TABLE))
        workspace.write_file(path.name, lines)
    elif kind == "jsonl":
        workspace.write_file(path.name, "".join(f"{json.dumps(row)}\n" for row in records))
    elif kind == "xlsx":
        put_book(path, {"Eins": [NAMES, *TABLE]})
    else:
        columns = ", ".join(f'"{name}" TEXT' for name in NAMES)
        rows = ", ".join(repr(row) for row in TABLE)
        for statement in (
            f"CREATE TABLE tickets ({columns})",
            f"INSERT INTO tickets VALUES {rows}",  # noqa: S608 - constant values
        ):
            run_in_source(workspace, statement)


def run_in_source(workspace: Workspace, statement: str) -> None:
    """Run a statement in the other database, as its own program does."""
    if ON_POSTGRESQL:
        postgresql.rows(source_url(workspace), statement)
        return
    workspace.home.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(workspace.home / "other.db")
    connection.execute("PRAGMA journal_mode = WAL")
    with connection:
        connection.execute(statement)
    connection.close()


def source_url(workspace: Workspace) -> str:
    """Return the address of the other database."""
    return (
        postgresql.database_of(workspace.home)
        if ON_POSTGRESQL
        else f"sqlite:///{workspace.home / 'other.db'}"
    )


def read_back(path: Path) -> list[dict[str, Any]]:
    """Return the rows of an export by the names of its header; blank cells are empty texts."""
    if path.suffix == ".xlsx":
        names, *rows = load_workbook(path).get_sheet_by_index(0).to_python()
        return [dict(zip(map(str, names), row, strict=True)) for row in rows]
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def list_ways_to(path: Path, folder: Path) -> list[Path]:
    """Return a path, a new link to it, and a hard link if it is a file."""
    folder.mkdir()
    soft_link = folder / "soft.csv"
    soft_link.symlink_to(path)
    if not path.is_file():
        return [path, soft_link]
    hard_link = folder / "hard.csv"
    hard_link.hardlink_to(path)
    return [path, soft_link, hard_link]


@pytest.mark.alike
def test_no_command_replaces_a_file_that_the_workspace_needs(workspace: Workspace) -> None:
    """Database, folders, task files, sources and vocabularies are refused, also by any link."""
    workspace.settings["YES"] = "1"
    workspace.write_file(".env", f"TICKETS_URL={source_url(workspace)}\n")
    people = workspace.write_file("people.csv", "Username,Bio\nada,I keep bees.\n")
    for task, kind, items, source in (
        ("filed", "csv", "../tickets.csv", ""),
        ("queried", "query", "SELECT * FROM tickets", "$TICKETS_URL"),
    ):
        put_table(workspace, kind)
        workspace.write_file(f"terms/{task}.csv", "term,description,aliases\nlamps,,\n")
        text = write_declaration(
            {"topic": f"Annotated[str, Vocabulary('../terms/{task}.csv')]"},
            prompt="About: {text}",
            items=items,
            extra_arguments=['key="Ticket Nr."', f"source={source!r}"],
        )
        imports = "from typing import Annotated\nfrom askrows import Vocabulary\n"
        workspace.write_file(f"tasks/{task}.py", imports + text)
        workspace.run_command("tag", mode="live", TASK=task)

    workspace.task = "filed"
    names = [
        "tickets.csv",
        "terms/filed.csv",
        "terms/queried.csv",
        "tasks/queried.py",
        ".env",
        "data/askrows.db",
        "data/askrows.db-wal",
        "data/index/x",
        "data/dropped/x",
    ]
    if not ON_POSTGRESQL:
        names += ["other.db", "other.db-wal"]
    for number, name in enumerate(names):
        for target in list_ways_to(workspace.home / name, workspace.home / f"links-{number}"):
            workspace.run_command("export", target, format="csv", overwrite=True, code=2)
    workspace.run_command("items", to="tickets.csv", overwrite=True, code=2)
    workspace.run_command("import", people, report="tickets.csv", code=2, TASK="")
    workspace.run_command("backup", "data/batches/copy", code=2)

    workspace.run_command("export", "data/answers.csv", overwrite=True)
    workspace.run_command("tag", mode="live", TASK="queried")
    assert workspace.state_counts() == {"answered": 2, "empty": 1}


@pytest.mark.parametrize(
    ("kind", "suffix"), [("csv", "xlsx"), ("xlsx", "csv"), ("jsonl", "jsonl"), ("query", "csv")]
)
def test_every_row_and_column_comes_back(workspace: Workspace, kind: str, suffix: str) -> None:
    """The export has all columns, also unsent columns, in the source's order and names.

    A field of the answer with the name of a column gets a prefix. A second export replaces the file
    only with OVERWRITE=1, and no export creates a folder. A list of rows is written to the same
    formats.
    """
    put_table(workspace, kind)
    workspace.task = "tickets"
    items = f"../tickets.{kind}"
    arguments = ['key="Ticket Nr."']
    if kind == "query":
        items = "SELECT * FROM tickets"
        arguments.append('source="$TICKETS_URL"')
    workspace.write_file(".env", f"TICKETS_URL={source_url(workspace)}\n")
    text = write_declaration(
        {"topic": "str"}, prompt="About: {text}", items=items, extra_arguments=arguments
    )
    workspace.write_file("tasks/tickets.py", text)
    workspace.run_command("tag", mode="live", yes=True)

    workspace.run_command("export", f"out.{suffix}")
    rows = read_back(workspace.home / f"out.{suffix}")
    mark_cell = mark_formula if suffix == "csv" else str
    assert list(rows[0])[: len(NAMES)] == list(map(mark_cell, NAMES))
    source_cells = [tuple(row.values())[: len(NAMES)] for row in rows]
    assert source_cells == [tuple(map(mark_cell, row)) for row in TABLE]
    assert [bool(row["answer_topic"]) for row in rows] == [True, True, False]
    listing = workspace.read_json("items", fields="Ticket Nr.")
    assert [row["Ticket Nr."] for row in listing["rows"]] == KEYS
    workspace.run_command("items", to=f"items.{suffix}")
    written_rows = read_back(workspace.home / f"items.{suffix}")
    assert [row["Ticket Nr."] for row in written_rows] == KEYS
    assert workspace.read_json("show", row="T-9")["columns"]["Kunde"] == "Ada Böhm"

    workspace.run_command("export", f"out.{suffix}", code=2)
    workspace.run_command("export", f"out.{suffix}", overwrite=True)
    workspace.run_command("export", f"none/out.{suffix}", code=2)


def mark_formula(cell: str) -> str:
    """Return a cell as CSV has it, with an apostrophe before the sign of a formula."""
    return f"'{cell}" if cell.startswith(("=", "@")) else cell


def put_part(workspace: Workspace, path: str, rows: list[Any]) -> None:
    """Write a Parquet file and its folders."""
    (workspace.home / path).parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), workspace.home / path)


@pytest.mark.alike
def test_folder_of_parquet_files_is_read_as_a_table(workspace: Workspace) -> None:
    """Names of folders become columns; files that come and go bring and remove rows."""
    put_part(
        workspace,
        "tickets/year=2024/team=a%20b/part-0.parquet",
        [{"id": 1, "text": "the kettle leaks"}],
    )
    put_part(
        workspace,
        "tickets/year=2025/part-0.parquet",
        [{"id": 2, "text": "a lamp hums", "price": 1.5}],
    )
    workspace.task = "tickets"
    text = write_declaration({"topic": "str"}, prompt="In {year}: {text}", items="../tickets")
    workspace.write_file("tasks/tickets.py", text)
    assert "rows: 2 new" in workspace.run_command("tag", mode="live", yes=True).stderr

    put_part(workspace, "tickets/year=2025/part-1.parquet", [{"id": 3, "text": "a chair rocks"}])
    (workspace.home / "tickets/year=2024/team=a%20b/part-0.parquet").unlink()
    assert "rows: 1 new, 1 gone" in workspace.run_command("tag", mode="live", yes=True).stderr
    assert "rows:" not in workspace.run_command("tag", mode="live", yes=True).stderr

    workspace.run_command("export", "out.parquet", gone=True)
    rows = parquet.read_table(workspace.home / "out.parquet").to_pylist()
    # The column of a folder name that is gone is in no export.
    assert [(row["id"], row["year"], row["price"]) for row in rows] == [
        (1, 2024, None),
        (2, 2025, 1.5),
        (3, 2025, None),
    ]
    assert all(row["topic"] for row in rows)

    # People are read from a folder in the same way.
    workspace.task = "experts"
    put_part(
        workspace, "people/category=bees/1.parquet", [{"username": "ada", "bio": "Ada keeps bees"}]
    )
    workspace.run_command("import", "people")
    assert [(row["Username"], row["category"]) for row in workspace.exported_rows()] == [
        ("ada", "bees")
    ]
    (workspace.home / "people/category=bees/1.parquet").write_bytes(b"PAR1, and no more")
    workspace.run_command("import", "people", code=2)


@pytest.mark.alike
def test_people_keep_further_columns_of_their_file(workspace: Workspace) -> None:
    """Unknown columns and the key column are exported for each person.

    A second import of equal rows changes nothing, and a forgotten person's columns are deleted.
    """
    head = "E-Mail;Über mich;Tel.;Notiz;tags"
    lines = [
        f"{name}@x.example;{name} keeps bees;+49 1 {name};{name}-note;mine"
        for name in ("ada", "bo")
    ]
    workspace.write_file("people.csv", "\n".join([head, *lines]))
    workspace.run_command("import", "people.csv", map="username=E-Mail")

    for suffix, updated_count in (("", 0), ("", 0), ("x", 1)):
        text = "\n".join([head, *lines]).replace("bo-note", f"bo-note{suffix}")
        workspace.write_file("people.csv", text)
        import_document = workspace.read_json("import", "people.csv", map="username=E-Mail")
        assert import_document["updated"] == updated_count

    workspace.run_command("tag", mode="live", yes=True)
    rows = workspace.exported_rows()
    other_names = {"E-Mail", "Tel.", "Notiz", "tags", "state", "reason"}
    assert all(other_names <= row.keys() for row in rows)
    assert [(row["Username"], row["E-Mail"], row["Notiz"]) for row in rows] == [
        ("ada@x.example", "ada@x.example", "ada-note"),
        ("bo@x.example", "bo@x.example", "bo-notex"),
    ]

    workspace.run_command("export", "all.xlsx")
    workspace.run_command("import", "all.xlsx")
    assert workspace.exported_rows() == rows

    workspace.run_command("forget", "ada@x.example", yes=True)
    assert [row["E-Mail"] for row in workspace.exported_rows()] == ["bo@x.example"]
    if not ON_POSTGRESQL:
        assert b"ada-note" not in (workspace.data / "askrows.db").read_bytes()


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of the other database; empty on a server."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("other.db*")
    }


@pytest.mark.promise("databases")
def test_another_database_is_only_read(workspace: Workspace) -> None:
    """No file of the database changes or is added.

    A double key, a statement that writes, and a missing database are refused.
    """
    put_table(workspace, "query")
    workspace.settings["YES"] = "1"
    # A command that writes would change the file or add a journal.
    hashes_before = file_hashes(workspace.home)
    name = "tickets"
    address = source_url(workspace)
    workspace.write_file(".env", f"{name}_url={address}\n")
    workspace.run_command(
        "new_task", name, source=f"${name}_url", **{"from": "SELECT * FROM tickets"}
    )
    workspace.run_command("tag", TASK=name, mode="live")
    assert file_hashes(workspace.home) == hashes_before

    task_file = workspace.home / "tasks" / f"{name}.py"
    text = task_file.read_text(encoding="utf-8")
    run_in_source(workspace, "INSERT INTO tickets (\"Ticket Nr.\", text) VALUES ('T-1', 'again')")
    workspace.run_command("preflight", TASK=name)
    assert workspace.status(TASK=name)["tickets"]["refused"] == 1
    exported = workspace.run_command("export", to="-", TASK=name).stdout
    assert "row 4: the key is already on row 2" in exported

    # A query that writes and a missing database are refused.
    task_file.write_text(text.replace("SELECT *", "WITH x AS (SELECT 1) DELETE"), encoding="utf-8")
    workspace.run_command("preflight", TASK=name, code=2)
    workspace.write_file(".env", f"{name}_url={address}-gone\n")
    output = workspace.run_command("preflight", TASK=name, code="any").stderr
    assert "the database of source=" in output
