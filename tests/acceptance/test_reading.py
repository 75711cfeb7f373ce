"""Test that reading commands change nothing, and that foreign databases need consent."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.database import connect, count_rows, list_tables, read_schema, run_sql
from tests.acceptance.product import (
    IMAGES,
    ON_POSTGRESQL,
    PASSAGES,
    PEOPLE,
    Workspace,
    command_words,
    write_declaration,
)

# Exit code of a command on a machine that cannot show a folder as read-only.
NOT_PERMITTED = 77
USER_TASK = "reviews"
# Reading commands that belong to no task.
GLOBAL_READS: tuple[tuple[str, ...], ...] = (
    ("batches",),
    ("costs",),
    ("doctor",),
    ("settings",),
    ("prices",),
    ("clean", "--dry"),
    ("backup", "../copy"),
)
TASK_READS: tuple[tuple[str, ...], ...] = (
    ("status",),
    ("log",),
    ("qc",),
    ("parked",),
    ("versions",),
    ("preflight",),
    ("items", "--counts"),
    ("export", "../out.csv", "--overwrite"),
    ("search", "law"),
    ("show", "--row", "1"),
    ("submit", "--dry"),
)
PEOPLE_READS: tuple[tuple[str, ...], ...] = (("people",), ("tags",), ("show", "ada"))
PASSAGE_READS: tuple[tuple[str, ...], ...] = (("passages_status",), ("export", "-"))
ALWAYS_SUCCESSFUL_READS = {
    ("status",),
    ("items", "--counts"),
    ("parked",),
    ("batches",),
    ("costs",),
    ("settings",),
    ("prices",),
    ("people",),
}
WRITING_COMMANDS = """
demo ask verify new-task try import import-passages import-images passages-pilot
passages-backfill tag-live work batch-poll batch-ingest batch-cancel batch-move
score index add add-expert correct unpark rollback forget restore eval remove-tables web emulator
"""
FOREIGN_TABLE = (
    "CREATE TABLE experts (id INTEGER PRIMARY KEY, username TEXT, bio TEXT, shoe TEXT)",
    (
        "INSERT INTO experts VALUES "
        "(1, 'ada', 'Knows engines.', '38'), (2, 'bo', 'Keeps bees in Lund.', '44')"
    ),
)
PASSAGE_LINE = json.dumps(
    {"id": "a", "text": "Study 1 examines groundwater recharge in arid river basins."}
)
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c4944415408d763f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)


def reading_commands(task: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command that reads a task."""
    yield from GLOBAL_READS
    yield from TASK_READS
    yield from {PEOPLE: PEOPLE_READS, PASSAGES: PASSAGE_READS}.get(task, ())


def read_everything(workspace: Workspace) -> tuple[Any, ...]:
    """Return the schema, the rows of all tables, and the hashes of files.

    Reports are left out, and what SQLite needs while a file is open.
    """
    digests = {}
    for path in workspace.data.rglob("*"):
        is_report = path.parent.name == "reports"
        if path.is_file() and not is_report and not path.name.endswith(("-wal", "-shm")):
            digests[path] = hashlib.sha256(path.read_bytes()).hexdigest()

    rows = {}
    with connect(workspace) as connection:
        for table in list_tables(connection):
            query = f'SELECT * FROM "{table}"'  # noqa: S608 - a name from the database
            rows[table] = sorted(map(repr, connection.execute(query).fetchall()))

    return read_schema(workspace), rows, digests


def put_files(workspace: Workspace) -> None:
    """Write the file of a user's task, and files that can be imported."""
    workspace.write_file(
        "tasks/reviews.py",
        write_declaration({"stars": "int | None"}, prompt="{text}", items="reviews.csv"),
    )
    workspace.write_file("tasks/reviews.csv", "id,text\n1,Boils in two minutes.\n2,Warm light.\n")
    workspace.write_file("texts.jsonl", PASSAGE_LINE)
    workspace.write_file("ada.json", json.dumps({"username": "new", "bio": "I teach water law."}))


@pytest.fixture(name="adopted")
def _adopted(workspace: Workspace) -> Workspace:
    """Return a workspace in another program's database, with consent for people only.

    The user's task was never used.
    """
    for statement in FOREIGN_TABLE:
        run_sql(workspace, statement)
    put_files(workspace)
    workspace.run_command("score", yes=True)
    return workspace


@pytest.mark.alike
@pytest.mark.promise("reading")
def test_every_command_is_listed_as_reading_or_writing(workspace: Workspace) -> None:
    """Each command of `--help` is in a list of this file, so that a new command is tested."""
    help_lines = workspace.run_command("--help").stdout.partition("Commands:")[2]
    all_commands = re.findall(r"^  ([a-z-]+) ", help_lines, re.MULTILINE)
    commands = {command for command in all_commands if not command.startswith("lab-")}

    reads = set[str]()
    for task in (PEOPLE, PASSAGES):
        for words in reading_commands(task):
            reads.add(command_words(*words)[0])

    assert commands - reads == {*WRITING_COMMANDS.split()} & commands
    assert len(commands & reads) > 15


@pytest.mark.parametrize(
    "task",
    [PEOPLE, PASSAGES, pytest.param(USER_TASK, marks=pytest.mark.promise("reading"))],
)
def test_reading_changes_no_byte(workspace: Workspace, task: str) -> None:
    """A reading command changes no byte, also on a read-only disk and in a mistyped folder."""
    put_files(workspace)
    workspace.write_file("people.csv", "Username,Bio\nada,I keep bees and teach water law.\nbo,\n")
    workspace.run_command("import", "people.csv")
    workspace.run_command("import_passages", "texts.jsonl")
    workspace.run_command("tag_live", TASK=USER_TASK)
    workspace.run_commands("tag_live", "index", TASK="")
    task_setting = "" if task == PEOPLE else task
    workspace.run_command("status", TASK=task_setting)
    state_before = read_everything(workspace)

    for words in reading_commands(task):
        process = workspace.try_command(*words, TASK=task_setting)
        allowed_codes = {0} if words in ALWAYS_SUCCESSFUL_READS else {0, 2, 6}
        assert process.code in allowed_codes, (words, process)
        assert read_everything(workspace) == state_before, words
        # A read-only disk and a mistyped folder do not depend on the task.
        if task == PEOPLE:
            _check_read_only_disk(workspace, words, process.code)
            assert read_everything(workspace) == state_before, words
            _check_mistyped_folder(workspace, words)


def test_reading_completes_no_table(workspace: Workspace) -> None:
    """If another program changes a table, reading commands change no byte, and writing ones do."""
    workspace.write_file("people.csv", "Username,Bio\nada,I keep bees.\n")
    workspace.run_command("import", "people.csv")
    run_sql(workspace, "INSERT INTO experts (username, bio) VALUES ('bo', 'I build boats.')")
    (workspace.data / "workspace.json").unlink()
    state_before = read_everything(workspace)
    for words in reading_commands(PEOPLE):
        # These read the rows again, as for any task.
        if words not in {("preflight",), ("submit", "--dry")}:
            workspace.try_command(*words, TASK="")
            assert read_everything(workspace) == state_before, words

    workspace.run_command("score")
    query = "SELECT count(*) FROM experts WHERE findability_score IS NULL"
    assert run_sql(workspace, query) == [(0,)]
    assert (workspace.data / "workspace.json").exists()

    run_sql(workspace, "ALTER TABLE experts DROP COLUMN category")
    state_before = read_everything(workspace)
    workspace.run_command("status", code=5)
    assert read_everything(workspace) == state_before
    workspace.run_commands("score", "status")


def _check_read_only_disk(workspace: Workspace, words: tuple[str, ...], expected_code: int) -> None:
    """Check that a command on a read-only disk ends as usual, or reports the disk."""
    process = workspace.try_command(*words, TASK="", read_only=True)
    if process.code == NOT_PERMITTED:
        pytest.skip("this machine lets nobody see a folder as read-only")
    is_reported = "next: check the disk and its permissions" in process.stderr
    assert process.code == expected_code or is_reported, (words, process)


def _check_mistyped_folder(workspace: Workspace, words: tuple[str, ...]) -> None:
    """Check that a command with a mistyped folder creates nothing."""
    folder = workspace.home / "dta"
    no_server = {"DATABASE_URL": ""} if ON_POSTGRESQL else {}
    process = workspace.try_command(*words, TASK="", DATA=folder, **no_server)
    assert not folder.exists(), words
    needs_no_workspace = words[0] in {"settings", "prices"}
    assert process.code == (0 if needs_no_workspace else 3), (words, process)


@pytest.mark.parametrize(
    "task", [PASSAGES, pytest.param(IMAGES, marks=pytest.mark.alike), USER_TASK]
)
def test_reading_creates_no_table_of_an_unused_task(adopted: Workspace, task: str) -> None:
    """Reading an unused task creates nothing, and writing asks once for exactly its tables."""
    first_commands: dict[str, tuple[str, ...]] = {
        PASSAGES: ("import_passages", "texts.jsonl"),
        USER_TASK: ("tag", "--where", "id = 'none'"),
        IMAGES: ("import_images", "photos"),
    }
    first_command = first_commands[task]
    (adopted.home / "photos").mkdir()
    (adopted.home / "photos" / "a.png").write_bytes(PNG)
    state_before = read_everything(adopted)
    tables_before = table_names(adopted)

    for words in reading_commands(task):
        process = adopted.try_command(*words, TASK=task)
        assert read_everything(adopted) == state_before, words
        if words not in GLOBAL_READS:
            assert process.code == 3, (words, process)
            assert "next: " in process.stderr, words

    requested_tables = tables_in_message(
        adopted.run_command(*first_command, TASK=task, code=3).stderr
    )
    for words in (("submit",), ("tag",), ("unpark", "--all")):
        error_output = adopted.run_command(*words, TASK=task, code=3).stderr
        assert "tables of another program (experts)" in error_output
        assert tables_in_message(error_output) == requested_tables, words
    assert read_everything(adopted) == state_before

    # No command asks again after the consent.
    adopted.run_command(*first_command, TASK=task, yes=True)
    assert table_names(adopted) - tables_before == requested_tables
    adopted.run_command("unpark", "--all", TASK=task)
    state_after = read_everything(adopted)
    later_reads = [("status",), ("items", "--counts"), ("qc",), ("search", "law")]
    if task == PASSAGES:
        later_reads = list(reading_commands(task))
    for words in later_reads:
        adopted.try_command(*words, TASK=task, PREFER_VERSIONS="x@2")
        assert read_everything(adopted) == state_after, words


def table_names(workspace: Workspace) -> set[str]:
    """Return the names of all tables and views."""
    with connect(workspace) as connection:
        return {name for name in list_tables(connection) if not name.startswith("sqlite_")}


def tables_in_message(message: str) -> set[str]:
    """Return the tables and views that a refusal names as missing."""
    additions = message.partition("askrows would add ")[2].partition("; nothing was written")[0]
    tables = set[str]()
    for addition in additions.split("; "):
        text = addition.removeprefix("the ").removeprefix("its own ")
        if not text.startswith(("table", "view")) or "`" in text:
            continue
        name_list = text.partition("(")[2].rstrip(")") if "(" in text else text.partition(" ")[2]
        tables |= set(name_list.split(", "))
    return tables


# Each username: the tags as another application wrote them, and the state of the row.
TAGS_BY_USERNAME: dict[str, tuple[Any, str]] = {
    "null": (None, "open"),
    "empty": ("", "open"),
    "blank": (" \t\n", "open"),
    "no-list": (" [ ] ", "open"),
    "json-null": ("null", "open"),
    "object": ('{"a":1}', "unusable"),
    "words": ("foo, bar", "unusable"),
    "number": ("7", "unusable"),
    "string": ('"law"', "unusable"),
    "broken-list": ("[law, bees]", "unusable"),
    "odd-space": ("\u00a0[]", "unusable"),
    "list": (' [ "water law","bees" ]', "tagged"),
    "mixed-list": ('["law", 3, null, {"a": [1]}]', "tagged"),
}
FOREIGN_DATABASE = (
    "CREATE TABLE events (id INTEGER PRIMARY KEY, what TEXT)",
    "INSERT INTO events VALUES (1, 'conference'), (2, 'meetup')",
    "CREATE TABLE alembic_version (version_num TEXT PRIMARY KEY)",
    "INSERT INTO alembic_version VALUES ('c0ffee')",
    """CREATE TABLE Experts (
        bio TEXT, rank_at_work VARCHAR(20) NOT NULL DEFAULT 'expert', tags TEXT,
        username VARCHAR(80), hourly_rate TEXT, id INTEGER PRIMARY KEY, Job_Title TEXT, shoe REAL,
        slug TEXT GENERATED ALWAYS AS (lower(username)) STORED
    )""",
    "CREATE INDEX by_shoe ON experts (shoe)",
    "CREATE VIEW tall AS SELECT username FROM experts WHERE shoe > 44",
    "CREATE TABLE bookings (expert INTEGER REFERENCES experts (id), day TEXT)",
)
# The columns and tables that the other application owns.
FOREIGN_QUERIES = (
    (
        "SELECT id, username, bio, rank_at_work, hourly_rate, job_title, slug "
        "FROM experts ORDER BY id"
    ),
    "SELECT * FROM events ORDER BY 1",
    "SELECT * FROM alembic_version",
    "SELECT * FROM bookings",
    "SELECT * FROM tall ORDER BY 1",
)


def create_foreign_database(workspace: Workspace) -> None:
    """Create another application's database with a person for each notation of tags."""
    for statement in FOREIGN_DATABASE:
        run_sql(workspace, statement)
    for number, (name, (tags, _)) in enumerate(TAGS_BY_USERNAME.items(), 1):
        row = {
            "n": number,
            "name": name,
            "bio": f"I keep bees and teach water law, {name}.",
            "tags": tags,
        }
        columns = "id, username, bio, tags, hourly_rate, shoe"
        values = ":n, :name, :bio, :tags, '95.50', 45"
        insert = f"INSERT INTO experts ({columns}) VALUES ({values})"  # noqa: S608 - literals
        run_sql(workspace, insert, **row)
    run_sql(workspace, "INSERT INTO bookings VALUES (1, '2026-11-20')")


def read_people_tables(workspace: Workspace) -> tuple[Any, ...]:
    """Return the schema, the number of rows of each table, and the rows of people."""
    people = run_sql(workspace, "SELECT * FROM experts ORDER BY id")
    return read_schema(workspace), count_rows(workspace), people


@pytest.mark.alike
@pytest.mark.promise("adoption")
def test_database_of_another_application_is_adopted_unchanged(workspace: Workspace) -> None:
    """Adoption adds columns and tables, changes no foreign value, and reads any notation of tags.

    Untagged people are tagged, lists are indexed, and other texts stay until the owner clears
    them.
    """
    create_foreign_database(workspace)
    foreign_rows = [run_sql(workspace, query) for query in FOREIGN_QUERIES]
    tags_before = dict(run_sql(workspace, "SELECT username, tags FROM experts"))
    tables_before = table_names(workspace)

    assert "next: " in workspace.run_command("score", code=3).stderr
    assert table_names(workspace) == tables_before
    error_output = workspace.run_command("score", yes=True).stderr
    person_count = len(TAGS_BY_USERNAME)
    assert f"adopted the experts table ({person_count} rows): added first_name" in error_output
    for table in table_names(workspace) - tables_before:
        assert table.startswith(("askrows_", "experts_"))

    # A second adoption changes nothing.
    adopted_tables = read_people_tables(workspace)
    for verb in ("score", "status", "parked"):
        assert "adopted" not in workspace.run_command(verb).stderr
    assert read_people_tables(workspace) == adopted_tables

    states = dict(Counter(state for _, state in TAGS_BY_USERNAME.values()))
    assert workspace.state_counts() == states
    assert workspace.parked_reasons() == {}

    workspace.run_commands("submit", "poll", "ingest", "index")
    tags_after = dict(run_sql(workspace, "SELECT username, tags FROM experts"))
    untagged_names = set[str]()
    for name, (_, state) in TAGS_BY_USERNAME.items():
        if state == "open":
            untagged_names.add(name)
            assert json.loads(tags_after[name])
        else:
            assert tags_after[name] == tags_before[name]
    found_people = workspace.search("water law", K=99)
    assert len(found_people) == len(untagged_names) + states["tagged"] + states["unusable"]

    # The other application clears, mends and inserts rows.
    run_sql(workspace, "UPDATE experts SET tags = NULL WHERE username = 'words'")
    run_sql(workspace, """UPDATE experts SET tags = '["law"]' WHERE username = 'broken-list'""")
    run_sql(
        workspace, "INSERT INTO experts (id, username, bio) VALUES (50, 'later', 'Law of rivers')"
    )
    run_sql(
        workspace,
        "INSERT INTO experts (id, username, bio, tags) VALUES (51, 'odd', 'Law', '[law]')",
    )
    workspace.run_command("score")
    assert workspace.state_counts() == {
        "tagged": len(untagged_names) + 3,
        "open": 2,
        "unusable": states["unusable"] - 1,
    }

    # A new person gets the default of a foreign column.
    put_files(workspace)
    assert workspace.read_json("add", "ada.json")["answer"]["tags"]
    ranks = run_sql(workspace, "SELECT rank_at_work FROM experts WHERE username = 'new'")
    assert ranks == [("expert",)]
    run_sql(workspace, "DELETE FROM experts WHERE username IN ('new', 'later', 'odd')")
    assert [run_sql(workspace, query) for query in FOREIGN_QUERIES] == foreign_rows


MIN_BIGINT = -(2**63)
ID_COLUMNS = {
    "text": "id TEXT PRIMARY KEY DEFAULT (hex(randomblob(4))),",
    "number": "id INTEGER PRIMARY KEY,",
}
if ON_POSTGRESQL:
    ID_COLUMNS = {
        "negative": (
            "id BIGINT GENERATED ALWAYS AS IDENTITY "
            f"(MINVALUE {MIN_BIGINT} START WITH {MIN_BIGINT}) PRIMARY KEY,"
        ),
        "uuid": "id UUID PRIMARY KEY DEFAULT gen_random_uuid(),",
        "no key": "id INTEGER DEFAULT nextval('numbers'),",
    }


@pytest.mark.parametrize("kind", ID_COLUMNS)
def test_people_with_any_kind_of_id_are_tagged_indexed_and_updated(
    workspace: Workspace, kind: str
) -> None:
    """People keep their ids of any kind in all commands, and new people get an id."""
    if ON_POSTGRESQL:
        run_sql(workspace, "CREATE SEQUENCE numbers START 70")
    run_sql(
        workspace, f"CREATE TABLE experts ({ID_COLUMNS[kind]} username TEXT, bio TEXT, team TEXT)"
    )
    insert = "INSERT INTO experts (username, bio, team) VALUES (:name, 'I teach water law.', 'red')"
    for name in ("p1", "p2", "p3"):
        run_sql(workspace, insert, name=name)
    put_files(workspace)

    workspace.run_command("score", yes=True)
    workspace.run_commands("submit", "poll", "ingest", "index")
    ids = {str(row[0]) for row in run_sql(workspace, "SELECT id FROM experts")}
    assert {request["row"] for request in workspace.logged_requests()} == ids
    assert sorted(workspace.search("water law")) == ["p1", "p2", "p3"]

    workspace.write_file("people.csv", "username,bio\np1,I teach river law.\nnew-1,I keep bees.\n")
    assert "1 added, 1 updated" in workspace.run_command("import", "people.csv").stdout
    assert workspace.read_json("add", "ada.json")["answer"]["tags"]
    assert workspace.state_counts() == {"tagged": 3, "stale": 1, "open": 1}
    query = "SELECT count(DISTINCT id), count(team) FROM experts WHERE id IS NOT NULL"
    assert run_sql(workspace, query) == [(5, 3)]
    assert "no contradiction found" in workspace.run_command("doctor").stdout


def test_required_foreign_column_refuses_only_new_people(workspace: Workspace) -> None:
    """A required foreign column refuses new people with exit 3, and others are tagged."""
    columns = "id INTEGER PRIMARY KEY, username TEXT, bio TEXT, team TEXT NOT NULL"
    run_sql(workspace, f"CREATE TABLE experts ({columns})")
    run_sql(workspace, "INSERT INTO experts VALUES (1, 'a', 'I teach water law.', 'red')")
    workspace.run_command("score", yes=True)
    workspace.run_commands("submit", "poll", "ingest")
    assert workspace.state_counts() == {"tagged": 1}

    # The message names the column, but not the text of the row.
    workspace.write_file(
        "new.json", json.dumps({"username": "new", "bio": "I mend secret clocks."})
    )
    people_before = run_sql(workspace, "SELECT * FROM experts")
    for verb in ("add", "import"):
        output = workspace.run_command(verb, "new.json", code=3).output
        assert "team" in output
        assert "secret" not in output
    assert run_sql(workspace, "SELECT * FROM experts") == people_before
