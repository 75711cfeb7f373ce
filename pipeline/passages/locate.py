"""Where a quotation stands in a passage: verbatim, but for white space and case, or nearly.

Whatever is found is a slice of the passage, and the slice is the quotation from then on: what the model wrote is only
what to look for. Looking takes a time that grows with the passage, not with its square.

A text made comparable, with an exact way back: white space, case, dashes, quotation marks, Unicode forms told alike.

Where a quotation was copied with other line ends, capitals, ligatures or soft hyphens, its folded form still stands in
the folded text. Folding changes lengths ("ß" is "ss", "İ" is two characters, "…" is three), so each folded character
knows which code points of the text it was made from; those that belong together (a letter and its marks) stay together.
"""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Literal, NamedTuple

from rapidfuzz import fuzz
from rapidfuzz.distance import Indel

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
_WORD = re.compile(r"\S+")
_ASCII = str.maketrans("`", "'")
_LETTER = re.compile("[^\\W_\u115f\u1160\u3164\uffa0]")  # without the letters that show nothing
# scripts that put no blank between words: Thai to Tibetan, Myanmar, Khmer, kana, ideographs
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


class Folded:
    """A folded text: single blanks, no case, one form for each character; `real` leads back to the text.

    A stretch that folds character by character is one segment, and so is a letter with its marks: its start in the
    folded text, its start and end in the text, and whether it is such a stretch.
    """

    def __init__(self, text: str) -> None:
        """Fold a text, in a time that grows with its length."""
        self.source = text
        self._at: list[int] = [0]
        self._segments: list[tuple[int, int, bool]] = [(0, 0, True)]
        joined = " ".join(text.split()) if text.isascii() else ""
        self.text = joined.lower().translate(_ASCII) if len(joined) == len(text) else self._fold()

    def _fold(self) -> str:
        """Return the folded text and note its segments; blanks have none, for nothing begins or ends there."""
        pieces: list[str] = []
        size = 0
        for word in _WORD.finditer(self.source):
            spaced = bool(size)
            for start, end, plain, folded in _units(word[0], word.start()):
                if not folded:
                    continue
                if spaced:
                    pieces.append(" ")
                    size += 1
                    spaced = False
                self._at.append(size)
                self._segments.append((start, end, plain))
                pieces.append(folded)
                size += len(folded)
        return "".join(pieces)

    def real(self, start: int, end: int) -> tuple[int, int]:
        """Return where text[start:end] of the folded text, not empty and without blanks at its ends, was made from."""
        first = bisect_right(self._at, start) - 1
        last = bisect_right(self._at, end - 1) - 1
        begins, _, plain = self._segments[first]
        if plain:
            begins += start - self._at[first]
        ends = self._segments[last][1]
        if self._segments[last][2]:
            ends = self._segments[last][0] + end - self._at[last]
        return begins, ends


def is_boundary(text: str, at: int) -> bool:
    """Return whether a word may begin or end between these two characters; never between a letter and its marks."""
    if at in {0, len(text)}:
        return True
    before, after = text[at - 1], text[at]
    if unicodedata.category(after)[0] == "M" or _in_no_word(after) != _in_no_word(before):
        return unicodedata.category(after)[0] != "M"
    return _in_no_word(before) or bool(_UNSPACED.match(before) or _UNSPACED.match(after))


def has_letters(text: str) -> bool:
    """Return whether there is a letter or a digit that shows in a text."""
    return _LETTER.search(text) is not None


def _in_no_word(char: str) -> bool:
    """Return whether a character is neither a letter nor a digit nor the mark of one."""
    return not char.isalnum() and unicodedata.category(char)[0] != "M"


def _units(word: str, offset: int) -> "list[tuple[int, int, bool, str]]":
    """Return start, end, whether it folds character by character, and the folded form of each unit of a word."""
    if word.isascii():
        return [(offset, offset + len(word), True, word.lower().translate(_ASCII))]
    starts = [at for at, char in enumerate(word) if not at or not _joins(char)]
    ends = [*starts[1:], len(word)]
    return [
        (offset + start, offset + end, False, _folded(word[start:end])) for start, end in zip(starts, ends, strict=True)
    ]


@lru_cache(maxsize=65_536)
def _joins(char: str) -> bool:
    """Return whether a character belongs to the one before it: a mark, or what shows nothing."""
    return unicodedata.category(char) in {"Mn", "Mc", "Me", "Cf"} or bool(BLANK.match(char))


@lru_cache(maxsize=65_536)
def _folded(unit: str) -> str:
    """Return the folded form of a letter with its marks; empty where nothing of it shows."""
    shown = "".join(char for char in unit if unicodedata.category(char) != "Cf" and not BLANK.match(char))
    form: Literal["NFD", "NFKD"] = "NFKD"
    if " " in unicodedata.normalize("NFKD", shown):  # a mark that stands alone would become a blank with a mark
        form = "NFD"
    shown = unicodedata.normalize(form, shown.translate(_SAME)).casefold()
    shown = unicodedata.normalize(form, shown).casefold().translate(_SAME)
    return "".join(shown.split())


LIKENESS = 0.85  # share of characters in common (Indel) from which on two texts are one quotation
MIN_LIKE = 16  # characters; shorter ones are too like too much to be found by likeness
MAX_LIKE = 600  # characters; three times what is asked for, and the time to look grows with the square of it
MIN_PART = 3  # characters; what is shorter must be a word of its own
MAX_PIECES = 8  # of a quotation that leaves things out
MAX_STRETCH = 2  # times as long as the quotation is what is found by likeness at most, its white space counted
SLACK = 0.1  # an alignment is as long as the quotation at most; the words of it that are left can be so much liker
REACH = 40  # folded characters round an alignment within which its words may begin and end
NEAREST = 6  # beginnings, and ends, that are tried
BY_LOOK = "by white space and case"

_LEFT_OUT = re.compile(r"[\[(]\s*+(?:\.{3,}+|\u2026)\s*+[\])]|\.{3,}+|\.(?:\s\.){2,}+|\u2026")


class Location(NamedTuple):
    """A slice text[start:end], and how like the quotation it is: 1 where it differs in nothing but its look."""

    start: int
    end: int
    likeness: float
    how: str  # "", "by white space and case", "by likeness 0.93"


class SearchableText:
    """The text of a passage, ready to be searched for many quotations; folded when that is needed first."""

    def __init__(self, text: str) -> None:
        """Keep the text; nothing is worked out yet."""
        self.text = text
        self._folded: Folded | None = None

    @property
    def folded(self) -> Folded:
        """Return the folded text."""
        if self._folded is None:
            self._folded = Folded(self.text)
        return self._folded

    def locate(self, quote: str, *, names: Sequence[str] = ()) -> list[Location]:
        """Return where a quotation stands, in pieces where it leaves something out; nothing where a piece does not.

        Of several places it is the one nearest to one of the names, of those the first.
        """
        if not has_letters(quote):
            return []
        if found := self._verbatim(quote, names) or self._folded_alike(quote, names):
            return [found]
        pieces = [piece.strip() for piece in _LEFT_OUT.split(quote) if has_letters(piece)]
        if len(pieces) > MAX_PIECES:
            return []
        if len(pieces) > 1:
            each = [self.locate(piece, names=names) for piece in pieces]
            return [one for found in each for one in found] if all(each) else []
        found = self._likest(quote)
        return [found] if found else []

    def spans(self, phrase: str) -> Iterator[tuple[int, int]]:
        """Yield the slices that are a phrase, in order, as words of their own; white space and case do not count."""
        for start, end in self._looks(Folded(phrase).text):
            if is_boundary(self.text, start) and is_boundary(self.text, end):
                yield start, end

    def _verbatim(self, quote: str, names: Sequence[str]) -> Location | None:
        """Return where a quotation stands as it is; white space at its ends is left out."""
        places = list(_places(self.text, quote))
        if not places:
            return None
        front = len(quote) - len(quote.lstrip())
        size = len(quote.strip())
        spans = [(at + front, at + front + size) for at in places]
        return self._chosen(spans, names, "", must_be_whole=len(quote) < MIN_PART)

    def _folded_alike(self, quote: str, names: Sequence[str]) -> Location | None:
        """Return where a quotation stands but for its look; at last without the punctuation at its ends."""
        wanted = Folded(quote).text
        bare = _bare(wanted)
        spans = list(self._looks(wanted))
        short = len(wanted) < MIN_PART
        if not spans and bare != wanted:
            spans = list(self._looks(bare))
            short = True
        return self._chosen(spans, names, BY_LOOK, must_be_whole=short)

    def _looks(self, wanted: str) -> Iterator[tuple[int, int]]:
        """Yield the slices whose folded form is this one, in order."""
        for at in _places(self.folded.text, wanted):
            yield self.folded.real(at, at + len(wanted))

    def _likest(self, quote: str) -> Location | None:
        """Return the words that are most like a quotation, where they are like enough."""
        text, wanted = self.folded.text, _bare(Folded(quote).text)
        if not MIN_LIKE <= len(wanted) <= min(MAX_LIKE, len(text)):
            return None
        around = fuzz.partial_ratio_alignment(wanted, text, score_cutoff=100 * (LIKENESS - SLACK))
        if around is None:
            return None
        ends = list(_boundaries(text, around.dest_end, 1))
        spans = [(start, end) for start in _boundaries(text, around.dest_start, 0) for end in ends if start < end]
        likeness, start, end = max(
            ((Indel.normalized_similarity(wanted, text[start:end]), start, end) for start, end in spans),
            default=(0.0, 0, 0),
        )
        if likeness < LIKENESS:
            return None
        begins, stops = self.folded.real(start, end)
        if stops - begins > MAX_STRETCH * len(quote):
            return None
        told = int(likeness * 100) / 100
        return Location(begins, stops, told, f"by likeness {told:.2f}")

    def _chosen(
        self, spans: list[tuple[int, int]], names: Sequence[str], how: str, *, must_be_whole: bool
    ) -> Location | None:
        """Return the one of some slices that is best: whole words first, then near a name, then the first."""
        if len(spans) > 1 or must_be_whole:
            whole = [one for one in spans if is_boundary(self.text, one[0]) and is_boundary(self.text, one[1])]
            spans = whole or ([] if must_be_whole else spans)
        if len(spans) > 1:
            spans = [self._nearest(spans, names)]
        return Location(*spans[0], 1.0, how) if spans else None

    def _nearest(self, spans: list[tuple[int, int]], names: Sequence[str]) -> tuple[int, int]:
        """Return the slice that is nearest to a place of one of the names."""
        marks = sorted(span for name in names for span in self.spans(name))
        return nearest_passage(spans, marks) if marks else spans[0]


def locate_quote(text: str, quote: str, *, names: Sequence[str] = ()) -> list[Location]:
    """Return where a quotation stands in a text; see `Passage.locate`."""
    return SearchableText(text).locate(quote, names=names)


def nearest_passage(spans: Sequence[tuple[int, int]], marks: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the first of the spans with the least distance to one of the marks, which stand in order."""
    starts = [start for start, _ in marks]

    def distance(span: tuple[int, int]) -> int:
        after = bisect_left(starts, span[0])
        return min(max(one[0] - span[1], span[0] - one[1], 0) for one in marks[max(after - 1, 0) : after + 1])

    return min(spans, key=distance)


def _places(text: str, wanted: str) -> Iterator[int]:
    """Yield where a text holds another, without those that overlap one before."""
    at = text.find(wanted) if wanted else -1
    while at >= 0:
        yield at
        at = text.find(wanted, at + len(wanted))


def _boundaries(text: str, near: int, side: int) -> Iterator[int]:
    """Yield the nearest places where a word begins (side 0) or ends (side 1), six at most."""
    least, most = max(near - REACH, side), min(near + REACH, len(text) - 1 + side)
    around = sorted(range(least, most + 1), key=lambda at: abs(at - near))
    return islice((at for at in around if has_letters(text[at - side]) and is_boundary(text, at)), NEAREST)


def _bare(text: str) -> str:
    """Return a text without what is neither letter nor digit, nor the mark of one, at its ends."""
    start, end = 0, len(text)
    while start < end and not has_letters(text[start]):
        start += 1
    while end > start and not has_letters(text[end - 1]) and is_boundary(text, end - 1):
        end -= 1
    return text[start:end]
