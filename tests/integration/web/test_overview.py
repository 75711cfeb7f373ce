"""Where a task stands, its runs and its index: they say what the commands say, and do what those do."""

from pipeline.batch.batch_files import lock_of
from tests.integration.many_passages import import_passages
from tests.lab import Workspace
from tests.page import Page

ADD = "/api/admin/experts"
BIO = "I keep bees and teach water law."


def waiting(workspace: Workspace, *names: str) -> None:
    """Import people who are not tagged yet."""
    file = workspace.data.parent / "people.csv"
    file.write_text("\n".join(["username,bio", *(f"{name},{BIO}" for name in names), ""]))
    workspace.ran("import", str(file))


def test_a_live_run_is_told_by_its_process(workspace: Workspace) -> None:
    """Under way while a process holds its lock, stopped where none does."""
    workspace.begin()
    import_passages(workspace, 2)
    workspace.ran("tag", MODE="live", TASK="passages")
    workspace.change("UPDATE findable_batches SET state = 'asking' WHERE number = 1")
    with workspace.open() as ws, Page(workspace) as page:
        said = []
        with ws.lock(lock_of(1)):
            said.append("was stopped" in page.get("/runs").text)
        said.append("was stopped" in page.get("/runs").text)
    assert said == [False, True]
