"""Reading changes not a byte, and another program's database is changed after a yes alone, and never what is theirs."""

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.database import connected, counts, names, schema, sql
from tests.acceptance.product import (
    IMAGES,
    ON_POSTGRESQL,
    PASSAGES,
    PEOPLE,
    VERBS,
    Workspace,
    declaration,
)

NOT_PERMITTED = 77  # exit code of a command that this machine does not let see a read-only folder
OWN = "reviews"
ALL: tuple[str | tuple[str, ...], ...] = (
    "batches",
    "costs",
    "doctor",
    "settings",
    "prices",
    ("clean", "--dry"),
)  # of no one task
ALL += (("backup", "../copy"),)
OF_TASK = (
    *(
        "status",
        "log",
        "qc",
        "parked",
        "versions",
        "preflight",
        ("items", "--counts"),
        ("export", "../out.csv", "--overwrite"),
    ),
    *(("search", "law"), ("show", "--item", "1"), ("submit", "--dry")),
)
OF_PEOPLE = ("people", "tags", ("show", "ada"))
OF_PASSAGES = ("passages_status", ("export", "-", "--best"))
SEEN = {
    ("status",),
    ("items", "--counts"),
    ("parked",),
    ("batches",),
    ("costs",),
    ("settings",),
    ("prices",),
    ("people",),
}
WRITES = """
demo ask verify-gemini new-task try import import-passages import-images passages-pilot passages-backfill tag tag-live
work worker run batch-poll batch-ingest batch-cancel score index add-expert correct unpark rollback forget restore eval
remove-tables web emulator
"""
THEIRS = (
    "CREATE TABLE experts (id INTEGER PRIMARY KEY, username TEXT, bio TEXT, shoe TEXT)",
    "INSERT INTO experts VALUES (1, 'ada', 'Knows engines.', '38'), (2, 'bo', 'Keeps bees in Lund.', '44')",
)
TEXT = json.dumps(
    {"id": "a", "text": "Study 1 examines groundwater recharge in arid river basins."}
)


def reading(task: str) -> Iterator[tuple[str, ...]]:
    """Yield every command that reads, where TASK names one; each as its words."""
    of_one = {PEOPLE: OF_PEOPLE, PASSAGES: OF_PASSAGES}.get(task, ())
    yield from ((one,) if isinstance(one, str) else one for one in (*ALL, *OF_TASK, *of_one))


def everything(workspace: Workspace) -> tuple[Any, ...]:
    """Return the schema, every row of every table, and the hash of every file but SQLite's own and reports."""
    found = (
        path
        for path in workspace.data.rglob("*")
        if path.is_file() and path.parent.name != "reports"
    )
    files = [path for path in found if ".db" not in path.name]
    with connected(workspace) as connection:
        tables = {
            one: connection.execute(f'SELECT * FROM "{one}"').fetchall()  # noqa: S608 - names that the database gave
            for one in names(connection)
        }
    rows = {one: sorted(map(repr, found)) for one, found in tables.items()}
    return (
        schema(workspace),
        rows,
        {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
    )


def put_files(workspace: Workspace) -> None:
    """Write the file of a task of one's own, and what can be imported."""
    workspace.put(
        "tasks/reviews.py",
        declaration({"stars": "int | None"}, prompt="{text}", items="reviews.csv"),
    )
    workspace.put("tasks/reviews.csv", "id,text\n1,Boils in two minutes.\n2,Warm light.\n")
    workspace.put("texts.jsonl", TEXT)
    workspace.put("ada.json", json.dumps({"username": "new", "bio": "I teach water law."}))


@pytest.fixture(name="adopted")
def _adopted(workspace: Workspace) -> Workspace:
    """Another program's database that was agreed to for people, with the file of a task that was never used."""
    for statement in THEIRS:
        sql(workspace, statement)
    put_files(workspace)
    workspace.do("score", yes=True)
    return workspace


def test_every_command_is_known_to_read_or_to_write(workspace: Workspace) -> None:
    """So that a new one is tried here, or named."""
    listed = workspace.do("--help").out.partition("Commands:")[2]
    found = {
        text
        for text in re.findall(r"^  ([a-z-]+) ", listed, re.MULTILINE)
        if not text.startswith("lab-")
    }
    reads = {
        VERBS.get(words[0], words[0]).replace("_", "-")
        for task in (PEOPLE, PASSAGES)
        for words in reading(task)
    }
    assert found - reads == {*WRITES.split()} & found
    assert len(found & reads) > 15


@pytest.mark.parametrize("task", [PEOPLE, PASSAGES, OWN])
def test_reading_changes_not_a_byte(workspace: Workspace, task: str) -> None:
    """On a disk that is read-only it says so or does without, and at a mistyped place it makes nothing."""
    put_files(workspace)
    workspace.put("people.csv", "Username,Bio\nada,I keep bees and teach water law.\nbo,\n")
    workspace.do("import", "people.csv")
    workspace.do("import_passages", "texts.jsonl")
    workspace.do("tag_live", TASK=OWN)
    workspace.each("tag_live", "index", TASK="")
    named = "" if task == PEOPLE else task
    workspace.do("status", TASK=named)
    before = everything(workspace)
    for words in reading(task):
        process = workspace.run(*words, TASK=named)
        assert process.code in ({0} if words in SEEN else {0, 2, 6}), (words, process)
        if task != PEOPLE:
            assert everything(workspace) == before, words
            continue  # what follows knows no task
        on_disk = workspace.run(*words, TASK=named, read_only=True)
        if on_disk.code == NOT_PERMITTED:
            pytest.skip("this machine lets nobody see a folder as read-only")
        assert (
            on_disk.code == process.code
            or "next: check the disk and its permissions" in on_disk.err
        ), (words, on_disk)
        assert everything(workspace) == before, words
        elsewhere = workspace.home / "dta"
        nowhere = workspace.run(
            *words, TASK=named, DATA=elsewhere, **({"DATABASE_URL": ""} if ON_POSTGRESQL else {})
        )
        assert not elsewhere.exists(), words
        assert nowhere.code == (0 if words[0] in {"settings", "prices"} else 3), (words, nowhere)


@pytest.mark.parametrize("task", [PASSAGES, pytest.param(IMAGES, marks=pytest.mark.alike), OWN])
def test_reading_makes_no_table_of_a_task_that_was_never_used(
    adopted: Workspace, task: str
) -> None:
    """It is said with what begins it. What writes asks for exactly what it adds, and after one yes none asks."""
    begins = {
        PASSAGES: ("import_passages", "texts.jsonl"),
        OWN: ("preflight",),
        IMAGES: ("import_images", "photos"),
    }[task]
    (adopted.home / "photos").mkdir()
    (adopted.home / "photos" / "a.png").write_bytes(PNG)
    before = everything(adopted)
    tables = tables_of(adopted)
    for words in reading(task):
        process = adopted.run(*words, TASK=task)
        assert everything(adopted) == before, words
        if words not in {(one,) if isinstance(one, str) else one for one in ALL}:
            assert process.code == 3, (words, process)
            assert "next: " in process.err, words
    asked_for = named_in(adopted.do(*begins, TASK=task, code=3).err)
    for words in (("submit",), ("tag",), ("unpark", "--all")):
        error_output = adopted.do(*words, TASK=task, code=3).err
        assert "tables of another program (experts)" in error_output
        assert named_in(error_output) == asked_for, words
    assert everything(adopted) == before
    adopted.do(*begins, TASK=task, yes=True)
    assert tables_of(adopted) - tables == asked_for
    adopted.do("unpark", "--all", TASK=task)
    after = everything(adopted)
    for words in (
        reading(task)
        if task == PASSAGES
        else (("status",), ("items", "--counts"), ("qc",), ("search", "law"))
    ):
        adopted.run(*words, TASK=task, PREFER_VERSIONS="x@2", MIN_CONFIDENCE="0.9")
        assert everything(adopted) == after, words


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc0000003010100"
    "c9fe92ef0000000049454e44ae426082"
)


def tables_of(workspace: Workspace) -> set[str]:
    """Return the names of all tables and views."""
    with connected(workspace) as connection:
        return {one for one in names(connection) if not one.startswith("sqlite_")}


def named_in(said: str) -> set[str]:
    """Return the tables and views that a refusal says would be made."""
    found: set[str] = set()
    for part in (
        said.partition("findable would add ")[2].partition("; nothing was written")[0].split("; ")
    ):
        words = part.removeprefix("the ")
        if words.startswith(("table", "view")) and "`" not in words:
            told = words.partition("(")[2].rstrip(")") if "(" in words else words.partition(" ")[2]
            found |= set(told.split(", "))
    return found


def test_the_first_consent_names_every_table(workspace: Workspace) -> None:
    """Off a terminal no answer is a no, and nothing is written; then exactly what was named is there."""
    sql(workspace, "CREATE TABLE orders (x INTEGER)")
    put_files(workspace)
    asked_for = named_in(workspace.do("add", "ada.json", code=3).err)
    assert tables_of(workspace) == {"orders"}
    workspace.do("add", "ada.json", yes=True)
    assert tables_of(workspace) - {"orders"} == asked_for
    assert PEOPLE in asked_for
    sql(workspace, "DROP TABLE experts")
    before = schema(workspace)
    assert "no table experts any more" in workspace.do("status", code=5).err
    assert schema(workspace) == before
    sql(workspace, "CREATE TABLE experts (id INTEGER PRIMARY KEY, username TEXT, bio TEXT)")
    workspace.data.rename(
        workspace.home / "kept"
    )  # what is broken on purpose is not looked at again


TAGS: dict[
    str, tuple[Any, str]
] = {  # username -> (tags as another application wrote them, what they mean here)
    "null": (None, "untagged"),
    "empty": ("", "untagged"),
    "blank": (" \t\n", "untagged"),
    "no-list": (" [ ] ", "untagged"),
    "json-null": ("null", "untagged"),
    "object": ('{"a":1}', "foreign"),
    "words": ("foo, bar", "foreign"),
    "number": ("7", "foreign"),
    "string": ('"law"', "foreign"),
    "broken-list": ("[law, bees]", "tagged"),
    "odd-space": ("\u00a0[]", "foreign"),
    "list": (' [ "water law","bees" ]', "tagged"),
    "mixed-list": ('["law", 3, null, {"a": [1]}]', "tagged"),
}
LEGACY = (
    "CREATE TABLE events (id INTEGER PRIMARY KEY, what TEXT)",
    "INSERT INTO events VALUES (1, 'conference'), (2, 'meetup')",
    "CREATE TABLE alembic_version (version_num TEXT PRIMARY KEY)",
    "INSERT INTO alembic_version VALUES ('c0ffee')",
    """CREATE TABLE Experts (
        bio TEXT, rank_at_work VARCHAR(20) NOT NULL DEFAULT 'expert', tags TEXT, username VARCHAR(80), hourly_rate TEXT,
        id INTEGER PRIMARY KEY, Job_Title TEXT, shoe REAL, slug TEXT GENERATED ALWAYS AS (lower(username)) STORED
    )""",
    "CREATE INDEX by_shoe ON experts (shoe)",
    "CREATE VIEW tall AS SELECT username FROM experts WHERE shoe > 44",
    "CREATE TABLE bookings (expert INTEGER REFERENCES experts (id), day TEXT)",
)
OURS = (
    *(
        "SELECT id, username, bio, rank_at_work, hourly_rate, job_title, slug FROM experts ORDER BY id",
    ),
    *(
        "SELECT * FROM events ORDER BY 1",
        "SELECT * FROM alembic_version",
        "SELECT * FROM bookings",
        "SELECT * FROM tall ORDER BY 1",
    ),
)


def test_a_database_of_another_application_is_taken_over_as_it_is(workspace: Workspace) -> None:
    """Columns and tables are added, nothing of theirs is touched, twice changes nothing; each way to write tags counts.

    Untagged people are tagged, lists are indexed, and other text waits until its owner emptied it.
    """
    for statement in LEGACY:
        sql(workspace, statement)
    for number, (name, (tags, _)) in enumerate(TAGS.items(), 1):
        row = {
            "n": number,
            "name": name,
            "bio": f"I keep bees and teach water law, {name}.",
            "tags": tags,
        }
        columns = "id, username, bio, tags, hourly_rate, shoe"
        insert = f"INSERT INTO experts ({columns}) VALUES (:n, :name, :bio, :tags, '95.50', 45)"  # noqa: S608 - ours
        sql(workspace, insert, **row)
    sql(workspace, "INSERT INTO bookings VALUES (1, '2026-11-20')")
    before = [sql(workspace, query) for query in OURS]
    tags = dict(sql(workspace, "SELECT username, tags FROM experts"))
    tables = tables_of(workspace)
    assert "next: " in workspace.do("score", code=3).err
    assert tables_of(workspace) == tables
    error_output = workspace.do("score", yes=True).err
    assert f"adopted the experts table ({len(TAGS)} rows): added first_name" in error_output
    assert all(name.startswith("findable_") for name in tables_of(workspace) - tables)
    once = schema(workspace), counts(workspace), sql(workspace, "SELECT * FROM experts ORDER BY id")
    for verb in ("score", "status", "parked"):
        assert workspace.do(verb).err == ""
    assert (
        schema(workspace),
        counts(workspace),
        sql(workspace, "SELECT * FROM experts ORDER BY id"),
    ) == once
    states = {meant: sum(one == meant for _, one in TAGS.values()) for _, meant in TAGS.values()}
    assert workspace.states() == states
    assert workspace.parked() == {}
    workspace.each("submit", "poll", "ingest", "index")
    after = dict(sql(workspace, "SELECT username, tags FROM experts"))
    untagged = {name for name, (_, meant) in TAGS.items() if meant == "untagged"}
    assert {name: after[name] for name in TAGS if name not in untagged} == {
        n: tags[n] for n in TAGS if n not in untagged
    }
    assert all(json.loads(after[name]) for name in untagged)
    assert len(workspace.found("water law", K=99)) == len(untagged) + states["tagged"]
    sql(workspace, "UPDATE experts SET tags = NULL WHERE username = 'words'")
    sql(workspace, """UPDATE experts SET tags = '["law"]' WHERE username = 'broken-list'""")
    sql(workspace, "INSERT INTO experts (id, username, bio) VALUES (50, 'later', 'Law of rivers')")
    sql(
        workspace,
        "INSERT INTO experts (id, username, bio, tags) VALUES (51, 'odd', 'Law', '[law]')",
    )
    assert workspace.states() == {
        "tagged": len(untagged) + 4,
        "untagged": 2,
        "foreign": states["foreign"] - 1,
    }
    put_files(workspace)
    assert workspace.read("add", "ada.json")["tags"]
    assert sql(workspace, "SELECT rank_at_work FROM experts WHERE username = 'new'") == [
        ("expert",)
    ]
    sql(workspace, "DELETE FROM experts WHERE username IN ('new', 'later', 'odd')")
    assert [sql(workspace, query) for query in OURS] == before


IDS = (
    {
        "negative": f"id BIGINT GENERATED ALWAYS AS IDENTITY (MINVALUE {-(2**63)} START WITH {-(2**63)}) PRIMARY KEY,",
        "uuid": "id UUID PRIMARY KEY DEFAULT gen_random_uuid(),",
        "no key": "id INTEGER DEFAULT nextval('numbers'),",
        "none": "",
    }
    if ON_POSTGRESQL
    else {
        "text": "id TEXT PRIMARY KEY DEFAULT (hex(randomblob(4))),",
        "number": "id INTEGER PRIMARY KEY,",
        "none": "",
    }
)


@pytest.mark.parametrize("kind", IDS)
def test_people_with_ids_of_any_kind_run_through_the_chain(workspace: Workspace, kind: str) -> None:
    """Asked about under their own ids, tagged, indexed; new ones get an id, and a change finds them."""
    if ON_POSTGRESQL:
        sql(workspace, "CREATE SEQUENCE numbers START 70")
    sql(workspace, f"CREATE TABLE experts ({IDS[kind]} username TEXT, bio TEXT, team TEXT)")
    for name in ("p1", "p2", "p3"):
        sql(
            workspace,
            "INSERT INTO experts (username, bio, team) VALUES (:name, 'I teach water law.', 'red')",
            name=name,
        )
    put_files(workspace)
    workspace.do("score", yes=True)
    workspace.each("submit", "poll", "ingest", "index")
    assert {row["item"] for row in workspace.asked()} == {
        str(row[0]) for row in sql(workspace, "SELECT id FROM experts")
    }
    assert sorted(workspace.found("water law")) == ["p1", "p2", "p3"]
    workspace.put("people.csv", "username,bio\np1,I teach river law.\nnew-1,I keep bees.\n")
    assert "1 added, 1 updated" in workspace.do("import", "people.csv").out
    assert workspace.read("add", "ada.json")["tags"]
    assert workspace.states() == {"tagged": 4, "untagged": 1}
    assert sql(
        workspace, "SELECT count(DISTINCT id), count(team) FROM experts WHERE id IS NOT NULL"
    ) == [(5, 3)]
    assert "nothing contradicts" in workspace.do("doctor").out


def test_a_rule_of_their_table_stops_new_people_only(workspace: Workspace) -> None:
    """A column that demands a value: adopted and tagged all the same; a new row is refused with 3, without its text."""
    sql(
        workspace,
        "CREATE TABLE experts (id INTEGER PRIMARY KEY, username TEXT, bio TEXT, team TEXT NOT NULL)",
    )
    sql(workspace, "INSERT INTO experts VALUES (1, 'a', 'I teach water law.', 'red')")
    workspace.do("score", yes=True)
    workspace.each("submit", "poll", "ingest")
    assert workspace.states() == {"tagged": 1}
    workspace.put("new.json", json.dumps({"username": "new", "bio": "I mend secret clocks."}))
    before = sql(workspace, "SELECT * FROM experts")
    for verb in ("add", "import"):
        said = workspace.do(verb, "new.json", code=3).said
        assert ("team" in said, "secret" in said) == (True, False)
    assert sql(workspace, "SELECT * FROM experts") == before
