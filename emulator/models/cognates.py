"""Spell a word of any European language as its cognates in the others are spelled.

"Bioinformática", "bioinformatique", "Bioinformatik" and "биоинформатика" become one; so do "investigadora" and
"investigadores". Short words are left alone: they are alike by chance.
"""

import functools
import re

SHORTEST = 6
"""Letters from which on a spelling is compared: below, words of two languages are alike that mean different things."""

_LATIN = str.maketrans("абвгдежзиклмнопрстуфхцчшщыэюяøł", "abvgdejziklmnoprstufcccssieuaol", "ьъ")
_SPELLINGS = [
    (re.compile(pattern), written)
    for pattern, written in (
        (r"^h", ""),
        (r"ae|oe", "e"),
        (r"ph", "f"),
        (r"[tr]h", lambda found: found[0][0]),
        (r"ch|ck|k|q(?=u[aeio])u|q", "c"),
        (r"y", "i"),
        (r"w", "v"),
        (r"(.)\1", r"\1"),
        (r"(?<=[aeiou])[cp]t", "t"),
        (r"(?:[tz]ione?|cione|cao|coe)$", "cion"),
        (r"(?:trice|teur|teuse)$", "tor"),
        (r"euse?$|eur$", "or"),
        (r"(?<=er|st|og|af|ut|om)in(?:en)?$", ""),
        (r"ogue?$", "og"),
        (r"(?<=[a-z]{4})e[mn]$|(?<=.)[aeo]$", ""),
        (r"(?<=or|st)i$", ""),
    )
]


@functools.lru_cache(maxsize=1 << 16)
def cognate(plain: str) -> str:
    """Return the spelling that the cognates of a word share; `plain` is in lower case, singular, without accents."""
    spelled = plain.translate(_LATIN)
    for pattern, written in _SPELLINGS:
        spelled = pattern.sub(written, spelled)
    return spelled
