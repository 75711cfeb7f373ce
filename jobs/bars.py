"""Show progress: a bar that moves on a terminal, above which messages go, else a line of a log now and then.

There is no rate before something was done, and no ETA before there is a rate.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pipeline.core.progress import Bar

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID

SHOW_AFTER_S = 2.0  # work that ends sooner shows no progress
PLAIN_EVERY_S = 5.0
DRAWN_A_SECOND = 4  # each time takes a millisecond or more; moving a bar for every row would take longer than the row
_drawn: "list[Progress]" = []  # the outer before the inner; messages go above the innermost


@contextlib.contextmanager
def bar(label: str, total: int | None, *, done: int, late: bool) -> Iterator[Bar]:
    """Show progress for the length of a block, on standard error; see `pipeline.core.progress`."""
    if not sys.stderr.isatty():
        yield PlainBar(label, total, done=done)
        return
    with contextlib.ExitStack() as shown:
        yield MovingBar(label, total, shown, done=done, after_s=SHOW_AFTER_S if late else 0)


def above(line: str) -> bool:
    """Print a line above the bar that is drawn; false where none is."""
    if not _drawn:
        return False
    _drawn[-1].console.print(line, markup=False, highlight=False, soft_wrap=True)
    return True


class PlainBar:
    """Progress as a line of a log now and then."""

    def __init__(self, label: str, total: int | None, *, done: int) -> None:
        """Begin to count time."""
        self._label, self._total, self._first = label, total, done
        self._began = time.monotonic()
        self._next = self._began + SHOW_AFTER_S

    def show(self, done: int, *, total: int | None = None, note: str = "") -> None:
        """Write a line, unless the last one is new."""
        self._total = self._total if total is None else total
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + PLAIN_EVERY_S
        rate = (done - self._first) / (now - self._began) if now > self._began else 0
        parts = [f"{done:,}/{self._total:,}" if self._total is not None else f"{done:,}"]
        if rate > 0:
            parts.append(f"{rate:.1f}/s")
            parts += [f"ETA {max(0, self._total - done) / rate:.0f} s"] if self._total else []
        parts += [printable(note)] if note else []
        sys.stderr.write(f"{time_of_day()} {self._label}: {', '.join(parts)}\n")
        sys.stderr.flush()


class MovingBar:
    """Progress as a moving bar, which is drawn, and its library imported, from a moment on."""

    def __init__(
        self, label: str, total: int | None, shown: contextlib.ExitStack, *, done: int, after_s: float
    ) -> None:
        """Draw the bar now, or once `after_s` seconds have passed, until `shown` is closed."""
        self._label, self._total, self._done, self._shown = label, total, done, shown
        self._next = time.monotonic() + after_s
        self._drawn = None if after_s else self._draw()

    def show(self, done: int, *, total: int | None = None, note: str = "") -> None:
        """Move the bar, unless it was moved just now."""
        now, self._total = time.monotonic(), self._total if total is None else total
        if now < self._next and (total is None or self._drawn is None):
            return
        self._drawn = self._drawn or self._draw()
        progress, task = self._drawn
        self._next = now + 1 / DRAWN_A_SECOND
        progress.update(task, completed=done, total=self._total, note=printable(note))

    def _draw(self) -> "tuple[Progress, TaskID]":
        progress = _progress()
        self._shown.callback(_drawn.remove, progress)
        self._shown.enter_context(progress)
        _drawn.append(progress)
        return progress, progress.add_task(self._label, total=self._total, completed=self._done, note="")


def _progress() -> "Progress":
    """Return a progress display on standard error that leaves nothing behind, in one line of any width."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Measures(ProgressColumn):
        """How much is done, how quickly, and the time that is left."""

        def render(self, task: "Task") -> Text:
            return Text(_measures(task), no_wrap=True)

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=max(10, min(40, console.width // 5))),
        Measures(table_column=Column(no_wrap=True)),
        TextColumn(
            "{task.fields[note]}", markup=False, table_column=Column(no_wrap=True, ratio=1, overflow="ellipsis")
        ),
        console=console,
        refresh_per_second=DRAWN_A_SECOND,
        expand=True,
        transient=True,
    )


def _measures(task: "Task") -> str:
    count = f"{int(task.completed):,}" + (f"/{int(task.total):,}" if task.total is not None else "")
    if not task.speed:
        return f"{count} {_clock(task.elapsed or 0)}"
    left = f"ETA {_clock(task.time_remaining)}" if task.time_remaining is not None else _clock(task.elapsed or 0)
    return f"{count} {task.speed:,.1f}/s {left}"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def time_of_day() -> str:
    """Return the local time, as a line of a log begins with it."""
    return f"{datetime.now().astimezone():%H:%M:%S}"


def printable(text: str) -> str:
    """Return a text on one line without control characters, so that no data can move a terminal's cursor."""
    return "".join(char if char.isprintable() else " " for char in text)
