"""Prices from the `genai-prices` package: the list it carries, never what it could fetch.

The package is imported when a price is asked for, and nothing here starts its updates, so what it says is fixed by the
version that is installed. What a newcomer would get wrong: a batch price is asked for with a context, and where the
package does not know the context, or has no batch price of the model on that day, it gives the full price without a
word. So a batch price that is not below the live one is taken for none.
"""

from datetime import UTC, date, datetime, time
from functools import lru_cache

PROVIDER = "google"
BATCH = {"processing": "batch"}  # exactly so: the package compares name and value letter by letter
TOKENS = 1_000  # small enough for the first step of prices that rise with the prompt
PER_MILLION = 1_000_000 // TOKENS
RELEASED = {"0.2.3": date(2026, 11, 11)}  # the day by which a version was out (package index, read 2026-11)


@lru_cache(maxsize=256)
def listed(name: str, *, batch: bool, on: date) -> tuple[float, float] | None:
    """Return (input, output) in USD per 1 M tokens on that day, or None where the list does not know the price.

    A name that the list merely takes for another model's counts as unknown.
    """
    live = _listed(name, on=on, context=None)
    if live is None or not batch:
        return live
    half = _listed(name, on=on, context=BATCH)
    return None if half is None or half[0] >= live[0] else half


def source() -> tuple[str, date | None]:
    """Return what the list is, with the version that is installed, and the day it is from where we know it."""
    from importlib.metadata import version

    installed = version("genai-prices")
    return f"genai-prices {installed}", RELEASED.get(installed)


def _listed(name: str, *, on: date, context: dict[str, str] | None) -> tuple[float, float] | None:
    """Return a price in one context, exact to the cent because the package counts in decimals."""
    from genai_prices import Usage, calc_price

    try:
        found = calc_price(
            Usage(input_tokens=TOKENS, output_tokens=TOKENS),
            name,
            provider_id=PROVIDER,
            genai_request_timestamp=datetime.combine(on, time(12), tzinfo=UTC),
            price_context=context,
        )
    except LookupError:
        return None
    if found.model.id != name:
        return None
    return float(found.input_price * PER_MILLION), float(found.output_price * PER_MILLION)
