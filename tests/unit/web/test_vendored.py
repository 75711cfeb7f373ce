"""What is vendored is what its README says: unchanged."""

import hashlib

from web.serve import PACKAGE_FOLDER

HTMX = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"


def test_htmx_is_the_file_of_its_package() -> None:
    """Another version is another hash, written here and in the README beside it."""
    assert (
        hashlib.sha256((PACKAGE_FOLDER / "static" / "htmx.min.js").read_bytes()).hexdigest() == HTMX
    )
