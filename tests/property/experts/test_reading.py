"""What holds for every file of people: no bytes raise, nothing sound is lost, lines are physical."""

import csv
import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.experts.rates import MAX_RATE, parse_rate, to_text
from pipeline.experts.reading import read_people, read_person_documents
from pipeline.records import Finding, Person

COLUMNS = ["Username", "First Name", "Last Name", "Company", "Bio", "Category", "Profile URL"]
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)
FRAGMENTS = st.sampled_from(
    [
        *(b'"', b'""', b",", b"\n", b"\r\n", b"\r", b"\\", b'\\"', b"\xe9", b"\xff", b"\x00", b"#", b" ", b"a", b"b,c"),
        *(
            b"[",
            b"]",
            b"{",
            b"}",
            b":",
            b'{"username":"u"}',
            b"\xc3\xa9",
            b"\xed\xa0\xbd",
            b"1",
            b"\\ud800",
            b"Username",
        ),
    ]
)
STARTS = st.sampled_from(
    [b"Username,Bio\n", b"Username,Bio,Company,Category\r\n", b"[", b"{", b"\xff\xfe", b"\xef\xbb\xbf", b""]
)
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
    start=STARTS,
    rest=st.lists(FRAGMENTS | st.binary(max_size=8), max_size=40),
    suffix=st.sampled_from([".csv", ".json", ".jsonl", ".x"]),
)
def test_no_bytes_raise_anything_but_an_input_error(start: bytes, rest: list[bytes], suffix: str) -> None:
    """Any bytes give rows whose lines lie in the file, with clean values and printable findings, or one clear error."""
    data = start + b"".join(rest)
    with file_of(data, suffix=suffix) as path:
        try:
            rows = list(read_people(path))
        except InputError as error:
            rows, message = [], error.message
        else:
            message = "nothing was imported"
    assert "nothing was imported" in message
    last = data.count(b"\n") + data.count(b"\r") + 1
    for row in rows:
        assert 1 <= row.line <= last
        findings = [row] if isinstance(row, Finding) else list(row.changes)
        assert all(finding.value.isprintable() and len(finding.value) <= 80 for finding in findings)
        if isinstance(row, Person):
            row.username.encode("utf-8")
            assert all(
                "\x00" not in value.encode("utf-8").decode() for value in row.values.values() if isinstance(value, str)
            )


@given(st.binary(max_size=60) | st.lists(FRAGMENTS, max_size=20).map(b"".join))
def test_no_document_raises_anything_but_an_input_error(data: bytes) -> None:
    """Whatever stands in a person's document, it is a list of people or one clear error."""
    try:
        people = read_person_documents(data)
    except InputError as error:
        people, message = [], error.message
    else:
        message = ""
    assert bool(people) != ("nothing was stored" in message)


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
        found = list(read_people(path))
    assert [row for row in found if isinstance(row, Finding)] == []
    assert [row.line for row in found] == lines
    for row, person in zip(rows, found, strict=True):
        assert isinstance(person, Person)
        bare = [
            person.values[column] or "" for column in ("first_name", "last_name", "company", "category", "profile_url")
        ]
        assert bare == [value.strip() for value in (*row[:3], *row[4:])]


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
        rows = list(read_people(path))
    assert {row.username for row in rows if isinstance(row, Person)} == {f"user{n}" for n in range(len(sound))}
    assert [row.line for row in rows if isinstance(row, Finding)] == [min(at, len(sound)) + 2]


@given(
    st.lists(st.fixed_dictionaries({"username": st.uuids().map(str), "bio": TEXT, "Company": TEXT}), max_size=6),
    st.sampled_from([None, 0, 2]),
)
def test_what_a_json_writer_wrote_is_read_back(documents: list[dict[str, str]], indent: int | None) -> None:
    """Every object of a list comes back, however it is laid out."""
    with file_of(json.dumps(documents, indent=indent, ensure_ascii=False).encode(), suffix=".json") as path:
        found = list(read_people(path))
    assert [row.username for row in found if isinstance(row, Person)] == [
        document["username"] for document in documents
    ]


@given(st.text(max_size=20) | st.from_regex(r"[$€]?[\d., ']{1,12}( ?[A-Z]{3})?(/h)?", fullmatch=True))
def test_a_rate_is_a_number_in_bounds_or_has_a_reason(text: str) -> None:
    """No text raises; what is read lies between 0 and the largest rate, and an empty cell alone has neither."""
    rate = parse_rate(text)
    if rate.value is None:
        assert (rate.reason is None) == (not text.strip())
    else:
        assert 0 <= rate.value <= MAX_RATE
        assert rate.reason is None


@given(st.floats(0, MAX_RATE))
def test_a_rate_as_text_reads_back_as_itself(value: float) -> None:
    """What an export writes, an import reads as the same number without a word."""
    rate = parse_rate(to_text(value))
    assert (rate.value, rate.is_plain) == (value, True)
