"""What one command works out is not worked out again by the many that one process of tests runs.

What an index holds is worked out for each dialect, and is the same for all of one kind. The versions of the libraries,
which `doctor` reads from fifty files, do not change either.
"""

from functools import lru_cache
from importlib import metadata

from sqlalchemy import Dialect

from pipeline.store.compiled import COMPILED
from pipeline.tables import kind_index

_sql_by_dialect = kind_index._sql
_SQL: dict[tuple[kind_index.KindIndex, str], str] = {}


def _sql_of(index: kind_index.KindIndex, dialect: Dialect) -> str:
    """Return what a row is, in the SQL of a kind of database."""
    key = index, dialect.name
    if key not in _SQL:
        _SQL[key] = _sql_by_dialect(index, dialect)
    return _SQL[key]


def share() -> None:
    """Let all commands of this process share it, from here on."""
    COMPILED.capacity = 2000  # tests have many tasks
    kind_index._sql = lru_cache(_sql_of)
    metadata.version = lru_cache(metadata.version)
