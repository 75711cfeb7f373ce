"""CSV files of people: headers, records, and broken records that take nothing else with them."""

from pathlib import Path

import pytest

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


def test_another_encoding_is_read_where_most_lines_are_no_utf8(path: Path) -> None:
    """The detector says which; one such line among others that are UTF-8 is rejected instead."""
    text = "水道技術者です。東京に住んでいます"
    people, findings, reader = read(written(path, record("a", bio=f'"{text}"'), encoding="cp932"))
    assert (people[0].values["bio"], findings, reader.encoding) == (text, [], "cp932")
    written(path, record("josé"), record("renée"))
    path.write_bytes(path.read_bytes() + record("b", bio=f'"{text}"').encode("cp932"))
    people, findings, reader = read(path)
    assert (usernames(people), [finding.line for finding in findings], reader.notes) == (["josé", "renée"], [4], [])
