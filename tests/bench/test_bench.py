"""The harness on a few rows: every way comes to the same, and what is written down is there. Never a time."""

import json
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench.trials import TRIALS


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", list(TRIALS))
def test_every_way_comes_to_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A trial ends well only where all its ways made the same rows; its document and page are written."""
    for variable, value in {"QUICK": "1", "ONLY": name, "BENCH_TO": str(tmp_path / "out")}.items():
        monkeypatch.setenv(variable, value)
    assert bench.main() == 0
    document = json.loads((tmp_path / "out" / "bench.json").read_text(encoding="utf-8"))
    (measured,) = document["trials"][name].values()
    assert set(measured) == set(TRIALS[name].ways)
    printed = capsys.readouterr().out
    assert all(way in printed for way in TRIALS[name].ways)
    assert TRIALS[name].title in (tmp_path / "out" / "performance.md").read_text(encoding="utf-8")
