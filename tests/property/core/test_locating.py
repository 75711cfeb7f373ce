"""What holds for every text and every quotation: what is found is a slice, and folding leads back to its source."""

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pipeline.core.folding import FoldedText
from pipeline.core.locate import SearchableText
from tests.property.core.odd_texts import BLANKS, slices, texts, words


@given(slices())
def test_a_slice_of_the_text_is_found_as_it_is(drawn: tuple[str, str]) -> None:
    """Of three characters at least, with a letter or a digit, wherever it is cut; blanks at its ends go."""
    text, part = drawn
    assume(len(part) >= 3 and any(char.isalnum() for char in part))
    [found] = SearchableText(text).locate(part)
    assert (text[found.start : found.end], found.method, found.likeness) == (part.strip(), "", 1)


def normal(text: str) -> str:
    """Return a text in one form and case, with single blanks, in another way than the product has."""
    shown = "".join(char for char in text if unicodedata.category(char) != "Cf").replace(
        "\u0131", "i"
    )
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", shown).casefold())
    return " ".join(plain.translate(str.maketrans("\u2014\u201c\u201d\u2019", '-""\'')).split())


@given(words, st.data())
def test_white_space_and_case_do_not_count(
    pairs: list[tuple[str, str]], data: st.DataObject
) -> None:
    """Whole words with other blanks, capitals and forms are found, and what is found is the same but for that."""
    text = "".join(word + blank for word, blank in pairs)
    first = data.draw(st.integers(0, len(pairs) - 1))
    chosen = [word for word, _ in pairs[first : data.draw(st.integers(first + 1, len(pairs)))]]
    changed = "".join(word + data.draw(BLANKS) for word in chosen)
    for change in (str.upper, str.lower, str.title, str.swapcase):
        quote = unicodedata.normalize(
            data.draw(st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"])), change(changed)
        )
        assume(any(char.isalnum() for char in quote))
        [found] = SearchableText(text).locate(quote)
        assert normal(text[found.start : found.end]).strip("\"'-.%()") == normal(quote).strip(
            "\"'-.%()"
        )
        assert found.likeness == 1


SAID = "the network learns from data which we measure on several tasks and report as accuracy"
WRITTEN = SAID.split()


CHANGES = [  # pairs of which a text has one and a quotation the other; empty where it has none
    ("not", ""), ("never", ""), ("isn't", "is"), ("nicht", ""), ("ne peut pas", "peut"), ("не", ""), ("nunca", ""),
    ("7", "9"), ("1,500", "9,500"), ("12", "twenty"), ("three", "drei mal vier"), ("2.5", "25"),
    ("\u0664", "\u0665"),
    ("March", "May"), ("Smith", "Smyth"),
    ("Иван", "Игорь"), ("IBM", "BMI"), ("北京", "東京"), ("不", ""), ("ない", "ある"),
]  # fmt: skip


@given(st.lists(st.sampled_from(WRITTEN), min_size=12, max_size=60), st.data())
def test_another_number_negation_or_name_is_never_found(
    written: list[str], data: st.DataObject
) -> None:
    """Wherever it stands, whichever of the two has it, and whatever slip stands beside."""
    one, other = data.draw(st.sampled_from([*CHANGES, *((other, one) for one, other in CHANGES)]))
    at = data.draw(st.integers(1, 11))
    text = " ".join(filter(None, [*written[:at], one, *written[at:]]))
    said = [*written[:at], other, *written[at:12]]
    if data.draw(st.booleans()):
        slip = data.draw(st.integers(0, at - 1))
        said[slip] = said[slip][:1] + "q" + said[slip][1:]
    located = SearchableText(text).locate(" ".join(filter(None, said)))
    assert located == []


@given(st.permutations(WRITTEN), st.data())
def test_a_slip_beside_a_number_negation_or_name_is_found(
    written: list[str], data: st.DataObject
) -> None:
    """Whatever capitals, blanks, punctuation and quotation marks the quotation has otherwise; it is a marked slice."""
    fact = data.draw(st.sampled_from([one for pair in CHANGES for one in pair if one]))
    at = data.draw(st.integers(1, 11))
    said = [*written[:at], fact, *written[at:12]]
    text = " ".join([*said, *written[12:]])
    slip = data.draw(st.integers(1, 12).filter(lambda place: place != at and len(said[place]) > 1))
    said[slip] = said[slip][:1] + "q" + said[slip][1:]
    changes: list[Callable[[str], str]] = [str, str.upper, str.lower]
    change = data.draw(st.sampled_from(changes))
    quote = change(data.draw(st.sampled_from([" ", "\n", "\u00a0 "])).join(said))
    quote = data.draw(st.sampled_from(["{}", "{}!", "\u201c{}\u201d"])).format(quote)
    if "'" in fact:
        quote = quote.replace("'", "\u2019")
    [found] = SearchableText(text).locate(quote) or pytest.fail(f"{quote!r} is not found")
    assert f" {text[found.start : found.end]} " in f" {text} "
    assert found.noted_likeness == found.likeness
    assert 0.85 <= found.likeness < 1


@given(texts)
@example("\u00c8\u00b8")
def test_folding_leads_back_to_what_it_was_made_from(text: str) -> None:
    """Every word of the folded text was made from a slice that folds to it, in order; what was folded once stays so."""
    folded = FoldedText(text)
    at = 0
    last = 0
    for word in folded.text.split(" "):
        if word:
            start, end = folded.original_span(at, at + len(word))
            assert last <= start < end <= len(text)
            assert FoldedText(text[start:end]).text == word
            last = end
        at += len(word) + 1
    assert FoldedText(folded.text).text == folded.text
