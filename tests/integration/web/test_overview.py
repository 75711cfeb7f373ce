"""Home, batches, index, reports and health: they say what the commands say, and do what those do."""

import re

import pytest

from pipeline.batch.folder import lock_of
from tests.integration.many_passages import put
from tests.lab import Api, Workspace
from tests.page import Page

ADD = "/api/admin/experts"
BIO = "I keep bees and teach water law."
LIVE_RUN = re.compile(r'live run \d+ <span class="state">([^<]*)<')


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
    shown = page.get("/index").text
    assert [f'id="{one}"' in shown for one in ("rebuild", "verify", "rollback", "to-home")] == [*[False] * 3, True]
    asked = page.get("/search")
    assert (asked.status_code, "/index?task=experts" in asked.text) == (200, True)
    assert "/import?task=experts" in page.get("/items").text
    waiting(workspace, "bea")
    plan = page.get("/parts/next").text
    assert 0 < plan.index("From here on biographies leave this machine") < plan.index('id="begin"')
    page.post(ADD, json={"username": "ada", "bio": BIO})
    assert 'id="rebuild"' in page.get("/index").text
    assert page.post("/api/tasks/experts/index").status_code == 202
    page.settle()
    shown = page.get("/index").text
    assert [f'id="{one}"' in shown for one in ("rebuild", "verify", "rollback")] == [True, True, False]


def test_a_batch_that_a_person_cancelled_is_no_failure(page: Page, api: Api, workspace: Workspace) -> None:
    """Both one that never ended and one that was never sent say so, and all of their requests stand in the sum."""
    waiting(workspace, "ada", "bea")
    api.fault("never_ends")
    workspace.ran("batch-submit", code=0)
    workspace.ran("batch-cancel", "1", code=0)
    workspace.run("batch-poll")
    api.fault("quota_batch")
    workspace.run("batch-submit")
    workspace.ran("batch-cancel", "2", code=0)
    for number, line in ((1, "missing"), (2, "let go, to be asked again")):
        assert page.get(f"/api/batches/{number}").json()["state"] == "failed"
        shown = page.get("/batch", params={"number": number}).text
        assert (">cancelled</span></h1>" in shown, ">failed<" in shown) == (True, False)
        assert f'<dt>{line}</dt><dd class="num">2</dd>' in shown
    assert page.get("/batches").text.count(">cancelled</span>") == 2


def test_a_live_run_is_told_by_its_process(workspace: Workspace) -> None:
    """Under way while a process holds its lock, killed where none does."""
    workspace.begin()
    put(workspace, 2)
    workspace.ran("tag", MODE="live", TASK="passages")
    workspace.change("UPDATE findable_batches SET state = 'asking' WHERE number = 1")
    with workspace.open() as ws, Page(workspace) as page:
        said = []
        with ws.lock(lock_of(1)):
            said += LIVE_RUN.findall(page.get("/", params={"task": "passages"}).text)
        said += LIVE_RUN.findall(page.get("/", params={"task": "passages"}).text)
    assert said == ["under way", "killed"]
