"""Read hourly rates as people write them: a number, maybe with a currency and "per hour".

A currency becomes its ISO 4217 code if its sign or name is unambiguous. `$` and `kr` stay
unchanged.
"""

import re
from decimal import Decimal

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
