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

from emulator.models.cognates import SHORTEST, cognate
from emulator.models.forms import in_latin, in_own_scripts
from emulator.models.tagging import words as words_of
from emulator.models.words import Word, cut, humps, is_sign

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
_BEGINS_COMPOUND = 3
"""Letters of the shortest word that a longer one begins with."""
_MOST_AKIN = 3
"""Words of the longest phrase whose cognates are looked for."""
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
        forms: Mapping[str, str] | None = None,
    ) -> None:
        """Take `terms`, the phrases to read over, and those that begin an aside by its kind.

        The first that claims a phrase keeps it. `forms` are further phrases and their terms, for texts that are not in
        English; those that begin with a hyphen end longer words, too, and those with "=" need their casing.
        """
        self._forms = forms or {}
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

    @functools.cached_property
    def _akin(self) -> dict[tuple[str, ...], _Entry]:
        """Return forms, and phrases without marks, by the spelling of their cognates: the first of one keeps it."""
        found: dict[tuple[str, ...], _Entry] = {}
        phrases = [(form.removeprefix("-"), name) for form, name in self._forms.items()]
        phrases += [(alias, term.name) for term in self.terms.values() for alias in term.aliases]
        for phrase, name in phrases:
            words = [word for word in cut(phrase) if word.plain]
            key = _cognates(words) if phrase[0] not in MARKS else None
            if key is not None and (phrase in self._forms or _unlike().isdisjoint(key)):
                found.setdefault(key, _Entry(name, None, "", _is_telling(name, phrase, len(words))))
        return found

    @functools.cached_property
    def _tails(self) -> dict[str, str]:
        """Return the terms of what ends longer words: "wirtschaftsjournalistin"."""
        return {cut(form)[0].plain: name for form, name in self._forms.items() if form.startswith("-")}

    def find(self, words: Sequence[Word], *, is_foreign: bool = False) -> list[Found]:
        """Return what `words` say, from left to right, no two overlapping; breaks are never crossed.

        With `is_foreign`, where they are not in English, cognates of a phrase stand for it, too.
        """
        by_mark: dict[str, list[Found]] = {}
        at = 0
        while at < len(words):
            size, entry = self._longest_at(words, at, is_foreign=is_foreign)
            if entry is not None and entry.name is not None:
                by_mark.setdefault(entry.mark, []).append(Found(entry.name, at, size, entry.is_telling))
            at += size
        software, shared = by_mark.pop("~", []), by_mark.pop("%", [])
        sure = sorted(found for group in by_mark.values() for found in group)
        places = [found.at for found in sure if self.is_software(found.name)]
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
        entry = _Entry(name, phrase if mark in _EXACT else None, mark, _is_telling(name or "", phrase, len(words)))
        entries = self._entries.setdefault(_key(words), [])
        if all(known.surface != entry.surface for known in entries):
            entries.append(entry)
            entries.sort(key=lambda known: known.surface is None)  # the exact casing is tried first
        for first in (words[0].plain, words[0].stem):
            self._longest[first] = max(self._longest.get(first, 0), len(words))

    def _longest_at(self, words: Sequence[Word], at: int, *, is_foreign: bool) -> tuple[int, _Entry | None]:
        """Return the size and the entry of the longest phrase at `at`; (1, None) where none begins."""
        first = words[at]
        most = max(self._longest.get(first.plain, 0), self._longest.get(first.stem, 0))
        if is_foreign and first.plain:
            most = max(most, _MOST_AKIN)
        for size in range(min(most, len(words) - at), 0, -1):
            part = words[at : at + size]
            for entry in self._entries.get(_key(part), ()):
                named = entry.mark == "^" and _like_a_surname(words, at)
                if not named and entry.surface in {None, _surface(part)}:
                    return size, entry
            akin = self._akin_to(part) if is_foreign else None
            if akin is not None:
                return size, akin
        return 1, None

    def _akin_to(self, part: Sequence[Word]) -> _Entry | None:
        """Return what stands for a form or for cognates of a phrase, or for the last part of a long word."""
        key = _cognates(part)
        entry = self._akin.get(key) if key is not None else None
        if entry is not None or len(part) > 1:
            return entry
        plain = part[0].plain
        name = self._forms.get(f"={part[0].surface}")
        tails = (plain[at:] for at in range(_BEGINS_COMPOUND, len(plain) - _ENDING))
        name = name or next((self._tails[tail] for tail in tails if tail in self._tails), None)
        return _Entry(name, None, "", is_telling=True) if name is not None else None

    def is_software(self, name: str) -> bool:
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
    further = in_own_scripts()
    text = files("emulator.models").joinpath("vocabulary.tsv").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, parents, aliases = (cell.strip() for cell in line.split("\t"))
            if name.startswith("-"):
                apart[name] = _cell(aliases)
            else:
                known = [*_cell(aliases), *further.get(name.removeprefix("!"), ())]
                terms.append(_term(name, parents=_cell(parents), aliases=known))
    return Vocabulary(terms, passed_over=apart.pop("-"), asides=apart, forms=in_latin())


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


def _cognates(words: Sequence[Word]) -> tuple[str, ...] | None:
    """Return what a phrase and its cognates are known by, a short one as it stands; none with a break or a sign."""
    key = tuple(cognate(word.plain) for word in words)
    if len(key) > _MOST_AKIN or not all(key) or any(is_sign(word.surface) for word in words):
        return None
    return key if len("".join(key)) >= SHORTEST else tuple(word.plain for word in words)


@functools.cache
def _unlike() -> frozenset[str]:
    """Return the spellings that words of two languages share by chance."""
    return frozenset(cognate(word.plain) for word in cut(" ".join(words_of("unlike"))))


def _is_telling(name: str, phrase: str, size: int) -> bool:
    """Tell whether a phrase of `size` words can hardly mean anything but its term."""
    return size > 1 or _is_like(name, phrase.lower()) or _TELLING.search(phrase) is not None


def _like_a_surname(words: Sequence[Word], at: int) -> bool:
    """Say whether a word may be a surname: "Mary Baker", "Mary J. Baker", but not "Head Baker" and not "the Baker"."""
    first = at - 1
    if first > 0 and not words[first].plain and len(words[first - 1].surface) == 1:
        first -= 1  # an initial before its dot
    before = words[first].surface if first >= 0 else ""
    return words[at].surface[:1].isupper() and before[:1].isupper() and words[first].plain not in _RANKS


def _surface(words: Sequence[Word]) -> str:
    return " ".join(word.surface for word in words)
