"""Fold a text for comparisons, and map places in it back to the original."""

import html
import re
import unicodedata
from array import array
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise, repeat
from typing import Literal

from askrows.pipeline.core.text import ENTITY, INVISIBLE_LETTERS

# Words may begin and end at this distance from an alignment or a slice.
MAX_BOUNDARY_DISTANCE = 40  # characters
_EQUIVALENTS = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\ufe58\ufe63\uff0d", "-"),
        **dict.fromkeys("`\u00b4\u02b9\u02bb\u02bc\u2018\u2019\u201a\u201b\u2032\u2035\uff07", "'"),
        **dict.fromkeys("\u00ab\u00bb\u201c\u201d\u201e\u201f\u2033\u2036\u300c\u300d\uff02", '"'),
        # The dotless i. Its capital is I.
        "\u0131": "i",
        # It makes an Arabic word longer and has no meaning.
        "\u0640": None,
    },
)
_WORD = re.compile(r"\S+")
# Scripts without blanks between words: Thai to Tibetan, Myanmar, Khmer, kana, ideographs.
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]",
)
# Inside a word or a sentence. Superscript and subscript are missing: 10<sup>2</sup> without them
# is another number.
_INLINE_TAGS = "a|abbr|b|big|cite|code|del|em|font|i|ins|kbd|mark|q|s|small|span|strike|strong|tt|u"
_BLOCK_TAGS = (
    "blockquote|br|center|div|h1|h2|h3|h4|h5|h6|hr|li|ol|p|pre|table|tbody|td|th|thead|tr|ul"
)
_ATTRIBUTES = r"""(?:\s+[A-Za-z-]+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>=]+))*\s*/?"""


_INLINE_TAG = re.compile(rf"</?(?:{_INLINE_TAGS}){_ATTRIBUTES}>", re.IGNORECASE)
_BLOCK_TAG = re.compile(rf"</?(?:{_BLOCK_TAGS}){_ATTRIBUTES}>", re.IGNORECASE)
# Not before a number, because `> 5` can mean more than five.
_LINE_PREFIX = re.compile(
    r"^[^\S\n]*(?:>[^\S\n]*)+(?<=\s)(?![\s\d.,<>$\u20ac\u00a3\u00b1-])",
    re.MULTILINE,
)
# The word joiner, which is invisible. It replaces a tag inside a word.
_PLACEHOLDER = "\u2060"
# An invisible character. It follows the character of an entity, and belongs to it.
_ENTITY_FILLER = "\u2061"


def replace_markup_by_invisible(text: str) -> str:
    """Return a text of the same length with invisible characters in the place of mark-up.

    Inline tags become placeholders. Block tags and line prefixes become blanks. An entity becomes
    its character and fillers.
    """
    if not any(map(text.__contains__, "<>&")):
        return text
    text = _INLINE_TAG.sub(lambda tag: _PLACEHOLDER * len(tag[0]), text)
    text = _BLOCK_TAG.sub(_make_blanks, text)
    text = _LINE_PREFIX.sub(_make_blanks, text)
    return ENTITY.sub(_decode_entity, text)


def _make_blanks(match: re.Match[str]) -> str:
    """Return blanks of the length of a match."""
    return " " * len(match[0])


def _decode_entity(entity: re.Match[str]) -> str:
    """Return the character of an entity, with fillers up to the length of the entity."""
    return html.unescape(entity[0]).ljust(len(entity[0]), _ENTITY_FILLER)


class FoldedText:
    """A text with single blanks, without case, and with one form for equivalent characters.

    Folding changes lengths ("ß" becomes "ss", "İ" two characters, "…" three). So each folded
    character has the offsets of the code points that it was made from. A letter and its marks have
    the same offsets.
    """

    def __init__(self, text: str) -> None:
        """Fold a text: case, lookalikes, invisible characters, markup and spacing do not matter.

        Accents stay. Sets `text`, and for each of its characters the start and the end offset in
        the original. Words are separated by one blank, except in scripts without spaces.
        """
        pieces = list[str]()
        self._start_offsets = array("L")
        self._end_offsets = array("L")
        for word in _WORD.finditer(replace_markup_by_invisible(text)):
            units = [unit for unit in _fold_units_of_word(word[0], word.start()) if unit[2]]
            if not units:
                continue
            # A line break inside Chinese or Thai separates no words.
            if pieces:
                is_one_word = is_unspaced(pieces[-1][-1]) and is_unspaced(units[0][2][0])
                if not is_one_word:
                    units.insert(0, ([word.start()], [word.start()], " "))
            for start_offsets, end_offsets, folded in units:
                pieces.append(folded)
                self._start_offsets.extend(start_offsets)
                self._end_offsets.extend(end_offsets)
        self.text = "".join(pieces)

    def find_original_span(self, start: int, end: int) -> tuple[int, int]:
        """Return the offsets in the original text of a slice of the folded text.

        The slice is not empty and has no blanks at its ends.
        """
        return self._start_offsets[start], self._end_offsets[end - 1]


def is_word_boundary(text: str, offset: int) -> bool:
    """Return whether a word can begin or end at an offset.

    This is so at both ends of the text, beside a character that is not part of words, and beside a
    letter of a script without spaces, such as Chinese. It is never so between a letter and its
    marks.
    """
    if not 0 < offset < len(text):
        return True

    previous = text[offset - 1]
    following = text[offset]
    # The fast way for nearly all texts.
    if previous.isascii() and following.isascii():
        return not (previous.isalnum() and following.isalnum())
    if unicodedata.category(following)[0] == "M":
        return False
    return any(
        _is_outside_words(character) or is_unspaced(character)
        for character in (previous, following)
    )


def is_unspaced(char: str) -> bool:
    """Return whether a character belongs to a script without blanks between words."""
    return _UNSPACED.match(char) is not None


def normalize_visible_text(text: str) -> str:
    """Return the visible characters of a text in NFKC, with equivalents in one form; case stays."""
    visible_text = _drop_invisible(text).translate(_EQUIVALENTS)
    return unicodedata.normalize("NFKC", visible_text).translate(_EQUIVALENTS)


def _drop_invisible(text: str) -> str:
    return "".join(
        char
        for char in text
        if unicodedata.category(char) != "Cf" and not INVISIBLE_LETTERS.match(char)
    )


def _is_outside_words(char: str) -> bool:
    return not char.isalnum() and unicodedata.category(char)[0] != "M"


def _fold_units_of_word(
    word: str, offset: int
) -> Iterator[tuple[Iterable[int], Iterable[int], str]]:
    """Yield (start offsets, end offsets, folded text) of each unit of a word, in order.

    A word has no whitespace. A unit of an ASCII word is the whole word. A unit of another word is a
    letter with its marks. Each character of the folded text has a start and an end offset in the
    original text. In an ASCII word they are those of the character itself. In another word all
    characters of a unit have the offsets of the unit. The folded text of an invisible unit is
    empty.

    Args:
        offset: Offset of the word in the original text.
    """
    if word.isascii():
        start_offsets = range(offset, offset + len(word))
        end_offsets = range(offset + 1, offset + len(word) + 1)
        yield start_offsets, end_offsets, word.lower().replace("`", "'")
        return

    cuts = [index for index, char in enumerate(word) if not index or not _joins_previous(char)]
    for start, end in pairwise([*cuts, len(word)]):
        unit = word[start:end]
        folded = _fold_unit(unit)
        visible_end = start + len(unit.rstrip(_PLACEHOLDER))
        char_count = len(folded)
        yield repeat(offset + start, char_count), repeat(offset + visible_end, char_count), folded


@lru_cache(maxsize=65_536)
def _joins_previous(char: str) -> bool:
    return unicodedata.category(char) in {"Mn", "Mc", "Me", "Cf"} or bool(
        INVISIBLE_LETTERS.match(char),
    )


@lru_cache(maxsize=65_536)
def _fold_unit(unit: str) -> str:
    """Return the folded form of a character with its marks, for comparisons.

    Invisible characters are dropped, lookalikes are replaced, and case is folded. Accents and other
    marks stay, as characters after the letter: the form is NFKD. For an accent without a letter,
    such as a single acute, the form is NFD, because NFKD would make a blank with an accent of it.
    The result has no blanks, and is empty if each character is invisible.
    """
    folded = _drop_invisible(unit)
    form: Literal["NFD", "NFKD"] = "NFKD"
    # NFKD would make a blank with a mark of a mark without a letter.
    if " " in unicodedata.normalize("NFKD", folded):
        form = "NFD"
    folded = unicodedata.normalize(form, folded.translate(_EQUIVALENTS)).casefold()
    folded = unicodedata.normalize(form, folded).casefold().translate(_EQUIVALENTS)
    return "".join(folded.split())
