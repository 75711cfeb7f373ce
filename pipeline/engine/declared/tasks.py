"""Make subjects of the recorded tasks, record the one that a command names, and bring its items up to date."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipeline.core.declaration import Declaration
from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.progress import Progress
from pipeline.core.settings import BUILT_IN, Settings
from pipeline.engine.declared.record import (
    items_place,
    meant,
    put_index,
    put_record,
    quoted_columns,
    record_of,
)
from pipeline.engine.declared.task import DeclaredTask
from pipeline.engine.declared.task_file import (
    ROWS,
    built_in,
    built_in_names,
    find_task_file,
    given_rows,
    given_task,
    load_declaration,
    name_in_python,
    tasks_nearby,
)
from pipeline.engine.open import never_used
from pipeline.engine.task import Task
from pipeline.store import asks, erase, workspace
from pipeline.store.rows import changed_since
from pipeline.store.workspace import TaskRecord
from pipeline.tables.fill import ItemsFill, ItemsReport
from pipeline.tables.source import ItemsFile, ItemsQuery

HOW_TO_TRY = "`make try TASK={task}` asks about a few rows, `make tag TASK={task}` about all"
EXAMPLES = 3  # refused rows in a message
AGAIN = {
    True: "REFRESH=1 asks about them again",
    False: "refresh=True in the task's file, with REFRESH=1, asks about them again",
}

if TYPE_CHECKING:
    from pipeline.store.database import Connection, Store


def declared_tasks(tx: "Connection", settings: Settings) -> tuple[DeclaredTask, ...]:
    """Return every task that was recorded here; no file is loaded."""
    known = workspace.list_tasks(tx)
    backend = (workspace.get_workspace(tx).backend if known else None) or settings.wanted_backend
    return tuple(_class_of(one.name)(one, settings, backend) for one in known)


def _class_of(name: str) -> type[DeclaredTask]:
    """Return the class of a task: that of its room where it ships."""
    if built_in(name) is None:
        return DeclaredTask
    return cast(type[DeclaredTask], import_module(f"pipeline.{name}.task").task_class)


def recorded_name(tx: "Connection", settings: Settings) -> str | None:
    """Return the name under which the task that TASK= names is recorded here, None where it is not yet."""
    named = settings.task
    known = {one.name: one.path for one in workspace.list_tasks(tx)}
    if named in known:
        return named
    path = Path(named).resolve()
    return next((name for name, place in known.items() if place == named or Path(place) == path), None)


def _check_known(tx: "Connection", settings: Settings) -> None:
    """Refuse a task that TASK= names and there is none of, here or beside.

    Raises:
        ConfigurationError: the message names those there are.
    """
    if settings.task in BUILT_IN or recorded_name(tx, settings) or find_task_file(settings.task, settings.data):
        return
    raise _unknown(settings, [one.name for one in workspace.list_tasks(tx)])


def _unknown(settings: Settings, recorded: Sequence[str]) -> ConfigurationError:
    named = settings.task
    known = list(dict.fromkeys([*BUILT_IN, *built_in_names(), *recorded, *tasks_nearby(settings.data)]))
    beside = [f"{named}.py"] if Path(f"{named}.py").is_file() else []
    near = beside or get_close_matches(named, known, n=1)
    return ConfigurationError(
        f"there is no task {named!r}: neither tasks/{named}.py here nor in {settings.data}",
        hint=f"did you mean {near[0]}?" if near else f"TASK= takes {', '.join(known)}, or the path of a file",
    )


def planned_tables(settings: Settings) -> dict[str, str]:
    """Return the views that the first use of the task that TASK= names makes, each with what it is."""
    path = find_task_file(settings.task, settings.data)
    if path is None:
        return {}
    declaration = load_declaration(path)
    prefix = declaration.table or declaration.name
    return {f"{prefix}_answers": "view", f"{prefix}_answered": "view"}


def check_declarable(settings: Settings) -> bool:
    """Return whether the task that TASK= names has its items in a file, which is right, and not in a query.

    Raises:
        ConfigurationError: there is no such file.
        InputError: it or the file of its items is wrong; nothing was made.
    """
    path = find_task_file(settings.task, settings.data)
    if path is None:
        raise _unknown(settings, [])
    declaration = load_declaration(path)
    if not declaration.is_query:
        columns = _rows_source(declaration, path).columns
        record_of(declaration, path, columns, at=datetime.now(UTC))
    return not declaration.is_query


def recorded(store: "Store", settings: Settings, *, may_write: bool, display: Progress) -> str:
    """Return the name of the task that TASK= names, which is recorded at its first use, with its tables.

    Raises:
        InputError: there is no such task, or its file or its items are wrong; nothing was written.
        ConfigurationError: the names of its tables are taken, or the command only looks and it was never used.
    """
    with store.read() as tx:
        name = recorded_name(tx, settings)
        if name is None:
            _check_known(tx, settings)
        is_saved = name is not None and may_write and _is_saved_now(tx, name, settings)
    if name is not None and not is_saved:
        if may_write and name == settings.task:
            _follow_file(store, name, settings.data)
        return name
    if not may_write:
        raise never_used(settings, HOW_TO_TRY.format(task=settings.task))
    path = find_task_file(settings.task, settings.data)
    assert path is not None  # noqa: S101 - what is known and not recorded is a file
    declaration = load_declaration(path)
    columns = _source(store, declaration, path).columns
    return _put(store, declaration, path, columns, settings, at=datetime.now(UTC), display=display).name


def _follow_file(store: "Store", name: str, data: Path) -> None:
    """Record where the file of a task is now, where it is gone from its place and found in another; with its items."""
    with store.read() as tx:
        record = workspace.get_task(tx, name)
    if record is None or name_in_python(Path(record.path)) or Path(record.path).is_file():
        return
    found = find_task_file(name, data)
    if found is None:
        return
    old, place = Path(record.path).parent, Path(record.items)
    moved = not record.is_query and place.is_relative_to(old)
    its_items = str(found.parent / place.relative_to(old)) if moved else record.items
    with store.write() as tx:
        workspace.move_task(tx, name, path=str(found), items=its_items)


def _is_saved_now(tx: "Connection", name: str, settings: Settings) -> bool:
    """Return whether a task that was declared in Python, and is not in this process, stands in a file now."""
    record = workspace.get_task(tx, name)
    place = Path(record.path if record else "")
    is_elsewhere = bool(name_in_python(place)) and given_task(place) is None
    return is_elsewhere and find_task_file(settings.task, settings.data) is not None


def bring_items(store: "Store", task: Task, settings: Settings, *, at: datetime, display: Progress) -> Task:
    """Record what changed in a task's file, import its items where they changed, and return the task as it is now.

    Raises:
        InputError: its file or its items are wrong; nothing was asked.
        ConfigurationError: the declaration changed under the same version.
    """
    before = cast(DeclaredTask, task)
    path, record, declaration = Path(before.record.path), before.record, before.declaration
    source = _source(store, declaration, path)
    is_same = not (declaration.is_query or declaration.images)  # files of images change by themselves
    is_same = is_same and _is_imported(record, declaration, path, source.sha256)
    columns = record.columns if is_same else source.columns
    new = _put(store, declaration, path, columns, settings, at=at, display=display)
    if not is_same:
        for note in source.notes:
            display.say(f"{new.name}: {note}")
        _fill(store, new, declaration, source, settings, at=at, display=display)
    with store.read() as tx:
        now = type(before)(workspace.get_task(tx, new.name) or new, settings, before.provider)
        if now.fingerprint != new.fingerprint:
            raise ConfigurationError(
                f"another process used {path} meanwhile, as it was or is now; nothing was asked", hint="run again"
            )
        stale = now.stale(tx)[0]
    if stale and not before.refreshes:
        display.say(f"{new.name}: {stale:,} answers are of rows that changed since; {AGAIN[declaration.refresh]}")
    return now


def bring_index(store: "Store", task: Task, *, display: Progress) -> None:
    """Record what a task's file says of the index now; where the file is gone or broken, what is recorded stands.

    Raises:
        InputError: the file names a column that its rows have not.
    """
    path = Path(cast(DeclaredTask, task).record.path)
    if given_task(path) is None and not path.is_file():
        return
    try:
        declaration = load_declaration(path)
    except InputError as error:
        display.warn(f"{error.message}; index= is taken as it was")
        return
    with store.write() as tx:
        if put_index(tx, task.name, declaration):
            display.say(f"{task.name}: index= or label= is another one now, so every row is indexed anew")


def task_beside(task: Task, path: Path, *, at: datetime) -> Task:
    """Return a task as another file declares it, about the same rows; nothing is recorded.

    Raises:
        InputError: the file is wrong, or names a column that the rows have not.
    """
    found = find_task_file(str(path), path.parent)
    assert found is not None  # noqa: S101 - a path is a file, or an error
    before = cast(DeclaredTask, task)
    mine = before.record
    declaration = replace(load_declaration(found), name=task.name)
    keyed = replace(declaration, key=tuple(name for name, _ in mine.key))
    record = record_of(keyed, found, mine.columns, at=at)
    return DeclaredTask(replace(record, prefix=mine.prefix), before.settings)


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
    rows = DeclaredTask(record, settings)
    assert store.locks is not None  # noqa: S101 - its workspace is open
    with store.locks.wait(f"items-{record.name}", say=display.say, sleep=time.sleep):
        with store.read() as tx:
            is_forgotten = erase.buried_items(tx, record.name)
        fill = ItemsFill(
            store,
            rows.items_spec,
            record.words["asked"],
            at,
            quoted=record.words["quoted"],
            strict=declaration.is_query,
            is_forgotten=is_forgotten,
            look_at=rows.row_images().look if declaration.images else None,
            touch=lambda tx: workspace.touch_revision(tx, record.name),
            settle=partial(_settle, record=record, sha256=source.sha256),
        )
        report = fill.run(source, display)
    _tell(report, record, display)


def _tell(report: ItemsReport, record: TaskRecord, display: Progress) -> None:
    if report.summary:
        display.say(f"{record.name}: {report.summary}")
    for key, why in report.unusable_rows[:EXAMPLES]:
        display.warn(f"{record.name} {key}: {why}; the row is not asked about")
    if (more := report.unusable - EXAMPLES) > 0:
        display.warn(f"{more:,} more of such rows: `make items TASK={record.name} STATE=unusable` lists them all")
    for finding in report.findings[:EXAMPLES]:
        place = f"line {finding.line}" + (f", column {finding.column!r}" if finding.column else "")
        display.warn(f"{record.items}, {place}: {finding.reason}; the row is not asked about")
    if (more := report.refused.total() - EXAMPLES) > 0:
        display.warn(f"{record.items}: {more:,} more rows were refused; mend these, and the next ones are told")


def _settle(tx: "Connection", *, record: TaskRecord, sha256: str | None) -> None:
    """Keep which source was imported, and let rows be asked again that were parked before they changed."""
    workspace.keep_items_hash(tx, record.name, sha256)
    parked = {key: at for key, _, _, at in asks.parked_rows(tx, record.name)}
    asks.unpark(tx, record.name, ids=changed_since(tx, record.name, parked))


def _is_imported(record: TaskRecord, declaration: Declaration, path: Path, sha256: str | None) -> bool:
    """Return whether the items were imported as they are now, and are asked about by the same columns."""
    if record.items != items_place(declaration, path) or record.items_sha256 != sha256:
        return False
    asked, quoted = meant(declaration.asked, record.columns), quoted_columns(declaration, path, record.columns)
    return bool(record.words["asked"] == asked and record.words.get("quoted") == quoted)


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
    new = record_of(declaration, path, columns, at=at)
    with store.read() as tx:
        old = workspace.get_task(tx, new.name)
    if old is not None and _unchanged(old, new):
        return old
    with store.write() as tx:
        for line in put_record(tx, new, declaration, accepted=settings.accept_changed):
            display.say(line)
        found = workspace.get_task(tx, new.name)
    assert found is not None  # noqa: S101 - it was put
    return found


def _unchanged(old: TaskRecord, new: TaskRecord) -> bool:
    told: dict[str, Any] = {"at": old.at, "items_sha256": old.items_sha256, "columns": {**new.columns, **old.columns}}
    kept = tuple(one for one in old.fields if one[0] not in dict(new.fields))  # fields that the answers once had
    return replace(new, **told, fields=(*new.fields, *kept)) == old


def _source(store: "Store", declaration: Declaration, path: Path) -> Any:
    if declaration.is_query:
        return ItemsQuery(store, declaration.items)
    return _rows_source(declaration, path)


def _rows_source(declaration: Declaration, path: Path) -> Any:
    if declaration.items == ROWS:
        return given_rows(path)
    return ItemsFile(Path(items_place(declaration, path)))
