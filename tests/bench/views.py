"""How long the page's views take: their first paint in Chromium, and pages of the list of ROWS people.

The first paint is that of a view of some people, passages and images, with the size of the view by itself. The list is
asked for in one process with the page, on SQLite and on PostgreSQL: a thousand people are imported and tagged, and
stand there often enough. Each address is asked for several times; the tables tell the median and the 95th percentile.

    make bench-page ROWS=1000000
"""

import csv
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import sqlalchemy

from tests import lab, postgresql
from tests.bench import people
from tests.browser.furnished import furnish
from tests.browser.seen import CHROMIUM, Reader, read
from tests.browser.test_axe import VIEWS
from tests.page import Page

ROWS, KIND, TIMES = 1_000_000, 1_000, 40
PAINTS = 10  # of each view
OWN = ("username", "profile_url", "profile_url_utm")  # differ for each person
LIST = "/api/tasks/experts/items"
FILTERS = (
    *("", "find=harbour", "find=harbour+kestrel", "find=nothing-has-it", "tag=beekeeping", "tag=nothing-has-it"),
    *("state=tagged", "state=untagged", "state=parked", "min_score=90", "min_score=99&max_score=100"),
    *("sort=username", "sort=-findability_score", "state=untagged&find=kestrel"),
)
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
SENT = """[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
  .filter(one => one.initiatorType != 'img').reduce((sum, one) => sum + one.encodedBodySize, 0)"""


def main() -> int:
    """Measure the paint where there is Chromium, and the list on both databases."""
    rows = int(os.environ.get("ROWS") or ROWS)
    if CHROMIUM:
        _paint()
    postgresql.announce()
    for name in ("sqlite", "postgresql"):
        lab.ON_POSTGRESQL = name == "postgresql"
        with _workspace() as workspace:
            _fill(workspace, rows)
            _tell(f"{rows:,} people on {name}: median and 95th percentile, ms")
            with Page(workspace) as page:
                for address in _addresses(page):
                    _measure(page, address)
    return 0


@contextmanager
def _workspace() -> Iterator[lab.Workspace]:
    """Give a workspace on the local engine, for the length of a block."""
    with tempfile.TemporaryDirectory(prefix="findable-page-", dir=os.environ.get("BENCH_GROUNDS")) as folder:
        data = Path(folder) / "data"
        yield lab.Workspace(data, {"FINDABLE_DATA": str(data), "FINDABLE_BACKEND": "local"})


def _paint() -> None:
    """Open each view in a browser that keeps nothing, and print its first paint and what was sent for it."""
    found: list[str] = []

    def reader(browser: Any, address: str, _client: httpx2.Client) -> None:
        """Open them."""
        for path in VIEWS:
            took, sent = [], 0
            for _ in range(PAINTS):
                seen = Reader(browser, address)
                seen.go(path)
                seen.until("performance.getEntriesByName('first-contentful-paint').length > 0")
                took.append(float(seen.tab.evaluate(PAINTED)))
                sent = int(seen.tab.evaluate(SENT))
                seen.tab.context.close()
            found.append(f"{_figures(took)} {sent / 1000:6.0f}  {path}")

    with _workspace() as workspace:
        furnish(workspace)
        read(workspace, reader)
    _tell("\n".join(["first paint: median and 95th percentile, ms; kB of the view alone", *found]))


def _fill(workspace: lab.Workspace, rows: int) -> None:
    """Import and tag some people, and put each there often."""
    path = workspace.data.with_name("people.csv")
    with path.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([people.COLUMNS, *people.rows(KIND)])
    workspace.ran("import", EXPERTS=str(path))
    workspace.ran("tag", MODE="live")
    with workspace.open() as ws, ws.store.write() as tx:
        names = [one["name"] for one in sqlalchemy.inspect(tx).get_columns("experts")]
        others = ", ".join(one for one in names if one not in {"id", *OWN})
        own = ", ".join(f"{one} || '-' || n" for one in OWN)
        tx.exec_driver_sql(
            f"INSERT INTO experts ({', '.join(OWN)}, {others}) "  # noqa: S608 - names of the table, and a number
            f"WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < {rows // KIND - 1}) "
            f"SELECT {own}, {others} FROM experts CROSS JOIN g"
        )
    if lab.ON_POSTGRESQL:  # which does so by itself, later
        with workspace.open() as ws, ws.store.write() as tx:
            tx.exec_driver_sql("ANALYZE")


def _addresses(page: Page) -> list[str]:
    """Return what is asked for: each filter, pages behind a place, and what the views are made of."""
    found = [f"{LIST}?{one}" for one in FILTERS]
    for sort in ("username", "-findability_score"):
        after = page.get(LIST, params={"sort": sort}).json()["after"]
        found.append(f"{LIST}?sort={sort}&after={after}")
    found += [f"{LIST}?after=500", f"{LIST}?limit=500"]
    found += [f"{path}?task=experts&{one}" for path in ("/items", "/parts/items") for one in FILTERS[:4]]
    return [*found, "/api/tasks/experts/facets", "/api/tasks/experts/facets?find=harbour"]


def _measure(page: Page, address: str) -> None:
    """Ask again and again, and print a line."""
    took = []
    for _ in range(TIMES):
        began = time.perf_counter()
        got = page.get(address)
        took.append(1000 * (time.perf_counter() - began))
        assert got.status_code == 200, f"{address}: {got.text}"
    _tell(f"{_figures(took)}  {address}")


def _figures(took: Sequence[float]) -> str:
    """Return the median and the 95th percentile."""
    return f"{statistics.median(took):8.1f} {statistics.quantiles(took, n=20)[-1]:8.1f}"


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
