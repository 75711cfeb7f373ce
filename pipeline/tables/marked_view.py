"""Make a view that carries a mark, by which one of findable's own is told from another program's."""

from collections.abc import Callable

from sqlalchemy import Connection, exc, text

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
