"""Users of a PostgreSQL server with few rights, or with other session settings than ours."""

import time
from pathlib import Path

import pytest

from askrows.pipeline.core.errors import UnavailableError
from askrows.pipeline.store.database import Store
from tests import postgresql
from tests.lab import URL, Workspace

EXPERTS = "CREATE TABLE experts (id BIGSERIAL PRIMARY KEY, username TEXT NOT NULL, bio TEXT)"


class Role:
    """A user with granted rights in their own database, and a workspace of that user."""

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        """Create the database and the user, who may create tables."""
        self.workspace = workspace
        self.name = postgresql.name_of(folder) + "_user"
        self.url = postgresql.database_of(folder)
        postgresql.shared().execute(f'CREATE ROLE "{self.name}" LOGIN')
        self.run_statements(f'GRANT ALL ON SCHEMA public TO "{self.name}"')
        workspace.environ[URL] = self.url.replace("postgres@", f"{self.name}@")

    def run_statements(self, *statements: str) -> None:
        """Run statements as the owner of the server."""
        for statement in statements:
            postgresql.rows(self.url, statement)

    def set_default(self, setting: str) -> None:
        """Start every session of the user with a setting."""
        postgresql.shared().execute(f'ALTER ROLE "{self.name}" SET {setting}')

    def create_people(self, count: int = 3) -> None:
        """Create a table of people that belongs to the user."""
        people = ", ".join(f"('u{number}', 'I teach water law.')" for number in range(count))
        insert = f"INSERT INTO experts (username, bio) VALUES {people}"  # noqa: S608 - our texts
        self.run_statements(EXPERTS, insert)
        self.run_statements(f'ALTER TABLE experts OWNER TO "{self.name}"')

    def run(self, *args: str, code: int = 0, **values: str) -> str:
        """Run a command that must end with an exit code, and return its output."""
        result = self.workspace.ran(*args, **values, code=code)
        return result.output


@pytest.fixture(name="role")
def _role(workspace: Workspace, tmp_path: Path) -> Role:
    """Create a user with an empty database."""
    return Role(workspace, tmp_path / "theirs")


def test_a_user_who_only_reads_sees_everything_and_writes_nothing(role: Role) -> None:
    """A write after a read exits with 3, and changes nothing."""
    role.create_people()
    role.workspace.begin()
    role.set_default("default_transaction_read_only = on")
    query = "SELECT count(*), max(xmin::text::bigint) FROM askrows_workspace"
    before = postgresql.rows(role.url, query)

    # Reading still works.
    assert "3" in role.run("status")

    batch_submit_run = role.run("batch-submit", code=3)
    assert "read-only transaction; nothing was changed" in batch_submit_run
    assert postgresql.rows(role.url, "SELECT count(*) FROM askrows_asks") == [(0,)]
    assert postgresql.rows(role.url, query) == before


@pytest.mark.parametrize(
    ("setting", "statement", "message"),
    [
        (
            "statement_timeout = '50ms'",
            "SELECT pg_sleep(2)",
            r"ended a command: .* statement timeout",
        ),
        (
            "idle_in_transaction_session_timeout = '50ms'",
            "SELECT 1",
            "connection was lost: .* idle-in-transaction",
        ),
        (
            "transaction_timeout = '50ms'",
            "SELECT pg_sleep(2)",
            "connection was lost: .* transaction timeout",
        ),
    ],
)
def test_a_timeout_of_the_server_is_reported(
    role: Role, setting: str, statement: str, message: str
) -> None:
    """A server's timeout exits with 4 and its message, and does not blame another process."""
    role.set_default(setting)
    store = Store(role.workspace.environ[URL])

    def work() -> None:
        """Exceed the limit in a statement, or between two statements."""
        with store.read() as tx:
            tx.exec_driver_sql(statement)
            time.sleep(0.2)
            tx.exec_driver_sql(statement)

    with pytest.raises(UnavailableError, match=message) as failure:
        work()
    assert failure.value.exit_code == 4
    assert "held" not in failure.value.message

    store.close()


def test_user_who_may_not_create_tables_learns_the_right(role: Role) -> None:
    """The hint names the right, and no empty folder stays."""
    role.run_statements(f'REVOKE ALL ON SCHEMA public FROM "{role.name}"')
    path = role.workspace.data.parent / "orders.csv"
    path.write_text("id,text\n1,row\n", encoding="utf-8")
    output = role.run("ask", str(path), Q="Tone?", YES="1", code=3)
    assert "CREATE ON SCHEMA public" in output
    assert not role.workspace.data.exists()


ORDERS = "CREATE TABLE orders (id INTEGER PRIMARY KEY, t TEXT, tone TEXT)"
ORDERS_TASK = """
from typing import Literal

from pydantic import BaseModel

from askrows import Task


class Answer(BaseModel):
    tone: Literal["good"]


task = Task(
    answer=Answer, items="SELECT id, t FROM orders", prompt="{t}", write_to="orders.tone=tone"
)
"""


@pytest.fixture(name="orders_task")
def _orders_task(role: Role) -> str:
    """Create a table of another user that the user may only read, and a task that writes to it."""
    role.run_statements(
        ORDERS, "INSERT INTO orders SELECT n, 'row ' || n FROM generate_series(1, 6) n"
    )
    role.run_statements(f'GRANT SELECT ON orders TO "{role.name}"')
    path = role.workspace.data.parent / "orders.py"
    path.write_text(ORDERS_TASK, encoding="utf-8")
    return str(path)


AI_COLUMNS = "order_id, provider, model, created_at, tone"
# Statements before, target, table, statement that grants the least rights, answers query.
MISSING_RIGHTS = {
    "to write": (
        (),
        '"orders.tone=tone"',
        "orders",
        'GRANT UPDATE (tone) ON orders TO "{name}"',
        "SELECT count(tone) FROM orders",
    ),
    # The key finds the row of a cell, so the user reads it.
    "to read the key": (
        (
            'CREATE TABLE "share%" (id INTEGER PRIMARY KEY, tone TEXT)',
            'INSERT INTO "share%" SELECT id FROM orders',
            'GRANT SELECT (tone), UPDATE (tone) ON "share%" TO "{name}"',
        ),
        "'\"share%\".tone=tone'",
        "share%",
        'GRANT SELECT (id) ON "share%" TO "{name}"',
        'SELECT count(tone) FROM "share%"',
    ),
    # A record per row needs INSERT and UPDATE, but no other right on further columns.
    "to insert": (
        (
            (
                "CREATE TABLE order_ai (order_id INTEGER, provider TEXT, model TEXT,"
                " created_at TIMESTAMPTZ, tone TEXT, note TEXT)"
            ),
            'GRANT SELECT ON order_ai TO "{name}"',
        ),
        '"order_ai.order_id"',
        "order_ai",
        f'GRANT INSERT ({AI_COLUMNS}), UPDATE (created_at, tone) ON order_ai TO "{{name}}"',
        "SELECT count(tone) FROM order_ai",
    ),
}


@pytest.mark.full
@pytest.mark.parametrize("right", MISSING_RIGHTS)
def test_missing_right_is_named_before_anything_is_asked(
    role: Role, orders_task: str, right: str
) -> None:
    """The error names the table; after the least GRANT, all rows are asked."""
    statements, target, table, least_grant, query = MISSING_RIGHTS[right]
    role.run_statements(*(statement.format(name=role.name) for statement in statements))
    path = Path(orders_task)
    source = path.read_text(encoding="utf-8").replace('"orders.tone=tone"', target)
    path.write_text(source, encoding="utf-8")
    output = role.run("tag", TASK=orders_task, MODE="live", YES="1", code=2)
    assert f"permission denied for table {table}" in output

    role.run_statements(least_grant.format(name=role.name))
    role.run("tag", TASK=orders_task, MODE="live", YES="1")
    assert postgresql.rows(role.url, query) == [(6,)]


@pytest.mark.full
def test_right_that_is_revoked_after_asking_loses_no_reply(role: Role, orders_task: str) -> None:
    """The hint says that replies are kept; after the GRANT, the same command stores them."""
    role.run_statements(f'GRANT UPDATE ON orders TO "{role.name}"')
    for verb in ("batch-submit", "batch-poll"):
        role.run(verb, TASK=orders_task, YES="1")
    role.run_statements(f'REVOKE UPDATE ON orders FROM "{role.name}"')
    output = role.run("batch-ingest", TASK=orders_task, code=3)
    assert "permission denied for table orders" in output
    assert "stores replies that arrived without asking again" in output

    role.run_statements(f'GRANT UPDATE ON orders TO "{role.name}"')
    role.run("batch-ingest", TASK=orders_task)
    assert postgresql.rows(role.url, "SELECT count(tone) FROM orders") == [(6,)]


@pytest.mark.full
def test_row_that_row_level_security_refuses_does_not_stop_the_others(
    role: Role, orders_task: str
) -> None:
    """A row that violates a policy is parked like one that a CHECK refuses."""
    role.run_statements(
        f'GRANT UPDATE ON orders TO "{role.name}"',
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY may_read ON orders FOR SELECT USING (true)",
        "CREATE POLICY may_write ON orders FOR UPDATE USING (true) WITH CHECK (id <> 3)",
    )
    role.run("tag", TASK=orders_task, MODE="live", YES="1")
    rows = postgresql.rows(role.url, "SELECT id FROM orders WHERE tone IS NULL")
    assert rows == [(3,)]
    assert "row-level security" in role.run("parked", TASK=orders_task)
