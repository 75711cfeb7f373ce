"""`make move`: a workspace's database from SQLite into PostgreSQL, all or nothing, and only one of them at work."""

import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from pipeline.core.errors import ConfigurationError
from pipeline.experts.schema import experts
from pipeline.store import marker, tables
from pipeline.store.tables import leases
from tests import ledger, postgresql
from tests.integration.merged import merge
from tests.lab import ROOT, URL, Api, Workspace, ran

EVERYTHING = (*tables.metadata.sorted_tables, experts)

pytestmark = pytest.mark.sqlite_only("begins with an SQLite file")

FAR = "9999-01-01 00:00:00.000000"


@pytest.fixture
def to(tmp_path: Path) -> str:
    """The URL of an empty database on the server."""
    return postgresql.database_of(tmp_path / "moved")


@pytest.fixture
def there(workspace: Workspace, to: str) -> Workspace:
    """The workspace as it is once its database is on the server."""
    return Workspace(workspace.data, {**workspace.environ, URL: to})


@pytest.fixture
def mid_life(workspace: Workspace, people: Callable[..., list[str]], api: Api, begun: Callable[..., None]) -> Workspace:
    """A workspace with a batch in every state that is under way, a person parked, and an index."""

    def prepare() -> None:
        """Bring it there."""
        people(7, without_bio=1)
        api.fault("error_line", times=10_000, key="expert-tags/1$", args={"code": 3})
        for commands in (("batch-poll", "batch-ingest", "index"), ("batch-poll",), ()):
            ran(workspace, "batch-submit", "--limit", "2")
            for command in commands:
                ran(workspace, command)
        ran(workspace, "tags", "--person", "person-0001", "--add", "law")
        merge(workspace)
        api.fault("quota_batch")
        ran(workspace, "batch-submit", code=4)
        assert ledger.batches(workspace) == ["ingested", "downloaded", "submitted", "prepared"]

    begun(prepare)
    return workspace


@pytest.fixture
def small(workspace: Workspace, people: Callable[..., list[str]], api: Api, begun: Callable[..., None]) -> Workspace:
    """A workspace with a few people and a batch that is prepared."""

    def prepare() -> None:
        """Let the API take no batch."""
        people(7)
        api.fault("quota_batch")
        ran(workspace, "batch-submit", "--limit", "3", code=4)

    begun(prepare)
    return workspace


def contents(workspace: Workspace) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table of ours, in some fixed order, in the words of one database."""
    found = {}
    for table in EVERYTHING:
        names = ", ".join(f'"{column.name}"' for column in table.c)
        rows = workspace.query(f"SELECT {names} FROM {table.name}")  # noqa: S608 - our names
        found[table.name] = sorted((tuple(map(plain, row)) for row in rows), key=repr)
    return found


def plain(cell: Any) -> Any:
    """Return a cell as SQLite keeps it."""
    if isinstance(cell, datetime):
        return f"{cell:%Y-%m-%d %H:%M:%S.%f}"
    return int(cell) if isinstance(cell, bool) else cell


def digest(path: Path) -> str:
    """Return the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_everything_is_there_and_work_goes_on(mid_life: Workspace, there: Workspace, api: Api, to: str) -> None:
    """Every row is on the server, the file has the same bytes, and the batches under way end there, each made once.

    A process that still uses the file may read, is told where the workspace is, and sends nothing.
    """
    asking = ("search", "bees person-0002", "--json")
    answers = json.loads(ran(mid_life, *asking))
    before, file = contents(mid_life), digest(mid_life.data / "findable.db")
    said = json.loads(mid_life.run("move", to, "--json").stdout)
    assert said["rows"] == {name: len(rows) for name, rows in before.items()}
    assert contents(there) == before == contents(mid_life)
    assert json.loads(ran(there, *asking)) == answers
    asked = len(api.journal())
    for command in ("batch-submit", "batch-poll", "batch-ingest", "score"):
        assert "was moved to postgresql" in ran(mid_life, command, code=3)
    assert "was moved to postgresql" in ran(mid_life, "status")
    assert [one for one in api.journal()[asked:] if one["method"] != "GET"] == []
    assert digest(mid_life.data / "findable.db") == file
    there.ran_each("batch-submit", "batch-poll", "batch-ingest", "index")
    ledger.check(there)
    assert ledger.people(there) == {"total": 8, "tagged": 6, "no_bio": 1, "parked": 1}
    assert len(json.loads(ran(there, "search", "bees", "--json"))) == 6
    names = [one["displayName"] for one in api.batches()]
    assert len(names) == len({name.rsplit("-", 1)[0] for name in names}) == len(ledger.batches(there))
    assert ledger.findings(there) == []


def test_a_password_is_written_nowhere(small: Workspace, to: str) -> None:
    """Neither one before the host nor one among the options is shown, or kept beside the file."""
    hidden = "that-nobody-may-see"
    url = f"{to.replace('postgres@', f'postgres:{hidden}@')}&password={hidden}&sslpassword={hidden}"
    said = [ran(small, "move", url), ran(small, "move", url), ran(small, "status"), ran(small, "score", code=3)]
    kept = marker.moved_path(small.data / "findable.db").read_text()
    assert [text for text in (*said, kept) if hidden in text] == []
    assert "//postgres@/" in kept
    assert "was moved" in ran(small, "move", to)


@pytest.mark.full
def test_who_is_forgotten_later_stands_in_the_old_file_alone(small: Workspace, there: Workspace, to: str) -> None:
    """Forgetting on the server ends well, and names the file that nothing writes to any more; without it, nothing."""
    before = [name for (name,) in small.query("SELECT username FROM experts ORDER BY id")][-2:]
    ran(small, "move", to)
    said = json.loads(there.run("forget", before[0], "--yes", "--json").stdout)
    assert "findable.db" in said["own_files"]
    for path in there.data.glob("findable.db*"):
        path.unlink()
    assert json.loads(there.run("forget", before[1], "--yes", "--json").stdout)["own_files"] == []
    assert there.query("SELECT count(*) FROM experts") == [(5,)]


@pytest.mark.full
def test_a_move_that_is_done_is_done(small: Workspace, there: Workspace, to: str) -> None:
    """Run again it says so and changes nothing, also when work went on since; another target is refused.

    A process that is between two transactions when the move comes does not get its next one. A workspace whose
    database is on a server already is not moved.
    """
    with small.open() as ws:
        ran(small, "move", to)
        with pytest.raises(ConfigurationError, match="was moved"), ws.store.write():
            raise AssertionError("it may write")
    ran(there, "batch-submit")
    before = contents(there)
    assert "was moved" in ran(small, "move", to)
    assert contents(there) == before
    other = postgresql.database_of(small.data / "other")
    assert "was moved to" in ran(small, "move", other, code=3)
    assert "on a server already" in ran(there, "move", to, code=2)


def test_ids_go_on_above_all_that_were_ever_given(small: Workspace, there: Workspace, to: str) -> None:
    """Of a person who is gone the id is not given again, whether the table or only a request remembers it.

    Tables, views and triggers of other programs are not copied, and that is said.
    """
    small.change("CREATE TABLE shoes (size INTEGER)")
    small.change("CREATE VIEW feet AS SELECT size FROM shoes")
    small.change("DELETE FROM experts WHERE id = 7")
    small.change("UPDATE findable_requests SET item_id = '40' WHERE batch = 1 AND item_id = '2'")
    assert json.loads(small.run("move", to, "--json").stdout)["left_behind"] == ["table shoes", "view feet"]
    with there.open() as ws, ws.store.write() as tx:
        made = tx.exec_driver_sql("INSERT INTO experts (username) VALUES ('next') RETURNING id").scalar()
        kept = tx.exec_driver_sql("SELECT max(id) FROM findable_events").scalar()
        event = tx.exec_driver_sql("SELECT nextval(pg_get_serial_sequence('findable_events', 'id'))").scalar()
    assert made == 41
    assert event == kept + 1


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("ALTER TABLE experts ADD COLUMN shoe_size INTEGER", "shoe_size"),
        ("UPDATE experts SET hourly_rate = 'by arrangement' WHERE id = 3", "experts 3: hourly_rate is not a number"),
        ("UPDATE experts SET company = 'A' || char(0) || 'B' WHERE id = 4", "experts 4: company is not text"),
        ("UPDATE experts SET bio = CAST(x'41ff42' AS TEXT) WHERE id = 5", "experts has text that is no UTF-8"),
        ("UPDATE experts SET id = 3000000000 WHERE id = 6", "experts 3000000000: id is not a whole number below"),
        ("UPDATE findable_requests SET open = 2 WHERE id = 1", "open is not true or false"),
        ("UPDATE findable_batches SET created_at = 'now' WHERE number = 1", "created_at is not a time"),
    ],
)
def test_what_would_be_lost_is_refused(small: Workspace, to: str, statement: str, said: str) -> None:
    """What PostgreSQL cannot hold as it is ends the move with where it stands, and nothing is anywhere."""
    small.change(statement)
    result = small.ran("move", to, code=3)
    assert said in result.output
    assert "nothing was moved" in result.output
    assert Workspace(small.data, {**small.environ, URL: to}).tables() == []
    assert marker.find_moved(small.data / "findable.db") is None
    assert "by arrangement" not in result.output


def test_a_name_that_stands_twice_is_refused(tmp_path: Path, workspace: Workspace, to: str) -> None:
    """An adopted table may hold one username twice, ours on the server may not."""
    workspace.data.mkdir()
    with closing(sqlite3.connect(workspace.data / "findable.db")) as connection, connection:
        connection.execute("CREATE TABLE experts (id INTEGER PRIMARY KEY, username TEXT, bio TEXT)")
        connection.executemany("INSERT INTO experts (username) VALUES (?)", [("ann",), ("ann",), ("bob",)])
    assert "1 rows whose username" in ran(workspace.begin(), "move", to, code=3)
    assert Workspace(tmp_path, {URL: to}).tables() == []


def test_a_database_with_our_tables_is_refused(small: Workspace, there: Workspace, to: str) -> None:
    """Another workspace's database is not written over, nor is a table of experts that is there."""
    there.change("CREATE TABLE experts (id INTEGER)")
    assert "has tables of findable already (experts" in ran(small, "move", to, code=2)
    assert there.tables() == ["experts"]


@pytest.mark.sampled(2, sqlite=2)
@pytest.mark.parametrize("through", ["link", "file"])
def test_a_file_that_was_moved_is_written_by_none_of_its_names(
    small: Workspace, to: str, tmp_path: Path, through: str
) -> None:
    """Moved under the name of a link the file itself takes no writes, and the other way round."""
    (tmp_path / "names").mkdir()
    link, file = tmp_path / "names" / "people.db", small.data / "findable.db"
    link.symlink_to(file)
    first, second = (link, file) if through == "link" else (file, link)
    ran(small, "move", to, DATABASE_URL=f"sqlite:///{first}")
    for name in (second, first):
        said = ran(small, "batch-submit", code=3, DATABASE_URL=f"sqlite:///{name}")
        assert f"removing {file.resolve()}.moved" in " ".join(said.split())
    file.with_name("findable.db.moved").unlink()
    ran(small, "batch-submit", DATABASE_URL=f"sqlite:///{link}")


def test_only_a_server_that_answers_is_moved_to(small: Workspace) -> None:
    """Another kind of database, or one that is not there, changes nothing; a password is never shown."""
    ran(small, "move", "sqlite:////tmp/other.db", code=2)
    ran(small, "move", "mysql://host/database", code=2)
    said = ran(small, "move", "postgresql+psycopg://me:secret-word@127.0.0.1:1/people", code=4)
    assert "secret-word" not in said
    ran(small, "batch-submit")


@pytest.fixture
def living() -> Iterator[str]:
    """How another process that lives signs what it holds."""
    script = "from pipeline.store.leases import this_owner; print(this_owner(), flush=True); input()"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


@pytest.mark.full
def test_nobody_is_interrupted(small: Workspace, to: str, living: str) -> None:
    """While another process holds a lease, or asks live, nothing is moved; when it is dead its lease moves along."""
    with small.open() as ws, ws.store.write() as tx:
        until = datetime.fromisoformat(f"{FAR}+00:00")
        tx.execute(insert(leases).values(name="batch:3", owner=living, until=until))
    assert "batch:3" in ran(small, "move", to, code=4)
    small.change("UPDATE findable_leases SET owner = 'nobody', until = '2020-01-01 00:00:00.000000'")
    small.change(
        "INSERT INTO findable_requests (task, item_id, input_hash, open, owner, until, at) "
        "VALUES ('expert-tags', '900', '', true, :owner, :until, :until)",
        owner=living,
        until=FAR,
    )
    assert "item 900" in ran(small, "move", to, code=4)
    small.change(
        "UPDATE findable_requests SET owner = 'nobody', until = '2020-01-01 00:00:00.000000' WHERE owner = :it",
        it=living,
    )
    ran(small, "move", to)
