"""What SQLAlchemy compiled once is not compiled again by the next of the many engines that one process of tests makes.

A command opens the database once and then ends; a test opens it dozens of times, and a third of its time would go into
compiling the same statements for each engine anew. Statements are the same only where they are of one kind of database.
Those on a table that was found in a user's database are never asked for again; they go as others come.
"""

from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.util import LRUCache

KEPT = 500  # as many as one engine keeps for itself


class Compiled(LRUCache[Any, Any]):
    """Compiled statements by their keys, in which any engine's dialect stands for its kind."""

    def get(self, key: Any, default: Any = None) -> Any:
        """Return what a statement was compiled to, for whichever engine."""
        return super().get((type(key[0]), *key[1:]), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keep what a statement was compiled to."""
        super().__setitem__((type(key[0]), *key[1:]), value)


def share() -> None:
    """Let all engines of this process share what they compile, from here on."""
    compiled = Compiled(KEPT)

    @event.listens_for(Engine, "engine_connect")
    def _share(connection: Connection) -> None:
        """Give a connection the statements that others compiled."""
        connection.execution_options(compiled_cache=compiled)
