"""Make a view that carries a mark, by which one of findable's own is told from another program's."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, exc, text

from pipeline.core.errors import ConfigurationError
from pipeline.tables.reflect import is_sqlite, quoted


def run_sql(tx: Connection, statement: str) -> None:
    """Run a statement without parameters as it stands; names in it may hold `%` and `:`."""
    tx.exec_driver_sql(statement, execution_options={"no_parameters": True})


def mark_of(tx: Connection, name: str) -> str | None:
    """Return the mark of what has a view's name: None where nothing has, the empty text where it has none."""
    if is_sqlite(tx):
        query = text("SELECT sql FROM sqlite_master WHERE type IN ('table', 'view') AND lower(name) = :name")
        row = tx.execute(query, {"name": name}).first()
        return None if row is None else str(row[0]).partition("/* ")[2].partition(" */")[0]
    query = text("SELECT obj_description(oid, 'pg_class') FROM pg_class WHERE oid = to_regclass(:name)")
    row = tx.execute(query, {"name": name}).first()
    return None if row is None else row[0] or ""


def put_view(
    tx: Connection, name: str, select: str, *, mark: str, run: Callable[[Connection, str], object] = run_sql
) -> None:
    """Make a view, or make it anew; other programs' views on it stay where its columns do.

    Raises:
        ConfigurationError: the view cannot be replaced, for another program's view is made of it.
    """
    view = quoted(tx, name)
    if is_sqlite(tx):
        run(tx, f"DROP VIEW IF EXISTS {view}")
        run(tx, f"CREATE VIEW {view} AS /* {mark} */ {select}")
        return
    try:
        with tx.begin_nested():
            run(tx, f"CREATE OR REPLACE VIEW {view} AS {select}")
    except exc.DBAPIError:  # a column of it is another one now
        _replace(tx, name, f"CREATE VIEW {view} AS {select}", run)
    run(tx, f"COMMENT ON VIEW {view} IS '{mark}'")


def _replace(tx: Connection, name: str, statement: str, run: Callable[[Connection, str], object]) -> None:
    try:
        with tx.begin_nested():
            run(tx, f"DROP VIEW {quoted(tx, name)}")
            run(tx, statement)
    except exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", "") != "2BP01":  # other objects depend on it
            raise
        raise ConfigurationError(
            f"a view of another program is made of `{name}`, whose columns change; nothing was changed",
            hint="drop that view, run the same command again, and make it anew",
        ) from error


OURS = "findable"  # how the mark of a view of ours begins


@dataclass(frozen=True)
class SettledView:
    """A view of a query that follows from `settings`; its mark has the query's hash, by which another one is seen."""

    name: str
    settings: str

    def is_ready(self, tx: Connection, query: Select[Any]) -> bool:
        """Return whether the view is of this query, or something else has its name."""
        return self._mark_there(tx) in {self._mark(_compiled(tx, query)), ""}

    def make_ready(self, tx: Connection, query: Select[Any]) -> bool:
        """Make the view of this query; return False where something else has its name, which stays.

        Raises:
            ConfigurationError: the view cannot be replaced, for another program's view is made of it.
        """
        if self._mark_there(tx) == "":
            return False
        sql = _compiled(tx, query)
        put_view(tx, self.name, sql, mark=self._mark(sql), run=Connection.exec_driver_sql)  # it has `%%` for `%`
        return True

    def _mark(self, sql: str) -> str:
        return f"{OURS}, of {self.settings}: {hashlib.sha256(sql.encode()).hexdigest()}"

    def _mark_there(self, tx: Connection) -> str | None:
        """Return the mark of what has the name: None where nothing has, the empty text where it is not ours."""
        told = mark_of(tx, self.name)
        return told if told is None or told.startswith(OURS) else ""


def _compiled(tx: Connection, query: Select[Any]) -> str:
    return str(query.compile(dialect=tx.dialect, compile_kwargs={"literal_binds": True}))
