"""Locate a quotation in a text: verbatim, but for white space and case, or nearly.

Whatever is found is a slice of the text, and the slice is the quotation from then on. What is like a quotation but has
another number, negation or name is not it. Looking takes a time that grows with the text, not with its square.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from rapidfuzz import fuzz
from rapidfuzz.distance import Indel

from pipeline.core.facts import difference
from pipeline.core.fold import Folded, has_letters, is_boundary

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

    @property
    def mark(self) -> float | None:
        """Return how like the quotation a slice is that was found by likeness alone; None for any other."""
        return None if self.how in {"", BY_LOOK} else self.likeness


class SearchableText:
    """A text, ready to be searched for many quotations; folded when that is needed first."""

    def __init__(self, text: str) -> None:
        """Keep the text."""
        self.text = text

    @cached_property
    def _text(self) -> Folded:
        return Folded(self.text)

    def locate(self, quote: str, *, names: Sequence[str] = ()) -> list[Location]:
        """Return where a quotation stands, in pieces where it leaves something out; nothing where a piece does not.

        Of several places it is the one nearest to one of the names, of those the first.
        """
        if not has_letters(quote):
            return []
        if found := self._verbatim(quote, names) or self._folded_alike(quote, names):
            return [found]
        pieces = _pieces(quote)
        if len(pieces) > MAX_PIECES:
            return []
        if len(pieces) > 1:
            each = [self.locate(piece, names=names) for piece in pieces]
            return [one for found in each for one in found] if all(each) else []
        found = self._likest(quote)
        return [found] if found and not difference(quote, self.text, found.start, found.end) else []

    def why_not(self, quote: str) -> str:
        """Return what a quotation that is not found has another one of than what is most like it: "number", …, ""."""
        for piece in _pieces(quote):
            if not self.locate(piece) and (found := self._likest(piece)):
                return difference(piece, self.text, found.start, found.end)
        return ""

    def spans(self, phrase: str) -> Iterator[tuple[int, int]]:
        """Yield the slices that are a phrase, in order, as words of their own; white space and case do not count."""
        for start, end in self._looks(Folded(phrase).text):
            if is_boundary(self.text, start) and is_boundary(self.text, end):
                yield start, end

    def _verbatim(self, quote: str, names: Sequence[str]) -> Location | None:
        """Return where a quotation stands as it is, without white space at its ends."""
        places = list(_places(self.text, quote))
        if not places:
            return None
        front, size = len(quote) - len(quote.lstrip()), len(quote.strip())
        spans = [(at + front, at + front + size) for at in places]
        return self._chosen(spans, names, "", must_be_whole=len(quote) < MIN_PART)

    def _folded_alike(self, quote: str, names: Sequence[str]) -> Location | None:
        """Return where a quotation stands but for its look; at last without the punctuation at its ends."""
        wanted = Folded(quote).text
        if spans := list(self._looks(wanted)):
            return self._chosen(spans, names, BY_LOOK, must_be_whole=len(wanted) < MIN_PART)
        return self._chosen(list(self._looks(_bare(wanted))), names, BY_LOOK, must_be_whole=True)

    def _looks(self, wanted: str) -> Iterator[tuple[int, int]]:
        """Yield the slices whose folded form is this one, in order."""
        for at in _places(self._text.text, wanted):
            yield self._text.real(at, at + len(wanted))

    def _likest(self, quote: str) -> Location | None:
        """Return the words that are most like a quotation, where they are like enough."""
        text, wanted = self._text.text, _bare(Folded(quote).text)
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
        begins, stops = self._text.real(start, end)
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
        if len(spans) > 1 and (marks := sorted(span for name in names for span in self.spans(name))):
            spans = [_nearest_to(spans, marks)]
        return Location(*spans[0], 1.0, how) if spans else None


def _pieces(quote: str) -> list[str]:
    """Return the parts of a quotation between which it leaves something out."""
    return [piece.strip() for piece in _LEFT_OUT.split(quote) if has_letters(piece)]


def _nearest_to(spans: Sequence[tuple[int, int]], marks: Sequence[tuple[int, int]]) -> tuple[int, int]:
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
