"""CSV cells that no spreadsheet runs, and that come back as they were."""

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import text as core_text


@pytest.mark.parametrize(
    "text",
    [
        *("=1+1", "+1+1", "+1 2", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n@x", "  =1", "--", "'=1", "''@x", "'\t=1"),
        *(
            "\uff1d1+1",
            "\uff0b1",
            "\uff0d1",
            "\uff20x",
            "\ufe66x",
            "\ufe63x",
            "\u22121",
            "\u200b=1",
            "\ufeff@x",
            "\x00=1",
        ),
    ],
)
def test_formulas_are_written_as_text(text: str) -> None:
    """An apostrophe stands before what a spreadsheet would run, and comes off again."""
    assert core_text.neutralize_formula(text) == f"'{text}"
    assert core_text.restore_formula(core_text.neutralize_formula(text)) == text


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=4))
def test_every_line_is_one_record_that_reads_back(cells: list[str]) -> None:
    """Whatever stands in the cells, a CSV reader finds one record whose cells are harmless and give the old texts."""
    rows = list(csv.reader(io.StringIO(core_text.csv_line(cells).decode("utf-8"), newline="")))
    assert len(rows) == 1
    assert [core_text.restore_formula(cell) for cell in rows[0]] == cells
    assert not any(
        cell.lstrip("\u200b\ufeff\x00 \u3000")[:1] in tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
        for cell in rows[0]
        if not re.fullmatch(r"[+-][0-9]+([.,][0-9]+)*|-", cell)  # a number or a dash, which is nothing to be run
    )
