"""Answering requests for vectors: one vector for each, its parts fused into one text."""

from collections.abc import Mapping, Sequence
from typing import Any

from emulator.answers.encoder import WIDTH, encode
from emulator.catalogue import Model, find
from emulator.messages import invalid

MAX_ENTRIES = 100
"""How many requests one batchEmbedContents call may hold (customary limit, read 2026-11)."""


def text_to_embed(request: Mapping[str, Any]) -> str:
    """Return the text of a request; a blank one, and a width beyond the model's, is refused with 400."""
    text = "\n".join(
        part["text"] for part in request.get("content", {}).get("parts", []) if "text" in part
    )
    if not text.strip():
        raise invalid(
            "* EmbedContentRequest.content: content is empty; the local engine embeds text only."
        )
    width = request.get("outputDimensionality", WIDTH)
    if not 1 <= width <= WIDTH:
        raise invalid(
            f"* EmbedContentRequest.output_dimensionality: {width} is not between 1 and {WIDTH}."
        )
    return text


def vectors(requests: Sequence[Mapping[str, Any]], model: Model) -> list[Any]:
    """Return one float32 vector for each request, cut to the width it asks for and not normalised again."""
    rows = encode([text_to_embed(request) for request in requests], encoder=model.encoder)
    return [
        row[: int(request.get("outputDimensionality", WIDTH))]
        for row, request in zip(rows, requests, strict=True)
    ]


def encoded(texts: Sequence[str], name: str, *, width: int) -> list[Any]:
    """Return the vectors that the model of that name gives for texts, for a caller in the same process."""
    requests = [
        {"content": {"parts": [{"text": text}]}, "outputDimensionality": width} for text in texts
    ]
    return vectors(requests, find(name, method="embedContent", version="v1beta"))
