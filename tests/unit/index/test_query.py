"""Parse search queries with required phrases and excluded terms, and WHERE conditions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.where_parser import parse_where
from askrows.pipeline.index.query import MAX_QUERY_CHARS, SearchQuery, parse_query


@pytest.mark.parametrize(
    ("query_text", "expected"),
    [
        ("who knows\n water  law", SearchQuery("who knows water law")),
        ('"water law" -tax', SearchQuery("water law", ("water law",), ("tax",))),
        (
            'rivers -"water law" and “tide tables”',
            SearchQuery("rivers and tide tables", ("tide tables",), ("water law",)),
        ),
        ('e-mail - 12" vinyl, C++ --', SearchQuery('e-mail - 12" vinyl, C++ --')),
        (
            "«droit de l'eau» -fiscal",
            SearchQuery("droit de l'eau", ("droit de l'eau",), ("fiscal",)),
        ),
        ("-мёд 蜂 -蜜", SearchQuery("蜂", (), ("мёд", "蜜"))),
        ("🐝", SearchQuery("🐝")),
        ('"a" -the "a" law -the', SearchQuery("a a law", ("a",), ("the",))),
        ("law \u2212tax \u2013fee \uff0drent", SearchQuery("law", (), ("tax", "fee", "rent"))),
        ("tide 1990\u20132000 \u2013 now", SearchQuery("tide 1990\u20132000 \u2013 now")),
        (
            "'tide tables' \u2018old law\u2019 \u2212\u2039new law\u203a",
            SearchQuery("tide tables old law", ("tide tables", "old law"), ("new law",)),
        ),
        (
            "\u00bbtide\u00ab \u201dlaw\u201d \uff02fee\uff02 \u201etax\u201d",
            SearchQuery("tide law fee tax", ("tide", "law", "fee", "tax")),
        ),
        ("烤「黑麥麵包」的『人』", SearchQuery("烤 黑麥麵包 的 人", ("黑麥麵包", "人"))),
        ("dogs' law, rock'n'roll 5' 3\"", SearchQuery("dogs' law, rock'n'roll 5' 3\"")),
        ("'l'eau' (\"tide\")", SearchQuery("l'eau ( tide )", ("l'eau", "tide"))),
        ('bees ""', SearchQuery('bees ""')),
        ('bees "water law', SearchQuery('bees "water law')),
        ("\u201cwater 'law", SearchQuery("\u201cwater 'law")),
    ],
)  # fmt: skip
def test_question_is_split(query_text: str, expected: SearchQuery) -> None:
    """Quotation marks and dashes of any language count only outside of words."""
    assert parse_query(query_text) == expected


@pytest.mark.parametrize(
    ("query_text", "message"),
    [
        (" \n", "there is nothing to search for"),
        ("-tax", "has only excluded words"),
        ('-"water law"', "has only excluded words"),
        ("x" * (MAX_QUERY_CHARS + 1), "8,001 characters"),
        ("a\0b", "not valid text"),
    ],
)
def test_empty_question_is_refused(query_text: str, message: str) -> None:
    """The message contains the reason and the position."""
    with pytest.raises(InputError, match=message):
        parse_query(query_text)


@given(st.text(max_size=60))
def test_any_text_is_a_question_or_refused(text: str) -> None:
    """Only operators are removed from a text, and a refusal is an InputError."""
    try:
        question = parse_query(text)
    except InputError:
        return
    assert question.text.strip()
    if not question.phrases and not question.exclusions:
        assert question.text == " ".join(text.split())


@pytest.mark.parametrize(
    ("where_text", "message"),
    [
        ("", "character 1: expected a column, found the end"),
        ("rate", "character 5: expected =, !=, <, <=, >, >=, IN, CONTAINS or IS NULL"),
        ("rate < AND x = 1", "character 8: expected a number.*, found 'AND'"),
        ("rate < 5 x = 1", "character 10: expected AND, OR or the end, found 'x'"),
        ("(rate < 5", r"character 10: expected '\)', found the end"),
        ("currency = 'EUR", "character 12: ' is not closed"),
        ("currency = EUR", "character 12: a text needs single quotes: 'EUR'"),
        ("rate ! 5", "character 6: '!' is not an operator"),
        ("rate = NULL", "character 8: IS NULL finds empty cells"),
        ("rate IN (1; 2)", "character 11"),
        ("rate IN 1", r"character 9: expected '\(', found '1'"),
        ("bio CONTAINS 5", "character 14: expected a text between single quotes"),
        ("(" * 60, "character 21: more than 20 nested parentheses"),
        ("NOT " * 300, "character 81: more than 20"),
        ("x" * 2001, "2,001 characters"),
    ],
)  # fmt: skip
def test_invalid_where_is_refused_with_its_position(where_text: str, message: str) -> None:
    """The message contains the position, the expected text and the actual text."""
    with pytest.raises(InputError, match=message):
        parse_where(where_text)
