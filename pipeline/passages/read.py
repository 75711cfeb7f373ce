"""Read passages from a file of any length: JSON lines, a JSON list, CSV by its header, or Parquet.

A row is `{"id", "text", "source"?, "metadata"?}`; other fields go into the metadata. A text is taken exactly as given.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pipeline.core.text import BAD_TEXT, first_few
from pipeline.tables.columns import Layout, MappedFile
from pipeline.tables.findings import Finding, FindingKind, excerpt, rejected
from pipeline.tables.read import SourceRow, parse_json

HINT = 'one passage a line: {"id": "…", "text": "…", "source": "…", "metadata": {…}}; or CSV with these columns'
MAX_ID = 500  # characters: below what an index of PostgreSQL takes (2,704 bytes), and of a key the API must carry back
MAX_LINE = 16 << 20  # characters; a text of 100,000 characters has 1.2 million at the most, escaped as it may be
OURS = ("id", "text", "source", "metadata")
LAYOUT = Layout(
    "id",
    {name: name for name in OURS},
    HINT,
    "make import-passages PASSAGES={}",
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
        self._is_table = self.format in {"csv", "parquet"}
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
    """Return a row's id as text and nothing, or why it has none."""
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
    """Return why a row's text cannot be kept; empty where it can."""
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
