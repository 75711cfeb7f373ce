"""Print lines, tables and bars: with colour and movement on a terminal, plain in a pipe, JSON for programs.

Results go to standard output, everything else to standard error.
"""

import contextlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import click

from jobs.typed import as_typed, quoted_as_typed
from pipeline.core.progress import Bar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SHOW_AFTER_S = 2.0  # work that ends sooner shows no progress
PLAIN_EVERY_S = 5.0
MOVE_EVERY_S = 0.1  # as often as it is drawn; moving a bar for every row would take longer than the row
_UNSEEN = re.compile(r"[^\x20-\x7e\n]")  # in JSON text: candidates for control characters


class Terminal:
    """The display of a command: messages and progress on standard error."""

    def say(self, line: str) -> None:
        """Print a message."""
        click.echo(printable(quoted_as_typed(line)), err=True)

    def warn(self, line: str) -> None:
        """Print a warning."""
        click.secho(printable(quoted_as_typed(line)), err=True, fg="yellow")

    def error(self, line: str) -> None:
        """Print the error that stopped the command."""
        click.secho(f"error: {printable(quoted_as_typed(line))}", err=True, fg="red")

    def hint(self, line: str) -> None:
        """Print what to type next, in the form in which this command was typed."""
        click.echo(f"next: {printable(as_typed(line))}", err=True)

    @contextlib.contextmanager
    def bar(self, label: str, total: int | None, *, done: int = 0, late: bool = False) -> Iterator[Bar]:
        """Show progress with rate and ETA for the length of a block; see `pipeline.core.progress`."""
        if not sys.stderr.isatty():
            yield PlainBar(label, total, sys.stderr, done=done)
            return
        with contextlib.ExitStack() as shown:
            yield MovingBar(label, total, shown, done=done, after_s=SHOW_AFTER_S if late else 0)


class PlainBar:
    """Progress as a line now and then, for logs and pipes."""

    def __init__(self, label: str, total: int | None, stream: TextIO, *, done: int = 0) -> None:
        """Begin to count time."""
        self._label, self._total, self._stream, self._first = label, total, stream, done
        self._began = time.monotonic()
        self._next = self._began + SHOW_AFTER_S

    def show(self, done: int, *, total: int | None = None, note: str = "") -> None:
        """Print a line when the last one is some seconds old."""
        self._total = self._total if total is None else total
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + PLAIN_EVERY_S
        rate = (done - self._first) / (now - self._began)
        parts = [f"{done}/{self._total}" if self._total else str(done), f"{rate:.1f}/s"]
        if self._total and rate:
            parts.append(f"ETA {max(0, self._total - done) / rate:.0f} s")
        if note:
            parts.append(printable(note))
        self._stream.write(f"{self._label}: {', '.join(parts)}\n")
        self._stream.flush()


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
        progress = self._shown.enter_context(_progress())
        return progress, progress.add_task(self._label, total=self._total, completed=self._done, note="")


def _progress() -> "Progress":
    """Return a progress display on standard error that leaves nothing behind."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """How many a second."""

        def render(self, task: Task) -> Text:
            """Return the rate, or nothing before there is one."""
            return Text(f"{task.speed:.1f}/s" if task.speed else "")

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TextColumn("ETA", markup=False),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )


_documents: list[int] = []  # one for each document that this command printed


def begin_output() -> None:
    """Begin a command's output: no document is printed yet."""
    _documents.clear()


def has_printed_json() -> bool:
    """Return whether this command printed a document."""
    return bool(_documents)


def print_json(document: Any) -> None:
    """Print one JSON document on standard output, with control characters escaped; in ASCII unless in UTF-8."""
    _documents.append(1)
    in_utf8 = (sys.stdout.encoding or "").lower().startswith("utf")
    text = json.dumps(document, ensure_ascii=not in_utf8, indent=2, default=str)
    click.echo(_UNSEEN.sub(_escaped, text))


def _escaped(found: re.Match[str]) -> str:
    """Return a character as JSON escapes it, where it cannot be seen."""
    return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]


def raw_writer() -> Callable[[bytes], object]:
    """Return a writer of bytes to standard output: unchanged to a pipe, without control characters to a terminal."""
    if not sys.stdout.isatty():
        return sys.stdout.buffer.write
    return lambda data: click.echo("\n".join(map(printable, data.decode("utf-8", "replace").split("\n"))), nl=False)


def print_line(line: str) -> None:
    """Print one line of result on standard output; what stands behind `Next:` in the form that was typed."""
    said, marked, step = printable(line).partition("Next: ")
    click.echo(f"{said}{marked}{as_typed(step)}")


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on standard output: drawn for a terminal, in aligned columns without cuts for a pipe."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _draw(headers, cells)
        return
    widths = [max(len(row[i]) for row in [list(headers), *cells]) for i in range(len(headers))]
    for row in [list(headers), *cells]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _draw(headers: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Draw a table with rich, in which no cell is read as markup."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def printable(text: str) -> str:
    """Return a text on one line without control characters, so that no data can move a terminal's cursor."""
    return "".join(char if char.isprintable() else " " for char in text)


def plural(count: int, one: str, many: str = "") -> str:
    """Return `1 batch` or `2 batches`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def usd(amount: float) -> str:
    """Return an amount with two digits, a small one with four."""
    return f"${amount:,.2f}" if amount >= 0.1 or amount == 0 else f"${amount:.4f}"  # noqa: PLR2004 - ten cents


@contextlib.contextmanager
def spinning() -> Iterator[Callable[[str], None]]:
    """Give a function that shows what is waited for: beside a spinner on a terminal, else as a line."""
    if not sys.stderr.isatty():
        yield lambda text: click.echo(printable(text), err=True)
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield lambda text: status.update(printable(text))
