"""Read people from a file: CSV by its header, JSON, JSON lines or Parquet; at flat memory.

Of rows with the same username the first goes in, also where they differ only in case or in the form of their accents:
those are exact keys once stored, but in one file almost surely one person, and asking twice costs money.
"""

import hashlib
import shlex
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial

from pipeline.core.errors import InputError
from pipeline.core.text import restore_formula
from pipeline.experts.aliases import KEY_RULE, SPECS
from pipeline.experts.columns import HEADERS, USERNAME, column_of, expected
from pipeline.experts.rows import Person, judge_row
from pipeline.tables.duplicates import SeenIds
from pipeline.tables.findings import Finding, rejected
from pipeline.tables.json_document import DocumentReader, JsonDocument
from pipeline.tables.layout import Layout, TextRow
from pipeline.tables.mapping import MappingChoices
from pipeline.tables.names import fold
from pipeline.tables.table_file import TableFile, name_some

HINT = f"give a CSV file with the header {expected()}, or JSON objects with these keys"
DOCUMENT_HINT = f"give one JSON object, or a list of them, with the keys {expected()}"
_ANSWERED = frozenset({"id", "tags", "findabilityscore"})  # folded names of what our own export has beside


def cell_of(text: str) -> str:
    """Return a cell of a CSV file as it was before an export made it safe for spreadsheets."""
    return restore_formula(text.strip())


LAYOUT = Layout(
    USERNAME,
    columns=HEADERS,
    column_of=column_of,
    hint=HINT,
    guesses=True,
    cell=cell_of,
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
        return [*super().notes, *_not_read(self.ignored)]

    def people(self) -> Iterator[Person | Finding]:
        """Yield each person, and a finding for each row that does not go in, in the order of the file."""
        with SeenIds() as seen:
            for row in self:
                yield _person(row, seen)


def _not_read(names: Collection[str]) -> Iterator[str]:
    """Yield what to say of names that are not read."""
    if names:
        yield f"not read: {name_some(names)}"
    if any(fold(name) in _ANSWERED for name in names):
        yield "tags and scores are not imported: they come from answers, or from a person by `make tags EXPERT=…`"


def read_person_documents(
    data: bytes, choices: MappingChoices | None = None, *, name: str = "the document"
) -> JsonDocument[Person]:
    """Return the people in a JSON object or a list of them, read by the names that an import would know.

    `name` is what the command takes for the file.

    Raises:
        InputError: it is no JSON, what a name means would be a guess, or anything in it would be rejected; the message
            names file, line, column and field.
    """
    layout = replace(LAYOUT, command=f"make add-expert EXPERT={shlex.quote(name)}")
    with SeenIds() as seen:
        reader = DocumentReader(layout, partial(_person, seen=seen), "person", DOCUMENT_HINT)
        found = reader.read(data, choices, said="standard input" if name == "-" else name)
    return replace(found, notes=[*found.notes, *_not_read(found.ignored)])


def check_as_given(people: Sequence[Person], *, name: str) -> None:
    """Pass where every value of some people would be stored as it is given.

    Raises:
        InputError: one would be stored in another way, or not at all; its field is named.
    """
    for change in (change for person in people for change in person.changes):
        field = next((column for column, label in HEADERS.items() if label == change.column), "")
        reason = change.reason.removesuffix("; stored without a rate").removesuffix("; kept as it is")  # by an import
        raise InputError(
            f"{name}: {change.column}: {reason} ({change.value}); nothing was stored",
            hint="leave it out, or give it as it is to be stored",
            field=field,
        )


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
