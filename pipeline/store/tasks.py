"""Keep the tasks that users declare in files of their own: what each was when it was used last, and what it asked with.

A record is enough for everything but asking and judging, so that a file that is gone or broken harms no other command.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from pipeline.store.tables import tasks

_AS_JSON = ("key", "columns", "fields", "words")


@dataclass(frozen=True)
class TaskRecord:
    """One task: where its file is, its tables, and the version and fingerprint that answers are attributed to.

    `key` and `fields` are (name, kind) pairs, `columns` the kinds of the items' columns by name; `items` is a query or
    the path of a file, whose SHA-256 when it was imported is `items_sha256`. `words` is what else is
    known of the declaration: the label, the model, and such.
    """

    name: str
    path: str
    prefix: str
    items: str
    is_query: bool
    items_sha256: str | None
    key: tuple[tuple[str, str], ...]
    columns: Mapping[str, str]
    fields: tuple[tuple[str, str], ...]
    version: int
    fingerprint: str
    words: Mapping[str, Any]
    at: datetime


_RECORDS = select(*(tasks.c[one.name] for one in fields(TaskRecord)))


def list_tasks(tx: Connection) -> list[TaskRecord]:
    """Return every task that was used here, by name."""
    return [_record(row) for row in tx.execute(_RECORDS.order_by(tasks.c.name)).mappings()]


def any_tasks(tx: Connection) -> bool:
    """Return whether any task was used here."""
    return tx.execute(select(tasks.c.name).limit(1)).first() is not None


def get_task(tx: Connection, name: str) -> TaskRecord | None:
    """Return the task of that name, None where none was ever used here."""
    row = tx.execute(_RECORDS.where(tasks.c.name == name)).mappings().first()
    return None if row is None else _record(row)


def put_task(tx: Connection, record: TaskRecord) -> None:
    """Keep a task as it is now, in the place of what it was; what its versions were asked with stays."""
    row = {one.name: getattr(record, one.name) for one in fields(record)}
    row |= {name: json.dumps(row[name], ensure_ascii=False) for name in _AS_JSON}
    if not tx.execute(update(tasks).where(tasks.c.name == record.name).values(row)).rowcount:
        tx.execute(insert(tasks).values(row))


def move_task(tx: Connection, name: str, *, path: str, items: str) -> None:
    """Keep where the file of a task is now, and its items."""
    tx.execute(update(tasks).where(tasks.c.name == name).values(path=path, items=items))


def keep_items_hash(tx: Connection, name: str, sha256: str | None) -> None:
    """Keep which file was imported last, once all of it was."""
    tx.execute(update(tasks).where(tasks.c.name == name).values(items_sha256=sha256))


def keep_fingerprint(
    tx: Connection, fingerprint: str, *, task: str, version: int, document: Mapping[str, Any], at: datetime
) -> None:
    """Keep the document behind a fingerprint, once a version, and that it is what the version is asked with."""
    others = [one for one in _asked(tx, task) if (one["fingerprint"], one["version"]) != (fingerprint, version)]
    mine = {"fingerprint": fingerprint, "version": version, "at": at.isoformat(), "document": document}
    asked = json.dumps([*others, mine], ensure_ascii=False)
    tx.execute(update(tasks).where(tasks.c.name == task).values(asked=asked))


def reference_of(tx: Connection, task: str, version: int) -> str | None:
    """Return the fingerprint that a version of a task is asked with, None where nothing was: the last one accepted."""
    return next((str(one["fingerprint"]) for one in reversed(_asked(tx, task)) if one["version"] == version), None)


def fingerprint_document(tx: Connection, task: str, fingerprint: str) -> dict[str, Any]:
    """Return the document behind a fingerprint of a task, an empty one where it is not known."""
    return next((one["document"] for one in _asked(tx, task) if one["fingerprint"] == fingerprint), {})


def _asked(tx: Connection, task: str) -> list[dict[str, Any]]:
    """Return what the versions of a task were asked with, the last one accepted at the end."""
    found = tx.execute(select(tasks.c.asked).where(tasks.c.name == task)).scalar()
    return list(json.loads(found or "[]"))


def _record(row: Mapping[Any, Any]) -> TaskRecord:
    values = {one.name: row[one.name] for one in fields(TaskRecord)}
    values |= {name: json.loads(values[name]) for name in _AS_JSON}
    pairs = {name: tuple((one[0], one[1]) for one in values[name]) for name in ("key", "fields")}
    return TaskRecord(**(values | pairs))
