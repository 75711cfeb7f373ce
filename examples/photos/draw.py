"""Draw five invented pictures into `photos/`, for `make import-images FOLDER=photos`: no camera, no people, no rights.

python examples/photos/draw.py [FOLDER]
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

SIZE = (640, 400)  # pixels


def main(folder: Path) -> None:
    """Draw the pictures; the same each time."""
    (folder / "signs").mkdir(parents=True, exist_ok=True)
    _sky("#f2b36b", "#2b4c7e").filter(ImageFilter.GaussianBlur(6)).save(folder / "evening.jpg", quality=90)
    _field().save(folder / "field.png")
    _moon().save(folder / "moon.png")
    _tower().save(folder / "tower.webp", lossless=True)
    _page().save(folder / "signs" / "opening-hours.png")


def _sky(low: str, high: str) -> Image.Image:
    """Return a sky that goes from one colour to another."""
    mask = Image.linear_gradient("L").resize(SIZE)
    return Image.composite(Image.new("RGB", SIZE, low), Image.new("RGB", SIZE, high), mask)


def _field() -> Image.Image:
    """Return a green field with furrows under a blue sky."""
    image = _sky("#cfe8f5", "#6fb1de")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 180, 640, 400), fill="#3f9142")
    for left in range(-640, 1280, 48):
        draw.line((320, 180, left, 400), fill="#2c6b2f", width=3)
    return image


def _moon() -> Image.Image:
    """Return a moon in a dark night."""
    image = Image.new("RGB", SIZE, "#05070f")
    ImageDraw.Draw(image).ellipse((260, 120, 380, 240), fill="#dcdcd0")
    return image


def _tower() -> Image.Image:
    """Return a red tower, higher than wide."""
    image = Image.new("RGB", SIZE[::-1], "#e8e2d4")
    draw = ImageDraw.Draw(image)
    draw.polygon(((150, 640), (180, 120), (220, 120), (250, 640)), fill="#b03a2e")
    for top in range(180, 640, 60):
        draw.rectangle((188, top, 212, top + 24), fill="#f7dc6f")
    return image


def _page() -> Image.Image:
    """Return a page with lines of letters."""
    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)
    for number in range(8):
        draw.text((30, 30 + 44 * number), "Monday to Friday, 9 to 17 h, and by arrangement", fill="black", font_size=22)
    return image


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "photos"))
