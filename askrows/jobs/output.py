"""Print lines, tables and progress.

- Results go to standard output, everything else to standard error.
- A terminal gets colours and a line of progress, a pipe gets plain text.
- Programs get one JSON document.
"""

import contextlib
import getpass
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO

import click

from askrows.pipeline.core.redact import hide_keys
from askrows.pipeline.core.report import NO_VALUE, Listing, Paragraph, Part, Report, Table
from askrows.pipeline.core.text import shorten

# People copy the cells of this column, so that its cells are never wrapped.
UNWRAPPED_COLUMN = "username"
# Styles of cells that need attention.
CELL_STYLES = {"FAIL": "bold red", "failed": "red", "rejected": "yellow"}
# Columns of cells up to this length are never wrapped either, such as times.
MAX_UNWRAPPED_CHARS = 16
# Matches every character of a JSON text that may be a control character.
_CONTROL_CANDIDATE = re.compile(r"[^\x20-\x7e\n]")

# Shorter work shows no progress.
SHOW_AFTER_S = 2.0
LOG_INTERVAL_S = 5.0
REDRAW_INTERVAL_S = 0.25
# Moves the cursor of a terminal to the start of the line, and deletes the line.
CLEAR_LINE = "\r\x1b[2K"


@dataclass
class _OutputState:
    """What the running command has printed, and how it prints."""

    has_printed_json: bool = False
    # Whether each line begins with its date and time.
    has_times: bool = False
    # Whether the last line of the terminal is a line of progress.
    has_progress_line: bool = False


_output_state = _OutputState()


class Terminal:
    """The display of a command: messages and progress on standard error."""

    def say(self, line: str) -> None:
        """Print a message, in the place of a line of progress."""
        _print_message(line, None)

    def warn(self, line: str) -> None:
        """Print a warning, in the place of a line of progress."""
        _print_message(line, "yellow")

    def error(self, line: str) -> None:
        """Print the error that ends the command; lines after the first are indented."""
        message = "\n  ".join(make_printable(part) for part in line.split("\n"))
        _print_coloured(f"{_time_prefix(sys.stderr)}error: {message}", "red")

    def hint(self, line: str) -> None:
        """Print what to type next."""
        click.echo(f"next: {make_printable(line)}", err=True)

    @contextlib.contextmanager
    def bar(
        self, label: str, total: int | None, *, has_rate: bool = True
    ) -> "Iterator[TerminalProgress]":
        """Show progress during a `with` block, with rate and remaining time if `has_rate`.

        After SHOW_AFTER_S, a terminal gets a line that is replaced, and a pipe lines of a log.
        """
        try:
            yield TerminalProgress(label, total, has_rate=has_rate)
        finally:
            _clear_progress_line()


def _print_message(line: str, colour: str | None) -> None:
    """Print a line on standard error, in the place of a line of progress."""
    _clear_progress_line()
    _print_coloured(_time_prefix(sys.stderr) + make_printable(line), colour)


def _clear_progress_line() -> None:
    """Delete the line of progress from the terminal, if there is one."""
    if _output_state.has_progress_line:
        sys.stderr.write(CLEAR_LINE)
        sys.stderr.flush()
        _output_state.has_progress_line = False


def _print_coloured(line: str, colour: str | None) -> None:
    """Print a line on standard error, in a colour unless NO_COLOR is set (no-color.org)."""
    click.secho(line, err=True, fg=None if os.environ.get("NO_COLOR") else colour)


def reset_output() -> None:
    """Reset the state after a command: no document is printed, and lines have no times."""
    _output_state.has_printed_json = False
    _output_state.has_times = False


def begin_lines_with_times() -> None:
    """Begin each line of this command with its date and time, except on a terminal."""
    _output_state.has_times = True


def _time_prefix(stream: TextIO) -> str:
    """Return the date and time before a line, or an empty text if lines have no times."""
    if _output_state.has_times and not stream.isatty():
        return f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} "
    return ""


def has_printed_json() -> bool:
    """Return whether this command printed a document."""
    return _output_state.has_printed_json


def print_json(document: Any) -> None:
    """Print one JSON document on standard output, with control characters escaped.

    Other letters than ASCII are escaped too, unless standard output is UTF-8.
    """
    _output_state.has_printed_json = True
    is_utf8 = (sys.stdout.encoding or "").lower().startswith("utf")
    text = hide_keys(json.dumps(document, ensure_ascii=not is_utf8, indent=2, default=str))
    click.echo(_CONTROL_CANDIDATE.sub(_escape_control, text))


def _escape_control(match: re.Match[str]) -> str:
    """Return a printable character unchanged, another one as its JSON escape."""
    char = match[0]
    return char if char.isprintable() else json.dumps(char)[1:-1]


def log_request(line: str) -> None:
    """Print a line of an access log with the time of day on standard error.

    If standard error cannot be written, the line is dropped.
    """
    with contextlib.suppress(OSError, ValueError):
        click.echo(f"{format_time_of_day()} {make_printable(line)}", err=True)


def print_line(line: str) -> None:
    """Print one line of the result on standard output."""
    click.echo(f"{_time_prefix(sys.stdout)}{make_printable(line)}")


def print_report_as_text(report: Report) -> None:
    """Print a report for people: title, lines and tables, then notes on standard error."""
    if report.title:
        print_line(report.title)
    for part in report.parts:
        print_part(part)
    for note in report.notes:
        Terminal().say(note)


def print_part(part: Part) -> None:
    """Print a line, a table, a paragraph or a listing on standard output.

    A listing is printed as paragraphs on a terminal, and as a table in a pipe.
    """
    if isinstance(part, Listing):
        entries: Sequence[Part] = part.paragraphs if sys.stdout.isatty() else [part.table]
        for entry in entries:
            print_part(entry)
    elif isinstance(part, Table):
        _print_table_or_tsv(part)
    elif isinstance(part, Paragraph):
        _print_paragraph(part)
    else:
        print_line(part)


def _print_paragraph(paragraph: Paragraph) -> None:
    """Print a paragraph, wrapped at the width of the terminal.

    If the output is not a terminal, it has 80 columns and nothing is bold. Blanks replace control
    characters and line ends.
    """
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    line = Text()
    for piece_index, piece in enumerate(paragraph.pieces):
        line.append(make_printable(piece), style="bold" if piece_index % 2 else None)
    Console(highlight=False).print(Padding(line, (0, 0, 0, paragraph.indent), expand=False))


def _print_table_or_tsv(table: Table) -> None:
    """Print a table on standard output: drawn for a terminal, as TSV with headers for a pipe.

    A terminal gets only columns with values, with cells cut to `table.max_cell_chars`, and "none"
    for a table without rows.

    In every cell, blanks replace tabs, line ends and other control characters.
    """
    headers = table.headers
    cells = [[make_printable(str(value)) for value in row] for row in table.rows]
    if not sys.stdout.isatty():
        for row in [headers, *cells]:
            click.echo("\t".join(row))
        return
    if not cells:
        print_line("none")
        return

    if table.max_cell_chars is not None:
        cells = [[shorten(cell, table.max_cell_chars) for cell in row] for row in cells]
    # A terminal has no room for columns without values.
    shown_indexes = [
        index
        for index in range(len(headers))
        if any(row[index] not in ("", NO_VALUE) for row in cells)
    ]
    _draw_table(
        [[row[index] for index in shown_indexes] for row in cells],
        [
            (
                headers[index],
                headers[index] == UNWRAPPED_COLUMN
                or all(len(row[index]) <= MAX_UNWRAPPED_CHARS for row in cells),
            )
            for index in shown_indexes
        ],
    )


def _draw_table(rows: Sequence[Sequence[str]], columns: Sequence[tuple[str, bool]]) -> None:
    """Draw a table on a terminal; cells such as "FAIL" have the colour of CELL_STYLES.

    Args:
        columns: (heading, whether the cells are never wrapped) of each column.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, is_unwrapped in columns:
        table.add_column(name, overflow="fold", no_wrap=is_unwrapped)
    for row in rows:
        table.add_row(*(Text(cell, style=CELL_STYLES.get(cell, "")) for cell in row))
    Console().print(table)


@contextlib.contextmanager
def show_changing_lines() -> "Iterator[Callable[[Sequence[str]], None]]":
    """Yield a function that prints lines on standard output in the place of its former lines.

    On a terminal, the last lines are deleted when the block ends. A pipe gets new lines, with the
    time of day, at most every LOG_INTERVAL_S; the lines of other calls are dropped.
    """
    if sys.stdout.isatty():
        from rich.live import Live
        from rich.text import Text

        with Live(auto_refresh=False, transient=True) as live:
            yield lambda lines: live.update(
                Text("\n".join(map(make_printable, lines))), refresh=True
            )
        return

    next_print_at = time.monotonic()

    def print_lines_at_intervals(lines: Sequence[str]) -> None:
        """Print lines with the time, or drop them if LOG_INTERVAL_S has not passed since others."""
        nonlocal next_print_at
        if time.monotonic() >= next_print_at:
            next_print_at = time.monotonic() + LOG_INTERVAL_S
            for line in lines:
                print_line(f"{format_time_of_day()} {line}")
            sys.stdout.flush()

    yield print_lines_at_intervals


class TerminalProgress:
    """Progress with rate and remaining time: a line on a terminal, else lines of a log."""

    def __init__(self, label: str, total: int | None, *, has_rate: bool) -> None:
        """Start the clock.

        Args:
            has_rate: Show rate and remaining time.
        """
        self._has_rate = has_rate
        self._label = label
        self._total = total
        self._finished_count = 0
        self._started_at = time.monotonic()
        self._next_update_at = self._started_at + SHOW_AFTER_S

    def show(self, finished_count: int, *, total: int | None = None, note: str = "") -> None:
        """Replace the line of a terminal, or write a line of a log.

        Nothing is shown in the first SHOW_AFTER_S, and after an update for REDRAW_INTERVAL_S on a
        terminal, else for LOG_INTERVAL_S. The count never goes back, for example if a row is asked
        again.

        Args:
            finished_count: Finished units.
            total: A new total; None keeps the total.
            note: Text after the numbers.
        """
        now = time.monotonic()
        self._finished_count = max(self._finished_count, finished_count)
        if total is not None:
            self._total = total
        if now < self._next_update_at:
            return

        progress_text = self._format_progress(self._finished_count, now - self._started_at, note)
        line = f"{self._label}: {progress_text}"
        if sys.stderr.isatty():
            self._next_update_at = now + REDRAW_INTERVAL_S
            max_chars = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"{CLEAR_LINE}{line[:max_chars]}")
            _output_state.has_progress_line = True
        else:
            self._next_update_at = now + LOG_INTERVAL_S
            sys.stderr.write(f"{format_time_of_day()} {line}\n")
        sys.stderr.flush()

    def _format_progress(self, finished_count: int, elapsed_s: float, note: str) -> str:
        """Return count, rate, remaining seconds and note, as "12/40, 3.1/s, ETA 9 s, slow".

        Rate and time are left out before the first unit, and if the progress has no rate; the time
        also without a total.
        """
        parts = [
            f"{finished_count:,}" if self._total is None else f"{finished_count:,}/{self._total:,}"
        ]

        rate = 0.0
        if self._has_rate and elapsed_s > 0:
            rate = finished_count / elapsed_s
        if rate > 0:
            parts.append(f"{rate:.1f}/s")
        if rate > 0 and self._total:
            remaining_s = max(0, self._total - finished_count) / rate
            parts.append(f"ETA {remaining_s:.0f} s")
        if note:
            parts.append(make_printable(note))
        return ", ".join(parts)


def format_time_of_day() -> str:
    """Return the local time, as a line of a log begins with it."""
    return f"{datetime.now().astimezone():%H:%M:%S}"


def make_printable(text: str) -> str:
    """Replace control characters and line ends by blanks, and hide API keys.

    Printed text then cannot move a terminal's cursor.
    """
    return "".join(char if char.isprintable() else " " for char in hide_keys(text))


def read_system_user() -> str:
    """Return the name of the system's user, or "unknown"."""
    # A system without accounts may raise any error.
    with contextlib.suppress(Exception):
        return getpass.getuser()
    return "unknown"
