"""`make new-task`: the file that it writes for any table runs as it is, to the first answer and to the export."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from tests.lab import Workspace

LONG = "The kettle boils in three minutes, but the lid burned my hand. Number {}."


class Table(NamedTuple):
    """A table as it comes: its file's name, its rows, and what is to be guessed of them: key, text, what is beside."""

    file: str
    rows: Sequence[Mapping[str, Any]]
    key: str
    text: str
    beside: str | None

    def write(self) -> None:
        """Write the file, as CSV by a German spreadsheet, or as JSON lines."""
        if self.file.endswith(".jsonl"):
            Path(self.file).write_text("".join(f"{json.dumps(row)}\n" for row in self.rows), encoding="utf-8")
            return
        with Path(self.file).open("w", encoding="utf-8-sig", newline="") as file:
            table = csv.DictWriter(file, self.rows[0], delimiter=";")
            table.writeheader()
            table.writerows(self.rows)


TABLES = (
    Table(
        "bewertungen.csv",
        [
            {
                "Kundennummer": 7,
                "Bestell-Nr": f"B{one}",
                "Bewertung": one,
                "Produkt": "Kessel",
                "Kommentar": LONG.format(one),
            }
            for one in range(1, 4)
        ],
        key="Bestell-Nr",
        text="Kommentar",
        beside="Produkt",
    ),
    Table(
        "notes.csv",
        [{"id": 7, "2. Review Text": LONG.format(one), "rating": one} for one in range(3)],
        key="row",
        text="2. Review Text",
        beside=None,
    ),
    Table(
        "tickets.jsonl",
        [{"ticket_id": one, "open": True, "subject": "Kettle", "body": LONG.format(one)} for one in range(3)],
        key="ticket_id",
        text="body",
        beside="subject",
    ),
    Table(
        "wide.csv",
        [
            {f"c{place}": LONG.format(one) if place == 250 else f"{place}.{one}" for place in range(299)} | {"ID": one}
            for one in range(3)
        ],
        key="ID",
        text="c250",
        beside=None,
    ),
    Table(
        "select.csv",
        [{"select": LONG.format(one), "from": one, "uuid": f"{one:032x}"} for one in range(3)],
        key="uuid",
        text="select",
        beside=None,
    ),
)


@pytest.mark.sampled(3, sqlite=3)
@pytest.mark.parametrize("table", TABLES, ids=[one.file for one in TABLES])
def test_the_file_runs_as_it_is(workspace: Workspace, table: Table) -> None:
    """Try, tag and export, in a workspace that is made; of each row there is an answer with quotations of its text."""
    table.write()
    new = workspace.ran("new-task", "mine", "--from", table.file, "--json")
    document = json.loads(new.stdout)
    assert (document["file"], document["items"]) == ("tasks/mine.py", f"../{table.file}")
    assert (document["key"], document["text"], document["beside"]) == (table.key, table.text, table.beside)
    assert "a new workspace: " in new.stderr
    assert new.stderr.endswith("next: make try TASK=mine\n")
    tried = json.loads(workspace.ran("try", "--json", TASK="mine").stdout)
    assert [one["outcome"] for one in tried["items"]] == ["answered"] * len(table.rows)
    workspace.ran("tag", TASK="mine")
    workspace.ran("export", "out.jsonl", TASK="mine")
    rows = [json.loads(line) for line in Path("out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len(table.rows)
    for row in rows:
        for point in row["points"]:
            quote = point["quote"]
            assert row[table.text][quote["start"] : quote["end"]] == quote["quote"]


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_header_over_several_lines_is_one(workspace: Workspace, delimiter: str) -> None:
    """A column's name with a line break in it is read as with a blank; separators in a name separate nothing."""
    with Path("broken.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter=delimiter)
        table.writerows([["id", "Text\r\nof the review", "Stars, 1; 2; 3, or more"]])
        table.writerows([number, f'Good lamp,\n"bright"; number {number}.', 5] for number in range(3))
    document = json.loads(workspace.ran("new-task", "mine", "--from", "broken.csv", "--json").stdout)
    assert (document["key"], document["text"]) == ("id", "Text of the review")
    workspace.ran("tag", TASK="mine")
    workspace.ran("export", "out.csv", TASK="mine")
    with Path("out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["Text of the review"] for row in rows] == [f'Good lamp,\n"bright"; number {n}.' for n in range(3)]
    assert {row["Stars, 1; 2; 3, or more"] for row in rows} == {"5"}
    listed = workspace.ran("items", TASK="mine").stdout.splitlines()
    assert listed[0].split("\t") == ["id", "Text of the review", "state"]


def test_a_name_over_several_lines_is_shown_on_one(workspace: Workspace) -> None:
    """In JSON it stays as it is, and the task's file runs; no list is broken by it."""
    Path("broken.jsonl").write_text(json.dumps({"id": 1, "Text\nof it": "A lamp."}), encoding="utf-8")
    workspace.ran("new-task", "mine", "--from", "broken.jsonl")
    workspace.ran("tag", TASK="mine")
    listed = workspace.ran("items", TASK="mine").stdout.splitlines()
    assert [line.split("\t") for line in listed] == [["id", "Text of it", "state"], ["1", "A lamp.", "answered"]]


def test_a_file_of_another_encoding_is_read_as_an_import_reads_it(workspace: Workspace) -> None:
    """Every row is asked about, and the encoding is said where the file is read."""
    Path("western.csv").write_bytes("id,text\n1,Good lamp\n2,Schöner Kessel\n".encode("cp1252"))
    said = "read as cp1252 (Windows-1252, Latin-1)"
    assert said in workspace.ran("new-task", "mine", "--from", "western.csv").stdout
    tagged = workspace.ran("tag", TASK="mine")
    assert said in tagged.output
    assert "2 answered" in tagged.output
    assert [row[0] for row in workspace.query("SELECT text FROM mine_items")] == ["Good lamp", "Schöner Kessel"]


@pytest.mark.parametrize("beside", [{}, {"note": LONG}], ids=["alone", "beside a text"])
def test_a_column_of_images_is_known_by_its_cells(workspace: Workspace, beside: Mapping[str, str]) -> None:
    """Paths and addresses go out as images, and are asked about with the text beside them, where there is one."""
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (40, 30), "navy").save(name)
    Table("t.csv", [{"id": at, "picture": f"{at}.jpg", **beside} for at in "ab"], "id", "note", None).write()
    document = json.loads(workspace.ran("new-task", "mine", "--from", "t.csv", "--json").stdout)
    assert (document["images"], document["text"]) == (["picture"], "note" if beside else "")
    tried = json.loads(workspace.ran("try", "--json", TASK="mine").stdout)["items"]
    assert [one["outcome"] for one in tried] == ["answered"] * 2
    assert "inlineData" in tried[0]["request"]["contents"][0]["parts"][0]


def test_a_query_has_its_first_column_as_key(workspace: Workspace) -> None:
    """Where it can be one; the query is put into the file to the letter."""
    workspace.begin().change("CREATE TABLE things (no INTEGER, note TEXT)")
    workspace.change("INSERT INTO things VALUES (1, 'a \"kettle\"'), (2, 'the lid'), (2, 'the lid, too')")
    once = "SELECT no, note AS \"what\" FROM things\n WHERE note <> '{\\n}' AND note <> 'the lid, too'"
    said = workspace.ran("new-task", "once", "--from", once)
    assert "key: 'no', which is in every row and in none twice\n" in said.stdout
    assert "text: 'what', the longest with 8 characters in the mean\n" in said.stdout
    assert len(json.loads(workspace.ran("try", "--json", "--yes", TASK="once").stdout)["items"]) == 2
    twice = workspace.ran("new-task", "twice", "--from", "SELECT * FROM things")
    assert "key: \"row\", a hash of each row, for 'no' has '2' twice, again in row 3\n" in twice.stdout


@pytest.mark.parametrize(
    ("name", "source", "code", "said"),
    [
        (
            "Kessel",
            "t.csv",
            2,
            "error: a task cannot be called 'Kessel'; nothing was written\nnext: a name is a letter, ",
        ),
        ("experts", "t.csv", 2, "error: a task cannot be called 'experts'"),
        ("mine", "none.csv", 2, "error: none.csv is not there"),
        (
            "mine",
            "signs.csv",
            2,
            "error: '??' is the text, the longest with 6 characters in the mean, and a prompt cannot",
        ),
        ("there", "t.csv", 2, "tasks/there.py is there already, and nothing is overwritten\nnext: NAME= takes"),
        ("kept", "t.csv", 2, "data/tasks/kept.py is there already"),
        ("mine", "SELECT x FROM nowhere", 2, "nowhere"),
        ("mine", "", 2, "error: . is a directory"),
    ],
)
def test_what_cannot_be_is_refused(workspace: Workspace, name: str, source: str, code: int, said: str) -> None:
    """With what is wrong; no file is written, and none is changed."""
    Path("t.csv").write_text("id,text\n1,kettle\n")
    Path("signs.csv").write_text("id,??\n1,kettle\n")
    Path("tasks").mkdir()
    Path("tasks/there.py").write_text("mine\n")
    (workspace.data / "tasks").mkdir(parents=True)
    (workspace.data / "tasks/kept.py").touch()
    assert said in workspace.ran("new-task", name, "--from", source, code=code).stderr
    assert [one.read_text() for one in Path("tasks").iterdir()] == ["mine\n"]


def test_it_wants_a_table_and_takes_no_name_of_a_task_that_was_used(workspace: Workspace) -> None:
    """FROM= has no default; a task whose file is gone keeps its name, and its tables."""
    Path("t.csv").write_text("id,text\n1,kettle\n")
    assert "With make: FROM=…" in workspace.ran("new-task", "mine", code=2).stderr
    assert not workspace.data.exists()
    workspace.ran("new-task", "mine", "--from", "t.csv")
    workspace.ran("preflight", TASK="mine")
    Path("tasks/mine.py").unlink()
    assert "mine.py is there already" in workspace.ran("new-task", "mine", "--from", "t.csv", code=2).stderr
