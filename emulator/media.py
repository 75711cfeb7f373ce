"""Images and other media in a request: taken from the request or from a file, checked, counted, and looked at.

What is refused is what the live service refuses: a type that it does not take, an image that cannot be opened, a file
that is gone. Nothing is fetched: of an object elsewhere (`gs://`) nothing is known, an address is refused.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from emulator.answers.looks import Look, look
from emulator.catalogue import Model
from emulator.errors import ApiError, invalid

IMAGES = ("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif")
"""The types of images that the models take (image understanding guide, read 2026-11)."""
OPENED = IMAGES[:3]
"""Those that are opened here."""
_OTHERS = re.compile(r"(?:audio|video|text)/[\w.+-]+|application/(?:pdf|json|x-javascript|x-python)")
"""What else they take, which is counted here and not looked at."""
MOST_INLINE = 100 * 1024**2
"""Bytes of all media inside one request (Gemini API, input methods, read 2026-11)."""
MOST_IMAGES = 3_600
"""Images in one request (image understanding guide, read 2026-11)."""
_FILE = re.compile(r"(?:^|/)files/(?P<id>[a-z0-9-]{1,40})$")
_SMALL, _TILE, _TILE_TOKENS = 384, 768, 258
"""Up to which sides (pixels) an image is one tile, else the sides of a tile, and its tokens, of the older models."""

OpenFile = Callable[[str], tuple[str, Path]]
"""Gives the type and the bytes' place of a file by its id, and refuses as `Files.usable` does."""


class Medium(NamedTuple):
    """One medium of a request: its type, and what is measured of it where it was opened."""

    mime_type: str
    seen: Look | None


def parts_of(request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the parts of a request: of its contents and of its system instruction."""
    contents = [*request.get("contents", []), *([request["content"]] if "content" in request else [])]
    if "systemInstruction" in request:
        contents.append(request["systemInstruction"])
    for content in contents:
        yield from content.get("parts", [])


def is_medium(part: Mapping[str, Any]) -> bool:
    """Return whether a part is an image or another medium, from the request itself or from a file."""
    return "inlineData" in part or "fileData" in part


def looked_at(request: Mapping[str, Any], open_file: OpenFile) -> tuple[Medium, ...]:
    """Return the media of a request, in order, each opened where it is an image.

    Raises:
        ApiError: 400 for a type that is not taken, an image that cannot be opened, or too much of them; 403 for a file
            that is not there.
    """
    parts = [part for part in parts_of(request) if is_medium(part)]
    inline = sum(len(part["inlineData"].get("data", "")) * 3 // 4 for part in parts if "inlineData" in part)
    if inline > MOST_INLINE:
        raise invalid(f"Request payload size exceeds the limit: {MOST_INLINE} bytes.")
    if len(parts) > MOST_IMAGES:
        raise invalid(f"Please use fewer than {MOST_IMAGES} images in your request to this model.")
    return tuple(
        _inline(part["inlineData"]) if "inlineData" in part else _file(part["fileData"], open_file) for part in parts
    )


def _inline(blob: Mapping[str, Any]) -> Medium:
    text = blob.get("data", "").replace("-", "+").replace("_", "/").rstrip("=")
    return _medium(blob.get("mimeType", ""), lambda: base64.b64decode(text + "=" * (-len(text) % 4)))


def _file(named: Mapping[str, Any], open_file: OpenFile) -> Medium:
    uri, mime_type = named.get("fileUri", ""), named.get("mimeType", "")
    if uri.startswith("gs://"):
        return _medium(mime_type, None)
    found = _FILE.search(uri)
    if found is None:
        raise invalid("Cannot fetch content from the provided URL. The local engine asks no other server.")
    own_type, path = open_file(found["id"])
    return _medium(mime_type or own_type, path.read_bytes)


def _medium(mime_type: str, read: Callable[[], bytes] | None) -> Medium:
    """Return a medium of a type, opened where it is an image with bytes."""
    if mime_type not in IMAGES and not _OTHERS.fullmatch(mime_type):
        raise invalid(f"Unsupported MIME type: {mime_type}")
    if mime_type not in OPENED or read is None:
        return Medium(mime_type, None)
    seen = look(read())
    if seen is None:
        raise invalid(
            "Unable to process input image. Please retry or report in https://developers.generativeai.google/guide/troubleshooting"
        )
    return Medium(mime_type, seen)


def tokens_of(request: Mapping[str, Any], model: Model, media: Sequence[Medium]) -> int:
    """Return the tokens of a request's media, by the model and the resolution asked for.

    Where they were not looked at (`media` is empty), each counts as one of the usual size.
    """
    usual = request.get("generationConfig", {}).get("mediaResolution", "")
    parts = [part for part in parts_of(request) if is_medium(part)]
    seen = [medium.seen for medium in media] or [None] * len(parts)
    return sum(_tokens(model, _level(part) or usual, one) for part, one in zip(parts, seen, strict=True))


def _level(part: Mapping[str, Any]) -> str:
    """Return the resolution that one part asks for, blank where it leaves that to the request."""
    own = part.get("mediaResolution")
    return str(own.get("level", "")) if isinstance(own, Mapping) else ""


def _tokens(model: Model, resolution: str, seen: Look | None) -> int:
    tokens = model.media_tokens.get(resolution, model.media_tokens[""])
    is_tiled = model.is_tiled and resolution in ("", "MEDIA_RESOLUTION_UNSPECIFIED")
    if not is_tiled or seen is None or max(seen.width, seen.height) <= _SMALL:
        return tokens
    return _TILE_TOKENS * -(-seen.width // _TILE) * -(-seen.height // _TILE)


def check_resolution(request: Mapping[str, Any]) -> None:
    """Refuse a resolution that is none.

    Raises:
        ApiError: 400 naming it.
    """
    usual = request.get("generationConfig", {}).get("mediaResolution", "")
    wrong = next((one for one in (usual, *map(_level, parts_of(request))) if one and one not in RESOLUTIONS), None)
    if wrong is not None:
        raise ApiError(400, f"Invalid value at 'generation_config.media_resolution': {wrong!r}")


RESOLUTIONS = tuple(f"MEDIA_RESOLUTION_{word}" for word in ("UNSPECIFIED", "LOW", "MEDIUM", "HIGH", "ULTRA_HIGH"))
"""The words for how closely a model looks."""
