"""Cells of a row are stored, changed with a finding, or rejected."""

from pathlib import Path

import pytest

from askrows.pipeline.experts.import_ import PeopleFile
from askrows.pipeline.experts.person_rows import NAME_PLACEHOLDERS, PLACEHOLDERS, validate_row
from askrows.pipeline.experts.table import HEADERS
from askrows.pipeline.rows.row_findings import Finding, FindingKind, SoundRow


def make_person(**cells: object) -> SoundRow:
    """Return the person of these cells, who must not be rejected."""
    row = validate_row({"username": "ann", **cells}, line=7)
    assert isinstance(row, SoundRow), row
    return row


def list_findings(row: SoundRow) -> list[tuple[str, str]]:
    """Return the column and the reason of each finding about a person."""
    assert all(change.line == row.line_number for change in row.findings)
    return [(change.column, change.reason) for change in row.findings]


def test_placeholder_is_empty_in_every_text_field() -> None:
    """Placeholders are read as empty with a finding; a person may be called Null or Na."""
    fields = {column: HEADERS[column] for column in HEADERS if column != "username"}
    for word in PLACEHOLDERS:
        row = make_person(**dict.fromkeys(fields, f" {word.upper()} "))
        name_fields = set() if word in NAME_PLACEHOLDERS else {"first_name", "last_name"}
        assert {column for column, value in row.values.items() if value is not None} == name_fields
        reason = f"placeholder {word.upper()!r} read as empty"
        assert {
            (label, reason) for column, label in fields.items() if column not in name_fields
        } <= set(list_findings(row))


@pytest.mark.parametrize(
    ("username", "reason"),
    [
        (None, "missing"),
        ("", "empty"),
        ("\u200b\ufeff", "empty"),
        ("u" * 201, "longer than 200 characters"),
        ("a\x07b", "contains control characters"),
        ("a\nb", "contains control characters"),
        (["a"], "neither text nor a whole number"),
        (True, "neither text nor a whole number"),
        (1.5, "neither text nor a whole number"),
    ],
)
def test_row_without_a_usable_key_is_rejected(username: object, reason: str) -> None:
    """A row needs a username that can be a key."""
    row = validate_row({"username": username, "bio": "x"}, line=3)
    assert isinstance(row, Finding)
    assert (row.line, row.column, row.reason, row.kind) == (
        3,
        "Username",
        reason,
        FindingKind.REJECTED,
    )


@pytest.mark.parametrize("bad_bytes", [b"a\x00b", b"a\xe9b", b"a\xed\xa0\xbdb"])
@pytest.mark.parametrize("column", ["Bio", "Hat"])
def test_text_that_no_database_accepts_is_rejected_with_its_column(
    tmp_path: Path, bad_bytes: bytes, column: str
) -> None:
    """NUL, bad bytes and half surrogate pairs reject the row; the excerpt is printable."""
    path = tmp_path / "people.csv"
    path.write_bytes(
        f"Username,{column}\nann,".encode() + b"x" * 500 + bad_bytes + "\nÄda,é\nBö,é\n".encode()
    )
    row, *other_rows = PeopleFile(path)
    assert isinstance(row, Finding)
    assert (row.column, row.key, len(other_rows)) == (column, "ann", 2)
    assert row.value.isprintable()
    assert "\\" in row.value
    row.value.encode("utf-8")


def test_rate_is_a_number_and_currency_is_its_code() -> None:
    """An empty currency is read from the rate; an invalid rate gives a finding."""
    for rate, currency, stored_values, reasons in (
        ("€95", "", (95.0, "EUR"), ["read as 95"]),
        ("€95", " usd ", (95.0, "USD"), ["read as 95"]),
        ("95", "", (95.0, None), []),
        (95, "n/a", (95.0, None), ["placeholder 'n/a' read as empty"]),
        *(
            (
                invalid_rate,
                "",
                (None, None),
                ["not a number from 0 to 10,000,000; stored without a rate"],
            )
            for invalid_rate in (-1, float("inf"), 10**400)
        ),
        (
            "80-90",
            "EUR",
            (None, "EUR"),
            ["not a single number with an optional currency; stored without a rate"],
        ),
    ):
        row = make_person(hourly_rate=rate, currency=currency)
        assert (row.values["hourly_rate"], row.values["currency"]) == stored_values
        assert [reason for _, reason in list_findings(row)] == reasons


def test_json_values_of_the_wrong_type_are_dropped_with_a_finding() -> None:
    """Lists, objects and booleans are dropped; numbers become texts."""
    row = make_person(
        company=["x"], job_title={"a": 1}, category=True, last_name=7, hourly_rate=[1]
    )
    dropped = dict.fromkeys(("company", "job_title", "category", "hourly_rate"))
    assert dict(row.values) == {**dropped, "last_name": "7"}
    names = ["Company", "Job Title", "category", "Last Name", "Hourly Rate"]
    assert {column for column, _ in list_findings(row)} == set(names)
