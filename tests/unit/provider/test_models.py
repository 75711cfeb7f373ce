"""The model table: defaults, prices by day, limits by tier, refusals and files of users."""

from datetime import date
from pathlib import Path

import pytest

from askrows.pipeline.core.errors import ConfigurationError
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.provider import models
from askrows.pipeline.provider.models import RateLimits, require_known_model

DEFAULT_GENERATE = Settings.model
DEFAULT_EMBED = Settings.embedding_model
TODAY = date(2026, 11, 20)
ENTRY = (
    '[models.m]\nkind = "generate"\nprice_in = 1.0\nprice_out = 1.0\n'
    'priced_on = 2026-01-01\nsource = "x"\n'
)
ENTRY_WITH_TIER = ENTRY + '[models.m.tiers.1]\nrpm = 7\ntpm = "none"\n'


def test_promotion_ends_on_its_day() -> None:
    """A promotion is valid up to and including its last day."""
    model = require_known_model("gemini-3.8-flash", kind="generate", today=TODAY)
    assert model.find_prices("standard", day=date(2026, 12, 31)) == (0.75, 3.75, 0.075)
    assert model.find_prices("standard", day=date(2027, 1, 1)) == (1.50, 7.50, 0.15)
    assert model.find_prices("batch", day=date(2027, 1, 1)) == (0.75, 3.75, 0.075)


def test_retired_model_is_refused_after_a_warning() -> None:
    """A warning names the successor for 60 days, then the model is refused."""
    model = require_known_model("gemini-2.5-flash", kind="generate", today=date(2026, 11, 30))
    assert model.make_retirement_warning(date(2026, 10, 1)) == ""
    assert "gemini-3.5-flash-lite" in model.make_retirement_warning(date(2026, 10, 2))
    assert "2026-12-01" in model.make_retirement_warning(date(2026, 11, 30))
    with pytest.raises(ConfigurationError) as caught:
        require_known_model("gemini-2.5-flash", kind="generate", today=date(2026, 12, 1))
    assert "gemini-3.5-flash-lite" in caught.value.hint
    assert model.make_retirement_warning(date(2026, 12, 1)) == ""


def test_a_reply_has_the_price_of_the_model_that_served_it() -> None:
    """A version with or without a suffix names the other model; unknown names change nothing."""
    table = models.load_models()
    asked_model = table["gemini-2.5-flash"]
    for version, name in [
        ("gemini-3.5-flash-lite", "gemini-3.5-flash-lite"),
        ("models/gemini-3.5-flash-lite-001", "gemini-3.5-flash-lite"),
        ("gemini-2.5-flash-002", "gemini-2.5-flash"),
        ("gemini-9-pro", "gemini-2.5-flash"),
        ("gemini-embedding-001", "gemini-2.5-flash"),
        ("askrows-local-1", "gemini-2.5-flash"),
        ("", "gemini-2.5-flash"),
    ]:
        assert models.find_serving_model(asked_model, version, table).name == name


def test_unusable_model_is_refused() -> None:
    """Unknown models, models of the other kind and wrong widths are refused with a reason."""
    for name, kind, default_name in (
        ("gemini-9", "generate", DEFAULT_GENERATE),
        ("", "embed", DEFAULT_EMBED),
    ):
        with pytest.raises(ConfigurationError) as caught:
            require_known_model(
                name, kind="generate" if kind == "generate" else "embed", today=TODAY
            )
        assert default_name in caught.value.message
        assert "ASKROWS_" in caught.value.hint
    with pytest.raises(ConfigurationError, match="not a model that can generate"):
        require_known_model(DEFAULT_EMBED, kind="generate", today=TODAY)
    with pytest.raises(ConfigurationError, match="not a model that can embed"):
        require_known_model(f"models/{DEFAULT_GENERATE}", kind="embed", today=TODAY)
    local_model = require_known_model("askrows-local-embedding-1", kind="embed", today=TODAY)
    local_model.check_vector_width(768)
    with pytest.raises(ConfigurationError, match="1 to 768"):
        local_model.check_vector_width(769)
    assert require_known_model("models/gemini-embedding-2", kind="embed", today=TODAY).task_in_text
    assert not models.load_models()["gemini-embedding-001"].task_in_text


def test_wrong_extra_file_is_explained(tmp_path: Path) -> None:
    """An invalid models file is a configuration error that names the file."""
    extra = tmp_path / "my.toml"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        models.load_models(extra)
    for text in (
        "not toml [",
        "models = 3",
        "[models]\nm = 3",
        ENTRY.replace("price_in = 1.0\n", ""),
        *(ENTRY.replace("price_in = 1.0", f"price_in = {value}") for value in ("-1", '"x"', "nan")),
        ENTRY.replace('"generate"', '"draw"'),
        *(ENTRY.replace("2026-01-01", value) for value in ('"yesterday"', "2026-01-01T01:00:00")),
        *(ENTRY + more for more in ("thinking = 3\n", "dims = [1]\n", "unknown = 1\n")),
        ENTRY + 'promotion_until = "soon"\n',
        *(
            ENTRY_WITH_TIER.replace("rpm = 7", invalid_line)
            for invalid_line in ("rpm = 0", 'rpm = "many"', "rpm = [7]", "rph = 7")
        ),
        ENTRY_WITH_TIER.replace("tiers.1", "tiers.4"),
        *(ENTRY + more for more in ("tiers = 3\n", "tiers = { 1 = 3 }\n")),
    ):
        extra.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigurationError, match=r"my\.toml"):
            models.load_models(extra)


def _model(tmp_path: Path, text: str) -> models.Model:
    """Return the model `m` of a models file."""
    path = tmp_path / "my.toml"
    path.write_text(text, encoding="utf-8")
    return models.load_models(path)["m"]


def test_missing_limit_comes_from_the_next_lower_tier_or_the_default(tmp_path: Path) -> None:
    """Limits are inherited down to tier 1; a limit may be missing."""
    table = models.load_models()
    assert table["gemini-3.8-flash"].find_rate_limits("3") == RateLimits(
        rpm=1_000, tpm=2_000_000, rpd=10_000
    )
    assert (
        table["gemini-2.5-flash-lite"].find_rate_limits("free")
        == models.DEFAULT_RATE_LIMITS["generate", "free"]
    )
    assert _model(tmp_path, ENTRY_WITH_TIER).find_rate_limits("1") == RateLimits(
        rpm=7, tpm=None, rpd=250
    )
    assert (
        _model(tmp_path, ENTRY).find_rate_limits("2") == models.DEFAULT_RATE_LIMITS["generate", "1"]
    )
    model = _model(
        tmp_path, f"{ENTRY}enqueued_tokens = 5\n[models.m.tiers.2]\nenqueued_tokens = 9\n"
    )
    assert [model.find_max_enqueued_tokens(tier) for tier in ("free", "1", "2", "3")] == [
        5,
        5,
        9,
        9,
    ]
    assert all(entry.find_rate_limits("1", rpm=300).rpm == 300 for entry in table.values())
