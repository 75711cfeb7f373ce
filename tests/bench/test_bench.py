"""The harness on a few rows: every way comes to the same, and what is written down is there. Never a time."""

import json
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench import report
from tests.bench.driver import Measured
from tests.bench.report import Found
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


def _measured(wall: float, *, peak: float = 1e8) -> Measured:
    return Measured(
        wall=[wall * 9, wall, wall / 9], cpu=[wall] * 3, peak=[peak] * 3, anon=[peak / 2] * 3, own=[peak / 4] * 3
    )


def test_bounds_are_held_by_medians_and_every_figure_is_on_the_page(tmp_path: Path) -> None:
    """What is just enough is enough, within a trial, between two, and for memory; figures are read back by ADD=1."""
    found = Found()
    for count in (1_558, 10_000):
        found.add("ingest", count, {way: _measured(count / 1000) for way in TRIALS["ingest"].ways})
    found.add("ingest", 10_000, {"product": _measured(1.0), "naive": _measured(20.0)})
    for count, peak in ((55_000, 1e8), (5_500_000, 1.11e8)):
        found.add("memory-ingest", count, {"product": _measured(50.0, peak=peak)})
    found.add("rescore", 100_000, {"product": _measured(1.0)})
    found.add("score", 100_000, {"product": _measured(2.0)})
    told = {(one.says, one.rows): (one.bound, round(one.ratio, 3), one.met) for one in report.verdicts(found)}
    assert told == {
        ("naive / product", 10_000): ("≥ 20", 20.0, True),
        ("anonymous memory but SQLite's at 5,500k / 55k", 5_500_000): ("≤ 1.1", 1.11, False),
        ("nothing to change / first", 100_000): ("≤ 0.4", 0.5, False),
    }
    report.write(found, tmp_path)
    assert Found.read(tmp_path).trials == found.trials
    text = report.write_page(found, tmp_path).read_text(encoding="utf-8")
    assert ["naive", "1.558/1.558", "100/50", "20/20", "100/50"] in [line.split() for line in text.splitlines()]
    assert "**missed**" in text
