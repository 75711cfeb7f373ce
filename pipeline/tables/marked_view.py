"""Make a view that carries a mark, by which one of findable's own is told from another program's."""

import hashlib
from typing import Any

from sqlalchemy import Connection, Select, exc, text

from pipeline.core.errors import ConfigurationError
from pipeline.tables.reflect import is_sqlite, quoted


def _run_sql(tx: Connection, statement: str) -> None:
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


def put_view(tx: Connection, name: str, query: Select[Any], *, mark: str) -> None:
    """Make a view of a query, or make it anew; other programs' views on it stay where its columns do.

    Raises:
        ConfigurationError: the view cannot be replaced, for another program's view is made of it.
    """
    view, select = quoted(tx, name), _sql_of(tx, query)
    if is_sqlite(tx):
        _run_sql(tx, f"DROP VIEW IF EXISTS {view}")
        _run_sql(tx, f"CREATE VIEW {view} AS /* {mark} */ {select}")
        return
    try:
        with tx.begin_nested():
            _run_sql(tx, f"CREATE OR REPLACE VIEW {view} AS {select}")
    except exc.DBAPIError:  # a column of it is another one now
        _replace(tx, name, f"CREATE VIEW {view} AS {select}")
    _run_sql(tx, f"COMMENT ON VIEW {view} IS '{mark}'")


def _replace(tx: Connection, name: str, statement: str) -> None:
    try:
        with tx.begin_nested():
            _run_sql(tx, f"DROP VIEW {quoted(tx, name)}")
            _run_sql(tx, statement)
    except exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", "") != "2BP01":  # other objects depend on it
            raise
        raise ConfigurationError(
            f"a view of another program is made of `{name}`, whose columns change; nothing was changed",
            hint="drop that view, run the same command again, and make it anew",
        ) from error


OURS = "findable"  # how the mark of a view of ours begins


def is_view_made(tx: Connection, name: str, query: Select[Any], *, of: str) -> bool:
    """Return whether a view is of a query that follows from what is set (`of`), or something else has its name."""
    there = mark_of(tx, name)
    return there is not None and (not there.startswith(OURS) or there == _mark(tx, query, of))


def make_view(tx: Connection, name: str, query: Select[Any], *, of: str) -> bool:
    """Make the view of a query, its mark with the query's hash; return False where something else has its name.

    Raises:
        ConfigurationError: the view cannot be replaced, for another program's view is made of it.
    """
    if (there := mark_of(tx, name)) is not None and not there.startswith(OURS):
        return False
    put_view(tx, name, query, mark=_mark(tx, query, of))
    return True


def _mark(tx: Connection, query: Select[Any], of: str) -> str:
    return f"{OURS}, of {of}: {hashlib.sha256(_sql_of(tx, query).encode()).hexdigest()}"


def _sql_of(tx: Connection, query: Select[Any]) -> str:
    sql = str(query.compile(dialect=tx.dialect, compile_kwargs={"literal_binds": True}))
    return sql if is_sqlite(tx) else sql.replace("%%", "%")  # as it is written for a driver that is given parameters
