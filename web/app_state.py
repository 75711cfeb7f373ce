"""What the page works with: the workspace, opened as commands open it, what tags new people, and what runs for long."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import wait
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from starlette.concurrency import run_in_threadpool

from pipeline.batch.live import GRACE_S, RetryThreads
from pipeline.core.progress import NoProgress, Progress
from pipeline.core.settings import Settings
from pipeline.engine.workspace import Access as Opened
from pipeline.engine.workspace import WorkspaceSession, is_free, open_workspace, with_default_task
from pipeline.workflows import add_expert
from web.background_work import BackgroundJobs
from web.errors import RequestRefused
from web.guard import AccessRules
from web.uploads import Uploads

PEOPLE = "experts"  # the task that people are of
DUE = "added on the page, and not tagged yet"
ANSWERED_S = 5.5  # after so many seconds the reply about a new person goes out, tagged or not; the promise is eight
SAVED_S = 6.0  # in which one is begun to be saved, or is refused
HURRY_S = GRACE_S + 1.5  # so long what is under way may take to end in order, when it is told to
LATEST_S = 1.0  # so long those that were begun may wait for another writer


@dataclass(frozen=True)
class PageCommand:
    """A command that the page may carry out, as the table of commands has it.

    A form is the texts of its options by their names. `writes` tells whether a form about a task needs a workspace that
    is opened to be written, and `run` does it and returns the command's document; see `Desk.carry_out`. An option that
    is unknown, missing or wrong is an InputError with its name in `field`.
    """

    only_looks: bool
    writes: Callable[[Mapping[str, str], str], bool]
    run: Callable[[WorkspaceSession, Mapping[str, str]], Any]


@dataclass
class AppState:
    """One page on one workspace, which is opened for each request: what other processes do to it is seen at once."""

    settings: Settings
    access: AccessRules
    patience_s: float = ANSWERED_S
    within_s: float = SAVED_S
    acts: Mapping[str, PageCommand] = field(default_factory=dict)
    tagger: RetryThreads = field(init=False)
    stopping: threading.Event = field(init=False, default_factory=threading.Event)
    running: BackgroundJobs = field(init=False, default_factory=BackgroundJobs)
    dropped: Uploads = field(init=False)
    saving: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.tagger = RetryThreads(partial(self.to_write, PEOPLE))
        self.dropped = Uploads(self.settings.data)

    def to_read(
        self, task: str | None = None
    ) -> contextlib.AbstractContextManager[WorkspaceSession]:
        """Open the workspace to be read, for the length of a block; `task` is meant in the place of that which is set.

        Raises:
            Refused: the workspace has no such task.
        """
        return self._opened(task, Opened.READ)

    def to_write(
        self, task: str | None = None, display: Progress | None = None
    ) -> contextlib.AbstractContextManager[WorkspaceSession]:
        """Open the workspace to be written; `display` gets what a command would print. Refused as `to_read`."""
        return self._opened(task, Opened.WRITE, display)

    def act(self, command: str) -> PageCommand:
        """Return a command of the table; Refused where the page carries none out that is called so."""
        if command not in self.acts:
            hint = f"there are {', '.join(self.acts)}"
            raise RequestRefused(404, f"the page carries out no command {command!r}", hint=hint)
        return self.acts[command]

    def named_task(self, task: str | None) -> Settings:
        """Return the settings with the task that a request names, or with the one that is meant without a name."""
        if not task:
            return with_default_task(self.settings, may_be_several=True)
        return replace(
            self.settings, task=task, sources={**self.settings.sources, "task": "the page"}
        )

    def carry_out(
        self,
        act: PageCommand,
        form: Mapping[str, str],
        task: str,
        display: Progress,
        *,
        cost: float = 0.0,
    ) -> Any:
        """Carry out a command about a task, and return its document; no more than `cost` (USD) is spent, by estimate.

        Without a `task` it is about the one that is meant without a name.

        Raises:
            Refused: the workspace has no such task.
            InputError: an option is wrong, or the estimate is more by now than `cost`; nothing was sent.
            FindableError: what the command raises; a GateError after it did all.
        """
        writes = act.writes(form, task or self.named_task(task).task)
        with self._opened(task, Opened.WRITE if writes else Opened.READ, display) as ws:
            ws.agreed = cost
            return act.run(ws, form)

    def begin_workspace(self, display: Progress) -> None:
        """Make an empty workspace where the folder is not there or holds nothing, as an import would.

        It is not made where nothing may be changed, nor where a database is named: the folder's own is meant, or none.
        """
        settings = self.settings
        if not self.access.readonly and settings.database_url is None and is_free(settings.data):
            with open_workspace(replace(settings, task=PEOPLE), display):
                pass

    @contextlib.contextmanager
    def _opened(
        self, task: str | None, access: Opened, display: Progress | None = None
    ) -> Iterator[WorkspaceSession]:
        """Open the workspace; no file of a task is loaded, so a request can name only what was used here."""
        if task and task != self.settings.task:
            self.check_there(task)
        settings = self.named_task(task)
        with open_workspace(settings, display or NoProgress(), access=access, whole=True) as ws:
            ws.stopping = self.stopping
            yield ws

    def check_there(self, task: str) -> None:
        """Refuse a task that the workspace has not: it would be made where it is opened by that name."""
        if not self.has(task):
            raise RequestRefused(
                404, f"there is no task {task!r} here", hint="`/api/tasks` lists them"
            )

    def has(self, task: str) -> bool:
        """Return whether the workspace has a task."""
        with self.to_read() as ws:
            return any(one.subject == task for one in ws.tasks)

    async def save(self, body: bytes) -> add_expert.AddedExpert:
        """Save a person, one at a time: a database has one writer.

        Raises:
            Refused: it could not begin in time; the person is not saved.
            FindableError: the body is no new person, or another process writes for too long.
        """
        try:
            await asyncio.wait_for(self.saving.acquire(), self.within_s)
        except TimeoutError:
            said = "more new people come than can be saved in time; this one was not"
            raise RequestRefused(503, said, hint="send it again soon") from None
        try:
            return await run_in_threadpool(self._save, body)
        finally:
            self.saving.release()

    def _save(self, body: bytes) -> add_expert.AddedExpert:
        with self.to_write(PEOPLE) as ws:
            return add_expert.save(
                ws, body, name="the body", reason=DUE, as_given=True, patience_s=LATEST_S
            )

    def start(self) -> None:
        """Begin the work in the background."""
        if not self.access.readonly:
            self.dropped.sweep()
            self.tagger.start()

    def stop(self, *, within_s: float) -> None:
        """End the work in the background; what is under way may finish within so many seconds, the last in a hurry."""
        until = time.monotonic() + within_s
        self.tagger.stop()
        for left_s in (HURRY_S, 0.0):
            wait(self.tagger.asking.copy(), max(0.0, until - left_s - time.monotonic()))
            for thread in self.running.threads:
                thread.join(max(0.0, until - left_s - time.monotonic()))
            self.stopping.set()

    def close(self) -> None:
        """Remove the files that were dropped."""
        self.dropped.close()
