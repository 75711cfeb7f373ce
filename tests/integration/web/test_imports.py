"""Import by dropping a file: what would go in is shown first, and only what was shown goes in."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient

from pipeline.core import files
from tests.lab import Workspace
from tests.page import HOST, Page
from web import guard

DROP = "/api/imports"
PEOPLE = "Username,Biograpy,Rate\nada,Bees.,100\nbob,<b>Law</b>.,much\n,nobody,\n"


def drop(page: Page, content: Any, task: str = "experts", name: str = "people.csv") -> dict[str, Any]:
    """Drop a file and wait until it was read."""
    got = page.post(DROP, params={"task": task, "name": name}, content=content)
    assert got.status_code == 202, got.text
    assert got.headers["location"] == f"{DROP}/{got.json()['number']}"
    return over(page, got.json()["number"])


def over(page: Page, number: int) -> dict[str, Any]:
    """Wait until what is under way about a file is over, and return its document."""
    work = page.desk.running.get(page.get(f"{DROP}/{number}").json()["work"])
    assert work is not None
    assert work.thread is not None
    work.thread.join()
    found: dict[str, Any] = page.get(f"{DROP}/{number}").json()
    return found


def kept(workspace: Workspace) -> list[Path]:
    """Return all that is kept of files that were dropped."""
    return [one for one in workspace.data.glob("dropped/**/*") if one.is_file()]


def people(page: Page) -> list[str]:
    """Return the usernames there are."""
    return [one["username"] for one in page.get("/api/tasks/experts/items").json()["items"]]


def test_nothing_is_written_before_it_is_confirmed(page: Page, workspace: Workspace) -> None:
    """Mapping, counts and findings by line; another mapping is read anew; then that goes in, and no file stays."""
    read = drop(page, PEOPLE)
    assert (read["state"], read["name"]) == ("ready", "people.csv")
    assert (read["found"]["added"], read["found"]["rejected"]) == (2, 1)
    assert {one["column"]: one["name"] for one in read["columns"]}["bio"] == "Biograpy"
    assert [(one["line"], one["column"], one["kind"]) for one in read["found"]["findings"]] == [
        (3, "Hourly Rate", "changed"),
        (4, "Username", "rejected"),
    ]
    assert (people(page), len(kept(workspace))) == ([], 1)
    part = page.get("/import", params={"task": "experts", "number": read["number"]}).text
    assert all(one in part for one in ("would be added", "stays out: mend it", 'value="Biograpy"', "a guess"))
    shown = page.post("/parts/import", params={"number": read["number"]}, data={"bio": "", "username": "Username"})
    assert shown.status_code == 200
    cleared = over(page, read["number"])
    assert {one["column"]: one["name"] for one in cleared["columns"]}["bio"] == ""
    wrong = page.put(f"{DROP}/{read['number']}/columns", json={"columns": {"bio": "Moon"}})
    assert wrong.status_code == 202
    refused = over(page, read["number"])
    assert (refused["state"], "no column 'Moon'" in refused["error"]["detail"]) == ("unreadable", True)
    assert str(workspace.data) not in str(refused)
    assert page.post(f"{DROP}/{read['number']}/confirm").status_code == 409
    page.put(f"{DROP}/{read['number']}/columns", json={"columns": {"bio": "Biograpy"}})
    over(page, read["number"])
    assert people(page) == []
    assert page.post("/parts/import", params={"number": read["number"]}, data={"act": "import"}).status_code == 200
    done = over(page, read["number"])
    assert (done["state"], done["done"]["added"], done["done"]["findings"], done["found"]) == ("imported", 2, [], None)
    assert (people(page), kept(workspace)) == (["ada", "bob"], [])
    assert "2</b> people in" in page.get("/parts/import", params={"number": read["number"]}).text
    for again in (f"{DROP}/{read['number']}/confirm", f"{DROP}/{read['number'] + 1}/confirm"):
        assert page.post(again).status_code in {404, 409}


def test_passages_are_dropped_too(page: Page, workspace: Workspace, tmp_path: Path) -> None:
    """By the same address, where there are some; what is given up is gone, and what cannot be read says why."""
    asked = {"task": "passages", "name": "p.jsonl"}
    assert page.post(DROP, params=asked, content=b"").status_code == 404
    first = tmp_path / "first.jsonl"
    first.write_text('{"id": "0", "text": "Law."}\n')
    workspace.ran("import-passages", str(first))
    read = drop(page, b'{"id": "a", "text": "Bees."}\nno json\n', "passages", "../../p.jsonl")
    assert (read["name"], read["found"]["added"], read["found"]["rejected"]) == ("p.jsonl", 1, 1)
    page.post(f"{DROP}/{read['number']}/confirm")
    assert over(page, read["number"])["done"]["added"] == 1
    broken = drop(page, b"", "passages", "...")
    assert (broken["state"], broken["name"]) == ("unreadable", "file")
    assert "is empty" in page.get("/parts/import", params={"number": broken["number"]}).text
    assert page.delete(f"{DROP}/{broken['number']}").status_code == 204
    assert page.get(f"{DROP}/{broken['number']}").status_code == 404
    assert page.post(DROP, params={"task": "moons", "name": "m.csv"}, content=b"").json()["field"] == "task"


def test_a_file_comes_to_the_disk_or_not_at_all(
    page: Page, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the limit it is refused, told or found out; of half a stream nothing stays; a stranger's is not read."""
    monkeypatch.setattr(guard, "MAX_FILE", 3 << 20)
    asked = {"task": "experts", "name": "p.csv"}
    taken: list[int] = []

    def pieces(many: int, *, breaks: bool = False) -> Iterator[bytes]:
        for number in range(many):
            taken.append(number)
            yield b"x" * (1 << 20)
        if breaks:
            raise ClientDisconnect

    assert drop(page, pieces(3), name="x.csv")["size"] == 3 << 20
    assert page.post(DROP, params=asked, content=pieces(4)).status_code == 413
    long = {"content-length": str((3 << 20) + 1)}
    assert page.post(DROP, params=asked, content=b"", headers=long).status_code == 413
    with pytest.raises(ClientDisconnect):
        page.post(DROP, params=asked, content=pieces(2, breaks=True))
    taken.clear()
    stranger = TestClient(page.guard, base_url=f"http://{HOST}", cookies=dict(page.browser().cookies))
    assert stranger.post(DROP, params=asked, content=pieces(1)).status_code == 403
    assert [one.name for one in kept(workspace)] == ["x.csv"]
    left = files.part_of(workspace.data / "dropped" / "page")
    dead = left.with_name(left.name.replace(f"{os.getpid():x}-", "7fffffff-"))
    dead.mkdir()
    page.desk.dropped.sweep()
    assert (dead.exists(), len(kept(workspace))) == (False, 1)
    page.desk.close()
    assert not (workspace.data / "dropped").exists()
