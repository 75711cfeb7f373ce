"""Feed the lines of a CSV file to `csv.reader`, and cut the cells of a record above the size limit.

`csv.reader` holds a whole record in memory. If a line were cut anywhere, the quotes of its cells would no longer pair,
and the rows behind it would be read as part of a cell. So a record above the limit is read to its own end: its quotes
are followed, and only the first characters of each cell are passed on.
"""

import re
from collections import deque
from typing import Self, TextIO

# Characters of a cell that are kept of an over-long record; a cell of .xlsx holds 32,767.
MAX_CUT_CELL = 32_000
CUT_MARK = " … [cut]"
# How some databases write a quote within quotes, where CSV has it twice.
BACKSLASH_QUOTE = '\\"'
_QUOTE = '"'


class CsvLines:
    """The physical lines of a CSV file, for `csv.reader`; `begin_record` is called before each record."""

    def __init__(
        self,
        file: TextIO,
        *,
        delimiter: str,
        skips_space: bool,
        line_end: str,
        max_record: int,
        first_line: int,
    ) -> None:
        """Take a file that stands at the beginning of a line, whose number from 1 is `first_line`."""
        self._file = file
        self._delimiter = delimiter
        self._skips_space = skips_space
        self._line_end = line_end
        self._max_record = max_record
        # Where the current record begins, and its physical lines so far.
        self.line = first_line
        self.line_count = 0
        # Lines that were read, and are to be read again.
        self.next_lines = deque[str]()
        self.begin_record()

    def begin_record(self) -> None:
        """Forget the record before, and know where the next one begins."""
        self.line += self.line_count
        self.line_count = 0
        # Its text as it was passed on, and how many characters that are.
        self.lines = list[str]()
        self._size = 0
        self.is_long = False
        self._has_backslash_quotes = False

    @property
    def has_backslash_quote(self) -> bool:
        """Return whether the record has a backslash before a quote."""
        return any(BACKSLASH_QUOTE in line for line in self.lines)

    def begin_again(self, *, backslash_quotes: bool) -> None:
        """Go back to the beginning of the record, and read a backslash before a quote as a quote, or as it is."""
        self.next_lines.extendleft(reversed(self.lines))
        self.line_count = 0
        self.begin_record()
        self._has_backslash_quotes = backslash_quotes

    def __iter__(self) -> Self:
        """Return the lines themselves."""
        return self

    def __next__(self) -> str:
        """Return the next line; the rest of an over-long record as one line with its cells cut."""
        text = (
            self.next_lines.popleft() if self.next_lines else self._file.readline(self._max_record)
        )
        if not text:
            raise StopIteration
        self._size += len(text)
        self.is_long = self._size >= self._max_record
        if self.is_long:
            text = self._read_long_record(text)
        else:
            self.line_count += 1
        self.lines.append(text)
        return text.replace(BACKSLASH_QUOTE, '""') if self._has_backslash_quotes else text

    def _read_long_record(self, text: str) -> str:
        """Read a record to its end, and return what is passed on of it from `text` on."""
        cutter = _CellCutter(
            self._delimiter, skips_space=self._skips_space, max_text=self._max_record
        )
        cutter.cut("".join(self.lines))
        passed_on = [cutter.cut(text)]
        self.line_count += 1
        while cutter.is_quoted or not text.endswith(self._line_end):
            is_next_line = text.endswith(self._line_end)
            text = self._file.readline(self._max_record)
            if not text:
                break
            self.line_count += is_next_line
            passed_on.append(cutter.cut(text))
        return "".join([*passed_on, cutter.end_quotes(), "\n"])


class _CellCutter:
    """Follow the cells of one record through its text, piece by piece, and cut the long ones."""

    def __init__(self, delimiter: str, *, skips_space: bool, max_text: int) -> None:
        self._delimiter = delimiter
        self._skips_space = skips_space
        self._tokens = re.compile(f'"|{re.escape(delimiter)}|[^"{re.escape(delimiter)}]+')
        # Characters that may still be passed on of the record, and of the current cell. The record is full
        # at the end of a cell, so that no quote stays open.
        self._room = max_text
        self._cell_room = MAX_CUT_CELL
        self._is_full = False
        self._is_start = True
        self._is_inside = False
        # A quote was the last character: it ends the cell, or is the first half of a doubled one.
        self._is_pending = False

    @property
    def is_quoted(self) -> bool:
        """Return whether the text so far ends within quotes."""
        return self._is_inside and not self._is_pending

    def cut(self, text: str) -> str:
        """Return what is passed on of the next piece."""
        return "".join(self._pass_on(token[0]) for token in self._tokens.finditer(text))

    def _pass_on(self, token: str) -> str:
        before = ""
        if self._is_pending and token != _QUOTE:
            before = self.end_quotes()
        if self._is_pending:
            self._is_pending = False
            return self._keep(_QUOTE) * 2
        if token == _QUOTE and self._is_inside:
            self._is_pending = True
            return ""
        if token == _QUOTE and self._is_start:
            self._is_inside = True
            return self._mark(_QUOTE)
        if token == self._delimiter and not self._is_inside:
            passed_on = before + self._mark(token)
            self._is_start = True
            self._cell_room = MAX_CUT_CELL
            self._is_full = self._room <= 0
            return passed_on
        self._is_start = self._is_start and self._skips_space and not token.strip(" ")
        return before + self._keep(token)

    def end_quotes(self) -> str:
        """Close the cell if its closing quote came last; return that quote, else no text."""
        self._is_inside = self._is_inside and not self._is_pending
        ended = self._mark(_QUOTE) if self._is_pending else ""
        self._is_pending = False
        return ended

    def _keep(self, text: str) -> str:
        kept = text[: self._cell_room]
        self._cell_room -= len(kept)
        return self._mark(kept)

    def _mark(self, text: str) -> str:
        """Return a piece, or nothing if the record has passed on all that it may."""
        self._room -= len(text)
        return "" if self._is_full else text
