"""Hits of a search, and their forms for programs and people."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.text import format_object

if TYPE_CHECKING:
    from pipeline.engine.task import IndexedTask


class Snippet(NamedTuple):
    """A piece of a text on one line, with the places of the query's words in it."""

    text: str
    # (start, end) offsets in `text`, ascending and without overlap.
    marks: tuple[tuple[int, int], ...] = ()

    @property
    def pieces(self) -> list[str]:
        """Return the text in pieces; every second piece, from the second on, is marked."""
        offsets = [0, *chain.from_iterable(self.marks), len(self.text)]
        return [self.text[start:end] for start, end in pairwise(offsets)]


@dataclass(frozen=True)
class Hit:
    """An entry that a search returned."""

    # Place in the list of hits, from 1.
    rank: int
    # Inner product of entry and query, or None if entries are ranked by words only.
    similarity: float | None
    # The entry of `metadata.json`.
    metadata: Mapping[str, Any]
    # The number by which the hits are sorted.
    score: float
    # Why the entry was returned, for people.
    why: str = ""
    # The sentence that matches best.
    snippet: Snippet | None = None
    # The tags that match.
    tags: tuple[str, ...] = ()
    # Unknown (None) without a query, or if the build has no floor.
    is_weak: bool | None = None

    __repr__ = format_object

    @property
    def document(self) -> dict[str, Any]:
        """Return a flat row: rank, score, reason, weakness, all metadata, the snippet's text."""
        ranking = {
            "rank": self.rank,
            "score": self.score,
            "why": self.why,
            "is_weak": self.is_weak,
        }
        snippet_text = self.snippet.text if self.snippet else None
        return {**ranking, **self.metadata, "snippet": snippet_text}


def hit_to_document(collection: "IndexedTask", hit: Hit) -> dict[str, Any]:
    """Return a hit as JSON for programs; a similarity that was not computed is null."""
    snippet = None
    if hit.snippet is not None:
        marks = [list(mark) for mark in hit.snippet.marks]
        snippet = {"text": hit.snippet.text, "marks": marks}
    return {
        **collection.hit_document(hit.rank, hit.similarity, hit.metadata),
        "score": round(hit.score, 4),
        "weak": hit.is_weak,
        "why": hit.why,
        "matching_tags": list(hit.tags),
        "snippet": snippet,
    }


def format_hit_heading(
    collection: "IndexedTask",
    hit: Hit,
) -> tuple[str, list[str]]:
    """Return the display name of a hit, and up to four short details to show after it.

    The name is the first of name, label and key that is not empty. Details are the key, then job
    title, company and source if they are not empty. A detail that equals the name is left out.
    """
    fields = collection.hit_fields(hit.metadata)
    key = collection.name_of(hit.metadata)
    names = (fields.get("name"), fields.get("label"), key)
    display_name = next(str(name) for name in names if name)

    detail_fields = [fields.get(name) for name in ("job_title", "company", "source")]
    details = [key, *(str(detail) for detail in detail_fields if detail)]
    return display_name, [detail for detail in details if detail != display_name]
