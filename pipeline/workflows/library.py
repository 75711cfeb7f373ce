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
from functools import partial
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, Literal, TypeVar, Unpack, overload

from pipeline.batch.report import BatchSummary, list_batches
from pipeline.core.declaration import A_co, Declaration
from pipeline.core.errors import FindableError, InputError
from pipeline.core.progress import Progress
from pipeline.core.settings import BUILT_IN, Settings, with_given
from pipeline.engine.task import Words
from pipeline.engine.task_file import hand_over, look_again
from pipeline.engine.workspace import Access, OpenWorkspace, open_workspace
from pipeline.experts import import_ as import_people
from pipeline.experts.import_ import PeopleImportReport
from pipeline.index import build
from pipeline.index.build import IndexReport
from pipeline.index.reader import Hit
from pipeline.index.search import OpenSearch, SearchWords, search_options
from pipeline.ops import show
from pipeline.tables.cells import plain_value, rows_of
from pipeline.workflows import preflight, tag
from pipeline.workflows.answered import Answers
from pipeline.workflows.preflight import Preflight
from pipeline.workflows.rounds import Report as TagReport
from pipeline.workflows.tag import TagOptions

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
    typed: Callable[[str], str] = str  # how a hint names commands

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
        return self._run(partial(self._add, people, mapping=mapping, strict=strict, report=report))

    def _add(self, people: Any, stop: Event, **options: Any) -> PeopleImportReport:
        with TemporaryDirectory() as folder:
            path = Path(people) if isinstance(people, str | PathLike) else _written(people, Path(folder))
            with self._opened(self._settings_of(PEOPLE), Access.CREATE, stop) as ws:
                done = import_people.run(ws, path, **options)
        done.check()
        return done

    def preflight(
        self, task: TaskLike, *, items: Any = None, limit: int | None = None, **settings: object
    ) -> Preflight:
        """Estimate what asking about all open items would cost and take, as `findable preflight`; spends nothing.

        `items` are rows in the place of those that a `Task` names.
        """

        def work(stop: Event) -> Preflight:
            found = self._settings_of(task, items, settings)
            access = Access.READ if found.task in BUILT_IN else Access.WRITE  # whose items come with it
            with self._opened(found, access, stop) as ws:
                return preflight.run(ws, limit=limit, deadline_s=None)

        return self._run(work)

    def tag(
        self,
        task: TaskLike,
        mode: Literal["auto", "batch", "live"] = "auto",
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
        options = TagOptions(mode=mode, limit=limit, budget=budget, wait=wait)
        return self._run(partial(self._tag, task, options, items, settings))

    async def tag_async(
        self,
        task: TaskLike,
        mode: Literal["auto", "batch", "live"] = "auto",
        *,
        wait: bool = True,
        budget: float | None = None,
        limit: int | None = None,
        items: Any = None,
        **settings: object,
    ) -> TagReport:
        """Do as `tag` while the event loop goes on; to cancel it ends it in order, and it can be called again."""
        options = TagOptions(mode=mode, limit=limit, budget=budget, wait=wait)
        return await self._awaited(partial(self._tag, task, options, items, settings))

    def _tag(
        self, task: TaskLike, options: TagOptions, items: Any, settings: Mapping[str, object], stop: Event
    ) -> TagReport:
        with _asking:
            found = self._settings_of(task, items, settings)
            with self._opened(found, Access.WRITE, stop) as ws:
                report = tag.run(
                    ws,
                    options,
                    announce=partial(_announce, ws),
                    confirm=partial(_confirm, options.budget, found.confirm_above),
                )
                words = ws.task.words
        _check(report, words)
        return report

    @overload
    def answers(self, task: Declaration[A_co], *, extractor: str | None = None) -> Answers[A_co]: ...

    @overload
    def answers(self, task: str | PathLike[str], *, extractor: str | None = None) -> Answers[Any]: ...

    def answers(self, task: TaskLike, *, extractor: str | None = None) -> Answers[Any]:
        """Return the answers that an export writes, of one version or of an `extractor`, each as its model.

        They are read when they are iterated over, anew each time, some hundred at a time.
        """

        def opened() -> contextlib.AbstractContextManager[OpenWorkspace]:
            return self._opened(self._settings_of(task), Access.READ, Event())

        return Answers(opened, extractor, self._telling)

    def index(self, task: TaskLike = PEOPLE, **settings: object) -> IndexReport:
        """Embed the changed texts of people, or of a task's answered rows, and build their index, as `findable index`.

        Raises:
            InputError: nothing is answered yet, or the task does not say by what text its rows are found.
        """

        def work(stop: Event) -> IndexReport:
            with _asking, self._opened(self._settings_of(task, None, settings), Access.WRITE, stop) as ws:
                ws.bring_index()
                return build.run(ws)

        return self._run(work)

    def search(
        self, question: str = "", k: int = 10, task: TaskLike = PEOPLE, *, like: str = "", **how: Unpack[SearchWords]
    ) -> list[Hit]:
        """Return the `k` best people, or rows of a task, in the index in service, best first, as `findable search`.

        With `like` in the place of a question, those most like the one of that name. `rank`, `tag`, `min_score`,
        `where` and `why` are the command's.

        Raises:
            InputError: there is no index yet, or the task has none; the question or a filter cannot be read.
        """
        return self._run(partial(self._search, question, k, task, like=like, how=how))

    async def search_async(
        self, question: str = "", k: int = 10, task: TaskLike = PEOPLE, *, like: str = "", **how: Unpack[SearchWords]
    ) -> list[Hit]:
        """Do as `search` while the event loop goes on."""
        return await self._awaited(partial(self._search, question, k, task, like=like, how=how))

    def _search(self, question: str, k: int, task: TaskLike, stop: Event, *, like: str, how: SearchWords) -> list[Hit]:
        if bool(question) == bool(like):
            raise InputError("a search takes a question or like=, one of both", hint='search("who knows water law")')
        options = search_options(k, **how)
        with self._opened(self._settings_of(task), Access.READ, stop) as ws, OpenSearch(ws) as opened:
            return (opened.ask_like(like, options) if like else opened.ask(question, options)).hits

    def search_many(
        self, questions: Sequence[str], k: int = 10, task: TaskLike = PEOPLE, **how: Unpack[SearchWords]
    ) -> list[list[Hit]]:
        """Return the hits of each of many questions, as `search`, without what a reader of one asks next.

        Raises:
            InputError: as `search`; one of the questions cannot be read.
        """

        def work(stop: Event) -> list[list[Hit]]:
            options = search_options(k, **how)
            with self._opened(self._settings_of(task), Access.READ, stop) as ws, OpenSearch(ws) as opened:
                return list(opened.ask_many(questions, options))

        return self._run(work)

    def batches(self) -> list[BatchSummary]:
        """Return every batch of every task, oldest first."""

        def work(stop: Event) -> list[BatchSummary]:
            with self._opened(self._settings_of(PEOPLE), Access.READ, stop) as ws:
                return list_batches(ws.store, now=ws.now())

        return self._run(work)

    def log(self, n: int = 10, task: TaskLike | None = None) -> list[dict[str, Any]]:
        """Return the newest `n` requests of a task, or of all, newest first, as `findable log --json` has them."""

        def work(stop: Event) -> list[dict[str, Any]]:
            with self._opened(self._settings_of(task or PEOPLE), Access.READ, stop) as ws:
                return show.newest_requests(ws, limit=n, every=task is None)

        return self._run(work)

    def _settings_of(self, task: TaskLike, items: Any = None, given: Mapping[str, object] | None = None) -> Settings:
        """Return the settings of one call, with a task that Python declared handed over to the engine."""
        found = with_given(self.settings, given or {})
        look_again()
        if isinstance(task, Declaration):
            return replace(found, task=str(hand_over(task, None if items is None else rows_of(items))))
        if items is not None:
            raise InputError("items= goes with a Task, and not with its name", hint="tag(task, items=rows)")
        return with_given(found, {"task": str(Path(task).resolve() if isinstance(task, PathLike) else task)})

    @contextlib.contextmanager
    def _opened(self, settings: Settings, access: Access, stop: Event) -> Iterator[OpenWorkspace]:
        with open_workspace(settings, self.display, access=access, agrees=lambda _question: self.agrees) as ws:
            ws.stopping, ws.sleep = stop, partial(_slept, stop)
            yield ws

    def _run(self, work: Callable[[Event], T]) -> T:
        """Do a piece of work, where this thread has an event loop that runs in another thread."""
        with self._telling():
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                return work(Event())
            return _run_in_thread(work)

    async def _awaited(self, work: Callable[[Event], T]) -> T:
        with self._telling():
            return await _await_in_thread(work)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except FindableError as error:
            if error.hint and not getattr(error, "__notes__", ()):
                error.add_note(f"next: {self.typed(error.hint)}")
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


def _confirm(budget: float | None, most: float, cost: float) -> bool:
    if budget is None:
        raise InputError(
            f"it is estimated at ${cost:,.2f}, which is above CONFIRM_ABOVE (${most:g}); nothing was started",
            hint="tag(…, budget=…) says how many USD it may spend",
        )
    return True


def _check(report: TagReport, words: Words) -> None:
    """Raise what ended the work early, or a failed gate, as the command would end with its exit code."""
    live = report.live
    if live is not None and live.asked.interrupted:
        raise KeyboardInterrupt
    stopped = [live.asked.stopped] if live is not None else []
    if error := next(filter(None, [*stopped, *report.errors(words)]), None):
        raise error
    for quality in [live.quality if live else None, *report.reports.values()]:
        if quality is not None:
            quality.check()
