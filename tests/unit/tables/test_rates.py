"""Hourly rates: what is unambiguous is a number, everything else has a reason."""

import pytest

from pipeline.tables.rates import MAX_RATE, parse_rate, rate_of_number, rate_text


@pytest.mark.parametrize(
    ("text", "value", "currency"),
    [
        ("$120/h", 120.0, "$"),
        ("1.200,50", 1200.5, None),
        ("1 200,00", 1200.0, None),
        ("1\u00a0200,00", 1200.0, None),
        ("1\u2019500.50", 1500.5, None),
        ("€95", 95.0, "EUR"),
        ("80 USD per hour", 80.0, "USD"),
        ("100 €/Std.", 100.0, "EUR"),
        ("¥15,000", 15000.0, "¥"),
        ("\uff11\uff12\uff10", 120.0, None),
        ("٣٥", 35.0, None),
        ("1,234", 1234.0, None),
        ("1,00,000", 100_000.0, None),
        ("12,5", 12.5, None),
        ("1,2345", 1.2345, None),
        ("1234.567", 1234.567, None),
    ],
)
def test_unambiguous_forms_are_read(text: str, value: float, currency: str | None) -> None:
    """A form with one reading gives its number, and the currency beside it, and is told as odd."""
    rate = parse_rate(text)
    assert (rate.value, rate.currency, rate.reason, rate.is_plain) == (value, currency, None, False)


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0.0), (" 85 ", 85.0), ("65.98", 65.98), ("", None), ("\u00a0", None)]
)
def test_plain_numbers_are_not_odd(text: str, value: float | None) -> None:
    """What a machine writes is read without a word; a rate of 0 is a rate, and an empty cell neither rate nor fault."""
    rate = parse_rate(text)
    assert (rate.value, rate.is_plain, rate.reason) == (value, True, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NaN", "not a number"),
        ("½", "not a number"),
        ("-50", "negative"),
        ("\u221250", "negative"),
        ("(50)", "negative"),
        ("$ -50", "negative"),
        ("120-150", "a range"),
        ("1e6", "written with an exponent"),
        ("800/day", "not by the hour"),
        ("1/2", "not a plain rate"),
        ("80k", "has words beside the number that are no currency"),
        ("USD 80 EUR", "has words beside the number that are no currency"),
        ("1.234", "a number with more than one reading"),
        ("1,2,3", "a number with more than one reading"),
        ("9" * 400, f"larger than {MAX_RATE:,}"),
        ("1" + " " * 500 + "2", "not a plain rate"),
    ],
)
def test_everything_else_has_a_reason(text: str, reason: str) -> None:
    """What is no rate, or has two readings, gives no number and says why."""
    assert (parse_rate(text).value, parse_rate(text).reason) == (None, reason)


def test_json_numbers_are_bounded_too() -> None:
    """A number of a JSON document is a rate unless it is negative, not finite or too large."""
    assert rate_of_number(120).value == 120.0
    assert rate_of_number(-1).reason == "negative"
    assert rate_of_number(float("nan")).reason == "not a number"
    assert rate_of_number(float("inf")).value is None
    assert rate_of_number(10**400).value is None


def test_three_decimals_are_written_with_four() -> None:
    """An exported rate is never the ambiguous form that an import would drop."""
    assert rate_text(65.125) == "65.1250"
    assert rate_text(120.0) == "120"
