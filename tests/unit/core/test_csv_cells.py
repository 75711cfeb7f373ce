"""CSV cells are not formulas for a spreadsheet, and restoring them returns the texts."""

import csv
import io
import re

from hypothesis import given
from hypothesis import strategies as st

from askrows.pipeline.core import text as core_text

FORMULA_TEXTS = [
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
CELLS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(FORMULA_TEXTS)


@given(st.lists(CELLS, min_size=2, max_size=4))
def test_every_line_is_one_record_that_reads_back(cells: list[str]) -> None:
    """A CSV reader gets a single record without formulas, and restoring it returns the texts."""
    rows = list(
        csv.reader(io.StringIO(core_text.encode_csv_line(cells).decode("utf-8"), newline=""))
    )
    assert len(rows) == 1
    assert [core_text.restore_formula(cell) for cell in rows[0]] == cells

    # A number or a dash is not a formula.
    texts = [cell for cell in rows[0] if not re.fullmatch(r"[+-][0-9]+([.,][0-9]+)*|-", cell)]
    formula_starts = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
    assert not any(text.lstrip("\u200b\ufeff\x00 \u3000")[:1] in formula_starts for text in texts)
