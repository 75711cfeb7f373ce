"""Shows data as what it is: nothing in a text can become a link, an image, mark-up, a row of a table or a line.

A text stands between marks that isolate its direction (U+2068, U+2069), so that right-to-left text moves nothing that
stands beside it, and no line of Markdown begins with it.
"""

import re
from collections.abc import Sequence
from xml.sax.saxutils import escape

FIRST, LAST = "\u2068", "\u2069"  # first-strong isolate, pop directional isolate
UNSEEN = "\ufffd"  # in the place of what cannot be seen, and could turn the direction of all that follows
KEPT = "\u200c\u200d"  # joiners, without which Persian, Hindi and families of emoji read differently

_SPACE = re.compile(r"\s+")
_SPECIAL = re.compile(r"[&<>|\\@`*_\[\]~$]|:(?=//)|(?<=[wW][wW][wW])\.")
# entities where a viewer might not know the backslash, or a table would be split before it is seen
_INSTEAD = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "|": "&#124;",
    "\\": "&#92;",
    "@": "@\u2060",
    ":": ":\u2060",
    ".": "\u2060.",
}


def visible(text: str, *, most: int | None = None) -> str:
    """Return a text on one line, every character that cannot be seen shown as U+FFFD; cut to `most` characters."""
    line = "".join(char if char.isprintable() or char in KEPT or char.isspace() else UNSEEN for char in text)
    line = _SPACE.sub(" ", line)
    return line if most is None or len(line) <= most else f"{line[: most - 1]}…"


def in_markdown(text: str, *, most: int | None = None) -> str:
    """Return a text for a line, a list or a cell of a table in Markdown.

    An invisible joiner (U+2060) in addresses keeps viewers from making links of them by themselves.
    """
    return f"{FIRST}{_plain(visible(text.strip(), most=most))}{LAST}"


def in_code(text: str) -> str:
    """Return a name of ours for a line of Markdown, so that it can be copied as it is; it holds no backtick."""
    return f"`{visible(text.strip()).replace('`', UNSEEN) or ' '}`"


def marked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """Return a text for a line of Markdown with the (start, end) of some parts in bold; they are apart and ascending.

    The marks of bold stand outside an isolate of its own, so that they hold whatever a part begins and ends with.
    """
    pieces, done = [], 0
    for start, end in spans:
        pieces.append(_plain(visible(text[done:start])))
        part = _plain(visible(text[start:end]))
        pieces.append(f"**{FIRST}{part}{LAST}**" if part else "")
        done = end
    pieces.append(_plain(visible(text[done:])))
    return f"{FIRST}{''.join(pieces)}{LAST}"


def in_svg(text: str, *, most: int | None = None) -> str:
    """Return a text for an element of SVG."""
    return f"{FIRST}{escape(visible(text, most=most))}{LAST}"


def _plain(line: str) -> str:
    """Return a visible line with everything that Markdown reads as more than itself taken as itself."""
    return _SPECIAL.sub(lambda found: _INSTEAD.get(found[0], f"\\{found[0]}"), line)
