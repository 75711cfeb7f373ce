"""Long cells of a rejected row are cut, and a file with an endless row is refused."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from askrows.pipeline.core.errors import InputError
from askrows.pipeline.rows.row_findings import (
    CUT_MARK,
    MAX_CUT_CELL,
    MAX_ROW_CHARS,
    SourceRow,
    make_refused_row,
)
from askrows.pipeline.rows.source import TableFile

LONG_TEXT = "x" * (MAX_ROW_CHARS + (1 << 20))
HALF_TEXT = "x" * (MAX_ROW_CHARS // 2)
CSV_START = "id,text\n1,a\n2,"
LONG_ROWS = {
    f'{CSV_START}"x\n3,b\n': "a quote is opened and not closed",
    f'{CSV_START}"{HALF_TEXT}\n{HALF_TEXT}\n3,b\n': "a quote is opened and not closed",
    f"{CSV_START}{LONG_TEXT}\n3,b\n": "longer than",
    f'{{"id": 1}}\n\n{{"id": 2, "text": "{LONG_TEXT}"}}\n': "longer than",
    f'[{{"id": 1}},\n\n{{"id": 2, "text": "{LONG_TEXT}"}}]\n': "longer than",
}


def read_text_file(path: Path, text: str) -> list[Any]:
    """Return the rows and findings of a file with a text."""
    path.write_text(text, encoding="utf-8", newline="")
    return list(TableFile(path, "a hint").read_rows())


@pytest.mark.parametrize("number", range(len(LONG_ROWS)))
def test_file_with_an_endless_row_is_refused_with_its_line(tmp_path: Path, number: int) -> None:
    """The rows after it are uncertain, or it would fill the memory."""
    text, reason = list(LONG_ROWS.items())[number]
    with pytest.raises(InputError, match=f"line 3: {reason}"):
        read_text_file(tmp_path / "long.csv", text)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_long_cells_of_a_rejected_row_are_cut(tmp_path: Path, line_end: str) -> None:
    """The row before it and the row after it are read."""
    text = io.StringIO()
    cells = ("1", "x" * 50_000, "y\n" * 25_000, "one too many")
    rows = [("id", "text", "more"), ("0", "a\n,b", 'a "b"'), cells, ("2", "short", "")]
    csv.writer(text, lineterminator=line_end).writerows(rows)
    first_row, finding, last_row = read_text_file(tmp_path / "long.csv", text.getvalue())
    assert first_row == SourceRow(2, {"id": "0", "text": "a\n,b", "more": 'a "b"'})
    assert last_row.values == {"id": "2", "text": "short", "more": ""}
    assert finding.line == 4
    cut_cells = [f"{cell[:MAX_CUT_CELL]}{CUT_MARK}" for cell in cells[1:3]]
    assert list(make_refused_row(finding).cells.values()) == ["1", *cut_cells, "one too many"]
