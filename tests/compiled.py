"""What SQLAlchemy compiled once is not compiled again by the next of the many engines that one process of tests makes.

A command opens the database once and then ends; a test opens it dozens of times, and a third of its time would go into
compiling the same statements for each engine anew. Statements are the same only where they are of one kind of database.
Those on a table that was found in a user's database are never asked for again; they go as others come.
What an index holds is worked out for each dialect, too, and is the same for all of one kind. The versions of the
libraries, which `doctor` reads from fifty files, do not change either.
"""

from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, event
from sqlalchemy.util import LRUCache

from pipeline.ops.checks import machine
from pipeline.tables import kind_index

KEPT = 2000  # of some engines; one keeps 500 for itself


class Compiled(LRUCache[Any, Any]):
    """Compiled statements by their keys, in which any engine's dialect stands for its kind."""

    def get(self, key: Any, default: Any = None) -> Any:
        """Return what a statement was compiled to, for whichever engine."""
        return super().get((type(key[0]), *key[1:]), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keep what a statement was compiled to."""
        super().__setitem__((type(key[0]), *key[1:]), value)


_sql_by_dialect = kind_index._sql
_SQL: dict[tuple[kind_index.KindIndex, str], str] = {}


def _sql_of(index: kind_index.KindIndex, dialect: Dialect) -> str:
    """Return what a row is, in the SQL of a kind of database."""
    key = index, dialect.name
    if key not in _SQL:
        _SQL[key] = _sql_by_dialect(index, dialect)
    return _SQL[key]


def share() -> None:
    """Let all engines of this process share what they compile, from here on."""
    compiled = Compiled(KEPT)
    kind_index._sql = lru_cache(_sql_of)
    machine._installed = lru_cache(machine._installed)

    @event.listens_for(Engine, "engine_connect")
    def _share(connection: Connection) -> None:
        """Give a connection the statements that others compiled."""
        connection.execution_options(compiled_cache=compiled)
