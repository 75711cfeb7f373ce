"""The model table: defaults, prices by day, what is refused, and files that add to it."""

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from pipeline.core.errors import ConfigurationError
from pipeline.gemini import models
from pipeline.gemini.models import DEFAULT_EMBED, DEFAULT_GENERATE, find_model

TODAY = date(2026, 11, 20)
ENTRY = '[models.m]\nkind = "generate"\nprice_in = 1.0\nprice_out = 1.0\npriced_on = 2026-01-01\nsource = "x"\n'


def test_defaults_are_current_models() -> None:
    """Both defaults are in the table, have a price, and no last day."""
    for name, kind in ((DEFAULT_GENERATE, "generate"), (DEFAULT_EMBED, "embed")):
        model = models.load_models()[name]
        assert (model.kind, model.shutdown, model.local) == (kind, None, False)
        assert model.price_in > 0


def test_every_price_has_a_date_and_a_source() -> None:
    """No number stands in the table without saying from when and where it is."""
    for model in models.load_models().values():
        assert date(2025, 1, 1) < model.priced_on <= TODAY
        assert model.source


def test_batch_costs_half() -> None:
    """The batch price of every model is half of its live price, on promotion days too."""
    for model in models.load_models().values():
        for day in (TODAY, date(2027, 1, 1)):
            live, batch = model.prices(batch=False, on=day), model.prices(batch=True, on=day)
            assert batch == pytest.approx((live[0] / 2, live[1] / 2))


def test_promotion_ends_on_its_day() -> None:
    """A promotion holds up to and including its last day."""
    model = find_model("gemini-3.8-flash", kind="generate", today=TODAY)
    assert model.prices(batch=False, on=date(2026, 12, 31)) == (0.75, 3.75)
    assert model.prices(batch=False, on=date(2027, 1, 1)) == (1.50, 7.50)
    assert model.prices(batch=True, on=date(2027, 1, 1)) == (0.75, 3.75)


def test_thinking_fits_the_series() -> None:
    """3.x models get a level, 2.5 models and the local one a budget, never both; embedding models get none."""
    for model in models.load_models().values():
        series = model.name.removeprefix("gemini-")[:2] if model.name != "findable-local-1" else "2."
        wanted = {"3.": {"thinkingLevel"}, "2.": {"thinkingBudget"}}.get(series, set())
        assert set(model.thinking or {}) == wanted, model.name


def test_local_models_cost_nothing() -> None:
    """The local engine's three models are marked and free."""
    for name in ("findable-local-1", "findable-local-embedding-1", "findable-local-lexical-1"):
        model = models.load_models()[name]
        assert model.local
        assert model.prices(batch=True, on=TODAY) == (0.0, 0.0)


def test_prefix_is_dropped() -> None:
    """A name with `models/` in front is the same model."""
    assert find_model("models/gemini-3.5-flash-lite", kind="generate", today=TODAY).name == "gemini-3.5-flash-lite"


@pytest.mark.parametrize(("name", "kind"), [("gemini-9", "generate"), ("gemini-9", "embed"), ("", "generate")])
def test_unknown_model_names_the_known(name: str, kind: models.Kind) -> None:
    """An unknown model is refused with the names of those that are known."""
    with pytest.raises(ConfigurationError) as caught:
        find_model(name, kind=kind, today=TODAY)
    assert (DEFAULT_GENERATE if kind == "generate" else DEFAULT_EMBED) in caught.value.message
    assert "FINDABLE_" in caught.value.hint


def test_model_of_the_other_kind_is_refused() -> None:
    """An embedding model cannot answer, and an answering one cannot embed."""
    with pytest.raises(ConfigurationError, match="not a model that can generate"):
        find_model(DEFAULT_EMBED, kind="generate", today=TODAY)
    with pytest.raises(ConfigurationError, match="not a model that can embed"):
        find_model(DEFAULT_GENERATE, kind="embed", today=TODAY)


def test_model_that_is_gone_is_refused_and_one_that_goes_is_warned_of() -> None:
    """60 days before its last day a warning names the successor; from that day on the model is refused."""
    model = find_model("gemini-2.5-flash", kind="generate", today=date(2026, 11, 30))
    assert model.warning(date(2026, 10, 1)) == ""
    assert "gemini-3.5-flash-lite" in model.warning(date(2026, 10, 2))
    assert "2026-12-01" in model.warning(date(2026, 11, 30))
    with pytest.raises(ConfigurationError) as caught:
        find_model("gemini-2.5-flash", kind="generate", today=date(2026, 12, 1))
    assert "gemini-3.5-flash-lite" in caught.value.hint
    assert model.warning(date(2026, 12, 1)) == ""


def test_width_is_checked() -> None:
    """A width a model cannot give is refused before anything is sent."""
    local = find_model("findable-local-embedding-1", kind="embed", today=TODAY)
    local.check_dim(768)
    with pytest.raises(ConfigurationError, match="1 to 768"):
        local.check_dim(769)


def test_extra_file_adds_and_replaces(tmp_path: Path) -> None:
    """A file of the same form adds a model and replaces one; batch prices may differ from half."""
    extra = tmp_path / "my.toml"
    extra.write_text(
        ENTRY.replace("models.m", 'models."gemini-9"').replace("price_out = 1.0", "price_out = 2.0\nbatch_in = 0.9")
        + ENTRY.replace("models.m", 'models."gemini-2.5-flash"').replace("price_in = 1.0", "price_in = 9.0"),
        encoding="utf-8",
    )
    assert find_model("gemini-9", kind="generate", today=TODAY, extra=extra).prices(batch=True, on=TODAY) == (0.9, 1.0)
    assert find_model("gemini-2.5-flash", kind="generate", today=date(2027, 1, 1), extra=extra).price_in == 9.0
    assert find_model("gemini-2.5-flash", kind="generate", today=TODAY).price_in == 0.30


@pytest.mark.parametrize(
    "text",
    [
        "not toml [",
        "price = 1",
        "models = 3",
        "[models]\nm = 3",
        ENTRY.replace("price_in = 1.0\n", ""),
        ENTRY.replace("price_in = 1.0", "price_in = -1"),
        ENTRY.replace("price_in = 1.0", 'price_in = "1"'),
        ENTRY.replace("price_in = 1.0", "price_in = nan"),
        ENTRY.replace('"generate"', '"draw"'),
        ENTRY.replace("2026-01-01", '"2026-01-01"'),
        ENTRY.replace("2026-01-01", "2026-01-01T00:00:00"),
        ENTRY + "thinking = 3\n",
        ENTRY + "dims = [1]\n",
        ENTRY + "unknown = 1\n",
        ENTRY + "promotion = { until = 2026-01-01 }\n",
    ],
)
def test_wrong_extra_file_is_explained(tmp_path: Path, text: str) -> None:
    """A models file that is wrong is a configuration error that names the file; nothing of it is used."""
    extra = tmp_path / "my.toml"
    extra.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"my\.toml"):
        models.load_models(extra)


def test_missing_extra_file_is_explained(tmp_path: Path) -> None:
    """A models file that is not there is a configuration error."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        models.load_models(tmp_path / "no.toml")


def test_unlisted_name_is_spoken_to_as_its_family() -> None:
    """A name outside the table is known well enough to embed with: version 2 takes its task in the text."""
    assert models.known_model("models/gemini-embedding-2-preview").task_in_text
    assert not models.known_model("gemini-embedding-001").task_in_text


def test_numbers_need_no_heavy_library() -> None:
    """Catalogue, costs, limits, requests and replies are imported without numpy, pydantic or the SDK."""
    code = (
        "import sys, pipeline.gemini.models, pipeline.gemini.tokens, pipeline.gemini.limits, "
        "pipeline.gemini.requests, pipeline.gemini.responses, pipeline.gemini.result_file, "
        "pipeline.gemini.rate_limiter, pipeline.gemini.limits, pipeline.gemini.models\n"
        "heavy = {'numpy', 'pydantic', 'google.genai', 'genai_prices', 'httpx2', 'sqlalchemy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
