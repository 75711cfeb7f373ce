"""Print lines, tables and bars: with colour and movement on a terminal, plain in a pipe, JSON for programs.

Results go to standard output, everything else to standard error.
"""

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TextIO

import click

from pipeline.core.errors import FindableError
from pipeline.core.progress import Bar

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID

COPIED = "username"  # a column that is not folded, for its cells are copied
NAMES = 22  # columns for the names of fields in a pipe
_UNSEEN = re.compile(r"[^\x20-\x7e\n]")  # in JSON text: candidates for control characters


class Terminal:
    """The display of a command: messages and progress on standard error."""

    def say(self, line: str) -> None:
        """Print a message, above a bar that is drawn."""
        _message(line, None)

    def warn(self, line: str) -> None:
        """Print a warning, above a bar that is drawn."""
        _message(line, "yellow")

    def error(self, line: str) -> None:
        """Print the error that stopped the command; what stands on lines of its own is indented."""
        said = "\n  ".join(printable(one) for one in line.split("\n"))
        _coloured(f"{_time(sys.stderr)}error: {said}", "red")

    def hint(self, line: str) -> None:
        """Print what to type next."""
        click.echo(f"next: {printable(line)}", err=True)

    @contextlib.contextmanager
    def bar(self, label: str, total: int | None, *, done: int = 0, late: bool = False) -> Iterator[Bar]:
        """Show progress with rate and ETA for the length of a block; see `pipeline.core.progress`."""
        if not sys.stderr.isatty():
            yield PlainBar(label, total, done=done)
            return
        with contextlib.ExitStack() as shown:
            yield MovingBar(label, total, shown, done=done, after_s=SHOW_AFTER_S if late else 0)


def raise_all(errors: Sequence[FindableError]) -> None:
    """Raise the first of some errors, once the others are printed."""
    for error in errors[1:]:
        Terminal().error(error.message)
        Terminal().hint(error.hint)
    if errors:
        raise errors[0]


def _message(line: str, colour: str | None) -> None:
    said = _time(sys.stderr) + printable(line)
    if not _above(said):
        _coloured(said, colour)


def _coloured(line: str, colour: str | None) -> None:
    """Print a line on standard error, in a colour unless NO_COLOR is set (no-color.org)."""
    click.secho(line, err=True, fg=None if os.environ.get("NO_COLOR") else colour)


_documents: list[int] = []  # one for each document that this command printed


_timed: list[bool] = []  # one where the lines of this command begin with their times


def begin_output() -> None:
    """Forget what a command that is over printed: no document, and lines have no times."""
    _documents.clear()
    _timed.clear()


def log_times() -> None:
    """Begin each line of this command with its date and time, but for a terminal: it is for a log."""
    _timed.append(True)


def _time(stream: TextIO) -> str:
    return f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} " if _timed and not stream.isatty() else ""


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


def print_request(line: str) -> None:
    """Print a line of an access log, with the time of day, on standard error; one that is not read is left out."""
    with contextlib.suppress(OSError, ValueError):
        click.echo(f"{time_of_day()} {printable(line)}", err=True)


def raw_writer() -> Callable[[bytes], object]:
    """Return a writer of bytes to standard output: unchanged to a pipe, without control characters to a terminal."""
    if not sys.stdout.isatty():
        return sys.stdout.buffer.write
    return lambda data: click.echo("\n".join(map(printable, data.decode("utf-8", "replace").split("\n"))), nl=False)


def print_line(line: str) -> None:
    """Print one line of result on standard output."""
    click.echo(f"{_time(sys.stdout)}{printable(line)}")


def print_text(text: str, *, indent: str = "") -> None:
    """Print a text of any lines on standard output."""
    for line in text.split("\n"):
        click.echo(f"{indent}{printable(line)}".rstrip())


def print_marked(*pieces: str, indent: int = 0) -> None:
    """Print a line on a terminal, wrapped behind its indent, of pieces of which every second one is bold."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    line = Text()
    for number, piece in enumerate(pieces):
        line.append(printable(piece), style="bold" if number % 2 else None)
    Console(highlight=False).print(Padding(line, (0, 0, 0, indent), expand=False))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on standard output: drawn for a terminal, as TSV with a line of headers for a pipe.

    A cell holds no tab and no line end.
    """
    headers, *cells = ([printable(str(cell)) for cell in row] for row in (headers, *rows))
    if sys.stdout.isatty():
        _draw(cells, [(header, header == COPIED) for header in headers])
        return
    for row in [headers, *cells]:
        click.echo("\t".join(row))


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Print names with their values: wrapped behind the names for a terminal, a line each for a pipe."""
    if sys.stdout.isatty():
        rows = [(printable(name), "\n".join(map(printable, value.split("\n")))) for name, value in fields]
        _draw(rows, [("", True), ("", False)])
        return
    for name, value in fields:
        print_line(f"{name:<{NAMES - 1}} {value}")


def _draw(rows: Sequence[Sequence[str]], columns: Sequence[tuple[str, bool]]) -> None:
    """Draw rows below their headings, if they have any; of each column it is said whether its cells stay whole."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(name for name, _ in columns))
    for name, is_whole in columns:
        table.add_column(name, overflow="fold", no_wrap=is_whole)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


@contextlib.contextmanager
def spinning() -> Iterator[Callable[[str], None]]:
    """Give a function that shows what is waited for: beside a spinner on a terminal, else as a line."""
    if not sys.stderr.isatty():
        yield lambda text: click.echo(printable(text), err=True)
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield lambda text: status.update(printable(text))


SHOW_AFTER_S = 2.0  # work that ends sooner shows no progress
PLAIN_EVERY_S = 5.0
DRAWN_A_SECOND = 4  # each time takes a millisecond or more; moving a bar for every row would take longer than the row
_drawn: "list[Progress]" = []  # the outer before the inner; messages go above the innermost


def _above(line: str) -> bool:
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
