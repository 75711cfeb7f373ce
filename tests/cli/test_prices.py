"""Print the prices and limits of the models with `askrows prices`."""

import json
from pathlib import Path
from typing import Any

import pytest

from askrows.pipeline.core.settings import Settings
from askrows.pipeline.provider import models as gemini_models
from tests.lab import KEY, Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace with a key, so that Gemini's models are in use."""
    return Workspace(
        tmp_path / "data", {"ASKROWS_DATA": str(tmp_path / "data"), "GEMINI_API_KEY": KEY}
    )


def _models(workspace: Workspace, **values: str) -> dict[str, dict[str, Any]]:
    """Return the entries of `prices --json` by model."""
    result = workspace.ran("prices", "--json", **values)
    return {row["model"]: row for row in json.loads(result.stdout)}


def test_programs_get_every_model_with_prices_sources_and_limits(workspace: Workspace) -> None:
    """Each model of the catalogue is listed with its prices, their date and its limits."""
    models = _models(workspace)
    assert list(models) == list(gemini_models.load_models())
    default_model = models[Settings.model]
    assert (default_model["live"], default_model["batch"]) == (
        {"in": 0.30, "out": 2.50},
        {"in": 0.15, "out": 1.25},
    )
    assert default_model["priced_on"] == "2026-10-07"
    assert default_model["limits"]["enqueued_tokens"] == 10_000_000
    assert default_model["use"] == "answers"
    assert models[Settings.embedding_model]["use"] == "embeds"
    assert models["gemini-2.5-flash"]["shutdown"] == "2026-12-01"
