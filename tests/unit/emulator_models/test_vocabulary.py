"""The vocabulary file keeps its promises."""

import pytest

from emulator.models.cognates import cognate
from emulator.models.forms import in_latin, in_own_scripts
from emulator.models.vocabulary import Term, Vocabulary, everything
from emulator.models.words import cut


def test_every_parent_is_a_term() -> None:
    """A parent that does not exist would silently imply nothing."""
    terms = everything().terms
    assert len(terms) > 1000
    assert {up for term in terms.values() for up in term.parents} <= set(terms)


def test_every_term_can_be_found() -> None:
    """Each has an alias, and every alias has a word in it."""
    for term in everything().terms.values():
        assert term.aliases, term.name
        for alias in term.aliases:
            assert any(word.plain for word in cut(alias)), (term.name, alias)


def test_every_unmarked_name_finds_itself() -> None:
    """No other term shadows it; names too ambiguous for that are marked, and few."""
    vocabulary = everything()
    plain = [name for name, term in vocabulary.terms.items() if term.plain]
    assert [name for name in plain if [found.name for found in vocabulary.find(cut(name))] != [name]] == []
    assert len(vocabulary.terms) - len(plain) <= 50


def test_every_form_of_another_language_is_found() -> None:
    """Each names a term of the vocabulary, and means it in a text of its language."""
    vocabulary = everything()
    forms = {form.strip("=-"): name for form, name in in_latin().items()}
    forms |= {form.strip("="): name for name, known in in_own_scripts().items() for form in known}
    assert set(forms.values()) <= set(vocabulary.terms)
    found = {form: [one.name for one in vocabulary.find(cut(form), is_foreign=True)] for form in forms}
    assert {form: names for form, names in found.items() if names != [forms[form]]} == {}


@pytest.mark.parametrize(
    "cognates",
    [
        ("bioinformatics", "bioinformática", "bioinformatique", "Bioinformatik", "биоинформатика"),
        ("architecture", "arquitectura", "arquitetura", "Architektur", "architettura"),
        ("traductor", "traductora", "traductores", "traducteur", "traductrice"),
        ("Journalist", "Journalistin", "Journalistinnen", "journaliste"),
    ],
)
def test_cognates_are_spelled_alike(cognates: tuple[str, ...]) -> None:
    """In the languages of Europe one word is one, whatever its gender and number."""
    assert len({cognate(cut(word)[0].plain) for word in cognates}) == 1


def test_a_term_is_not_its_own_ancestor() -> None:
    """Even where two terms are each other's parents."""
    pair = Vocabulary([Term("a", ("b",), ("a",)), Term("b", ("a",), ("b",))])
    assert pair.ancestors("a") == ["b"]
    assert all(name not in everything().ancestors(name) for name in everything().terms)


def test_the_longest_phrase_wins_and_breaks_are_not_crossed() -> None:
    """Water law is not law, but "water, law" is."""
    terms = [Term("law", (), ("law",)), Term("water law", ("law",), ("water law",))]
    vocabulary = Vocabulary(terms)
    assert [found.name for found in vocabulary.find(cut("water law"))] == ["water law"]
    assert [found.name for found in vocabulary.find(cut("water, law"))] == ["law"]
