"""The list of prices beside the table: the batch price is one, the list is right, and nothing is fetched."""

import socket
from collections.abc import Iterator
from datetime import date
from importlib.metadata import version
from typing import Any, NoReturn

import genai_prices
import pytest
from genai_prices import types

from pipeline.gemini import models
from pipeline.gemini.models import DEFAULT_GENERATE
from pipeline.gemini.tokens import Usage, usage_cost

TODAY = date(2026, 11, 20)
GEMINI = [model.name for model in models.load_models().values() if not model.local]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Let no test live on what another one asked, here or in another module."""
    models.listed_price.cache_clear()
    yield
    models.listed_price.cache_clear()


def _priced_without_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the list be asked with a context that it does not know."""
    monkeypatch.setattr(models, "BATCH", {"processing": "Batch"})
    models.listed_price.cache_clear()


def test_the_default_model_costs_what_google_s_page_says() -> None:
    """The pricing page of 2026-10-07 has 0.30 and 2.50 live, and half of both in a batch; so have list and table."""
    model = models.load_models()[DEFAULT_GENERATE]
    for batch, price in ((False, (0.30, 2.50)), (True, (0.15, 1.25))):
        assert models.listed_price(DEFAULT_GENERATE, batch=batch, on=TODAY) == price
        assert model.catalogued(batch=batch, on=TODAY) == price
        assert model.prices(batch=batch, on=TODAY) == price
    thousand = Usage(prompt=1000 * 420, answer=1000 * 60)
    assert usage_cost(model, thousand, batch=True, on=TODAY) == pytest.approx(0.138)


def test_the_version_of_the_list_is_one_that_was_looked_at() -> None:
    """A new version of the list needs its day here, and a look at what it says of our models."""
    assert version("genai-prices") in models.RELEASED
    assert models.price_list_source() == (
        f"genai-prices {version('genai-prices')}",
        models.RELEASED[version("genai-prices")],
    )


def test_a_price_is_as_old_as_the_list_or_the_table_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list's day where the list has the price, the table's otherwise; no day is made up for an unknown list."""
    listed, tabled = models.load_models()[DEFAULT_GENERATE], models.load_models()["gemini-3.5-flash"]
    assert (
        listed.priced_as_of(batch=True, on=TODAY)
        == models.price_list_source()[1]
        == tabled.priced_as_of(batch=False, on=TODAY)
    )
    assert tabled.priced_as_of(batch=True, on=TODAY) == tabled.priced_on
    monkeypatch.setattr(models, "RELEASED", {})
    assert models.price_list_source() == (f"genai-prices {version('genai-prices')}", None)
    assert listed.priced_as_of(batch=True, on=TODAY) == listed.priced_on


def test_a_full_price_is_not_taken_for_a_batch_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the list gives the full price for a batch, it knows none, and the table's half counts."""
    assert models.listed_price("gemini-3.5-flash", batch=True, on=TODAY) is None
    assert models.load_models()["gemini-3.5-flash"].prices(batch=True, on=TODAY) == (0.75, 4.50)
    _priced_without_batch(monkeypatch)
    assert models.listed_price(DEFAULT_GENERATE, batch=True, on=TODAY) is None
    model = models.load_models()[DEFAULT_GENERATE]
    assert model.prices(batch=True, on=TODAY) == (0.15, 1.25)
    assert model.price_source(batch=True, on=TODAY) == (model.source, model.priced_on)


def test_a_new_price_in_the_list_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where list and table differ, the list is asked first, and its name and day go with the price."""
    real = genai_prices.calc_price

    def dearer(*args: Any, **rest: Any) -> types.PriceCalculation:
        found = real(*args, **rest)
        found.input_price *= 2
        return found

    monkeypatch.setattr(genai_prices, "calc_price", dearer)
    model = models.load_models()[DEFAULT_GENERATE]
    assert model.prices(batch=False, on=TODAY) == (0.60, 2.50)
    assert model.prices(batch=True, on=TODAY) == (0.30, 1.25)
    assert model.price_source(batch=True, on=TODAY) == models.price_list_source()


def test_list_and_table_agree_without_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the list says of our models the table says; a batch is half of live on each side of a promotion."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("a price was to be fetched")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(genai_prices.UpdatePrices, "start", refuse)
    for name, model in models.load_models().items():
        for day in (TODAY, date(2026, 10, 1), date(2027, 1, 1)):
            live = model.prices(batch=False, on=day)
            assert model.prices(batch=True, on=day) == pytest.approx((live[0] / 2, live[1] / 2))
            if not model.local:
                assert models.listed_price(name, batch=False, on=day) == model.catalogued(batch=False, on=day)
                assert models.listed_price(name, batch=True, on=day) in {None, model.catalogued(batch=True, on=day)}
        assert date(2025, 1, 1) < model.priced_on <= TODAY
        assert model.source
        assert not model.local or live == (0.0, 0.0)
    for name in ("gemini-9", "findable-local-1", "gemini-3.5-flash-lite-of-ours", "gpt-4o"):
        assert models.listed_price(name, batch=False, on=TODAY) is None
        assert models.listed_price(name, batch=True, on=TODAY) is None
