"""Import people from a file: CSV by its header, .xlsx, JSON, JSON lines or Parquet; all sound rows go in, or none.

Formulas, HTML, odd URLs, any script, emoji and control characters go in as they are. A row with bad bytes, NUL, or no
usable username is rejected; a value of the wrong kind is dropped or altered, with a finding. Of rows with the same
username the first goes in, also where they differ only in case or in the form of their accents: those are exact keys
once stored, but in one file almost surely one person, and asking twice costs money.

Columns that mean nothing here are kept beside the table, under their own names, and come back in an export.

Tags are never written. A parked person with another biography is asked again; one in an open batch gets the answer to
the old text, and a finding says so.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError
from pipeline.core.text import first_few, restore_formula
from pipeline.engine.workspace import WorkspaceSession
from pipeline.experts import table
from pipeline.experts.rates import currency_code, parse_rate, rate_of, rate_text
from pipeline.experts.table import HEADERS, USERNAME
from pipeline.store import claims, workspace
from pipeline.store.database import Connection
from pipeline.tables.cells import list_of, number_of, text_of
from pipeline.tables.columns import ColumnLayout, ColumnMapping, MappedFile, fold
from pipeline.tables.read import SourceRow, parse_json
from pipeline.tables.row_import import (
    PLAIN,
    Finding,
    FindingKind,
    ImportOptions,
    ImportReport,
    SoundRow,
    excerpt,
    import_rows,
    key_of,
    rejected,
)

BLOCK = 500  # people written at a time
TYPED = 10  # names that a command is shown with
ASKED_ABOUT = ("bio", "job_title")  # what tags are made from, besides the username
MAX_USERNAME = 200  # characters; a username is a key, in URLs and on screens
EXPECTED = ", ".join(HEADERS.values())
WHOLE_NAME = "full_name"
PARTS = ("first_name", "last_name")
LAYOUT = ColumnLayout(
    USERNAME,
    {**HEADERS, WHOLE_NAME: "Full name"},
    f"give a CSV file with the header {EXPECTED}, or JSON objects with these keys",
    "import",
    "experts",
    too=frozenset({USERNAME, WHOLE_NAME}),
)
# What people type into a field that they leave empty: every text field reads these as empty, whatever their case
PLACEHOLDERS = frozenset(
    {
        *(
            "-",
            "--",
            "---",
            "\u2013",
            "\u2014",
            "_",
            ".",
            "..",
            "...",
            "\u2026",
            "/",
            "?",
            "??",
            "???",
        ),
        *(
            "n/a",
            "n.a.",
            "#n/a",
            "null",
            "none",
            "nil",
            "na",
            "nan",
            "(none)",
            "undefined",
            "empty",
            "(empty)",
        ),
        *(
            "tbd",
            "tba",
            "tbc",
            "t.b.d.",
            "todo",
            "to do",
            "not available",
            "not applicable",
            "unknown",
            "coming soon",
        ),
        *(":)", ":-)", ";)", ":d", "\U0001f642", "\U0001f60a"),
        *("k.a.", "k. a.", "keine angabe", "s/o", "néant", "无", "暂无"),
    }
)
PLACEHOLDERS_BUT_IN_NAMES = frozenset(
    {"null", "none", "nil", "na", "nan", "todo"}
)  # people are called so

# Folded names of what our own export has beside the columns of people.
_SCORE = "findabilityscore"
_ANSWERED = frozenset({"tags", _SCORE})
_STATES = ("state", "reason")
_PARTICLES = re.compile(
    r"af|al|av|ben|bin|d[aeiou]|das|dei|del|della|de[nr]|dos|el|ibn|l[ae]|te[nr]|va[nm]|vo[mn]|zu[mr]?"
)


# ---- judge one row's cells


def judge_row(cells: Mapping[str, object], *, line: int) -> SoundRow | Finding:
    """Return the person that a row's cells, by table column, describe, or the finding that rejects it.

    A cell is text, or from a JSON document any JSON value; None and white space are empty. The key is the username; of
    the values an empty one is None, and one that is not there leaves that of an existing row alone.
    """
    cell = cells.get(USERNAME)
    username, why = key_of(cell.strip() if isinstance(cell, str) else cell, most=MAX_USERNAME)
    if why:
        return rejected(line, why, cell or "", column=HEADERS[USERNAME])
    changes: list[Finding] = []
    values: dict[str, str | float | None] = {}
    for column, cell in cells.items():
        if column != USERNAME:
            values[column], why = _rate(cell) if column == "hourly_rate" else _text(column, cell)
            if why:
                changes.append(
                    Finding(
                        line, HEADERS[column], why, excerpt(cell), FindingKind.CHANGED, username
                    )
                )
    _, beside = parse_rate(str(cells.get("hourly_rate") or ""))
    if currency := values.get("currency") or beside:
        values["currency"] = currency_code(str(currency))
    return SoundRow(username, values, line, tuple(changes))


def _text(column: str, cell: object) -> tuple[str | None, str]:
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        return str(cell), "a number, stored as text"
    if cell is not None and not isinstance(cell, str):
        kind = (
            "true or false"
            if isinstance(cell, bool)
            else "a list"
            if isinstance(cell, list)
            else "an object"
        )
        return None, f"{kind}, not text; left empty"
    text = (cell or "").strip()
    if is_placeholder(text, in_name=column in PARTS):
        return None, f"placeholder {text!r} read as empty"
    return text or None, ""


def is_placeholder(text: str, *, in_name: bool = False) -> bool:
    """Return whether a text says that a field is empty; in a person's name some of the words are names."""
    word = text.strip().casefold()
    return word in PLACEHOLDERS and not (in_name and word in PLACEHOLDERS_BUT_IN_NAMES)


def _rate(cell: object) -> tuple[float | None, str]:
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        value = rate_of(cell)
        return value, "" if value is not None else "no rate; stored without a rate"
    text, why = _text("hourly_rate", cell)
    if text is None:
        return None, why
    value, _ = parse_rate(text)
    if value is None:
        return None, "not one number with a sign or a code beside it; stored without a rate"
    return value, "" if text.replace(".", "").isdecimal() else f"read as {rate_text(value)}"


# ---- read a file, or a JSON document


class PeopleFile(MappedFile):
    """The people in one file."""

    layout = LAYOUT

    def judged(self, row: SourceRow) -> SoundRow | Finding:
        """Return the person that a row describes; cells of CSV are as spreadsheets take them."""
        return _person(row, as_written=self.format == "csv")

    def identity(self, key: str) -> str:
        """Return a username without regard to case, and to the form of its accents."""
        return unicodedata.normalize("NFC", key).casefold()

    def last_notes(self) -> Iterator[str]:
        """Yield which names are not read."""
        yield from _not_read(self.mapping)


@lru_cache
def of_export(names: tuple[str, ...]) -> frozenset[str]:
    """Return which of some names are of columns that our own export added; a user's own `state` is not among them."""
    folded = {fold(name): name for name in names}
    added = set(_ANSWERED)
    if _SCORE in folded:
        added |= {f"row{name}" if f"row{name}" in folded else name for name in _STATES}
    return frozenset(name for name in names if fold(name) in added)


def _not_read(mapping: ColumnMapping) -> Iterator[str]:
    added = of_export((*mapping.others, *mapping.not_read))
    others = [name for name in mapping.others if name not in added]
    unread = [*mapping.not_read, *(name for name in mapping.others if name in added)]
    for names, what in ((others, "not read, but kept for an export"), (unread, "not read")):
        if names:
            yield f"{what}: {first_few([excerpt(name) for name in names], 10)}"
    if any(fold(name) in _ANSWERED for name in unread):
        edits = CommandHint("correct", item="…")
        yield f"tags and scores are not imported: they come from answers, or from a person by `{edits}`"


def _person(row: SourceRow, *, as_written: bool = False) -> SoundRow | Finding:
    """Return the person that a row describes, or why it does not go in; cells may be `as_written` for spreadsheets."""
    cells = {name: cell for name, cell in row.values.items() if name in LAYOUT.columns}
    beside = {name: cell for name, cell in row.values.items() if name not in cells}
    if as_written:
        cells = {name: restore_formula(cell.strip()) for name, cell in cells.items()}
        beside = {name: restore_formula(cell) for name, cell in beside.items()}
    person = judge_row(_with_parts(cells), line=row.line)
    added = of_export(tuple(beside))
    sound = {name: cell for name, cell in beside.items() if name not in added}
    return person if isinstance(person, Finding) else person._replace(beside=sound)


def _with_parts(cells: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return cells with the first and last name that a whole name says; beside one of the two it says the other."""
    if WHOLE_NAME not in cells:
        return cells
    whole = cells[WHOLE_NAME]
    others = {name: cell for name, cell in cells.items() if name != WHOLE_NAME}
    if not isinstance(whole, str):
        return {PARTS[0]: whole, **others}
    whole, (first, last) = whole.strip(), (str(others.get(name) or "").strip() for name in PARTS)
    without_last = whole.removesuffix(f" {last}").removeprefix(f"{last}, ")
    without_first = whole.removeprefix(f"{first} ").removesuffix(f", {first}")
    made = (without_last, without_first) if first or last else _split_name(whole)
    return {
        **others,
        **{name: others.get(name) or part for name, part in zip(PARTS, made, strict=True)},
    }


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


def read_person(data: bytes, given: Mapping[str, str], *, name: str) -> tuple[SoundRow, list[str]]:
    """Return the person in a JSON object, or a list of one, and notes on how it was read.

    `given` is what MAP= says, `name` where the document stands. InputError where it is no JSON, not one person, or one
    whom an import would reject; the message names the field.
    """
    said = "standard input" if name == "-" else name
    try:
        value = parse_json(data.decode("utf-8-sig", "surrogateescape"))
    except ValueError as error:
        raise _refused(said, str(error)) from None
    if isinstance(value, list):
        if len(value) > 1:
            said = f"{name} is a list of {len(value)}; one person at a time is added here, and none was"
            raise InputError(said, hint=f"`{CommandHint('import')}` adds many")
        if not value:
            raise _refused(said, "the list holds no person")
        (value,) = value
    if not isinstance(value, dict):
        raise _refused(said, "not an object")
    mapping = ColumnMapping(list(value), given, layout=LAYOUT, path=Path(said))
    row = mapping.row(SourceRow(1, value))
    person = row if isinstance(row, Finding) else _person(row)
    if isinstance(person, Finding):
        found = f" (found {person.value!r})" if person.value else ""
        raise _refused(
            said, f"{person.column}: {person.reason}{found}", field=_field(person.column)
        )
    mends = [
        f"who is stored already is mended by `{CommandHint('import')}` with that {OptionHint('map')}"
    ] * bool(mapping.near)
    return person, [*mapping.notes, *mends, *_not_read(mapping)]


def _refused(said: str, why: str, *, field: str = "") -> InputError:
    hint = f"give one JSON object with the keys {EXPECTED}"
    return InputError(f"{said}: {why}; nothing was stored", hint=hint, field=field)


def _field(label: str) -> str:
    return next((column for column, one in HEADERS.items() if one == label), "")


def check_as_given(person: SoundRow, *, name: str) -> None:
    """Pass where every value of a person would be stored as it is given."""
    for change in person.changes:
        reason = change.reason.removesuffix("; stored without a rate")
        raise InputError(
            f"{name}: {change.column}: {reason} ({change.value}); nothing was stored",
            hint="leave it out, or give it as it is to be stored",
            field=_field(change.column),
        )


# ---- write what a file says


class PeopleImportReport(ImportReport):
    """What an import of people did, and how the file was read."""

    FIELDS: ClassVar = (
        "path", "format", "encoding", "dry", "added", "updated", "unchanged", "missing", "released", "refused", "notes",
        "report",
    )  # fmt: skip
    NAMES: ClassVar = ("line", "column", "reason", "value", "kind", "username")


check_file = PeopleFile.check


def run(ws: WorkspaceSession, path: Path, options: ImportOptions = PLAIN) -> PeopleImportReport:
    """Import the people in a file, in one transaction.

    A report says what happened also where nothing went in; `ImportReport.check` raises then.

    InputError where the file cannot be read as people, or the report cannot be written. Nothing was changed.
    """
    file, done = PeopleFile.begun(path, options, PeopleImportReport)
    missing = partial(_missing_usernames, file)
    import_rows(
        ws.store,
        ws.display,
        file,
        done,
        write=_write,
        task=table.TASK,
        at=ws.now(),
        block=BLOCK,
        long="bio",
        missing=missing,
    )
    if done.missing:
        done.notes.append(_missing_note(path, done.missing, done.missing_keys, options.report))
    return done


def _missing_usernames(file: PeopleFile, tx: Connection, done: PeopleImportReport) -> Iterator[str]:
    """Yield the usernames of stored people who are not in the file.

    If the file names nobody who was stored before, nobody is yielded.
    """
    known = done.updated + done.unchanged
    if not known or table.people(tx).total(tx) == known + (0 if done.dry else done.added):
        return
    for (cell,) in table.people(tx).cells(tx, (USERNAME,)):
        if not file.has_key(name := text_of(cell)):
            yield name


def _missing_note(path: Path, count: int, names: Sequence[str], report: Path | None) -> str:
    """Return how many people are missing in a file, and what forgets them."""
    said = f"{count:,} people of earlier files are not in {path}, and stay: {first_few(names)}"
    if count <= TYPED and len(names) == count and not any("," in name for name in names):
        return f"{said}; to remove them: {CommandHint('forget', expert=','.join(names))}"
    listed = report or "missing.csv"
    step = CommandHint("import", experts=path, dry=True, report=listed)
    written = "" if report else f"{step} lists them, then "
    return f"{said}; to remove them: {written}{CommandHint('forget', file=listed)}"


def _write(tx: Connection, people: Sequence[SoundRow], done: ImportReport) -> list[Finding]:
    """Write some people, and count them; return what else is to be told. Of a `dry` import nothing is written."""
    told = list[Finding]()
    known = _known(tx, people)
    new = [person for person in people if person.key not in known]
    if not done.dry:
        table.insert_people(tx, [(person.key, person.values) for person in new])
    updated = _write_beside(tx, people, known, done)
    asked_about: dict[str, tuple[SoundRow, Mapping[Any, Any], dict[str, Any]]] = {}
    for person in people:
        row = known.get(person.key, {})
        wanted = table.as_stored(tx, person.values)
        values = {
            name: value
            for name, value in person.values.items()
            if row and _seen(name, wanted[name]) != _seen(name, row[name])
        }
        if not values:
            continue
        if not done.dry:
            table.update_person(tx, row, values)
        updated.add(person.key)
        if not values.keys().isdisjoint(ASKED_ABOUT):
            asked_about[str(row["id"])] = person, row, values
    if (new or updated) and not done.dry:
        workspace.touch_revision(tx, table.TASK)
    done.added += len(new)
    done.updated += len(updated)
    done.unchanged += len(people) - len(new) - len(updated)
    claimed = claims.claimed_among(tx, table.TASK, list(asked_about))
    new_bios = [
        key
        for key, (_, _, values) in asked_about.items()
        if values.get("bio") and key not in claimed
    ]
    done.released += len(
        (claims.unparkable if done.dry else claims.unpark)(tx, table.TASK, ids=new_bios)
    )
    for key, (person, row, values) in asked_about.items():
        if list_of(row["tags"]) != []:
            again = f"; {CommandHint('tag', refresh=True)} asks again" if "bio" in values else ""
            told.append(_kept(person, values, f"changed, and the tags stay as they are{again}"))
        elif key in claimed:
            told.append(
                _kept(
                    person,
                    values,
                    "changed while being asked; the answer to the old text will be kept",
                )
            )
    return told


def _write_beside(
    tx: Connection,
    people: Sequence[SoundRow],
    known: Mapping[str, Mapping[Any, Any]],
    done: ImportReport,
) -> set[str]:
    """Write what a file says of people beside the table's columns; return which of those that were known it changes."""
    more = [person for person in people if person.beside]
    new = [] if done.dry else [person for person in more if person.key not in known]
    rows = {**known, **(_known(tx, new) if new else {})}
    found = ((rows[one.key], one.beside) for one in more if one.key in rows)
    cells_of = [(str(row["id"]), text_of(row[USERNAME]), cells) for row, cells in found]
    changed = table.put_beside(tx, cells_of, dry=done.dry)
    return {name for name, row in known.items() if str(row["id"]) in changed}


def _known(tx: Connection, people: Sequence[SoundRow]) -> dict[str, Mapping[Any, Any]]:
    """Return the rows of people who are there, by the username in the file.

    A column of an adopted table may compare without case; then its answer holds, or the row could not be written.
    """
    asked = {person.key for person in people}
    found = table.by_usernames(tx, list(asked))
    others = {name.casefold(): row for name, row in found.items() if name not in asked}
    alike = {name: others[name.casefold()] for name in asked if name.casefold() in others}
    return {**alike, **{name: row for name, row in found.items() if name in asked}}


def _kept(person: SoundRow, values: Mapping[str, Any], reason: str) -> Finding:
    column = next(column for column in (*ASKED_ABOUT, *values) if column in values)
    value = excerpt(str(values[column] or ""))
    return Finding(person.line, HEADERS[column], reason, value, FindingKind.KEPT, person.key)


def _seen(column: str, cell: Any) -> str | float | None:
    return number_of(cell) if column == "hourly_rate" else text_of(cell) or None
