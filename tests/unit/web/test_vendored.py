"""Vendored files are unchanged copies, as their README says."""

import hashlib

from askrows.web.serve import PACKAGE_FOLDER

HTMX = "df982506d1529a193f6073f568ec821d4ae8db761bdb0ef07bd6a3d5eace0b2e"


def test_htmx_is_the_file_of_its_package() -> None:
    """A new version needs a new hash here and in the README of the folder."""
    assert (
        hashlib.sha256((PACKAGE_FOLDER / "static" / "htmx.min.js").read_bytes()).hexdigest() == HTMX
    )
