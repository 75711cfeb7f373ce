"""Commands die while they adopt images of another program: its rows stay, none is doubled, the rest is asked about."""

from pathlib import Path

import pytest
from PIL import Image

from tests.crash import homes
from tests.crash.days import SOME_OR_EVERY, Day
from tests.crash.program import Mortal
from tests.lab import Workspace

MODEL = "gemini-3.5-flash-lite"
THEIRS = [
    ("a", "gemini", MODEL, "A blue square.", '{ "style":[] }', "2025-01-01"),
    ("b", "gemini", "of-last-year", "Green.", "{}", ""),
    ("b", "openai", MODEL, "Green!", "{}", "1999"),
]
ALL = "SELECT asset_id, provider, model, summary, buckets, created_at FROM asset_ai"


def begin(home: Path, url: str) -> Workspace:
    """Return a workspace with three images of another program's, and what it knows of two."""
    (home / "photos").mkdir()
    workspace = homes.workspace_at(home / "data", url, RETRY_WAIT="0.01").begin()
    workspace.change("CREATE TABLE assets (id VARCHAR(40) PRIMARY KEY, path TEXT NOT NULL)")
    workspace.change(
        "CREATE TABLE asset_ai "
        "(asset_id VARCHAR(40), provider TEXT, model TEXT, summary TEXT, buckets TEXT, created_at TEXT)"
    )
    for key, colour in (("a", "navy"), ("b", "lime"), ("c", "red")):
        path = home / "photos" / f"{key}.png"
        Image.new("RGB", (24, 16), colour).save(path)
        workspace.change("INSERT INTO assets VALUES (:key, :path)", key=key, path=str(path))
    for row in THEIRS:
        marks = dict(zip("abcdef", row, strict=True))
        workspace.change("INSERT INTO asset_ai VALUES (:a, :b, :c, :d, :e, :f)", **marks)
    workspace.environ |= {"FINDABLE_TASK": "images", "FINDABLE_YES": "1"}
    return workspace


@pytest.mark.full
@pytest.mark.timeout(3600)
@SOME_OR_EVERY
def test_rows_of_another_program_outlive_any_death(mortal: Mortal, tmp_path: Path, *, every: bool) -> None:
    """Before each step of the command that adopts and asks: their rows are as they were, and two more are there."""
    for where, workspace in Day(begin, ("tag-live",), (0, 15)).lived(mortal, tmp_path, every=every):
        found = workspace.query(ALL)
        assert set(found) > set(THEIRS), where
        ours = sorted(row[:3] for row in found if row not in THEIRS)
        assert ours == [("b", "gemini", MODEL), ("c", "gemini", MODEL)], where
        assert len(found) == len(THEIRS) + 2, where
