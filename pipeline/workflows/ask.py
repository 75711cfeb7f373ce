"""Ask a question about the first rows of any table, or write the file of a task for the table.

- A question without a name is a trial: its task runs in memory, and only its cost is recorded.
- A question with a name is stored: its task's file is written first. Then the first rows are
  claimed and asked as rows of that task, and their answers are stored.

No file is overwritten. Only the text column is sent, and the columns that a person named.

Key and text column are guessed from their names in a dozen languages. Otherwise the text is the
longest column. A key has a value in every row and no value twice, whatever its name is. If no
column can be the key, the key is a hash of the row.
"""

import csv
import hashlib
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, cast

from pipeline.batch import budget
from pipeline.batch.batch_plan import BatchPlan
from pipeline.batch.budget import Calibration
from pipeline.core import files, trust
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.declaration import (
    DEFAULT_READ_OPTIONS,
    HASH_KEY,
    NAME,
    RESERVED,
    ReadOptions,
    find_column,
    is_query,
    list_template_columns,
)
from pipeline.core.errors import InputError
from pipeline.core.progress import NoProgress, Progress
from pipeline.core.redact import mask_password
from pipeline.core.settings import Settings
from pipeline.core.text import join_first
from pipeline.engine.request_builder import RequestBuilder
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task_file import (
    MEMORY_ROWS,
    ROW_FILES_FOLDER,
    TASK_FILE_SUFFIX,
    TASKS_FOLDER,
    MemorySource,
    find_task_file,
    is_in_workspace,
    load_declaration_source,
    make_python_path,
)
from pipeline.engine.task_registry import (
    UnregisteredTask,
    ensure_registered,
    list_user_tasks,
    sync_task,
)
from pipeline.engine.task_template import (
    GUESS_ALL_COLUMNS,
    RESERVED_COLUMN_NAMES,
    AnswerField,
    ColumnChoice,
    TableGuess,
    TaskDraft,
    parse_fields,
    render_task_file,
)
from pipeline.engine.user_task import UserTask
from pipeline.gemini.usage import Usage
from pipeline.store import workspace
from pipeline.store.database import Store
from pipeline.tables.cells import list_rows, to_prompt_text
from pipeline.tables.columns import KNOWN_COLUMN_NAMES, fold_name
from pipeline.tables.dataframes import ResultTable
from pipeline.tables.read import SourceRow
from pipeline.tables.row_findings import Finding, make_excerpt
from pipeline.tables.row_sync import KEY_KINDS
from pipeline.tables.source import FileSource, QuerySource, open_other_database
from pipeline.workflows import preflight, rounds, try_out
from pipeline.workflows.preflight import Preflight
from pipeline.workflows.try_out import TryReport

# Rows that are asked by default.
DEFAULT_ROW_COUNT = 5
# A file is copied in pieces of this size.
COPY_CHUNK_BYTES = 1 << 20
STAND_IN = "a stand-in answers here: it shows the way, and cannot judge a question or a prompt"
# Name of a task that is not stored.
UNNAMED = "ask"
# Rows whose texts are measured to guess the columns.
MAX_SAMPLE_ROWS = 1_000
# Our choice: if at least this many rows have a key, rows without one are refused. If fewer
# rows have one, the column is not a key.
MIN_KEYS_BESIDE_BLANK = 3
# Our choice: a key may be blank in one of so many rows.
ROWS_PER_BLANK_KEY = 10
# Our choice: a column with a longer text is not a key, unless its name is that of a key.
MAX_KEY_CHARS = 100
MAX_COLUMNS_SHOWN = 12
MAX_KEY_FAULTS_SHOWN = 3
# Names of columns that can be keys if no column has the usual name of a key.
_FALLBACK_KEY_NAMES = (
    "name",
    "slug",
    "url",
    "username",
    "email",
    "title",
)
_KEY_SUFFIX = re.compile(r"[\s_.-](?i:id|key|nr\.?|no\.?|code|number|nummer)$|(?<=[a-z])I[dD]$")
_IMAGE = re.compile(
    r"\S.*\.(?:jpe?g|png|gif|webp|bmp|tiff?|avif|heic)(?:\?\S*)?\s*$",
    re.IGNORECASE,
)
_NON_WORD_CHARS = re.compile(r"\W+")
_INVALID_NAME_CHARS = re.compile("[^a-z0-9_]+")


class UnwrittenTask(NamedTuple):
    """A task that has no file yet."""

    # Empty if the task is not stored.
    name: str
    # A path, a SELECT, or ROWS for rows of Python.
    items: str
    # The rows, or None for a query.
    table: FileSource | MemorySource | None
    # Address of the database of a query, without a password; empty for the workspace's database.
    source: str = ""
    question: str = ""
    # Fields of an answer.
    fields: Sequence[AnswerField] = ()
    # Columns that a person named.
    choice: ColumnChoice = GUESS_ALL_COLUMNS
    # Draft of the file, or None for a query, which needs the workspace's database.
    draft: TaskDraft | None = None

    @property
    def path(self) -> Path:
        """Return the path at which the file of the task would be."""
        if self.name:
            return Path(TASKS_FOLDER) / f"{self.name}{TASK_FILE_SUFFIX}"
        return make_python_path(UNNAMED)


@dataclass(repr=False)
class AskReport:
    """Result of a question."""

    # Draft of the task's file.
    draft: TaskDraft
    # Whether the file was written and the answers are stored.
    is_kept: bool
    # Names of the fields of an answer.
    fields: Sequence[str]
    # Rows of the table that can be asked about.
    rows: int
    tried: TryReport
    # Estimate for all rows, or None if no reply came.
    estimate: Preflight | None

    def __repr__(self) -> str:
        """Return one line with the outcomes and the number of rows."""
        return f"{self.tried!r} of {self.rows:,} rows"

    @property
    def answers(self) -> ResultTable[dict[str, Any]]:
        """Return a row for each asked row: its key and fields, or the problem without an answer."""
        return ResultTable(self._answer_rows())

    def _answer_rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of `answers`."""
        key_name = self.draft.guess.key
        for row in self.tried.items:
            if row.answer:
                yield {key_name: row.id, **row.answer}
            else:
                problem = f"{row.outcome}: {row.reason}".rstrip(": ")
                yield {key_name: row.id, "problem": problem}

    @property
    def document(self) -> dict[str, Any]:
        """Return the report as JSON members."""
        return {
            **self.draft.document,
            "file": str(self.draft.path) if self.is_kept else None,
            "rows": self.rows,
            "answers": self.answers,
            "tried": self.tried.document,
            "all": None if self.estimate is None else self.estimate.document(),
        }


def check_new_task(
    name: str,
    items: str,
    *,
    data: Path | None,
    reading: ReadOptions = DEFAULT_READ_OPTIONS,
    source: str = "",
    choice: ColumnChoice = GUESS_ALL_COLUMNS,
) -> UnwrittenTask:
    """Return a task for a file or a SELECT after checking its name and options; write nothing.

    Args:
        name: Name of the task.
        items: Path of a file, or a SELECT.
        data: Folder of the workspace in which the name must be free. If None, no name is checked.
        reading: How a file is read.
        source: Address of the database of a SELECT.
        choice: Columns that a person named.

    Raises:
        InputError: The name is invalid or taken, the file cannot be read, an option does not fit
            the items, or `source` has a password, which would be in the task's file.
    """
    if data is not None:
        _check_name(name)
        _check_free(name, data)

    if mask_password(source) != source:
        message = (
            f"{OptionHint('source')} holds a password, which would stand in the task's file; "
            "nothing was written"
        )
        hint = f"write TABLE_URL=… with it into .env, and {OptionHint(source='$TABLE_URL')}"
        raise InputError(message, hint=hint)

    needs_query = bool(source)
    if (needs_query and not is_query(items)) or (reading.given and is_query(items)):
        option = OptionHint("source" if needs_query else next(iter(reading.given)))
        needed = "a query" if needs_query else "a file"
        hint = f"{OptionHint('from')} names a file, or is a query that begins with SELECT or WITH"
        raise InputError(f"{option} needs {needed}; nothing was written", hint=hint)

    table = None
    if not is_query(items):
        table = FileSource(Path(items), reading)
    return UnwrittenTask(name, items, table, source, choice=choice)


def check_question(
    items: Any,
    question: str,
    *,
    fields: str = "",
    name: str = "",
    data: Path,
    reading: ReadOptions = DEFAULT_READ_OPTIONS,
    source: str = "",
    choice: ColumnChoice = GUESS_ALL_COLUMNS,
) -> UnwrittenTask:
    """Return the task of a question after checking it; write nothing.

    Reads a file or rows to guess their columns; a query is read later.

    Args:
        items: Path of a file, a SELECT, or rows of Python.
        question: The question.
        fields: Fields of an answer, as the setting FIELDS.
        name: Name under which the question is stored; empty for a trial.
        data: Folder of the workspace.
        reading: How a file is read.
        source: Address of the database of a SELECT.
        choice: Columns that a person named.

    Raises:
        InputError: The question has no letter or digit, `fields` is invalid, the name is invalid
            or taken, or the file or a column does not exist.
    """
    if not any(map(str.isalnum, question)):
        raise InputError(
            "Q= asks for nothing; nothing was asked",
            hint='Q="Praise or blame?" is a question',
        )
    answer_fields = parse_fields(fields)
    if name:
        _check_name(name)

    task = _task_of_items(items, name, reading, source)
    task = task._replace(question=question, fields=answer_fields, choice=choice)
    if task.table is None:
        return task

    draft = _draft_to_ask(None, task)
    if name:
        text = render_task_file(draft, question=question, fields=answer_fields)
        _check_free(name, data, path=draft.path, text=text)
    return task._replace(draft=draft)


def _task_of_items(items: Any, name: str, reading: ReadOptions, source: str) -> UnwrittenTask:
    """Return the task of a file, a SELECT or rows of Python, without its question.

    Raises:
        InputError: Options for files, or a name, were given for rows of Python; or as `new_task`.
    """
    if isinstance(items, str | Path):
        return check_new_task(name, str(items), data=None, reading=reading, source=source)
    if reading.given:
        option = OptionHint(next(iter(reading.given)))
        raise InputError(
            f"{option} is of a file, and these are rows; nothing was asked",
            hint="leave it out",
        )
    if name:
        raise InputError(
            "rows of Python stand in no file, which name= would keep",
            hint="write them to a file",
        )
    return UnwrittenTask(name, MEMORY_ROWS, MemorySource(list_rows(items)))


def run(
    ws: WorkspaceSession,
    new_task: UnwrittenTask,
    *,
    size: int,
    list_all_refused: bool = False,
) -> AskReport:
    """Ask about the first rows with a text; only the cost is stored.

    Args:
        ws: The workspace.
        new_task: The question.
        size: How many rows are asked.
        list_all_refused: Warn of every refused row; otherwise of three.

    Raises:
        InputError: There is no text column or no row with a text, or the cost was not confirmed.
        ConfigurationError: No key is set, the model does not exist, or a budget has no room.
    """
    draft = new_task.draft or _draft_to_ask(ws.store, new_task)
    _print_columns(ws, draft)
    trial_ws, row_ids = _open_in_memory(
        ws,
        new_task,
        draft,
        size=size,
        display=ws.display,
        lists_refused=list_all_refused,
    )
    _print_stand_in(trial_ws)

    try_report = try_out.try_rows(trial_ws, row_ids)
    _check_judged(try_report)

    row_count = cast(UnregisteredTask, trial_ws.task).row_count
    return AskReport(
        draft,
        is_kept=False,
        fields=[answer_field.name for answer_field in new_task.fields],
        rows=row_count,
        tried=try_report,
        estimate=_estimate_all(trial_ws, row_ids, row_count, try_report),
    )


class SavedQuestion(NamedTuple):
    """A question whose task's file is written."""

    draft: TaskDraft
    # Names of the fields of an answer.
    fields: Sequence[str]
    # Cost that a person agreed to, or None if the file was written by an earlier command.
    agreed_usd: float | None


def save_question(
    ws: WorkspaceSession,
    new: UnwrittenTask,
    *,
    size: int,
    lists_refused: bool = False,
) -> SavedQuestion:
    """Confirm the cost of the first rows and write the task's file; ask nothing.

    If the file of the same question exists, nothing is confirmed or written: a killed command
    resumes.

    Args:
        ws: The workspace.
        new: The question.
        size: How many rows are asked later.
        lists_refused: Warn of every refused row. Otherwise three are named later, when the task
            reads its rows.

    Raises:
        InputError: There is no text column or no row with a text, the name is taken, or the cost
            was not confirmed.
        ConfigurationError: The model does not exist, or a budget has no room.
    """
    draft = new.draft or _draft_to_ask(ws.store, new)
    text = render_task_file(draft, question=new.question, fields=new.fields)
    _check_free(new.name, ws.data, path=draft.path, text=text)
    _print_columns(ws, draft)

    field_names = [answer_field.name for answer_field in new.fields]
    has_same_text = _is_file_of(draft.path, text)
    _check_unused(ws.store, new.name, path=draft.path.resolve() if has_same_text else None)
    if has_same_text:
        return SavedQuestion(draft, field_names, None)

    # Otherwise refused rows are named when the task reads its rows.
    display = ws.display if lists_refused else NoProgress()
    trial_ws, row_ids = _open_in_memory(
        ws,
        new,
        draft,
        size=size,
        display=display,
        lists_refused=lists_refused,
    )
    planned = try_out.plan_rows(trial_ws, row_ids)
    _check_budget(ws, trial_ws, planned.cost)
    try_out.confirm_cost(trial_ws, planned)
    _write_new(draft.path, text, ws.data)
    return SavedQuestion(draft, field_names, planned.cost)


def _check_budget(ws: WorkspaceSession, trial_ws: WorkspaceSession, cost: float) -> None:
    """Raise BudgetError if a budget has no room for a cost (USD) with its reserve."""
    with ws.store.read() as tx:
        budgets = budget.current_budgets(trial_ws)
        reserve = budget.load_calibration(tx, trial_ws.extractor).reserve
        room = budgets.remaining_usd(tx, estimate_error=reserve)
        if room is not None and cost * (1 + reserve) > room:
            raise budgets.no_room_error(tx)


def ask_saved(ws: WorkspaceSession, saved_question: SavedQuestion, *, size: int) -> AskReport:
    """Ask about the first rows of a stored question; the answers are stored as its task's.

    Rows that were asked before are not asked again, and their stored outcome is reported.

    Args:
        ws: The workspace, with the task of the question.
        saved_question: The stored question.
        size: How many rows are asked.

    Raises:
        InputError: There is no row to ask about, or the cost was not confirmed.
        ConfigurationError: No key is set, the model does not exist, or a budget has no room.
    """
    rounds.prepare_task(ws)
    ws.agreed_usd = saved_question.agreed_usd
    with ws.store.read() as tx:
        row_ids, row_count = cast(UserTask, ws.task).read_first_ids(tx, size)
    _print_stand_in(ws)

    try_report = try_out.ask_and_store(ws, row_ids)
    _check_judged(try_report)
    return AskReport(
        saved_question.draft,
        is_kept=True,
        fields=saved_question.fields,
        rows=row_count,
        tried=try_report,
        estimate=_estimate_all(ws, row_ids, row_count, try_report),
    )


def _open_in_memory(
    ws: WorkspaceSession,
    new: UnwrittenTask,
    draft: TaskDraft,
    *,
    size: int,
    display: Progress,
    lists_refused: bool,
) -> tuple[WorkspaceSession, Sequence[str]]:
    """Return a session with the draft's task over its first rows in memory, and their ids.

    Args:
        ws: The workspace.
        new: The question.
        draft: Draft of its file.
        size: How many rows are read into memory.
        display: Prints the names of refused rows.
        lists_refused: Name every refused row; otherwise three.

    Raises:
        InputError: No row has a text.
    """
    text = render_task_file(draft, question=new.question, fields=new.fields)
    declaration = load_declaration_source(text.encode(), new.name or UNNAMED, draft.path)
    task = UnregisteredTask(
        declaration, draft.path, draft.source.columns, ws.settings, now=ws.now()
    )
    row_ids = task.load_rows(
        draft.source,
        store=ws.store,
        max_rows=size,
        now=ws.now(),
        display=display,
        should_list_refused=lists_refused,
    )
    if not row_ids:
        raise InputError(
            f"no row of {draft.table_description} holds a text to ask about; nothing was asked"
        )
    return replace(ws, task=task), row_ids


def _print_columns(ws: WorkspaceSession, draft: TaskDraft) -> None:
    """Print which columns are key and text, and which are sent."""
    for note in draft.guess.notes:
        ws.display.say(note)


def _print_stand_in(ws: WorkspaceSession) -> None:
    """Print that the local engine answers, if it does."""
    if ws.backend == "local":
        ws.announce_backend()
        ws.display.say(STAND_IN)


def _check_judged(try_report: TryReport) -> None:
    """Raise the error that ended the calls if no reply was judged."""
    if all(row.outcome in try_out.UNJUDGED_OUTCOMES for row in try_report.items):
        try_report.check()


def _estimate_all(
    ws: WorkspaceSession,
    row_ids: Sequence[str],
    row_count: int,
    try_report: TryReport,
) -> Preflight | None:
    """Return the estimate for all rows, from the replies about the first rows.

    Args:
        ws: The workspace.
        row_ids: Ids of the first rows.
        row_count: Number of all rows.
        try_report: The replies.

    Returns:
        `None` if no reply came.
    """
    measured_usages = [
        Usage(prompt=row.tokens_in, answer=row.tokens_out)
        for row in try_report.items
        if row.tokens_in
    ]
    if not measured_usages:
        return None

    estimate = preflight.estimate_plan(ws, _plan_of_all(ws.settings, row_count, measured_usages))
    estimate = replace(estimate, known=Calibration(answers=len(measured_usages)))
    gemini_ws = preflight.with_gemini_model(ws)
    if gemini_ws is None:
        return estimate

    with ws.store.read() as tx:
        builder = RequestBuilder(ws.task, gemini_ws.model)
        estimated_usages = [
            request.usage for request in builder.plan_requests(tx, ws.task.read_rows(tx, row_ids))
        ]
    gemini_plan = _plan_of_all(ws.settings, row_count, estimated_usages)
    return replace(estimate, with_key=preflight.estimate_plan(gemini_ws, gemini_plan))


def _plan_of_all(settings: Settings, row_count: int, usages: Sequence[Usage]) -> BatchPlan:
    """Return the plan for all rows, from the token counts of some of them."""
    token_sums = [sum(tokens) for tokens in zip(*usages, strict=True)]
    usage = Usage(*(round(token_sum * row_count / len(usages)) for token_sum in token_sums))
    batches_for_rows = row_count / settings.batch_rows
    batches_for_tokens = usage.prompt / settings.batch_tokens
    batch_count = math.ceil(max(batches_for_rows, batches_for_tokens))
    return BatchPlan(
        row_count,
        batch_count,
        row_count,
        counted_prompt_tokens=usage.prompt,
        usage=usage,
    )


# ---- the file of a task


def write_task_file(ws: WorkspaceSession, new: UnwrittenTask) -> TaskDraft:
    """Guess the columns of the items, and write the file of the task.

    Raises:
        InputError: A task of this name was used in the workspace, the items cannot be read, or the
            file exists or cannot be written.
    """
    _check_unused(ws.store, new.name)
    draft = draft_task(ws.store, new)
    _write_new(draft.path, render_task_file(draft), ws.data)
    return draft


def save_task_with_file(ws: WorkspaceSession, new: UnwrittenTask) -> TaskDraft:
    """Write a question about a file into the workspace as a task with a copy of its file.

    The task is registered and its rows are read at once. If that fails, file and copy are deleted.

    Raises:
        InputError: The name is taken, or the rows are not in a file; nothing was written.
        ConfigurationError: The names of the task's views are taken, or the disk is full.
    """
    name = new.name
    draft = new.draft
    if draft is None or not isinstance(draft.source, FileSource):
        raise InputError("only the rows of a file are kept with a question; nothing was written")
    _check_name(name)
    _check_free(name, ws.data)
    _check_unused(ws.store, name)

    source_file = draft.source.path
    relative_copy = Path(ROW_FILES_FOLDER, f"{name}{source_file.suffix}")
    copy_path = ws.data / relative_copy
    draft = draft._replace(path=ws.data / new.path, items=f"../{relative_copy.as_posix()}")
    _copy_sealed(source_file, copy_path)
    _write_new(
        draft.path, render_task_file(draft, question=new.question, fields=new.fields), ws.data
    )

    settings = replace(ws.settings, task=name)
    try:
        ensure_registered(ws.store, settings, may_write=True, display=ws.display)
        with ws.store.read() as tx:
            task = next(task for task in list_user_tasks(tx, settings) if task.name == name)
        sync_task(ws.store, ws.locks, task, settings, now=ws.now(), display=ws.display)
    except BaseException:
        draft.path.unlink(missing_ok=True)
        copy_path.unlink(missing_ok=True)
        raise
    return draft


def _copy_sealed(source_file: Path, target_path: Path) -> None:
    """Copy a file into the workspace as a sealed file."""
    with files.SealedWriter(target_path) as writer, source_file.open("rb") as reader:
        while chunk := reader.read(COPY_CHUNK_BYTES):
            writer.write(chunk)
        writer.seal()


def draft_task(store: Store | None, new: UnwrittenTask) -> TaskDraft:
    """Guess the columns of a task's items; write nothing.

    Args:
        store: The workspace's database; may be None unless the items are a query of it.
        new: The task.

    Raises:
        InputError: The items cannot be read, or a prompt cannot name their text column.
    """
    if new.table is None:
        return _draft_of_query(store, new)

    table = new.table
    guess = _guess_columns(table.columns, table, new.choice)
    guess = guess._replace(notes=(*table.notes, *guess.notes))
    if isinstance(table, MemorySource):
        return TaskDraft(new.path, new.items, "rows", guess, table)
    items = _relative_path(new.path.parent, table.path)
    return TaskDraft(new.path, items, table.path.name, guess, table, table.options.given)


def _draft_of_query(store: Store | None, new: UnwrittenTask) -> TaskDraft:
    """Run a query, and guess the columns of its rows.

    A relative path of an SQLite file becomes relative to the folder of the task's file.
    """
    folder = new.path.parent
    source = new.source
    _, sqlite_scheme, database_path = source.partition("sqlite:///")
    if sqlite_scheme and not database_path.startswith("/"):
        source = f"{sqlite_scheme}{_relative_path(folder, Path(database_path))}"

    with open_other_database(source, folder) if source else nullcontext(store) as database:
        assert database is not None  # noqa: S101 - a query of the workspace comes with its store
        query = QuerySource(database, new.items)
    guess = _guess_columns(query.columns, query, new.choice)
    guess = guess._replace(notes=(*query.notes, *guess.notes))
    return TaskDraft(new.path, new.items.strip(), "the query", guess, query, {"source": source})


def _draft_to_ask(store: Store | None, new: UnwrittenTask) -> TaskDraft:
    """Return the draft of a question if its rows have a text, or images and no field is a quote.

    Raises:
        InputError: There is no row, or no column to ask about; or as `draft_task`.
    """
    draft = draft_task(store, new)
    guess = draft.guess
    if not any(isinstance(row, SourceRow) for row in draft.source):
        raise InputError(
            f"{draft.table_description} has no rows below its header; nothing was asked",
            hint="give it rows",
        )

    has_quotes = any(answer_field.kind == "quote" for answer_field in new.fields)
    can_be_asked = guess.is_text_quotable or guess.image_columns or new.choice.text
    if can_be_asked and (guess.text or not has_quotes):
        return draft

    columns_text = make_excerpt(", ".join(draft.source.columns))
    missing = "a text to ask about"
    if guess.image_columns:
        missing = "a text to quote"
    message = f"{draft.table_description} has no column that holds {missing}; nothing was asked. Found: {columns_text}"
    command = CommandHint(
        "new-task",
        name=new.name or suggest_task_name(new.items),
        from_=new.items,
        source=new.source or None,
    )
    hint = f"`{command}` writes a file in which `prompt=` names any columns"
    raise InputError(message, hint=hint)


def _relative_path(folder: Path, path: Path) -> str:
    """Return a path relative to `folder`, with slashes."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def _write_new(path: Path, text: str, data: Path) -> None:
    """Write the file of a task atomically, and sync it to disk; never replace a file.

    A file in the workspace's folder is trusted until it is changed.

    Raises:
        InputError: The file exists already, or it cannot be written.
    """
    if is_in_workspace(path, data):
        trust.confirm(hashlib.sha256(text.encode()).hexdigest(), data)

    part = files.new_part_path(path)
    try:
        path.parent.mkdir(exist_ok=True)
        files.remove_abandoned_parts(path)
        part.write_text(text, encoding="utf-8", newline="\n")
        files.sync_part(part)
        # A rename would replace a file that another process has written meanwhile.
        os.link(part, path)
        files.sync_directory(path.parent)
    except FileExistsError:
        raise _file_exists_error(path) from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror}; nothing was written",
        ) from error
    finally:
        part.unlink(missing_ok=True)


# ---- its name


def suggest_task_name(source: str) -> str:
    """Return a suggested name of a task about a file or query: the file's name, else "mine"."""
    file_name = ""
    if not is_query(source):
        file_name = Path(source).stem
    return _similar_name(file_name) or "mine"


def _check_name(name: str) -> None:
    """Raise InputError if a task cannot have this name; the hint suggests a similar one."""
    if _is_valid_name(name):
        return
    hint = "a name is a letter, then at most 40 of a-z, 0-9 and _, and no built-in one"
    similar_name = _similar_name(name)
    if similar_name:
        hint += f": {similar_name}"
    raise InputError(f"a task cannot be called {name!r}; nothing was written", hint=hint)


def _check_free(name: str, data: Path, *, path: Path | None = None, text: str = "") -> None:
    """Raise InputError if a task's file of this name exists in the current folder or workspace.

    Args:
        name: Name of the task.
        data: Folder of the workspace.
        path: Accept the file at this path if it has exactly `text`.
        text: Text of the accepted file.
    """
    existing_path = find_task_file(name, data)
    if existing_path is None:
        return
    if path is not None and existing_path == path.resolve() and _is_file_of(path, text):
        return
    raise _file_exists_error(existing_path)


def _is_file_of(path: Path, text: str) -> bool:
    """Return whether a file exists at the path and has exactly this text."""
    return path.is_file() and path.read_bytes() == text.encode()


def _check_unused(store: Store, name: str, *, path: Path | None = None) -> None:
    """Raise InputError if a task of this name is registered, unless its file is at `path`."""
    with store.read() as tx:
        task_row = workspace.get_task(tx, name)
    if task_row is not None and task_row.path != str(path):
        raise _file_exists_error(task_row.path)


def _similar_name(name: str) -> str:
    """Return a valid task name that is similar to a text; empty if there is none."""
    similar_name = _INVALID_NAME_CHARS.sub("_", name.casefold()).strip("_0123456789")
    if _is_valid_name(similar_name):
        return similar_name
    return ""


def _is_valid_name(name: str) -> bool:
    """Return whether a user task can have this name."""
    return bool(NAME.fullmatch(name)) and name not in RESERVED and not name.startswith("findable_")


def _file_exists_error(path: object) -> InputError:
    """Return the error for a task's file that exists already."""
    return InputError(
        f"{path} is there already, and nothing is overwritten",
        hint=f"{OptionHint('name')} takes another name, or edit that file",
    )


# ---- its columns


def _guess_columns(
    columns: Mapping[str, str],
    rows: Iterable[SourceRow | Finding],
    choice: ColumnChoice = GUESS_ALL_COLUMNS,
) -> TableGuess:
    """Return key, text and image columns of a table: chosen by a person, else guessed.

    A single text or image column is sent, and the other columns that a person named.

    Args:
        columns: Kinds of the columns, by name.
        rows: The rows; they are read several times.
        choice: Columns that a person named.

    Raises:
        InputError: There is no column, a chosen column does not exist, or a prompt cannot name a
            column that is sent.
    """
    if not columns:
        raise InputError("there is no row to ask about, and no column; nothing was written")

    resolved_choice = _resolve_choice(choice, columns)
    sample_rows = list(islice((row for row in rows if isinstance(row, SourceRow)), MAX_SAMPLE_ROWS))
    cells = {
        name: [to_prompt_text(row.values.get(name)) for row in sample_rows] for name in columns
    }

    key_candidates = [
        name
        for name, kind in columns.items()
        if kind in KEY_KINDS and name.casefold() not in RESERVED_COLUMN_NAMES
    ]
    likely_keys = _likely_keys(key_candidates)
    if resolved_choice.key:
        key = resolved_choice.key
        key_note = _chosen_key_note(resolved_choice.key, key_candidates, rows)
    else:
        # A single row without a key makes a query fail.
        may_be_blank = not isinstance(rows, QuerySource)
        key, key_note = _first_key(likely_keys, rows, may_be_blank=may_be_blank)

    text_columns = [name for name, kind in columns.items() if kind == "text"]
    images = [name for name in text_columns if name != key and _are_images(cells[name])]
    wordy = [name for name in text_columns if any(map(str.isalpha, "".join(cells[name])))]
    if resolved_choice.text:
        main = resolved_choice.text
        main_reason = f"as {OptionHint('text')} says"
    else:
        is_only_column = len(columns) == 1
        free = [
            name
            for name in columns
            if name not in {*images, *resolved_choice.more_columns}
            and (name != key or is_only_column)
        ]
        wordy_free = [name for name in free if name in wordy]
        main, main_reason = _guess_text(free, wordy_free, images, cells)

    if key == HASH_KEY and not resolved_choice.key:
        # Columns with other names can be keys too, but only now is the text known.
        unlikely_keys = [
            name
            for name in key_candidates
            if name not in {*likely_keys, main} and _is_short_and_unique(cells[name])
        ]
        key, unlikely_key_note = _first_key(unlikely_keys, rows, may_be_blank=False)
        if key != HASH_KEY:
            key_note = unlikely_key_note

    sent = (*(name for name in resolved_choice.more_columns if name != main), main)
    sent_texts = [name for name in sent if name not in images]
    prompt_names = list[str]()
    for name in sent_texts:
        role = f"is named by {OptionHint('with')}"
        if name == main:
            role = f"is the text, {main_reason},"
        prompt_names.append(_prompt_name(name, columns, role))

    main_kind = "image" if main in images else "text"
    main_note = f"{main_kind}: {make_excerpt(main)!r}, {main_reason}"
    return TableGuess(
        key=key,
        text=sent_texts[-1] if sent_texts else "",
        sent=sent,
        prompt_names=tuple(prompt_names),
        is_text_quotable=main in wordy and len(sent_texts) == len(sent),
        notes=(key_note, main_note, _sent_note(sent, columns, key)),
        image_columns=tuple(name for name in sent if name in images),
    )


def _likely_keys(key_candidates: Sequence[str]) -> list[str]:
    """Return the columns whose names suggest a key, the most likely first."""
    usual_names = _columns_named(key_candidates, KNOWN_COLUMN_NAMES["key"])
    with_suffix = [name for name in key_candidates if _KEY_SUFFIX.search(name)]
    fallback_names = _columns_named(key_candidates, _FALLBACK_KEY_NAMES)
    return list(dict.fromkeys([*usual_names, *with_suffix, *fallback_names]))


def _resolve_choice(choice: ColumnChoice, columns: Iterable[str]) -> ColumnChoice:
    """Return a choice with the column names as the table spells them.

    Raises:
        InputError: The table has no such column.
    """
    extra_columns = choice.more_columns
    if isinstance(extra_columns, str):
        # The name of a single column may have a comma without quotes.
        is_name = bool(extra_columns) and find_column(extra_columns, columns) is not None
        extra_columns = (
            [extra_columns]
            if is_name
            else next(csv.reader([extra_columns], skipinitialspace=True), [])
        )

    text = ""
    if choice.text:
        text = _resolve_column(choice.text, columns, "text")
    key = choice.key
    if key and key != HASH_KEY:
        key = _resolve_column(key, columns, "key")
    other_names = [_resolve_column(name, columns, "with") for name in extra_columns if name.strip()]
    return ColumnChoice(text, key, tuple(dict.fromkeys(other_names)))


def _resolve_column(name: str, columns: Iterable[str], option: str) -> str:
    """Return the column that a name means.

    Args:
        name: Name as a person typed it.
        columns: Columns of the table.
        option: Option that has the name, for the message.

    Raises:
        InputError: No column has the name, or several do; the hint has the most similar names.
    """
    column = find_column(name.strip(), columns)
    if column is not None:
        return column

    columns_by_letters = {fold_name(column_name): column_name for column_name in columns}
    similar_columns = [
        columns_by_letters[letters]
        for letters in get_close_matches(fold_name(name), columns_by_letters)
    ]
    shown_columns = join_first(
        [repr(make_excerpt(column_name)) for column_name in columns],
        MAX_COLUMNS_SHOWN,
    )
    message = (
        f"{OptionHint(option)} names the column {make_excerpt(name)!r}, "
        f"and there are {shown_columns}; nothing was asked"
    )
    hint = f"{OptionHint(option)} takes one of these columns"
    if similar_columns:
        suggestions = " or ".join(
            repr(make_excerpt(column_name)) for column_name in similar_columns
        )
        hint = f"did you mean {suggestions}?"
    raise InputError(message, hint=hint)


def _guess_text(
    free: Sequence[str],
    wordy: Sequence[str],
    images: Sequence[str],
    cells: Mapping[str, Sequence[str]],
) -> tuple[str, str]:
    """Return the column to ask about, and the reason as a phrase for the note.

    The order is: an image if no column has words, a column with the name of a text, the column
    with the longest texts.

    Args:
        free: Columns that can be the text.
        wordy: The free columns that have letters.
        images: Columns with image names.
        cells: Texts of the sampled cells, by column.

    Raises:
        InputError: No column is free.
    """
    if images and not wordy:
        return images[0], "whose cells are images, or name some"
    named_as_text = _columns_named(wordy, ("text", *KNOWN_COLUMN_NAMES["any_text"]))
    if named_as_text:
        return named_as_text[0], "by its name"
    if not free:
        raise InputError(
            "no column is left to ask about; nothing was asked",
            hint=f"{OptionHint('text')} names one",
        )

    mean_lengths = {
        name: fmean(map(len, cells[name])) if cells[name] else 0.0 for name in wordy or free
    }
    longest = max(mean_lengths, key=lambda name: mean_lengths[name])
    return longest, f"the longest with {mean_lengths[longest]:,.0f} characters in the mean"


def _sent_note(sent: Sequence[str], columns: Iterable[str], key: str) -> str:
    """Return the line that names the columns that are sent to Gemini, and those that are not."""
    unsent_columns = [repr(make_excerpt(name)) for name in columns if name not in sent]
    note = f"columns sent: {', '.join(repr(make_excerpt(name)) for name in sent)}"
    if unsent_columns:
        unsent_text = join_first(unsent_columns, MAX_COLUMNS_SHOWN)
        note += f"; not sent: {unsent_text} ({OptionHint('with')} adds columns)"
    if key not in {HASH_KEY, *sent}:
        note += f"; a batch names its requests by the key, {make_excerpt(key)!r}"
    return note


def _columns_named(columns: Iterable[str], names: Sequence[str]) -> list[str]:
    """Return the columns that have one of the names, in the order of the names.

    Names are equal if `fold_name` makes them so. If several columns are equal, the first is returned.
    """
    columns_by_letters = {fold_name(column): column for column in reversed(list(columns))}
    folded_names = [fold_name(name) for name in names]
    return [columns_by_letters[name] for name in folded_names if name in columns_by_letters]


def _chosen_key_note(
    key: str,
    key_candidates: Sequence[str],
    rows: Iterable[SourceRow | Finding],
) -> str:
    """Return the line about a key that a person chose, with its fault if it has one.

    Raises:
        InputError: The column cannot be a key.
    """
    if key == HASH_KEY:
        return f'key: "{HASH_KEY}", a hash of each row, as {OptionHint("key")} says'
    if key not in key_candidates:
        message = (
            f"{OptionHint('key')} names {make_excerpt(key)!r}, which cannot be a key: "
            "a key is a text or a whole number; nothing was asked"
        )
        raise InputError(message, hint=f"{OptionHint(key=HASH_KEY)} makes one of each row")

    note = f"key: {make_excerpt(key)!r}, as {OptionHint('key')} says"
    fault, _ = _key_fault(key, rows, may_be_blank=True)
    if fault:
        note += f"; it {fault}: such rows are refused"
    return note


def _first_key(
    names: Iterable[str],
    rows: Iterable[SourceRow | Finding],
    *,
    may_be_blank: bool,
) -> tuple[str, str]:
    """Return the first column that can be the key, else MADE_KEY, and the line that says why.

    Args:
        names: Columns to check, the most likely first.
        rows: All rows.
        may_be_blank: Accept a key that is blank in a few rows.
    """
    faults = list[str]()
    for name in names:
        fault, blank_count = _key_fault(name, rows, may_be_blank=may_be_blank)
        if fault:
            faults.append(f"{make_excerpt(name)!r} {fault}")
            continue
        coverage = "in every row"
        if blank_count:
            coverage = f"in all rows but {blank_count:,}, which are refused,"
        return name, f"key: {make_excerpt(name)!r}, which is {coverage} and in none twice"

    reason = "; ".join(faults[:MAX_KEY_FAULTS_SHOWN]) or "no column is called like a key"
    return HASH_KEY, f'key: "{HASH_KEY}", a hash of each row, for {reason}'


def _key_fault(
    name: str,
    rows: Iterable[SourceRow | Finding],
    *,
    may_be_blank: bool,
) -> tuple[str, int]:
    """Return why a column cannot be the key, and in how many rows it is blank.

    Args:
        name: The column.
        rows: All rows.
        may_be_blank: Accept a few blank cells if several rows have a key.

    Returns:
        An empty reason if the column can be the key; rows in which it is blank are refused then.
        If there is a reason, the number may be 0.
    """
    keys = set[str]()
    blank_lines = list[int]()
    for row in rows:
        if not isinstance(row, SourceRow):
            continue
        key = to_prompt_text(row.values.get(name))
        if key in keys:
            return f"has {make_excerpt(key)!r} twice, again in row {row.line_number}", 0
        if key.strip():
            keys.add(key)
        else:
            blank_lines.append(row.line_number)

    max_blank = 0
    if may_be_blank and len(keys) >= MIN_KEYS_BESIDE_BLANK:
        max_blank = max(1, len(keys) // ROWS_PER_BLANK_KEY)
    if len(blank_lines) > max_blank:
        return f"is blank in row {blank_lines[0]}", 0
    return "" if keys else "has no value", len(blank_lines)


def _is_short_and_unique(texts: Sequence[str]) -> bool:
    """Return whether the texts differ, and none is longer than MAX_KEY_CHARS."""
    return len(set(texts)) == len(texts) and max(map(len, texts), default=0) <= MAX_KEY_CHARS


def _are_images(texts: Iterable[str]) -> bool:
    """Return whether more than half of the texts that are not blank are names of image files."""
    matches = [_IMAGE.match(text) is not None for text in texts if text.strip()]
    return sum(matches) * 2 > len(matches)


def _prompt_name(column: str, columns: Iterable[str], role: str) -> str:
    """Return the name of a column in a prompt: `Review_Text` for `Review Text`.

    Args:
        column: The column.
        columns: All columns of the table.
        role: Why the column is sent, as a phrase for the message.

    Raises:
        InputError: The column has no letter, or a prompt would name another column like it.
    """
    name = (
        column
        if list_template_columns(f"{{{column}}}")
        else _NON_WORD_CHARS.sub("_", column).strip("_")
    )
    if name[:1].isdecimal():
        name = f"_{name}"
    if list_template_columns(f"{{{name}}}") == (name,) and find_column(name, columns) == column:
        return name
    raise InputError(
        f"{make_excerpt(column)!r} {role} and a prompt cannot name it, for there is no letter in it or "
        "another column is called alike; nothing was written",
        hint="give the column another name in the source (in a query with AS), then run it again",
    )
