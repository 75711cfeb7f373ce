"""A row above the size limit is refused, and the rows after it are read."""

import csv
import io
import json
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.core.errors import InputError
from pipeline.tables.cells import list_arrow_rows
from pipeline.tables.row_findings import CUT_MARK, MAX_CUT_CELL, SourceRow, make_refused_row
from pipeline.tables.source_file import SourceFile

LIMIT = 80_000
# Cells are made of these, in sizes around the limits at which a piece of a file ends.
PATTERNS = ("x", '"', 'a"b', 'a,"\n', "é\n")
SIZES = (MAX_CUT_CELL, LIMIT // 2, LIMIT - 20, LIMIT)


def read_text_file(path: Path, text: str) -> list[Any]:
    """Return the rows and findings of a file with a text."""
    path.write_text(text, encoding="utf-8", newline="")
    return list(SourceFile(path, "a hint", max_line_chars=LIMIT).read_rows())


@pytest.mark.full
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_each_row_of_a_csv_file_is_a_row_or_a_finding(tmp_path: Path, line_end: str) -> None:
    """A finding has the line and the original cells, cut if they are too long."""
    text = io.StringIO()
    cells = [(pattern * size)[:size] for pattern, size in product(PATTERNS, SIZES)]
    table: list[tuple[str, str, str]] = []
    for number, cell in enumerate(cells):
        table += [(str(number), cell, "after"), (f"{number} b", "short", 'a "b"')]

    csv.writer(text, lineterminator=line_end).writerows([("id", "text", "more"), *table])
    read_rows = read_text_file(tmp_path / "long.csv", text.getvalue())
    line_number = 2
    assert len(read_rows) == len(table)
    for row, read_row in zip(table, read_rows, strict=True):
        assert (
            read_row.line_number if isinstance(read_row, SourceRow) else read_row.line
        ) == line_number
        line_number += 1 + sum(cell.count("\n") for cell in row)
        if isinstance(read_row, SourceRow):
            assert tuple(read_row.values.values()) == row
            continue

        assert read_row.reason.startswith(f"longer than {LIMIT:,} characters")
        assert len(read_row.cells["text"]) < MAX_CUT_CELL + 100
        cut_cell = f"{row[1][:MAX_CUT_CELL]}{CUT_MARK}"
        assert list(make_refused_row(read_row).cells.values()) == [row[0], cut_cell, row[2]]

    assert sum(isinstance(read_row, SourceRow) for read_row in read_rows) > len(table) // 2


def test_open_quote_is_reported_with_its_line_for_any_cell_length(tmp_path: Path) -> None:
    """The rows after an open quote are unknown, so the whole file is refused."""
    for size in (10, LIMIT, 3 * LIMIT):
        with pytest.raises(InputError, match="line 3: a quote is opened and not closed"):
            read_text_file(tmp_path / "open.csv", f'id,text\n1,a\n2,"{"x" * size}\n3,b\n')


def test_long_element_of_a_json_list_is_a_finding(tmp_path: Path) -> None:
    """Brackets, quotes and escapes in a text do not end its element."""
    rows = [{"id": 1, "t": "a"}, {"id": 2, "t": '}]"\\\n' * 8 * LIMIT}, {"id": 3, "t": ["b", {}]}]
    first_row, finding, last_row = read_text_file(
        tmp_path / "long.json", json.dumps(rows, indent=1)
    )
    assert (first_row.values, last_row.values) == (rows[0], rows[2])
    assert (finding.line, last_row.line_number, finding.reason) == (
        6,
        10,
        f"longer than {LIMIT:,} characters",
    )


def test_times_have_no_nanoseconds() -> None:
    """Nanoseconds are cut off; a year that Python lacks is refused."""
    nanoseconds = pa.array([1_767_225_600_123_456_789, 0])
    table = pa.table(
        {
            "at": nanoseconds.cast(pa.timestamp("ns")),
            "zone": nanoseconds.cast(pa.timestamp("ns", "Europe/Rome")),
        }
    )
    first, _ = list_arrow_rows(table)
    assert [time.isoformat() for time in first.values()] == [
        "2026-01-01T00:00:00.123456",
        "2026-01-01T01:00:00.123456+01:00",
    ]
    years = pa.array([253_402_300_800]).cast(pa.timestamp("s"))
    with pytest.raises(InputError, match="a time cannot be read"):
        list_arrow_rows(pa.table({"year": years}))
