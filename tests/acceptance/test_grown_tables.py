"""A table grows: by lines in its file, or by a newer file on the page, with the same result."""

from html import unescape
from typing import Any

import httpx2

from tests.acceptance.engine import Engine
from tests.acceptance.product import Workspace
from tests.acceptance.test_page import wait_for_jobs

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


def _press(client: httpx2.Client, number: int, **form: str) -> str:
    """Submit a form of a dropped file, wait until its work has ended, and return the new part."""
    parameters = {"number": number}
    response = client.post("/parts/import", params=parameters, data=form)
    assert 'role="alert"' not in response.text, response.text
    assert wait_for_jobs(client)[-1]["state"] == "done"
    return unescape(client.get("/parts/import", params=parameters).text)


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
            _press(client, number, **QUESTION)
            _press(client, number, keep=task)
    for task in tables:
        workspace.run_command("tag", task=task, mode="live")
    assert _rows(workspace, "edited") == _rows(workspace, "dropped")
    request_count = len(api.journal())

    tables["edited"].write_text(NEWER_TABLE)
    assert f"edited: {CHANGES}" in workspace.run_command("tag", task="edited", dry=True).stderr

    before = tables["dropped"].read_bytes()
    with workspace.serve_page() as client:
        found = _drop(client, "dropped", NEWER_TABLE)
        assert found["found"]["notes"] == [CHANGES]
        counts = ("added", "updated", "unchanged", "missing")
        assert [found["found"][name] for name in counts] == [1, 1, 2, 1]
        assert tables["dropped"].read_bytes() == before
        assert "1 gone" in _press(client, found["number"])
    assert len(api.journal()) == request_count
    assert tables["dropped"].read_bytes() == tables["edited"].read_bytes()
    assert _rows(workspace, "edited") == _rows(workspace, "dropped")
    assert [row[0] for row in _rows(workspace, "dropped")] == ["a", "c", "d", "e"]

    for task in tables:
        workspace.run_command("tag", task=task, mode="live")
    assert _rows(workspace, "edited") == _rows(workspace, "dropped")
    assert _rows(workspace, "dropped")[-1][3] == "answered"
