"""Read amounts as people write them: 1,000 or 1k; 200MB; 2h30m or 90 min; $5 or 5 USD.

A comma, an underscore, a blank or an apostrophe parts thousands, and a point the decimals. What may mean two things
(`0,50`, `1,00`) is refused, for a misread limit costs money: a ValueError says what it must be.
"""

import re
from itertools import pairwise

_BLANKS = "[,_ '\u00a0\u202f]"  # between thousands
_NUMBER = rf"[+-]?(?:(?:\d{{1,3}}(?P<by>{_BLANKS})\d{{3}}(?:(?P=by)\d{{3}})*|\d+(?:_\d+)*)(?:\.\d*)?|\.\d+)"
_PLAIN = re.compile(rf"{_NUMBER}(?:[eE][+-]?\d{{1,3}})?", re.ASCII)
_WITH_WORD = re.compile(rf"(?P<number>{_NUMBER})\s*(?P<word>[a-zA-Z]*)", re.ASCII)
_THOUSANDS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_BYTES = {"": 1, "b": 1} | {
    f"{letter}{end}": base**power
    for power, letter in enumerate("kmgt", start=1)
    for end, base in (("", 1000), ("b", 1000), ("ib", 1024))
}
_TIMES = {  # seconds
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("w", "week", "weeks"), 604_800),
}
_PIECE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.ASCII)
_MONEY = re.compile(r"(?:us\s?)?\$|\busd\b|(?<=[\d.])usd|usd(?=[\d.])", re.IGNORECASE)


def parse_count(text: str) -> int:
    """Return a whole number such as 1000, 1,000, 1_000 or 1k."""
    return _whole(text, _THOUSANDS, wanted="a whole number, such as 50, 1,000 or 1k")


def parse_size(text: str) -> int:
    """Return the bytes of a size such as 200MB, 1.5 GiB or 1000000."""
    return _whole(text, _BYTES, wanted="a size, such as 200MB or 1000000")


def parse_duration(text: str, *, unit: float = 1) -> float:
    """Return a length of time such as 2h30m, 90 min or 1d in units of so many seconds; a bare number has that unit."""
    text = text.strip()
    if _PLAIN.fullmatch(text):
        return _float(text)
    pieces = _PIECE.findall(text.lower())
    sizes = [_TIMES.get(word, 0) for _, word in pieces]
    falls = all(larger > smaller for larger, smaller in pairwise(sizes))
    if not pieces or 0 in sizes or not falls or _PIECE.sub("", text.lower()):
        raise ValueError("must be a length of time, such as 90s, 30m, 2h30m or 1d")
    return sum(float(number) * size for (number, _), size in zip(pieces, sizes, strict=True)) / unit


def parse_money(text: str) -> float:
    """Return an amount of USD such as 5, $5, 5 USD or $1,000.50."""
    bare = _MONEY.sub("", text, count=1).strip()
    if not _PLAIN.fullmatch(bare):
        raise ValueError("must be an amount of USD, such as 5, $5 or 0.50")
    return _float(bare)


def _float(text: str) -> float:
    return float(re.sub(_BLANKS, "", text))


def _whole(text: str, units: dict[str, int], *, wanted: str) -> int:
    """Return a whole number with its unit behind it; decimals count only where the unit makes them whole."""
    found = _WITH_WORD.fullmatch(text.strip())
    size = units.get(found["word"].lower()) if found else None
    if found is None or size is None:
        raise ValueError(f"must be {wanted}")
    whole, _, decimals = re.sub(_BLANKS, "", found["number"]).partition(".")
    numerator: int = int(whole + decimals) * size
    scale: int = 10 ** len(decimals)
    if numerator % scale:
        raise ValueError(f"must be {wanted}")
    return numerator // scale
