"""Home, batches, index, reports and health: they say what the commands say, and do what those do."""

import re
from typing import Any

import pytest

from pipeline.batch.folder import lock_of
from tests.integration.many_passages import put
from tests.lab import Api, Workspace
from tests.page import Page

ADD = "/api/admin/experts"
BIO = "I keep bees and teach water law."
NEXT = "/api/tasks/experts/next"
LIVE_RUN = re.compile(r'live run \d+ <span class="state">([^<]*)<')


def finished(page: Page, begun: Any) -> dict[str, Any]:
    """Wait for work that was begun, and return its document."""
    assert begun.status_code == 202, begun.text
    work = page.desk.running.get(begun.json()["number"])
    assert work is not None
    assert work.thread is not None
    work.thread.join()
    found: dict[str, Any] = page.get(begun.headers["location"]).json()
    return found


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
    finished(page, page.post("/api/tasks/experts/index"))
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


def test_what_went_wrong_in_a_batch_is_warned_of_where_it_was_ingested(page: Page, workspace: Workspace) -> None:
    """Home says how many, beside what was said, and leads to the batch, which names them; so does the command."""
    waiting(workspace, "ada", "bea", "cy")
    workspace.ran_each("batch-submit", "batch-poll")
    workspace.change("DELETE FROM experts WHERE username = 'ada'")
    workspace.change("UPDATE experts SET tags = '[\"law\"]' WHERE username = 'bea'")
    done = finished(page, page.post(NEXT, params={"step": page.get(NEXT).json()["next"]}))
    assert (done["state"], done["warnings"]) == ("done", ["batch 1: 2 not applied"])
    assert '<a href="/batch?number=1">batch 1</a>: 2 not applied' in page.get("/").text
    assert page.get("/api/batches/1").json()["unapplied"] == ["1", "bea"]
    workspace.change("UPDATE findable_batches SET unknown = 3, duplicates = 1")
    shown = page.get("/batch", params={"number": 1}).text
    assert "or is parked: 1, bea" in shown
    told = (
        "Of the answers 2 are not applied",
        "a key that was never asked for",
        "a second line for the same key",
    )
    assert all(one in shown for one in told)


@pytest.mark.full
def test_a_pilot_and_a_backfill_are_begun_once_their_estimate_was_shown(page: Page, workspace: Workspace) -> None:
    """The plan is of the pilot's own items; no more than it is spent."""
    address = "/api/tasks/passages/next"
    put(workspace, 2)
    planned = page.get(address).json()
    assert (planned["command"], planned["plan"]["items"]) == ("passages-pilot", 2)
    agreed = {"step": planned["next"], "cost": planned["plan"]["cost"]}
    stopped = finished(page, page.post(address, params={**agreed, "cost": agreed["cost"] / 2}))
    assert "nothing was sent" in stopped["error"]["detail"]
    assert finished(page, page.post(address, params=agreed))["result"]["passed"]
    put(workspace, 3)
    planned = page.get(address).json()
    assert (planned["command"], planned["plan"]["items"]) == ("passages-backfill", 1)
    agreed = {"step": planned["next"], "cost": planned["plan"]["cost"]}
    assert finished(page, page.post(address, params=agreed))["result"]["is_over"]
    workspace.ran("passages-pilot", VERSION="v2", N="2", YES="1", code=0)
    reports = page.get("/reports", params={"task": "passages"}).text
    assert reports.count('<span class="state">pilot</span>') == 2
    assert all(one in reports for one in ("pilot 1 of passage-concepts@", "pilot 2 of v2/"))


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
