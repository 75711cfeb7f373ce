"""A copy of a workspace never asks again for what the original asked meanwhile, as far as that is promised."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests import postgresql
from tests.acceptance.checker import Look, check
from tests.acceptance.engine import Engine
from tests.acceptance.product import ON_POSTGRESQL, Workspace
from tests.acceptance.steps import Fate

CREATE = ":batchGenerateContent"


def typed(line: str, home: Path) -> None:
    """Type a line in a shell that finds the programs of the database's server."""
    programs = f"{postgresql.shared().programs}:{os.environ['PATH']}"
    subprocess.run(line, shell=True, check=True, cwd=home, env={"PATH": programs})  # noqa: S602 - as people do


def copied(workspace: Workspace) -> None:
    """Copy a workspace into `copy`; on a server by typing what `backup` says."""
    said = workspace.do("backup", "copy").out.splitlines()
    for line in said[1:] if ON_POSTGRESQL else ():
        typed(line, workspace.home)


def restored(workspace: Workspace, api: Engine, home: Path) -> Workspace:
    """Put a workspace's copy into a folder where there is nothing, and return what it is then."""
    found = Workspace(home, api.url, settings=workspace.settings)
    if not ON_POSTGRESQL:
        found.do("restore", workspace.home / "copy")
        return found
    url = found.environ["FINDABLE_DATABASE_URL"].replace("+psycopg", "")
    typed(f"pg_restore --no-owner --dbname='{url}' copy/findable.dump", workspace.home)
    shutil.copytree(workspace.home / "copy" / "data", found.data)
    return found


def killed_at(workspace: Workspace, step: str, *, side: str) -> None:
    """Submit, and die at the step that has these words, as another workspace that does the same comes to it."""
    peace = Workspace(workspace.home.parent / "peace", workspace.url)
    peace.people(3)
    at = next(number for number, one in enumerate(peace.do("submit").trail, 1) if step in one)
    assert workspace.start("submit", fate=Fate(at=at, side=side)).wait().code == -signal.SIGKILL


@pytest.mark.parametrize(
    "how", [pytest.param("refused", marks=pytest.mark.alike), "prepared", "submitting"]
)
def test_a_batch_that_was_prepared_when_it_was_copied_is_created_once(
    workspace: Workspace, api: Engine, tmp_path: Path, how: str
) -> None:
    """Sent by the original, and found again by its name when the copy submits; both have its answers."""
    workspace.people(3)
    if how == "refused":
        api.fault("quota_batch", times=9)
        workspace.run("submit")
        api.clear_faults()
    else:
        step, side = {"prepared": ("naming", "after"), "submitting": (CREATE, "before")}[how]
        killed_at(workspace, step, side=side)
    state = how if how == "submitting" else "prepared"
    assert workspace.batch_states() == [state]
    copied(workspace)
    workspace.do("submit")
    assert workspace.batch_states() == ["submitted"]
    made = [
        one["name"] for one in api.creates() if workspace.status()["workspace_id"] in one["name"]
    ]
    assert len(made) == 1
    copy = restored(workspace, api, tmp_path / "elsewhere")
    copy.do("submit")
    assert [one["name"] for one in api.creates() if one["name"] in made] == made
    assert copy.batches()[0]["remote_name"] == workspace.batches()[0]["remote_name"]
    for one in (copy, workspace):
        one.each("poll", "ingest")
        assert one.states() == {"tagged": 3}
    assert (
        len([one for one in api.creates() if workspace.status()["workspace_id"] in one["name"]])
        == 1
    )
    check(Look(copy, api.batches(), api.creates(), is_only=True))


def test_what_was_asked_after_the_copy_is_named_by_doctor(
    workspace: Workspace, api: Engine, tmp_path: Path
) -> None:
    """The copy knows nothing of it, so that its rows are open; what Gemini has and it does not know is said."""
    workspace.people(2)
    workspace.do("submit", limit=1)
    workspace.each("poll", "ingest")
    copied(workspace)
    workspace.do("submit")
    copy = restored(workspace, api, tmp_path / "elsewhere")
    assert copy.states() == {"tagged": 1, "untagged": 1}
    assert workspace.batches()[1]["remote_name"] in copy.do("doctor").said
    copy.do("restore", workspace.home / "copy", code=2)  # never over one that is there
    assert [len(one["lines"]) for one in api.creates()] == [1, 1]
