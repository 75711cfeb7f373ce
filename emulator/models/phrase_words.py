"""Say of a word whether it ends a phrase, stands at its end, says nothing, or what it says of a concept's type.

By the lists in `concept_words.txt`, and for words that stand in none by how they end: `-ly` is an adverb, `-ize` a
verb, `-ous` an adjective. That is right often enough for a name, and no grammar.
"""

import functools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from importlib.resources import files

from emulator.models.words import singular

VERB_FOLLOWS = frozenset(
    {"we", "they", "i", "you", "who", "can", "could", "may", "might", "will", "would", "should", "must", "cannot"}
    | {"paper", "article", "thesis", "authors"}
)
"""Words behind which a verb stands, adverbs between them left aside: "we backpropagate"."""
_ADJECTIVE = re.compile(
    r".{2,}(?:ous|[ai]ble|ive|al|ic|ful|less|ary|ile|ent|ant)|.+-(?:based|specific|aware|free|wise|level|shot|driven"
    r"|dependent|independent|centric|oriented|like|order|time|style|agnostic|efficient|scale|dimensional|iid"
    r"|\w+(?:ing|ed|ive|al|ic|able|ous))|(?:non|multi|two|single|one|three|cross|inter|intra|sub|pre|post)-\w+"
)
"""How adjectives end; nouns that end so stand in the list of words."""
_VERB = re.compile(r".{3,}(?:i[sz](?:e|es|ing)|if(?:y|ies|ying))")
"""How verbs end that come from adjectives and nouns; likewise."""
_AMOUNT = re.compile(r"[\d.,:/%\u00d7-]+[kmbx%]?")
_SUPERLATIVE = re.compile(r".{3,}est|(?:twen|thir|for|fif|six|seven|eigh|nine)ty(?:-\w+)?")
_SHORT_ADVERB, _SHORT_PLURAL = 5, 4
_POSSESSIVES = ("'s", "\u2019s")


def is_broad(word: str) -> bool:
    """Tell whether a word, lower case and singular, is no concept alone."""
    return "broad" in kinds(word) or "front" in kinds(word)


def says_nothing(words: Sequence[str]) -> bool:
    """Tell whether a phrase is no concept: one broad word, or broad words and adjectives that say nothing.

    Two broad nouns may be one, as "decision support".
    """
    return all(is_broad(word) for word in words) and (
        len(words) == 1 or any("front" in kinds(word) or "empty" in kinds(word) for word in words)
    )


def is_tail(lower: str) -> bool:
    """Tell whether a word says nothing behind two others: "reinforcement learning solutions"."""
    return "tail" in kinds(lower) or "tail" in kinds(singular(lower))


def kinds(word: str) -> frozenset[str]:
    """Return what `concept_words.txt` says of a word, lower case."""
    return _lists().get(word, frozenset())


@functools.lru_cache(maxsize=1 << 16)
def key_of(lower: str) -> tuple[str, ...]:
    """Return the parts of a word for comparing: hyphens apart, singular, one spelling."""
    folded = unicodedata.normalize("NFKC", lower)
    for ending in _POSSESSIVES:
        folded = folded.removesuffix(ending)
    parts = [
        _singulars().get(part) or singular(part).replace("isation", "ization")
        for part in re.split(r"[-\u2010\u2011]", folded)
        if part
    ]
    return tuple(parts) or (lower,)


@functools.lru_cache(maxsize=1 << 16)
def is_stop(lower: str) -> bool:
    """Tell whether a word ends a phrase: stop words, verbs, adverbs, contractions."""
    adverb = lower.endswith("ly") and len(lower) >= _SHORT_ADVERB and "steady" not in kinds(lower) and "-" not in lower
    bare = lower.replace("\u2019", "'")
    contraction = bare.endswith(("n't", "'re", "'ve", "'ll", "'m"))
    known = kinds(bare.removesuffix("'s"))
    verb = _VERB.fullmatch(lower) is not None and not kinds(singular(lower))
    return adverb or contraction or verb or not known.isdisjoint({"stop", "verb"})


@functools.lru_cache(maxsize=1 << 16)
def is_front(lower: str) -> bool:
    """Tell whether a word says nothing at the ends of a phrase: such adjectives, numbers, single letters."""
    known = kinds(lower)
    superlative = _SUPERLATIVE.fullmatch(lower) is not None and not known
    letter = len(lower) == 1 and lower.isascii()
    return "front" in known or superlative or letter or _AMOUNT.fullmatch(lower) is not None


@functools.lru_cache(maxsize=1 << 16)
def is_no_end(lower: str) -> bool:
    """Tell whether no phrase ends with a word: adjectives and participles, which stand before a noun."""
    known = kinds(lower)
    adjective = "adjective" in known or (_ADJECTIVE.fullmatch(lower) is not None and not known - {"front"})
    return adjective or is_front(lower) or is_participle(lower)


@functools.lru_cache(maxsize=1 << 16)
def is_plural(lower: str) -> bool:
    """Tell whether a word is a plural behind which no noun is likely: `molecules`, but not `systems`."""
    is_one = lower.endswith(("ss", "us", "is", "ics", "'s")) or not lower.endswith("s") or "joined" in kinds(lower)
    return not is_one and len(lower) >= _SHORT_PLURAL and key_of(lower)[-1] != lower.rpartition("-")[2]


def is_gerund(lower: str) -> bool:
    """Tell whether a word ends as a verb's form in `-ing` and no list has it: `projecting`, but not `learning`."""
    return lower.endswith("ing") and len(lower) > _SHORT_ADVERB and "-" not in lower and not kinds(lower)


@functools.lru_cache(maxsize=1 << 16)
def is_participle(lower: str) -> bool:
    """Tell whether a word looks like a participle: `trained`, but not `self-trained` and not `speed`."""
    return lower.endswith("ed") and not lower.endswith("eed") and len(lower) > _SHORT_ADVERB and "-" not in lower


@functools.cache
def _lists() -> dict[str, frozenset[str]]:
    """Return what the file says of each word."""
    said: dict[str, set[str]] = {}
    for kind, *words in _lines():
        if kind in {"pair", "plural", "ends"}:
            continue
        for word in words:
            for form in _forms(word, kind):
                said.setdefault(form, set()).add("verb" if kind == "act" else kind)
    return {word: frozenset(kind) for word, kind in said.items()}


@functools.cache
def _singulars() -> dict[str, str]:
    """Return the singulars of plurals that no rule for an ending gets right."""
    return {line[1]: line[2] for line in _lines() if line[0] == "plural"}


@functools.cache
def endings() -> dict[str, tuple[str, ...]]:
    """Return for each type how words end that are of it, in the order in which they are to be tried."""
    return {line[1]: tuple(line[2:]) for line in _lines() if line[0] == "ends"}


@functools.cache
def pairs() -> frozenset[tuple[str, str]]:
    """Return the pairs of words that stay together."""
    return frozenset((line[1], line[2]) for line in _lines() if line[0] == "pair")


def _lines() -> Iterator[list[str]]:
    for line in (files("emulator.models") / "concept_words.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line.split()


def _forms(word: str, kind: str) -> set[str]:
    """Return the forms of a verb that its kind asks for, of any other word itself."""
    if kind not in ("verb", "act"):
        return {word}
    stem = word.removesuffix("e")
    past = (
        {f"{word[:-1]}ied"} if word.endswith("y") and word[-2] not in "aeiou" else {f"{stem}ed", f"{stem}{stem[-1]}ed"}
    )
    if kind == "act":
        return past
    plural = f"{word[:-1]}ies" if word.endswith("y") and word[-2] not in "aeiou" else f"{word}s"
    return {word, plural, f"{word}es", f"{stem}ing", f"{stem}{stem[-1]}ing"} | past
