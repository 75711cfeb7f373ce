"""What holds for every file of people: nothing sound is lost, and lines are physical."""

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
def file_of(data: bytes, *, suffix: str = ".csv") -> Iterator[Path]:
    """Write bytes to a file for the length of a block."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"people{suffix}"
        path.write_bytes(data)
        yield path


@given(
    rows=st.lists(st.lists(TEXT, min_size=6, max_size=6), max_size=8),
    # with `\n` alone Python leaves a lone carriage return bare, unless all is quoted
    how=st.sampled_from([("\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_MINIMAL)]),
)
def test_what_a_csv_writer_wrote_is_read_back(rows: list[list[str]], how: tuple[str, int]) -> None:
    """Every row comes back with its values, trimmed at the ends, at the line where its bytes start."""
    text, (end, quoting) = io.StringIO(), how
    writer = csv.writer(text, lineterminator=end, quoting=quoting)  # type: ignore[arg-type] # an int of the module's own
    writer.writerow(COLUMNS)
    lines = []
    for number, row in enumerate(rows):
        lines.append(text.getvalue().count("\n") + 1)
        writer.writerow([f"user{number}", *row])
    with file_of(text.getvalue().encode("utf-8-sig")) as path:
        found = list(PeopleFile(path))
    assert [row for row in found if isinstance(row, Finding)] == []
    assert [row.line_number for row in found if isinstance(row, SoundRow)] == lines
    for row, person in zip(rows, found, strict=True):
        assert isinstance(person, SoundRow)
        bare = [
            person.values[column] or ""
            for column in ("first_name", "last_name", "company", "category", "profile_url")
        ]
        given = [value.strip() for value in (*row[:3], *row[4:])]
        names = [True, True, False, False, False]
        assert bare == [
            "" if is_placeholder(value, in_name=name) else value
            for value, name in zip(given, names, strict=True)
        ]
