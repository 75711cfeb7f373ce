"""Read a CSV table: its delimiter and its records.

A record is one row of cells as `csv.reader` splits it; with quotes it can span lines. `csv.reader`
keeps a whole record in memory. If a line were cut anywhere, the quotes of its cells would no longer
pair, and the next rows would be read as part of a cell. So the file is refused if a cell or a line
is longer than a row may be.
"""

import contextlib
import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from itertools import islice, takewhile, tee
from typing import Any, NamedTuple

from askrows.pipeline.core.text import plural, restore_formula
from askrows.pipeline.rows.answer_views import has_export_columns
from askrows.pipeline.rows.headers import MAX_SAMPLED_RECORDS, Record, open_table_of_records
from askrows.pipeline.rows.row_findings import MAX_ROW_CHARS
from askrows.pipeline.rows.source_file import SourceFile, SourceTable

# Lines by which the delimiter is chosen.
_MAX_HEAD_LINES = 50
_DELIMITERS = (",", ";", "\t", "|")
# A quote after a backslash that is not itself after a backslash.
_ESCAPED_QUOTE = re.compile(r'(?<!\\)((?:\\\\)*)\\"')
_QUOTE_HINT = "close the quote, or double it if it is part of the text"
# Lines of a record that look like rows, from which it is rejected.
_MIN_INNER_ROWS = 2
# Records by which the shapes of cells are found, and characters of a shape.
_MAX_SHAPED_RECORDS = 200
_MAX_SHAPED_CHARS = 100
_MIN_SHAPE_SHARE = 0.9
_LETTERS = re.compile(r"[^\W\d_]+")
_DIGITS = re.compile(r"\d+")
csv.field_size_limit(MAX_ROW_CHARS)


def open_csv(file: SourceFile) -> SourceTable:
    """Return the table of a CSV file; detect its delimiter and its header.

    See `open_table_of_records` for the header.

    A note names a delimiter other than the comma. If every name after the first begins with a
    space, spaces after delimiters are removed. In an export, formulas get their original text back.

    Raises:
        InputError: The header is blank or faulty, or the first record is certainly not a header, or
            a quote in the first records is not closed.
    """
    start = file.first_line - 1
    with file.open() as text_file:
        lines = islice(file.read_lines(text_file), start, start + _MAX_HEAD_LINES)
        head = [text for text in lines if text.strip()]
    delimiter = _choose_delimiter(file, head)
    if delimiter != ",":
        file.notes.append(f"fields are separated by {delimiter!r}")

    first_names = _split_cells_leniently(head, {"delimiter": delimiter})
    # A blank before every name is a habit of the file; a blank before some names is part of these
    # names.
    later_names = first_names[1:]
    skips_space = bool(later_names) and all(name.startswith(" ") for name in later_names)
    dialect = {"delimiter": delimiter, "skipinitialspace": skips_space}
    common_shapes = _find_common_cell_shapes(file, dialect)
    read_records: Callable[[], Iterator[Record]] = partial(
        _read_records_with_fault_reasons, file, dialect, common_shapes
    )
    if has_export_columns(first_names, file.export_columns):
        read_records = partial(_restore_formulas, read_records)
    return open_table_of_records(file, read_records, excerpt_separator=delimiter)


def _choose_delimiter(file: SourceFile, head: Sequence[str]) -> str:
    """Return the delimiter of a table.

    It is chosen by these rules, of which a later one decides a tie:

    1. It splits the first record into the most known columns.
    2. It splits all records into the same number of cells, at least two. The last record is not
       compared: it may be cut.
    3. It splits the first record into the most cells.
    4. Without `HEADER=` it splits the most of the other records: the first may be a title.
    5. It comes first in `_DELIMITERS`.

    Args:
        file: The file.
        head: Lines from the header on.
    """
    may_have_title = file.header_line is None

    def rank_delimiter(delimiter: str) -> tuple[int, bool, int, int]:
        """Return how well a delimiter fits by rules 1 to 4; the greatest fits best."""
        names, *rows = _split_first_records(head, delimiter) or [[]]
        width = len(names)
        is_even = width > 1 and all(len(row) == width for row in rows[:-1])
        split_rows = may_have_title and sum(len(row) > 1 for row in rows)
        known_count = sum(map(file.is_known_column, names))
        return known_count, is_even, width, split_rows

    return max(_DELIMITERS, key=rank_delimiter)


def _split_first_records(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Return the cells of the first MAX_SAMPLED_RECORDS records, without blank records.

    The quotes are not checked. Cells are stripped of outer white space. The records end before a
    line with a stray line break.
    """
    records = list[list[str]]()
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    with contextlib.suppress(csv.Error):
        for fields in islice(reader, MAX_SAMPLED_RECORDS):
            if any(map(str.strip, fields)):
                records.append([field.strip() for field in fields])
    return records


class _SplitRecord(NamedTuple):
    """A record as `csv.reader` splits it."""

    # The line where it starts, from 1.
    line_number: int
    texts: Sequence[str]
    # Empty if the reader refused the record.
    fields: Sequence[str]
    # The message of the reader; empty for a sound record.
    error: str

    def has_width(self, width: int) -> bool:
        """Return whether the record is sound, and has as many fields; 0 means any number."""
        return not self.error and width in {0, len(self.fields)}


def _read_records_with_fault_reasons(
    file: SourceFile, dialect: Mapping[str, Any], common_shapes: frozenset[tuple[int, str]]
) -> Iterator[Record]:
    """Yield the records of a file from its first line on; blank records are skipped.

    A record has a reason if its quotes are broken. It also has one if a quote was probably not
    closed: at least two lines within its quotes look like rows. Without common shapes such a record
    is sound. At the end, a note counts the lines of sound records that look like rows.

    Args:
        file: The file; the note is added to it.
        dialect: Options of `csv.reader`.
        common_shapes: See `_find_common_cell_shapes`.

    Raises:
        InputError: A quote is not closed until the end of the file, or a cell or line is too long.
    """
    width = 0
    noted_lines = 0
    noted_line_number = 0
    for record in _split_records(file, dialect):
        if record.error:
            reason = _describe_error_or_raise(file, record)
            # Without strict rules the reader accepts any text, so the row can be shown.
            cells = _split_cells_leniently(record.texts, dialect)
            yield _make_rejected_record(record, cells, reason)
            continue

        width = width or len(record.fields)
        row_count = _count_row_like_lines(record.texts[1:], width, common_shapes, dialect)
        if common_shapes and row_count >= _MIN_INNER_ROWS:
            reason = (
                f"{row_count:,} lines within quotes look like rows ({_QUOTE_HINT}; if they are one "
                "text, save the table as .xlsx)"
            )
            yield _make_rejected_record(record, record.fields, reason)
            continue

        if row_count:
            noted_lines += row_count
            noted_line_number = record.line_number
        yield Record(record.line_number, record.fields)

    note = (
        f"{plural(noted_lines, 'line')} within quotes may be rows, for example below line "
        f"{noted_line_number}; if so, {_QUOTE_HINT}"
    )
    if noted_lines and note not in file.notes:
        file.notes.append(note)


def _count_row_like_lines(
    texts: Sequence[str],
    width: int,
    common_shapes: frozenset[tuple[int, str]],
    dialect: Mapping[str, Any],
) -> int:
    """Return how many lines of a record after its first look like rows.

    Such a line has as many cells as the header. With common shapes, its cells before the first
    quote also have all common shapes of their columns, and at least one column has a common shape.
    Without common shapes the last line does not count.
    """
    lines = [_split_cells_leniently([text], dialect) for text in texts]
    # Behind a closing quote are the cells of the record itself.
    if not common_shapes:
        return sum(len(cells) == width for cells in lines[:-1])

    row_count = 0
    for cells in lines:
        if len(cells) != width:
            continue
        quoted_cells = list(takewhile(lambda cell: '"' not in cell, cells))
        expected_shapes = {shape for shape in common_shapes if shape[0] < len(quoted_cells)}
        if expected_shapes and expected_shapes.issubset(_list_cell_shapes(quoted_cells)):
            row_count += 1
    return row_count


def _find_common_cell_shapes(
    file: SourceFile, dialect: Mapping[str, Any]
) -> frozenset[tuple[int, str]]:
    """Return (column index, shape) of the columns by which rows are recognized.

    At least 90 % of the cells of such a column have the same shape. The first rows below the header
    are examined.
    """
    row_count = 0
    counts = Counter[tuple[int, str]]()
    for record in islice(_split_records(file, dialect), 1, _MAX_SHAPED_RECORDS):
        row_count += 1
        counts.update(_list_cell_shapes(record.fields))
    min_count = _MIN_SHAPE_SHARE * row_count
    return frozenset(shape for shape, count in counts.items() if count >= min_count)


def _list_cell_shapes(cells: Iterable[str]) -> list[tuple[int, str]]:
    """Return (column index, shape) of the cells that have a digit.

    A shape is the beginning of a cell with `a` for a run of letters and `9` for a run of digits:
    `AB-123` is `a-9`.
    """
    texts = (_LETTERS.sub("a", cell[:_MAX_SHAPED_CHARS].strip()) for cell in cells)
    shapes = enumerate(_DIGITS.sub("9", text) for text in texts)
    return [(index, shape) for index, shape in shapes if "9" in shape]


def _split_records(file: SourceFile, dialect: Mapping[str, Any]) -> Iterator[_SplitRecord]:
    r"""Yield the records of a file that are not blank, from its first line on.

    A blank record has at most one cell, with white space only. A broken record has the error. CSV
    doubles a quote within quotes, but some databases write `\"`. A record that is broken, or has
    not as many fields as the first record, is read a second time, with `\"` as a doubled quote. The
    second reading counts if it is sound, and has that number of fields.
    """
    # A reader is made faster from another reader's dialect.
    strict_dialect: Any = csv.reader((), strict=True, **dialect).dialect
    line_number = file.first_line
    width = 0
    with file.open() as text_file:
        # A copy of this iterator reads the same lines again.
        (lines,) = tee(islice(file.read_lines(text_file), line_number - 1, None), 1)
        while True:
            same_lines = copy(lines)
            record = _split_next_record(lines, line_number, strict_dialect)
            if not record.has_width(width):
                escaped_record = _split_next_record(
                    same_lines,
                    line_number,
                    strict_dialect,
                    edit_line=partial(_ESCAPED_QUOTE.sub, r'\1""'),
                )
                if escaped_record.has_width(width):
                    record = escaped_record
                    lines = same_lines

            if not record.texts:
                return
            if record.error or len(record.fields) > 1 or any(map(str.strip, record.fields)):
                width = width or len(record.fields)
                yield record
            line_number += len(record.texts)


def _split_next_record(
    lines: Iterator[str],
    line_number: int,
    dialect: Any,
    *,
    edit_line: Callable[[str], str] = str,
) -> _SplitRecord:
    """Return the next record; it has no texts at the end of the lines.

    If the reader refuses the record, it has no fields, and the reader's message.

    Args:
        lines: An iterator that can be copied, whose next line has the number `line_number`.
        line_number: The number.
        dialect: The dialect, with strict rules.
        edit_line: Returns the text that is read instead of a line.
    """
    same_lines = copy(lines)
    reader = csv.reader(map(edit_line, lines), dialect)
    fields: Sequence[str] = ()
    reason = ""
    try:
        fields = next(reader, ())
    except csv.Error as error:
        reason = str(error)
    return _SplitRecord(line_number, list(islice(same_lines, reader.line_num)), fields, reason)


def _restore_formulas(read_records: Callable[[], Iterator[Record]]) -> Iterator[Record]:
    """Yield the records of an export; cells that it neutralized get their original text back."""
    for record in read_records():
        yield record._replace(cells=list(map(restore_formula, record.cells)))


def _split_cells_leniently(texts: Sequence[str], dialect: Mapping[str, Any]) -> Sequence[str]:
    """Return the cells of lines that are a record, as a reader without strict rules splits them."""
    lines = (" ".join(text.splitlines()) + "\n" for text in texts)
    return next(csv.reader(lines, **dialect), [])


def _make_rejected_record(record: _SplitRecord, cells: Sequence[str], reason: str) -> Record:
    """Return a record with a reason that names its lines if it has several.

    A finding shows its first line.
    """
    if len(record.texts) > 1:
        last_line = record.line_number + len(record.texts) - 1
        reason += f"; lines {record.line_number} to {last_line} are left out"
    return Record(record.line_number, cells, reason, record.texts[0].rstrip("\r\n"))


def _describe_error_or_raise(file: SourceFile, record: _SplitRecord) -> str:
    """Return the reason why `csv.reader` refused a record.

    It is a line break outside quotes, or a text after a closing quote.

    Raises:
        InputError: A quote is not closed, or a cell is longer than MAX_ROW_CHARS, so the following
            rows cannot be recognized.
    """
    if "end of data" in record.error or "limit" in record.error:
        raise file.make_error(
            f", line {record.line_number}: a quote is opened and not closed",
            hint=f"{_QUOTE_HINT}; a cell has at most {MAX_ROW_CHARS:,} characters",
        )
    if "new-line" in record.error:
        return "a line break outside quotes (quote the cell, or end all lines alike)"
    return "text after a closing quote (double a quote that is part of the text)"
