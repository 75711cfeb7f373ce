"""The test lab: an emulator that can be steered, and a workspace on it.

`FINDABLE_TEST_DATABASE=postgresql` gives every workspace a PostgreSQL database of its own in place of the SQLite file.
"""

import contextlib
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from jobs.cli import main
from jobs.commands import ALL_COMMANDS
from jobs.variables import MAKE_COMMAND_LINE_VARIABLE
from pipeline.core import settings
from pipeline.core.settings import PREFIX, VARIABLES
from pipeline.engine.open_workspace import open_workspace
from pipeline.store.postgresql import WRITER_LOCK_KEY
from tests import postgresql
from tests.acceptance.engine import Engine
from tests.progress import NullProgress

ROOT = Path(__file__).parents[1]
KEY = "test-key-that-must-never-be-seen-anywhere"
DATABASE = os.environ.get(
    "FINDABLE_TEST_DATABASE", "sqlite"
)  # read once: no test sees the user's settings
ON_POSTGRESQL = DATABASE == "postgresql"
URL = "FINDABLE_DATABASE_URL"
HERE = "here"  # the folder that a test stands in


def slowness() -> float:
    """Return how many times longer than on a quiet machine things may take now that others want its processors, too."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


class Api(Engine):
    """The engine of the acceptance tests, in a process of its own, as the tests steer it."""

    def seen(self, method: str, part: str) -> list[dict[str, Any]]:
        """Return the requests of a method whose path holds a text, oldest first."""
        return [
            entry for entry in self.journal() if entry["method"] == method and part in entry["path"]
        ]


@dataclass
class Workspace:
    """A workspace on the emulator through the gemini backend, as a user with a key has it; nothing in it waits."""

    data: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Name the database of this folder, where it is not a file in it; two workspaces in one folder share it.

        Commands run as where make runs them, so that what they tell to type is typed with make.
        """
        self.environ = {MAKE_COMMAND_LINE_VARIABLE: ":", **self.environ}
        if ON_POSTGRESQL and postgresql.is_ours(self.environ.get(URL)):
            self.environ = {**self.environ, URL: postgresql.database_of(self.data)}

    def run(self, *args: str, **values: str) -> Result:
        """Run one command in this process; `values` are settings by their bare names."""
        environ = self.environ | {f"FINDABLE_{name}": value for name, value in values.items()}
        result = CliRunner().invoke(main, list(args), env=environ, catch_exceptions=False)
        if args and args[0] in ALL_COMMANDS:
            assert not untaken(args[0], result.stderr), (args, result.stderr)
        return result

    def ran(self, *args: str, code: int | str = 0, **values: str) -> Result:
        """Run one command that must end with a code."""
        result = self.run(*args, **values)
        assert result.exit_code == code, (args, result.output)
        return result

    def ran_each(self, *commands: str, **values: str) -> None:
        """Run commands one after the other, each of which must end well."""
        for command in commands:
            self.ran(command, **values)

    def open(self) -> Any:
        """Open the workspace for the length of a block, as the commands do; what it asks is answered with yes."""
        return open_workspace(
            settings.load_settings(self.environ), NullProgress(), confirm=lambda _question: True
        )

    def begin(self) -> "Workspace":
        """Make the workspace, with no row in it, and return it."""
        with self.open():
            return self

    def query(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT on the workspace's database, with `:name` for its values."""
        return self._run_sql(sql, values)

    def scalar(self, sql: str, **values: Any) -> Any:
        """Return the first cell of a SELECT."""
        return self.query(sql, **values)[0][0]

    def change(self, sql: str, **values: Any) -> None:
        """Run a statement that changes the workspace's database behind the product's back, and commit it.

        References between tables are not held.
        """
        self._run_sql(sql, values, lax=True)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Be another one who writes to the database for the length of a block."""
        if self.on_postgresql:
            import psycopg

            with psycopg.connect(self.environ[URL].replace("+psycopg", "")) as server:
                server.execute(f"SELECT pg_advisory_xact_lock({WRITER_LOCK_KEY})".encode())
                yield
            return
        with contextlib.closing(
            sqlite3.connect(self.data / "findable.db", isolation_level=None)
        ) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    def tables(self) -> list[str]:
        """Return the names of the tables in the workspace's database, in alphabetical order."""
        if self.on_postgresql:
            found = self.query(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
            )
        else:
            found = self.query("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        return [row[0] for row in found]

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns, in their order."""
        if self.on_postgresql:
            rows = self.query(
                "SELECT column_name FROM information_schema.columns WHERE table_name = :name ORDER BY ordinal_position",
                name=table,
            )
            return [row[0] for row in rows]
        return [row[1] for row in self.query(f"PRAGMA table_info({table})")]

    @property
    def on_postgresql(self) -> bool:
        """Return whether the database is on a server."""
        return self.environ.get(URL, "").startswith("postgresql")

    def _run_sql(
        self, sql: str, values: dict[str, Any], *, lax: bool = False
    ) -> list[tuple[Any, ...]]:
        if self.on_postgresql:
            import psycopg

            with psycopg.connect(self.environ[URL].replace("+psycopg", "")) as server:
                server.execute(f"SET session_replication_role = {'replica' if lax else 'origin'}")
                cursor = server.execute(postgresql.translated(sql).encode(), values)
                return cursor.fetchall() if cursor.description else []
        connection = sqlite3.connect(self.data / "findable.db")
        try:
            with connection:
                return connection.execute(sql, values).fetchall()
        finally:
            connection.close()


def untaken(command: str, said: str) -> set[str]:
    """Return the variables that a command's own next step names, and the command does not take.

    What a step `make …` names is another command's.
    """
    hint = said.rpartition("\nnext: ")[2] if "\nnext: " in said else ""
    known = [name for names in VARIABLES.values() for name in names]
    named = set(
        re.findall(r"\b([A-Z][A-Z_]+)=", re.sub(r"\b(make|pip|findable) [^,;`]*", "", hint))
    )
    strange = named - {name.removeprefix(PREFIX) for name in known} - {*known, "TMPDIR"}
    return (
        strange - ALL_COMMANDS[command].variables.keys() - {"YES", "JSON", "DEBUG"}
        if strange
        else strange
    )


def ran(workspace: Workspace, *args: str, code: int | str = 0, **values: str) -> str:
    """Run a command that must end with a code, and return all that it said."""
    return str(workspace.ran(*args, code=code, **values).output)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder with all that is below it, the databases of the workspaces in it too; no process may work there."""
    shutil.copytree(source, target, symlinks=True)
    postgresql.copy_below(source, target)


def copy_into(source: Path, target: Path) -> None:
    """Copy all that is in a test's folder into another one, as `copy_tree`; what has the same name goes first."""
    for path in source.iterdir():
        if path.name == HERE:  # which a process may not lose under its feet
            continue
        if path.is_dir():
            shutil.rmtree(target / path.name, ignore_errors=True)
            copy_tree(path, target / path.name)
        else:
            shutil.copy2(path, target / path.name)
