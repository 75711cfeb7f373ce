"""Ask a question about the first rows of any table, or write the file of a task for it, which runs as it is.

A question without a name is a trial: its file is run in memory, and only its cost is recorded. With a name its file is
written first. Then its first rows are claimed and asked as those of any task, and their answers are kept.

No file is overwritten. Only the text column is sent, and the columns that a person named. The key and the text are
known by their names in a dozen languages; else the text is the longest column. A key is in every row and in none twice,
whatever it is called; if there is no such column, it is a hash of the row.
"""

import csv
import hashlib
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, cast

from pipeline.batch import budget
from pipeline.batch.budget import Calibration
from pipeline.batch.prepare import BatchPlan
from pipeline.core import files, trust
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.declaration import (
    AS_IT_IS,
    MADE_KEY,
    NAME,
    RESERVED,
    ReadOptions,
    column_named,
    columns_in,
    is_query,
)
from pipeline.core.errors import InputError
from pipeline.core.progress import NoProgress, Progress
from pipeline.core.redact import without_password
from pipeline.core.settings import Settings
from pipeline.core.text import first_few
from pipeline.engine.record import RequestBuilder
from pipeline.engine.task_file import (
    ENDING,
    FOLDER,
    ROWS,
    SOURCES,
    MemorySource,
    declaration_in,
    find_task_file,
    is_in_workspace,
    place_in_python,
)
from pipeline.engine.task_registry import UnregisteredTask, bring_items, declared_tasks, recorded
from pipeline.engine.task_template import (
    ALL_GUESSED,
    TAKEN,
    AnswerField,
    ColumnChoice,
    TableGuess,
    TaskDraft,
    parse_fields,
    task_text,
)
from pipeline.engine.user_task import UserTask
from pipeline.engine.workspace import WorkspaceSession
from pipeline.gemini.models import Usage
from pipeline.store import workspace
from pipeline.store.database import Store
from pipeline.tables.cells import rows_of, value_text
from pipeline.tables.columns import COLUMN_NAMES, fold
from pipeline.tables.dataframes import ResultTable
from pipeline.tables.read import SourceRow
from pipeline.tables.row_import import Finding, excerpt
from pipeline.tables.row_sync import KEY_KINDS
from pipeline.tables.source import FileSource, QuerySource, other_database
from pipeline.workflows import preflight, rounds, try_out
from pipeline.workflows.preflight import Preflight
from pipeline.workflows.try_out import TryReport

FEW = 5
PIECE = 1 << 20  # bytes of a file that are copied at once
STAND_IN = "a stand-in answers here: it shows the way, and cannot judge a question or a prompt"
UNNAMED = "ask"  # what a question is called in the accounts where it is not kept
SAMPLED = 1_000  # rows whose texts are measured
# Ours: rows with a key from which on one row without is refused, and does not make the key a hash.
MIN_KEYS_BESIDE_BLANK = 3
# Ours: a key may be blank in one of so many rows.
ROWS_PER_BLANK_KEY = 10
# Ours: longer texts are taken for no key, unless they are called like one.
MAX_KEY_CHARS = 100
MAX_COLUMNS_SHOWN = 12
_LAST_KEYS = (
    "name",
    "slug",
    "url",
    "username",
    "email",
    "title",
)  # where none is called like a key
_ENDS_LIKE_KEY = re.compile(r"[\s_.-](?i:id|key|nr\.?|no\.?|code|number|nummer)$|(?<=[a-z])I[dD]$")
_IMAGE = re.compile(
    r"\S.*\.(?:jpe?g|png|gif|webp|bmp|tiff?|avif|heic)(?:\?\S*)?\s*$", re.IGNORECASE
)
_NO_WORD = re.compile(r"\W+")
_NO_LETTERS = re.compile("[^a-z0-9_]+")


class NewTask(NamedTuple):
    """A task that is no file yet: its name, its items as they were given, and the rows of it, None for a query.

    A query is of the workspace's database, or of the one whose address is the `source`, which holds no password. Where
    a question is asked, it is of `fields`; without a name it is not kept. `choice` has the columns that were named.
    """

    name: str
    items: str
    table: FileSource | MemorySource | None
    source: str = ""
    question: str = ""
    fields: Sequence[AnswerField] = ()
    choice: ColumnChoice = ALL_GUESSED
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
    def answers(self) -> ResultTable[dict[str, Any]]:
        """Return a row for each that was asked about: its key, and its fields, or why there is no valid answer."""
        return ResultTable(
            {
                self.draft.guess.key: one.id,
                **(one.answer or {"problem": f"{one.outcome}: {one.reason}".rstrip(": ")}),
            }
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


def new_task(
    name: str,
    items: str,
    *,
    data: Path | None,
    reading: ReadOptions = AS_IT_IS,
    source: str = "",
    choice: ColumnChoice = ALL_GUESSED,
) -> NewTask:
    """Return a task of a name for a file or a SELECT, where it can be; nothing is made.

    Raises:
        InputError: a task is called so here or in `data`, None to look for none, or none can be; the file cannot be
            read; or the address of a database, which is to stand in the task's file, holds a password.
    """
    if data is not None:
        _check_name(name)
        _check_free(name, data)
    if without_password(source) != source:
        said = f"{OptionHint('source')} holds a password, which would stand in the task's file; nothing was written"
        raise InputError(
            said, hint=f"write TABLE_URL=… with it into .env, and {OptionHint(source='$TABLE_URL')}"
        )
    if (source and not is_query(items)) or (reading.given and is_query(items)):
        option = OptionHint("source" if source else next(iter(reading.given)))
        said = f"{option} needs {'a query' if source else 'a file'}; nothing was written"
        raise InputError(
            said,
            hint=f"{OptionHint('from')} names a file, or is a query that begins with SELECT or WITH",
        )
    table = None if is_query(items) else FileSource(Path(items), reading)
    return NewTask(name, items, table, source, choice=choice)


def prepared(
    items: Any,
    question: str,
    *,
    fields: str = "",
    name: str = "",
    data: Path,
    reading: ReadOptions = AS_IT_IS,
    source: str = "",
    choice: ColumnChoice = ALL_GUESSED,
) -> NewTask:
    """Return what is to be asked, where it can be; nothing is made. `items` are a file, a SELECT, or rows of Python.

    `reading` says how a file is read, and a SELECT may have another database as its `source`, as `new_task` takes them.
    The `choice` names columns.

    Raises:
        InputError: the question says nothing, `fields` is no list of fields, the name is taken, or there is no such
            file or column.
    """
    if not any(map(str.isalnum, question)):
        raise InputError(
            "Q= asks for nothing; nothing was asked", hint='Q="Praise or blame?" is a question'
        )
    found = parse_fields(fields)
    if name:
        _check_name(name)
    if isinstance(items, str | Path):
        new = new_task(name, str(items), data=None, reading=reading, source=source)
    elif reading.given:
        option = OptionHint(next(iter(reading.given)))
        raise InputError(
            f"{option} is of a file, and these are rows; nothing was asked", hint="leave it out"
        )
    elif name:
        raise InputError(
            "rows of Python stand in no file, which name= would keep", hint="write them to a file"
        )
    else:
        new = NewTask(name, ROWS, MemorySource(rows_of(items)))
    new = new._replace(question=question, fields=found, choice=choice)
    if new.table is None:
        return new
    new = new._replace(draft=_draft_to_ask(None, new))
    if name and new.draft is not None:
        _check_free(
            name,
            data,
            path=new.draft.path,
            text=task_text(new.draft, question=question, fields=found),
        )
    return new


def run(ws: WorkspaceSession, new: NewTask, *, size: int, lists_refused: bool = False) -> AskReport:
    """Ask about the first rows that hold something; nothing is kept but what the calls cost.

    Three refused rows are told, or with `lists_refused` all of them.

    Raises:
        InputError: there is no column of text or no row with one, or it was not confirmed.
        ConfigurationError: no key, no such model, or a budget has no room.
    """
    draft = new.draft or _draft_to_ask(ws.store, new)
    _tell_columns(ws, draft)
    beside, ids = _rows_in_memory(
        ws, new, draft, size=size, display=ws.display, lists_refused=lists_refused
    )
    _tell_stand_in(beside)
    tried = try_out.ask_about(beside, ids)
    _check_judged(tried)
    total = cast(UnregisteredTask, beside.task).total
    names = [one.name for one in new.fields]
    return AskReport(
        draft,
        is_kept=False,
        fields=names,
        rows=total,
        tried=tried,
        estimate=_estimate_all(beside, ids, total, tried),
    )


class SavedQuestion(NamedTuple):
    """A question whose file is written: its fields' names, and the cost in USD that was agreed to, None if none was."""

    draft: TaskDraft
    fields: Sequence[str]
    agreed_usd: float | None


def keep_question(
    ws: WorkspaceSession, new: NewTask, *, size: int, lists_refused: bool = False
) -> SavedQuestion:
    """Write the file of a question, once its first rows are priced and that is agreed to; nothing is asked.

    The file of the same question stays, so a command that was killed goes on.

    With `lists_refused` all refused rows are told; else three are when the task reads its rows.

    Raises:
        InputError: there is no column of text or no row with one, the name is taken, or it was not confirmed.
        ConfigurationError: no such model, or a budget has no room.
    """
    draft = new.draft or _draft_to_ask(ws.store, new)
    text = task_text(draft, question=new.question, fields=new.fields)
    _check_free(new.name, ws.data, path=draft.path, text=text)
    _tell_columns(ws, draft)
    names = [one.name for one in new.fields]
    is_written = _is_file_of(draft.path, text)
    _check_unused(ws.store, new.name, path=draft.path.resolve() if is_written else None)
    if is_written:
        return SavedQuestion(draft, names, None)

    # Three refused rows are told when the task reads its rows.
    display = ws.display if lists_refused else NoProgress()
    beside, ids = _rows_in_memory(
        ws, new, draft, size=size, display=display, lists_refused=lists_refused
    )
    planned = try_out.plan_rows(beside, ids)
    with ws.store.read() as tx:
        budgets = budget.budgets(beside)
        reserve = budget.calibration(tx, beside.extractor).reserve
        room = budgets.room(tx, error=reserve)
        if room is not None and planned.cost * (1 + reserve) > room:
            raise budgets.without_room(tx)
    try_out.confirm_cost(beside, planned)
    _write_new(draft.path, text, ws.data)
    return SavedQuestion(draft, names, planned.cost)


def ask_kept(ws: WorkspaceSession, kept: SavedQuestion, *, size: int) -> AskReport:
    """Ask about the first rows of a question whose file is written; their answers are answers of its task.

    Rows that were asked before are not asked again, and told with what came of them.

    Raises:
        InputError: there is no row to ask about, or it was not confirmed.
        ConfigurationError: no key, no such model, or a budget has no room.
    """
    rounds.begin(ws)
    ws.agreed = kept.agreed_usd
    with ws.store.read() as tx:
        ids, total = cast(UserTask, ws.task).first_rows(tx, size)
    _tell_stand_in(ws)
    tried = try_out.ask_and_keep(ws, ids)
    _check_judged(tried)
    return AskReport(
        kept.draft,
        is_kept=True,
        fields=kept.fields,
        rows=total,
        tried=tried,
        estimate=_estimate_all(ws, ids, total, tried),
    )


def _rows_in_memory(
    ws: WorkspaceSession,
    new: NewTask,
    draft: TaskDraft,
    *,
    size: int,
    display: Progress,
    lists_refused: bool,
) -> tuple[WorkspaceSession, Sequence[str]]:
    """Return the workspace with the draft's task over its first rows, which are in memory, and their ids."""
    text = task_text(draft, question=new.question, fields=new.fields)
    declaration = declaration_in(text.encode(), new.name or UNNAMED, draft.path)
    task = UnregisteredTask(declaration, draft.path, draft.rows.columns, ws.settings, at=ws.now())
    ids = task.take(
        draft.rows,
        store=ws.store,
        first=size,
        at=ws.now(),
        display=display,
        lists_refused=lists_refused,
    )
    if not ids:
        raise InputError(f"no row of {draft.what} holds a text to ask about; nothing was asked")
    return replace(ws, task=task), ids


def _tell_columns(ws: WorkspaceSession, draft: TaskDraft) -> None:
    for note in draft.guess.notes:
        ws.display.say(note)


def _tell_stand_in(ws: WorkspaceSession) -> None:
    if ws.backend == "local":
        ws.tell_backend()
        ws.display.say(STAND_IN)


def _check_judged(tried: TryReport) -> None:
    """Raise what ended the calls where no reply was judged."""
    if all(one.outcome in try_out.UNJUDGED for one in tried.items):
        tried.check()


def _estimate_all(
    ws: WorkspaceSession, ids: Sequence[str], rows: int, tried: TryReport
) -> Preflight | None:
    """Return what all rows would come to by the replies about the first ones; None where no reply came."""
    measured_usages = [
        Usage(prompt=item.tokens_in, answer=item.tokens_out)
        for item in tried.items
        if item.tokens_in
    ]
    if not measured_usages:
        return None
    estimated = preflight.estimate_plan(ws, _plan_of_all(ws.settings, rows, measured_usages))
    estimated = replace(estimated, known=Calibration(answers=len(measured_usages)))
    priced = preflight.with_gemini_model(ws)
    if priced is None:
        return estimated

    with ws.store.read() as tx:
        requests = RequestBuilder(ws.task, priced.model).lines(tx, ws.task.rows(tx, ids))
        estimated_usages = [request.usage for request in requests]
    return replace(
        estimated,
        with_key=preflight.estimate_plan(priced, _plan_of_all(ws.settings, rows, estimated_usages)),
    )


def _plan_of_all(settings: Settings, rows: int, usages: Sequence[Usage]) -> BatchPlan:
    """Return the plan for all rows, by the usages of some of them."""
    usage = Usage(
        *(round(sum(tokens) * rows / len(usages)) for tokens in zip(*usages, strict=True))
    )
    batches = math.ceil(max(rows / settings.batch_rows, usage.prompt / settings.batch_tokens))
    return BatchPlan(rows, batches, rows, counted_in=usage.prompt, usage=usage)


# ---- the file of a task


def write(ws: WorkspaceSession, new: NewTask) -> TaskDraft:
    """Guess the columns of the items, and write the file of the task.

    Raises:
        InputError: a task of this name was used here, the items cannot be read, or the file cannot be written.
    """
    _check_unused(ws.store, new.name)
    draft = drafted(ws.store, new)
    _write_new(draft.path, task_text(draft), ws.data)
    return draft


def keep(ws: WorkspaceSession, new: NewTask) -> TaskDraft:
    """Keep a question about a file as a task's file in the workspace, with a copy of its rows; both are read at once.

    Raises:
        InputError: there is such a task, or the rows stand in no file; nothing was kept.
        ConfigurationError: the names of its views are taken, or there is no room for the file.
    """
    name = new.name
    draft = new.draft
    if draft is None or not isinstance(draft.rows, FileSource):
        raise InputError("only the rows of a file are kept with a question; nothing was written")
    _check_name(name)
    _check_free(name, ws.data)
    _check_unused(ws.store, name)
    table = draft.rows.path
    place = Path(SOURCES, f"{name}{table.suffix}")
    draft = draft._replace(path=ws.data / new.path, items=f"../{place.as_posix()}")
    with files.SealedWriter(ws.data / place) as writer, table.open("rb") as rows:
        while piece := rows.read(PIECE):
            writer.write(piece)
        writer.seal()
    text = task_text(draft, question=new.question, fields=new.fields)
    _write_new(draft.path, text, ws.data)
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
        source = (
            f"{is_file}{_below(folder, Path(place))}"
            if is_file and not place.startswith("/")
            else new.source
        )
        with other_database(source, folder) if source else nullcontext(store) as asked:
            assert asked is not None  # noqa: S101 - of a query it is given
            found = QuerySource(asked, new.items)
        guess = _guess_columns(found.columns, found, new.choice)
        guess = guess._replace(notes=(*found.notes, *guess.notes))
        return TaskDraft(new.path, new.items.strip(), "the query", guess, found, {"source": source})
    guess = _guess_columns(new.table.columns, new.table, new.choice)
    guess = guess._replace(notes=(*new.table.notes, *guess.notes))
    if isinstance(new.table, MemorySource):
        return TaskDraft(new.path, new.items, "rows", guess, new.table)
    items = _below(folder, new.table.path)
    return TaskDraft(
        new.path, items, new.table.path.name, guess, new.table, new.table.options.given
    )


def _draft_to_ask(store: Store | None, new: NewTask) -> TaskDraft:
    """Return the draft, where there is a text to ask about, or an image where nothing of a text is to be quoted."""
    draft = drafted(store, new)
    guess = draft.guess
    quotes = any(one.kind == "quote" for one in new.fields)
    if not any(isinstance(one, SourceRow) for one in draft.rows):
        raise InputError(
            f"{draft.what} has no rows below its header; nothing was asked", hint="give it rows"
        )
    is_asked = guess.can_be_quoted or guess.images or new.choice.text
    if not is_asked or (quotes and not guess.text):
        there = excerpt(", ".join(draft.rows.columns))
        what = "a text to quote" if guess.images else "a text to ask about"
        made = CommandHint(
            "new-task",
            name=new.name or name_for(new.items),
            from_=new.items,
            source=new.source or None,
        )
        said = f"{draft.what} has no column that holds {what}; nothing was asked. Found: {there}"
        raise InputError(said, hint=f"`{made}` writes a file in which `prompt=` names any columns")
    return draft


def _below(folder: Path, path: Path) -> str:
    """Return a path, relative to where a command runs, as a task's file in a folder names it."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def _write_new(path: Path, text: str, data: Path) -> None:
    """Write the file of a task, whole or not at all; it is an InputError where one is there, or it cannot be.

    In the folder of the workspace it needs no confirmation, until it is changed.
    """
    if is_in_workspace(path, data):
        trust.confirm(hashlib.sha256(text.encode()).hexdigest(), data)
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
        raise InputError(
            f"{path} cannot be written: {error.strerror}; nothing was written"
        ) from error
    finally:
        part.unlink(missing_ok=True)


# ---- its name


def name_for(source: str) -> str:
    """Return what a task about a source may be called."""
    return _near("" if is_query(source) else Path(source).stem) or "mine"


def _check_name(name: str) -> None:
    """Refuse a name that no task can have."""
    if not _can_be(name):
        near = f": {near}" if (near := _near(name)) else ""
        hint = f"a name is a letter, then at most 40 of a-z, 0-9 and _, and no built-in one{near}"
        raise InputError(f"a task cannot be called {name!r}; nothing was written", hint=hint)


def _check_free(name: str, data: Path, *, path: Path | None = None, text: str = "") -> None:
    """Refuse a name that a task has here or in a workspace, unless that is the file at a path with this text."""
    there = find_task_file(name, data)
    if there is None or (path is not None and there == path.resolve() and _is_file_of(path, text)):
        return
    raise _taken(there)


def _is_file_of(path: Path, text: str) -> bool:
    """Return whether a file is there that holds this text and nothing else."""
    return path.is_file() and path.read_bytes() == text.encode()


def _check_unused(store: Store, name: str, *, path: Path | None = None) -> None:
    """Refuse a name that a task had here, unless the file of that task is at this path."""
    with store.read() as tx:
        known = workspace.get_task(tx, name)
    if known is not None and known.path != str(path):
        raise _taken(known.path)


def _near(name: str) -> str:
    near = _NO_LETTERS.sub("_", name.casefold()).strip("_0123456789")
    return near if _can_be(near) else ""


def _can_be(name: str) -> bool:
    return bool(NAME.fullmatch(name)) and name not in RESERVED and not name.startswith("findable_")


def _taken(what: object) -> InputError:
    return InputError(
        f"{what} is there already, and nothing is overwritten",
        hint=f"{OptionHint('name')} takes another name, or edit that file",
    )


# ---- what its columns are


def _guess_columns(
    columns: Mapping[str, str],
    rows: Iterable[SourceRow | Finding],
    choice: ColumnChoice = ALL_GUESSED,
) -> TableGuess:
    """Return what the columns of a table (with their kinds) are: as a person chose them, else what they seem to be.

    One column is sent, and those that were named beside it.

    Raises:
        InputError: there is no column, none has a chosen name, or a prompt cannot name one that is sent.
    """
    if not columns:
        raise InputError("there is no row to ask about, and no column; nothing was written")
    chosen = _resolve_choice(choice, columns)
    sample = list(islice((row for row in rows if isinstance(row, SourceRow)), SAMPLED))
    cells = {name: [value_text(row.values.get(name)) for row in sample] for name in columns}
    can_be_key = [
        name for name in columns if columns[name] in KEY_KINDS and name.casefold() not in TAKEN
    ]
    ends = [name for name in can_be_key if _ENDS_LIKE_KEY.search(name)]
    named = dict.fromkeys(
        [*_called(can_be_key, COLUMN_NAMES["key"]), *ends, *_called(can_be_key, _LAST_KEYS)]
    )
    if chosen.key:
        key = chosen.key
        key_note = _chosen_key_note(chosen.key, can_be_key, rows)
    else:
        # one row without a key refuses a query as a whole
        key, key_note = _first_key(named, rows, may_be_blank=not isinstance(rows, QuerySource))

    images = [
        name
        for name in columns
        if name != key and columns[name] == "text" and _are_images(cells[name])
    ]
    wordy = [
        name
        for name in columns
        if columns[name] == "text" and any(map(str.isalpha, "".join(cells[name])))
    ]
    if chosen.text:
        main = chosen.text
        why = f"as {OptionHint('text')} says"
    else:
        free = [
            name
            for name in columns
            if name not in {*images, *chosen.others} and (name != key or len(columns) == 1)
        ]
        main, why = _guess_text(free, [name for name in free if name in wordy], images, cells)
    if key == MADE_KEY and not chosen.key:
        unnamed = [
            name
            for name in can_be_key
            if name not in {*named, main} and _is_short_and_unique(cells[name])
        ]
        key, unnamed_note = _first_key(unnamed, rows, may_be_blank=False)
        key_note = key_note if key == MADE_KEY else unnamed_note

    sent = (*(name for name in chosen.others if name != main), main)
    texts = [name for name in sent if name not in images]
    roles = {main: f"is the text, {why},"}
    main_note = f"{'image' if main in images else 'text'}: {excerpt(main)!r}, {why}"
    return TableGuess(
        key=key,
        text=texts[-1] if texts else "",
        sent=sent,
        names=tuple(
            _prompt_name(one, columns, roles.get(one, f"is named by {OptionHint('with')}"))
            for one in texts
        ),
        can_be_quoted=main in wordy and len(texts) == len(sent),
        notes=(key_note, main_note, _sent_note(sent, columns, key)),
        images=tuple(name for name in sent if name in images),
    )


def _resolve_choice(choice: ColumnChoice, columns: Iterable[str]) -> ColumnChoice:
    """Return a choice with the names of columns as the table has them; InputError where it has no such column."""
    others = choice.others
    if isinstance(others, str):
        # a name that has a comma may stand alone without quotes
        is_name = bool(others) and column_named(others, columns) is not None
        others = [others] if is_name else next(csv.reader([others], skipinitialspace=True), [])
    key = choice.key
    return ColumnChoice(
        _column_called(choice.text, columns, "text") if choice.text else "",
        _column_called(key, columns, "key") if key and key != MADE_KEY else key,
        tuple(
            dict.fromkeys(_column_called(name, columns, "with") for name in others if name.strip())
        ),
    )


def _column_called(name: str, columns: Iterable[str], option: str) -> str:
    """Return the column that a name means; InputError with the nearest ones where none or several are called so."""
    if (column := column_named(name.strip(), columns)) is not None:
        return column
    columns_by_letters = {fold(column_name): column_name for column_name in columns}
    similar_columns = [
        columns_by_letters[letters] for letters in get_close_matches(fold(name), columns_by_letters)
    ]
    shown_columns = first_few(
        [repr(excerpt(column_name)) for column_name in columns], MAX_COLUMNS_SHOWN
    )
    suggestions = " or ".join(repr(excerpt(column_name)) for column_name in similar_columns)
    hint = (
        f"did you mean {suggestions}?"
        if similar_columns
        else f"{OptionHint(option)} takes one of these columns"
    )
    message = (
        f"{OptionHint(option)} names the column {excerpt(name)!r}, "
        f"and there are {shown_columns}; nothing was asked"
    )
    raise InputError(message, hint=hint)


def _guess_text(
    free: Sequence[str],
    wordy: Sequence[str],
    images: Sequence[str],
    cells: Mapping[str, Sequence[str]],
) -> tuple[str, str]:
    """Return the column to ask about, and why: one that is called like a text, the longest text, else an image."""
    if images and not wordy:
        return images[0], "whose cells are images, or name some"
    called = _called(wordy, ("text", *COLUMN_NAMES["any_text"]))
    if called:
        return called[0], "by its name"
    if not free:
        raise InputError(
            "no column is left to ask about; nothing was asked",
            hint=f"{OptionHint('text')} names one",
        )
    lengths = {name: fmean(map(len, cells[name])) if cells[name] else 0.0 for name in wordy or free}
    longest = max(lengths, key=lambda name: lengths[name])
    return longest, f"the longest with {lengths[longest]:,.0f} characters in the mean"


def _sent_note(sent: Sequence[str], columns: Iterable[str], key: str) -> str:
    """Return the line that says which columns leave this machine if Gemini is asked, and which do not."""
    kept_back = [repr(excerpt(name)) for name in columns if name not in sent]
    note = f"columns sent: {', '.join(repr(excerpt(name)) for name in sent)}"
    if kept_back:
        note += f"; not sent: {first_few(kept_back, MAX_COLUMNS_SHOWN)} ({OptionHint('with')} adds columns)"
    if key not in {MADE_KEY, *sent}:
        note += f"; a batch names its requests by the key, {excerpt(key)!r}"
    return note


def _called(names: Iterable[str], known: Sequence[str]) -> list[str]:
    by_name = {fold(name): name for name in reversed(list(names))}
    return [by_name[one] for one in map(fold, known) if one in by_name]


def _chosen_key_note(
    key: str, can_be_key: Sequence[str], rows: Iterable[SourceRow | Finding]
) -> str:
    """Return the line about a key that a person chose; InputError where its column cannot be one."""
    if key == MADE_KEY:
        return f'key: "{MADE_KEY}", a hash of each row, as {OptionHint("key")} says'
    if key not in can_be_key:
        said = f"{OptionHint('key')} names {excerpt(key)!r}, which cannot be a key: a key is a text or a whole number"
        raise InputError(
            f"{said}; nothing was asked", hint=f"{OptionHint(key=MADE_KEY)} makes one of each row"
        )
    fault, _ = _key_fault(key, rows, may_be_blank=True)
    return f"key: {excerpt(key)!r}, as {OptionHint('key')} says" + (
        f"; it {fault}: such rows are refused" if fault else ""
    )


def _first_key(
    names: Iterable[str], rows: Iterable[SourceRow | Finding], *, may_be_blank: bool
) -> tuple[str, str]:
    """Return the first column that can be the key, else MADE_KEY, and the line that says why."""
    faults = list[str]()
    for name in names:
        fault, blank_rows = _key_fault(name, rows, may_be_blank=may_be_blank)
        if not fault:
            where = (
                f"in all rows but {blank_rows:,}, which are refused,"
                if blank_rows
                else "in every row"
            )
            return name, f"key: {excerpt(name)!r}, which is {where} and in none twice"
        faults.append(f"{excerpt(name)!r} {fault}")
    why = "; ".join(faults[:3]) or "no column is called like a key"
    return MADE_KEY, f'key: "{MADE_KEY}", a hash of each row, for {why}'


def _key_fault(
    name: str, rows: Iterable[SourceRow | Finding], *, may_be_blank: bool
) -> tuple[str, int]:
    """Return why a column is no key, empty where it is one, and in how many rows it is blank, which are refused then.

    It `may_be_blank` in a few rows beside several that have a key.
    """
    values = set[str]()
    blank_lines = list[int]()
    for row in (row for row in rows if isinstance(row, SourceRow)):
        value = value_text(row.values.get(name))
        if value in values:
            return f"has {excerpt(value)!r} twice, again in row {row.line}", 0
        if value.strip():
            values.add(value)
        else:
            blank_lines.append(row.line)
    is_refusable = may_be_blank and len(values) >= MIN_KEYS_BESIDE_BLANK
    allowed = max(1, len(values) // ROWS_PER_BLANK_KEY) if is_refusable else 0
    if len(blank_lines) > allowed:
        return f"is blank in row {blank_lines[0]}", 0
    return "" if values else "has no value", len(blank_lines)


def _is_short_and_unique(texts: Sequence[str]) -> bool:
    return len(set(texts)) == len(texts) and max(map(len, texts), default=0) <= MAX_KEY_CHARS


def _are_images(texts: Iterable[str]) -> bool:
    found = [_IMAGE.match(text) is not None for text in texts if text.strip()]
    return sum(found) * 2 > len(found)


def _prompt_name(column: str, columns: Iterable[str], role: str) -> str:
    """Return the name of a column in a prompt: `Review_Text` for `Review Text`.

    Raises:
        InputError: The column has no letter, or a prompt would name another column like it.
    """
    name = column if columns_in(f"{{{column}}}") else _NO_WORD.sub("_", column).strip("_")
    name = f"_{name}" if name[:1].isdecimal() else name
    if columns_in(f"{{{name}}}") == (name,) and column_named(name, columns) == column:
        return name
    raise InputError(
        f"{excerpt(column)!r} {role} and a prompt cannot name it, for there is no letter in it or "
        "another column is called alike; nothing was written",
        hint="give the column another name in the source (in a query with AS), then run it again",
    )
