"""Rows come back as they went in: every row and column of a file or of another database joins by its key."""

import csv
import hashlib
import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from python_calamine import load_workbook
from xlsxwriter import Workbook as Book

from tests import postgresql
from tests.acceptance.product import ON_POSTGRESQL, Workspace, declaration

NAMES = ("Ticket Nr.", "Kunde", "topic", "Betrag €", "説明", "text", "=leer")
TABLE = (
    ("T-9", "Ada Böhm", "old", "-12.50", "湯が漏れる", "the kettle leaks", ""),
    ("T-1", "@bo", "=1+1", "+3", "", "a lamp that hums", " kept "),
    ("T-5", "Cy", "", "007", "x", "", "x"),
)
KEYS = [row[0] for row in TABLE]


def put_table(workspace: Workspace, kind: str) -> None:
    """Write the table beside the task's file, or into another database, in which its rows stand in this order."""
    path = workspace.home / f"tickets.{kind}"
    told = [dict(zip(NAMES, row, strict=True)) for row in TABLE]
    if kind == "csv":
        lines = "".join(f"{','.join(row)}\n" for row in (NAMES, *TABLE))
        workspace.put(path.name, lines)
    elif kind == "jsonl":
        workspace.put(path.name, "".join(f"{json.dumps(row)}\n" for row in told))
    elif kind == "xlsx":
        put_book(path, {"Eins": [NAMES, *TABLE]})
    else:
        columns = ", ".join(f'"{name}" TEXT' for name in NAMES)
        rows = ", ".join(f"({', '.join(repr(cell) for cell in row)})" for row in TABLE)
        for statement in (
            f"CREATE TABLE tickets ({columns})",
            f"INSERT INTO tickets VALUES {rows}",  # noqa: S608 - ours
        ):
            other(workspace, statement)


def put_book(path: Path, sheets: Mapping[str, Any], **cells: Any) -> None:
    """Write a workbook of texts; `cells` are called with the first sheet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Book(path) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                for column, cell in enumerate(row):
                    sheet.write_string(number, column, cell)
        for put in cells.values():
            put(book.worksheets()[0])


def other(workspace: Workspace, statement: str) -> None:
    """Run a statement in the other database, as its own program does."""
    if ON_POSTGRESQL:
        postgresql.rows(source(workspace), statement)
        return
    workspace.home.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(workspace.home / "other.db")
    connection.execute("PRAGMA journal_mode = WAL")
    with connection:
        connection.execute(statement)
    connection.close()


def source(workspace: Workspace) -> str:
    """Return the address of the other database."""
    return (
        postgresql.database_of(workspace.home)
        if ON_POSTGRESQL
        else f"sqlite:///{workspace.home / 'other.db'}"
    )


def read_back(path: Path) -> list[dict[str, Any]]:
    """Return the rows of an export under the names of its header, what is blank as an empty text."""
    if path.suffix == ".xlsx":
        names, *rows = load_workbook(path).get_sheet_by_index(0).to_python()
        return [dict(zip(map(str, names), row, strict=True)) for row in rows]
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("kind", "to"), [("csv", "xlsx"), ("xlsx", "csv"), ("jsonl", "jsonl"), ("query", "csv")]
)
def test_every_row_and_column_comes_back(workspace: Workspace, kind: str, to: str) -> None:
    """Also one that is not asked about, in the source's order, under its names; a field that is called alike is not.

    A second export replaces the file only when it is told to, and makes no folder.
    """
    put_table(workspace, kind)
    workspace.task = "tickets"
    query = ("SELECT * FROM tickets", 'source="$TICKETS_URL"')
    items, more = (f"../tickets.{kind}", ()) if kind != "query" else (query[0], query[1:])
    workspace.put(".env", f"TICKETS_URL={source(workspace)}\n")
    text = declaration(
        {"topic": "str"}, prompt="About: {text}", items=items, more=['key="Ticket Nr."', *more]
    )
    workspace.put("tasks/tickets.py", text)
    workspace.do("tag", mode="live", yes=True)
    export_run = workspace.do("export", f"out.{to}")
    assert "wrote tickets@1/" in export_run.err
    found = read_back(workspace.home / f"out.{to}")
    assert list(found[0])[: len(NAMES)] == [
        f"'{name}" if to == "csv" and name[0] in "=@" else name for name in NAMES
    ]
    marks = (lambda cell: f"'{cell}" if cell[:1] in ("=", "@") else cell) if to == "csv" else str
    assert [tuple(row.values())[: len(NAMES)] for row in found] == [
        tuple(map(marks, row)) for row in TABLE
    ]
    assert [bool(row["answer_topic"]) for row in found] == [True, True, False]
    assert [
        one["Ticket Nr."] for one in workspace.read("items", fields="Ticket Nr.")["items"]
    ] == KEYS
    assert workspace.read("show", item="T-9")["columns"]["Kunde"] == "Ada Böhm"
    assert "OVERWRITE=1" in workspace.do("export", f"out.{to}", code=2).err.replace(
        "--overwrite", "OVERWRITE=1"
    )
    workspace.do("export", f"out.{to}", overwrite=True)
    assert "there is no folder none" in workspace.do("export", f"none/out.{to}", code=2).err


def put_part(workspace: Workspace, path: str, rows: list[Any]) -> None:
    """Write a file of Parquet, and the folders it is in."""
    (workspace.home / path).parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), workspace.home / path)


@pytest.mark.alike
def test_a_folder_of_parquet_files_is_read_as_one(workspace: Workspace) -> None:
    """What its folders are called are columns; a file more is read, and one that went takes its rows along."""
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
    text = declaration({"topic": "str"}, prompt="In {year}: {text}", items="../tickets")
    workspace.put("tasks/tickets.py", text)
    assert "rows: 2 new" in workspace.do("tag", mode="live", yes=True).err
    put_part(workspace, "tickets/year=2025/part-1.parquet", [{"id": 3, "text": "a chair rocks"}])
    (workspace.home / "tickets/year=2024/team=a%20b/part-0.parquet").unlink()
    assert "rows: 1 new, 1 gone" in workspace.do("tag", mode="live", yes=True).err
    assert "rows:" not in workspace.do("tag", mode="live", yes=True).err
    workspace.do("export", "out.parquet", gone=True)
    found = parquet.read_table(workspace.home / "out.parquet").to_pylist()
    assert [(one["id"], one["year"], one["team"], one["price"]) for one in found] == [
        (1, 2024, "a b", None),
        (2, 2025, None, 1.5),
        (3, 2025, None, None),
    ]
    assert all(one["topic"] for one in found)
    workspace.task = "experts"
    put_part(
        workspace, "people/category=bees/1.parquet", [{"username": "ada", "bio": "Ada keeps bees"}]
    )
    workspace.do("import", "people")
    assert [(one["Username"], one["category"]) for one in workspace.exported()] == [("ada", "bees")]
    (workspace.home / "people/category=bees/1.parquet").write_bytes(b"PAR1, and no more")
    assert "1.parquet cannot be read as Parquet" in workspace.do("import", "people", code=2).err
    (workspace.home / "people/category=bees/1.parquet").unlink()
    assert "is a directory" in workspace.do("import", "people", code=2).err


def test_people_get_back_what_their_file_says_beside(workspace: Workspace) -> None:
    """The same twice, and of each their own; an address that names them is there, too; who is forgotten is so whole."""
    head = "E-Mail;Über mich;Tel.;Notiz;tags"
    rows = [
        f"{name}@x.example;{name} keeps bees;+49 1 {name};{name}-note;mine"
        for name in ("ada", "bo")
    ]
    workspace.put("people.csv", "\n".join([head, *rows]))
    error_output = workspace.do("import", "people.csv", map="username=E-Mail").err
    assert "kept for an export: Tel., Notiz" in error_output
    for more, updated in (("", 0), ("", 0), ("x", 1)):
        workspace.put(
            "people.csv",
            "\n".join([head, rows[0], f"{rows[1]}"]).replace("bo-note", f"bo-note{more}"),
        )
        assert workspace.read("import", "people.csv", map="username=E-Mail")["updated"] == updated
    workspace.do("tag", mode="live", yes=True)
    found = workspace.exported()
    assert [tuple(one)[-5:] for one in found] == [
        ("E-Mail", "Tel.", "Notiz", "state", "reason")
    ] * 2
    assert [(one["Username"], one["E-Mail"], one["Notiz"]) for one in found] == [
        ("ada@x.example", "ada@x.example", "ada-note"),
        ("bo@x.example", "bo@x.example", "bo-notex"),
    ]
    workspace.do("export", "all.xlsx")
    workspace.do("import", "all.xlsx")
    assert workspace.exported() == found
    workspace.do("forget", "ada@x.example", yes=True)
    assert [one["E-Mail"] for one in workspace.exported()] == ["bo@x.example"]
    if not ON_POSTGRESQL:
        assert b"ada-note" not in (workspace.data / "findable.db").read_bytes()


@pytest.mark.alike
def test_a_workbook_is_read_as_it_is_seen(workspace: Workspace) -> None:
    """One sheet, which is said; merged cells have their value in each, a formula without a value is named."""
    rows = [("Nr.", "Gruppe", "Bio"), *((f"p{n}", "", f"person {n} keeps bees") for n in range(3))]
    put_book(
        workspace.home / "p.xlsx",
        {"Erste": rows, "Zweite": [("username", "bio"), ("z", "Zoe casts bells")], "Leer": []},
        merge=lambda sheet: sheet.merge_range(1, 1, 3, 1, "Imker"),
        formula=lambda sheet: sheet.write_formula(3, 2, "=1+1", None, ""),
    )
    error_output = workspace.do("import", "p.xlsx", map="username=Nr.").err
    for words in (
        "the sheet 'Erste' is read, of 'Erste', 'Zweite', 'Leer'",
        "merged cells: 1",
        "worked out: C4",
    ):
        assert words in error_output
    assert [(one["Username"], one["category"]) for one in workspace.exported()] == [
        (f"p{n}", "Imker") for n in range(3)
    ]
    workspace.do("import", "p.xlsx", sheet="Zweite")
    assert "z" in workspace.tags()
    assert (
        "there are 'Erste', 'Zweite', 'Leer'"
        in workspace.do("import", "p.xlsx", sheet="Dritte", code=2).err
    )
    put_book(
        workspace.home / "f.xlsx",
        {"A": rows},
        merge=lambda sheet: sheet.write_string(1_048_575, 16_383, "x"),
    )
    assert (
        "as far out as column XFD and row 1,048,576" in workspace.do("import", "f.xlsx", code=2).err
    )
    put_book(
        workspace.home / "m.xlsx",
        {"A": rows},
        merge=lambda sheet: sheet.merge_range(0, 0, 0, 2, "Personal"),
    )
    assert "merged cells in its header, row 1" in workspace.do("import", "m.xlsx", code=2).err


def test_another_database_is_only_read(workspace: Workspace) -> None:
    """No file of it changes and none comes beside it; a second row of a key is refused, as are a write, no database."""
    put_table(workspace, "query")
    workspace.settings["YES"] = "1"
    if not ON_POSTGRESQL:
        seen = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in workspace.home.glob("other.db*")
        }
    name = "tickets"
    address = source(workspace)
    workspace.put(".env", f"{name}_url={address}\n")
    said = workspace.do(
        "new_task", name, source=f"${name}_url", **{"from": "SELECT * FROM tickets"}
    ).out
    assert "key: 'Ticket Nr.'" in said
    workspace.do("tag", TASK=name, mode="live")
    if not ON_POSTGRESQL:
        assert seen == {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in workspace.home.glob("other.db*")
        }
    file = workspace.home / "tasks" / f"{name}.py"
    text = file.read_text(encoding="utf-8")
    other(workspace, "INSERT INTO tickets (\"Ticket Nr.\", text) VALUES ('T-1', 'again')")
    said = workspace.do("preflight", TASK=name).err
    assert "the query of tickets, row 4, column 'Ticket Nr.': the key is on line 2, too" in said
    assert workspace.status(TASK=name)["tickets"]["refused"] == 1
    file.write_text(text.replace("SELECT *", "WITH x AS (SELECT 1) DELETE"), encoding="utf-8")
    workspace.do("preflight", TASK=name, code=2)
    workspace.put(".env", f"{name}_url={address}-gone\n")
    assert "the database of source=" in workspace.do("preflight", TASK=name, code="any").err
