"""Two stored versions are compared on the quality page, in all looks."""

from pathlib import Path

import pytest

from tests.browser.seen import reading
from tests.browser.test_axe import Audit
from tests.integration.web.two_versions import (
    answer_with_two_versions,
    answer_with_version,
    doubt_rows,
    label_tones,
)
from tests.lab import Api, Workspace

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800), pytest.mark.sampled(0)]
QUALITY = "/quality?task=reviews"
CHOSEN = "[...document.querySelectorAll('#accuracy select')].map((select) => select.value)"


@pytest.fixture(name="compared", autouse=True)
def _compared(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: Api
) -> Workspace:
    """Answer all rows with two versions, in a new current directory."""
    monkeypatch.chdir(tmp_path)
    answer_with_two_versions(workspace, api)
    return workspace


def test_versions_are_chosen_and_rows_that_differ_are_opened(compared: Workspace, api: Api) -> None:
    """The empty state leads to a review; versions are chosen by keys, and the address has them."""
    answer_with_version(compared, api, 3, "blame")
    with reading(compared) as (reader, tab, _):
        reader.go(QUALITY)
        audit = Audit(reader)
        audit.check_page("without labels")
        tab.set_viewport_size({"width": 1200, "height": 800})
        tab.click("#accuracy a:text-is('Review answers')")
        tab.wait_for_url("**/row?**")

        label_tones(compared, "blame", range(1, 5))
        label_tones(compared, "praise", range(5, 23))
        doubt_rows(compared, range(1, 4))
        reader.go(QUALITY)
        reader.wait_for("#accuracy td", "none")
        audit.check_page("with three versions")

        tab.set_viewport_size({"width": 1200, "height": 800})
        versions = tab.evaluate(CHOSEN)
        tab.focus("#version-a")
        tab.keyboard.press("ArrowUp")
        tab.keyboard.press("Tab")
        tab.keyboard.press("Tab")
        tab.keyboard.press("Enter")
        reader.until(f"{CHOSEN}.join() === '{versions[0].replace('@2', '@1')},{versions[1]}'")
        reader.wait_for("#accuracy td", "A is better")
        assert reader.focus == "compare-versions"
        assert "a=reviews%401" in tab.url

        tab.click("#accuracy td a >> nth=0")
        tab.wait_for_url("**/row?**#versions")
        assert tab.locator("#versions[open]").is_visible()
        tab.go_back()
        reader.wait_for("#accuracy td", "A is better")
        tab.select_option("#version-b", tab.input_value("#version-a"))
        tab.click("#compare-versions")
        reader.wait_for("#accuracy [role=alert]", "Choose two different versions.")
        audit.check_page("with one version twice")
    assert audit.faults == []
