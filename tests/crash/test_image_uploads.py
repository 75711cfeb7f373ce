"""A day with images that are uploaded dies at its steps and goes on: each row asked once, no upload kept for ever."""

from pathlib import Path

import pytest

from tests import ledger
from tests.crash import homes
from tests.crash.days import SOME_OR_EVERY, Day
from tests.crash.program import Mortal
from tests.lab import Workspace
from tests.own.test_images import put, put_images, saved

IMAGES = {"red": "red", "blue": "blue", "again": "red"}
SETTINGS = {"INLINE_MAX": "1KB", "ASK_EACH": "1", "RETRY_WAIT": "0.01", "POLL_MOST": "0.1", "YES": "1"}
COMMANDS = ("batch-submit", "batch-poll", "batch-ingest", "tag-live", "clean")


def put_rows(workspace: Workspace, number: int) -> None:
    """Write the images, and their rows: two of one image first, a third for those who ask live."""
    names = put_images(**{name: saved(colour) for name, colour in IMAGES.items()})
    put(workspace, names if number else {name: names[name] for name in ("red", "again")})


DAY = Day(lambda home, url: homes.workspace_at(home / "data", url, **SETTINGS), COMMANDS, (0, 41), put_rows)


@pytest.mark.timeout(3600)
@SOME_OR_EVERY
def test_a_day_with_uploaded_images_dies(mortal: Mortal, tmp_path: Path, *, every: bool) -> None:
    """Before each of its steps: the account is whole, and what nothing needs is kept by no row."""
    for where, workspace in DAY.lived(mortal, tmp_path, every=every):
        ledger.check(workspace)
        assert workspace.scalar("SELECT count(*) FROM findable_answers WHERE applied") == len(IMAGES), where
        assert not workspace.scalar("SELECT count(*) FROM findable_attempts WHERE charged"), where
        workspace.change("UPDATE findable_upload_uses SET until = '2026-01-01 00:00:00+00:00' WHERE batch IS NULL")
        workspace.change("UPDATE findable_uploads SET began_at = '2026-01-01 00:00:00+00:00'")
        homes.run(mortal, workspace, "clean")
        assert not workspace.scalar("SELECT count(*) FROM findable_uploads WHERE state <> 'dropped'"), where
