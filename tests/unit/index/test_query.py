"""What a question asks, what must stand in a text, and what must not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.core.where_parser import Junction, Negation, parse_where
from pipeline.index.query import MAX_QUERY_CHARS, SearchQuery, parse_query
from tests.unit.index.toy import comparisons


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("who knows\n water  law", SearchQuery("who knows water law")),
        ('"water law" -tax', SearchQuery("water law", ("water law",), ("tax",))),
        (
            'rivers -"water law" and “tide tables”',
            SearchQuery("rivers and tide tables", ("tide tables",), ("water law",)),
        ),
        ('e-mail - 12" vinyl, C++ --', SearchQuery('e-mail - 12" vinyl, C++ --')),
        ("«droit de l'eau» -fiscal", SearchQuery("droit de l'eau", ("droit de l'eau",), ("fiscal",))),
        ("-мёд 蜂 -蜜", SearchQuery("蜂", (), ("мёд", "蜜"))),
        ("🐝", SearchQuery("🐝")),
        ('"a" -the "a" law -the', SearchQuery("a a law", ("a",), ("the",))),
    ],
)  # fmt: skip
def test_a_question_is_split(given: str, expected: SearchQuery) -> None:
    """Quotation marks and hyphens count at the beginning of a word alone; what stands elsewhere is a part of it."""
    assert parse_query(given) == expected


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (" \n", "there is nothing to search for"),
        ("-tax", "only what is not wanted"),
        ('-"water law"', "only what is not wanted"),
        ('bees ""', "at character 6 stands no word"),
        ('bees "water law', "at character 6 of the question is not closed"),
        ("x" * (MAX_QUERY_CHARS + 1), "8,001 characters"),
        ("a\0b", "no text"),
    ],
)
def test_a_question_that_asks_nothing_is_refused(given: str, why: str) -> None:
    """The message says why, and where."""
    with pytest.raises(InputError, match=why):
        parse_query(given)


@given(st.text(max_size=60))
def test_any_text_is_a_question_or_refused(text: str) -> None:
    """No character is lost but signs of ours, and what is refused is refused as input."""
    try:
        question = parse_query(text)
    except InputError:
        return
    assert question.text.strip()
    if not question.phrases and not question.exclusions:
        assert question.text == " ".join(text.split())


def test_not_binds_before_and_and_and_before_or() -> None:
    """As in SQL, without parentheses."""
    read = parse_where('a = 1 OR NOT b = 2 AND "c d" is not null OR Hourly Rate not in (1, -2.5e1)')
    assert isinstance(read, Junction)
    assert not read.requires_all
    assert [type(part) for part in read.parts[1:]] == [Junction, Negation]
    assert isinstance(read.parts[1], Junction)
    assert isinstance(read.parts[1].parts[0], Negation)
    assert [(comparison.column, comparison.values) for comparison in comparisons(read)] == [
        ("a", (1,)),
        ("b", (2,)),
        ("c d", ()),
        ("Hourly Rate", (1, -25.0)),
    ]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("", "character 1: a column is expected, and it ends there"),
        ("rate", "character 5: =, !=, <, <=, >, >=, IN, CONTAINS or IS NULL is expected"),
        ("rate < AND x = 1", "character 8: a number.* is expected, and 'AND'"),
        ("rate < 5 x = 1", "character 10: AND, OR or the end is expected, and 'x' stands there"),
        ("(rate < 5", r"character 10: '\)' is expected"),
        ("currency = 'EUR", "character 12: ' is not closed"),
        ("currency = EUR", "between single quotes is expected, and 'EUR' stands there"),
        ("rate ! 5", "character 6: '!' is no operator"),
        ("rate = NULL", "character 8: an empty cell is found by IS NULL"),
        ("rate IN (1; 2)", "character 11"),
        ("rate IN 1", r"character 9: '\(' is expected"),
        ("bio CONTAINS 5", "character 14: a text between single quotes"),
        ("(" * 60, "character 21: more than 20 parentheses"),
        ("NOT " * 300, "character 81: more than 20"),
        ("x" * 2001, "2,001 characters"),
    ],
)  # fmt: skip
def test_what_is_no_where_is_refused_where_it_ends(given: str, why: str) -> None:
    """The message says at which character, what is expected there, and what stands there."""
    with pytest.raises(InputError, match=why):
        parse_where(given)
