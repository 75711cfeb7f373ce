"""CSV files of people: headers, records, and broken records that take nothing else with them."""

from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.experts.read import People
from tests.unit.experts.people_files import HEADER, read, record, usernames, written


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the test's file goes."""
    return tmp_path / "people.csv"


def test_a_quote_that_is_never_closed_costs_one_record(path: Path) -> None:
    """Reading goes on at the next line that is a whole record, though later quotes would close the first."""
    lines = [record("a"), record("b", bio='"open'), record("c"), record("d", bio='"x, y"'), record("e")]
    people, findings, _ = read(written(path, *lines))
    assert usernames(people) == ["a", "c", "d", "e"]
    assert [(finding.line, finding.column) for finding in findings] == [(3, "Bio")]


def test_an_open_quote_that_closes_by_chance_is_seen(path: Path) -> None:
    """A stray quote in the same column of a later record makes no giant of all records between."""
    lines = [record("a", bio='"open'), record("b"), record("c", bio='a 12"'), record("d")]
    people, findings, _ = read(written(path, *lines))
    assert usernames(people) == ["b", "c", "d"]
    assert [finding.line for finding in findings] == [2]


def test_a_quote_left_open_at_the_end_of_the_file_costs_one_record(path: Path) -> None:
    """Where no quote follows at all, the records after it are still read."""
    people, findings, _ = read(written(path, record("a", bio='"open'), *(record(f"u{n}") for n in range(500))))
    assert len(people) == 500
    assert [finding.line for finding in findings] == [2]


def test_left_out_lines_are_named(path: Path) -> None:
    """A broken record over several lines says which lines are left out with it."""
    people, findings, _ = read(written(path, record("a", bio='"one\ntwo "no" end\nthree"'), record("b")))
    assert usernames(people) == ["b"]
    assert "lines 2 to 4 are left out" in findings[0].reason


def test_quoted_line_ends_commas_and_quotes_stay_in_the_value(path: Path) -> None:
    """A biography keeps its line ends of every kind, its commas and its quotes; the next record's line is physical."""
    bio = '"First\r\nsecond ""quoted"", line\rthird\n\nfourth"'
    people, findings, _ = read(written(path, record("a", bio=bio), record("b"), end="\r\n"))
    assert findings == []
    assert people[0].values["bio"] == 'First\r\nsecond "quoted", line\rthird\n\nfourth'
    assert [person.line for person in people] == [2, 6]


def test_a_biography_that_looks_like_a_list_is_no_record(path: Path) -> None:
    """A line inside a biography with as many commas as the header does not cut it."""
    bio = '"Skills:\nknows of a,b,c,d,e,f,g,h,i,j,k\nand more"'
    people, findings, _ = read(written(path, record("a", bio=bio), record("b")))
    assert (usernames(people), findings) == (["a", "b"], [])


def test_backslash_quotes_are_read_and_told(path: Path) -> None:
    r"""`\"` inside a quoted field is a quote, also over several lines, and the change is told."""
    people, findings, _ = read(written(path, record("a", bio='"She said \\"hi\nthere, you\\" to us"'), record("b")))
    assert (usernames(people), findings) == (["a", "b"], [])
    assert people[0].values["bio"] == 'She said "hi\nthere, you" to us'
    assert [change.column for change in people[0].changes] == ["Bio"]


def test_a_backslash_before_a_closing_quote_is_a_backslash_where_that_reads_well(path: Path) -> None:
    """A sound record by RFC 4180 is not touched, whatever backslashes it holds."""
    people, findings, _ = read(written(path, record("a", bio='"C:\\temp\\"'), record("b")))
    assert (findings, people[0].values["bio"], people[0].changes) == ([], "C:\\temp\\", ())


@pytest.mark.parametrize(
    ("company", "value"), [('O"Neil', 'O"Neil'), (' "A, B"', "A, B"), ('"A ""B"" C"', 'A "B" C'), ('""', None)]
)
def test_harmless_quoting_is_read(path: Path, company: str, value: str | None) -> None:
    """A quote inside an unquoted field is text; a space before the opening quote does no harm."""
    people, findings, _ = read(written(path, record("a", company=company)))
    assert (findings, people[0].values["company"], people[0].changes) == ([], value, ())


def test_text_after_a_closing_quote_is_broken(path: Path) -> None:
    """What `"x"y` means is not guessed; the next record is read."""
    people, findings, _ = read(written(path, record("a", company='"x"y'), record("b")))
    assert usernames(people) == ["b"]
    assert (findings[0].column, findings[0].reason) == ("Company", "text after a closing quote")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a,b,c", "wrong number of fields: found 3, expected 11"),
        (record("a") + ",more", "wrong number of fields: found 12, expected 11"),
        (record("a").replace(",", ";"), "wrong number of fields: found 1, expected 11"),
        ("," * 10, "nothing but separators"),
        ("," * 4, "nothing but separators"),
        (HEADER, "the header once more"),
        (HEADER.upper(), "the header once more"),
        ("# exported today", "a comment line"),
    ],
)
def test_lines_that_are_no_person_are_rejected(path: Path, line: str, reason: str) -> None:
    """Each is told at its line with its reason, and the rows around it go in."""
    people, findings, _ = read(written(path, record("x"), line, record("y")))
    assert usernames(people) == ["x", "y"]
    assert [(finding.line, finding.reason) for finding in findings] == [(3, reason)]


def test_blank_lines_are_passed_over_and_counted(path: Path) -> None:
    """A blank line is no fault, and moves the physical lines after it."""
    people, findings, _ = read(written(path, "", record("a"), "", "   ", "\t", record("b")))
    assert findings == []
    assert [person.line for person in people] == [3, 7]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_line_ends_and_marks_make_no_difference(path: Path, end: str, encoding: str) -> None:
    """Any line end, with or without a byte order mark, gives the same people at the same lines."""
    people, findings, _ = read(written(path, record("josé"), record("李"), end=end, encoding=encoding))
    assert findings == []
    assert [(person.username, person.line) for person in people] == [("josé", 2), ("李", 3)]


def test_one_bare_return_between_records_ends_a_record(path: Path) -> None:
    """A carriage return alone, outside quotes, in a file of line feeds, ends its record."""
    people, findings, _ = read(written(path, record("a") + "\r" + record("b"), record("c")))
    assert (usernames(people), findings) == (["a", "b", "c"], [])


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_file_with_another_delimiter_is_known_by_its_header(path: Path, delimiter: str) -> None:
    """The delimiter that gives the header its columns is that of the file, and is noted."""
    lines = [line.replace(",", delimiter) for line in (HEADER, record("a", bio='"x, y"'))]
    path.write_text("\n".join(lines), encoding="utf-8")
    people, findings, reader = read(path)
    assert (usernames(people), findings) == (["a"], [])
    assert reader.notes == [f"fields are separated by {delimiter!r}"]


def test_columns_are_found_by_name(path: Path) -> None:
    """Any order, case and spelling of the columns is read; those that are not ours are noted once."""
    path.write_text("bio,Shoe Size,HOURLY-RATE,user_name,Tags\nx,44,80,ann,y\nz,45,90,bob,w\n", encoding="utf-8")
    people, findings, reader = read(path)
    assert findings == []
    assert [(person.username, dict(person.values)) for person in people] == [
        ("ann", {"bio": "x", "hourly_rate": 80.0}),
        ("bob", {"bio": "z", "hourly_rate": 90.0}),
    ]
    assert reader.notes == ["not read: Shoe Size, Tags", "tags and scores are never imported: they come from answers"]


def test_a_column_that_the_file_lacks_is_not_among_the_values(path: Path) -> None:
    """Only columns of the file are written, so that an existing value of another column stays."""
    path.write_text("Username,Bio\nann,\n", encoding="utf-8")
    people, _, _ = read(path)
    assert dict(people[0].values) == {"bio": None}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n\r\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"Company,Bio\na,b\n", "no Username column"),
        (b"just words", "no Username column"),
        (b"Username,Bio,BIO\na,b,c\n", "Bio more than once"),
        (b"Username,Profile URL with UTM,profile_url_utm\n", "Profile URL with UTM more than once"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "is no text"),
        (b"PK\x03\x04\x14\x00username", "spreadsheet"),
        ("Username,Bio\n".encode("utf-16-le"), "is no text"),
    ],
)
def test_a_file_that_is_no_csv_of_people_is_refused(path: Path, content: bytes, said: str) -> None:
    """The error names the file and what is wrong before any row is read, and that nothing was imported."""
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        People(path)
    assert said in caught.value.message
    assert str(path) in caught.value.message
    assert "nothing was imported" in caught.value.message


@pytest.mark.parametrize("name", ["", "missing.csv", "."])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    """A directory and a file that is not there are refused by name."""
    with pytest.raises(InputError, match="nothing was imported"):
        People(tmp_path / name)


def test_bad_bytes_reject_one_record_of_a_utf8_file(path: Path) -> None:
    """Where most is UTF-8, a record with other bytes is rejected with its column, and shown as bytes."""
    written(path, record("josé"), record("renée"), record("bad", company="CAFE"), record("zoë"))
    path.write_bytes(path.read_bytes().replace(b"CAFE", b"Caf\xe9"))
    people, findings, reader = read(path)
    assert usernames(people) == ["josé", "renée", "zoë"]
    assert [(finding.line, finding.column, finding.value) for finding in findings] == [(4, "Company", "Caf\\xe9")]
    assert (reader.encoding, reader.notes) == ("utf-8", [])


def test_latin1_is_read_and_said_when_nothing_else_fits(path: Path) -> None:
    """A file whose characters beyond ASCII are not UTF-8 but Western letters is read as such, with a note."""
    lines = [record("josé", bio="Né à Orléans \u2013 \u201cici\u201d"), record("plain")]
    people, findings, reader = read(written(path, *lines, encoding="cp1252"))
    assert (usernames(people), findings) == (["josé", "plain"], [])
    assert people[0].values["bio"] == "Né à Orléans \u2013 \u201cici\u201d"
    assert reader.encoding == "cp1252"
    assert "Latin-1" in reader.notes[0]


def test_a_byte_that_latin1_lacks_rejects_its_record(path: Path) -> None:
    """Windows-1252 has no character 0x81; a record with it is rejected, not repaired."""
    written(path, record("josé"), record("renée"), record("X"), encoding="cp1252")
    path.write_bytes(path.read_bytes().replace(b"X,", b"X\x81,"))
    people, findings, _ = read(path)
    assert usernames(people) == ["josé", "renée"]
    assert [(finding.line, finding.column) for finding in findings] == [(4, "Username")]


def test_a_very_long_biography_goes_in_and_an_endless_line_does_not(path: Path) -> None:
    """A million characters are a biography; five are a file without line ends, and only their record is lost."""
    people, findings, _ = read(
        written(path, record("a", bio='"' + "x" * 1_000_000 + '"'), record("b", bio="y" * 5_000_000), record("c"))
    )
    assert usernames(people) == ["a", "c"]
    assert [(finding.line, finding.reason) for finding in findings] == [(3, "longer than 4,194,304 characters")]
    assert all(len(finding.value) <= 80 for finding in findings)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1250", "Łukasz, inżynier z Krakowa, zajmuje się żeglugą"),
        ("cp1251", "Иванов, инженер по водоснабжению из Москвы"),
        ("cp932", "水道技術者です。東京に住んでいます"),
    ],
)
def test_another_encoding_is_read_and_named_where_most_lines_are_no_utf8(path: Path, encoding: str, text: str) -> None:
    """The detector says which; one such line among others that are UTF-8 is rejected instead."""
    people, findings, reader = read(written(path, record("a", bio=f'"{text}"'), encoding=encoding))
    assert (people[0].values["bio"], findings, reader.encoding) == (text, [], encoding)
    assert f"read as {encoding}" in reader.notes[0]
    written(path, record("josé"), record("renée"))
    path.write_bytes(path.read_bytes() + record("b", bio=f'"{text}"').encode(encoding))
    people, findings, reader = read(path)
    assert (usernames(people), [finding.line for finding in findings], reader.notes) == (["josé", "renée"], [4], [])
