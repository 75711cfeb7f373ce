"""Compare names of columns as people write them: without case, accents, spaces and signs."""

import unicodedata
from functools import lru_cache

# letters that do not decompose into one of ASCII with an accent
_LETTERS = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i"}  # the last: a dotless i
)


@lru_cache(maxsize=4096)
def fold(name: str) -> str:
    """Return the letters and digits of a name in lower case, without accents: `E-Mail` is `email`."""
    plain = unicodedata.normalize("NFKD", name.casefold().translate(_LETTERS)).casefold()
    return "".join(letter for letter in plain if letter.isalnum())


def ascii_slug(text: str) -> str:
    """Return the ASCII letters and digits of a text in lower case, with a hyphen for what stands between them."""
    plain = unicodedata.normalize("NFKD", text.casefold().translate(_LETTERS))
    marks = (letter if letter.isascii() and letter.isalnum() else " " for letter in plain if letter.isascii())
    return "-".join("".join(marks).split())
