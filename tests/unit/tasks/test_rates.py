"""Hourly rates are a single number with a currency sign or code."""

import pytest

from askrows.pipeline.tasks.shipped.experts import format_rate, parse_rate_and_currency


@pytest.mark.parametrize(
    ("text", "value", "currency"),
    [
        ("$85/hr", 85.0, "$"),
        (" 85 ", 85.0, None),
        ("0", 0.0, None),
        ("65.98", 65.98, None),
        ("1.200,50", 1200.5, None),
        ("1\u00a0200,00", 1200.0, None),
        ("1\u2019500.50", 1500.5, None),
        ("1,234", 1234.0, None),
        ("12,5", 12.5, None),
        ("€95", 95.0, "€"),
        ("80 USD per hour", 80.0, "USD"),
        ("100 €/Std.", 100.0, "€"),
        ("¥15,000", 15000.0, "¥"),
        ("\u0663\u0665", 35.0, None),
        *(
            (text, None, None)
            for text in (
                "",
                "NaN",
                "-50",
                "(50)",
                "120-150",
                "1e6",
                "800/day",
                "1/2",
                "80k",
                "1.234",
            )
        ),
        ("USD 80 EUR", None, None),
        ("1,2,3", None, None),
        ("negotiable", None, None),
        ("1" + " " * 500 + "2", None, None),
        ("9" * 400, None, None),
    ],
)
def test_number_with_a_sign_or_a_code_is_read(
    text: str, value: float | None, currency: str | None
) -> None:
    """Texts with other words, two meanings or no number give None."""
    assert parse_rate_and_currency(text) == (value, currency)


def test_numbers_are_bounded_and_written_as_they_are_read() -> None:
    """A rate with three decimals is written with four."""
    assert [format_rate(rate) for rate in (65.125, 120.0)] == ["65.1250", "120"]
