"""Say which concepts a text speaks of: its key phrases, each with the sentence that it stands in.

Runs of words between stop words, verbs and punctuation (RAKE: Rose, Engel, Cramer and Cowley, 2010), weighed by how
often, how early and in how many words they stand there; the type follows from the last word. Names are words of the
text, quotes are slices of it, and the same text gives the same concepts.
"""

import bisect
import functools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from emulator.answers.text import blanked, sentences, singular

TYPES = ("method", "domain", "model", "dataset", "metric", "task", "material", "process", "other")
"""Every type there is."""
LONGEST = 60
"""Characters of the longest name."""
_SUREST = 0.95
_STEP = 0.035
_LEAST_SURE = 0.5
_CANDIDATES = 6.5
"""Of so many candidates 61 % of all concepts are told that may be, of twice as many 84 %; nearly all of very many."""
_NEARLY_ALL = 0.9685
_OFTEN = 0.7
_NEAR = 6
"""The power of how often a phrase stands there by which it weighs; sentences after which an early place fades."""
_LENGTHS = {1: 0.45, 2: 1.0, 3: 0.9}
"""People name most key phrases in two or three words; one word alone is rarely telling, four are often an accident."""
_ABBREVIATED = 2.5
_UNTYPED = 0.7
_SAME_HEAD = 0.6
"""What a phrase is worth with an acronym, without a type, and behind another one that ends with the same word."""
_MOST_WORDS = 4
_PIECE = 3
_SHORTEST = 3
_TWICE_QUOTED = 4
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_CJK_BREAK = (
    "的了和是在与及对等为以其也都而被把将从到于由或但这那有不会能可他她它我你们\u3041-\u309f"
)
"""Characters of grammar: Japanese writes its own in hiragana."""
_WORD = re.compile(
    rf"[^\W_{_CJK}]+(?:[-\u2010\u2011._'\u2019][^\W_{_CJK}]+)*(?:\+\+|#(?!\w))?|(?:(?![{_CJK_BREAK}])[{_CJK}]){{1,12}}"
)
_ANY_WORD = re.compile(rf"[^\W_]{{1,{LONGEST}}}")
_SHORT_FORM = re.compile(r"\(([A-Z][A-Za-z]{0,9}[A-Z])s?\)")
_ADJECTIVE = re.compile(
    r".{2,}(?:ous|[ai]ble|ive|al|ic|ful|less|ary|ile|ent|ant)|.+-(?:based|specific|aware|free|level|driven|scale"
    r"|dimensional|\w+(?:ing|ed|ive|al|ic))|(?:non|multi|two|single|one|three|cross|inter|pre|post)-\w+|.{3,}[^e]ed"
)
"""How adjectives and participles end; nouns that end so stand in the list of words."""
_VERB = re.compile(r".{3,}(?:i[sz](?:e|es|ing)|if(?:y|ies|ying))|.{3,}ly|.+(?:n't|'(?:re|ve|ll|m))")
"""How verbs, adverbs and contractions end; likewise."""
_AMOUNT = re.compile(r"[\d.,:/%\u00d7-]+[kmbx%]?|.")


@dataclass
class _Phrase:
    words: tuple[str, ...]
    length: int = 1
    places: list[tuple[int, int]] = field(default_factory=list)
    acronym: str = ""
    weight: float = 0.0


def concepts(text: str, *, at_least: int = 4, at_most: int = 14) -> list[dict[str, Any]]:
    """Return the concepts of `text`, the surest first: name, type, aliases, confidence (0.5 to 0.95), quotes.

    There are at most `at_most`, and `at_least` wherever the text has as many words; none where it has no letter. Every
    quote is a slice of `text`, and the first holds the name as it is written there.
    """
    spans = sentences(text)
    found = _phrases(text, blanked(text))
    for phrase in found:
        phrase.weight = _weight(
            phrase, sentence=bisect.bisect_right(spans, (phrase.places[0][0], math.inf))
        )
    wanted = max(at_least, round(_NEARLY_ALL * at_most * (1 - math.exp(-len(found) / _CANDIDATES))))
    chosen = _distinct(found, wanted=min(wanted, at_most))
    missing = min(at_least, at_most) - len(chosen)
    for match in (
        sorted(_ANY_WORD.finditer(text), key=lambda one: len(one[0]) < _SHORTEST)
        if missing > 0
        else ()
    ):
        words = _key(match[0])
        is_one = any(map(str.isalpha, match[0])) and not (chosen and _is_stop(match[0].lower()))
        if is_one and missing > 0 and all(words != one.words for one in chosen):
            chosen.append(_Phrase(words, 1, [match.span()]))
            missing -= 1
    return [_concept(text, phrase, spans, rank=rank) for rank, phrase in enumerate(chosen)]


def _phrases(text: str, readable: str) -> list[_Phrase]:
    found: dict[tuple[str, ...], _Phrase] = {}
    shorts: dict[str, tuple[str, ...]] = {}
    for run in _runs(readable):
        part = _trimmed(run)
        words = tuple(word for match in part for word in _key(match[0]))
        words = shorts.get(words[0], words) if len(words) == 1 else words
        start, end = (part[0].start(), part[-1].end()) if part else (0, 0)
        if (
            not words
            or len(set(words)) < len(words)
            or end - start > LONGEST
            or _says_nothing(words, text[start:end])
        ):
            continue
        phrase = found.setdefault(words, _Phrase(words, len(part)))
        phrase.places.append((start, end))
        short = _SHORT_FORM.match(text, end + 1)
        if short and "".join(word[0] for word in words).endswith(short[1].lower()):
            phrase.acronym = short[1]
            shorts[short[1].lower()] = words
    return list(found.values())


def _runs(readable: str) -> Iterator[list[re.Match[str]]]:
    """Yield the words between stop words, verbs, numbers and punctuation; a line's end alone is none."""
    run: list[re.Match[str]] = []
    for match in _WORD.finditer(readable):
        gap = readable[run[-1].end() : match.start()] if run else " "
        is_stop = _is_stop(match[0].lower())
        if run and (is_stop or not gap.isspace() or gap.count("\n") > 1):
            yield run
            run = []
        if not is_stop:
            run.append(match)
    if run:
        yield run


def _trimmed(run: Sequence[re.Match[str]]) -> Sequence[re.Match[str]]:
    """Return a run without what says nothing at its ends; of one longer than a name its end."""
    low = 0
    high = len(run)
    while low < high and "front" in _kinds(run[low][0].lower()):
        low += 1
    while low < high and _is_no_end(run[high - 1][0].lower(), left=high - low):
        high -= 1
    return run[max(low, high - _PIECE) if high - low > _MOST_WORDS else low : high]


def _weight(phrase: _Phrase, *, sentence: int) -> float:
    early = 1 + 0.5 * math.exp(-sentence / _NEAR)
    form = _LENGTHS.get(phrase.length, _LENGTHS[1]) * (
        1 if _kind_of(phrase.words[-1]) else _UNTYPED
    )
    return (
        math.pow(len(phrase.places), _OFTEN)
        * early
        * form
        * (_ABBREVIATED if phrase.acronym else 1)
    )


def _distinct(found: Sequence[_Phrase], *, wanted: int) -> list[_Phrase]:
    """Return the heaviest phrases of which none is part of another, those that share a last word weighing less."""
    chosen: list[_Phrase] = []
    heads: Counter[str] = Counter()
    left = sorted(found, key=lambda one: (-one.weight, one.places[0]))
    while left and len(chosen) < wanted:
        best = max(left, key=lambda one: one.weight * _SAME_HEAD ** heads[one.words[-1]])
        chosen.append(best)
        heads[best.words[-1]] += 1
        left = [one for one in left if not _is_akin(one.words, best.words)]
    return chosen


def _is_akin(words: tuple[str, ...], others: tuple[str, ...]) -> bool:
    ours = set(words)
    theirs = set(others)
    shared = len(ours & theirs)
    return (
        "".join(words) == "".join(others)
        or shared == min(len(ours), len(theirs))
        or 3 * shared >= 2 * len(ours | theirs)
    )


def _concept(
    text: str, phrase: _Phrase, spans: Sequence[tuple[int, int]], *, rank: int
) -> dict[str, Any]:
    counted = Counter(" ".join(text[start:end].split()) for start, end in phrase.places)
    name = min(counted, key=lambda one: (one.isupper(), -counted[one], one[:1].isupper(), one))
    quotes = []
    for start, end in sorted(
        phrase.places, key=lambda place: " ".join(text[slice(*place)].split()) != name
    ):
        low, high = spans[max(0, bisect.bisect_right(spans, (start, math.inf)) - 1)]
        quotes.append(text[low : max(high, end)])
    if quotes[0].startswith(name) and name[1:] == name[1:].lower():
        name = name[:1].lower() + name[1:]
    kind = _kind_of(phrase.words[-1])
    return {
        "name": name,
        "type": kind if kind in TYPES else "other",
        "aliases": [phrase.acronym] if phrase.acronym else [],
        "confidence": round(max(_SUREST - _STEP * rank, _LEAST_SURE), 3),
        "quotes": list(dict.fromkeys(quotes))[: 2 if rank < _TWICE_QUOTED else 1],
    }


@functools.lru_cache(maxsize=1 << 16)
def _key(word: str) -> tuple[str, ...]:
    """Return the parts of a word for comparing: lower case, hyphens apart, singular, one spelling."""
    folded = unicodedata.normalize("NFKC", word.lower()).replace("\u2019", "'").removesuffix("'s")
    parts = [
        singular(part).replace("isation", "ization")
        for part in re.split(r"[-\u2010\u2011]", folded)
        if part
    ]
    return tuple(parts) or (word,)


@functools.lru_cache(maxsize=1 << 16)
def _is_stop(lower: str) -> bool:
    """Tell whether a word ends a phrase: stop words, verbs, adverbs, contractions, numbers."""
    known = _kinds(lower.replace("\u2019", "'").removesuffix("'s")) | _kinds(singular(lower))
    by_form = _AMOUNT.fullmatch(lower) or _VERB.fullmatch(lower.replace("\u2019", "'"))
    return not known.isdisjoint({"stop", "verb"}) or (by_form is not None and not known - {"front"})


@functools.lru_cache(maxsize=1 << 16)
def _is_no_end(lower: str, *, left: int) -> bool:
    known = _kinds(lower)
    is_adjective = "adjective" in known or (
        _ADJECTIVE.fullmatch(lower) is not None and not known - {"front"}
    )
    return (
        is_adjective or "front" in known or (left > 2 and "tail" in known | _kinds(singular(lower)))  # noqa: PLR2004
    )


def _says_nothing(words: Sequence[str], surface: str) -> bool:
    """Tell whether a phrase is no concept: broad words alone, two signs, or no letter."""
    is_short = len(surface) < _SHORTEST and not surface.isupper() and surface.isascii()
    is_broad = all(not _kinds(word).isdisjoint({"broad", "front"}) for word in words)
    return is_broad or is_short or not any(map(str.isalpha, surface))


@functools.lru_cache(maxsize=1 << 16)
def _kind_of(last: str) -> str:
    """Return what a last word says of the concept's kind, a type or `disorder`; blank where no rule knows."""
    known = _kinds(last)
    listed = next((kind for kind in ("disorder", "other", *TYPES) if kind in known), "")
    ends = (kind for kind, endings in _lists()[1] if last.endswith(endings) and "noun" not in known)
    return listed or next(ends, "")


def _kinds(word: str) -> frozenset[str]:
    return _lists()[0].get(word, frozenset())


@functools.cache
def _lists() -> tuple[dict[str, frozenset[str]], list[tuple[str, tuple[str, ...]]]]:
    """Return the kinds of each word, and for each type how words end that are of it, in the order to be tried."""
    lines = (
        files("emulator.answers").joinpath("concepts.txt").read_text(encoding="utf-8").splitlines()
    )
    said: dict[str, set[str]] = {}
    ends = []
    for kind, *words in (line.split() for line in lines if line and not line.startswith("#")):
        if kind == "ends":
            ends.append((words[0], tuple(words[1:])))
            continue
        for word in words:
            for form in _forms(word) if kind == "verb" else (word,):
                said.setdefault(form, set()).add(kind)
    return {word: frozenset(kinds) for word, kinds in said.items()}, ends


def _forms(verb: str) -> set[str]:
    stem = verb.removesuffix("e")
    is_soft = verb.endswith("y") and verb[-2] not in "aeiou"
    third, past = (f"{verb[:-1]}ies", f"{verb[:-1]}ied") if is_soft else (f"{verb}s", f"{stem}ed")
    return {
        verb,
        third,
        f"{verb}es",
        past,
        *(f"{stem}{twice}{end}" for twice in ("", stem[-1]) for end in ("ing", "ed")),
    }
