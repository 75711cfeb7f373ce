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
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO
from urllib.parse import unquote

import orjson

from pipeline.core import files
from pipeline.core.errors import InputError
from pipeline.core.step import Option
from pipeline.core.text import BAD_TEXT
from pipeline.tables.cells import plain_row, pyarrow_for
from pipeline.tables.findings import Finding, excerpt, rejected
from pipeline.tables.workbook import LOCKED, MARK, read_sheet

MAX_LINE = 4 << 20  # characters of a line, or of a value; a file without line ends must not fill the memory
_PIECE = 1 << 20  # characters of a list read at a time, or bytes of a file that tell how it is text
_SAMPLED = 50  # rows of JSON that are looked at for names
_ROWS = 200  # of Parquet in memory
_NONE = "__HIVE_DEFAULT_PARTITION__"  # names a folder of rows without a value
_HEADER_LINES = 50  # that a header takes at most
_OPEN_QUOTE = "a quote is opened and not closed"
_FORMATS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_DELIMITERS = (",", ";", "\t", "|")
_BEFORE_HEADER = {"", *(f"sep={one}".strip() for one in _DELIMITERS)}  # spreadsheets announce their delimiter
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
# what spreadsheets write beside Unicode
_CANDIDATES = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "koi8_r", "cp932",
               "cp949", "gb18030", "big5"]  # fmt: skip
_LOOKED_AT = 1000  # lines beyond ASCII that tell it
_BAD = "findable-keep-bad-bytes"  # the name of our error handler for decoding
_DECODER = json.JSONDecoder()
_JSON = re.compile(r'\[\s*[{\]]|\{\s*["}]')  # begins no header of a table
_SPACE = re.compile(r"[ \t\r\n]*+")
_LONG_NUMBER = re.compile(r"[0-9]{19}")  # past what the quick parser keeps exactly
csv.field_size_limit(32 << 20)  # so that a quote left open does not fill the memory; above any line that is read


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
        sheet: str = "",
        is_known: Callable[[str], bool] = bool,
    ) -> None:
        """Find out what the file is, of a `default` format where its name does not say; `hint` says what it should be.

        `is_known` tells which names of columns are known, by which a delimiter is told. Of a workbook one `sheet` is
        read, without a name the first.
        """
        self.path, self.hint, self.max_line, self.sheet = path, hint, max_line, sheet
        self._delimiter, self._skips, self._before_rows = ",", False, 0
        parts = files.parts_of(path)
        if not parts:
            what = files.why_not_readable(path) or "is no regular file"
            raise InputError(f"{path} {what}; nothing was read", hint=hint if path.is_dir() else "check the path")
        with self._readable():
            with parts[0].open("rb") as file:
                start = file.read(_PIECE)
            self.encoding, note = _encoding_of(parts[0], start)
            ends = re.search("\r\n?|\n", start.decode(self.encoding, "ignore").lstrip())
            self._line_end = "\r" if ends is not None and ends[0] == "\r" else "\n"
            self.format = self._format_of(start, default)
            notes = [note] if note else []
            if sheet and self.format != "xlsx":
                hint = f"leave out {Option('sheet')}, in a task's file sheet="
                raise self._refused(" is no .xlsx, and has no sheets", hint=hint)
            if self.format == "parquet":
                self.names, notes = list[str](), []
                for part in parts:
                    with self._parquet(part) as (table, keys):
                        there = table.schema_arrow.names
                        self.names += [one for one in (*there, *keys) if one not in self.names or there.count(one) > 1]
            elif self.format == "xlsx":
                self.names, self._sheet, notes = read_sheet(path, sheet)
            elif self.format == "csv":
                self.names = self._header(is_known)
            else:
                values = (row.values for row in islice(self.rows(), _SAMPLED) if isinstance(row, SourceRow))
                self.names = list(dict.fromkeys(chain.from_iterable(values)))
        self.notes = notes
        if self._delimiter != ",":
            self.notes.append(f"fields are separated by {self._delimiter!r}")
        if blanks := self.names.count("") if self.format == "csv" else 0:
            self.notes.append(f"columns without a name are not read: {blanks}")

    def rows(self) -> Iterator[SourceRow | Finding]:
        """Yield each row, and a finding for each that is none, in the order of the file, read anew to its end."""
        with self._readable():
            if self.format == "parquet":
                number = count(1)
                for part in files.parts_of(self.path):
                    with self._parquet(part) as (table, keys):
                        batches = (batch.to_pylist() for batch in table.iter_batches(batch_size=_ROWS))
                        for values in chain.from_iterable(batches):
                            yield SourceRow(next(number), plain_row(values | keys))
                return
            if self.format == "xlsx":
                for line, cells in self._sheet:  # a workbook is read once: no part of it is there without the rest
                    yield SourceRow(line, {name: one for name, one in zip(self.names, cells, strict=True) if name})
                return
            with self._open() as file:
                yield from {"csv": self._of_csv, "json": self._of_json, "jsonl": self._of_lines}[self.format](file)

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}; nothing was read") from None

    def _refused(self, said: str, *, hint: str = "") -> InputError:
        return InputError(f"{self.path}{said}; nothing was read", hint=hint or self.hint)

    def _open(self) -> TextIO:
        return self.path.open(encoding=self.encoding, errors=_BAD, newline=self._line_end)

    def _lines(self, file: TextIO, record: list[str] | None = None) -> Iterator[str]:
        while text := file.readline(self.max_line):
            rest = text
            while len(rest) == self.max_line and not rest.endswith(self._line_end):
                rest = file.readline(self.max_line)
            if record is not None:
                record.append(text)
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

    def _header(self, is_known: Callable[[str], bool]) -> list[str]:
        """Return the names in the first record that is not blank.

        The delimiter is the one by which most names are known, of those the one by which there are most.
        """
        with self._open() as file:
            head = list(islice(self._lines(file), _HEADER_LINES))
        lines = [line.strip().strip("\ufeff").casefold() for line in head]
        at = next((number for number, line in enumerate(lines) if line not in _BEFORE_HEADER), -1)
        if at < 0:
            raise self._refused(" is empty")
        if head[at].startswith("SQLite format 3"):
            raise self._refused(" is an SQLite database", hint=f"a SELECT with {Option(source='sqlite:///…')} reads it")
        if "\0" in head[at] or BAD_TEXT.search(head[at]):
            raise self._refused(" is no text: save a spreadsheet as .xlsx or CSV first")
        found = {one: _names_in(head[at:], one) for one in _DELIMITERS}

        def worth(delimiter: str) -> tuple[int, int, int]:
            names, _ = found[delimiter]
            return sum(map(is_known, names)), len(names) * ('"' not in "".join(names)), len(names)

        self._delimiter = max(_DELIMITERS, key=worth)
        names, taken = found[self._delimiter]
        if any(not some and (f'{one}"' in head[at] or not names) for one, (some, _) in found.items()):
            said = f", line {at + 1}: {_OPEN_QUOTE}, or not at the end of a name"
            raise self._refused(said, hint="mend the header's quotes")
        # a blank before each name is the file's manner, before some it is theirs
        _, *others = next(csv.reader(head[at : at + taken], delimiter=self._delimiter), [""])
        self._skips, self._before_rows = bool(others) and all(one.startswith(" ") for one in others), at + taken
        return names

    def _of_csv(self, file: TextIO) -> Iterator[SourceRow | Finding]:
        record = list[str]()
        lines = self._lines(file, record)
        before = sum(1 for _ in islice(lines, self._before_rows))
        rows = csv.reader(lines, delimiter=self._delimiter, skipinitialspace=self._skips, strict=True)
        named = [(number, name) for number, name in enumerate(self.names) if name]
        while True:
            line = before + rows.line_num + 1
            record.clear()
            try:
                fields = next(rows, None)
            except csv.Error as error:
                yield self._broken(line, record, str(error))
                continue
            if fields is None:
                return
            if len(fields) > 1 or any(map(str.strip, fields)):
                why = self._why_not(line, fields, record)
                yield why or SourceRow(line, {name: fields[number] for number, name in named})

    def _why_not(self, line: int, fields: list[str], record: list[str]) -> Finding | None:
        """Return why fields are no row of this file: too many, too few, the header, or other rows within a quote."""
        names, text = self.names, partial(self._delimiter.join, fields)
        if any(len(one) >= self.max_line for one in record):
            return rejected(line, f"longer than {self.max_line:,} characters", text())
        if len(fields) != len(names):
            column = excerpt(names[len(fields)]) if len(fields) < len(names) else ""
            reason = f"wrong number of fields: found {len(fields)}, expected {len(names)}"
            return rejected(line, reason, text(), column=column)
        return None

    def _broken(self, line: int, record: list[str], error: str) -> Finding:
        """Return the finding for a record that is none."""
        if any(len(one) >= self.max_line for one in record):
            return rejected(line, f"longer than {self.max_line:,} characters", record[0])
        if "end of data" in error or "field limit" in error:
            hint = "close the quote, or double it where it is part of the text"
            raise self._refused(f", line {line}: {_OPEN_QUOTE}, to the end of the file", hint=hint)
        reason = "a line break outside quotes" if "new-line" in error else "text after a closing quote"
        if len(record) > 1:
            reason += f"; lines {line} to {line + len(record) - 1} are left out"
        return rejected(line, reason, record[0].rstrip("\r\n"))

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
        line, sign = 1 + text.count("\n", 0, at), ","
        while sign == ",":
            try:
                began, ends, then = _element(text, at)
            except (ValueError, RecursionError) as error:
                more = file.read(_PIECE) if len(text) - at <= self.max_line else ""
                if not more:
                    why = error.msg if isinstance(error, json.JSONDecodeError) else error
                    raise self._refused(f", line {line}: no JSON list: {why}", hint="mend the file") from None
                text, at = text[at:] + more, 0
                continue
            line += text.count("\n", at, began)
            if ends > began:
                yield _row_in(line, text[began:ends])
            line, at, sign = line + text.count("\n", began, then), then, text[then - 1]
        if f"{text[at:]}{file.read(_PIECE)}".strip():
            raise self._refused(f", line {line}: text after the end of the list", hint="mend the file")

    @contextlib.contextmanager
    def _parquet(self, part: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Open one file, with the columns that the names of its folders are."""
        pa = pyarrow_for(f"{self.path} is a Parquet file, which")
        from pyarrow import parquet

        folders = part.relative_to(self.path).parts[:-1]
        told = (unquote(one).partition("=") for one in folders if "=" in one)
        keys = {name: int(value) if value.isdecimal() else None if value == _NONE else value for name, _, value in told}
        try:
            with parquet.ParquetFile(part, buffer_size=_PIECE, pre_buffer=False) as table:
                yield table, keys
        except pa.ArrowException as error:
            said = f"cannot be read as Parquet; nothing was read: {excerpt(str(error))}"
            raise InputError(f"{part} {said}") from None


def _names_in(lines: list[str], delimiter: str) -> tuple[list[str], int]:
    """Return the names in a header (none: broken), and how many lines it takes; a line break is read as a blank."""
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    with contextlib.suppress(csv.Error):
        names = [" ".join(line.strip() for line in one.strip().strip("\ufeff").splitlines()) for one in next(reader)]
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
        if bad := BAD_TEXT.search(text):
            raise ValueError(f"not UTF-8, from byte {len(text[: bad.start()].encode()) + 1} on") from None
        raise ValueError(f"no JSON: {error.msg}, at character {error.pos + 1}") from None


def _row_in(line: int, text: str) -> SourceRow | Finding:
    try:
        value = parse_json(text)
    except ValueError as error:
        return rejected(line, str(error), text)
    return SourceRow(line, value) if isinstance(value, dict) else rejected(line, "not an object", value)


def _keep_bad_bytes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_BAD, _keep_bad_bytes)


def _encoding_of(path: Path, start: bytes) -> tuple[str, str]:
    """Return a file's codec, and what a user should know of it; nothing of plain UTF-8.

    It is that of the byte order mark, else UTF-8, as of all JSON, or what most lines beyond ASCII need.
    """
    marked = next((codec for mark, codec in _MARKS.items() if start.startswith(mark)), "")
    if marked:
        return marked, "" if marked == "utf-8-sig" else f"read as {marked.upper()}, which its byte order mark says"
    if b"\0" in start or start.lstrip()[:1] in b"[{":
        return "utf-8", ""
    with path.open("rb") as file:
        pieces = iter(partial(file.readline, _PIECE), b"")
        looked_at = list(islice((piece for piece in pieces if not piece.isascii()), _LOOKED_AT))
    bad = [line for line in looked_at if BAD_TEXT.search(line.decode("utf-8", "surrogateescape"))]
    if 2 * len(bad) <= len(looked_at):
        return "utf-8", ""
    from charset_normalizer import from_bytes

    found = from_bytes(b"".join(bad), cp_isolation=_CANDIDATES).best()
    if found is None:
        return "utf-8", ""
    western = "cp1252" in found.could_be_from_charset
    codec, said = ("cp1252", "cp1252 (Windows-1252, Latin-1)") if western else (found.encoding, found.encoding)
    return codec, f"read as {said}: most of its lines beyond ASCII are not valid UTF-8"
