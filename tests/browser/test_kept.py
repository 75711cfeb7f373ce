"""Views look as they did when their pictures were kept: the same boxes at the same places, light, dark and narrow."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from tests.browser.furnished import furnish
from tests.browser.seen import Reader, read
from tests.lab import Workspace

KEPT = Path(__file__).parent / "kept"
ANEW = os.environ.get("KEPT") == "anew"
FONT = """@font-face { font-family: Kept; src: url("/static/kept.woff2"); font-weight: 100 900; }
  * { font-family: Kept !important; }"""
STILL = """for (const one of document.querySelectorAll("time")) one.textContent = "2 minutes ago";
  document.querySelector("footer span").textContent = "data/demo";"""
BROKEN = "for (const one of document.querySelectorAll('main > *')) one.setAttribute('hidden', '')"
WIDE, NARROW = {"width": 1200, "height": 800}, {"width": 360, "height": 800}
VIEWS: dict[str, tuple[str, str, dict[str, int]]] = {
    "home": ("/", "light", WIDE),
    "home-narrow": ("/", "dark", NARROW),
    "people": ("/items", "dark", WIDE),
    "people-narrow": ("/items", "light", NARROW),
    "person": ("/item?key=lorcan-d", "light", WIDE),
    "passages": ("/passages", "dark", WIDE),
    "images": ("/images", "light", NARROW),
    "search": ("/search?q=documentary+film", "light", WIDE),
}
BLOCK = 16  # pixels
UNLIKE = 16  # of 255: another letter or a pixel's shift makes less of a difference to the mean of a block
MOST = 0.015  # of all blocks may be unlike: another Chromium draws letters a little differently
COLOURS, BYTES = 32, 600_000  # of a picture, and of all of them


def blocks(picture: Image.Image) -> Any:
    """Return the mean grey of each block of a picture."""
    grey = np.asarray(picture.convert("L"), dtype=np.float32)
    high, wide = (size - size % BLOCK for size in grey.shape)
    return grey[:high, :wide].reshape(high // BLOCK, BLOCK, wide // BLOCK, BLOCK).mean(axis=(1, 3))


def unlike(one: Image.Image, other: Image.Image) -> float:
    """Return the share of blocks in which two pictures of one size differ."""
    assert one.size == other.size
    return float((abs(blocks(one) - blocks(other)) > UNLIKE).mean())


def shot(seen: Reader) -> Image.Image:
    """Return a picture of what is shown."""
    return Image.open(io.BytesIO(seen.tab.screenshot())).quantize(COLOURS)


def still(seen: Reader) -> None:
    """Take the font that is kept in the place of the machine's own, and let no part of a page be asked for again."""
    style = (Path(__file__).parents[2] / "web" / "static" / "style.css").read_text(encoding="utf-8")
    context = seen.tab.context
    context.route("**/static/style.css", lambda route: route.fulfill(body=style + FONT, content_type="text/css"))
    context.route("**/static/kept.woff2", lambda route: route.fulfill(path=KEPT / "inter.woff2"))
    context.route("**/parts/home*", lambda route: route.fulfill(status=204))


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_views_look_as_they_were_kept(workspace: Workspace, begun: Callable[..., None], tmp_path: Path) -> None:
    """KEPT=anew keeps them as they are now; a picture that differs is left beside the test's other files."""

    def prepare() -> None:
        """Have something of everything."""
        furnish(workspace)

    begun(prepare)
    differ: dict[str, float] = {}

    def reader(browser: Any, address: str, _client: httpx2.Client) -> None:
        """Look at each, and at one that is broken."""
        for name, (path, scheme, size) in VIEWS.items():
            seen = Reader(browser, address, color_scheme=scheme, viewport=size)
            still(seen)
            seen.go(path)
            seen.tab.wait_for_load_state("networkidle")
            seen.until("document.fonts.status === 'loaded' && document.fonts.check('16px Kept')")
            seen.tab.evaluate(STILL)
            now = shot(seen)
            if ANEW:
                now.save(KEPT / f"{name}.png", optimize=True)
            kept = Image.open(KEPT / f"{name}.png")
            if (share := unlike(now, kept)) > MOST:
                differ[name] = share
                now.save(tmp_path / f"{name}.png")
            seen.tab.evaluate(BROKEN)
            assert unlike(shot(seen), kept) > MOST, name

    read(workspace, reader)
    assert not differ, f"{differ}: compare {tmp_path} with {KEPT}"
    assert sum(one.stat().st_size for one in KEPT.glob("*.png")) < BYTES
