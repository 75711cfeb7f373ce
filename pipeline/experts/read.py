"""Read people from a file: CSV by its header, JSON, JSON lines or Parquet; at flat memory.

Of rows with the same username the first goes in, also where they differ only in case or in the form of their accents:
those are exact keys once stored, but in one file almost surely one person, and asking twice costs money.
"""

import hashlib
import unicodedata
from collections.abc import Iterator
from dataclasses import replace

from pipeline.core.errors import InputError
from pipeline.core.text import restore_formula
from pipeline.experts.aliases import KEY_RULE, SPECS
from pipeline.experts.columns import HEADERS, USERNAME, column_of, expected
from pipeline.experts.rows import Person, judge_row
from pipeline.tables import json_file, json_places
from pipeline.tables.duplicates import SeenIds
from pipeline.tables.findings import Finding, rejected
from pipeline.tables.layout import Layout, TextRow, row_of
from pipeline.tables.names import fold
from pipeline.tables.table_file import TableFile, name_some

HINT = f"give a CSV file with the header {expected()}, or JSON objects with these keys"
DOCUMENT_HINT = f"give one JSON object, or a list of them, with the keys {expected()}"
_ANSWERED = frozenset({"id", "tags", "findabilityscore"})  # folded names of what our own export has beside


def _cell(text: str) -> str:
    """Return a cell of a CSV file as it was before an export made it safe for spreadsheets."""
    return restore_formula(text.strip())


LAYOUT = Layout(
    USERNAME,
    columns=HEADERS,
    column_of=column_of,
    hint=HINT,
    guesses=True,
    cell=_cell,
    specs=SPECS,
    unread=_ANSWERED,
    key_rule=KEY_RULE,
    command="make import EXPERTS={}",
)


class People(TableFile):
    """The people in one file."""

    layout = LAYOUT

    @property
    def notes(self) -> list[str]:
        """Return what concerns the whole file, with the columns that are not read."""
        if not self.ignored:
            return super().notes
        found = [*super().notes, f"not read: {name_some(self.ignored)}"]
        if any(fold(name) in _ANSWERED for name in self.ignored):
            found.append("tags and scores are never imported: they come from answers")
        return found

    def people(self) -> Iterator[Person | Finding]:
        """Yield each person, and a finding for each row that does not go in, in the order of the file."""
        with SeenIds() as seen:
            for row in self:
                yield _person(row, seen)


def read_person_documents(data: bytes, *, name: str = "the document") -> list[Person]:
    """Return the people in a JSON object or a list of them, in order; `name` is what messages call the file.

    Raises:
        InputError: it is no JSON, or anything in it would be rejected; the message names file, line, column and field.
    """
    try:
        text = data.decode("utf-8-sig")
        value = json_file.parse_json(text)
    except UnicodeDecodeError as error:
        raise _refused(name, json_places.places_of_bytes(data, error), "no JSON: it is not valid UTF-8") from None
    except ValueError as error:
        why, _, at = str(error).removeprefix("no JSON: ").partition(": line ")
        raise _refused(
            name, f"line {at.partition(' (')[0].replace(' c', ', c')}" if at else "", f"no JSON: {why}"
        ) from None
    people: list[Person] = []
    with SeenIds() as seen:
        for number, element in enumerate(value if isinstance(value, list) else [value], start=1):
            row = _person(row_of(element, line=number, layout=LAYOUT, ignored={}), seen)
            if isinstance(row, Finding):
                where = f"person {number}, " if isinstance(value, list) else ""
                found = f" (found {row.value!r})" if row.value else ""
                place = _place(text, number, row.column)
                raise _refused(name, place, f"{where}{row.column or 'the document'}: {row.reason}{found}")
            people.append(row)
    if not people:
        raise _refused(name, "", "the list holds no person")
    return people


def _refused(name: str, place: str, said: str) -> InputError:
    """Return the error for a file of people that is not taken."""
    return InputError(f"{name}{f', {place}' if place else ''}: {said}; nothing was stored", hint=DOCUMENT_HINT)


def _place(text: str, number: int, header: str) -> str:
    """Return line and column of a person's value, or of the person where the value is not there."""
    try:
        element = json_places.element_places(text)[number - 1]
    except (ValueError, RecursionError, IndexError):  # one parser reads what another one does not
        return ""
    named = (at for name, at in element.values.items() if HEADERS.get(column_of(name) or "") == header)
    return json_places.line_and_column(text, next(named, element.start))


def _person(row: TextRow | Finding, seen: SeenIds) -> Person | Finding:
    if isinstance(row, Finding):
        return row
    person = judge_row(row.values, line=row.line)
    if isinstance(person, Finding):
        return person
    if row.changes:
        changes = [change._replace(key=person.username) for change in row.changes]
        person = replace(person, changes=(*person.changes, *changes))
    return _duplicate(person, seen) or person


def _duplicate(person: Person, seen: SeenIds) -> Finding | None:
    """Return the finding that rejects a person because the username came before, or None."""
    copy = hashlib.blake2b(repr(sorted(person.values.items())).encode(), digest_size=8).hexdigest()
    key = unicodedata.normalize("NFC", person.username).casefold()
    found = seen.first(key, person.line, f"{copy} {person.username}")
    if found is None:
        return None
    line, (first_copy, _, username) = found[0], found[1].partition(" ")
    reason = f"duplicate username: already on line {line}"
    if username != person.username:
        reason = f"duplicate username: on line {line} in another case, or with other accents"
    elif first_copy == copy:
        reason = f"duplicate: an exact copy of line {line}"
    return rejected(person.line, reason, person.username, column=HEADERS[USERNAME], key=person.username)
