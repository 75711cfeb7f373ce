"""A dropped file is previewed, and imported as previewed."""

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


def drop_file(
    page: Page, content: Any, task: str = "experts", name: str = "people.csv", columns: str = ""
) -> dict[str, Any]:
    """Drop a file and wait until it is read."""
    response = page.post(DROP, params={"task": task, "name": name, "map": columns}, content=content)
    assert response.status_code == 202, response.text
    assert response.headers["location"] == f"{DROP}/{response.json()['number']}"
    return wait_for_import(page, response.json()["number"])


def press_button(page: Page, number: int, **form: str) -> str:
    """Press a button of a file, and return the page's answer."""
    return unescape(page.post("/parts/import", params={"number": number}, data=form).text)


def wait_for_import(page: Page, number: int) -> dict[str, Any]:
    """Wait until the work on a file ends, and return its document."""
    page.settle()
    document: dict[str, Any] = page.get(f"{DROP}/{number}").json()
    return document


def list_dropped_files(workspace: Workspace) -> list[Path]:
    """Return the stored files of drops."""
    return [path for path in workspace.data.glob("dropped/**/*") if path.is_file()]


def test_no_file_is_dropped_for_a_user_task(workspace: Workspace) -> None:
    """Page and API name the file of the rows, and how to change it."""
    reviews.set_up_task(workspace).ran("preflight", TASK="tasks/reviews.py")
    with Page(workspace) as page:
        error = page.post(DROP, params={"task": "reviews", "name": "p.csv"}, content=b"").json()
        assert (error["status"], "reviews.csv" in error["hint"]) == (422, True)
        assert "/add?task=reviews" in page.get("/", params={"task": "reviews"}).text
        assert page.get("/?task=moons").status_code == 404


def test_a_new_question_is_tried_on_five_rows_of_a_file(page: Page, workspace: Workspace) -> None:
    """The page shows first rows and columns, and a trial writes nothing else."""
    rows = "".join(f"r{number},Kettle,It boils water in {number} minutes.\n" for number in range(7))
    number = drop_file(page, f"id,product,text\n{rows}", "new", "reviews.csv")["number"]
    html = page.get("/add", params={"task": "new", "number": number}).text
    for text in ("what tells rows apart", "columns sent: ", "boils water in 3"):
        assert text in html
    assert "FIELDS: 'tone' has an empty choice" in press_button(
        page, number, question="Praise?", fields="tone: praise|"
    )

    before = set(workspace.tables())
    press_button(page, number, question="Praise or blame?", fields="tone: praise|blame; why: quote")
    page.settle()
    html = page.get("/parts/import", params={"number": number}).text
    assert html.count('data-label="tone"') == 5
    assert set(workspace.tables()) == before
    assert [task["name"] for task in page.get("/api/tasks").json()] == ["experts"]
    assert "No row of the file can be imported" in press_button(page, number)


def test_a_new_question_names_its_columns(page: Page, workspace: Workspace) -> None:
    """The form accepts the text, the key and other columns; a saved task has them."""
    rows = "".join(
        f"r{number},Kettle {number},It boils in {number} minutes.\n" for number in range(7)
    )
    number = drop_file(page, f"id,product,text\n{rows}", "new", "reviews.csv")["number"]
    form = {
        "question": "Praise or blame?",
        "fields": "tone: praise|blame",
        "text": "product",
        "key": "id",
    }
    assert "Did you mean 'product'?" in press_button(page, number, **form | {"text": "prodact"})

    press_button(page, number, **form, **{"with": "text"})
    page.settle()
    html = unescape(page.get("/parts/import", params={"number": number}).text)
    assert "columns sent: 'text', 'product'; not sent: 'id'" in html
    assert 'value="product"' in html

    press_button(page, number, keep="kettles")
    page.settle()
    file = (workspace.data / "tasks/kettles.py").read_text(encoding="utf-8")
    assert 'prompt="text: {text}\\n\\n{product}"' in file


def test_a_tried_question_is_saved_as_a_task(page: Page, workspace: Workspace) -> None:
    """A tried question with a valid name becomes a task with all rows, and its file is deleted."""
    rows = "".join(f"r{number},It boils water in {number} minutes.\n" for number in range(7))
    number = drop_file(page, f"id,text\n{rows}", "new", "Kettle reviews.csv")["number"]
    assert "No question was tried" in press_button(page, number, keep="kettles")

    press_button(page, number, question="Praise or blame?", fields="tone: praise|blame; why: quote")
    page.settle()
    assert 'value="kettle_reviews"' in page.get("/parts/import", params={"number": number}).text
    assert "cannot be called 'experts'" in press_button(page, number, keep="experts")

    press_button(page, number, keep="kettles")
    read = wait_for_import(page, number)
    assert read["state"] == "imported"
    assert read["made"] == "kettles"
    assert list_dropped_files(workspace) == []
    assert "/?task=kettles" in page.get("/parts/import", params={"number": number}).text
    assert "boils water in 6" in page.get("/", params={"task": "kettles"}).text
    assert "imported now" in press_button(page, number, keep="again")
    assert "7 answered" in workspace.ran("tag", "--mode", "live", TASK="kettles").output


def test_a_dropped_file_is_stored_whole_or_not_at_all(
    page: Page, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too long, broken and unauthorised uploads leave no file."""
    monkeypatch.setattr(guard, "MAX_FILE_BYTES", 3 << 20)
    params = {"task": "experts", "name": "p.csv"}
    sent_numbers: list[int] = []

    def send_chunks(count: int, *, is_broken: bool = False) -> Iterator[bytes]:
        for number in range(count):
            sent_numbers.append(number)
            yield b"x" * (1 << 20)
        if is_broken:
            raise ClientDisconnect

    drop_file(page, send_chunks(3), name="x.csv")
    assert page.post(DROP, params=params, content=send_chunks(4)).status_code == 413

    with pytest.raises(ClientDisconnect):
        page.post(DROP, params=params, content=send_chunks(2, is_broken=True))
    sent_numbers.clear()
    # A client without a token may not send even a part.
    stranger = TestClient(
        page.guard, base_url=f"http://{HOST}", cookies=dict(page.browser().cookies)
    )
    assert stranger.post(DROP, params=params, content=send_chunks(1)).status_code == 403
    assert [path.name for path in list_dropped_files(workspace)] == ["x.csv"]

    # The folder of a dead process is deleted, and that of the page at its end.
    part_folder = files.new_part_path(workspace.data / "dropped" / "page")
    dead_folder = part_folder.with_name(part_folder.name.replace(f"{os.getpid():x}-", "7fffffff-"))
    dead_folder.mkdir()
    page.desk.uploads.delete_abandoned()
    assert (dead_folder.exists(), len(list_dropped_files(workspace))) == (False, 1)

    page.desk.close()
    assert not list_dropped_files(workspace)


def test_a_refused_question_stays_in_its_form(page: Page) -> None:
    """The question, the fields and the columns that were refused are not lost."""
    number = drop_file(page, "id,text\nr1,It boils.\nr2,It cools.\n", "new", "reviews.csv")[
        "number"
    ]
    typed = {"question": "Praise & blame?", "fields": "tone: praise|", "text": "text", "key": "id"}
    html = press_button(page, number, **typed)
    assert "has an empty choice" in html
    assert 'required placeholder="Praise or blame? Quote why.">Praise & blame?</textarea>' in html
    for text in ("tone: praise|", "text", "id"):
        assert f'value="{text}"' in html
    assert "No question was tried" in press_button(page, number, keep="reviews")
