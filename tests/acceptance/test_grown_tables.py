"""A table grows: by lines in its file, or by a newer file on the page, with the same result."""

from html import unescape
from typing import Any

import httpx2

from tests.acceptance.engine import Engine
from tests.acceptance.product import Workspace
from tests.acceptance.test_page import wait_for_jobs
from tests.acceptance.test_page_flow import press

QUESTION = {
    "question": "Praise or blame?",
    "field0.name": "tone",
    "field0.kind": "a|b|c",
    "field0.choices": "praise\nblame",
    "role.0": "key",
    "role.1": "text",
}
TABLE = "id,text\na,The kettle boils.\nb,The lid broke.\nc,The lamp hums.\nd,The cord is short."
# A line is added, a line is changed, a line is gone, and the last line ends first.
NEWER_TABLE = TABLE.replace("b,The lid broke.\n", "").replace("hums", "is bright") + "\ne,It drips."
CHANGES = "rows: 1 new, 1 changed, 1 gone"


def _drop(client: httpx2.Client, task: str, content: str) -> Any:
    """Drop a file, wait until it is read, and return its document."""
    parameters = {"task": task, "name": "notes.csv"}
    response = client.post("/api/imports", params=parameters, content=content.encode())
    assert response.status_code == 202, response.text
    wait_for_jobs(client)
    return client.get(response.headers["location"]).json()


def _rows(workspace: Workspace, task: str) -> list[tuple[str, ...]]:
    """Return key, text, answer and state of each row, in the order of the source."""
    names = ("id", "text", "tone", "state")
    return [tuple(row[name] for name in names) for row in workspace.exported_rows(task)]


def test_added_lines_and_a_newer_file_give_the_same_rows(workspace: Workspace, api: Engine) -> None:
    """Added, changed and gone rows are told in the same words before anything is asked."""
    workspace.import_people(1)
    tables = {task: workspace.data / f"sources/{task}.csv" for task in ("edited", "dropped")}
    with workspace.serve_page() as client:
        for task in tables:
            number = _drop(client, "new", TABLE)["number"]
            press(client, number, **QUESTION)
            press(client, number, keep=task)
    for task in tables:
        workspace.run_command("tag", task=task, mode="live")
    assert _rows(workspace, "edited") == _rows(workspace, "dropped")
    request_count = len(api.journal())

    tables["edited"].write_text(NEWER_TABLE)
    told = workspace.run_command("tag", task="edited", dry=True).stderr
    assert told.splitlines()[0] == f"edited: {CHANGES}"

    before = tables["dropped"].read_bytes()
    with workspace.serve_page() as client:
        found = _drop(client, "dropped", NEWER_TABLE)
        assert found["found"]["notes"] == [CHANGES]
        counts = ("added", "updated", "unchanged", "missing")
        assert [found["found"][name] for name in counts] == [1, 1, 2, 1]
        page = unescape(client.get("/parts/import", params={"number": found["number"]}).text)
        assert CHANGES in page
        assert tables["dropped"].read_bytes() == before
        imported = press(client, found["number"])
        assert "1 gone" in imported
    assert len(api.journal()) == request_count
    assert tables["dropped"].read_bytes() == tables["edited"].read_bytes()
    assert _rows(workspace, "edited") == _rows(workspace, "dropped")
    assert [row[0] for row in _rows(workspace, "dropped")] == ["a", "c", "d", "e"]

    for task in tables:
        workspace.run_command("tag", task=task, mode="live")
    assert _rows(workspace, "edited") == _rows(workspace, "dropped")
    assert _rows(workspace, "dropped")[-1][3] == "answered"


def test_a_file_that_cannot_replace_the_table_is_refused(workspace: Workspace) -> None:
    """A file of another format or without a column of the task changes nothing."""
    workspace.import_people(1)
    table = workspace.data / "sources/notes.csv"
    with workspace.serve_page() as client:
        number = _drop(client, "new", TABLE)["number"]
        press(client, number, **QUESTION)
        press(client, number, keep="notes")
        refused = _drop(client, "notes", "id,words\na,It boils.\n")
        assert refused["state"] == "unreadable"
        assert "text" in refused["error"]["detail"]
        response = client.post(
            "/api/imports", params={"task": "notes", "name": "notes.json"}, content=b"[]"
        )
        wait_for_jobs(client)
        error = client.get(response.headers["location"]).json()["error"]
        assert "notes.json is not a .csv file" in error["detail"]
    assert table.read_text() == TABLE
    assert len(_rows(workspace, "notes")) == 4
