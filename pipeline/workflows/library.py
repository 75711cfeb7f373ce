"""A workspace for Python code: each call opens it, works as the command of that name does, and closes it.

So calls and commands, in this process and in others, hold to one another: the database says what is asked already.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, Unpack, overload

from pipeline.batch.report import BatchSummary, list_batches
from pipeline.core.declaration import A_co, Declaration
from pipeline.core.errors import FindableError, InputError
from pipeline.core.progress import Progress
from pipeline.core.quotes import Quote
from pipeline.core.settings import BUILT_IN, Settings, with_given
from pipeline.engine.access import Access
from pipeline.engine.declared import DeclaredTask
from pipeline.engine.task_file import hand_over, look_again
from pipeline.engine.workspace import OpenWorkspace, open_workspace
from pipeline.experts import import_ as import_people
from pipeline.experts.import_ import PeopleImportReport
from pipeline.index import build
from pipeline.index.build import IndexReport
from pipeline.index.reader import Hit
from pipeline.index.search import OpenSearch, SearchWords, search_options
from pipeline.ops import show
from pipeline.store import answers
from pipeline.tables.cells import plain_value, rows_of
from pipeline.workflows import ask, preflight, tag, try_out
from pipeline.workflows.ask import AskReport
from pipeline.workflows.preflight import Preflight
from pipeline.workflows.rounds import Report as TagReport
from pipeline.workflows.tag import TagOptions
from pipeline.workflows.try_out import TryReport, TryWanted

if TYPE_CHECKING:
    from pipeline.engine.task import Task
    from pipeline.store.database import Connection

T = TypeVar("T")
TaskLike = Declaration[Any] | str | PathLike[str]
PEOPLE = "experts"  # the task that is meant where none is named
_asking = threading.Lock()  # what a process holds in the database is signed with its name, whichever thread holds it


@dataclass(frozen=True)
class Workspace:
    """A workspace: its settings, where messages and progress go, and whether it may add to another program's database.

    A `task` is a `Task`, the name of one, or the path of its file. Any setting may be given for one call, by its name
    in lower case. Every error is a `FindableError`.
    """

    settings: Settings
    display: Progress
    agrees: bool = False

    @property
    def data(self) -> Path:
        """Return the workspace's folder."""
        return self.settings.data

    def add(
        self, people: Any, *, mapping: str = "", strict: bool = False, report: Path | None = None
    ) -> PeopleImportReport:
        """Import people: the path of a file, a list of dicts, a data frame or an Arrow table, as `findable import`.

        Raises:
            InputError: they cannot be read as people, or no row went in.
        """
        with self._telling(), TemporaryDirectory() as folder:
            path = Path(people) if isinstance(people, str | PathLike) else _written(people, Path(folder))

            def work(ws: OpenWorkspace) -> PeopleImportReport:
                done = import_people.run(ws, path, mapping=mapping, strict=strict, report=report)
                done.check()
                return done

            return self._run(self._call(work, PEOPLE, access=Access.CREATE))

    def preflight(
        self, task: TaskLike, *, items: Any = None, limit: int | None = None, **settings: object
    ) -> Preflight:
        """Estimate what asking about all open items would cost and take, as `findable preflight`; spends nothing.

        `items` are rows in the place of those that a `Task` names.
        """
        access = Access.READ if isinstance(task, str) and task in BUILT_IN else Access.WRITE  # whose items come with it
        work = partial(preflight.run, limit=limit, deadline_s=None)
        return self._run(self._call(work, task, items, settings, access=access))

    def ask(
        self, rows: Any, question: str, *, fields: str = "", name: str = "", n: int = ask.FEW, **settings: object
    ) -> AskReport:
        """Ask about the first `n` rows of any table and say what all would cost, as `findable ask`.

        `rows` is the path of a file, a SELECT, a list of dicts, a data frame or an Arrow table. Only the cost is kept;
        with a `name` the file of a task is written.

        Raises:
            InputError: there is no text to ask about, or `fields` is no list of fields; nothing was asked.
            ConfigurationError: a key is missing, or a budget has no room.
        """
        with self._telling():
            asking = ask.prepared(rows, question, fields=fields, name=name, data=self.data)

        def work(ws: OpenWorkspace) -> AskReport:
            report = ask.run(ws, asking, size=n, announce=_told(ws))
            report.tried.check()
            return report

        return self._run(self._call(work, PEOPLE, None, settings, access=Access.CREATE, alone=True))

    def try_(
        self,
        task: TaskLike,
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

        def work(ws: OpenWorkspace) -> TryReport:
            report = try_out.run(ws, TryWanted(n, item, seed), announce=_told(ws))
            report.check()
            return report

        return self._run(self._call(work, task, items, settings, access=Access.WRITE, alone=True))

    def tag(
        self,
        task: TaskLike,
        mode: Literal["auto", "batch", "flex", "live"] = "auto",
        *,
        wait: bool = True,
        budget: float | None = None,
        limit: int | None = None,
        items: Any = None,
        **settings: object,
    ) -> TagReport:
        """Ask about every open item, as `findable tag`; with `wait`, until all answers of batches are in.

        `budget` is the most USD that it may spend, and agrees to estimates above CONFIRM_ABOVE; `items` are rows in the
        place of those that a `Task` names.

        Raises:
            InputError: there are no items, or the estimate is high and there is no budget.
            ConfigurationError: the declaration changed under the same version, or a key is missing.
            RemoteError: Gemini cannot be reached; what was done is kept.
            GateError: a quality gate failed; the answers are stored.
        """
        how: dict[str, Any] = {"wait": wait, "budget": budget, "limit": limit, "items": items, **settings}
        return self._run(self._tagging(task, mode, **how))

    async def tag_async(
        self, task: TaskLike, mode: Literal["auto", "batch", "flex", "live"] = "auto", **how: Any
    ) -> TagReport:
        """Do as `tag` while the event loop goes on; to cancel it ends it in order, and it can be called again."""
        with self._telling():
            return await _await_in_thread(self._tagging(task, mode, **how))

    def _tagging(
        self,
        task: TaskLike,
        mode: str,
        *,
        wait: bool = True,
        budget: float | None = None,
        limit: int | None = None,
        items: Any = None,
        **settings: object,
    ) -> Callable[[Event], TagReport]:
        options = TagOptions(mode=mode, limit=limit, budget=budget, wait=wait)

        def work(ws: OpenWorkspace) -> TagReport:
            ws.agrees = _agreeing(ws, "tag(…, budget=…) says how many USD it may spend", yes=budget is not None)
            report = tag.run(ws, options, announce=partial(_announce, ws))
            live = report.live
            if live is not None and live.interrupted:
                raise KeyboardInterrupt
            stopped = [live.stopped] if live is not None else []
            if error := next(filter(None, [*stopped, *report.errors(ws.task.words)]), None):
                raise error
            report.check()
            return report

        return self._call(work, task, items, settings, access=Access.WRITE, alone=True)

    @overload
    def answers(self, task: Declaration[A_co], *, extractor: str | None = None) -> "Answers[A_co]": ...

    @overload
    def answers(self, task: str | PathLike[str], *, extractor: str | None = None) -> "Answers[Any]": ...

    def answers(self, task: TaskLike, *, extractor: str | None = None) -> "Answers[Any]":
        """Return the answers that an export writes, of one version or of an `extractor`, each as its model.

        They are read when they are iterated over, anew each time, some hundred at a time.
        """
        return Answers(self, task, extractor)

    def index(self, task: TaskLike = PEOPLE, **settings: object) -> IndexReport:
        """Embed the changed texts of people, or of a task's answered rows, and build their index, as `findable index`.

        Raises:
            InputError: nothing is answered yet, or the task does not say by what text its rows are found.
        """

        def work(ws: OpenWorkspace) -> IndexReport:
            ws.bring_index()
            return build.run(ws)

        return self._run(self._call(work, task, None, settings, access=Access.WRITE, alone=True))

    def search(
        self, question: str = "", k: int = 10, task: TaskLike = PEOPLE, *, like: str = "", **how: Unpack[SearchWords]
    ) -> list[Hit]:
        """Return the `k` best people, or rows of a task, in the index in service, best first, as `findable search`.

        With `like` in the place of a question, those most like the one of that name. `rank`, `tag`, `min_score`,
        `where` and `why` are the command's.

        Raises:
            InputError: there is no index yet, or the task has none; the question or a filter cannot be read.
        """
        with self._telling():
            return self._run(self._searching(question, k, task, like, how))

    async def search_async(
        self, question: str = "", k: int = 10, task: TaskLike = PEOPLE, *, like: str = "", **how: Unpack[SearchWords]
    ) -> list[Hit]:
        """Do as `search` while the event loop goes on."""
        with self._telling():
            return await _await_in_thread(self._searching(question, k, task, like, how))

    def _searching(
        self, question: str, k: int, task: TaskLike, like: str, how: SearchWords
    ) -> Callable[[Event], list[Hit]]:
        if bool(question) == bool(like):
            raise InputError("a search takes a question or like=, one of both", hint='search("who knows water law")')
        options = search_options(k, **how)

        def work(ws: OpenWorkspace) -> list[Hit]:
            with OpenSearch(ws) as opened:
                return (opened.ask_like(like, options) if like else opened.ask(question, options)).hits

        return self._call(work, task)

    def search_many(
        self, questions: Sequence[str], k: int = 10, task: TaskLike = PEOPLE, **how: Unpack[SearchWords]
    ) -> list[list[Hit]]:
        """Return the hits of each of many questions, as `search`, without what a reader of one asks next.

        Raises:
            InputError: as `search`; one of the questions cannot be read.
        """
        with self._telling():
            options = search_options(k, **how)

        def work(ws: OpenWorkspace) -> list[list[Hit]]:
            with OpenSearch(ws) as opened:
                return list(opened.ask_many(questions, options))

        return self._run(self._call(work, task))

    def batches(self) -> list[BatchSummary]:
        """Return every batch of every task, oldest first."""
        return self._run(self._call(lambda ws: list(list_batches(ws.store, now=ws.now())), PEOPLE))

    def log(self, n: int = 10, task: TaskLike | None = None) -> list[dict[str, Any]]:
        """Return the newest `n` requests of a task, or of all, newest first, as `findable log --json` has them."""
        return self._run(self._call(partial(show.newest_requests, limit=n, every=task is None), task or PEOPLE))

    def _settings_of(self, task: TaskLike, items: Any = None, given: Mapping[str, object] | None = None) -> Settings:
        """Return the settings of one call, with a task that Python declared handed over to the engine."""
        found = with_given(self.settings, given or {})
        look_again()
        if isinstance(task, Declaration):
            return replace(found, task=str(hand_over(task, None if items is None else rows_of(items))))
        if items is not None:
            raise InputError("items= goes with a Task, and not with its name", hint="tag(task, items=rows)")
        return with_given(found, {"task": str(Path(task).resolve() if isinstance(task, PathLike) else task)})

    def _opened(
        self, settings: Settings, access: Access = Access.READ
    ) -> contextlib.AbstractContextManager[OpenWorkspace]:
        return open_workspace(settings, self.display, access=access, agrees=lambda _question: self.agrees)

    def _call(
        self,
        work: Callable[[OpenWorkspace], T],
        task: TaskLike,
        items: Any = None,
        given: Mapping[str, object] | None = None,
        *,
        access: Access = Access.READ,
        alone: bool = False,
    ) -> Callable[[Event], T]:
        """Return a call that does a piece of work in the opened workspace, `alone` after others of this process."""

        def call(stop: Event) -> T:
            one_by_one = _asking if alone else contextlib.nullcontext()
            with one_by_one, self._opened(self._settings_of(task, items, given), access) as ws:
                ws.stopping, ws.sleep = stop, partial(_slept, stop)
                return work(ws)

        return call

    def _run(self, call: Callable[[Event], T]) -> T:
        """Make a call, where this thread has an event loop that runs in another thread."""
        with self._telling():
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                return call(Event())
            return _run_in_thread(call)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except FindableError as error:
            if error.hint and not getattr(error, "__notes__", ()):
                error.add_note(f"next: {error.hint}")
            raise


def _slept(stop: Event, seconds: float) -> None:
    if stop.wait(seconds):
        raise KeyboardInterrupt


def _run_in_thread(work: Callable[[Event], T]) -> T:
    """Return what a call gives in a thread of its own; the caller's thread waits, and its loop with it."""
    stop = Event()
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(work, stop)
        while True:
            try:
                return ended.result()
            except KeyboardInterrupt:
                if ended.done():
                    raise
                stop.set()


async def _await_in_thread(work: Callable[[Event], T]) -> T:
    """Return what a call gives; the caller's event loop goes on meanwhile, and a cancelled caller waits for its end."""
    stop = Event()
    ended = asyncio.get_running_loop().run_in_executor(None, work, stop)
    try:
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([ended])
        ended.exception()  # which is not told: the caller is cancelled
        raise


def _written(people: Any, folder: Path) -> Path:
    path = folder / "rows.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for row in rows_of(people):
            file.write(json.dumps(plain_value(row), ensure_ascii=False) + "\n")
    return path


def _announce(ws: OpenWorkspace, estimated: Preflight, mode: str, reason: str) -> None:
    (plan, cost), words = estimated.going_out(mode), ws.task.words
    what = f"{plan.items:,} {words.one if plan.items == 1 else words.many}"
    ws.display.say(f"{ws.model.name}: {what} {mode}, estimated ${cost:.4f}; {reason}")


def _agreeing(ws: OpenWorkspace, hint: str, *, yes: bool = False) -> Callable[[str], bool]:
    """Return what answers for a person; where it is not yes, it raises InputError with what Python code can do."""

    def agrees(_question: str) -> bool:
        if not yes:
            most = ws.settings.confirm_above
            raise InputError(f"the estimate is above CONFIRM_ABOVE (${most:g}); nothing was started", hint=hint)
        return True

    return agrees


def _told(ws: OpenWorkspace) -> Callable[[int, float], None]:
    """Return what says what a trial will cost; above CONFIRM_ABOVE it is refused."""
    ws.agrees = _agreeing(ws, "confirm_above=… takes a higher bound")
    return lambda count, cost: ws.display.say(f"{ws.model.name}: {count:,} rows, estimated ${cost:.4f}")


@dataclass(frozen=True)
class AnsweredRow(Generic[A_co]):
    """One answer: the item's key as commands take it, the model, its extractor, when, and the row that was asked about.

    Quotations in it are located: `row["text"][quote.start:quote.end] == quote`. `row` is as the source is now, empty
    where the item was removed or is of a built-in task.
    """

    key: str
    answer: A_co
    extractor: str
    answered_at: datetime
    row: Mapping[str, Any]


class Answers(Generic[A_co]):
    """The answers of a task, by key; each iteration reads them anew."""

    def __init__(self, workspace: Workspace, task: TaskLike, extractor: str | None) -> None:
        """Take the workspace, and which answers are wanted; nothing is read yet."""
        self._workspace, self._task, self._extractor = workspace, task, extractor

    def __iter__(self) -> Iterator[AnsweredRow[A_co]]:
        """Yield each answer.

        Raises:
            InputError: one is of another model than the task has now; the message names it.
            ConfigurationError: there is no such task or workspace.
        """
        return (one for one, _ in self._rows())

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return a flat row for each answer: the columns of the key, its fields, the extractor, and when.

        Texts, numbers and dates are themselves; all else is as JSON has it, quotations as {quote, start, end}.
        """
        return [_flat(one, keys) for one, keys in self._rows()]

    def _rows(self) -> Iterator[tuple[AnsweredRow[A_co], Sequence[str]]]:
        """Yield each answer with the columns of its task's key."""
        at = self._workspace
        with at._telling(), at._opened(at._settings_of(self._task)) as ws:  # noqa: SLF001
            task, after = ws.task, ""
            keys = [name for name, _ in task.record.key] if isinstance(task, DeclaredTask) else ()
            of = _chosen(ws, self._extractor)
            while True:
                with ws.store.read() as tx:
                    found = answers.newest_answers(tx, task.name, of=of, after=after)
                    rows = _source_rows(tx, task, [one[0] for one in found])
                for key, extractor, text, when in found:
                    yield (
                        AnsweredRow(key, _model_of(task, key, extractor, text), extractor, when, rows.get(key, {})),
                        keys,
                    )
                if not found:
                    return
                after = found[-1][0]


def _chosen(ws: OpenWorkspace, extractor: str | None) -> str | None:
    """Return whose answers are read, as an export chooses; None where each item has one answer that counts, as people.

    Of a task that declares what was not asked yet those are none, for its model is another one than answers have.
    """
    task, prefer = ws.task, ws.settings.prefer_versions
    if extractor is None and "extractor" not in task.export_choices:
        return None
    own = None if task.fingerprint is None else task.label
    declared = extractor or ws.settings.version_of(task.name, task.label) or (None if prefer else own)
    with ws.store.read() as tx:
        there = answers.standing_extractors(tx, task.name)
        among = [one for one in there if declared is None or answers.is_of(one, declared)]
        rank = answers.ranks(tx, task.name, prefer=prefer or (), label=own)
        return min(among, key=rank, default=None) or declared or ""


def _model_of(task: "Task", key: str, extractor: str, text: str) -> Any:
    try:
        return task.answer.model_validate_json(text)
    except Exception as error:  # a validator of the user's own may raise anything
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"the answer to {key} of {extractor} is none of what {task.name} declares now: {said}",
            hint=f"{task.words.step('export', to='answers.jsonl')} writes answers as they are",
        ) from error


def _source_rows(tx: "Connection", task: "Task", ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    if not isinstance(task, DeclaredTask):
        return {}
    names = list(task.record.columns)
    return {key: {name: row[name] for name in names} for key, row in task.rows(tx, ids).items()}


def _flat(one: AnsweredRow[Any], keys: Sequence[str]) -> dict[str, Any]:
    as_json = one.answer.model_dump(mode="json")
    told = {name: getattr(one.answer, name) for name in as_json}
    fields = {name: value if _is_plain(value) else as_json[name] for name, value in told.items()}
    named = {name: one.row[name] for name in keys if name in one.row} or {"key": one.key}
    return {**named, **fields, "extractor": one.extractor, "answered_at": one.answered_at}


def _is_plain(value: Any) -> bool:
    return type(value) in {str, int, float, bool, date, datetime, Decimal} and not isinstance(value, Quote)
