"""After weeks of scheduled runs, files and bytes depend only on the number of rows."""

from pathlib import Path

import pytest

from tests.acceptance.engine import Engine
from tests.acceptance.product import ON_POSTGRESQL, Workspace

DAYS = 14
RUNS_PER_DAY = 2
CHANGE_EVERY_DAYS = 5
PEOPLE = 12


def stored_files(workspace: Workspace) -> tuple[list[str], int]:
    """Return the names of a workspace's files, and the bytes of all files."""
    paths = [path for path in workspace.data.rglob("*") if path.is_file() and not is_link(path)]
    names = sorted(str(path.relative_to(workspace.data)) for path in paths)
    return names, sum(path.stat().st_size for path in paths)


def is_link(path: Path) -> bool:
    """Return whether a path or one of its folders is a link."""
    return any(parent.is_symlink() for parent in (path, *path.parents))


@pytest.mark.promise("growth")
def test_weeks_of_work_leave_only_files_that_the_rows_need(
    workspace: Workspace, api: Engine
) -> None:
    """A weekly `clean` keeps the number of files constant, and bytes per row fall.

    People change and are added. `clean` removes lock files of ended batches and vectors of texts
    that no row has, and no other vector is missing.
    """
    api.configure(batch_looks=1)
    workspace.import_people(PEOPLE)
    file_counts = list[int]()
    bytes_per_row = list[float]()
    row_count = PEOPLE
    for day in range(DAYS):
        if day % CHANGE_EVERY_DAYS == 0:
            workspace.write_file("changed.csv", f"Username,Company\nperson-0000,Luthier {day}\n")
            workspace.run_command("import", "changed.csv")
            workspace.import_people(1, first=PEOPLE + day)
            row_count += 1
        for _ in range(RUNS_PER_DAY):
            workspace.run_command("work", once=True)
        if day % 7 == 6:
            clean_report = workspace.run_command("clean", KEEP_DAYS=0, json=True).json
            assert (clean_report["locks"] > 0) is not ON_POSTGRESQL
            assert clean_report["vectors"] > 0
            names, size = stored_files(workspace)
            file_counts.append(len(names))
            bytes_per_row.append(size / row_count)

    assert max(file_counts) <= file_counts[0]
    assert max(bytes_per_row) <= bytes_per_row[0]
    names, _ = stored_files(workspace)
    assert not [name for name in names if name.startswith("locks/batch-")]
    assert workspace.state_counts() == {"tagged": row_count}
    assert "0 embedded" in workspace.run_command("index").output
    workspace.run_command("doctor")
