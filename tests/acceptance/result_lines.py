"""Lines of result files as the API writes them."""

import json
from collections.abc import Sequence
from typing import Any

from tests.acceptance.product import MODEL

TAGS = '{"tags":["water law","beekeeping","soil science"]}'
USAGE = {
    "promptTokenCount": 100,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 5,
    "totalTokenCount": 125,
}


def make_response(
    text: str | None = TAGS, *, finish: str = "STOP", **options: Any
) -> dict[str, Any]:
    """Return a response with one candidate; `None` is a candidate without content."""
    candidate: dict[str, Any] = {"finishReason": finish, "index": 0}
    if text is not None:
        candidate["content"] = {"parts": [{"text": text}], "role": "model"}
    return {
        "candidates": [candidate],
        "usageMetadata": USAGE,
        "modelVersion": MODEL,
        "responseId": "r-1",
        **options,
    }


def encode_document(document: Any) -> bytes:
    """Return a JSON document as bytes; half a surrogate pair is allowed."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def make_line(key: Any, body: Any = None, **options: Any) -> bytes:
    """Return a result line as the API writes it: the response first, then the key."""
    response = make_response() if body is None else body
    return encode_document({"response": response, **options, "key": key})


def make_error_line(
    key: Any, code: Any, message: str | None = "It failed.", **options: Any
) -> bytes:
    """Return an error line."""
    error = {"code": code}
    if message:
        error["message"] = message
    return encode_document({"error": error, **options, "key": key})


def row_number(key: str) -> int:
    """Return the number of the row in a key."""
    return int(key.rpartition("/")[2])


def sort_by_row(keys: Sequence[str]) -> list[str]:
    """Return keys in the order of their rows."""
    return sorted(keys, key=row_number)
