"""Lines, tables and bars: colour and movement for a terminal, plain lines for a pipe, JSON for programs.

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

from pipeline.core.progress import Bar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SHOW_AFTER_S = 2.0  # what ends sooner needs no progress
PLAIN_EVERY_S = 5.0
MOVE_EVERY_S = 0.1  # as often as it is drawn; to move a bar for every row takes longer than the row
_UNSEEN = re.compile(r"[^\x20-\x7e\n]")  # of a JSON text: whatever may be a control character, to be looked at


class Terminal:
    """The display of a command: messages and progress on standard error."""

    def say(self, line: str) -> None:
        """Tell something a person wants to know."""
        click.echo(printable(line), err=True)

    def warn(self, line: str) -> None:
        """Tell something a person should look at."""
        click.secho(printable(line), err=True, fg="yellow")

    def error(self, line: str) -> None:
        """Tell what stopped the command."""
        click.secho(f"error: {printable(line)}", err=True, fg="red")

    def hint(self, line: str) -> None:
        """Tell what to type next."""
        click.echo(f"next: {printable(line)}", err=True)

    @contextlib.contextmanager
    def bar(self, label: str, total: int | None, *, done: int = 0, late: bool = False) -> Iterator[Bar]:
        """Show progress with rate and ETA for the length of a block; see `pipeline.display.Display`."""
        if not sys.stderr.isatty():
            yield PlainBar(label, total, sys.stderr, done=done)
            return
        with contextlib.ExitStack() as shown:

            def drawn() -> RichBar:
                """Draw the bar until the block ends."""
                progress = shown.enter_context(_progress())
                return RichBar(progress, progress.add_task(label, total=total, completed=done, note=""))

            yield LateBar(drawn) if late else drawn()


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


class RichBar:
    """Progress as a moving bar."""

    def __init__(self, progress: "Progress", task: "TaskID") -> None:
        """Take one line of a progress display."""
        self._progress, self._task = progress, task
        self._next = 0.0

    def show(self, done: int, *, total: int | None = None, note: str = "") -> None:
        """Move the bar, where it did not move just now."""
        now = time.monotonic()
        if now < self._next and total is None:
            return
        self._next = now + MOVE_EVERY_S
        facts: dict[str, Any] = {} if total is None else {"total": total}
        self._progress.update(self._task, completed=done, note=printable(note), **facts)


class LateBar:
    """Progress that is drawn, and what draws it imported, only once it has taken a while."""

    def __init__(self, drawn: Callable[[], Bar]) -> None:
        """Take how it is drawn, and begin to count time."""
        self._drawn = drawn
        self._from = time.monotonic() + SHOW_AFTER_S
        self._bar: Bar | None = None

    def show(self, done: int, *, total: int | None = None, note: str = "") -> None:
        """Move the bar, if it is time."""
        if self._bar is None and time.monotonic() >= self._from:
            self._bar = self._drawn()
        if self._bar is not None:
            self._bar.show(done, total=total, note=note)


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


def print_json(document: Any) -> None:
    """Print one JSON document on standard output; what no terminal should get raw is escaped, as JSON can.

    So is whatever an encoding other than UTF-8 may not have.
    """
    in_utf8 = (sys.stdout.encoding or "").lower().startswith("utf")
    text = json.dumps(document, ensure_ascii=not in_utf8, indent=2, default=str)
    click.echo(_UNSEEN.sub(_escaped, text))


def _escaped(found: re.Match[str]) -> str:
    """Return a character as JSON escapes it, where it cannot be seen."""
    return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]


def raw_writer() -> Callable[[bytes], object]:
    """Return how bytes go to standard output: as they are to a pipe, without control characters to a screen."""
    if not sys.stdout.isatty():
        return sys.stdout.buffer.write
    return lambda data: click.echo("\n".join(map(printable, data.decode("utf-8", "replace").split("\n"))), nl=False)


def print_line(line: str) -> None:
    """Print one line of result on standard output."""
    click.echo(printable(line))


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
    """Return an amount as people write it; small ones with enough digits to be more than nothing."""
    return f"${amount:,.2f}" if amount >= 0.1 or amount == 0 else f"${amount:.4f}"  # noqa: PLR2004 - ten cents


@contextlib.contextmanager
def spinning() -> Iterator[Callable[[str], None]]:
    """Give a function that shows what is waited for: beside a spinner on a terminal, as a line elsewhere."""
    if not sys.stderr.isatty():
        yield lambda text: click.echo(printable(text), err=True)
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield lambda text: status.update(printable(text))
