"""Clear amounts are parsed, and ambiguous amounts are refused."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from askrows.pipeline.core.setting_parsers import (
    parse_count,
    parse_duration,
    parse_money,
    parse_size,
)

VALUES: dict[Callable[[str], Any], Mapping[str, float]] = {
    parse_count: {"50": 50, " 1,000 ": 1000, "1_000": 1000, "1 000": 1000, "1'234'567": 1_234_567}
    | {"1k": 1000, "1.5K": 1500, "2 m": 2_000_000, "-1": -1},
    parse_size: {
        "200MB": 200_000_000,
        "1.5 GiB": 1_610_612_736,
        "10k": 10_000,
        "123": 123,
        "7 b": 7,
        "1,000KB": 10**6,
    },
    parse_duration: {
        "90": 90,
        "1e2": 100,
        "0.2": 0.2,
        "2.5h": 9000,
        "90 min": 5400,
    }
    | {"1.5 hours": 5400, "1d": 86_400, "1 week": 604_800, "1H": 3600},
    parse_money: {
        "5": 5,
        "$5": 5,
        "5 USD": 5,
        "USD5": 5,
        "5usd": 5,
        "5$": 5,
        "US$1,000.50": 1000.5,
        ".5": 0.5,
    },
}
REFUSED: dict[Callable[[str], Any], tuple[str, ...]] = {
    parse_count: (
        "",
        "k",
        "1,00",
        "1,0000",
        "1,000 000",
        "1.2345k",
        "1.5",
        "0x10",
        "1e3",
        "ten",
        "\uff11",
    ),
    parse_duration: ("", "h", "2h30m", "2 fortnights", "1h and 2m", "inf", "nan"),
}


def list_cases(
    texts_by_parser: Mapping[Callable[[str], Any], Iterable[str]],
) -> list[tuple[Callable[[str], Any], str]]:
    """Return all pairs of a parser and a text."""
    cases: list[tuple[Callable[[str], Any], str]] = []
    for parse, texts in texts_by_parser.items():
        cases += [(parse, text) for text in texts]
    return cases


@pytest.mark.parametrize(("parse", "text"), list_cases(VALUES))
def test_amount_is_parsed_in_the_notation_of_people(parse: Callable[[str], Any], text: str) -> None:
    """Separators of thousands, k and M, units, and signs on either side are accepted."""
    assert parse(text) == pytest.approx(VALUES[parse][text])


@pytest.mark.parametrize(("parse", "text"), list_cases(REFUSED))
def test_ambiguous_amount_is_refused(parse: Callable[[str], Any], text: str) -> None:
    """Missing zeros, remainders and units are not guessed."""
    with pytest.raises(ValueError, match=r"must be a (whole number|duration)"):
        parse(text)
