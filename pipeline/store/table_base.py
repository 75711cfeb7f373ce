"""What all of the engine's own tables are made with, and the type of columns that another program may have made."""

from typing import Any

from sqlalchemy import BigInteger, Integer, MetaData, types

METADATA = MetaData()
BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up by itself only for INTEGER PRIMARY KEY


class AsTheColumn(types.UserDefinedType[Any]):
    """A value that takes its type from where it stands; PostgreSQL's driver passes it on without a cast."""

    cache_ok = True

    def __init__(self, declared: str = "TEXT") -> None:
        """Take the name under which a column of this type is made."""
        self.declared = declared

    def get_col_spec(self, **_: Any) -> str:
        """Return the type's name in SQL."""
        return self.declared
