"""CSV cells that no spreadsheet runs, and that come back as they were."""

import csv
import io
import re

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import text as core_text

RUN = [
    "=1+1",
    "-2+3",
    "\t=1",
    "\n@x",
    "--",
    "'=1",
    "''@x",
    "\uff1d1",
    "\ufe66x",
    "\u22121",
    "\u200b=1",
    "\ufeff@x",
    "\x00=1",
]
CELLS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(RUN)


@given(st.lists(CELLS, min_size=2, max_size=4))
def test_every_line_is_one_record_that_reads_back(cells: list[str]) -> None:
    """Whatever stands in the cells, a CSV reader finds one record whose cells are harmless and give the old texts."""
    rows = list(csv.reader(io.StringIO(core_text.csv_line(cells).decode("utf-8"), newline="")))
    assert len(rows) == 1
    assert [core_text.restore_formula(cell) for cell in rows[0]] == cells
    assert not any(
        cell.lstrip("\u200b\ufeff\x00 \u3000")[:1] in tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
        for cell in rows[0]
        if not re.fullmatch(
            r"[+-][0-9]+([.,][0-9]+)*|-", cell
        )  # a number or a dash, which is nothing to be run
    )
