"""A day with images that are uploaded dies at its steps and goes on: each row asked once, no upload kept for ever."""

import random
from pathlib import Path

import pytest

from tests import ledger
from tests.crash import homes
from tests.crash.program import LIVES, Ended, Mortal
from tests.crash.steps import Fate
from tests.lab import Workspace
from tests.own.test_images import put, put_images, saved

DAY = ("batch-submit", "batch-poll", "batch-ingest", "tag-live", "clean")
IMAGES = {"red": "red", "blue": "blue", "again": "red"}
SAMPLE = 2  # lives in `make test`
MOST_ROUNDS = 5
KILLED = -9


def lived(mortal: Mortal, home: Path, url: str, death: int = -1, fate: Fate = LIVES) -> tuple[Workspace, list[Ended]]:
    """Live the day in a folder, with a death in one of its commands, which is run again; then until all is answered."""
    home.mkdir()
    settings = {"INLINE_MAX": "1KB", "ASK_EACH": "1", "RETRY_WAIT": "0.01", "POLL_MOST": "0.1", "YES": "1"}
    workspace = homes.workspace_at(home / "data", url, **settings)
    ends = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        names = put_images(**{name: saved(colour) for name, colour in IMAGES.items()})
        for number, command in enumerate(DAY):
            put(workspace, names if number else {name: names[name] for name in ("red", "again")})
            if number == death:
                ends.append(homes.run(mortal, workspace, command, fate=fate))
                assert ends[-1].code in (KILLED, 0)  # how often a reply is read differs from life to life
            ends.append(homes.run(mortal, workspace, command))
            assert ends[-1].code == 0, (death, fate, command, ends[-1])
        for _ in range(MOST_ROUNDS):
            if ledger.people(workspace) == {"total": len(names), "answered": len(names)}:
                return workspace, ends
            for command in DAY:
                homes.run(mortal, workspace, command)
    raise AssertionError((death, fate, ledger.people(workspace)))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.full)], ids=["some", "every"])
def test_a_day_with_uploaded_images_dies(mortal: Mortal, tmp_path: Path, *, every: bool) -> None:
    """Before each of its steps: the account is whole, and what nothing needs is kept by no row."""
    with homes.at_home(tmp_path) as (server, _):
        _, ends = lived(mortal, tmp_path / "peace", server.url)
        deaths = [(number, at) for number, ended in enumerate(ends) for at in range(1, len(ended.trail) + 1)]
        some = deaths if every else random.Random(SAMPLE).sample(deaths, SAMPLE)  # noqa: S311 - always the same
        killed = 0
        for number, at in some:
            workspace, lives = lived(mortal, tmp_path / f"{number}-{at}", server.url, number, Fate(at))
            killed += any(one.code == KILLED for one in lives)
            ledger.check(workspace)
            answers = "SELECT count(*) FROM findable_answers WHERE applied"
            assert workspace.scalar(answers) == len(IMAGES), (number, at)
            assert not workspace.scalar("SELECT count(*) FROM findable_attempts WHERE charged"), (number, at)
            workspace.change("UPDATE findable_upload_uses SET until = '2026-01-01 00:00:00+00:00' WHERE batch IS NULL")
            workspace.change("UPDATE findable_uploads SET began_at = '2026-01-01 00:00:00+00:00'")
            homes.run(mortal, workspace, "clean")
            kept = "SELECT count(*) FROM findable_uploads WHERE state <> 'dropped'"
            assert not workspace.scalar(kept), (number, at)
        assert killed
