"""Find the sentence of an entry that matches a question best, and mark the question's words in it.

A word counts with its weight, once for each sentence; of equal sentences the first is shown. What is too long is cut
round its heaviest words, and says so with an ellipsis. Marks are offsets in what is shown, in characters.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

LONGEST = 200  # characters of a sentence that is shown whole
_LEAD = 40  # characters that are kept before the first mark, where the beginning is cut
_END = re.compile(
    "\\s(?:(?<=[.!?\u2026]\\s)|(?<=[.!?\u2026][\"'\u201d\u2019)\\]]\\s))\\s*+(?![a-z])"
)  # behind a sign, before no small letter
_CHINESE_END = re.compile("(?<=[\u3002\uff01\uff1f])")  # without a blank
CUT = "…"


class Place(NamedTuple):
    """Where a word stands in a text, and how it counts: equal words of one stem have one name."""

    start: int
    end: int
    word: str


class Snippet(NamedTuple):
    """A piece of a text on one line, and the (start, end) of the words in it that a question has, apart, ascending."""

    text: str
    marks: tuple[tuple[int, int], ...] = ()

    @property
    def pieces(self) -> list[str]:
        """Return the text in pieces, of which every second one is marked."""
        ends = [0, *(at for mark in self.marks for at in mark), len(self.text)]
        return [self.text[start:end] for start, end in itertools.pairwise(ends)]


def best_snippet(
    texts: Iterable[str], weights: Mapping[str, float], places: Callable[[str], Iterable[Place]]
) -> Snippet:
    """Return the sentence of some texts in which the words of a question weigh most; the first where none stands."""
    best, found, most = "", list[Place](), -1.0
    for sentence in (one for text in texts for one in _sentences(text)):
        here = [place for place in places(sentence) if place.word in weights]
        weight = sum(weights[word] for word in {place.word for place in here}) if here else 0.0
        if weight > most:
            best, found, most = sentence, here, weight
    return _cut(best, found, weights)


def _sentences(text: str) -> Iterator[str]:
    for line in (text if text.isascii() else _CHINESE_END.sub("\n", text)).split("\n"):
        for one in _END.split(line):
            if said := " ".join(one.split()):
                yield said


def _cut(line: str, places: Sequence[Place], weights: Mapping[str, float]) -> Snippet:
    begin = 0
    if len(line) > LONGEST:
        begin = max(
            (_begin(line, place.start) for place in places),
            key=lambda at: _within(line, at, places, weights),
            default=0,
        )
    end = _last(line, begin + LONGEST)
    ahead = CUT if begin else ""
    marks = [
        (max(place.start, begin), min(place.end, end)) for place in places if begin < place.end and place.start < end
    ]
    shift = len(ahead) - begin
    shown = f"{ahead}{line[begin:end]}{CUT if end < len(line) else ''}"
    return Snippet(shown, tuple((start + shift, stop + shift) for start, stop in _joined(marks)))


def _begin(line: str, start: int) -> int:
    """Return where a piece begins in which a word stands at `start`: behind a blank, a little before it."""
    wanted = max(0, min(start - _LEAD, len(line) - LONGEST))
    return min(line.find(" ", wanted, start) + 1 or start, start) if wanted else 0


def _last(line: str, end: int) -> int:
    """Return where a piece ends that may have `end` characters: before a blank, where one is near."""
    if end >= len(line):
        return len(line)
    blank = line.rfind(" ", end - _LEAD, end + 1)
    return end if blank < 0 else blank


def _within(line: str, begin: int, places: Sequence[Place], weights: Mapping[str, float]) -> float:
    end = _last(line, begin + LONGEST)
    return sum(weights[word] for word in {one.word for one in places if begin <= one.start and one.end <= end})


def _joined(marks: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return marks of which none overlap: pairs of letters of a word without blanks do."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(marks):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
