"""A row above the size limit is refused, and the rows after it are read."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.core.errors import InputError
from pipeline.tables.cells import list_arrow_rows
from pipeline.tables.row_findings import (
    CUT_MARK,
    MAX_CUT_CELL,
    MAX_ROW_CHARS,
    SourceRow,
    make_refused_row,
)
from pipeline.tables.source_file import SourceFile

# Characters of a cell; two of them are longer than a row may be.
LONG = MAX_ROW_CHARS // 2


def read_text_file(path: Path, text: str) -> list[Any]:
    """Return the rows and findings of a file with a text."""
    path.write_text(text, encoding="utf-8", newline="")
    return list(SourceFile(path, "a hint").read_rows())


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_long_row_of_a_csv_file_is_a_finding(tmp_path: Path, line_end: str) -> None:
    """It has the line and the original cells, cut if they are too long."""
    cells = ("1", "x" * LONG, f"y\n{'y' * LONG}")
    text = io.StringIO()
    rows = [("id", "text", "more"), ("0", "a\n,b", 'a "b"'), cells, ("2", "short", "")]
    csv.writer(text, lineterminator=line_end).writerows(rows)
    first_row, finding, last_row = read_text_file(tmp_path / "long.csv", text.getvalue())
    assert first_row == SourceRow(2, {"id": "0", "text": "a\n,b", "more": 'a "b"'})
    assert last_row == SourceRow(6, {"id": "2", "text": "short", "more": ""})
    assert finding.line == 4
    assert finding.reason.startswith(f"longer than {MAX_ROW_CHARS:,} characters")
    cut_cells = [f"{cell[:MAX_CUT_CELL]}{CUT_MARK}" for cell in cells[1:]]
    assert list(make_refused_row(finding).cells.values()) == ["1", *cut_cells]


def test_file_with_uncertain_rows_is_refused_with_a_line(tmp_path: Path) -> None:
    """The rows after an open quote, and the row of a line without an end, are unknown."""
    path = tmp_path / "open.csv"
    for text in ("x\n", "x\n" * MAX_ROW_CHARS):
        with pytest.raises(InputError, match="line 3: a quote is opened and not closed"):
            read_text_file(path, f'id,text\n1,a\n2,"{text}3,b\n')
    with pytest.raises(InputError, match="line 3: longer than"):
        read_text_file(path, f"id,text\n1,a\n2,{'x' * MAX_ROW_CHARS}\n3,b\n")


def test_long_element_of_a_json_list_is_a_finding(tmp_path: Path) -> None:
    """Brackets, quotes and escapes in a text do not end its element."""
    rows = [{"id": 1, "t": "a"}, {"id": 2, "t": '}]"\\\n' * (LONG // 3)}, {"id": 3, "t": ["b", {}]}]
    first_row, finding, last_row = read_text_file(
        tmp_path / "long.json", json.dumps(rows, indent=1)
    )
    assert (first_row.values, last_row.values) == (rows[0], rows[2])
    assert (finding.line, last_row.line_number, finding.reason) == (
        6,
        10,
        f"longer than {MAX_ROW_CHARS:,} characters",
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
