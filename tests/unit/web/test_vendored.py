"""Vendored files are unchanged copies, as their README says."""

import hashlib

from askrows.web.serve import PACKAGE_FOLDER

HTMX = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"


def test_htmx_is_the_file_of_its_package() -> None:
    """A new version needs a new hash here and in the README of the folder."""
    assert (
        hashlib.sha256((PACKAGE_FOLDER / "static" / "htmx.min.js").read_bytes()).hexdigest() == HTMX
    )
