"""Read a CSV table: its delimiter and its records.

A record is one row of cells as `csv.reader` splits it; with quotes it can span lines. `csv.reader`
keeps a whole record in memory. If a line were cut anywhere, the quotes of its cells would no longer
pair, and the next rows would be read as part of a cell. So the file is refused if a cell or a line
is longer than a row may be.
"""

import contextlib
import csv
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from pipeline.core.text import restore_formula
from pipeline.tables.headers import MAX_SAMPLED_RECORDS, Record, open_records
from pipeline.tables.row_findings import MAX_ROW_CHARS

if TYPE_CHECKING:
    from pipeline.tables.source_file import SourceFile, Table

# Lines by which the delimiter is chosen.
_MAX_HEAD_LINES = 50
_DELIMITERS = (",", ";", "\t", "|")
csv.field_size_limit(MAX_ROW_CHARS)


def open_csv(file: "SourceFile") -> "Table":
    """Detect the delimiter and the header of a CSV file; see `SourceFile`.

    Raises:
        InputError: There is no header, or its quotes are not paired.
    """
    start = file.first_line - 1
    with file.open() as text_file:
        lines = islice(file.read_lines(text_file), start, start + _MAX_HEAD_LINES)
        head = [text for text in lines if text.strip()]
    delimiter = _choose_delimiter(file, head)
    if delimiter != ",":
        file.notes.append(f"fields are separated by {delimiter!r}")

    first_names = next(csv.reader(head, delimiter=delimiter), [])
    # A blank before every name is a habit of the file; a blank before some names is part of these
    # names.
    skips_space = len(first_names) > 1 and all(name.startswith(" ") for name in first_names[1:])
    dialect = {"delimiter": delimiter, "skipinitialspace": skips_space}
    return open_records(file, partial(_read_records, file, dialect), separator=delimiter)


def _choose_delimiter(file: "SourceFile", head: Sequence[str]) -> str:
    """Return the delimiter of a table.

    It is chosen by these rules, of which a later one decides a tie:

    1. It splits the first record into the most known columns.
    2. It splits all records into the same number of cells, at least two. The last record is not
       compared: it may be cut.
    3. It splits the first record into the most cells.
    4. Without `HEADER=` it splits the most of the other records: the first may be a title.

    Args:
        file: The file.
        head: Lines from the header on.
    """
    may_have_title = file.header_line is None

    def rank(delimiter: str) -> tuple[int, bool, int, int]:
        names, *rows = _split_first_records(head, delimiter) or [[]]
        is_even = len(names) > 1 and all(len(row) == len(names) for row in rows[:-1])
        split_rows = may_have_title and sum(len(row) > 1 for row in rows)
        return sum(map(file.is_known_column, names)), is_even, len(names), split_rows

    return max(_DELIMITERS, key=rank)


def _split_first_records(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Return the first records that are not blank, as a reader splits them that allows any quotes.

    Cells are stripped of outer spaces. The records end before a line with a stray line break.
    """
    records = list[list[str]]()
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    with contextlib.suppress(csv.Error):
        for fields in islice(reader, MAX_SAMPLED_RECORDS):
            if any(map(str.strip, fields)):
                records.append([field.strip() for field in fields])
    return records


def _read_records(file: "SourceFile", dialect: Mapping[str, Any]) -> Iterator[Record]:
    """Yield the records of a file from its first line on; blank records are skipped.

    A record with broken quotes has a reason. Cells that an export neutralized
    get their original text back.

    Args:
        file: The file.
        dialect: Options of `csv.reader`.

    Raises:
        InputError: A quote is not closed until the end of the file, or a cell or line is too long.
    """
    # The lines of the current record.
    texts = list[str]()
    with file.open() as text_file:
        lines = islice(file.read_lines(text_file), file.first_line - 1, None)
        reader = csv.reader(_append_lines(lines, texts), strict=True, **dialect)
        while True:
            line_number = file.first_line + reader.line_num
            texts.clear()
            try:
                fields = next(reader, None)
            except csv.Error as error:
                yield _make_broken_record(file, line_number, texts, str(error), dialect)
                continue

            if fields is None:
                return
            if len(fields) > 1 or any(map(str.strip, fields)):
                cells = [
                    restore_formula(field) if field.startswith("'") else field for field in fields
                ]
                yield Record(line_number, cells)


def _append_lines(lines: Iterator[str], texts: list[str]) -> Iterator[str]:
    """Yield lines, and append each to a list."""
    for text in lines:
        texts.append(text)
        yield text


def _make_broken_record(
    file: "SourceFile",
    line_number: int,
    texts: Sequence[str],
    error: str,
    dialect: Mapping[str, Any],
) -> Record:
    """Return the record that `csv.reader` refused, with the reason.

    The reason is a line break outside quotes, or a text after a closing quote. If the record has
    several lines, all are left out, and the reason names the last. The cells are those of a lenient
    reader.

    Args:
        file: The file.
        line_number: The line where the record starts.
        texts: The lines of the record.
        error: The reader's message.
        dialect: Options of `csv.reader`.

    Raises:
        InputError: A quote is not closed, or a cell is longer than MAX_ROW_CHARS, so the following
            rows cannot be recognized.
    """
    if "end of data" in error or "limit" in error:
        raise file.make_error(
            f", line {line_number}: a quote is opened and not closed",
            hint=(
                "close the quote, or double it if it is part of the text; a cell has at most "
                f"{MAX_ROW_CHARS:,} characters"
            ),
        )

    reason = "text after a closing quote (double a quote that is part of the text)"
    if "new-line" in error:
        reason = "a line break outside quotes (quote the cell, or end all lines alike)"
    if len(texts) > 1:
        last_line = line_number + len(texts) - 1
        reason += f"; lines {line_number} to {last_line} are left out"

    # Without strict rules the reader accepts any text except a stray line break, so the row can be
    # shown.
    lines = (" ".join(text.splitlines()) + "\n" for text in texts)
    fields = next(csv.reader(lines, **dialect), [])
    return Record(line_number, fields, reason, texts[0].rstrip("\r\n"))
