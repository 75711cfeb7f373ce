"""Rows of a `DatabaseTable`: made or adopted, imported, added one by one, and forgotten.

With `file_key=`, rows have ids of the table, and are matched and named by another column.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.database import run_sql
from tests.acceptance.engine import LIVE_CALL, Engine
from tests.acceptance.product import Workspace

BOATS = """
from pydantic import BaseModel
from askrows import DatabaseTable, Task

class Answer(BaseModel):
    summary: str

task = Task(
    answer=Answer,
    items=DatabaseTable(
        "boats", columns={"name": str, "built": int, "length_m": float, "text": str}
    ),
    key="name",
    prompt="{text}",
    write_to="boats.summary=summary",
)
"""
NAMED_BOATS = BOATS.replace('"text": str}', '"text": str}, file_key="name"').replace(
    '    key="name",\n', ""
)
READ = """
def read(cells):
    notes = []
    length = cells.get("length_m")
    if isinstance(length, str) and length.endswith("ft"):
        cells["length_m"] = round(float(length.removesuffix("ft")) * 0.3048, 2)
        notes.append(("length_m", f"read as {cells['length_m']} m", length))
    builder = cells.pop("builder", None)
    if builder:
        cells["text"] = f"{cells.get('text') or ''} Built by {builder}."
    return cells, notes

"""
READ_BOATS = NAMED_BOATS.replace(
    'file_key="name"', 'file_key="name", read=read, file_columns=["builder"]'
).replace("task = Task(", f"{READ}task = Task(")
CSV = """Name,Built,length m,Text,Owner
Albatross,1978,12.5,A ketch with two masts.,Ada
Brisk,2004,7,A small day sailer.,
Cormorant,19x4,,A steel cutter.,Cy
,1990,8,No name.,
"""
COLUMNS = "name, built, length_m, text, summary"


@pytest.fixture(name="boats")
def _boats(workspace: Workspace) -> Workspace:
    """A workspace for the task of boats."""
    workspace.task = "boats"
    workspace.settings["YES"] = "1"
    workspace.write_file("tasks/boats.py", BOATS)
    workspace.write_file("boats.csv", CSV)
    return workspace


def read_table(workspace: Workspace, columns: str = COLUMNS) -> list[tuple[Any, ...]]:
    """Return the rows of the table by name."""
    query = f"SELECT {columns} FROM boats ORDER BY name"  # noqa: S608 - constant names
    return [tuple(row) for row in run_sql(workspace, query)]


def add(workspace: Workspace, code: int = 0, **cells: Any) -> Any:
    """Add a row, and return the document of the report."""
    path = workspace.write_file("new.json", json.dumps(cells))
    return workspace.run_command("add_row", **{"from": path}, json=True, code=code).json


def test_file_is_imported_and_asked(boats: Workspace) -> None:
    """The table is made, faults are told, and a second import changes only what differs."""
    # A dry run needs no workspace, and makes none.
    report = boats.run_command("import", **{"from": "boats.csv"}, dry=True, json=True).json
    assert (report["added"], boats.data.exists()) == (3, False)

    report = boats.run_command("import", **{"from": "boats.csv"}, json=True).json
    assert (report["added"], report["rejected"], report["changed"]) == (3, 1, 1)
    assert "other columns, stored for exports and --where: Owner" in str(report["notes"])
    assert boats.state_counts() == {"open": 3, "refused": 1}
    assert read_table(boats, "name, built, length_m") == [
        ("Albatross", 1978, 12.5),
        ("Brisk", 2004, 7.0),
        ("Cormorant", None, None),
    ]

    boats.run_command("tag", mode="live")
    assert boats.state_counts() == {"answered": 3, "refused": 1}
    assert [row["state"] for row in boats.exported_rows()] == [*["answered"] * 3, "refused"]
    answers = {row["name"]: row["summary"] for row in boats.exported_rows() if row["summary"]}
    assert dict(read_table(boats, "name, summary")) == answers

    boats.write_file("boats.csv", CSV.replace("19x4", "1994").replace("Brisk", "Breeze"))
    report = boats.run_command("import", **{"from": "boats.csv"}, json=True).json
    assert (report["added"], report["updated"], report["unchanged"]) == (1, 1, 1)
    assert "lacks 1 row of the table boats (Brisk)" in str(report["notes"])
    assert boats.state_counts() == {"answered": 3, "open": 1, "refused": 1}
    assert dict(read_table(boats, "name, built"))["Cormorant"] == 1994


def test_row_is_added_and_asked_at_once(boats: Workspace, api: Engine) -> None:
    """Wrong documents store nothing; without a reply the row is open for the next command."""
    report = add(boats, name="Dory", text="A rowing boat.", built="1999")
    assert report["row"] == "Dory"
    assert read_table(boats) == [
        ("Dory", 1999, None, "A rowing boat.", report["answer"]["summary"])
    ]
    assert api.count_calls("POST", LIVE_CALL) == 1

    for cells, message in (
        ({"name": "Dory"}, "has the row 'Dory' already"),
        ({"text": "No name."}, "name: missing"),
        ({"name": "Emu", "built": "old"}, "built: not a whole number (found 'old')"),
    ):
        assert message in str(add(boats, code=2, **cells)), cells
    assert api.count_calls("POST", LIVE_CALL) == 1

    # Another program adds a row, and the next command asks about it.
    run_sql(boats, "INSERT INTO boats (name, text) VALUES ('Emu', 'A ferry.')")
    boats.run_command("tag", mode="live")
    assert boats.state_counts() == {"answered": 2}
    boats.run_command("forget", "Dory")
    assert read_table(boats, "name") == [("Emu",)]


def test_row_without_a_reply_is_open(boats: Workspace, api: Engine) -> None:
    """The row is stored, the report says why it has no answer, and the next command asks it."""
    api.script_fault("status", path=LIVE_CALL, nth=1, times=100, args={"code": 503})
    report = add(boats, name="Dory", text="A rowing boat.")
    assert report["answer"] is None
    assert report["problem"]
    assert boats.state_counts() == {"open": 1}
    api.clear_faults()
    boats.run_command("tag", mode="live")
    assert read_table(boats, "name, summary")[0][1]

    assert add(boats, name="Emu", text=" ")["problem"] == "not asked: it has no text to ask about"


def test_adopted_table_keeps_its_rows(boats: Workspace) -> None:
    """A table of another program gets the column of `write_to=` after the consent, no other."""
    run_sql(
        boats,
        "CREATE TABLE boats (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(40) UNIQUE NOT NULL, "
        "built INTEGER, length_m REAL, text TEXT, berth TEXT DEFAULT 'none')",
    )
    insert = "INSERT INTO boats (id, name, text, berth) VALUES (7, 'Albatross', 'A ketch.', 'A1')"
    run_sql(boats, insert)
    del boats.settings["YES"]
    refusal = boats.run_command("tag", code=3, backend="local")
    assert "the column boats.summary" in refusal.stderr
    assert [len(row) for row in run_sql(boats, "SELECT * FROM boats")] == [6]

    boats.settings["YES"] = "1"
    boats.run_command("import", **{"from": "boats.csv"})
    boats.run_command("tag", mode="live")
    rows = read_table(boats, "id, name, text, berth")
    assert rows[0] == (7, "Albatross", "A ketch with two masts.", "A1")
    assert [row[0] for row in rows] == [7, 8, 9]
    assert all(value for (value,) in read_table(boats, "summary"))


def test_table_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """A missing column is named, and nothing is written."""
    boats = Workspace(tmp_path / "here", task="boats", settings={"YES": "1"})
    boats.write_file("tasks/boats.py", BOATS)
    run_sql(boats, "CREATE TABLE boats (name TEXT PRIMARY KEY, text TEXT)")
    refusal = boats.run_command("tag", code=3)
    assert "`built` is missing, `length_m` is missing" in refusal.stderr
    assert read_table(boats, "name, text") == []


# ---- file_key=


@pytest.fixture(name="named_boats")
def _named_boats(boats: Workspace) -> Workspace:
    """The same task with ids of the table, and boats that are named by their names."""
    boats.write_file("tasks/boats.py", NAMED_BOATS)
    return boats


def test_rows_are_matched_and_named_by_file_key(named_boats: Workspace) -> None:
    """The ids are new numbers; files, documents, ROW= and lists name a boat."""
    boats = named_boats
    report = boats.run_command("import", **{"from": "boats.csv"}, json=True).json
    assert (report["added"], report["rejected"], report["changed"]) == (3, 1, 1)
    rejection = report["findings"][-1]
    assert (rejection["column"], rejection["reason"]) == ("name", "empty")
    boats.run_command("tag", mode="live")
    assert read_table(boats, "id, name") == [(1, "Albatross"), (2, "Brisk"), (3, "Cormorant")]
    assert all(summary for (summary,) in read_table(boats, "summary"))
    assert boats.run_command("show", row="Brisk", json=True).json["name"] == "Brisk"

    # A file names Brisk in another case twice, and gives Albatross another text.
    boats.write_file("next.csv", "name,text\nAlbatross,A sloop.\nbrisk,A\nBRISK,B\n")
    report = boats.run_command("import", **{"from": "next.csv"}, dry=True, json=True).json
    assert (report["added"], report["updated"], report["rejected"]) == (1, 1, 1)
    assert "already on line 3" in str(report["findings"])
    assert len(read_table(boats)) == 3

    # The id of a forgotten boat is never given again.
    boats.run_command("forget", "Cormorant")
    assert add(boats, name="Dory", text="A rowing boat.")["row"] == "Dory"
    assert read_table(boats, "id, name")[-1] == (4, "Dory")
    assert "has the row 'Dory' already" in str(add(boats, code=2, name="Dory", text="Again."))
    boats.run_command("tag", mode="live")
    assert boats.state_counts() == {"answered": 3, "refused": 1}


@pytest.mark.parametrize("id_type", ["INTEGER", "VARCHAR(40)", "uuid"])
def test_adopted_table_has_ids_of_its_own(named_boats: Workspace, id_type: str) -> None:
    """A table without a primary key is adopted, and keeps the type of its ids.

    Of two rows with the same name, the file changes the one with the lowest id. A row without a
    name stays, and columns that need a value get a blank.
    """
    boats = named_boats
    ids = ["7", "8", "9", "10"]
    if id_type != "INTEGER":
        ids = [f"0000000{number}-0000-4000-8000-000000000000" for number in range(1, 5)]
    if id_type == "uuid" and not boats.server:
        id_type = "TEXT"
    run_sql(
        boats,
        f"CREATE TABLE boats (id {id_type}, name VARCHAR(40), text TEXT NOT NULL, "
        "built INTEGER NOT NULL, berth TEXT DEFAULT 'none')",
    )
    rows = [("'Brisk'", "A"), ("'Brisk'", "B"), ("NULL", "C"), ("'Emu'", "")]
    for row_id, (name, text) in zip(ids, rows, strict=True):
        values = f"'{row_id}', {name}, '{text}', 1"
        run_sql(boats, f"INSERT INTO boats (id, name, text, built) VALUES ({values})")  # noqa: S608
    boats.write_file("boats.csv", "name,text,length_m\nBrisk,A day sailer.,7\nFerry,,\n")
    report = boats.run_command("import", **{"from": "boats.csv"}, json=True).json
    assert (report["added"], report["updated"]) == (1, 1)
    assert "lacks 1 row of the table boats (Emu)" in str(report["notes"])
    texts = dict(run_sql(boats, "SELECT CAST(id AS TEXT), text FROM boats"))
    assert [texts.pop(row_id) for row_id in ids] == ["A day sailer.", "B", "C", ""]
    ((new_id, new_text),) = texts.items()
    assert new_text == ""
    assert new_id == "11" if id_type == "INTEGER" else len(new_id) == 36
    ferry = "SELECT built, length_m, berth FROM boats WHERE name = 'Ferry'"
    assert [tuple(row) for row in run_sql(boats, ferry)] == [(0, None, "none")]

    boats.run_command("tag", mode="live")
    assert boats.state_counts() == {"answered": 3, "empty": 2}
    summaries = dict(run_sql(boats, "SELECT CAST(id AS TEXT), summary FROM boats"))
    assert [bool(summaries[row_id]) for row_id in ids] == [True, True, True, False]


def test_row_without_a_name_is_found_by_its_id(named_boats: Workspace) -> None:
    """A search names it by the id, because the cell of `file_key=` is NULL."""
    indexed_text = NAMED_BOATS.replace(
        'prompt="{text}",', 'prompt="{text}", index="{summary} {text}", metadata={"Name": "name"},'
    )
    named_boats.write_file("tasks/boats.py", indexed_text)
    run_sql(named_boats, "CREATE TABLE boats (id INTEGER PRIMARY KEY, name TEXT, text TEXT)")
    run_sql(named_boats, "INSERT INTO boats VALUES (7, NULL, 'A ketch with two masts.')")
    named_boats.run_command("tag_live")
    named_boats.run_command("index")
    [hit] = named_boats.run_command("search", "ketch", json=True).json
    assert hit["key"] == "7"


def test_version_that_the_file_does_not_declare_is_refused(boats: Workspace, api: Engine) -> None:
    """VERSION= of a task with a file asks nothing under another version."""
    boats.run_command("import", **{"from": "boats.csv"})
    refused_run = boats.run_command("tag_live", VERSION="boats@3", code=3)
    assert "boats@1" in refused_run.stderr
    assert api.count_calls("POST", LIVE_CALL) == 0


def test_changed_and_missing_boats_are_told(named_boats: Workspace) -> None:
    """A parked boat with another text is asked again, an answered one is stale.

    A dry run counts the same, and its report lists missing boats, which `forget` deletes.
    """
    boats = named_boats
    check = "def check(answer, row):\n    if row['text'] == '?':\n        raise NoAnswer('use')\n\n"
    task = NAMED_BOATS.replace("import DatabaseTable, Task", "import DatabaseTable, NoAnswer, Task")
    task = task.replace("task = Task(", f"{check}\ntask = Task(check=check, ")
    boats.write_file("tasks/boats.py", task)
    boats.write_file(
        "boats.csv", "name,text\nAlbatross,A ketch.\nBrisk,?\nEmu,A ferry.\nFulmar,?\n"
    )
    boats.run_command("import", **{"from": "boats.csv"})
    boats.run_command("tag", mode="live")
    assert boats.state_counts() == {"answered": 2, "parked": 2}

    boats.write_file("next.csv", "name,text\nAlbatross,A sloop.\nBrisk,A yawl.\nFulmar,?\n")
    for is_dry in (True, False):
        options: dict[str, Any] = {"from": "next.csv"}
        if is_dry:
            options |= {"dry": True, "report": "gone.csv"}
        report = boats.run_command("import", json=True, **options).json
        assert (report["updated"], report["unchanged"], report["released"]) == (2, 1, 1)
        assert report["gone"] == 1
        assert "lacks 1 row of the table boats (Emu); none was deleted" in str(report["notes"])
        assert "askrows forget --task boats --file gone.csv" in str(report["notes"])
    assert boats.state_counts() == {"answered": 1, "stale": 1, "open": 1, "parked": 1}

    boats.run_command("forget", file="gone.csv")
    assert [name for (name,) in read_table(boats, "name")] == ["Albatross", "Brisk", "Fulmar"]


def test_table_with_repeated_ids_is_refused(tmp_path: Path) -> None:
    """Nothing is written, and the error says how many ids cannot be used."""
    boats = Workspace(tmp_path / "here", task="boats", settings={"YES": "1"})
    boats.write_file("tasks/boats.py", NAMED_BOATS)
    run_sql(boats, "CREATE TABLE boats (id INTEGER, name TEXT)")
    run_sql(boats, "INSERT INTO boats (id, name) VALUES (1, 'a'), (1, 'b'), (NULL, 'c')")
    refusal = boats.run_command("tag", code=3)
    assert "`id` is missing, empty or repeated (2 of 3)" in refusal.stderr
    assert [len(row) for row in run_sql(boats, "SELECT * FROM boats")] == [2, 2, 2]


# ---- columns that the table lacks


def test_other_columns_are_kept_beside_the_table(named_boats: Workspace) -> None:
    """They are exported, filtered, shown in the view, kept by syncs, and forgotten with the row."""
    boats = named_boats
    boats.run_command("import", **{"from": "boats.csv"})
    boats.run_command("tag", mode="live")
    owners = [row["Owner"] for row in boats.exported_rows() if row["state"] == "answered"]
    assert owners == ["Ada", "", "Cy"]
    found = boats.run_command("items", where="Owner = 'Cy'", json=True).json
    (found_row,) = found["rows"]
    assert "Cormorant" in str(found_row)
    view = 'SELECT name, "Owner" FROM boats_answered ORDER BY name'
    assert tuple(run_sql(boats, view)[0]) == ("Albatross", "Ada")

    # A file with other columns keeps those of earlier files; a dry run writes nothing.
    boats.write_file("next.jsonl", json.dumps({"name": "Albatross", "Berths": 4}))
    report = boats.run_command("import", **{"from": "next.jsonl"}, dry=True, json=True).json
    assert (report["updated"], report["unchanged"]) == (1, 0)
    boats.run_command("import", **{"from": "next.jsonl"})
    report = boats.run_command("import", **{"from": "next.jsonl"}, json=True).json
    assert (report["updated"], report["unchanged"]) == (0, 1)
    run_sql(boats, "UPDATE boats SET length_m = 13 WHERE name = 'Albatross'")
    boats.run_command("tag", mode="live")
    row = boats.exported_rows()[0]
    assert (row["length_m"], row["Owner"], row["Berths"]) == (13, "Ada", 4)

    assert add(boats, name="Dory", text="A rowing boat.", Owner="Di")["answer"]
    rows = {row["name"]: row for row in boats.exported_rows()}
    assert rows["Dory"]["Owner"] == "Di"

    # Another program gives the id of a boat to another one: its cells are not those of the boat.
    run_sql(boats, "UPDATE boats SET name = 'Fulmar' WHERE name = 'Dory'")
    boats.run_command("tag", mode="live")
    rows = {row["name"]: row for row in boats.exported_rows()}
    assert rows["Fulmar"]["Owner"] is None

    boats.run_command("forget", "Albatross")
    paths = [path for path in boats.data.rglob("*") if path.is_file()]
    assert not [path for path in paths if b"Ada" in path.read_bytes()]


def test_export_is_imported_without_its_answers(named_boats: Workspace) -> None:
    """An export changes nothing; columns that askrows makes are ignored, with a note."""
    boats = named_boats
    boats.run_command("import", **{"from": "boats.csv"})
    boats.run_command("tag", mode="live")
    for format_name in ("csv", "json"):
        target = f"boats-out.{format_name}"
        boats.run_command("export", to=target)
        report = boats.run_command("import", **{"from": target}, json=True).json
        assert (report["added"], report["updated"], report["unchanged"]) == (0, 0, 3)
        assert "columns ignored: answer_version, answered_at, reason, state, summary" in str(
            report["notes"]
        )
    boats.run_command("tag", mode="live")
    assert "answer_version" not in str(
        boats.run_command("show", row="Brisk", json=True).json["row"]
    )


# ---- read=


def test_function_reads_the_cells_of_files(named_boats: Workspace) -> None:
    """Changed cells are findings with their line; a document's changes are warnings."""
    boats = named_boats
    boats.write_file("tasks/boats.py", READ_BOATS)
    text = "NAME,length m,Builder,text\nAlbatross,40ft,Ash,A ketch.\nBrisk,7,,A sailer.\nEmu,x,,\n"
    boats.write_file("boats.csv", text)
    report = boats.run_command("import", **{"from": "boats.csv"}, json=True).json
    assert [tuple(finding.values())[:5] for finding in report["findings"]] == [
        (2, "length_m", "read as 12.19 m", "40ft", "changed"),
        (4, "length_m", "not a number; left empty", "x", "changed"),
    ]
    assert report["findings"][0]["name"] == "Albatross"
    assert read_table(boats, "name, length_m, text") == [
        ("Albatross", 12.19, "A ketch. Built by Ash."),
        ("Brisk", 7, "A sailer."),
        ("Emu", None, None),
    ]
    # The cell of the further column stays under its own name, too, if it is another one.
    boats.write_file("next.csv", "name,length_m\nAlbatross,40ft\n")
    report = boats.run_command("import", **{"from": "next.csv"}, json=True).json
    assert (report["unchanged"], report["changed"]) == (1, 1)

    path = boats.write_file("new.json", json.dumps({"name": "Dory", "length_m": "10ft"}))
    added = boats.run_command("add_row", **{"from": str(path)})
    assert "Dory: length_m: read as 3.05 m (10ft)" in added.stderr
    assert dict(read_table(boats, "name, length_m"))["Dory"] == 3.05


def test_failing_function_changes_nothing(named_boats: Workspace) -> None:
    """The error names the file, the line of the code and the line of the row."""
    boats = named_boats
    boats.run_command("import", **{"from": "boats.csv"})
    boats_before = read_table(boats, "*")
    for code, message in (
        ("    return cells", "read() must return the cells of the table by column"),
        ("    return {'colour': 1}, []", "but it returned ({'colour': 1}, [])"),
        ("    return cells['colour'], []", "read() failed on line 2 of the rows: KeyError"),
    ):
        function = f"def read(cells):\n{code}\n\n"
        boats.write_file("tasks/boats.py", READ_BOATS.replace(READ, function))
        refusal = boats.run_command("import", **{"from": "boats.csv"}, code=3).stderr
        assert message in refusal, refusal
        assert "boats.py, line " in refusal
        assert "nothing was stored" in refusal
    assert read_table(boats, "*") == boats_before
