"""Limits by usage tier: what is set, what the table knows, what stands in for what is not known."""

from datetime import date
from pathlib import Path

import pytest

from pipeline.core.errors import ConfigurationError
from pipeline.core.settings import Settings
from pipeline.gemini import models
from pipeline.gemini.models import RateLimits

TODAY = date(2026, 11, 20)
ENTRY = '[models.m]\nkind = "generate"\nprice_in = 1.0\nprice_out = 1.0\npriced_on = 2026-01-01\nsource = "x"\n'
ONE = ENTRY + '[models.m.tiers.1]\nrpm = 7\ntpm = "none"\n'


def _model(tmp_path: Path, text: str) -> models.Model:
    """Return the model `m` of a models file."""
    path = tmp_path / "my.toml"
    path.write_text(text, encoding="utf-8")
    return models.load_models(path)["m"]


def test_the_default_model_has_the_limits_that_were_recorded() -> None:
    """AI Studio showed 15 / 250,000 / 500 without billing (2026-09-28), and 4,000 / 4 M / 150,000 with (2026-10-05)."""
    model = models.load_models()[Settings.model]
    assert model.limits("free") == RateLimits(rpm=15, tpm=250_000, rpd=500)
    assert model.limits("1") == RateLimits(rpm=4_000, tpm=4_000_000, rpd=150_000)
    assert model.enqueued("1") == 10_000_000
    assert model.enqueued("2") == 500_000_000


def test_what_is_set_stands_over_the_tier() -> None:
    """Each of the three may be set alone, above what the tier has too; the source says so."""
    model = models.load_models()[Settings.model]
    assert model.limits("free", rpm=99) == RateLimits(rpm=99, tpm=250_000, rpd=500)
    assert model.limits("1", tpm=1, rpd=2) == RateLimits(rpm=4_000, tpm=1, rpd=2)


def test_what_is_not_known_is_the_next_lower_tiers_or_careful(tmp_path: Path) -> None:
    """Down to tier 1 and no further; a limit is a number or none."""
    table = models.load_models()
    assert table["gemini-3.8-flash"].limits("3") == RateLimits(rpm=1_000, tpm=2_000_000, rpd=10_000)
    assert table["gemini-2.5-flash-lite"].limits("free") == models.OURS["generate", "free"]
    assert _model(tmp_path, ONE).limits("1") == RateLimits(rpm=7, tpm=None, rpd=250)
    assert _model(tmp_path, ENTRY).limits("2") == models.OURS["generate", "1"]
    model = _model(tmp_path, f"{ENTRY}enqueued_tokens = 5\n[models.m.tiers.2]\nenqueued_tokens = 9\n")
    assert [model.enqueued(tier) for tier in ("free", "1", "2", "3")] == [5, 5, 9, 9]
    assert all(one.limits("1", rpm=300).rpm == 300 for one in table.values())


def test_wrong_tiers_are_explained(tmp_path: Path) -> None:
    """A tier that is wrong is a configuration error that names the file and the model; nothing of it is used."""
    for text in (
        *(ONE.replace("rpm = 7", wrong) for wrong in ("rpm = 0", 'rpm = "many"', "rpm = [7]", "rph = 7")),
        ONE.replace("tiers.1", "tiers.4"),
        *(ENTRY + more for more in ("tiers = 3\n", "tiers = { 1 = 3 }\n")),
    ):
        with pytest.raises(ConfigurationError, match=r"my\.toml is wrong at 'm'"):
            _model(tmp_path, text)
