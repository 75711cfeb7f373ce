"""Findings of an import in groups by kind, column and reason."""

from pipeline.tables.row_findings import MAX_KEPT_FINDINGS, make_rejection
from pipeline.tables.row_import import ImportReport


def test_findings_beyond_the_last_group_have_other_reasons() -> None:
    """The group of all further findings names no column and none of their reasons."""
    report = ImportReport("people.csv")
    columns = [f"column {number}" for number in range(MAX_KEPT_FINDINGS)]
    report.add_findings([make_rejection(1, "too long", "", column=name) for name in columns], None)

    late_reasons = ("empty", "'a' is no number", "'b' is no number")
    report.add_findings(
        [make_rejection(2, reason, "", column="late") for reason in late_reasons], None
    )

    *_, last_group = report.groups.values()
    assert len(report.groups) == MAX_KEPT_FINDINGS + 1
    assert (last_group.column, last_group.reason, last_group.count) == ("", "other reasons", 3)


def test_group_replaces_the_parts_in_which_its_reasons_differ() -> None:
    """A single reason is displayed whole, and several without their numbers and quoted values."""
    report = ImportReport("people.csv")
    report.add_findings([make_rejection(1, "'a' is no number", "", column="score")], None)
    (group,) = report.groups.values()
    assert group.reason == "'a' is no number"

    report.add_findings([make_rejection(2, "'b' is no number", "", column="score")], None)
    assert (group.reason, group.count) == ("… is no number", 2)
