"""Record a task at its first use, hold a changed file against what was recorded, and bring its rows up to date.

A declaration that changed under a version that was used is refused until the version is raised or the change is
accepted: else answers to two questions would stand under one name. A draft of it may be tried meanwhile.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from pipeline.core.command_hint import CommandHint, HintTemplate, OptionHint
from pipeline.core.declaration import (
    HASH_KEY,
    Declaration,
    ReadOptions,
    columns_in,
    find_column,
    invalid_placeholders,
)
from pipeline.core.errors import ConfigurationError, FindableError, InputError, QuestionChangedError
from pipeline.core.progress import Progress
from pipeline.core.quotes import has_quotes, requires_quote
from pipeline.core.settings import BUILT_IN_TASKS, Settings
from pipeline.engine import task_file
from pipeline.engine.task import Rows, Task
from pipeline.engine.task_file import (
    ROWS,
    find_task_file,
    hash_document,
    load_declaration,
    to_fingerprint_document,
)
from pipeline.engine.user_task import UserTask
from pipeline.engine.workspace import never_used
from pipeline.gemini.models import answer_size
from pipeline.store import claims, workspace
from pipeline.store.database import Connection, Store
from pipeline.store.schema import PREFERRED_VERSIONS_KEY
from pipeline.store.workspace import TaskRecord
from pipeline.tables.answer_views import (
    are_views_made,
    check_view_columns,
    check_view_names,
    fields_of,
    make_views,
)
from pipeline.tables.cells import merge_kinds
from pipeline.tables.row_import import Finding
from pipeline.tables.row_sync import (
    HASH_COLUMN,
    KEY_COLUMN,
    KEY_KINDS,
    VALUES_COLUMN,
    RowSync,
    RowSyncReport,
)
from pipeline.tables.source import (
    CURSOR_STATE,
    FileSource,
    QueryCursor,
    QuerySource,
    check_column_names,
    open_other_database,
)
from pipeline.tables.write_to import check_column_target, check_row_target

# How sources are read. A source that was read in an earlier way is read again by the next command that asks: up to 1,
# refused rows and all but one of equal rows were left out.
READING = 2
EXAMPLES = 3  # refused rows in a message
SHOWN = 12  # names of columns in a message
INDEXED = ("index", "label")  # members that change what is indexed of every row
AGAIN = {
    True: HintTemplate("{} asks about them again", OptionHint(refresh=True)),
    False: HintTemplate(
        "refresh=True in the task's file, with {}, asks about them again",
        OptionHint(refresh=True),
    ),
}
HINTS = {
    "prompt": "every other brace may stay as it is; a column of bytes that are no text is left out",
    "key": 'key="row" makes a key of each row',
    "index": "a name in it is a column, or a field of the answer",
}


# ---- which tasks there are


def declared_tasks(tx: Connection, settings: Settings) -> tuple[UserTask, ...]:
    """Return every task that was recorded here; no file is loaded."""
    known = workspace.list_tasks(tx)
    backend = (workspace.get_workspace(tx).backend if known else None) or settings.wanted_backend
    found = list[UserTask]()
    for one in known:
        here = settings.data.resolve() / task_file.FOLDER / f"{one.name}{task_file.ENDING}"
        if here.is_file() and not (
            task_file.parse_python_path(Path(one.path)) or Path(one.path).is_file()
        ):
            one = replace(one, path=str(here))  # noqa: PLW2901 - the workspace is a copy of the one that had its file
        ships = task_file.find_built_in_task(one.name) is not None
        kind = import_module(f"pipeline.{one.name}.task").task_class if ships else UserTask
        found.append(kind(one, settings, backend))
    return tuple(found)


def recorded_name(tx: Connection, settings: Settings) -> str | None:
    """Return the name under which the task that TASK= names is recorded here, None where it is not yet."""
    named = settings.task
    path = Path(settings.task).resolve()
    known = {one.name: one.path for one in workspace.list_tasks(tx)}
    by_place = [name for name, place in known.items() if place == named or Path(place) == path]
    if named in known or not by_place:
        return named if named in known else None
    with contextlib.suppress(
        FindableError,
    ):  # one that is broken now is still the file of what it declared
        now = load_declaration(Path(known[by_place[0]]), settings).name
        return now if now in by_place else None
    return by_place[0]


def _path_of(settings: Settings, recorded: Sequence[str] = ()) -> Path:
    named = settings.task
    if (path := find_task_file(named, settings.data)) is not None:
        return path
    places = (Path(task_file.FOLDER), settings.data / task_file.FOLDER)
    nearby = sorted({path.stem for place in places for path in place.glob(f"*{task_file.ENDING}")})
    ships = sorted(
        path.parent.name for path in task_file.BUILT_IN_TASKS_FOLDER.glob("*/declaration.py")
    )
    known = list(
        dict.fromkeys(
            [*BUILT_IN_TASKS, *filter(task_file.find_built_in_task, ships), *recorded, *nearby]
        ),
    )
    near = (
        [f"{named}.py"] if Path(f"{named}.py").is_file() else get_close_matches(named, known, n=1)
    )
    hint = (
        f"did you mean {near[0]}?"
        if near
        else f"{OptionHint('task')} takes {', '.join(known)}, or the path of a file"
    )
    said = f"there is no task {named!r}: neither tasks/{named}.py here nor in {settings.data}"
    raise ConfigurationError(said, hint=hint)


def planned_views(settings: Settings) -> list[str]:
    """Return the names of the views that the first use of the task that TASK= names makes."""
    declared = load_declaration(_path_of(settings), settings)
    return [f"{declared.table or declared.name}_{what}" for what in ("answers", "answered")]


def check_declarable(settings: Settings, store: Store) -> bool:
    """Return whether the task that TASK= names brings its items, and asks no database of ours.

    Raises:
        InputError, ConfigurationError: Its first use would be refused; nothing was added to the database.
    """
    declaration = load_declaration(path := _path_of(settings), settings)
    brings_items = bool(not declaration.is_query or declaration.source)
    with store.read_unchanged() as tx:
        is_there = tx is not None
    # A task that ships asks about tables that are adopted first.
    if not (brings_items or is_there) or task_file.find_built_in_task(declaration.name) is not None:
        return brings_items

    with contextlib.closing(Store(settings.url.reveal(), is_ours=False)) as unchanged:
        columns = _source(unchanged, declaration, path).columns
    record = _record_of(declaration, path, columns, at=datetime.now(UTC))
    check_column_names(list(columns))
    if not is_there and record.words["write_to"] is not None:
        said = (
            f"write_to={record.words['write_to']!r}: {store.shown} is not there, and has no table"
        )
        raise InputError(
            said,
            hint=f"{OptionHint('database_url')} names the database of that table",
        )
    with store.read_unchanged() as tx:
        if tx is not None:
            check_view_names(tx, record)
            _check_target(tx, UserTask(record))
    return brings_items


def _check_target(tx: Connection, task: UserTask) -> None:
    if task.row_target is not None:
        check_row_target(tx, task.row_target)
    elif task.record.words["write_to"] is not None:
        check_column_target(tx, task.record)


def recorded(store: Store, settings: Settings, *, may_write: bool, display: Progress) -> str:
    """Return the name of the task that TASK= names, which is recorded at its first use, with its views."""
    with store.read() as tx:
        if (name := recorded_name(tx, settings)) is not None:
            return name
        path = _path_of(settings, [one.name for one in workspace.list_tasks(tx)])
    if not may_write:
        few = CommandHint("try", task=settings.task)
        every = CommandHint("tag", task=settings.task)
        raise never_used(settings, f"`{few}` asks about a few rows, `{every}` about all")
    declaration = load_declaration(path, settings)
    columns = _source(store, declaration, path).columns
    return _put(
        store,
        declaration,
        path,
        columns,
        settings,
        at=datetime.now(UTC),
        display=display,
    ).name


def task_beside(task: Task, *, at: datetime) -> Task:
    """Return a task as its file declares it now, about the same rows; nothing is recorded."""
    before = cast(UserTask, task)
    mine = before.record
    found = Path(before.record.path)
    found = find_task_file(str(found), found.parent) or found
    declaration = load_declaration(found, before.settings, is_recorded=True)
    keyed = replace(declaration, name=task.name, key=tuple(name for name, _ in mine.key))
    record = _record_of(keyed, found, mine.columns, at=at)
    return UserTask(replace(record, prefix=mine.prefix), before.settings)


class UnregisteredTask(UserTask):
    """A task of which nothing is recorded, about some rows in memory, by their keys; `total` is how many there are."""

    def __init__(
        self,
        declaration: Declaration,
        path: Path,
        columns: Mapping[str, str],
        settings: Settings,
        *,
        at: datetime,
    ) -> None:
        """Make the task of a declaration; it has no row yet."""
        super().__init__(_record_of(declaration, path, columns, at=at), settings)
        if task_file.parse_python_path(
            path,
        ):  # many questions have that name, and their answers are of different lengths
            self.label = f"{self.name}@{self.record.fingerprint[:8]}"
        self.declaration = declaration
        self.total = 0
        self._given = dict[str, Mapping[str, Any]]()

    def take(
        self,
        source: Any,
        *,
        store: Store,
        first: int,
        at: datetime,
        display: Progress,
        lists_refused: bool,
    ) -> Sequence[str]:
        """Read a source to its end, keep its `first` rows that hold something, and return their keys.

        Three of the refused rows are told, or with `lists_refused` each while it is read.
        """

        def tell_refused(finding: Finding) -> None:
            display.warn(_refused_line(finding, self.record))

        fill = RowSync(store, self.record, at, on_refused=tell_refused if lists_refused else None)
        for one in fill.rows(source):
            self.total += not one["is_empty"]
            is_first = one["item_id"] not in self._given
            if not one["is_empty"] and is_first and len(self._given) < first:
                told = {
                    KEY_COLUMN: one["item_id"],
                    HASH_COLUMN: one["input_hash"],
                    VALUES_COLUMN: one["row"],
                }
                self._given[one["item_id"]] = self.read(told)
        if lists_refused:
            fill.report.findings.clear()
        _tell(fill.report, self.record, display, listed=f"{OptionHint(refused=True)} lists all")
        return list(self._given)

    def rows(self, tx: Connection, ids: Sequence[str]) -> Rows:  # noqa: ARG002 - they are in memory
        """Return those of some rows that were kept."""
        return {one: self._given[one] for one in ids if one in self._given}


# ---- what is recorded of one


def _record_of(
    declaration: Declaration,
    path: Path,
    columns: Mapping[str, str],
    *,
    at: datetime,
) -> TaskRecord:
    found = (*_column_faults(declaration, columns), *_faults_of_kinds(declaration, columns))
    task_file.raise_faults(
        [(task_file.locate_member(path, one), f"{one}= {said}", hint) for one, said, hint in found],
        path,
    )
    names = [HASH_KEY] if declaration.has_made_key else _meant(declaration.keys, columns)
    key = tuple((name, "text" if declaration.has_made_key else columns[name]) for name in names)
    texts = _texts_asked(declaration, columns) if has_quotes(declaration.answer) else []
    quotes_in = "text" if "text" in texts else next(iter(texts), None)
    if declaration.quotes_in is not None:
        quotes_in = find_column(declaration.quotes_in, columns)
    told = {
        name: getattr(declaration, name)
        for name in ("model", "label", "index", "refresh", "write_to")
    }
    bounds = ",".join(
        f"{name}={one}" for name, one in (declaration.gates or {}).items()
    )  # as GATES= has them
    told |= {"gates": bounds, "answer_tokens": answer_size(declaration.answer)}
    told["reading"] = READING
    told |= {"asked": _meant(declaration.asked, columns), "quotes_in": quotes_in}
    # without a quotation of this column no answer is valid, so that it must hold a text
    told["quoted"] = (
        [quotes_in] if quotes_in is not None and requires_quote(declaration.answer) else []
    )
    told |= {"images": _meant(declaration.images, columns)} if declaration.images else {}
    record = TaskRecord(
        name=declaration.name,
        path=str(path),
        prefix=declaration.table or declaration.name,
        items=_items_place(declaration, path),
        is_query=declaration.is_query,
        items_sha256=None,
        key=key,
        columns=columns,
        fields=fields_of(declaration.answer),
        version=declaration.version,
        fingerprint=hash_document(to_fingerprint_document(declaration)),
        words=told,
        at=at,
    )
    check_view_columns(record)
    return record


def _meant(names: Sequence[str], columns: Mapping[str, str]) -> list[str]:
    return [find_column(name, columns) or name for name in names]


def _items_place(declaration: Declaration, path: Path) -> str:
    """Return the query of a task's items, or the absolute path of their file, which is relative to the task's."""
    is_place = declaration.is_query or declaration.items == ROWS
    return declaration.items if is_place else str((path.parent / declaration.items).resolve())


def _column_faults(
    declaration: Declaration,
    columns: Mapping[str, str],
) -> Iterator[tuple[str, str, str]]:
    for member in ("prompt", "index", "label"):
        for column, name in invalid_placeholders(getattr(declaration, member), columns).items():
            said = f"has {{{column}}}, and a name between braces holds letters, digits and _"
            yield member, said, f"write {{{name}}} for the column {column!r}"
    if not declaration.asked and not declaration.images:
        yield "prompt", "names no column", "{column} in it stands for that column's value"
    named: dict[str, Sequence[str]] = {
        "prompt": declaration.asked,
        "key": () if declaration.has_made_key else declaration.keys,
        "quotes_in": () if declaration.quotes_in is None else (declaration.quotes_in,),
        "index": [
            one
            for one in columns_in(declaration.index)
            if one not in declaration.answer.model_fields
        ],
        "label": columns_in(declaration.label),
        "images": declaration.images,
        "cursor": (declaration.cursor,) if declaration.cursor else (),
    }
    there = ", ".join(list(columns)[:SHOWN]) + (" …" if len(columns) > SHOWN else "")
    for member, wanted in named.items():
        for missing in (one for one in _meant(wanted, columns) if one not in columns):
            hint = HINTS.get(member, "name one of these columns")
            yield member, f"names the column {missing!r}, and the items have {there}", hint
    for name in _meant(named["key"], columns):
        if (kind := columns.get(name, "text")) not in KEY_KINDS:
            said = f"names the column {name!r}, which holds {kind} values; a key is text, whole numbers or UUIDs"
            yield "key", said, 'key= names other columns, and key="row" makes a key of each row'


def _faults_of_kinds(
    declaration: Declaration,
    columns: Mapping[str, str],
) -> Iterator[tuple[str, str, str]]:
    for name in _meant(declaration.images, columns):
        if columns.get(name, "text") != "text":
            said = f"names the column {name!r}, which holds {columns[name]} values"
            yield "images", said, "an image is a path or an address"
        if name in _meant(declaration.asked, columns):
            yield (
                "prompt",
                f"names the column {name!r}, whose image goes out before the text",
                "leave it out",
            )
    texts = _texts_asked(declaration, columns)
    is_clear = (
        len(texts) == 1
        or "text" in texts
        or not columns.keys() >= {*_meant(declaration.asked, columns)}
    )
    if has_quotes(declaration.answer) and declaration.quotes_in is None and not is_clear:
        said = f"names {len(texts)} columns of text, and the answer has quotations"
        yield "prompt", said, "quotes_in= names the column in which they must stand"


def _texts_asked(declaration: Declaration, columns: Mapping[str, str]) -> list[str]:
    return [name for name in _meant(declaration.asked, columns) if columns.get(name) == "text"]


# ---- how it changes


def _put(
    store: Store,
    declaration: Declaration,
    path: Path,
    columns: Mapping[str, str],
    settings: Settings,
    *,
    at: datetime,
    display: Progress,
) -> TaskRecord:
    """Record a task as it is now, with its views; say what changed."""
    declared = _record_of(declaration, path, columns, at=at)
    with store.read() as tx:
        old = workspace.get_task(tx, declared.name)
    new = _joined(old, declared)
    if (
        old is not None
        and replace(new, at=old.at) == old
        and list(new.columns) == list(old.columns)
    ):
        return old
    lines: list[str] = []
    with store.write() as tx:
        if (old := workspace.get_task(tx, declared.name)) is not None:
            lines += _check_change(tx, old, declared, declaration, accepted=settings.accept_changed)
        for one in workspace.list_tasks(tx):
            if one.prefix == declared.prefix and one.name != declared.name:
                said = f"the tables {one.prefix}_… belong to the task {one.name} ({one.path}); nothing was changed"
                raise ConfigurationError(said, hint="table='…' in the task's file gives it others")
        new = _joined(old, declared)
        task = UserTask(new)
        check_column_names(list(new.columns))
        lines += make_views(tx, new)
        if old is not None and any(old.words.get(name) != new.words[name] for name in INDEXED):
            workspace.record_row_change(tx, new.name)
        _check_target(tx, task)
        workspace.save_task(tx, new)
        document = to_fingerprint_document(declaration)
        workspace.save_fingerprint(
            tx,
            new.fingerprint,
            task=new.name,
            version=new.version,
            document=document,
            now=new.at,
        )
        kept = workspace.get_task(tx, new.name) or new
    for line in lines:
        display.say(line)
    return kept


def store_preference(store: Store, name: str, settings: Settings, *, display: Progress) -> None:
    """Store what PREFER_VERSIONS says with a task, and have its views show the answers that count."""
    versions = settings.prefer_versions
    with store.read() as tx:
        record = workspace.get_task(tx, name)
        if record is None or (versions in {None, record.preferred} and are_views_made(tx, record)):
            return
    with store.write() as tx:
        record = workspace.get_task(tx, name) or record
        if versions not in {None, record.preferred}:
            record = replace(record, words={**record.words, PREFERRED_VERSIONS_KEY: versions})
            workspace.save_task(tx, record)
            workspace.record_row_change(tx, name)
        lines = make_views(tx, record)
    for line in lines:
        display.say(line)


def _joined(old: TaskRecord | None, new: TaskRecord) -> TaskRecord:
    """Return a record with what rows and answers once had; which file was read stays where it would be read alike."""
    if old is None:
        return new
    columns = {
        name: merge_kinds(old.columns.get(name), kind) or kind for name, kind in new.columns.items()
    }
    columns |= {
        name: kind for name, kind in old.columns.items() if name not in columns
    }  # gone, and told of behind
    kept = (one for one in old.fields if one[0] not in dict(new.fields))  # shown behind the others
    is_read_alike = all(
        old.words.get(one) == new.words[one] for one in ("asked", "quoted", "reading")
    )
    sha256 = old.items_sha256 if is_read_alike else None
    words = {
        **{
            name: old.words[name]
            for name in (CURSOR_STATE, PREFERRED_VERSIONS_KEY)
            if name in old.words
        },
        **new.words,
    }
    return replace(
        new,
        columns=columns,
        fields=(*new.fields, *kept),
        items_sha256=sha256,
        words=words,
    )


def _check_change(
    tx: Connection,
    old: TaskRecord,
    new: TaskRecord,
    declaration: Declaration,
    *,
    accepted: bool,
) -> list[str]:
    """Refuse a change under one version that was not accepted, or a second file of one name; return what to say."""
    anew = "give it another name='…' to begin anew"
    why = ""
    hint = ""
    if old.path != new.path and Path(old.path).is_file():
        why = f"the task {new.name} is in {old.path} here, and {new.path} has the same name"
        hint = "give one of them another name='…'"
    elif old.prefix != new.prefix:
        why = f"the tables of {new.name} are {old.prefix}_… here, and table= says {new.prefix}_…"
        hint = f"a task keeps its tables; {anew}"
    elif old.key != new.key:
        was, now = (", ".join(f"{name} ({kind})" for name, kind in one.key) for one in (old, new))
        why = f"the key of {new.name} was {was} and is {now} now"
        hint = f"a task keeps its key; {anew}"
    if why:
        raise ConfigurationError(f"{why}; nothing was changed", hint=hint)
    known = workspace.newest_fingerprint(tx, new.name, new.version)
    if known is None or known[0] == new.fingerprint:
        return []
    if not claims.is_version_used(tx, new.name, f"{new.name}@{new.version}"):
        return []
    document = to_fingerprint_document(declaration)
    parts = [
        "answer" if one == "schema" else one
        for one in document
        if known[1].get(one) != document[one]
    ]
    why = f"the {' and the '.join(parts)} changed"
    if not accepted:
        raise QuestionChangedError(
            f"{why} since version {new.version} was used: set version={new.version + 1}, or "
            f"{OptionHint(accept_changed=True)} to keep both under {new.version}; nothing was asked",
            hint=f"in {new.path}; `{CommandHint('try', task=new.name)}` tries it as a draft",
        )
    workspace.record_event(
        tx,
        "task",
        new.name,
        old=known[0],
        new=new.fingerprint,
        reason=why,
        now=new.at,
    )
    return [
        f"{new.name}@{new.version} goes on with a changed declaration, as {OptionHint(accept_changed=True)} says",
    ]


# ---- its rows


def bring_items(
    store: Store,
    task: Task,
    settings: Settings,
    *,
    at: datetime,
    display: Progress,
) -> None:
    """Record what changed in a task's file, and import its items where they changed."""
    before = cast(UserTask, task)
    path = Path(before.record.path)
    record = before.record
    declaration = before.declaration
    if declaration.name != record.name:
        said = f"{path} declares {declaration.name!r} now, and {record.name} is what it was before; nothing was changed"
        raise ConfigurationError(said, hint=f"{OptionHint(task=path)} asks what it declares now")
    of = hash_document(
        {
            "items": declaration.items,
            "source": declaration.source,
            "asked": to_fingerprint_document(declaration),
        },
    )
    cursor = (
        QueryCursor(declaration.cursor, record, of=of, at=at, is_whole=settings.full)
        if declaration.cursor
        else None
    )
    source = _source(store, declaration, path, cursor)
    is_same = (record.items, record.items_sha256) == (
        _items_place(declaration, path),
        source.sha256,
    )
    # a record keeps columns that its items have lost
    new = _put(store, declaration, path, source.columns, settings, at=at, display=display)
    # files of images change by themselves
    if declaration.is_query or declaration.images or not is_same or new.items_sha256 is None:
        for note in source.notes:
            display.say(f"{new.name}: {note}")
        task = UserTask(new, settings)
        assert store.locks is not None  # noqa: S101 - its workspace is open
        with store.locks.wait(f"items-{new.name}", say=display.say, sleep=time.sleep):
            fill = RowSync(store, new, at, look_at=task.row_images().look if task.images else None)
            listed = f"`{CommandHint('items', task=new.name, state='refused')}` lists all"
            _tell(fill.run(source, display), new, display, listed=listed)
    with store.read() as tx:
        now = type(before)(workspace.get_task(tx, new.name) or new, settings, before.provider)
        if now.fingerprint != new.fingerprint:
            said = f"another process used {path} meanwhile, as it was or is now; nothing was asked"
            raise ConfigurationError(said, hint="run again")
        stale, _ = now.stale(tx)
    if stale and not before.refreshes:
        display.say(
            f"{new.name}: {stale:,} answers are of rows that changed since; {AGAIN[declaration.refresh]}",
        )


def _tell(report: RowSyncReport, record: TaskRecord, display: Progress, *, listed: str) -> None:
    """Say what became of the rows of a source; of refused rows three, and what is `listed` if there are more."""
    if report.summary:
        display.say(f"{record.name}: {report.summary}")
    if report.unusable:
        key, why = report.an_unusable
        says_why = f"`{CommandHint('items', task=record.name, state='unusable')}` says why"
        display.warn(
            f"{report.unusable:,} rows of {record.name} are not asked about ({key}: {why}); {says_why}",
        )
    for finding in report.findings[:EXAMPLES]:
        display.warn(_refused_line(finding, record))
    count = report.refused.total()
    if count > EXAMPLES:
        display.warn(
            f"{_source_name(record)}: {count:,} rows are refused; {EXAMPLES} are shown, {listed}",
        )


def _refused_line(finding: Finding, record: TaskRecord) -> str:
    """Return the line that says why a row is not asked about."""
    word = "row" if record.is_query else "line"
    place = f"{word} {finding.line}" + (f", column {finding.column!r}" if finding.column else "")
    return f"{_source_name(record)}, {place}: {finding.reason}; the row is not asked about"


def _source_name(record: TaskRecord) -> str:
    return f"the query of {record.name}" if record.is_query else record.items


def _source(
    store: Store | None,
    declaration: Declaration,
    path: Path,
    cursor: QueryCursor | None = None,
) -> Any:
    if declaration.source:
        with open_other_database(declaration.source, path.parent) as other:
            return QuerySource(other, declaration.items, cursor)
    if declaration.is_query and store is not None:
        return QuerySource(store, declaration.items, cursor)
    if declaration.items == ROWS:
        return task_file.rows_by_task_path[path]
    reading = ReadOptions(declaration.sheet, declaration.encoding, declaration.header)
    return FileSource(Path(_items_place(declaration, path)), reading)
