"""Parts of answers, files and tables above a limit are refused or left out, and counted."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.acceptance.database import read_schema, run_sql
from tests.acceptance.engine import Engine
from tests.acceptance.process import PRODUCT
from tests.acceptance.product import IMAGES, MODEL, ON_POSTGRESQL, Workspace
from tests.acceptance.table_files import put_book
from tests.outside.server import Outside

TAGS = [f"field {number}" for number in range(1, 301)]
MB = 1 << 20
# The most memory that a command takes for a workbook which it refuses.
MAX_MEMORY_MB = 300
# The first tag is invalid and the second appears twice; neither counts among the first eight.
TEXT = json.dumps({"tags": ["<>", TAGS[0], *TAGS]})


@pytest.mark.alike
@pytest.mark.parametrize("mode", ["batch", "live"])
@pytest.mark.promise("tags")
def test_answer_keeps_eight_tags_and_counts_the_rest(
    workspace: Workspace, api: Engine, mode: str
) -> None:
    """The first eight valid tags are stored in both modes, and the others are counted."""
    workspace.import_people(2)
    api.script_fault("answer_text", times=9, args={"text": TEXT})
    if mode == "batch":
        workspace.run_commands("submit", "poll")
        tag_run = workspace.run_command("ingest", json=True)
        assert [report["left_out_values"] for report in tag_run.json] == [2 * 292]
    else:
        tag_run = workspace.run_command("tag", mode="live", yes=True)
    assert f"left out {2 * 292} values" in tag_run.stderr
    assert list(workspace.exported_tags().values()) == [TAGS[:8], TAGS[:8]]
    [answer] = workspace.read_json("show", "person-0000")["answers"]
    assert answer["answer"]["tags"] == TAGS[:8]


@pytest.mark.alike
def test_bucket_of_an_image_keeps_twelve_tags(workspace: Workspace, api: Engine) -> None:
    """Each bucket of an image is cut at the twelve tags that were asked for."""
    names = ("subjects", "objects", "setting", "style", "mood", "colours", "text_seen")
    answer = {"summary": "A red square.", "buckets": dict.fromkeys(names, TAGS)}
    api.script_fault("answer_text", times=9, args={"text": json.dumps(answer)})
    workspace.write_file("pictures/note.txt", "")
    Image.linear_gradient("L").save(workspace.home / "pictures" / "square.png")
    workspace.run_command("import_images", "pictures")
    tag_run = workspace.run_command("tag", mode="live", yes=True, TASK=IMAGES)
    assert f"left out {len(names) * 288:,} values" in tag_run.stderr
    [row] = workspace.exported_rows(IMAGES)
    assert row["buckets"] == dict.fromkeys(names, TAGS[:12])


PEOPLE = "username,bio\n"
JOINED = (
    f"{PEOPLE}ada,Keeps bees.\n",
    # The second file begins with a mark, and has its names in quotes.
    '\ufeff"Username","Bio"\nbea,Casts bells.\n',
)


@pytest.mark.alike
@pytest.mark.parametrize("kind", ["csv", "xlsx"])
@pytest.mark.promise("memory")
def test_header_of_a_joined_file_is_no_row(workspace: Workspace, kind: str) -> None:
    """A second header is refused with its line for people and for tasks, and is never sent."""
    if kind == "csv":
        workspace.write_file("people.csv", "".join(JOINED))
    else:
        rows = [("username", "bio"), ("ada", "Keeps bees."), ("Username", "Bio"), ("bea", "Sings.")]
        put_book(workspace.home / "people.xlsx", {"People": rows})

    import_document = workspace.read_json("import", f"people.{kind}")
    assert [(finding["line"], finding["kind"]) for finding in import_document["findings"]] == [
        (3, "rejected")
    ]
    assert "the header is repeated" in import_document["findings"][0]["reason"]
    assert sorted(workspace.exported_tags()) == ["ada", "bea"]

    question: dict[str, Any] = {
        "from": f"people.{kind}",
        "q": "Praise?",
        "text": "bio",
        "refused": True,
    }
    ask_run = workspace.run_command("ask", **question)
    assert "the header is repeated" in ask_run.output
    assert not [
        request
        for request in workspace.sealed_requests(1)
        if "Bio" in str(request["request"]["contents"])
    ]


@pytest.mark.alike
def test_quotes_with_a_backslash_hide_no_row(workspace: Workspace) -> None:
    """A cell that ends with such a quote ends there; CSV's own quotes are read as before."""
    cells = {
        "ada": r"Says \"bees\", twice.",
        "bea": 'An inch is 1""',
        "cid": r"Ends with \"bells\"",
        "dan": r"A path C:\\",
        "eve": 'A line \\""\nand another "".',
        "fay": "A folder C:\\",
    }
    rows = [f'{name},"{cell}"\n' for name, cell in cells.items()]
    workspace.write_file("people.csv", f"{PEOPLE}{''.join(rows)}gil,Plain.\n")
    workspace.run_command("import", "people.csv")
    assert {row["Username"]: row["Bio"] for row in workspace.exported_rows()} == {
        "ada": 'Says "bees", twice.',
        "bea": 'An inch is 1"',
        "cid": 'Ends with "bells"',
        "dan": r"A path C:\\",
        "eve": 'A line \\"\nand another ".',
        "fay": "A folder C:\\",
        "gil": "Plain.",
    }


@pytest.mark.alike
@pytest.mark.parametrize("setting", ["MODEL", "EMBEDDING_MODEL"])
def test_doctor_names_a_model_that_the_api_does_not_list(
    served_workspace: Workspace, outside_server: Outside, setting: str
) -> None:
    """`doctor` names a model that the project cannot see."""
    served_workspace.import_people(1)
    assert served_workspace.read_json("doctor")["findings"] == []
    name = {"MODEL": MODEL, "EMBEDDING_MODEL": "gemini-embedding-2"}[setting]
    outside_server.hidden_models = frozenset({name})
    [finding] = served_workspace.read_json("doctor")["findings"]
    assert finding["said"].startswith(f"{name} (")
    assert finding["said"].endswith("is not in the API's list of models")


LOCKING_STATEMENTS = [
    (
        "CREATE TRIGGER locked BEFORE UPDATE ON experts WHEN old.username = 'bea' "
        "BEGIN SELECT RAISE(ABORT, 'bea is locked'); END"
    )
]
if ON_POSTGRESQL:
    LOCKING_STATEMENTS = [
        (
            "CREATE FUNCTION locked() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE 'bea is locked'; END $$"
        ),
        (
            "CREATE TRIGGER locked BEFORE UPDATE ON experts FOR EACH ROW "
            "WHEN (old.username = 'bea') EXECUTE FUNCTION locked()"
        ),
    ]


@pytest.mark.promise("adoption", postgresql=True)
def test_row_that_refuses_its_adoption_is_named(workspace: Workspace) -> None:
    """The error names table, row and message of the trigger; the repaired table is adopted."""
    run_sql(workspace, "CREATE TABLE experts (id INTEGER PRIMARY KEY, username TEXT, bio TEXT)")
    for number, name in enumerate(("ada", "bea", "cid"), start=1):
        values = f"{number}, '{name}', 'Keeps bees.'"
        run_sql(workspace, f"INSERT INTO experts VALUES ({values})")  # noqa: S608 - constant values
    for statement in LOCKING_STATEMENTS:
        run_sql(workspace, statement)

    schema_before = read_schema(workspace)
    error_output = workspace.run_command("submit", yes=True, code=3).stderr
    assert "`experts` in this database refuses a change of its row 2: " in error_output
    assert "bea is locked" in error_output
    assert "nothing was changed" in error_output
    assert read_schema(workspace) == schema_before

    run_sql(workspace, "DROP TRIGGER locked" + (" ON experts" if ON_POSTGRESQL else ""))
    workspace.run_commands("submit", yes=True)
    workspace.run_commands("poll", "ingest")
    assert sorted(workspace.exported_tags()) == ["ada", "bea", "cid"]


def pack_workbook(path: Path, rows: Iterable[bytes], shared_texts: Iterable[bytes] = ()) -> None:
    """Write a workbook with the columns username and bio; rows and shared texts are XML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    put_book(path, {"People": [("username", "bio")]})
    with zipfile.ZipFile(path) as book:
        parts = {part.filename: book.read(part) for part in book.infolist()}
    inserted = {
        "xl/worksheets/sheet1.xml": (b"</sheetData>", rows),
        "xl/sharedStrings.xml": (b"</sst>", shared_texts),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        for name, content in parts.items():
            end_tag, extra_parts = inserted.get(name, (b"", ()))
            before, sign, after = content.rpartition(end_tag) if end_tag else (content, b"", b"")
            with book.open(name, "w") as part:
                part.write(before)
                part.writelines(extra_parts)
                part.write(sign + after)


def long_cell() -> Iterable[bytes]:
    """Yield a row with a cell of 200 MB."""
    yield b'<row r="2"><c r="A2" t="inlineStr"><is><t>ada</t></is></c>'
    yield b'<c r="B2" t="inlineStr"><is><t>'
    yield from [b"a" * MB] * 200
    yield b"</t></is></c></row>"


def cells(count: int, cell: bytes) -> Iterable[bytes]:
    """Yield rows of a hundred equal cells."""
    yield from [b"<row>" + cell * 100 + b"</row>"] * (count // 100)


LONG_SHARED_TEXT = [b"<si><t>"] + [b"a" * MB] * 200 + [b"</t></si>"]
LARGE_WORKBOOKS = {
    "a long cell": (long_cell, (), "bytes in a cell, more than the limit of 4,194,304"),
    "a long shared text": (
        lambda: cells(100, b'<c t="s"><v>2</v></c>'),
        LONG_SHARED_TEXT,
        "bytes in a cell, more than the limit of 4,194,304",
    ),
    "a text in many cells": (
        lambda: cells(60_000, b'<c t="s"><v>2</v></c>'),
        [b"<si><t>", b"a" * 30_000, b"</t></si>"],
        "bytes of text, more than the limit of 268,435,456",
    ),
    "cells without a place": (
        lambda: [*cells(100, b"<c><v>1</v></c>"), b'<row r="50001"><c><v>1</v></c></row>'],
        (),
        "has 5,000,100 cells in 50,001 rows and 100 columns",
    ),
    "a cell far out": (
        lambda: [b'<row r="1000000"><c r="J1000000"><v>1</v></c></row>'],
        (),
        "has 10,000,000 cells in 1,000,000 rows and 10 columns",
    ),
}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param("a cell far out", marks=pytest.mark.promise("memory")),
        *(case for case in LARGE_WORKBOOKS if case != "a cell far out"),
    ],
)
def test_large_workbook_is_refused_in_little_memory(workspace: Workspace, case: str) -> None:
    """The message names the limit, nothing is imported, and the command uses little memory."""
    rows, shared_texts, reason = LARGE_WORKBOOKS[case]
    pack_workbook(workspace.home / "people.xlsx", rows(), shared_texts)
    assert (workspace.home / "people.xlsx").stat().st_size < MB

    process = subprocess.Popen(
        [sys.executable, "-m", "askrows", "import", "people.xlsx"],
        cwd=workspace.home,
        env=os.environ | workspace.environ | {"PYTHONPATH": str(PRODUCT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    error_output = process.stderr.read()
    process.stderr.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)

    assert process.returncode == 2, error_output
    assert reason in error_output
    assert "nothing was read" in error_output
    assert usage.ru_maxrss < MAX_MEMORY_MB * 1024
