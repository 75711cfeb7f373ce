"""Types of columns: times, aware and in UTC whatever another program wrote, and values that another one typed."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import REAL, BigInteger, DateTime, Dialect, Float, Integer, Text, TypeDecorator
from sqlalchemy.types import TypeEngine, UserDefinedType

BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up by itself only for INTEGER PRIMARY KEY
NUMBER = Float().with_variant(REAL(), "sqlite")  # REAL is the one name that STRICT tables take


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC time, also on SQLite, which keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:  # noqa: ARG002 - theirs
        """Refuse naive times and turn aware ones to UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive time")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - theirs
        """Give SQLite's naive times their zone back."""
        return None if value is None else in_utc(value)


class IsoTime(UtcTime):
    """An aware UTC time in a subject's table: ISO 8601 text on SQLite, whatever the column of another program.

    A time without a zone is UTC, and a cell that tells no time is None.
    """

    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return what the database has for it."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Return what the column takes; refuse naive times."""
        moment = super().process_bind_param(value, dialect)
        return moment.isoformat(" ") if moment is not None and dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - theirs
        """Return the time that a cell tells."""
        return value if value is None else time_of(value)


def in_utc(moment: datetime) -> datetime:
    """Return a time in UTC, which it is in where it has no zone."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def time_of(cell: Any) -> datetime | None:
    """Return the time that a cell tells, in UTC; None where it tells none."""
    try:
        return in_utc(cell if isinstance(cell, datetime) else datetime.fromisoformat(str(cell).strip()))
    except (ValueError, OverflowError):
        return None


class AsTheColumn(UserDefinedType[Any]):
    """A value that takes its type from where it stands; PostgreSQL's driver passes it on without a cast."""

    cache_ok = True

    def __init__(self, declared: str = "TEXT") -> None:
        """Take the name under which a column of this type is made."""
        self.declared = declared

    def get_col_spec(self, **_: Any) -> str:
        """Return the type's name in SQL."""
        return self.declared
