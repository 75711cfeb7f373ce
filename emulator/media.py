"""Images and other media inside a request: checked, counted, and looked at.

What is refused is what the live service refuses: a type that it does not take, an image that cannot be opened, too
much at once. Files and addresses are refused, too: bytes belong into the request.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from emulator.answers.looks import Look, look
from emulator.catalogue import Model
from emulator.errors import invalid
from emulator.messages import decode_base64

OPENED = ("image/png", "image/jpeg", "image/webp")
"""Images that are opened here."""
_OTHERS = re.compile(r"image/hei[cf]|(?:audio|video|text)/[\w.+-]+|application/(?:pdf|json|x-javascript|x-python)")
"""What else the models take (image understanding guide, read 2026-11), which is counted and not looked at."""
MOST_INLINE = 100 * 1024**2
"""Bytes of all media inside one request (Gemini API, input methods, read 2026-11)."""

_TOKENS = {"UNSPECIFIED": (258, 1_120), "LOW": (64, 280), "MEDIUM": (256, 560), "HIGH": (256, 1_120)}
_TOKENS["ULTRA_HIGH"] = (258, 2_240)
"""Tokens of an image by how closely the 2.5 models look, and later ones (guides to media and tokens, read 2026-11)."""


def parts_of(request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the parts of a request: of its contents and of its system instruction."""
    for content in [*request.get("contents", []), request.get("content", {}), request.get("systemInstruction", {})]:
        yield from content.get("parts", [])


def looked_at(request: Mapping[str, Any]) -> list[Look | None]:
    """Return what is measured of the media of a request, in order: of an image that is opened here, else None."""
    if any("fileData" in part for part in parts_of(request)):
        raise invalid("Cannot fetch content from the provided URL. The local engine takes media inside a request only.")
    blobs = [part["inlineData"] for part in parts_of(request) if "inlineData" in part]
    if sum(len(blob.get("data", "")) * 3 // 4 for blob in blobs) > MOST_INLINE:
        raise invalid(f"Request payload size exceeds the limit: {MOST_INLINE} bytes.")
    return [_look(blob.get("mimeType", ""), blob.get("data", "")) for blob in blobs]


def _look(mime_type: str, data: str) -> Look | None:
    if mime_type not in OPENED:
        if not _OTHERS.fullmatch(mime_type):
            raise invalid(f"Unsupported MIME type: {mime_type}")
        return None
    seen = look(decode_base64(data) or b"")
    if seen is None:
        raise invalid(
            "Unable to process input image. Please retry or report in https://developers.generativeai.google/"
        )
    return seen


def tokens_of(request: Mapping[str, Any], model: Model) -> int:
    """Return the tokens of a request's media, by the model and the resolution asked for."""
    usual, tokens = request.get("generationConfig", {}).get("mediaResolution"), 0
    for part in parts_of(request):
        own = part.get("mediaResolution")
        level = (own.get("level") if isinstance(own, Mapping) else None) or usual or "MEDIA_RESOLUTION_UNSPECIFIED"
        if (word := str(level).removeprefix("MEDIA_RESOLUTION_")) not in _TOKENS:
            raise invalid(f"Invalid value at 'generation_config.media_resolution': {level!r}")
        old, new = _TOKENS[word]
        tokens += (old if "-2.5-" in model.name else new) if "inlineData" in part else 0
    return tokens
