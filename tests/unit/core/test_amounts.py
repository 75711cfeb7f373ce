"""Amounts as people write them: what is clear is read, what may mean two things is refused."""

import pytest

from pipeline.core.settings import parse_count, parse_duration, parse_money, parse_size


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("50", 50),
        (" 1,000 ", 1000),
        ("1_000", 1000),
        ("1 000", 1000),
        ("1'234'567", 1_234_567),
        ("1k", 1000),
        ("1.5K", 1500),
        ("2 m", 2_000_000),
        ("-1", -1),
    ],
)
def test_a_count_is_read_as_people_write_it(text: str, number: int) -> None:
    """Thousands are parted by any usual sign, and k and M stand for zeros."""
    assert parse_count(text) == number


@pytest.mark.parametrize(
    "text", ["", "k", "1,00", "1,0000", "1,000 000", "1.2345k", "1.5", "0x10", "1e3", "ten", "\uff11"]
)
def test_what_is_no_count_is_refused(text: str) -> None:
    """Nothing is guessed: neither a lost zero nor a rest."""
    with pytest.raises(ValueError, match="must be a whole number"):
        parse_count(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("200MB", 200_000_000), ("1.5 GiB", 1_610_612_736), ("10k", 10_000), ("123", 123), ("7 b", 7), ("1,000KB", 10**6)],
)
def test_a_size_is_read_with_its_unit(text: str, size: int) -> None:
    """Units of a thousand and of 1,024."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1e2", 100),
        ("0.2", 0.2),
        ("2h30m", 9000),
        ("2 h 30 min", 9000),
        ("90 min", 5400),
        ("1.5 hours", 5400),
        ("1d", 86_400),
        ("1 week 1 day", 691_200),
        ("1H", 3600),
    ],
)
def test_a_length_of_time_is_read_with_its_units(text: str, seconds: float) -> None:
    """One unit or several, the larger first; a bare number is of seconds."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "h", "2h30", "30m2h", "2h2h", "2 fortnights", "1h and 2m", "inf", "nan"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    """An unknown unit, a number without one behind one with, units upside down."""
    with pytest.raises(ValueError, match="must be a length of time"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "usd"),
    [("5", 5), ("$5", 5), ("5 USD", 5), ("USD5", 5), ("5usd", 5), ("5$", 5), ("US$1,000.50", 1000.5), (".5", 0.5)],
)
def test_money_is_read_with_its_sign(text: str, usd: float) -> None:
    """Before or behind the number."""
    assert parse_money(text) == usd
