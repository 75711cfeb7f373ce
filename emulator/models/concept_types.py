"""Say of which type a concept is: by its last word, by how that ends, and else by the words around it."""

import functools
import re
from collections.abc import Sequence

from emulator.models.phrase_words import endings, kinds
from emulator.models.words import singular

TYPES = ("method", "domain", "model", "dataset", "metric", "task", "material", "process", "other")
"""Every type there is."""

_BY_WORD = ("disorder", "other", "dataset", "metric", "model", "task", "method", "domain", "material", "process")
_COINED = re.compile(
    r"\b(?:propos|introduc|present|develop|call|nam|dub|term)(?:e|es|ed|ing|s)?\b[^.;]{0,30}$", re.IGNORECASE
)
_NEXT = re.compile(r"[\"')\]]{0,2} ([\w-]+)")
_SAID = re.compile(
    r"[\"')\]]{0,2},? (?:is |are )?an? ((?:(?!of |for |that |which |to |in |with |on |based )[\w-]+ ?){1,5})"
)
_MODEL = re.compile(r"(?:LLM|GPT|BERT|[Ll]lama|Qwen|[Ff]ormer|Net)(?:[-.\d][\w.]*)?$")
_SPECIES = re.compile(r"[A-Z][a-z]{2,}(?:us|a|um|is|es|as|on|yces) [a-z]{3,}(?:us|a|um|is|ae|i|ens|ans|es)")
_KIND_OF = re.compile(r"([\w-]+),? (?:such as|like|including|called|named|e\.g\.,?|\() ?(?:the )?$", re.IGNORECASE)


def type_of(words: Sequence[str]) -> str:
    """Return the type of the concept whose `words` are given lower case and singular; `other` where no rule knows."""
    kind = _kind_of(words[-1])
    return kind if kind in TYPES else "other"


def is_unknown(words: Sequence[str]) -> bool:
    """Tell whether no rule knows what kind of thing a concept is; a disease is known, and of no type."""
    return _kind_of(words[-1]) in ("", "other")


@functools.lru_cache(maxsize=1 << 16)
def _kind_of(last: str) -> str:
    """Return what a last word says of the concept's kind, a type or `disorder`; empty where no rule knows."""
    known = kinds(last)
    for kind in _BY_WORD:
        if kind in known:
            return kind
    for kind, ends in endings().items():
        if last.endswith(ends) and "noun" not in known:
            return kind
    return ""


def type_by_context(before: str, after: str, *, is_name: bool) -> str:
    """Return the type of a concept that says nothing itself, by what stands `before` and `after` it.

    That is the type of what it is said to be ("XPlan, a planner for") or belongs to ("compounds such as"); of a name,
    that of the word right behind it ("the IMC17M dataset") too, else `method` for what a text says it proposes.
    """
    said, leading = _SAID.match(after), _KIND_OF.search(before)
    following = _NEXT.match(after) if is_name else None
    for word in (said and said[1].split()[-1], following and following[1], leading and leading[1]):
        kind = type_of([singular(word.lower())]) if word else "other"
        if kind not in ("other", "process"):
            return kind
    return "method" if is_name and _COINED.search(before) else "other"


def type_by_form(name: str) -> str:
    """Return the type of a name by how it is written: two Latin words name a species, `-GPT2` a model; else `other`."""
    if _SPECIES.fullmatch(name) and not kinds(name.rpartition(" ")[2]):
        return "material"
    return "model" if _MODEL.search(name) else "other"
