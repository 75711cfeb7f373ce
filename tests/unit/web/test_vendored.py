"""What is vendored is what its README says: unchanged."""

import hashlib

from web.app import HERE

FONT = "3100e775e8616cd2611beecfa23a4263d7037586789b43f035236a2e6fbd4c62"
HTMX = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"


def test_htmx_is_the_file_of_its_package() -> None:
    """Another version is another hash, written here and in the README beside it."""
    assert hashlib.sha256((HERE / "static" / "htmx.min.js").read_bytes()).hexdigest() == HTMX


def test_the_font_of_the_pictures_is_the_file_of_its_package() -> None:
    """It comes with the tests alone."""
    font = HERE.parent / "tests" / "browser" / "kept" / "inter.woff2"
    assert hashlib.sha256(font.read_bytes()).hexdigest() == FONT
