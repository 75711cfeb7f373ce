"""Compare what two texts that are nearly one state: their numbers, negations and names.

A quotation that is found by likeness differs from the text in something. Where that is a number, a negation or a name
it may say another thing, or the opposite, and is none. The words of both are aligned, and only what differs is looked
at, so that a word taken for one of these by mistake costs nothing where both have it.

Numbers, number words and months are compared as they are written. A name is a word with a capital, and any word of a
script without capitals, for there names cannot be told from other words; one with a slip in it is another name.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from rapidfuzz.distance import Indel, Levenshtein, MatchingBlock

from pipeline.core.fold import is_unspaced, shown

NUMBER, NEGATION, NAME = "number", "negation", "name"
SAME = 0.8  # share of characters in common (Indel) from which on two words are one, but for a slip
REACH = 40  # characters before and behind a slice that are looked at
FEWEST_LEFT = 3  # characters of a word without its negative prefix or suffix

_KINDS = {
    **dict.fromkeys("'", "'"),
    **dict.fromkeys(".,:\u066b\u066c", "."),
    "-": "-",
    **dict.fromkeys("<>\u2264\u2265\u2260\u00b1%\u2030", "s"),  # signs that a number has another meaning without
    **dict.fromkeys('!?\u00a1\u00bf"()[]\u2022\n\u2029', "!"),
}
# of kinds: a number with its sign, a word, a character of a script without blanks, another sign
_TOKEN = re.compile(r"(?:(?<![dlu])-)?d+(?:[.']d+)*|l+(?:'l+)*|u|s")
_CUT_NUMBER = re.compile(r"(?:(?<!\w)[-\u2212\u2013])?(?:\d[.,'\u2019]?)+$")
_CUT_WORD = re.compile(r"[^\W\d_]+[-'\u2010\u2011\u2019]$")
_NUMBER_ON = re.compile(r"(?:[.,'\u2019]?\d)+")
_LAST_WORDS = re.compile(r"(?:[^\s.!?]+[^\S\n]+){0,2}$")  # of the same sentence
_FIRST_WORDS = re.compile(r"(?:[^\S\n]+[^\s.!?]+){0,2}")
_WORD_ON = re.compile(r"[-'\u2010\u2011\u2019][^\W\d_]+")


_WORDS = {
    name: words.split() for name, words in tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8")).items()
}
_STATED = {
    **dict.fromkeys((*_WORDS["numbers"], *_WORDS["months"]), NUMBER),
    **dict.fromkeys(_WORDS["negations"], NEGATION),
}


class _Word(NamedTuple):
    """A token: its folded form, and what it is: a number, a negation, a name, or nothing of these."""

    form: str
    kind: str


def difference(quote: str, text: str, start: int, end: int) -> str:
    """Return what a quotation has another one of than the slice text[start:end]: NEGATION, NUMBER, NAME or nothing."""
    said = _words(quote, has_capitals=not quote.isupper() or text[start:end].isupper())
    first, last = _widened(text, start, end)
    there = _words(text[first:last])
    lead, tail = _left_out(said, there)
    if lead or tail:  # the slice lacks words that the quotation has at its ends: what stands in their place?
        before, behind = text[max(0, first - REACH) : first], text[last : last + REACH]
        first -= _size(_LAST_WORDS.search(before)) if lead else 0
        last += _size(_FIRST_WORDS.match(behind)) if tail else 0
        there = _words(text[first:last])
    found = {kind for one, other in _regions(said, there) for kind in _differences(one, other)}
    return next((kind for kind in (NEGATION, NUMBER, NAME) if kind in found), "")


def _widened(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a slice with all of the numbers and compounds at its ends, of which it may have a part alone."""
    before = (_CUT_NUMBER if text[start].isdecimal() else _CUT_WORD).search(text[max(0, start - REACH) : start])
    after = (_NUMBER_ON if text[end - 1].isdecimal() else _WORD_ON).match(text[end : end + REACH])
    return start - _size(before), end + _size(after)


def _size(match: re.Match[str] | None) -> int:
    return 0 if match is None else len(match[0])


def _words(text: str, *, has_capitals: bool = True) -> list[_Word]:
    """Return the words of a text; where it is in capitals as a whole, and the other is not, these say nothing."""
    plain = shown(text)
    plain = plain if has_capitals else plain.lower()
    kinds = "".join(map(_kind, plain))
    return [_word(plain[at:end], kinds[at]) for at, end in (match.span() for match in _TOKEN.finditer(kinds))]


def _word(written: str, kind: str) -> _Word:
    """Return a token as it is compared; `kind` is that of its first character."""
    if kind in "d-s":
        return _Word(written, NUMBER)
    form = unicodedata.normalize("NFKC", written.casefold())
    if form.endswith("n't") or form.startswith("n'"):  # as in "isn't" and "n'est"
        return _Word(form, NEGATION)
    is_name = written.lower() == written.upper() or written != written.lower()
    return _Word(form.removesuffix("'s"), _STATED.get(form) or (NAME if is_name else ""))


@cache
def _kind(char: str) -> str:
    """Return of what kind a character is: l of a word, u a word of its own, d a digit, or as `_KINDS` has it."""
    if char.isdecimal():
        return "d"
    if unicodedata.category(char)[0] in "LMN":
        return "u" if is_unspaced(char) else "l"
    return "s" if unicodedata.category(char) == "Sc" else _KINDS.get(char, " ")


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


def _differences(said: Sequence[_Word], there: Sequence[_Word]) -> Iterator[str]:
    """Yield in what a stretch of a quotation states something else than that of the text."""
    numbers = [[word.form for word in side if word.kind == NUMBER] for side in (said, there)]
    letters = ["".join(word.form for word in side) for side in (said, there)]
    if not any(numbers) and letters[0] == letters[1]:  # with blanks elsewhere
        return
    if numbers[0] != numbers[1]:
        yield NUMBER
    negations = [sum(word.kind == NEGATION for word in side) for side in (said, there)]
    if negations[0] != negations[1] or any(_is_negated(one.form, other.form) for one in said for other in there):
        yield NEGATION
    names = [[word.form for word in side if word.kind == NAME] for side in (said, there)]
    if names[0] != names[1]:
        yield NAME


def _is_negated(one: str, other: str) -> bool:
    """Return whether one of two words is the other one with a negative prefix or suffix, or nearly."""
    best = Indel.normalized_similarity(one, other)
    for word, plain in ((one, other), (other, one)):
        bare = [word.removeprefix(front) for front in _WORDS["negative_prefixes"] if word.startswith(front)]
        bare += [word.removesuffix(back) for back in _WORDS["negative_suffixes"] if word.endswith(back)]
        plains = {plain, *(plain.removesuffix(back) for back in _WORDS["positive_suffixes"])}
        alike = (Indel.normalized_similarity(left, p) for left in bare if len(left) >= FEWEST_LEFT for p in plains)
        if max(alike, default=0.0) > max(best, SAME):
            return True
    return False
