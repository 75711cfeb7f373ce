"""Print lines, tables and bars: with colour and movement on a terminal, plain in a pipe, JSON for programs.

Results go to standard output, everything else to standard error.
"""

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, TextIO

import click

from jobs import bars
from jobs.bars import printable, time_of_day
from jobs.typed import as_typed, quoted_as_typed
from pipeline.core.progress import Bar

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
        """Print the error that stopped the command."""
        _coloured(f"{_time(sys.stderr)}error: {printable(quoted_as_typed(line))}", "red")

    def hint(self, line: str) -> None:
        """Print what to type next, in the form in which this command was typed."""
        click.echo(f"next: {printable(as_typed(line))}", err=True)

    def bar(
        self, label: str, total: int | None, *, done: int = 0, late: bool = False
    ) -> contextlib.AbstractContextManager[Bar]:
        """Show progress with rate and ETA for the length of a block; see `pipeline.core.progress`."""
        return bars.bar(label, total, done=done, late=late)


def _message(line: str, colour: str | None) -> None:
    said = _time(sys.stderr) + printable(quoted_as_typed(line))
    if not bars.above(said):
        _coloured(said, colour)


def _coloured(line: str, colour: str | None) -> None:
    """Print a line on standard error, in a colour unless NO_COLOR is set (no-color.org)."""
    click.secho(line, err=True, fg=None if os.environ.get("NO_COLOR") else colour)


_documents: list[int] = []  # one for each document that this command printed


_timed: list[bool] = []  # one where the lines of this command begin with their times


def begin_output() -> None:
    """Begin a command's output: no document is printed yet, and lines have no times."""
    _documents.clear()
    _timed.clear()


def log_times() -> None:
    """Begin each line of this command with its date and time, but for a terminal: it is for a log."""
    _timed.append(True)


def _time(stream: TextIO) -> str:
    """Return what a line begins with that is about to be printed."""
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
    """Print one line of result on standard output; what stands behind `Next:` in the form that was typed."""
    said, marked, step = printable(line).partition("Next: ")
    click.echo(f"{_time(sys.stdout)}{said}{marked}{as_typed(step)}")


def print_text(text: str, *, indent: str = "", err: bool = False) -> None:
    """Print a text of any lines on standard output, or on that of errors; none is read as a next step."""
    for line in text.split("\n"):
        click.echo(f"{indent}{printable(line)}".rstrip(), err=err)


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
        _draw(headers, cells)
        return
    for row in [headers, *cells]:
        click.echo("\t".join(row))


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Print names with their values: wrapped behind the names for a terminal, a line each for a pipe."""
    if not sys.stdout.isatty():
        for name, value in fields:
            print_line(f"{name:<{NAMES - 1}} {value}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields:
        table.add_row(printable(name), Text("\n".join(map(printable, value.split("\n")))))
    Console().print(table)


def _draw(headers: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold", no_wrap=header == COPIED)
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def plural(count: int, one: str, many: str = "") -> str:
    """Return `1 batch` or `2 batches`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def usd(amount: float) -> str:
    """Return an amount with two digits, a small one with four."""
    return f"${amount:,.2f}" if amount >= 0.1 or amount == 0 else f"${amount:.4f}"  # noqa: PLR2004 - ten cents


def for_money(question: str, cost: float) -> str:
    """Return a question whether to spend an amount; below a cent the amount is not worth a figure."""
    if cost >= 0.01:  # noqa: PLR2004 - a cent
        return f"{question} for about {usd(cost)}?"
    return f"{question} for less than a cent?" if cost else f"{question}? It costs nothing."


@contextlib.contextmanager
def spinning() -> Iterator[Callable[[str], None]]:
    """Give a function that shows what is waited for: beside a spinner on a terminal, else as a line."""
    if not sys.stderr.isatty():
        yield lambda text: click.echo(printable(text), err=True)
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield lambda text: status.update(printable(text))
