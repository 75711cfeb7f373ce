"""A workspace for Python code: each call opens it, works as the command of that name does, and closes it.

So calls and commands, in this process and in others, hold to one another: the database says what is asked already.
"""

import contextlib
import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, Generic, Literal, TypeVar, Unpack, overload

from pipeline.batch.report import BatchSummary, list_batches
from pipeline.core.declaration import A_co, Declaration, ReadOptions
from pipeline.core.errors import InputError
from pipeline.core.progress import Progress
from pipeline.core.row_listing import RowFilter, RowListOptions
from pipeline.core.settings import BUILT_IN, Settings, with_given
from pipeline.engine import corrections
from pipeline.engine.task import ExportOptions, Task
from pipeline.engine.task_file import hand_over, look_again
from pipeline.engine.task_template import ColumnChoice
from pipeline.engine.user_task import UserTask
from pipeline.engine.workspace import Access, WorkspaceSession, open_workspace, with_default_task
from pipeline.experts import import_ as import_people
from pipeline.experts.import_ import PeopleImportReport
from pipeline.gemini.responses import excerpt_of
from pipeline.index import build
from pipeline.index.build import IndexReport
from pipeline.index.build_reader import Hit
from pipeline.index.search import SearchSession, SearchSettings, search_options
from pipeline.ops import export, status
from pipeline.ops import items as listing
from pipeline.ops.export import ExportReport
from pipeline.ops.items import ParkedRow
from pipeline.store import answers
from pipeline.store.database import Connection
from pipeline.tables.cells import bytes_note, plain_value, rows_of, without_bytes
from pipeline.tables.dataframes import ResultDocument, ResultTable, RowCollection
from pipeline.tables.row_import import FindingKind, ImportOptions
from pipeline.workflows import ask, preflight, tag, try_out
from pipeline.workflows.answered_row import AnsweredRow
from pipeline.workflows.ask import AskReport
from pipeline.workflows.preflight import Preflight
from pipeline.workflows.rounds import TagReport
from pipeline.workflows.tag import TagOptions
from pipeline.workflows.try_out import TryReport

T = TypeVar("T")
TaskLike = Declaration[Any] | str | PathLike[str]
Mode = Literal["auto", "batch", "flex", "live"]
PEOPLE = "experts"
PAGE = 1_000  # rows of a list that are read at once
_asking = (
    threading.Lock()
)  # what a process holds in the database is signed with its name, whichever thread holds it
_declaring = (
    threading.Lock()
)  # what Python declared, and with which rows, is one thing for all threads


@dataclass(frozen=True, repr=False)
class Workspace:
    """A workspace: its settings, where messages and progress go, and whether it may add to another program's database.

    A `task` is a `Task`, the name of one, or the path of its file. Without it, a workspace without people is about its
    only task, and any other one about people. Any setting may be given for one call that asks, by
    its name in lower case. Every error is a `FindableError`.
    """

    settings: Settings
    display: Progress
    agrees: bool = False

    def __repr__(self) -> str:
        return f"<findable workspace {self.data}>"

    @property
    def data(self) -> Path:
        """Return the workspace's folder."""
        return self.settings.data

    def add(
        self,
        people: Any,
        *,
        mapping: str = "",
        strict: bool = False,
        report: Path | None = None,
        sheet: str = "",
        encoding: str = "",
        header: int | str = "",
    ) -> PeopleImportReport:
        """Import people: the path of a file, a list of dicts, a data frame or an Arrow table, as `findable import`.

        `sheet`, `encoding` and `header` say how a file is read.

        Raises:
            InputError: they cannot be read as people, or no row went in.
        """
        with TemporaryDirectory() as folder:
            path = (
                Path(people) if isinstance(people, str | PathLike) else Path(folder) / "rows.jsonl"
            )
            if not isinstance(people, str | PathLike):
                rows, left_out = without_bytes(rows_of(people))
                if left_out:
                    self.display.say(bytes_note(left_out))
                lines = (json.dumps(plain_value(row), ensure_ascii=False) + "\n" for row in rows)
                path.write_text("".join(lines), encoding="utf-8")
            options = ImportOptions(mapping, ReadOptions(sheet, encoding, header), strict, report)
            done = self._run(
                partial(import_people.run, path=path, options=options), PEOPLE, access=Access.CREATE
            )
        for group in (one for one in done.groups.values() if one.kind is FindingKind.REJECTED):
            named = ", ".join(str(one.line) for one in group.examples)
            self.display.warn(f"{group.count:,} rejected, such as of row {named}: {group.reason}")
        done.check()
        return done

    def preflight(
        self,
        task: TaskLike | None = None,
        *,
        items: Any = None,
        limit: int | None = None,
        **settings: object,
    ) -> Preflight:
        """Estimate what asking about all open items would cost and take, as `findable tag --dry`; spends nothing.

        `items` are rows in the place of those that a `Task` names.
        """
        access = (
            Access.READ if isinstance(task, str) and task in BUILT_IN else Access.WRITE
        )  # whose items come with it
        work = partial(preflight.run, limit=limit, deadline_s=None)
        return self._run(work, task, items, settings, access=access)

    def ask(
        self,
        rows: Any,
        question: str,
        *,
        fields: str = "",
        name: str = "",
        n: int = ask.FEW,
        text: str = "",
        key: str = "",
        with_: str | Sequence[str] = (),
        sheet: str = "",
        encoding: str = "",
        header: int | str = "",
        refused: bool = False,
        **settings: object,
    ) -> AskReport:
        """Ask about the first `n` rows of any table and say what all would cost, as `findable ask`.

        `rows` is the path of a file, a SELECT, a list of dicts, a data frame or an Arrow table. Only the column `text`
        is sent, which is found without it, and those of `with_`; `key` tells rows apart. `sheet`, `encoding` and
        `header` say how a file is read; with `refused` a warning names every row that cannot be asked about, and not
        three of them. Only the cost is kept; with a `name` the file of a task is written, and the answers are kept as
        those of that task.

        Raises:
            InputError: there is no text to ask about, no such column, or `fields` is no list of fields; nothing was
                asked.
            ConfigurationError: a key is missing, or a budget has no room.
        """
        reading = ReadOptions(sheet, encoding, header)
        asking = ask.prepared(
            rows,
            question,
            fields=fields,
            name=name,
            data=self.data,
            reading=reading,
            choice=ColumnChoice(text, key, with_),
        )
        if name:
            keep = partial(ask.keep_question, new=asking, size=n, lists_refused=refused)
            kept = self._run(keep, PEOPLE, None, settings, access=Access.CREATE, alone=True)
            work = partial(ask.ask_kept, kept=kept, size=n)
            report = self._run(
                work, kept.draft.path, None, settings, access=Access.WRITE, alone=True
            )
        else:
            work = partial(ask.run, new=asking, size=n, lists_refused=refused)
            report = self._run(work, PEOPLE, None, settings, access=Access.CREATE, alone=True)
        report.tried.check()
        return report

    def try_(
        self,
        task: TaskLike | None = None,
        n: int = try_out.FEW,
        *,
        item: str | None = None,
        seed: int | None = None,
        items: Any = None,
        **settings: object,
    ) -> TryReport:
        """Ask about a few rows, or one `item`, and return what was sent and came, as `findable try`.

        Only the cost is kept. `items` are rows in the place of those that a `Task` names.

        Raises:
            InputError: there is no such item, or none to try; nothing was asked.
            ConfigurationError: a key is missing, or a budget has no room.
        """
        work = partial(try_out.run, size=n, name=item, seed=seed)
        report = self._run(work, task, items, settings, access=Access.WRITE, alone=True)
        report.check()
        return report

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
        **settings: object,
    ) -> TagReport:
        """Ask about every open item, as `findable tag`; with `wait`, until all answers of batches are in.

        `budget` is the most USD that it may spend, and agrees to estimates above CONFIRM_ABOVE; `items` are rows in the
        place of those that a `Task` names. A quality gate that fails is a warning, where it is not `strict`.

        Raises:
            InputError: there are no items, or the estimate is high and there is no budget.
            ConfigurationError: the declaration changed under the same version, or a key is missing.
            RemoteError: Gemini cannot be reached; what was done is kept.
            GateError: a quality gate failed that is an error; the answers are stored.
        """
        options = TagOptions(mode=mode, limit=limit, budget=budget, wait=wait)

        def work(ws: WorkspaceSession) -> TagReport:
            if budget is not None:
                ws.agreed = math.inf  # which its budget bounds
            report = tag.run(ws, options)
            report.finish(ws.task.words, ws.display, strict=strict)
            return report

        return self._run(work, task, items, settings, access=Access.WRITE, alone=True)

    @overload
    def answers(
        self, task: Declaration[A_co], *, extractor: str | None = None
    ) -> "Answers[A_co]": ...

    @overload
    def answers(
        self, task: str | PathLike[str] | None = None, *, extractor: str | None = None
    ) -> "Answers[Any]": ...

    def answers(
        self, task: TaskLike | None = None, *, extractor: str | None = None
    ) -> "Answers[Any]":
        """Return the answers that an export writes, of one version or of an `extractor`, each as its model.

        They are read when they are iterated over, anew each time, some hundred at a time.
        """
        return Answers(self, task, extractor)

    def rows(
        self,
        task: TaskLike | None = None,
        find: str | Sequence[str] = (),
        *,
        sort: str | None = None,
        fields: Sequence[str] | None = None,
        limit: int | None = None,
        **which: Any,
    ) -> ResultTable[dict[str, Any]]:
        """Return the rows of a task with their states, as `findable items`: those that hold all words of `find`.

        `which` are `state`, `tags`, `extractor`, `min_score`, `max_score` and `where`, `sort` is a column, with `-`
        before it the largest first, and `fields` are the columns.

        Raises:
            InputError: there is no such state, column or condition.
        """
        if strange := which.keys() - set(RowFilter._fields):
            raise InputError(
                f"rows have no {strange.pop()}=",
                hint=f"they have {', '.join(RowFilter._fields[1:])}",
            )
        wanted = RowFilter(tuple(find.split()) if isinstance(find, str) else find, **which)

        def work(ws: WorkspaceSession) -> ResultTable[dict[str, Any]]:
            with ws.store.read() as tx:
                pages = ws.task.grid(tx).pages(
                    tx, RowListOptions(PAGE, wanted, None, sort, fields, within_s=None)
                )
                return ResultTable(
                    islice((one for page in pages for one in page.document["items"]), limit)
                )

        return self._run(work, task)

    def status(self, task: TaskLike | None = None) -> ResultDocument:
        """Return where everything stands, as `findable status --json` has it; `next` is what to type next."""
        return self._run(lambda ws: ResultDocument(status.run(ws).document), task)

    def show(self, item: str, task: TaskLike | None = None, *, raw: bool = False) -> ResultDocument:
        """Return all that is known of the row of that key or name: its answers, attempts, requests and cost.

        With `raw` each request has `wire`, as it went out and came back.

        Raises:
            InputError: there is no such row.
        """
        return self._run(lambda ws: ResultDocument(listing.show(ws, item, raw=raw)), task)

    def correct(
        self, item: str, fields: Mapping[str, Any], task: TaskLike | None = None, *, who: str
    ) -> ResultDocument:
        """Put what a person says into the answer to the row of that key or name, above every model's.

        `fields` are the new values by their names. Returns the `answer` and all `edits`.

        Raises:
            InputError: there is no such row or field, or that is no valid answer; nothing was changed.
        """
        return self._run(
            lambda ws: ResultDocument(corrections.correct(ws, item, fields, who=who)),
            task,
            access=Access.WRITE,
        )

    def export(
        self,
        to: str | PathLike[str],
        task: TaskLike | None = None,
        *,
        extractor: str | None = None,
        rows: str | None = None,
        best: bool = False,
        cost: bool = False,
        full: bool = False,
        gone: bool = False,
        raw: bool = False,
        overwrite: bool = False,
    ) -> ExportReport:
        """Write rows with their states and answers to a file, as `findable export`; its ending says in which format.

        Without a row no file is written, and the report's `path` is None.

        Raises:
            InputError: there is no such format or version, or the file cannot be written, or is there already.
        """
        wanted = ExportOptions(best, extractor, rows, cost, full, gone=gone)
        return self._run(
            lambda ws: export.run(ws, Path(to), wanted=wanted, overwrite=overwrite, raw=raw), task
        )

    def parked(self, task: TaskLike | None = None) -> ResultTable[ParkedRow]:
        """Return the rows that failed for good, and why, longest first."""
        return self._run(lambda ws: ResultTable(listing.list_parked(ws.store, ws.task)), task)

    def batches(self) -> ResultTable[BatchSummary]:
        """Return every batch of every task, oldest first."""
        return self._run(lambda ws: ResultTable(list_batches(ws.store, now=ws.now())), PEOPLE)

    def log(self, n: int = 10, task: TaskLike | None = None) -> ResultTable[dict[str, Any]]:
        """Return the newest `n` requests of a task, or of all, newest first, as `findable log --json` has them."""
        return self._run(
            lambda ws: ResultTable(listing.newest_requests(ws, limit=n, every=task is None)),
            task or PEOPLE,
        )

    def index(self, task: TaskLike | None = None, **settings: object) -> IndexReport:
        """Embed the changed texts of people, or of a task's answered rows, and build their index, as `findable index`.

        Raises:
            InputError: nothing is answered yet, or the task does not say by what text its rows are found.
        """

        def work(ws: WorkspaceSession) -> IndexReport:
            ws.bring_index()
            return build.run(ws)

        return self._run(work, task, None, settings, access=Access.WRITE, alone=True)

    def search(
        self,
        question: str = "",
        k: int = 10,
        task: TaskLike | None = None,
        *,
        like: str = "",
        **how: Unpack[SearchSettings],
    ) -> ResultTable[Hit]:
        """Return the `k` best people, or rows of a task, in the index in service, best first, as `findable search`.

        With `like` in the place of a question, those most like the one of that name. `rank`, `tag`, `min_score` and
        `where` are the command's.

        Raises:
            InputError: there is no index yet, or the task has none; the question or a filter cannot be read.
        """
        if bool(question) == bool(like):
            raise InputError(
                "a search takes a question or like=, one of both",
                hint='search("who knows water law")',
            )
        options = search_options(k, **how)

        def work(ws: WorkspaceSession) -> ResultTable[Hit]:
            with SearchSession(ws) as opened:
                return ResultTable(
                    (opened.ask_like(like, options) if like else opened.ask(question, options)).hits
                )

        return self._run(work, task)

    def _opened(
        self,
        task: TaskLike | None,
        items: Any,
        given: Mapping[str, object] | None,
        access: Access,
        *,
        alone: bool,
    ) -> contextlib.AbstractContextManager[WorkspaceSession]:
        """Open the workspace for one call, with a task that Python declared handed over to the engine.

        While another thread asks, what it declared stays as it is: it may read it, and its rows, at any moment.
        """
        settings = with_given(self.settings, given or {})
        with _declaring:
            keeps = _asking.locked() and not alone
            if not keeps:
                look_again()
            rows = None if items is None else rows_of(items)
            place = hand_over(task, rows, keeps=keeps) if isinstance(task, Declaration) else None
        if place is not None:
            settings = replace(settings, task=str(place))
        elif items is not None:
            raise InputError(
                "items= goes with a Task, and not with its name", hint="tag(task, items=rows)"
            )
        elif task is None:
            settings = with_default_task(settings)
        else:
            settings = with_given(
                settings,
                {"task": str(Path(task).resolve() if isinstance(task, PathLike) else task)},
            )
        return open_workspace(
            settings, self.display, access=access, agrees=lambda _question: self.agrees
        )

    def _run(
        self,
        work: Callable[[WorkspaceSession], T],
        task: TaskLike | None = None,
        items: Any = None,
        given: Mapping[str, object] | None = None,
        *,
        access: Access = Access.READ,
        alone: bool = False,
    ) -> T:
        """Do a piece of work in the opened workspace, `alone` after others of this process, in a thread of its own.

        The caller's thread may have an event loop, and ours are run in that one. A Ctrl-C lets it end in order.
        """
        stop = Event()

        def slept(seconds: float) -> None:
            if stop.wait(seconds):
                raise KeyboardInterrupt

        def call() -> T:
            one_by_one = _asking if alone else contextlib.nullcontext()
            with one_by_one, self._opened(task, items, given, access, alone=alone) as ws:
                ws.stopping, ws.sleep, ws.agrees = stop, slept, partial(_refuse, ws)
                return work(ws)

        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(call)
            while True:
                try:
                    return ended.result()
                except KeyboardInterrupt:
                    if ended.done():
                        raise
                    stop.set()


def _refuse(ws: WorkspaceSession, _question: str) -> bool:
    raise InputError(
        f"the estimate is above CONFIRM_ABOVE (${ws.settings.confirm_above:g}); nothing was started",
        hint="confirm_above=… takes a higher bound, and tag(…, budget=…) says what it may spend",
    )


class Answers(RowCollection, Generic[A_co]):
    """The answers of a task, by key; each iteration reads them anew."""

    def __init__(self, workspace: Workspace, task: TaskLike | None, extractor: str | None) -> None:
        self._workspace = workspace
        self._task = task
        self._extractor = extractor

    def __repr__(self) -> str:
        name = (
            self._task.name
            if isinstance(self._task, Declaration)
            else self._task or "the only task"
        )
        return f"<answers of {' by '.join(filter(None, [str(name), self._extractor]))}>"

    def flat(self) -> Iterator[dict[str, Any]]:
        """Yield a flat row for each answer, as `AnsweredRow.document` has it."""
        return (one.document for one in self)

    def __iter__(self) -> Iterator[AnsweredRow[A_co]]:
        """Yield each answer.

        Raises:
            InputError: one is of another model than the task has now; the message names it. Or there was never an
                answer of the extractor that is named.
            ConfigurationError: there is no such task or workspace.
        """
        with self._workspace._opened(self._task, None, None, Access.READ, alone=False) as ws:  # noqa: SLF001
            task = ws.task
            after = ""
            is_chosen = self._extractor is None
            record = task.record if isinstance(task, UserTask) else None
            keys = [name for name, _ in record.key] if record else ()
            with ws.store.read() as tx:
                of = _chosen(ws, tx, self._extractor)
                preference = answers.VersionPreference(task.name)
                if (
                    record
                    and task.preferred
                    and is_chosen
                    and not ws.settings.version_of(task.name, task.label)
                ):
                    of = None
                    preference = task.preference(tx)
            while True:
                with ws.store.read() as tx:
                    found = answers.newest_answers(
                        tx, preference, of=of, corrected=is_chosen, after=after
                    )
                    rows = task.rows(tx, [one[0] for one in found]) if record else {}
                for key, extractor, text, when in found:
                    row = (
                        {name: rows[key][name] for name in record.columns}
                        if record and key in rows
                        else {}
                    )
                    yield AnsweredRow(
                        key, _model_of(task, key, extractor, text), extractor, when, row, keys
                    )
                if not found:
                    return
                after = found[-1][0]


def _chosen(ws: WorkspaceSession, tx: Connection, extractor: str | None) -> str | None:
    """Return whose answers are read, as an export chooses; None where each item has one answer that counts, as people.

    Of a task that declares what was not asked yet those are none, for its model is another one than answers have.
    """
    task = ws.task
    prefer = tuple(ws.task.preferred)
    if extractor is None and "extractor" not in task.export_choices:
        return None
    there = [one.extractor for one in answers.version_counts(tx, task.name)]
    own = ws.settings.version_of(task.name, task.label) or (
        task.fingerprint and not prefer and task.label
    )
    if extractor is None and own and not any(answers.is_of(one, own) for one in there):
        return own
    return (
        task.exported(tx, there, ExportOptions(extractor=extractor or own or None, prefer=prefer))
        or ""
    )


def _model_of(task: Task, key: str, extractor: str, text: str) -> Any:
    try:
        return task.answer.model_validate_json(text)
    except Exception as error:  # a validator of the user's own may raise anything
        raise InputError(
            f"the answer to {key} of {extractor} is none of what {task.name} declares now: {excerpt_of(str(error))}",
            hint=f"{task.words.step('export', to='answers.jsonl')} writes answers as they are",
        ) from error
