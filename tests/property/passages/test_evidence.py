"""What holds for every text and every answer: all that is stored as evidence is a slice of the passage."""

import string
import unicodedata

from hypothesis import assume, example, given
from hypothesis import strategies as st

from pipeline.passages.answer import CONCEPT_TYPES, PassageConcepts
from pipeline.passages.evidence import MAX_CONTEXT, ground
from pipeline.passages.fold import Folded
from pipeline.passages.locate import SearchableText

# words of many scripts, and what folding has to take care of: ligatures, marks in either order, letters that grow
ODD = (
    "the a of model learning data-set (CNN) \u201cquoted\u201d it's 95.2% e\u0301tude \u00e9tude \ufb01ne stra\u00dfe"
    " \u0130stanbul \u0131r\u0131s \u03bb\u03cc\u03b3\u03bf\u03c2 \u1fb4 модель \u1e69 s\u0323\u0307 s\u0307\u0323"
    " \u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd \u0627\u0644\u0646\u0651\u064e\u0645\u0648\u0630\u062c 机器学习 モデル"
    " \u0928\u092e\u0942\u0928\u093e \ud55c\uad6d\uc5b4 \U0001f600 \U0001f469\u200d\U0001f52c soft\u00adhyphen ..."
    " \u2014 \u2026 \u202eabc\u202c \u200b \ufeffbom x"
)
WORDS = tuple(ODD.split())
BLANKS = st.sampled_from([" ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u2003", "\u3000", " \u2028"])
LETTERS = st.characters(exclude_categories=["Cs"])
ONE = {"name": "x", "type": "task", "aliases": [], "confidence": 1.0}
words = st.lists(st.tuples(st.sampled_from(WORDS), BLANKS), min_size=1, max_size=40)
texts = st.one_of(words.map(lambda pairs: "".join(word + blank for word, blank in pairs)), st.text(LETTERS))


@st.composite
def slices(draw: st.DrawFn) -> tuple[str, str]:
    """Draw a text that is not empty and a slice of it that is not empty either."""
    text = draw(texts.filter(bool))
    start = draw(st.integers(0, len(text) - 1))
    return text, text[start : draw(st.integers(start + 1, len(text)))]


@st.composite
def answers(draw: st.DrawFn) -> tuple[str, PassageConcepts]:
    """Draw a text and an answer whose quotations are slices of it, changed slices, or anything."""
    text, part = draw(slices())
    quote = st.sampled_from(
        [part, part.upper(), part.replace(" ", "\n"), part[1:] + "z", part[: len(part) // 2] + " ... " + part, text]
    )
    concept = st.fixed_dictionaries(
        {
            "name": st.one_of(st.sampled_from(WORDS), st.text(LETTERS, max_size=9), st.just(part)),
            "type": st.one_of(st.sampled_from(CONCEPT_TYPES), st.text(LETTERS, max_size=9)),
            "aliases": st.lists(st.sampled_from(WORDS), max_size=2),
            "confidence": st.floats(0, 1),
            "quotes": st.lists(st.one_of(quote, st.text(LETTERS, max_size=30)), max_size=4),
        }
    )
    drawn = draw(st.lists(concept, max_size=3))
    first = ONE | {"quotes": [part]}
    return text, PassageConcepts.model_validate({"concepts": [first, *drawn]})


@given(answers())
@example(("\u0130", PassageConcepts.model_validate({"concepts": [ONE | {"quotes": ["i"]}]})))
def test_all_that_is_stored_as_evidence_is_a_slice_of_the_text(drawn: tuple[str, PassageConcepts]) -> None:
    """Offsets are exact, in order, and once; surface and context stand in the text; figures lie between 0 and 1."""
    text, answer = drawn
    stored, reason = ground(answer, text)
    assert (stored is None) == bool(reason)
    concepts = stored.concepts if stored else []
    assert [each.name for each in concepts] == [each.name for each in answer.concepts if stored]
    for each in concepts:
        assert each.type in CONCEPT_TYPES
        if each.evidence is None:
            continue
        spans = [(one.start, one.end) for one in each.evidence.support]
        assert all(text[one.start : one.end] == one.quote != "" for one in each.evidence.support)
        assert spans == sorted(set(spans))
        assert each.evidence.surface in text
        assert each.evidence.context in text
        assert len(each.evidence.context) <= MAX_CONTEXT
        assert each.evidence.support[0].quote[: MAX_CONTEXT // 2].strip() in each.evidence.context
        assert 0 < each.evidence.quality.confidence <= 1


@given(slices())
def test_a_slice_of_the_text_is_found_as_it_is(drawn: tuple[str, str]) -> None:
    """Of three characters at least, with a letter or a digit, wherever it is cut; blanks at its ends go."""
    text, part = drawn
    assume(len(part) >= 3 and any(char.isalnum() for char in part))
    [found] = SearchableText(text).locate(part)
    assert (text[found.start : found.end], found.how, found.likeness) == (part.strip(), "", 1)


def normal(text: str) -> str:
    """Return a text in one form and case, with single blanks, in another way than the product has."""
    shown = "".join(char for char in text if unicodedata.category(char) != "Cf").replace("\u0131", "i")
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", shown).casefold())
    return " ".join(plain.translate(str.maketrans("\u2014\u201c\u201d\u2019", '-""\'')).split())


@given(words, st.data())
def test_white_space_and_case_do_not_count(pairs: list[tuple[str, str]], data: st.DataObject) -> None:
    """Whole words with other blanks, capitals and forms are found, and what is found is the same but for that."""
    text = "".join(word + blank for word, blank in pairs)
    first = data.draw(st.integers(0, len(pairs) - 1))
    chosen = [word for word, _ in pairs[first : data.draw(st.integers(first + 1, len(pairs)))]]
    changed = "".join(word + data.draw(BLANKS) for word in chosen)
    for change in (str.upper, str.lower, str.title, str.swapcase):
        quote = unicodedata.normalize(data.draw(st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"])), change(changed))
        assume(any(char.isalnum() for char in quote))
        [found] = SearchableText(text).locate(quote)
        assert normal(text[found.start : found.end]).strip("\"'-.%()") == normal(quote).strip("\"'-.%()")
        assert found.likeness == 1


UNHEARD_OF = "banana violin harbour puppet thunder cabbage mosque velvet zebra jungle fiddle quartz"
SAID = "the network learns from data which we measure on several tasks and report as accuracy"
INVENTED, WRITTEN = UNHEARD_OF.split(), SAID.split()


@given(st.lists(st.sampled_from(WRITTEN), max_size=60), st.lists(st.sampled_from(INVENTED), min_size=1, max_size=15))
def test_an_invented_quotation_is_not_found(written: list[str], invented: list[str]) -> None:
    """Words that do not stand in a text are not made likely by its length."""
    assert SearchableText(" ".join(written)).locate(" ".join(invented)) == []


@given(st.lists(st.sampled_from(WRITTEN), min_size=6, max_size=60), st.data())
def test_a_slip_is_found_as_whole_words(written: list[str], data: st.DataObject) -> None:
    """A letter changed within a quotation of twenty characters or more leaves it so like that the words are found."""
    text = " ".join(written)
    first = data.draw(st.integers(0, len(written) - 6))
    part = " ".join(written[first : first + 6])
    at = data.draw(st.integers(1, len(part) - 2))
    assume(part[at] != " ")
    [found] = SearchableText(text).locate(part[:at] + data.draw(st.sampled_from(string.digits)) + part[at + 1 :])
    there = text[found.start : found.end]
    assert f" {there} " in f" {text} "
    assert 0.85 <= found.likeness <= 1


@given(texts)
@example("\u00c8\u00b8")
def test_folding_leads_back_to_what_it_was_made_from(text: str) -> None:
    """Every word of the folded text was made from a slice that folds to it, in order; what was folded once stays so."""
    folded = Folded(text)
    at, last = 0, 0
    for word in folded.text.split(" "):
        if word:
            start, end = folded.real(at, at + len(word))
            assert last <= start < end <= len(text)
            assert Folded(text[start:end]).text == word
            last = end
        at += len(word) + 1
    assert Folded(folded.text).text == folded.text
