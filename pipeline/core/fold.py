"""Fold a text into a comparable form, with an exact way back: white space, case, dashes, quotation marks, ligatures.

Folding changes lengths ("ß" is "ss", "İ" is two characters, "…" is three), so each folded character knows which code
points of the text it was made from; those that belong together (a letter and its marks) stay together.
"""

import re
import unicodedata
from array import array
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from pipeline.core.text import BLANK

_SAME = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\ufe58\ufe63\uff0d", "-"),
        **dict.fromkeys("`\u00b4\u02b9\u02bb\u02bc\u2018\u2019\u201a\u201b\u2032\u2035\uff07", "'"),
        **dict.fromkeys("\u00ab\u00bb\u201c\u201d\u201e\u201f\u2033\u2036\u300c\u300d\uff02", '"'),
        "\u0131": "i",  # dotless; in capitals it is I
        "\u0640": None,  # makes an Arabic word longer, and says nothing
    }
)
LONGEST_WORD = 40  # characters; one that is longer is cut through
_WORD = re.compile(r"\S+")
_LETTER = re.compile("[^\\W_\u115f\u1160\u3164\uffa0]")  # without the letters that show nothing
# scripts that put no blank between words: Thai to Tibetan, Myanmar, Khmer, kana, ideographs
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


class Folded:
    """A folded text: single blanks, no case, one form for each character; `real` leads back to the text."""

    def __init__(self, text: str) -> None:
        pieces, self._starts, self._ends = list[str](), array("L"), array("L")
        for word in _WORD.finditer(text):
            if units := [one for one in _units(word[0], word.start()) if one[2]]:
                if pieces:
                    pieces.append(" ")
                    self._starts.append(word.start())
                    self._ends.append(word.start())
                for starts, ends, folded in units:
                    pieces.append(folded)
                    self._starts.extend(starts)
                    self._ends.extend(ends)
        self.text = "".join(pieces)

    def real(self, start: int, end: int) -> tuple[int, int]:
        """Return where text[start:end] of the folded text, not empty and without blanks at its ends, was made from."""
        return self._starts[start], self._ends[end - 1]


def is_boundary(text: str, at: int) -> bool:
    """Return whether a word may begin or end between these two characters; never between a letter and its marks."""
    if not 0 < at < len(text):
        return True
    before, after = text[at - 1], text[at]
    if before.isascii() and after.isascii():  # as nearly all are
        return not (before.isalnum() and after.isalnum())
    if unicodedata.category(after)[0] == "M" or _in_no_word(after) != _in_no_word(before):
        return unicodedata.category(after)[0] != "M"
    return _in_no_word(before) or bool(_UNSPACED.match(before) or _UNSPACED.match(after))


def is_unspaced(char: str) -> bool:
    """Return whether a character is of a script that puts no blank between words."""
    return _UNSPACED.match(char) is not None


def shown(text: str) -> str:
    """Return what of a text shows, in one form for each character, with its case and its blanks."""
    return unicodedata.normalize("NFKC", _seen(text).translate(_SAME)).translate(_SAME)


def _seen(text: str) -> str:
    return "".join(char for char in text if unicodedata.category(char) != "Cf" and not BLANK.match(char))


def has_letters(text: str) -> bool:
    """Return whether there is a letter or a digit that shows in a text."""
    return _LETTER.search(text) is not None


def _in_no_word(char: str) -> bool:
    return not char.isalnum() and unicodedata.category(char)[0] != "M"


def _units(word: str, at: int) -> Iterator[tuple[Iterable[int], Iterable[int], str]]:
    """Yield what folds together in a word: where each character of its folded form begins and ends, and that form."""
    if word.isascii():
        yield range(at, at + len(word)), range(at + 1, at + len(word) + 1), word.lower().replace("`", "'")
        return
    cuts = [place for place, char in enumerate(word) if not place or not _joins(char)] + [len(word)]
    for start, end in pairwise(cuts):
        folded = _folded(word[start:end])
        yield [at + start] * len(folded), [at + end] * len(folded), folded


@lru_cache(maxsize=65_536)
def _joins(char: str) -> bool:
    return unicodedata.category(char) in {"Mn", "Mc", "Me", "Cf"} or bool(BLANK.match(char))


@lru_cache(maxsize=65_536)
def _folded(unit: str) -> str:
    shown = _seen(unit)
    form: Literal["NFD", "NFKD"] = "NFKD"
    if " " in unicodedata.normalize("NFKD", shown):  # a mark that stands alone would become a blank with a mark
        form = "NFD"
    shown = unicodedata.normalize(form, shown.translate(_SAME)).casefold()
    shown = unicodedata.normalize(form, shown).casefold().translate(_SAME)
    return "".join(shown.split())


def context_of(text: str, start: int, end: int, *, most: int) -> str:
    """Return at most so many characters of a text round text[start:end], whole words where possible."""
    spare = most - (end - start)
    if spare <= 0:
        return _shrunk(text, start, start + most, least=start + most - LONGEST_WORD)
    first = max(start - max(spare // 2, spare - (len(text) - end)), 0)
    while first < start and not is_boundary(text, first):
        first += 1
    return _shrunk(text, first, min(first + most, len(text)), least=end).strip()


def _shrunk(text: str, start: int, end: int, *, least: int) -> str:
    whole = end
    while whole > least and not is_boundary(text, whole):
        whole -= 1
    return text[start:whole] if is_boundary(text, whole) else text[start:end]


def cut_part(text: str, start: int, end: int) -> tuple[str, int]:
    """Return a part of a text with signs where it was cut, and by how much its offsets moved."""
    start, end = max(0, start), min(len(text), end)
    front, back = "… " if start else "", " …" if end < len(text) else ""
    return f"{front}{text[start:end]}{back}", len(front) - start
