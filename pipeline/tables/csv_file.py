"""Rows of a CSV file, by Python's `csv`, which reads strictly; a record that is none is rejected and named by its line.

A record is read with blanks before its quotes only where it is none without. What a broken one took along is left out,
and the finding says which lines; a quote that is open to the end of the file ends the reading.
"""

import csv
import re
import shlex
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from pipeline.core.errors import InputError
from pipeline.core.text import BAD_TEXT
from pipeline.tables.column_names import fold
from pipeline.tables.findings import Finding, excerpt, rejected
from pipeline.tables.layout import Layout, TextRow
from pipeline.tables.text_file import TextLine

OPEN_QUOTE = "a quote is opened and not closed"
_DELIMITERS = (",", ";", "\t", "|")
_BEFORE_HEADER = {"", *(f"sep={one}".strip() for one in _DELIMITERS)}  # spreadsheets announce their delimiter
_HEADER_LINES = 50  # that a header takes at most
_TELLING = 6  # columns from which a line with as many fields is taken for a record
_LATE = re.compile(' +"')  # begins a field that is quoted only where blanks may stand before
csv.field_size_limit(32 << 20)  # so that a quote left open does not read a whole file; above what any layout allows


class _Record(NamedTuple):
    """What was read as a record: its first line, its fields (None: broken, with why), and the text of its lines."""

    line: TextLine
    fields: Sequence[str] | None
    why: str = ""
    taken: Sequence[str] = ("",)

    @property
    def is_open(self) -> bool:
        return "end of data" in self.why


class Header:
    """The header of a CSV file: its names as they stand there, and which of them means which column of a layout."""

    def __init__(self, names: Sequence[str], *, delimiter: str, layout: Layout) -> None:
        """Find out what each name means."""
        self.names = names
        self.delimiter = delimiter
        self.layout = layout
        self.columns = [layout.column_of(name) if name else None for name in names]

    def check(self, path: Path, *, near: str) -> None:
        """Check that there is a key, and no column of the subject's twice; `near` is the MAP= that gives one.

        Raises:
            InputError: it is not so.
        """
        layout = self.layout
        if layout.key not in self.columns:
            found = excerpt(", ".join(excerpt(name) for name in self.names[:12]))
            raise InputError(
                f"{path} has no {layout.label(layout.key)} column; nothing was imported. Found: {found}",
                hint=f"{layout.command.format(shlex.quote(str(path)))} {near}"
                if near
                else f'expected: {", ".join(layout.columns.values())}; or say which: MAP="{layout.key}=…"',
            )
        for column in filter(None, self.columns):
            if self.columns.count(column) > 1:
                said = f"has the column {layout.label(column)} more than once"
                raise InputError(f"{path} {said}; nothing was imported", hint="remove one")

    def row(self, line: int, fields: Sequence[str]) -> TextRow | Finding | None:
        """Return the row that these fields are, or why they are none; None where there is no text in them."""
        text = self.delimiter.join(fields)
        if not text.strip():
            return None
        if len(fields) != len(self.names):
            reason = f"wrong number of fields: found {len(fields)}, expected {len(self.names)}"
            return rejected(line, reason, text, column=self.name(len(fields)))
        if [_name_of(field).casefold() for field in fields] == [name.casefold() for name in self.names]:
            return rejected(line, "the header once more", text)
        pairs = zip(self.columns, fields, strict=True)
        return TextRow(line, {column: self.layout.cell(field) for column, field in pairs if column is not None})

    def holds_records(self, lines: Sequence[str]) -> bool:
        """Return whether one of these lines is by itself a record of this file: then a quote was left open before it.

        Where there are few columns, a line of any text looks like a record.
        """
        if len(self.names) < _TELLING or self.layout.key not in self.columns:
            return False
        each = (line.split(self.delimiter) for line in lines)
        key = self.columns.index(self.layout.key)
        return any(len(one) == len(self.names) and len(one[key].split()) == 1 for one in each)

    def name(self, field: int) -> str:
        """Return the header's name of a field, counted from 0; empty beyond the last."""
        return excerpt(self.names[field]) if field < len(self.names) else ""


def read_header(lines: Iterator[TextLine], *, path: Path, layout: Layout) -> tuple[Header, Iterator[TextLine]]:
    """Return the header, which is the first record that is not blank, and the lines after it.

    The delimiter is the one by which most names are known, of those the one by which there are most.

    Raises:
        InputError: there is none, or a quote in it is broken.
    """
    first = next((line for line in lines if line.text.strip().strip("\ufeff").casefold() not in _BEFORE_HEADER), None)
    if first is None:
        raise InputError(f"{path} is empty; nothing was imported", hint=layout.hint)
    if "\0" in first.text or BAD_TEXT.search(first.text):
        said = "is no text, as a spreadsheet is none before it is saved as CSV"
        raise InputError(f"{path} {said}; nothing was imported", hint=layout.hint)
    ahead = list(islice(lines, _HEADER_LINES - 1))
    found = {one: _read(first, iter(ahead), one) for one in _DELIMITERS}
    names = {one: [_name_of(field) for field in record.fields or ()] for one, record in found.items()}
    known = {one: sum(fold(name) in layout.known_names for name in names[one]) for one in found}
    unquoted = {one: len(names[one]) * all('"' not in name for name in names[one]) for one in found}
    delimiter = max(_DELIMITERS, key=lambda one: (known[one], unquoted[one], len(names[one])))
    if any(record.fields is None and f'{one}"' in first.text for one, record in found.items()):
        said = f"{OPEN_QUOTE}, or not at the end of a name"
        raise InputError(f"{path}, line {first.number}: {said}; nothing was imported", hint="mend the header's quotes")
    header = Header(names[delimiter], delimiter=delimiter, layout=layout)
    return header, chain(ahead[len(found[delimiter].taken) - 1 :], lines)


def _name_of(field: str) -> str:
    """Return the name that a field of a header is, on one line: a line break in it is read as a blank."""
    return " ".join(line.strip() for line in field.strip().strip("\ufeff").splitlines())


def csv_rows(header: Header, lines: Iterator[TextLine], *, path: Path) -> Iterator[TextRow | Finding]:
    """Yield the rows after the header, and a finding for each record that is none.

    Raises:
        InputError: a quote is open to the end of the file.
    """
    for first in lines:
        record = _read(first, lines, header.delimiter)
        if record.is_open:
            said = f"{OPEN_QUOTE}, to the end of the file; nothing was imported from there on"
            hint = "close the quote, or double it where it is part of the text"
            raise InputError(f"{path}, line {first.number}: {said}", hint=hint)
        is_broken = record.fields is None or header.holds_records(record.taken[1:-1])
        row = _broken(record, header) if is_broken else header.row(first.number, record.fields or ())
        if row is not None:
            yield row


def _read(first: TextLine, lines: Iterator[TextLine], delimiter: str) -> _Record:
    """Return the record that begins with a line, and takes what it needs of those after it."""
    if not first.is_whole:
        return _Record(first, None, "longer than {max_line:,} characters")
    if '"' not in first.text:
        return _Record(first, first.text.rstrip("\r\n").split(delimiter))
    taken, why = [first.text], ""

    def more() -> Iterator[str]:
        for line in lines:
            taken.append(line.text)
            yield line.text

    for skips in (False, True):
        reader = csv.reader(chain(list(taken), more()), delimiter=delimiter, skipinitialspace=skips, strict=True)
        try:
            fields = next(reader)
        except csv.Error as error:
            why = str(error)
            continue
        if skips or not any(map(_LATE.match, fields)):
            return _Record(first, fields, taken=taken)
    return _Record(first, None, why, taken)


def _broken(record: _Record, header: Header) -> Finding:
    """Return the finding for a record, with the field of its first line at which reading stopped."""
    line = record.line
    if not line.is_whole:
        return rejected(line.number, record.why.format(max_line=header.layout.max_line), line.text)
    pieces = re.split(f"(?<={re.escape(header.delimiter)})", line.text)  # a field, or a part of one
    reader = csv.reader(pieces, delimiter=header.delimiter, skipinitialspace=True, strict=True)
    starts, is_open = [0], False
    try:
        starts.extend(reader.line_num for _ in reader)
    except csv.Error as error:
        is_open = "end of data" in str(error)
    reason = f"{OPEN_QUOTE} at the end of its value" if is_open else "text after a closing quote"
    if (lines := len(record.taken)) > 1:
        reason += f"; lines {line.number} to {line.number + lines - 1} are left out"
    return rejected(
        line.number, reason, "".join(pieces[starts[-1] :]).rstrip("\r\n"), column=header.name(len(starts) - 1)
    )
