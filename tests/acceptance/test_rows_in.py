"""Every row of a table comes in as it was written, or is refused by its line; what is not certain is told and named."""

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pyarrow as pa
import pytest
from pyarrow import parquet
from xlsxwriter import Workbook as Book

from tests.acceptance.database import sql
from tests.acceptance.engine import Engine
from tests.acceptance.process import LONGEST_S
from tests.acceptance.product import ON_POSTGRESQL, Workspace, declaration
from tests.acceptance.test_python import script
from tests.acceptance.test_rows_back import put_book

FRENCH = "id;text\n1;Café fermé à 18 h, très déçu\n"
POLISH = "id;text\n1;Łódź się spóźniła, obsługa była zła\n"
TITLED = "Report of May\n\nid,text,city\n1,The boat was late,Rome\n2,It was on time,Oslo\n"
UNNAMED = "1,The boat was late\n2,On time\n3,Never came\n"
LONG = 'He said ""no"",\nand then,\n'
MANY = 60
DROP = "/api/imports"


def declare(workspace: Workspace, items: str, *, name: str = "boats") -> None:
    """Declare a task about a file or a query."""
    workspace.put(f"tasks/{name}.py", declaration({"topic": "str"}, prompt="{text}", items=items))
    workspace.task = name


def texts(workspace: Workspace) -> list[str]:
    """Return the texts of the task's rows as they are exported, except refused rows."""
    return [row["text"] for row in workspace.exported() if row["state"] != "refused"]


def read_file(client: httpx2.Client, number: int) -> dict[str, Any]:
    """Wait until the page has read a file, and return what it found."""
    deadline = time.monotonic() + LONGEST_S
    while (found := client.get(f"{DROP}/{number}").json())["state"] == "reading":
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    return dict(found)


def test_a_code_page_is_guessed_shown_and_named(workspace: Workspace, api: Engine) -> None:
    """cp1252, where no other is clearly better; ENCODING= is kept with the task, and read again with it."""
    french = workspace.put("fr.csv", "")
    polish = workspace.put("pl.csv", "")
    french.write_bytes(FRENCH.encode("cp1252"))
    polish.write_bytes(POLISH.encode("cp1250"))
    ask_run = workspace.do("ask", "fr.csv", q="Praise?", fields="topic", json=True)
    assert "Café fermé à 18 h, très déçu" in json.dumps(ask_run.json["tried"], ensure_ascii=False)
    assert "read as cp1252" in ask_run.err
    assert "line 2 is '1;Café fermé à 18 h, très déçu'" in ask_run.err
    assert "--encoding cp1250" in ask_run.err
    assert "Łódź się spóźniła" in workspace.do("ask", "pl.csv", q="Praise?").err
    for name in ("klingon", "hex"):
        assert (
            f"'{name}', which is no encoding"
            in workspace.do("ask", "fr.csv", q="x?", encoding=name, code=2).err
        )
    error_output = workspace.do(
        "new_task", "fr", encoding="utf-8", code=2, **{"from": "fr.csv"}
    ).err
    assert "fr.csv, line 2: byte 14 is no text in utf-8" in error_output
    workspace.do("new_task", "fr", encoding="mac_roman", **{"from": "fr.csv"})
    workspace.task = "fr"
    workspace.do("preflight")
    assert texts(workspace) == [FRENCH.split(";")[2].strip().encode("cp1252").decode("mac_roman")]
    french.write_bytes(FRENCH.encode("mac_roman"))
    workspace.do("preflight")
    assert texts(workspace) == [FRENCH.split(";")[2].strip()]
    workspace.put("people.csv", "").write_bytes(
        "username,bio\nzoë,Elle était gênée\n".encode("cp1252")
    )
    assert "line 2 is 'zoë,Elle était gênée'" in workspace.do("import", "people.csv", TASK="").err
    assert [*workspace.tags()] == ["zoë"]
    workspace.do("import", "people.csv", encoding="cp1257", TASK="")
    assert [*workspace.tags()] == ["zoë", "zoė"]
    assert api.journal()


@pytest.mark.alike
def test_a_cell_above_the_limit_costs_its_own_row(workspace: Workspace) -> None:
    """With line breaks and doubled quotes in it, in CSV and in a JSON list, for tasks and for people."""
    long = LONG * 200_000
    rows = "".join(f'{number},"Boat {number}, late"\n' for number in range(2, MANY + 2))
    workspace.put("boats.csv", f'id,text\n1,"{long}"\n{rows}last,"one ""more"""\n')
    declare(workspace, "../boats.csv")
    error_output = workspace.do("preflight").err
    assert (
        "boats.csv, line 2: longer than 4,194,304 characters; it ends on line 400002"
        in error_output
    )
    assert workspace.states() == {"open": MANY + 1, "refused": 1}
    assert texts(workspace)[-1] == 'one "more"'
    table = [
        {"id": 1, "text": LONG * 300_000},
        *({"id": n, "text": "late"} for n in range(2, MANY + 2)),
    ]
    workspace.put("boats.json", json.dumps(table))
    declare(workspace, "../boats.json", name="listed")
    assert "line 1: longer than 4,194,304 characters" in workspace.do("preflight").err
    assert workspace.states("listed") == {"open": MANY, "refused": 1}
    people = "".join(f"u{number},Keeps bees\n" for number in range(MANY))
    workspace.put("people.csv", f'username,bio\nlong,"{long}"\n{people}')
    assert f"{MANY} people in" in workspace.do("import", "people.csv", TASK="").out


def test_a_row_that_is_no_header_is_refused_and_named(workspace: Workspace, api: Engine) -> None:
    """With the first three lines and what to type; HEADER= is taken everywhere, and kept with the task."""
    workspace.put("titled.csv", TITLED)
    workspace.put("unnamed.csv", UNNAMED)
    rows = [line.split(",") for line in TITLED.split("\n")]
    put_book(workspace.home / "plain.xlsx", {"A": rows})
    put_book(
        workspace.home / "merged.xlsx",
        {"A": rows},
        merge=lambda sheet: sheet.merge_range(0, 0, 0, 2, "Report of May"),
    )
    for name in ("titled.csv", "plain.xlsx", "merged.xlsx"):
        said = workspace.do("ask", name, q="Praise?", code=2).err
        assert "a title above the header, which is on line 3; nothing was read" in said
        assert re.search("line 1 'Report of May', line 2 '', line 3 'id.*text.*city'", said)
        assert "--header 3" in said
        assert "--header none" in said
        ask_document = workspace.read("ask", name, q="Praise?", header=3)
        assert (ask_document["key"], ask_document["text"], ask_document["rows"]) == (
            "id",
            "text",
            2,
        )
    assert (
        "line 1 '1,The boat was late', line 2 '2,On time'"
        in workspace.do("ask", "unnamed.csv", q="x?", code=2).err
    )
    workspace.do("new_task", "boats", header="none", **{"from": "unnamed.csv"})
    workspace.task = "boats"
    workspace.do("preflight")
    assert [row["column_2"] for row in workspace.exported()] == [
        "The boat was late",
        "On time",
        "Never came",
    ]
    workspace.put("unnamed.csv", f"{UNNAMED}4,Again\n")
    workspace.do("preflight")
    assert len(workspace.exported()) == len([*UNNAMED.splitlines(), 4])
    declare(workspace, "../titled.csv", name="titled")
    assert "in a task's file it is header=" in workspace.do("preflight", code=2).err
    workspace.seen.discard("titled")
    workspace.task = "boats"
    workspace.put("people.csv", "All people\n\nusername,bio,city\nada,Keeps bees,Rome\n")
    assert "--header 3" in workspace.do("import", "people.csv", code=2, TASK="").err
    workspace.do("import", "people.csv", header=3, TASK="")
    workspace.put("bare.csv", "bo,Casts bells\n")
    workspace.do("import", "bare.csv", header="none", map="username=column_1,bio=column_2", TASK="")
    assert [*workspace.tags()] == ["ada", "bo"]
    for header, said in (
        ("9", "has nothing on line 9"),
        ("two", "is 'two', and no line of a file"),
    ):
        assert said in workspace.do("ask", "titled.csv", q="x?", header=header, code=2).err
    assert api.journal()


def test_python_and_the_page_take_an_encoding_and_a_header(workspace: Workspace) -> None:
    """As the commands do; of rows that are given neither is taken."""
    workspace.put("titled.csv", "").write_bytes(f"Raport łodzi\n\n{POLISH}".encode("cp1250"))
    found = script(
        workspace,
        """
        open("people.csv", "w").write("bo,Casts bells\\n")
        asked = ws.ask("titled.csv", "Tone?", fields="tone", header=3, encoding="cp1250")
        ws.add("people.csv", header="none", mapping="username=column_1,bio=column_2")
        says = [refusal(ws.ask, rows(1), "Tone?", header=3), refusal(declared, items=rows(1), encoding="cp1250")]
        print(json.dumps([asked.draft.guess.text, asked.tried.items[0].request, says]))
        """,
    )
    text, request, says = found
    assert text == "text"
    assert "Łódź się spóźniła" in json.dumps(request, ensure_ascii=False)
    assert "is of a file" in says[0]
    assert "encoding= is of a file" in says[1]
    assert [*workspace.tags()] == ["bo"]
    content = (workspace.home / "titled.csv").read_bytes()
    with workspace.page() as client:
        for asked, state in (({}, "unreadable"), ({"header": "3", "encoding": "cp1250"}, "ready")):
            sent = client.post(
                DROP, params={"task": "new", "name": "t.csv", **asked}, content=content
            )
            dropped = read_file(client, sent.json()["number"])
            assert dropped["state"] == state, dropped
        assert dropped["first"] == [{"id": "1", "text": POLISH.split(";")[2].strip()}]
        form = client.get("/add").text
        assert 'name="encoding"' in form
        assert 'name="header"' in form


def test_values_of_any_type_come_in(workspace: Workspace) -> None:
    """Times that Python does not have are texts, columns of bytes are left out and named, and NaN is named."""
    nanoseconds = pa.array([1_767_225_600_123_456_789, 0])
    table = {
        "id": [1, 2],
        "text": ["late", "on time"],
        "at": nanoseconds.cast(pa.timestamp("ns")),
        "year": pa.array([-62_167_219_200, 253_402_300_800]).cast(pa.timestamp("s")),
        "photo": [b"\xff\xfea", b"plain"],
        "latin": [b"caf", b"plain"],
    }
    parquet.write_table(pa.table(table), workspace.put("boats.parquet", ""))
    declare(workspace, "../boats.parquet")
    assert (
        "boats: left out, because they hold bytes and no text: 'photo'"
        in workspace.do("preflight").err
    )
    first, second = workspace.exported()
    assert (first["at"], second["at"]) == ("2026-01-01T00:00:00.123456789", "1970-01-01T00:00:00")
    assert (first["year"], second["year"]) == ("0000-01-01T00:00:00", "10000-01-01T00:00:00")
    assert (first["latin"], "photo" in first) == ("caf", False)
    kind, blob = ("BYTEA", "decode('fffe', 'hex')") if ON_POSTGRESQL else ("BLOB", "x'fffe'")
    workspace.settings["YES"] = "1"
    sql(workspace, f"CREATE TABLE tickets (id INTEGER, text TEXT, photo {kind})")
    sql(workspace, f"INSERT INTO tickets VALUES (1, 'late', {blob}), (2, 'on time', NULL)")  # noqa: S608 - ours
    declare(workspace, "SELECT id, text, photo FROM tickets ORDER BY id", name="tickets")
    assert "left out, because they hold bytes and no text: 'photo'" in workspace.do("preflight").err
    assert texts(workspace) == ["late", "on time"]
    if ON_POSTGRESQL:
        times = "DATE '10000-01-01' AS day, TIMESTAMP '0044-03-15 BC' AS bc, TIMESTAMPTZ 'infinity' AS tz"
        declare(
            workspace,
            f"SELECT id, text, {times}, DATE '2026-05-01' FROM tickets",  # noqa: S608
            name="times",
        )
        workspace.do("preflight")
        (row, _) = workspace.exported()
        assert [row[name] for name in ("day", "bc", "tz", "date")] == [
            *("10000-01-01", "0044-03-15 00:00:00 BC", "infinity", "2026-05-01"),
        ]
    declare(workspace, "SELECT id, photo AS text FROM tickets ORDER BY id", name="photos")
    assert "a column of bytes that are no text is left out" in workspace.do("preflight", code=2).err
    workspace.seen.discard("photos")
    lines = [
        '{"id":1,"text":"a","n":NaN}',
        '{"id":2,"text":"b","n":-Infinity}',
        '{"id":3,"text":"c","n":1}',
    ]
    workspace.put("n.jsonl", "\n".join(lines))
    declare(workspace, "../n.jsonl", name="numbers")
    error_output = workspace.do("preflight").err
    assert "line 1: no JSON: NaN at character 24 is no number of JSON" in error_output
    assert "line 2: no JSON: -Infinity at character 24" in error_output
    assert texts(workspace) == ["c"]
    with Book(workspace.home / "rates.xlsx") as book:
        sheet = book.add_worksheet()
        styles = [
            None,
            None,
            *(book.add_format({"num_format": code}) for code in ("0.0%", "$#,##0", "[$-409]0")),
        ]
        for number, cells in enumerate(
            [("id", "text", "rate", "price", "n"), (1, "late", 0.075, 1234.5, 7)]
        ):
            for column, cell in enumerate(cells):
                sheet.write(number, column, cell, styles[column])
    declare(workspace, "../rates.xlsx", name="rates")
    assert "they are shown as percent or money: C2, D2\n" in workspace.do("preflight").err
    assert [(row["rate"], row["price"]) for row in workspace.exported()] == [(0.075, 1234.5)]
    at = datetime(2026, 5, 1, tzinfo=UTC)
    people = pa.table(
        {"username": ["ada"], "bio": ["Keeps bees"], "photo": [b"\xff"], "seen": [at]}
    )
    parquet.write_table(people, workspace.put("people.parquet", ""))
    assert "1 person in" in workspace.do("import", "people.parquet", TASK="").out


def test_refused_rows_are_counted_and_listed(workspace: Workspace) -> None:
    """Three are shown; what lists all is named, and lists all."""
    rows = "".join(f"{number},a,b\n" for number in range(5))
    workspace.put("boats.csv", f"id,text\n{rows}9,late\n")
    done = workspace.do("ask", "boats.csv", q="Tone?").err
    assert done.count("wrong number of fields") == len("abc")
    assert "5 rows are refused; 3 are shown, --refused lists all" in done
    assert (
        workspace.do("ask", "boats.csv", q="Tone?", refused=True).err.count(
            "wrong number of fields"
        )
        == len(rows) // 6
    )
    declare(workspace, "../boats.csv")
    done = workspace.do("preflight").err
    assert (
        "5 rows are refused; 3 are shown, `findable items --task boats --state refused` lists all"
        in done
    )


def test_files_of_one_folder_are_read_alike(workspace: Workspace) -> None:
    """A folder of Parquet files leaves a column of bytes out of each."""
    for year, photo in ((2025, b"plain"), (2026, b"\xff")):
        path = workspace.put(f"boats/year={year}/a.parquet", "")
        parquet.write_table(
            pa.table({"id": [year], "text": [f"late in {year}"], "photo": [photo]}), Path(path)
        )
    declare(workspace, "../boats")
    assert "'photo'" in workspace.do("preflight").err
    assert [sorted(row.keys() & {"photo", "year"}) for row in workspace.exported()] == [
        ["year"],
        ["year"],
    ]
