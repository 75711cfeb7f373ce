"""People read from a file: CSV by its header, JSON or JSON lines; at flat memory but for the usernames seen.

A person or a finding comes out for every row, in the order of the file. Of rows with the same username the first goes
in. So it is for usernames that differ only in case or in the form of their accents: they are exact keys once stored,
but twins in one file are almost surely one person, and asking about one person twice costs money and shows twice in
every search; whoever means two people renames one.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.errors import InputError
from pipeline.experts import documents
from pipeline.experts.columns import HEADERS, USERNAME, column_of, fold
from pipeline.experts.delimited import Records
from pipeline.experts.encoding import Encoding, Lines, detect, physical_lines
from pipeline.experts.header import HINT, Header, find_header, rejected
from pipeline.experts.judging import judge
from pipeline.records import Finding, Kind, Person, excerpt

_SHOWN = 10  # names of columns in a note
_FORMATS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_ANSWERED = frozenset({"id", "tags", "findabilityscore"})  # folded names of what our own export has beside


class People:
    """The rows of one file of people; each `iter` reads the file anew.

    `format` is "csv", "json" or "jsonl"; `encoding` is Python's name. `notes` say once what concerns the whole file,
    complete when the iteration has ended.
    """

    def __init__(self, path: Path, *, encoding: Encoding, format_: str) -> None:
        """Keep what was found out about the file."""
        self.path = path
        self.format = format_
        self.encoding = encoding.codec
        self.notes: list[str] = [encoding.note] if encoding.note else []
        self._encoding = encoding
        self._header = self._read_header() if format_ == "csv" else None

    def __iter__(self) -> Iterator[Person | Finding]:
        """Yield each person, and a finding for each row that does not go in, in the order of the file."""
        seen = _Seen()
        rows = self._documents() if self._header is None else self._records(self._header)
        for row in rows:
            yield seen.checked(row) if isinstance(row, Person) else row

    def _read_header(self) -> Header:
        """Return the header of a CSV file.

        Raises:
            InputError: there is none, or it has no Username, or a column twice.
        """
        with self._encoding.open(self.path) as file:
            header = find_header(Lines(physical_lines(file, line_end=self._encoding.line_end)), path=self.path)
        if header.ignored:
            self._note_ignored(header.ignored)
        if header.delimiter != ",":
            self._note(f"fields are separated by {header.delimiter!r}")
        return header

    def _note_ignored(self, names: Sequence[str]) -> None:
        """Note which columns or keys are not read."""
        shown = ", ".join(excerpt(name) for name in names[:_SHOWN])
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        self._note(f"not read: {shown}{more}")
        if any(fold(name) in _ANSWERED for name in names):
            self._note("tags and scores are never imported: they come from answers")

    def _note(self, note: str) -> None:
        """Add a note, once."""
        if note not in self.notes:
            self.notes.append(note)

    def _records(self, header: Header) -> Iterator[Person | Finding]:
        """Yield the rows of a CSV file."""
        with self._encoding.open(self.path) as file:
            lines = Lines(physical_lines(file, line_end=self._encoding.line_end))
            for _ in range(header.lines):
                lines.take()
            for record in Records(lines, delimiter=header.delimiter, is_record=header.is_record):
                row = header.row(record)
                if row is not None:
                    yield row

    def _documents(self) -> Iterator[Person | Finding]:
        """Yield the rows of a JSON file."""
        ignored: dict[str, None] = {}
        with self._encoding.open(self.path) as file:
            if self.format == "json":
                found = documents.of_list(file)
            else:
                found = documents.of_lines(physical_lines(file, line_end=self._encoding.line_end))
            for document in found:
                yield _of_document(document, ignored=ignored)
        if ignored:
            self._note_ignored(list(ignored))


def read_people(path: Path) -> People:
    """Return the people in a file; its rows are read when they are iterated.

    Raises:
        InputError: there is no such file, it is empty or no file, or it is neither JSON nor CSV with a Username column.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path} is a directory; nothing was imported", hint=HINT)
        if not path.is_file():
            what = "is no regular file" if path.exists() else "is not there"
            raise InputError(f"{path} {what}; nothing was imported", hint="check the path")
        encoding = detect(path)
        return People(path, encoding=encoding, format_=_format_of(path, encoding=encoding))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; nothing was imported") from None


def read_person_documents(data: bytes) -> list[Person]:
    """Return the people in a JSON object or a list of them, in order.

    Raises:
        InputError: it is no JSON, or anything in it would be rejected; the message names the element and the field.
    """
    try:
        value = documents.parse(data.decode("utf-8-sig"))
    except ValueError as error:
        raise InputError(f"the person is no JSON: {error}; nothing was stored", hint=HINT) from None
    people: list[Person] = []
    seen = _Seen()
    elements = value if isinstance(value, list) else [value]
    for number, element in enumerate(elements, start=1):
        row = _of_value(element, line=number, ignored={})
        row = seen.checked(row) if isinstance(row, Person) else row
        if isinstance(row, Finding):
            where = f"person {number}, " if isinstance(value, list) else ""
            found = f" (found {row.value!r})" if row.value else ""
            raise InputError(
                f"{where}{row.column or 'the document'}: {row.reason}{found}; nothing was stored", hint=HINT
            )
        people.append(row)
    if not people:
        raise InputError("the list holds no person; nothing was stored", hint=HINT)
    return people


def _format_of(path: Path, *, encoding: Encoding) -> str:
    """Return the format of a file by its first characters and its name.

    Raises:
        InputError: it is empty, or its name says JSON and its content does not.
    """
    with encoding.open(path) as file:
        text = file.read(1 << 16).strip()
    if not text:
        raise InputError(f"{path} is empty; nothing was imported", hint=HINT)
    named = _FORMATS.get(path.suffix.lower(), "csv")
    second = text[1:].lstrip()[:1]
    if text[0] == "[" and (named != "csv" or second in {"{", "]"}):
        return "json"
    if text[0] == "{" and (named != "csv" or second in {'"', "}"}):
        first = re.split(r"[\r\n]", text, maxsplit=1)[0]
        is_lines = first.strip() != "{" if named == "jsonl" else _is_json(first)
        return "jsonl" if is_lines else "json"
    if named == "json":
        raise InputError(f"{path} is no JSON: it starts with {excerpt(text[:20])!r}; nothing was imported", hint=HINT)
    return named


def _is_json(text: str) -> bool:
    """Return whether a text is a whole JSON value."""
    try:
        documents.parse(text)
    except ValueError:
        return False
    return True


def _of_document(document: documents.Document | documents.Unreadable, *, ignored: dict[str, None]) -> Person | Finding:
    """Return the person in a JSON document, or why it does not go in."""
    if isinstance(document, documents.Unreadable):
        return rejected(document.line, document.reason, document.text)
    try:
        value = documents.parse(document.text)
    except ValueError as error:
        return rejected(document.line, f"no JSON: {error}", document.text)
    return _of_value(value, line=document.line, ignored=ignored)


def _of_value(value: object, *, line: int, ignored: dict[str, None]) -> Person | Finding:
    """Return the person that a JSON value describes; keys that are not read are added to `ignored`."""
    if not isinstance(value, Mapping):
        return rejected(line, "not an object", value)
    cells: dict[str, object] = {}
    for key, cell in value.items():
        column = column_of(key)
        if column is None:
            ignored[key] = None
        elif column in cells:
            return rejected(line, "given twice, in two spellings", cell, column=HEADERS[column])
        else:
            cells[column] = cell
    return judge(cells, line=line)


class _Seen:
    """The usernames of a file so far; about 130 bytes each, the one thing that grows while a file is read."""

    def __init__(self) -> None:
        """Start with none."""
        # digest of the folded username -> line, 32 bits of the username's digest, 32 bits of the row's, in one number
        self._rows: dict[int, int] = {}

    def checked(self, person: Person) -> Person | Finding:
        """Return the person, or the finding that rejects it because its username came before."""
        key = _digest(unicodedata.normalize("NFC", person.username).casefold(), size=8)
        name, row = _digest(person.username, size=4), _digest(repr(sorted(person.values.items())), size=4)
        found = self._rows.get(key)
        if found is None:
            self._rows[key] = person.line << 64 | name << 32 | row
            return person
        line, is_same_name, is_same_row = found >> 64, found >> 32 & 0xFFFFFFFF == name, found & 0xFFFFFFFF == row
        reason = f"duplicate username: already on line {line}"
        if not is_same_name:
            reason = f"duplicate username: on line {line} in another case, or with other accents"
        elif is_same_row:
            reason = f"duplicate: an exact copy of line {line}"
        value = excerpt(person.username)
        return Finding(person.line, HEADERS[USERNAME], reason, value, Kind.REJECTED, username=person.username)


def _digest(text: str, *, size: int) -> int:
    """Return so many bytes that stand for a text; two of a million share 8 of them with a chance of 1 in 37 million."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=size).digest(), "big")
