"""Whatever versions of a file follow one another, the table of items holds what a plain dictionary says."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store.database import Store
from pipeline.store.rows import NO_HASH
from pipeline.tables.row_sync import RowSyncReport
from tests.integration.tables.sources import Items, write_csv

Row = tuple[str, str, str]  # key, text, and a column that is not asked about

TEXTS = st.sampled_from(["", " ", "bees", 'wasps, "or"\nants', "Bienen €"])
ROWS = st.lists(
    st.tuples(st.sampled_from(["", "a", "A", "b", "ä", " a"]), TEXTS, st.sampled_from(["", "x"])),
    max_size=8,
)


@dataclass
class Model:
    """What the table should hold: rows by key, those that are gone, and the rows of the last version in its order."""

    rows: dict[str, Row] = field(default_factory=dict)
    last: list[Row] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)

    def take(self, rows: list[Row]) -> RowSyncReport:
        """Take a version of the file."""
        report = RowSyncReport()
        now = dict[str, Row]()
        for row in rows:
            if not row[0].strip():
                report.refused["the key is blank"] += 1
            elif now.setdefault(row[0], row) is not row:
                report.refused["double"] += 1
        for key, row in now.items():
            before = self.rows.get(key)
            report.new += before is None
            report.changed += before is not None and before[1] != row[1]
            report.unchanged += before is not None and before[1] == row[1]
            report.returned += key in self.gone
            report.empty += not row[1].strip()
        report.missing = len(self.rows.keys() - self.gone - now.keys())
        self.rows |= now
        self.last = rows
        self.gone = self.rows.keys() - now.keys()
        return report


@pytest.mark.sqlite_only
@settings(max_examples=settings().max_examples // 2)
@given(versions=st.lists(ROWS, min_size=1, max_size=4))
def test_versions_of_a_file(
    tmp_path_factory: pytest.TempPathFactory, versions: list[list[Row]]
) -> None:
    """Counts, values and what is gone are the model's after every version; all its rows are in its order."""
    folder = tmp_path_factory.mktemp("items")
    store = Store(f"sqlite:///{folder}/findable.db")
    items = Items(store)
    model = Model()
    for number, rows in enumerate(versions):
        said = items.take_file(
            write_csv(folder / f"{number}.csv", [("id", "text", "other"), *rows])
        )
        expected = model.take(rows)
        assert _counts(said) == _counts(expected)
        in_source = [row for row in items.rows() if row["findable_gone_at"] is None]
        cells = [tuple(row[name] or "" for name in ("id", "text", "other")) for row in in_source]
        assert cells == model.last
        stored = [row for row in items.rows() if row["findable_hash"] != NO_HASH]
        assert {
            row["findable_key"]: (row["id"], row["text"], row["other"]) for row in stored
        } == model.rows
        assert {
            row["findable_key"] for row in stored if row["findable_gone_at"] is not None
        } == model.gone
        assert all(row["findable_empty"] == (not row["text"].strip()) for row in stored)
    store.close()


def _counts(report: RowSyncReport) -> tuple[int, ...]:
    counts = (
        report.new,
        report.changed,
        report.unchanged,
        report.missing,
        report.returned,
        report.empty,
    )
    return (*counts, sum(report.refused.values()))
