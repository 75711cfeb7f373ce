"""Ask a question about the first rows of any table.

- A question without a name is a trial: its task runs in memory, and only its cost is recorded.
- A question with a name is stored: its task's file is written first. Then the first rows are
  claimed and asked as rows of that task, and their answers are stored.
- A draft is the task's file before it is written, with the columns that were guessed for it.
- A refused row is a row of the source that cannot be asked, such as a row without a key.

No file is overwritten. Only the text column is sent, and the columns that a person named.
`workflows/column_guesses.py` guesses the columns, and `workflows/new_task_files.py` writes the
file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from askrows.pipeline.batch import budget
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.declaration import DEFAULT_READ_OPTIONS, ReadOptions, is_query
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.files import make_path_hint
from askrows.pipeline.core.progress import NoProgress, Progress
from askrows.pipeline.core.quotes import format_value_for_people
from askrows.pipeline.core.redact import mask_url_secrets
from askrows.pipeline.core.report import (
    Report,
    Table,
    raise_first_and_warn_of_others,
)
from askrows.pipeline.core.states import Mode
from askrows.pipeline.core.text import format_usd, plural
from askrows.pipeline.provider.usage import Usage
from askrows.pipeline.rows.cells import list_memory_rows
from askrows.pipeline.rows.row_sync import RowSyncReport
from askrows.pipeline.rows.source import MEMORY_ROWS, FileSource, MemorySource
from askrows.pipeline.run import preflight
from askrows.pipeline.run.units import sync_and_recover_task
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_file import load_declaration_source
from askrows.pipeline.tasks.task_sync import read_source_into_memory_task
from askrows.pipeline.tasks.task_template import (
    GUESS_ALL_COLUMNS,
    ColumnChoice,
    FieldDraft,
    TaskDraft,
    parse_fields,
    render_task_file,
)
from askrows.pipeline.workflows import try_out
from askrows.pipeline.workflows.new_task_files import (
    UNNAMED,
    UnwrittenTask,
    check_name_is_free,
    check_name_is_unused,
    check_task_name,
    draft_question,
    draft_task,
    has_file_text,
    make_draft_path,
    make_relative_path,
    write_and_trust_new_file,
)
from askrows.pipeline.workflows.python_results import ResultTable

# Rows that are asked by default.
DEFAULT_ROW_COUNT = 5
NO_PROGRESS = NoProgress()
# Our choice: the requests of more rows than this are not built to estimate their cost.
MAX_ESTIMATED_ROWS = 100_000
# Our choice: the requests of so many first rows are built to estimate the cost after a question; as
# many rows are in memory when a source is read.
MAX_SAMPLE_ROWS = 2_000


class TableToAsk(NamedTuple):
    """A table that a person asks about, and how it is read."""

    # Path of a file, a SELECT, or rows of Python.
    items: Any
    # How a file is read.
    reading: ReadOptions = DEFAULT_READ_OPTIONS
    # Address of the database of a SELECT.
    source: str = ""
    # Columns that a person named as text, key or further sent columns.
    choice: ColumnChoice = GUESS_ALL_COLUMNS


@dataclass(repr=False)
class AskReport:
    """Result of a question."""

    # The draft of the task's file.
    draft: TaskDraft
    # Whether the file was written and the answers are stored.
    is_kept: bool
    # Rows of the table that can be asked about.
    rows: int
    tried: try_out.TryReport
    # Estimate for all rows, or None if no reply came.
    estimate: preflight.Preflight | None

    def __repr__(self) -> str:
        """Return one line with the outcomes and the number of rows."""
        return f"{self.tried!r} of {plural(self.rows, 'row')}"

    @property
    def answers(self) -> ResultTable[dict[str, Any]]:
        """Return a row for each asked row: its key and its answer, or its key and a problem."""
        return ResultTable(self._iterate_answer_rows())

    def _iterate_answer_rows(self) -> Iterator[dict[str, Any]]:
        """Yield a dict for each asked row: its key and the fields of the answer, or the problem.

        The key is under the name of the key column. Without an answer, the only other member is
        `problem`, a text such as "outcome: reason".
        """
        key_name = self.draft.guess.key
        for row in self.tried.rows:
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

    def to_report(self, run: Run) -> Report:
        """Return the report of `ask`: the answers, the estimate for all rows, and the cost.

        A row without an answer shows its problem. If the local engine answered, the estimate is
        that of the model that a key would use.
        """
        answers = self.answers
        # Answers have problems instead of fields if the row was not answered.
        field_names = [field.name for field in self.draft.fields]
        columns = dict.fromkeys([self.draft.guess.key, *field_names])
        for answer in answers:
            columns |= dict.fromkeys(answer)
        cells = [
            [format_value_for_people(answer.get(column)) for column in columns]
            for answer in answers
        ]
        report = Report(
            {**self.document, "placeholder": run.workspace.has_placeholder_answers},
            parts=[Table(list(columns), cells)],
            errors=self.tried.errors,
        )
        if self.estimate is not None:
            estimate = self.estimate.with_key or self.estimate
            line = f"{estimate.model} would ask all {plural(self.rows, 'row')} for about:"
            if self.estimate.with_key is not None:
                line = f"nothing was paid; with an API key, {line}"
            report.parts.append(line)
            estimate.add_modes(report)

        stored = "no answer was stored"
        if self.is_kept:
            stored = f"answers stored; edit the question in {self.draft.path}"
        parts = [f"{len(answers):,} of {plural(self.rows, 'row')} asked"]
        if self.tried.equal_rows:
            parts.append(f"{plural(self.tried.equal_rows, 'equal row')} with the same answer")
        parts += [f"{format_usd(self.tried.cost)} spent", stored]
        report.parts.append(", ".join(parts))
        return report


def parse_new_task(name: str, table: TableToAsk, *, data: Path | None) -> UnwrittenTask:
    """Return a task that has no question yet, for a file or a SELECT; write nothing.

    The options are checked, and the name if `data` is given. A file is opened for its columns. Its
    rows are not checked, and no query is run.

    Args:
        name: Name of the task.
        table: A file or a SELECT.
        data: Folder of the workspace. The name must be free there and in the current folder. If
            None, the name is not checked.

    Raises:
        InputError: The name is invalid or taken, the file cannot be read, `items` of the table is
            an address such as `https://…`, `source` is given for a file or `reading` for a SELECT,
            or `source` has a password, which would be in the task's file.
    """
    if data is not None:
        check_task_name(name)
        check_name_is_free(name, data)

    items = str(table.items)
    if mask_url_secrets(table.source) != table.source:
        message = (
            f"{OptionHint('source')} has a password, which would be written into the task's file; "
            "nothing was written"
        )
        option = OptionHint(source="$TABLE_URL")
        hint = f"write TABLE_URL=… with the password into .env, and use {option}"
        raise InputError(message, hint=hint)

    needs_query = bool(table.source)
    if (needs_query and not is_query(items)) or (table.reading.given_options and is_query(items)):
        option = OptionHint("source" if needs_query else next(iter(table.reading.given_options)))
        needed = "a query" if needs_query else "a file"
        hint = f"{OptionHint('from')} is a file, or a query that begins with SELECT or WITH"
        raise InputError(f"{option} works only with {needed}; nothing was written", hint=hint)

    file = None
    if not is_query(items):
        file = FileSource(Path(items), table.reading)
    return UnwrittenTask(name, items, file, table.source, choice=table.choice)


def parse_question(
    table: TableToAsk,
    question: str,
    *,
    fields: str | Sequence[FieldDraft] = "",
    name: str = "",
    data: Path,
) -> UnwrittenTask:
    """Return the task of a question after checking it; write nothing.

    A file or rows of Python are read to guess their columns, and the result has a draft of the
    task's file with these columns. A SELECT is not run here: its result has no draft, and it is not
    checked whether its name is free.

    Args:
        table: A file, a SELECT, or rows of Python.
        question: The question.
        fields: Fields of an answer, parsed or as the setting FIELDS.
        name: Name under which the caller will store the question, or "" if it will not be stored. A
            task file of this name is accepted if it has the same question. Rows of Python can have
            no name.
        data: Folder of the workspace.

    Raises:
        InputError: The question has no letter or digit, `fields` is invalid, the name is invalid,
            taken or given for rows of Python, the file or a column does not exist, or there is no
            row or column to ask about.
    """
    if not any(map(str.isalnum, question)):
        raise InputError(
            "Q= has no letter or digit; nothing was asked",
            hint='for example Q="Praise or blame?"',
        )
    answer_fields = parse_fields(fields) if isinstance(fields, str) else tuple(fields)
    if name:
        check_task_name(name)

    unwritten_task = _make_task_of_table(table, name)
    answer_fields = tuple(_locate_vocabularies(answer_fields, make_draft_path(name).parent))
    unwritten_task = unwritten_task._replace(
        question=question, fields=answer_fields, choice=table.choice
    )
    if unwritten_task.table is None:
        return unwritten_task

    if name:
        return unwritten_task._replace(draft=name_question(unwritten_task, name, data=data))
    return unwritten_task._replace(draft=draft_question(None, unwritten_task))


def name_question(unwritten_task: UnwrittenTask, name: str, *, data: Path) -> TaskDraft:
    """Return the draft of a question with a name, under which it can be stored; write nothing.

    The rows are read to guess their columns. A task file of this name is accepted if it has the
    same question.

    Args:
        unwritten_task: The question about a file, or about a SELECT with a `source`. The
            workspace's own database is not available here.
        name: The name.
        data: Folder of the workspace.

    Raises:
        InputError: The name is invalid or taken, or there is no row or column to ask about.
    """
    check_task_name(name)
    draft = draft_question(None, unwritten_task._replace(name=name))
    check_name_is_free(name, data, path=draft.path, text=render_task_file(draft))
    return draft


def _locate_vocabularies(fields: Sequence[FieldDraft], folder: Path) -> Iterator[FieldDraft]:
    """Yield the fields, with paths of vocabularies that are relative to a folder.

    A vocabulary is a file with the terms that a field may have. Fields without a vocabulary are
    yielded unchanged.

    Args:
        fields: Fields of an answer; their paths are relative to the current folder.
        folder: Folder of the task's file.

    Raises:
        InputError: The file of a vocabulary does not exist.
    """
    for field in fields:
        if not field.vocabulary:
            yield field
            continue
        path = Path(field.vocabulary)
        if not path.is_file():
            raise InputError(
                f"FIELDS: the vocabulary {field.vocabulary!r} of {field.name!r} does not exist; "
                "nothing was asked",
                hint=(
                    f"{make_path_hint(path)}, which is relative to the current folder; a list of "
                    "terms is written in the task's file, as "
                    'list[Annotated[str, Vocabulary("topics.csv")]]'
                ),
            )
        yield field._replace(vocabulary=make_relative_path(folder, path))


def _make_task_of_table(table: TableToAsk, name: str) -> UnwrittenTask:
    """Return the task of a file, a SELECT or rows of Python, still without its question.

    The name is not checked.

    Args:
        table: A file, a SELECT, or rows of Python.
        name: Name of the task; "" for rows of Python.

    Raises:
        InputError: Options for files, or a name, were given for rows of Python. For the other
            kinds, as `parse_new_task`: an option does not fit, or `source` has a password.
    """
    if isinstance(table.items, str | Path):
        return parse_new_task(name, table, data=None)
    if name or table.reading.given_options:
        option = next(iter(table.reading.given_options), "name")
        raise InputError(
            f"{OptionHint(option)} works only with a file, but these are rows; nothing was asked",
            hint="write the rows to a file",
        )
    return UnwrittenTask(name, MEMORY_ROWS, MemorySource(list_memory_rows(table.items)))


def ask_question(
    run: Run,
    unwritten_task: UnwrittenTask,
    *,
    size: int,
    mode: str = Mode.LIVE.value,
    should_list_refused: bool = False,
) -> AskReport:
    """Ask about the first rows that are not empty, as a trial: only the cost is stored.

    Prints the columns, confirms the cost, calls the model for each row and validates the replies.
    The report has the answers and an estimate for all rows. If an error ends the calls after a
    reply was validated, it is in the report and not raised.

    Args:
        run: The run.
        unwritten_task: The question.
        size: How many rows are asked.
        mode: One of SINGLE_ROW_MODES: "live", or "decide" for a decision model, which answers only
            closed questions (choices, yes or no) with a probability.
        should_list_refused: Warn of every row that cannot be asked, such as a row without a key. If
            false, warn of the first three of them.

    Raises:
        InputError: There is no text column or no row with a text, or the cost was not confirmed.
        ConfigurationError: No key is set, the model does not exist, or a budget has no room.
        AskrowsError: An error ended the calls before any reply was validated.
    """
    draft = unwritten_task.draft or draft_question(run.workspace.store, unwritten_task)
    _print_columns(run.workspace.display, draft)
    trial_run, row_report = _load_draft_in_memory(
        run,
        draft,
        size=max(size, MAX_SAMPLE_ROWS),
        display=run.workspace.display,
        should_list_refused=should_list_refused,
    )
    trial_run = try_out.choose_single_row_mode(trial_run, mode)
    trial_run.announce_placeholders()

    try_report = try_out.try_rows(trial_run, trial_run.task.memory_row_ids[:size])
    _check_any_reply_validated(try_report)

    return AskReport(
        draft,
        is_kept=False,
        rows=row_report.askable_rows,
        tried=try_report,
        estimate=_estimate_all(trial_run, row_report, try_report),
    )


def confirm_cost_and_write_task_file(
    run: Run,
    unwritten_task: UnwrittenTask,
    *,
    size: int,
    mode: str = Mode.LIVE.value,
    should_list_refused: bool = False,
) -> tuple[TaskDraft, float | None]:
    """Confirm the cost of the first rows and write the task's file; ask nothing.

    Prints the columns. If a file with the same question exists already, nothing is confirmed or
    written: a command that was killed after writing goes on from there. The task is not registered
    here.

    Args:
        run: The run.
        unwritten_task: The question.
        size: How many rows will be asked.
        mode: The mode in which they will be asked, one of SINGLE_ROW_MODES.
        should_list_refused: Warn of every row that cannot be asked. If false, this warns of none,
            because the later sync of the rows does.

    Returns:
        The draft of the file, and the confirmed cost in USD, or None if the file existed.

    Raises:
        InputError: There is no text column or no row with a text, the name is taken, or the cost
            was not confirmed.
        ConfigurationError: The model does not exist, or a budget has no room.
    """
    draft = unwritten_task.draft or draft_question(run.workspace.store, unwritten_task)
    text = render_task_file(draft)
    check_name_is_free(unwritten_task.name, run.workspace.data, path=draft.path, text=text)
    _print_columns(run.workspace.display, draft)

    has_same_text = has_file_text(draft.path, text)
    check_name_is_unused(
        run.workspace.store,
        unwritten_task.name,
        path=draft.path.resolve() if has_same_text else None,
    )
    if has_same_text:
        return draft, None

    # Otherwise refused rows are named when the task reads its rows.
    display = run.workspace.display if should_list_refused else NO_PROGRESS
    trial_run, _ = _load_draft_in_memory(
        run,
        draft,
        size=size,
        display=display,
        should_list_refused=should_list_refused,
    )
    trial_run = try_out.choose_single_row_mode(trial_run, mode)
    planned = try_out.build_requests_and_estimate(trial_run, trial_run.task.memory_row_ids)
    _check_budget(trial_run, planned)
    try_out.confirm_cost(trial_run, planned)
    write_and_trust_new_file(draft.path, text, run.workspace.data)
    return draft, planned.cost


def _check_budget(run: Run, planned: try_out.PlannedRows) -> None:
    """Raise if a budget has no room for the cost of planned calls and its reserve.

    Args:
        run: The run that would make the calls.
        planned: The rows that would be asked, with their cost.

    Raises:
        BudgetError: A budget has no room.
    """
    with run.workspace.store.read() as tx:
        budgets = budget.make_current_budgets(run)
        room = budgets.compute_remaining_usd(tx)
        if room is not None and budget.add_reserve(planned.cost) > room:
            raise budgets.make_no_room_error(tx)


def sync_and_ask_saved_question(
    run: Run,
    draft: TaskDraft,
    *,
    agreed_usd: float | None,
    size: int,
    mode: str = Mode.LIVE.value,
) -> AskReport:
    """Sync a stored question's rows, ask the open rows among its first `size`, store answers.

    Rows that are answered, parked or claimed are not asked again, and the report has their stored
    outcome. If a person confirmed a cost for the question before, nobody is asked again, and a
    higher estimate is an InputError. If there is no such cost, the cost is confirmed here.

    Args:
        run: The run, with the task of the question.
        draft: The draft of the stored question.
        agreed_usd: The cost in USD that a person confirmed before, or None.
        size: How many of the rows with a text are looked at.
        mode: One of SINGLE_ROW_MODES.

    Raises:
        InputError: There is no row to ask about, or the cost was not confirmed.
        ConfigurationError: No key is set, the model does not exist, or a budget has no room.
        AskrowsError: An error ended the calls, and none of the rows has a validated reply.
    """
    run = sync_and_recover_task(run)
    # Stored answers must not reduce the estimate for all rows, so its task has no name.
    sample_run, row_report = _load_draft_in_memory(
        run, draft._replace(name=""), size=max(size, MAX_SAMPLE_ROWS)
    )
    sample_run = try_out.choose_single_row_mode(sample_run, mode)
    run = replace(try_out.choose_single_row_mode(run, mode), agreed_usd=agreed_usd)
    row_ids, row_count = run.workspace.store.query(_read_first_askable_ids, run.task, size)
    run.announce_placeholders()

    try_report = try_out.ask_and_store(run, row_ids)
    _check_any_reply_validated(try_report)
    return AskReport(
        draft,
        is_kept=True,
        rows=row_count,
        tried=try_report,
        estimate=_estimate_all(sample_run, row_report, try_report),
    )


def _read_first_askable_ids(tx: Connection, task: Task, count: int) -> tuple[list[str], int]:
    """Return the ids of the first rows that have an input, and the number of all such rows.

    They are in the order of the source. Answered and claimed rows are included. Rows that are no
    longer in the source, or have an image that cannot be sent, are left out.
    """
    columns = task.stored_rows.c
    conditions = (
        columns.askrows_gone_at.is_(None),
        ~columns.askrows_empty,
        columns.askrows_unusable.is_(None),
    )
    query = (
        select(columns.askrows_key).where(*conditions).order_by(columns.askrows_row).limit(count)
    )
    row_ids = list(tx.execute(query).scalars())
    return row_ids, task.rows.count_rows(tx, *conditions)


def _load_draft_in_memory(
    run: Run,
    draft: TaskDraft,
    *,
    size: int,
    display: Progress = NO_PROGRESS,
    should_list_refused: bool = False,
) -> tuple[Run, RowSyncReport]:
    """Return a run whose task is a draft over its first rows in memory, and a report on all rows.

    No file or database is written.

    Args:
        run: The run.
        draft: The draft.
        size: How many rows are kept in memory; rows that are empty or cannot be asked do not count.
        display: Prints the rows that cannot be asked.
        should_list_refused: Print all of them; otherwise three.

    Raises:
        InputError: No row has a text, and `size` is not 0.
    """
    text = render_task_file(draft)
    declaration = load_declaration_source(text.encode(), draft.name or UNNAMED, draft.path)
    task, report = read_source_into_memory_task(
        replace(run.workspace, display=display),
        declaration,
        draft.path,
        draft.source,
        max_rows=size,
        should_list_refused=should_list_refused,
    )
    if size and not task.memory_row_ids:
        raise InputError(
            f"no row of {draft.table_description} has a text to ask about; nothing was asked",
        )
    return replace(run, task=task), report


def count_rows(run: Run, unwritten_task: UnwrittenTask) -> RowSyncReport:
    """Return a report on the rows of a table, with the number of those that can be asked about.

    The table is read to its end. Nothing is asked or written.

    Raises:
        InputError: The rows cannot be read, or a column cannot be key or text.
    """
    draft = draft_task(run.workspace.store, unwritten_task)
    _, report = _load_draft_in_memory(run, draft, size=0)
    return report


def estimate_run(run: Run, trial: AskReport, *, name: str) -> preflight.Preflight | None:
    """Return the estimate that the first run about all rows of a tried question would make.

    If there are more than MAX_ESTIMATED_ROWS rows, the result is the estimate of the trial. It is
    None if no reply came. No request is sent, and nothing is written.

    Args:
        run: The run.
        trial: The report of the trial.
        name: The name that the task would have.
    """
    if trial.estimate is None or trial.rows > MAX_ESTIMATED_ROWS:
        return trial.estimate
    draft = trial.draft._replace(name=name, path=make_draft_path(name))
    table_run, _ = _load_draft_in_memory(run, draft, size=MAX_ESTIMATED_ROWS)
    estimate = preflight.estimate_rows(table_run, row_ids=table_run.task.memory_row_ids)
    return replace(estimate, with_key=trial.estimate.with_key)


def _print_columns(display: Progress, draft: TaskDraft) -> None:
    """Print which columns are key and text, and which are sent."""
    for note in draft.guess.notes:
        display.say(note)


def _check_any_reply_validated(try_report: try_out.TryReport) -> None:
    """Raise the error that ended the calls if no reply was validated.

    Does nothing if a reply was validated, even as invalid, or if no error ended the calls.
    """
    if all(row.outcome in try_out.UNJUDGED_OUTCOMES for row in try_report.rows):
        raise_first_and_warn_of_others(try_report.errors, NO_PROGRESS)


def _estimate_all(
    run: Run,
    row_report: RowSyncReport,
    try_report: try_out.TryReport,
) -> preflight.Preflight | None:
    """Return the estimate for all rows of a task, corrected by the replies about its first rows.

    It is the estimate that `tag DRY=1` makes if nothing is answered. No request is sent. In the
    mode decide the replies are those of a decision model, so the tokens of the other modes, which
    use a generating model, are not corrected. If the task has images, only as many first rows are
    read as there are replies. If the local engine answered, the result also contains the estimate
    for Gemini's model.

    Args:
        run: The run whose task has the first rows in memory.
        row_report: Report on all rows, with the number of requests for them.
        try_report: The replies.

    Returns:
        The estimates of all modes, or None if no reply has prompt tokens.
    """
    measured_usages = [
        Usage(prompt=row.tokens_in, answer=row.tokens_out)
        for row in try_report.rows
        if row.tokens_in
    ]
    if not measured_usages:
        return None

    row_ids = run.task.memory_row_ids
    # The images of further rows would have to be read.
    if run.task.record.image_columns:
        row_ids = row_ids[: len(measured_usages)]
    table_size = (row_report.askable_rows, row_report.requests)
    estimate_all = partial(preflight.estimate_rows, row_ids=row_ids, table_size=table_size)
    estimate = estimate_all(run, measured_usages=measured_usages)
    if run.mode is Mode.DECIDE:
        decide_estimates = estimate.mode_estimates
        estimate = estimate_all(run.copy_with_mode(Mode.LIVE))
        mode_estimates = {**estimate.mode_estimates, **decide_estimates}
        estimate = replace(estimate, mode_estimates=mode_estimates)
    return preflight.add_gemini_estimate(run, estimate, estimate_all)
