"""Read people from a file: CSV by its header, JSON, JSON lines or Parquet; at flat memory.

Of rows with the same username the first goes in, also where they differ only in case or in the form of their accents:
those are exact keys once stored, but in one file almost surely one person, and asking twice costs money.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.core.errors import InputError
from pipeline.core.text import first_few, restore_formula
from pipeline.experts.columns import HEADERS, USERNAME
from pipeline.experts.rows import Person, judge_row
from pipeline.tables.columns import ColumnMapping, Layout, MappedFile, fold
from pipeline.tables.findings import Finding, SeenIds, excerpt, rejected
from pipeline.tables.read import SourceRow, parse_json

EXPECTED = ", ".join(HEADERS.values())
HINT = f"give a CSV file with the header {EXPECTED}, or JSON objects with these keys"
DOCUMENT_HINT = f"give one JSON object, or a list of them, with the keys {EXPECTED}"
WHOLE_NAME, PARTS = "full_name", ("first_name", "last_name")
COLUMNS = {**HEADERS, WHOLE_NAME: "Full name"}
LAYOUT = Layout(USERNAME, COLUMNS, HINT, "make import EXPERTS={}")
_PARTICLES = re.compile(
    r"af|al|av|ben|bin|d[aeiou]|das|dei|del|della|de[nr]|dos|el|ibn|l[ae]|te[nr]|va[nm]|vo[mn]|zu[mr]?"
)
_ANSWERED = frozenset({"tags", "findabilityscore"})  # folded names of what our own export has beside


class People(MappedFile):
    """The people in one file."""

    layout = LAYOUT

    def people(self) -> Iterator[Person | Finding]:
        """Yield each person, and a finding for each row that does not go in, in the order of the file."""
        with SeenIds() as seen:
            for row in self:
                yield _person(row, seen, as_written=self.format == "csv")
        self.notes += _not_read(self.mapping.not_read)


def _not_read(names: Collection[str]) -> Iterator[str]:
    if names:
        yield f"not read: {first_few([excerpt(name) for name in names], 10)}"
    if any(fold(name) in _ANSWERED for name in names):
        yield "tags and scores are not imported: they come from answers, or from a person by `make tags EXPERT=…`"


class PersonDocuments(NamedTuple):
    """The people of a JSON document, in order, and notes on how it was read."""

    made: list[Person]
    notes: list[str]


def read_person_documents(
    data: bytes, given: Mapping[str, str] | None = None, *, name: str = "the document"
) -> PersonDocuments:
    """Return the people in a JSON object or a list of them; `given` is what MAP= says, `name` what they stand in.

    Raises:
        InputError: it is no JSON, or anything in it would be rejected; the message names person and field.
    """
    said = "standard input" if name == "-" else name
    try:
        value = parse_json(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise _refused(said, "no JSON: it is not valid UTF-8") from None
    except ValueError as error:
        raise _refused(said, str(error)) from None
    elements = value if isinstance(value, list) else [value]
    names = [one for element in elements if isinstance(element, dict) for one in element]
    mapping, made = ColumnMapping(names, given or {}, layout=LAYOUT, path=Path(said)), list[Person]()
    with SeenIds() as seen:
        for number, element in enumerate(elements, start=1):
            is_object = isinstance(element, dict)
            row = mapping.row(SourceRow(number, element)) if is_object else rejected(number, "not an object", element)
            one = _person(row, seen)
            if isinstance(one, Finding):
                where = f"person {number}, " if isinstance(value, list) else ""
                found = f" (found {one.value!r})" if one.value else ""
                field = next((column for column, label in HEADERS.items() if label == one.column), "")
                raise _refused(said, f"{where}{one.column or 'the document'}: {one.reason}{found}", field=field)
            made.append(one)
    if not made:
        raise _refused(said, "the list holds no person")
    return PersonDocuments(made, [*mapping.notes, *_not_read(mapping.not_read)])


def _refused(said: str, why: str, *, field: str = "") -> InputError:
    return InputError(f"{said}: {why}; nothing was stored", hint=DOCUMENT_HINT, field=field)


def check_as_given(people: Sequence[Person], *, name: str) -> None:
    """Pass where every value of some people would be stored as it is given.

    Raises:
        InputError: one would be stored in another way, or not at all; its field is named.
    """
    for change in (change for person in people for change in person.changes):
        field = next((column for column, label in HEADERS.items() if label == change.column), "")
        reason = change.reason.removesuffix("; stored without a rate")
        raise InputError(
            f"{name}: {change.column}: {reason} ({change.value}); nothing was stored",
            hint="leave it out, or give it as it is to be stored",
            field=field,
        )


def _person(row: SourceRow | Finding, seen: SeenIds, *, as_written: bool = False) -> Person | Finding:
    """Return the person that a row describes, or why it does not go in; cells may be `as_written` for spreadsheets."""
    if isinstance(row, Finding):
        return row
    cells = row.values
    if as_written:
        cells = {name: restore_formula(cell.strip()) for name, cell in cells.items()}
    person = judge_row(_with_parts(cells), line=row.line)
    if isinstance(person, Finding):
        return person
    line = seen.first(unicodedata.normalize("NFC", person.username).casefold(), person.line)
    if line is None:
        return person
    said = f"duplicate username: already on line {line}"
    return rejected(person.line, said, person.username, column=HEADERS[USERNAME], key=person.username)


def _with_parts(cells: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return cells with the first and last name that a whole name says; beside one of the two it says the other."""
    if WHOLE_NAME not in cells:
        return cells
    others = {name: cell for name, cell in cells.items() if name != WHOLE_NAME}
    whole = cells[WHOLE_NAME]
    if not isinstance(whole, str):
        return {PARTS[0]: whole, **others}
    whole, (first, last) = whole.strip(), (str(others.get(name) or "").strip() for name in PARTS)
    made = _split_name(whole)
    if first or last:
        made = (
            whole.removesuffix(f" {last}").removeprefix(f"{last}, "),
            whole.removeprefix(f"{first} ").removesuffix(f", {first}"),
        )
    return {**others, **{name: others.get(name) or part for name, part in zip(PARTS, made, strict=True)}}


def _split_name(name: str) -> tuple[str, str]:
    """Return first and last name: at a comma the last one stands first, else it is the last word with its particles.

    A name of one word is a first name.
    """
    last, comma, first = (part.strip() for part in name.partition(","))
    if comma and first and last:
        return first, last
    words = last.split()
    at = max(1, len(words) - 1)
    while at > 1 and _PARTICLES.fullmatch(words[at - 1].casefold()):
        at -= 1
    return " ".join(words[:at]), " ".join(words[at:])
