"""Escape text that others wrote for the place it goes to: a prompt, a line of Markdown, a cell of CSV.

A phrase of a model loses mark-up, entities, control and invisible characters. In a prompt, data stands between tags,
and what looks like one of our tags inside it loses its bracket; other mark-up stays. In a report a text is code. A cell
that a spreadsheet would run as a formula gets an apostrophe before it, and so does one that has one there already;
`restore_formula` takes it off, so that what was exported is imported as it was.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

LINE = 110  # characters of a result on a console
MAX_RAW = 1_000  # characters that are cleaned at all, so that no answer takes long
# letters and marks that show nothing (Unicode Default_Ignorable_Code_Point and U+2800), beside all of category Cf
BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
BAD_TEXT = re.compile(
    "[\ud800-\udfff]"
)  # what no text holds: bytes that did not decode, or half a character
UNSOUND = re.compile("[\0\ud800-\udfff]")  # and NUL, which PostgreSQL holds no text with

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});", re.IGNORECASE)
_ELEMENT = re.compile(r"<!--.*?-->|</?[a-z!?][^<>]*>", re.IGNORECASE | re.DOTALL)
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()]*\)")  # Markdown
_EMPHASIS = re.compile(r"\*\*|__|~~|`+")
_BULLET = re.compile(r"^(?:#{1,6}|[-*+>\u2022])\s+")


def plural(count: int, one: str, many: str = "") -> str:
    """Return `1 batch` or `2 batches`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def usd(amount: float) -> str:
    """Return an amount with two digits, a small one with four."""
    return f"${amount:,.2f}" if amount >= 0.1 or amount == 0 else f"${amount:.4f}"  # noqa: PLR2004 - ten cents


def one_line(one: Any) -> str:
    """Return a result in a line, as its `__repr__`: its class, and what of it is plain and not empty."""
    values = (
        one if isinstance(one, dict) else one._asdict() if hasattr(one, "_asdict") else vars(one)
    )
    plain = (
        f"{name}={value!r}"
        for name, value in values.items()
        if value and isinstance(value, str | int | float)
    )
    return cut(f"{type(one).__name__}({', '.join(plain)})")


def cut(text: str, most: int = LINE) -> str:
    """Return a text that is no longer than `most` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def first_few(names: Sequence[str], most: int = 3) -> str:
    """Return the first of some names, and how many more there are, for a message."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def without_markup(text: str) -> str:
    """Return a phrase on one line without mark-up, one layer of entities, and what cannot be seen."""
    import html

    text = _ENTITY.sub(lambda found: html.unescape(found[0]), text)
    text = _EMPHASIS.sub("", _LINK.sub(r"\1", _ELEMENT.sub(" ", text)))
    seen = (" " if char.isspace() or char < " " else char for char in BLANK.sub("", text))
    text = "".join(char for char in seen if char.isprintable())
    return _BULLET.sub("", " ".join(text.split()))


# `<`, what looks like it, and its entities; then what may stand between it and a name
_BRACKETS = "<\u00ab\u02c2\u1438\u2039\u226a\u27e8\u276e\u2770\u29fc\u3008\u300a\ufe64\uff1c"
_OPENING = re.compile(
    rf"(?:[{_BRACKETS}]|&(?:lt|#0{{0,6}}60|#x0{{0,6}}3c);)(?=\s*+([^a-z0-9{_BRACKETS}]{{0,200}}.{{0,40}}))",
    re.IGNORECASE | re.DOTALL,
)
_TELLING = (
    10  # letters of a name: as many as stand in what is looked at, for all that is between them
)
# letters of other scripts that look like those of the names, after NFKD and lower case
_LIKE = str.maketrans("аеорсуіјѕһьвгԁɡıοαριυντεκ", "aeopcyijshbbrdgioapiuvtek")


def harmless(data: str, *, names: Iterable[str]) -> str:
    """Return data in which tags of our `names`, and what looks like them, lose their `<`."""
    if (
        "<" not in data
        and "&" not in data
        and (data.isascii() or not any(map(data.__contains__, _BRACKETS)))
    ):
        return data
    ours = tuple(_looks(name)[:_TELLING] for name in names)
    return _OPENING.sub(lambda found: "(" if _looks(found[1]).startswith(ours) else found[0], data)


def _looks(text: str) -> str:
    return "".join(
        filter(str.isalnum, unicodedata.normalize("NFKD", text).lower().translate(_LIKE))
    )


_UNSEEN = "\ufffd"  # in the place of what cannot be seen, and could turn the direction of all that follows
_ENDS_CODE = str.maketrans("`|", f"{_UNSEEN}\u00a6")
_JOINERS = "\u200c\u200d"  # without them Persian, Hindi and families of emoji read differently


def escape_invisible(text: str, *, most: int | None = None) -> str:
    """Return a text on one line, at most `most` characters, with U+FFFD for every character that cannot be seen."""
    line = "".join(
        char if char.isprintable() or char in _JOINERS or char.isspace() else _UNSEEN
        for char in text
    )
    line = re.sub(r"\s+", " ", line)
    return line if most is None or len(line) <= most else f"{line[: most - 1]}…"


def markdown_code(
    text: str, *, most: int | None = None, bold: Sequence[tuple[int, int]] = ()
) -> str:
    """Return a text for a line, a list or a cell of a table in Markdown, as code, in which nothing is mark-up.

    A backtick in it is shown as unknown, and what would end a cell as a broken bar. The (start, end) of its `bold`
    parts are apart and ascending.
    """
    cuts = sorted({0, len(text), *(at for span in bold for at in span)})
    pieces = []
    for start, end in pairwise(cuts):
        shown = escape_invisible(text[start:end] if bold else text.strip(), most=most)
        code = f"`{shown.translate(_ENDS_CODE) or ' '}`"
        pieces.append(f"**{code}**" if (start, end) in bold else code)
    return "".join(pieces) or "` `"


# What Excel, LibreOffice or Google Sheets read as a formula: these signs (also full-width and small ones, and the minus
# sign), after white space and what cannot be seen or not; and white space that ends a cell early (OWASP, "CSV
# Injection", read 2026-11)
_FORMULA = re.compile(
    r"[\t\r\n]|[\s\x00-\x1f\u200b-\u200f\u2060\ufeff]*"
    r"[=+\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212\u207a\u207b\u207c]"
)
_SIGNED = re.compile(r"[+-][0-9]+(?:[.,][0-9]+)*|-")
_MARKED = re.compile(rf"'+(?:{_FORMULA.pattern})")


def neutralize_formula(text: str) -> str:
    """Return a cell's text as it may stand in a CSV file; a number or a lone dash, which no program runs, as it is."""
    is_run = (_FORMULA.match(text) or _MARKED.match(text)) and not _SIGNED.fullmatch(text)
    return f"'{text}" if is_run else text


def restore_formula(text: str) -> str:
    """Return the text that `neutralize_formula` made a cell of."""
    return text[1:] if text.startswith("'") and _MARKED.match(text) else text


class FormulaGuard:
    """Neutralize the formulas among cells of CSV, and count the cells that were changed; `raw` changes none."""

    def __init__(self, *, raw: bool = False) -> None:
        """Begin with no cell."""
        self.raw = raw
        self.changed_cells = 0

    def __call__(self, cell: str) -> str:
        """Return a cell as it is written."""
        written = cell if self.raw else neutralize_formula(cell)
        self.changed_cells += written != cell
        return written


def csv_line(
    cells: Sequence[str | float], guard: Callable[[str], str] = neutralize_formula
) -> bytes:
    r"""Return one record as UTF-8 with `\r\n` at its end (RFC 4180), quoted as needed; no text in it is a formula.

    The `guard` says how a text is written.
    """
    text = io.StringIO()
    # the line end also says what is quoted: with `\n` alone, Python 3.12 leaves a lone carriage return bare
    csv.writer(text, lineterminator="\r\n").writerow(
        [guard(cell) if isinstance(cell, str) else cell for cell in cells]
    )
    return text.getvalue().encode("utf-8", "replace")
