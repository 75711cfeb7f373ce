"""One person more, tagged at once, and the file of a task for any table: what is made, and what is left as it was."""

import csv
import json
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from tests.acceptance.database import sql
from tests.acceptance.engine import Engine
from tests.acceptance.process import LONGEST_S
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


def live_calls(api: Engine) -> int:
    """Return how often the server was asked live."""
    return sum(LIVE in one["path"] for one in api.journal())


def add(workspace: Workspace, document: Any, code: int = 0) -> dict[str, Any]:
    """Add who stands in a document, and return what is said of them."""
    path = workspace.put(
        "new.json", document if isinstance(document, str) else json.dumps(document)
    )
    found: dict[str, Any] = workspace.do("add", path, json=True, code=code).json
    return found


def test_a_person_is_inserted_tagged_scored_and_found(workspace: Workspace, api: Engine) -> None:
    """Keys as in a header or as in the table; one live call; who has no bio costs none."""
    ada = add(workspace, [ADA])
    assert (ada["username"], ada["name"], bool(ada["tags"]), ada["problem"]) == (
        "ada",
        "Ada Byron",
        True,
        "",
    )
    assert ada["findability_score"] == round(len(str(ADA["Bio"])) / 500 * 40 + 25 + 15 + 10 + 10, 1)
    (row,) = workspace.exported()
    assert (row["Job Title"], row["Hourly Rate"], row["tags"]) == ("Beekeeper", 95, ada["tags"])
    assert [one["outcome"] for one in workspace.asked()] == ["answered"]
    snake = {name.lower().replace(" ", "_"): value for name, value in ADA.items()}
    bios = ("Keeps bees.", " ", "Keeps bees.")
    added = [
        add(workspace, {**snake, "username": f"p{n}", "bio": bio}) for n, bio in enumerate(bios)
    ]
    assert [(one["username"], bool(one["tags"])) for one in added] == [
        ("p0", True),
        ("p1", False),
        ("p2", True),
    ]
    assert live_calls(api) == 3
    assert workspace.states() == {"tagged": 3, "no_bio": 1}
    said = workspace.do(
        "add",
        workspace.put(
            "bea.json",
            json.dumps({"Login": "bea", "Full name": "Bea Berg", "Firma": "Hives", "Hat": 1}),
        ),
    )
    assert "Firma → Company" in said.err
    assert "kept for an export: Hat" in said.err
    assert workspace.exported()[-1]["Last Name"] == "Berg"
    said = workspace.do(
        "add", workspace.put("cy.json", json.dumps({"username": "cy", "Biography text": "Knots."}))
    )
    assert "is mended by `" in said.err
    workspace.do("index")
    assert set(workspace.found("bees")) == {"ada", "p0", "p2"}


def test_what_cannot_be_added_leaves_all_as_it_was(workspace: Workspace, api: Engine) -> None:
    """A username that exists or is missing, none or several people, no JSON, no file: exit code 2, none is asked."""
    add(workspace, {**ADA, "Bio": None})
    for document, said in (
        (ADA, "'ada' exists already"),
        ([{"username": "b"}, {"username": "c"}], "a list of 2"),
        ({"bio": "Who?"}, "Username: missing"),
        ([], "no person"),
        ('"text"', "not an object"),
        ([{"username": "bad\0"}], "Username"),
        ("{half", "JSON"),
    ):
        assert said in str(add(workspace, document, code=2)), document
    assert "nowhere.json" in workspace.do("add", "nowhere.json", code=2).err
    assert (list(workspace.tags()), live_calls(api)) == (["ada"], 0)


def test_where_the_service_is_down_people_are_saved_and_asked_later(
    workspace: Workspace, api: Engine
) -> None:
    """A 400 for one says nothing of the next; where the day is used up each is saved, and goes out later."""
    api.fault(
        "status", path=LIVE, args={"code": 400, "message": "Request contains an invalid argument."}
    )
    added = [add(workspace, {"username": f"one-{n}", "bio": "Keeps bees."}) for n in range(2)]
    assert [(bool(one["tags"]), one["problem"][:6]) for one in added] == [
        (False, "Gemini"),
        (True, ""),
    ]
    before = live_calls(api)
    api.fault("quota_day", times=10_000, path=LIVE)
    assert add(workspace, {"username": "p", "bio": "Keeps bees."})["problem"]
    assert (live_calls(api), workspace.states()) == (before + 1, {"tagged": 1, "untagged": 2})
    api.clear_faults()
    workspace.each("submit", "poll", "ingest")
    assert workspace.states() == {"tagged": 3}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_who_is_being_tagged_when_it_ends_goes_out_with_the_next_batch(
    workspace: Workspace, api: Engine, number: signal.Signals
) -> None:
    """While the call runs the person is claimed, and a submit takes all others; once it has ended, it is free again."""
    workspace.people(2)
    path = workspace.put("new.json", json.dumps(ADA))
    api.fault("hang", times=99, path=LIVE, args={"seconds": 300})
    with workspace.start("add", path, CALL_TIMEOUT=200) as running:
        deadline = time.monotonic() + LONGEST_S
        while not live_calls(api):
            assert time.monotonic() < deadline, running.so_far()
            time.sleep(0.01)
        assert workspace.states() == {"untagged": 2, "claimed": 1}
        workspace.do("submit")
        running.signal(number)
        ended_process = running.wait()
    assert ended_process.code == (130 if number == signal.SIGINT else -number)
    assert number == signal.SIGKILL or "ada is saved without tags" in ended_process.err
    assert set(workspace.tags()) == {"person-0000", "person-0001", "ada"}
    workspace.each("submit", "poll", "ingest")
    assert [len(create["lines"]) for create in api.creates()] == [2, 1]
    assert workspace.states() == {"tagged": 3}


class Table(NamedTuple):
    """A table as it comes, and what is to be found of it: its key, and its text, which alone is sent."""

    file: str
    rows: list[dict[str, Any]]
    key: str
    text: str

    def write(self, home: Path) -> None:
        """Write it as JSON lines, or as CSV of a German spreadsheet."""
        if self.file.endswith("jsonl"):
            (home / self.file).write_text(
                "".join(f"{json.dumps(row)}\n" for row in self.rows), encoding="utf-8"
            )
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
                "Bestell-Nr": f"B{one}",
                "Bewertung": one,
                "Produkt": "Kessel",
                "Kommentar": LONG.format(one),
            }
            for one in range(1, 4)
        ],
        key="Bestell-Nr",
        text="Kommentar",
    ),
    Table(
        "notes.csv",
        [{"id": 7, "2. Review Text": LONG.format(one), "rating": 4} for one in range(3)],
        "row",
        "2. Review Text",
    ),
    Table(
        "tickets.jsonl",
        [{"ticket_id": one, "open": True, "body": LONG.format(one)} for one in range(3)],
        "ticket_id",
        "body",
    ),
    Table(
        "select.csv",
        [{"select": LONG.format(one), "from": one, "uuid": f"{one:032x}"} for one in range(3)],
        "uuid",
        "select",
    ),
    Table(
        "lines.csv",
        [{"id": one, "Text\r\nof it": f'{LONG.format(one)}\n"bright"'} for one in range(3)],
        "id",
        "Text of it",
    ),
)


@pytest.mark.parametrize("table", TABLES, ids=[one.file for one in TABLES])
def test_the_file_for_a_table_runs_as_it_is(workspace: Workspace, table: Table) -> None:
    """To the export, in a workspace that is made; of each row there is an answer with quotations of its text."""
    workspace.home.mkdir()
    table.write(workspace.home)
    new = workspace.do("new_task", "mine", json=True, **{"from": table.file})
    assert (new.json["key"], new.json["text"], new.json["sent"]) == (
        table.key,
        table.text,
        [table.text],
    )
    assert "a new workspace: " in new.err
    assert new.err.endswith("next: findable try --task mine\n")
    workspace.task = "mine"
    workspace.do("tag")
    assert workspace.states() == {"answered": 3}
    rows = workspace.exported()
    quotes = [(row[table.text], row["quote"]) for row in rows]
    assert (len(rows), bool(quotes)) == (3, True)
    assert all(text[one["start"] : one["end"]] == one["quote"] for text, one in quotes)
    assert (
        "is there already" in workspace.do("new_task", "mine", code=2, **{"from": table.file}).err
    )


def test_a_query_and_a_column_of_images_are_known_too(workspace: Workspace) -> None:
    """The first column is the key where it can be one, else a hash of the row; an encoding that is no UTF-8 is said."""
    workspace.settings["YES"] = "1"  # to tables beside those of another program
    workspace.people(1)
    sql(workspace, "CREATE TABLE things (no INTEGER, note TEXT)")
    sql(
        workspace,
        "INSERT INTO things VALUES (1, 'a \"kettle\"'), (2, 'the lid'), (2, 'the lid, too')",
    )
    once = (
        "SELECT no, note AS \"what\" FROM things\n WHERE note <> '{\\n}' AND note <> 'the lid, too'"
    )
    assert (
        "key: 'no', which is in every row" in workspace.do("new_task", "once", **{"from": once}).out
    )
    assert len(workspace.read("try", TASK="once")["items"]) == 2
    assert (
        "a hash of each row"
        in workspace.do("new_task", "twice", **{"from": "SELECT * FROM things"}).out
    )
    (workspace.home / "western.csv").write_bytes("id,text\n1,Schöner Kessel\n".encode("cp1252"))
    assert "read as cp1252" in workspace.do("new_task", "western", **{"from": "western.csv"}).out
    assert "Schöner Kessel" in str(workspace.read("try", TASK="western")["items"][0]["request"])
    for name in "ab":
        Image.new("RGB", (40, 30), "navy").save(workspace.home / f"{name}.jpg")
    workspace.put("photos.csv", f'id,picture,note\na,a.jpg,"{LONG}"\nb,b.jpg,"{LONG}"\n')
    found = workspace.read(
        "new_task", "photos", **{"from": "photos.csv", "text": "note", "with": "picture"}
    )
    assert (found["images"], found["text"]) == (["picture"], "note")
    tried = workspace.read("try", TASK="photos")["items"]
    assert [one["outcome"] for one in tried] == ["answered"] * 2
    assert "inlineData" in tried[0]["request"]["contents"][0]["parts"][0]


def test_a_task_that_cannot_be_is_refused_and_nothing_is_written(workspace: Workspace) -> None:
    """With what is wrong; no file is overwritten, none is made, and no workspace."""
    workspace.put("t.csv", "id,text\n1,kettle\n")
    workspace.put("signs.csv", "id,??\n1,kettle\n")
    workspace.put("tasks/there.py", "mine\n")
    for name, source, said in (
        ("Kessel", "t.csv", "a task cannot be called 'Kessel'"),
        ("experts", "t.csv", "a task cannot be called 'experts'"),
        ("mine", "none.csv", "none.csv is not there"),
        ("mine", "signs.csv", "'??' is the text"),
        ("there", "t.csv", "tasks/there.py is there already"),
        ("mine", "SELECT x FROM nowhere", "nowhere"),
    ):
        assert said in workspace.do("new_task", name, code=2, **{"from": source}).err
    assert "--from" in workspace.do("new_task", "mine", code=2).err
    assert [one.name for one in (workspace.home / "tasks").iterdir()] == ["there.py"]
    assert workspace.states() == {}
