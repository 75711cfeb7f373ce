"""For every text and quotation: a located quotation is a slice, and folding maps to its source."""

import itertools
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from askrows.pipeline.core.folding import FoldedText
from askrows.pipeline.core.locate import SearchableText
from tests.property.core.odd_texts import BLANKS, slices, texts, words


@given(slices())
def test_a_slice_of_the_text_is_located_exactly(drawn_slice: tuple[str, str]) -> None:
    """A slice of at least three characters with a letter or digit is located without its blanks."""
    text, quotation = drawn_slice
    assume(len(quotation) >= 3 and any(char.isalnum() for char in quotation))
    passage = SearchableText(text).locate(quotation)
    assert passage is not None
    assert text[passage.start : passage.end] == quotation.strip()
    assert passage.method == ""
    assert passage.likeness == 1


# Quotation marks and punctuation at the ends do not count.
SIGNS = "\"'-.%()"


def normalize(text: str) -> str:
    """Return a text in a single form and case with single blanks, independently of the product."""
    visible = "".join(char for char in text if unicodedata.category(char) != "Cf").replace(
        "\u0131", "i"
    )
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", visible).casefold())
    return " ".join(folded.translate(str.maketrans("\u2014\u201c\u201d\u2019", '-""\'')).split())


@given(words, st.data())
def test_white_space_and_case_do_not_count(
    pairs: list[tuple[str, str]], chance: st.DataObject
) -> None:
    """Whole words are located with other blanks, capitals and Unicode forms."""
    text = "".join(word + blank for word, blank in pairs)
    first = chance.draw(st.integers(0, len(pairs) - 1))
    chosen_words = [
        word for word, _ in pairs[first : chance.draw(st.integers(first + 1, len(pairs)))]
    ]
    changed = "".join(word + chance.draw(BLANKS) for word in chosen_words)
    for change in (str.upper, str.lower, str.title, str.swapcase):
        quote = unicodedata.normalize(
            chance.draw(st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"])), change(changed)
        )
        assume(any(char.isalnum() for char in quote))
        passage = SearchableText(text).locate(quote)
        assert passage is not None
        located = normalize(text[passage.start : passage.end]).strip(SIGNS)
        assert located == normalize(quote).strip(SIGNS)
        assert passage.likeness == 1


SENTENCE = "the network learns from data which we measure on several tasks and report as accuracy"
SENTENCE_WORDS = SENTENCE.split()


# Pairs: the text contains either member, and the quotation the other; empty for no word.
CHANGES = [
    ("not", ""), ("never", ""), ("isn't", "is"), ("nicht", ""),
    ("not", "..."), ("никогда", "[…]"), ("7", "…"),
    ("ne peut pas", "peut"), ("не", ""), ("nunca", ""),
    ("7", "9"), ("1,500", "9,500"), ("12", "twenty"), ("three", "drei mal vier"), ("2.5", "25"),
    ("\u0664", "\u0665"),
    ("March", "May"), ("Smith", "Smyth"),
    ("Иван", "Игорь"), ("IBM", "BMI"), ("北京", "東京"), ("不", ""), ("ない", "ある"),
]  # fmt: skip


@given(st.lists(st.sampled_from(SENTENCE_WORDS), min_size=12, max_size=60), st.data())
def test_another_number_negation_or_name_is_never_found(
    sentence_words: list[str], chance: st.DataObject
) -> None:
    """No difference of numbers, negations or names is accepted, with or without a slip nearby."""
    reversed_changes = [(second, first) for first, second in CHANGES]
    true_word, false_word = chance.draw(st.sampled_from([*CHANGES, *reversed_changes]))
    position = chance.draw(st.integers(1, 11))
    text = " ".join(
        filter(None, [*sentence_words[:position], true_word, *sentence_words[position:]])
    )
    quoted_words = [*sentence_words[:position], false_word, *sentence_words[position:12]]
    # A typing error nearby must not hide the difference.
    if chance.draw(st.booleans()):
        slip = chance.draw(st.integers(0, position - 1))
        quoted_words[slip] = quoted_words[slip][:1] + "q" + quoted_words[slip][1:]
    located = SearchableText(text).locate(" ".join(filter(None, quoted_words)))
    assert located is None


FACTS = [word for word in itertools.chain.from_iterable(CHANGES) if word]


@given(st.permutations(SENTENCE_WORDS), st.data())
def test_a_slip_near_a_number_negation_or_name_is_located(
    sentence_words: list[str], chance: st.DataObject
) -> None:
    """A slip lowers the likeness, whatever capitals, blanks and quotation marks differ."""
    fact = chance.draw(st.sampled_from(FACTS))
    position = chance.draw(st.integers(1, 11))
    quoted_words = [*sentence_words[:position], fact, *sentence_words[position:12]]
    text = " ".join([*quoted_words, *sentence_words[12:]])
    slip = chance.draw(
        st.integers(1, 12).filter(lambda place: place != position and len(quoted_words[place]) > 1)
    )
    quoted_words[slip] = quoted_words[slip][:1] + "q" + quoted_words[slip][1:]
    changes: list[Callable[[str], str]] = [str, str.upper, str.lower]
    change = chance.draw(st.sampled_from(changes))
    quote = change(chance.draw(st.sampled_from([" ", "\n", "\u00a0 "])).join(quoted_words))
    quote = chance.draw(st.sampled_from(["{}", "{}!", "\u201c{}\u201d"])).format(quote)
    if "'" in fact:
        quote = quote.replace("'", "\u2019")
    passage = SearchableText(text).locate(quote) or pytest.fail(f"{quote!r} is not found")
    assert f" {text[passage.start : passage.end]} " in f" {text} "
    assert passage.noted_likeness == passage.likeness
    assert 0.85 <= passage.likeness < 1


@given(texts)
@example("\u00c8\u00b8")
def test_folding_maps_back_to_its_source(text: str) -> None:
    """Every folded word maps to a slice, in order, that folds to it; folding is idempotent."""
    folded = FoldedText(text)
    word_start = 0
    last_end = 0
    for word in folded.text.split(" "):
        if word:
            start, end = folded.find_original_span(word_start, word_start + len(word))
            assert last_end <= start < end <= len(text)
            assert FoldedText(text[start:end]).text == word
            last_end = end
        word_start += len(word) + 1
    assert FoldedText(folded.text).text == folded.text
