"""Commands die while they adopt images of another program: its rows stay, none is doubled, the rest is asked about."""

import random
from pathlib import Path

import pytest
from PIL import Image

from tests.crash import homes
from tests.crash.program import LIVES, Ended, Mortal
from tests.crash.steps import Fate
from tests.lab import Workspace

SAMPLE = 2  # lives in `make test`
KILLED = -9
ASKING = ("tag-live", "--yes")
MODEL = "gemini-3.5-flash-lite"
THEIRS = [
    ("a", "gemini", MODEL, "A blue square.", '{ "style":[] }', "2025-01-01"),
    ("b", "gemini", "of-last-year", "Green.", "{}", ""),
    ("b", "openai", MODEL, "Green!", "{}", "1999"),
]
ALL = "SELECT asset_id, provider, model, summary, buckets, created_at FROM asset_ai"


def lived(mortal: Mortal, home: Path, url: str, fate: Fate) -> tuple[Workspace, Ended]:
    """Ask about three images of another program's, with a death; then once more in peace."""
    (home / "photos").mkdir(parents=True)
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
    workspace.environ["FINDABLE_TASK"] = "images"
    first = homes.run(mortal, workspace, *ASKING, fate=fate)
    assert set(workspace.query(ALL)) >= set(THEIRS), fate
    assert homes.run(mortal, workspace, *ASKING).code == 0
    return workspace, first


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.full)], ids=["some", "every"])
def test_rows_of_another_program_outlive_any_death(mortal: Mortal, tmp_path: Path, *, every: bool) -> None:
    """Before each step of the command that adopts and asks: their rows are as they were, and two more are there."""
    with homes.at_home(tmp_path) as (server, _):
        workspace, first = lived(mortal, tmp_path / "peace", server.url, LIVES)
        steps = range(1, len(first.trail) + 1)
        some = [0, *(steps if every else random.Random(SAMPLE).sample(steps, SAMPLE))]  # noqa: S311 - always the same
        for at in some:
            if at:
                workspace, first = lived(mortal, tmp_path / str(at), server.url, Fate(at))
            assert first.code == (KILLED if at else 0), (at, first)
            found = workspace.query(ALL)
            assert set(found) > set(THEIRS), at
            ours = sorted(row[:3] for row in found if row not in THEIRS)
            assert ours == [("b", "gemini", MODEL), ("c", "gemini", MODEL)], at
            assert len(found) == len(THEIRS) + 2, at
