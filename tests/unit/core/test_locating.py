"""Where a quotation stands in a text: verbatim, by white space and case, by likeness, in pieces, or nowhere."""

import pytest

from pipeline.core.locate import SearchableText

TEXT = (
    "We train a convolutional neural network (CNN) on Image-\u00adNet."
    " The \ufb01ne-tuned  model\u2019s accuracy is 95.2%."
    "\nIt does not converge quickly \u2014 stra\u00dfe \u0130stanbul, cafe\u0301; 机器学习模型很好。"
)


def found(quote: str, text: str = TEXT, *names: str) -> list[tuple[str, str]]:
    """Return the slices that were found for a quotation, and how."""
    return [(text[one.start : one.end], one.how) for one in SearchableText(text).locate(quote, names=names)]


@pytest.mark.parametrize(
    ("quote", "there"),
    [
        ("It does converge quickly", "It does not converge quickly"),
        ("a convolutionel neural netwerk", "a convolutional neural network"),
        ("onvolutional neural networkz", "convolutional neural network"),
    ],
)
def test_a_quotation_with_a_slip_is_found_as_whole_words(quote: str, there: str) -> None:
    """A letter or a word may differ; the slice begins and ends with words, and how like it is, is told."""
    [(slice_, how)] = found(quote)
    assert slice_ == there
    assert 0.85 <= float(how.removeprefix("by likeness ")) < 1


@pytest.mark.parametrize(
    "quote",
    [
        "",
        "...",
        "\u3164\u3164\u3164",
        "neural netwrk",
        "bananas split on a tuesday morning",
        "it does converge very quickly on strasse",
        TEXT + " More.",
    ],
)
def test_what_is_not_there_is_not_found(quote: str) -> None:
    """Nothing is found for punctuation, short slips, what says something else, and what is longer than the text."""
    assert found(quote) == []


@pytest.mark.parametrize("gap", ["...", "\u2026", " [...] ", " . . . "])
def test_an_ellipsis_leaves_two_pieces(gap: str) -> None:
    """Each is found by itself."""
    assert found(f"We train a{gap}accuracy IS 95.2%") == [
        ("We train a", ""),
        ("accuracy is 95.2%", "by white space and case"),
    ]


def test_a_quotation_with_one_invented_piece_is_not_found() -> None:
    """A piece that is there does not vouch for one that is not; an ellipsis at the end is no piece."""
    assert found("We train a ... banana split") == []
    assert found("We train a ...") == [("We train a", "by white space and case")]


def test_an_ellipsis_that_stands_in_the_text_is_text() -> None:
    """A quotation that is there as a whole stays one."""
    assert found("and so ... on", "It went on and so ... on it went.") == [("and so ... on", "")]


def test_the_place_nearest_to_the_name_is_taken() -> None:
    """Of two places the one beside the name counts, and the first where no name stands near."""
    text = "It works well. Much later, after other things, U-Net appears. It works well."
    last = text.rindex("It works well")
    assert [one.start for one in SearchableText(text).locate("It works well", names=("u-net",))] == [last]
    assert [one.start for one in SearchableText(text).locate("IT WORKS WELL", names=("u-net",))] == [last]
    assert [one.start for one in SearchableText(text).locate("It works well", names=("V-Net",))] == [0]
    assert [one.start for one in SearchableText(text).locate("It works well")] == [0]


def test_a_short_quotation_is_a_word_of_its_own() -> None:
    """Two letters within another word prove nothing; of several places whole words come first."""
    assert found("AI", "It said: rain and AI.") == [("AI", "")]
    assert found("ai", "It said: rain.") == []
    assert [one.start for one in SearchableText("unlearning learning").locate("learning")] == [11]


def test_what_is_found_by_likeness_is_no_longer_than_the_quotation_could_be() -> None:
    """Blanks by the hundred between two words are not a quotation that differs in a letter."""
    text = "the gradient of" + " " * 500 + "a smooth function"
    assert found("the gradiant of a smooth function", text) == []
    assert found("the gradient of a smooth function", text) == [(text, "by white space and case")]
