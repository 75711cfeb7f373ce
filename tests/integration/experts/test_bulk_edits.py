"""The tags of many people are set at once, except of people whose tags cannot be replaced."""

from collections.abc import Callable
from typing import Any

from pipeline.core.row_listing import RowFilter
from pipeline.engine.bulk_edits import (
    BulkEditReport,
    FieldChange,
    set_field_of_rows,
    undo_bulk_edit,
)
from tests.lab import Workspace
from tests.progress import NullProgress

OPTIONS: dict[str, Any] = {"editor_name": "Bea", "progress": NullProgress()}


def _set_tags(workspace: Workspace, *tags: str) -> BulkEditReport:
    """Set the tags of all people."""
    change = FieldChange(RowFilter(), "tags", list(tags))
    with workspace.open() as ws:
        return set_field_of_rows(ws.store, ws.task, ws.now, change, **OPTIONS)


def _read_tags(workspace: Workspace) -> list[Any]:
    """Return the cells of all people."""
    return [row[0] for row in workspace.query("SELECT tags FROM experts ORDER BY id")]


def test_refused_people_are_unchanged(
    workspace: Workspace, people: Callable[..., list[str]]
) -> None:
    """Of five people, two have tags that are not a list: they are listed, and have no edit."""
    people(5)
    workspace.environ["FINDABLE_TASK"] = "experts"
    names = ("person-0001", "person-0004")
    for name in names:
        workspace.change("UPDATE experts SET tags = 'bees' WHERE username = :name", name=name)
    before = _read_tags(workspace)

    report = _set_tags(workspace, "law")
    assert (report.changed, report.unchanged, report.refused) == (3, 0, 2)
    assert all("are not a JSON list" in reason for _, reason in report.refusals)
    assert _read_tags(workspace) == ['["law"]', "bees", '["law"]', '["law"]', "bees"]
    edit_count = "SELECT count(*) FROM findable_answers WHERE extractor = 'person'"
    assert workspace.scalar(edit_count) == 3

    with workspace.open() as ws:
        report = undo_bulk_edit(ws.store, ws.task, ws.now, report.number, **OPTIONS)
    assert (report.changed, report.refused) == (3, 0)
    assert _read_tags(workspace) == before


def test_people_keep_a_tag(workspace: Workspace, people: Callable[..., list[str]]) -> None:
    """Tags of tagged people are not emptied, because the people would be asked about again."""
    people(2)
    workspace.environ["FINDABLE_TASK"] = "experts"
    _set_tags(workspace, "law")
    report = _set_tags(workspace)
    assert (report.changed, report.refused) == (0, 2)
    assert _read_tags(workspace) == ['["law"]', '["law"]']
