"""What only grows: after a month of a scheduler, files and bytes are as many as the rows need."""

from pathlib import Path

from tests.acceptance.engine import Engine
from tests.acceptance.product import ON_POSTGRESQL, Workspace

# A server has no lock files, and half a month tells the same of its vectors.
DAYS = 14 if ON_POSTGRESQL else 30
RUNS = 4  # of `work` a day
CHANGE_EVERY_DAYS = 5
PEOPLE = 12


def kept(workspace: Workspace) -> tuple[list[str], int]:
    """Return the names of a workspace's files, except line hashes, and the bytes of all files."""
    paths = [path for path in workspace.data.rglob("*") if path.is_file() and not is_link(path)]
    names = [str(path.relative_to(workspace.data)) for path in paths]
    files = [name for name in names if not name.endswith("-hashes.jsonl")]
    return sorted(files), sum(path.stat().st_size for path in paths)


def is_link(path: Path) -> bool:
    """Return whether a path is a link, or a file that is seen through one."""
    return any(one.is_symlink() for one in (path, *path.parents))


def test_a_month_of_work_leaves_what_the_rows_need(workspace: Workspace, api: Engine) -> None:
    """With a clean a week, files stay as many as after the first week, and bytes per row fall.

    People change and come. Lock files of batches that are over and vectors of texts that no row
    has are removed, and no other vector is missed.
    """
    api.configure(batch_looks=1)
    workspace.people(PEOPLE)
    files = list[int]()
    bytes_per_row = list[float]()
    rows = PEOPLE
    for day in range(DAYS):
        if day % CHANGE_EVERY_DAYS == 0:
            workspace.put("changed.csv", f"Username,Job Title\nperson-0000,Luthier {day}\n")
            workspace.do("import", "changed.csv")
            workspace.people(1, first=PEOPLE + day)
            rows += 1
        for _ in range(RUNS):
            workspace.do("work", once=True)
        if day % 7 == 6:
            told = workspace.do("clean", KEEP_DAYS=0, json=True).json
            assert (told["locks"] > 0) is not ON_POSTGRESQL
            assert told["vectors"] > 0
            names, size = kept(workspace)
            files.append(len(names))
            bytes_per_row.append(size / rows)

    assert max(files) <= files[0]
    assert max(bytes_per_row) <= bytes_per_row[0]
    names, _ = kept(workspace)
    assert not [name for name in names if name.startswith("locks/batch-")]
    assert workspace.states() == {"tagged": rows}
    assert "0 embedded" in workspace.do("index").said
    workspace.do("doctor")
