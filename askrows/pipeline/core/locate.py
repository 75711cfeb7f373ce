"""Locate a quotation in a text: verbatim, except for white space and case, or by likeness.

The result is a slice of the text, which replaces the quotation. The time grows linearly with the
length of the text.

A slice that is found by likeness differs from the quotation. It is rejected if they differ in a
number, a negation or a name, because it can mean something else. The words of both are aligned,
and only words that differ are examined. So a wrongly classified word does no harm if both have it.

- Numbers, number words and months are compared as they are written.
- A name is a word with a capital letter. In scripts without capitals every word can be a name.
- A name with a spelling mistake is another name.

A quotation with an omission ("…") is one slice, too: the omitted words must be few enough for the
likeness, and among them is no number, negation or name.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice, product
from typing import NamedTuple

from rapidfuzz import fuzz
from rapidfuzz.distance import Indel

from askrows.pipeline.core.differences import find_meaning_difference
from askrows.pipeline.core.folding import (
    MAX_BOUNDARY_DISTANCE,
    FoldedText,
    is_word_boundary,
    replace_markup_by_invisible,
)

# Minimum similarity (Indel) of a quotation and a slice that is found by likeness.
MIN_LIKENESS = 0.85
# Shorter quotations resemble too many texts to be found by likeness.
MIN_SIMILAR_CHARS = 16  # characters
# Three times the requested length. The time of the search grows with the square of the length.
MAX_SIMILAR_CHARS = 600  # characters
# A shorter quotation must be a whole word.
MIN_PART_CHARS = 3  # characters
# Maximum length of a slice found by likeness, as a multiple of the length of the quotation. White
# space counts.
MAX_LENGTH_FACTOR = 2
# An alignment can have less likeness than its whole words, because it is at most as long as the
# quotation. This is the maximum difference.
MAX_ALIGNMENT_LOSS = 0.1
# Tried beginnings, and tried ends.
MAX_BOUNDARY_CANDIDATES = 6

BY_SPACE_AND_CASE = "by white space and case"

# A longer word is cut.
MAX_WORD_CHARS = 40  # characters
# Invisible letters do not match.
_LETTER = re.compile("[^\\W_\u115f\u1160\u3164\uffa0]")


def _has_letters(text: str) -> bool:
    return _LETTER.search(text) is not None


def cut_context_at_words(text: str, start: int, end: int, *, max_chars: int) -> str:
    """Return at most `max_chars` characters around text[start:end], whole words if possible.

    The spare characters are divided between both sides; if the text is too short on one side, the
    other side gets more. White space at the ends is removed. If text[start:end] has more than
    `max_chars`, only its beginning is returned.
    """
    spare = max_chars - (end - start)
    if spare <= 0:
        return _shorten_to_word(
            text,
            start,
            start + max_chars,
            min_end=start + max_chars - MAX_WORD_CHARS,
        )

    chars_after = len(text) - end
    chars_before = max(spare // 2, spare - chars_after)
    context_start = max(start - chars_before, 0)
    while context_start < start and not is_word_boundary(text, context_start):
        context_start += 1
    context_end = min(context_start + max_chars, len(text))
    return _shorten_to_word(text, context_start, context_end, min_end=end).strip()


def _shorten_to_word(text: str, start: int, end: int, *, min_end: int) -> str:
    """Return text[start:end], shortened to the last end of a word from `min_end` to `end`.

    All three numbers are offsets in `text`, and the word may end at `min_end` or `end` itself. If
    there is no such end of a word, text[start:end] is returned unchanged.
    """
    word_end = end
    while word_end > min_end and not is_word_boundary(text, word_end):
        word_end -= 1
    if is_word_boundary(text, word_end):
        return text[start:word_end]
    return text[start:end]


def cut_with_ellipses(text: str, start: int, end: int) -> tuple[str, int]:
    """Return text[start:end] with ellipses, and the number to add to offsets in `text`.

    The text may be cut within a word. An ellipsis is added only on a side with more text. Offsets
    outside the text are moved to its ends.
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
    # "", BY_SPACE_AND_CASE, or for example "by likeness 0.93".
    method: str

    @property
    def noted_likeness(self) -> float | None:
        """The likeness if the slice was found by likeness, else None."""
        return None if self.likeness == 1 else self.likeness


class SearchableText:
    """A text in which many quotations are searched. It is folded on first use."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def _plain_text(self) -> str:
        """The text without mark-up, of the same length."""
        return replace_markup_by_invisible(self.text)

    @cached_property
    def _folded(self) -> FoldedText:
        return FoldedText(self.text)

    def locate(self, quote: str, *, occurrence: int = 0) -> Location | None:
        """Return where a quotation is in the text, or None if it is not found or has no letters.

        White space, case, equivalent characters (such as different quotation marks) and punctuation
        at its ends may differ. If it is not found, the most similar slice is searched; it is
        rejected if it differs in a number, a negation or a name.

        Args:
            quote: The quotation as the model wrote it.
            occurrence: Index of the occurrence to return, if the quotation is in the text more than
                once. The last occurrence is returned if there are fewer.
        """
        if not _has_letters(quote):
            return None
        exact_location = self._find_exact(quote, occurrence=occurrence)
        if exact_location is not None:
            return exact_location

        similar_location = self._find_similar(quote)
        if similar_location is None or self._difference_at(quote, similar_location):
            return None
        return similar_location

    def find_difference(self, quote: str) -> str:
        """Return the difference of a missing quotation from the most similar slice.

        Returns:
            NUMBER, NEGATION or NAME; "" if there is no such difference or no similar slice.
        """
        similar_location = self._find_similar(quote)
        return self._difference_at(quote, similar_location) if similar_location else ""

    def find_spans(self, phrase: str) -> Iterator[tuple[int, int]]:
        """Yield the (start, end) of a phrase, as whole words, ignoring white space and case."""
        for start, end in self._find_folded(FoldedText(phrase).text):
            if is_word_boundary(self.text, start) and is_word_boundary(self.text, end):
                yield start, end

    def _difference_at(self, quote: str, location: Location) -> str:
        return find_meaning_difference(quote, self._plain_text, location.start, location.end)

    def _find_exact(self, quote: str, *, occurrence: int) -> Location | None:
        """Return where a quotation is in the text, as it is or by white space and case, or None.

        The latter is tried with the punctuation at the ends of the quotation, then without it. A
        quotation shorter than MIN_PART_CHARS, or without its punctuation, must be whole words.

        Args:
            occurrence: Index of the occurrence; the last is returned if there are fewer.
        """
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
                self._find_folded(_strip_outer_punctuation(folded_quote)),
                BY_SPACE_AND_CASE,
                occurrence,
                must_be_whole=True,
            )
        )

    def _find_folded(self, phrase: str) -> Iterator[tuple[int, int]]:
        """Yield the spans in the original text of a folded phrase."""
        for start in _find_all(self._folded.text, phrase):
            yield self._folded.find_original_span(start, start + len(phrase))

    def _find_similar(self, quote: str) -> Location | None:
        """Return the location of the words with the highest likeness to a quotation, or None.

        The result is None in each of these cases:

        - The likeness is below MIN_LIKENESS.
        - The folded quotation has fewer than MIN_SIMILAR_CHARS or more than MAX_SIMILAR_CHARS.
        - The found part of the text has more than MAX_LENGTH_FACTOR times the characters of the
          quotation.

        A quotation that is longer than the text is compared with the whole text.
        """
        text = self._folded.text
        phrase = _strip_outer_punctuation(FoldedText(quote).text)
        if not MIN_SIMILAR_CHARS <= len(phrase) <= MAX_SIMILAR_CHARS:
            return None
        if len(phrase) > len(text):
            return self._locate_whole_text_if_similar(phrase)

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
        start, end = self._folded.find_original_span(folded_start, folded_end)
        if end - start > MAX_LENGTH_FACTOR * len(quote):
            return None
        return _similar_location(start, end, likeness)

    def _locate_whole_text_if_similar(self, phrase: str) -> Location | None:
        """Return the span of the whole text if a quotation resembles it by MIN_LIKENESS or more.

        Punctuation at the ends of the text is left out. Returns None otherwise.

        Args:
            phrase: The folded quotation, which is longer than the text.
        """
        text = self._folded.text
        to_stripped_text = _strip_outer_punctuation(text)
        likeness = Indel.normalized_similarity(phrase, to_stripped_text)
        if not to_stripped_text or likeness < MIN_LIKENESS:
            return None

        folded_start = text.index(to_stripped_text)
        start, end = self._folded.find_original_span(
            folded_start, folded_start + len(to_stripped_text)
        )
        return _similar_location(start, end, likeness)

    def _choose_occurrence(
        self,
        spans: Iterable[tuple[int, int]],
        method: str,
        occurrence: int,
        *,
        must_be_whole: bool,
    ) -> Location | None:
        """Return the location of the span at index `occurrence`, or None if no span counts.

        Spans of whole words are preferred: other spans are counted only if there is no such span,
        and not at all if `must_be_whole` is set.

        Args:
            spans: Start and end offsets in ascending order.
            method: How the spans were found, for the location.
            occurrence: Index among the counted spans; the last span is returned if there are fewer.
            must_be_whole: Exclude spans that begin or end inside a word.
        """
        all_spans = list(spans)
        whole_spans = [
            (start, end)
            for start, end in all_spans
            if is_word_boundary(self.text, start) and is_word_boundary(self.text, end)
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


def _find_all(text: str, phrase: str) -> Iterator[int]:
    """Yield the offsets of a phrase, without overlaps; nothing for an empty phrase."""
    offset = text.find(phrase) if phrase else -1
    while offset >= 0:
        yield offset
        offset = text.find(phrase, offset + len(phrase))


def _word_boundaries(text: str, offset: int, side: int) -> list[int]:
    """Return offsets of word beginnings (side 0) or ends (side 1), nearest first.

    There are at most MAX_BOUNDARY_CANDIDATES, up to MAX_BOUNDARY_DISTANCE characters from `offset`.
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
        if _has_letters(text[candidate - side]) and is_word_boundary(text, candidate)
    )
    return list(islice(boundaries, MAX_BOUNDARY_CANDIDATES))


def _strip_outer_punctuation(text: str) -> str:
    """Return a text without outer characters that are no letters, digits or their marks.

    The result is empty if the text has no letters and digits.
    """
    start = 0
    end = len(text)
    while start < end and not _has_letters(text[start]):
        start += 1
    while end > start and not _has_letters(text[end - 1]) and is_word_boundary(text, end - 1):
        end -= 1
    return text[start:end]
