"""The header of a CSV file of people, and what its records are by it."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import InputError
from pipeline.experts.columns import HEADERS, USERNAME, column_of, expected, fold
from pipeline.experts.delimited import Broken, Record, Records
from pipeline.experts.encoding import Line, Lines
from pipeline.experts.judging import judge
from pipeline.records import Finding, Kind, Person, excerpt
from pipeline.spreadsheet import plain

HINT = f"give a CSV file with the header {expected()}, or JSON objects with these keys"
_DELIMITERS = (",", ";", "\t", "|")
_ZIP = "PK\x03\x04"  # the first characters of .xlsx and .ods files


class Header:
    """The header of a CSV file: which field is which column, and how many lines it took."""

    def __init__(self, names: Sequence[str], *, delimiter: str, lines: int) -> None:
        """Keep the names as they stand in the file."""
        self.names = [name.strip().strip("\ufeff") for name in names]
        self.delimiter = delimiter
        self.lines = lines
        self.columns = [column_of(name) for name in self.names]
        self.ignored = [name for name, column in zip(self.names, self.columns, strict=True) if column is None and name]
        self._folded = [fold(name) for name in self.names]
        self._username = self.columns.index(USERNAME) if USERNAME in self.columns else -1

    def is_record(self, fields: Sequence[str]) -> bool:
        """Return whether fields look like a record of this file: as many, and a username without white space."""
        if len(fields) != len(self.names):
            return False
        username = fields[self._username].strip()
        return bool(username) and len(username.split()) == 1

    def row(self, record: Record | Broken) -> Person | Finding | None:
        """Return what a record is: a person, a finding, or None for one without any text."""
        if isinstance(record, Broken):
            return rejected(record.line, record.reason, record.text, column=self._name(record.field))
        fields = record.fields
        if len(fields) == len(self.names):
            reason = self._no_person(fields)
            if reason:
                return rejected(record.line, reason, self.delimiter.join(fields))
            return self._person(record)
        return self._misfit(record)

    def _no_person(self, fields: Sequence[str]) -> str:
        """Return why a record with the right number of fields is none of a person; empty when it is."""
        if not any(field.strip() for field in fields):
            return "nothing but separators"
        if fold(fields[self._username]) != self._folded[self._username]:
            return ""
        return "the header once more" if [fold(field) for field in fields] == self._folded else ""

    def _misfit(self, record: Record) -> Finding | None:
        """Return what is told of a record with the wrong number of fields."""
        text = self.delimiter.join(record.fields)
        if not text.strip():
            return None
        if text.lstrip().startswith("#"):
            return rejected(record.line, "a comment line", text)
        if not text.strip(self.delimiter + " \t"):
            return rejected(record.line, "nothing but separators", text)
        count, wanted = len(record.fields), len(self.names)
        reason = f"wrong number of fields: found {count}, expected {wanted}"
        return rejected(record.line, reason, text, column=self._name(count) if count < wanted else "")

    def _person(self, record: Record) -> Person | Finding:
        """Return the person of a record, or why it does not go in."""
        cells: dict[str, object] = {
            column: plain(field.strip())
            for column, field in zip(self.columns, record.fields, strict=True)
            if column is not None
        }
        row = judge(cells, line=record.line)
        if not record.was_escaped or isinstance(row, Finding):
            return row
        reason = "quotes written as backslash and quote, read as quotes"
        column = next((name for name, field in zip(self.names, record.fields, strict=True) if '"' in field), "")
        change = Finding(record.line, column, reason, "", Kind.CHANGED, username=row.username)
        return Person(row.username, row.values, row.line, (*row.changes, change))

    def _name(self, field: int) -> str:
        """Return the header's name of a field, counted from 0; empty beyond the last."""
        return excerpt(self.names[field]) if field < len(self.names) else ""


def find_header(lines: Lines, *, path: Path) -> Header:
    """Return the header: the first line that is not blank.

    Raises:
        InputError: it has no Username column, or one of ours twice.
    """
    before = 0
    while (line := lines.take()) is not None and (line.text.isspace() or _is_separator_line(line)):
        before += 1
    if line is None:
        raise InputError(f"{path} is empty; nothing was imported", hint=HINT)
    headers = [_header_of(line, delimiter=delimiter, before=before) for delimiter in _DELIMITERS]
    best = max(headers, key=lambda header: sum(column is not None for column in header.columns))
    if line.text.startswith(_ZIP):
        raise InputError(f"{path} is a spreadsheet or zip file; nothing was imported", hint="save it as CSV first")
    if "\x00" in line.text or any("\udc00" <= character <= "\udcff" for character in line.text):
        raise InputError(
            f"{path} is no text: its first line holds bytes that are none; nothing was imported", hint=HINT
        )
    if USERNAME not in best.columns:
        found = ", ".join(excerpt(name) for name in best.names[:12])
        raise InputError(
            f"{path} has no Username column; nothing was imported. Found: {excerpt(found)}",
            hint=f"expected: {expected()}",
        )
    for column, header in HEADERS.items():
        if best.columns.count(column) > 1:
            raise InputError(f"{path} has the column {header} more than once; nothing was imported", hint="remove one")
    return best


def _header_of(line: Line, *, delimiter: str, before: int) -> Header:
    """Return the header that a line is with a delimiter."""
    record = next(iter(Records(Lines(iter([line])), delimiter=delimiter, is_record=lambda _: True)), None)
    return Header(record.fields if isinstance(record, Record) else [], delimiter=delimiter, lines=before + 1)


def _is_separator_line(line: Line) -> bool:
    """Return whether a line is the `sep=;` with which spreadsheets announce their delimiter."""
    return line.text.strip().strip("\ufeff").casefold() in {f"sep={delimiter}" for delimiter in _DELIMITERS}


def rejected(line: int, reason: str, value: object, *, column: str = "") -> Finding:
    """Return the finding about a row that is nobody's yet."""
    return Finding(line, column, reason, excerpt(value), Kind.REJECTED)
