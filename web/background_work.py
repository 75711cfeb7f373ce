"""Long work that a request began: one at a time of each kind, with how far it has come and what came of it.

What is known of it is kept after its end. Work about one item keeps no line, and goes where the item is forgotten.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from pipeline.core.progress import ProgressBar
from web import errors

KEPT = 50  # pieces of work that are over and can still be looked at
LINES = 100  # of what one says


@dataclass
class BackgroundJob:
    """One piece of long work; a display for the command's function that does it."""

    number: int
    kind: str
    about: str = field(default="", repr=False)  # the name of the one item that it is about
    state: str = "running"  # or done, failed
    label: str = ""
    done: int = 0
    total: int | None = None
    note: str = ""
    part_began: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(
        default_factory=list
    )  # in the place of lines: what is said later does not hide them
    result: Any = None
    error: dict[str, Any] | None = None
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None
    thread: threading.Thread | None = field(default=None, repr=False)

    def say(self, line: str) -> None:
        """Keep a line."""
        self.lines = [] if self.about else [*self.lines[-LINES:], line]

    def warn(self, line: str) -> None:
        """Keep a warning."""
        self.warnings = [] if self.about else [*self.warnings[-LINES:], line]

    @contextlib.contextmanager
    def bar(self, label: str, total: int | None, *, late: bool = False) -> Iterator[ProgressBar]:  # noqa: ARG002 - a page shows it at once
        """Keep how far one part of it has come."""
        self.label = label
        self.total = total
        self.done = 0
        self.note = ""
        self.part_began = time.monotonic()
        yield self

    def show(self, done: int, *, total: int | None = None, note: str = "") -> None:
        """Keep how far it is."""
        self.done = done
        self.note = note
        self.total = self.total if total is None else total

    @property
    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        names = (
            "number",
            "kind",
            "state",
            "label",
            "done",
            "total",
            "note",
            "lines",
            "warnings",
            "result",
            "error",
        )
        now = time.monotonic()
        times = {
            "took_s": round((self.ended or now) - self.began, 2),
            "ended_s": round(now - (self.ended or now), 2),
        }
        took = now - self.part_began
        made = self.done
        pace: dict[str, float | None] = {"rate": None, "eta_s": None}
        if self.state == "running" and made > 0 and took > 0:
            left = (
                None
                if self.total is None
                else round(max(0, self.total - self.done) * took / made, 1)
            )
            pace = {"rate": round(made / took, 2), "eta_s": left}
        return {one: getattr(self, one) for one in names} | times | pace


class BackgroundJobs:
    """The long work of this page."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._all: dict[int, BackgroundJob] = {}

    def begin(
        self, kind: str, do: Callable[[BackgroundJob], Any], *, about: str = ""
    ) -> BackgroundJob:
        """Begin a piece of work in a thread of its own; while one of its kind is under way, return that one.

        `about` is the name of the one item that it is about, where it is.
        """
        with self._lock:
            same = self.newest(kind, about=about)
            if same is not None and same.state == "running":
                return same
            work = BackgroundJob(next(self._numbers), kind, about)
            self._all[work.number] = work
            for number in [one.number for one in self._all.values() if one.state != "running"][
                :-KEPT
            ]:
                del self._all[number]
            work.thread = threading.Thread(
                target=_carried_out, args=(work, do), name=kind, daemon=True
            )
            work.thread.start()
        return work

    def get(self, number: int) -> BackgroundJob | None:
        """Return one by its number."""
        return self._all.get(number)

    def every(self) -> list[BackgroundJob]:
        """Return all that are kept, oldest first."""
        return list(self._all.values())

    def newest(self, kind: str, *, about: str = "") -> BackgroundJob | None:
        """Return the last one of a kind, about that item where it is named."""
        found = reversed(self.every())
        return next((one for one in found if (one.kind, one.about) == (kind, about)), None)

    def drop_about(self, name: str) -> None:
        """Forget what is over and was about an item."""
        for one in self.every():
            if one.about == name and one.state != "running":
                del self._all[one.number]

    @property
    def threads(self) -> list[threading.Thread]:
        """Return the threads of what is under way."""
        return [
            one.thread for one in self.every() if one.state == "running" and one.thread is not None
        ]


def _carried_out(work: BackgroundJob, do: Callable[[BackgroundJob], Any]) -> None:
    try:
        work.result = do(work)
    except BaseException as error:  # noqa: BLE001 - a thread's last words
        work.error = errors.of(error)
    work.state = "failed" if work.error else "done"
    work.ended = time.monotonic()
