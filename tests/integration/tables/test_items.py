"""Rows of a file: columns of every kind, refused rows, and syncs that are all or nothing."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.store import workspace
from pipeline.store.database import Store
from pipeline.tables.source import FileSource
from pipeline.tables.stored_values import hash_input
from tests.integration.passages.workspaces import url_of
from tests.integration.tables.sources import TaskRows, write_csv, write_json_lines


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Open an empty database."""
    store = Store(url_of(tmp_path / "data"))
    yield store
    store.close()


def test_columns_have_the_kind_of_their_values(store: Store, tmp_path: Path) -> None:
    """Outside CSV a column has the common kind of its values, and each value is unchanged."""
    first_row = {
        "id": 2**62,
        "text": "Bees €",
        "whole": -3,
        "number": 1,
        "sure": True,
        "list": [1, {"a": None}],
        "odd": 1,
    }
    second_row = {"id": 7, "text": None, "number": 2.5, "odd": "x", "long": 2**70}
    items = TaskRows(store)
    items.sync_file(write_json_lines(tmp_path / "a.jsonl", [first_row, second_row]))
    assert items.values() == {
        str(2**62): {**first_row, "list": '[1,{"a":null}]', "long": None},
        "7": {**dict.fromkeys(first_row), **second_row, "long": str(2**70)},
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

    # A later version of the file widens the kind of a column.
    items.sync_file(write_json_lines(tmp_path / "a.jsonl", [{"id": 7, "whole": "many"}]))
    assert items.values() == {
        "7": {**dict.fromkeys(first_row), "long": None, "id": 7, "whole": "many"}
    }
    assert items.spec.columns["whole"] == "text"

    items.sync_file(
        write_json_lines(tmp_path / "a.jsonl", [{"id": 7, "odd": {"b": True}, "sure": False}])
    )
    assert items.values()["7"] == {
        **dict.fromkeys(second_row),
        **dict.fromkeys(first_row),
        "id": 7,
        "odd": '{"b":true}',
        "sure": False,
    }


def test_values_of_parquet(store: Store, tmp_path: Path) -> None:
    """Times become ISO text, decimals keep their digits, and NaN becomes None."""
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
    items = TaskRows(store)
    items.sync_file(tmp_path / "a.parquet")
    expected_values = {
        "day": "2026-01-02",
        "at": "2026-01-02T03:00:00+00:00",
        "price": "19.90",
        "share": 0.5,
        "nothing": None,
    }
    assert items.values()["1"] == {"id": 1, "text": "a", **expected_values}
    assert items.values()["2"]["share"] is None


def test_a_file_that_changes_while_it_is_read_is_refused(store: Store, tmp_path: Path) -> None:
    """No row is stored if the file changes between reading its columns and its rows."""
    path = write_json_lines(tmp_path / "a.jsonl", [{"id": "1"}, {"id": "2"}])
    items = TaskRows(store)
    source = FileSource(path)
    path.write_text(path.read_text() + json.dumps({"id": "3"}))
    with pytest.raises(InputError, match="changed while it was read"):
        items.sync(source)
    assert items.rows() == []


def test_a_sync_is_all_or_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted sync changes nothing, and the next sync is complete."""
    first_rows = [[str(number), f"{number % 3}"] for number in range(10)]
    second_rows = [[str(number), f"{number % 2}"] for number in range(4, 10)]
    first_file = write_csv(tmp_path / "0.csv", [["id", "text"], *first_rows])
    second_file = write_csv(tmp_path / "1.csv", [["id", "text"], *second_rows])
    items = TaskRows(store)
    items.sync_file(first_file)
    rows_before = items.rows()

    # Interrupt the transaction of the second file.
    with pytest.raises(InterruptedError), monkeypatch.context() as patch:
        patch.setattr(workspace, "update_task", _interrupt)
        items.sync_file(second_file)
    assert items.rows() == rows_before

    report = items.sync_file(second_file)
    assert (report.new, report.changed, report.unchanged, report.missing) == (0, 4, 2, 4)

    report = items.sync_file(first_file)
    assert report.new == 0
    assert report.changed == 4
    assert report.unchanged == 6
    assert report.returned == 4
    assert report.missing == 0


def _interrupt(*_: object, **_values: object) -> None:
    raise InterruptedError
