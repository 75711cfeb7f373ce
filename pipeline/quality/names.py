"""Judge names for the quality report: what is none, what stands twice, or nearly so, in one answer."""

import re
from collections.abc import Sequence

from rapidfuzz import fuzz

MAX_NAME = 60  # characters
MAX_WORDS = 8  # a noun phrase has fewer; "support vector machine with radial basis function" has seven
LIKE = 90.0  # percent of characters in common: a plural, a hyphen, a spelling
MOST_COMPARED = 100  # names of one answer; more are no answer of ours, and pairs grow with the square

_ENDS_AS_SENTENCE = re.compile(r"(?:[a-z]{3,}\.|[!?])$")
# a word between others that only a sentence has there; "is" and "can" at the ends may be names
_VERB = re.compile(
    r"\S\s(?:is|are|was|were|be|been|has|have|had|can|cannot|will|would|should|may|might|must|does|do|did)\s\S",
    re.IGNORECASE,
)
_BEGINS_AS_SENTENCE = re.compile(
    r"(?:we|they|you|it|there|this|these|those|our|their|however|therefore)\s\S+\s\S", re.IGNORECASE
)
_DIGITS = re.compile(r"\d+|\b[ivxIVX]+\b")


def garbage_names(name: str) -> str:
    """Return what makes a text no name of a thing; an empty text where nothing does."""
    if len(name) > MAX_NAME:
        return "too long"
    if not any(map(str.isalpha, name)):
        return "no letters"
    is_sentence = (
        name.count(" ") >= MAX_WORDS - 1
        or _ENDS_AS_SENTENCE.search(name)
        or _VERB.search(name)
        or _BEGINS_AS_SENTENCE.match(name)
    )
    return "like a sentence" if is_sentence else ""


def repeated_names(names: Sequence[str]) -> int:
    """Return how many of some names stand there before, in any case."""
    return len(names) - len(set(map(_fold, names)))


def nearly_repeated_names(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return (name, one before it that it is nearly) for each of some names that has one; equal ones count once.

    Names that differ in a number, Arabic or Roman, are different things: GPT-3 is not GPT-4.
    """
    found: list[tuple[str, str]] = []
    seen: dict[str, tuple[list[str], str]] = {}
    for name in names[:MOST_COMPARED]:
        folded = _fold(name)
        if folded in seen:
            continue
        numbers = _DIGITS.findall(folded)
        for other, (others, first) in seen.items():
            if others == numbers and fuzz.ratio(folded, other, score_cutoff=LIKE):
                found.append((name, first))
                break
        seen[folded] = numbers, name
    return found


def _fold(name: str) -> str:
    return " ".join(name.casefold().split())
