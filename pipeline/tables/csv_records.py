"""Feed the lines of a CSV file to `csv.reader`, and cut the cells of over-long records.

`csv.reader` keeps a whole record in memory. If a line were cut anywhere, the quotes of its cells
would no longer pair, and the next rows would be read as part of a cell. So a record above the limit
is read to its own end: its quotes are tracked, and only the first characters of each cell are
passed on. To pass on means to give text to `csv.reader`.
"""

import re
from collections import deque
from typing import Self, TextIO

from pipeline.tables.text_file import BYTE_ORDER_MARK

# Characters that are kept of each cell of an over-long record; a cell of .xlsx has at most 32,767.
MAX_CUT_CELL = 32_000
CUT_MARK = " … [cut]"
# How some databases write a quote within quotes, which CSV writes as two quotes.
BACKSLASH_QUOTE = '\\"'
_QUOTE = '"'


class CsvLines:
    """Iterator over the physical lines of a CSV file, for `csv.reader`.

    Call `begin_record` before each record is read. The attributes then describe this record:
    `line_number` is its first line, `line_count` the number of its lines so far, `lines` their
    texts as they were passed on, and `is_long` whether it exceeds the size limit.
    """

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
        """Prepare to read a file from its current position.

        Args:
            file: An open file that is positioned at the beginning of a line.
            delimiter: The character between two cells.
            skips_space: Whether `csv.reader` skips blanks after a delimiter.
            line_end: The last character of each line.
            max_record: Characters from which a record is over-long.
            first_line: The number of the current line, from 1.
        """
        self._file = file
        self._delimiter = delimiter
        self._skips_space = skips_space
        self._line_end = line_end
        self._max_record = max_record
        # The first line of the current record, and how many of its lines were read.
        self.line_number = first_line
        self.line_count = 0
        # Lines that were read, and are to be read again.
        self.next_lines = deque[str]()
        self.begin_record()

    def begin_record(self) -> None:
        """Forget the lines of the previous record, and begin a new record. Reads nothing.

        `line_number` becomes the number of the line after the previous record.
        """
        self.line_number += self.line_count
        self.line_count = 0
        # The text of the record as it was passed on, and its number of characters.
        self.lines = list[str]()
        self._char_count = 0
        self.is_long = False
        self._unescapes_quotes = False

    @property
    def has_backslash_quote(self) -> bool:
        """Whether the record contains a backslash before a quote."""
        return any(BACKSLASH_QUOTE in line for line in self.lines)

    def restart_record(self, *, unescape_quotes: bool) -> None:
        """Go back to the beginning of the record, so that it is read again.

        Args:
            unescape_quotes: Pass a backslash before a quote on as a doubled quote.
        """
        self.next_lines.extendleft(reversed(self.lines))
        self.line_count = 0
        self.begin_record()
        self._unescapes_quotes = unescape_quotes

    def __iter__(self) -> Self:
        """Return this iterator itself."""
        return self

    def __next__(self) -> str:
        """Return the next line of the record, and count it.

        The line that exceeds the size limit and the rest of its record are returned as one line
        with cut cells; `is_long` is set then. After `restart_record` a backslash before a quote may
        be replaced by a second quote.

        Raises:
            StopIteration: The file ends.
        """
        text = self._read_line()
        if not text:
            raise StopIteration

        self._char_count += len(text)
        self.is_long = self._char_count >= self._max_record
        if self.is_long:
            text = self._read_long_record(text)
        else:
            self.line_count += 1

        self.lines.append(text)
        if self._unescapes_quotes:
            return text.replace(BACKSLASH_QUOTE, '""')
        return text

    def _read_line(self) -> str:
        """Return the next line that is to be read again, or else of the file; empty at its end.

        A byte order mark at its beginning is left out, as in files that were joined.
        """
        if self.next_lines:
            return self.next_lines.popleft()
        return self._file.readline(self._max_record).removeprefix(BYTE_ORDER_MARK)

    def _read_long_record(self, text: str) -> str:
        """Read an over-long record to its end, and return it from `text` on, with cut cells.

        The earlier lines of the record, in `lines`, are not returned: the CSV reader has them. The
        record ends at a line break outside quotes, or at the end of the file. The result keeps the
        closing quote of the last cell, and ends in a line break. Counts the lines that are read.

        Args:
            text: The line of the record that was read last, and is not yet in `lines`.
        """
        cutter = _CellCutter(
            self._delimiter,
            skips_space=self._skips_space,
            max_chars=self._max_record,
        )
        # The earlier lines were passed on already; they only set the cutter's state.
        cutter.cut("".join(self.lines))
        pieces = [cutter.cut(text)]

        self.line_count += 1
        while cutter.is_quoted or not text.endswith(self._line_end):
            is_next_line = text.endswith(self._line_end)
            text = self._file.readline(self._max_record)
            if not text:
                break
            self.line_count += is_next_line
            pieces.append(cutter.cut(text))
        return "".join([*pieces, cutter.end_quotes(), "\n"])


class _CellCutter:
    """Track the cells and quotes of one record, chunk by chunk, and cut long cells."""

    def __init__(self, delimiter: str, *, skips_space: bool, max_chars: int) -> None:
        """Begin a record, of which at most about `max_chars` characters are passed on."""
        self._delimiter = delimiter
        self._skips_space = skips_space
        self._tokens = re.compile(f'"|{re.escape(delimiter)}|[^"{re.escape(delimiter)}]+')
        # Characters that may still be passed on of the record, and of the current cell. The record
        # is full only at the end of a cell, so that no quote stays open.
        self._remaining_chars = max_chars
        self._remaining_cell_chars = MAX_CUT_CELL
        self._is_full = False
        self._is_cell_start = True
        self._is_in_quotes = False
        # The last character was a quote: it ends the cell, or is the first half of a doubled quote.
        self._is_after_quote = False

    @property
    def is_quoted(self) -> bool:
        """Whether the text so far ends within quotes."""
        return self._is_in_quotes and not self._is_after_quote

    def cut(self, text: str) -> str:
        """Read the next chunk of the record, and return the part of it that is passed on."""
        return "".join(self._process_token(token[0]) for token in self._tokens.finditer(text))

    def _process_token(self, token: str) -> str:
        """Update the state by one token; return the part of it that is passed on to the reader.

        The token is a quote, a delimiter, or a text between these. A cell is passed on up to
        MAX_CUT_CELL characters. No more cells are passed on after the record has `max_chars`. A
        closing quote is passed on later, with the next token, because it may be half of a doubled
        quote. A delimiter outside quotes begins a cell.
        """
        closing_quote = ""
        if self._is_after_quote and token != _QUOTE:
            closing_quote = self.end_quotes()

        if self._is_after_quote:
            # The second half of a doubled quote.
            self._is_after_quote = False
            return self._keep_text(_QUOTE) * 2
        if token == _QUOTE and self._is_in_quotes:
            self._is_after_quote = True
            return ""
        if token == _QUOTE and self._is_cell_start:
            self._is_in_quotes = True
            return self._keep_mark(_QUOTE)

        if token == self._delimiter and not self._is_in_quotes:
            passed_text = closing_quote + self._keep_mark(token)
            self._is_cell_start = True
            self._remaining_cell_chars = MAX_CUT_CELL
            self._is_full = self._remaining_chars <= 0
            return passed_text

        is_skipped_space = self._skips_space and not token.strip(" ")
        self._is_cell_start = self._is_cell_start and is_skipped_space
        return closing_quote + self._keep_text(token)

    def end_quotes(self) -> str:
        """Close the cell if its closing quote came last; return that quote, else no text."""
        self._is_in_quotes = self._is_in_quotes and not self._is_after_quote
        closing_quote = self._keep_mark(_QUOTE) if self._is_after_quote else ""
        self._is_after_quote = False
        return closing_quote

    def _keep_text(self, text: str) -> str:
        """Return as much of a cell's text as the cell and the record may still pass on."""
        kept_text = text[: self._remaining_cell_chars]
        self._remaining_cell_chars -= len(kept_text)
        return self._keep_mark(kept_text)

    def _keep_mark(self, text: str) -> str:
        """Return a text, or the empty text if the record is full."""
        self._remaining_chars -= len(text)
        return "" if self._is_full else text
