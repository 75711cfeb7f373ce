"""What is made of figures: verdicts, the document and its way back, the page and its plots."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.bench import page, plots, report
from tests.bench.driver import Measured
from tests.bench.report import Found
from tests.bench.trials import TRIALS

NAMES = {"svg": "http://www.w3.org/2000/svg"}


def _measured(wall: float, *, peak: float = 1e8) -> Measured:
    return Measured(wall=[wall * 9, wall, wall / 9], cpu=[wall] * 3, peak=[peak] * 3, anon=[peak / 2] * 3)


@pytest.mark.parametrize(("naive", "met"), [(20.0, True), (19.9, False)])
def test_a_bound_from_below_is_held_by_the_median(naive: float, met: bool) -> None:  # noqa: FBT001 - a parameter
    """The outer runs do not count, and what is just enough is enough."""
    found = Found()
    found.add("ingest", 10_000, {"product": _measured(1.0), "naive": _measured(naive)})
    (verdict,) = report.verdicts(found)
    assert (verdict.trial, verdict.rows, verdict.bound, verdict.met) == ("ingest", 10_000, "≥ 20", met)
    assert verdict.ratio == pytest.approx(naive)


@pytest.mark.parametrize(("peak", "met"), [(1.3e8, True), (1.31e8, False)])
def test_a_bound_from_above_compares_two_sizes(peak: float, met: bool) -> None:  # noqa: FBT001 - a parameter
    """Memory at 550,000 rows is held against that at 55,000, and not against time."""
    found = Found()
    found.add("ingest", 55_000, {"product": _measured(1.0, peak=1e8)})
    found.add("ingest", 550_000, {"product": _measured(50.0, peak=peak)})
    (verdict,) = report.verdicts(found)
    assert (verdict.met, verdict.cpu_ratio) == (met, None)


def test_a_bound_between_two_trials_needs_both() -> None:
    """A run with nothing to change is held against the first run, where both were measured."""
    found = Found()
    found.add("rescore", 100_000, {"product": _measured(1.0)})
    assert report.verdicts(found) == []
    found.add("score", 100_000, {"product": _measured(2.0)})
    (verdict,) = report.verdicts(found)
    assert (verdict.trial, verdict.ratio, verdict.met) == ("rescore", 0.5, False)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    """A later run with ADD=1 goes on from the document of an earlier one."""
    found = Found()
    found.add("score", 1_558, {"product": _measured(0.5), "naive": _measured(3.0)})
    report.write(found, tmp_path)
    again = Found.read(tmp_path)
    assert again.trials == found.trials
    assert report.document(again) == report.document(found)
    assert json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))["machine"]["python"]


def test_the_page_shows_every_figure_and_plot(tmp_path: Path) -> None:
    """Each way has its rows, a missed bound is said, and each picture that is shown is there."""
    found = Found()
    for count in (1_558, 10_000):
        found.add("ingest", count, {way: _measured(count / 1000) for way in TRIALS["ingest"].ways})
    text = page.write(found, tmp_path).read_text(encoding="utf-8")
    told = [line.split() for line in text.splitlines()]
    assert ["1,558", "10,000"] in told
    assert ["naive", "1.558/1.558", "100/50", "10/10", "100/50"] in told
    assert "**missed**" in text
    for name in ("ingest-time.svg", "ingest-memory.svg"):
        assert f"(performance/{name})" in text
        assert (tmp_path / "performance" / name).is_file()


def test_a_plot_has_a_line_for_each_way_within_its_frame() -> None:
    """Points stand within the page, higher values higher, more rows further right, names as they are."""
    drawn = {"a < b": [(1_558.0, 0.01), (100_000.0, 3.0)], "limit": [(10_000.0, 0.5)]}
    root = ET.fromstring(plots.svg("time & rows", "s", drawn))  # noqa: S314 - made right here
    lines = root.findall(".//svg:polyline", NAMES)
    assert len(lines) == len(drawn)
    (x0, y0), (x1, y1) = (map(float, pair.split(",")) for pair in lines[0].get("points", "").split())
    assert 0 < x0 < x1 < plots.WIDTH
    assert plots.HEIGHT > y0 > y1 > 0
    assert "a < b" in {text.text for text in root.findall(".//svg:text", NAMES)}
