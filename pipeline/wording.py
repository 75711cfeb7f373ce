"""A phrase that a model wrote, made harmless: visible text on one line, without mark-up.

A model repeats what stands in a text, and a stranger may have written it. Mark-up, entities, control and invisible
characters are taken off; what a phrase must be beside that is the business of the subject that asked for it.
"""

import html
import re

MAX_RAW = 1_000  # characters that are cleaned at all, so that no answer takes long
# letters and marks that show nothing (Unicode Default_Ignorable_Code_Point and U+2800), beside all of category Cf
BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});", re.IGNORECASE)
_ELEMENT = re.compile(r"<!--.*?-->|</?[a-z!?][^<>]*>", re.IGNORECASE | re.DOTALL)
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()]*\)")  # Markdown
_EMPHASIS = re.compile(r"\*\*|__|~~|`+")
_BULLET = re.compile(r"^(?:#{1,6}|[-*+>\u2022])\s+")


def without_markup(text: str) -> str:
    """Return a phrase on one line with one layer of entities and mark-up taken off, and what cannot be seen."""
    text = _ENTITY.sub(lambda found: html.unescape(found[0]), text)
    text = _EMPHASIS.sub("", _LINK.sub(r"\1", _ELEMENT.sub(" ", text)))
    seen = (" " if char.isspace() or char < " " else char for char in BLANK.sub("", text))
    text = "".join(char for char in seen if char.isprintable())
    return _BULLET.sub("", " ".join(text.split()))
