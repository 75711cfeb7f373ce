"""Print lines, tables and bars: with colour and movement on a terminal, plain in a pipe, JSON for programs.

Results go to standard output, everything else to standard error.
"""

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import click

from pipeline.core.errors import FindableError
from pipeline.core.progress import ProgressBar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

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
    def bar(self, label: str, total: int | None, *, late: bool = False) -> Iterator[ProgressBar]:
        """Show progress with rate and ETA for the length of a block; see `pipeline.core.progress`."""
        with contextlib.ExitStack() as shown:
            is_terminal = sys.stderr.isatty()
            after_s = SHOW_AFTER_S if late or not is_terminal else 0
            yield TerminalProgressBar(label, total, shown if is_terminal else None, after_s=after_s)


def raise_all(errors: Sequence[FindableError]) -> None:
    """Raise the first of some errors, once the others are printed."""
    for error in errors[1:]:
        Terminal().error(error.message)
        Terminal().hint(error.hint)
    if errors:
        raise errors[0]


def _message(line: str, colour: str | None) -> None:
    said = _time(sys.stderr) + printable(line)
    if _drawn:
        _drawn[-1].console.print(said, markup=False, highlight=False, soft_wrap=True)
    else:
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
    return (
        f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} "
        if _timed and not stream.isatty()
        else ""
    )


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
    return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]


def print_request(line: str) -> None:
    """Print a line of an access log, with the time of day, on standard error; one that is not read is left out."""
    with contextlib.suppress(OSError, ValueError):
        click.echo(f"{time_of_day()} {printable(line)}", err=True)


def raw_writer() -> Callable[[bytes], object]:
    """Return a writer of bytes to standard output: unchanged to a pipe, without control characters to a terminal."""
    if not sys.stdout.isatty():
        return sys.stdout.buffer.write
    return lambda data: click.echo(
        "\n".join(map(printable, data.decode("utf-8", "replace").split("\n"))), nl=False
    )


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


class TextTable(NamedTuple):
    """A table: the names of its columns, and its rows."""

    headers: Sequence[str]
    rows: Iterable[Sequence[object]]


Shown = (
    str | TextTable | Callable[[], object] | list[Any]
)  # a line, a table, what prints, or several of these


def print_all(shown: Shown) -> None:
    """Print a result: lines and tables, one below the other."""
    if isinstance(shown, str):
        print_line(shown)
    elif isinstance(shown, TextTable):
        print_table(*shown)
    elif isinstance(shown, list):
        for one in shown:
            print_all(one)
    else:
        shown()


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return "-" if value is None else f"{value:,}" if type(value) is int else printable(str(value))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on standard output: drawn for a terminal, as TSV with a line of headers for a pipe.

    A cell holds no tab and no line end; a time has its minute, a number its thousands, and nothing is a hyphen.
    """
    cells = [[_cell(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _draw(cells, [(header, header == COPIED) for header in headers])
        return
    for row in [headers, *cells]:
        click.echo("\t".join(row))


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Print names with their values: wrapped behind the names for a terminal, a line each for a pipe."""
    if sys.stdout.isatty():
        rows = [
            (printable(name), "\n".join(map(printable, value.split("\n"))))
            for name, value in fields
        ]
        _draw(rows, [("", True), ("", False)])
        return
    for name, value in fields:
        print_line(f"{name:<{NAMES - 1}} {value}")


def _draw(rows: Sequence[Sequence[str]], columns: Sequence[tuple[str, bool]]) -> None:
    """Draw rows below their headings, if they have any; of each column it is said whether its cells stay whole."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=None, pad_edge=False, header_style="bold", show_header=any(name for name, _ in columns)
    )
    for name, is_whole in columns:
        table.add_column(name, overflow="fold", no_wrap=is_whole)
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


SHOW_AFTER_S = 2.0  # work that ends sooner shows no progress
PLAIN_EVERY_S = 5.0
DRAWN_A_SECOND = 4  # each time takes a millisecond or more; moving a bar for every row would take longer than the row
_drawn: "list[Progress]" = []  # the outer before the inner; messages go above the innermost


class TerminalProgressBar:
    """Progress with rate and ETA: a moving bar on a terminal, drawn from a moment on, else a line of a log at times."""

    def __init__(
        self, label: str, total: int | None, shown: contextlib.ExitStack | None, *, after_s: float
    ) -> None:
        """Begin to count time; on a terminal the bar is drawn until `shown` is closed."""
        self._label = label
        self._total = total
        self._shown = shown
        self._began = time.monotonic()
        self._next, self._drawn = (
            self._began + after_s,
            None if shown is None or after_s else self._draw(shown, 0),
        )

    def show(self, done: int, *, total: int | None = None, note: str = "") -> None:
        """Move the bar, or write a line, unless that was done just now."""
        now = time.monotonic()
        self._total = self._total if total is None else total
        if now < self._next:
            return
        self._next = now + (PLAIN_EVERY_S if self._shown is None else 1 / DRAWN_A_SECOND)
        rate = done / (now - self._began) if now > self._began else 0
        parts = [f"{done:,}/{self._total:,}" if self._total is not None else f"{done:,}"]
        if rate > 0:
            parts.append(f"{rate:.1f}/s")
            parts += [f"ETA {max(0, self._total - done) / rate:.0f} s"] if self._total else []
        told = ", ".join([*parts, *([printable(note)] if note else [])])
        if self._shown is None:
            sys.stderr.write(f"{time_of_day()} {self._label}: {told}\n")
            sys.stderr.flush()
            return
        self._drawn = self._drawn or self._draw(self._shown, done)
        progress, task = self._drawn
        progress.update(task, completed=done, total=self._total, told=told)

    def _draw(self, shown: contextlib.ExitStack, done: int) -> "tuple[Progress, TaskID]":
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        console = Console(stderr=True)
        rest = Column(no_wrap=True, ratio=1, overflow="ellipsis")
        progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=max(10, min(40, console.width // 5))),
            TextColumn("{task.fields[told]}", markup=False, table_column=rest),
            console=console,
            refresh_per_second=DRAWN_A_SECOND,
            expand=True,
            transient=True,
        )
        shown.callback(_drawn.remove, progress)
        shown.enter_context(progress)
        _drawn.append(progress)
        return progress, progress.add_task(self._label, total=self._total, completed=done, told="")


def time_of_day() -> str:
    """Return the local time, as a line of a log begins with it."""
    return f"{datetime.now().astimezone():%H:%M:%S}"


def printable(text: str) -> str:
    """Return a text on one line without control characters, so that no data can move a terminal's cursor."""
    return "".join(char if char.isprintable() else " " for char in text)
