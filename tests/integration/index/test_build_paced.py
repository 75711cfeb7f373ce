"""`index` on a clock of its own: the quota of embeddings is used and kept; a slow one is lived through."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import ThrottledError
from pipeline.index import build
from pipeline.index.floor import nonsense
from tests.integration.swift import Swift, engine, opened
from tests.lab import Api, Workspace

EMBED = "EmbedContents"
QUOTA = 100  # texts a minute, as a project without a billing account has them

Tagged = Callable[[int], None]


def limited(rpm: int, **more: int) -> dict[str, Any]:
    """Return the engine's setting for a quota."""
    return {"*": {"requests_per_minute": rpm, **more}}


def served(api: Api) -> list[tuple[float, int]]:
    """Return (at, texts) of each call that was answered, in seconds."""
    return [(one["at_ns"] / 1e9, one["requests"]) for one in api.seen("POST", EMBED) if one["status"] == 200]


def refused(api: Api) -> int:
    """Return how many calls were refused for a quota."""
    return sum(one["status"] == 429 for one in api.seen("POST", EMBED))


@pytest.mark.full
def test_more_texts_than_a_minute_takes_are_embedded_without_a_refusal(
    workspace: Workspace, tagged: Tagged, tmp_path: Path
) -> None:
    """A hundred a minute: as many at once as may be, then nothing until the minute is over, and so on."""
    tagged(250)
    clock = Swift()
    with engine(tmp_path / "engine", clock, quotas=limited(QUOTA)) as api:
        with opened(workspace, clock, TIER="free", RETRY_FOR="2") as ws:
            assert build.run(ws).embedded == 250
        assert refused(api) == 0
        assert [texts for _, texts in served(api)] == [100, 100, 50, len(nonsense())]
    assert 2 * 60 < clock.seconds < 4 * 61


@pytest.mark.full
@pytest.mark.sampled(2, sqlite=2)
@pytest.mark.parametrize("window", ["sliding", "fixed"])
def test_a_quota_that_is_far_below_the_limit_is_slow_and_not_dead(
    workspace: Workspace, tagged: Tagged, tmp_path: Path, window: str
) -> None:
    """The tier is set too high: call after call is refused, none is given up, and all are embedded once."""
    tagged(250)
    clock = Swift()
    with engine(tmp_path / "engine", clock, quotas=limited(QUOTA), quota_window=window) as api:
        with opened(workspace, clock, TIER="1", RETRY_FOR="2") as ws:
            report = build.run(ws)
        assert (report.count, report.embedded) == (250, 250)
        assert sum(texts for _, texts in served(api)) == 250 + len(nonsense())
        assert 0 < refused(api) < 40


@pytest.mark.full
def test_tokens_by_the_minute_are_kept(workspace: Workspace, tagged: Tagged, tmp_path: Path) -> None:
    """A call has no more tokens than a minute, and where they are the tighter limit they decide when it goes out."""
    tagged(200)
    models = tmp_path / "models.toml"
    models.write_text(
        '[models."gemini-embedding-2"]\nkind = "embed"\nprice_in = 0.2\nprice_out = 0\npriced_on = 2026-11-01\n'
        'source = "mine"\n[models."gemini-embedding-2".tiers.1]\nrpm = 3000\ntpm = 1000\n'
    )
    clock = Swift()
    with engine(tmp_path / "engine", clock, quotas=limited(3000, input_tokens_per_minute=1400)) as api:
        with opened(workspace, clock, MODELS_FILE=str(models), RETRY_FOR="2") as ws:
            assert build.run(ws).embedded == 200
        assert refused(api) == 0
        assert max(one["tokens"] for one in api.seen("POST", EMBED)) <= 1400
    assert clock.seconds > 60


@pytest.mark.full
def test_refusals_without_an_end_are_given_up(workspace: Workspace, tagged: Tagged, tmp_path: Path) -> None:
    """429 after 429 for five minutes ends the run; what was embedded before is kept."""
    tagged(200)  # two calls of a hundred: whichever is served first, a hundred are kept
    clock = Swift()
    with engine(tmp_path / "engine", clock) as api:
        api.fault("quota_minute", nth=2, times=10_000, path=EMBED, args={"delay": "7s"})
        with opened(workspace, clock) as ws, pytest.raises(ThrottledError) as caught:
            build.run(ws)
        assert "what came before is kept" in caught.value.hint
        assert 300 < clock.seconds < 900
        api.clear_faults()
        with opened(workspace, clock) as ws:
            assert build.run(ws).embedded == 100


@pytest.mark.full
def test_a_quota_of_the_day_ends_the_run_at_once(workspace: Workspace, tagged: Tagged, tmp_path: Path) -> None:
    """It says when the day begins anew, and the next run embeds the rest."""
    tagged(300)
    clock = Swift()
    with engine(tmp_path / "engine", clock, quotas=limited(3000, requests_per_day=200)):
        with opened(workspace, clock) as ws, pytest.raises(ThrottledError) as caught:
            build.run(ws)
        assert caught.value.resets_at is not None
        assert clock.seconds == 0  # nor do some hundred texts wait for anything
        clock.go_on((caught.value.resets_at - clock.now()).total_seconds())
        with opened(workspace, clock) as ws:
            assert build.run(ws).embedded == 100
