"""Read hourly rates as people write them: a number with the sign or code of a currency, and "per hour".

A currency becomes its code of ISO 4217 if one currency alone is written so: `$` and `kr` stay as they are.
"""

import re
from decimal import Decimal

# An hour in the currencies with the smallest units (VND, IDR) stays below.
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
_NUMBER = re.compile(  # a group for each place where the decimals stand
    r"\d+(?:[.,](\d{1,2}|\d{4,}))?|0[.,](\d{3})"
    r"|\d{1,3}(?:,\d{3})+(?:\.(\d+))?|\d{1,3}(?:\.\d{3})+,(\d+)|\d{1,3}(?:\.\d{3}){2,}"
    r"|\d{1,3}(?:[ \u00a0'\u2019]\d{3})+(?:[.,](\d+))?"
)


def parse_rate(text: str) -> tuple[float | None, str | None]:
    """Return the one number in a cell's text, and the sign or code of a currency that stands beside it; else None.

    `1.234` alone is a thousand to some and a fraction to others, and is none.
    """
    found = _RATE.fullmatch(text.strip())
    number = _NUMBER.fullmatch(found[2]) if found else None
    if found is None or number is None or (found[1] and found[3]):
        return None, None
    fraction = next(filter(None, number.groups()), "")
    whole = re.sub(r"\D", "", number[0].removesuffix(fraction))
    return rate_of(float(f"{whole}.{fraction}")), found[1] or found[3]


def currency_code(text: str) -> str:
    """Return the code of a currency that is written in three letters, or by its own sign or name; else the text."""
    name = " ".join(text.split()).casefold()
    return _CODES.get(name) or (name.upper() if _CODE.fullmatch(name) else text)


def rate_of(number: float) -> float | None:
    """Return a number as a rate; None if no rate is so low or so high."""
    return float(number) if 0 <= number <= MAX_RATE else None


def rate_text(value: float) -> str:
    """Return an hourly rate as decimal text that `parse_rate` reads back as the same number.

    Three decimals get a fourth, because `1.234` may also be a thousand: `65.125` is `65.1250`.
    """
    text = format(Decimal(repr(value)), "f").removesuffix(".0")
    return f"{text}0" if re.search(r"\.\d{3}$", text) else text
