"""Hourly rates as people write them: a number where there is one reading, otherwise a reason.

The rules, in the order in which they are tried:

- Digits of any script and full-width characters count as ASCII; a currency before or after, and "per hour" in its
  usual forms, may stand beside the number. Any other word means that there is no plain rate.
- Negative numbers, ranges, exponents and rates by the day or the month are no rate.
- With a comma and a point, the last of the two is the decimal sign and the other groups thousands.
- Spaces and apostrophes only ever group thousands; so does a sign that occurs more than once.
- A comma before exactly three digits groups thousands: money has no three decimals. A point before exactly three
  digits does not say which (`1.234` is a German thousand and an English fraction), unless a zero or more than three
  digits stand before it: no rate.
- A rate above `MAX_RATE` is a mistake.
"""

import math
import re
from dataclasses import dataclass
from decimal import Decimal

from pipeline.experts import currencies

_GROUP = 3  # digits between two signs that group thousands
_LONGEST = 60  # characters; "1 200,00 Canadian dollars per hour" is 34
MAX_RATE = 10_000_000  # an hour in the currencies with the smallest units (VND, IDR) stays below

_PLAIN = re.compile(r"\d+(?:\.(?:\d{1,2}|\d{4,}))?", re.ASCII)
_HOUR = re.compile(
    r"(?:\s*/\s*|\s*\b(?:per|an?|pro|por|par|je|p)\b[\s./]*|\s+|(?<=\d))"
    r"(?:h|hr|hrs|hour|hours|hourly|std|stunde|heure|hora|ora|uur)\.?$"
)
_OTHER_UNIT = re.compile(
    r"(?:/\s*|\b(?:per|an?|pro|por|par|je)\s+)(?:d|day|days|week|wk|month|mo|year|yr|tag|monat|jour|mois|d[ií]a|mes)\b"
)
_NEGATIVE = re.compile(r"^[^\d(]{0,4}[-\u2013]\s*[^\d\s-]{0,4}\s*\d|^\(\D{0,4}\d[\d.,]*\)$")
_RANGE = re.compile(r"\d\D{0,6}?\s*(?:-|\u2013|\u2014|~|\bto\b|\bbis\b|\.\.)\s*\D{0,6}?\d")
_EXPONENT = re.compile(r"\d\s*e\s*[+-]?\d")
_AROUND = re.compile(r"(?P<before>\D*?)\s*\+?(?P<number>\d(?:[\d.,' ]*\d)?)\s*(?P<after>\D*)")
_GROUPED = re.compile(r"\d{1,3}(?:(?P<sign>[.,' ])\d{3})(?:(?P=sign)\d{3})*")
_LAKHS = re.compile(r"\d{1,2}(?:,\d{2})+,\d{3}")
_TRANSLATED = {0x066B: ".", 0x066C: ",", 0xFFE5: "¥", 0xFFE1: "£", 0x2212: "-", 0x2019: "'"}


@dataclass(frozen=True)
class Rate:
    """What a cell says of a rate: the number, the currency beside it, and why there is no number.

    `currency` is an ISO code, or the sign as it stands where several currencies share it (`$`). `reason` is None where
    there is a number, and where the cell is empty. `is_plain` says that the number stood there as a machine writes it.
    """

    value: float | None = None
    currency: str | None = None
    reason: str | None = None
    is_plain: bool = True


def parse_rate(text: str) -> Rate:
    """Return the rate in a cell's text, by the rules of this module; never raises."""
    text = text.strip()
    if not text:
        return Rate()
    if _PLAIN.fullmatch(text):
        return _within_bounds(float(text), currency=None, is_plain=True)
    if len(text) > _LONGEST:
        return Rate(reason="not a plain rate", is_plain=False)
    return _odd(_to_ascii(text).casefold())


def of_number(number: float) -> Rate:
    """Return the rate that a JSON number is; a number too large for a float is above every bound."""
    try:
        value = float(number)
    except OverflowError:
        return Rate(reason=f"larger than {MAX_RATE:,}", is_plain=False)
    if math.isnan(value) or value < 0:
        return Rate(reason="negative" if value < 0 else "not a number", is_plain=False)
    return _within_bounds(value, currency=None, is_plain=True)


def to_text(value: float) -> str:
    """Return a rate as text that `parse_rate` reads back as the same number and finds plain."""
    text = format(Decimal(repr(value)), "f").removesuffix(".0")
    decimals = text.partition(".")[2]
    return f"{text}0" if len(decimals) == _GROUP else text


def _odd(text: str) -> Rate:
    """Return the rate in a text that is no plain number; `text` is case folded."""
    reason = _refusal(text)
    if reason is not None:
        return Rate(reason=reason, is_plain=False)
    match = _AROUND.fullmatch(_HOUR.sub("", text))
    if match is None:
        return Rate(reason="not a plain rate", is_plain=False)
    beside = [word for word in (match["before"].strip(), match["after"].strip()) if word]
    found = [currencies.code_of(word) or (word if currencies.shared_by(word) else None) for word in beside]
    if None in found or len(set(found)) > 1:
        return Rate(reason="has words beside the number that are no currency", is_plain=False)
    value = _number(match["number"])
    if value is None:
        return Rate(reason="a number with more than one reading", is_plain=False)
    return _within_bounds(value, currency=found[0] if found else None, is_plain=False)


def _refusal(text: str) -> str | None:
    """Return why a text can be no rate, whatever its number is."""
    if not any(character.isdigit() for character in text):
        return "not a number"
    for pattern, reason in (
        (_NEGATIVE, "negative"),
        (_OTHER_UNIT, "not by the hour"),
        (_EXPONENT, "written with an exponent"),
        (_RANGE, "a range"),
    ):
        if pattern.search(text):
            return reason
    return None


def _number(text: str) -> float | None:
    """Return the number that digits and separators stand for, or None where there is more than one reading."""
    decimal = _decimal_sign(text)
    whole, _, fraction = text.rpartition(decimal) if decimal else (text, "", "")
    if not (whole.isdigit() or _LAKHS.fullmatch(whole) or _is_grouped(whole, decimal=decimal)):
        return None
    if fraction and not fraction.isdigit():
        return None
    digits = re.sub(r"\D", "", whole)
    return float(f"{digits}.{fraction or 0}")


def _is_grouped(whole: str, *, decimal: str) -> bool:
    """Return whether the part before the decimals is in groups of three with one sign that is not the decimal sign."""
    match = _GROUPED.fullmatch(whole)
    if match is None or match["sign"] == decimal:
        return False
    return not (match["sign"] == "." and whole.count(".") == 1 and not decimal)  # 1.234: a thousand, or a fraction


def _decimal_sign(text: str) -> str:
    """Return the sign before the decimals; empty when what follows the last sign is a group of thousands."""
    last = max(text.rfind(","), text.rfind("."))
    if last < 0:
        return ""
    sign, whole, decimals = text[last], text[:last], text[last + 1 :]
    if text.count(sign) > 1:
        return ""
    is_group = len(decimals) == _GROUP and whole.isdigit() and whole != "0"
    return "" if is_group and (sign == "," or len(whole) <= _GROUP) else sign


def _within_bounds(value: float, *, currency: str | None, is_plain: bool) -> Rate:
    """Return the rate, or that it is too large to be one."""
    if value > MAX_RATE:
        return Rate(reason=f"larger than {MAX_RATE:,}", currency=currency, is_plain=False)
    return Rate(value=value, currency=currency, is_plain=is_plain)


def _to_ascii(text: str) -> str:
    """Return digits of every script, full-width characters and spaces as ASCII; all else as it is."""
    return "".join(_ascii_of(character) for character in text.translate(_TRANSLATED))


def _ascii_of(character: str) -> str:
    """Return the ASCII character that another one is a form of."""
    if character.isdecimal():
        return str(int(character))
    if character.isspace():
        return " "
    if "\uff01" <= character <= "\uff5e":
        return chr(ord(character) - 0xFEE0)
    return character
