"""One item: asked about again, and forgotten."""

import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.experts import table
from pipeline.store import claims
from tests import ledger
from tests.integration import reviews
from tests.lab import Api, Workspace
from tests.page import Page

ADD = "/api/admin/experts"
ITEM = "/api/tasks/experts/item"
LIVE = ":generateContent"
ADA = {"key": "ada"}


def ended(page: Page, answer: Any) -> dict[str, Any]:
    """Return what came of the work that an answer leads to."""
    assert answer.status_code == 202, answer.text
    work = page.desk.running.get(answer.json()["number"])
    assert work is not None
    assert work.thread is not None
    work.thread.join()
    found: dict[str, Any] = page.get(answer.headers["location"]).json()
    return found


def test_a_parked_person_is_asked_again_once(page: Page, api: Api) -> None:
    """The button is there while something is to be asked; what is answered or under way is not asked twice."""
    api.fault("status", times=100, path=LIVE, args={"code": 400})
    assert page.post(ADD, json={"username": "ada", "bio": "Bees."}).json()["tags"] is None
    api.clear_faults()
    asked = {"task": "experts", **ADA}
    shown = page.get("/item", params=asked).text
    assert "Ask about it again" in shown
    assert re.search(r"one call at full price, about \$0\.000\d+", shown)
    assert "/parts/state?task=experts" in shown
    state = re.findall(r"/parts/state[^\"]*?state=(\w+)", shown)[0]
    open_page = {**asked, "state": state}
    same = page.get("/parts/state", params=open_page)
    assert (same.status_code, same.text) == (204, "")
    before = len(api.seen("POST", LIVE))
    done = ended(page, page.post(f"{ITEM}/ask", params=ADA))
    assert (done["state"], done["result"]["state"]) == ("done", "tagged")
    assert len(api.seen("POST", LIVE)) == before + 1
    assert page.post(f"{ITEM}/ask", params=ADA).status_code == 409
    shown = page.get("/item", params=asked).text
    assert ("Ask about it again" in shown, "/parts/state" in shown) == (False, False)
    changed = page.get("/parts/state", params=open_page).text
    assert ">tagged</span>" in changed
    assert all(f'id="{one}" hx-swap-oob' in changed for one in ("warnings", "tags", "answers"))
    assert "It is tagged" in page.get("/parts/acts", params=asked).text
    assert "nothing to be asked" in page.post("/parts/acts", params=asked, data={"act": "ask"}).text


@pytest.mark.sampled(0)
def test_who_was_asked_by_a_process_that_is_gone_is_asked_again(page: Page, workspace: Workspace) -> None:
    """The button is there, and takes the person out of that process's hands."""
    with workspace.open() as ws, ws.store.write() as tx:
        key = table.insert_person(tx, "ada", {"bio": "Bees."})
        claims.take_live(tx, ws.task.name, key, input_hash="x", lasts_s=-1, at=ws.now())
    assert "Ask about it" in page.get("/item", params={"task": "experts", **ADA}).text
    assert page.get("/api/tasks/experts/next").json()["plan"]["items"] == 1
    assert ended(page, page.post(f"{ITEM}/ask", params=ADA))["result"]["state"] == "tagged"


def test_an_item_is_forgotten_once_its_name_is_typed(page: Page) -> None:
    """422 for another name, and nothing is changed; then the person is nowhere."""
    assert page.post(ADD, json={"username": "ada"}).status_code == 201
    assert page.post(f"{ITEM}/forget", params=ADA, json={"name": "Ada"}).status_code == 422
    assert "is not" in page.post("/parts/acts", params={"task": "experts", **ADA}, data={"act": "forget"}).text
    assert page.get(ITEM, params=ADA).status_code == 200
    assert ended(page, page.post(f"{ITEM}/forget", params=ADA, json={"name": "ada"}))["state"] == "done"
    assert page.get(ITEM, params=ADA).status_code == 422
    gone = page.get("/parts/acts", params={"task": "experts", **ADA})
    assert "ada is forgotten" in gone.text
    assert (gone.headers["hx-retarget"], gone.headers["hx-reswap"]) == ("#main", "innerHTML")  # the row, too
    assert not re.search(
        r"\bada\b", page.get("/api/work").text + page.get("/parts/home").text + repr(vars(page.desk.running))
    )


@pytest.mark.sampled(0)
def test_who_was_not_forgotten_to_the_end_is_named_and_forgotten_again(page: Page, workspace: Workspace) -> None:
    """What is left of them fails it; the page says whom it is about, and what is kept of it does not."""
    assert page.post(ADD, json={"username": "ada-lee"}).status_code == 201
    (workspace.data / "index").mkdir(exist_ok=True)
    (left := workspace.data / "index" / "left.txt").write_text("ada-lee")
    about = {"key": "ada-lee"}
    failed = ended(page, page.post(f"{ITEM}/forget", params=about, json={"name": "ada-lee"}))
    assert (failed["state"], failed["error"]["detail"][:11]) == ("failed", "'it' is sti")
    shown = page.get("/parts/acts", params={"task": "experts", **about}).text
    assert "ada-lee&#39; is still to be found in index/left.txt" in shown
    assert 'id="to-forget"' in shown
    left.unlink()
    assert ended(page, page.post(f"{ITEM}/forget", params=about, json={"name": "ada-lee"}))["state"] == "done"
    assert "ada-lee is forgotten" in page.get("/parts/acts", params={"task": "experts", **about}).text
    assert not any(one["name"] == "forgotten" for one in ledger.findings(workspace))


@pytest.mark.sampled(0)
def test_items_of_an_own_task(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is asked about by its file; of one that is forgotten it is said that the file still holds it."""
    monkeypatch.chdir(tmp_path)
    reviews.put(workspace).ran("preflight", TASK="tasks/reviews.py")
    item, one = "/api/tasks/reviews/item", {"key": "1"}
    with Page(workspace) as page:
        assert ended(page, page.post(f"{item}/ask", params=one))["result"]["state"] == "answered"
        assert page.post(f"{item}/ask", params=one).status_code == 409
        assert page.get("/item", params={"task": "reviews", **one}).status_code == 200
        ended(page, page.post(f"{item}/forget", params=one, json={"name": "1"}))
        assert "reviews.csv" in page.get("/parts/acts", params={"task": "reviews", **one}).text
