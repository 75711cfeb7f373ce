"""Background work that requests start: at most one of each kind at a time, each in a thread.

The progress and the result stay available after the work has ended. Work about a single row stores
no lines, and is deleted when the row is forgotten.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from askrows.pipeline.core.progress import ProgressBar
from askrows.web import errors

MAX_FINISHED_WORK = 50
# Lines, and warnings, that are stored for each work.
MAX_LINES = 100


@dataclass
class BackgroundJob:
    """A piece of background work. It is also the progress display of the function that runs.

    Times are of the monotonic clock, in seconds.
    """

    number: int
    # For example "tag reviews": a command and its task.
    kind: str
    # The task that the work is about, or empty.
    task: str = ""
    # The key of the row, if the work is about a single row.
    row_key: str = field(default="", repr=False)
    # "running", "done", "failed" or "stopped".
    state: str = "running"
    # The running part of the work: label, completed units, total units and a note.
    label: str = ""
    completed: int = 0
    total: int | None = None
    note: str = ""
    lines: list[str] = field(default_factory=list)
    # Apart from the lines, so later lines do not push them out.
    warnings: list[str] = field(default_factory=list)
    # Return value of the function, or the problem document of its exception.
    result: Any = None
    error: dict[str, Any] | None = None
    start_time: float = field(default_factory=time.monotonic)
    end_time: float | None = None
    thread: threading.Thread | None = field(default=None, repr=False)
    # Set if the work is to end early; live calls check it.
    stop_event: threading.Event = field(default_factory=threading.Event, repr=False)

    def say(self, line: str) -> None:
        """Store a line, except for work about a single row."""
        if not self.row_key:
            self.lines = [*self.lines[-MAX_LINES:], line]

    def warn(self, line: str) -> None:
        """Store a warning, except for work about a single row."""
        if not self.row_key:
            self.warnings = [*self.warnings[-MAX_LINES:], line]

    @contextlib.contextmanager
    def bar(
        self,
        label: str,
        total: int | None,
        *,
        has_rate: bool = True,  # noqa: ARG002 - a page shows no rate
    ) -> Iterator[ProgressBar]:
        """Start a new part of the work, and yield the display of its progress, which begins at 0.

        Args:
            label: Name of the part.
            total: Units of the part, or None if their number is unknown.
            has_rate: Ignored.
        """
        self.label = label
        self.total = total
        self.completed = 0
        self.note = ""
        yield self

    def show(self, done: int, *, total: int | None = None, note: str = "") -> None:
        """Store the progress of the running part; without a total the old total stays."""
        self.completed = done
        self.note = note
        if total is not None:
            self.total = total

    @property
    def is_running(self) -> bool:
        """Return whether the work has not ended."""
        return self.state == "running"

    @property
    def document(self) -> dict[str, Any]:
        """Return the work as JSON members.

        `took_s` is the run time, `ended_s` the time since the end (0 while it runs).
        """
        now = time.monotonic()
        end_time = self.end_time or now
        return {
            "number": self.number,
            "kind": self.kind,
            "task": self.task,
            "state": self.state,
            "is_stopping": self.is_running and self.stop_event.is_set(),
            "label": self.label,
            "done": self.completed,
            "total": self.total,
            "note": self.note,
            "lines": self.lines,
            "warnings": self.warnings,
            "result": self.result,
            "error": self.error,
            "took_s": round(end_time - self.start_time, 2),
            "ended_s": round(now - end_time, 2),
        }


class BackgroundWork:
    """The background work of one page, running and finished."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._work_by_number: dict[int, BackgroundJob] = {}

    def start(
        self,
        kind: str,
        run: Callable[[BackgroundJob], Any],
        *,
        task: str = "",
        row_key: str = "",
    ) -> BackgroundJob:
        """Start work in a daemon thread, or return the running work of the same kind and row.

        Only the newest MAX_FINISHED_WORK finished works are kept; older ones are deleted.

        Args:
            kind: Command and task, for example "tag reviews".
            run: Called in the thread with the work as its progress display. Its return value
                becomes the result, its exception the error.
            task: The task that the work is about.
            row_key: The key of the row, if the work is about a single row.
        """
        with self._lock:
            newest = self.find_newest(kind, row_key=row_key)
            if newest is not None and newest.is_running:
                return newest

            work = BackgroundJob(next(self._numbers), kind, task, row_key)
            self._work_by_number[work.number] = work
            finished = [
                number for number, job in self._work_by_number.items() if not job.is_running
            ]
            for number in finished[:-MAX_FINISHED_WORK]:
                del self._work_by_number[number]
            work.thread = threading.Thread(
                target=_run_to_end,
                args=(work, run),
                name=kind,
                daemon=True,
            )
            work.thread.start()
        return work

    def find(self, number: int) -> BackgroundJob | None:
        """Return work by its number, or None."""
        return self._work_by_number.get(number)

    def list_jobs(self) -> list[BackgroundJob]:
        """Return all stored work, oldest first."""
        return list(self._work_by_number.values())

    def find_newest(self, kind: str, *, row_key: str = "") -> BackgroundJob | None:
        """Return the newest work of a kind about a row (default: about no single row), or None."""
        for work in reversed(self.list_jobs()):
            if (work.kind, work.row_key) == (kind, row_key):
                return work
        return None

    def describe_newest(self, kinds: Iterable[str], *, row_key: str = "") -> list[dict[str, Any]]:
        """Return the document of the newest work of each kind about a row, if there is any.

        By default, it is the work that is about no single row.
        """
        newest_work = [self.find_newest(kind, row_key=row_key) for kind in kinds]
        return [work.document for work in newest_work if work is not None]

    def delete_finished(self, *, task: str, row_key: str = "") -> None:
        """Delete the finished work of a task, or with a key only that about the row."""
        for work in self.list_jobs():
            if work.task == task and row_key in {"", work.row_key} and not work.is_running:
                del self._work_by_number[work.number]

    def stop_all(self) -> None:
        """Request all running work to end early."""
        for work in self.list_jobs():
            work.stop_event.set()

    @property
    def running_threads(self) -> list[threading.Thread]:
        """Return the threads of running work."""
        return [
            work.thread for work in self.list_jobs() if work.is_running and work.thread is not None
        ]


def _run_to_end(work: BackgroundJob, run: Callable[[BackgroundJob], Any]) -> None:
    """Run the function of a work, then set its result or error, its state and its end time.

    Any exception fails the work, and its problem document becomes the error. Only an interrupt that
    was requested stops the work, without an error. Nothing is raised.
    """
    state = "done"
    try:
        work.result = run(work)
    except BaseException as error:  # noqa: BLE001 - a thread would lose it
        state = "failed"
        if isinstance(error, KeyboardInterrupt) and work.stop_event.is_set():
            state = "stopped"
        else:
            work.error = errors.to_problem_document(error)
    work.state = state
    work.end_time = time.monotonic()
