"""Concepts: key phrases of the text itself, with the sentences they stand in, and a type by rule."""

import pytest

from emulator.models.concept_types import TYPES
from emulator.models.concepts import concepts, quick_concepts

ABSTRACT = (
    "We propose a convolutional neural network (CNN) for medical image segmentation. CNNs are trained with stochastic "
    "gradient descent on the BraTS dataset. In our experiments the CNN reaches a higher classification accuracy than "
    "support vector machines (SVMs), and training takes hours rather than days. Stochastic gradient descent was "
    "found to be sensitive to the learning rate."
)


def names(text: str) -> list[str]:
    """Return the names of the concepts of a text."""
    return [concept["name"] for concept in concepts(text)]


def test_key_phrases_are_found() -> None:
    """The phrases that a reader would name come out, as the text writes them."""
    wanted = {
        "convolutional neural network",
        "medical image segmentation",
        "stochastic gradient descent",
        "support vector machines",
        "classification accuracy",
        "learning rate",
    }
    assert wanted <= {name.lower() for name in names(ABSTRACT)}


def test_an_acronym_is_an_alias_and_counts_as_its_long_form() -> None:
    """What stands in brackets is the alias, is no concept of its own, and adds to the weight of the long form."""
    found = {concept["name"]: concept for concept in concepts(ABSTRACT)}
    assert found["convolutional neural network"]["aliases"] == ["CNN"]
    assert found["support vector machines"]["aliases"] == ["SVM"]
    assert not {"CNN", "CNNs", "SVMs"} & set(found)
    assert next(iter(found)) == "convolutional neural network"
    assert found["convolutional neural network"]["quotes"][1].startswith("CNNs are trained")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("stochastic gradient descent", "method"),
        ("recurrent neural network", "model"),
        ("computational biology", "domain"),
        ("protein structure dataset", "dataset"),
        ("mean squared error", "metric"),
        ("image segmentation", "task"),
        ("aluminium oxide", "material"),
        ("nightly release pipeline", "process"),
        ("heterogeneous population", "other"),
        ("electron microscopy", "method"),
        ("acoustic metamaterial thermodynamics", "domain"),
        ("potassium ferricyanide", "material"),
        ("plant disease susceptibility", "metric"),
        ("pulmonary fibrosis", "process"),
    ],
)
def test_the_last_word_gives_the_type(name: str, kind: str) -> None:
    """Every type of the list is given, by a word or by its ending."""
    assert kind in TYPES
    assert [concept["type"] for concept in concepts(f"The {name} is here.")][:1] == [kind]


@pytest.mark.parametrize(
    ("text", "name", "kind"),
    [
        ("We grew Botrytis cinerea on agar.", "Botrytis cinerea", "material"),
        ("We use XPlan, a planner for robots.", "XPlan", "model"),
        ("Several datasets such as QM9 are small.", "QM9", "dataset"),
        ("We propose DeepFoo for cars.", "DeepFoo", "method"),
        ("All answers are of FooGPT-4.", "FooGPT-4", "model"),
    ],
)
def test_what_a_text_says_of_a_name_gives_its_type(text: str, name: str, kind: str) -> None:
    """A name that says nothing itself is what the text calls it; the Latin name of a species is a material."""
    assert (name, kind) in [(concept["name"], concept["type"]) for concept in concepts(text)]


def test_citations_suppliers_and_measures_are_no_concepts() -> None:
    """Names in citations and addresses, amounts and figures are read over; what stands beside them is not."""
    text = (
        "Silica particles of 100 nm were purchased from Sigma-Aldrich (St. Louis, MO, USA) and bleomycin was obtained "
        "from Foobar Chem Co., Ltd. (Daejeon, Republic of Korea). Charge carriers have a long diffusion length7,8 (Roh "
        "et al., 2006; Green and Ho-Baillie 2017). Potassium ferricyanide (K3Fe(CN)6) shows in Fig. 3b a band gap "
        "[12,13], as Kojima et al. found (n = 19)."
    )
    found = names(text)
    assert {"silica particles", "bleomycin", "charge carriers", "diffusion length", "band gap"} <= set(found)
    beside = ("Sigma", "Louis", "USA", "Foobar", "Korea", "Roh", "Baillie", "Kojima", "CN", "nm", "3b", "length7")
    assert not [name for name in found if any(word in name for word in beside)]
    assert all(quote in text for concept in concepts(text) for quote in concept["quotes"])


@pytest.mark.parametrize(
    ("text", "whole", "half"),
    [
        ("Human non-small cell lung carcinoma 3-D culture models grow.", "3-D culture models", "cell lung carcinoma"),
        ("The data distributions shift quickly.", "data distributions", "data distributions shift"),
        ("Projecting embeddings onto planes helps.", "embeddings", "projecting embeddings"),
        ("It is hard to change food habits.", "food habits", "change food habits"),
        ("Owners merge each pull request, repository and release note of contributors.", "pull request", "request"),
        ("We study reinforcement learning solutions.", "reinforcement learning", "learning solutions"),
        ("A novel and green solvent of 1-Ethyl-2-pyrrolidone (NEP) is used.", "green solvent", "novel and green"),
    ],
)
def test_phrases_are_whole_and_no_more(text: str, whole: str, half: str) -> None:
    """What is cut off a long run is no concept, and neither is a phrase with its verb."""
    found = names(text)
    assert whole in found
    assert not [name for name in found if name.startswith(half)]


def test_a_long_text_names_no_more_than_it_is_about() -> None:
    """The number grows ever more slowly with the candidates: of twenty there are thirteen, never more than asked."""
    words = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa")
    text = ". ".join(f"The {word} {thing} is here" for word in words for thing in ("antenna", "electrode"))
    assert len(concepts(text)) == 13
    assert len(concepts(text, at_most=6)) <= 6


def test_near_duplicates_are_one() -> None:
    """Singular and plural, hyphen or blank, and a phrase within another are one concept."""
    text = (
        "A decision tree is small. Decision trees are grown. Decision-tree learning is old, and shallow oblique "
        "decision trees are slow. Random forests, boosting methods, kernel machines and lazy learners are no decision "
        "trees. An inductive bias is one of many inductive biases."
    )
    found = [name.lower() for name in names(text)]
    assert [name for name in found if "decision" in name] == ["decision tree"]
    assert [name for name in found if "bias" in name] == ["inductive bias"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("卷积神经网络的应用。我们提出注意力机制。", "卷积神经网络"),
        ("نقترح طريقة جديدة للتعلم العميق", "جديدة للتعلم العميق"),
        ("的", "的"),
        ("שיטה חדשה, למידה עמוקה.", "למידה עמוקה"),
        ("Cafe\u0301, vin chaud.", "cafe\u0301"),
        ("the", "the"),
        ("```\nfoo_bar\n```", "foo_bar"),
    ],
)
def test_other_languages_and_the_shortest_texts_have_concepts(text: str, expected: str) -> None:
    """Where English rules do not help, the words that are there come out whole, vowel signs and all."""
    assert expected in names(text)


@pytest.mark.parametrize("text", ["", "  \n", "12 34", "...", "\u0301\u0301"])
def test_a_text_without_a_letter_has_none(text: str) -> None:
    """Nothing is invented where there is nothing."""
    assert concepts(text) == quick_concepts(text) == []


def test_markup_code_and_formulas_are_no_concepts() -> None:
    """Where links lead, fenced code and TeX are read over; the quotes still come from the text as it is."""
    text = (
        "The [admission webhook](https://example.org/secret/path) guards the cluster.\n```\nkubectl_code here\n```\n"
        r"Its $O(\alpha_{n})$ running cost, \textbf{bounded latency} and pod scheduling matter."
    )
    found = " ".join(names(text))
    assert "admission webhook" in found
    assert not any(word in found for word in ("secret", "path", "kubectl_code", "alpha", "textbf"))
    assert all(quote in text for concept in concepts(text) for quote in concept["quotes"])
