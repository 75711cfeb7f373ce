"""Hourly rates and currencies as people write them: a number or a code where there is one reading, otherwise a reason.

The rules of rates, in the order in which they are tried:

- Digits of any script and full-width characters count as ASCII; a currency before or after, and "per hour" in its
  usual forms, may stand beside the number. Any other word means that there is no plain rate.
- Negative numbers, ranges, exponents and rates by the day or the month are no rate.
- The number has one of the forms of `_NUMBER`; money has no three decimals, so a comma before exactly three digits
  groups thousands. A point before exactly three digits does not say which (`1.234` is a German thousand and an English
  fraction), unless a zero or more than three digits stand before it: no rate.
- A rate above `MAX_RATE` is a mistake.
"""

import math
import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal

_LONGEST = 60  # characters; "1 200,00 Canadian dollars per hour" is 34
MAX_RATE = 10_000_000  # an hour in the currencies with the smallest units (VND, IDR) stays below

_PLAIN = re.compile(r"\d+(?:\.(?:\d{1,2}|\d{4,}))?", re.ASCII)
_HOUR = re.compile(
    r"(?:\s*/\s*|\s*\b(?:per|an?|pro|por|par|je|p)\b[\s./]*|\s+|(?<=\d))"
    r"(?:h|hr|hrs|hour|hours|hourly|std|stunde|heure|hora|ora|uur)\.?$"
)
_REFUSALS = (
    (re.compile(r"^[^\d(]{0,4}[-\u2013]\s*[^\d\s-]{0,4}\s*\d|^\(\D{0,4}\d[\d.,]*\)$"), "negative"),
    (
        re.compile(
            r"(?:/\s*|\b(?:per|an?|pro|por|par|je)\s+)"
            r"(?:d|day|days|week|wk|month|mo|year|yr|tag|monat|jour|mois|d[ií]a|mes)\b"
        ),
        "not by the hour",
    ),
    (re.compile(r"\d\s*e\s*[+-]?\d"), "written with an exponent"),
    (re.compile(r"\d\D{0,6}?\s*(?:-|\u2013|\u2014|~|\bto\b|\bbis\b|\.\.)\s*\D{0,6}?\d"), "a range"),
)
_AROUND = re.compile(r"(?P<before>\D*?)\s*\+?(?P<number>\d(?:[\d.,' ]*\d)?)\s*(?P<after>\D*)")
_NUMBER = re.compile(  # a group for each place where the decimals stand
    r"\d+(?:[.,](\d{1,2}|\d{4,}))?|0[.,](\d{3})|\d{4,}\.(\d{3})"
    r"|\d{1,3}(?:,\d{3})+(?:\.(\d+))?|\d{1,2}(?:,\d{2})+,\d{3}(?:\.(\d+))?"  # 1,234.50 and 1,00,000
    r"|\d{1,3}(?:\.\d{3})+,(\d+)|\d{1,3}(?:\.\d{3}){2,}"
    r"|\d{1,3}(?: \d{3})+(?:[.,](\d+))?|\d{1,3}(?:'\d{3})+(?:[.,](\d+))?"
)
_TRANSLATED = {0x066B: ".", 0x066C: ",", 0xFFE5: "¥", 0xFFE1: "£", 0x2212: "-", 0x2019: "'"}

# Active codes of ISO 4217 (amendment 176 of 2024), without funds, metals and test codes (so XXX and XAU are unknown)
_CODES = frozenset(
    re.findall(
        r"[A-Z]{3}",
        """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP
    CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR
    ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT
    MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD
    SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES
    VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG
        """,
    )
)

# Signs and names of currencies, case folded -> the code they stand for, or those that share them
_NAMES = {
    name.strip(): frozenset(codes.split())
    for codes, names in {
        "USD": "us$, usd$, us dollar, us dollars",
        "EUR": "€, euro, euros",
        "GBP": "£, sterling, pound sterling, pounds sterling",
        "CAD": "c$, ca$, cad$, canadian dollar, canadian dollars",
        "AUD": "a$, au$, aud$, australian dollar, australian dollars",
        "NZD": "nz$", "HKD": "hk$", "SGD": "s$, sg$", "TWD": "nt$", "MXN": "mx$", "BRL": "r$",
        "INR": "₹, indian rupee, indian rupees",
        "JPY": "yen, 円", "CNY": "rmb, yuan, renminbi, 元",
        "KRW": "₩", "RUB": "₽", "UAH": "₴", "TRY": "₺", "ILS": "₪", "VND": "₫", "THB": "฿", "PHP": "₱", "NGN": "₦",
        "PLN": "zł", "CZK": "kč", "CHF": "sfr, sfr., swiss franc, swiss francs",
        "CNY JPY": "¥",
        "AUD BBD BMD BND BSD BZD CAD FJD GYD HKD JMD KYD LRD NAD NZD SBD SGD SRD TTD TWD USD XCD": "dollar, dollars",
        "ARS CLP COP CUP DOP MXN PHP UYU": "peso, pesos",
        "INR LKR MUR NPR PKR SCR": "rs, rs., rupee, rupees",
        "EGP FKP GBP GIP LBP SDG SHP SSP SYP": "pound, pounds",
        "CHF XAF XOF XPF": "franc, francs",
        "CZK DKK ISK NOK SEK": "kr, kr.",
    }.items()
    for name in names.split(",")
}  # fmt: skip
_NAMES["$"] = _NAMES["dollar"] | _NAMES["peso"]


def currencies_of(text: str) -> frozenset[str]:
    """Return the ISO 4217 codes that a code, sign or name may stand for; none where it is unknown."""
    name = " ".join(text.split())
    return frozenset({name.upper()}) if name.upper() in _CODES else _NAMES.get(name.casefold(), frozenset())


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
        return _within_bounds(float(text))
    return _odd("".join(map(_ascii_of, text)).casefold()) if len(text) <= _LONGEST else _none("not a plain rate")


def rate_of_number(number: float) -> Rate:
    """Return the rate that a JSON number is; a number too large for a float is above every bound."""
    try:
        value = float(number)
    except OverflowError:
        value = math.inf
    if math.isnan(value) or value < 0:
        return _none("negative" if value < 0 else "not a number")
    return _within_bounds(value)


def rate_text(value: float) -> str:
    """Return a rate as text that `parse_rate` reads back as the same number and finds plain."""
    text = format(Decimal(repr(value)), "f").removesuffix(".0")
    return f"{text}0" if re.search(r"\.\d{3}$", text) else text


def _odd(text: str) -> Rate:
    """Return the rate in a text that is no plain number; `text` is ASCII where it can be, and case folded."""
    if not any(character.isdigit() for character in text):
        return _none("not a number")
    for pattern, reason in _REFUSALS:
        if pattern.search(text):
            return _none(reason)
    match = _AROUND.fullmatch(_HOUR.sub("", text))
    if match is None:
        return _none("not a plain rate")
    beside = {_sign(word) for word in (match["before"].strip(), match["after"].strip()) if word}
    if None in beside or len(beside) > 1:
        return _none("has words beside the number that are no currency")
    number = _NUMBER.fullmatch(match["number"])
    if number is None:
        return _none("a number with more than one reading")
    fraction = next(filter(None, number.groups()), "")
    whole = re.sub(r"\D", "", number[0].removesuffix(fraction))
    return _within_bounds(float(f"{whole}.{fraction}"), currency=next(iter(beside), None), is_plain=False)


def _sign(word: str) -> str | None:
    """Return the code that a word beside a number stands for, the word where several share it; None for any other."""
    codes = currencies_of(word)
    if len(codes) == 1:
        return next(iter(codes))
    return word if codes else None


def _within_bounds(value: float, *, currency: str | None = None, is_plain: bool = True) -> Rate:
    if value > MAX_RATE:
        return Rate(reason=f"larger than {MAX_RATE:,}", currency=currency, is_plain=False)
    return Rate(value, currency, is_plain=is_plain)


def _none(reason: str) -> Rate:
    return Rate(reason=reason, is_plain=False)


def _ascii_of(character: str) -> str:
    """Return the ASCII character that a digit, a full-width character or a space is a form of; others as they are."""
    character = _TRANSLATED.get(ord(character), character)
    if character.isspace():
        return " "
    if "\uff01" <= character <= "\uff5e":
        character = chr(ord(character) - 0xFEE0)
    return str(unicodedata.decimal(character, character))
