"""The page on tasks of one's own is complete."""

import re
from dataclasses import MISSING, fields

from findable import Task
from tests.lab import ROOT


def test_every_member_stands_in_the_table_with_its_default() -> None:
    """In the order of the declaration; those without a default are the ones that must be there."""
    page = (ROOT / "docs" / "own-tasks.md").read_text(encoding="utf-8")
    matches = re.findall(r"^\| `(\w+)` \| (?:`([^`]*)`)? ?\|", page, re.MULTILINE)
    declared = [
        (field.name, "" if field.default is MISSING else field.default) for field in fields(Task)
    ]
    written = [
        (name, "" if value == "" and name in {"answer", "items", "prompt"} else repr(value))
        for name, value in declared
    ]
    assert matches == [(name, value.replace("'", '"')) for name, value in written]
