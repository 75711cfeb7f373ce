"""Find the numbers and the dates that a text names."""

import datetime as dt
import re
from collections.abc import Iterator
from typing import NamedTuple

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = r"(?P<month>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
_DAY, _YEAR = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?", r"(?P<year>[12]\d{3})"
_DATES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?<!\d)(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})(?!\d)",
        r"(?<!\d)(?P<day>\d{1,2})[./](?P<month>\d{1,2})[./](?P<year>\d{4})(?!\d)",
        rf"(?<!\d){_DAY}(?: of)? {_MONTH},? {_YEAR}(?!\d)",
        rf"\b{_MONTH} {_DAY},? {_YEAR}(?!\d)",
    )
]
_DIGITS = r"(?:\d{1,3}(?:[,\u00a0\u202f]\d{3})+|\d{1,15})(?:\.\d{1,15})?"
_NUMBER = re.compile(rf"(?<![\w.,-])(?P<digits>-?{_DIGITS})(?![\w]*[-/]?\d)|\b(?P<word>[a-z]{{3,7}})\b", re.IGNORECASE)
_WORDS = {
    "zero": 0,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
}
"""Numbers in words; "one" is rarely a number."""
_MONEY = re.compile(r"[$\u20ac\u00a3]|\b(?:euros?|dollars?|pounds?|usd|eur|gbp)\b", re.IGNORECASE)
_BEFORE, _BEHIND = 16, 24
"""Characters before and behind a number that say what it counts."""


class Number(NamedTuple):
    """A number of a text, and the words around it."""

    value: float
    around: str


def numbers_of(text: str) -> Iterator[Number]:
    """Yield the numbers that a text names in digits or up to twelve in words, dates apart, in order."""
    rest = text
    for pattern in _DATES:
        rest = pattern.sub(lambda found: " " * len(found[0]), rest)
    for found in _NUMBER.finditer(rest):
        digits, word = found["digits"], (found["word"] or "").lower()
        if digits is None and word not in _WORDS:
            continue
        before, behind = (
            rest[max(0, found.start() - _BEFORE) : found.start()],
            rest[found.end() : found.end() + _BEHIND],
        )
        around = f"{before} {behind}"
        value = float(_WORDS[word]) if digits is None else float(re.sub(r"[,\u00a0\u202f]", "", digits))
        yield Number(value, _MONEY.sub(" price amount cost ", around))


def dates_of(text: str) -> list[dt.date]:
    """Return the dates that a text names with their years, each once, in order; of 3/5/2024 the day is the first."""
    found: dict[dt.date, int] = {}
    for pattern in _DATES:
        for match in pattern.finditer(text):
            date = _date(match["year"], match["month"], match["day"])
            if date is not None:
                found.setdefault(date, match.start())
    return sorted(found, key=lambda date: found[date])


def _date(year: str, month: str, day: str) -> dt.date | None:
    """Return a date, None for one that no calendar has; a month above twelve is a day."""
    first, second = int(day), int(month) if month.isdecimal() else _MONTHS.index(month[:3].lower()) + 1
    if second > len(_MONTHS) >= first:
        first, second = second, first
    try:
        return dt.date(int(year), second, first)
    except ValueError:
        return None
