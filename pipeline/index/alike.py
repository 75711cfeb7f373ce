"""Find which of some texts are nearer to others than to their own."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.gemini import models
from pipeline.gemini.local_embeddings import embed_locally

if TYPE_CHECKING:
    pass

ENCODER, WIDTH = "findable-local-embedding-1", 768


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
