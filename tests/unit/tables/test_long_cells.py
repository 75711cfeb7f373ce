"""A row above the size limit is one refused row: those behind it come in, whatever stands in it."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.core.errors import InputError
from pipeline.tables.cells import list_arrow_rows
from pipeline.tables.csv_records import CUT_MARK, MAX_CUT_CELL
from pipeline.tables.read import SourceFile, SourceRow

LIMIT = 40_000
# Cells are made of these, in sizes around the limits at which a piece of a file ends.
PATTERNS = ("x", '"', 'a"b', 'a,"\n', "é\n")
SIZES = (MAX_CUT_CELL, LIMIT - 3, LIMIT - 2, LIMIT, 2 * LIMIT + 1)


def read(path: Path, text: str) -> list[Any]:
    """Return what is read of a text with the limit."""
    path.write_text(text, encoding="utf-8", newline="")
    return list(SourceFile(path, "a hint", max_line_chars=LIMIT).read_rows())


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_each_row_of_a_csv_file_is_a_row_or_one_finding(tmp_path: Path, end: str) -> None:
    """A finding has the line, and the cells as they were, cut where they are too long."""
    text = io.StringIO()
    cells = [(pattern * size)[:size] for pattern in PATTERNS for size in SIZES]
    table = [(str(number), cell, "after") for number, cell in enumerate(cells)]
    table = [row for long in table for row in (long, (f"{long[0]} b", "short", 'a "b"'))]
    csv.writer(text, lineterminator=end).writerows([("id", "text", "more"), *table])
    found = read(tmp_path / "long.csv", text.getvalue())
    line = 2
    assert len(found) == len(table)
    for row, one in zip(table, found, strict=True):
        assert (one.line_number if isinstance(one, SourceRow) else one.line) == line
        line += 1 + sum(cell.count("\n") for cell in row)
        if isinstance(one, SourceRow):
            assert tuple(one.values.values()) == row
            continue
        assert one.reason.startswith(f"longer than {LIMIT:,} characters")
        shown = [
            cell if len(cell) < MAX_CUT_CELL else f"{cell[:MAX_CUT_CELL]}{CUT_MARK}" for cell in row
        ]
        # What is passed on of a record has a limit, too, that a cell of doubled quotes reaches.
        assert list(one.cells.values())[:2] == shown[:2]
    assert sum(isinstance(one, SourceRow) for one in found) > len(table) // 2


def test_an_open_quote_is_told_with_its_line_however_long_its_cell_is(tmp_path: Path) -> None:
    """Nobody knows which rows it holds, so nothing of the file is taken."""
    for size in (10, LIMIT, 3 * LIMIT):
        with pytest.raises(InputError, match="line 3: a quote is opened and not closed"):
            read(tmp_path / "open.csv", f'id,text\n1,a\n2,"{"x" * size}\n3,b\n')


def test_a_long_element_of_a_json_list_is_one_finding(tmp_path: Path) -> None:
    """Brackets, quotes and escapes in it do not end it."""
    rows = [{"id": 1, "t": "a"}, {"id": 2, "t": '}]"\\\n' * 8 * LIMIT}, {"id": 3, "t": ["b", {}]}]
    first, long, last = read(tmp_path / "long.json", json.dumps(rows, indent=1))
    assert (first.values, last.values) == (rows[0], rows[2])
    assert (long.line, last.line_number, long.reason) == (
        6,
        10,
        f"longer than {LIMIT:,} characters",
    )


def test_times_that_python_does_not_have_are_iso_texts() -> None:
    """Nanoseconds, and years before 1 and after 9999, at any depth; other times are as they were."""
    nanoseconds = pa.array([1_767_225_600_123_456_789, 0])
    years = pa.array([-62_167_219_200, 253_402_300_800]).cast(pa.timestamp("s"))
    table = pa.table(
        {
            "at": nanoseconds.cast(pa.timestamp("ns")),
            "zone": nanoseconds.cast(pa.timestamp("ns", "Europe/Rome")),
            "year": years,
            "day": years.cast(pa.date32()),
            "list": pa.array([[nanosecond.as_py()] for nanosecond in nanoseconds]).cast(
                pa.list_(pa.timestamp("ns"))
            ),
            "took": nanoseconds.cast(pa.duration("ns")),
        }
    )
    first, second = list_arrow_rows(table)
    assert first == {
        "at": "2026-01-01T00:00:00.123456789",
        "zone": "2026-01-01T01:00:00.123456789+01:00",
        "year": "0000-01-01T00:00:00",
        "day": "0000-01-01",
        "list": ["2026-01-01T00:00:00.123456789"],
        "took": "1767225600123456789 ns",
    }
    assert (second["at"].isoformat(), second["year"], second["day"]) == (
        *("1970-01-01T00:00:00", "10000-01-01T00:00:00", "10000-01-01"),
    )
