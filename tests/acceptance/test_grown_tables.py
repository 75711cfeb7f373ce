"""A table grows by a newer file on the page."""

from html import unescape
from typing import Any

import httpx2

from tests.acceptance.engine import Engine
from tests.acceptance.page_calls import wait_for_jobs
from tests.acceptance.product import Workspace

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


def test_newer_file_replaces_the_table_of_a_task(workspace: Workspace, api: Engine) -> None:
    """Added, changed and gone rows are told before anything is asked, and open rows are asked."""
    workspace.import_people(1)
    table = workspace.data / "sources/dropped.csv"
    with workspace.serve_page() as client:
        number = _drop(client, "new", TABLE)["number"]
        _press(client, number, **QUESTION)
        _press(client, number, keep="dropped", mode="live")
    workspace.run_command("tag", task="dropped", mode="live")
    request_count = len(api.journal())

    before = table.read_bytes()
    with workspace.serve_page() as client:
        found = _drop(client, "dropped", NEWER_TABLE)
        assert found["found"]["notes"] == ["rows: 1 new, 1 changed, 1 gone"]
        counts = ("added", "updated", "unchanged", "gone")
        assert [found["found"][name] for name in counts] == [1, 1, 2, 1]
        assert table.read_bytes() == before
        assert "1 gone" in _press(client, found["number"])
    assert len(api.journal()) == request_count
    assert table.read_bytes() == NEWER_TABLE.encode()

    workspace.run_command("tag", task="dropped", mode="live")
    rows = workspace.exported_rows("dropped")
    assert [row["id"] for row in rows] == ["a", "c", "d", "e"]
    assert rows[-1]["state"] == "answered"
