r"""Rows of a CSV file, such that a broken one does not take the rest of the file with it.

Python's `csv` reads a record strictly, from the physical line where it starts and as many more as its quotes ask for;
else with blanks before its quotes, else with `\"` read as a quote. What still is none is rejected. After a quote that
was opened and never closed, reading goes on at the next line that is a whole record.
"""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, count, islice, product, tee
from pathlib import Path
from typing import NamedTuple

from pipeline.core.errors import InputError
from pipeline.core.text import BAD_TEXT
from pipeline.tables.findings import Finding, FindingKind, excerpt, rejected
from pipeline.tables.layout import Layout, TextRow
from pipeline.tables.names import fold
from pipeline.tables.text_file import TextLine

OPEN_QUOTE = "a quote is opened and not closed"  # begins the reason of a record that is not read to its end
_DELIMITERS = (",", ";", "\t", "|")
_BEFORE_HEADER = {"", *(f"sep={one}".strip() for one in _DELIMITERS)}  # spreadsheets announce their delimiter
_MAX_HEADER = 1 << 20  # characters, of which a quote that is left open in it makes no more
_LATE = re.compile(' +"')  # begins a field that is quoted only where blanks may stand before
_BARE = re.compile(r"\r(?![\r\n]|\Z)")  # a carriage return that ends no line
_HELD = "\ud800"  # in its place while a record is read; no decoder gives it
csv.field_size_limit(1 << 30)  # a layout has its own


class _Record(NamedTuple):
    """What was read as a record: its fields (None: it is broken), and how many lines it takes."""

    fields: Sequence[str] | None
    lines: int = 1
    was_escaped: bool = False


class Header:
    """The header of a CSV file: its names as they stand there, and which of them means which column of a layout."""

    def __init__(self, names: Sequence[str], *, delimiter: str, layout: Layout) -> None:
        """Find out what each name means."""
        self.names = names
        self.delimiter = delimiter
        self.layout = layout
        self.columns = [layout.column_of(name) if name else None for name in names]
        self.key = self.columns.index(layout.key) if layout.key in self.columns else None

    def check(self, path: Path) -> None:
        """Check that there is a key, or what one can be made of, and no column of the subject's twice.

        Raises:
            InputError: it is not so.
        """
        layout = self.layout
        if not layout.has_key(self.columns):
            found = excerpt(", ".join(excerpt(name) for name in self.names[:12]))
            made = f", and {layout.key_rule.shown} to make one of" if layout.key_rule else ""
            raise InputError(
                f"{path} has no {layout.label(layout.key)} column{made}; nothing was imported. Found: {found}",
                hint=f'expected: {", ".join(layout.columns.values())}; or say which: MAP="{layout.key}=…"',
            )
        for column in filter(None, self.columns):
            if self.columns.count(column) > 1:
                said = f"has the column {layout.label(column)} more than once"
                raise InputError(f"{path} {said}; nothing was imported", hint="remove one")

    def is_record(self, fields: Sequence[str] | None) -> bool:
        """Return whether fields look like a record of this file: as many, and a key without white space."""
        if fields is None or len(fields) != len(self.names):
            return False
        return self.key is None or len(fields[self.key].split()) == 1

    def row(self, line: int, fields: Sequence[str]) -> TextRow | Finding | None:
        """Return the row that these fields are, or why they are none; None where there is no text in them."""
        text = self.delimiter.join(fields)
        if not text.strip():
            return None
        if not text.strip(self.delimiter + " \t"):
            return rejected(line, "nothing but separators", text)
        if len(fields) == len(self.names):
            if all(
                _name_of(field).casefold() == name.casefold() for field, name in zip(fields, self.names, strict=True)
            ):
                return rejected(line, "the header once more", text)
            pairs = zip(self.columns, fields, strict=True)
            return TextRow(line, {column: self.layout.cell(field) for column, field in pairs if column is not None})
        if text.lstrip().startswith("#"):
            return rejected(line, "a comment line", text)
        reason = f"wrong number of fields: found {len(fields)}, expected {len(self.names)}"
        return rejected(line, reason, text, column=self.name(len(fields)))

    def name(self, field: int) -> str:
        """Return the header's name of a field, counted from 0; empty beyond the last."""
        return excerpt(self.names[field]) if field < len(self.names) else ""


def read_header(lines: Iterator[TextLine], *, path: Path, layout: Layout) -> tuple[Header, Iterator[TextLine]]:
    """Return the header, which is the first record that is not blank, and the lines after it.

    The delimiter is the one by which most names are known; of those one that leaves no quote in a name, as cutting a
    quoted name does; of those the one by which there are most.

    Raises:
        InputError: there is none, or a quote in it is broken.
    """
    first = next((line for line in lines if line.text.strip().strip("\ufeff").casefold() not in _BEFORE_HEADER), None)
    if first is None:
        raise InputError(f"{path} is empty; nothing was imported", hint=layout.hint)
    if "\0" in first.text or BAD_TEXT.search(first.text):
        said = "is no text, as a spreadsheet is none before it is saved as CSV"
        raise InputError(f"{path} {said}; nothing was imported", hint=layout.hint)
    *each, rest = tee(chain([first], lines), len(_DELIMITERS) + 1)
    pairs = zip(each, _DELIMITERS, strict=True)
    found = {one: _read(_as_much(copy, _MAX_HEADER), one) for copy, one in pairs}
    names = {one: [_name_of(field) for field in record.fields or []] for one, record in found.items()}
    known = {one: sum(fold(name) in layout.known_names for name in names[one]) for one in found}
    unquoted = {one: len(names[one]) * all('"' not in name for name in names[one]) for one in found}
    delimiter = max(_DELIMITERS, key=lambda one: (known[one], unquoted[one], len(names[one])))
    broken = [one for one, record in found.items() if record.fields is None]
    if any(f'{one}"' in name for one in broken for name in names[delimiter]):
        said = f"{OPEN_QUOTE}, or not at the end of a name"
        raise InputError(f"{path}, line {first.number}: {said}; nothing was imported", hint="mend the header's quotes")
    header = Header(names[delimiter], delimiter=delimiter, layout=layout)
    return header, islice(rest, found[delimiter].lines, None)


def _as_much(lines: Iterable[TextLine], most: int) -> Iterator[TextLine]:
    """Yield lines until there are so many characters of them, so that a quote left open does not read a whole file."""
    for line in lines:
        yield line
        most -= len(line.text)
        if most <= 0:
            return


def _name_of(field: str) -> str:
    """Return the name that a field of a header is, on one line: a line break in it is read as a blank."""
    return " ".join(line.strip() for line in field.strip().strip("\ufeff").splitlines())


def csv_rows(header: Header, lines: Iterator[TextLine]) -> Iterator[TextRow | Finding]:
    """Yield the rows after the header, and a finding for each record that is none."""
    for line, record in _Records(lines, header):
        fields = record.fields
        row = _broken(line, record, header) if fields is None else header.row(line.number, fields)
        if fields and record.was_escaped and isinstance(row, TextRow):
            column = next((name for name, field in zip(header.names, fields, strict=True) if '"' in field), "")
            reason = "quotes written as backslash and quote, read as quotes"
            row = replace(row, changes=(Finding(line.number, column, reason, "", FindingKind.CHANGED),))
        if row is not None:
            yield row


def _broken(line: TextLine, record: _Record, header: Header) -> Finding:
    """Return the finding for a record, with the field of its first line at which reading stopped."""
    if not line.is_whole:
        return rejected(line.number, f"longer than {header.layout.max_line:,} characters", line.text)
    pieces = re.split(f"(?<={re.escape(header.delimiter)})", _BARE.sub(_HELD, line.text))  # a field, or a part of one
    reader = csv.reader(pieces, delimiter=header.delimiter, skipinitialspace=True, strict=True)
    starts, is_open = [0], False
    try:
        starts.extend(reader.line_num for _ in reader)
    except csv.Error as error:
        is_open = "end of data" in str(error)
    reason = f"{OPEN_QUOTE} at the end of its value" if is_open else "text after a closing quote"
    if record.lines > 1:
        reason += f"; lines {line.number} to {line.number + record.lines - 1} are left out"
    value = "".join(pieces[starts[-1] :]).rstrip("\r\n").replace(_HELD, "\r")
    return rejected(line.number, reason, value, column=header.name(len(starts) - 1))


def _read(lines: Iterable[TextLine], delimiter: str, *, skips: bool = True, unescapes: bool = False) -> _Record:
    """Return the record that some lines begin with."""
    held = (_BARE.sub(_HELD, line.text) for line in lines)
    texts = (text.replace('\\"', '""') for text in held) if unescapes else held
    reader = csv.reader(texts, delimiter=delimiter, skipinitialspace=skips, strict=True)
    try:
        fields = [field.replace(_HELD, "\r") for field in next(reader)]
    except csv.Error:
        return _Record(None, reader.line_num)
    is_late = not skips and any(map(_LATE.match, fields))
    return _Record(None if is_late else fields, reader.line_num, unescapes)


class _Records:
    """Reads records from physical lines, and looks at the lines after one before it takes them."""

    def __init__(self, lines: Iterator[TextLine], header: Header) -> None:
        """Read from where `lines` stands."""
        self._lines = lines
        self._ahead: deque[TextLine] = deque()
        self._header = header
        self._trusts = not header.layout.guesses or header.key is None  # a value may hold whole records

    def __iter__(self) -> Iterator[tuple[TextLine, _Record]]:
        """Yield the first line of each record, and the record."""
        while first := next(self._from(0), None):
            record = self._record(first)
            for _ in range(record.lines):
                self._ahead.popleft()
            yield first, record

    def _from(self, at: int) -> Iterator[TextLine]:
        """Yield the lines that were not taken yet, from one on, as many as a record may have characters."""
        size = 0
        while size < self._header.layout.max_line:
            self._ahead.extend(islice(self._lines, max(0, at + 1 - len(self._ahead))))
            if at == len(self._ahead):
                return
            yield self._ahead[at]
            size += len(self._ahead[at].text)
            at += 1

    def _record(self, first: TextLine) -> _Record:
        """Return what starts at the next line; what is broken, with all lines up to where reading can go on."""
        if not first.is_whole:
            return _Record(None)
        if '"' not in first.text:
            return _Record(first.text.rstrip("\r\n").split(self._header.delimiter))
        found: list[_Record] = []
        for unescapes, skips in product((False, True), repeat=2):
            found.append(_read(self._from(0), self._header.delimiter, skips=skips, unescapes=unescapes))
            if self._is_sound(found[-1]):
                return found[-1]
        whole = next((one for one in found[:2] if one.fields is not None and not self._swallows(one)), None)
        starts = (at for at in count(1) if self._may_start(at))
        return whole or _Record(None, next(starts) if found[0].lines > 1 else 1)

    def _may_start(self, at: int) -> bool:
        """Return whether a line ahead starts a record of this file, or is behind the last one."""
        is_line = next(self._from(at), None) is not None
        return not is_line or self._is_sound(_read(self._from(at), self._header.delimiter), at)

    def _is_sound(self, record: _Record, at: int = 0) -> bool:
        """Return whether a record at a line ahead is one of this file, and no quote left open over others."""
        return self._header.is_record(record.fields) and not self._swallows(record, at)

    def _swallows(self, record: _Record, at: int = 0) -> bool:
        """Return whether a record over several lines is a quote left open over whole other records."""
        is_record = self._header.is_record(record.fields)
        others = () if is_record and self._trusts else range(at + 1, at + record.lines - is_record)
        alone = (_read([self._ahead[place]], self._header.delimiter) for place in others)
        return any(self._header.is_record(one.fields) for one in alone)
