"""Find fields that a text names itself, by the word that ends the name of a field or of one who works in it.

"Groundwater modeling", "museum photographer" and "dendrochronologist" stand in no vocabulary, and say what a person
knows. English alone: the rules go by its words and their order. A capitalised word is taken for a name unless the
vocabulary knows it, or it stands in a title.
"""

import functools
import re
from collections.abc import Container, Iterator, Sequence

from emulator.models.phrase_words import kinds
from emulator.models.tagging import agents, names, spelled, words
from emulator.models.vocabulary import Found
from emulator.models.words import Word

_Ending = tuple[tuple[str, ...], tuple[str, ...]]
"""The last words of a field as they are written, and as they are shown."""
_MOST = 2
"""Words before the last one."""
_SHORTEST = 3
_ADJECTIVE = re.compile(r".{3,}(?:al|ic|ary|ous|ine|ular)")
_BEFORE_NOUNS = frozenset({"the", "a", "an", "all", "many", "old", "my", "his", "her", "their", "of", "about"})
_BEFORE_VERBS = frozenset(
    {"am", "is", "are", "was", "were", "been", "by", "love", "loves", "enjoy", "enjoys", "like", "likes"}
)
"""Behind these a word in `-ing` is a verb: "loves building systems"."""
_BEFORE_BASES = frozenset(
    {"i", "we", "they", "you", "who", "that", "to", "and", "or", "can", "will", "also", "currently"}
)
_SAY_NOTHING = frozenset({"stop", "front"})
"""Kinds of words with which no phrase begins, unless the vocabulary knows them: "paper conservation"."""
_PREFIXES = frozenset({"non", "cross", "post", "pre", "multi", "anti", "co", "re", "sub", "inter", "micro", "macro"})
_FORM = re.compile(r".{2,}(?:ing|ed|ly|s)")
"""How verbs, plurals and adverbs end: they say nothing of a field, but for those that are listed."""
_AGENT = re.compile(r".{2,}(?:er|or|ist)")
_ENGLISH = re.compile(r"[a-z]{1,18}")
"""A word of a field; three of them fit into a tag."""
_FIELD_OF = tuple(
    (re.compile(rf"(?<=[a-z]{{3}}){ending}$"), field)
    for ending, field in (
        ("olog(?:y|ists?|ical)", "ology"),
        ("ograph(?:y|ers?|ic|ical)", "ography"),
        ("ometr(?:y|ists?)", "ometry"),
        ("iatr(?:y|ists?)", "iatry"),
        ("onom(?:y|ists?|ical)", "onomy"),
        ("makers?", "making"),
        ("builders?", "building"),
        ("smiths?", "smithing"),
    )
)
"""Endings by which one word alone names a field or who works in it."""
_LIKE_A_FIELD = re.compile("olog|ograph|ometr|iatr|onom|maker|builder|smith")
"""What stands in each word of theirs, to see at once that most words are none."""


def fields(said: Sequence[Word], known: Container[str], *, title: int = 0) -> Iterator[Found]:
    """Yield the fields that `said` names, from left to right.

    `known` are words that are no names of people, as none of the first `title` words is.
    """
    for at, word in enumerate(said):
        endings, name = _about(word.surface)
        if name and (at < title or word.surface.islower() or name.endswith("ology")):
            yield Found(name, at, 1)
        for parts, ending in endings:
            start = at - len(parts) + 1
            if start < 0 or any(said[start + turn].surface.lower() != part for turn, part in enumerate(parts[:-1])):
                continue
            before = _before(said, start, known, title=title)
            if before or len(parts) > 1:
                yield Found(_shown([*before, *ending]), start - len(before), len(before) + len(parts))
            break


def declared(said: Sequence[Word]) -> Iterator[Found]:
    """Yield what a text declares in so many words that the person knows: "I teach bell ringing and know tides"."""
    for at, word in enumerate(said):
        for cue in _cues().get(word.surface.lower(), ()):
            start = at - len(cue) + 1
            if start >= 0 and all(said[start + turn].surface.lower() == part for turn, part in enumerate(cue)):
                yield from _listed_at(said, at + 1)
                break


def _listed_at(said: Sequence[Word], at: int) -> Iterator[Found]:
    """Yield the nouns that begin at a place, after articles, and those that "and" adds to them."""
    place = at
    while place < len(said):
        while place < len(said) and said[place].surface in _BEFORE_NOUNS:
            place += 1
        first = place
        while place < len(said) and place - first <= _MOST and _is_plain_word(said[place]):
            place += 1
        is_cut = place < len(said) and said[place].surface in _weak() and "stop" not in kinds(said[place].surface)
        if not is_cut and (place - first > 1 or (place > first and not said[first].surface.endswith("ing"))):
            yield Found(" ".join(word.surface for word in said[first:place]), first, place - first)
        if place == first or place >= len(said) or said[place].surface != "and":
            return
        place += 1


def _is_plain_word(word: Word) -> bool:
    """Tell whether a word may be a part of what a person declares to know."""
    lower = word.surface
    return _ENGLISH.fullmatch(lower) is not None and len(lower) >= _SHORTEST and lower not in _weak()


@functools.lru_cache(maxsize=1 << 16)
def _about(surface: str) -> tuple[list[_Ending], str]:
    """Return the endings of fields that are over with a word, the longest first, and the field that it names alone."""
    lower = surface.lower()
    one = lower.removesuffix("s")
    endings = _endings().get(lower) or ([] if one in agents() else _endings().get(one, []))
    return endings, "" if endings or lower in _no_fields() else _one_word(lower)


def _one_word(lower: str) -> str:
    """Return the field that one word names by its ending, blank where it names none."""
    if _LIKE_A_FIELD.search(lower) is None or _ENGLISH.fullmatch(lower) is None:
        return ""
    return next((ending.sub(field, lower) for ending, field in _FIELD_OF if ending.search(lower)), "")


def _before(said: Sequence[Word], head: int, known: Container[str], *, title: int) -> list[str]:
    """Return the words before a head that say which field it is, in order."""
    found: list[str] = []
    place = head - 1
    while place >= 0 and len(found) < _MOST and _says_which(said[place], known, is_titled=place < title):
        if place >= title and not said[place].surface.islower() and place > 0 and said[place - 1].plain:
            break  # a name, or a part of one
        lower = said[place].surface.lower()
        is_noun = lower in _modifiers() or (said[place].plain in known and not _is_verb_place(said, place))
        if found and not (is_noun or _ADJECTIVE.fullmatch(lower) or lower in _PREFIXES):
            break
        if lower.endswith("ing") and place > 0 and said[place - 1].surface.lower() in _BEFORE_VERBS:
            break
        found.insert(0, lower)
        place -= 1
    return [] if len(found) == 1 and found[0] in _PREFIXES else found


def _is_verb_place(said: Sequence[Word], at: int) -> bool:
    """Tell whether a word that is a noun and a verb may be the verb: at the beginning, behind "I", "to", "and"."""
    return at == 0 or not said[at - 1].plain or said[at - 1].surface.lower() in _BEFORE_BASES


def _says_which(word: Word, known: Container[str], *, is_titled: bool) -> bool:
    """Tell whether a word may stand before a head."""
    lower = word.surface.lower()
    if not _ENGLISH.fullmatch(lower) or lower in _weak() or word.plain in _weak():
        return False
    if word.plain not in known and not kinds(lower).isdisjoint(_SAY_NOTHING):
        return False
    if lower in _modifiers() or lower in _PREFIXES:
        return True
    is_form = _FORM.fullmatch(lower) is not None and not lower.endswith(("ss", "us"))
    is_agent = _AGENT.fullmatch(lower) is not None and lower not in known
    if is_form or is_agent or len(lower) < _SHORTEST:
        return False
    return is_titled or word.surface.islower() or word.plain in known


def _shown(parts: Sequence[str]) -> str:
    """Return a name as it is shown: one spelling, prefixes with their hyphens."""
    shown = ""
    for part in parts:
        shown += part + ("-" if part in _PREFIXES else " ")
    return shown.strip()


@functools.cache
def _endings() -> dict[str, list[_Ending]]:
    """Return the endings of fields by their last word, the longest first: as they are written, and as shown."""
    shown = {name: name for name in names("heads")} | spelled() | agents()
    found: dict[str, list[_Ending]] = {}
    for written, name in shown.items():
        parts = tuple(written.split())
        found.setdefault(parts[-1], []).append((parts, tuple(name.split())))
    for endings in found.values():
        endings.sort(key=lambda ending: -len(ending[0]))
    return found


@functools.cache
def _cues() -> dict[str, list[tuple[str, ...]]]:
    """Return what stands before what a person knows, by its last word."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for name in names("cues"):
        parts = tuple(name.split())
        found.setdefault(parts[-1], []).append(parts)
    return found


@functools.cache
def _no_fields() -> frozenset[str]:
    return frozenset(words("no_fields"))


@functools.cache
def _weak() -> frozenset[str]:
    return frozenset(words("weak"))


@functools.cache
def _modifiers() -> frozenset[str]:
    return frozenset(words("modifiers"))
