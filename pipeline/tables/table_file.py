"""A file of rows in any format that is read: CSV, JSON, JSON lines or Parquet; at flat memory."""

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TextIO, TypeVar

from pipeline.core import files
from pipeline.core.errors import InputError
from pipeline.core.progress import Bar, Progress
from pipeline.core.text import first_few
from pipeline.tables import csv_file, frames, json_file
from pipeline.tables.findings import Finding, excerpt
from pipeline.tables.layout import Layout, TextRow
from pipeline.tables.mapping import map_columns, map_line
from pipeline.tables.text_file import Encoding, detect

BLOCK_SIZE = 4 << 20  # characters of text in one block, so that long texts do not fill the memory
SAMPLED = 50  # rows that are looked at for names
_SHOWN = 10  # names of columns in a note
_FORMATS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}

RowType = TypeVar("RowType")


class RowsFile:
    """The rows of one file by any layout; `position` is about how many bytes were read by then.

    `format` is "csv", "json", "jsonl" or "parquet"; `encoding` says how its bytes are text.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        """Find out what the file is.

        Raises:
            InputError: there is no such file, it is empty or no file.
        """
        self.path = path
        self.layout = layout
        self.position = 0
        try:
            self.size = _size_of(path, layout)
            self.encoding = detect(path)
            self.format = _format_of(path, self.encoding, layout)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}; nothing was imported") from None

    def header(self, layout: Layout) -> csv_file.Header:
        """Return the header of a CSV file; raises as `read_header` does."""
        with self.encoding.open(self.path) as file:
            lines = self.encoding.lines(file, max_line=layout.max_line)
            return csv_file.read_header(lines, path=self.path, layout=layout)[0]

    def rows(
        self, layout: Layout, ignored: dict[str, None], *, plain: Callable[[Any], Any] | None = None
    ) -> Iterator[TextRow | Finding]:
        """Yield the rows as they stand in the file, and a finding for each that is none, by the columns of a layout.

        `plain` makes a row of Parquet plain in another way than an import does.

        Raises:
            InputError: the file cannot be read to its end.
        """
        try:
            if self.format == "parquet":
                yield from frames.parquet_rows(self.path, layout=layout, ignored=ignored, plain=plain)
                return
            with self.encoding.open(self.path) as file:
                for row in self._of_text(file, layout, ignored):
                    self.position = file.buffer.tell()
                    yield row
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}; no row was taken from it") from None

    def _of_text(self, file: TextIO, layout: Layout, ignored: dict[str, None]) -> Iterator[TextRow | Finding]:
        lines = self.encoding.lines(file, max_line=layout.max_line)
        if self.format == "csv":
            header, rest = csv_file.read_header(lines, path=self.path, layout=layout)
            return csv_file.csv_rows(header, rest, path=self.path)
        documents: Iterator[json_file.Document | Finding] = (
            json_file.of_list(file, path=self.path, layout=layout)
            if self.format == "json"
            else json_file.of_lines(lines, layout=layout)
        )
        return json_file.json_rows(documents, layout=layout, ignored=ignored)


class TableFile(RowsFile):
    """The rows of one file of a subject, which gives its `LAYOUT`; each `iter` reads the file anew.

    `mapping` says which names in the file mean which columns.
    """

    LAYOUT: Layout

    def __init__(self, path: Path, given: Mapping[str, str] | None = None) -> None:
        """Find out what the file is, and which names in it mean which columns; `given` is what MAP= says.

        Raises:
            InputError: there is no such file, it is empty or no file, or CSV without the key column.
        """
        super().__init__(path, self.LAYOUT)
        self.ignored: dict[str, None] = {}  # names that are not read, as far as the file was read
        header = self.header(self.LAYOUT) if self.format == "csv" else None
        self._delimiter = header.delimiter if header else ","
        names = header.names if header else self._sampled_names()
        self.mapping = map_columns(names, given or {}, layout=self.LAYOUT, path=path)
        self.layout = self.mapping.layout(self.LAYOUT)
        if header:
            header = csv_file.Header(header.names, delimiter=header.delimiter, layout=self.layout)
            key = self.LAYOUT.key
            near = map_line({**(given or {}), key: self.mapping.near[key]}) if key in self.mapping.near else ""
            header.check(path, near=near)
            columns = zip(header.names, header.columns, strict=True)
            self.ignored.update({name: None for name, column in columns if name and column is None})

    @property
    def notes(self) -> list[str]:
        """Return what concerns the whole file, complete when the iteration has ended."""
        separated = "" if self._delimiter == "," else f"fields are separated by {self._delimiter!r}"
        encoded = "" if self.format == "parquet" else self.encoding.note
        return [note for note in (encoded, separated, *self.mapping.notes) if note]

    def __iter__(self) -> Iterator[TextRow | Finding]:
        """Yield each row, and a finding for each that is none, in the order of the file; raises as `rows` does."""
        self.position = 0
        for row in self.rows(self.layout, self.ignored):
            yield self.mapping.whole(row) if isinstance(row, TextRow) else row

    def _sampled_names(self) -> list[str]:
        found = islice(self.rows(replace(self.LAYOUT, column_of=str), {}), SAMPLED)
        return list(dict.fromkeys(name for row in found if isinstance(row, TextRow) for name in row.values))

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
                is_known = 0 < self.position < self.size
                bar.show(count, total=max(count, round(self.size * count / self.position)) if is_known else None)
                found, findings, sizes = [], [], 0
        if found or findings:
            yield found, findings
            bar.show(count + len(found) + len(findings))


def name_some(names: Iterable[str]) -> str:
    """Return names of columns for a note: the first ten, and how many more there are."""
    return first_few([excerpt(name) for name in names], _SHOWN)


def _size_of(path: Path, layout: Layout) -> int:
    if not path.is_file():
        what = files.why_not_readable(path) or "is no regular file"
        raise InputError(
            f"{path} {what}; nothing was imported", hint=layout.hint if path.is_dir() else "check the path"
        )
    size = path.stat().st_size
    if not size:
        raise InputError(f"{path} is empty; nothing was imported", hint=layout.hint)
    return size


def _format_of(path: Path, encoding: Encoding, layout: Layout) -> str:
    """Return the format of a file by its name, and by its first characters where these may say it."""
    with path.open("rb") as binary:
        if binary.read(len(frames.MAGIC)) == frames.MAGIC:
            return "parquet"
    named = _FORMATS.get(path.suffix.lower(), layout.format)
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
