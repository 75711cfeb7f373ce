"""What Alembic said to the first new database of this process, said to all further ones without it.

A new workspace is made by the same statements each time; working them out takes ten times as long as running them does.
A database in which tables stand already, ours or another program's, is migrated by Alembic itself: views and triggers
are taken out of its way, and what was said to one of them is of no use to another.
"""

from typing import Any

from sqlalchemy import Connection, event, inspect

from pipeline.store import schema

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
        for statement in _said[kind]:
            tx.exec_driver_sql(statement)
    else:
        said: Said = []
        note = _noting(said)
        event.listen(tx, "before_cursor_execute", note)
        by_alembic(tx)
        event.remove(tx, "before_cursor_execute", note)
        _said[kind] = said


def _noting(said: Said) -> Any:
    """Return a listener that notes down each statement but those that only look."""

    def note(_tx: Any, _cursor: Any, statement: str, parameters: Any, *_others: Any) -> None:
        """Note a statement; Alembic writes values into them."""
        if not statement.lstrip().upper().startswith(("SELECT", "PRAGMA", "BEGIN")):
            assert not parameters, statement
            said.append(statement)

    return note
