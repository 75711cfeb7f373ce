"""What holds for every file of people: nothing sound is lost, and lines are physical."""

import csv
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.experts.read import People
from pipeline.experts.rows import Person
from pipeline.tables.cells import is_placeholder
from pipeline.tables.findings import Finding
from pipeline.tables.rates import MAX_RATE, parse_rate

COLUMNS = ["Username", "First Name", "Last Name", "Company", "Bio", "Category", "Profile URL"]
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)
BROKEN = st.sampled_from(
    [
        b'x1,"open,a,b,c,d,e',
        b'x2,"a"b,c,d,e,f,g',
        b"x3,too,few",
        b"x4,a,b,c,d,e,f,g,h",
        b"x5,\xff\xfe,a,b,c,d,e",
        b'"',
        b"x6,\x00,,,,,",
    ]
)


@contextmanager
def file_of(data: bytes, *, suffix: str = ".csv") -> Iterator[Path]:
    """Write bytes to a file for the length of a block."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"people{suffix}"
        path.write_bytes(data)
        yield path


@given(
    rows=st.lists(st.lists(TEXT, min_size=6, max_size=6), max_size=8),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_a_csv_writer_wrote_is_read_back(rows: list[list[str]], end: str, quoting: int) -> None:
    """Every row comes back with its values, trimmed at the ends, at the line where its bytes start."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=end, quoting=quoting)  # type: ignore[arg-type] # an int of the module's own
    writer.writerow(COLUMNS)
    lines = []
    for number, row in enumerate(rows):
        lines.append(text.getvalue().count("\n") + 1)
        writer.writerow([f"user{number}", *row])
    with file_of(text.getvalue().encode("utf-8-sig")) as path:
        found = list(People(path).people())
    assert [row for row in found if isinstance(row, Finding)] == []
    assert [row.line for row in found] == lines
    for row, person in zip(rows, found, strict=True):
        assert isinstance(person, Person)
        bare = [
            person.values[column] or "" for column in ("first_name", "last_name", "company", "category", "profile_url")
        ]
        given = [value.strip() for value in (*row[:3], *row[4:])]
        names = [True, True, False, False, False]
        assert bare == [
            "" if is_placeholder(value, in_name=name) else value for value, name in zip(given, names, strict=True)
        ]


@given(
    sound=st.lists(TEXT, min_size=1, max_size=6),
    broken=BROKEN,
    at=st.integers(0, 6),
)
def test_a_broken_record_takes_no_sound_one_with_it(sound: list[str], broken: bytes, at: int) -> None:
    """Wherever one broken record stands among sound ones, all of the sound go in and the broken one is told."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    records = []
    for number, bio in enumerate(sound):
        text.seek(0)
        text.truncate()
        writer.writerow([f"user{number}", "é", "", "", " ".join(bio.split()), "", ""])
        records.append(text.getvalue().encode("utf-8"))
    records.insert(min(at, len(records)), broken + b"\n")
    header = ",".join(COLUMNS).encode() + b"\n"
    with file_of(header + b"".join(records)) as path:
        rows = list(People(path).people())
    assert {row.username for row in rows if isinstance(row, Person)} == {f"user{n}" for n in range(len(sound))}
    assert [row.line for row in rows if isinstance(row, Finding)] == [min(at, len(sound)) + 2]


@given(st.text(max_size=20) | st.from_regex(r"[$€]?[\d., ']{1,12}( ?[A-Z]{3})?(/h)?", fullmatch=True))
def test_a_rate_is_a_number_in_bounds_or_has_a_reason(text: str) -> None:
    """No text raises; what is read lies between 0 and the largest rate, and an empty cell alone has neither."""
    rate = parse_rate(text)
    if rate.value is None:
        assert (rate.reason is None) == (not text.strip())
    else:
        assert 0 <= rate.value <= MAX_RATE
        assert rate.reason is None
