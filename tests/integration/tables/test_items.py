"""Items of a file: every column as it is, rows that cannot be kept refused, and half a source that marks nothing."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.store import workspace
from pipeline.store.database import Store
from pipeline.tables.row_sync import hash_input
from pipeline.tables.source import FileSource
from tests.integration.passages.workspaces import url_of
from tests.integration.tables.sources import Items, write_csv, write_lines


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A database in which nothing stands yet."""
    store = Store(url_of(tmp_path / "data"))
    yield store
    store.close()


def test_kinds_of_values(store: Store, tmp_path: Path) -> None:
    """Outside CSV a column is of the kind that all its values have; each stays what it was."""
    row = {
        "id": 2**62,
        "text": "Bees €",
        "whole": -3,
        "number": 1,
        "sure": True,
        "list": [1, {"a": None}],
        "odd": 1,
    }
    other = {"id": 7, "text": None, "number": 2.5, "odd": "x", "long": 2**70}
    items = Items(store)
    items.take_file(write_lines(tmp_path / "a.jsonl", [row, other]))
    assert items.values() == {
        str(2**62): {**row, "list": '[1,{"a":null}]', "long": None},
        "7": {**dict.fromkeys(row), **other, "long": str(2**70)},
    }
    assert [(row["findable_empty"], row["findable_hash"]) for row in items.rows()] == [
        (False, hash_input({"text": "Bees €"}, ["text"])),
        (True, hash_input({}, ["text"])),
    ]
    assert items.spec is not None
    assert [items.spec.columns[name] for name in ("whole", "number", "sure", "list", "odd")] == [
        "integer",
        "real",
        "boolean",
        "json",
        "text",
    ]
    items.take_file(write_lines(tmp_path / "a.jsonl", [{"id": 7, "whole": "many"}]))
    assert items.values() == {"7": {**dict.fromkeys(row), "long": None, "id": 7, "whole": "many"}}
    assert items.spec.columns["whole"] == "text"
    items.take_file(
        write_lines(tmp_path / "a.jsonl", [{"id": 7, "odd": {"b": True}, "sure": False}])
    )
    assert items.values()["7"] == {
        **dict.fromkeys(other),
        **dict.fromkeys(row),
        "id": 7,
        "odd": '{"b":true}',
        "sure": False,
    }


def test_parquet(store: Store, tmp_path: Path) -> None:
    """Times are ISO text, decimal numbers keep their digits, and what is no number is nothing."""
    from datetime import UTC, date, datetime
    from decimal import Decimal

    import pyarrow as pa
    from pyarrow import parquet

    columns = {
        "id": [1, 2],
        "text": ["a", "b"],
        "day": [date(2026, 1, 2), None],
        "at": [datetime(2026, 1, 2, 3, tzinfo=UTC), None],
        "price": [Decimal("19.90"), Decimal("0.00")],
        "share": [0.5, float("nan")],
        "nothing": pa.nulls(2),
    }
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    items = Items(store)
    items.take_file(tmp_path / "a.parquet")
    first = {
        "day": "2026-01-02",
        "at": "2026-01-02T03:00:00+00:00",
        "price": "19.90",
        "share": 0.5,
        "nothing": None,
    }
    assert items.values()["1"] == {"id": 1, "text": "a", **first}
    assert items.values()["2"]["share"] is None


def test_file_that_changes(store: Store, tmp_path: Path) -> None:
    """A file that changes while it is read is not taken for either of what it was."""
    path = write_lines(tmp_path / "a.jsonl", [{"id": "1"}, {"id": "2"}])
    items = Items(store)
    source = FileSource(path)
    path.write_text(path.read_text() + json.dumps({"id": "3"}))
    with pytest.raises(InputError, match="changed while it was read"):
        items.take(source)
    assert items.rows() == []


def test_a_fill_is_all_or_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its transaction does not end, nothing is new, changed or gone; the next one is as if it had never begun."""
    versions = [
        [["id", "text"], *([str(n), f"{n % step}"] for n in range(first, 10))]
        for first, step in ((0, 3), (4, 2))
    ]
    first, second = (
        write_csv(tmp_path / f"{number}.csv", rows) for number, rows in enumerate(versions)
    )
    items = Items(store)
    items.take_file(first)
    before = items.rows()
    with pytest.raises(InterruptedError), monkeypatch.context() as patched:
        patched.setattr(workspace, "update_task", _interrupted)
        items.take_file(second)
    assert items.rows() == before
    report = items.take_file(second)
    assert (report.new, report.changed, report.unchanged, report.missing) == (0, 4, 2, 4)
    report = items.take_file(first)
    assert (report.new, report.changed, report.unchanged, report.returned, report.missing) == (
        0,
        4,
        6,
        4,
        0,
    )


def _interrupted(*_: object, **_values: object) -> None:
    raise InterruptedError
