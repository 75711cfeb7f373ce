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


@pytest.mark.parametrize(
    ("lines", "names", "told"),
    [
        # a quote left open takes all up to the one that ends it
        (
            [record("a", bio='"open'), record("b"), record("c", bio='a 12"'), record("d")],
            ["d"],
            (2, "Bio", "lines 2 to 4 are left out"),
        ),
        ([record("a", company='"x"y'), record("b")], ["b"], (2, "Company", "text after a closing quote")),
        ([record("a", bio='"She said \\"hi\\" to us"'), record("b")], ["b"], (2, "Bio", "text after a closing quote")),
        (
            ["", record("a"), "", "   ", "\t", "a,b", record("b")],
            ["a", "b"],
            (7, "Last Name", "wrong number of fields"),
        ),
    ],
)
def test_a_broken_record_is_told_with_line_and_field(
    path: Path, lines: list[str], names: list[str], told: tuple[int, str, str]
) -> None:
    """What an odd quote means is not guessed; blank lines are no fault, and count."""
    people, [finding], _ = read(written(path, *lines))
    assert usernames(people) == names
    assert (finding.line, finding.column) == told[:2]
    assert told[2] in finding.reason


def test_quoted_line_ends_commas_and_quotes_stay_in_the_value(path: Path) -> None:
    """A biography keeps its line ends, commas and quotes; the next record's line is physical; odd quoting is read."""
    bio = '"First\r\nsecond ""quoted"", line\rthird\n\nfourth, a,b,c,d,e,f,g,h,i,j,k"'
    people, findings, _ = read(written(path, record("a", bio=bio, company='"A, B"'), record("b", company='O"Neil')))
    assert (usernames(people), findings) == (["a", "b"], [])
    assert people[0].values["bio"] == bio[1:-1].replace('""', '"')
    assert [one.values["company"] for one in people] == ["A, B", 'O"Neil']
    assert people[1].line == 3 + bio.count("\n")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a,b,c", "wrong number of fields: found 3, expected 11"),
        (record("a").replace(",", ";"), "wrong number of fields: found 1, expected 11"),
        ("," * 10, "no username"),
        (HEADER.upper(), "the header once more"),
        ("# exported today", "wrong number of fields: found 1, expected 11"),
    ],
)
def test_lines_that_are_no_person_are_rejected(path: Path, line: str, reason: str) -> None:
    """Each is told at its line with its reason, and the rows around it go in."""
    people, findings, _ = read(written(path, record("x"), line, record("y")))
    assert usernames(people) == ["x", "y"]
    assert [(finding.line, finding.reason) for finding in findings] == [(3, reason)]


@pytest.mark.parametrize(
    ("end", "encoding"), [("\n", "utf-8"), ("\r\n", "utf-8-sig"), ("\r", "utf-16"), ("\n", "utf-32")]
)
def test_line_ends_and_marks_make_no_difference(path: Path, end: str, encoding: str) -> None:
    """Any line end, with or without a byte order mark, gives the same people at the same lines."""
    people, findings, _ = read(written(path, record("josé"), record("李"), end=end, encoding=encoding))
    assert findings == []
    assert [(person.username, person.line) for person in people] == [("josé", 2), ("李", 3)]


def test_a_quote_left_open_in_the_header_reads_no_whole_file(path: Path) -> None:
    """The file is refused, whatever a wrong delimiter would make of its header."""
    path.write_text('Bio,"Username\n' + "x,ann\n" * 200_000, encoding="utf-8")
    with pytest.raises(InputError, match="line 1: a quote is opened and not closed"):
        People(path)


@pytest.mark.parametrize(
    ("encoding", "bad", "shown"), [("utf-8", b"Caf\xe9", "Caf\\xe9"), ("cp1252", b"\x81", "\\x81")]
)
def test_bad_bytes_reject_one_record(path: Path, encoding: str, bad: bytes, shown: str) -> None:
    """Where most is of one encoding, a record with other bytes is rejected with its column, and shown as bytes."""
    lines = [
        record("josé"),
        record("renée", bio="\u2013 \u201cici\u201d"),
        record("bad", company="CAFE"),
        record("zoë"),
    ]
    written(path, *lines, encoding=encoding)
    path.write_bytes(path.read_bytes().replace(b"CAFE", bad))
    people, findings, reader = read(path)
    assert (usernames(people), people[1].values["bio"]) == (["josé", "renée", "zoë"], "\u2013 \u201cici\u201d")
    assert [(finding.line, finding.column, finding.value) for finding in findings] == [(4, "Company", shown)]
    assert reader.encoding == encoding
    assert ["Latin-1" in note for note in reader.notes] == [True] * (encoding == "cp1252")


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
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
