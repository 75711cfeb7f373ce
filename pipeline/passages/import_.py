"""Import passages from a file of any length in one transaction: JSON lines, a JSON list, CSV by its header, or Parquet.

A row is `{"id", "text", "source"?, "metadata"?}`; other fields go into the metadata. A text is taken exactly as given.
A passage with concepts keeps its text, because their quotations are slices of it; another text is refused. One that is
being asked about takes a new text, and the answer is not applied; a parked one with another text goes again.
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pipeline.core.errors import InputError
from pipeline.core.step import Option
from pipeline.core.text import BAD_TEXT, first_few
from pipeline.engine.workspace import OpenWorkspace
from pipeline.passages import table
from pipeline.passages.table import OPTIONAL, PassageRow, PassagesShape, read_shape
from pipeline.store import asks, workspace
from pipeline.tables.cells import cell_words, compact_json, loaded
from pipeline.tables.columns import Layout, MappedFile, parse_map
from pipeline.tables.findings import (
    Finding,
    FindingKind,
    ImportReport,
    SeenIds,
    all_or_nothing,
    excerpt,
    import_rows,
    rejected,
)
from pipeline.tables.read import SourceRow, parse_json

if TYPE_CHECKING:
    from pipeline.store.database import Connection

ANSWERED = "has concepts, and another text here; the one that is stored stays"
BLOCK = 2000  # passages written at a time
HINT = 'one passage a line: {"id": "…", "text": "…", "source": "…", "metadata": {…}}; or CSV with these columns'
MAX_ID = 500  # characters: below what an index of PostgreSQL takes (2,704 bytes), and of a key the API must carry back
MAX_LINE = 16 << 20  # characters; a text of 100,000 characters has 1.2 million at the most, escaped as it may be
OURS = ("id", "text", "source", "metadata")
LAYOUT = Layout(
    "id",
    {name: name for name in OURS},
    HINT,
    "import-passages",
    "passages",
    default="jsonl",
    max_line=MAX_LINE,
    keeps=True,
)
_NO_TEXT = "holds NUL, which PostgreSQL does not take"
_REMEMBERED = 1000  # names of keys, for a note


class Passage(NamedTuple):
    """One passage as a file gives it; a source or metadata that are None leave what is stored alone."""

    id: str
    text: str
    source: str | None
    metadata: Mapping[str, Any] | None
    line: int
    changes: tuple[Finding, ...] = ()


class Passages(MappedFile):
    """The passages of one file."""

    layout = LAYOUT

    def passages(self) -> Iterator[Passage | Finding]:
        """Yield each passage, and a finding for each row that holds none, in the order of the file."""
        self._is_table = self.format in {"csv", "xlsx", "parquet"}
        self._others: dict[str, None] = {}  # names that went into the metadata
        for row in self:
            yield row if isinstance(row, Finding) else self._unsound(row) or self._passage(row)
        if self._others:
            self.notes.append(f"taken into the metadata: {first_few([excerpt(one) for one in self._others], 10)}")

    def _unsound(self, row: SourceRow) -> Finding | None:
        for column, cell in row.values.items() if self._is_table else ():
            if isinstance(cell, str) and (bad := BAD_TEXT.search(cell)):
                return rejected(row.line, "not valid UTF-8", cell[max(0, bad.start() - 20) :], column=column)
        return None

    def _passage(self, row: SourceRow) -> Passage | Finding:
        value = row.values
        key, why = _id_of(value)
        if why:
            return rejected(row.line, why, value.get("id", ""), column="id")
        if why := _wrong_text(value):
            return rejected(row.line, why, value.get("text") or "", column="text", key=key)
        changes: list[Finding] = []

        def note(column: str, reason: str, found: object, kind: FindingKind = FindingKind.CHANGED) -> None:
            changes.append(Finding(row.line, column, reason, excerpt(found), kind, key))

        source, metadata = value.get("source"), value.get("metadata")
        if self._is_table and isinstance(metadata, str):  # a cell of text: an empty one says nothing
            metadata = _metadata_in(metadata)
        if source is not None and (not isinstance(source, str) or "\0" in source):
            note("source", "no text, dropped", source)
            source = None
        if metadata is not None and not isinstance(metadata, dict):
            note("metadata", "no object, dropped", metadata)
            metadata = None
        if others := {name: one for name, one in value.items() if name not in OURS}:
            self._others |= dict.fromkeys(others) if len(self._others) < _REMEMBERED else {}
            metadata = {**others, **(metadata or {})}
        if _holds_nul(metadata):
            note("metadata", f"{_NO_TEXT}; dropped", "")
            metadata = None
        if not value["text"].strip():
            note("text", "empty: kept, and never asked about", "", FindingKind.NOTED)
        return Passage(key, value["text"], source, metadata, row.line, tuple(changes))


def _metadata_in(cell: str) -> object:
    try:
        return parse_json(cell) if cell.strip() else None
    except ValueError:
        return cell


def _id_of(value: Mapping[str, Any]) -> tuple[str, str]:
    found = value.get("id")
    if found is None:
        return "", "missing"
    if isinstance(found, bool) or not isinstance(found, str | int):
        return "", "neither text nor a whole number"
    key = str(found)
    if not key.strip():
        return "", "empty"
    if len(key) > MAX_ID:
        return "", f"longer than {MAX_ID} characters"
    if any(unicodedata.category(one) in {"Cc", "Zl", "Zp", "Cs"} for one in key):
        return "", "holds control characters"
    return key, ""


def _wrong_text(value: Mapping[str, Any]) -> str:
    text = value.get("text")
    if text is None:
        return "missing"
    if not isinstance(text, str):
        return "no text"
    return _NO_TEXT if "\0" in text else ""


def _holds_nul(value: object) -> bool:
    if isinstance(value, dict):
        return any(_holds_nul(one) for pair in value.items() for one in pair)
    if isinstance(value, list):
        return any(map(_holds_nul, value))
    return isinstance(value, str) and "\0" in value


@dataclass
class PassagesImportReport(ImportReport):
    """What an import of passages did.

    `updated` have another text, `described` another source or other metadata; `answered` have concepts and another
    text, `duplicates` came before in the file. The last two are among the rejected.
    """

    FIELDS: ClassVar = (
        "path", "lines", "dry", "added", "updated", "described", "unchanged", "released", "duplicates", "answered",
        "refused", "notes", "report",
    )  # fmt: skip
    KINDS: ClassVar = (FindingKind.REJECTED, FindingKind.CHANGED, FindingKind.NOTED)
    NAMES: ClassVar = ("line", "field", "reason", "value", "kind", "id")
    NO_KEY: ClassVar = ""
    WORD: ClassVar = "passage"

    described: int = 0
    duplicates: int = 0
    answered: int = 0

    @property
    def changes(self) -> int:
        """Return how many passages were written."""
        return super().changes + self.described


def check_file(path: Path, *, mapping: str = "", sheet: str = "") -> None:
    """Pass where a file can be read as passages, and has a row; nothing is written.

    Raises:
        InputError: it cannot, or has none.
    """
    with all_or_nothing():
        Passages(path, parse_map(mapping), sheet=sheet).check_rows()


def run(
    ws: OpenWorkspace,
    path: Path,
    *,
    mapping: str = "",
    strict: bool = False,
    report: Path | None = None,
    dry: bool = False,
    sheet: str = "",
) -> PassagesImportReport:
    """Import the passages in a file.

    A report says what happened also where nothing went in; `ImportReport.check` raises then. Where it is only to say
    what would go in (`dry`), the tables need not be there yet, and any task may be in use.

    Raises:
        InputError: the file cannot be read, an id in it does not fit into the table,
            or the list cannot be written. Nothing was changed.
    """
    with all_or_nothing():
        file = Passages(path, parse_map(mapping), sheet=sheet)
    with ws.store.read() as tx:
        shape = read_shape(tx, passages=ws.settings.passages_table)
    done = PassagesImportReport(str(path), str(report) if report else None, dry=dry, strict=strict)
    done.columns, done.notes = file.mapping.listed, file.notes
    with SeenIds() as seen:

        def write(tx: "Connection", passages: list[Passage]) -> list[Finding]:
            first, again = _first_occurrences(shape, seen, passages)
            done.duplicates += len(again)
            return [*again, *_write(tx, shape, first, done)]

        import_rows(
            ws.store,
            ws.display,
            file.passages(),
            done,
            write=write,
            at=ws.now(),
            block=BLOCK,
            size=lambda one: len(one.text),
        )
    if missing := [f"`{name}`" for name in OPTIONAL if not shape.has(name)]:
        done.notes.append(f"`{shape.passages.name}` has no column for {' and '.join(missing)}; not kept")
    return done


def _first_occurrences(
    shape: PassagesShape, seen: SeenIds, passages: Sequence[Passage]
) -> tuple[list[Passage], list[Finding]]:
    """Return the passages whose ids, as the table has them, did not come before, and the findings about the others."""
    found: list[Passage] = []
    again: list[Finding] = []
    for one in passages:
        key = shape.ids.key(one.id)
        if key is None:
            most = f" of at most {shape.ids.length} characters" if shape.ids.length else ""
            raise InputError(
                f"line {one.line}: the id {excerpt(one.id)!r} does not fit into the column `id` of "
                f"`{shape.passages.name}`, which holds {shape.ids.kind}{most}; nothing was written",
                hint=f"give every line an id of that kind, or name another table with {Option('passages_table')}",
            )
        if (line := seen.first(key, one.line)) is None:
            found.append(one._replace(id=key))
        else:
            again.append(rejected(one.line, f"duplicate id: already on line {line}", key, column="id", key=key))
    return found, again


def _write(
    tx: "Connection", shape: PassagesShape, passages: Sequence[Passage], done: PassagesImportReport
) -> list[Finding]:
    """Write some passages, and count them; return what is to be told of each. Of a `dry` import nothing is written."""
    known = {} if shape.passages.name in shape.missing else table.passage_rows(tx, shape, [one.id for one in passages])
    other = [one.id for one in passages if one.id in known and cell_words(known[one.id]["text"]) != one.text]
    answered = set() if shape.concepts.name in shape.missing else table.with_concepts(tx, shape, other)
    told = [change for one in passages for change in one.changes]
    new, texts, described = list[PassageRow](), list[PassageRow](), list[PassageRow]()
    for one in passages:
        row = known.get(one.id)
        if row is None:
            new.append(PassageRow(one.id, one.text, one.source, _json(one.metadata)))
        elif one.id in answered:
            told.append(rejected(one.line, ANSWERED, one.text, column="text", key=one.id))
        elif cell_words(row["text"]) != one.text:
            texts.append(_row(one, row))
        elif _is_described_otherwise(shape, one, row):
            described.append(_row(one, row))
        else:
            done.unchanged += 1
    claimed = asks.claimed_among(tx, table.TASK, [one.id for one in texts])
    free = [one.id for one in texts if one.id not in claimed]
    done.released += len((asks.unparkable if done.dry else asks.unpark)(tx, table.TASK, ids=free))
    if not done.dry:
        table.insert_passages(tx, shape, new)
        table.update_text(tx, shape, [*texts, *described])
        if new or texts:
            workspace.touch_revision(tx, table.TASK)
    done.added += len(new)
    done.updated += len(texts)
    done.described += len(described)
    done.answered += len(answered)
    return told


def _row(one: Passage, row: Mapping[str, Any]) -> PassageRow:
    """Return the row of a passage that is there; what the file does not say stays."""
    source = cell_words(row.get("source")) if one.source is None and row.get("source") is not None else one.source
    metadata = loaded(row.get("metadata")) if one.metadata is None else one.metadata
    return PassageRow(one.id, one.text, source, _json(metadata))


def _is_described_otherwise(shape: PassagesShape, one: Passage, row: Mapping[str, Any]) -> bool:
    source = shape.has("source") and one.source is not None and one.source != row["source"]
    return source or (shape.has("metadata") and one.metadata is not None and one.metadata != loaded(row["metadata"]))


def _json(value: object) -> str | None:
    return None if value is None else compact_json(value)
