r"""Records of a CSV file, one after the other, such that a broken one does not take the rest of the file with it.

Each record is parsed by the `csv` module in its strict form, from the physical line where it starts and as many more
as it asks for. What is not a record by RFC 4180 is tried once with `\"` read as a quote; what still is none is
broken. After a quote that was opened and never closed, reading goes on at the next line that looks like a whole record.
"""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.experts.encoding import MAX_LINE, Line, Lines

csv.field_size_limit(MAX_LINE)  # the module's own limit of 131,072 characters is below real biographies

_FIELD = r'[ ]*+"(?:[^"]++|"")*+"(?={delimiter}|[\r\n]|\Z)|(?![ ]*")[^{delimiter}\r\n]*+'
_HELD = "\udbff"  # stands for a bare carriage return while a record is parsed; no text that was decoded holds it
_OPEN = re.compile(r'[ ]*+"(?:[^"]++|"")*+')


@dataclass(frozen=True)
class Record:
    """The fields of one record and its physical line; `was_escaped` where a backslash before a quote was taken out."""

    line: int
    fields: Sequence[str]
    was_escaped: bool = False


@dataclass(frozen=True)
class Broken:
    """What could not be read as a record: its lines from first to last, the field at fault (from 0), and why."""

    line: int
    last_line: int
    field: int
    reason: str
    text: str


class Records:
    """The records of a file with one delimiter; those of `is_record` are what reading goes on at after a broken one."""

    def __init__(self, lines: Lines, *, delimiter: str, is_record: Callable[[Sequence[str]], bool]) -> None:
        """Read from where `lines` stands."""
        self._lines = lines
        self._delimiter = delimiter
        self._is_record = is_record
        self._field = re.compile(_FIELD.format(delimiter=re.escape(delimiter)))

    def __iter__(self) -> Iterator[Record | Broken]:
        """Yield every record in the order of the file; blank lines are passed over."""
        while (line := self._lines.take()) is not None:
            pieces = self._split_at_bare_returns(line)
            self._lines.put_back(pieces[1:])
            if not pieces[0].text.isspace():
                yield self._record(pieces[0])

    def _split_at_bare_returns(self, line: Line) -> list[Line]:
        r"""Return a line cut after each `\r` that is not its end, unless it is a record as it stands, or has quotes."""
        if "\r" not in line.text.rstrip("\r\n") or '"' in line.text or self._is_record(self._fields_of(line)):
            return [line]
        pieces = re.findall(r"[^\r]*+(?:\r\n?|\Z)", line.text)
        return [Line(line.number, piece, is_whole=line.is_whole) for piece in pieces if piece]

    def _record(self, first: Line) -> Record | Broken:
        """Return what starts at a line, and leave the lines after it to come."""
        if not first.is_whole:
            return self._broken(first, last_line=first.number, reason=f"longer than {MAX_LINE:,} characters")
        if '"' not in first.text:
            return Record(first.number, first.text.rstrip("\r\n").split(self._delimiter))
        fields, taken = self._parse(first)
        is_sound = fields is not None and not self._swallows(fields, taken)
        if fields is not None and is_sound and (self._is_record(fields) or '\\"' not in first.text):
            return Record(first.number, fields)
        self._lines.put_back(taken[1:])
        if '\\"' in first.text:
            unescaped, used = self._parse(first, unescape=True)
            if unescaped is not None and self._is_record(unescaped) and not self._swallows(unescaped, used):
                return Record(first.number, unescaped, was_escaped=True)
            self._lines.put_back(used[1:])
        if fields is not None and is_sound:
            self._drop(len(taken) - 1)
            return Record(first.number, fields)
        return self._skip(first, is_one_line=fields is None and len(taken) == 1)

    def _parse(self, first: Line, *, unescape: bool = False) -> tuple[list[str] | None, list[Line]]:
        """Return the fields of the record that starts at a line (None: there is none), and the lines it took."""
        taken = [first]

        def texts() -> Iterator[str]:
            size = 0
            line: Line | None = first
            while line is not None and size < MAX_LINE:
                size += len(line.text)
                yield line.text.replace('\\"', '""') if unescape else line.text
                line = self._lines.take()
                if line is not None:
                    taken.append(line)

        return self._strictly(texts()), taken

    def _swallows(self, fields: Sequence[str], taken: Sequence[Line]) -> bool:
        """Return whether a record over several lines is a quote left open over whole other records."""
        others = taken[1:-1] if self._is_record(fields) else taken[1:]
        return any(self._is_record(self._fields_of(line)) for line in others)

    def _drop(self, count: int) -> None:
        """Pass over lines that were put back."""
        for _ in range(count):
            self._lines.take()

    def _fields_of(self, line: Line) -> list[str]:
        """Return the fields of a line taken by itself; none where it is no record by itself."""
        if '"' not in line.text:
            return line.text.rstrip("\r\n").split(self._delimiter)
        return self._strictly(iter([line.text])) or []

    def _strictly(self, texts: Iterator[str]) -> list[str] | None:
        """Return the fields of the record that these lines begin with, or None; takes no more lines than it needs."""
        held = (_hold_bare_returns(text) for text in texts)
        reader = csv.reader(held, delimiter=self._delimiter, strict=True, skipinitialspace=True)
        try:
            return [field.replace(_HELD, "\r") for field in next(reader)]
        except csv.Error:
            return None

    def _skip(self, first: Line, *, is_one_line: bool) -> Broken:
        """Return the broken record, with all lines up to the one where reading can go on."""
        skipped = [first]
        while not is_one_line and (line := self._lines.take()) is not None:
            fields, taken = self._parse(line)
            self._lines.put_back(taken[1:])
            if fields is not None and self._is_record(fields) and not self._swallows(fields, taken):
                self._lines.put_back([line])
                break
            skipped.append(line)
        is_open = _OPEN.fullmatch(first.text, self._fault(first.text)[1]) is not None
        reason = "a quote is opened and not closed at the end of its value" if is_open else "text after a closing quote"
        return self._broken(first, last_line=skipped[-1].number, reason=reason)

    def _fault(self, text: str) -> tuple[int, int]:
        """Return the first field of a line that is not well formed (from 0), and where in the line it starts."""
        index = position = 0
        while (match := self._field.match(text, position)) and text[match.end() : match.end() + 1] == self._delimiter:
            index, position = index + 1, match.end() + 1
        return index, position

    def _broken(self, first: Line, *, last_line: int, reason: str) -> Broken:
        """Return what is told of a record that is none."""
        more = "" if last_line == first.number else f"; lines {first.number} to {last_line} are left out"
        field, position = self._fault(first.text)
        return Broken(first.number, last_line, field, reason + more, first.text[position:].rstrip("\r\n"))


def _hold_bare_returns(text: str) -> str:
    r"""Return a line with every `\r` but that of its end hidden from the `csv` module, which would stop at it."""
    bare = text.rstrip("\r\n")
    return text if "\r" not in bare else bare.replace("\r", _HELD) + text[len(bare) :]
