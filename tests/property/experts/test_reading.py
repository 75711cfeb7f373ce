"""For every file of people: no valid row is lost, and line numbers are physical."""

import csv
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.experts.import_ import PeopleFile
from pipeline.experts.person_rows import is_placeholder
from pipeline.tables.row_findings import Finding, SoundRow

COLUMNS = ["Username", "First Name", "Last Name", "Company", "Bio", "Category", "Profile URL"]
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)


@contextmanager
def write_file(content: bytes, *, suffix: str = ".csv") -> Iterator[Path]:
    """Write bytes to a file that exists during a block."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"people{suffix}"
        path.write_bytes(content)
        yield path


@given(
    rows=st.lists(st.lists(TEXT, min_size=6, max_size=6), max_size=8),
    # If lines end with `\n`, Python quotes a lone carriage return only with QUOTE_ALL.
    dialect=st.sampled_from([("\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_MINIMAL)]),
)
def test_a_written_csv_file_is_read_back(rows: list[list[str]], dialect: tuple[str, int]) -> None:
    """Every row has its stripped values, and the line number of its first byte."""
    text = io.StringIO()
    line_end, quoting = dialect
    writer = csv.writer(text, lineterminator=line_end, quoting=quoting)  # type: ignore[arg-type]
    writer.writerow(COLUMNS)
    line_numbers = []
    for number, row in enumerate(rows):
        line_numbers.append(text.getvalue().count("\n") + 1)
        writer.writerow([f"user{number}", *row])

    with write_file(text.getvalue().encode("utf-8-sig")) as path:
        people = list(PeopleFile(path))

    assert [row for row in people if isinstance(row, Finding)] == []
    assert [row.line_number for row in people if isinstance(row, SoundRow)] == line_numbers

    for row, person in zip(rows, people, strict=True):
        assert isinstance(person, SoundRow)
        cells = [
            person.values[column] or ""
            for column in ("first_name", "last_name", "company", "category", "profile_url")
        ]
        written_cells = [value.strip() for value in (*row[:3], *row[4:])]
        are_names = [True, True, False, False, False]
        assert cells == [
            "" if is_placeholder(value, in_name=is_name) else value
            for value, is_name in zip(written_cells, are_names, strict=True)
        ]
