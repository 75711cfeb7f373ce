"""A copy of a workspace never asks again for what the original asked meanwhile, as far as that is promised."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import postgresql
from tests.acceptance.checker import Look, check
from tests.acceptance.engine import Engine
from tests.acceptance.process import LIVES, Done
from tests.acceptance.product import ON_POSTGRESQL, Workspace
from tests.acceptance.steps import ON_SERVER, Fate

CREATE = ":batchGenerateContent"


def typed(line: str, home: Path) -> None:
    """Type a line in a shell that finds the programs of the database's server."""
    programs = f"{postgresql.shared().programs}:{os.environ['PATH']}"
    subprocess.run(line, shell=True, check=True, cwd=home, env={"PATH": programs})  # noqa: S602 - as people do


def copied(workspace: Workspace) -> None:
    """Copy a workspace into `copy`; on a server by typing what `backup` says."""
    lines = workspace.do("backup", "copy").out.splitlines()
    for line in lines[1:] if ON_POSTGRESQL else ():
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
    assert [len(create["lines"]) for create in api.creates()] == [1, 1]


@pytest.mark.skipif(ON_POSTGRESQL, reason="a backup is made of a workspace in a file")
def test_a_killed_restore_into_postgresql_is_finished_by_the_same_command(
    workspace: Workspace, tmp_path: Path
) -> None:
    """Killed or interrupted behind the commit of the tables, it goes on; what was worked on is never overwritten."""
    names = workspace.people(2)
    workspace.do("backup", "copy")

    def target_of(name: str) -> Workspace:
        """Return a workspace that is nowhere yet, with an empty database on a server."""
        url = postgresql.database_of(tmp_path / name / "data")
        target = Workspace(tmp_path / name, settings={"DATABASE_URL": url})
        target.below = target.home
        return target

    def restore(name: str, folder: str = "data", **how: Any) -> Done:
        """Restore into a workspace, or with its database into another folder."""
        target = target_of(name)
        target.data = target.home / folder
        return target.run("restore", workspace.home / "copy", **how)

    trail = restore("peace", fate=LIVES).trail
    [commit] = [number for number, step in enumerate(trail, 1) if step.startswith(ON_SERVER)]
    [rename] = [number for number, step in enumerate(trail, 1) if step.endswith("peace/data")]
    assert commit < rename
    for at in range(commit, rename):
        for how in ("KILL", "INT"):
            name = f"{how}-{at}"
            assert restore(name, fate=Fate(at, "after", how)).code in {-9, 130}
            assert restore(name, "another").code == 3
            done = restore(name)
            assert (done.code, "an earlier run copied all tables" in done.out) == (0, True)
            target = target_of(name)
            assert list(target.tags()) == names
            target.put("more.csv", "Username,Bio\nlate,I came later.\n")
            target.do("import", "more.csv")
            shutil.rmtree(target.data)
            assert restore(name).code == 3
