"""Counts of many rows may take seconds, because they are loaded after the rows."""

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from askrows.pipeline.store.database import SlowError, limit_statement_time
from tests.integration import reviews
from tests.lab import ON_POSTGRESQL, Workspace
from tests.page import Page


@pytest.mark.full
@pytest.mark.alike
def test_counts_and_sorting_have_time(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts have 3 seconds and sorting has more; the page says if counts are missing."""
    reviews.set_up_task(workspace).ran("tag-live")
    limits = []

    @contextlib.contextmanager
    def record_limit(tx: Any, seconds: float | None) -> Iterator[None]:
        """Record the limit, and set it."""
        limits.append(seconds or 0.0)
        with limit_statement_time(tx, seconds):
            yield

    @contextlib.contextmanager
    def be_slow(_tx: Any, _seconds: float | None) -> Iterator[None]:
        """Exceed any limit."""
        raise SlowError
        yield

    with Page(workspace) as page:
        monkeypatch.setattr("askrows.pipeline.rows.grid.limit_statement_time", record_limit)
        facets = page.get("/parts/facets", params={"task": "reviews"}).text
        assert '<h2 dir="auto">praise</h2>' in facets
        assert "not counted" not in facets
        assert limits == [3.0]
        rows = page.get("/", params={"task": "reviews", "sort": "-stars"})
        assert rows.status_code == 200
        assert max(limits) == 10.0

        monkeypatch.setattr("askrows.pipeline.rows.grid.limit_statement_time", be_slow)
        facets = page.get("/parts/facets", params={"task": "reviews"}).text
        assert "Values are not counted: there are too many rows." in facets
        assert "4 rows" in facets


def test_value_counts_follow_each_change(
    reviewed_page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counts of values are read from a file only as long as no row changed."""
    monkeypatch.setattr("askrows.pipeline.rows.kept_counts.MIN_KEPT_ROWS", 1)
    address = "/parts/facets?task=reviews"
    first_facets = reviewed_page.get(address).text
    [kept_file] = reviewed_page.desk.settings.data.glob("counts/reviews.*.json")
    kept = json.loads(kept_file.read_text())
    kept["counts"]["total"] = 4_321
    kept_file.write_text(json.dumps(kept))
    # Other tests change the server's databases at the same time.
    if not ON_POSTGRESQL:
        assert "4,321 rows" in reviewed_page.get(address).text

    cell_address = "/parts/cell?task=reviews&key=1&field=tone"
    [state] = re.findall(r'name="state" value="(\w+)"', reviewed_page.get(cell_address).text)
    form = {"field": "tone", "value": "blame", "state": state, "who": "Bea"}
    assert reviewed_page.post(cell_address, data=form).status_code == 200
    changed_facets = reviewed_page.get(address).text
    assert "4,321 rows" not in changed_facets
    assert changed_facets != first_facets
