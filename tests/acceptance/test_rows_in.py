"""Test that each row of a table is read unchanged, or refused with its line.

Guesses are shown.
"""

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
from xlsxwriter import Workbook

from tests.acceptance.database import run_sql
from tests.acceptance.engine import Engine
from tests.acceptance.process import MAX_WAIT_S
from tests.acceptance.product import ON_POSTGRESQL, Workspace, write_declaration
from tests.acceptance.test_python import script
from tests.acceptance.test_rows_back import put_book

FRENCH_TABLE = "id;text\n1;Café fermé à 18 h, très déçu\n"
POLISH_TABLE = "id;text\n1;Łódź się spóźniła, obsługa była zła\n"
TITLED_TABLE = "Report of May\n\nid,text,city\n1,The boat was late,Rome\n2,It was on time,Oslo\n"
TABLE_WITHOUT_HEADER = "1,The boat was late\n2,On time\n3,Never came\n"
IMPORTS_PATH = "/api/imports"


def declare_task(workspace: Workspace, items: str, *, name: str = "boats") -> None:
    """Declare a task with rows of a file or a query."""
    workspace.write_file(
        f"tasks/{name}.py", write_declaration({"topic": "str"}, prompt="{text}", items=items)
    )
    workspace.task = name


def read_texts(workspace: Workspace) -> list[str]:
    """Return the exported texts of the task's rows, except refused rows."""
    return [row["text"] for row in workspace.exported_rows() if row["state"] != "refused"]


def wait_for_import(client: httpx2.Client, number: int) -> dict[str, Any]:
    """Wait until the page has read a file, and return the import."""
    deadline = time.monotonic() + MAX_WAIT_S
    address = f"{IMPORTS_PATH}/{number}"
    while (file_import := client.get(address).json())["state"] == "reading":
        assert time.monotonic() < deadline, file_import
        time.sleep(0.01)
    return dict(file_import)


@pytest.mark.alike
def test_encoding_is_guessed_shown_and_can_be_named(workspace: Workspace, api: Engine) -> None:
    """A guessed encoding is shown with an example line, and ENCODING= is stored with the task."""
    french_file = workspace.write_file("fr.csv", "")
    polish_file = workspace.write_file("pl.csv", "")
    french_text = FRENCH_TABLE.split(";")[2].strip()
    french_file.write_bytes(FRENCH_TABLE.encode("cp1252"))
    polish_file.write_bytes(POLISH_TABLE.encode("cp1250"))

    ask_run = workspace.run_command("ask", "fr.csv", q="Praise?", fields="topic", json=True)
    assert "Café fermé à 18 h, très déçu" in json.dumps(ask_run.json["tried"], ensure_ascii=False)
    assert "read as cp1252" in ask_run.stderr
    assert "line 2 is '1;Café fermé à 18 h, très déçu'" in ask_run.stderr
    assert "--encoding cp1250" in ask_run.stderr
    assert "Łódź się spóźniła" in workspace.run_command("ask", "pl.csv", q="Praise?").stderr

    for name in ("klingon", "hex"):
        invalid_run = workspace.run_command("ask", "fr.csv", q="x?", encoding=name, code=2)
        assert f"'{name}', which is not an encoding" in invalid_run.stderr
    source_file = {"from": "fr.csv"}
    invalid_run = workspace.run_command("new_task", "fr", encoding="utf-8", code=2, **source_file)
    assert "fr.csv, line 2: byte 14 is not valid utf-8" in invalid_run.stderr

    # The named encoding is used although another encoding fits better.
    workspace.run_command("new_task", "fr", encoding="mac_roman", **source_file)
    workspace.task = "fr"
    workspace.run_command("preflight")
    assert read_texts(workspace) == [french_text.encode("cp1252").decode("mac_roman")]
    french_file.write_bytes(FRENCH_TABLE.encode("mac_roman"))
    workspace.run_command("preflight")
    assert read_texts(workspace) == [french_text]

    people_table = "username,bio\nzoë,Elle était gênée\n"
    workspace.write_file("people.csv", "").write_bytes(people_table.encode("cp1252"))
    assert (
        "line 2 is 'zoë,Elle était gênée'"
        in workspace.run_command("import", "people.csv", TASK="").stderr
    )
    assert [*workspace.exported_tags()] == ["zoë"]
    workspace.run_command("import", "people.csv", encoding="cp1257", TASK="")
    assert [*workspace.exported_tags()] == ["zoë", "zoė"]
    assert api.journal()


@pytest.mark.alike
def test_table_without_a_header_is_refused_and_header_can_be_named(
    workspace: Workspace, api: Engine
) -> None:
    """A table without a header in line 1 is refused with its first lines and a next step.

    Each command accepts HEADER=, and a task stores it.
    """
    _check_titled_files_need_a_header(workspace)

    refused_run = workspace.run_command("ask", "unnamed.csv", q="x?", code=2)
    assert "line 1 '1,The boat was late', line 2 '2,On time'" in refused_run.stderr
    workspace.run_command("new_task", "boats", header="none", **{"from": "unnamed.csv"})
    workspace.task = "boats"
    workspace.run_command("preflight")
    column_texts = [row["column_2"] for row in workspace.exported_rows()]
    assert column_texts == ["The boat was late", "On time", "Never came"]
    workspace.write_file("unnamed.csv", f"{TABLE_WITHOUT_HEADER}4,Again\n")
    workspace.run_command("preflight")
    assert len(workspace.exported_rows()) == len(TABLE_WITHOUT_HEADER.splitlines()) + 1

    declare_task(workspace, "../titled.csv", name="titled")
    assert "in a task's file set header=" in workspace.run_command("preflight", code=2).stderr
    # The checker reads each task that was used, and this task was refused.
    workspace.used_tasks.discard("titled")
    workspace.task = "boats"

    workspace.write_file("people.csv", "All people\n\nusername,bio,city\nada,Keeps bees,Rome\n")
    assert "--header 3" in workspace.run_command("import", "people.csv", code=2, TASK="").stderr
    workspace.run_command("import", "people.csv", header=3, TASK="")
    workspace.write_file("bare.csv", "bo,Casts bells\n")
    mapping = "username=column_1,bio=column_2"
    workspace.run_command("import", "bare.csv", header="none", map=mapping, TASK="")
    assert [*workspace.exported_tags()] == ["ada", "bo"]

    for header, message in (
        ("9", "has no text on line 9"),
        ("two", "is 'two', not a line number"),
    ):
        assert (
            message
            in workspace.run_command("ask", "titled.csv", q="x?", header=header, code=2).stderr
        )
    assert api.journal()


def _check_titled_files_need_a_header(workspace: Workspace) -> None:
    """Check that files with a title above the header are read only with HEADER=3."""
    workspace.write_file("titled.csv", TITLED_TABLE)
    workspace.write_file("unnamed.csv", TABLE_WITHOUT_HEADER)
    rows = [line.split(",") for line in TITLED_TABLE.split("\n")]
    put_book(workspace.home / "plain.xlsx", {"A": rows})
    put_book(
        workspace.home / "merged.xlsx",
        {"A": rows},
        merge=lambda sheet: sheet.merge_range(0, 0, 0, 2, "Report of May"),
    )

    for name in ("titled.csv", "plain.xlsx", "merged.xlsx"):
        error_output = workspace.run_command("ask", name, q="Praise?", code=2).stderr
        assert "the header is on line 3, below a title; nothing was read" in error_output
        first_lines = "line 1 'Report of May', line 2 '', line 3 'id.*text.*city'"
        assert re.search(first_lines, error_output)
        assert "--header 3" in error_output
        assert "--header none" in error_output

        document = workspace.read_json("ask", name, q="Praise?", header=3)
        assert (document["key"], document["text"], document["rows"]) == ("id", "text", 2)


def test_python_and_the_page_accept_encoding_and_header(workspace: Workspace) -> None:
    """Python and the page accept an encoding and a header for files, but not for rows."""
    content = f"Raport łodzi\n\n{POLISH_TABLE}".encode("cp1250")
    workspace.write_file("titled.csv", "").write_bytes(content)
    printed_values = script(
        workspace,
        """
        open("people.csv", "w").write("bo,Casts bells\\n")
        asked = ws.ask("titled.csv", "Tone?", fields="tone", header=3, encoding="cp1250")
        ws.add("people.csv", header="none", mapping="username=column_1,bio=column_2")
        header_message = refusal(ws.ask, rows(1), "Tone?", header=3)
        encoding_message = refusal(declared, items=rows(1), encoding="cp1250")
        messages = [header_message, encoding_message]
        print(json.dumps([asked.draft.guess.text, asked.tried.items[0].request, messages]))
        """,
    )
    text_column, request, messages = printed_values
    assert text_column == "text"
    assert "Łódź się spóźniła" in json.dumps(request, ensure_ascii=False)
    assert "works only with a file" in messages[0]
    assert "encoding= needs a file" in messages[1]
    assert [*workspace.exported_tags()] == ["bo"]

    with workspace.serve_page() as client:
        for options, state in (
            ({}, "unreadable"),
            ({"header": "3", "encoding": "cp1250"}, "ready"),
        ):
            parameters = {"task": "new", "name": "t.csv", **options}
            response = client.post(IMPORTS_PATH, params=parameters, content=content)
            file_import = wait_for_import(client, response.json()["number"])
            assert file_import["state"] == state, file_import
        polish_text = POLISH_TABLE.split(";")[2].strip()
        assert file_import["first"] == [{"id": "1", "text": polish_text}]

        form = client.get("/add").text
        assert 'name="encoding"' in form
        assert 'name="header"' in form


@pytest.mark.alike
def test_values_of_any_type_are_read(workspace: Workspace) -> None:
    """Times outside Python's range are texts, columns of bytes are left out, and NaN is refused."""
    _check_parquet_values(workspace)
    _check_json_numbers(workspace)
    _check_spreadsheet_numbers(workspace)
    workspace.settings["YES"] = "1"
    _check_query_values(workspace)

    visited_at = datetime(2026, 5, 1, tzinfo=UTC)
    people = {"username": ["ada"], "bio": ["Keeps bees"], "photo": [b"\xff"], "seen": [visited_at]}
    parquet.write_table(pa.table(people), workspace.write_file("people.parquet", ""))
    assert "1 person imported" in workspace.run_command("import", "people.parquet", TASK="").stdout


def _check_parquet_values(workspace: Workspace) -> None:
    """Check times and columns of bytes of a Parquet file."""
    nanoseconds = pa.array([1_767_225_600_123_456_789, 0])
    # The first and the last year are outside Python's range.
    seconds = pa.array([-62_167_219_200, 253_402_300_800])
    columns = {
        "id": [1, 2],
        "text": ["late", "on time"],
        "at": nanoseconds.cast(pa.timestamp("ns")),
        "year": seconds.cast(pa.timestamp("s")),
        "photo": [b"\xff\xfea", b"plain"],
        "latin": [b"caf", b"plain"],
    }
    parquet.write_table(pa.table(columns), workspace.write_file("boats.parquet", ""))
    declare_task(workspace, "../boats.parquet")
    message = "boats: columns left out, because they contain binary data: 'photo'"
    assert message in workspace.run_command("preflight").stderr

    first_row, second_row = workspace.exported_rows()
    assert first_row["at"] == "2026-01-01T00:00:00.123456789"
    assert second_row["at"] == "1970-01-01T00:00:00"
    assert first_row["year"] == "0000-01-01T00:00:00"
    assert second_row["year"] == "10000-01-01T00:00:00"
    assert first_row["latin"] == "caf"
    assert "photo" not in first_row


def _check_query_values(workspace: Workspace) -> None:
    """Check columns of bytes and extreme times of a query."""
    bytes_type = "BYTEA" if ON_POSTGRESQL else "BLOB"
    bytes_value = "decode('fffe', 'hex')" if ON_POSTGRESQL else "x'fffe'"
    run_sql(workspace, f"CREATE TABLE tickets (id INTEGER, text TEXT, photo {bytes_type})")
    rows = f"(1, 'late', {bytes_value}), (2, 'on time', NULL)"
    run_sql(workspace, f"INSERT INTO tickets VALUES {rows}")  # noqa: S608 - literals of this test
    declare_task(workspace, "SELECT id, text, photo FROM tickets ORDER BY id", name="tickets")
    message = "columns left out, because they contain binary data: 'photo'"
    # A dry run adds no view beside the table of another program.
    assert message in workspace.run_command("tag", where="id = 0").stderr
    assert read_texts(workspace) == ["late", "on time"]

    if ON_POSTGRESQL:
        times = (
            "DATE '10000-01-01' AS day, TIMESTAMP '0044-03-15 BC' AS bc, "
            "TIMESTAMPTZ 'infinity' AS tz"
        )
        query = f"SELECT id, text, {times}, DATE '2026-05-01' FROM tickets"  # noqa: S608 - literals
        declare_task(workspace, query, name="times")
        workspace.run_command("tag", where="id = 0")
        (row, _) = workspace.exported_rows()
        assert row["day"] == "10000-01-01"
        assert row["bc"] == "0044-03-15 00:00:00 BC"
        assert row["tz"] == "infinity"
        assert row["date"] == "2026-05-01"

    # A text column of bytes leaves no text.
    declare_task(workspace, "SELECT id, photo AS text FROM tickets ORDER BY id", name="photos")
    message = workspace.run_command("tag", where="id = 0", code=2).stderr
    assert "binary columns are left out" in message
    workspace.used_tasks.discard("photos")
    workspace.task = "tickets"


def _check_json_numbers(workspace: Workspace) -> None:
    """Check that NaN and infinity of JSON lines are refused."""
    lines = [
        '{"id":1,"text":"a","n":NaN}',
        '{"id":2,"text":"b","n":-Infinity}',
        '{"id":3,"text":"c","n":1}',
    ]
    workspace.write_file("n.jsonl", "\n".join(lines))
    declare_task(workspace, "../n.jsonl", name="numbers")
    error_output = workspace.run_command("preflight").stderr
    assert "line 1: not JSON: NaN at character 24 is not a JSON number" in error_output
    assert "line 2: not JSON: -Infinity at character 24" in error_output
    assert read_texts(workspace) == ["c"]


def _check_spreadsheet_numbers(workspace: Workspace) -> None:
    """Check that numbers shown as percent or money are read as numbers and named."""
    header = ("id", "text", "rate", "price", "n")
    values = (1, "late", 0.075, 1234.5, 7)
    with Workbook(workspace.home / "rates.xlsx") as book:
        sheet = book.add_worksheet()
        number_formats = [
            book.add_format({"num_format": code}) for code in ("0.0%", "$#,##0", "[$-409]0")
        ]
        cell_formats = [None, None, *number_formats]
        for row_index, cells in enumerate((header, values)):
            for column_index, cell in enumerate(cells):
                sheet.write(row_index, column_index, cell, cell_formats[column_index])

    declare_task(workspace, "../rates.xlsx", name="rates")
    assert "displayed as percent or money: C2, D2\n" in workspace.run_command("preflight").stderr
    [row] = workspace.exported_rows()
    assert (row["rate"], row["price"]) == (0.075, 1234.5)


@pytest.mark.alike
def test_refused_rows_are_counted_and_listed(workspace: Workspace) -> None:
    """Three refused rows are shown, and the message names the option that lists all."""
    rows = "".join(f"{number},a,b\n" for number in range(5))
    workspace.write_file("boats.csv", f"id,text\n{rows}9,late\n")
    error_output = workspace.run_command("ask", "boats.csv", q="Tone?").stderr
    assert error_output.count("wrong number of fields") == 3
    assert "5 rows are refused; the first 3 are above, and --refused lists all" in error_output
    listing = workspace.run_command("ask", "boats.csv", q="Tone?", refused=True).stderr
    assert listing.count("wrong number of fields") == 5

    declare_task(workspace, "../boats.csv")
    command = "findable items --task boats --state refused"
    message = f"5 rows are refused; the first 3 are above, and `{command}` lists all"
    assert message in workspace.run_command("preflight").stderr


@pytest.mark.alike
def test_columns_of_bytes_are_left_out_of_all_files_of_a_folder(workspace: Workspace) -> None:
    """A column of bytes in a single Parquet file is left out of all files of the folder."""
    for year, photo in ((2025, b"plain"), (2026, b"\xff")):
        path = workspace.write_file(f"boats/year={year}/a.parquet", "")
        columns = {"id": [year], "text": [f"late in {year}"], "photo": [photo]}
        parquet.write_table(pa.table(columns), Path(path))

    declare_task(workspace, "../boats")
    assert "'photo'" in workspace.run_command("preflight").stderr
    rows = workspace.exported_rows()
    assert [sorted(row.keys() & {"photo", "year"}) for row in rows] == [["year"], ["year"]]


def test_dry_import_needs_no_workspace_and_makes_none(workspace: Workspace) -> None:
    """A dry import runs in a new folder, and in a folder that only has files of the user."""
    table = workspace.write_file("people.csv", "Username,Bio\nada,Bees.\n")
    assert "1 added" in workspace.run_command("import", table, dry=True).stdout

    # The sample data of a fresh checkout are such files.
    workspace.write_file("data/sample/people.csv", "Username,Bio\n")
    assert "1 added" in workspace.run_command("import", table, dry=True).stdout
    assert sorted(path.name for path in workspace.data.iterdir()) == ["sample"]
