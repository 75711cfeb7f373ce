"""Locate a quotation in a text: verbatim, except for white space and case, or by likeness.

The result is a slice of the text, which replaces the quotation. The time grows linearly with the
length of the text.

A slice that is found by likeness differs from the quotation. It is rejected if they differ in a
number, a negation or a name, because it can mean something else. The words of both are aligned,
and only words that differ are examined. So a wrongly classified word does no harm if both have it.

- Numbers, number words and months are compared as they are written.
- A name is a word with a capital letter. In scripts without capitals every word can be a name.
- A name with a spelling mistake is another name.
"""

import re
import tomllib
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, cached_property, lru_cache
from itertools import chain, islice, pairwise, product, repeat, starmap
from pathlib import Path
from typing import Literal, NamedTuple

from rapidfuzz import fuzz
from rapidfuzz.distance import Indel, Levenshtein, MatchingBlock

from pipeline.core.text import INVISIBLE_LETTERS

# Minimum similarity (Indel) of a quotation and a slice that is found by likeness.
MIN_LIKENESS = 0.85
# Shorter quotations resemble too many texts to be found by likeness.
MIN_SIMILAR_CHARS = 16  # characters
# Three times the requested length. The time of the search grows with the square of the length.
MAX_SIMILAR_CHARS = 600  # characters
# A shorter quotation must be a whole word.
MIN_PART_CHARS = 3  # characters
# Pieces of a quotation with omissions.
MAX_PIECES = 8
# Maximum length of a slice found by likeness, as a multiple of the length of the quotation. White
# space counts.
MAX_LENGTH_FACTOR = 2
# An alignment can have less likeness than its whole words, because it is at most as long as the
# quotation. This is the maximum difference.
MAX_ALIGNMENT_LOSS = 0.1
# Words may begin and end at this distance from an alignment or a slice.
MAX_BOUNDARY_DISTANCE = 40  # characters
# Tried beginnings, and tried ends.
MAX_BOUNDARY_CANDIDATES = 6

_OMISSION = re.compile(r"[\[(]\s*+(?:\.{3,}+|\u2026)\s*+[\])]|\.{3,}+|\.(?:\s\.){2,}+|\u2026")

BY_SPACE_AND_CASE = "by white space and case"
NUMBER = "number"
NEGATION = "negation"
NAME = "name"
# Words with a higher similarity (Indel) are equal except for a spelling mistake.
MIN_WORD_LIKENESS = 0.8
# Minimum length of a word without its negative prefix or suffix.
MIN_STEM_CHARS = 3  # characters

_CHARACTER_KINDS = {
    **dict.fromkeys(".,:\u066b\u066c", "."),
    **dict.fromkeys("-'", None),
    # Signs that change the meaning of a number.
    **dict.fromkeys("<>\u2264\u2265\u2260\u00b1%\u2030", "s"),
}
# A pattern over character kinds: a number with its sign, a word or compound, a character of a
# script without blanks, or another sign.
_TOKEN = re.compile(r"(?:(?<![dlu])-)?d+(?:[.']d+)*|l+(?:['-]l+)*|u|s")
# At most two words of the same sentence, at the end or the beginning of a text.
_LAST_WORDS = re.compile(r"(?:[^\s.!?]+[^\S\n]+){0,2}$")
_FIRST_WORDS = re.compile(r"(?:[^\S\n]+[^\s.!?]+){0,2}")
_WORD_LISTS = {
    name: words.split()
    for name, words in tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8")).items()
}
_KIND_BY_WORD = {
    **dict.fromkeys((*_WORD_LISTS["numbers"], *_WORD_LISTS["months"]), NUMBER),
    **dict.fromkeys(_WORD_LISTS["negations"], NEGATION),
}


# ---- texts in a comparable form, with the offsets of the original text

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
# A longer word is cut.
MAX_WORD_CHARS = 40  # characters
_WORD = re.compile(r"\S+")
# Invisible letters do not match.
_LETTER = re.compile("[^\\W_\u115f\u1160\u3164\uffa0]")
# Scripts without blanks between words: Thai to Tibetan, Myanmar, Khmer, kana, ideographs.
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]",
)


# ---- mark-up that quotations leave out: HTML tags, and the `> ` before quoted lines

# Inside a word or a sentence. Superscript and subscript are missing: 10<sup>2</sup> without them
# is another number.
_INLINE_TAGS = "a abbr b big cite code del em font i ins kbd mark q s small span strike strong tt u"
_BLOCK_TAGS = (
    "blockquote br center div h1 h2 h3 h4 h5 h6 hr li ol p pre table tbody td th thead tr ul"
)
_ATTRIBUTES = r"""(?:\s+[A-Za-z-]+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>=]+))*\s*/?"""


def _tag_pattern(names: str) -> re.Pattern[str]:
    return re.compile(rf"</?(?:{names.replace(' ', '|')}){_ATTRIBUTES}>", re.IGNORECASE)


_INLINE_TAG = _tag_pattern(_INLINE_TAGS)
_BLOCK_TAG = _tag_pattern(_BLOCK_TAGS)
# Not before a number, because `> 5` can mean more than five.
_LINE_PREFIX = re.compile(
    r"^[^\S\n]*(?:>[^\S\n]*)+(?<=\s)(?![\s\d.,<>$\u20ac\u00a3\u00b1-])",
    re.MULTILINE,
)
# The word joiner, which is invisible. It replaces a tag inside a word.
_PLACEHOLDER = "\u2060"


def _hide_markup(text: str) -> str:
    """Return a text of the same length with invisible characters in the place of mark-up.

    Inline tags become placeholders. Block tags and line prefixes become blanks.
    """
    if "<" not in text and ">" not in text:
        return text
    text = _INLINE_TAG.sub(lambda tag: _PLACEHOLDER * len(tag[0]), text)
    text = _BLOCK_TAG.sub(lambda tag: " " * len(tag[0]), text)
    return _LINE_PREFIX.sub(lambda prefix: " " * len(prefix[0]), text)


class FoldedText:
    """A text with single blanks, without case, and with one form for equivalent characters.

    Folding changes lengths ("ß" becomes "ss", "İ" two characters, "…" three). So each folded
    character has the offsets of the code points that it was made from. A letter and its marks have
    the same offsets.
    """

    def __init__(self, text: str) -> None:
        pieces = list[str]()
        self._start_offsets = array("L")
        self._end_offsets = array("L")
        for word in _WORD.finditer(_hide_markup(text)):
            units = [unit for unit in _fold_word(word[0], word.start()) if unit[2]]
            if not units:
                continue
            # A line break inside Chinese or Thai separates no words.
            if pieces and not (is_unspaced(pieces[-1][-1]) and is_unspaced(units[0][2][0])):
                units.insert(0, ([word.start()], [word.start()], " "))
            for start_offsets, end_offsets, folded in units:
                pieces.append(folded)
                self._start_offsets.extend(start_offsets)
                self._end_offsets.extend(end_offsets)
        self.text = "".join(pieces)

    def original_span(self, start: int, end: int) -> tuple[int, int]:
        """Return the offsets in the original text of a slice of the folded text.

        The slice is not empty and has no blanks at its ends.
        """
        return self._start_offsets[start], self._end_offsets[end - 1]


def is_boundary(text: str, offset: int) -> bool:
    """Return whether a word can begin or end at an offset.

    Both ends of the text are boundaries. A letter and its marks are never separated.
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


def visible_text(text: str) -> str:
    """Return the visible characters of a text with one form for equivalents, case and blanks."""
    visible_text = _drop_invisible(text).translate(_EQUIVALENTS)
    return unicodedata.normalize("NFKC", visible_text).translate(_EQUIVALENTS)


def _drop_invisible(text: str) -> str:
    return "".join(
        char
        for char in text
        if unicodedata.category(char) != "Cf" and not INVISIBLE_LETTERS.match(char)
    )


def _has_letters(text: str) -> bool:
    return _LETTER.search(text) is not None


def _is_outside_words(char: str) -> bool:
    return not char.isalnum() and unicodedata.category(char)[0] != "M"


def _fold_word(word: str, offset: int) -> Iterator[tuple[Iterable[int], Iterable[int], str]]:
    """Yield the units of a word that fold together, as (start offsets, end offsets, folded text).

    Both are offsets in the original text, for each folded character. `offset` is the
    offset of the word.
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
    """Return a character with its marks in its folded form, without blanks."""
    folded = _drop_invisible(unit)
    form: Literal["NFD", "NFKD"] = "NFKD"
    # NFKD would make a blank with a mark of a mark without a letter.
    if " " in unicodedata.normalize("NFKD", folded):
        form = "NFD"
    folded = unicodedata.normalize(form, folded.translate(_EQUIVALENTS)).casefold()
    folded = unicodedata.normalize(form, folded).casefold().translate(_EQUIVALENTS)
    return "".join(folded.split())


def context_of(text: str, start: int, end: int, *, max_chars: int) -> str:
    """Return at most `max_chars` characters around text[start:end], whole words if possible.

    If text[start:end] is longer, return its beginning.
    """
    spare = max_chars - (end - start)
    if spare <= 0:
        return _shorten_to_word(
            text,
            start,
            start + max_chars,
            min_end=start + max_chars - MAX_WORD_CHARS,
        )

    context_start = max(start - max(spare // 2, spare - (len(text) - end)), 0)
    while context_start < start and not is_boundary(text, context_start):
        context_start += 1
    context_end = min(context_start + max_chars, len(text))
    return _shorten_to_word(text, context_start, context_end, min_end=end).strip()


def _shorten_to_word(text: str, start: int, end: int, *, min_end: int) -> str:
    """Return text[start:end], shortened to the end of a word if one is at or after `min_end`."""
    word_end = end
    while word_end > min_end and not is_boundary(text, word_end):
        word_end -= 1
    if is_boundary(text, word_end):
        return text[start:word_end]
    return text[start:end]


def cut_part(text: str, start: int, end: int) -> tuple[str, int]:
    """Return text[start:end] with ellipses, and the number to add to offsets in `text`.

    The offsets may exceed the text.
    """
    start = max(0, start)
    end = min(len(text), end)
    prefix = "… " if start else ""
    suffix = " …" if end < len(text) else ""
    return f"{prefix}{text[start:end]}{suffix}", len(prefix) - start


# ---- locations of quotations


class Location(NamedTuple):
    """A slice text[start:end] that matches a quotation."""

    start: int
    end: int
    # 1 if the slice differs from the quotation in white space, case and punctuation only.
    likeness: float
    # "", BY_LOOK, or for example "by likeness 0.93".
    how: str

    @property
    def mark(self) -> float | None:
        """The likeness if the slice was found by likeness, else None."""
        return None if self.likeness == 1 else self.likeness


class SearchableText:
    """A text in which many quotations are searched. It is folded on first use."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def _plain_text(self) -> str:
        """The text without mark-up, of the same length."""
        return _hide_markup(self.text)

    @cached_property
    def _folded(self) -> FoldedText:
        return FoldedText(self.text)

    def locate(self, quote: str, *, occurrence: int = 0) -> list[Location]:
        """Return the location of a quotation, or a location for each piece between omissions.

        Returns an empty list if the quotation or a piece is not found, or if it has no letters.

        Args:
            quote: The quotation as the model wrote it.
            occurrence: Index of the occurrence to return. The last occurrence is returned if there
                are fewer.
        """
        if not _has_letters(quote):
            return []
        exact_location = self._find_exact(quote, occurrence=occurrence)
        if exact_location is not None:
            return [exact_location]

        pieces = _split_at_omissions(quote)
        if len(pieces) > MAX_PIECES:
            return []
        if len(pieces) > 1:
            locations_by_piece = [self.locate(piece) for piece in pieces]
            has_all_pieces = all(locations_by_piece)
            return list(chain.from_iterable(locations_by_piece)) if has_all_pieces else []

        similar_location = self._find_similar(quote)
        if similar_location is None or self._difference_at(quote, similar_location):
            return []
        return [similar_location]

    def why_not(self, quote: str) -> str:
        """Return the difference of a missing quotation from the most similar slice.

        Returns:
            NUMBER, NEGATION or NAME; "" if there is no such difference or no similar slice.
        """
        for piece in _split_at_omissions(quote):
            if not self.locate(piece):
                similar_location = self._find_similar(piece)
                if similar_location is not None:
                    return self._difference_at(piece, similar_location)
        return ""

    def spans(self, phrase: str) -> Iterator[tuple[int, int]]:
        """Yield the (start, end) of a phrase, as whole words, ignoring white space and case."""
        for start, end in self._find_folded(FoldedText(phrase).text):
            if is_boundary(self.text, start) and is_boundary(self.text, end):
                yield start, end

    def _difference_at(self, quote: str, location: Location) -> str:
        return _difference(quote, self._plain_text, location.start, location.end)

    def _find_exact(self, quote: str, *, occurrence: int) -> Location | None:
        """Return a verbatim location, else by look, else by look without outer punctuation."""
        stripped_quote = quote.strip()
        folded_quote = FoldedText(quote).text
        verbatim_spans = (
            (start, start + len(stripped_quote)) for start in _find_all(self.text, stripped_quote)
        )
        return (
            self._choose_occurrence(
                verbatim_spans,
                "",
                occurrence,
                must_be_whole=len(quote) < MIN_PART_CHARS,
            )
            or self._choose_occurrence(
                self._find_folded(folded_quote),
                BY_SPACE_AND_CASE,
                occurrence,
                must_be_whole=len(folded_quote) < MIN_PART_CHARS,
            )
            or self._choose_occurrence(
                self._find_folded(_strip_punctuation(folded_quote)),
                BY_SPACE_AND_CASE,
                occurrence,
                must_be_whole=True,
            )
        )

    def _find_folded(self, phrase: str) -> Iterator[tuple[int, int]]:
        """Yield the spans in the original text of a folded phrase."""
        for start in _find_all(self._folded.text, phrase):
            yield self._folded.original_span(start, start + len(phrase))

    def _find_similar(self, quote: str) -> Location | None:
        """Return the words with the highest likeness to a quotation, if it is at least LIKENESS."""
        text = self._folded.text
        phrase = _strip_punctuation(FoldedText(quote).text)
        if not MIN_SIMILAR_CHARS <= len(phrase) <= MAX_SIMILAR_CHARS:
            return None
        if len(phrase) > len(text):
            return self._match_whole_text(phrase)

        min_score = 100 * (MIN_LIKENESS - MAX_ALIGNMENT_LOSS)
        alignment = fuzz.partial_ratio_alignment(phrase, text, score_cutoff=min_score)
        if alignment is None:
            return None

        start_offsets = _word_boundaries(text, alignment.dest_start, 0)
        end_offsets = _word_boundaries(text, alignment.dest_end, 1)
        candidates = (
            (Indel.normalized_similarity(phrase, text[start:end]), start, end)
            for start, end in product(start_offsets, end_offsets)
            if start < end
        )
        likeness, folded_start, folded_end = max(candidates, default=(0.0, 0, 0))
        if likeness < MIN_LIKENESS:
            return None
        start, end = self._folded.original_span(folded_start, folded_end)
        if end - start > MAX_LENGTH_FACTOR * len(quote):
            return None
        return _similar_location(start, end, likeness)

    def _match_whole_text(self, phrase: str) -> Location | None:
        """Return the span of the whole text if the quotation resembles it by LIKENESS or more.

        The quotation is folded and longer than the text. Punctuation at the ends of the text is
        left out.
        """
        text = self._folded.text
        stripped_text = _strip_punctuation(text)
        likeness = Indel.normalized_similarity(phrase, stripped_text)
        if not stripped_text or likeness < MIN_LIKENESS:
            return None

        folded_start = text.index(stripped_text)
        start, end = self._folded.original_span(folded_start, folded_start + len(stripped_text))
        return _similar_location(start, end, likeness)

    def _choose_occurrence(
        self,
        spans: Iterable[tuple[int, int]],
        method: str,
        occurrence: int,
        *,
        must_be_whole: bool,
    ) -> Location | None:
        """Return an occurrence among spans of whole words, else among all spans.

        The last span is returned if there are fewer. `must_be_whole` excludes parts of words.
        """
        all_spans = list(spans)
        whole_spans = [
            (start, end)
            for start, end in all_spans
            if is_boundary(self.text, start) and is_boundary(self.text, end)
        ]
        candidates = all_spans
        if whole_spans or must_be_whole:
            candidates = whole_spans
        if not candidates:
            return None
        start, end = candidates[min(occurrence, len(candidates) - 1)]
        return Location(start, end, 1.0, method)


def _similar_location(start: int, end: int, likeness: float) -> Location:
    """Return a location found by likeness, with the likeness rounded down to two digits."""
    rounded = int(likeness * 100) / 100
    return Location(start, end, rounded, f"by likeness {rounded:.2f}")


def _split_at_omissions(quote: str) -> list[str]:
    return [piece.strip() for piece in _OMISSION.split(quote) if _has_letters(piece)]


def _find_all(text: str, phrase: str) -> Iterator[int]:
    """Yield the offsets of a phrase, without overlaps; nothing for an empty phrase."""
    offset = text.find(phrase) if phrase else -1
    while offset >= 0:
        yield offset
        offset = text.find(phrase, offset + len(phrase))


def _word_boundaries(text: str, offset: int, side: int) -> list[int]:
    """Return offsets of word beginnings (side 0) or ends (side 1), nearest first.

    There are at most NEAREST. They are at most REACH characters from `offset`.
    """
    min_offset = max(offset - MAX_BOUNDARY_DISTANCE, side)
    max_offset = min(offset + MAX_BOUNDARY_DISTANCE, len(text) - 1 + side)
    nearby = sorted(
        range(min_offset, max_offset + 1),
        key=lambda candidate: abs(candidate - offset),
    )
    boundaries = (
        candidate
        for candidate in nearby
        if _has_letters(text[candidate - side]) and is_boundary(text, candidate)
    )
    return list(islice(boundaries, MAX_BOUNDARY_CANDIDATES))


def _strip_punctuation(text: str) -> str:
    """Return a text without outer characters that are no letters, digits or their marks."""
    start = 0
    end = len(text)
    while start < end and not _has_letters(text[start]):
        start += 1
    while end > start and not _has_letters(text[end - 1]) and is_boundary(text, end - 1):
        end -= 1
    return text[start:end]


class _Word(NamedTuple):
    """A word or number of a text. Parts of a compound have the offsets of the compound."""

    # The form that is compared.
    form: str
    # NUMBER, NEGATION, NAME or "".
    kind: str
    start: int
    end: int


def _difference(quote: str, text: str, start: int, end: int) -> str:
    """Return the most important difference of a quotation from the slice text[start:end].

    Returns:
        NEGATION, NUMBER, NAME, or "" if they differ in none of them.
    """
    before = visible_text(text[max(0, start - MAX_BOUNDARY_DISTANCE) : start])
    slice_ = visible_text(text[start:end])
    surroundings = before + slice_ + visible_text(text[end : end + MAX_BOUNDARY_DISTANCE])
    visible_quote = visible_text(_hide_markup(quote))
    # Capitals mean nothing in a quotation in capitals, unless the text is in capitals, too.
    if quote.isupper() and not slice_.isupper():
        visible_quote = visible_quote.lower()
    quote_words = list(_split_words(visible_quote))
    nearby_words = list(_split_words(surroundings))

    slice_start = len(before)
    slice_end = len(before) + len(slice_)
    slice_words = _words_within(nearby_words, slice_start, slice_end)
    blocks = _matching_blocks(quote_words, slice_words)[:-1]
    if blocks:
        # The slice can begin or end inside a word. If it lacks words at the ends of the quotation,
        # compare them with the words next to the slice.
        slice_start = min(slice_start, slice_words[0].start)
        slice_end = max(slice_end, slice_words[-1].end)
        first_block = blocks[0]
        last_block = blocks[-1]
        if first_block.a > first_block.b:
            slice_start -= len(_LAST_WORDS.findall(surroundings[:slice_start])[0])
        if len(quote_words) - last_block.a > len(slice_words) - last_block.b:
            slice_end += len(_FIRST_WORDS.findall(surroundings[slice_end:])[0])
        slice_words = _words_within(nearby_words, slice_start, slice_end)

    differences: set[str] = set()
    for quote_part, slice_part in _differing_parts(quote_words, slice_words):
        differences.update(_kinds_of_difference(quote_part, slice_part))
    return next((kind for kind in (NEGATION, NUMBER, NAME) if kind in differences), "")


def _words_within(words: Sequence[_Word], start: int, end: int) -> list[_Word]:
    """Return the words of which at least a part is in [start, end)."""
    return [word for word in words if word.end > start and word.start < end]


def _split_words(text: str) -> Iterator[_Word]:
    """Yield the words and numbers of a visible text, and the parts of compounds separately."""
    kinds = "".join(map(_character_kind, text))
    for match in _TOKEN.finditer(kinds):
        token = text[slice(*match.span())]
        if kinds[match.start()] in "d-s":
            yield _Word(token, NUMBER, *match.span())
            continue
        for part in token.split("-"):
            form = unicodedata.normalize("NFKC", part.casefold())
            # Contractions such as "isn't" and "n'est".
            if form.endswith("n't") or form.startswith("n'"):
                yield _Word(form, NEGATION, *match.span())
                continue
            is_name = part.lower() == part.upper() or part != part.lower()
            kind = _KIND_BY_WORD.get(form) or (NAME if is_name else "")
            yield _Word(form.removesuffix("'s"), kind, *match.span())


@cache
def _character_kind(char: str) -> str:
    """Return the kind of a character for _TOKEN.

    "d" is a digit, "l" a letter, "u" a letter of a script without blanks, "s" a sign of numbers,
    "." a separator of digits, " " any other character. Hyphen and apostrophe are themselves.
    """
    if char.isdecimal():
        return "d"
    category = unicodedata.category(char)
    if category[0] in "LMN":
        return "u" if is_unspaced(char) else "l"
    if category == "Sc":
        return "s"
    return _CHARACTER_KINDS.get(char, " ") or char


def _matching_blocks(
    quote_words: Sequence[_Word],
    text_words: Sequence[_Word],
) -> list[MatchingBlock]:
    quote_forms = [word.form for word in quote_words]
    text_forms = [word.form for word in text_words]
    return Levenshtein.opcodes(quote_forms, text_forms).as_matching_blocks()


def _differing_parts(
    quote_words: Sequence[_Word],
    text_words: Sequence[_Word],
) -> Iterator[tuple[Sequence[_Word], Sequence[_Word]]]:
    """Yield the parts in which a quotation and a text differ, between the words they share."""
    quote_index = 0
    text_index = 0
    for block in _matching_blocks(quote_words, text_words):
        if (quote_index, text_index) != (block.a, block.b):
            yield quote_words[quote_index : block.a], text_words[text_index : block.b]
        quote_index = block.a + block.size
        text_index = block.b + block.size


def _kinds_of_difference(
    quote_words: Sequence[_Word],
    text_words: Sequence[_Word],
) -> Iterator[str]:
    """Yield NUMBER, NEGATION and NAME if two differing parts disagree in these."""
    quote_numbers = _forms_of_kind(quote_words, NUMBER)
    text_numbers = _forms_of_kind(text_words, NUMBER)
    quote_letters = "".join(word.form for word in quote_words)
    text_letters = "".join(word.form for word in text_words)
    # The parts differ in blanks only.
    if not quote_numbers and not text_numbers and quote_letters == text_letters:
        return

    if quote_numbers != text_numbers:
        yield NUMBER
    negation_counts = {len(_forms_of_kind(words, NEGATION)) for words in (quote_words, text_words)}
    word_pairs = product([word.form for word in quote_words], [word.form for word in text_words])
    if len(negation_counts) > 1 or any(starmap(_is_negated, word_pairs)):
        yield NEGATION
    if _forms_of_kind(quote_words, NAME) != _forms_of_kind(text_words, NAME):
        yield NAME


def _forms_of_kind(words: Sequence[_Word], kind: str) -> list[str]:
    return [word.form for word in words if word.kind == kind]


def _is_negated(first_word: str, second_word: str) -> bool:
    """Return whether a word resembles the other word with a negative prefix or suffix."""
    min_likeness = max(Indel.normalized_similarity(first_word, second_word), MIN_WORD_LIKENESS)
    for negated, positive in ((first_word, second_word), (second_word, first_word)):
        stems = [
            negated.removeprefix(prefix)
            for prefix in _WORD_LISTS["negative_prefixes"]
            if negated.startswith(prefix)
        ]
        stems += [
            negated.removesuffix(suffix)
            for suffix in _WORD_LISTS["negative_suffixes"]
            if negated.endswith(suffix)
        ]
        long_stems = [stem for stem in stems if len(stem) >= MIN_STEM_CHARS]
        plain_stems = {
            positive,
            *(positive.removesuffix(suffix) for suffix in _WORD_LISTS["positive_suffixes"]),
        }
        for stem, plain_stem in product(long_stems, plain_stems):
            if Indel.normalized_similarity(stem, plain_stem) > min_likeness:
                return True
    return False
