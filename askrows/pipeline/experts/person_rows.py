"""Check a row of a file, and convert it into a person.

- Values of the wrong kind, and placeholders such as `n/a`, are dropped or altered with a finding.
- A whole name is split into first and last name.
- Columns that our own export added are not imported.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

from askrows.pipeline.experts.table import HEADERS, USERNAME
from askrows.pipeline.rows.columns import ColumnLayout, fold_name
from askrows.pipeline.rows.row_findings import (
    Finding,
    FindingKind,
    SoundRow,
    SourceRow,
    make_excerpt,
    make_rejection,
    parse_key,
)

# Characters; a username is a key, in URLs and on screens.
MAX_USERNAME_CHARS = 200
EXPECTED_HEADERS = ", ".join(HEADERS.values())
WHOLE_NAME_COLUMN = "full_name"
NAME_PARTS = ("first_name", "last_name")
LAYOUT = ColumnLayout(
    USERNAME,
    {**HEADERS, WHOLE_NAME_COLUMN: "Full name"},
    f"give a CSV file with the header {EXPECTED_HEADERS}, or JSON objects with these keys",
    columns_kept_twice=frozenset({USERNAME, WHOLE_NAME_COLUMN}),
)
# Texts that people type into a field that they leave empty. Every text field reads them as empty,
# whatever their case.
_DASHES_AND_DOTS = (
    *("-", "--", "---", "\u2013", "\u2014", "_"),
    *(".", "..", "...", "\u2026", "/", "?", "??", "???"),
)
_EMPTY_WORDS = (
    *("n/a", "n.a.", "#n/a", "null", "none", "nil", "na", "nan"),
    *("(none)", "undefined", "empty", "(empty)"),
)
_LATER_WORDS = (
    *("tbd", "tba", "tbc", "t.b.d.", "todo", "to do", "not available", "not applicable"),
    *("unknown", "coming soon"),
)
_SMILEYS = (":)", ":-)", ";)", ":d", "\U0001f642", "\U0001f60a")
_FOREIGN_WORDS = ("k.a.", "k. a.", "keine angabe", "s/o", "néant", "无", "暂无")
PLACEHOLDERS = frozenset(
    (*_DASHES_AND_DOTS, *_EMPTY_WORDS, *_LATER_WORDS, *_SMILEYS, *_FOREIGN_WORDS),
)
# Without those that are also names of people.
NAME_PLACEHOLDERS = PLACEHOLDERS - {"null", "none", "nil", "na", "nan", "todo"}
# Folded names of columns that our own export adds to those of people.
_SCORE = "findabilityscore"
ANSWER_COLUMNS = frozenset({"tags", _SCORE})
# Folded names of further columns of our export, each with its name if the user has the first name.
_PREFIXED_COLUMNS: Mapping[str, str] = {
    "state": "rowstate",
    "reason": "rowreason",
}


def validate_row(cells: Mapping[str, object], *, line: int) -> SoundRow | Finding:
    """Return the person that the cells of a row describe, or the finding that rejects the row.

    The only reason to reject a row is its username. An empty cell becomes None. A column that
    `cells` does not contain keeps the value of an existing person. If the cell of the currency is
    missing or empty, the currency in the cell of the rate (`80 EUR`) is stored. Altered and dropped
    values are reported in `SoundRow.findings`.

    Args:
        cells: Cells by table column: text, or any JSON value if the source is JSON. None and white
            space are empty. The username is the key.
        line: Line of the row in its file.
    """
    username_cell = cells.get(USERNAME)
    stripped_cell = username_cell
    if isinstance(username_cell, str):
        stripped_cell = username_cell.strip()
    username, reason = parse_key(stripped_cell, max_chars=MAX_USERNAME_CHARS)
    if reason:
        return make_rejection(line, reason, username_cell or "", column=HEADERS[USERNAME])

    changes: list[Finding] = []
    values: dict[str, str | float | None] = {}
    for column, cell in cells.items():
        if column == USERNAME:
            continue
        if column == "hourly_rate":
            values[column], reason = _read_rate(cell)
        else:
            values[column], reason = _read_text(column, cell)
        if reason:
            header = HEADERS[column]
            changes.append(
                Finding(line, header, reason, make_excerpt(cell), FindingKind.CHANGED, username),
            )

    _, rate_currency = parse_rate(str(cells.get("hourly_rate") or ""))
    currency = values.get("currency") or rate_currency
    if currency:
        values["currency"] = currency_code(str(currency))
    return SoundRow(username, values, line, tuple(changes))


def _read_text(column: str, cell: object) -> tuple[str | None, str]:
    """Return the text of a cell, and why it differs from the cell.

    Numbers become text. Lists, objects, truth values and placeholders such as `n/a` are dropped.

    Returns:
        The text without surrounding blanks, or None if it is empty; and the reason, or "".
    """
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        return str(cell), "a number, stored as text"
    if cell is not None and not isinstance(cell, str):
        return None, "not text; left empty"

    text = (cell or "").strip()
    placeholders = NAME_PLACEHOLDERS if column in NAME_PARTS else PLACEHOLDERS
    if text.casefold() in placeholders:
        return None, f"placeholder {text!r} read as empty"
    return text or None, ""


def _read_rate(cell: object) -> tuple[float | None, str]:
    """Return the hourly rate of a cell, and how it differs from the cell.

    Returns:
        The rate and a note. The rate is None if the cell is empty, if it has no single rate (such
        as "50-60"), or if the rate is not from 0 to MAX_RATE. The note says why there is no rate,
        or how another text than a plain number was read, such as "$50". It is "" if the cell is
        empty or a plain number.
    """
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        rate = number_to_rate(cell)
        reason = f"not a number from 0 to {MAX_RATE:,}; stored without a rate"
        return rate, reason if rate is None else ""

    text, reason = _read_text("hourly_rate", cell)
    if text is None:
        return None, reason
    rate, _ = parse_rate(text)
    if rate is None:
        return None, "not a single number with an optional currency; stored without a rate"
    is_plain_number = text.replace(".", "").isdecimal()
    return rate, "" if is_plain_number else f"read as {format_rate(rate)}"


@lru_cache
def filter_export_columns(names: tuple[str, ...]) -> frozenset[str]:
    """Return those of a file's column names that our own export added.

    These are the tags and the score. If the file has a score, it is an export, and these two
    columns are returned, too:

    - `row_state`, or `state` if the file has no `row_state`;
    - `row_reason`, or `reason`.

    An export uses the long name only if the user has a column with the short name.

    Args:
        names: All column names of the file. Comparisons ignore case, spaces and signs. The names
            are returned as they are in the file.
    """
    folded_names = {fold_name(name) for name in names}
    added_names = set(ANSWER_COLUMNS)
    if _SCORE in folded_names:
        added_names.update(
            prefixed_name if prefixed_name in folded_names else name
            for name, prefixed_name in _PREFIXED_COLUMNS.items()
        )
    return frozenset(name for name in names if fold_name(name) in added_names)


def read_person_row(row: SourceRow) -> SoundRow | Finding:
    """Return the person that a row describes, or the finding that rejects the row.

    A whole name is split into first and last name. Cells of unknown columns are returned in
    `SoundRow.extra_cells`, except those that our own export added.

    Args:
        row: The row by columns of the layout and by other names.
    """
    cells = {name: cell for name, cell in row.values.items() if name in LAYOUT.columns}
    extra_cells = {name: cell for name, cell in row.values.items() if name not in cells}
    person = validate_row(_split_whole_name(cells), line=row.line_number)
    if isinstance(person, Finding):
        return person
    export_columns = filter_export_columns(tuple(extra_cells))
    user_cells = {name: cell for name, cell in extra_cells.items() if name not in export_columns}
    return person._replace(extra_cells=user_cells)


def _split_whole_name(cells: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the cells with the whole name replaced by first and last name.

    Cells without a whole name are returned unchanged. First and last name of the row itself are
    kept. If the row has only one of them, and the whole name does not contain it, the whole name is
    the other: a column `Name` beside a first name has last names. A whole name that is not text
    becomes the first name if the row has none, so that a finding reports it.
    """
    if WHOLE_NAME_COLUMN not in cells:
        return cells
    whole_name = cells[WHOLE_NAME_COLUMN]
    other_cells = {name: cell for name, cell in cells.items() if name != WHOLE_NAME_COLUMN}
    if not isinstance(whole_name, str):
        return {NAME_PARTS[0]: whole_name, **other_cells}

    whole_name = whole_name.strip()
    first_name, last_name = (str(other_cells.get(name) or "").strip() for name in NAME_PARTS)
    first_part, last_part = _split_name(whole_name)
    given_name = (first_name or last_name).casefold()
    if whole_name.casefold() == given_name:
        first_part = last_part = ""
    elif given_name not in whole_name.casefold():
        first_part = last_part = whole_name
    name_cells = {NAME_PARTS[0]: first_name or first_part, NAME_PARTS[1]: last_name or last_part}
    return {**other_cells, **name_cells}


def _split_name(name: str) -> tuple[str, str]:
    """Return the first and the last name of a whole name.

    `Last, First` is split at the comma. Otherwise the last name is the last word. A single word is
    a first name, and the last name is then "".
    """
    before_comma, comma, after_comma = (part.strip() for part in name.partition(","))
    if comma and after_comma and before_comma:
        return after_comma, before_comma

    first_words, blank, last_word = before_comma.rpartition(" ")
    return (first_words, last_word) if blank else (last_word, "")


# ---- hourly rates

# An hourly rate in the currencies with the smallest units (VND, IDR) is lower.
MAX_RATE = 10_000_000
_MONEY = r"[^\W\d_]{0,3}[$€£¥₹₩₽₴₺₪₫฿₱₦]|[A-Z]{3}|kr\.?|zł|Kč"
_CODE = re.compile("[a-z]{3}")
_CODES = {
    **dict.fromkeys(("us$", "usd$", "us dollar", "us dollars"), "USD"),
    **dict.fromkeys(("€", "euro", "euros"), "EUR"),
    **dict.fromkeys(("£", "sterling", "pound sterling", "pounds sterling"), "GBP"),
    **dict.fromkeys(("c$", "ca$", "cad$"), "CAD"),
    **dict.fromkeys(("a$", "au$", "aud$"), "AUD"),
    **dict.fromkeys(("s$", "sg$"), "SGD"),
    **dict.fromkeys(("yen", "円"), "JPY"),
    **dict.fromkeys(("yuan", "元"), "CNY"),
    **dict.fromkeys(("sfr", "sfr.", "swiss franc", "swiss francs"), "CHF"),
    "nz$": "NZD",
    "hk$": "HKD",
    "nt$": "TWD",
    "mx$": "MXN",
    "r$": "BRL",
    "₹": "INR",
    "₩": "KRW",
    "₽": "RUB",
    "₴": "UAH",
    "₺": "TRY",
    "₪": "ILS",
    "₫": "VND",
    "฿": "THB",
    "₱": "PHP",
    "₦": "NGN",
    "zł": "PLN",
    "kč": "CZK",
}
_PER = r"\s*/\s*|\s*\b(?:per|an?|pro|por|par|p)\b[\s./]*|\s+"
_HOUR = rf"(?:(?:{_PER})?(?:h|hrs?|hours?|hourly|std|stunde|heure|ora|uur)\.?)?"
_RATE = re.compile(rf"({_MONEY})?\s*(\d(?:[\d.,'\u2019 \u00a0]*\d)?)\s*({_MONEY})?(?i:{_HOUR})")
# Each alternative captures its decimals in a group of its own.
_NUMBER = re.compile(
    r"\d+(?:[.,](\d{1,2}|\d{4,}))?|0[.,](\d{3})"
    r"|\d{1,3}(?:,\d{3})+(?:\.(\d+))?|\d{1,3}(?:\.\d{3})+,(\d+)|\d{1,3}(?:\.\d{3}){2,}"
    r"|\d{1,3}(?:[ \u00a0'\u2019]\d{3})+(?:[.,](\d+))?",
)


def parse_rate(text: str) -> tuple[float | None, str | None]:
    """Return the hourly rate in a text, and the sign or code of its currency.

    The result is (None, None) if the text does not have a single number in a known form, or has two
    currencies. `1.234` alone has no known form, because its point may separate thousands or
    decimals. A number out of range gives no rate (None) with its currency. A missing currency is
    None; otherwise it is returned as it is written.
    """
    rate_match = _RATE.fullmatch(text.strip())
    if rate_match is None:
        return None, None
    currency_before, digits, currency_after = rate_match.groups()
    number_match = _NUMBER.fullmatch(digits)
    if number_match is None or (currency_before and currency_after):
        return None, None

    decimals = next(filter(None, number_match.groups()), "")
    integer_digits = re.sub(r"\D", "", number_match[0].removesuffix(decimals))
    rate = number_to_rate(float(f"{integer_digits}.{decimals}"))
    return rate, currency_before or currency_after


def currency_code(text: str) -> str:
    """Return the upper-case code of a currency that is given as code, unambiguous sign or name.

    Any other text is returned unchanged.
    """
    name = " ".join(text.split()).casefold()
    if name in _CODES:
        return _CODES[name]
    return name.upper() if _CODE.fullmatch(name) else text


def number_to_rate(number: float) -> float | None:
    """Return a number as a rate, or None if it is negative or above `MAX_RATE`."""
    return float(number) if 0 <= number <= MAX_RATE else None


def format_rate(value: float) -> str:
    """Return an hourly rate as decimal text that `parse_rate` reads back as the same number.

    Three decimals get a fourth, because `1.234` may also be a thousand: `65.125` is `65.1250`.
    """
    text = format(Decimal(repr(value)), "f").removesuffix(".0")
    if re.search(r"\.\d{3}$", text):
        return f"{text}0"
    return text
