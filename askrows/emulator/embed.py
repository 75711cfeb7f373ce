"""Answer embedding requests: one vector per request, with all text parts joined into one text."""

from collections.abc import Mapping, Sequence
from typing import Any

from askrows.emulator.answers.encoder import WIDTH, encode
from askrows.emulator.catalogue import require_known_model
from askrows.emulator.messages import join_text_parts, make_invalid_argument_error

# Requests in one batchEmbedContents call (customary limit, read 2026-11).
MAX_BATCH_REQUESTS = 100


def check_and_join_text(request: Mapping[str, Any]) -> str:
    """Check an embedding request; return its text parts, joined by line breaks.

    Raises:
        ApiError: 400, if the text is blank or the requested width is not in 1 to `WIDTH`.
    """
    text = join_text_parts(request.get("content", {}))
    if not text.strip():
        raise make_invalid_argument_error(
            "* EmbedContentRequest.content: content is empty; the local engine embeds text only.",
        )

    width = request.get("outputDimensionality", WIDTH)
    if not 1 <= width <= WIDTH:
        raise make_invalid_argument_error(
            f"* EmbedContentRequest.output_dimensionality: {width} is not between 1 and {WIDTH}.",
        )

    return text


def embed_requests(requests: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return one float32 vector per request, in order, cut to the width that it asks for.

    A cut vector is not normalized again.

    Raises:
        ApiError: 400, if a text is blank or a requested width is not in 1 to `WIDTH`.
    """
    rows = encode([check_and_join_text(request) for request in requests])

    return [
        row[: int(request.get("outputDimensionality", WIDTH))]
        for row, request in zip(rows, requests, strict=True)
    ]


def embed_texts(texts: Sequence[str], name: str, *, width: int) -> list[Any]:
    """Return the vectors of texts by the embedding model `name`, without a server.

    Raises:
        ApiError: 404 for an unknown model, 400 for a blank text or a wrong width.
    """
    requests = [
        {"content": {"parts": [{"text": text}]}, "outputDimensionality": width} for text in texts
    ]
    require_known_model(name, method="embedContent", version="v1beta")
    return embed_requests(requests)
