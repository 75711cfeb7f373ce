"""The database as fast as it can be written to: no waiting for the disk at all, one transaction."""

import sqlite3
from pathlib import Path


def connected(data: Path) -> sqlite3.Connection:
    """Return a connection that is in nobody's way and promises nothing: what it wrote may be lost with the power."""
    connection = sqlite3.connect(data / "findable.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -262144")
    return connection
