"""Compare what two texts that are nearly one state: their numbers, negations and names.

A quotation that is found by likeness differs from the text in something. Where that is a number, a negation or a name
it may say another thing, or the opposite, and is none. The words of both are aligned, and only what differs is looked
at, so that a word taken for one of these by mistake costs nothing where both have it.

Numbers are compared as they are written, but for the script of their digits; a number word or a month is the number
that it means. A name is a word with a capital that does not merely begin a sentence, and any word of a script without
capitals, for there names cannot be told from other words.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from rapidfuzz.distance import Indel, Levenshtein, MatchingBlock

from pipeline.core.fact_words import MONTHS, NEGATIONS, NEGATIVE_PREFIXES, NEGATIVE_SUFFIXES, NUMBERS, POSITIVE_SUFFIXES
from pipeline.core.fold import is_unspaced, shown

NUMBER, NEGATION, NAME = "number", "negation", "name"
SAME = 0.8  # share of characters in common (Indel) from which on two words are one, but for a slip
ALIKE = 0.6  # share of characters in common (Indel) of a word and the same with a slip in it
REACH = 40  # characters before and behind a slice that are looked at
FEWEST_LEFT = 3  # characters of a word without its negative prefix or suffix
MOSTLY = 0.75  # share of words with capitals from which on these say nothing

_KINDS = {
    **dict.fromkeys("'", "'"),
    **dict.fromkeys(".,:\u066b\u066c", "."),
    "-": "-",
    **dict.fromkeys("<>\u2264\u2265\u2260\u00b1%\u2030", "s"),  # signs that a number has another meaning without
    **dict.fromkeys('!?\u00a1\u00bf"()[]\u2022\n\u2029', "!"),
}
# of kinds: a number with its sign, a word, a character of a script without blanks, another sign
_TOKEN = re.compile(r"(?:(?<![dlu])-)?d+(?:[.']d+)*|l+(?:'l+)*|u|s")
_BEGINS = re.compile(r"[.!]")  # kinds behind which a word may have its capital from the beginning of a sentence
_CUT_NUMBER = re.compile(r"(?:(?<!\w)[-\u2212\u2013])?(?:\d[.,'\u2019]?)+$")
_CUT_WORD = re.compile(r"[^\W\d_]+[-'\u2010\u2011\u2019]$")
_NUMBER_ON = re.compile(r"(?:[.,'\u2019]?\d)+")
_LAST_WORDS = re.compile(r"(?:[^\s.!?]+[^\S\n]+){0,2}$")  # of the same sentence
_FIRST_WORDS = re.compile(r"(?:[^\S\n]+[^\s.!?]+){0,2}")
_WORD_ON = re.compile(r"[-'\u2010\u2011\u2019][^\W\d_]+")


class _Word(NamedTuple):
    """A token: its folded form, what it states (a number, a negation, nothing), and whether it is a name."""

    form: str
    states: tuple[str, str] | None
    is_name: bool
    is_doubtful: bool  # it has a capital, which may be there for its place


def difference(quote: str, text: str, start: int, end: int) -> str:
    """Return in what a quotation states something else than the slice text[start:end] that it is nearly.

    NEGATION, NUMBER or NAME, the first of them; empty where it differs in other words alone.
    """
    said = _words(quote, begins=True)
    first, last = _widened(text, start, end)
    there = _words_of_slice(text, first, last)
    lead, tail = _left_out(said, there)
    if lead or tail:  # the slice lacks words that the quotation has at its ends: what stands in their place?
        before, behind = text[max(0, first - REACH) : first], text[last : last + REACH]
        first -= _size(_LAST_WORDS.search(before)) if lead else 0
        last += _size(_FIRST_WORDS.match(behind)) if tail else 0
        there = _words_of_slice(text, first, last)
    found = {kind for one, other in _regions(said, there) for kind in _differences(one, other, text)}
    return next((kind for kind in (NEGATION, NUMBER, NAME) if kind in found), "")


def _widened(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a slice with all of the numbers and compounds at its ends, of which it may have a part alone."""
    before = (_CUT_NUMBER if text[start].isdecimal() else _CUT_WORD).search(text[max(0, start - REACH) : start])
    after = (_NUMBER_ON if text[end - 1].isdecimal() else _WORD_ON).match(text[end : end + REACH])
    return start - _size(before), end + _size(after)


def _size(match: re.Match[str] | None) -> int:
    return 0 if match is None else len(match[0])


def _begins_sentence(before: str) -> bool:
    said = before.rstrip("\"'\u201c\u201e\u00ab([ \t\n\r-\u2013\u2014\u2022")
    return not said or said[-1] in ".!?:\u2026" or "\n" in before[len(said) :]


def _words(text: str, *, begins: bool) -> list[_Word]:
    plain = shown(text)
    kinds = "".join(map(_kind, plain))
    places = [match.span() for match in _TOKEN.finditer(kinds)]
    lettered = [at for at in places if kinds[at[0]] == "l" and plain[at[0]].lower() != plain[at[0]].upper()]
    capitals = sum(_has_capital(plain[at:end]) for at, end in lettered)
    says_nothing = capitals >= MOSTLY * len(lettered) if lettered else False
    found: list[_Word] = []
    last = 0
    for at, end in places:
        first = not found and begins
        first |= bool(found and _BEGINS.search(kinds, last, at))
        is_doubtful = says_nothing or (first and not _has_capital(plain[at + 1 : end]))
        found.append(_word(plain[at:end], kinds[at], is_doubtful=is_doubtful))
        last = end
    return found


def _word(written: str, kind: str, *, is_doubtful: bool) -> _Word:
    """Return a token as it is compared; `kind` is that of its first character."""
    if kind in "d-":
        value = "".join(str(unicodedata.decimal(one, one)) for one in written)
        value = value.replace("\u066b", ".").replace("\u066c", ",")
        return _Word(value, (NUMBER, value), is_name=False, is_doubtful=False)
    if kind == "s":
        return _Word(written, (NUMBER, written), is_name=False, is_doubtful=False)
    form = unicodedata.normalize("NFKC", written.casefold())
    if form in _numbers():
        return _Word(form, (NUMBER, _numbers()[form]), is_name=False, is_doubtful=False)
    if _negates(form):
        return _Word(form, (NEGATION, ""), is_name=False, is_doubtful=False)
    is_caseless = written.lower() == written.upper()
    has_capital = _has_capital(written)
    form = form.removesuffix("'s")
    return _Word(form, None, is_caseless or has_capital, is_doubtful and not is_caseless)


def _has_capital(word: str) -> bool:
    return word != word.lower()


@cache
def _kind(char: str) -> str:
    """Return of what kind a character is: l of a word, u a word of its own, d a digit, or as `_KINDS` has it."""
    if char.isdecimal():
        return "d"
    if unicodedata.category(char)[0] in "LMN":
        return "u" if is_unspaced(char) else "l"
    return "s" if unicodedata.category(char) == "Sc" else _KINDS.get(char, " ")


@cache
def _numbers() -> Mapping[str, str]:
    """Return what each number word and month means."""
    told = {word: value for value, words in NUMBERS.items() for word in words.split()}
    return told | {word: f"month {number}" for number, words in MONTHS.items() for word in words.split()}


@cache
def _negations() -> frozenset[str]:
    return frozenset(word for words in NEGATIONS.values() for word in words.split())


def _negates(form: str) -> bool:
    """Return whether a word is a negation, or has one as a clitic: "isn't", "n'est"."""
    return form in _negations() or form.endswith("n't") or form.startswith("n'")


def _words_of_slice(text: str, start: int, end: int) -> list[_Word]:
    return _words(text[start:end], begins=_begins_sentence(text[max(0, start - REACH) : start]))


def _left_out(said: Sequence[_Word], there: Sequence[_Word]) -> tuple[bool, bool]:
    """Return whether a quotation has more words than the slice before the first that both have, and after the last."""
    *blocks, _ = _matching(said, there)
    if not blocks:
        return False, False
    first, last = blocks[0], blocks[-1]
    return first.a > first.b, len(said) - last.a > len(there) - last.b


def _matching(one: Sequence[_Word], other: Sequence[_Word]) -> list[MatchingBlock]:
    """Return the stretches of words that both have, and an empty one at the end."""
    return Levenshtein.opcodes([word.form for word in one], [word.form for word in other]).as_matching_blocks()


def _regions(one: Sequence[_Word], other: Sequence[_Word]) -> Iterator[tuple[Sequence[_Word], Sequence[_Word]]]:
    """Yield the stretches in which two texts differ, those that stand between words that both have."""
    begun, until = 0, 0
    for block in _matching(one, other):
        if (begun, until) != (block.a, block.b):
            yield one[begun : block.a], other[until : block.b]
        begun, until = block.a + block.size, block.b + block.size


def _differences(said: Sequence[_Word], there: Sequence[_Word], text: str) -> Iterator[str]:
    """Yield in what a stretch of a quotation states something else than that of the text."""
    sides = (said, there)
    if not any(_stated(side, NUMBER) for side in sides):
        letters = ["".join(word.form for word in side) for side in sides]
        if letters[0] == letters[1]:  # with blanks elsewhere
            return
    for kind in (NUMBER, NEGATION):
        if _stated(said, kind) != _stated(there, kind):
            yield kind
    if any(_is_negated(one.form, other.form) for one in said for other in there):
        yield NEGATION
    if _names(said, there, text) != _names(there, said, text):
        yield NAME


def _stated(words: Sequence[_Word], kind: str) -> list[str]:
    return [word.states[1] for word in words if word.states is not None and word.states[0] == kind]


def _is_negated(one: str, other: str) -> bool:
    """Return whether one of two words is the other one with a negative prefix or suffix, or nearly."""
    best = Indel.normalized_similarity(one, other)
    for word, plain in ((one, other), (other, one)):
        bare = [word.removeprefix(front) for front in NEGATIVE_PREFIXES.split() if word.startswith(front)]
        bare += [word.removesuffix(back) for back in NEGATIVE_SUFFIXES.split() if word.endswith(back)]
        plains = {plain, *(plain.removesuffix(back) for back in POSITIVE_SUFFIXES.split())}
        alike = (Indel.normalized_similarity(left, p) for left in bare if len(left) >= FEWEST_LEFT for p in plains)
        if max(alike, default=0.0) > max(best, SAME):
            return True
    return False


def _names(words: Sequence[_Word], others: Sequence[_Word], text: str) -> list[str]:
    """Return the names among words that differ from others.

    A capital that may be there for its place makes none of a word that the text has without it, nor of a slip in one.
    """
    return [word.form for word in words if word.is_name and not (word.is_doubtful and _is_ordinary(word, others, text))]


def _is_ordinary(word: _Word, others: Sequence[_Word], text: str) -> bool:
    return _stands(word.form, text) or any(
        Indel.normalized_similarity(word.form, other.form) >= ALIKE
        for other in others
        if not other.is_name or (other.is_doubtful and _stands(other.form, text))
    )


def _stands(form: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(form)}(?!\w)", text) is not None
