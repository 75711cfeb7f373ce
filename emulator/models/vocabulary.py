"""The controlled vocabulary: which phrases of a text stand for which domain.

A text is read once, from left to right, and the longest phrase known at each place wins, so that the size of the
vocabulary hardly matters. The format of the file is described in its own first lines.
"""

import functools
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

from emulator.models.words import Word, cut, humps

SOFTWARE = frozenset(
    {"software development", "programming", "computer science", "it infrastructure", "data science", "embedded systems"}
)
"""Broad terms of the trade whose words are ambiguous everywhere else: "Go", "R", "Swift"."""
_BEGINS_ALIKE, _ENDING = 4, 3
"""Letters by which two words begin alike, and how many more the one may have behind them."""
_REACH = 3
"""An ambiguous word needs a software word at most this many places away."""
MARKS = "=~^%"
_TELLING = re.compile(
    r"(?:log(?:y|ists?|ía|ie|i[ae]n?)|ographe?[ry]?s?|istry?|ics|onom\w+|culture|iatr\w+|[^ -~]{2,}.*|\w{12,})$"
)
"""Aliases of one word that hardly mean anything else: by how they end, or in another script."""
_EXACT = ("=", "~")
ASIDES = LEISURE, LIKING, AWAY, STUDY = "-leisure", "-liking", "-away", "-study"
"""What stands in the place of a term where a text tells of leisure, likings, what is no work, or what was learnt."""
_reading = threading.Lock()
_CUES = frozenset(
    {"developer", "programmer", "programming", "language", "engineer", "code", "coding", "lang", "dev", "script"}
)

_RANKS = frozenset(
    {"a", "the", "i", "senior", "junior", "head", "chief", "lead", "master", "apprentice", "assistant", "retired"}
    | {"certified", "professional", "freelance", "independent", "local", "organic", "artisan", "former", "and", "our"}
)
"""Words before a craft that are no first names."""


class Term(NamedTuple):
    """One domain of the vocabulary."""

    name: str
    parents: tuple[str, ...]
    aliases: tuple[str, ...]

    @property
    def plain(self) -> bool:
        """Say whether the name alone, in any casing and company, means the term; "go" and "react" do not."""
        return self.name in self.aliases


class Found(NamedTuple):
    """One phrase of a text that stands for a domain."""

    name: str
    at: int
    """The place of its first word."""
    size: int
    """How many words it has."""
    is_telling: bool = True
    """Whether it can hardly mean anything else: "ecologist" and "fruit trees", but neither "ferry" nor "kiln"."""


class _Entry(NamedTuple):
    """One way to say a term; a `name` of None is a phrase to read over."""

    name: str | None
    surface: str | None
    """The exact casing it needs, or None where casing makes no difference."""
    mark: str
    """`=`, `~`, `^`, `%` or nothing, as the file says."""
    is_telling: bool


class Vocabulary:
    """The terms, and their aliases as a table from words to terms."""

    def __init__(
        self,
        terms: Sequence[Term],
        *,
        passed_over: Iterable[str] = (),
        asides: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        """Take `terms`, the phrases to read over, and those that begin an aside by its kind.

        The first that claims a phrase keeps it.
        """
        self.terms = {term.name: term for term in terms}
        self._ancestors = {term.name: self._climb(term.name) for term in terms}
        self._entries: dict[tuple[str, ...], list[_Entry]] = {}
        self._longest: dict[str, int] = {}
        for phrase in passed_over:
            self._add(None, phrase)
        for name, phrases in [*(asides or {}).items(), *((term.name, term.aliases) for term in terms)]:
            for phrase in phrases:
                self._add(name, phrase)

    @functools.cached_property
    def words(self) -> frozenset[str]:
        """Return the words of all aliases, in lower case and singular: none of them is a name alone."""
        phrases = (alias for term in self.terms.values() for alias in term.aliases)
        return frozenset(word.plain for phrase in phrases for word in cut(phrase) if word.plain)

    def ancestors(self, name: str) -> list[str]:
        """Return the terms that `name` implies, nearest first, each once; nothing for one without or a stranger."""
        return self._ancestors.get(name, [])

    def find(self, words: Sequence[Word]) -> list[Found]:
        """Return what `words` say, from left to right, no two overlapping; breaks are never crossed."""
        by_mark: dict[str, list[Found]] = {}
        at = 0
        while at < len(words):
            size, entry = self._longest_at(words, at)
            if entry is not None and entry.name is not None:
                by_mark.setdefault(entry.mark, []).append(Found(entry.name, at, size, entry.is_telling))
            at += size
        software, shared = by_mark.pop("~", []), by_mark.pop("%", [])
        sure = sorted(found for group in by_mark.values() for found in group)
        places = [found.at for found in sure if self._is_software(found.name)]
        if not places:
            sure += shared
        cues = [*places, *(place for place, word in enumerate(words) if word.plain in _CUES)] if software else []
        for found in software:
            if any(abs(found.at - cue) <= _REACH for cue in cues):
                sure.append(found)
                cues.append(found.at)  # one ambiguous word that counts vouches for the next
        return sorted(sure, key=lambda found: found.at)

    def unfold(self, words: Sequence[Word]) -> list[Word]:
        """Return `words` with camel-cased ones that no phrase begins with taken apart."""
        unfolded: list[Word] = []
        for word in words:
            is_whole = not word.plain or word.plain in self._longest or word.surface.islower()
            unfolded.extend([word] if is_whole else humps(word.surface))
        return unfolded

    def _climb(self, name: str) -> list[str]:
        """Return what `ancestors` gives; two terms may be each other's parents."""
        found: dict[str, None] = {}
        level = [name]
        while level:
            ups = dict.fromkeys(up for term in level for up in self.terms[term].parents)
            level = [up for up in ups if up != name and up not in found and up in self.terms]
            found.update(dict.fromkeys(level))
        return list(found)

    def _add(self, name: str | None, alias: str) -> None:
        """Enter one alias with its mark; an entry that is there already stays."""
        mark, phrase = (alias[0], alias[1:]) if alias[0] in MARKS else ("", alias)
        words = [word for word in cut(phrase) if word.plain]
        is_telling = len(words) > 1 or _is_like(name or "", phrase.lower()) or _TELLING.search(phrase) is not None
        entry = _Entry(name, phrase if mark in _EXACT else None, mark, is_telling)
        entries = self._entries.setdefault(_key(words), [])
        if all(known.surface != entry.surface for known in entries):
            entries.append(entry)
            entries.sort(key=lambda known: known.surface is None)  # the exact casing is tried first
        for first in (words[0].plain, words[0].stem):
            self._longest[first] = max(self._longest.get(first, 0), len(words))

    def _longest_at(self, words: Sequence[Word], at: int) -> tuple[int, _Entry | None]:
        """Return the size and the entry of the longest phrase at `at`; (1, None) where none begins."""
        first = words[at]
        most = max(self._longest.get(first.plain, 0), self._longest.get(first.stem, 0))
        for size in range(min(most, len(words) - at), 0, -1):
            part = words[at : at + size]
            for entry in self._entries.get(_key(part), ()):
                named = entry.mark == "^" and _like_a_surname(words, at)
                if not named and entry.surface in {None, _surface(part)}:
                    return size, entry
        return 1, None

    def _is_software(self, name: str) -> bool:
        """Say whether `name` belongs to the software trade."""
        return name in SOFTWARE or not SOFTWARE.isdisjoint(self.ancestors(name))


def everything() -> Vocabulary:
    """Return the whole vocabulary, read once however many threads ask."""
    with _reading:
        return _everything()


@functools.cache
def _everything() -> Vocabulary:
    terms: list[Term] = []
    apart: dict[str, list[str]] = {}
    text = files("emulator.models").joinpath("vocabulary.tsv").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, parents, aliases = (cell.strip() for cell in line.split("\t"))
            if name.startswith("-"):
                apart[name] = _cell(aliases)
            else:
                terms.append(_term(name, parents=_cell(parents), aliases=_cell(aliases)))
    return Vocabulary(terms, passed_over=apart.pop("-"), asides=apart)


def _term(name: str, *, parents: list[str], aliases: list[str]) -> Term:
    """Return one term; its name is an alias too, unless marked with "!" or said to need a certain casing."""
    bare = name.removeprefix("!")
    named = name == bare and all(alias[1:].lower() != bare for alias in aliases if alias[0] in MARKS)
    return Term(bare, tuple(parents), tuple([bare, *aliases] if named else aliases))


def _cell(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _is_like(name: str, alias: str) -> bool:
    """Say whether a word is the name of a term or begins as it does: "midwife" for midwifery."""
    size = max(_BEGINS_ALIKE, len(alias) - _ENDING)
    return alias == name or (len(name) >= size and name[:size] == alias[:size] and " " not in name)


def _key(words: Sequence[Word]) -> tuple[str, ...]:
    """Return what a phrase is known by: the plain form of a single word, the stems of several."""
    return (words[0].plain,) if len(words) == 1 else tuple(word.stem for word in words)


def _like_a_surname(words: Sequence[Word], at: int) -> bool:
    """Say whether a word may be a surname: "Mary Baker", "Mary J. Baker", but not "Head Baker" and not "the Baker"."""
    first = at - 1
    if first > 0 and not words[first].plain and len(words[first - 1].surface) == 1:
        first -= 1  # an initial before its dot
    before = words[first].surface if first >= 0 else ""
    return words[at].surface[:1].isupper() and before[:1].isupper() and words[first].plain not in _RANKS


def _surface(words: Sequence[Word]) -> str:
    return " ".join(word.surface for word in words)
