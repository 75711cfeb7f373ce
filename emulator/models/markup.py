"""Take what no reader would read out of a text: markup, addresses, handles.

Biographies come as Markdown, HTML or plain text, often all three. Every pattern is bounded, so that a text of any
length takes time in proportion to its length.
"""

import html
import re
import unicodedata

_NOISE = re.compile(
    r"<!--.{0,2000}?-->"
    r"|</?[A-Za-z][^<>]{0,2000}>"  # an HTML tag
    r"|(?<=\])\((?:[^()\s]|\([^()\s]{0,200}\)){0,2000}\)"  # where a Markdown link leads
    r"|\bhttps?://\S{1,2000}"
    r"|\bwww\.\S{1,2000}"
    r"|(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,8}"  # an e-mail address
    r"|(?<!\w)@\w{1,64}"  # a handle
    r"|\b[\w-]{1,64}(?:\.[\w-]{1,64}){0,3}\.(?:(?:com|org|edu|info)\b(?:/\S{0,2000})?|(?:ai|app|be|de|dev|es|fr|gov|in|io|ly|me|tv|tw|uk)/\S{1,2000})",
    re.DOTALL | re.IGNORECASE,
)
_MAY_BE_NOISE = re.compile(r"[<@]|\]\(|://|\.\S")  # what stands in all of it
_FENCE = re.compile(r"^[ \t]*(```|~~~).{0,20000}?^[ \t]*\1", re.DOTALL | re.MULTILINE)
_FORMULA = re.compile(r"\$[^$\n]{0,200}[\\^_{=<>][^$\n]{0,200}\$|\\[A-Za-z]{1,40}")
_SIGNS = frozenset("*`~_")
_MARKS = re.compile(r"[*`~]{1,3}|(?<![^\W_])_{1,3}|_{1,3}(?!\w)")


def plain(text: str) -> str:
    """Return `text` without markup, addresses and handles: valid Unicode, NFKC, with straight apostrophes.

    The order and the casing of what is left stay as they were; each piece taken out leaves a space. A text of
    nothing but such pieces comes back blank.
    """
    valid = text.encode("utf-8", "replace").decode("utf-8")
    readable = unicodedata.normalize("NFKC", html.unescape(valid)).replace("\u2019", "'")
    quiet = _NOISE.sub(" ", readable) if _MAY_BE_NOISE.search(readable) else readable
    return quiet if _SIGNS.isdisjoint(quiet) else _MARKS.sub(" ", quiet)


def blanked(text: str) -> str:
    """Return `text` with markup, addresses, fenced code and TeX as NUL characters, every other sign in its place.

    It has the length of `text`, so that a slice of the one is a slice of the other.
    """
    if not any(sign in text for sign in "<`~@/:(\\$"):
        return text
    return _FORMULA.sub(_nothing, _NOISE.sub(_nothing, _FENCE.sub(_nothing, text)))


def _nothing(found: re.Match[str]) -> str:
    return "\0" * (found.end() - found.start())
