"""Show progress: a bar that moves on a terminal, a line that changes in place in a notebook, else lines with times.

A bar is left out of the way of messages (they are printed above it), takes the width that the terminal has, and leaves
nothing behind. There is no rate before something was done, and no ETA before there is a rate. A notebook is one where
the work is done in its own process: a command that a cell starts with `!` writes to a pipe.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pipeline.core.progress import Bar

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID

SHOW_AFTER_S = 2.0  # work that ends sooner shows no progress
PLAIN_EVERY_S = 5.0
DRAWN_A_SECOND = 4  # each time takes a millisecond or more
MOVE_EVERY_S = 1 / DRAWN_A_SECOND  # moving a bar for every row would take longer than the row
_drawn: "list[Progress]" = []  # the outer before the inner; messages go above the innermost


@contextlib.contextmanager
def bar(label: str, total: int | None, *, done: int, late: bool) -> Iterator[Bar]:
    """Show progress for the length of a block, on standard error but in a notebook; see `pipeline.core.progress`."""
    after_s, shell = SHOW_AFTER_S if late else 0, _notebook()
    with contextlib.ExitStack() as shown:
        if shell is not None:
            cell = shown.enter_context(contextlib.closing(CellLine(shell.display_pub)))
            line = PlainBar(label, total, cell.put, done=done, after_s=after_s, every_s=MOVE_EVERY_S)
            line.show(done)
            yield line
        elif sys.stderr.isatty():
            yield MovingBar(label, total, shown, done=done, after_s=after_s)
        else:
            yield PlainBar(label, total, _log, done=done, after_s=SHOW_AFTER_S, every_s=PLAIN_EVERY_S)


def _notebook() -> Any:
    """Return IPython's shell where this process is the one that runs the cells of a notebook, else None."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell if getattr(shell, "kernel", None) is not None else None


def above(line: str) -> bool:
    """Print a line above the bar that is drawn; false where none is."""
    if not _drawn:
        return False
    _drawn[-1].console.print(line, markup=False, highlight=False, soft_wrap=True)
    return True


def _log(line: str) -> None:
    """Write a line of a log, which begins with the time of day."""
    sys.stderr.write(f"{time_of_day()} {line}\n")
    sys.stderr.flush()


class CellLine:
    """A line in the output of a notebook's cell that is put in place of the one before; rich would want a library."""

    def __init__(self, publisher: Any) -> None:
        """Take IPython's publisher of what cells display; nothing is there yet."""
        self._publish, self._place, self._is_there = publisher.publish, {"display_id": os.urandom(16).hex()}, False

    def put(self, line: str) -> None:
        """Show a line."""
        self._publish({"text/plain": line}, transient=self._place, update=self._is_there)
        self._is_there = True

    def close(self) -> None:
        """Leave nothing behind."""
        if self._is_there:
            self.put("")


class PlainBar:
    """Progress as a line now and then."""

    def __init__(
        self, label: str, total: int | None, put: Callable[[str], None], *, done: int, after_s: float, every_s: float
    ) -> None:
        """Begin to count time; a line is `put` after so many seconds, and when the last one is `every_s` old."""
        self._label, self._total, self._put, self._first, self._every_s = label, total, put, done, every_s
        self._began = time.monotonic()
        self._next = self._began + after_s

    def show(self, done: int, *, total: int | None = None, note: str = "") -> None:
        """Put a line, unless the last one is new."""
        self._total = self._total if total is None else total
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._every_s
        rate = (done - self._first) / (now - self._began) if now > self._began else 0
        parts = [f"{done:,}/{self._total:,}" if self._total is not None else f"{done:,}"]
        if rate > 0:
            parts.append(f"{rate:.1f}/s")
            parts += [f"ETA {max(0, self._total - done) / rate:.0f} s"] if self._total else []
        if note:
            parts.append(printable(note))
        self._put(f"{self._label}: {', '.join(parts)}")


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
        self._next = now + MOVE_EVERY_S
        progress.update(task, completed=done, total=self._total, note=printable(note))

    def _draw(self) -> "tuple[Progress, TaskID]":
        """Draw the bar."""
        progress = _progress()
        self._shown.callback(_drawn.remove, progress)
        self._shown.enter_context(progress)
        _drawn.append(progress)
        return progress, progress.add_task(self._label, total=self._total, completed=self._done, note="")


def _progress() -> "Progress":
    """Return a progress display on standard error that leaves nothing behind, in one line of any width."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.table import Column
    from rich.text import Text

    def column(text: Callable[[Task], str], **how: object) -> ProgressColumn:
        """Return a column of one text."""

        class Shown(ProgressColumn):
            """One text of a task."""

            def render(self, task: Task) -> Text:
                """Return the text."""
                return Text(text(task), no_wrap=True, overflow="ellipsis")

        return Shown(table_column=Column(no_wrap=True, **how))  # type: ignore[arg-type]  # rich's own keywords

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=max(10, min(40, console.width // 5))),
        column(_count),
        column(lambda task: f"{task.speed:,.1f}/s" if task.speed else ""),
        column(_left),
        column(lambda task: str(task.fields["note"]), ratio=1, overflow="ellipsis"),
        console=console,
        refresh_per_second=DRAWN_A_SECOND,
        expand=True,
        transient=True,
    )


def _count(task: "Task") -> str:
    """Return how much is done, of how much."""
    return f"{int(task.completed):,}" + (f"/{int(task.total):,}" if task.total is not None else "")


def _left(task: "Task") -> str:
    """Return the time that is left, where there is a rate to tell it by, else the time that has passed."""
    if task.time_remaining is not None and task.speed:
        return f"ETA {_clock(task.time_remaining)}"
    return _clock(task.elapsed or 0)


def _clock(seconds: float) -> str:
    """Return a duration as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def time_of_day() -> str:
    """Return the local time, as a line of a log begins with it."""
    return f"{datetime.now().astimezone():%H:%M:%S}"


def printable(text: str) -> str:
    """Return a text on one line without control characters, so that no data can move a terminal's cursor."""
    return "".join(char if char.isprintable() else " " for char in text)
