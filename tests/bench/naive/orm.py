"""The tables as somebody maps them who reaches for an ORM first: one class each, columns as they are used."""

from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """What the classes below are made from."""


class Expert(Base):
    """A person."""

    __tablename__ = "experts"
    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str]
    first_name: Mapped[str | None]
    last_name: Mapped[str | None]
    job_title: Mapped[str | None]
    company: Mapped[str | None]
    bio: Mapped[str | None]
    hourly_rate: Mapped[float | None]
    currency: Mapped[str | None]
    profile_url: Mapped[str | None]
    profile_url_utm: Mapped[str | None]
    category: Mapped[str | None]
    tags: Mapped[str | None]
    findability_score: Mapped[float | None]


class Batch(Base):
    """A batch, with what the account of it needs."""

    __tablename__ = "findable_batches"
    number: Mapped[int] = mapped_column(primary_key=True)
    task: Mapped[str]
    extractor: Mapped[str]
    model: Mapped[str]
    state: Mapped[str]
    created_at: Mapped[datetime]
    requests: Mapped[int]
    request_file: Mapped[str]
    request_sha256: Mapped[str]
    request_size: Mapped[int]
    estimated_in: Mapped[int]
    estimated_out: Mapped[int]
    estimated_cost: Mapped[float]
    priced_on: Mapped[str]
    result_file: Mapped[str | None]


class Account(Base):
    """What a batch came to."""

    __tablename__ = "findable_batch_accounts"
    batch: Mapped[int] = mapped_column(primary_key=True)
    answered: Mapped[int | None]
    refused: Mapped[int | None]
    invalid: Mapped[int | None]
    missing: Mapped[int | None]
    not_applied: Mapped[int | None]
    unknown: Mapped[int | None]
    duplicates: Mapped[int | None]
    unreadable: Mapped[int | None]
    tokens_in: Mapped[int]
    tokens_out: Mapped[int]
    cost: Mapped[float]


class Request(Base):
    """A claim, and what became of it."""

    __tablename__ = "findable_requests"
    id: Mapped[int] = mapped_column(primary_key=True)
    task: Mapped[str]
    item_id: Mapped[str]
    batch: Mapped[int]
    line: Mapped[int]
    input_hash: Mapped[str]
    open: Mapped[bool]
    outcome: Mapped[str | None]
    reason: Mapped[str | None]
    at: Mapped[datetime]


class Answer(Base):
    """A validated answer."""

    __tablename__ = "findable_answers"
    id: Mapped[int] = mapped_column(primary_key=True)
    task: Mapped[str]
    item_id: Mapped[str]
    batch: Mapped[int]
    extractor: Mapped[str]
    input_hash: Mapped[str]
    answer: Mapped[str]
    applied: Mapped[bool]
    outdated: Mapped[bool] = mapped_column(default=False)
    model_version: Mapped[str]
    response_id: Mapped[str]
    tokens_in: Mapped[int]
    tokens_out: Mapped[int]
    cost: Mapped[float]
    at: Mapped[datetime]


class Attempt(Base):
    """A try that gave no answer."""

    __tablename__ = "findable_attempts"
    id: Mapped[int] = mapped_column(primary_key=True)
    task: Mapped[str]
    item_id: Mapped[str]
    batch: Mapped[int]
    at: Mapped[datetime]
    charged: Mapped[bool] = mapped_column(default=True)
    forgiven: Mapped[bool] = mapped_column(default=False)
    outcome: Mapped[str]
    reason: Mapped[str]
    code: Mapped[int | None]
    excerpt: Mapped[str | None]
    tokens_in: Mapped[int] = mapped_column(default=0)
    tokens_out: Mapped[int] = mapped_column(default=0)
    cost: Mapped[float] = mapped_column(default=0.0)


def engine_of(data: Path) -> Engine:
    """Return an engine on the workspace's database: WAL, and commits that do not wait for the disk, as is customary."""
    engine = create_engine(f"sqlite:///{data / 'findable.db'}")

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")

    return engine
