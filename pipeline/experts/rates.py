"""Hourly rates as people write them: one number with a sign or a code of a currency beside it, else none."""

import math
import re
from decimal import Decimal
from typing import NamedTuple

MAX_RATE = 10_000_000  # an hour in the currencies with the smallest units (VND, IDR) stays below
_MONEY = r"[^\W\d_]{0,3}[$€£¥₹₩₽₴₺₪₫฿₱₦]|[A-Z]{3}|kr\.?|zł|Kč"
_HOUR = (
    r"(?:(?:\s*/\s*|\s*\b(?:per|an?|pro|por|par|p)\b[\s./]*|\s+)?(?:h|hrs?|hours?|hourly|std|stunde|heure|ora|uur)\.?)?"
)
_RATE = re.compile(rf"({_MONEY})?\s*(\d(?:[\d.,'\u2019 \u00a0]*\d)?)\s*({_MONEY})?(?i:{_HOUR})")
_NUMBER = re.compile(  # a group for each place where the decimals stand
    r"\d+(?:[.,](\d{1,2}|\d{4,}))?|0[.,](\d{3})"
    r"|\d{1,3}(?:,\d{3})+(?:\.(\d+))?|\d{1,3}(?:\.\d{3})+,(\d+)|\d{1,3}(?:\.\d{3}){2,}"
    r"|\d{1,3}(?:[ \u00a0'\u2019]\d{3})+(?:[.,](\d+))?"
)


class Rate(NamedTuple):
    """What a cell says of a rate: the number, and what stands beside it as it is given; nothing where it says none."""

    value: float | None = None
    currency: str | None = None


def parse_rate(text: str) -> Rate:
    """Return the rate in a cell's text; `1.234` alone is a thousand to some and a fraction to others, and is none."""
    found = _RATE.fullmatch(text.strip())
    number = _NUMBER.fullmatch(found[2]) if found else None
    if found is None or number is None or (found[1] and found[3]):
        return Rate()
    fraction = next(filter(None, number.groups()), "")
    whole = re.sub(r"\D", "", number[0].removesuffix(fraction))
    return Rate(rate_of_number(float(f"{whole}.{fraction}")), found[1] or found[3])


def rate_of_number(number: float) -> float | None:
    """Return the rate that a number is; None where it is negative, too large, or not a number."""
    try:
        value = float(number)
    except OverflowError:
        return None
    return value if math.isfinite(value) and 0 <= value <= MAX_RATE else None


def rate_text(value: float) -> str:
    """Return a rate as text that `parse_rate` reads back as the same number."""
    text = format(Decimal(repr(value)), "f").removesuffix(".0")
    return f"{text}0" if re.search(r"\.\d{3}$", text) else text
