"""The files of real people beside the project: the sound one without a finding, the dirty one fault by fault."""

from pathlib import Path

import pytest

from pipeline.experts.rows import Person
from pipeline.tables.cells import PLACEHOLDERS
from pipeline.tables.findings import Finding, FindingKind
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
# line -> the rate that is stored
RATES = {
    4: 120.0, 5: 1200.5, 6: None, 7: None, 8: None, 9: None, 10: None, 11: None, 12: 95.0, 13: 95.0, 14: 1200.0,
    15: 1200.0, 17: None, 18: 120.0, 19: None, 20: None, 21: None, 22: 1500.0, 24: 80.0, 25: None, 26: None, 27: None,
    28: None, 29: 15000.0, 30: 35.0,
}  # fmt: skip
PLAIN_RATES = {16: 0.0, 23: 85.0}
# line -> the currency that is stored
CURRENCIES = {
    33: "USD", 34: "USD", 35: "$", 36: "EUR", 37: "XXX", 38: "BTC", 39: "EUR", 40: "EUR", 41: "Rupees",
}  # fmt: skip
NOT_ONE_CURRENCY = {35, 37, 38, 41}  # of these: kept as they are
CONTRADICTIONS = {4, 12, 13, 29}  # the rate names another currency than the column, whose word holds
EMPTIED_BIOS = {116, 117}
EMPTIED_URLS = {58}
READ_ANYWAY = {84}  # backslash-escaped quotes
UNTOUCHED = {
    42, 45, 46, 47, 48, 49, 50, 51, 52, 54, 55, 56, 57, 59, 60, 61, 62, 72, 73, 74, 81, 82, 83, 85, 88, 92, 94, 96,
    98, 112, 113, 114, 115, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127, 225, 228,
}  # fmt: skip


@pytest.fixture(scope="module")
def dirty() -> tuple[dict[int, Person], dict[int, Finding]]:
    """Return the people and the rejected rows of the dirty file, each by physical line."""
    path = PEOPLE / "experts_dirty.csv"
    if not path.exists():
        pytest.skip("the shared people are not here")
    people, findings, _ = read(path)
    by_line = {finding.line: finding for finding in findings}
    assert len(by_line) == len(findings)
    return {person.line: person for person in people}, by_line


def test_sound_people_are_read_without_a_finding() -> None:
    """1,558 people, no row rejected, nothing to note; of values only placeholders are changed."""
    path = PEOPLE / "experts_1558.csv"
    if not path.exists():
        pytest.skip("the shared people are not here")
    people, findings, reader = read(path)
    assert (len(people), findings, reader.notes) == (1558, [], [])
    changes = [change for person in people for change in person.changes]
    assert [change.value.casefold() in PLACEHOLDERS for change in changes] == [True] * 4
    assert sum(person.values["bio"] is None for person in people) == 174


def test_every_rejected_row_is_told_at_its_line(dirty: tuple[dict[int, Person], dict[int, Finding]]) -> None:
    """Exactly the rows that cannot go in are rejected, each with its column and reason."""
    _, findings = dirty
    assert findings.keys() == REJECTED.keys()
    for line, (column, reason) in REJECTED.items():
        assert findings[line].column == column, findings[line]
        assert findings[line].reason.startswith(reason), findings[line]


def test_every_changed_value_is_told_at_its_line(dirty: tuple[dict[int, Person], dict[int, Finding]]) -> None:
    """Exactly the dropped and altered values are changes, and what is doubtful and kept is noted."""
    people, _ = dirty
    found = {(change.kind, line, change.column) for line, person in people.items() for change in person.changes}
    assert found == {
        *((FindingKind.CHANGED, line, "Hourly Rate") for line in RATES),
        *((FindingKind.CHANGED, line, "Currency") for line in CURRENCIES.keys() - NOT_ONE_CURRENCY),
        *((FindingKind.CHANGED, line, "Bio") for line in EMPTIED_BIOS | READ_ANYWAY),
        *((FindingKind.CHANGED, line, "Profile URL") for line in EMPTIED_URLS),
        *((FindingKind.NOTED, line, "Currency") for line in CONTRADICTIONS | NOT_ONE_CURRENCY),
    }


def test_every_rate_and_currency_is_stored_as_it_reads(dirty: tuple[dict[int, Person], dict[int, Finding]]) -> None:
    """Unambiguous forms give their number or code, the others none or what stood there."""
    people, _ = dirty
    rates = RATES | PLAIN_RATES
    assert {line: people[line].values["hourly_rate"] for line in rates} == rates
    assert {line: people[line].values["currency"] for line in CURRENCIES} == CURRENCIES


def test_harmless_oddities_go_in_untouched(dirty: tuple[dict[int, Person], dict[int, Finding]]) -> None:
    """Each listed harmless oddity is a person without a change."""
    people, _ = dirty
    assert {line for line in UNTOUCHED if line not in people or people[line].changes} == set()


def test_nothing_else_is_lost(dirty: tuple[dict[int, Person], dict[int, Finding]]) -> None:
    """200 records less those rejected: the three extra lines that are no record are among the 28 findings."""
    people, findings = dirty
    assert len(people) == 200 - (len(findings) - 3)
    assert people[225].values["bio"] == 'First line\r\nsecond "quoted", line\rthird\nfourth'
    assert people[84].values["bio"] == 'She said "hello" to us'
    assert people[85].values["job_title"] == "CTO, co-founder"
    assert people[83].values["last_name"] == 'O"Neil'
