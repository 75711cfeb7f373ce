"""Rows of `findable_versions`: what answers are attributed to, and which of them are being taken back.

A version is a label (of prompt and schema) with a model. From the moment its row says that it is withdrawn, none of its
rows counts; they are deleted afterwards, block by block, and its own row last.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, select, update

from pipeline.errors import ConfigurationError
from pipeline.store.tables import versions


@dataclass(frozen=True)
class Version:
    """One version: its label and model, whose answers keep an item from being asked under it (None: any), and when."""

    task: str
    label: str
    model: str
    skips: tuple[str, ...] | None
    began_at: datetime
    withdrawn_at: datetime | None

    @property
    def extractor(self) -> str:
        """Return the name that answers are attributed to."""
        return f"{self.label}/{self.model}"

    @property
    def name(self) -> str:
        """Return what a person calls it: the label alone where rows of another program name no model."""
        return self.extractor if self.model else self.label


def begin(tx: Connection, task: str, label: str, *, model: str, skips: Sequence[str] | None, at: datetime) -> bool:
    """Note that items are about to be asked under a version; return whether its label is new beside older ones.

    Raises:
        ConfigurationError: it is being taken back, and that is not over.
    """
    known = listed(tx, task)
    mine = next((one for one in known if (one.label, one.model) == (label, model)), None)
    if mine is not None and mine.withdrawn_at is not None:
        raise ConfigurationError(
            f"{mine.extractor} is being rolled back, and that was interrupted; nothing was prepared or sent",
            hint=f"finish it: make rollback EXTRACTOR={mine.extractor}, or take another VERSION=",
        )
    if mine is None:
        kept = None if skips is None else json.dumps(list(skips))
        row = {"task": task, "version": label, "model": model, "skips": kept, "began_at": at}
        tx.execute(insert(versions).values(row))
    return bool(known) and all(one.label != label for one in known)


def is_begun(tx: Connection, task: str, label: str, *, model: str) -> bool:
    """Return whether items were asked under a version that is in sight."""
    here = _is(task, label, model) & versions.c.withdrawn_at.is_(None)
    return tx.execute(select(versions.c.task).where(here)).first() is not None


def is_withdrawn(tx: Connection, task: str, label: str, *, model: str) -> bool:
    """Return whether a version is being taken back."""
    here = _is(task, label, model) & versions.c.withdrawn_at.is_not(None)
    return tx.execute(select(versions.c.task).where(here)).first() is not None


def withdrawn(tx: Connection) -> list[Version]:
    """Return every version of any task that is being taken back, oldest first."""
    query = select(versions).where(versions.c.withdrawn_at.is_not(None)).order_by(versions.c.withdrawn_at)
    return [_version(row) for row in tx.execute(query)]


def listed(tx: Connection, task: str) -> list[Version]:
    """Return every version of a task, oldest first, those among them that are being taken back."""
    query = select(versions).where(versions.c.task == task).order_by(versions.c.began_at, versions.c.version)
    return [_version(row) for row in tx.execute(query)]


def withdraw(tx: Connection, task: str, label: str, *, model: str, at: datetime) -> None:
    """Take a version out of sight by its one row, which is made where it has none; again changes nothing."""
    here = _is(task, label, model)
    if tx.execute(select(versions.c.task).where(here)).first() is None:
        row = {"task": task, "version": label, "model": model, "began_at": at, "withdrawn_at": at}
        tx.execute(insert(versions).values(row))
    tx.execute(update(versions).where(here, versions.c.withdrawn_at.is_(None)).values(withdrawn_at=at))


def remove(tx: Connection, task: str, label: str, *, model: str) -> None:
    """Forget a version, once nothing of it is left."""
    tx.execute(delete(versions).where(_is(task, label, model)))


def _version(row: Row[Any]) -> Version:
    """Return a row as a version."""
    skips = None if row.skips is None else tuple(json.loads(row.skips))
    return Version(row.task, row.version, row.model, skips, row.began_at, row.withdrawn_at)


def _is(task: str, label: str, model: str) -> ColumnElement[bool]:
    """Return the condition that a row is this version's."""
    return and_(versions.c.task == task, versions.c.version == label, versions.c.model == model)
