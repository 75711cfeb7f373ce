"""Read a CSV table: its delimiter and its records.

A record is one row of cells as `csv.reader` splits it; with quotes it can span lines. `csv.reader`
keeps a whole record in memory. If a line were cut anywhere, the quotes of its cells would no longer
pair, and the next rows would be read as part of a cell. So the file is refused if a cell or a line
is longer than a row may be.
"""

import contextlib
import csv
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from askrows.pipeline.core.text import plural, restore_formula
from askrows.pipeline.tables.columns import has_export_columns
from askrows.pipeline.tables.headers import MAX_SAMPLED_RECORDS, Record, open_records
from askrows.pipeline.tables.row_findings import MAX_ROW_CHARS

if TYPE_CHECKING:
    from askrows.pipeline.tables.source_file import SourceFile, Table

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
    common_shapes = _find_common_shapes(file, dialect)
    read_records: Callable[[], Iterator[Record]] = partial(
        _read_records, file, dialect, common_shapes
    )
    if has_export_columns(first_names, file.export_columns):
        read_records = partial(_restore_formulas, read_records)
    return open_records(file, read_records, separator=delimiter)


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


class _SplitRecord(NamedTuple):
    """A record as `csv.reader` splits it."""

    # The line where it starts, from 1.
    line_number: int
    texts: Sequence[str]
    # Empty if the reader refused the record.
    fields: Sequence[str]
    # The message of the reader; empty for a sound record.
    error: str


def _read_records(
    file: "SourceFile", dialect: Mapping[str, Any], common_shapes: frozenset[tuple[int, str]]
) -> Iterator[Record]:
    """Yield the records of a file from its first line on; blank records are skipped.

    A record has a reason if its quotes are broken. It also has one if a quote was probably not
    closed: at least two lines within its quotes look like rows. Without common shapes such a record
    is sound. A note counts the lines of sound records that look like rows.

    Args:
        file: The file.
        dialect: Options of `csv.reader`.
        common_shapes: See `_find_common_shapes`.

    Raises:
        InputError: A quote is not closed until the end of the file, or a cell or line is too long.
    """
    width = 0
    noted_lines = 0
    noted_line_number = 0
    for record in _split_records(file, dialect):
        if record.error:
            yield _make_broken_record(file, record, dialect)
            continue

        width = width or len(record.fields)
        row_count = _count_rows(record.texts[1:], width, common_shapes, dialect)
        if common_shapes and row_count >= _MIN_INNER_ROWS:
            reason = f"{row_count:,} lines within quotes look like rows ({_QUOTE_HINT})"
            yield _reject_record(record, record.fields, reason)
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


def _count_rows(
    texts: Sequence[str],
    width: int,
    common_shapes: frozenset[tuple[int, str]],
    dialect: Mapping[str, Any],
) -> int:
    """Return how many lines look like rows.

    Such a line has as many cells as the header, and one of the common shapes if there are any.
    """
    row_count = 0
    for text in texts:
        cells = _split_line(text, dialect)
        has_common_shape = not common_shapes.isdisjoint(enumerate(map(_find_shape, cells)))
        if len(cells) == width and (has_common_shape or not common_shapes):
            row_count += 1
    return row_count


def _find_common_shapes(
    file: "SourceFile", dialect: Mapping[str, Any]
) -> frozenset[tuple[int, str]]:
    """Return (column index, shape) of the columns by which rows are recognized.

    At least 90 % of the cells of such a column have the same shape, and it has a digit. The first
    rows are examined.
    """
    row_count = 0
    counts = Counter[tuple[int, str]]()
    for record in islice(_split_records(file, dialect), 1, _MAX_SHAPED_RECORDS):
        row_count += 1
        counts.update(enumerate(map(_find_shape, record.fields)))

    min_count = _MIN_SHAPE_SHARE * row_count
    return frozenset(
        (index, shape)
        for (index, shape), count in counts.items()
        if count >= min_count and "9" in shape
    )


def _find_shape(cell: str) -> str:
    """Return the beginning of a cell with `a` for letters and `9` for digits, such as "a-9"."""
    text = _LETTERS.sub("a", cell[:_MAX_SHAPED_CHARS].strip())
    return _DIGITS.sub("9", text)


class _RecordLines:
    """Iterator over lines for `csv.reader`, which can read those of the last record again.

    Attributes:
        texts: The lines of the current record.
        next_texts: Lines that were read, and are read again.
    """

    def __init__(self, lines: Iterator[str], dialect: Mapping[str, Any]) -> None:
        """Begin with the first of the lines."""
        self.texts = list[str]()
        self.next_texts = deque[str]()
        self._lines = lines
        self._reader = csv.reader(self, strict=True, **dialect)
        self._has_escapes = False

    def __iter__(self) -> Self:
        """Return this iterator itself."""
        return self

    def __next__(self) -> str:
        """Return the next line, and append it to `texts`."""
        text = self.next_texts.popleft() if self.next_texts else next(self._lines)
        self.texts.append(text)
        return _ESCAPED_QUOTE.sub(r'\1""', text) if self._has_escapes else text

    def split_record(self, *, has_escapes: bool = False) -> tuple[Sequence[str], str]:
        r"""Return the fields of the record that begins with `texts`, and the error of the reader.

        Args:
            has_escapes: Read `\"` as a doubled quote.
        """
        self.next_texts.extendleft(reversed(self.texts))
        self.texts = []
        self._has_escapes = has_escapes
        try:
            return next(self._reader, ()), ""
        except csv.Error as error:
            return (), str(error)


def _split_records(file: "SourceFile", dialect: Mapping[str, Any]) -> Iterator[_SplitRecord]:
    r"""Yield the records of a file that are not blank, from its first line on.

    CSV doubles a quote within quotes, but some databases write `\"`. A record with `\"` is read a
    second time, with `\"` as a quote, unless it is a single line with as many fields as the first
    record. The second reading counts if only it has that number of fields. It also counts if it is
    shorter, and the next line has that number: in the first reading a quote stayed open.
    """
    line_number = file.first_line
    width = 0
    with file.open() as text_file:
        lines = _RecordLines(islice(file.read_lines(text_file), line_number - 1, None), dialect)
        while True:
            fields, error = lines.split_record()
            is_row = not error and width in {0, len(fields)}
            is_single_row = is_row and len(lines.texts) == 1
            if not is_single_row and any(map(_ESCAPED_QUOTE.search, lines.texts)):
                fields, error = lines.split_record(has_escapes=True)
                next_fields = _split_line(next(iter(lines.next_texts), ""), dialect)
                is_whole = is_row and len(next_fields) != width
                if error or is_whole or width not in {0, len(fields)}:
                    fields, error = lines.split_record()

            if not lines.texts:
                return
            if error or len(fields) > 1 or any(map(str.strip, fields)):
                width = width or len(fields)
                yield _SplitRecord(line_number, lines.texts, fields, error)
            line_number += len(lines.texts)
            lines.texts = []


def _restore_formulas(read_records: Callable[[], Iterator[Record]]) -> Iterator[Record]:
    """Yield the records of an export; cells that it neutralized get their original text back."""
    for record in read_records():
        yield record._replace(cells=list(map(restore_formula, record.cells)))


def _split_line(text: str, dialect: Mapping[str, Any]) -> Sequence[str]:
    """Return the cells of a line as a record of its own, as a lenient reader splits it."""
    return next(csv.reader([" ".join(text.splitlines())], **dialect), [])


def _reject_record(record: _SplitRecord, cells: Sequence[str], reason: str) -> Record:
    """Return a record with a reason, which names its lines if it has several."""
    if len(record.texts) > 1:
        last_line = record.line_number + len(record.texts) - 1
        reason += f"; lines {record.line_number} to {last_line} are left out"
    return Record(record.line_number, cells, reason, record.texts[0].rstrip("\r\n"))


def _make_broken_record(
    file: "SourceFile", record: _SplitRecord, dialect: Mapping[str, Any]
) -> Record:
    """Return the record that `csv.reader` refused, with the reason.

    The reason is a line break outside quotes, or a text after a closing quote. If the record has
    several lines, all are left out. The cells are those of a lenient reader.

    Args:
        file: The file.
        record: The record.
        dialect: Options of `csv.reader`.

    Raises:
        InputError: A quote is not closed, or a cell is longer than MAX_ROW_CHARS, so the following
            rows cannot be recognized.
    """
    if "end of data" in record.error or "limit" in record.error:
        raise file.make_error(
            f", line {record.line_number}: a quote is opened and not closed",
            hint=f"{_QUOTE_HINT}; a cell has at most {MAX_ROW_CHARS:,} characters",
        )

    reason = "text after a closing quote (double a quote that is part of the text)"
    if "new-line" in record.error:
        reason = "a line break outside quotes (quote the cell, or end all lines alike)"

    # Without strict rules the reader accepts any text except a stray line break, so the row can be
    # shown.
    lines = (" ".join(text.splitlines()) + "\n" for text in record.texts)
    fields = next(csv.reader(lines, **dialect), [])
    return _reject_record(record, fields, reason)
