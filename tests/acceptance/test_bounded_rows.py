"""Answers, files and tables of strangers are bounded: what is above a limit is refused or left out, and counted."""

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

from tests.acceptance.database import connected, schema, sql
from tests.acceptance.engine import Engine
from tests.acceptance.process import PRODUCT
from tests.acceptance.product import IMAGES, MODEL, ON_POSTGRESQL, Workspace
from tests.acceptance.test_rows_back import put_book
from tests.outside.server import Outside

TAGS = [f"field {number}" for number in range(1, 301)]
MB = 1 << 20
# The most memory that a command takes for a workbook which it refuses.
MAX_MEMORY_MB = 300
# One tag that is none, and one twice: the first eight are counted without them.
TEXT = json.dumps({"tags": ["<>", TAGS[0], *TAGS]})


@pytest.mark.parametrize("mode", ["batch", "live"])
def test_an_answer_keeps_eight_tags_and_the_rest_is_counted(
    workspace: Workspace, api: Engine, mode: str
) -> None:
    """The first eight valid tags are stored, by batch and by single calls, and the others are counted."""
    workspace.people(2)
    api.fault("answer_text", times=9, args={"text": TEXT})
    if mode == "batch":
        workspace.each("submit", "poll")
        done = workspace.do("ingest", json=True)
        assert [one["left_out_values"] for one in done.json] == [2 * 292]
    else:
        done = workspace.do("tag", mode="live", yes=True)
    assert f"left out {2 * 292} values" in done.err
    assert list(workspace.tags().values()) == [TAGS[:8], TAGS[:8]]
    [answer] = workspace.read("show", "person-0000")["answers"]
    assert answer["answer"]["tags"] == TAGS[:8]


def test_a_new_person_gets_eight_tags(workspace: Workspace, api: Engine) -> None:
    """The reply to `add-expert` is cut in the same way."""
    api.fault("answer_text", times=9, args={"text": TEXT})
    path = workspace.put("ada.json", json.dumps({"username": "ada", "bio": "I keep bees."}))
    add_run = workspace.do("add", path, json=True)
    assert (add_run.json["tags"], "left out 292 values" in add_run.err) == (TAGS[:8], True)


def test_a_person_sets_eight_tags_at_most(workspace: Workspace, api: Engine) -> None:
    """A correction with a ninth tag is refused, and what was there stays."""
    workspace.people(1)
    api.fault("answer_text", times=9, args={"text": json.dumps({"tags": TAGS[:7]})})
    workspace.each("submit", "poll", "ingest")
    workspace.do("correct", "person-0000", set=f"tags={', '.join(TAGS[:8])}")
    refused = workspace.do("correct", "person-0000", set=f"tags={', '.join(TAGS[:9])}", code=2)
    assert "it has 1 value too many; nothing was changed" in refused.err
    assert workspace.tags() == {"person-0000": TAGS[:8]}


def test_a_bucket_of_an_image_keeps_twelve_tags(workspace: Workspace, api: Engine) -> None:
    """Each bucket of an image is cut at the twelve tags that were asked for."""
    names = ("subjects", "objects", "setting", "style", "mood", "colours", "text_seen")
    answer = {"summary": "A red square.", "buckets": dict.fromkeys(names, TAGS)}
    api.fault("answer_text", times=9, args={"text": json.dumps(answer)})
    workspace.put("pictures/note.txt", "")
    Image.linear_gradient("L").save(workspace.home / "pictures" / "square.png")
    workspace.do("import_images", "pictures")
    tag_run = workspace.do("tag", mode="live", yes=True, TASK=IMAGES)
    assert f"left out {len(names) * 288:,} values" in tag_run.err
    [row] = workspace.exported(IMAGES)
    assert row["buckets"] == dict.fromkeys(names, TAGS[:12])


PEOPLE = "username,bio\n"
JOINED = (
    f"{PEOPLE}ada,Keeps bees.\n",
    # The second file begins with a mark, and has its names in quotes.
    '\ufeff"Username","Bio"\nbea,Casts bells.\n',
)


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_the_header_of_a_joined_file_is_no_row(workspace: Workspace, kind: str) -> None:
    """It is refused with its line, in a file of people and in one of a task, and is not asked about."""
    if kind == "csv":
        workspace.put("people.csv", "".join(JOINED))
    else:
        rows = [("username", "bio"), ("ada", "Keeps bees."), ("Username", "Bio"), ("bea", "Sings.")]
        put_book(workspace.home / "people.xlsx", {"People": rows})
    import_document = workspace.read("import", f"people.{kind}")
    assert [(one["line"], one["kind"]) for one in import_document["findings"]] == [(3, "rejected")]
    assert "the header once more" in import_document["findings"][0]["reason"]
    assert sorted(workspace.tags()) == ["ada", "bea"]
    question: dict[str, Any] = {
        "from": f"people.{kind}",
        "q": "Praise?",
        "text": "bio",
        "refused": True,
    }
    ask_run = workspace.do("ask", **question)
    assert "the header once more" in ask_run.said
    assert not [one for one in workspace.requests(1) if "Bio" in str(one["request"]["contents"])]


def test_quotes_with_a_backslash_are_read_and_hide_no_row(workspace: Workspace) -> None:
    """A cell that ends with such a quote does not reach into the next rows; CSV's own quotes are read as before."""
    cells = {
        "ada": r"Says \"bees\", twice.",
        "bea": r"Ends with \"bells\"",
        "cid": 'An inch is 1""',
        "dan": r"A path C:\\",
        "eve": 'A line \\""\nand another "".',
    }
    rows = [f'{name},"{cell}"\n' for name, cell in cells.items()]
    workspace.put("people.csv", f"{PEOPLE}{''.join(rows)}fay,Plain.\n")
    workspace.do("import", "people.csv")
    assert {one["Username"]: one["Bio"] for one in workspace.exported()} == {
        "ada": 'Says "bees", twice.',
        "bea": 'Ends with "bells"',
        "cid": 'An inch is 1"',
        "dan": r"A path C:\\",
        "eve": 'A line \\"\nand another ".',
        "fay": "Plain.",
    }


@pytest.mark.parametrize("setting", ["MODEL", "EMBEDDING_MODEL"])
def test_a_model_that_the_api_does_not_list_is_named(
    served_workspace: Workspace, outside_server: Outside, setting: str
) -> None:
    """`doctor` names the model and its setting; a project may be shown less than the table of models has."""
    served_workspace.people(1)
    assert served_workspace.read("doctor")["findings"] == []
    name = {"MODEL": MODEL, "EMBEDDING_MODEL": "gemini-embedding-2"}[setting]
    outside_server.hidden_models = frozenset({name})
    [finding] = served_workspace.read("doctor")["findings"]
    assert finding["said"].startswith(f"{name} (")
    assert finding["said"].endswith("is not in the API's list of models")


def test_a_workspace_of_the_version_before_is_taken_over(workspace: Workspace) -> None:
    """The refusal has commands that work as printed; whose tags are copied is not paid again."""
    old = Workspace(workspace.home / "old", workspace.url)
    with connected(old) as connection:
        connection.execute("CREATE TABLE findable_version (version_num TEXT)")
        connection.execute("INSERT INTO findable_version VALUES ('0021')")
    refused = old.do("status", code=5).err
    assert "git checkout b565137c && findable export people.jsonl" in refused
    assert "copy the file's lists of tags into the column tags there, or they are paid" in refused
    printed = refused.partition("git checkout - && ")[2].partition("`")[0].split()
    words = [word for word in printed if not word.startswith("FINDABLE_DATABASE_URL=")]
    assert words == ["findable", "import", "people.jsonl", "--data", "new"]

    # As the version before wrote it.
    old_people = [
        {"Username": "ada", "Bio": "Keeps bees.", "tags": ["beekeeping"], "findability_score": 26},
        {"Username": "bea", "Bio": "Casts bells.", "tags": None, "findability_score": 1},
    ]
    workspace.put("people.jsonl", "".join(f"{json.dumps(one)}\n" for one in old_people))
    workspace.do("import", "people.jsonl")
    copied = json.dumps(["beekeeping"])
    sql(workspace, "UPDATE experts SET tags = :tags WHERE username = 'ada'", tags=copied)
    assert workspace.read("submit", dry=True)["items"] == 1
    workspace.each("submit", "poll", "ingest")
    assert [one["item"] for one in workspace.asked()] == ["2"]


def test_a_currency_is_stored_as_its_code(workspace: Workspace) -> None:
    """Also one that stands beside a rate; a sign that several currencies share stays as it is given."""
    given = {"usd": "USD", "US$": "USD", "€": "EUR", "Zł": "PLN", "$": "$", "kr": "kr", "": "GBP"}
    lines = [f"person-{number},£9,{one}\n" for number, one in enumerate(given)]
    workspace.put("people.csv", f"Username,Hourly Rate,Currency\n{''.join(lines)}")
    workspace.do("import", "people.csv")
    assert [one["Currency"] for one in workspace.exported()] == list(given.values())


RAISES = [
    (
        "CREATE TRIGGER locked BEFORE UPDATE ON experts WHEN old.username = 'bea' "
        "BEGIN SELECT RAISE(ABORT, 'bea is locked'); END"
    )
]
if ON_POSTGRESQL:
    RAISES = [
        (
            "CREATE FUNCTION locked() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE 'bea is locked'; END $$"
        ),
        (
            "CREATE TRIGGER locked BEFORE UPDATE ON experts FOR EACH ROW "
            "WHEN (old.username = 'bea') EXECUTE FUNCTION locked()"
        ),
    ]


@pytest.mark.parametrize("columns", ["id INTEGER PRIMARY KEY, username TEXT", "username TEXT"])
def test_a_row_that_refuses_its_adoption_is_named(workspace: Workspace, columns: str) -> None:
    """With its table and what the trigger says; nothing is changed, and the mended table is adopted."""
    has_id = columns.startswith("id")
    if ON_POSTGRESQL and not has_id:
        pytest.skip("a server's table without ids is not adopted")
    sql(workspace, f"CREATE TABLE experts ({columns}, bio TEXT)")
    for number, name in enumerate(("ada", "bea", "cid"), start=1):
        key = f"{number}, " if has_id else ""
        sql(workspace, f"INSERT INTO experts VALUES ({key}'{name}', 'Keeps bees.')")  # noqa: S608 - ours
    for statement in RAISES:
        sql(workspace, statement)
    before = schema(workspace)
    refused = workspace.do("submit", yes=True, code=3).err
    assert "`experts` in this database refuses a change of its row 2: " in refused
    assert "bea is locked" in refused
    assert "nothing was changed" in refused
    assert schema(workspace) == before
    sql(workspace, "DROP TRIGGER locked" + (" ON experts" if ON_POSTGRESQL else ""))
    workspace.each("submit", yes=True)
    workspace.each("poll", "ingest")
    assert sorted(workspace.tags()) == ["ada", "bea", "cid"]


def pack(path: Path, rows: Iterable[bytes], shared: Iterable[bytes] = ()) -> None:
    """Write a workbook of one sheet with the columns username and bio, whose rows and shared texts are XML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    put_book(path, {"People": [("username", "bio")]})
    with zipfile.ZipFile(path) as book:
        parts = {part.filename: book.read(part) for part in book.infolist()}
    inserted = {
        "xl/worksheets/sheet1.xml": (b"</sheetData>", rows),
        "xl/sharedStrings.xml": (b"</sst>", shared),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        for name, content in parts.items():
            end, more = inserted.get(name, (b"", ()))
            before, sign, after = content.rpartition(end) if end else (content, b"", b"")
            with book.open(name, "w") as part:
                part.write(before)
                part.writelines(more)
                part.write(sign + after)


def long_cell() -> Iterable[bytes]:
    """Yield a row with a cell of 256 MB."""
    yield b'<row r="2"><c r="A2" t="inlineStr"><is><t>ada</t></is></c><c r="B2" t="inlineStr"><is><t>'
    yield from [b"a" * MB] * 256
    yield b"</t></is></c></row>"


def cells(count: int, cell: bytes) -> Iterable[bytes]:
    """Yield rows of a hundred equal cells."""
    yield from [b"<row>" + cell * 100 + b"</row>"] * (count // 100)


LARGE = {
    "a long cell": (long_cell, (), "has more than 4,194,304 bytes in B2"),
    "a long shared text": (
        lambda: cells(100, b'<c t="s"><v>2</v></c>'),
        [b"<si><t>", *[b"a" * MB] * 256, b"</t></si>"],
        "has more than 4,194,304 bytes in a shared text",
    ),
    "a text in many cells": (
        lambda: cells(60_000, b'<c t="s"><v>2</v></c>'),
        [b"<si><t>", b"a" * 30_000, b"</t></si>"],
        "has more than 268,435,456 bytes of text",
    ),
    "cells without a place": (
        lambda: [*cells(100, b"<c><v>1</v></c>"), b'<row r="50001"><c><v>1</v></c></row>'],
        (),
        "has cells as far out as column CV and row 50,001",
    ),
    "a cell far out": (
        lambda: [b'<row r="1000000"><c r="J1000000"><v>1</v></c></row>'],
        (),
        "has cells as far out as column J and row 1,000,000",
    ),
}


@pytest.mark.parametrize("case", LARGE)
def test_a_workbook_that_unpacks_to_much_is_refused_in_little_memory(
    workspace: Workspace, case: str
) -> None:
    """The message names the limit, nothing is imported, and the command stays small."""
    rows, shared, reason = LARGE[case]
    pack(workspace.home / "people.xlsx", rows(), shared)
    assert (workspace.home / "people.xlsx").stat().st_size < MB
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs", "import", "people.xlsx"],
        cwd=workspace.home,
        env=os.environ | workspace.environ | {"PYTHONPATH": str(PRODUCT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert (process.returncode, reason in said, "nothing was read" in said) == (2, True, True), said
    assert usage.ru_maxrss < MAX_MEMORY_MB * 1024
