"""Recognise files that are neither text nor a table by their first bytes.

The names of the files do not matter. Parquet files and spreadsheets are not known here: callers
recognise them before.
"""

from collections.abc import Mapping

# The first bytes of common formats, with the name of the format.
_FORMAT_BY_SIGNATURE: Mapping[bytes, str] = {
    b"%PDF-": "a PDF document",
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF87a": "a GIF image",
    b"GIF89a": "a GIF image",
    b"II*\x00": "a TIFF image",
    b"MM\x00*": "a TIFF image",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ\x00": "an xz archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"PK\x05\x06": "an empty zip archive",
    b"SQLite format 3\x00": "an SQLite database",
    b"{\\rtf": "an RTF document",
    b"\x7fELF": "a program",
}
# A WebP image is a RIFF file with this name at this offset.
_RIFF_SIGNATURE = b"RIFF"
_WEBP_NAME = b"WEBP"
_WEBP_OFFSET = 8
# Bytes that are checked for control characters.
_CHECKED_BYTES = 4_096
# Text has hardly any of these: control characters except tab, line ends, form feed and escape.
_CONTROL_BYTES = bytes({*range(32)} - {9, 10, 11, 12, 13, 27})
# More than this share of control characters is no text. A text with some damaged rows has fewer.
_MAX_CONTROL_SHARE = 0.1


def find_binary_format(start: bytes, *, is_wide_text: bool) -> str:
    """Return the format of a file that is not text, such as "a WebP image"; "" for text.

    The format follows from the file's first bytes. A file in no known format is "a binary file" if
    it has many control characters, else text. Parquet and spreadsheets are not among the known
    formats: callers recognize them before.

    Args:
        start: The first bytes of the file.
        is_wide_text: The text is UTF-16 or UTF-32, in which NUL bytes are normal.
    """
    for signature, name in _FORMAT_BY_SIGNATURE.items():
        if start.startswith(signature):
            return name
    if start.startswith(_RIFF_SIGNATURE) and start[_WEBP_OFFSET:].startswith(_WEBP_NAME):
        return "a WebP image"
    if is_wide_text:
        return ""

    checked = start[:_CHECKED_BYTES]
    control_count = len(checked) - len(checked.translate(None, _CONTROL_BYTES))
    if control_count > _MAX_CONTROL_SHARE * len(checked):
        return "a binary file"
    return ""
