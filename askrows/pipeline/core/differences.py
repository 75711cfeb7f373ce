"""Find differences of meaning between two similar texts: numbers, negations and names."""

import re
import tomllib
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain, product, starmap
from pathlib import Path
from typing import NamedTuple

from rapidfuzz.distance import Indel, Levenshtein, MatchingBlock

from askrows.pipeline.core.folding import (
    MAX_BOUNDARY_DISTANCE,
    is_unspaced,
    normalize_visible_text,
    replace_markup_by_invisible,
)

NUMBER = "number"
NEGATION = "negation"
NAME = "name"
# Words with a higher similarity (Indel) are equal except for a spelling mistake.
MIN_WORD_LIKENESS = 0.8
# Minimum length of a word without its negative prefix or suffix.
MIN_STEM_CHARS = 3  # characters
_CHARACTER_KINDS = {
    **dict.fromkeys(".,:\u066b\u066c", "."),
    **dict.fromkeys("-'", None),
    # Signs that change the meaning of a number.
    **dict.fromkeys("<>\u2264\u2265\u2260\u00b1%\u2030", "s"),
}
# A pattern over character kinds: a number with its sign, a word or compound, a character of a
# script without blanks, or another sign.
_TOKEN = re.compile(r"(?:(?<![dlu])-)?d+(?:[.']d+)*|l+(?:['-]l+)*|u|s")
# At most two words of the same sentence, at the end or the beginning of a text.
_LAST_WORDS = re.compile(r"(?:[^\s.!?]+[^\S\n]+){0,2}$")
_FIRST_WORDS = re.compile(r"(?:[^\S\n]+[^\s.!?]+){0,2}")
_WORD_LISTS = {
    name: words.split()
    for name, words in tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8")).items()
}
_KIND_BY_WORD = {
    **dict.fromkeys((*_WORD_LISTS["numbers"], *_WORD_LISTS["months"]), NUMBER),
    **dict.fromkeys(_WORD_LISTS["negations"], NEGATION),
}


class _Word(NamedTuple):
    """A word or number of a text. Parts of a compound have the offsets of the compound."""

    # The form that is compared.
    form: str
    # NUMBER, NEGATION, NAME or "".
    kind: str
    start: int
    end: int


def find_meaning_difference(quote: str, text: str, start: int, end: int) -> str:
    """Return in what a quotation and text[start:end] differ: a negation, a number or a name.

    A slice that begins or ends inside a word is extended to the whole word. If the quotation has
    more words than the slice before the first word that both have, up to two words of the text
    before the slice are compared, too. The same applies after the last word that both have.

    Returns:
        NEGATION if they differ in a negation, else NUMBER, else NAME; "" if they differ in none of
        these.
    """
    before = normalize_visible_text(text[max(0, start - MAX_BOUNDARY_DISTANCE) : start])
    slice_ = normalize_visible_text(text[start:end])
    surroundings = before + slice_ + normalize_visible_text(text[end : end + MAX_BOUNDARY_DISTANCE])
    visible_quote = normalize_visible_text(replace_markup_by_invisible(quote))
    # Capitals mean nothing in a quotation in capitals, unless the text is in capitals, too.
    if quote.isupper() and not slice_.isupper():
        visible_quote = visible_quote.lower()
    quote_words = list(_split_words_with_kinds(visible_quote))
    nearby_words = list(_split_words_with_kinds(surroundings))

    slice_start = len(before)
    slice_end = len(before) + len(slice_)
    slice_words = _list_words_within(nearby_words, slice_start, slice_end)
    blocks = _find_matching_blocks(quote_words, slice_words)[:-1]
    if blocks:
        # The slice can begin or end inside a word. If it lacks words at the ends of the quotation,
        # compare them with the words next to the slice.
        slice_start = min(slice_start, slice_words[0].start)
        slice_end = max(slice_end, slice_words[-1].end)
        first_block = blocks[0]
        last_block = blocks[-1]
        if first_block.a > first_block.b:
            slice_start -= len(_LAST_WORDS.findall(surroundings[:slice_start])[0])
        if len(quote_words) - last_block.a > len(slice_words) - last_block.b:
            slice_end += len(_FIRST_WORDS.findall(surroundings[slice_end:])[0])
        slice_words = _list_words_within(nearby_words, slice_start, slice_end)

    differing_parts = _iterate_differing_parts(quote_words, slice_words)
    differences = set(
        chain.from_iterable(starmap(_iterate_meaning_difference_kinds, differing_parts))
    )
    return next((kind for kind in (NEGATION, NUMBER, NAME) if kind in differences), "")


def _list_words_within(words: Sequence[_Word], start: int, end: int) -> list[_Word]:
    """Return the words of which at least a part is in [start, end)."""
    return [word for word in words if word.end > start and word.start < end]


def _split_words_with_kinds(text: str) -> Iterator[_Word]:
    """Yield the words and numbers of a text in order, with their kinds and offsets.

    The kind is one of these:

    - NUMBER: digits, a sign of numbers, or a word for a number or a month.
    - NEGATION: a word of the list of negations, or a contraction such as "isn't" or "n'est".
    - NAME: another word with a capital letter, or of a script without capital letters.
    - "": any other word.

    A compound such as `well-known` is yielded in parts, which have the offsets of the whole
    compound. Words are case-folded and lose a final 's.
    """
    kinds = "".join(map(_classify_character, text))
    for match in _TOKEN.finditer(kinds):
        token = text[slice(*match.span())]
        if kinds[match.start()] in "d-s":
            yield _Word(token, NUMBER, *match.span())
            continue
        for part in token.split("-"):
            form = unicodedata.normalize("NFKC", part.casefold())
            # Contractions such as "isn't" and "n'est".
            if form.endswith("n't") or form.startswith("n'"):
                yield _Word(form, NEGATION, *match.span())
                continue
            is_name = part.lower() == part.upper() or part != part.lower()
            kind = _KIND_BY_WORD.get(form) or (NAME if is_name else "")
            yield _Word(form.removesuffix("'s"), kind, *match.span())


@cache
def _classify_character(char: str) -> str:
    """Return the code of a character in the pattern _TOKEN.

    "d" is a decimal digit, "l" a letter, "u" a letter of a script without blanks, "s" a sign of
    numbers such as "%", "<" or a currency sign, "." a separator of digits, " " any other character.
    Combining marks and numerals that are not decimal count as letters. Hyphen and apostrophe are
    themselves.
    """
    if char.isdecimal():
        return "d"
    category = unicodedata.category(char)
    if category[0] in "LMN":
        return "u" if is_unspaced(char) else "l"
    if category == "Sc":
        return "s"
    return _CHARACTER_KINDS.get(char, " ") or char


def _find_matching_blocks(
    quote_words: Sequence[_Word],
    text_words: Sequence[_Word],
) -> list[MatchingBlock]:
    quote_forms = [word.form for word in quote_words]
    text_forms = [word.form for word in text_words]
    return Levenshtein.opcodes(quote_forms, text_forms).as_matching_blocks()


def _iterate_differing_parts(
    quote_words: Sequence[_Word],
    text_words: Sequence[_Word],
) -> Iterator[tuple[Sequence[_Word], Sequence[_Word]]]:
    """Yield the parts of a quotation and of a text that differ, between the words they share.

    The parts are in order. One part of a pair is empty if words are missing on that side.
    """
    quote_index = 0
    text_index = 0
    for block in _find_matching_blocks(quote_words, text_words):
        if (quote_index, text_index) != (block.a, block.b):
            yield quote_words[quote_index : block.a], text_words[text_index : block.b]
        quote_index = block.a + block.size
        text_index = block.b + block.size


def _iterate_meaning_difference_kinds(
    quote_words: Sequence[_Word],
    text_words: Sequence[_Word],
) -> Iterator[str]:
    """Yield those of NUMBER, NEGATION and NAME in which two parts differ.

    They differ in negation if they have different numbers of negations, or if a word of one is the
    negated form of a word of the other. If the words of both, written without blanks, are the same
    and no word is a number, nothing is yielded.
    """
    quote_numbers = _list_forms_of_kind(quote_words, NUMBER)
    text_numbers = _list_forms_of_kind(text_words, NUMBER)
    quote_letters = "".join(word.form for word in quote_words)
    text_letters = "".join(word.form for word in text_words)
    # The parts differ in blanks only.
    if not quote_numbers and not text_numbers and quote_letters == text_letters:
        return

    if quote_numbers != text_numbers:
        yield NUMBER
    negation_counts = {
        len(_list_forms_of_kind(words, NEGATION)) for words in (quote_words, text_words)
    }
    word_pairs = product([word.form for word in quote_words], [word.form for word in text_words])
    if len(negation_counts) > 1 or any(starmap(_are_negations_of_each_other, word_pairs)):
        yield NEGATION
    if _list_forms_of_kind(quote_words, NAME) != _list_forms_of_kind(text_words, NAME):
        yield NAME


def _list_forms_of_kind(words: Sequence[_Word], kind: str) -> list[str]:
    return [word.form for word in words if word.kind == kind]


def _are_negations_of_each_other(first_word: str, second_word: str) -> bool:
    """Return whether either word looks like the other with a negative prefix or suffix.

    For example unhappy and happy, or hopeless and hopeful. The prefix or suffix is removed, and the
    rest, of at least MIN_STEM_CHARS, is compared with the other word, also without its positive
    suffix such as -ful. The rest and the other word must be more similar than MIN_WORD_LIKENESS,
    and more similar than the two whole words.
    """
    min_likeness = max(Indel.normalized_similarity(first_word, second_word), MIN_WORD_LIKENESS)
    for negated, positive in ((first_word, second_word), (second_word, first_word)):
        stems = [
            negated.removeprefix(prefix)
            for prefix in _WORD_LISTS["negative_prefixes"]
            if negated.startswith(prefix)
        ]
        stems += [
            negated.removesuffix(suffix)
            for suffix in _WORD_LISTS["negative_suffixes"]
            if negated.endswith(suffix)
        ]
        long_stems = [stem for stem in stems if len(stem) >= MIN_STEM_CHARS]
        plain_stems = {
            positive,
            *(positive.removesuffix(suffix) for suffix in _WORD_LISTS["positive_suffixes"]),
        }
        for stem, plain_stem in product(long_stems, plain_stems):
            if Indel.normalized_similarity(stem, plain_stem) > min_likeness:
                return True
    return False
