"""Terms of texts in many scripts; they must not change within a version."""

import pytest

from askrows.pipeline.core.tokenizer import (
    TERMS_VERSION,
    extract_entry_terms,
    extract_query_terms,
    extract_terms,
)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Water-Law, WATER laws; hydrologists'", "water law water law hydrolog"),
        ("I don't know who it is with", "know"),
        (
            "Ökologie, naïve Cafés, Straße, E\u0301COLE, ﬁne m²",
            "okologi naiv cafe strass ecol fine m2",
        ),
        ("AI for the UN and CI in a war zone", "ai un ci war zone"),
        ("谁懂水法?法", "谁懂 懂水 水法 法"),
        ("東京タワー ﾄｳｷｮｳ iPhone手机", "東京 京タ タワ ワー トウ ウキ キョ ョウ iphon 手机"),
        ("기계 학습", "기계 학습"),
        ("Юристы по водному праву", "юрист водн прав"),
        ("القانون المائي", "القانون المائي"),
        ("हिन्दी", "हिन्दी"),
        ("C, R and SQL:2016 in node.js", "c r sql 2016 node js"),
        ("😀 -- + _", ""),
    ],
)
def test_terms_of_many_scripts(text: str, terms: str) -> None:
    """Words lose accents and endings; scripts without spaces give pairs of characters."""
    assert " ".join(extract_terms(text)) == terms
    assert TERMS_VERSION == "words@2"


@pytest.mark.parametrize(
    ("text", "joined_terms", "query_terms"),
    [
        ("O'Reilly\u2019s", "oreilli", "reilli"),
        ("AT&T, R\uff06D", "att rd", "r att"),
        ("Hill's dogs' l'eau", "leau", "hill dog eau"),
        ("she'll, we're, n'est", "", ""),
    ],
)
def test_joined_words_are_terms(text: str, joined_terms: str, query_terms: str) -> None:
    """A word with an apostrophe or "&" is found without it, but contractions are stop words."""
    assert " ".join(extract_entry_terms(text)[len(extract_terms(text)) :]) == joined_terms
    assert " ".join(extract_query_terms(text)) == query_terms


@pytest.mark.parametrize(
    ("question", "remaining_terms"),
    [
        ("Who knows someone experienced in water law?", "water law"),
        ("looking for a Django gardener, please", "django"),
        ("wer kennt Wasserrecht", "wasserrecht"),
        ("someone who knows", "someon know"),
        ("who is it", ""),
    ],
)
def test_words_of_asking_are_left_out_of_questions(question: str, remaining_terms: str) -> None:
    """Such words stay if the question has no other words."""
    assert " ".join(extract_query_terms(question, filler_words="gardeners")) == remaining_terms
