"""Rank the entries of a build by words, by vectors, or by both: each side's scores, normalised, and added by weight.

And say of what is ranked what a reader asks next: why it was found, which sentence matched, which tags, and whether it
is any good. In a sentence a word counts with its weight, once; of equal sentences the first is shown. What is too long
is cut round its heaviest word, and says so with an ellipsis. Marks are offsets in what is shown, in characters.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.index.build_reader import Hit
from pipeline.index.tokenizer import kept_terms, spans_of

if TYPE_CHECKING:
    from pipeline.engine.task import IndexedTask
    from pipeline.index.build_reader import Index
    from pipeline.index.query import Mask

Scores = NDArray[np.float32]
Rows = NDArray[np.int64]
DEPTH = 1000  # of the best of each side, over whose union scores are normalised
LONGEST = 200  # characters of a sentence that is shown whole
_LEAD = 40  # characters that are kept before the first mark, where the beginning is cut
_END = re.compile(
    "\\s(?:(?<=[.!?\u2026]\\s)|(?<=[.!?\u2026][\"'\u201d\u2019)\\]]\\s))\\s*+(?![a-z])"
)  # behind a sign, before no small letter
_CHINESE_END = re.compile("(?<=[\u3002\uff01\uff1f])")  # without a blank
CUT = "…"


Place = tuple[int, int, str]  # where a word stands in a text, and its term


class Snippet(NamedTuple):
    """A piece of a text on one line, and the (start, end) of the words in it that a question has, apart, ascending."""

    text: str
    marks: tuple[tuple[int, int], ...] = ()

    @property
    def pieces(self) -> list[str]:
        """Return the text in pieces, of which every second one is marked."""
        ends = [0, *(at for mark in self.marks for at in mark), len(self.text)]
        return [self.text[start:end] for start, end in pairwise(ends)]


class RankedEntries(NamedTuple):
    """Entries, best first: their rows, what they are ranked by, and the scores of each side that was asked."""

    rows: Rows
    scores: Scores
    words: Scores | None = None
    similarities: Scores | None = None


def rank_entries(
    index: "Index",
    *,
    terms: Sequence[str] | None,
    vector: Scores | None,
    k: int,
    mask: "Mask | None" = None,
) -> RankedEntries:
    """Return the `k` best entries for the terms of a question, for its vector, shape (dim,), or for both.

    Fewer where there are fewer; by words alone those that have some; with a mask, bool (entries,), those that pass.
    Equal ones are in vector order.
    """
    if terms is None and vector is not None:
        similarities, rows = index.nearest(vector, k, mask)
        return RankedEntries(rows, similarities, similarities=similarities)
    depth = k if vector is None else max(k, DEPTH)
    telling = (
        terms or () if vector is None else index.telling(terms or ())
    )  # what is added to vectors is as good
    found = index.word_scores(telling, most=depth if mask is None else -1)
    if mask is not None:
        found = dict([one for one in found.items() if mask[one[0]]][:depth])
    if vector is None:
        words = np.fromiter(found.values(), np.float32, len(found))
        return RankedEntries(np.fromiter(found, np.int64, len(found)), words, words=words)
    similar, near = index.nearest(vector, depth, mask)
    others = np.zeros(len(index), bool)
    others[[*found.keys() - set(near.tolist())]] = True
    beside, far = index.nearest(vector, len(found), others)
    rows = np.concatenate([near, far])
    similarities = np.concatenate([similar, beside])
    order = np.argsort(rows)  # in which equal ones are ranked
    rows = rows[order]
    similarities = similarities[order]
    words = np.array([found.get(row, 0.0) for row in rows.tolist()], np.float32)
    share = index.ranking.share
    fused = share * _normalised(words) + (1 - share) * _normalised(similarities)
    best = np.argsort(-fused, kind="stable")[:k]
    return RankedEntries(rows[best], fused[best], words[best], similarities[best])


def _normalised(scores: Scores) -> Scores:
    """Return scores less the mean, over the deviation; zeros where all are equal, for that says nothing."""
    deviation = float(scores.std()) if len(scores) else 0.0
    return (scores - float(scores.mean())) / deviation if deviation > 0 else np.zeros_like(scores)


def found_hits(
    index: "Index",
    collection: "IndexedTask",
    ranked: RankedEntries,
    terms: Sequence[str] | None = None,
    words: Mapping[str, str] | None = None,
) -> list[Hit]:
    """Return ranked entries with what the build holds of them, and of the terms of a question whether each is weak.

    One that has what was asked for its tag is not. Words count where vectors alone rank, too: they cost nothing. With
    `words`, by their terms, each has why it was found, and the sentence and the tags in which they stand.
    """
    rows = ranked.rows.tolist()
    floor = index.manifest.floor
    asked = list(dict.fromkeys(terms or ()))
    scored = (
        index.word_scores(asked)
        if ranked.words is None
        else dict(zip(rows, ranked.words.tolist(), strict=True))
    )
    told = index.told(asked)
    weights = {term: index.idf(term) for term in words or ()}
    held = {term: index.holding([term], rows) for term in weights}

    def hit(at: int, row: int) -> Hit:
        similarity = None if ranked.similarities is None else float(ranked.similarities[at])
        metadata = index.metadata_at(row)
        is_weak = None
        tags = {tag: set(kept_terms(tag)) for tag in collection.tags(metadata)}
        if terms is not None and floor is not None:
            is_weak = (
                floor.is_weak(similarity, scored.get(row, 0.0), told)
                and set(asked) not in tags.values()
            )
        found = Hit(at + 1, similarity, metadata, float(ranked.scores[at]), is_weak=is_weak)
        if words is None:
            return found
        said = dict.fromkeys(word for term, word in words.items() if row in held[term])
        is_close = (
            similarity is not None and not is_weak and (floor is None or similarity >= floor.cosine)
        )
        why = ["weak"] if is_weak else []
        why += [f"words: {', '.join(said)}"] if said else []
        why += ["close in meaning"] if is_close or not why else []
        snippet = best_snippet(collection.texts(metadata), weights)
        matching = tuple(tag for tag, own in tags.items() if not weights.keys().isdisjoint(own))
        return replace(found, why="; ".join(why), snippet=snippet, tags=matching)

    return [hit(at, row) for at, row in enumerate(rows)]


def best_snippet(texts: Iterable[str], weights: Mapping[str, float]) -> Snippet:
    """Return the sentence of some texts in which the terms of a question weigh most; the first where none stands."""
    best = ""
    found = list[Place]()
    most = -1.0
    for sentence in (one for text in texts for one in _sentences(text)):
        here = list(spans_of(sentence, weights.keys()))
        weight = sum(weights[term] for term in {term for *_, term in here})
        if weight > most:
            best = sentence
            found = here
            most = weight
    return _cut(best, found, weights)


def _sentences(text: str) -> Iterator[str]:
    for line in (text if text.isascii() else _CHINESE_END.sub("\n", text)).split("\n"):
        for one in _END.split(line):
            if said := " ".join(one.split()):
                yield said


def _cut(line: str, places: Sequence[Place], weights: Mapping[str, float]) -> Snippet:
    begin = 0
    end = len(line)
    if end > LONGEST:  # from a blank a little before the heaviest word, to one that is near
        start = max(places, key=lambda place: weights[place[2]])[0] if places else 0
        if wanted := max(0, min(start - _LEAD, end - LONGEST)):
            begin = min(line.find(" ", wanted, start) + 1 or start, start)
        if (most := begin + LONGEST) < end:
            blank = line.rfind(" ", most - _LEAD, most + 1)
            end = most if blank < 0 else blank
    ahead = CUT if begin else ""
    marks = [
        (max(start, begin), min(stop, end))
        for start, stop, _ in places
        if begin < stop and start < end
    ]
    shift = len(ahead) - begin
    shown = f"{ahead}{line[begin:end]}{CUT if end < len(line) else ''}"
    return Snippet(shown, tuple((start + shift, stop + shift) for start, stop in _joined(marks)))


def _joined(marks: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return marks of which none overlap: pairs of letters of a word without blanks do."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(marks):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
