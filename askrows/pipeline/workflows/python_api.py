"""Give Python code a workspace: each call opens it, runs as a command, and closes it.

Calls and commands respect each other in this process and in others, because claims and locks are in
the database.
"""

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, Generic, Literal, TypeVar, overload

import jsonlines

from askrows.pipeline.batch.report import BatchSummary, list_batches
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import TagReport
from askrows.pipeline.core.answer_fields import make_strict_answer_validator
from askrows.pipeline.core.declaration import A_co, Declaration, ReadOptions
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.report import raise_first_and_warn_of_others
from askrows.pipeline.core.row_listing import RowFilter, RowListOptions
from askrows.pipeline.core.settings import BUILT_IN_TASKS, DEFAULT_TASK, Settings, override_settings
from askrows.pipeline.core.text import plural
from askrows.pipeline.index import build
from askrows.pipeline.index.build import IndexReport
from askrows.pipeline.index.hits import Hit
from askrows.pipeline.index.search import SearchSession, make_search_options
from askrows.pipeline.ops import listed_rows, status
from askrows.pipeline.ops.listed_rows import ParkedRow
from askrows.pipeline.ops.open_task import open_workspace
from askrows.pipeline.provider.responses import make_excerpt
from askrows.pipeline.rows.cells import encode_row_as_json, list_memory_rows
from askrows.pipeline.rows.row_findings import FindingKind
from askrows.pipeline.rows.row_import import ImportOptions, ImportReport
from askrows.pipeline.rows.source import MemorySource
from askrows.pipeline.run.preflight import Preflight
from askrows.pipeline.store import answers
from askrows.pipeline.store.database import Connection
from askrows.pipeline.tasks import corrections, row_export
from askrows.pipeline.tasks.row_export import ExportReport
from askrows.pipeline.tasks.selection import replace_default_task_if_empty
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_file import forget_loaded_files, keep_python_task_in_process
from askrows.pipeline.tasks.task_template import ColumnChoice
from askrows.pipeline.tasks.task_values import ExportOptions
from askrows.pipeline.workflows import ask, row_importers, tag, try_out
from askrows.pipeline.workflows.ask import AskReport
from askrows.pipeline.workflows.python_arguments import check_arguments
from askrows.pipeline.workflows.python_results import (
    AnsweredRow,
    ResultDocument,
    ResultTable,
    RowCollection,
)
from askrows.pipeline.workflows.try_out import TryReport
from askrows.pipeline.workspace.open_workspace import Access, answer_no, answer_yes

T = TypeVar("T")
TaskLike = Declaration[Any] | str | PathLike[str]
Mode = Literal["auto", "batch", "flex", "live", "decide"]
SingleRowMode = Literal["live", "decide"]
# Calls that ask run one after another: locks and claims in the database have the process's name,
# so they do not separate its threads.
_asking_lock = threading.Lock()
# Tasks that Python declared, and their rows, are shared by all threads.
_declaring_lock = threading.Lock()


@dataclass(frozen=True, repr=False)
class Workspace:
    """A workspace for Python code.

    A `task` is a `Task`, the name of a task, or the path of its file. If there is none, a workspace
    without people uses its only task, and any other workspace uses the people task.

    Calls that ask take all settings as keyword arguments, by their names in lower case. All errors
    are a `AskrowsError`, which names the argument if an argument is wrong.
    """

    settings: Settings
    # Prints messages and progress.
    display: Progress
    # Tables may be added to the database of another program.
    agrees: bool = False

    def __repr__(self) -> str:
        return f"<askrows workspace {self.data}>"

    @property
    def data(self) -> Path:
        """Return the workspace's folder."""
        return self.settings.data

    @check_arguments
    def add(
        self,
        people: Any,
        *,
        mapping: str = "",
        report: Path | None = None,
        sheet: str = "",
        encoding: str = "",
        header: int | str = "",
    ) -> ImportReport:
        """Import people as `askrows import`, and warn of each group of rejected rows.

        A group has the rows that were rejected for the same reason. Columns of bytes in rows of
        Python are left out. The workspace is created if needed. No call is made.

        Args:
            people: The path of a file, a list of dicts, a data frame or an Arrow table.
            mapping: The setting MAP, which assigns columns of the file to columns of people.
            report: Path of a file to write, with each rejected row and changed value.
            sheet: Sheet of the file.
            encoding: Encoding of the file.
            header: Line of the header, from 1, or "none"; empty for the first line that is not
                blank.

        Raises:
            InputError: People cannot be read, or no row was imported.
        """
        with TemporaryDirectory() as folder:
            if isinstance(people, str | PathLike):
                path = Path(people)
            else:
                path = Path(folder) / "rows.jsonl"
                self._write_rows(people, path)

            reading = ReadOptions(sheet, encoding, header)
            options = ImportOptions(mapping, reading, report)

            def import_file(run: Run) -> ImportReport:
                return row_importers.import_file_rows(run, path, options)

            import_report = self._run(import_file, DEFAULT_TASK, access=Access.CREATE)

        for group in import_report.groups.values():
            if group.kind is FindingKind.REJECTED:
                lines_text = ", ".join(str(finding.line) for finding in group.examples)
                self.display.warn(
                    f"{plural(group.count, 'row')} rejected, "
                    f"for example row {lines_text}: {group.reason}",
                )
        import_report.require_imported_row()
        return import_report

    def _write_rows(self, rows: Any, path: Path) -> None:
        """Write rows of Python as JSON lines, and print the notes about them."""
        source = MemorySource(list_memory_rows(rows))
        for note in source.notes:
            self.display.say(note)
        with path.open("wb") as file:
            jsonlines.Writer(file, dumps=encode_row_as_json).write_all(row.values for row in source)

    @check_arguments
    def preflight(
        self,
        task: TaskLike | None = None,
        *,
        items: Any = None,
        limit: int | None = None,
        **settings: object,
    ) -> Preflight:
        """Estimate cost and duration of asking all open rows, as `askrows tag --dry`.

        Args:
            task: The task.
            items: Rows that replace those of `task`, which must be a `Task` object then.
            limit: Estimate at most this many rows.
            settings: Other settings, by their lower-case names.

        Raises:
            InputError: The task has no rows, or a request cannot be sent.
        """
        # The rows of a user task are synced first, which writes.
        is_built_in = isinstance(task, str) and task in BUILT_IN_TASKS
        access = Access.READ if is_built_in else Access.WRITE
        work = partial(tag.estimate_rows, options=tag.TagOptions(limit=limit))
        return self._run(work, task, items, settings, access=access)

    @check_arguments
    def ask(
        self,
        rows: Any,
        question: str,
        *,
        fields: str = "",
        name: str = "",
        n: int = ask.DEFAULT_ROW_COUNT,
        text: str = "",
        key: str = "",
        with_: str | Sequence[str] = (),
        sheet: str = "",
        encoding: str = "",
        header: int | str = "",
        refused: bool = False,
        mode: SingleRowMode = "live",
        **settings: object,
    ) -> AskReport:
        """Ask about the first `n` rows of a table and estimate the cost of all, as `askrows ask`.

        If there is no name, only the cost is stored. If there is a name, the file of a task is
        written, and the answers are stored as answers of that task.

        Args:
            rows: The path of a file, a SELECT, a list of dicts, a data frame or an Arrow table.
            question: The question.
            fields: Fields of an answer, such as `tone: praise|blame; reason: quote`; empty for a
                single text field `answer`.
            name: Name of the task to write.
            n: How many rows are asked.
            text: Column that is sent; empty to guess it.
            key: Column that identifies rows; empty to guess it.
            with_: Other columns that are sent.
            sheet: Sheet of the file.
            encoding: Encoding of the file.
            header: Line of the header, from 1, or "none"; empty for the first line that is not
                blank.
            refused: Warn of every row that cannot be asked about; otherwise of three.
            mode: "decide" asks a decision model about the fields that have a fixed choice.
            settings: Other settings, by their lower-case names.

        Raises:
            InputError: There is no text, a column does not exist, `fields` is invalid, or the
                estimate is above the setting CONFIRM_ABOVE; nothing was asked.
            ConfigurationError: A key is missing, or a budget has no room.
            AskrowsError: A quota was used up or the service is down, so that the calls ended
                early. The task's file and the answers so far are stored then if there is a name,
                and lost otherwise.
        """
        table = ask.TableToAsk(
            rows, ReadOptions(sheet, encoding, header), choice=ColumnChoice(text, key, with_)
        )
        unwritten_task = ask.parse_question(
            table,
            question,
            fields=fields,
            name=name,
            data=self.data,
        )
        if name:
            save = partial(
                ask.confirm_cost_and_write_task_file,
                unwritten_task=unwritten_task,
                size=n,
                mode=mode,
                should_list_refused=refused,
            )
            draft, agreed_usd = self._run(
                save, DEFAULT_TASK, None, settings, access=Access.CREATE, is_exclusive=True
            )
            sync_and_ask_saved_question = partial(
                ask.sync_and_ask_saved_question,
                draft=draft,
                agreed_usd=agreed_usd,
                size=n,
                mode=mode,
            )
            report = self._run(
                sync_and_ask_saved_question,
                draft.path,
                None,
                settings,
                access=Access.WRITE,
                is_exclusive=True,
            )
        else:
            ask_once = partial(
                ask.ask_question,
                unwritten_task=unwritten_task,
                size=n,
                mode=mode,
                should_list_refused=refused,
            )
            report = self._run(
                ask_once,
                DEFAULT_TASK,
                None,
                settings,
                access=Access.CREATE,
                is_exclusive=True,
            )
        raise_first_and_warn_of_others(report.tried.errors, self.display)
        return report

    @check_arguments
    def try_(
        self,
        task: TaskLike | None = None,
        n: int = try_out.DEFAULT_ROW_COUNT,
        *,
        row: str | int | None = None,
        seed: int | None = None,
        items: Any = None,
        mode: SingleRowMode = "live",
        **settings: object,
    ) -> TryReport:
        """Ask about a few rows, and return requests and replies, as `askrows try`.

        Only the cost is stored.

        Args:
            task: The task.
            n: How many rows are asked.
            row: Ask only the row of this key or name.
            seed: Draw the rows at random with this seed.
            items: Rows that replace those of `task`, which must be a `Task` object then.
            mode: "decide" asks a decision model about the fields that have a fixed choice.
            settings: Other settings, by their lower-case names.

        Raises:
            InputError: The row does not exist, or there is no row to try; nothing was asked.
            ConfigurationError: A key is missing, or a budget has no room.
            AskrowsError: A quota was used up or the service is down, so that the calls ended
                early.
        """
        name = None if row is None else str(row)
        work = partial(try_out.try_task, size=n, name=name, seed=seed, mode=mode)
        report = self._run(work, task, items, settings, access=Access.WRITE, is_exclusive=True)
        raise_first_and_warn_of_others(report.errors, self.display)
        return report

    @check_arguments
    def tag(
        self,
        task: TaskLike | None = None,
        mode: Mode = "auto",
        *,
        wait: bool = True,
        budget: float | None = None,
        limit: int | None = None,
        items: Any = None,
        strict: bool = False,
        accept_changed: bool = False,
        full: bool = False,
        where: str = "",
        again: bool = False,
        refresh: bool = False,
        **settings: object,
    ) -> TagReport:
        """Ask a model about all open rows of a task and store the answers, as `askrows tag`.

        Args:
            task: The task.
            mode: The mode; "auto" chooses it.
            wait: Wait until the answers of all batches are stored.
            budget: Most that the call may spend, in USD. It also counts as consent to the cost. If
                there is no budget, an estimate above the setting CONFIRM_ABOVE raises.
            limit: Ask at most this many rows.
            items: Rows that replace those of `task`, which must be a `Task` object then.
            strict: Any failed quality gate is an error. Otherwise it is a warning, unless the
                answers miss the gate by far and rows are open.
            accept_changed: Keep the version of a task whose declaration changed.
            full: Read all rows of a query, not only those that are new by the task's cursor.
            where: Ask only the rows of this condition, as WHERE= of the command.
            again: Also ask those of them that are answered. The old answers count until new answers
                replace them.
            refresh: Also ask answered rows that changed after their answer.
            settings: Other settings, by their lower-case names.

        Raises:
            InputError: The task has no rows, or the estimate is above CONFIRM_ABOVE and there is no
                budget.
            ConfigurationError: The declaration changed under the same version, or a key is missing.
            RemoteError: The provider cannot be reached; finished steps are kept.
            GateError: A quality gate failed and is an error; the answers are stored.
            KeyboardInterrupt: The call was interrupted; the next call resumes.
        """
        options = tag.TagOptions(
            mode=mode,
            limit=limit,
            budget=budget,
            wait=wait,
            where=where,
            again=again or None,
            who="Python",
            refresh=refresh,
        )

        def tag_and_raise_first_error(run: Run) -> TagReport:
            """Tag the rows, print the warnings, and raise the first error of the report.

            A budget agrees to any cost. Without a budget, `again` agrees to CONFIRM_ABOVE.
            """
            agreed_usd: float | None = None
            if budget is not None:
                # The budget limits the cost.
                agreed_usd = math.inf
            elif again:
                agreed_usd = run.workspace.settings.confirm_above
            asking_run = replace(
                run, accepts_changes=accept_changed, reads_all_rows=full, agreed_usd=agreed_usd
            )
            report = tag.tag_rows(asking_run, options)
            for warning in report.list_warnings(run.task.nouns, strict=strict):
                run.workspace.display.warn(warning)
            raise_first_and_warn_of_others(
                report.list_errors(run.task.nouns, strict=strict), run.workspace.display
            )
            return report

        return self._run(
            tag_and_raise_first_error,
            task,
            items,
            settings,
            access=Access.WRITE,
            is_exclusive=True,
        )

    @overload
    def answers(
        self,
        task: Declaration[A_co],
        *,
        answer_version: str | None = None,
    ) -> "Answers[A_co]": ...

    @overload
    def answers(
        self,
        task: str | PathLike[str] | None = None,
        *,
        answer_version: str | None = None,
    ) -> "Answers[Any]": ...

    @check_arguments
    def answers(
        self,
        task: TaskLike | None = None,
        *,
        answer_version: str | None = None,
    ) -> "Answers[Any]":
        """Return the answers that an export writes, each as an instance of the task's model.

        They are read when they are iterated over, anew each time and page by page.

        Args:
            task: The task.
            answer_version: Return the answers of this version. If None, return the answer of each
                row that counts.
        """
        return Answers(self, task, answer_version)

    @check_arguments
    def rows(
        self,
        task: TaskLike | None = None,
        find: str | Sequence[str] = (),
        *,
        sort: str | None = None,
        fields: str | Sequence[str] | None = None,
        limit: int | None = None,
        **filters: Any,
    ) -> ResultTable[dict[str, Any]]:
        """Return the rows of a task with their states, as `askrows items`.

        All matching rows are read before this returns, up to the limit. Each row is a dict with
        `id`, the columns and, last, the state.

        Args:
            task: The task; None for the task in use.
            find: Words that must all be in the row; a text is split at its spaces.
            sort: Column to sort by; with `-` before it in descending order.
            fields: Columns to return; a text is split at its commas.
            limit: Return at most this many rows.
            filters: `state` (text), `tags` (list; the row has all), `answer_version` (`task@n` or
                `task@n/model`), `where` (condition as for the command), or another member of
                `RowFilter`.

        Raises:
            InputError: A filter, state, column or condition is invalid.
        """
        unknown_filters = filters.keys() - set(RowFilter._fields)
        if unknown_filters:
            raise InputError(
                f"rows() has no filter {unknown_filters.pop()}=",
                hint=f"its filters are {', '.join(RowFilter._fields[1:])}",
            )
        words = find
        if isinstance(find, str):
            words = tuple(find.split())
        if isinstance(fields, str):
            fields = [name.strip() for name in fields.split(",")]
        row_filter = RowFilter(words, **filters)
        list_options = RowListOptions(limit, row_filter, None, sort, fields)

        def work(run: Run) -> ResultTable[dict[str, Any]]:
            with run.workspace.store.read() as tx:
                grid = run.task.make_grid(tx)
                _, rows = grid.read_kinds_and_rows(tx, list_options)
                return ResultTable(
                    {"id": row.id, **row.values, grid.state_name: row.state} for row in rows
                )

        return self._run(work, task)

    def status(self, task: TaskLike | None = None) -> ResultDocument:
        """Return the state of the workspace, as `askrows status --json`.

        The member `next` is the next command to type.
        """
        return self._run(
            lambda run: ResultDocument(
                status.read_status_document(run.workspace, run.task, run.tasks)
            ),
            task,
        )

    def show(
        self, row: str | int, task: TaskLike | None = None, *, raw: bool = False
    ) -> ResultDocument:
        """Return a row with its answers, attempts, requests and cost.

        Args:
            row: Key or name of the row.
            task: The task.
            raw: Add `wire` to each request: the bytes that were sent and received.

        Raises:
            InputError: There is no such row.
        """
        return self._run(
            lambda run: ResultDocument(
                listed_rows.read_row_details(run.workspace, run.task, str(row), raw=raw)
            ),
            task,
        )

    @check_arguments
    def correct(
        self,
        row: str | int,
        fields: Mapping[str, Any],
        task: TaskLike | None = None,
        *,
        who: str,
    ) -> ResultDocument:
        """Store a person's correction of an answer, which takes precedence over all models.

        Args:
            row: Key or name of the row.
            fields: New values by field name. An equal value confirms the present value.
            task: The task.
            who: Name of the person.

        Returns:
            The `answer` and all `edits`.

        Raises:
            InputError: There is no such row or field, or the answer is invalid; nothing was
                changed.
        """

        def work(run: Run) -> ResultDocument:
            document = corrections.correct_answer_or_undo_edit(
                run.workspace,
                run.task,
                str(row),
                corrections.Correction(fields, who, confirms_values=True),
            )
            return ResultDocument(document)

        return self._run(work, task, access=Access.WRITE)

    @check_arguments
    def export(
        self,
        to: str | PathLike[str],
        task: TaskLike | None = None,
        *,
        answer_version: str | None = None,
        cost: bool = False,
        gone: bool = False,
        raw: bool = False,
        overwrite: bool = False,
    ) -> ExportReport:
        """Write rows with their states and answers to a file, as `askrows export`.

        The suffix of the path decides the format. If no row matches, no file is written and the
        report's `path` is None.

        Args:
            to: Path of the file.
            task: The task.
            answer_version: Export the answers of this version.
            cost: Add tokens and cost (USD) of each answer.
            gone: Include rows that left their source.
            raw: Write cells unchanged that a spreadsheet would run as formulas.
            overwrite: Replace an existing file.

        Raises:
            InputError: The format or version does not exist, or the file exists or cannot be
                written.
        """
        options = ExportOptions(answer_version, cost, gone=gone, raw=raw)

        def work(run: Run) -> ExportReport:
            return row_export.export_answers(
                run.workspace,
                run.task,
                Path(to),
                options=options,
                overwrite=overwrite,
            )

        return self._run(work, task)

    def parked(self, task: TaskLike | None = None) -> ResultTable[ParkedRow]:
        """Return the parked rows with their reasons, those parked longest first."""
        return self._run(
            lambda run: ResultTable(listed_rows.list_parked_rows(run.workspace.store, run.task)),
            task,
        )

    def batches(self) -> ResultTable[BatchSummary]:
        """Return the batches of all tasks, oldest first."""
        return self._run(
            lambda run: ResultTable(list_batches(run.workspace.store, now=run.workspace.now())),
            is_whole_workspace=True,
        )

    def index(self, task: TaskLike | None = None, **settings: object) -> IndexReport:
        """Embed changed texts and build the index, as `askrows index`.

        Raises:
            InputError: No row is answered yet, or the task has no text to search by.
        """

        def work(run: Run) -> IndexReport:
            run = run.sync_and_mark_as_indexed()
            return build.build_index(run.workspace, run.service, run.task)

        return self._run(work, task, None, settings, access=Access.WRITE, is_exclusive=True)

    @check_arguments
    def search(
        self,
        question: str = "",
        k: int = 10,
        task: TaskLike | None = None,
        *,
        like: str = "",
        rank: Literal["hybrid", "words", "vectors"] = "hybrid",
        tag: str | Sequence[str] = "",
        where: str = "",
    ) -> ResultTable[Hit]:
        """Return the `k` best entries of the index in service, best first, as `askrows search`.

        Args:
            question: The search text.
            k: Number of results.
            task: The task.
            like: Instead of a question: find entries similar to the entry of this name.
            rank: How entries are ranked.
            tag: Tags that an entry must have, with commas or as a list.
            where: A condition, as the command takes it.

        Raises:
            InputError: There is no index, not exactly one of `question` and `like` is given, or the
                question or a filter is invalid.
        """
        if bool(question) == bool(like):
            raise InputError(
                "search() needs either a question or like=",
                hint='for example search("who knows water law")',
            )
        options = make_search_options(k, rank=rank, tag=tag, where=where)

        def work(run: Run) -> ResultTable[Hit]:
            with SearchSession(run.workspace, run.service, run.task) as session:
                if like:
                    return ResultTable(session.search_similar(like, options).hits)
                return ResultTable(session.search(question, options).hits)

        return self._run(work, task)

    def _open_session(
        self,
        task: TaskLike | None,
        items: Any,
        call_settings: Mapping[str, object] | None,
        access: Access,
        *,
        holds_asking_lock: bool,
        is_whole_workspace: bool = False,
    ) -> contextlib.AbstractContextManager[Run]:
        """Open the workspace for one call; return the run as a context manager.

        A `Task` object and its rows are registered for this process, and task files that earlier
        calls loaded are loaded again. Both are different while another thread is in a call that
        asks, because that thread may still read them: loaded files are kept, and for a `Task` that
        is registered already, `items` is ignored.

        Args:
            task: The task. A path is made absolute; None means the default task of the settings.
            items: Rows that replace those of `task`, which must be a `Task` object then (for an
                exception see above).
            call_settings: Settings of this call.
            access: How the workspace is opened.
            holds_asking_lock: The caller is the call that asks, so no other thread does.
            is_whole_workspace: The call is about all tasks; see `open_workspace`.

        Raises:
            InputError: Rows were given without a `Task`, or a setting is invalid.
        """
        settings = override_settings(self.settings, call_settings or {})
        path_in_python: Path | None = None
        with _declaring_lock:
            is_other_asking = _asking_lock.locked() and not holds_asking_lock
            if not is_other_asking:
                forget_loaded_files()
            rows = None if items is None else list_memory_rows(items)
            if isinstance(task, Declaration):
                path_in_python = keep_python_task_in_process(
                    task, rows, keep_existing=is_other_asking
                )

        if path_in_python is not None:
            settings = replace(settings, task=str(path_in_python))
        elif items is not None:
            raise InputError(
                "items= works only with a Task object, not with a task's name",
                hint="for example tag(task, items=rows)",
            )
        elif task is None:
            settings = replace_default_task_if_empty(settings, allow_several=is_whole_workspace)
        else:
            task_text = str(Path(task).resolve()) if isinstance(task, PathLike) else str(task)
            settings = override_settings(settings, {"task": task_text})
        return open_workspace(
            settings,
            self.display,
            access=access,
            confirm=answer_yes if self.agrees else answer_no,
            is_whole_workspace=is_whole_workspace,
        )

    def _run(
        self,
        work: Callable[[Run], T],
        task: TaskLike | None = None,
        items: Any = None,
        call_settings: Mapping[str, object] | None = None,
        *,
        access: Access = Access.READ,
        is_exclusive: bool = False,
        is_whole_workspace: bool = False,
    ) -> T:
        """Open the workspace in a separate thread, and return the result of `work`.

        The caller's thread may have an event loop, and live calls need their own. Ctrl-C stops the
        work in an orderly way: the work is told to stop, its pauses end, and this waits for it.
        Errors of `work` are raised here. A cost that would need a person's consent raises
        InputError.

        Args:
            work: Called with the opened workspace.
            task: The task.
            items: Rows that replace those of `task`, which must be a `Task` object then.
            call_settings: Settings of this call.
            access: How the workspace is opened.
            is_exclusive: The work asks a model: wait until no other thread of this process does.
            is_whole_workspace: The work is about all tasks; see `open_workspace`.

        Raises:
            KeyboardInterrupt: The work was interrupted.
        """
        stop_event = Event()

        def interruptible_sleep(seconds: float) -> None:
            if stop_event.wait(seconds):
                raise KeyboardInterrupt

        def call_work() -> T:
            """Open the workspace in this thread, and return the result of `work`."""
            asking_lock = _asking_lock if is_exclusive else contextlib.nullcontext()
            with (
                asking_lock,
                self._open_session(
                    task,
                    items,
                    call_settings,
                    access,
                    holds_asking_lock=is_exclusive,
                    is_whole_workspace=is_whole_workspace,
                ) as run,
            ):
                run.service.sleep = interruptible_sleep
                workspace = replace(
                    run.workspace,
                    sleep=interruptible_sleep,
                    ask_person_and_exit_on_no=partial(
                        _refuse_cost, run.workspace.settings.confirm_above
                    ),
                )
                return work(replace(run, workspace=workspace, stop_event=stop_event))

        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(call_work)
            while True:
                try:
                    return future.result()
                except KeyboardInterrupt:
                    # The work itself was interrupted.
                    if future.done():
                        raise
                    stop_event.set()


def _refuse_cost(confirm_above: float, _question: str) -> bool:
    """Raise InputError instead of asking a person to confirm a cost."""
    raise InputError(
        f"the estimate is above CONFIRM_ABOVE (${confirm_above:g}); nothing was started",
        hint="set a higher confirm_above=…, or limit the cost by tag(…, budget=…)",
    )


class Answers(RowCollection, Generic[A_co]):
    """The answers of a task, by key; each iteration reads them anew."""

    def __init__(self, workspace: Workspace, task: TaskLike | None, version: str | None) -> None:
        self._workspace = workspace
        self._task = task
        self._version = version

    def __repr__(self) -> str:
        task_name: object = self._task or "the only task"
        if isinstance(self._task, Declaration):
            task_name = self._task.name
        return f"<answers of {' by '.join(filter(None, [str(task_name), self._version]))}>"

    def flat(self) -> Iterator[dict[str, Any]]:
        """Yield a flat row for each answer, as `AnsweredRow.document`."""
        return (answered_row.document for answered_row in self)

    def __iter__(self) -> Iterator[AnsweredRow[A_co]]:
        """Yield the answers in the order of their keys, with the rows of a user task.

        Opens the workspace for reading until the iteration ends, and reads page by page.
        Corrections by people are included only if no version was requested. A row that left its
        source is an empty dict.

        Raises:
            InputError: An answer does not fit the task's current model (the message names it), or
                the version never had an answer.
            ConfigurationError: The task or the workspace does not exist.
        """
        workspace = self._workspace
        session_context = workspace._open_session(  # noqa: SLF001 - the answers of this workspace
            self._task,
            None,
            None,
            Access.READ,
            holds_asking_lock=False,
        )
        with session_context as run:
            task = run.task
            record = task.record
            key_columns = task.key_columns
            version = run.workspace.store.query(
                self._choose_version, task, settings=run.workspace.settings
            )
            preference = run.workspace.store.query(task.make_version_preference)

            last_key = ""
            while True:
                with run.workspace.store.read() as tx:
                    page = answers.read_preferred_answers_page(
                        tx,
                        preference,
                        version=version,
                        after=last_key,
                    )
                    rows = task.read_rows(tx, [key for key, *_ in page])
                if not page:
                    return

                for key, answer_version, answer_text, answered_at in page:
                    row = dict[str, Any]()
                    if key in rows:
                        row = {name: rows[key][name] for name in record.shown_columns}
                    answer = _parse_answer(task, key, answer_version, answer_text)
                    yield AnsweredRow(key, answer, answer_version, answered_at, row, key_columns)
                last_key = page[-1][0]

    def _choose_version(self, tx: Connection, task: Task, *, settings: Settings) -> str | None:
        """Return the version whose answers are read, as in an export; None for preferred answers.

        It is the requested version, else that of the settings.

        Raises:
            InputError: The requested version never had an answer.
        """
        if self._version is not None:
            counts = answers.count_applied_answers_by_version(tx, task.name)
            task.check_version_has_answers(self._version, [version.version for version in counts])
            return self._version
        return settings.find_version_of_task(task.name, task.prompt_version)


def _parse_answer(task: Task, key: str, version: str, answer_text: str) -> Any:
    """Return a stored answer as an instance of the task's current model.

    Raises:
        InputError: The answer does not fit the model, or only another Python program has the model.
    """
    # A task of another Python program has no model here, which is not a fault of the answer.
    answer_model = task.answer_model
    try:
        return make_strict_answer_validator(answer_model).validate_json(answer_text)
    except Exception as error:
        # A validator of the user's model may raise any error.
        raise InputError(
            f"the stored answer of {key} by {version} does not fit the answer that {task.name} "
            f"declares now: {make_excerpt(str(error))}",
            hint=f"`{task.nouns.command('export', to='answers.jsonl')}` writes stored answers",
        ) from error
