"""Findings of an import in groups by kind, column and reason."""

from askrows.pipeline.rows.row_findings import make_rejection
from askrows.pipeline.rows.row_import import ImportReport


def test_group_replaces_the_parts_in_which_its_reasons_differ() -> None:
    """A single reason is displayed whole, and several without their numbers and quoted values."""
    report = ImportReport("people.csv")
    report.count_and_write_findings(
        [make_rejection(1, "'a' is no number", "", column="score")], None
    )
    (group,) = report.groups.values()
    assert group.reason == "'a' is no number"

    report.count_and_write_findings(
        [make_rejection(2, "'b' is no number", "", column="score")], None
    )
    assert (group.reason, group.count) == ("… is no number", 2)
