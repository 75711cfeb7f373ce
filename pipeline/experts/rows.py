"""Judge one row's cells: a person with what was changed, or the reason why the row does not go in.

Formulas, HTML, odd URLs, any script, emoji and control characters go in as they are. A row with bad bytes, NUL, or no
usable username is rejected; a value of the wrong kind is dropped or altered, with a finding.
"""

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.experts.columns import HEADERS, USERNAME
from pipeline.tables import rates
from pipeline.tables.cells import is_placeholder
from pipeline.tables.findings import Finding, FindingKind, excerpt, rejected

MAX_USERNAME = 200  # characters; a username is a key, in URLs and on screens
_BAD = re.compile("[\x00\ud800-\udfff]")
_NAMES = frozenset({"first_name", "last_name"})


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
        if isinstance(cell, str) and (found := _BAD.search(cell)):
            excerpt_of = cell[max(0, found.start() - 20) :]
            return rejected(line, _bad(found[0]), excerpt_of, column=HEADERS[column], key=username)
    return _Row(username, line).person(cells)


class _Row:
    """One row while its values are judged."""

    def __init__(self, username: str, line: int) -> None:
        """Start with nothing changed."""
        self._username = username
        self._line = line
        self._changes: list[Finding] = []

    def person(self, cells: Mapping[str, object]) -> Person:
        """Return the person."""
        special = {USERNAME, "hourly_rate", "currency"}
        values: dict[str, str | float | None] = {
            column: self._filled(column, cell) for column, cell in cells.items() if column not in special
        }
        rate = self._rate(cells.get("hourly_rate"))
        if "hourly_rate" in cells:
            values["hourly_rate"] = rate.value
        if "currency" in cells or rate.currency is not None:
            values["currency"] = self._currency(cells.get("currency"), rate=rate)
        return Person(self._username, values, self._line, tuple(self._changes))

    def _change(self, column: str, reason: str, *, value: object, kind: FindingKind = FindingKind.CHANGED) -> None:
        """Remember that a value was dropped or altered, or (noted) that it goes in and should be looked at."""
        change = Finding(self._line, HEADERS[column], reason, excerpt(value), kind, self._username)
        self._changes.append(change)

    def _text(self, column: str, cell: object) -> str | None:
        """Return a text cell without the white space around it; None when it is empty or no text."""
        if cell is None or isinstance(cell, str):
            return (cell or "").strip() or None
        if isinstance(cell, (int, float)) and not isinstance(cell, bool) and math.isfinite(cell):
            self._change(column, "a number, stored as text", value=cell)
            return str(cell)
        self._change(column, f"{_kind_of(cell)}, not text; left empty", value=cell)
        return None

    def _filled(self, column: str, cell: object) -> str | None:
        """Return a text cell, its inner text untouched; None where it is a placeholder."""
        text = self._text(column, cell)
        if text is not None and is_placeholder(text, in_name=column in _NAMES):
            self._change(column, f"placeholder {text!r} read as empty", value=cell)
            return None
        return text

    def _rate(self, cell: object) -> rates.Rate:
        """Return the rate in a cell, with a finding where it is not as a machine writes it."""
        if isinstance(cell, (int, float)) and not isinstance(cell, bool):
            rate = rates.rate_of_number(cell)
        else:
            rate = rates.parse_rate(self._filled("hourly_rate", cell) or "")
        if rate.reason is not None:
            self._change("hourly_rate", f"{rate.reason}; stored without a rate", value=cell)
        elif not rate.is_plain and rate.value is not None:
            self._change("hourly_rate", f"read as {rates.rate_text(rate.value)}", value=cell)
        return rate

    def _currency(self, cell: object, *, rate: rates.Rate) -> str | None:
        """Return the currency: that of its own column, else that beside the rate."""
        text = self._filled("currency", cell)
        if text is None:
            if rate.currency is not None:
                self._change("currency", f"empty; {rate.currency} taken from the rate", value="")
            return rate.currency
        codes = rates.currencies_of(text)
        code = next(iter(codes)) if len(codes) == 1 else text
        if len(codes) != 1:
            reason = "shared by several currencies" if codes else "not a known currency"
            self._change("currency", f"{reason}; kept as it is", value=cell, kind=FindingKind.NOTED)
        elif code != text:
            self._change("currency", f"read as {code}", value=cell)
        if rate.currency is not None and not (codes or {text}) & rates.currencies_of(rate.currency):
            reason = f"the rate says {rate.currency}; the column's {code} is kept"
            self._change("currency", reason, value=cell, kind=FindingKind.NOTED)
        return code


def _username(cell: object) -> tuple[str, str]:
    """Return a username without the white space around it, and why it is none; empty where it is one."""
    if isinstance(cell, int) and not isinstance(cell, bool):
        cell = str(cell)
    if cell is not None and not isinstance(cell, str):
        return "", f"{_kind_of(cell)}, not text"
    text = (cell or "").strip()
    if found := _BAD.search(text):
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


def _kind_of(cell: object) -> str:
    if isinstance(cell, bool):
        return "true or false"
    if isinstance(cell, float) and not math.isfinite(cell):
        return "not a finite number"
    return {list: "a list", dict: "an object", float: "a number with decimals"}.get(type(cell), "a number")
