"""The names by which columns of files are known in a dozen languages, and how names are compared: by their letters."""

import tomllib
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

_KNOWN = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
COLUMN_NAMES: Mapping[str, tuple[str, ...]] = {said: tuple(names) for said, names in _KNOWN.items()}
# letters that do not decompose into one of ASCII with an accent
_LETTERS = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i"}  # the last: a dotless i
)


@lru_cache(maxsize=4096)
def fold(name: str) -> str:
    """Return the letters and digits of a name in lower case, without accents: `E-Mail` is `email`."""
    plain = unicodedata.normalize("NFKD", name.casefold().translate(_LETTERS)).casefold()
    return "".join(letter for letter in plain if letter.isalnum())
