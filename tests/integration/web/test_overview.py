"""Where a task stands, its runs and its index: they say what the commands say, and do what those do."""

import pytest

from pipeline.batch.folder import lock_of
from tests.integration.many_passages import put
from tests.lab import Workspace
from tests.page import Page

ADD = "/api/admin/experts"
BIO = "I keep bees and teach water law."


def waiting(workspace: Workspace, *names: str) -> None:
    """Import people who are not tagged yet."""
    file = workspace.data.parent / "people.csv"
    file.write_text("\n".join(["username,bio", *(f"{name},{BIO}" for name in names), ""]))
    workspace.ran("import", str(file))


@pytest.mark.sampled(0)
def test_an_empty_workspace_says_what_comes_first(page: Page, workspace: Workspace) -> None:
    """No button that could only fail; without a question the search is a page that leads on.

    That texts leave the machine is said before the first of them is sent.
    """
    shown = page.get("/settings").text
    assert [f'id="{one}"' in shown for one in ("rebuild", "rollback")] == [False] * 2
    asked = page.get("/search")
    assert (asked.status_code, "/settings?task=experts#index" in asked.text) == (200, True)
    assert all("/add?task=experts" in page.get(one).text for one in ("/", "/parts/state?task=experts"))
    assert "Nothing was asked yet" in page.get("/runs").text
    assert "No report yet" in page.get("/quality").text
    waiting(workspace, "bea")
    plan = page.get("/parts/next", params={"task": "experts"}).text
    assert "Ask the 1 open people" not in plan
    assert "Ask the 1 open person" in plan
    assert 0 < plan.index('id="begin"') < plan.index("From here on biographies leave this machine")
    page.post(ADD, json={"username": "ada", "bio": BIO})
    assert 'id="rebuild"' in page.get("/settings").text
    assert page.post("/api/index", params={"cost": 1}, json={}).status_code == 202
    page.settle()
    shown = page.get("/settings").text
    assert [f'id="{one}"' in shown for one in ("rebuild", "rollback")] == [True, False]


def test_a_live_run_is_told_by_its_process(workspace: Workspace) -> None:
    """Under way while a process holds its lock, stopped where none does."""
    workspace.begin()
    put(workspace, 2)
    workspace.ran("tag", MODE="live", TASK="passages")
    workspace.change("UPDATE findable_batches SET state = 'asking' WHERE number = 1")
    with workspace.open() as ws, Page(workspace) as page:
        said = []
        with ws.lock(lock_of(1)):
            said.append("was stopped" in page.get("/runs").text)
        said.append("was stopped" in page.get("/runs").text)
    assert said == [False, True]
