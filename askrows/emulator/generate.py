"""Answer one generateContent request: read its prompt, fill its schema, and build the response."""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from askrows.emulator.answers.fill import ValueFiller
from askrows.emulator.catalogue import MODEL_VERSION, Model
from askrows.emulator.messages import join_text_parts, make_invalid_argument_error
from askrows.emulator.schema import SchemaNode, parse_response_schema

# The engine's own measure of a token. Google's manual gives about four characters (Tokens guide,
# read 2026-11).
BYTES_PER_TOKEN = 4
# Tokens of an image or another medium (guides to media and tokens, read 2026-11).
MEDIUM_TOKENS = 1_120
# Bytes of all media in one request (Gemini API, input methods, read 2026-11).
MAX_INLINE_BYTES = 100 * 1024**2
# Types of media that the models accept (image understanding guide, read 2026-11).
_MEDIUM_TYPE = re.compile(
    r"image/(?:png|jpeg|webp|hei[cf])|(?:audio|video|text)/[\w.+-]+"
    r"|application/(?:pdf|json|x-javascript|x-python)",
)
_HASH_JSON_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


def estimate_tokens(text: str) -> int:
    """Return the estimated tokens of a text, at least 1 unless the text is empty."""
    byte_count = len(text.encode("utf-8", "replace"))
    # Division that rounds up.
    return -(-byte_count // BYTES_PER_TOKEN)


def count_tokens(request: Mapping[str, Any]) -> int:
    """Return the estimated tokens of a request: contents, system instruction and media."""
    text_tokens = sum(
        estimate_tokens(part["text"]) for part in _iter_parts(request) if "text" in part
    )
    return text_tokens + MEDIUM_TOKENS * len(check_and_list_media(request))


def check_and_list_media(request: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """Check and return the inline media of a request. Nothing is opened or recognized.

    Raises:
        ApiError: 400, if a medium is not inline, too large or of an unsupported type.
    """
    if any("fileData" in part for part in _iter_parts(request)):
        raise make_invalid_argument_error(
            "Cannot fetch content from the provided URL. "
            "The local engine takes media inside a request only.",
        )

    blobs = [part["inlineData"] for part in _iter_parts(request) if "inlineData" in part]
    # Four characters of base64 are three bytes.
    if sum(len(blob.get("data", "")) * 3 // 4 for blob in blobs) > MAX_INLINE_BYTES:
        raise make_invalid_argument_error(
            f"Request payload size exceeds the limit: {MAX_INLINE_BYTES} bytes."
        )

    for blob in blobs:
        if not _MEDIUM_TYPE.fullmatch(blob.get("mimeType", "")):
            raise make_invalid_argument_error(f"Unsupported MIME type: {blob.get('mimeType')}")
    return blobs


def check_request_and_parse_schema(request: Mapping[str, Any]) -> SchemaNode:
    """Check a request, and return the node of its response schema.

    Raises:
        ApiError: 400, if the request has no contents, or media or a schema that cannot be served.
    """
    if not any(content.get("parts") for content in request.get("contents", [])):
        raise make_invalid_argument_error(
            "* GenerateContentRequest.contents: contents is not specified"
        )
    check_and_list_media(request)
    system = join_text_parts(request.get("systemInstruction", {}))
    return parse_response_schema(request.get("generationConfig", {}), system)


def answer_request(request: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """Return the GenerateContentResponse to a request; equal requests get equal responses.

    The schema is filled from the last turn of the user that has text; earlier turns are examples.
    The answer is cut at the output limit of the request or the model, the lower of both. Its finish
    reason is then MAX_TOKENS.

    Args:
        request: A message as `messages.parse_message` returns it.

    Raises:
        ApiError: 400, if the request has no contents, or media or a schema that cannot be served.
    """
    node = check_request_and_parse_schema(request)
    user_turns = [
        join_text_parts(content)
        for content in request["contents"]
        if content.get("role", "user") == "user"
    ]
    prompt = next((turn for turn in reversed(user_turns) if turn.strip()), "")
    filler = ValueFiller(prompt, has_images=bool(check_and_list_media(request)))
    full_text = orjson.dumps(filler.fill(node))
    config = request.get("generationConfig", {})
    max_tokens = min(config.get("maxOutputTokens", model.output_limit), model.output_limit)
    text = full_text[: max_tokens * BYTES_PER_TOKEN].decode("utf-8", "ignore")
    is_complete = text.encode() == full_text

    prompt_tokens = count_tokens(request)
    candidate_tokens = estimate_tokens(text)
    # The id is a hash of model and request, so equal requests have equal ids.
    hashed_bytes = orjson.dumps([model.name, request], option=_HASH_JSON_OPTIONS)
    digest = hashlib.blake2b(hashed_bytes, digest_size=16).digest()
    response_id = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return {
        "candidates": [
            {
                "content": {"parts": [{"text": text}], "role": "model"},
                "finishReason": "STOP" if is_complete else "MAX_TOKENS",
                "index": 0,
            },
        ],
        "usageMetadata": {
            "promptTokenCount": prompt_tokens,
            "candidatesTokenCount": candidate_tokens,
            "totalTokenCount": prompt_tokens + candidate_tokens,
        },
        "modelVersion": MODEL_VERSION,
        "responseId": response_id,
    }


def _iter_parts(request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the parts of a request's contents, then of its system instruction."""
    contents = [
        *request.get("contents", []),
        request.get("content", {}),
        request.get("systemInstruction", {}),
    ]
    for content in contents:
        yield from content.get("parts", [])
