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
_MARKS = re.compile(r"[*`~]{1,3}|(?<![^\W_])_{1,3}|_{1,3}(?!\w)")


def plain(text: str) -> str:
    """Return `text` without markup, addresses and handles: valid Unicode, NFKC, with straight apostrophes.

    The order and the casing of what is left stay as they were; each piece taken out leaves a space. A text of
    nothing but such pieces comes back blank.
    """
    valid = text.encode("utf-8", "replace").decode("utf-8")
    readable = unicodedata.normalize("NFKC", html.unescape(valid)).replace("\u2019", "'")
    return _MARKS.sub(" ", _NOISE.sub(" ", readable))
