"""CSV lines that a spreadsheet may open: a cell that it would run as a formula is written as text.

Such a cell gets an apostrophe before it, the sign for "this is text" in every spreadsheet; so does a cell that already
has one there. `plain` takes it off again, so that what was exported is imported as it was.
"""

import csv
import io
import re
from collections.abc import Sequence

# What Excel, LibreOffice or Google Sheets read as a formula: these signs (also full-width and small ones, and the minus
# sign), after white space and what cannot be seen or not; and white space that ends a cell early (OWASP, "CSV
# Injection", read 2026-11)
_FORMULA = re.compile(
    r"[\t\r\n]|[\s\x00-\x1f\u200b-\u200f\u2060\ufeff]*"
    r"[=+\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212\u207a\u207b\u207c]"
)
_MARKED = re.compile(rf"'+(?:{_FORMULA.pattern})")


def neutralised(text: str) -> str:
    """Return a cell's text as it may stand in a CSV file."""
    return f"'{text}" if _FORMULA.match(text) or _MARKED.match(text) else text


def plain(text: str) -> str:
    """Return the text that `neutralised` made a cell of."""
    return text[1:] if text.startswith("'") and _MARKED.match(text) else text


def line(cells: Sequence[str]) -> bytes:
    r"""Return one record as UTF-8 with `\r\n` at its end (RFC 4180), every cell neutralised and quoted as needed."""
    text = io.StringIO()
    # the line end also says what is quoted: with `\n` alone, Python 3.12 leaves a lone carriage return bare
    csv.writer(text, lineterminator="\r\n").writerow([neutralised(cell) for cell in cells])
    return text.getvalue().encode("utf-8", "replace")
