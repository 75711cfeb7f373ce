"""Opens the yardstick's fixtures: workspaces that an older version made (4279af2), a while after their making.

What made them, and `expected.json`, with that version: `make.py` and `expect.py` of this folder in commit d028ab8.

Instead of the clocks of all processes, which the leases and the API read as well, the times in the fixture are moved:
those in the database, in the API's state and of files, all by the same span.
"""

import json
import os
import sqlite3
import subprocess
import tarfile
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tests import postgresql
from tests.lab import DATABASE, URL, Workspace

HERE = Path(__file__).parent
ARCHIVE = HERE / f"{DATABASE}.tar.gz"
SOON = timedelta(hours=1)  # longer than any lease or live claim, shorter than the life of an upload
NEXT_DAY = timedelta(hours=26)  # the same, and never on the day of a quota or a budget on which it was made
PACIFIC = ZoneInfo("America/Los_Angeles")
KEY = "key-of-the-yardstick"
SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Kept:
    """A workspace of the fixture, opened: its folder `home` has `data` and the state of the API that it speaks to."""

    home: Path
    environ: dict[str, str]

    @property
    def engine(self) -> Path:
        """Return where the API keeps its state."""
        return self.home / "engine"

    def workspace(self, url: str | None = None) -> Workspace:
        """Return the workspace on the API at an address; without one on the local backend, or on none."""
        there = {} if url is None else {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": url}
        return Workspace(self.home / "data", self.environ | there)


def opened(name: str, root: Path, *, age: timedelta = SOON) -> Kept:
    """Put one workspace of the fixture into a folder, with its database, as if made so long ago; migrate nothing."""
    with tarfile.open(ARCHIVE) as archive:
        document = archive.extractfile("made.json")
        assert document is not None
        made = json.load(document)
        archive.extractall(root, members=[one for one in archive if one.name.startswith(f"{name}/")], filter="data")
    kept = Kept(root / name, _environ(root / name / "data", made["settings"]))
    dump = kept.home / "dump.sql"
    if dump.exists():
        restore(kept.workspace(), dump)
    made_at = datetime.now(UTC) - age
    _move(kept, made_at - datetime.fromisoformat(made["at"]))
    for table in ("findable_calls", "findable_usage"):
        day = made_at.astimezone(PACIFIC).date().isoformat()
        kept.workspace().change(f"UPDATE {table} SET day = :day", day=day)  # noqa: S608 - our names
    return kept


def restore(workspace: Workspace, dump: Path) -> None:
    """Put a dump into the workspace's empty database."""
    url = workspace.environ[URL].replace("+psycopg", "")
    command = [str(postgresql.shared().programs / "psql"), "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", url]
    with dump.open("rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr.decode()


def _environ(data: Path, settings: dict[str, str]) -> dict[str, str]:
    """Return the settings of a workspace, as variables."""
    return {f"FINDABLE_{name}": value for name, value in settings.items()} | {"FINDABLE_DATA": str(data)}


def _move(kept: Kept, span: timedelta) -> None:
    """Move all times by a span."""
    _move_database(kept.workspace(), span)
    for state in (kept.home / "engine" / "local-engine.sqlite", kept.home / "data" / "local-engine.sqlite"):
        if state.exists():
            _move_engine(state, span)
    for path in kept.home.rglob("*"):
        if not path.is_symlink():
            at = path.stat().st_mtime + span.total_seconds()
            os.utime(path, (at, at))


def _move_database(workspace: Workspace, span: timedelta) -> None:
    """Move the times in the workspace's database, whatever its tables are."""
    if workspace.on_postgresql:
        found = workspace.query(
            "SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables "
            "USING (table_schema, table_name) WHERE table_schema = 'public' AND table_type = 'BASE TABLE' "
            "AND data_type LIKE 'timestamp%'"
        )
        for table, column in found:
            workspace.change(f'UPDATE {table} SET "{column}" = "{column}" + CAST(:span AS interval)', span=span)  # noqa: S608 - its own names
        return
    with closing(sqlite3.connect(workspace.data / "findable.db")) as database, database:
        for table in workspace.tables():
            for _, column, kind, *_ in database.execute(f"PRAGMA table_info({table})").fetchall():
                if kind == "DATETIME":
                    _move_column(database, table, column, span)


def _move_column(database: sqlite3.Connection, table: str, column: str, span: timedelta) -> None:
    """Move the times in one column of an SQLite file."""
    query = f'SELECT rowid, "{column}" FROM {table} WHERE "{column}" IS NOT NULL'  # noqa: S608 - its own names
    moved: list[tuple[Any, ...]] = [
        ((datetime.fromisoformat(at) + span).isoformat(" ", "microseconds"), row)
        for row, at in database.execute(query).fetchall()
    ]
    database.executemany(f'UPDATE {table} SET "{column}" = ? WHERE rowid = ?', moved)  # noqa: S608 - its own names


def _move_engine(state: Path, span: timedelta) -> None:
    """Move the times in the API's state."""
    nanoseconds = int(span.total_seconds() * SECOND_NS)
    with closing(sqlite3.connect(state)) as database, database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for _, column, *_ in database.execute(f"PRAGMA table_info({table})").fetchall():
                if column.endswith("_ns"):
                    database.execute(
                        f"UPDATE {table} SET {column} = {column} + ? WHERE {column} > 0",  # noqa: S608 - its own names
                        (nanoseconds,),
                    )
