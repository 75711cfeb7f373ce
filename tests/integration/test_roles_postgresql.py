"""Users of a PostgreSQL server who may not do everything, or whose sessions are set up otherwise than ours."""

import time
from pathlib import Path

import pytest

from pipeline.core.errors import UnavailableError
from pipeline.store.database import Store
from tests import postgresql
from tests.lab import URL, Workspace

EXPERTS = "CREATE TABLE experts (id BIGSERIAL PRIMARY KEY, username TEXT NOT NULL, bio TEXT)"


class Role:
    """A user who may do in a database of its own what it was granted, and a workspace of that user."""

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        """Make the database and the user, who may make tables."""
        self.workspace = workspace
        self.name = postgresql.name_of(folder) + "_user"
        self.url = postgresql.database_of(folder)
        postgresql.shared().execute(f'CREATE ROLE "{self.name}" LOGIN')
        self.does(f'GRANT ALL ON SCHEMA public TO "{self.name}"')
        workspace.environ[URL] = self.url.replace("postgres@", f"{self.name}@")

    def does(self, *statements: str) -> None:
        """Run statements as the owner of the server."""
        for one in statements:
            postgresql.rows(self.url, one)

    def is_set(self, setting: str) -> None:
        """Let every session of the user begin with a setting."""
        postgresql.shared().execute(f'ALTER ROLE "{self.name}" SET {setting}')

    def has_people(self, count: int = 3) -> None:
        """Make a table of people that is the user's own."""
        people = ", ".join(f"('u{number}', 'I teach water law.')" for number in range(count))
        self.does(EXPERTS, f"INSERT INTO experts (username, bio) VALUES {people}")  # noqa: S608 - texts of ours
        self.does(f'ALTER TABLE experts OWNER TO "{self.name}"')

    def run(self, *args: str, code: int = 0, **values: str) -> str:
        """Run a command that must end with a code, and return what it said."""
        ran = self.workspace.ran(*args, **values, code=code)
        return ran.output


@pytest.fixture(name="role")
def _role(workspace: Workspace, tmp_path: Path) -> Role:
    """A user with an empty database."""
    return Role(workspace, tmp_path / "theirs")


def test_a_user_who_only_reads_sees_everything_and_writes_nothing(role: Role) -> None:
    """A write is refused with exit code 3 also where a read went before it, and nothing is changed."""
    role.has_people()
    role.workspace.begin()
    role.is_set("default_transaction_read_only = on")
    before = postgresql.rows(
        role.url, "SELECT count(*), max(xmin::text::bigint) FROM findable_workspace"
    )
    assert "3" in role.run("status")
    batch_submit_run = role.run("batch-submit", code=3)
    assert "read-only transaction; nothing was changed" in batch_submit_run
    assert postgresql.rows(role.url, "SELECT count(*) FROM findable_asks") == [(0,)]
    assert (
        postgresql.rows(
            role.url, "SELECT count(*), max(xmin::text::bigint) FROM findable_workspace"
        )
        == before
    )


@pytest.mark.sampled(3, sqlite=3)
@pytest.mark.parametrize(
    ("setting", "statement", "said"),
    [
        ("statement_timeout = '50ms'", "SELECT pg_sleep(2)", r"went away: .* statement timeout"),
        (
            "idle_in_transaction_session_timeout = '50ms'",
            "SELECT 1",
            "went away: .* idle-in-transaction",
        ),
        (
            "transaction_timeout = '50ms'",
            "SELECT pg_sleep(2)",
            "went away: .* transaction timeout",
        ),
    ],
)
def test_what_a_server_breaks_off_is_told_as_that(
    role: Role, setting: str, statement: str, said: str
) -> None:
    """Exit code 4 with the server's words: no other process held anything, and nothing is inconsistent."""
    role.is_set(setting)
    store = Store(role.workspace.environ[URL])

    def work() -> None:
        """Take longer than allowed, over a statement or between two."""
        with store.read() as tx:
            tx.exec_driver_sql(statement)
            time.sleep(0.2)
            tx.exec_driver_sql(statement)

    with pytest.raises(UnavailableError, match=said) as caught:
        work()
    assert caught.value.exit_code == 4
    assert "held" not in caught.value.message
    store.close()
