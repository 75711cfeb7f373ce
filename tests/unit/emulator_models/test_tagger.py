"""The tagger: what a text says comes out as domains of the vocabulary, and nothing else does."""

import time

import pytest

from emulator.models.tagger import tags


@pytest.mark.parametrize(
    ("bio", "expected"),
    [
        ("I am a registered nurse on a cardiac ward, before that a midwife.", {"nursing", "midwifery", "cardiology"}),
        ("Family lawyer: divorce, custody, inheritance.", {"family law", "inheritance law"}),
        ("Dairy farmer and beekeeper; I also make cheese.", {"livestock farming", "beekeeping", "cheesemaking"}),
        ("Python/Django developer, CI/CD, front-end", {"python", "django", "devops", "frontend development"}),
        ("Professional violinist who teaches piano", {"music", "music education"}),
        ("Truck driver, then warehouse manager.", {"trucking", "logistics"}),
        ("Imkerin und Tischlermeisterin, gelernte Tischlerin", {"beekeeping", "carpentry"}),
        ("Infirmière puis boulangère à Lyon", {"nursing", "baking"}),
        ("律師、專長人權", {"law", "human rights"}),
    ],
)
def test_what_the_text_says_is_found(bio: str, expected: set[str]) -> None:
    """All walks of life, several languages, however it is spelled."""
    assert expected <= set(tags(bio))


@pytest.mark.parametrize(
    ("bio", "wrong"),
    [
        ("Go check out my page. I love carpentry and wood.", "go"),
        ("Rust is the enemy of every farmer.", "rust"),
        ("I work at City Network as a nurse.", "computer networking"),
        ("Mary Baker is a lawyer.", "baking"),
        ("Software architect for Java.", "architecture"),
        ("I maintain the natural language features of a compiler.", "nature"),
        ("As a nurse and pharmacist I react to changes quickly.", "react"),
    ],
)
def test_homonyms_are_not_taken_for_domains(bio: str, wrong: str) -> None:
    """A word of the vocabulary that means something else here gives no tag."""
    assert wrong not in tags(bio)


def test_a_title_before_the_biography_ranks_first() -> None:
    """What stands at the beginning is what a person is."""
    assert tags("Cardiologist\nI like music, cooking and photography, and once studied law.")[0] == "cardiology"


def test_leisure_gives_way_to_work() -> None:
    """What somebody does in their free time is no tag where there is enough to say about their work."""
    found = tags("Tax accountant for farmers and small breweries. In her free time she enjoys rock climbing.")
    assert "taxation" in found
    assert "mountaineering" not in found


def test_too_few_matches_are_topped_up_with_broader_terms_first() -> None:
    """Django implies Python and the web."""
    assert tags("Django")[:3] == ["django", "python", "web development"]


def test_an_enumeration_restricts_and_keeps_its_own_casing() -> None:
    """Aliases of allowed names count, other names do not, and unknown names are looked for as they stand."""
    allowed = ["Python", "LAW", "Nursing", "Underwater Basketry"]
    found = tags("A solicitor who does underwater basketry and Django.", allowed=allowed, at_least=2)
    assert sorted(found[:2]) == ["LAW", "Underwater Basketry"]
    assert set(tags("something else entirely", allowed=allowed)) < set(allowed)
    assert tags("anything", allowed=[]) == []
    assert len(tags("anything", allowed=["Law"])) == 1


def test_markup_addresses_and_handles_are_no_evidence() -> None:
    """A link to a site about law makes nobody a lawyer."""
    found = tags("<b class='nursing'>Potter</b> [me](https://law.example.com/opera) law@opera.org @chess www.jazz.com")
    assert found[0] == "pottery"
    assert not {"nursing", "law", "opera", "chess", "jazz"} & set(found)


def test_ambiguous_words_count_where_their_neighbours_vouch_for_them() -> None:
    """The same words are found where they do mean the domain; one word a thousand times is one tag."""
    for bio, right in (
        ("Backend developer (Go, Python)", "go"),
        ("I do statistics in R and Python.", "r"),
        ("Head Baker in a village", "baking"),
        ("nurse " * 1000 + "and lawyer", "nursing"),
    ):
        assert tags(bio).count(right) == 1
    assert tags(" \n") == []


def test_long_texts_are_quick() -> None:
    """A word of 40,000 characters and patterns that trip naive expressions take seconds at the most."""
    tags("nurse")
    began = time.process_time()
    for text in ("I teach law and nursing. " * 800, "w" * 40_000, "](" * 20_000, "<a " * 20_000, "." * 50_000):
        assert len(tags(text)) >= 3
    assert time.process_time() - began < 10
