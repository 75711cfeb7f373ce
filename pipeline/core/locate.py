"""Locate a quotation in a text: verbatim, but for white space and case, or nearly.

Whatever is found is a slice of the text, and the slice is the quotation from then on. Looking takes a time that grows
with the text, not with its square.

What is found by likeness differs from the quotation in something. Where that is a number, a negation or a name it may
say another thing, or the opposite, and is none. The words of both are aligned, and only what differs is looked at, so
that a word taken for one of these by mistake costs nothing where both have it. Numbers, number words and months are
compared as they are written. A name is a word with a capital, and any word of a script without capitals, for there
names cannot be told from other words; one with a slip in it is another name.
"""

import re
import tomllib
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, cached_property, lru_cache
from itertools import islice, pairwise, starmap
from pathlib import Path
from typing import Literal, NamedTuple

from rapidfuzz import fuzz
from rapidfuzz.distance import Indel, Levenshtein, MatchingBlock

from pipeline.core.text import BLANK

LIKENESS = 0.85  # share of characters in common (Indel) from which on two texts are one quotation
MIN_LIKE = 16  # characters; shorter ones are too like too much to be found by likeness
MAX_LIKE = 600  # characters; three times what is asked for, and the time to look grows with the square of it
MIN_PART = 3  # characters; what is shorter must be a word of its own
MAX_PIECES = 8  # of a quotation that leaves things out
MAX_STRETCH = 2  # times as long as the quotation is what is found by likeness at most, its white space counted
SLACK = 0.1  # an alignment is as long as the quotation at most; the words of it that are left can be so much liker
REACH = 40  # characters round an alignment, or a slice, within which its words may begin and end
NEAREST = 6  # beginnings, and ends, that are tried

_LEFT_OUT = re.compile(r"[\[(]\s*+(?:\.{3,}+|\u2026)\s*+[\])]|\.{3,}+|\.(?:\s\.){2,}+|\u2026")

BY_LOOK = "by white space and case"
NUMBER = "number"
NEGATION = "negation"
NAME = "name"
SAME = 0.8  # share of characters in common (Indel) from which on two words are one, but for a slip
FEWEST_LEFT = 3  # characters of a word without its negative prefix or suffix

_KINDS = {
    **dict.fromkeys(".,:\u066b\u066c", "."),
    **dict.fromkeys("-'", None),
    **dict.fromkeys(
        "<>\u2264\u2265\u2260\u00b1%\u2030", "s"
    ),  # signs that a number has another meaning without
}
# of kinds: a number with its sign, a word or compound, a character of a script without blanks, another sign
_TOKEN = re.compile(r"(?:(?<![dlu])-)?d+(?:[.']d+)*|l+(?:['-]l+)*|u|s")
_LAST_WORDS = re.compile(r"(?:[^\s.!?]+[^\S\n]+){0,2}$")  # of the same sentence
_FIRST_WORDS = re.compile(r"(?:[^\S\n]+[^\s.!?]+){0,2}")
_WORDS = {
    name: words.split()
    for name, words in tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8")).items()
}
_STATED = {
    **dict.fromkeys((*_WORDS["numbers"], *_WORDS["months"]), NUMBER),
    **dict.fromkeys(_WORDS["negations"], NEGATION),
}


# ---- a text in a comparable form, with an exact way back: white space, case, dashes, quotation marks, ligatures

_SAME = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\ufe58\ufe63\uff0d", "-"),
        **dict.fromkeys("`\u00b4\u02b9\u02bb\u02bc\u2018\u2019\u201a\u201b\u2032\u2035\uff07", "'"),
        **dict.fromkeys("\u00ab\u00bb\u201c\u201d\u201e\u201f\u2033\u2036\u300c\u300d\uff02", '"'),
        "\u0131": "i",  # dotless; in capitals it is I
        "\u0640": None,  # makes an Arabic word longer, and says nothing
    }
)
LONGEST_WORD = 40  # characters; one that is longer is cut through
_RUN = re.compile(r"\S+")
_LETTER = re.compile("[^\\W_\u115f\u1160\u3164\uffa0]")  # without the letters that show nothing
# scripts that put no blank between words: Thai to Tibetan, Myanmar, Khmer, kana, ideographs
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


# ---- mark-up, which a quotation leaves out: HTML tags, and the `> ` before each line of a quoted message

# Inside a word or a sentence. Superscript and subscript are missing: 10<sup>2</sup> without them is another number.
_INLINE_TAGS = "a abbr b big cite code del em font i ins kbd mark q s small span strike strong tt u"
_BLOCK_TAGS = (
    "blockquote br center div h1 h2 h3 h4 h5 h6 hr li ol p pre table tbody td th thead tr ul"
)
_ATTRIBUTES = r"""(?:\s+[A-Za-z-]+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>=]+))*\s*/?"""


def _tag_pattern(names: str) -> re.Pattern[str]:
    return re.compile(rf"</?(?:{names.replace(' ', '|')}){_ATTRIBUTES}>", re.IGNORECASE)


_INLINE_TAG = _tag_pattern(_INLINE_TAGS)
_BLOCK_TAG = _tag_pattern(_BLOCK_TAGS)
# Not before a number, where `> 5` may mean more than five.
_LINE_PREFIX = re.compile(
    r"^[^\S\n]*(?:>[^\S\n]*)+(?<=\s)(?![\s\d.,<>$\u20ac\u00a3\u00b1-])", re.MULTILINE
)
_PLACEHOLDER = "\u2060"  # the word joiner, which shows nothing; it stands for a tag inside a word


def _hide_markup(text: str) -> str:
    """Return a text of the same length in which mark-up shows nothing: placeholders inside a word, else blanks."""
    if "<" not in text and ">" not in text:
        return text
    text = _INLINE_TAG.sub(lambda tag: _PLACEHOLDER * len(tag[0]), text)
    text = _BLOCK_TAG.sub(lambda tag: " " * len(tag[0]), text)
    return _LINE_PREFIX.sub(lambda prefix: " " * len(prefix[0]), text)


class FoldedText:
    """A folded text: single blanks, no case, one form for each character; `real` leads back to the text.

    Folding changes lengths ("ß" is "ss", "İ" is two characters, "…" is three), so each folded character knows which
    code points of the text it was made from; those that belong together (a letter and its marks) stay together.
    """

    def __init__(self, text: str) -> None:
        pieces = list[str]()
        self._starts = array("L")
        self._ends = array("L")
        for word in _RUN.finditer(_hide_markup(text)):
            if units := [one for one in _units(word[0], word.start()) if one[2]]:
                blank = [word.start()], [word.start()], " "
                # A line break inside Chinese or Thai parts no words.
                has_blank = bool(pieces) and not (
                    is_unspaced(pieces[-1][-1]) and is_unspaced(units[0][2][0])
                )
                for starts, ends, folded in [blank, *units] if has_blank else units:
                    pieces.append(folded)
                    self._starts.extend(starts)
                    self._ends.extend(ends)
        self.text = "".join(pieces)

    def real(self, start: int, end: int) -> tuple[int, int]:
        """Return where text[start:end] of the folded text, not empty and without blanks at its ends, was made from."""
        return self._starts[start], self._ends[end - 1]


def is_boundary(text: str, at: int) -> bool:
    """Return whether a word may begin or end between these two characters; never between a letter and its marks."""
    if not 0 < at < len(text):
        return True
    before = text[at - 1]
    after = text[at]
    if before.isascii() and after.isascii():  # as nearly all are
        return not (before.isalnum() and after.isalnum())
    if unicodedata.category(after)[0] == "M":
        return False
    return _in_no_word(before) or _in_no_word(after) or is_unspaced(before) or is_unspaced(after)


def is_unspaced(char: str) -> bool:
    """Return whether a character is of a script that puts no blank between words."""
    return _UNSPACED.match(char) is not None


def shown(text: str) -> str:
    """Return what of a text shows, in one form for each character, with its case and its blanks."""
    return unicodedata.normalize("NFKC", _seen(text).translate(_SAME)).translate(_SAME)


def _seen(text: str) -> str:
    return "".join(
        char for char in text if unicodedata.category(char) != "Cf" and not BLANK.match(char)
    )


def _has_letters(text: str) -> bool:
    return _LETTER.search(text) is not None


def _in_no_word(char: str) -> bool:
    return not char.isalnum() and unicodedata.category(char)[0] != "M"


def _units(word: str, at: int) -> Iterator[tuple[Iterable[int], Iterable[int], str]]:
    """Yield what folds together in a word: where each character of its folded form begins and ends, and that form."""
    if word.isascii():
        yield (
            range(at, at + len(word)),
            range(at + 1, at + len(word) + 1),
            word.lower().replace("`", "'"),
        )
        return
    cuts = [place for place, char in enumerate(word) if not place or not _joins(char)] + [len(word)]
    for start, end in pairwise(cuts):
        unit = word[start:end]
        folded = _folded(unit)
        shown_end = start + len(unit.rstrip(_PLACEHOLDER))
        yield [at + start] * len(folded), [at + shown_end] * len(folded), folded


@lru_cache(maxsize=65_536)
def _joins(char: str) -> bool:
    return unicodedata.category(char) in {"Mn", "Mc", "Me", "Cf"} or bool(BLANK.match(char))


@lru_cache(maxsize=65_536)
def _folded(unit: str) -> str:
    shown = _seen(unit)
    form: Literal["NFD", "NFKD"] = "NFKD"
    if " " in unicodedata.normalize(
        "NFKD", shown
    ):  # a mark that stands alone would become a blank with a mark
        form = "NFD"
    shown = unicodedata.normalize(form, shown.translate(_SAME)).casefold()
    shown = unicodedata.normalize(form, shown).casefold().translate(_SAME)
    return "".join(shown.split())


def context_of(text: str, start: int, end: int, *, most: int) -> str:
    """Return at most so many characters of a text round text[start:end], whole words where possible."""
    spare = most - (end - start)
    if spare <= 0:
        return _shrunk(text, start, start + most, least=start + most - LONGEST_WORD)
    first = max(start - max(spare // 2, spare - (len(text) - end)), 0)
    while first < start and not is_boundary(text, first):
        first += 1
    return _shrunk(text, first, min(first + most, len(text)), least=end).strip()


def _shrunk(text: str, start: int, end: int, *, least: int) -> str:
    whole = end
    while whole > least and not is_boundary(text, whole):
        whole -= 1
    return text[start:whole] if is_boundary(text, whole) else text[start:end]


def cut_part(text: str, start: int, end: int) -> tuple[str, int]:
    """Return a part of a text with signs where it was cut, and by how much its offsets moved."""
    start = max(0, start)
    end = min(len(text), end)
    front = "… " if start else ""
    back = " …" if end < len(text) else ""
    return f"{front}{text[start:end]}{back}", len(front) - start


# ---- where a quotation stands


class Location(NamedTuple):
    """A slice text[start:end], and how like the quotation it is: 1 where it differs in nothing but its look."""

    start: int
    end: int
    likeness: float
    how: str  # "", BY_LOOK, "by likeness 0.93"

    @property
    def mark(self) -> float | None:
        """Return how like the quotation a slice is that was found by likeness alone; None for any other."""
        return None if self.likeness == 1 else self.likeness


class SearchableText:
    """A text, ready to be searched for many quotations; folded when that is needed first."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def _plain_text(self) -> str:
        """The text, of the same length, without mark-up."""
        return _hide_markup(self.text)

    @cached_property
    def _text(self) -> FoldedText:
        return FoldedText(self.text)

    def locate(self, quote: str, *, occurrence: int = 0) -> list[Location]:
        """Return where a quotation stands, in pieces where it leaves something out; none where one is missing.

        Args:
            quote: What the model wrote.
            occurrence: Which of the places counts, from 0; the last one if there are not so many.
        """
        if not _has_letters(quote):
            return []
        if found := self._alike(quote, occurrence=occurrence):
            return [found]
        pieces = _pieces(quote)
        if len(pieces) > MAX_PIECES:
            return []
        if len(pieces) > 1:
            each = [self.locate(piece) for piece in pieces]
            return [one for found in each for one in found] if all(each) else []
        found = self._likest(quote)
        return (
            [found]
            if found and not _difference(quote, self._plain_text, found.start, found.end)
            else []
        )

    def why_not(self, quote: str) -> str:
        """Return what a quotation that is not found has another one of than what is most like it: "number", …, ""."""
        for piece in _pieces(quote):
            if not self.locate(piece) and (found := self._likest(piece)):
                return _difference(piece, self._plain_text, found.start, found.end)
        return ""

    def spans(self, phrase: str) -> Iterator[tuple[int, int]]:
        """Yield the slices that are a phrase, in order, as words of their own; white space and case do not count."""
        for start, end in self._looks(FoldedText(phrase).text):
            if is_boundary(self.text, start) and is_boundary(self.text, end):
                yield start, end

    def _alike(self, quote: str, *, occurrence: int) -> Location | None:
        """Return where a quotation stands as it is, or but for its look; at last without punctuation at its ends."""
        plain = quote.strip()
        folded = FoldedText(quote).text
        as_it_is = ((at, at + len(plain)) for at in _places(self.text, plain))
        return (
            self._chosen(as_it_is, "", occurrence, must_be_whole=len(quote) < MIN_PART)
            or self._chosen(
                self._looks(folded), BY_LOOK, occurrence, must_be_whole=len(folded) < MIN_PART
            )
            or self._chosen(self._looks(_bare(folded)), BY_LOOK, occurrence, must_be_whole=True)
        )

    def _looks(self, wanted: str) -> Iterator[tuple[int, int]]:
        for at in _places(self._text.text, wanted):
            yield self._text.real(at, at + len(wanted))

    def _likest(self, quote: str) -> Location | None:
        """Return the words that are most like a quotation, where they are like enough."""
        text = self._text.text
        wanted = _bare(FoldedText(quote).text)
        if not MIN_LIKE <= len(wanted) <= MAX_LIKE:
            return None
        if len(wanted) > len(text):
            return self._match_whole_text(wanted)
        around = fuzz.partial_ratio_alignment(wanted, text, score_cutoff=100 * (LIKENESS - SLACK))
        if around is None:
            return None
        ends = list(_boundaries(text, around.dest_end, 1))
        spans = [
            (start, end)
            for start in _boundaries(text, around.dest_start, 0)
            for end in ends
            if start < end
        ]
        likeness, start, end = max(
            (
                (Indel.normalized_similarity(wanted, text[start:end]), start, end)
                for start, end in spans
            ),
            default=(0.0, 0, 0),
        )
        if likeness < LIKENESS:
            return None
        begins, stops = self._text.real(start, end)
        if stops - begins > MAX_STRETCH * len(quote):
            return None
        told = int(likeness * 100) / 100
        return Location(begins, stops, told, f"by likeness {told:.2f}")

    def _match_whole_text(self, wanted: str) -> Location | None:
        """Return the span of the whole text if the quotation resembles it by LIKENESS or more.

        The quotation is folded and longer than the text. Punctuation at the ends of the text is left out.
        """
        text = self._text.text
        bare = _bare(text)
        likeness = Indel.normalized_similarity(wanted, bare)
        if not bare or likeness < LIKENESS:
            return None
        first = text.index(bare)
        start, end = self._text.real(first, first + len(bare))
        rounded = int(likeness * 100) / 100
        return Location(start, end, rounded, f"by likeness {rounded:.2f}")

    def _chosen(
        self, found: Iterable[tuple[int, int]], how: str, occurrence: int, *, must_be_whole: bool
    ) -> Location | None:
        """Return that occurrence of some slices that are of whole words, else of all; the last if there are fewer."""
        spans = list(found)
        whole = [
            one
            for one in spans
            if is_boundary(self.text, one[0]) and is_boundary(self.text, one[1])
        ]
        spans = whole if whole or must_be_whole else spans
        return Location(*spans[min(occurrence, len(spans) - 1)], 1.0, how) if spans else None


def _pieces(quote: str) -> list[str]:
    return [piece.strip() for piece in _LEFT_OUT.split(quote) if _has_letters(piece)]


def _places(text: str, wanted: str) -> Iterator[int]:
    """Yield where a text holds another, without those that overlap one before."""
    at = text.find(wanted) if wanted else -1
    while at >= 0:
        yield at
        at = text.find(wanted, at + len(wanted))


def _boundaries(text: str, near: int, side: int) -> Iterator[int]:
    """Yield the nearest places where a word begins (side 0) or ends (side 1), six at most."""
    least = max(near - REACH, side)
    most = min(near + REACH, len(text) - 1 + side)
    around = sorted(range(least, most + 1), key=lambda at: abs(at - near))
    return islice(
        (at for at in around if _has_letters(text[at - side]) and is_boundary(text, at)), NEAREST
    )


def _bare(text: str) -> str:
    """Return a text without what is neither letter nor digit, nor the mark of one, at its ends."""
    start = 0
    end = len(text)
    while start < end and not _has_letters(text[start]):
        start += 1
    while end > start and not _has_letters(text[end - 1]) and is_boundary(text, end - 1):
        end -= 1
    return text[start:end]


class _Word(NamedTuple):
    """A word or number, as it is compared, what it states (a number, a negation, a name, or nothing), and where."""

    form: str
    kind: str
    start: int
    end: int


def _difference(quote: str, text: str, start: int, end: int) -> str:
    """Return what a quotation has another one of than the slice text[start:end]: NEGATION, NUMBER, NAME or nothing."""
    before = shown(text[max(0, start - REACH) : start])
    slice_ = shown(text[start:end])
    around = before + slice_ + shown(text[end : end + REACH])
    plain = shown(_hide_markup(quote))
    # where a quotation is in capitals as a whole, and the text is not, these say nothing
    said = list(_words(plain.lower() if quote.isupper() and not slice_.isupper() else plain))
    words = list(_words(around))
    first = len(before)
    last = len(before) + len(slice_)
    there = [
        one for one in words if one.end > first and one.start < last
    ]  # of which it may have a part alone
    if blocks := _matching(said, there)[
        :-1
    ]:  # where the slice lacks words of the quotation's ends: what is there?
        first = min(first, there[0].start)
        last = max(last, there[-1].end)
        first -= len(_LAST_WORDS.findall(around[:first])[0]) if blocks[0].a > blocks[0].b else 0
        is_short = len(said) - blocks[-1].a > len(there) - blocks[-1].b
        last += len(_FIRST_WORDS.findall(around[last:])[0]) if is_short else 0
        there = [one for one in words if one.end > first and one.start < last]
    found = {kind for one, other in _regions(said, there) for kind in _differences(one, other)}
    return next((kind for kind in (NEGATION, NUMBER, NAME) if kind in found), "")


def _words(plain: str) -> Iterator[_Word]:
    """Yield the words of a text as it shows, those of a compound apart, each with where all of that stands."""
    kinds = "".join(map(_kind, plain))
    for match in _TOKEN.finditer(kinds):
        written = plain[slice(*match.span())]
        is_number = kinds[match.start()] in "d-s"
        for part in [written] if is_number else written.split("-"):
            form = part if is_number else unicodedata.normalize("NFKC", part.casefold())
            if is_number:
                kind = NUMBER
            elif form.endswith("n't") or form.startswith("n'"):  # as in "isn't" and "n'est"
                kind = NEGATION
            else:
                is_name = part.lower() == part.upper() or part != part.lower()
                kind = _STATED.get(form) or (NAME if is_name else "")
                form = form.removesuffix("'s")
            yield _Word(form, kind, *match.span())


@cache
def _kind(char: str) -> str:
    """Return of what kind a character is: l of a word, u a word of its own, d a digit, or as `_KINDS` has it."""
    if char.isdecimal():
        return "d"
    if unicodedata.category(char)[0] in "LMN":
        return "u" if is_unspaced(char) else "l"
    return "s" if unicodedata.category(char) == "Sc" else _KINDS.get(char, " ") or char


def _matching(one: Sequence[_Word], other: Sequence[_Word]) -> list[MatchingBlock]:
    return Levenshtein.opcodes(
        [word.form for word in one], [word.form for word in other]
    ).as_matching_blocks()


def _regions(
    one: Sequence[_Word], other: Sequence[_Word]
) -> Iterator[tuple[Sequence[_Word], Sequence[_Word]]]:
    """Yield the stretches in which two texts differ, those that stand between words that both have."""
    begun = 0
    until = 0
    for block in _matching(one, other):
        if (begun, until) != (block.a, block.b):
            yield one[begun : block.a], other[until : block.b]
        begun = block.a + block.size
        until = block.b + block.size


def _differences(said: Sequence[_Word], there: Sequence[_Word]) -> Iterator[str]:
    """Yield in what a stretch of a quotation states something else than that of the text."""
    numbers, negations, names = (
        [[word.form for word in side if word.kind == kind] for side in (said, there)]
        for kind in (NUMBER, NEGATION, NAME)
    )
    letters = ["".join(word.form for word in side) for side in (said, there)]
    if not any(numbers) and letters[0] == letters[1]:  # with blanks elsewhere
        return
    if numbers[0] != numbers[1]:
        yield NUMBER
    pairs = ((one.form, other.form) for one in said for other in there)
    if len(negations[0]) != len(negations[1]) or any(starmap(_is_negated, pairs)):
        yield NEGATION
    if names[0] != names[1]:
        yield NAME


def _is_negated(one: str, other: str) -> bool:
    """Return whether one of two words is the other one with a negative prefix or suffix, or nearly."""
    best = Indel.normalized_similarity(one, other)
    for word, plain in ((one, other), (other, one)):
        bare = [
            word.removeprefix(front)
            for front in _WORDS["negative_prefixes"]
            if word.startswith(front)
        ]
        bare += [
            word.removesuffix(back) for back in _WORDS["negative_suffixes"] if word.endswith(back)
        ]
        plains = {plain, *(plain.removesuffix(back) for back in _WORDS["positive_suffixes"])}
        alike = (
            Indel.normalized_similarity(left, p)
            for left in bare
            if len(left) >= FEWEST_LEFT
            for p in plains
        )
        if max(alike, default=0.0) > max(best, SAME):
            return True
    return False
