"""Cut a text into the phrases that may be concepts, each with the places where it stands.

Candidates are found as RAKE finds them (Rose, Engel, Cramer and Cowley, "Automatic keyword extraction from individual
documents", 2010): runs of words between stop words and punctuation. That needs no grammar and no training, only a
list. Ours goes beyond stop words (`concept_words.txt`): verbs end a phrase too, and words that say nothing are taken
off its ends. Acronyms are joined with their long forms by the
algorithm of Schwartz and Hearst (2003). All places are code points of the text itself.
"""

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from emulator.models.asides import without_asides
from emulator.models.phrase_words import (
    VERB_FOLLOWS,
    is_front,
    is_gerund,
    is_no_end,
    is_participle,
    is_plural,
    is_stop,
    is_tail,
    key_of,
    kinds,
    pairs,
    says_nothing,
)
from emulator.models.words import singular

LONGEST = 60
"""Characters of the longest phrase; a concept has a name, not a sentence."""

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_JOINED = (
    "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed"
    "\u0900-\u0963\u0966-\u0dff\u0e30-\u0e4e\u200c\u200d"
)
"""Vowel signs, points and joiners, which are no letters to `re` and part of words all the same."""
_SIGN = rf"(?:[^\W_{_CJK}]|[{_JOINED}])"
_WORD = re.compile(
    rf"(?:(?:\d,\d|N,N)-)?{_SIGN}+(?:[-\u2010\u2011._'\u2019]{_SIGN}+)*(?:\+\+|#(?!\w))?|(?P<cjk>[{_CJK}]+)"
)
_CJK_BREAK = re.compile(
    "[\u7684\u4e86\u548c\u662f\u5728\u4e0e\u53ca\u5bf9\u7b49\u4e3a\u4ee5\u5176\u4e5f\u90fd\u800c\u88ab\u628a\u5c06\u4ece\u5230\u4e8e\u7531\u6216\u4f46\u8fd9\u90a3\u6709\u4e0d\u4f1a\u80fd\u53ef\u4ed6\u5979\u5b83\u6211\u4f60\u4eec]"
    "|[\u3041-\u309f]+"  # Japanese writes its grammar in hiragana
)
_CJK_WORD = re.compile(f"[{_CJK}]{{2,}}")
_CJK_PIECE = 12
"""Characters of the longest piece of a text without spaces: Chinese terms have two to six, Japanese loans twelve."""
_MOST_WORDS = 4
_PIECE_WORDS = 3
_KEPT = 2
"""Words that are left of a phrase at least when what says nothing at its end is taken off."""
_MOST_OF_ACRONYM = 6
_SHORTEST = 3
_ACRONYM = re.compile(r"\(\s*([^\W_][\w&/.+-]{1,11})(?:[;,][^()]{0,40})?\s*\)")
_TIMES = 2
"""How many times as long as its short form a single word is."""
_BEFORE = 120
"""Characters before a bracket in which the long form of an acronym is looked for."""
_BASE_FOLLOWS = frozenset({"to", "that", "which"})
"""Stop words behind which a noun that is also a verb is one: "to change food habits"."""
_LINKS = frozenset({"of", "and", "for", "in", "the", "with", "to", "on", "by"})
"""Stop words that stand inside the long forms of acronyms."""
_BREAK = re.compile(r"[.!?;:,()\[\]\"\u201c\u201d\0\n]")


class Place(NamedTuple):
    """A stretch of the text: `text[start:end]`."""

    start: int
    end: int


class Phrase(NamedTuple):
    """One way to say something, at one place."""

    words: tuple[str, ...]
    """For comparing: lower case, singular, hyphens apart."""
    place: Place
    acronym: str = ""
    """The short form that the text gives it, where it does."""
    capital: bool = False
    """Whether a capital stands inside a word of it, as in acronyms and names of products."""
    length: int = 1
    """Words with blanks between them."""


class _Token(NamedTuple):
    """One word where it stands."""

    lower: str
    start: int
    end: int
    capital: bool = False
    """Whether it begins with a capital."""


def phrases(text: str) -> list[Phrase]:
    """Return the phrases of `text` that may be concepts, in order; one that occurs twice is there twice."""
    named = list(_acronyms(text))
    within = {at: phrase for phrase in named for at in (phrase.place.start,)}
    shorts = {phrase.acronym.lower(): phrase.words for phrase in named}
    found = list(within.values())
    for run in _runs(without_asides(text)):
        for tokens in _cut(run):
            if not any(phrase.place.start <= tokens[0].start < phrase.place.end for phrase in named):
                found += _phrase(text, tokens, shorts)
    found.sort(key=lambda phrase: phrase.place)
    return found


def single_words(text: str) -> list[Phrase]:
    """Return every word of `text` as a phrase of its own, short ones last; for texts with few phrases.

    Stop words and their like are left out where there is anything else.
    """
    tokens = [token for run in _all_runs(text) for token in run if any(map(str.isalpha, token.lower[:LONGEST]))]
    telling = [token for token in tokens if not is_stop(token.lower) and not is_front(token.lower)]
    found = sorted(telling or tokens[:1], key=lambda token: len(token.lower) < _SHORTEST)
    return [Phrase(key_of(token.lower), Place(token.start, min(token.end, token.start + LONGEST))) for token in found]


def _runs(text: str) -> Iterator[list[_Token]]:
    """Yield the words between stop words, verbs and punctuation."""
    for run in _all_runs(text):
        kept: list[_Token] = []
        before = ""
        verb_follows = False
        for token, following in itertools.zip_longest(run, run[1:]):
            is_part = (kept and "made" in kinds(token.lower)) or (
                following and (token.lower, singular(following.lower)) in pairs()
            )
            if is_stop(token.lower) and not is_part:
                if kept:
                    yield kept
                kept = []
                before = token.lower
                verb_follows = before in VERB_FOLLOWS or (verb_follows and before.endswith("ly"))
            elif verb_follows or (before in _BASE_FOLLOWS and not kept and "base" in kinds(token.lower)):
                verb_follows = False
            else:
                kept.append(token)
        if kept:
            yield kept


def _all_runs(text: str) -> Iterator[list[_Token]]:
    """Yield the words between punctuation; a line's end alone is none."""
    run: list[_Token] = []
    end = 0
    for match in _WORD.finditer(text):
        start = match.start()
        gap = text[end:start]
        if run and (not gap.isspace() or gap.count("\n") > 1):
            yield run
            run = []
        end = match.end()
        if match["cjk"]:
            if run:
                yield run
                run = []
            for piece in _pieces(match["cjk"], start):
                yield [piece]
        else:
            run.append(_Token(match[0].lower(), start, end, match[0][0].isupper()))
    if run:
        yield run


def _pieces(signs: str, start: int) -> Iterator[_Token]:
    """Yield the pieces of a run of Chinese or Japanese: between function words, and not longer than a term."""
    if _CJK_BREAK.sub("", signs) == "":
        yield _Token(signs[:_CJK_PIECE], start, start + len(signs[:_CJK_PIECE]))
        return
    at = 0
    for end in (*(found.span() for found in _CJK_BREAK.finditer(signs)), (len(signs), len(signs))):
        for low in range(at, end[0], _CJK_PIECE):
            high = min(low + _CJK_PIECE, end[0])
            yield _Token(signs[low:high], start + low, start + high)
        at = end[1]


def _cut(run: list[_Token]) -> Iterator[list[_Token]]:
    """Yield the parts of a run, their ends taken off; of one longer than a name its end, for the rest is half a name.

    It is broken before a participle ("the agent trained"), before a verb in -ing, and behind a plural ("distributions
    shift"), where a verb that no list has may stand.
    """
    parts: list[list[_Token]] = [[]]
    for at, token in enumerate(run):
        if parts[-1] and _breaks(parts[-1][-1], token, run[at + 1 : at + 2]):
            parts.append([])
        parts[-1].append(token)
    for before, part in itertools.pairwise([[], *parts]):
        is_verb = (len(part) == 1 and not part[0].capital) or "base" in kinds(part[0].lower)
        trimmed = _trimmed(part[1:] if is_verb and before and is_plural(before[-1].lower) else part)
        if len(trimmed) > 1 and is_gerund(trimmed[0].lower) and _is_object(trimmed[1].lower):
            trimmed = _trimmed(trimmed[1:])
        if trimmed:
            yield trimmed[-_PIECE_WORDS:] if len(trimmed) > _MOST_WORDS else trimmed


def _breaks(before: _Token, token: _Token, following: list[_Token]) -> bool:
    """Tell whether a phrase ends between two words."""
    if is_participle(token.lower) and not is_participle(before.lower):
        return True
    if is_gerund(token.lower) and any(_is_object(one.lower) for one in following):
        return True
    return is_plural(before.lower) and not (before.capital and token.capital)


def _is_object(lower: str) -> bool:
    """Tell whether a word behind one in `-ing` shows that to be a verb: "projecting embeddings"."""
    return is_plural(lower) or is_no_end(lower)


def _trimmed(tokens: list[_Token]) -> list[_Token]:
    """Return the words without those at either end that say nothing."""
    low, high = 0, len(tokens)
    while low < high and is_front(tokens[low].lower):
        if low + 1 < high and (tokens[low].lower, tokens[low + 1].lower) in pairs():
            break
        low += 1
    while low < high and _is_no_end(tokens[high - 1].lower, left=high - low):
        high -= 1
    return tokens[low:high]


def _is_no_end(lower: str, *, left: int) -> bool:
    """Tell whether a phrase of `left` words does not end with a word."""
    return is_no_end(lower) or (left > _KEPT and is_tail(lower))


def _phrase(text: str, tokens: list[_Token], shorts: dict[str, tuple[str, ...]]) -> Iterator[Phrase]:
    """Yield the phrase that some words are, if it can be a concept."""
    words = tuple(part for token in tokens for part in key_of(token.lower))
    place = Place(tokens[0].start, tokens[-1].end)
    if len(tokens) == 1:
        short = tokens[0].lower
        words = shorts.get(short) or shorts.get(short.removesuffix("s")) or words
        surface = text[place.start : place.end]
        if len(surface) < _SHORTEST and not surface.isupper() and not _CJK_WORD.fullmatch(surface):
            return
    if len(set(words)) < len(words):
        return
    if place.end - place.start > LONGEST or says_nothing(words):
        return
    if len(tokens) == 1 and "lone" in kinds(tokens[0].lower) | kinds(singular(tokens[0].lower)):
        return
    if any(sign.isalpha() for sign in tokens[0].lower + tokens[-1].lower):
        capital = any(sign.isupper() for sign in text[place.start + 1 : place.end])
        yield Phrase(words, place, capital=capital, length=len(tokens))


def _acronyms(text: str) -> Iterator[Phrase]:
    """Yield each long form that has its acronym in brackets behind it."""
    for match in _ACRONYM.finditer(text):
        short = match[1][:-1] if match[1].endswith("s") and match[1][:-1].isupper() else match[1]
        if sum(sign.isupper() for sign in short) < 2:  # noqa: PLR2004 - two capitals are the least an acronym has
            continue
        low = max(0, match.start() - _BEFORE)
        before = text[low : match.start()].rstrip()
        clause = list(_BREAK.finditer(before))
        offset = clause[-1].end() if clause else 0
        start = _long_form(short, before[offset:])
        if start is None:
            continue
        place = Place(low + offset + start, low + len(before))
        tokens = [token.group().lower() for token in _WORD.finditer(text, place.start, place.end)]
        fits = place.end - place.start <= LONGEST and len(tokens) <= _MOST_OF_ACRONYM
        if tokens and fits and _is_name(tokens):
            words = tuple(part for token in tokens for part in key_of(token))
            yield Phrase(words, place, short, length=len(tokens))


def _is_name(tokens: list[str]) -> bool:
    """Tell whether the words before an acronym may be what it stands for."""
    first, *rest = tokens
    plain = all(not is_stop(token) or is_participle(token) for token in rest)
    linked = all(token in _LINKS or not is_stop(token) or is_participle(token) for token in rest)
    return (plain or (linked and not is_front(first))) and (not is_stop(first) or is_participle(first))


def _long_form(short: str, before: str) -> int | None:
    """Return where in `before` the words begin whose letters `short` takes, from its end to its beginning."""
    at = len(before)
    signs = [sign.lower() for sign in short if sign.isalnum()]
    for left in range(len(signs) - 1, -1, -1):
        at -= 1
        while at >= 0 and (before[at].lower() != signs[left] or (left == 0 and at > 0 and before[at - 1].isalnum())):
            at -= 1
        if at < 0:
            return None
    return at if " " in before[at:] or "-" in before[at:] or len(before) - at > _TIMES * len(signs) else None
