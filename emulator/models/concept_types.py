"""Say of which type a concept is: by its last word, by how that ends, and else by the words around it."""

import re
from collections.abc import Sequence

from emulator.models.phrase_words import endings, kinds
from emulator.models.words import singular

TYPES = ("method", "domain", "model", "dataset", "metric", "task", "material", "process", "other")
"""Every type there is."""

_BY_WORD = ("other", "dataset", "metric", "model", "task", "method", "domain", "material", "process")
_COINED = re.compile(
    r"\b(?:propos|introduc|present|develop|call|nam|dub|term)(?:e|es|ed|ing|s)?\b[^.;]{0,30}$", re.IGNORECASE
)
_NEXT = re.compile(r"\W{0,3}(?:is|are)?(?: an?)?((?: ?[\w-]+){1,4})")
_KIND_OF = re.compile(r"([\w-]+),? (?:such as|like|including|called|named|e\.g\.,?|\() ?(?:the )?$", re.IGNORECASE)


def type_of(words: Sequence[str]) -> str:
    """Return the type of the concept whose `words` are given lower case and singular; `other` where no rule knows."""
    last = words[-1]
    known = kinds(last)
    for kind in _BY_WORD:
        if kind in known:
            return kind
    for kind, ends in endings().items():
        if last.endswith(ends) and "noun" not in known:
            return kind
    return "other"


def type_of_name(before: str, after: str) -> str:
    """Return the type of a name that says nothing itself, by what stands `before` and `after` it.

    That is the type of a word right behind it ("the IMC17M dataset"), or of one right before ("compounds such as"), or
    `method` for what a text says it proposes.
    """
    following = _NEXT.match(after)
    leading = _KIND_OF.search(before)
    for word in [*(following[1].split() if following else ()), *(leading.groups() if leading else ())]:
        kind = type_of([singular(word.lower())])
        if kind not in ("other", "process"):
            return kind
    return "method" if _COINED.search(before) else "other"
