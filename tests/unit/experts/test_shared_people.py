"""The files of real people beside the project: the sound one without a finding, the dirty one fault by fault."""

from pathlib import Path

import pytest

from pipeline.tables.cells import PLACEHOLDERS
from tests.unit.experts.people_files import read

PEOPLE = Path(__file__).parents[4] / "shared" / "data" / "people"

# line -> column, beginning of the reason
REJECTED = {
    63: ("Username", "no username"),
    64: ("Username", "no username"),
    65: ("Username", "300 characters"),
    66: ("Bio", "a NUL"),
    67: ("Username", "a NUL"),
    68: ("", "wrong number of fields: found 991"),  # its biography is full of commas and stands without quotes
    69: ("Company", "not valid UTF-8"),
    70: ("Bio", "not valid UTF-8"),
    71: ("Bio", "not valid UTF-8"),
    75: ("Currency", "wrong number of fields: found 7"),
    76: ("First Name", "wrong number of fields: found 1"),
    77: ("", "wrong number of fields: found 14"),
    78: ("category", "wrong number of fields: found 10"),
    79: ("Company", "wrong number of fields"),
    80: ("First Name", "wrong number of fields"),
    93: ("", "nothing but separators"),
    95: ("", "the header once more"),
    97: ("", "a comment line"),
    100: ("Username", "duplicate username: already on line 2"),
    101: ("Username", "duplicate username: already on line 3"),
    102: ("Username", "duplicate username: already on line 4"),
    103: ("Username", "duplicate username: already on line 5"),
    104: ("Username", "duplicate username: already on line 6"),
    106: ("Username", "duplicate: an exact copy of line 11"),
    107: ("Username", "duplicate: an exact copy of line 12"),
    108: ("Username", "duplicate: an exact copy of line 13"),
    110: ("Username", "duplicate username: on line 109 in another case"),
    111: ("Username", "duplicate username: already on line 109"),
}


def test_sound_people_are_read_without_a_finding() -> None:
    """1,558 people, no row rejected, nothing to note; of values only four placeholders are changed."""
    path = PEOPLE / "experts_1558.csv"
    if not path.exists():
        pytest.skip("the shared people are not here")
    people, findings, reader = read(path)
    assert (len(people), findings, reader.notes) == (1558, [], [])
    changes = [change for person in people for change in person.changes]
    assert [change.value.casefold() in PLACEHOLDERS for change in changes] == [True] * 4
    assert sum(person.values["bio"] is None for person in people) == 174


def test_every_rejected_row_is_told_at_its_line() -> None:
    """Exactly the rows that cannot go in are rejected, with column and reason, and only odd ones are changed."""
    path = PEOPLE / "experts_dirty.csv"
    if not path.exists():
        pytest.skip("the shared people are not here")
    rows, rejected, _ = read(path)
    people, findings = {person.line: person for person in rows}, {finding.line: finding for finding in rejected}
    assert findings.keys() == REJECTED.keys()
    assert len(rejected) == len(REJECTED)
    for line, (column, reason) in REJECTED.items():
        assert findings[line].column == column, findings[line]
        assert findings[line].reason.startswith(reason), findings[line]
    assert len(people) == 200 - (len(findings) - 3)  # three lines that are no record are among the findings
    changes = {(change.line, change.column) for person in rows for change in person.changes}
    assert {line for line, _ in changes} <= {*range(4, 42), 58, 84, 116, 117}
    assert people[225].values["bio"] == 'First line\r\nsecond "quoted", line\rthird\nfourth'
    assert people[83].values["last_name"] == 'O"Neil'
