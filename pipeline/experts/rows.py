"""Judge one row's cells: a person with what was changed, or the reason why the row does not go in.

Formulas, HTML, odd URLs, any script, emoji and control characters go in as they are. A row with bad bytes, NUL, or no
usable username is rejected; a value of the wrong kind is dropped or altered, with a finding.
"""

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.core.text import UNSOUND
from pipeline.experts.columns import HEADERS, USERNAME
from pipeline.experts.rates import parse_rate, rate_of_number, rate_text
from pipeline.tables.findings import Finding, FindingKind, excerpt, rejected

MAX_USERNAME = 200  # characters; a username is a key, in URLs and on screens
_NAMES = frozenset({"first_name", "last_name"})

# What people type into a field that they leave empty: every text field reads these as empty, whatever their case
PLACEHOLDERS = frozenset(
    {
        *("-", "--", "---", "\u2013", "\u2014", "_", ".", "..", "...", "\u2026", "/", "?", "??", "???"),
        *("n/a", "n.a.", "#n/a", "null", "none", "nil", "na", "nan", "(none)", "undefined", "empty", "(empty)"),
        *("tbd", "tba", "tbc", "t.b.d.", "todo", "to do", "not available", "not applicable", "unknown", "coming soon"),
        *(":)", ":-)", ";)", ":d", "\U0001f642", "\U0001f60a"),
        *("k.a.", "k. a.", "keine angabe", "s/o", "néant", "无", "暂无"),
    }
)
PLACEHOLDERS_BUT_IN_NAMES = frozenset({"null", "none", "nil", "na", "nan", "todo"})  # people are called so


@dataclass(frozen=True)
class Person:
    """One person as a file gives them, ready to be written.

    `values` are by column, of those the file has, without the username; an empty cell is None, and a column that is not
    there leaves an existing row's value alone. `changes` are the findings that do not keep the row out.
    """

    username: str
    values: Mapping[str, str | float | None]
    line: int
    changes: tuple[Finding, ...] = ()


def judge_row(cells: Mapping[str, object], *, line: int) -> Person | Finding:
    """Return the person that a row's cells, by table column, describe, or the finding that rejects it.

    A cell is text, or from a JSON document any JSON value; None and white space are empty.
    """
    username, why = _username(cells.get(USERNAME))
    if why:
        return rejected(line, why, username or cells.get(USERNAME) or "", column=HEADERS[USERNAME])
    for column, cell in cells.items():
        if isinstance(cell, str) and (found := UNSOUND.search(cell)):
            excerpt_of = cell[max(0, found.start() - 20) :]
            return rejected(line, _bad(found[0]), excerpt_of, column=HEADERS[column], key=username)
    changes: list[Finding] = []
    values: dict[str, str | float | None] = {}
    for column, cell in cells.items():
        value, why = _rate(cell) if column == "hourly_rate" else _text(column, cell)
        if column != USERNAME:
            values[column] = value
        if column != USERNAME and why:
            changes.append(Finding(line, HEADERS[column], why, excerpt(cell), FindingKind.CHANGED, username))
    if not values.get("currency") and (beside := parse_rate(str(cells.get("hourly_rate") or "")).currency):
        values["currency"] = beside
    return Person(username, values, line, tuple(changes))


def _rate(cell: object) -> tuple[float | None, str]:
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        value = rate_of_number(cell)
        return value, "" if value is not None else "no rate; stored without a rate"
    text, why = _text("hourly_rate", cell)
    if text is None:
        return None, why
    value = parse_rate(text).value
    if value is None:
        return None, "not one number with a sign or a code beside it; stored without a rate"
    return value, "" if text.replace(".", "").isdecimal() else f"read as {rate_text(value)}"


def _text(column: str, cell: object) -> tuple[str | None, str]:
    """Return a text cell without the white space around it, None where it holds nothing, and what was changed."""
    if isinstance(cell, (int, float)) and not isinstance(cell, bool) and math.isfinite(cell):
        return str(cell), "a number, stored as text"
    if cell is not None and not isinstance(cell, str):
        return None, f"{_kind_of(cell)}, not text; left empty"
    text = (cell or "").strip()
    if is_placeholder(text, in_name=column in _NAMES):
        return None, f"placeholder {text!r} read as empty"
    return text or None, ""


def _kind_of(cell: object) -> str:
    if isinstance(cell, bool):
        return "true or false"
    return {list: "a list", dict: "an object", float: "a number with decimals"}.get(type(cell), "a number")


def _username(cell: object) -> tuple[str, str]:
    """Return a username without the white space around it, and why it is none; empty where it is one."""
    if isinstance(cell, int) and not isinstance(cell, bool):
        cell = str(cell)
    if cell is not None and not isinstance(cell, str):
        return "", f"{_kind_of(cell)}, not text"
    text = (cell or "").strip()
    if found := UNSOUND.search(text):
        return text, _bad(found[0])
    if not any(character.isprintable() and not character.isspace() for character in text):
        return text, "no username"
    if len(text) > MAX_USERNAME:
        return text, f"{len(text):,} characters, at most {MAX_USERNAME} are allowed"
    if any(unicodedata.category(character) == "Cc" for character in text):
        return text, "a control character"
    return text, ""


def _bad(character: str) -> str:
    """Return what a character that cannot be stored means; bad bytes arrive as U+DC00 + byte."""
    return "a NUL character" if character == "\x00" else "not valid UTF-8"


def is_placeholder(text: str, *, in_name: bool = False) -> bool:
    """Return whether a text says that a field is empty; in a person's name some of the words are names."""
    word = text.strip().casefold()
    return word in PLACEHOLDERS and not (in_name and word in PLACEHOLDERS_BUT_IN_NAMES)
