"""Provide the test lab: an emulator that tests control, and a workspace on it.

`ASKROWS_TEST_DATABASE=postgresql` gives every workspace its own PostgreSQL database.
"""

import itertools
import os
import re
import shutil
import sqlite3
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from askrows.jobs.cli import main
from askrows.jobs.commands import ALL_COMMANDS
from askrows.jobs.variables import MAKE_COMMAND_LINE_VARIABLE
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core import settings
from askrows.pipeline.core.command_hint import PREFIX
from askrows.pipeline.core.settings import VARIABLES
from askrows.pipeline.ops.open_task import open_workspace
from tests import postgresql
from tests.acceptance.engine import Engine
from tests.people import insert_person
from tests.progress import NullProgress

ROOT = Path(__file__).parents[1]
KEY = "test-key-that-must-never-be-seen-anywhere"
# The variable is read once because no test sees the settings of the user.
DATABASE = os.environ.get("ASKROWS_TEST_DATABASE", "sqlite")
ON_POSTGRESQL = DATABASE == "postgresql"
URL = "ASKROWS_DATABASE_URL"
# The working directory of each test, below its temporary folder.
HERE = "here"


class Api(Engine):
    """The engine of the acceptance tests, in its own process, controlled by the tests."""

    def seen(self, method: str, part: str) -> list[dict[str, Any]]:
        """Return the requests of a method whose path contains a text, oldest first."""
        return [
            entry for entry in self.journal() if entry["method"] == method and part in entry["path"]
        ]


@dataclass
class Workspace:
    """A workspace on the emulator through the gemini backend, with a key and short waits."""

    data: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Set the PostgreSQL database of this folder; two workspaces in a folder share it."""
        # Commands run as below make, so that their hints are commands of make.
        self.environ = {MAKE_COMMAND_LINE_VARIABLE: ":", **self.environ}
        if ON_POSTGRESQL and postgresql.is_ours(self.environ.get(URL)):
            self.environ = {**self.environ, URL: postgresql.database_of(self.data)}

    def run(self, *args: str, **values: str) -> Result:
        """Run a command in this process; `values` are settings by their bare names."""
        environ = self.environ | {f"ASKROWS_{name}": value for name, value in values.items()}
        result = CliRunner().invoke(main, list(args), env=environ, catch_exceptions=False)
        if args and args[0] in ALL_COMMANDS:
            assert not find_untaken_variables(args[0], result.stderr), (args, result.stderr)
        return result

    def ran(self, *args: str, code: int | str = 0, **values: str) -> Result:
        """Run a command that must end with a code."""
        result = self.run(*args, **values)
        assert result.exit_code == code, (args, result.output)
        return result

    def ran_each(self, *commands: str, **values: str) -> None:
        """Run commands in order, each of which must succeed."""
        for command in commands:
            self.ran(command, **values)

    def open(self) -> AbstractContextManager[Run]:
        """Open the workspace for a block, as commands do, and confirm every question."""
        return open_workspace(
            settings.load_settings(self.environ), NullProgress(), confirm=lambda _question: True
        )

    def begin(self) -> "Workspace":
        """Create the workspace without rows, and return it."""
        with self.open():
            return self

    def query(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT on the workspace's database, with `:name` for its values."""
        return self._run_sql(sql, values)

    def scalar(self, sql: str, **values: Any) -> Any:
        """Return the first cell of a SELECT."""
        return self.query(sql, **values)[0][0]

    def change(self, sql: str, **values: Any) -> None:
        """Run and commit a statement that changes the database without the product.

        References between tables are not checked.
        """
        self._run_sql(sql, values, ignore_references=True)

    def tables(self) -> list[str]:
        """Return the names of the tables in the workspace's database, in alphabetical order."""
        if self.on_postgresql:
            rows = self.query(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
            )
        else:
            rows = self.query("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        return [row[0] for row in rows]

    def columns(self, table: str) -> list[str]:
        """Return the names of a table's columns, in their order."""
        if self.on_postgresql:
            rows = self.query(
                "SELECT column_name FROM information_schema.columns"
                " WHERE table_name = :name ORDER BY ordinal_position",
                name=table,
            )
            return [row[0] for row in rows]
        return [row[1] for row in self.query(f"PRAGMA table_info({table})")]

    @property
    def on_postgresql(self) -> bool:
        """Return whether the database is on a server."""
        return self.environ.get(URL, "").startswith("postgresql")

    def _run_sql(
        self, sql: str, values: dict[str, Any], *, ignore_references: bool = False
    ) -> list[tuple[Any, ...]]:
        if self.on_postgresql:
            with postgresql.connect(self.environ[URL]) as server:
                if ignore_references:
                    server.execute("SET session_replication_role = 'replica'")
                cursor = server.execute(postgresql.translated(sql), values)
                return cursor.fetchall() if cursor.description else []
        with closing(sqlite3.connect(self.data / "askrows.db")) as connection, connection:
            return connection.execute(sql, values).fetchall()


def find_untaken_variables(command: str, stderr: str) -> set[str]:
    """Return the variables in the hint of a command that the command does not accept.

    Variables after `make …` belong to another command.
    """
    hint = stderr.rpartition("\nnext: ")[2] if "\nnext: " in stderr else ""
    variable_names = list(itertools.chain.from_iterable(VARIABLES.values()))
    hint_variables = set(
        re.findall(r"\b([A-Z][A-Z_]+)=", re.sub(r"\b(make|pip|askrows) [^,;`]*", "", hint))
    )
    unknown_variables = (
        hint_variables
        - {name.removeprefix(PREFIX) for name in variable_names}
        - {*variable_names, "TMPDIR"}
    )
    if not unknown_variables:
        return set()
    return unknown_variables - ALL_COMMANDS[command].variables.keys() - {"YES", "JSON", "DEBUG"}


def ran(workspace: Workspace, *args: str, code: int | str = 0, **values: str) -> str:
    """Run a command that must end with a code, and return its output."""
    return str(workspace.ran(*args, code=code, **values).output)


def put_people(workspace: Workspace, count: int, *, without_bio: int = 0) -> list[str]:
    """Add people with a bio, and some without, through the experts' table; return their names."""
    names = [f"person-{number:04d}" for number in range(count + without_bio)]
    with workspace.open() as ws, ws.workspace.store.write() as tx:
        for number, name in enumerate(names):
            bio = f"I keep bees and teach water law, number {number}." if number < count else None
            person = {"first_name": "Person", "last_name": str(number), "bio": bio}
            insert_person(ws, tx, name, person)
    return names


def copy_into(source: Path, target: Path) -> None:
    """Copy the content of a test's folder into another folder, and replace equal names.

    The databases of workspaces are copied, too; no process may work in the folder.
    """
    for path in source.iterdir():
        # A process must not lose its working directory.
        if path.name == HERE:
            continue

        if path.is_dir():
            shutil.rmtree(target / path.name, ignore_errors=True)
            shutil.copytree(path, target / path.name, symlinks=True)
            postgresql.copy_below(path, target / path.name)
        else:
            shutil.copy2(path, target / path.name)
