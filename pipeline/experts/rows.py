"""Judge one row's cells: a person with what was changed, or the reason why the row does not go in.

Formulas, HTML, odd URLs, any script, emoji and control characters go in as they are. A row with bad bytes, NUL, or no
usable username is rejected; a value of the wrong kind is dropped or altered, with a finding.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.core.text import UNSOUND
from pipeline.experts.columns import HEADERS, USERNAME
from pipeline.tables.findings import Finding, rejected
from pipeline.tables.judged_cells import JudgedCells, kind_said

MAX_USERNAME = 200  # characters; a username is a key, in URLs and on screens
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
        if isinstance(cell, str) and (found := UNSOUND.search(cell)):
            excerpt_of = cell[max(0, found.start() - 20) :]
            return rejected(line, _bad(found[0]), excerpt_of, column=HEADERS[column], key=username)
    judged = JudgedCells(line, HEADERS, key=username, names=_NAMES)
    special = {USERNAME, "hourly_rate", "currency"}
    values: dict[str, str | float | None] = {
        column: judged.text(column, cell) for column, cell in cells.items() if column not in special
    }
    rate = judged.rate("hourly_rate", cells.get("hourly_rate"))
    if "hourly_rate" in cells:
        values["hourly_rate"] = rate.value
    if "currency" in cells or rate.currency is not None:
        values["currency"] = judged.currency("currency", cells.get("currency"), rate=rate)
    return Person(username, values, line, tuple(judged.changes))


def _username(cell: object) -> tuple[str, str]:
    """Return a username without the white space around it, and why it is none; empty where it is one."""
    if isinstance(cell, int) and not isinstance(cell, bool):
        cell = str(cell)
    if cell is not None and not isinstance(cell, str):
        return "", f"{kind_said(cell)}, not text"
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
