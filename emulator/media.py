"""Check, count and measure images and other media of a request; nothing is recognized in them.

- The same media are refused as by the live service: unsupported types, images that cannot be
  opened, and too many bytes.
- Files and addresses are refused as well, because only bytes inside the request are supported.
"""

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emulator.catalogue import Model
from emulator.messages import decode_base64, invalid_argument

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

# Larger images are not opened here. The live service scales any size down.
MAX_IMAGE_PIXELS = 50_000_000
# Image formats that are opened, by their names in Pillow and by their MIME types.
_PILLOW_FORMATS = ("JPEG", "PNG", "WEBP")
MEASURED_TYPES = ("image/png", "image/jpeg", "image/webp")
# Longest side of the copy that is measured, in pixels.
_MAX_COPY_SIDE = 128

# Name of each hue (0 to 255) below a bound.
_HUE_NAMES = (
    (10, "red"),
    (28, "orange"),
    (46, "yellow"),
    (115, "green"),
    (178, "blue"),
    (240, "purple"),
    (256, "red"),
)
# A colour is grey below this saturation, and black below this brightness (0 to 255).
_MIN_SATURATION = 36
_MIN_BRIGHTNESS = 40
# A grey is white above this brightness.
_MAX_GREY_BRIGHTNESS = 200
# A colour is named if it covers this share of the image.
_MIN_COLOUR_SHARE = 0.08
_MAX_COLOURS = 4

# Other types that the models accept (image understanding guide, read 2026-11). They are counted
# and not measured.
_UNMEASURED_TYPE = re.compile(
    r"image/hei[cf]|(?:audio|video|text)/[\w.+-]+|application/(?:pdf|json|x-javascript|x-python)",
)
# Bytes of all media in one request (Gemini API, input methods, read 2026-11).
MAX_INLINE_BYTES = 100 * 1024**2
# Tokens of one image by resolution: for the 2.5 models, and for later models (guides to media and
# tokens, read 2026-11).
_TOKENS_BY_RESOLUTION = {
    "UNSPECIFIED": (258, 1_120),
    "LOW": (64, 280),
    "MEDIUM": (256, 560),
    "HIGH": (256, 1_120),
    "ULTRA_HIGH": (258, 2_240),
}


@dataclass(frozen=True)
class ImageFeatures:
    """Measured size and colours of one image."""

    # Pixels.
    width: int
    height: int
    # Names of the main colours, by falling area; at least one.
    colours: tuple[str, ...]

    def to_words(self) -> list[str]:
        """Return the colours, then the orientation: "square", "landscape" or "portrait"."""
        if self.width == self.height:
            orientation = "square"
        elif self.width > self.height:
            orientation = "landscape"
        else:
            orientation = "portrait"
        return [*self.colours, orientation]


def describe_image(features: ImageFeatures | None) -> str:
    """Return one English sentence about an image; None is a medium that was not opened."""
    if features is None:
        return "Not seen, only counted, by the local engine: an image that is not opened here."

    *colours, orientation = features.to_words()
    size = f"{features.width} pixels wide, {features.height} high"
    measured_facts = f"{orientation}, {size}, mainly {', '.join(colours)}"
    return f"Not seen, only measured, by the local engine: {measured_facts}."


def measure_image(content: bytes) -> ImageFeatures | None:
    """Measure size and main colours of an image.

    Transparent pixels count as white. Colours are measured in a copy with sides of at most
    `_MAX_COPY_SIDE` pixels.

    Args:
        content: Bytes of a JPEG, PNG or WebP file.

    Returns:
        None if the bytes cannot be decoded completely, or have over `MAX_IMAGE_PIXELS`.
    """
    from PIL import Image

    Image.init()
    try:
        with Image.open(io.BytesIO(content), formats=_PILLOW_FORMATS) as image:
            width, height = image.size
            if width * height > MAX_IMAGE_PIXELS:
                return None

            # Decode at a reduced size if the format can.
            image.draft("RGB", (_MAX_COPY_SIDE, _MAX_COPY_SIDE))
            image.load()
            image.thumbnail((_MAX_COPY_SIDE, _MAX_COPY_SIDE))
            copy = image.convert("RGBA")
    except Exception:  # noqa: BLE001 - decoders raise errors of any class for broken bytes
        return None

    opaque_copy = Image.alpha_composite(Image.new("RGBA", copy.size, "white"), copy).convert("RGB")
    return ImageFeatures(width, height, _find_main_colours(opaque_copy))


def iter_parts(request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the parts of a request's contents, then of its system instruction."""
    contents = [
        *request.get("contents", []),
        request.get("content", {}),
        request.get("systemInstruction", {}),
    ]
    for content in contents:
        yield from content.get("parts", [])


def measure_media(request: Mapping[str, Any]) -> list[ImageFeatures | None]:
    """Check all media of a request, and measure its images.

    Returns:
        One entry per medium, in order. It is None for a supported type that is not opened here. The
        list is empty if the request has no media.

    Raises:
        ApiError: 400, if a medium is not inline, too large, of an unsupported type or broken.
    """
    if any("fileData" in part for part in iter_parts(request)):
        raise invalid_argument(
            "Cannot fetch content from the provided URL. "
            "The local engine takes media inside a request only.",
        )

    blobs = [part["inlineData"] for part in iter_parts(request) if "inlineData" in part]
    # Four characters of base64 are three bytes.
    total_bytes = sum(len(blob.get("data", "")) * 3 // 4 for blob in blobs)
    if total_bytes > MAX_INLINE_BYTES:
        raise invalid_argument(f"Request payload size exceeds the limit: {MAX_INLINE_BYTES} bytes.")

    return [_measure_blob(blob.get("mimeType", ""), blob.get("data", "")) for blob in blobs]


def count_media_tokens(request: Mapping[str, Any], model: Model) -> int:
    """Return the tokens of a request's inline media, by the model and the media resolution.

    The resolution of a part overrides that of the request.

    Raises:
        ApiError: 400, if a part has an unknown resolution, even if the part is a text.
    """
    request_resolution = request.get("generationConfig", {}).get("mediaResolution")
    token_count = 0
    for part in iter_parts(request):
        part_resolution = part.get("mediaResolution")
        resolution = None
        if isinstance(part_resolution, Mapping):
            resolution = part_resolution.get("level")
        resolution = resolution or request_resolution or "MEDIA_RESOLUTION_UNSPECIFIED"

        level = str(resolution).removeprefix("MEDIA_RESOLUTION_")
        if level not in _TOKENS_BY_RESOLUTION:
            raise invalid_argument(
                f"Invalid value at 'generation_config.media_resolution': {resolution!r}",
            )

        tokens_2_5, later_tokens = _TOKENS_BY_RESOLUTION[level]
        if "inlineData" in part:
            token_count += tokens_2_5 if "-2.5-" in model.name else later_tokens
    return token_count


def _measure_blob(mime_type: str, base64_text: str) -> ImageFeatures | None:
    """Measure an inline image; return None for another supported type.

    Raises:
        ApiError: 400, if the type is not supported or the image cannot be opened.
    """
    if mime_type not in MEASURED_TYPES:
        if not _UNMEASURED_TYPE.fullmatch(mime_type):
            raise invalid_argument(f"Unsupported MIME type: {mime_type}")
        return None

    features = measure_image(decode_base64(base64_text) or b"")
    if features is None:
        raise invalid_argument(
            "Unable to process input image. "
            "Please retry or report in https://developers.generativeai.google/",
        )

    return features


def _find_main_colours(image: "PillowImage") -> tuple[str, ...]:
    """Return the names of the colours of an RGB image, by falling area.

    There are at most `_MAX_COLOURS`, each with at least `_MIN_COLOUR_SHARE` of the area. If no
    colour has this share, only the largest is returned. Dark pixels are black, and pale pixels
    white or grey.
    """
    import numpy as np

    pixels = np.asarray(image.convert("HSV"), dtype=np.int32).reshape(-1, 3)
    hue, saturation, brightness = pixels.T

    hue_bounds = np.array([bound for bound, _ in _HUE_NAMES])
    hue_names = np.array([name for _, name in _HUE_NAMES])
    pixel_names = hue_names[np.searchsorted(hue_bounds, hue, side="right")]

    grey_names = np.where(brightness > _MAX_GREY_BRIGHTNESS, "white", "grey")
    pixel_names = np.where(saturation < _MIN_SATURATION, grey_names, pixel_names)
    pixel_names = np.where(brightness < _MIN_BRIGHTNESS, "black", pixel_names)

    names, areas = np.unique(pixel_names, return_counts=True)
    order = np.argsort(-areas, kind="stable")
    min_area = _MIN_COLOUR_SHARE * len(pixel_names)
    large_indexes = [index for index in order if areas[index] >= min_area]
    main_indexes = large_indexes[:_MAX_COLOURS] or order[:1]
    return tuple(str(names[index]) for index in main_indexes)
