"""Ask a question about the first rows of any table, or write the file of a task for it, which runs as it is.

What is asked with is the text of the file that `NAME=` keeps, run as that file is: so the two cannot differ. Nothing is
recorded of a question but a trial, and what that cost; its rows and answers are in memory alone.

Nothing that is there is overwritten. Which columns are the key, the text to ask about, and what says what a row is, is
told by their names in a dozen languages; a text that is not called so is the longest column. A key must be in every row
and in none twice; where no column that is called so is, it is a hash of the row.
"""

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from pipeline.batch.prepare import BatchPlan
from pipeline.core import files
from pipeline.core.declaration import MADE_KEY, NAME, RESERVED, column_named, columns_in, is_query
from pipeline.core.errors import InputError
from pipeline.core.redact import without_password
from pipeline.core.settings import Settings
from pipeline.core.step import Option, Step
from pipeline.engine.task_file import (
    ENDING,
    FOLDER,
    ROWS,
    SOURCES,
    ItemsRows,
    declaration_in,
    find_task_file,
    place_in_python,
)
from pipeline.engine.task_record import GivenRows, bring_items, declared_tasks, recorded
from pipeline.engine.task_words import TAKEN, AnswerField, TableGuess, TaskDraft, parse_fields, task_text
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini.models import Usage
from pipeline.store import workspace
from pipeline.store.database import Store
from pipeline.tables.cells import rows_of, value_text
from pipeline.tables.columns import COLUMN_NAMES, fold
from pipeline.tables.fill import KEY_KINDS
from pipeline.tables.findings import Finding, excerpt
from pipeline.tables.read import SourceRow
from pipeline.tables.shown import Table
from pipeline.tables.source import ItemsFile, ItemsQuery, other_database
from pipeline.workflows import preflight, try_out
from pipeline.workflows.preflight import Preflight
from pipeline.workflows.try_out import TryReport

FEW = 5
PIECE = 1 << 20  # bytes of a file that are copied at once
STAND_IN = "a stand-in answers here: it shows the way, and cannot judge a question or a prompt"
UNNAMED = "ask"  # what a question is called in the accounts where it is not kept
SAMPLED = 1_000  # rows whose texts are measured
_LAST_KEYS = ("name", "slug", "url", "username", "email", "title")  # where none is called like a key
_ENDS_LIKE_KEY = re.compile(r"[\s_.-](?i:id|key|nr\.?|no\.?|code|number|nummer)$|(?<=[a-z])I[dD]$")
_IMAGE = re.compile(r"\S.*\.(?:jpe?g|png|gif|webp|bmp|tiff?|avif|heic)(?:\?\S*)?\s*$", re.IGNORECASE)
_NO_WORD, _NO_LETTERS = re.compile(r"\W+"), re.compile("[^a-z0-9_]+")


class NewTask(NamedTuple):
    """A task that is no file yet: its name, its items as they were given, and the rows of it, None for a query.

    A query is of the workspace's database, or of the one whose address is the `source`, which holds no password. Where
    a question is asked, it is of `fields`; without a name it is not kept.
    """

    name: str
    items: str
    table: ItemsFile | ItemsRows | None
    source: str = ""
    question: str = ""
    fields: Sequence[AnswerField] = ()
    draft: TaskDraft | None = None  # of what is not a query, which takes the workspace's database

    @property
    def path(self) -> Path:
        """Return where the file of the task would stand."""
        return Path(FOLDER) / f"{self.name}{ENDING}" if self.name else place_in_python(UNNAMED)


@dataclass(repr=False)
class AskReport:
    """What was asked: the draft of its file and whether that was kept, all `rows` that hold something, and what came.

    `estimate` says what all rows would come to, None where no reply came.
    """

    draft: TaskDraft
    is_kept: bool
    fields: Sequence[str]
    rows: int
    tried: TryReport
    estimate: Preflight | None

    def __repr__(self) -> str:
        """Return in a line how it ended."""
        return f"{self.tried!r} of {self.rows:,} rows"

    @property
    def answers(self) -> Table[dict[str, Any]]:
        """Return a row for each that was asked about: its key, and its fields, or why there is no valid answer."""
        return Table(
            {self.draft.guess.key: one.id, **(one.answer or {"problem": f"{one.outcome}: {one.reason}".rstrip(": ")})}
            for one in self.tried.items
        )

    @property
    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            **self.draft.document,
            "file": str(self.draft.path) if self.is_kept else None,
            "rows": self.rows,
            "answers": self.answers,
            "tried": self.tried.document,
            "all": None if self.estimate is None else self.estimate.document(),
        }


def new_task(name: str, items: str, *, data: Path | None, sheet: str = "", source: str = "") -> NewTask:
    """Return a task of a name for a file or a SELECT, where it can be; nothing is made.

    Raises:
        InputError: a task is called so here or in `data`, None to look for none, or none can be; the file cannot be
            read; or the address of a database, which is to stand in the task's file, holds a password.
    """
    if data is not None:
        _check_name(name, data)
    if without_password(source) != source:
        said = f"{Option('source')} holds a password, which would stand in the task's file; nothing was written"
        raise InputError(said, hint=f"write TABLE_URL=… with it into .env, and {Option(source='$TABLE_URL')}")
    if (source and not is_query(items)) or (sheet and is_query(items)):
        said = (
            f"{Option('source' if source else 'sheet')} needs {'a query' if source else 'a file'}; nothing was written"
        )
        raise InputError(said, hint=f"{Option('from')} names a file, or is a query that begins with SELECT or WITH")
    return NewTask(name, items, None if is_query(items) else ItemsFile(Path(items), sheet), source)


def prepared(
    items: Any, question: str, *, fields: str = "", name: str = "", data: Path, sheet: str = "", source: str = ""
) -> NewTask:
    """Return what is to be asked, where it can be; nothing is made. `items` are a file, a SELECT, or rows of Python.

    A file may have a `sheet`, a SELECT another database as its `source`, as `new_task` takes them.

    Raises:
        InputError: the question says nothing, `fields` is no list of fields, the name is taken, or there is no such
            file.
    """
    if not any(map(str.isalnum, question)):
        raise InputError("Q= asks for nothing; nothing was asked", hint='Q="Praise or blame?" is a question')
    found = parse_fields(fields)
    if isinstance(items, str | Path):
        new = new_task(name, str(items), data=data if name else None, sheet=sheet, source=source)
    elif name:
        raise InputError("rows of Python stand in no file, which name= would keep", hint="write them to a file")
    else:
        new = NewTask(name, ROWS, ItemsRows(rows_of(items)))
    new = new._replace(question=question, fields=found)
    return new if new.table is None else new._replace(draft=_draft_to_ask(None, new))


def run(ws: OpenWorkspace, new: NewTask, *, size: int) -> AskReport:
    """Ask about the first rows that hold something; with a name write the file once they were asked.

    Raises:
        InputError: there is no column of text or no row with one, the name is taken, or it was not confirmed.
        ConfigurationError: no key, no such model, or a budget has no room.
    """
    if new.name:
        _check_unused(ws.store, new.name)
    draft = new.draft or _draft_to_ask(ws.store, new)
    for note in draft.guess.notes:
        ws.display.say(note)
    text = task_text(draft, question=new.question, fields=new.fields)
    declaration = declaration_in(text.encode(), new.name or UNNAMED, draft.path)
    task = GivenRows(declaration, draft.path, draft.rows.columns, ws.settings, at=ws.now())
    ids = task.take(draft.rows, store=ws.store, first=size, at=ws.now(), display=ws.display)
    if not ids:
        raise InputError(f"no row of {draft.what} holds a text to ask about; nothing was asked")
    beside = replace(ws, task=task)
    if ws.backend == "local":
        beside.tell_backend()
        ws.display.say(STAND_IN)
    tried = try_out.ask_about(beside, ids)
    if all(one.outcome in try_out.UNJUDGED for one in tried.items):
        tried.check()
    is_kept = bool(new.name) and not (tried.stopped or tried.interrupted)
    if is_kept:
        _write_new(draft.path, text)
    plan = _plan_of_all(ws.settings, task.total, tried)
    names = [one.name for one in new.fields]
    estimate = None if plan is None else preflight.estimate_plan(beside, plan)
    return AskReport(draft, is_kept, names, task.total, tried, estimate)


def _plan_of_all(settings: Settings, rows: int, tried: TryReport) -> BatchPlan | None:
    used = [one for one in tried.items if one.tokens_in]
    if not used:
        return None
    sums = [sum(getattr(one, name) for one in used) for name in ("tokens_in", "tokens_out")]
    tokens_in, tokens_out = (round(one * rows / len(used)) for one in sums)
    batches = math.ceil(max(rows / settings.batch_rows, tokens_in / settings.batch_tokens))
    return BatchPlan(rows, batches, rows, counted_in=tokens_in, usage=Usage(prompt=tokens_in, answer=tokens_out))


# ---- the file of a task


def write(ws: OpenWorkspace, new: NewTask) -> TaskDraft:
    """Guess the columns of the items, and write the file of the task.

    Raises:
        InputError: a task of this name was used here, the items cannot be read, or the file cannot be written.
    """
    _check_unused(ws.store, new.name)
    draft = drafted(ws.store, new)
    _write_new(draft.path, task_text(draft))
    return draft


def keep(ws: OpenWorkspace, new: NewTask) -> TaskDraft:
    """Keep a question about a file as a task's file in the workspace, with a copy of its rows; both are read at once.

    Raises:
        InputError: there is such a task, or the rows stand in no file; nothing was kept.
        ConfigurationError: the names of its views are taken, or there is no room for the file.
    """
    name, draft = new.name, new.draft
    if draft is None or not isinstance(draft.rows, ItemsFile):
        raise InputError("only the rows of a file are kept with a question; nothing was written")
    _check_name(name, ws.data)
    _check_unused(ws.store, name)
    table = draft.rows.path
    place = Path(SOURCES, f"{name}{table.suffix}")
    draft = draft._replace(path=ws.data / new.path, items=f"../{place.as_posix()}")
    with files.SealedWriter(ws.data / place) as writer, table.open("rb") as rows:
        while piece := rows.read(PIECE):
            writer.write(piece)
        writer.seal()
    _write_new(draft.path, task_text(draft, question=new.question, fields=new.fields))
    settings = replace(ws.settings, task=name)
    try:
        recorded(ws.store, settings, may_write=True, display=ws.display)
        with ws.store.read() as tx:
            task = next(one for one in declared_tasks(tx, settings) if one.name == name)
        bring_items(ws.store, task, settings, at=ws.now(), display=ws.display)
    except BaseException:
        for made in (draft.path, ws.data / place):
            made.unlink(missing_ok=True)
        raise
    return draft


def drafted(store: Store | None, new: NewTask) -> TaskDraft:
    """Guess the columns of the items; nothing is written. A query wants the store.

    Raises:
        InputError: the items cannot be read, or no prompt can name their text.
    """
    folder = new.path.parent
    if new.table is None:
        _, is_file, place = new.source.partition("sqlite:///")
        source = f"{is_file}{_below(folder, Path(place))}" if is_file and not place.startswith("/") else new.source
        with other_database(source, folder) if source else nullcontext(store) as asked:
            assert asked is not None  # noqa: S101 - of a query it is given
            found = ItemsQuery(asked, new.items)
        guess = _guess_columns(found.columns, found)
        return TaskDraft(new.path, new.items.strip(), "the query", guess, found, {"source": source})
    guess = _guess_columns(new.table.columns, new.table)
    guess = guess._replace(notes=(*new.table.notes, *guess.notes))
    if isinstance(new.table, ItemsRows):
        return TaskDraft(new.path, new.items, "rows", guess, new.table)
    items = _below(folder, new.table.path)
    return TaskDraft(new.path, items, new.table.path.name, guess, new.table, {"sheet": new.table.sheet})


def _draft_to_ask(store: Store | None, new: NewTask) -> TaskDraft:
    """Return the draft, where there is a text to ask about, or an image where nothing of a text is to be quoted."""
    draft = drafted(store, new)
    guess, quotes = draft.guess, any(one.kind == "quote" for one in new.fields)
    if not any(isinstance(one, SourceRow) for one in draft.rows):
        raise InputError(f"{draft.what} has no rows below its header; nothing was asked", hint="give it rows")
    if not (guess.can_be_quoted or (guess.images and (guess.text or not quotes))):
        there = excerpt(", ".join(draft.rows.columns))
        what = "a text to quote" if guess.images else "a text to ask about"
        made = Step("new-task", name=new.name or name_for(new.items), from_=new.items, source=new.source or None)
        said = f"{draft.what} has no column that holds {what}; nothing was asked. Found: {there}"
        raise InputError(said, hint=f"`{made}` writes a file in which `prompt=` names any columns")
    return draft


def _below(folder: Path, path: Path) -> str:
    """Return a path, relative to where a command runs, as a task's file in a folder names it."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def _write_new(path: Path, text: str) -> None:
    """Write the file of a task, whole or not at all; it is an InputError where one is there, or it cannot be."""
    part = files.part_of(path)
    try:
        path.parent.mkdir(exist_ok=True)
        files.sweep_parts(path)
        part.write_text(text, encoding="utf-8", newline="\n")
        files.sync_part(part)
        os.link(part, path)  # which replaces nothing
        files.sync_directory(path.parent)
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; nothing was written") from error
    finally:
        part.unlink(missing_ok=True)


# ---- its name


def name_for(source: str) -> str:
    """Return what a task about a source may be called."""
    return _near("" if is_query(source) else Path(source).stem) or "mine"


def _check_name(name: str, data: Path) -> None:
    """Refuse a name that no task can have, or one has here or in a workspace."""
    if not _can_be(name):
        near = f": {near}" if (near := _near(name)) else ""
        hint = f"a name is a letter, then at most 40 of a-z, 0-9 and _, and no built-in one{near}"
        raise InputError(f"a task cannot be called {name!r}; nothing was written", hint=hint)
    if (there := find_task_file(name, data)) is not None:
        raise _taken(there)


def _check_unused(store: Store, name: str) -> None:
    with store.read() as tx:
        known = workspace.get_task(tx, name)
    if known is not None:
        raise _taken(known.path)


def _near(name: str) -> str:
    near = _NO_LETTERS.sub("_", name.casefold()).strip("_0123456789")
    return near if _can_be(near) else ""


def _can_be(name: str) -> bool:
    return bool(NAME.fullmatch(name)) and name not in RESERVED and not name.startswith("findable_")


def _taken(what: object) -> InputError:
    return InputError(
        f"{what} is there already, and nothing is overwritten",
        hint=f"{Option('name')} takes another name, or edit that file",
    )


# ---- what its columns are


def _guess_columns(columns: Mapping[str, str], rows: Iterable[SourceRow | Finding]) -> TableGuess:
    """Return what the columns of a table (with their kinds) seem to be; an InputError where a prompt can name none."""
    if not columns:
        raise InputError("there is no row to ask about, and no column; nothing was written")
    may_be = [name for name in columns if columns[name] in KEY_KINDS and name.casefold() not in TAKEN]
    ends = [name for name in may_be if _ENDS_LIKE_KEY.search(name)]
    keys = list(dict.fromkeys([*_called(may_be, COLUMN_NAMES["key"]), *ends, *_called(may_be, _LAST_KEYS)]))
    cells: dict[str, list[str]] = {name: [] for name in columns}
    key, note = _key_among(keys, rows, cells)
    images = tuple(name for name in columns if name != key and columns[name] == "text" and _are_images(cells[name]))
    notes = [note, *(f"images: {excerpt(name)!r}, whose cells are images, or name some" for name in images)]
    there = [name for name in columns if (name != key or len(columns) == 1) and name not in images]
    lettered = [name for name in there if any(map(str.isalpha, "".join(cells[name])))]
    wordy = [name for name in lettered if columns[name] == "text"]
    if images and not wordy:
        return TableGuess(key, "", None, (), can_be_quoted=False, notes=tuple(notes), images=images)
    text, why = next(iter(_called(wordy, ("text", *COLUMN_NAMES["any_text"]))), ""), "by its name"
    if not text:
        lengths = {name: fmean(map(len, cells[name])) if cells[name] else 0.0 for name in wordy or there}
        text = max(lengths, key=lambda name: lengths[name])
        why = f"the longest with {lengths[text]:,.0f} characters in the mean"
    named = _name_in_prompt(text, columns)
    if named is None:
        raise InputError(
            f"{excerpt(text)!r} is the text, {why}, and a prompt cannot name it, for there is no letter in it or "
            "another column is called alike; nothing was written",
            hint="give the column another name in the source (in a query with AS), then run it again",
        )
    notes.append(f"text: {excerpt(text)!r}, {why}")
    titles = _called([one for one in lettered if one != text], COLUMN_NAMES["row_title"])
    beside, titled = next(((one, name) for one in titles if (name := _name_in_prompt(one, columns))), (None, None))
    if beside:
        notes.append(f"beside it: {excerpt(beside)!r}, which by its name says what it is about")
    names = (titled, named) if titled else (named,)
    return TableGuess(key, text, beside, names, text in wordy and not images, tuple(notes), images)


def _called(names: Iterable[str], known: Sequence[str]) -> list[str]:
    by_name = {fold(name): name for name in reversed(list(names))}
    return [by_name[one] for one in map(fold, known) if one in by_name]


def _key_among(
    keys: Sequence[str], rows: Iterable[SourceRow | Finding], cells: Mapping[str, list[str]]
) -> tuple[str, str]:
    """Return the first of some columns that can be the key, and what says so; texts of the first rows go to `cells`."""
    seen: dict[str, set[str]] = {name: set() for name in keys}
    against: list[str] = []
    for number, row in enumerate((row for row in rows if isinstance(row, SourceRow)), start=1):
        for name in list(seen):
            value = value_text(row.values.get(name))
            if value.strip() and value not in seen[name]:
                seen[name].add(value)
                continue
            twice = f"has {excerpt(value)!r} twice, again in row {row.line}"
            against.append(f"{excerpt(name)!r} {twice if value.strip() else f'is blank in row {row.line}'}")
            del seen[name]
        if number <= SAMPLED:
            for name, texts in cells.items():
                texts.append(value_text(row.values.get(name)))
        elif not seen:
            break
    for key, values in seen.items():
        if values:
            return key, f"key: {excerpt(key)!r}, which is in every row and in none twice"
    why = "; ".join(against[:3]) or "no column is called like a key"
    return MADE_KEY, f'key: "{MADE_KEY}", a hash of each row, for {why}'


def _are_images(texts: Iterable[str]) -> bool:
    found = [_IMAGE.match(text) is not None for text in texts if text.strip()]
    return sum(found) * 2 > len(found)


def _name_in_prompt(column: str, columns: Iterable[str]) -> str | None:
    """Return what a prompt calls a column, None where it cannot: `Review Text` is `Review_Text` there."""
    name = column if columns_in(f"{{{column}}}") else _NO_WORD.sub("_", column).strip("_")
    name = f"_{name}" if name[:1].isdecimal() else name
    is_one = columns_in(f"{{{name}}}") == (name,) and column_named(name, columns) == column
    return name if is_one else None
