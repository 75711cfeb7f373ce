"""Images and other media inside a request: checked, counted, and looked at.

What is refused is what the live service refuses: a type that it does not take, an image that cannot be opened, too
much at once. Files and addresses are refused, too: bytes belong into the request.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from emulator.catalogue import Model
from emulator.errors import invalid
from emulator.messages import decode_base64
from emulator.models.looks import Look

OPENED = ("image/png", "image/jpeg", "image/webp")
"""Images that are opened here."""
_OTHERS = re.compile(r"image/hei[cf]|(?:audio|video|text)/[\w.+-]+|application/(?:pdf|json|x-javascript|x-python)")
"""What else the models take (image understanding guide, read 2026-11), which is counted and not looked at."""
MOST_INLINE, MOST_IMAGES = 100 * 1024**2, 3_600
"""Bytes of all media inside one request, and how many they may be (Gemini API, input methods, read 2026-11)."""
_RESOLUTIONS = ("", *(f"MEDIA_RESOLUTION_{word}" for word in ("UNSPECIFIED", "LOW", "MEDIUM", "HIGH", "ULTRA_HIGH")))


class Medium(NamedTuple):
    """One medium of a request: its type, and what is measured of it where it was opened."""

    mime_type: str
    seen: Look | None


def parts_of(request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the parts of a request: of its contents and of its system instruction."""
    contents = [*request.get("contents", []), request.get("content", {}), request.get("systemInstruction", {})]
    for content in contents:
        yield from content.get("parts", [])


def looked_at(request: Mapping[str, Any]) -> tuple[Medium, ...]:
    """Return the media of a request, in order, each opened where it is an image.

    Raises:
        ApiError: 400 for a type that is not taken, an image that cannot be opened, too much of them, or a file.
    """
    if any("fileData" in part for part in parts_of(request)):
        raise invalid("Cannot fetch content from the provided URL. The local engine takes media inside a request only.")
    blobs = [part["inlineData"] for part in parts_of(request) if "inlineData" in part]
    if sum(len(blob.get("data", "")) * 3 // 4 for blob in blobs) > MOST_INLINE:
        raise invalid(f"Request payload size exceeds the limit: {MOST_INLINE} bytes.")
    if len(blobs) > MOST_IMAGES:
        raise invalid(f"Please use fewer than {MOST_IMAGES} images in your request to this model.")
    return tuple(_medium(blob.get("mimeType", ""), blob.get("data", "")) for blob in blobs)


def _medium(mime_type: str, data: str) -> Medium:
    if mime_type not in OPENED:
        if not _OTHERS.fullmatch(mime_type):
            raise invalid(f"Unsupported MIME type: {mime_type}")
        return Medium(mime_type, None)
    from emulator.models.pictures import look

    seen = look(decode_base64(data))
    if seen is None:
        raise invalid(
            "Unable to process input image. Please retry or report in https://developers.generativeai.google/guide/troubleshooting"
        )
    return Medium(mime_type, seen)


def tokens_of(request: Mapping[str, Any], model: Model) -> int:
    """Return the tokens of a request's media, by the model and the resolution asked for."""
    usual = request.get("generationConfig", {}).get("mediaResolution", "")
    levels = [_level(part) or usual for part in parts_of(request) if "inlineData" in part]
    return sum(model.media_tokens.get(level, model.media_tokens[""]) for level in levels)


def _level(part: Mapping[str, Any]) -> str:
    """Return the resolution that one part asks for, blank where it leaves that to the request."""
    own = part.get("mediaResolution")
    return str(own.get("level", "")) if isinstance(own, Mapping) else ""


def check_resolution(request: Mapping[str, Any]) -> None:
    """Refuse a resolution that is none.

    Raises:
        ApiError: 400 naming it.
    """
    usual = request.get("generationConfig", {}).get("mediaResolution", "")
    wrong = next((one for one in (usual, *map(_level, parts_of(request))) if one not in _RESOLUTIONS), None)
    if wrong is not None:
        raise invalid(f"Invalid value at 'generation_config.media_resolution': {wrong!r}")
