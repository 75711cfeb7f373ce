"""What stays open between requests sees what other commands do, and is opened anew where another takes its place."""

import shutil

import pytest

from tests.lab import Workspace
from tests.page import Page
from web import kept


@pytest.fixture
def page(page: Page, monkeypatch: pytest.MonkeyPatch) -> Page:
    """A page that looks before each request whether what it has open is as it would be opened."""
    monkeypatch.setattr(kept, "FRESH_S", -1.0)
    monkeypatch.setattr(kept, "KEPT_S", 120.0)
    return page


def opened(page: Page) -> object:
    """Return what is open to be read."""
    with page.desk.to_read() as ws:
        return ws


def test_what_is_open_is_renewed(page: Page, workspace: Workspace) -> None:
    """Another program's row gets its score, a task that is begun is there: in the workspace that is open."""
    before = opened(page)
    workspace.change("INSERT INTO experts (username, bio) VALUES ('ada', 'Keeps bees.')")
    (listed,) = page.get("/api/tasks/experts/items").json()["items"]
    assert (listed["username"], listed["findability_score"] > 0) == ("ada", True)
    assert [one["name"] for one in page.get("/api/tasks").json()] == ["experts"]
    (path := workspace.data.with_name("p.csv")).write_text("id,content\n1,Bees fly.\n")
    workspace.ran("import-passages", str(path))
    assert [one["name"] for one in page.get("/api/tasks").json()] == ["experts", "passages"]
    assert opened(page) is before


@pytest.mark.sqlite_only("a file of which another takes the place")
def test_another_database_is_opened_anew(page: Page, workspace: Workspace) -> None:
    """A file that took the place of the one that is open is read; one that is gone is said."""
    database, aside = workspace.data / "findable.db", workspace.data.with_name("aside.db")
    before = opened(page)
    assert opened(page) is before
    page.desk.close()
    shutil.copy(database, aside)
    again = opened(page)
    workspace.change("INSERT INTO experts (username) VALUES ('ada')")
    aside.replace(database)
    for ending in ("-wal", "-shm"):
        database.with_name(database.name + ending).unlink(missing_ok=True)
    assert page.get("/api/tasks/experts/items").json()["items"] == []
    assert opened(page) is not again
