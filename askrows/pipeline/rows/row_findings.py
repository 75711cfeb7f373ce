"""Rows of a source, findings about them, checks of keys and texts, and rows to store.

- A `Finding` describes a fault of a row; its kind says whether the row is rejected or imported.
- A `SoundRow` is imported. A rejected row is stored as a refused row.
"""

import sqlite3
import unicodedata
import weakref
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from askrows.pipeline.core.text import INVALID_TEXT
from askrows.pipeline.rows.cells import iterate_nested_names_and_values, to_text_or_json
from askrows.pipeline.store.rows import RefusedRow

# Characters of a row. A file without line ends must not fill the memory.
MAX_ROW_CHARS = 16 << 20
# Findings, or groups of findings, that are kept in memory. The report in a file has all findings.
MAX_KEPT_FINDINGS = 1000
# Characters of a value that a finding shows.
MAX_EXCERPT_CHARS = 80
# Characters before the first unsound character that a finding shows.
_EXCERPT_CONTEXT_CHARS = 20
# Characters that are kept of each cell of an over-long record; a cell of .xlsx has at most 32,767.
MAX_CUT_CELL = 32_000
CUT_MARK = " … [cut]"
# A longer text is cut and marked.
MAX_STORED_CHARS = MAX_CUT_CELL + len(CUT_MARK)
# Undecodable bytes are read as the lone surrogates U+DC80 to U+DCFF (see
# `askrows.pipeline.rows.source_file`).
_FIRST_BAD_BYTE = 0xDC00
_LAST_BAD_BYTE = 0xDCFF
# Keys with lines in a temporary file: 60 bytes a key, constant memory.
_KEY_LINES_DDL = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
CREATE TABLE key_lines (key TEXT PRIMARY KEY, line INTEGER NOT NULL) WITHOUT ROWID; BEGIN
"""
# Unicode categories of control characters, line and paragraph separators, and lone surrogates.
_CATEGORIES_NOT_IN_KEYS = frozenset({"Cc", "Zl", "Zp", "Cs"})


class SourceRow(NamedTuple):
    """A row of a source."""

    # The line where the row starts, from 1; in a sheet, Parquet and a query the number of the row.
    line_number: int
    # Plain values by the names in the source.
    values: Mapping[str, Any]


class FindingKind(StrEnum):
    """The consequence of a finding for its row."""

    # The row is not imported.
    REJECTED = "rejected"
    # The row is imported; one of its values was dropped or altered.
    CHANGED = "changed"


class Finding(NamedTuple):
    """A fault of a row in a file."""

    # The physical line where the row starts, from 1; in Parquet the number of the row.
    line: int
    # Empty if the finding is about the whole row.
    column: str
    reason: str
    # An excerpt that is safe to print.
    value: str
    kind: FindingKind
    # The row's username or id, if it has one.
    key: str | None = None
    # The cells of a refused row as they were read, by column; an over-long cell is cut and marked.
    # Empty if the row cannot be split into cells, such as a line that is not JSON.
    cells: Mapping[str, Any] = MappingProxyType({})


# A row of a source, or the finding that rejects it; the first member of both is the line.
ReadRow = SourceRow | Finding


class SoundRow(NamedTuple):
    """A row of a file that is imported."""

    key: str
    # The other values, by those columns of the subject that the file has.
    values: Mapping[str, Any]
    line_number: int
    # Findings that do not reject the row.
    findings: tuple[Finding, ...] = ()
    # Cells of other columns, by their names in the file.
    extra_cells: Mapping[str, Any] = MappingProxyType({})


class KeyLines:
    """The line of the first row with each key, in a temporary file."""

    def __init__(self) -> None:
        """Begin without keys."""
        # The garbage collector may close it in another thread.
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._connection.close)
        self._connection.executescript(_KEY_LINES_DDL)

    def find_or_add_line(self, key: str, line: int) -> int | None:
        """Store the line of a new key; return the line that was stored before, or None."""
        query = "INSERT INTO key_lines VALUES (?, ?) ON CONFLICT DO NOTHING"
        if self._connection.execute(query, (key, line)).rowcount:
            return None
        return self.find(key)

    def find(self, key: str) -> int | None:
        """Return the line of a key, or None."""
        query = "SELECT min(line) FROM key_lines WHERE key = ?"
        line: int | None = self._connection.execute(query, (key,)).fetchone()[0]
        return line


def make_rejection(
    line: int,
    reason: str,
    value: object,
    *,
    column: str = "",
    key: str | None = None,
    cells: Mapping[str, Any] = MappingProxyType({}),
) -> Finding:
    """Return the finding that rejects a row, with an excerpt of the faulty value."""
    return Finding(
        line,
        column,
        reason,
        make_excerpt(value),
        FindingKind.REJECTED,
        key,
        cells,
    )


def find_unstorable_text(
    line: int,
    values: Mapping[str, Any],
    labels: Mapping[str, str],
    *,
    key: Any = None,
) -> Finding | None:
    """Return the finding for the first text of a row that cannot be stored; None if all can be.

    A text that contains NUL or invalid UTF-8 cannot be stored. Names of columns and nested names
    and values are checked, too. The finding rejects the row, and shows the text from 20 characters
    before the fault.

    Args:
        line: The line of the row.
        values: Its values by column.
        labels: Displayed names of columns, by column. Other columns have an excerpt of their name.
        key: The row's key; the finding has it if it is a sound text.
    """
    for name, text in iterate_nested_names_and_values(values):
        match = isinstance(text, str) and INVALID_TEXT.search(text)
        if not match:
            continue

        reason = "not valid UTF-8"
        if match[0] == "\0":
            reason = "a NUL character"
        is_sound_key = isinstance(key, str) and not INVALID_TEXT.search(key)
        return make_rejection(
            line,
            reason,
            text[max(0, match.start() - _EXCERPT_CONTEXT_CHARS) :],
            column=labels.get(name, make_excerpt(name)),
            key=key if is_sound_key else None,
        )
    return None


def make_refused_row(finding: Finding) -> RefusedRow:
    """Return the refused row of a finding, with its cells as any database stores them.

    Characters that cannot be stored become escapes, and long cells are cut.
    """
    reason = f"{finding.reason} (column {finding.column!r})" if finding.column else finding.reason
    cells = {
        escape_unstorable_characters(name): _make_storable_cell(cell)
        for name, cell in finding.cells.items()
    }
    return RefusedRow(finding.line, escape_unstorable_characters(reason), cells)


def _make_storable_cell(cell: Any) -> Any:
    """Return a cell as any database stores it.

    Numbers, truth values and None stay unchanged. All other cells become texts of limited length:
    lists and objects become JSON, a longer text is cut and marked, and characters that cannot be
    stored become escapes.
    """
    if cell is None or isinstance(cell, bool | int | float):
        return cell

    text = to_text_or_json(cell)
    if len(text) > MAX_STORED_CHARS:
        text = f"{text[:MAX_CUT_CELL]}{CUT_MARK}"
    return escape_unstorable_characters(text)


def escape_unstorable_characters(text: str) -> str:
    r"""Return a text with escapes such as `\xe9` for the characters that cannot be stored."""
    return INVALID_TEXT.sub(lambda match: _escape_character(match[0]), text)


def parse_key_or_reason(cell: object, *, max_chars: int) -> tuple[str, str]:
    """Return the key in a cell as text, or the reason why the cell is no key.

    A key is not blank, not longer than `max_chars`, and has no control characters, line separators
    or lone surrogates. A whole number is written in decimal; a truth value is no key.

    Args:
        cell: Any value; only a text or a whole number can be a key. White space around a text
            stays.
        max_chars: The maximum number of characters.

    Returns:
        The key and an empty text, or an empty text and the reason.
    """
    if cell is None:
        return "", "missing"
    if isinstance(cell, bool) or not isinstance(cell, str | int):
        return "", "neither text nor a whole number"

    key = str(cell)
    if not any(character.isprintable() and not character.isspace() for character in key):
        return "", "empty"
    if len(key) > max_chars:
        return "", f"longer than {max_chars} characters"
    if any(unicodedata.category(character) in _CATEGORIES_NOT_IN_KEYS for character in key):
        return "", "contains control characters"
    return key, ""


def make_excerpt(value: object) -> str:
    """Return at most 80 characters of a value on a line, with unprintable characters escaped.

    A longer value ends in an ellipsis. A value that is no text is shown by its repr.
    """
    text = value if isinstance(value, str) else repr(value)
    excerpt = "".join(
        character if character.isprintable() else _escape_character(character)
        for character in text[: MAX_EXCERPT_CHARS + 1]
    )
    return excerpt if len(excerpt) <= MAX_EXCERPT_CHARS else f"{excerpt[: MAX_EXCERPT_CHARS - 1]}…"


def _escape_character(character: str) -> str:
    r"""Return `\xe9` for an undecodable byte (read as U+DCE9), else Python's own escape."""
    code = ord(character)
    if _FIRST_BAD_BYTE <= code <= _LAST_BAD_BYTE:
        return f"\\x{code - _FIRST_BAD_BYTE:02x}"
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
