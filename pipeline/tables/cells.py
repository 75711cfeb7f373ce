"""What a cell of a table says, whichever program wrote it."""

import json
from typing import Any

# What people type into a field that they leave empty: every text field of every subject whose cells are judged reads
# these as empty, whatever their case. This list is the only one, and docs/formats.md prints it.
PLACEHOLDERS = frozenset(
    {
        *("-", "--", "---", "\u2013", "\u2014", "_", ".", "..", "...", "\u2026", "/", "?", "??", "???"),
        *("n/a", "n.a.", "#n/a", "null", "none", "nil", "na", "nan", "(none)", "undefined", "empty", "(empty)"),
        *("tbd", "tba", "tbc", "t.b.d.", "todo", "to do", "not available", "not applicable", "unknown", "coming soon"),
        *(
            ":)",
            ":-)",
            ";)",
            ":d",
            "\U0001f642",
            "\U0001f60a",
            "k.a.",
            "k. a.",
            "keine angabe",
            "s/o",
            "néant",
            "无",
            "暂无",
        ),
    }
)
PLACEHOLDERS_BUT_IN_NAMES = frozenset({"null", "none", "nil", "na", "nan", "todo"})  # people are called so


def cell_words(cell: Any) -> str:
    """Return a cell as text: NULL is the empty text, bytes are read as UTF-8."""
    if isinstance(cell, str):
        return cell
    if cell is None:
        return ""
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)


def loaded(cell: Any) -> Any:
    """Return what a JSON cell holds, on either database; text that is not JSON is that text."""
    if not isinstance(cell, str | bytes):
        return cell
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def is_placeholder(text: str, *, in_name: bool = False) -> bool:
    """Return whether a text says that a field is empty; in a person's name some of the words are names."""
    word = text.strip().casefold()
    return word in PLACEHOLDERS and not (in_name and word in PLACEHOLDERS_BUT_IN_NAMES)
