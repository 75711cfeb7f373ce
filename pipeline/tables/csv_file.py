r"""Rows of a CSV file, such that a broken one does not take the rest of the file with it.

A record is read strictly by RFC 4180, from the physical line where it starts and as many more as its quotes ask for.
What is none is tried once with `\"` read as a quote; what still is none is rejected. After a quote that was opened and
never closed, reading goes on at the next line that looks like a whole record.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.core.errors import InputError
from pipeline.tables.findings import Finding, FindingKind, excerpt, rejected
from pipeline.tables.layout import Layout, TextRow
from pipeline.tables.names import fold
from pipeline.tables.text_file import TextLine

_DELIMITERS = (",", ";", "\t", "|")
OPEN_QUOTE = "a quote is opened and not closed"  # begins the reason of a record that is not read to its end
_ZIP = "PK\x03\x04"  # the first characters of .xlsx and .ods files
_OPENING = re.compile(r' *+"')
_INSIDE = re.compile(r'(?:[^"]++|"")*+')


@dataclass(frozen=True)
class _Record:
    """What was read as a record: its fields (None: it is broken), and how many lines it takes after its first.

    `field` and `position` are the field at fault, from 0, and where in the first line it starts: the first one that
    does not end in that line (`is_open`), else the one where reading stopped.
    """

    fields: Sequence[str] | None
    more: int = 0
    field: int = 0
    position: int = 0
    is_open: bool = False


class Header:
    """The header of a CSV file: which field is which column."""

    def __init__(self, names: Sequence[str], *, delimiter: str, layout: Layout) -> None:
        """Keep the names as they stand in the file."""
        self.names = list(names)
        self.delimiter = delimiter
        self.columns = [layout.column_of(name) if name else None for name in self.names]
        self.ignored = [name for name, column in zip(self.names, self.columns, strict=True) if column is None and name]
        self.key = self.columns.index(layout.key) if layout.key in self.columns else None
        self._folded = [name.casefold() for name in self.names]
        self._cell = layout.cell

    def is_record(self, fields: Sequence[str]) -> bool:
        """Return whether fields look like a record of this file: as many, and a key without white space."""
        return len(fields) == len(self.names) and (self.key is None or len(fields[self.key].split()) == 1)

    def row(self, line: int, fields: Sequence[str]) -> TextRow | Finding | None:
        """Return the row that these fields are, or why they are none; None where there is no text in them."""
        text = self.delimiter.join(fields)
        if not text.strip():
            return None
        if not text.strip(self.delimiter + " \t"):
            return rejected(line, "nothing but separators", text)
        if len(fields) == len(self.names):
            if [field.strip().casefold() for field in fields] == self._folded:
                return rejected(line, "the header once more", text)
            pairs = zip(self.columns, fields, strict=True)
            return TextRow(line, {column: self._cell(field) for column, field in pairs if column is not None})
        if text.lstrip().startswith("#"):
            return rejected(line, "a comment line", text)
        reason = f"wrong number of fields: found {len(fields)}, expected {len(self.names)}"
        return rejected(line, reason, text, column=self.name(len(fields)))

    def name(self, field: int) -> str:
        """Return the header's name of a field, counted from 0; empty beyond the last."""
        return excerpt(self.names[field]) if field < len(self.names) else ""


def read_names(lines: Iterator[TextLine], *, path: Path, layout: Layout) -> tuple[list[str], str]:
    """Return the names in the header and what separates them, and leave the lines after it: it is not blank.

    The separator is the one by which most names are known, and of those the one by which there are most.

    Raises:
        InputError: there is none.
    """
    line = next((line for line in lines if not line.text.isspace() and not _is_separator_line(line)), None)
    if line is None:
        raise InputError(f"{path} is empty; nothing was imported", hint=layout.hint)
    if line.text.startswith(_ZIP):
        raise InputError(f"{path} is a spreadsheet or zip file; nothing was imported", hint="save it as CSV first")
    if "\x00" in line.text or any("\udc00" <= character <= "\udcff" for character in line.text):
        said = "is no text: its first line holds bytes that are none"
        raise InputError(f"{path} {said}; nothing was imported", hint=layout.hint)
    known = layout.known_names
    found = [(_names_of(line, delimiter=delimiter, layout=layout), delimiter) for delimiter in _DELIMITERS]
    return max(found, key=lambda one: (sum(fold(name) in known for name in one[0]), len(one[0])))


def check_header(header: Header, *, path: Path, layout: Layout) -> None:
    """Check that a header has a key, or what one can be made of, and no column of the subject's twice.

    Raises:
        InputError: it has not.
    """
    if not layout.has_key(header.columns):
        found = excerpt(", ".join(excerpt(name) for name in header.names[:12]))
        made = f", and {layout.key_rule.shown} to make one of" if layout.key_rule else ""
        raise InputError(
            f"{path} has no {layout.label(layout.key)} column{made}; nothing was imported. Found: {found}",
            hint=f'expected: {", ".join(layout.columns.values())}; or say which: MAP="{layout.key}=…"',
        )
    for column in filter(None, header.columns):
        if header.columns.count(column) > 1:
            said = f"has the column {layout.label(column)} more than once"
            raise InputError(f"{path} {said}; nothing was imported", hint="remove one")


def _names_of(line: TextLine, *, delimiter: str, layout: Layout) -> list[str]:
    records = _Parser(iter([line]), delimiter, is_record=bool, layout=layout)
    names = next((record.fields for _, record, _ in records), None)
    return [name.strip().strip("\ufeff") for name in names or []]


def _is_separator_line(line: TextLine) -> bool:
    """Return whether a line is the `sep=;` with which spreadsheets announce their delimiter."""
    return line.text.strip().strip("\ufeff").casefold() in {f"sep={delimiter}" for delimiter in _DELIMITERS}


def csv_rows(lines: Iterator[TextLine], header: Header, *, layout: Layout) -> Iterator[TextRow | Finding]:
    """Yield the rows after the header, and a finding for each record that is none."""
    trusts = not layout.guesses or header.key is None
    parser = _Parser(lines, header.delimiter, is_record=header.is_record, layout=layout, trusts=trusts)
    for line, record, was_escaped in parser:
        if record.fields is None:
            yield _broken(line, record, header=header, layout=layout)
        elif (row := header.row(line.number, record.fields)) is not None:
            yield _unescaped(row, record.fields, header) if was_escaped and isinstance(row, TextRow) else row


def _broken(line: TextLine, record: _Record, *, header: Header, layout: Layout) -> Finding:
    reason = f"{OPEN_QUOTE} at the end of its value" if record.is_open else "text after a closing quote"
    if not line.is_whole:
        reason = f"longer than {layout.max_line:,} characters"
    if record.more:
        reason += f"; lines {line.number} to {line.number + record.more} are left out"
    value = line.text[record.position :].rstrip("\r\n")
    return rejected(line.number, reason, value, column=header.name(record.field))


def _unescaped(row: TextRow, fields: Sequence[str], header: Header) -> TextRow:
    """Return a row that was read with backslashes taken out, with the finding that says so."""
    column = next((name for name, field in zip(header.names, fields, strict=True) if '"' in field), "")
    reason = "quotes written as backslash and quote, read as quotes"
    return TextRow(row.line, row.values, (Finding(row.line, column, reason, "", FindingKind.CHANGED),))


class _Parser:
    """Reads records from physical lines; those of `is_record` are what reading goes on at after a broken one."""

    def __init__(
        self,
        lines: Iterator[TextLine],
        delimiter: str,
        *,
        is_record: Callable[[Sequence[str]], bool],
        layout: Layout,
        trusts: bool = False,
    ) -> None:
        """Read from where `lines` stands; a record of the right size is taken over any lines where it `trusts`."""
        self._lines = lines
        self._ahead: deque[TextLine] = deque()
        self._delimiter = delimiter
        self._is_record = is_record
        self._layout = layout
        self._trusts = trusts

    def __iter__(self) -> Iterator[tuple[TextLine, _Record, bool]]:
        r"""Yield the first line of each record, the record, and whether `\"` was read as a quote in it."""
        while (line := self._peek(0)) is not None:
            self._ahead.popleft()
            if line.text.isspace():
                continue
            record, was_escaped = self._record(line)
            for _ in range(record.more):
                self._ahead.popleft()
            yield line, record, was_escaped

    def _peek(self, distance: int) -> TextLine | None:
        """Return a line that was not taken yet, 0 for the next one; None after the last."""
        while len(self._ahead) <= distance:
            line = next(self._lines, None)
            if line is None:
                return None
            self._ahead.extend(self._split_at_bare_returns(line))
        return self._ahead[distance]

    def _split_at_bare_returns(self, line: TextLine) -> list[TextLine]:
        r"""Return a line cut after each `\r` that is not its end, unless it is a record as it stands, or has quotes."""
        if "\r" not in line.text.rstrip("\r\n") or '"' in line.text or self._is_sound(self._parse(line, alone=True)):
            return [line]
        pieces = re.findall(r"[^\r]*+(?:\r\n?|\Z)", line.text)
        return [TextLine(line.number, piece, is_whole=line.is_whole) for piece in pieces if piece]

    def _record(self, first: TextLine) -> tuple[_Record, bool]:
        """Return what starts at a line that was taken, and whether backslashes were taken out."""
        if not first.is_whole:
            return replace(self._parse(first, alone=True), fields=None), False
        if '"' not in first.text:
            return _Record(first.text.rstrip("\r\n").split(self._delimiter)), False
        plain = self._parse(first)
        if self._is_sound(plain):
            return plain, False
        if '\\"' in first.text and self._is_sound(unescaped := self._parse(first, unescape=True)):
            return unescaped, True
        if plain.fields is not None and not self._swallows(plain):
            return plain, False
        return self._skip(plain), False

    def _parse(self, first: TextLine, *, ahead: int = 0, unescape: bool = False, alone: bool = False) -> _Record:
        """Return the record that starts at a line; `ahead` is how many lines stand between it and those taken."""
        text = first.text.replace('\\"', '""') if unescape else first.text
        fields: list[str] = []
        start = at = more = 0
        open_: tuple[int, int] | None = None  # the first field that goes on in the next line, and where it starts
        while at >= 0:
            start = at
            opening = _OPENING.match(text, at)
            if opening is None:
                end = text.find(self._delimiter, at)
                fields.append(text[at:end] if end >= 0 else text[at:].rstrip("\r\n"))
            else:
                at = _closing(text, opening.end())
                while at == len(text) and not alone:
                    open_ = open_ or (len(fields), start)
                    line = self._peek(ahead + more) if len(text) < self._layout.max_line else None
                    if line is None:
                        break
                    more += 1
                    text += line.text.replace('\\"', '""') if unescape else line.text
                    at = _closing(text, at)
                fields.append(text[opening.end() : at].replace('""', '"'))
                end = at + 1 if text.startswith(self._delimiter, at + 1) else -1
                if at == len(text) or (end < 0 and text[at + 1 :].strip("\r\n")):
                    return _Record(None, more, *(open_ or (len(fields) - 1, start)), is_open=open_ is not None)
            at = end + 1 if end >= 0 else -1
        return _Record(fields, more, *(open_ or (len(fields) - 1, start)), is_open=open_ is not None)

    def _is_sound(self, record: _Record, *, ahead: int = 0) -> bool:
        """Return whether a record is one of this file, and no quote left open over others."""
        return record.fields is not None and self._is_record(record.fields) and not self._swallows(record, ahead=ahead)

    def _swallows(self, record: _Record, *, ahead: int = 0) -> bool:
        """Return whether a record over several lines is a quote left open over whole other records."""
        is_record = record.fields is not None and self._is_record(record.fields)
        if is_record and self._trusts:
            return False
        others = [self._ahead[ahead + place] for place in range(record.more - is_record)]
        return any(self._is_record(self._parse(line, alone=True).fields or ()) for line in others)

    def _skip(self, broken: _Record) -> _Record:
        """Return a broken record with all lines up to the one where reading can go on."""
        more = 0
        while (
            broken.more
            and (line := self._peek(more))
            and not self._is_sound(self._parse(line, ahead=more + 1), ahead=more + 1)
        ):
            more += 1
        return replace(broken, fields=None, more=more)


def _closing(text: str, position: int) -> int:
    """Return where the quote stands that closes a field whose text goes on at a position; the end where none does."""
    match = _INSIDE.match(text, position)
    return match.end() if match else position
