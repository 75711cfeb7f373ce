"""Import by dropping a file: what would go in is shown first, and only what was shown goes in."""

import os
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient

from pipeline.core import files
from tests.integration import reviews
from tests.lab import Workspace
from tests.page import HOST, Page
from web import guard

DROP = "/api/imports"


def drop(
    page: Page, content: Any, task: str = "experts", name: str = "people.csv", columns: str = ""
) -> dict[str, Any]:
    """Drop a file and wait until it was read."""
    got = page.post(DROP, params={"task": task, "name": name, "map": columns}, content=content)
    assert got.status_code == 202, got.text
    assert got.headers["location"] == f"{DROP}/{got.json()['number']}"
    return over(page, got.json()["number"])


def act(page: Page, number: int, **form: str) -> str:
    """Press a button of a file, and return what is shown then."""
    return unescape(page.post("/parts/import", params={"number": number}, data=form).text)


def over(page: Page, number: int) -> dict[str, Any]:
    """Wait until what is under way about a file is over, and return its document."""
    page.settle()
    found: dict[str, Any] = page.get(f"{DROP}/{number}").json()
    return found


def kept(workspace: Workspace) -> list[Path]:
    """Return all that is kept of files that were dropped."""
    return [path for path in workspace.data.glob("dropped/**/*") if path.is_file()]


def test_no_file_is_dropped_for_a_task_of_ones_own(workspace: Workspace) -> None:
    """The page and the API say where its rows stand, and what to change."""
    reviews.set_up_task(workspace).ran("preflight", TASK="tasks/reviews.py")
    with Page(workspace) as page:
        refused = page.post(DROP, params={"task": "reviews", "name": "p.csv"}, content=b"").json()
        assert (refused["status"], "reviews.csv" in refused["hint"]) == (422, True)
        assert "/add?task=reviews" in page.get("/", params={"task": "reviews"}).text
        assert page.get("/?task=moons").status_code == 404


def test_a_new_question_is_tried_on_five_rows_of_a_file(page: Page, workspace: Workspace) -> None:
    """Its first rows are shown with what each column is; answers come back, and nothing is written but the trial."""
    rows = "".join(f"r{number},Kettle,It boils water in {number} minutes.\n" for number in range(7))
    number = drop(page, f"id,product,text\n{rows}", "new", "reviews.csv")["number"]
    shown = page.get("/add", params={"task": "new", "number": number}).text
    assert all(
        one in shown for one in ("what tells rows apart", "columns sent: ", "boils water in 3")
    )
    assert "FIELDS: a choice is expected" in act(
        page, number, question="Praise?", fields="tone: praise|"
    )
    before = set(workspace.tables())
    act(page, number, question="Praise or blame?", fields="tone: praise|blame; why: quote")
    page.settle()
    shown = page.get("/parts/import", params={"number": number}).text
    assert shown.count('data-label="tone"') == 5
    assert set(workspace.tables()) == before
    assert [one["name"] for one in page.get("/api/tasks").json()] == ["experts"]
    assert "nothing of the file would go in" in act(page, number)


def test_a_new_question_names_its_columns(page: Page, workspace: Workspace) -> None:
    """The form takes the text, the key and other columns to send; a wrong name is refused, a kept task has them."""
    rows = "".join(
        f"r{number},Kettle {number},It boils in {number} minutes.\n" for number in range(7)
    )
    number = drop(page, f"id,product,text\n{rows}", "new", "reviews.csv")["number"]
    how = {
        "question": "Praise or blame?",
        "fields": "tone: praise|blame",
        "text": "product",
        "key": "id",
    }
    assert "did you mean 'product'?" in act(page, number, **how | {"text": "prodact"})
    act(page, number, **how, **{"with": "text"})
    page.settle()
    shown = unescape(page.get("/parts/import", params={"number": number}).text)
    assert "columns sent: 'text', 'product'; not sent: 'id'" in shown
    assert 'value="product"' in shown
    act(page, number, keep="kettles")
    page.settle()
    file = (workspace.data / "tasks/kettles.py").read_text(encoding="utf-8")
    assert 'prompt="text: {text}\\n\\n{product}"' in file


def test_what_was_tried_is_kept_as_a_task(page: Page, workspace: Workspace) -> None:
    """With all rows, once it was tried and its name can be one; the file is gone, and commands go on with the task."""
    rows = "".join(f"r{number},It boils water in {number} minutes.\n" for number in range(7))
    number = drop(page, f"id,text\n{rows}", "new", "Kettle reviews.csv")["number"]
    assert "no question was tried" in act(page, number, keep="kettles")
    act(page, number, question="Praise or blame?", fields="tone: praise|blame; why: quote")
    page.settle()
    assert 'value="kettle_reviews"' in page.get("/parts/import", params={"number": number}).text
    assert "cannot be called 'experts'" in act(page, number, keep="experts")
    act(page, number, keep="kettles")
    read = over(page, number)
    assert (read["state"], read["made"], kept(workspace)) == ("imported", "kettles", [])
    assert "/?task=kettles" in page.get("/parts/import", params={"number": number}).text
    assert "boils water in 6" in page.get("/", params={"task": "kettles"}).text
    assert "imported now" in act(page, number, keep="again")
    assert "7 answered" in workspace.ran("tag", "--mode", "live", TASK="kettles").output


def test_a_file_comes_to_the_disk_or_not_at_all(
    page: Page, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the limit it is refused, told or found out; of half a stream nothing stays; a stranger's is not read."""
    monkeypatch.setattr(guard, "MAX_FILE_BYTES", 3 << 20)
    asked = {"task": "experts", "name": "p.csv"}
    taken: list[int] = []

    def pieces(many: int, *, breaks: bool = False) -> Iterator[bytes]:
        for number in range(many):
            taken.append(number)
            yield b"x" * (1 << 20)
        if breaks:
            raise ClientDisconnect

    drop(page, pieces(3), name="x.csv")
    assert page.post(DROP, params=asked, content=pieces(4)).status_code == 413
    with pytest.raises(ClientDisconnect):
        page.post(DROP, params=asked, content=pieces(2, breaks=True))
    taken.clear()
    stranger = TestClient(
        page.guard, base_url=f"http://{HOST}", cookies=dict(page.browser().cookies)
    )
    assert stranger.post(DROP, params=asked, content=pieces(1)).status_code == 403
    assert [one.name for one in kept(workspace)] == ["x.csv"]
    left = files.new_part_path(workspace.data / "dropped" / "page")
    dead = left.with_name(left.name.replace(f"{os.getpid():x}-", "7fffffff-"))
    dead.mkdir()
    page.desk.uploads.delete_abandoned()
    assert (dead.exists(), len(kept(workspace))) == (False, 1)
    page.desk.close()
    assert not kept(workspace)
