"""Embed questions by the local engine's own encoder, in this process.

For one short text, a server and the SDK to talk to it would take ten times as long as the encoder. The vectors are the
same as the server's.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from emulator.embed import encoded
from pipeline.gemini.embeddings import frame_text, unit_rows
from pipeline.gemini.models import Model

if TYPE_CHECKING:
    import numpy as np


def embed_locally(
    model: Model, texts: Sequence[str], *, dim: int
) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """Return float32 (len(texts), dim), rows of unit length in the order of `texts`, as the model embeds questions.

    Raises:
        ValueError: a text is blank.
    """
    rows = encoded([frame_text(text, model, query=True) for text in texts], model.name, width=dim)
    return unit_rows([[float(number) for number in row] for row in rows], count=len(texts), dim=dim)
