"""`add-expert` tags a new person at once, and `new-task` writes the task file of any table."""

import json
from typing import Any

import pytest

from tests.acceptance.engine import LIVE_CALL, Engine
from tests.acceptance.product import Workspace

ADA = {
    "Username": "ada",
    "First Name": "Ada",
    "Last Name": "Byron",
    "Job Title": "Beekeeper",
    "Bio": "Keeps bees and teaches water law.",
    "Hourly Rate": 95,
    "Profile URL": "https://example.org/ada",
}
LONG = "The kettle boils in three minutes, but the lid burned my hand. Number {}."


def add(workspace: Workspace, document: Any, code: int = 0) -> dict[str, Any]:
    """Add the person of a document and return the report."""
    text = document if isinstance(document, str) else json.dumps(document)
    path = workspace.write_file("new.json", text)
    report: dict[str, Any] = workspace.run_command("add", path, json=True, code=code).json
    answer = report.get("answer") or {"tags": []}
    return {**report, **report.get("derived", {}), **answer, "username": report.get("row")}


def test_person_is_inserted_tagged_scored_and_found(workspace: Workspace, api: Engine) -> None:
    """A document has the names of a header or of the table; only a bio costs a live call."""
    ada = add(workspace, ADA)
    assert (ada["username"], ada["name"]) == ("ada", "Ada Byron")
    bio_score = len(str(ADA["Bio"])) / 500 * 40
    assert ada["findability_score"] == round(bio_score + 25 + 15 + 10 + 10, 1)
    (row,) = workspace.exported_rows()
    assert (row["Job Title"], row["Hourly Rate"], row["tags"]) == ("Beekeeper", 95, ada["tags"])
    assert [request["outcome"] for request in workspace.logged_requests()] == ["answered"]

    snake_case = {name.lower().replace(" ", "_"): value for name, value in ADA.items()}
    bios = ("Keeps bees.", " ", "Keeps bees.")
    people = [
        add(workspace, {**snake_case, "username": f"p{n}", "bio": bio})
        for n, bio in enumerate(bios)
    ]
    assert [(person["username"], bool(person["tags"])) for person in people] == [
        ("p0", True),
        ("p1", False),
        ("p2", True),
    ]
    assert api.count_calls("POST", LIVE_CALL) == 3
    assert workspace.state_counts() == {"tagged": 3, "no_bio": 1}

    # Columns in other words are mapped, suggested, or stored for an export.
    bea = {"Login": "bea", "Full name": "Bea Berg", "Firma": "Hives", "Hat": 1}
    add(workspace, bea)
    assert workspace.exported_rows()[-1]["Last Name"] == "Berg"
    add(workspace, {"username": "cy", "Biography text": "Knots."})

    workspace.run_command("index")
    assert set(workspace.search("bees")) == {"ada", "p0", "p2"}


def test_refused_person_changes_nothing(workspace: Workspace, api: Engine) -> None:
    """A wrong document ends with exit code 2, and no request is sent."""
    add(workspace, {**ADA, "Bio": None})
    for document, message in (
        (ADA, "has the row 'ada' already"),
        ([{"username": "b"}], "not a JSON object"),
        ({"bio": "Who?"}, "Username: missing"),
        ('"text"', "not a JSON object"),
        ({"username": "bad\0"}, "Username"),
        ("{half", "JSON"),
    ):
        assert message in str(add(workspace, document, code=2)), document
    assert "nowhere.json" in workspace.run_command("add", "nowhere.json", code=2).stderr
    assert (list(workspace.exported_tags()), api.count_calls("POST", LIVE_CALL)) == (
        ["ada"],
        0,
    )


NUMBERS = range(3)
# Each table with the expected key column and the expected text column.
TABLES = {
    # As a German spreadsheet writes it.
    "bewertungen.csv": (
        [
            "\ufeffKunde;Bestell-Nr;Bewertung;Produkt;Kommentar\r\n",
            *(f"7;B{n};{n};Kessel;{LONG.format(n)}\r\n" for n in NUMBERS),
        ],
        "Bestell-Nr",
        "Kommentar",
    ),
    # A constant id is no key, so that each row gets a hash.
    "notes.csv": (
        ["id;2. Review Text;rating\n", *(f"7;{LONG.format(n)};4\n" for n in NUMBERS)],
        "row",
        "2. Review Text",
    ),
    "tickets.jsonl": (
        [f'{{"ticket_id": {n}, "open": true, "body": "{LONG.format(n)}"}}\n' for n in NUMBERS],
        "ticket_id",
        "body",
    ),
    "select.csv": (
        ["select;from;uuid\n", *(f"{LONG.format(n)};{n};{n:032x}\n" for n in NUMBERS)],
        "uuid",
        "select",
    ),
    "lines.csv": (
        ['id;"Text\r\nof it"\n', *(f'{n};"{LONG.format(n)}\n""bright"""\n' for n in NUMBERS)],
        "id",
        "Text of it",
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_written_task_file_runs_without_changes(workspace: Workspace, name: str) -> None:
    """The task of a new workspace tags every row with quotations of its text."""
    lines, key_column, text_column = TABLES[name]
    workspace.write_file(name, "").write_bytes("".join(lines).encode())
    document = workspace.read_json("new_task", "mine", **{"from": name})
    assert (document["key"], document["text"]) == (key_column, text_column)
    assert document["sent"] == [text_column]

    workspace.task = "mine"
    workspace.run_command("tag")
    assert workspace.state_counts() == {"answered": 3}
    rows = workspace.exported_rows()
    quotes = [(row[text_column], row["quote"]) for row in rows]
    assert len(rows) == 3
    assert quotes
    assert all(text[quote["start"] : quote["end"]] == quote["quote"] for text, quote in quotes)


def test_impossible_task_is_refused_and_writes_nothing(workspace: Workspace) -> None:
    """The error names the reason; no file is written, and no workspace is created."""
    workspace.write_file("t.csv", "id,text\n1,kettle\n")
    workspace.write_file("signs.csv", "id,??\n1,kettle\n")
    workspace.write_file("tasks/there.py", "mine\n")

    for name, source, message in (
        ("Kessel", "t.csv", "a task cannot be called 'Kessel'"),
        ("experts", "t.csv", "a task cannot be called 'experts'"),
        ("mine", "none.csv", "none.csv does not exist"),
        ("mine", "signs.csv", "column '??' (the text column"),
        ("there", "t.csv", "tasks/there.py exists already"),
        ("mine", "SELECT x FROM nowhere", "nowhere"),
    ):
        assert message in workspace.run_command("new_task", name, code=2, **{"from": source}).stderr
    assert "--from" in workspace.run_command("new_task", "mine", code=2).stderr
    assert [path.name for path in (workspace.home / "tasks").iterdir()] == ["there.py"]
    assert workspace.state_counts() == {}
