"""`findable settings`: what was changed, with units; all of it on request."""

import json
from pathlib import Path

import pytest

from pipeline.core.settings import Settings as Defaults
from pipeline.core.settings import settings_rows
from tests.lab import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """No workspace, and nothing set but where it would be."""
    return Workspace(tmp_path / "data", {"FINDABLE_DATA": str(tmp_path / "data")})


def test_all_of_them_are_there_on_request(workspace: Workspace) -> None:
    """With --all each setting has its line; for programs they always have one, with value and unit apart."""
    names = [row.name for row in settings_rows(Defaults())]
    lines = workspace.ran("settings", "--all").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == names
    assert workspace.ran("settings", ALL="1").stdout.splitlines() == lines
    rows = {row["name"]: row for row in json.loads(workspace.ran("settings", "--json").stdout)}
    assert list(rows) == names
    wait = rows["FINDABLE_POLL_FIRST"]
    assert (wait["value"], wait["unit"], wait["source"]) == ("0.2", "s", "default")


def test_every_number_has_a_unit() -> None:
    """But for a share, which has none."""
    numbers = {row.name for row in settings_rows(Defaults()) if row.value.replace(".", "").isdigit()}
    with_units = {row.name for row in settings_rows(Defaults()) if row.unit}
    assert numbers - with_units == {"FINDABLE_TIER", "FINDABLE_MIN_CONFIDENCE"}
