"""What Alembic made of the first new database of this process, made of all further ones without it.

A new workspace is made by the same statements each time; working them out takes ten times as long as running them does,
and an SQLite file needs those alone that its tables have in the end.
A database in which tables stand already, ours or another program's, is migrated by Alembic itself: views and triggers
are taken out of its way, and what was said to one of them is of no use to another.
"""

from typing import Any

from sqlalchemy import Connection, event, inspect, literal, select, table, text

from pipeline.store import schema
from pipeline.tables.reflect import is_sqlite

Said = list[str]

by_alembic = schema.make_schema
_said: dict[str, Said] = {}  # by the kind of database


def share() -> None:
    """Let all new databases of this process be made like the first one, from here on."""
    schema.make_schema = make


def make(tx: Connection) -> None:
    """Run every migration that this database has not seen, in the caller's transaction."""
    kind = tx.dialect.name
    if inspect(tx).get_table_names():
        by_alembic(tx)
    elif kind in _said:
        cursor = tx.connection.cursor()
        for statement in _said[kind]:
            cursor.execute(statement)
        cursor.close()
    else:
        said: Said = []
        note = _noting(said)
        event.listen(tx, "before_cursor_execute", note)
        by_alembic(tx)
        event.remove(tx, "before_cursor_execute", note)
        _said[kind] = _in_the_end(tx, said) if is_sqlite(tx) else [";\n".join(said)]


def _in_the_end(tx: Connection, said: Said) -> Said:
    """Return the statements that make an SQLite file as it is now, in which the version's table alone has a row."""
    made = tx.execute(text("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid"))
    rows = (select(literal(1)).select_from(table(name)) for name in inspect(tx).get_table_names())
    assert sum(len(tx.execute(row).all()) for row in rows) == 1
    version = [one for one in said if schema.VERSION_TABLE in one and not one.lstrip().startswith("CREATE")]
    return [*made.scalars(), *version]


def _noting(said: Said) -> Any:
    """Return a listener that notes down each statement but those that only look."""

    def note(_tx: Any, _cursor: Any, statement: str, parameters: Any, *_others: Any) -> None:
        """Note a statement; Alembic writes values into them."""
        if not statement.lstrip().upper().startswith(("SELECT", "PRAGMA", "BEGIN")):
            assert not parameters, statement
            said.append(statement)

    return note
