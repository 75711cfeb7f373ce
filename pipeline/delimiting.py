"""Data between tags of a name, and nothing in the data that a reader could take for one of those tags.

A text may try to end early, `</biography>`, so that what follows seems to be ours. Whatever looks like one of our
tags loses its bracket: in any case and spacing, with brackets or letters that only look alike, with invisible
characters in between, or as an entity. Other mark-up stays as it is; people write about HTML.
"""

import re
import unicodedata

# `<`, what looks like it, and its entities; then what may stand between it and a name
_BRACKETS = "<\u00ab\u02c2\u1438\u2039\u226a\u27e8\u276e\u2770\u29fc\u3008\u300a\ufe64\uff1c"
_OPENING = re.compile(
    rf"(?:[{_BRACKETS}]|&(?:lt|#0{{0,6}}60|#x0{{0,6}}3c);)(?=\s*+([^a-z0-9{_BRACKETS}]{{0,200}}.{{0,40}}))",
    re.IGNORECASE | re.DOTALL,
)
# letters of other scripts that look like those of the names, after NFKD and lower case
_LIKE = str.maketrans("аеорсуіјѕһьвгԁɡıοαριυντεκ", "aeopcyijshbbrdgioapiuvtek")


def delimited(name: str, data: str, *, names: tuple[str, ...]) -> str:
    """Return data between tags of that name; tags of our `names` inside the data lose their `<`: none can close."""
    if data.isascii() and "<" not in data and "&" not in data:
        return f"<{name}>{data}</{name}>"  # the quick way, for almost all
    letters = tuple(one.replace("_", "") for one in names)
    harmless = _OPENING.sub(lambda found: "(" if _plain(found[1]).startswith(letters) else found[0], data)
    return f"<{name}>{harmless}</{name}>"


def _plain(text: str) -> str:
    """Return the letters of a text, told from others by their look alone."""
    plain = unicodedata.normalize("NFKD", text).lower().translate(_LIKE)
    return "".join(char for char in plain if "a" <= char <= "z")
