"""Make subjects of the recorded tasks, record the one that a command names, and bring its items up to date."""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect

from pipeline.core.declaration import Declaration
from pipeline.core.errors import ConfigurationError
from pipeline.core.progress import Progress
from pipeline.core.settings import BUILT_IN, Settings
from pipeline.core.task import Subject
from pipeline.engine.declared.hooks import DeclaredHooks
from pipeline.engine.declared.record import items_place, put_record, record_of
from pipeline.engine.declared.task import DeclaredTask
from pipeline.engine.declared.task_file import find_task_file, load_declaration, tasks_nearby
from pipeline.store import leases, tables, tasks
from pipeline.store.tasks import TaskRecord
from pipeline.tables.items_file import open_file
from pipeline.tables.items_fill import ItemsReport, fill_items
from pipeline.tables.items_query import open_query

EXAMPLES = 3  # refused rows in a message
AGAIN = {
    True: "REFRESH=1 asks about them again",
    False: "refresh=True in the task's file, with REFRESH=1, asks about them again",
}

if TYPE_CHECKING:
    from pipeline.store.database import Connection, Store


def declared_subjects(tx: "Connection", *, refreshes: bool) -> tuple[Subject, ...]:
    """Return every task that was recorded here as a subject; no file is loaded."""
    made = (DeclaredTask(one, refreshes and bool(one.words.get("refresh"))) for one in tasks.list_tasks(tx))
    return tuple(Subject(one.name, one, None, DeclaredHooks(one)) for one in made)


def recorded_name(tx: "Connection", settings: Settings) -> str | None:
    """Return the name under which the task that TASK= names is recorded here, None where it is not yet."""
    named = settings.task
    known = {one.name: one.path for one in tasks.list_tasks(tx)}
    if named in known:
        return named
    path = Path(named).resolve()
    return next((name for name, place in known.items() if Path(place) == path), None)


def check_known(tx: "Connection", settings: Settings) -> None:
    """Refuse a task that TASK= names and there is none of, here or beside.

    Raises:
        ConfigurationError: the message names those there are.
    """
    if settings.task in BUILT_IN or recorded_name(tx, settings) or find_task_file(settings.task, settings.data):
        return
    known = [*BUILT_IN, *(one.name for one in tasks.list_tasks(tx)), *tasks_nearby(settings.data)]
    near = get_close_matches(settings.task, known, n=1)
    raise ConfigurationError(
        f"there is no task {settings.task!r}: neither tasks/{settings.task}.py here nor in {settings.data}",
        hint=f"did you mean {near[0]}?" if near else f"TASK= takes {', '.join(known)}, or the path of a file",
    )


def planned_tables(settings: Settings) -> list[str]:
    """Return what the first use of the task that TASK= names adds to a database, in words."""
    path = find_task_file(settings.task, settings.data)
    if path is None:
        return []
    declaration = load_declaration(path)
    prefix = declaration.table or declaration.name
    return [f"tables {prefix}_items and {prefix}_answers, and a view {prefix}_answered"]


def is_new(store: "Store", settings: Settings) -> bool:
    """Return whether TASK= names a file whose task was never used here; what is wrong with it is raised here already.

    The file of a task that was used is not loaded.
    """
    if store.path is None or store.path.exists():
        with store.read() as tx:
            if inspect(tx).has_table(tables.tasks.name) and recorded_name(tx, settings):
                return False
    path = find_task_file(settings.task, settings.data)
    return path is not None and bool(load_declaration(path))


def recorded(store: "Store", settings: Settings, *, may_write: bool, display: Progress) -> str:
    """Return the name of the task that TASK= names, which is recorded at its first use, with its tables.

    Raises:
        InputError: there is no such task, or its file or its items are wrong; nothing was written.
        ConfigurationError: the names of its tables are taken, or the command only looks and it was never used.
    """
    with store.read() as tx:
        name = recorded_name(tx, settings)
        if name is None:
            check_known(tx, settings)
    if name is not None:
        return name
    if not may_write:
        raise _unused(settings)
    path = find_task_file(settings.task, settings.data)
    assert path is not None  # noqa: S101 - what is known and not recorded is a file
    declaration = load_declaration(path)
    columns = _source(store, declaration, path, settings).columns
    return _put(store, declaration, path, columns, settings, at=datetime.now(UTC), display=display).name


def bring_items(
    store: "Store", task: DeclaredTask, settings: Settings, *, at: datetime, display: Progress
) -> DeclaredTask:
    """Record what changed in a task's file, import its items where they changed, and return the task as it is now.

    Raises:
        InputError: its file or its items are wrong; nothing was asked.
        ConfigurationError: the declaration changed under the same version.
    """
    path, record = Path(task.record.path), task.record
    declaration = task.declaration
    source = _source(store, declaration, path, settings)
    is_same = not declaration.is_query and _is_imported(record, declaration, path, source.sha256)
    columns = record.columns if is_same else source.columns
    new = _put(store, declaration, path, columns, settings, at=at, display=display)
    if not is_same:
        _fill(store, new, declaration, source, settings, at=at, display=display)
    with store.read() as tx:
        now = DeclaredTask(tasks.get_task(tx, new.name) or new, task.refreshes)
        if now.fingerprint != new.fingerprint:
            raise ConfigurationError(
                f"another process used {path} meanwhile, as it was or is now; nothing was asked", hint="run again"
            )
        stale = now.stale(tx).rows
    if stale and not task.refreshes:
        display.say(f"{new.name}: {stale:,} answers are of rows that changed since; {AGAIN[declaration.refresh]}")
    return now


def _fill(
    store: "Store",
    record: TaskRecord,
    declaration: Declaration,
    source: Any,
    settings: Settings,
    *,
    at: datetime,
    display: Progress,
) -> None:
    """Make a task's table hold what its source says, and keep that it does; one process at a time."""
    waiting = f"another process imports the items of {record.name}; waiting for it"
    with leases.wait_for_lease(
        store, f"items:{record.name}", lasts_s=settings.lease, on_wait=lambda: display.say(waiting), sleep=time.sleep
    ) as lease:
        report = fill_items(
            store,
            DeclaredTask(record).items_spec,
            source,
            asked=declaration.asked,
            at=at,
            display=display,
            strict=declaration.is_query,
            guard=lease.check,
            settle=partial(tasks.keep_items_hash, name=record.name, sha256=source.sha256),
        )
    if said := _said(report):
        display.say(f"{record.name}: {said}")
    for finding in report.findings[:EXAMPLES]:
        display.warn(f"{record.items}, line {finding.line}: {finding.reason}; the row is not asked about")


def _said(report: ItemsReport) -> str:
    """Return what an import of items came to, in words; nothing where all is as it was."""
    counts = {
        "new": report.new,
        "changed": report.changed,
        "gone": report.gone,
        "back": report.back,
        "merged with an equal one": report.merged,
        "empty": report.empty if report.new or report.changed else 0,
        "refused": report.refused.total(),
    }
    told = ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)
    return f"rows: {told}" if told else ""


def _is_imported(record: TaskRecord, declaration: Declaration, path: Path, sha256: str | None) -> bool:
    """Return whether the items were imported as they are now, and are asked about by the same columns."""
    same_place = record.items == items_place(declaration, path)
    return same_place and record.items_sha256 == sha256 and record.words.get("asked") == list(declaration.asked)


def _put(
    store: "Store",
    declaration: Declaration,
    path: Path,
    columns: Mapping[str, str],
    settings: Settings,
    *,
    at: datetime,
    display: Progress,
) -> TaskRecord:
    """Record a declaration as it is now, with its tables."""
    new = record_of(declaration, path, columns, at=at)
    with store.read() as tx:
        old = tasks.get_task(tx, new.name)
    if old is not None and _unchanged(old, new):
        return old
    with store.write() as tx:
        for line in put_record(tx, new, declaration, accepted=settings.accept_changed):
            display.say(line)
        found = tasks.get_task(tx, new.name)
    assert found is not None  # noqa: S101 - it was put
    return found


def _unchanged(old: TaskRecord, new: TaskRecord) -> bool:
    """Return whether nothing would change but the time."""
    told: dict[str, Any] = {"at": old.at, "items_sha256": old.items_sha256, "columns": {**new.columns, **old.columns}}
    kept = tuple(one for one in old.fields if one[0] not in dict(new.fields))  # fields that the answers once had
    return replace(new, **told, fields=(*new.fields, *kept)) == old


def _source(store: "Store", declaration: Declaration, path: Path, settings: Settings) -> Any:
    """Return the opened source of a task's items.

    Raises:
        InputError: it cannot be read; the message names it.
    """
    if declaration.is_query:
        return open_query(store, declaration.items, timeout_s=settings.select_timeout)
    return open_file(Path(items_place(declaration, path)))


def _unused(settings: Settings) -> ConfigurationError:
    """Return the error for a command that only looks, where a task was never used yet."""
    named = settings.task
    return ConfigurationError(
        f"the task {named} was never used in {settings.data}; nothing was made",
        hint=f"`make try TASK={named}` asks about a few rows, `make tag TASK={named}` about all",
    )
