"""`add-expert` tags a new person at once, and `new-task` writes the task file of any table."""

import csv
import json
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from tests.acceptance.database import run_sql
from tests.acceptance.engine import Engine
from tests.acceptance.process import MAX_WAIT_S
from tests.acceptance.product import Workspace

LIVE = ":generateContent"
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
    return report


def test_person_is_inserted_tagged_scored_and_found(workspace: Workspace, api: Engine) -> None:
    """A document has the names of a header or of the table; only a bio costs a live call."""
    ada = add(workspace, [ADA])
    assert (ada["username"], ada["name"]) == ("ada", "Ada Byron")
    assert ada["tags"]
    assert ada["problem"] == ""
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
    assert api.count_calls("POST", LIVE) == 3
    assert workspace.state_counts() == {"tagged": 3, "no_bio": 1}

    # Columns in other words are mapped, suggested, or stored for an export.
    bea = {"Login": "bea", "Full name": "Bea Berg", "Firma": "Hives", "Hat": 1}
    add_run = workspace.run_command("add", workspace.write_file("bea.json", json.dumps(bea)))
    assert "Firma → Company" in add_run.stderr
    assert "stored for exports and --where: Hat" in add_run.stderr
    assert workspace.exported_rows()[-1]["Last Name"] == "Berg"
    cy = {"username": "cy", "Biography text": "Knots."}
    add_run = workspace.run_command("add", workspace.write_file("cy.json", json.dumps(cy)))
    assert "corrects people who are already stored" in add_run.stderr

    workspace.run_command("index")
    assert set(workspace.search("bees")) == {"ada", "p0", "p2"}


def test_refused_person_changes_nothing(workspace: Workspace, api: Engine) -> None:
    """A wrong document ends with exit code 2, and no request is sent."""
    add(workspace, {**ADA, "Bio": None})
    for document, message in (
        (ADA, "'ada' exists already"),
        ([{"username": "b"}, {"username": "c"}], "a list of 2"),
        ({"bio": "Who?"}, "Username: missing"),
        ([], "the list is empty"),
        ('"text"', "not a JSON object"),
        ([{"username": "bad\0"}], "Username"),
        ("{half", "JSON"),
    ):
        assert message in str(add(workspace, document, code=2)), document
    assert "nowhere.json" in workspace.run_command("add", "nowhere.json", code=2).stderr
    assert (list(workspace.exported_tags()), api.count_calls("POST", LIVE)) == (["ada"], 0)


def test_people_are_saved_and_asked_later_if_the_service_fails(
    workspace: Workspace, api: Engine
) -> None:
    """A refused person does not stop the next person, and a used-up day saves people untagged."""
    refusal = {"code": 400, "message": "Request contains an invalid argument."}
    api.script_fault("status", path=LIVE, args=refusal)
    people = [add(workspace, {"username": f"one-{n}", "bio": "Keeps bees."}) for n in range(2)]
    assert [(bool(person["tags"]), person["problem"][:6]) for person in people] == [
        (False, "Gemini"),
        (True, ""),
    ]

    calls_before = api.count_calls("POST", LIVE)
    api.script_fault("quota_day", times=10_000, path=LIVE)
    assert add(workspace, {"username": "p", "bio": "Keeps bees."})["problem"]
    assert (api.count_calls("POST", LIVE), workspace.state_counts()) == (
        calls_before + 1,
        {"tagged": 1, "untagged": 2},
    )

    api.clear_faults()
    workspace.run_commands("submit", "poll", "ingest")
    assert workspace.state_counts() == {"tagged": 3}


@pytest.mark.parametrize(
    "signal_number", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"]
)
def test_person_of_an_ended_call_is_sent_with_the_next_batch(
    workspace: Workspace, api: Engine, signal_number: signal.Signals
) -> None:
    """A running call claims its person; after the end of the process the person is free again."""
    workspace.import_people(2)
    path = workspace.write_file("new.json", json.dumps(ADA))
    api.script_fault("hang", times=99, path=LIVE, args={"seconds": 300})

    with workspace.start_command("add", path, CALL_TIMEOUT=200) as running:
        deadline = time.monotonic() + MAX_WAIT_S
        while not api.count_calls("POST", LIVE):
            assert time.monotonic() < deadline, running.read_output()
            time.sleep(0.01)
        assert workspace.state_counts() == {"untagged": 2, "claimed": 1}
        workspace.run_command("submit")
        running.signal(signal_number)
        ended_process = running.wait()

    assert ended_process.code == (130 if signal_number == signal.SIGINT else -signal_number)
    assert signal_number == signal.SIGKILL or "ada is saved without tags" in ended_process.stderr
    assert set(workspace.exported_tags()) == {"person-0000", "person-0001", "ada"}
    workspace.run_commands("submit", "poll", "ingest")
    assert [len(create["lines"]) for create in api.creates()] == [2, 1]
    assert workspace.state_counts() == {"tagged": 3}


class Table(NamedTuple):
    """A table of a user with the expected key column and the expected text column."""

    file: str
    rows: list[dict[str, Any]]
    key: str
    text: str

    def write(self, home: Path) -> None:
        """Write the table as JSON lines, or as CSV of a German spreadsheet."""
        if self.file.endswith("jsonl"):
            lines = [f"{json.dumps(row)}\n" for row in self.rows]
            (home / self.file).write_text("".join(lines), encoding="utf-8")
            return

        with (home / self.file).open("w", encoding="utf-8-sig", newline="") as file:
            table = csv.DictWriter(file, self.rows[0], delimiter=";")
            table.writeheader()
            table.writerows(self.rows)


TABLES = (
    Table(
        "bewertungen.csv",
        [
            {
                "Kunde": 7,
                "Bestell-Nr": f"B{number}",
                "Bewertung": number,
                "Produkt": "Kessel",
                "Kommentar": LONG.format(number),
            }
            for number in range(1, 4)
        ],
        key="Bestell-Nr",
        text="Kommentar",
    ),
    Table(
        "notes.csv",
        [{"id": 7, "2. Review Text": LONG.format(n), "rating": 4} for n in range(3)],
        # A constant id is no key, so that each row gets a hash.
        "row",
        "2. Review Text",
    ),
    Table(
        "tickets.jsonl",
        [{"ticket_id": n, "open": True, "body": LONG.format(n)} for n in range(3)],
        "ticket_id",
        "body",
    ),
    Table(
        "select.csv",
        [{"select": LONG.format(n), "from": n, "uuid": f"{n:032x}"} for n in range(3)],
        "uuid",
        "select",
    ),
    Table(
        "lines.csv",
        [{"id": n, "Text\r\nof it": f'{LONG.format(n)}\n"bright"'} for n in range(3)],
        "id",
        "Text of it",
    ),
)


@pytest.mark.parametrize("table", TABLES, ids=[table.file for table in TABLES])
def test_written_task_file_runs_without_changes(workspace: Workspace, table: Table) -> None:
    """The task of a new workspace tags every row with quotations of its text."""
    workspace.home.mkdir()
    table.write(workspace.home)
    new_task = workspace.run_command("new_task", "mine", json=True, **{"from": table.file})
    document = new_task.json
    assert (document["key"], document["text"]) == (table.key, table.text)
    assert document["sent"] == [table.text]
    assert "a new workspace: " in new_task.stderr
    assert new_task.stderr.endswith("next: findable try --task mine\n")

    workspace.task = "mine"
    workspace.run_command("tag")
    assert workspace.state_counts() == {"answered": 3}
    rows = workspace.exported_rows()
    quotes = [(row[table.text], row["quote"]) for row in rows]
    assert len(rows) == 3
    assert quotes
    assert all(text[quote["start"] : quote["end"]] == quote["quote"] for text, quote in quotes)

    refused_run = workspace.run_command("new_task", "mine", code=2, **{"from": table.file})
    assert "exists already" in refused_run.stderr


def test_task_file_of_a_query_and_of_a_column_of_images(workspace: Workspace) -> None:
    """The first column is the key if its values differ, and a hash of each row otherwise.

    The output names an encoding other than UTF-8, and a column of images is sent as images.
    """
    # Confirms that findable adds its tables to a database of another program.
    workspace.settings["YES"] = "1"
    workspace.import_people(1)
    run_sql(workspace, "CREATE TABLE things (no INTEGER, note TEXT)")
    values = "(1, 'a \"kettle\"'), (2, 'the lid'), (2, 'the lid, too')"
    run_sql(workspace, f"INSERT INTO things VALUES {values}")  # noqa: S608 - constant values
    distinct_query = (
        "SELECT no, note AS \"what\" FROM things\n WHERE note <> '{\\n}' AND note <> 'the lid, too'"
    )

    new_task = workspace.run_command("new_task", "once", **{"from": distinct_query})
    assert "key column: no (no value twice, filled in every row)" in new_task.stdout
    assert len(workspace.read_json("try", TASK="once")["items"]) == 2
    new_task = workspace.run_command("new_task", "twice", **{"from": "SELECT * FROM things"})
    assert "a hash of each row" in new_task.stdout

    (workspace.home / "western.csv").write_bytes("id,text\n1,Schöner Kessel\n".encode("cp1252"))
    assert (
        "read as cp1252"
        in workspace.run_command("new_task", "western", **{"from": "western.csv"}).stdout
    )
    assert "Schöner Kessel" in str(
        workspace.read_json("try", TASK="western")["items"][0]["request"]
    )

    for name in "ab":
        Image.new("RGB", (40, 30), "navy").save(workspace.home / f"{name}.jpg")
    workspace.write_file("photos.csv", f'id,picture,note\na,a.jpg,"{LONG}"\nb,b.jpg,"{LONG}"\n')
    document = workspace.read_json(
        "new_task", "photos", **{"from": "photos.csv", "text": "note", "with": "picture"}
    )
    assert (document["images"], document["text"]) == (["picture"], "note")
    tried_items = workspace.read_json("try", TASK="photos")["items"]
    assert [item["outcome"] for item in tried_items] == ["answered"] * 2
    assert "inlineData" in tried_items[0]["request"]["contents"][0]["parts"][0]


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
