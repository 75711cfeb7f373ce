"""The rows of a file of any format: CSV, JSON, JSON lines, .xlsx or Parquet, under their own names; at flat memory.

A folder of Parquet files is read as one; what the names of folders in it say (`year=2024/`) are columns.

A row that is none is a finding that names its line, and reading goes on behind it. Bytes that do not decode become the
surrogates U+DC00 + byte, so that a lone surrogate in a row always means bad bytes.
"""

import codecs
import contextlib
import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO
from urllib.parse import unquote

import orjson

from pipeline.core import files
from pipeline.core.command_hint import OptionHint
from pipeline.core.declaration import AS_IT_IS, ReadOptions
from pipeline.core.errors import InputError
from pipeline.core.text import BAD_TEXT
from pipeline.tables.cells import arrow_rows, bytes_note, holds_bytes, plain_row, pyarrow_for
from pipeline.tables.csv_records import CUT_MARK, MAX_CUT_CELL, CsvLines
from pipeline.tables.encodings import TextEncoding, check_encoding, find_encoding
from pipeline.tables.headers import (
    MAX_RECORDS,
    SHOWN_LINES,
    find_fault,
    made_names,
    parse_header,
    records_of,
    refuse,
)
from pipeline.tables.row_import import Finding, excerpt, rejected
from pipeline.tables.workbook import LOCKED, MARK, read_sheet

MAX_LINE = (
    4 << 20
)  # characters of a line, or of a value; a file without line ends must not fill the memory
_PIECE = 1 << 20  # characters of a list read at a time, or bytes of a file that tell how it is text
_SAMPLED = 50  # rows of JSON that are looked at for names
_ROWS = 200  # of Parquet in memory
_NONE = "__HIVE_DEFAULT_PARTITION__"  # names a folder of rows without a value
_HEADER_LINES = 50  # that a header takes at most
HEADER_AGAIN = "the header once more, as in files that were joined"
_OPEN_QUOTE = "a quote is opened and not closed"
_MEND_QUOTES = "mend the header's quotes"
_FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_DELIMITERS = (",", ";", "\t", "|")
_BEFORE_HEADER = {
    "",
    *(f"sep={one}".strip() for one in _DELIMITERS),
}  # spreadsheets announce their delimiter
_BAD = "findable-keep-bad-bytes"  # the name of our error handler for decoding
_DECODER = json.JSONDecoder()
_JSON = re.compile(r'\[\s*[{\]]|\{\s*["}]')  # begins no header of a table
_SPACE = re.compile(r"[ \t\r\n]*+")
_JSON_MARKS = re.compile(r'\\.|["{}\[\]]', re.DOTALL)
_JSON_DEPTH = {"{": 1, "[": 1, "}": -1, "]": -1}
_NO_NUMBER = re.compile("-?(?:NaN|Infinity|nan|inf)")
_LONG_NUMBER = re.compile(r"[0-9]{19}")  # past what the quick parser keeps exactly
csv.field_size_limit(
    32 << 20
)  # so that a quote left open does not fill the memory; above any line that is read


class SourceRow(NamedTuple):
    """One row: plain values by name; `line` is where it starts, from 1, or in Parquet and in a query its number.

    In a sheet it is the sheet's own number of the row.
    """

    line: int
    values: Mapping[str, Any]


class SourceFile:
    """The rows of one file.

    `format` is "csv", "json", "jsonl", "xlsx" or "parquet", `encoding` Python's codec of its text. `names` are those of
    its columns, of JSON as far as the first rows have them, empty where a column has none; `notes` concern the whole
    file.
    """

    def __init__(
        self,
        path: Path,
        hint: str,
        default: str = "csv",
        *,
        max_line: int = MAX_LINE,
        options: ReadOptions = AS_IT_IS,
        is_known: Callable[[str], bool] | None = None,
    ) -> None:
        """Find out what the file is, of a `default` format where its name does not say; `hint` says what it should be.

        `is_known` tells which names of columns are known, by which a delimiter is told; a first row with one of them is
        the header.
        """
        self.path = path
        self.hint = hint
        self.max_line = max_line
        self.options = options
        self._delimiter = ","
        self._skips = False
        self._before_rows = 0
        parts = files.parts_of(path)
        if not parts:
            what = files.why_not_readable(path) or "is no regular file"
            raise InputError(
                f"{path} {what}; nothing was read", hint=hint if path.is_dir() else "check the path"
            )
        with self._readable():
            with parts[0].open("rb") as file:
                start = file.read(_PIECE)
            self.encoding, note = self._encoding_of(parts[0], start)
            ends = re.search("\r\n?|\n", start.decode(self.encoding, "ignore").lstrip())
            self._line_end = "\r" if ends is not None and ends[0] == "\r" else "\n"
            self.format = self._format_of(start, default)
            notes = [note] if note else []
            self._check_options()
            if self.format == "parquet":
                self.names, notes = self._parquet_names(parts)
            elif self.format == "xlsx":
                self.names, self._sheet, notes = read_sheet(
                    path, options.sheet, header=self._header_line, is_known=is_known
                )
            elif self.format == "csv":
                self.names = self._header(is_known or bool, is_certain=is_known is not None)
            else:
                values = (
                    row.values
                    for row in islice(self.rows(), _SAMPLED)
                    if isinstance(row, SourceRow)
                )
                self.names = list(dict.fromkeys(chain.from_iterable(values)))
        self.notes = notes
        if self._delimiter != ",":
            self.notes.append(f"fields are separated by {self._delimiter!r}")
        if blanks := self.names.count("") if self.format == "csv" else 0:
            self.notes.append(f"columns without a name are not read: {blanks}")

    def _parquet_names(self, parts: Sequence[Path]) -> tuple[list[str], list[str]]:
        """Return the names of the columns of Parquet files, and notes about columns of bytes, which are left out."""
        names = list[str]()
        self._left_out = set[str]()
        for part in parts:
            with self._parquet(part) as (table, keys):
                part_names = table.schema_arrow.names
                names += [
                    name
                    for name in (*part_names, *keys)
                    if name not in names or part_names.count(name) > 1
                ]
                self._left_out |= _byte_columns(table)
        note = bytes_note(sorted(self._left_out))
        return [name for name in names if name not in self._left_out], [note] if note else []

    def rows(self) -> Iterator[SourceRow | Finding]:
        """Yield each row, and a finding for each that is none, in the order of the file, read anew to its end."""
        with self._readable():
            if self.format == "parquet":
                number = count(1)
                for part in files.parts_of(self.path):
                    with self._parquet(part) as (table, keys):
                        names = [
                            one for one in table.schema_arrow.names if one not in self._left_out
                        ]
                        read = table.iter_batches(
                            batch_size=_ROWS, columns=names if self._left_out else None
                        )
                        batches = map(arrow_rows, read)
                        for values in chain.from_iterable(batches):
                            yield SourceRow(next(number), plain_row(values | keys))
                return
            if self.format == "xlsx":
                # A workbook is read once: no part of it is there without the rest.
                for line, cells in self._sheet:
                    if self._is_header(cells):
                        text = ", ".join(self.names)
                        yield rejected(line, HEADER_AGAIN, text, cells=self._cells_of(self.names))
                        continue
                    named = zip(self.names, cells, strict=True)
                    yield SourceRow(line, {name: cell for name, cell in named if name})
                return
            with self._open() as file:
                yield from {"csv": self._of_csv, "json": self._of_json, "jsonl": self._of_lines}[
                    self.format
                ](file)

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be read: {error.strerror}; nothing was read"
            ) from None

    def _encoding_of(self, part: Path, start: bytes) -> TextEncoding:
        if not self.options.encoding or start.startswith((b"PAR1", MARK, LOCKED)):
            return find_encoding(part, start)
        return TextEncoding(check_encoding(part, self.options.encoding))

    def _check_options(self) -> None:
        """Refuse an option that this format does not have."""
        self._header_line = parse_header(self.options.header)
        faults = {
            "sheet": self.options.sheet
            and self.format != "xlsx"
            and " is no .xlsx, and has no sheets",
            "encoding": self.options.encoding
            and self.format in {"xlsx", "parquet"}
            and " is no text file",
            "header": self._header_line is not None
            and self.format not in {"csv", "xlsx"}
            and f" is {self.format}, and has no header line",
        }
        for name, said in faults.items():
            if said:
                raise self._refused(
                    said, hint=f"leave out {OptionHint(name)}, in a task's file {name}="
                )

    def _refused(self, said: str, *, hint: str = "") -> InputError:
        return InputError(f"{self.path}{said}; nothing was read", hint=hint or self.hint)

    def _open(self) -> TextIO:
        return self.path.open(encoding=self.encoding, errors=_BAD, newline=self._line_end)

    def _lines(self, file: TextIO) -> Iterator[str]:
        while text := file.readline(self.max_line):
            rest = text
            while len(rest) == self.max_line and not rest.endswith(self._line_end):
                rest = file.readline(self.max_line)
            yield text

    def _format_of(self, start: bytes, default: str) -> str:
        if start.startswith(b"PAR1"):
            return "parquet"
        if start.startswith(MARK):
            return "xlsx"
        if start.startswith(LOCKED):
            said = " is a spreadsheet with a password, or an old .xls"
            raise self._refused(said, hint="save it as .xlsx without a password")
        named = _FORMATS.get(self.path.suffix.lower(), default)
        text = start.decode(self.encoding, "ignore").strip()
        if not text:
            raise self._refused(" is empty")
        if text[0] in "[{" and (named != "csv" or _JSON.match(text)):
            first = text.splitlines()[0].strip()
            is_row = isinstance(_row_in(1, first), SourceRow) or (named == "jsonl" and first != "{")
            return "jsonl" if text[0] == "{" and is_row else "json"
        if named in {"json", "parquet"}:
            word = "JSON" if named == "json" else "Parquet file"
            raise self._refused(f" is no {word}: it starts with {excerpt(text[:20])!r}")
        return named

    def _header(self, is_known: Callable[[str], bool], *, is_certain: bool) -> list[str]:
        """Return the names in the first record that is not blank, or in that of the line which `HEADER=` names.

        The delimiter is the one by which most names are known, of those the one by which there are most. Without a
        header it is the one by which the first records have equally many cells. `is_certain` is whether a known name
        tells that the record is the header.
        """
        before = max(0, (self._header_line or 1) - 1)
        with self._open() as file:
            lines = self._lines(file)
            first_lines = list(islice(lines, SHOWN_LINES))
            head = list(islice(chain(first_lines, lines), before, before + _HEADER_LINES))
        texts = [line.strip().strip("\ufeff").casefold() for line in head]
        at = next((number for number, text in enumerate(texts) if text not in _BEFORE_HEADER), -1)
        if self._header_line and at:
            said = f" has nothing on line {self._header_line}, which {OptionHint('header')} names"
            raise self._refused(said, hint="name the line with the names of the columns")
        if at < 0:
            raise self._refused(" is empty")
        head = head[at:]
        if head[0].startswith("SQLite format 3"):
            raise self._refused(
                " is an SQLite database",
                hint=f"a SELECT with {OptionHint(source='sqlite:///…')} reads it",
            )
        if "\0" in head[0] or BAD_TEXT.search(head[0]):
            raise self._refused(" is no text: save a spreadsheet as .xlsx or CSV first")
        if self._header_line == 0:
            self._before_rows = at
            return self._unnamed(head)
        found = {one: _names_in(head, one) for one in _DELIMITERS}

        def worth(delimiter: str) -> tuple[int, int, int]:
            names, _ = found[delimiter]
            return sum(map(is_known, names)), len(names) * ('"' not in "".join(names)), len(names)

        self._delimiter = max(_DELIMITERS, key=worth)
        names, taken = found[self._delimiter]
        line = before + at + 1
        if any(
            not some and (f'{one}"' in head[0] or not names) for one, (some, _) in found.items()
        ):
            raise self._refused(
                f", line {line}: {_OPEN_QUOTE}, or not at the end of a name", hint=_MEND_QUOTES
            )
        if self._header_line is None and not (is_certain and any(map(is_known, names))):
            self._check_header(head, line, first_lines)
        # a blank before each name is the file's manner, before some it is theirs
        _, *others = next(csv.reader(head[:taken], delimiter=self._delimiter), [""])
        self._skips = bool(others) and all(one.startswith(" ") for one in others)
        self._before_rows = before + at + taken
        return names

    def _check_header(self, head: Sequence[str], line: int, first_lines: Sequence[str]) -> None:
        """Refuse a file whose first record, which starts on a line, is certainly no header."""
        for delimiter in sorted(_DELIMITERS, key=lambda one: one != self._delimiter):
            records = records_of(head, delimiter, first_line=line)
            records = records[:-1] if len(head) > MAX_RECORDS else records
            if fault := find_fault(records, is_certain_table=delimiter == self._delimiter):
                raise refuse(self.path, fault, [text.strip() for text in first_lines])

    def _unnamed(self, head: Sequence[str]) -> list[str]:
        """Return the names that are made for a file without a header, by the delimiter that cuts its records evenly."""

        def worth(delimiter: str) -> tuple[bool, int]:
            width, *others = [len(one.cells) for one in records_of(head, delimiter, first_line=1)]
            return width > 1 and all(one == width for one in others[:-1]), width

        self._delimiter = max(_DELIMITERS, key=worth)
        return made_names(worth(self._delimiter)[1])

    def _of_csv(self, file: TextIO) -> Iterator[SourceRow | Finding]:
        before = sum(1 for _ in islice(self._lines(file), self._before_rows))
        lines = CsvLines(
            file,
            delimiter=self._delimiter,
            skips_space=self._skips,
            line_end=self._line_end,
            max_record=self.max_line,
            first_line=before + 1,
        )
        rows = csv.reader(
            lines, delimiter=self._delimiter, skipinitialspace=self._skips, strict=True
        )
        named = [(number, name) for number, name in enumerate(self.names) if name]
        while True:
            lines.begin_record()
            fields, error = self._read_record(lines, rows)
            if error:
                yield self._broken(lines, error)
            elif fields is None:
                return
            elif len(fields) <= 1 and not any(map(str.strip, fields)):
                continue
            elif lines.is_long or len(fields) != len(self.names):
                yield self._misfit(lines, fields)
            elif self._is_header(fields):
                text = self._delimiter.join(fields)
                yield rejected(lines.line, HEADER_AGAIN, text, cells=self._cells_of(fields))
            else:
                yield SourceRow(lines.line, {name: fields[number] for number, name in named})

    def _is_header(self, cells: Sequence[object]) -> bool:
        """Return whether a row is the header once more, as in files that were joined; made names are no row."""
        texts = [cell if isinstance(cell, str) else "" for cell in cells]
        is_alike = self.names[0].casefold() in texts[0].casefold()
        return is_alike and self._header_line != 0 and _folded(texts) == _folded(self.names)

    def _read_record(
        self, lines: CsvLines, rows: Iterator[list[str]]
    ) -> tuple[list[str] | None, str]:
        """Return the fields of the next record (None: the file ends), and why it is broken.

        If it fits the header only with a backslash before its quotes, it is read so. If it fits with and without, it is
        read so if the next line is a row then: an end of a cell that was taken for a quote pairs with a later row's.
        """
        fields, error = _next_fields(rows)
        is_fit = fields is not None and len(fields) == len(self.names)
        if (is_fit and lines.line_count == 1) or lines.is_long or not lines.has_backslash_quote:
            return fields, error

        lines.begin_again(backslash_quotes=True)
        other_fields, _ = _next_fields(rows)
        next_fields = next(csv.reader(islice(lines.next_lines, 1), delimiter=self._delimiter), [])
        is_next_fit = not is_fit or len(next_fields) == len(self.names)
        if other_fields is not None and len(other_fields) == len(self.names) and is_next_fit:
            return other_fields, ""
        lines.begin_again(backslash_quotes=False)
        return _next_fields(rows)

    def _misfit(self, lines: CsvLines, fields: list[str]) -> Finding:
        """Return the finding for fields that are no row of this file: too long, too many, or too few."""
        cells = self._cells_of(fields)
        text = self._delimiter.join(fields)
        if lines.is_long:
            return rejected(lines.line, self._too_long(lines), text, cells=cells)
        column = excerpt(self.names[len(fields)]) if len(fields) < len(self.names) else ""
        reason = f"wrong number of fields: found {len(fields)}, expected {len(self.names)}"
        return rejected(lines.line, reason, text, column=column, cells=cells)

    def _broken(self, lines: CsvLines, error: str) -> Finding:
        """Return the finding for a record that is none; an open quote is InputError, for nobody knows what is in it."""
        if "end of data" in error or "field limit" in error:
            hint = "close the quote, or double it where it is part of the text"
            raise self._refused(
                f", line {lines.line}: {_OPEN_QUOTE}, to the end of the file", hint=hint
            )
        reason = (
            "a line break outside quotes" if "new-line" in error else "text after a closing quote"
        )
        if lines.line_count > 1:
            reason += f"; lines {lines.line} to {lines.line + lines.line_count - 1} are left out"
        if lines.is_long:
            reason = self._too_long(lines)
        # Without strict rules the reader takes any text but a stray line break, so that the row can be shown.
        texts = (one.rstrip("\r\n").replace("\r", " ") + "\n" for one in lines.lines)
        fields = next(
            csv.reader(texts, delimiter=self._delimiter, skipinitialspace=self._skips), []
        )
        return rejected(
            lines.line, reason, lines.lines[0].rstrip("\r\n"), cells=self._cells_of(fields)
        )

    def _too_long(self, lines: CsvLines) -> str:
        last = (
            f"; it ends on line {lines.line + lines.line_count - 1}" if lines.line_count > 1 else ""
        )
        return f"longer than {self.max_line:,} characters{last}"

    def _cells_of(self, fields: Sequence[str]) -> dict[str, str]:
        """Return the cells of a refused row by column; one beyond the header is called by its number."""
        cells = dict[str, str]()
        for number, field in enumerate(fields):
            name = self.names[number] if number < len(self.names) else ""
            is_cut = len(field) >= MAX_CUT_CELL
            cells[name or f"column_{number + 1}"] = (
                f"{field[:MAX_CUT_CELL]}{CUT_MARK}" if is_cut else field
            )
        return cells

    def _of_lines(self, file: TextIO) -> Iterator[SourceRow | Finding]:
        for number, text in enumerate(self._lines(file), start=1):
            if len(text) >= self.max_line and not text.endswith(self._line_end):
                yield rejected(number, f"longer than {self.max_line:,} characters", text)
            elif not text.isspace():
                yield _row_in(number, text.strip())

    def _of_json(self, file: TextIO) -> Iterator[SourceRow | Finding]:
        """Yield the elements of a list, which libraries tell no lines of; a file that is no list is one row."""
        text = file.read(_PIECE)
        if not text.lstrip().startswith("["):
            yield _row_in(1, f"{text}{file.read(self.max_line)}".strip())
            return
        at = text.index("[") + 1
        line = 1 + text.count("\n", 0, at)
        sign = ","
        while sign == ",":
            try:
                began, ends, then = _element(text, at)
            except (ValueError, RecursionError) as error:
                more = file.read(_PIECE) if len(text) - at <= self.max_line else ""
                if more:
                    text = text[at:] + more
                    at = 0
                    continue
                rest = (
                    self._after_long_element(file, text[at:])
                    if len(text) - at > self.max_line
                    else None
                )
                if rest is None:
                    why = error.msg if isinstance(error, json.JSONDecodeError) else error
                    raise self._refused(
                        f", line {line}: no JSON list: {why}", hint="mend the file"
                    ) from None
                line += text.count("\n", at, _after_space(text, at))
                yield rejected(
                    line, f"longer than {self.max_line:,} characters", text[at:].lstrip()
                )
                line_count, text = rest
                line += line_count
                at = _after_space(text, 0) + 1
                sign = text[at - 1 : at]
                continue
            line += text.count("\n", at, began)
            if ends > began:
                yield _row_in(line, text[began:ends])
            line = line + text.count("\n", began, then)
            at = then
            sign = text[then - 1]
        if f"{text[at:]}{file.read(_PIECE)}".strip():
            raise self._refused(
                f", line {line}: text after the end of the list", hint="mend the file"
            )

    def _after_long_element(self, file: TextIO, text: str) -> tuple[int, str] | None:
        """Read to the end of an element above the limit; return its line breaks, and what follows it.

        None if `text`, which begins with the element, is no object or list, or ends it below the limit.
        """
        depth = 0
        is_string = False
        is_long = False
        line_count = -text.count("\n", 0, _after_space(text, 0))
        while text:
            # An escape that is cut in two would hide a quote.
            while text.endswith("\\") and (more := file.read(1)):
                text += more
            for mark in _JSON_MARKS.finditer(text):
                is_string ^= mark[0] == '"'
                depth += 0 if is_string else _JSON_DEPTH.get(mark[0], 0)
                if depth <= 0 and not is_string:
                    is_long = is_long or mark.end() > self.max_line
                    end = mark.end()
                    rest = text[end:] + file.read(_PIECE)
                    return (line_count + text.count("\n", 0, end), rest) if is_long else None
            line_count += text.count("\n")
            is_long = True
            text = file.read(_PIECE)
        return None

    @contextlib.contextmanager
    def _parquet(self, part: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Open one file, with the columns that the names of its folders are."""
        pa = pyarrow_for(f"{self.path} is a Parquet file, which")
        from pyarrow import parquet

        folders = part.relative_to(self.path).parts[:-1]
        told = (unquote(one).partition("=") for one in folders if "=" in one)
        keys = {
            name: int(value) if value.isdecimal() else None if value == _NONE else value
            for name, _, value in told
        }
        try:
            with parquet.ParquetFile(part, buffer_size=_PIECE, pre_buffer=False) as table:
                yield table, keys
        except pa.ArrowException as error:
            said = f"cannot be read as Parquet; nothing was read: {excerpt(str(error))}"
            raise InputError(f"{part} {said}") from None


def _byte_columns(table: Any) -> set[str]:
    """Return the columns of a Parquet file that hold bytes which are no text."""
    names = [field.name for field in table.schema_arrow if "binary" in str(field.type)]
    found = set[str]()
    for batch in table.iter_batches(batch_size=_ROWS, columns=names) if names else ():
        found |= {
            name
            for name, column in zip(names, batch.columns, strict=True)
            if any(map(holds_bytes, column.to_pylist()))
        }
        if len(found) == len(names):
            break
    return found


def _next_fields(rows: Iterator[list[str]]) -> tuple[list[str] | None, str]:
    """Return the next fields of a CSV reader (None: there are no more), and why they are broken."""
    try:
        return next(rows, None), ""
    except csv.Error as error:
        return None, str(error)


def _one_line(field: str) -> str:
    """Return a name in a header as one line; a line break in it is read as a blank."""
    return " ".join(line.strip() for line in field.strip().strip("\ufeff").splitlines())


def _folded(names: Sequence[str]) -> list[str]:
    """Return names for a comparison; a mark before a quote, as a second file begins, leaves the quotes in a cell."""
    return [_one_line(name).strip('"').casefold() for name in names]


def _names_in(lines: list[str], delimiter: str) -> tuple[list[str], int]:
    """Return the names in a header (none: broken), and how many lines it takes; a line break is read as a blank."""
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    with contextlib.suppress(csv.Error):
        names = list(map(_one_line, next(reader)))
        return names, reader.line_num
    return [], 0


def _element(text: str, at: int) -> tuple[int, int, int]:
    """Return where the next element of a list begins and ends, and where it goes on after the comma or bracket."""
    began = ends = _after_space(text, at)
    if text[began : began + 1] != "]":
        _, ends = _DECODER.raw_decode(text, began)
    sign = _after_space(text, ends)
    if text[sign : sign + 1] not in {",", "]"}:
        raise ValueError("the list is not closed, or there is no comma between two elements")
    return began, ends, sign + 1


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def parse_json(text: str) -> object:
    """Return the value of a JSON text that holds UTF-8 and nothing but JSON; ValueError says why it is none."""
    try:
        value: object = orjson.loads(text)  # which takes no half characters either
        return json.loads(text) if _LONG_NUMBER.search(text) else value
    except RecursionError:
        raise ValueError("no JSON: nested too deeply") from None
    except json.JSONDecodeError as error:
        if named := _NO_NUMBER.match(
            text, error.pos - 1 if text.startswith("-", error.pos - 1) else error.pos
        ):
            said = f"no JSON: {named[0]} at character {named.start() + 1} is no number of JSON; write null"
            raise ValueError(said) from None
        if bad := BAD_TEXT.search(text):
            raise ValueError(
                f"not UTF-8, from byte {len(text[: bad.start()].encode()) + 1} on"
            ) from None
        raise ValueError(f"no JSON: {error.msg}, at character {error.pos + 1}") from None


def _row_in(line: int, text: str) -> SourceRow | Finding:
    try:
        value = parse_json(text)
    except ValueError as error:
        return rejected(line, str(error), text)
    return (
        SourceRow(line, value)
        if isinstance(value, dict)
        else rejected(line, "not an object", value)
    )


def _keep_bad_bytes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_BAD, _keep_bad_bytes)
