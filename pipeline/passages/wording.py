"""What the name of a concept may look like, whoever wrote the answer: visible text on one line, in the case it has.

A model repeats what stands in a passage, and a stranger may have written it. Mark-up, entities, control and invisible
characters are taken off; whether what is left is a good name is for the quality report to say.
"""

import re

from pipeline.wording import MAX_RAW, without_markup

MAX_NAME = 300  # characters; a name has a few words, and an index of somebody else's table takes 2,700 bytes

_PLAIN = re.compile(r"[A-Za-z0-9]+(?:[ /-][A-Za-z0-9]+)*+")
_EMPHASIZED = re.compile(r"([*_~])(.*[^\s*_~])\1")  # whole; a mark at one end alone is a part of the name, as in A*


def cleaned(name: str) -> str:
    """Return a name trimmed, with single blanks, without mark-up or characters that cannot be seen; "" if none is left.

    What was cleaned once is not changed by cleaning it again. What has no letter and no digit, or is longer than 300
    characters, is no name.
    """
    if _PLAIN.fullmatch(name):
        return name if len(name) <= MAX_NAME else ""
    text = name[: MAX_RAW + 1]
    while (cleaner := _cleaned_once(text)) != text:
        text = cleaner
    return text if len(text) <= MAX_NAME and any(char.isalnum() for char in text) else ""


def _cleaned_once(text: str) -> str:
    """Return a text with one layer of mark-up taken off, that round the whole of it too."""
    text = without_markup(text)
    whole = _EMPHASIZED.fullmatch(text)
    return whole[2] if whole else text
