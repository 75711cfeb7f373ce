"""State of one served page: the workspace, its new rows, uploads and background work.

Background work is a command, or a step of a form, that a request starts and does not wait for.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.concurrency import run_in_threadpool

from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import RunResult
from askrows.pipeline.core.errors import AskrowsError
from askrows.pipeline.core.progress import NoProgress, Progress
from askrows.pipeline.core.settings import BUILT_IN_TASKS, DEFAULT_TASK, Settings
from askrows.pipeline.core.text import join_first
from askrows.pipeline.ops.open_task import open_workspace
from askrows.pipeline.run.live import GRACE_S
from askrows.pipeline.run.units import ask_single_rows
from askrows.pipeline.store import schema
from askrows.pipeline.store.database import Store
from askrows.pipeline.tasks.selection import list_used_task_names, replace_default_task_if_empty
from askrows.pipeline.workflows import add_row
from askrows.pipeline.workspace.open_workspace import Access as WorkspaceAccess
from askrows.pipeline.workspace.open_workspace import is_missing_or_empty
from askrows.web.background_work import BackgroundJob, BackgroundWork
from askrows.web.errors import RequestRefusedError
from askrows.web.guard import AccessRules
from askrows.web.uploads import UploadStore

# Tasks whose rows are imported from files, also before a workspace uses them.
FILE_TASKS = (DEFAULT_TASK, *BUILT_IN_TASKS)
# Stored with each new row until the answer arrives.
DUE_REASON = "added on the page, not asked yet"
# The reply about a new row is sent after this time, answered or not. The docs promise 5 seconds.
MAX_ANSWER_WAIT_S = 4.5
# Threads that ask about new rows; each may wait for as long as a call may take.
ASKING_THREADS = 8
# Time between two searches for rows that are due.
ASKING_INTERVAL_S = 60.0
# A new row that cannot be saved within this time is refused.
MAX_SAVE_WAIT_S = 4.0
# How long running calls may take to finish after they are interrupted.
INTERRUPT_GRACE_S = GRACE_S + 1.5
# How long a search waits for the vector of its query.
MAX_SEARCH_CALL_S = 4.0
# How long saving a row waits for another process that writes to the database.
WRITE_LOCK_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class PageCommand:
    """A command that the page can run.

    A form maps option names to texts. `needs_write_access` and `run` raise InputError if an option
    is unknown, missing or wrong; its name is in the error's `field`.
    """

    # Whether GET may run the command: it changes nothing.
    is_read_only: bool
    # Takes a form and a task name. Returns whether the workspace must be opened for writing.
    needs_write_access: Callable[[Mapping[str, str], str], bool]
    # Takes an open workspace and a form. Runs the command and returns its JSON document.
    run: Callable[[Run, Mapping[str, str]], Any]


@dataclass
class AppState:
    """State of one page on one workspace.

    The workspace is opened for each request, so changes by other processes are visible at once.
    """

    settings: Settings
    access: AccessRules
    # How long a reply about a new row waits for the answer.
    max_answer_wait_s: float = MAX_ANSWER_WAIT_S
    # How long a new row waits for other rows to be saved.
    max_save_wait_s: float = MAX_SAVE_WAIT_S
    # Commands that the page can run, by name.
    page_commands: Mapping[str, PageCommand] = field(default_factory=dict)
    # Set when running work must end; every open workspace checks it.
    stop_event: threading.Event = field(init=False, default_factory=threading.Event)
    background_work: BackgroundWork = field(init=False, default_factory=BackgroundWork)
    uploads: UploadStore = field(init=False)
    save_lock: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self._asking_pool = ThreadPoolExecutor(ASKING_THREADS, thread_name_prefix="due")
        self.uploads = UploadStore(self.settings.data)

    def open_to_read(
        self,
        task: str | None = None,
        display: Progress | None = None,
        *,
        call_limit_s: float | None = None,
    ) -> contextlib.AbstractContextManager[Run]:
        """Return a context manager that opens the workspace for reading.

        Args:
            task: Task to use instead of the task in the settings.
            display: Receives the messages and progress that a command would print.
            call_limit_s: If set, a call ends after so many seconds and is not repeated.

        Raises:
            RequestRefusedError: 404 on entering, the workspace has no such task.
        """
        return self._open_workspace(task, WorkspaceAccess.READ, display, call_limit_s=call_limit_s)

    def open_to_write(
        self,
        task: str | None = None,
        display: Progress | None = None,
    ) -> contextlib.AbstractContextManager[Run]:
        """Return a context manager that opens the workspace for writing.

        Args:
            task: Task to use instead of the task in the settings.
            display: Receives the messages and progress that a command would print.

        Raises:
            RequestRefusedError: 404 on entering, the workspace has no such task.
        """
        return self._open_workspace(task, WorkspaceAccess.WRITE, display)

    def get_command(self, command: str) -> PageCommand:
        """Return a command that the page can run.

        Raises:
            RequestRefusedError: 404, the page runs no command of this name.
        """
        if command not in self.page_commands:
            raise RequestRefusedError(
                404,
                f"the page cannot run the command {command!r}",
                hint=f"it runs {', '.join(self.page_commands)}",
            )
        return self.page_commands[command]

    def settings_for(self, task: str | None) -> Settings:
        """Return the settings with the given task, or with the default task if it is empty."""
        if not task:
            return replace_default_task_if_empty(self.settings, allow_several=True)
        sources = {**self.settings.sources, "task": "the page"}
        return replace(self.settings, task=task, sources=sources)

    def run_command(
        self,
        page_command: PageCommand,
        form: Mapping[str, str],
        task: str,
        display: Progress,
        *,
        cost: float = 0.0,
    ) -> Any:
        """Run a command in the workspace and return its JSON document.

        The workspace is opened for writing only if the command needs it.

        Args:
            page_command: The command.
            form: Its options.
            task: Its task; empty means the default task.
            display: Receives messages and progress.
            cost: The most that the command may spend, in USD, as estimated before it sends.

        Raises:
            RequestRefusedError: 404, the workspace has no such task.
            InputError: An option is wrong, or the estimate is above `cost`; nothing was sent.
            AskrowsError: The command failed. A GateError is raised after the command finished.
        """
        needs_write = page_command.needs_write_access(form, task or self.settings_for(task).task)
        access = WorkspaceAccess.WRITE if needs_write else WorkspaceAccess.READ
        with self._open_workspace(task, access, display) as run:
            return page_command.run(replace(run, agreed_usd=cost), form)

    def create_missing_workspace(self, display: Progress) -> None:
        """Create a workspace if the data folder is missing or empty, as an import would.

        Does nothing if the page is read-only or a database URL is set.
        """
        settings = self.settings
        may_create = not self.access.readonly and settings.database_url is None
        if may_create and is_missing_or_empty(settings.data):
            with open_workspace(replace(settings, task=DEFAULT_TASK), display):
                pass

    @contextlib.contextmanager
    def _open_workspace(
        self,
        task: str | None,
        access: WorkspaceAccess,
        display: Progress | None = None,
        *,
        call_limit_s: float | None = None,
    ) -> Iterator[Run]:
        """Open the workspace for the length of a block, with `task` or the default task.

        A request can name only tasks that the workspace has recorded; no task file is searched. The
        run ends its work early when its stop event is set. This is `display.stop_event` if
        `display` is background work, else `self.stop_event`.

        Args:
            task: The task; None or "" for the default task, or for the first used task if the
                default task was never used.
            access: Whether the run may only read, or also write.
            display: Receives messages and progress.
            call_limit_s: If set, a call ends after so many seconds and is not repeated.

        Raises:
            RequestRefusedError: 404, the workspace has no such task.
        """
        if task and task != self.settings.task:
            self.require_task(task)

        settings = self.settings_for(task)
        if call_limit_s is not None:
            call_timeout_s = min(call_limit_s, settings.call_timeout)
            settings = replace(settings, call_timeout=call_timeout_s, retry_for=0.0)
        progress = display or NoProgress()
        with open_workspace(settings, progress, access=access, is_whole_workspace=not task) as run:
            stop_event = self.stop_event
            if isinstance(display, BackgroundJob):
                stop_event = display.stop_event
            yield replace(run, stop_event=stop_event)

    def require_task(self, task: str) -> None:
        """Raise if the workspace has no such task; opening it by that name would create it.

        Raises:
            RequestRefusedError: 404, the workspace has no such task.
        """
        task_names = self._list_task_names()
        # Without a workspace, opening it says why.
        if task_names and task not in task_names:
            raise RequestRefusedError(
                404,
                f"there is no task {task!r}",
                hint=f"the tasks are {join_first(task_names)}",
            )

    def has_task(self, name: str) -> bool:
        """Return whether the workspace has a task of this name."""
        return name in self._list_task_names()

    def _list_task_names(self) -> list[str]:
        """Return the names of all tasks, without opening any of them; none without a workspace."""
        database_url = self.settings.confirm_and_get_database_url().reveal()
        with (
            contextlib.closing(Store(database_url, writes=False)) as store,
            store.open_foreign_snapshot_if_exists() as tx,
        ):
            if tx is None or not schema.detect_workspace_and_check_schema(tx):
                return []
            return list_used_task_names(tx)

    async def save_row(self, body: bytes) -> add_row.AddedRow:
        """Save the row in a JSON body; it is not asked yet. Rows are saved one after another.

        Waits at most `self.max_save_wait_s` seconds for other rows to be saved.

        Raises:
            RequestRefusedError: 503, other rows took too long to save; this row is not saved.
            AskrowsError: The body is not a valid new row, or another process writes to the
                database for longer than WRITE_LOCK_TIMEOUT_S.
        """
        try:
            await asyncio.wait_for(self.save_lock.acquire(), self.max_save_wait_s)
        except TimeoutError:
            raise RequestRefusedError(
                503,
                "too many rows are being saved; this row was not saved",
                hint="send it again",
            ) from None

        try:
            return await run_in_threadpool(self._save_row, body)
        finally:
            self.save_lock.release()

    def _save_row(self, body: bytes) -> add_row.AddedRow:
        with self.open_to_write(DEFAULT_TASK) as run:
            return add_row.store_row(
                run,
                body,
                document_name="the body",
                reason=DUE_REASON,
                max_write_wait_s=WRITE_LOCK_TIMEOUT_S,
            )

    def start(self) -> None:
        """Delete abandoned uploads and ask about new rows, unless the page is read-only."""
        if not self.access.readonly:
            self.uploads.delete_abandoned()
            threading.Thread(target=self._repeat_asking, name="due-rounds", daemon=True).start()

    def _repeat_asking(self) -> None:
        """Ask about due rows now and then every ASKING_INTERVAL_S, until the page stops."""
        # After `stop` the pool takes no call.
        with contextlib.suppress(RuntimeError):
            while not self.stop_event.is_set():
                wait([self.start_asking()])
                self.stop_event.wait(ASKING_INTERVAL_S)

    def start_asking(self, row_ids: list[str] | None = None) -> Future[None]:
        """Start to ask about rows when a thread is free; return the future of the call.

        Args:
            row_ids: The rows, or None for all rows that are due.

        Raises:
            RuntimeError: The page stops; nothing is asked.
        """
        return self._asking_pool.submit(self.ask_due_rows, row_ids)

    def ask_due_rows(self, row_ids: list[str] | None = None) -> None:
        """Ask about these rows, or all rows that are due, and wait for the outcomes.

        Errors are ignored: the rows stay due, with the reason in the database. A workspace without
        the default task gets no table of it.
        """
        with contextlib.suppress(AskrowsError, KeyboardInterrupt):
            self.require_task(DEFAULT_TASK)
            with self.open_to_write(DEFAULT_TASK) as run:
                ask_single_rows(run, RunResult(), row_ids)

    def stop(self, *, within_s: float) -> None:
        """Stop asking about new rows and all background work; block at most `within_s` seconds.

        - First the work may end by itself.
        - INTERRUPT_GRACE_S before the deadline, or when all work has ended, the stop events are
          set. Work that still runs then saves its state and ends.
        - At the deadline this returns, even if work still runs.
        """
        deadline = time.monotonic() + within_s
        self._asking_pool.shutdown(wait=False, cancel_futures=True)
        # This thread ends with the last call about a new row.
        last_call = threading.Thread(target=self._asking_pool.shutdown, daemon=True)
        last_call.start()

        # First wait for work to end by itself. Then interrupt it and wait again.
        for reserved_s in (INTERRUPT_GRACE_S, 0.0):
            for thread in (last_call, *self.background_work.running_threads):
                thread.join(max(0.0, deadline - reserved_s - time.monotonic()))
            self.stop_event.set()
            self.background_work.stop_all()

    def close(self) -> None:
        """Delete all uploaded files."""
        self.uploads.close()
