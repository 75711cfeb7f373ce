"""A dropped file is previewed, and imported as previewed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient

from askrows.pipeline.core import files
from askrows.web import guard
from tests.integration import reviews
from tests.integration.web.intake import DROP, drop_file, press_button
from tests.lab import Workspace
from tests.page import HOST, Page


def list_dropped_files(workspace: Workspace) -> list[Path]:
    """Return the stored files of drops."""
    return [path for path in workspace.data.glob("dropped/**/*") if path.is_file()]


def test_no_file_is_dropped_for_a_user_task(workspace: Workspace) -> None:
    """The reply says why the file cannot replace the table, and the page leads to a new task."""
    reviews.set_up_task(workspace).ran("tag", "--dry", TASK="tasks/reviews.py")
    with Page(workspace) as page:
        error = page.post(DROP, params={"task": "reviews", "name": "p.csv"}, content=b"").json()
        assert (error["status"], error["field"]) == (422, "task")
        assert "its table is not stored in the workspace" in error["detail"]
        assert "/add?task=reviews" in page.get("/", params={"task": "reviews"}).text
        assert page.get("/?task=moons").status_code == 404


def test_proposed_line_of_the_header_is_preset(page: Page) -> None:
    """A file with a title is read with the line of its header, which the form has."""
    document = drop_file(page, b"Letters,,2026\nid,pier,text\n1,N,a\n2,S,b\n", task="new")
    assert document["state"] == "ready"
    form = page.get("/parts/import", params={"number": document["number"]}).text
    assert 'name="header" value="2"' in form
    press_button(page, document["number"], task="new", header="9")
    page.settle()
    assert page.get(f"{DROP}/{document['number']}").json()["state"] == "unreadable"


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
