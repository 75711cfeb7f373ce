"""For any versions of a file: the table of rows equals a plain dictionary."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askrows.pipeline.core.errors import InputError
from askrows.pipeline.rows.row_sync import RowSyncReport
from askrows.pipeline.rows.source import FileSource
from askrows.pipeline.store.database import Store
from askrows.pipeline.store.rows import NO_HASH
from tests.integration.rows.sources import SyncedRows

COUNTS = ("new", "changed", "unchanged", "gone", "returned", "empty", "refused")
# Key, text, and a column outside the prompt.
Row = tuple[str, str, str]

TEXTS = st.sampled_from(["", " ", "bees", 'wasps, "or"\nants', "Bienen €"])
ROWS = st.lists(
    st.tuples(st.sampled_from(["", "a", "A", "b", "ä", " a"]), TEXTS, st.sampled_from(["", "x"])),
    max_size=8,
)


def write_csv(path: Path, rows: Iterable[Sequence[str]]) -> Path:
    """Write a CSV file with the header as its first row."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@dataclass
class Model:
    """The expected rows by key, the keys of missing rows, and the last version in its order."""

    rows: dict[str, Row] = field(default_factory=dict)
    last_rows: list[Row] = field(default_factory=list)
    gone_keys: set[str] = field(default_factory=set)

    def sync(self, rows: list[Row]) -> dict[str, int]:
        """Sync with a version of the file, and return the expected counts."""
        counts = dict.fromkeys(COUNTS, 0)
        current_rows = dict[str, Row]()
        for row in rows:
            if not row[0].strip() or current_rows.setdefault(row[0], row) is not row:
                counts["refused"] += 1
        for key, row in current_rows.items():
            stored_row = self.rows.get(key)
            counts["new"] += stored_row is None
            counts["changed"] += stored_row is not None and stored_row[1] != row[1]
            counts["unchanged"] += stored_row is not None and stored_row[1] == row[1]
            counts["returned"] += key in self.gone_keys
            counts["empty"] += not row[1].strip()
        counts["gone"] = len(self.rows.keys() - self.gone_keys - current_rows.keys())
        self.rows |= current_rows
        self.last_rows = rows
        self.gone_keys = self.rows.keys() - current_rows.keys()
        return counts


@pytest.mark.full
@pytest.mark.sqlite_only
@settings(max_examples=settings().max_examples // 2)
@given(versions=st.lists(ROWS, min_size=1, max_size=4))
def test_rows_follow_the_versions_of_a_file(
    tmp_path_factory: pytest.TempPathFactory, versions: list[list[Row]]
) -> None:
    """After every version counts, values and missing rows equal the model's."""
    folder = tmp_path_factory.mktemp("rows")
    store = Store(f"sqlite:///{folder}/askrows.db")
    synced_rows = SyncedRows(store)
    model = Model()
    for number, rows in enumerate(versions):
        path = write_csv(folder / f"{number}.csv", [("id", "text", "other"), *rows])
        report = synced_rows.sync(FileSource(path))
        expected = model.sync(rows)
        assert _count_rows(report) == expected
        in_source = [row for row in synced_rows.rows() if row["askrows_gone_at"] is None]
        cells = [tuple(row[name] or "" for name in ("id", "text", "other")) for row in in_source]
        assert cells == model.last_rows

        # Rows without a hash were never valid.
        stored = [row for row in synced_rows.rows() if row["askrows_hash"] != NO_HASH]
        assert {
            row["askrows_key"]: (row["id"], row["text"], row["other"]) for row in stored
        } == model.rows
        assert {
            row["askrows_key"] for row in stored if row["askrows_gone_at"] is not None
        } == model.gone_keys
        assert all(row["askrows_empty"] == (not row["text"].strip()) for row in stored)

    store.close()


@pytest.mark.sqlite_only
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    """No row is stored if the file changes between reading its columns and its rows."""
    store = Store(f"sqlite:///{tmp_path}/askrows.db")
    path = write_csv(tmp_path / "a.csv", [("id", "text"), ("1", "bees")])
    synced_rows = SyncedRows(store)
    source = FileSource(path)
    write_csv(path, [("id", "text"), ("1", "wasps")])
    with pytest.raises(InputError, match="changed while it was read"):
        synced_rows.sync(source)
    assert synced_rows.rows() == []
    store.close()


def _count_rows(report: RowSyncReport) -> dict[str, int]:
    counts = {"empty": report.empty, "refused": report.refused, **report.counts._asdict()}
    return {name: counts[name] for name in COUNTS}
