"""Return a hit as programs read it."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.core.task import Collection
    from pipeline.index.reader import Hit


def hit_document(collection: "Collection", hit: "Hit") -> dict[str, Any]:
    """Return a hit as a line of many questions' hits; a score that was not asked for is null."""
    shown = collection.shown(hit.rank, hit.similarity, hit.metadata)
    found = {**shown, "score": round(hit.score, 4), "words_score": round(hit.words_score, 4), "weak": hit.is_weak}
    return {name: None if isinstance(one, float) and math.isnan(one) else one for name, one in found.items()}


def whole_document(collection: "Collection", hit: "Hit") -> dict[str, Any]:
    """Return a hit with what a reader of one question's hits asks next: matching tags, a snippet, and why."""
    snippet = hit.snippet
    found = {
        **hit_document(collection, hit),
        "matching_tags": list(hit.tags),
        "snippet": None if snippet is None else {"text": snippet.text, "marks": [list(mark) for mark in snippet.marks]},
    }
    return found if hit.why is None else {**found, "why": hit.why.as_json()}
