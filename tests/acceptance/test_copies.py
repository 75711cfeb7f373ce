"""A copy of a workspace adopts batches of the original instead of asking again."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import postgresql
from tests.acceptance.checker import Inspection, check_invariants
from tests.acceptance.engine import CREATE_CALL, Engine
from tests.acceptance.process import NO_FATE, EndedCommand
from tests.acceptance.product import ON_POSTGRESQL, Workspace
from tests.acceptance.steps import ON_SERVER, Fate


def run_in_shell(line: str, home: Path) -> None:
    """Run a line in a shell with the programs of the database server."""
    programs = f"{postgresql.shared().programs}:{os.environ['PATH']}"
    subprocess.run(line, shell=True, check=True, cwd=home, env={"PATH": programs})  # noqa: S602


def copy_workspace(workspace: Workspace) -> None:
    """Copy a workspace into `copy`; on a server run the lines that `backup` prints."""
    lines = workspace.run_command("backup", "copy").stdout.splitlines()
    for line in lines[1:] if ON_POSTGRESQL else ():
        run_in_shell(line, workspace.home)


def restore_copy(workspace: Workspace, api: Engine, home: Path) -> Workspace:
    """Restore the copy of a workspace in a new folder and return it."""
    workspace_copy = Workspace(home, api.url, settings=workspace.settings)
    if not ON_POSTGRESQL:
        workspace_copy.run_command("restore", workspace.home / "copy")
        return workspace_copy
    url = workspace_copy.environ["ASKROWS_DATABASE_URL"].replace("+psycopg", "")
    run_in_shell(f"pg_restore --no-owner --dbname='{url}' copy/askrows.dump", workspace.home)
    shutil.copytree(workspace.home / "copy" / "data", workspace_copy.data)
    return workspace_copy


def kill_submit(workspace: Workspace, step: str, *, side: str) -> None:
    """Kill a submit at the step with this text; the steps are those of an equal workspace."""
    undisturbed_workspace = Workspace(workspace.home.parent / "peace", workspace.url)
    undisturbed_workspace.import_people(3)
    trail = undisturbed_workspace.run_command("submit").trail
    step_number = next(number for number, line in enumerate(trail, 1) if step in line)

    assert (
        workspace.start_command("submit", fate=Fate(step=step_number, side=side)).wait().code
        == -signal.SIGKILL
    )


@pytest.mark.parametrize(
    "case", [pytest.param("refused", marks=pytest.mark.alike), "prepared", "submitting"]
)
def test_prepared_batch_of_a_copy_is_created_once(
    workspace: Workspace, api: Engine, tmp_path: Path, case: str
) -> None:
    """The copy adopts the batch that the original sent, and both ingest its answers."""
    workspace.import_people(3)
    if case == "refused":
        api.script_fault("quota_batch", times=9)
        workspace.try_command("submit")
        api.clear_faults()
    else:
        step, side = {"prepared": ("naming", "after"), "submitting": (f"{CREATE_CALL} ", "before")}[
            case
        ]
        kill_submit(workspace, step, side=side)
    state = case if case == "submitting" else "prepared"
    assert workspace.batch_states() == [state]
    copy_workspace(workspace)
    workspace.run_command("submit")
    assert workspace.batch_states() == ["submitted"]
    workspace_id = workspace.status()["workspace_id"]
    created_names = [create["name"] for create in api.creates() if workspace_id in create["name"]]
    assert len(created_names) == 1

    copy = restore_copy(workspace, api, tmp_path / "elsewhere")
    copy.run_command("submit")
    assert [
        create["name"] for create in api.creates() if create["name"] in created_names
    ] == created_names
    assert copy.batches()[0]["remote_name"] == workspace.batches()[0]["remote_name"]
    for workspace_copy in (copy, workspace):
        workspace_copy.run_commands("poll", "ingest")
        assert workspace_copy.state_counts() == {"tagged": 3}
    check_invariants(Inspection(copy, api.batches(), api.creates(), is_single=True))


@pytest.mark.promise("kill")
def test_doctor_names_batches_that_a_copy_does_not_know(
    workspace: Workspace, api: Engine, tmp_path: Path
) -> None:
    """Rows asked after the copy are open in it, and `doctor` names their batch at the API."""
    workspace.import_people(2)
    workspace.run_command("submit", limit=1)
    workspace.run_commands("poll", "ingest")
    copy_workspace(workspace)
    workspace.run_command("submit")

    copy = restore_copy(workspace, api, tmp_path / "elsewhere")
    assert copy.state_counts() == {"tagged": 1, "open": 1}
    assert workspace.batches()[1]["remote_name"] in copy.run_command("doctor").output
    # A restore never overwrites a workspace.
    copy.run_command("restore", workspace.home / "copy", code=2)
    assert [len(create["lines"]) for create in api.creates()] == [1, 1]


@pytest.mark.skipif(ON_POSTGRESQL, reason="the backup is of a workspace in a file")
def test_killed_restore_into_postgresql_is_completed_by_the_same_command(
    workspace: Workspace, tmp_path: Path
) -> None:
    """The same command completes a restore that ended after the commit of the tables.

    A workspace with new rows is never overwritten.
    """
    names = workspace.import_people(2)
    workspace.run_command("backup", "copy")

    def target_of(name: str) -> Workspace:
        """Return a new workspace with an empty database on a server."""
        url = postgresql.database_of(tmp_path / name / "data")
        target = Workspace(tmp_path / name, settings={"DATABASE_URL": url})
        target.step_folder = target.home
        return target

    def restore(name: str, folder: str = "data", **options: Any) -> EndedCommand:
        """Restore into a workspace, or into another folder with the same database."""
        target = target_of(name)
        target.data = target.home / folder
        return target.try_command("restore", workspace.home / "copy", **options)

    trail = restore("peace", fate=NO_FATE).trail
    [commit] = [number for number, step in enumerate(trail, 1) if step.startswith(ON_SERVER)]
    [rename] = [number for number, step in enumerate(trail, 1) if step.endswith("peace/data")]
    assert commit < rename
    for step_number in range(commit, rename):
        for signal_name in ("KILL", "INT"):
            name = f"{signal_name}-{step_number}"
            assert restore(name, fate=Fate(step_number, "after", signal_name)).code in {-9, 130}
            assert restore(name, "another").code == 3
            restore_run = restore(name)
            assert restore_run.code == 0
            assert "0 rows copied to" in restore_run.stdout

            target = target_of(name)
            assert list(target.exported_tags()) == names
            # A workspace that was used after the restore stays as it is.
            target.write_file("more.csv", "Username,Bio\nlate,I came later.\n")
            target.run_command("import", "more.csv")
            shutil.rmtree(target.data)
            assert restore(name).code == 3
