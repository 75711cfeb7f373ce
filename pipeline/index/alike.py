"""Find which of some texts mean the same, and which are nearer to others than to their own."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.errors import InputError
from pipeline.core.task import Entry
from pipeline.gemini import models
from pipeline.gemini.local_embeddings import embed_locally
from pipeline.index.embed import Embedder
from pipeline.index.vector_file import Vectors

if TYPE_CHECKING:
    from pipeline.engine.workspace import OpenWorkspace

ENCODER, WIDTH = "findable-local-embedding-1", 768
LIKE = 0.8  # the least cosine of two texts that may mean the same


def alike_texts(
    ws: "OpenWorkspace", texts: Sequence[str], *, confirm: Callable[[float], bool]
) -> Iterator[tuple[str, str, float]]:
    """Yield the pairs of texts that mean the same, with their cosine; what is not cached is embedded.

    What that costs is said first, and `confirm` is called with it (USD) above CONFIRM_ABOVE.

    Raises:
        InputError: it was not confirmed; nothing was sent.
    """
    embedder, entries = Embedder(ws), [Entry(one, one, {}) for one in texts]
    with ws.display.bar("embedding", len(entries)) as bar:
        missing, tokens, cost = embedder.cost(entries, bar=bar)
        if missing and embedder.is_paid():
            ws.display.say(f"{missing:,} texts are embedded: {tokens:,} tokens, about ${cost:.6f}")
            if cost > ws.settings.confirm_above and not confirm(cost):
                raise InputError("not confirmed; nothing was sent", hint="YES=1 answers yes")
        embedder.embed_missing(entries, bar=bar)
    yield from nearest_pairs(texts, embedder.cache.fetch(embedder.keys(entries)))


def nearest_pairs(texts: Sequence[str], vectors: Vectors) -> Iterator[tuple[str, str, float]]:
    """Yield the pairs of which each is the other's nearest, by their unit vectors (len(texts), dim), if near enough."""
    if not len(vectors):
        return
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -1.0)
    nearest = likeness.argmax(axis=1).tolist()
    for one, other in enumerate(nearest):
        if one < other and nearest[other] == one and likeness[one, other] >= LIKE:
            yield texts[one], texts[other], float(likeness[one, other])


def others_nearer(short: Sequence[str], own: Sequence[int], texts: Sequence[str]) -> list[float]:
    """Return for each short text what share of the texts is nearer to it than its own, by its place among them.

    By the local engine's encoder, whatever the backend: nothing is sent, and nothing is cached. No text is blank.
    """
    if not short:
        return []
    model = models.load_models(None)[ENCODER]
    wide, brief = (embed_locally(model, some, dim=WIDTH, query=True) for some in (texts, short))
    likeness = brief @ wide.T
    mine = likeness[np.arange(len(short)), list(own)]
    nearer: list[float] = (likeness > mine[:, None]).mean(axis=1).tolist()
    return nearer
