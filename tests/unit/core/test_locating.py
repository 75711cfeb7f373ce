"""Locate quotations in a text: verbatim, by white space and case, and by likeness."""

import pytest

from askrows.pipeline.core.locate import SearchableText

TEXT = (
    "We train a convolutional neural network (CNN) on Image-\u00adNet."
    " The \ufb01ne-tuned  model\u2019s accuracy is 95.2%."
    "\nIt does not converge quickly \u2014 "
    "stra\u00dfe \u0130stanbul, cafe\u0301; 机器学习模型很好。"
)


def locate_slices(quote: str, text: str = TEXT) -> list[tuple[str, str]]:
    """Return the located slice of a quotation with its method; empty without one."""
    location = SearchableText(text).locate(quote)
    return [(text[location.start : location.end], location.method)] if location else []


# A quotation, a similar text, and the kind of their difference.
OPPOSITE = [
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


@pytest.mark.parametrize(("quote", "similar_text", "difference"), OPPOSITE)
def test_similar_text_of_other_meaning_is_not_located(
    quote: str, similar_text: str, difference: str
) -> None:
    """Another number, negation or name prevents a match, and the difference is reported."""
    text = f"so it was said: {similar_text}, and so on and on"
    assert SearchableText(text).locate(quote) is None
    assert SearchableText(text).find_difference(quote) == difference


def test_quotation_with_an_omission_is_one_slice() -> None:
    """Few words may be omitted, but no negation; an ellipsis at the end is punctuation."""
    assert locate_slices("We train a ... banana split") == []
    assert locate_slices("We train a ... on Image-Net") == []
    [(slice_, _)] = locate_slices("We train a convolutional ... network")
    assert slice_ == "We train a convolutional neural network"
    assert locate_slices("We train a ...") == [("We train a", "by white space and case")]
    assert locate_slices("It does \u2026 converge quickly") == []
    assert locate_slices("It does", text="It does not.") == [("It does", "")]


def test_slice_by_likeness_is_not_much_longer_than_the_quotation() -> None:
    """A text with hundreds of blanks is not similar to a quotation with a misspelling."""
    text = "the gradient of" + " " * 500 + "a smooth function"
    assert locate_slices("the gradiant of a smooth function", text) == []
    assert locate_slices("the gradient of a smooth function", text) == [
        (text, "by white space and case")
    ]
