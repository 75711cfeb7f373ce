"""Split a whole name, and make a key for a row that has none: of an e-mail address, else of a name.

A key is a slug and some letters of a hash. Both depend on the row alone, so the same row has the same key in any file,
in any order, beside any others; two rows that differ in what tells them apart have two keys.
"""

import base64
import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.tables.cells import is_placeholder
from pipeline.tables.names import ascii_slug, fold

LONGEST = 40  # letters of a slug
LETTERS, ALONE = 6, 10  # of the hash: beside a slug, and where the name has no ASCII letter
_ADDRESS = re.compile(r"([^@\s]+)@[^@\s]+")
_PARTICLES = re.compile(
    r"af|al|av|ben|bin|d[aeiou]|das|dei|del|della|de[nr]|dos|el|ibn|l[ae]|te[nr]|va[nm]|vo[mn]|zu[mr]?"
)


@dataclass(frozen=True)
class KeyRule:
    """What a key is made of: an e-mail address, else the text of the columns of a name.

    Where there is no address, the first of `telling` that is filled tells rows of the same name apart. `word` begins
    the key of a name without ASCII letters.
    """

    address: str
    names: tuple[str, ...]
    telling: tuple[str, ...]
    word: str
    shown: str = "neither e-mail nor name"

    @property
    def sources(self) -> frozenset[str]:
        """Return the columns of which one makes a key."""
        return frozenset((self.address, *self.names))

    def key(self, values: Mapping[str, Any]) -> str | None:
        """Return the key of a row's values; None where there is nothing to make it of."""
        name = " ".join(filter(None, (_text(values.get(column)) for column in self.names)))
        address = _ADDRESS.fullmatch(_text(values.get(self.address)))
        if not address and not fold(name):
            return None
        told = address[0] if address else next(filter(None, (_text(values.get(one)) for one in self.telling)), "")
        identity = "\n".join((fold(name), " ".join(unicodedata.normalize("NFC", told).casefold().split())))
        digest = base64.b32encode(hashlib.sha256(identity.encode("utf-8", "replace")).digest()).decode().lower()
        slug = ascii_slug(address[1] if address else name)[:LONGEST].strip("-")
        return f"{slug}-{digest[:LETTERS]}" if slug else f"{self.word}-{digest[:ALONE]}"


def split_name(name: str) -> tuple[str, str]:
    """Return first and last name: at a comma the last one stands first, else it is the last word with its particles.

    A name of one word is a first name.
    """
    last, comma, first = (part.strip() for part in name.partition(","))
    if comma and first and last:
        return first, last
    words = last.split()
    at = max(1, len(words) - 1)
    while at > 1 and _PARTICLES.fullmatch(words[at - 1].casefold()):
        at -= 1
    return " ".join(words[:at]), " ".join(words[at:])


def _text(cell: Any) -> str:
    """Return a cell that holds words; empty for a placeholder and what is no text."""
    text = " ".join(cell.split()) if isinstance(cell, str) else ""
    return "" if is_placeholder(text) else text
