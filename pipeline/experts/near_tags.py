"""Find tags that say the same: by their form, as initials of one another, and by what they mean."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pipeline.store.merges import resolved

FORM, INITIALS, MEANING = "form", "initials", "meaning"
COMPARED = 4000  # tags, the most used, that are compared by meaning: 64 MB of similarities
FEWEST, MOST = 2, 5  # letters of an abbreviation

_BETWEEN = re.compile(r"[\s\-_/.,'\u2019&]+")
_SMALL = frozenset({"and", "of", "the", "for", "in"})
_ENDS = (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh"), ("s", ""))
_NO_PLURAL = ("ss", "us", "is")


class NearTags(NamedTuple):
    """A tag that may be merged into another, how many people have each, and why; `similarity` only by meaning."""

    old: str
    new: str
    people: tuple[int, int]
    why: str
    similarity: float | None = None


def near_tags(used: Mapping[str, int], alike: Iterable[tuple[str, str, float]] = ()) -> list[NearTags]:
    """Return which tags may be merged into which, each once, none in a circle; `alike` are pairs by meaning.

    A tag goes into the one that more people have, an abbreviation into what it stands for.
    """
    rules: dict[str, str] = {}
    found = []
    for one in (*_by_form(used), *_by_initials(used), *_by_meaning(used, alike)):
        if one.old not in rules and len(resolved({**rules, one.old: one.new})) > len(rules):
            rules[one.old] = one.new
            found.append(one)
    return found


def form_of(tag: str) -> str:
    """Return what is left of a tag without case, accents, hyphens, blanks and the plural of its words."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", tag.casefold()) if not unicodedata.combining(char))
    return "".join(map(_singular, _words(plain)))


def _words(tag: str) -> list[str]:
    return [word for word in _BETWEEN.split(tag) if word]


def _singular(word: str) -> str:
    """Return an English word without the end of its plural; others that end so lose it as well, alike each time."""
    if len(word) <= MOST - 2 or word.endswith(_NO_PLURAL):
        return word
    return next((word.removesuffix(end) + instead for end, instead in _ENDS if word.endswith(end)), word)


def _by_form(used: Mapping[str, int]) -> Iterator[NearTags]:
    same: defaultdict[str, list[str]] = defaultdict(list)
    for tag in used:
        same[form_of(tag) or tag].append(tag)
    for tags in same.values():
        first, *others = sorted(tags, key=lambda one: (-used[one], one))
        yield from (NearTags(one, first, (used[one], used[first]), FORM) for one in others)


def _by_initials(used: Mapping[str, int]) -> Iterator[NearTags]:
    meant: defaultdict[str, list[str]] = defaultdict(list)
    for tag in used:
        words = _words(tag)
        if FEWEST <= len(words) <= MOST:
            for some in (words, [word for word in words if word not in _SMALL]):
                meant["".join(word[0] for word in some)].append(tag)
    for tag in used:
        if FEWEST <= len(tag) <= MOST and (longer := meant.get(tag)):
            first = min(longer, key=lambda one: (-used[one], one))
            yield NearTags(tag, first, (used[tag], used[first]), INITIALS)


def _by_meaning(used: Mapping[str, int], alike: Iterable[tuple[str, str, float]]) -> Iterator[NearTags]:
    for one, other, similarity in sorted(alike, key=lambda pair: (-pair[2], pair)):
        new, old = sorted((one, other), key=lambda tag: (-used[tag], tag))
        yield NearTags(old, new, (used[old], used[new]), MEANING, round(similarity, 3))
