"""A file of rows in any format that is read: CSV, JSON, JSON lines or Parquet; at flat memory."""

import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TextIO, TypeVar

from pipeline.core import files
from pipeline.core.errors import InputError
from pipeline.core.progress import Bar, Progress
from pipeline.core.text import BAD_TEXT, first_few
from pipeline.tables import csv_file, json_file, parquet_file
from pipeline.tables.findings import Finding, excerpt, rejected
from pipeline.tables.layout import Layout, TextRow
from pipeline.tables.mapping import ColumnMapping, ColumnsError, MappingChoices, map_columns, texts_by_name
from pipeline.tables.text_file import Encoding, detect
from pipeline.tables.whole_rows import WholeRows

BLOCK_SIZE = 4 << 20  # characters of text in one block, so that long texts do not fill the memory
SAMPLED = 50  # rows that are looked at for names and guesses
_SHOWN = 10  # names of columns in a note
_FORMATS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}

RowType = TypeVar("RowType")


class TableFile:
    """The rows of one file; each `iter` reads the file anew, and `position` is about how many bytes it read by then.

    A subject gives its `layout`. `format` is "csv", "json", "jsonl" or "parquet"; `encoding` is Python's name;
    `mapping` says which names in the file mean which columns.
    """

    layout: Layout

    def __init__(self, path: Path, choices: MappingChoices | None = None) -> None:
        """Find out what the file is, and which names in it mean which columns; guesses are confirmed by `choices`.

        Raises:
            InputError: there is no such file, it is empty or no file, CSV without the key column, or a guess is open.
        """
        layout = self.layout
        self.path = path
        self.position = 0
        self.ignored: dict[str, None] = {}  # names that are not read, as far as the file was read
        try:
            self.size = size_of(path, layout)
            self._encoding = detect(path, guesses=layout.guesses)
            self.format = format_of(path, self._encoding, layout)
            header = read_header_of(path, self._encoding, layout) if self.format == "csv" else None
            self._delimiter = header.delimiter if header else ","
            cells = {} if header else self._sample()
            self.mapping = map_columns(
                header.names if header else list(cells),
                lambda: cells or self._sample(),
                choices or MappingChoices(),
                layout=layout,
                path=path,
            )
            self.layout = self.mapping.layout(layout)
            self._whole = WholeRows(self.layout, self.mapping)
            if header:
                header = csv_file.Header(header.names, delimiter=header.delimiter, layout=self.layout)
                _check(header, path, self.mapping)
                columns = zip(header.names, header.columns, strict=True)
                self.ignored.update({name: None for name, column in columns if name and column is None})
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}; nothing was imported") from None

    @property
    def notes(self) -> list[str]:
        """Return what concerns the whole file, complete when the iteration has ended."""
        separated = "" if self._delimiter == "," else f"fields are separated by {self._delimiter!r}"
        encoded = "" if self.format == "parquet" else self._encoding.note
        return [note for note in (encoded, separated, *self._whole.notes) if note]

    @property
    def encoding(self) -> str:
        """Return the encoding by Python's name."""
        return self._encoding.codec

    def __iter__(self) -> Iterator[TextRow | Finding]:
        """Yield each row, and a finding for each that is none, in the order of the file.

        Raises:
            InputError: the file cannot be read any more.
        """
        self.position = 0
        for row in self._read(self.layout, self.ignored):
            yield self._whole.row(row) if isinstance(row, TextRow) else row

    def _read(self, layout: Layout, ignored: dict[str, None]) -> Iterator[TextRow | Finding]:
        """Yield the rows as they stand in the file, by the columns of a layout."""
        try:
            if self.format == "parquet":
                yield from parquet_file.parquet_rows(self.path, layout=layout, ignored=ignored)
            else:
                with self._encoding.open(self.path) as file:
                    for row in self._rows(file, layout, ignored):
                        self.position = file.buffer.tell()
                        yield row
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}") from None

    def _rows(self, file: TextIO, layout: Layout, ignored: dict[str, None]) -> Iterator[TextRow | Finding]:
        lines = self._encoding.lines(file, max_line=layout.max_line)
        if self.format == "csv":
            found = csv_file.csv_rows(*csv_file.read_header(lines, path=self.path, layout=layout))
            return found if layout.guesses else map(_sound, found)
        documents = (
            json_file.of_list(file, layout=layout)
            if self.format == "json"
            else json_file.of_lines(lines, layout=layout)
        )
        return json_file.json_rows(documents, layout=layout, ignored=ignored)

    def _sample(self) -> dict[str, list[str]]:
        """Return the names in the first rows of the file with their texts."""
        as_they_are = replace(self.layout, column_of=str)
        try:
            return texts_by_name(islice(self._read(as_they_are, {}), SAMPLED))
        finally:
            self.position = 0

    @contextmanager
    def blocks(
        self,
        rows: Iterable[RowType | Finding],
        display: Progress,
        title: str,
        *,
        most: int,
        size: Callable[[RowType], int],
    ) -> Iterator[Iterator[tuple[list[RowType], list[Finding]]]]:
        """Give what was made of the rows in blocks, the findings apart, and show how far it got after each.

        A block holds at most so many rows and findings, and rows of about `BLOCK_SIZE` in all.
        """
        with (
            display.bar(title, None) as bar,
            closing(self._in_blocks(rows, bar, most=most, size=size)) as blocks,
        ):
            yield blocks

    def _in_blocks(
        self, rows: Iterable[RowType | Finding], bar: Bar, *, most: int, size: Callable[[RowType], int]
    ) -> Generator[tuple[list[RowType], list[Finding]]]:
        found: list[RowType] = []
        findings: list[Finding] = []
        count = sizes = 0
        for row in rows:
            if isinstance(row, Finding):
                findings.append(row)
            else:
                found.append(row)
                sizes += size(row)
            if len(found) + len(findings) >= most or sizes > BLOCK_SIZE:
                count += len(found) + len(findings)
                yield found, findings
                bar.show(count, total=self._expected(count))
                found, findings, sizes = [], [], 0
        if found or findings:
            yield found, findings
            bar.show(count + len(found) + len(findings))

    def _expected(self, count: int) -> int | None:
        """Return how many rows the file seems to have, by how far it was read; None at its start and end."""
        return max(count, round(self.size * count / self.position)) if 0 < self.position < self.size else None


def name_some(names: Iterable[str]) -> str:
    """Return names of columns for a note: the first ten, and how many more there are."""
    return first_few([excerpt(name) for name in names], _SHOWN)


def _sound(row: TextRow | Finding) -> TextRow | Finding:
    """Return a row of a CSV file, or the finding that rejects it because it holds bytes that are no text."""
    if isinstance(row, TextRow):
        for column, cell in row.values.items():
            if bad := BAD_TEXT.search(cell):
                return rejected(row.line, "not valid UTF-8", cell[max(0, bad.start() - 20) :], column=column)
    return row


def _check(header: csv_file.Header, path: Path, mapping: ColumnMapping) -> None:
    """Check a header; an error tells what its names were taken for.

    Raises:
        ColumnsError: there is no key, or a column is there twice.
    """
    try:
        header.check(path)
    except InputError as error:
        raise ColumnsError(error, mapping) from None


def read_header_of(path: Path, encoding: Encoding, layout: Layout) -> csv_file.Header:
    """Return the header of a CSV file; raises as `read_header` does."""
    with encoding.open(path) as file:
        return csv_file.read_header(encoding.lines(file, max_line=layout.max_line), path=path, layout=layout)[0]


def size_of(path: Path, layout: Layout) -> int:
    """Return how many bytes a file has."""
    if not path.is_file():
        what = files.why_not_readable(path) or "is no regular file"
        raise InputError(
            f"{path} {what}; nothing was imported", hint=layout.hint if path.is_dir() else "check the path"
        )
    size = path.stat().st_size
    if not size:
        raise InputError(f"{path} is empty; nothing was imported", hint=layout.hint)
    return size


def format_of(path: Path, encoding: Encoding, layout: Layout) -> str:
    """Return the format of a file by its name, and by its first characters where these may say it."""
    with path.open("rb") as binary:
        if binary.read(len(parquet_file.MAGIC)) == parquet_file.MAGIC:
            return "parquet"
    named = _FORMATS.get(path.suffix.lower(), layout.format)
    if not layout.guesses and named != "json":
        return named
    with encoding.open(path) as file:
        text = file.read(1 << 16).strip()
    if not text:
        raise InputError(f"{path} is empty; nothing was imported", hint=layout.hint)
    second = text[1:].lstrip()[:1]
    if text[0] == "[" and (named != "csv" or second in {"{", "]"}):
        return "json"
    if text[0] == "{" and (named != "csv" or second in {'"', "}"}):
        first = re.split(r"[\r\n]", text, maxsplit=1)[0]
        is_lines = first.strip() != "{" if named == "jsonl" else _is_json(first)
        return "jsonl" if is_lines else "json"
    if named in {"json", "parquet"}:
        starts = f"it starts with {excerpt(text[:20])!r}"
        word = "JSON" if named == "json" else "Parquet file"
        raise InputError(f"{path} is no {word}: {starts}; nothing was imported", hint=layout.hint)
    return named


def _is_json(text: str) -> bool:
    try:
        json_file.parse_json(text)
    except ValueError:
        return False
    return True
