"""One row's cells: what goes in as it is, what is changed and told, what is rejected."""

from pathlib import Path

import pytest

from pipeline.experts.import_ import PeopleFile
from pipeline.experts.person_rows import NAMES_LIKE_PLACEHOLDERS, PLACEHOLDERS, validate_row
from pipeline.experts.table import HEADERS
from pipeline.tables.row_findings import Finding, FindingKind, SoundRow


def person(**cells: object) -> SoundRow:
    """Return the person that these cells describe, who must not be rejected."""
    row = validate_row({"username": "ann", **cells}, line=7)
    assert isinstance(row, SoundRow), row
    return row


def told(row: SoundRow) -> list[tuple[str, str]]:
    """Return the column and reason of everything told about a person; what is kept as it is counts as no change."""
    assert all(change.line == row.line_number for change in row.findings)
    assert all(
        (change.kind is FindingKind.NEEDS_REVIEW) == ("kept" in change.reason)
        for change in row.findings
    )
    return [(change.column, change.reason) for change in row.findings]


def test_a_placeholder_is_empty_in_every_text_field() -> None:
    """One list holds for each of them, in any case, and it is told; a person may be called Null or Na."""
    fields = {column: HEADERS[column] for column in HEADERS if column != "username"}
    for word in PLACEHOLDERS:
        row = person(**dict.fromkeys(fields, f" {word.upper()} "))
        called = {"first_name", "last_name"} if word in NAMES_LIKE_PLACEHOLDERS else set()
        assert {column for column, value in row.values.items() if value is not None} == called
        reason = f"placeholder {word.upper()!r} read as empty"
        assert {(label, reason) for column, label in fields.items() if column not in called} <= set(
            told(row)
        )


@pytest.mark.parametrize(
    ("username", "reason"),
    [
        (None, "missing"),
        ("", "empty"),
        ("\u200b\ufeff", "empty"),
        ("u" * 201, "longer than 200 characters"),
        ("a\x07b", "holds control characters"),
        ("a\nb", "holds control characters"),
        (["a"], "neither text nor a whole number"),
        (True, "neither text nor a whole number"),
        (1.5, "neither text nor a whole number"),
    ],
)
def test_a_row_that_cannot_be_told_apart_is_rejected(username: object, reason: str) -> None:
    """Without a username that can be a key, the row does not go in."""
    row = validate_row({"username": username, "bio": "x"}, line=3)
    assert isinstance(row, Finding)
    assert (row.line, row.column, row.reason, row.kind) == (
        3,
        "Username",
        reason,
        FindingKind.REJECTED,
    )


@pytest.mark.parametrize("bad", [b"a\x00b", b"a\xe9b", b"a\xed\xa0\xbdb"])
@pytest.mark.parametrize("column", ["Bio", "Hat"])
def test_what_no_database_holds_is_rejected_with_its_column(
    tmp_path: Path, bad: bytes, column: str
) -> None:
    """NUL, bad bytes and half surrogate pairs reject the row; the excerpt can be printed anywhere."""
    path = tmp_path / "people.csv"
    path.write_bytes(
        f"Username,{column}\nann,".encode() + b"x" * 500 + bad + "\nÄda,é\nBö,é\n".encode()
    )
    row, *others = PeopleFile(path)
    assert isinstance(row, Finding)
    assert (row.column, row.key, len(others)) == (column, "ann", 2)
    assert row.value.isprintable()
    assert "\\" in row.value
    row.value.encode("utf-8")


def test_a_rate_is_a_number_and_the_currency_is_its_code() -> None:
    """An empty currency is what stands beside the rate; what is no rate is told."""
    for rate, currency, stored, reasons in (
        ("€95", "", (95.0, "EUR"), ["read as 95"]),
        ("€95", " usd ", (95.0, "USD"), ["read as 95"]),
        ("95", "", (95.0, None), []),
        (95, "n/a", (95.0, None), ["placeholder 'n/a' read as empty"]),
        *(
            (one, "", (None, None), ["no rate; stored without a rate"])
            for one in (-1, float("inf"), 10**400)
        ),
        (
            "80-90",
            "EUR",
            (None, "EUR"),
            ["not one number with a sign or a code beside it; stored without a rate"],
        ),
    ):
        row = person(hourly_rate=rate, currency=currency)
        assert (row.values["hourly_rate"], row.values["currency"]) == stored
        assert [reason for _, reason in told(row)] == reasons


def test_json_values_of_the_wrong_kind_are_dropped_and_told() -> None:
    """Lists, objects and truth values are no text; numbers are."""
    row = person(company=["x"], job_title={"a": 1}, category=True, last_name=7, hourly_rate=[1])
    dropped = dict.fromkeys(("company", "job_title", "category", "hourly_rate"))
    assert dict(row.values) == {**dropped, "last_name": "7"}
    names = ["Company", "Job Title", "category", "Last Name", "Hourly Rate"]
    assert {column for column, _ in told(row)} == set(names)
