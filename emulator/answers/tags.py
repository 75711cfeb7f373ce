"""Tag a text with terms of a vocabulary: at each place the longest phrase known, what stands near the title first.

Rough on purpose: no grammar, no reasoning. What stands in the title or right behind it is what a text is about, and so
is what it says often, or in several words; where nothing of that is sure, what is touched on nearest to it. What is
told of leisure or as a part of a name counts for nothing. The same text gives the same tags.
"""

import functools
import math
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from emulator.answers.encoder import MEANING, encode
from emulator.answers.text import CJK, Word, cut, plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TITLE = 15
_NEAR = 15
_EARLY = 60
"""Words of a title at most; behind it those in which one word alone is enough, and those in which several are."""
_FADES = 40
_OFTEN = 3
"""Words after which an early place is worth a third; how often makes sure whatever the place."""
_MOST = 5
_FEW = 2
"""Tags at most: of what is sure, and of what is broad or only touched on."""
_LOOKED_AT = 4000
_BEGINNING = 200
"""Characters that the search by meaning reads, and words that tell a language."""
_SOFTWARE = frozenset(
    {
        "software development",
        "programming",
        "computer science",
        "it infrastructure",
        "data science",
        "embedded systems",
    }
)
_SIGN = re.compile(f"[{CJK}]")
"""Of a script in which a form cannot be an English word."""
_SHORTEST = 3
"""Letters of the shortest word that a German compound begins or ends with."""
_MARKS = "=~%"
_WHO = {"ology": "ologist", "ography": "ographer", "onomy": "onomer", "ics": "icist", "ing": "er"}
"""How who knows a domain is called, by how its name ends."""


class _Way(NamedTuple):
    """One way to say a term; of a blank name a phrase to read over, of one with a hyphen what begins an aside."""

    name: str
    mark: str
    surface: str


class _Hit(NamedTuple):
    name: str
    at: int
    size: int
    mark: str


class _Vocabulary:
    """The terms, and the phrases that stand for them; the first that claims a phrase keeps it."""

    def __init__(self) -> None:
        self.parents: dict[str, list[str]] = {}
        self.lists: dict[str, frozenset[str]] = {}
        self.plain: set[str] = set()
        """The terms whose names alone mean them in any company; "go" and "react" do not."""
        self._ways: dict[tuple[str, ...], list[_Way]] = {}
        self._foreign: dict[tuple[str, ...], list[_Way]] = {}
        self._tails: dict[str, str] = {}
        self._most: dict[str, int] = {}
        terms: list[tuple[str, list[str], list[str], list[str]]] = []
        text = files("emulator.answers").joinpath("vocabulary.tsv").read_text(encoding="utf-8")
        for line in (one for one in text.splitlines() if one and not one.startswith("#")):
            name, *cells = line.split("\t")
            parents, aliases, *forms = (
                [one for part in cell.split(",") if (one := part.strip())] for cell in cells
            )
            if name.startswith("-"):
                self.lists[name[1:]] = frozenset(aliases)
            else:
                terms.append((name, parents, aliases, forms[0] if forms else []))
        for aside in ("", "leisure", "away", "study", "liking"):
            for phrase in sorted(self.lists[aside]):
                self._add(self._ways, phrase, f"-{aside}" if aside else "")
        for written, parents, aliases, _ in terms:
            bare = written.removeprefix("!")
            if written == bare and all(
                alias[1:].lower() != bare for alias in aliases if alias[0] in _MARKS
            ):
                self.plain.add(bare)
                aliases.insert(0, bare)
                aliases += [
                    bare.removesuffix(end) + who for end, who in _WHO.items() if bare.endswith(end)
                ]
            self.parents[bare] = parents
            for alias in aliases:
                self._add(self._ways, alias, bare)
        for form, written in ((form, written) for written, *_, forms in terms for form in forms):
            term = written.removeprefix("!")
            self._add(
                self._ways if _SIGN.search(form) else self._foreign, form.removeprefix("-"), term
            )
            if form[0] == "-":
                self._tails[cut(form)[0].plain] = term

    def _add(self, ways: dict[tuple[str, ...], list[_Way]], alias: str, name: str) -> None:
        mark, phrase = (alias[0], alias[1:]) if alias[0] in _MARKS else ("", alias)
        words = [word for word in cut(phrase) if word.plain]
        known = ways.setdefault(_key(words), [])
        way = _Way(name, mark, phrase if mark in ("=", "~") else "")
        if all(one.surface != way.surface for one in known):
            known.append(way)
            known.sort(key=lambda one: not one.surface)  # the exact casing is tried first
        for first in (words[0].plain, words[0].stem):
            self._most[first] = max(self._most.get(first, 0), len(words))

    def ancestors(self, name: str) -> list[str]:
        found = [up for up in self.parents[name] if up in self.parents]
        for one in found:  # which grows meanwhile
            found += [
                up
                for up in self.parents[one]
                if up in self.parents and up != name and up not in found
            ]
        return found

    @functools.cached_property
    def software(self) -> frozenset[str]:
        return frozenset(
            name for name in self.parents if not _SOFTWARE.isdisjoint((name, *self.ancestors(name)))
        )

    @functools.cached_property
    def _vectors(self) -> "NDArray[np.float32]":
        return encode(list(self.parents))[:, :MEANING]

    def nearest(self, text: str) -> list[str]:
        """Return the terms, the nearest to a text in meaning first; "react" is near to any talk of reacting."""
        if not text[:_LOOKED_AT].strip():
            return []
        likeness = self._vectors @ encode([text[:_LOOKED_AT]])[0, :MEANING]
        narrow = self.plain.difference(self.lists["never"], self.lists["broad"])
        near = dict(zip(self.parents, likeness, strict=True))
        return sorted(near, key=lambda name: (name not in narrow, -near[name], name))

    def hits(self, words: Sequence[Word], *, is_foreign: bool) -> list[_Hit]:
        """Return what `words` say, from left to right, no two overlapping; breaks are never crossed."""
        found: list[_Hit] = []
        at = 0
        while at < len(words):
            size, way = self._longest(words, at, is_foreign=is_foreign)
            found += [_Hit(way.name, at, size, way.mark)] if way.name else []
            at += size
        is_software = any(hit.name in self.software and hit.mark != "~" for hit in found)
        return [
            hit for hit in found if hit.mark not in ("~", "%") or is_software == (hit.mark == "~")
        ]

    def _longest(self, words: Sequence[Word], at: int, *, is_foreign: bool) -> tuple[int, _Way]:
        first = words[at]
        most = max(self._most.get(first.plain, 0), self._most.get(first.stem, 0))
        for size in range(min(most, len(words) - at), 0, -1):
            surface = " ".join(word.surface for word in words[at : at + size])
            if is_foreign and surface.lower() in self.lists["friends"]:
                continue
            key = _key(words[at : at + size])
            for way in (
                *self._ways.get(key, ()),
                *(self._foreign.get(key, ()) if is_foreign else ()),
            ):
                if way.surface in ("", surface):
                    return size, way
        ends = (
            first.plain[start:]
            for start in range(_SHORTEST, len(first.plain) - _SHORTEST if is_foreign else 0)
        )
        return 1, _Way(next((self._tails[end] for end in ends if end in self._tails), ""), "", "")


def tags(text: str, *, at_least: int = 0, at_most: int = 8) -> list[str]:
    """Return the domains `text` speaks of, the surest first, with broader and near terms up to `at_least`."""
    if not text.strip():
        return []
    vocabulary = _vocabulary()
    cleaned = plain(text)
    names = _said(vocabulary, cleaned)
    if len(names) < at_least:
        ups = [up for name in names for up in vocabulary.ancestors(name)]
        nearest = vocabulary.nearest(cleaned if cleaned.strip() else text)
        names = list(dict.fromkeys([*names, *ups, *nearest]))[:at_least]
    return names[: max(0, at_most)]


def _said(vocabulary: _Vocabulary, text: str) -> list[str]:
    words = cut(text)
    lists = vocabulary.lists
    first, _, rest = text.partition("\n")
    title = len(cut(first)) if rest.strip() else 0
    title = title if title <= _TITLE else 0
    beginning = [word.surface.lower() for word in words[:_BEGINNING]]
    is_foreign = len(lists["other"].intersection(beginning)) > len(
        lists["english"].intersection(beginning)
    )
    pace = 2 if 2 * sum(_SIGN.match(word) is not None for word in beginning) > len(beginning) else 1
    places: dict[str, list[_Hit]] = {}
    for hit in _at_work(vocabulary, vocabulary.hits(words, is_foreign=is_foreign), words):
        is_named = hit.at >= title and hit.name not in vocabulary.software and _in_name(hit, words)
        if hit.name not in lists["never"] and not is_named:
            places.setdefault(hit.name, []).append(hit)

    def weight(name: str) -> float:
        early = math.exp(-places[name][0].at / (_FADES * pace))
        form = 0.2 * any(hit.size > 1 for hit in places[name]) + 0.4 * (places[name][0].at < title)
        return early + 0.5 * math.log(1 + len(places[name])) + form - 0.4 * (name in lists["broad"])

    def is_sure(name: str) -> bool:
        reach = _EARLY if any(hit.size > pace for hit in places[name]) else _NEAR
        return places[name][0].at < title + reach * pace or len(places[name]) >= _OFTEN

    ranked = sorted(places, key=lambda name: (-weight(name), places[name][0].at))
    narrow = [name for name in ranked if name not in lists["broad"]]
    sure = [name for name in narrow if is_sure(name)][:_MOST]
    return sure or narrow[:_FEW] or ranked[:_FEW]


def _at_work(vocabulary: _Vocabulary, hits: Sequence[_Hit], words: Sequence[Word]) -> list[_Hit]:
    """Return the hits outside what a sentence tells of leisure, of likings that are pastimes, and of studies."""
    kept = []
    aside = ""
    until = 0
    for hit in hits:
        aside = aside if hit.at < until else ""
        if hit.name.startswith("-"):
            aside = aside or hit.name
            until = next(
                (at for at in range(hit.at, len(words)) if words[at].surface == "."), len(words)
            )
        elif not aside or (aside == "-liking" and hit.name not in vocabulary.lists["pastimes"]):
            kept.append(hit)
    return kept


def _in_name(hit: _Hit, words: Sequence[Word]) -> bool:
    """Tell whether one capitalised word stands beside another one, as a part of a name: "Adobe Systems"."""
    beside = [words[at].surface for at in (hit.at - 1, hit.at + 1) if 0 <= at < len(words)]
    return (
        hit.size == 1
        and words[hit.at].surface.istitle()
        and any(word[:1].isupper() for word in beside)
    )


def _key(words: Sequence[Word]) -> tuple[str, ...]:
    return (words[0].plain,) if len(words) == 1 else tuple(word.stem for word in words)


_vocabulary = functools.cache(_Vocabulary)
