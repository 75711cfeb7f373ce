"""A dropped file of 20,000 rows becomes a downloaded table, in a browser."""

from pathlib import Path
from typing import Any

import pytest

from tests.browser.intake import (
    correct_and_undo,
    download_rows,
    fill_question,
    open_new_task,
    write_lamps,
)
from tests.browser.seen import Reader, reading
from tests.lab import Workspace

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800), pytest.mark.alike]
ROW_COUNT = 20_000
# The engine answers by the words of a text.
ENDINGS = ("has mixed reviews, 3 stars.", "gets blame, 1 star.", "gets praise, 5 stars.")
TONES = ("mixed", "blame", "praise")
SUM_OF_TONES = """[...document.querySelectorAll("#pictures .bars .num")]
  .reduce((sum, count) => sum + Number(count.textContent.replace(",", "")), 0)"""
# All rows are asked in a minute, on a busy machine in a few.
RUN_MS = 600_000
# Calls with all rows take longer than other tests allow.
LONG_CALLS: dict[str, Any] = {"CREATE_TIMEOUT": "120", "CALL_TIMEOUT": "120"}


def _wait_for_counts(reader: Reader) -> None:
    """Wait until the counts of the tones add up to all rows."""
    reader.wait_for("#facets", f"{ROW_COUNT:,} rows")
    reader.until(f"{SUM_OF_TONES} === {ROW_COUNT}")
    assert "not counted" not in reader.tab.inner_text("#facets")


def test_a_file_of_20000_rows_becomes_a_downloaded_table(
    workspace: Workspace, tmp_path: Path
) -> None:
    """Rows are tried, asked, followed, counted, sorted, corrected and exported."""
    texts = write_lamps(tmp_path / "lamps.csv", ROW_COUNT, ENDINGS)
    workspace.begin()
    with reading(workspace, **LONG_CALLS) as (reader, tab, client):
        open_new_task(reader, tab, tmp_path / "lamps.csv")
        fill_question(tab)
        tab.click("#try")
        reader.wait_for("#tried", "Use for all 20,000 rows")
        tab.click("#keep")
        reader.wait_for("#import", "is created")
        tab.check("[name=mode][value=batch]")
        tab.click("#ask")
        tab.wait_for_url("**/?task=lamps")
        tab.evaluate("window.isSameDocument = true")
        reader.wait_for("#state", "20,000 answered", timeout_ms=RUN_MS)
        reader.until("!document.querySelector('#list .chip.open')")
        assert tab.locator("#begin", has_text="Ask").count() == 0
        _wait_for_counts(reader)
        assert tab.evaluate("window.isSameDocument")

        tab.click("#list thead a:has-text('stars')")
        tab.wait_for_url("**sort=**stars**")
        _wait_for_counts(reader)

        correct_and_undo(reader, tab)
        rows = download_rows(reader, tab, "id=7")
        assert [(key, row["tone"]) for key, row in rows.items()] == [("7", "mixed")]
        rows = download_rows(reader, tab, "")
        assert {key: row["text"] for key, row in rows.items()} == texts
        tones = {key: TONES[int(key) % len(TONES)] for key in texts} | {"7": "mixed"}
        assert {key: row["tone"] for key, row in rows.items()} == tones
        assert all(row["stars"].isdecimal() for row in rows.values())
        batches = client.get("/api/batches?task=lamps").json()
        assert [(batch["way"], batch["requests"]) for batch in batches] == [("batch", ROW_COUNT)]
