"""Amounts as people write them: what is clear is read, what may mean two things is refused."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pipeline.core.setting_parsers import parse_count, parse_duration, parse_money, parse_size

READ: dict[Callable[[str], Any], Mapping[str, float]] = {
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
        "2h30m": 9000,
        "2 h 30 min": 9000,
        "90 min": 5400,
    }
    | {"1.5 hours": 5400, "1d": 86_400, "1 week 1 day": 691_200, "1H": 3600},
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
    parse_duration: ("", "h", "2h30", "30m2h", "2h2h", "2 fortnights", "1h and 2m", "inf", "nan"),
}


@pytest.mark.parametrize(
    ("parse", "text"), [(parse, text) for parse, texts in READ.items() for text in texts]
)
def test_an_amount_is_read_as_people_write_it(parse: Callable[[str], Any], text: str) -> None:
    """Thousands are parted by any usual sign, k and M stand for zeros; units, several of time, signs on either side."""
    assert parse(text) == pytest.approx(READ[parse][text])


@pytest.mark.parametrize(
    ("parse", "text"), [(parse, text) for parse, texts in REFUSED.items() for text in texts]
)
def test_what_may_mean_two_things_is_refused(parse: Callable[[str], Any], text: str) -> None:
    """Nothing is guessed: neither a lost zero, nor a rest, nor a unit."""
    with pytest.raises(ValueError, match=r"must be a (whole number|length of time)"):
        parse(text)
