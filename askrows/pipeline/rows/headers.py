"""Tables with a header, CSV and sheets: detect a first row that is not a header, and read the rows.

A first row is refused in two cases:

- It is a title: it has less than three quarters of the filled cells of a typical row.
- It is a row of data: it and the next row have a date or a mail address in the same column, or a
  whole number in the first column and a word beside it.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, count, islice
from statistics import median
from typing import Any, NamedTuple

from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.text import join_first, make_names_unique, plural
from askrows.pipeline.rows.row_findings import (
    MAX_STORED_CHARS,
    Finding,
    ReadRow,
    SourceRow,
    make_excerpt,
    make_rejection,
)
from askrows.pipeline.rows.source_file import NO_HEADER, SourceFile, SourceTable

# Records that are examined.
MAX_SAMPLED_RECORDS = 30
# Our choice: a header has at least this share of the filled cells of a typical record.
_MIN_HEADER_SHARE = 0.75
# The first records, which an error message shows, and of which one is proposed as the header.
_MAX_SHOWN_RECORDS = 8
# Columns that a note lists.
_MAX_LISTED_NAMES = 12
_NUMBER = re.compile(r"[-+]?\d[\d ,.']*%?")
# A date or a mail address.
_DATE_OR_MAIL = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d.*)?|[^@\s]+@[^@\s]+\.[A-Za-z]+")


class HeaderError(InputError):
    """The first record of a table is not its header; `header` is the value to propose for it."""

    def __init__(self, message: str, *, hint: str, header: str) -> None:
        super().__init__(message, hint=hint)
        self.header = header


class Record(NamedTuple):
    """A record that is not blank."""

    # The line where it starts, from 1.
    line_number: int
    # Its cells; those by which a header is found are texts without surrounding blanks.
    cells: Sequence[Any]
    # Why it is rejected; empty for a sound record.
    reason: str = ""
    # The text that a finding shows; the cells if it is empty.
    excerpt: str = ""


def open_table_of_records(
    file: SourceFile,
    read_records: Callable[[], Iterator[Record]],
    *,
    excerpt_separator: str = ", ",
) -> SourceTable:
    """Return the table of a file's records.

    The header is the first record that is not blank, or the record on the line of `HEADER=`. With
    `HEADER=none`, names are made up. A column without a name is called `column_4` by its position.
    A repeated name is numbered, unless it is a known column. Notes list names of both kinds.
    Without `HEADER=`, a first record without a known column is refused if it cannot be a header.

    Args:
        file: The file.
        read_records: Yields the records from the first line on.
        excerpt_separator: The text between two cells in an excerpt of a record.

    Raises:
        InputError: The header's line is blank or faulty, there is no record, or the first record is
            certainly not a header (HeaderError).
    """
    first_records = [
        record._replace(cells=list(map(_join_words, record.cells)))
        for record in islice(read_records(), MAX_SAMPLED_RECORDS)
    ]
    records = [record for record in first_records if not record.reason]
    header = first_records[0] if first_records else None
    if header is None or header.reason or file.header_line not in {None, 0, header.line_number}:
        raise file.make_error(
            f": the names of the columns on line {file.first_line} cannot be read",
            hint=(
                f"set {OptionHint('header')} to a line with column names and paired quotes, or "
                f"{OptionHint('sheet')} to another sheet of a workbook"
            ),
        )

    made_names = [f"column_{number}" for number in range(1, len(header.cells) + 1)]
    if file.header_line == 0:
        read_rows = partial(_read_rows, read_records, made_names, Record(0, ()), excerpt_separator)
        return SourceTable(made_names, read_rows)

    if file.header_line is None and not any(map(file.is_known_column, header.cells)):
        _check_first_record_is_header(file, records)
    header_names = number_repeated_names(header.cells, file.notes, is_exempt=file.is_known_column)
    names = [name or made_name for name, made_name in zip(header_names, made_names, strict=True)]
    added_names = [name for name in made_names if name in names and name not in header.cells]
    if added_names:
        file.notes.append(f"columns without a name are called {', '.join(added_names)}")
    return SourceTable(names, partial(_read_rows, read_records, names, header, excerpt_separator))


def _read_rows(
    read_records: Callable[[], Iterator[Record]],
    names: Sequence[str],
    header: Record,
    excerpt_separator: str,
) -> Iterator[ReadRow]:
    """Yield the row of each record below the header, and a finding for each faulty record.

    A record is faulty if it has a reason, has not as many cells as the header, or repeats the
    header.

    Args:
        read_records: Yields the records.
        names: The names of the columns.
        header: The header; without cells, and on line 0, if the table has none.
        excerpt_separator: The text between two cells in an excerpt of a record.
    """
    header_texts = list(map(str.casefold, header.cells))
    for record in read_records():
        if record.line_number <= header.line_number:
            continue

        cells = record.cells
        if record.reason:
            yield _make_record_rejection(record, names, excerpt_separator)
        elif len(cells) != len(names):
            reason = f"wrong number of fields: found {len(cells)}, expected {len(names)}"
            # The first column without a field.
            column = next(map(make_excerpt, names[len(cells) :]), "")
            yield _make_record_rejection(
                record._replace(reason=reason), names, excerpt_separator, column=column
            )
        elif _are_equal_texts(cells, header_texts):
            reason = "the header is repeated, as in joined files"
            repeated_header = Record(record.line_number, list(map(_join_words, cells)), reason)
            yield _make_record_rejection(repeated_header, names, excerpt_separator)
        else:
            yield SourceRow(record.line_number, dict(zip(names, cells, strict=True)))


def _make_record_rejection(
    record: Record, names: Sequence[str], excerpt_separator: str, *, column: str = ""
) -> Finding:
    """Return the finding that rejects a record, with its cells by column.

    A cell beyond the header is named by its number, such as `column_3` for the third cell. Long
    cells are cut: a page of findings must not fill the memory.
    """
    more_names = (f"column_{number}" for number in count(len(names) + 1))
    return make_rejection(
        record.line_number,
        record.reason,
        record.excerpt or excerpt_separator.join(record.cells),
        column=column,
        cells={
            name: text[: MAX_STORED_CHARS + 1]
            for name, text in zip(chain(names, more_names), record.cells, strict=False)
        },
    )


def _are_equal_texts(cells: Sequence[Any], folded_texts: Sequence[str]) -> bool:
    """Return whether cells have these texts; case and white space do not matter."""
    if [_join_words(cells[0]).casefold()] != folded_texts[:1]:
        return False
    return [_join_words(cell).casefold() for cell in cells] == folded_texts


def _join_words(cell: Any) -> str:
    """Return the text of a cell on one line, with a blank between two words; None is empty."""
    return "" if cell is None else " ".join(str(cell).split())


def _check_first_record_is_header(file: SourceFile, records: Sequence[Record]) -> None:
    """Check that the first record of a table may be a header. An only record passes.

    Args:
        file: The file, for the error.
        records: The first records of the table.

    Raises:
        HeaderError: The first record is a title or a row of data. The hint shows `HEADER=` with the
            line of the header, and for a table without a header. `header` is the proposed value.
    """
    header, *rows = records
    if not rows:
        return

    first_records = records[:_MAX_SHOWN_RECORDS]
    typical_count = median(map(_count_filled, records[len(records) // 2 :]))
    headers = [
        record
        for record in first_records
        if _count_filled(record) >= typical_count and not _is_number_date_or_mail(record.cells[0])
    ]
    # Some names may be numbers, such as years, but a record without numbers is more likely.
    named_header = next(filter(_has_only_names, headers), None)

    # An outer column may have no name: the first, as programs write it for the numbers of the rows,
    # or the last, if no other record is like a header.
    filled_count = _count_filled(header)
    has_unnamed_end = not header.cells[0] or (
        filled_count > 1 and not header.cells[-1] and named_header is None
    )
    is_title = filled_count < _MIN_HEADER_SHARE * typical_count and not (
        has_unnamed_end and filled_count + 1 >= typical_count
    )
    value = _find_header_cell_with_data(header, rows[0])
    header_line = header.line_number
    proposed_header = NO_HEADER
    if is_title:
        header_line = (named_header or next(iter(headers), header)).line_number
        proposed_header = str(header_line)
        reason = f"the header is on line {header_line}, below a title"
        if header_line == header.line_number:
            reason = (
                f"line {header_line} has {plural(filled_count, 'filled cell')}, "
                f"but a typical row has {typical_count:g}, and no header is below it"
            )
    elif value:
        reason = f"no header: {make_excerpt(value)!r} is a value like the value below it"
    else:
        return

    shown_records = ", ".join(
        f"line {record.line_number} '{make_excerpt(', '.join(filter(None, record.cells)))}'"
        for record in first_records
    )
    raise HeaderError(
        f"{file.path}: {reason}; nothing was read. The file begins: {shown_records}",
        hint=(
            f"{OptionHint(header=header_line)} reads the column names from line {header_line}, "
            f"{OptionHint(header=NO_HEADER)} names the columns column_1, …; "
            "in a task's file set header="
        ),
        header=proposed_header,
    )


def _count_filled(record: Record) -> int:
    """Return how many cells of a record are filled."""
    return sum(map(bool, record.cells))


def _has_only_names(record: Record) -> bool:
    """Return whether all filled cells of a record differ, and none is a number or a date."""
    names = list(filter(None, record.cells))
    has_distinct_names = len(set(names)) == len(names)
    return has_distinct_names and not any(map(_is_number_date_or_mail, names))


def _is_number_date_or_mail(text: str) -> bool:
    """Return whether a cell is a number, a time, a date or a mail address."""
    has_digits_only = any(map(str.isdigit, text)) and not any(map(str.isalpha, text))
    return has_digits_only or _DATE_OR_MAIL.fullmatch(text) is not None


def number_repeated_names(
    names: Sequence[str],
    notes: list[str],
    *,
    is_exempt: Callable[[str], bool] = frozenset[str]().__contains__,
) -> list[str]:
    """Return the names of columns, each different from the others; see `make_names_unique`.

    Args:
        names: The names from left to right; empty names are returned as they are.
        notes: A note that lists the numbered names is appended to this list.
        is_exempt: Returns whether a repeated name is kept as it is; the caller refuses it.
    """
    unique_names = make_names_unique(names, is_exempt=is_exempt)
    numbered_names = [repr(make_excerpt(name)) for name in unique_names if name not in names]
    if numbered_names:
        listed_names = join_first(numbered_names, _MAX_LISTED_NAMES)
        notes.append(f"columns with a repeated name are called {listed_names}")
    return unique_names


def _find_header_cell_with_data(header: Record, row: Record) -> str:
    """Return a cell of the first record that is a value like the cell below it; "" without any.

    Dates and mail addresses are such values; so is a whole number in the first column if the first
    record also has a cell that is no number.
    """
    for cell, value_below in zip(header.cells, row.cells, strict=False):
        if _DATE_OR_MAIL.fullmatch(cell) and _DATE_OR_MAIL.fullmatch(value_below):
            return str(cell)

    has_word = any(cell and not _NUMBER.fullmatch(cell) for cell in header.cells)
    if has_word and header.cells[0].isdecimal() and row.cells[0].isdecimal():
        return str(header.cells[0])
    return ""
