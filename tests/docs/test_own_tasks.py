"""The page on user tasks is complete."""

import re
from dataclasses import MISSING, fields

from askrows import Task
from tests.lab import ROOT


def test_every_member_is_in_the_table_with_its_default() -> None:
    """Members are in the order of the declaration; members without a default are required."""
    page = (ROOT / "docs" / "own-tasks.md").read_text(encoding="utf-8")
    matches = re.findall(r"^\| `(\w+)` \| (?:`([^`]*)`)? ?\|", page, re.MULTILINE)
    declared = [
        (field.name, "" if field.default is MISSING else field.default) for field in fields(Task)
    ]
    expected_rows = [
        (name, "" if value == "" and name in {"answer", "items", "prompt"} else repr(value))
        for name, value in declared
    ]
    assert matches == [(name, value.replace("'", '"')) for name, value in expected_rows]
