"""The product's tables under an ORM: one class each, with the columns as they are."""

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Table, create_engine, event
from sqlalchemy.orm import DeclarativeBase

from pipeline.experts import schema
from pipeline.store import tables


class Base(DeclarativeBase):
    """What the classes below are made from."""


def _mapped(table: Table) -> Any:
    return type(table.name, (Base,), {"__table__": table})


Expert = _mapped(schema.experts)
Batch = _mapped(tables.batches)
Account = _mapped(tables.batch_accounts)
Request = _mapped(tables.requests)
Answer = _mapped(tables.answers)
Attempt = _mapped(tables.attempts)


def engine_of(data: Path) -> Engine:
    """Return an engine on the workspace's database: WAL, and commits that do not wait for the disk, as is customary."""
    engine = create_engine(f"sqlite:///{data / 'findable.db'}")

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")

    return engine
