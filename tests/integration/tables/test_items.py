"""Rows of a file: columns of every kind, refused rows, and syncs that are all or nothing."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.store.database import Store
from pipeline.tables.source import FileSource
from pipeline.tables.stored_values import hash_input
from tests.integration.passages.workspaces import url_of
from tests.integration.tables.sources import TaskRows, write_json_lines


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


def test_a_file_that_changes_while_it_is_read_is_refused(store: Store, tmp_path: Path) -> None:
    """No row is stored if the file changes between reading its columns and its rows."""
    path = write_json_lines(tmp_path / "a.jsonl", [{"id": "1"}, {"id": "2"}])
    items = TaskRows(store)
    source = FileSource(path)
    path.write_text(path.read_text() + json.dumps({"id": "3"}))
    with pytest.raises(InputError, match="changed while it was read"):
        items.sync(source)
    assert items.rows() == []
