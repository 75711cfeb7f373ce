"""Where a quotation stands in a text: verbatim, by white space and case, by likeness, in pieces, or nowhere."""

import pytest

from pipeline.core.locate import SearchableText

TEXT = (
    "We train a convolutional neural network (CNN) on Image-\u00adNet."
    " The \ufb01ne-tuned  model\u2019s accuracy is 95.2%."
    "\nIt does not converge quickly \u2014 stra\u00dfe \u0130stanbul, cafe\u0301; 机器学习模型很好。"
)


def found(quote: str, text: str = TEXT) -> list[tuple[str, str]]:
    """Return the slices that were found for a quotation, and how."""
    return [(text[one.start : one.end], one.method) for one in SearchableText(text).locate(quote)]


@pytest.mark.parametrize(
    ("quote", "there"),
    [
        ("a convolutionel neural netwerk", "a convolutional neural network"),
        ("onvolutional neural networkz", "convolutional neural network"),
    ],
)
def test_a_quotation_with_a_slip_is_found_as_whole_words(quote: str, there: str) -> None:
    """A letter may differ; the slice begins and ends with words, and how like it is, is told."""
    [(slice_, how)] = found(quote)
    assert slice_ == there
    assert 0.85 <= float(how.removeprefix("by likeness ")) < 1


OPPOSITE = [  # a quotation, what the text says, and in what they differ
    (
        "the drug is safe in all these patients",
        "the drug is not safe in all these patients",
        "negation",
    ),
    (
        "the drug is not safe in all these patients",
        "the drug is safe in all these patients",
        "negation",
    ),
    ("safe but not effective in large doses", "not safe but effective in large doses", "negation"),
    (
        "the drug is safe in all these patients",
        "the drug isn't safe in all these patients",
        "negation",
    ),
    ("the nurses said that the drug is", "the nurses sayd that the drug isn't", "negation"),
    ("was unsafe in most of the patients", "was safe in most of the patients", "negation"),
    ("it is harmful to most of the patients", "it is harmless to most of the patients", "negation"),
    (
        "even many cues tell nothing of the chldren",
        "even without many cues tell nothing of the children",
        "negation",
    ),
    (
        "le médicament est sûr pour tous les enfants",
        "le médicament n'est pas sûr pour tous les enfants",
        "negation",
    ),
    (
        "es ist eine sichere Methode für uns alle",
        "es ist keine sichere Methode für uns alle",
        "negation",
    ),
    (
        "el medicamento es seguro para los niños",
        "el medicamento no es seguro para los niños",
        "negation",
    ),
    (
        "препарат безопасен для детей и взрослых",
        "препарат не безопасен для детей и взрослых",
        "negation",
    ),
    (
        "препарат безопасен для детей и взрослых",
        "препарат небезопасен для детей и взрослых",
        "negation",
    ),
    ("这种药物对儿童和成年人来说是安全的选择", "这种药物对儿童和成年人来说是不安全的选择", "name"),
    (
        "この薬は小さな子供にとっても安全であると書いてある",
        "この薬は小さな子供にとっても安全でないと書いてある",
        "name",
    ),
    ("the dose was 9,500 mg a day for adults", "the dose was 1,500 mg a day for adults", "number"),
    (
        "500 mg were gven to every patient a day",
        "9,500 mg were given to every patient a day",
        "number",
    ),
    (
        "the dose was 1.5 mg a day for all adults",
        "the dose was 1,5 mg a day for all adults",
        "number",
    ),
    (
        "p < 0.05 was found in all of the groups",
        "p > 0.05 was found in all of the groups",
        "number",
    ),
    (
        "on 12 May the whole committee met again",
        "on 12 June the whole committee met again",
        "number",
    ),
    (
        "five of the patients were cured in time",
        "nine of the patients were cured in time",
        "number",
    ),
    ("zwölf der Kranken wurden wieder gesund", "elf der Kranken wurden wieder gesund", "number"),
    ("٢١ of the patients were cured in time", "٢٢ of the patients were cured in time", "number"),
    ("共有一千二百三十四名患者在去年完全康复", "共有一千二百三十五名患者在去年完全康复", "name"),
    ("then Mr Smith met the whole committee", "then Mr Smyth met the whole committee", "name"),
    (
        "then she met the whole committee in Graz",
        "then she met the whole committee in Linz",
        "name",
    ),
    (
        "Iraq exports most of its oil to the west",
        "Iran exports most of its oil to the west",
        "name",
    ),
    (
        "张伟先生昨天在北京会见了委员会的全体成员",
        "张强先生昨天在北京会见了委员会的全体成员",
        "name",
    ),
]


@pytest.mark.parametrize(("quote", "there", "why"), OPPOSITE)
def test_what_is_like_it_and_says_another_thing_is_not_found(
    quote: str, there: str, why: str
) -> None:
    """Not by another number, negation or name, however like the rest is; what differs is told."""
    text = f"so it was said: {there}, and so on and on"
    assert SearchableText(text).locate(quote) == []
    assert SearchableText(text).find_difference(quote) == why


def test_a_quotation_with_one_invented_piece_is_not_found() -> None:
    """A piece that is there does not vouch for one that is not; an ellipsis at the end is no piece."""
    assert found("We train a ... banana split") == []
    assert found("We train a ...") == [("We train a", "by white space and case")]


def test_what_is_found_by_likeness_is_no_longer_than_the_quotation_could_be() -> None:
    """Blanks by the hundred between two words are not a quotation that differs in a letter."""
    text = "the gradient of" + " " * 500 + "a smooth function"
    assert found("the gradiant of a smooth function", text) == []
    assert found("the gradient of a smooth function", text) == [(text, "by white space and case")]
