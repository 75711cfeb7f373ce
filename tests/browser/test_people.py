"""People on the page, from start to end, in a browser: asked about, added, edited by two, asked again, forgotten."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.browser.seen import Reader, read
from tests.lab import ROOT, Api, Workspace

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]
BIO = "I keep bees and teach water law."
LIVE = ":generateContent"
LATE_S = 600.0  # by the engine's clock
ADDED = "/api/admin/experts"
ADA = "/item?key=ada"


def test_a_spinner_turns_while_the_tags_are_made(workspace: Workspace, api: Api) -> None:
    """It is there until the reply is, a second press adds no person, and the next one can be added at once."""
    workspace.begin()

    def reader(browser: Any, address: str, client: httpx2.Client) -> None:
        """Add a person while the model takes its time."""
        seen = Reader(browser, address)
        tab = seen.tab
        seen.go("/people/new")
        api.configure(latencies={LIVE: {"kind": "constant", "seconds": LATE_S}})
        tab.fill("[name=username]", "ada")
        tab.fill("[name=bio]", BIO)
        tab.focus("#add button")
        tab.keyboard.press("Enter")
        seen.wait_for(".busy", "Generating tags…")
        tab.keyboard.press("Enter")
        api.advance(LATE_S + 1)
        seen.wait_for("#added", "ada is saved")
        seen.until("document.querySelector('.busy').textContent === ''")
        assert tab.input_value("[name=username]") == ""
        tab.click("#added a")
        seen.wait_for("h1", "ada")
        assert client.get("/api/status").json()["experts"]["total"] == 1
        assert seen.complaints == []

    read(workspace, reader)


def test_tags_are_edited_by_keyboard_alone(workspace: Workspace) -> None:
    """Added, renamed, removed, and one edit undone; after each of them the focus is where one goes on."""
    workspace.begin()

    def reader(browser: Any, address: str, client: httpx2.Client) -> None:
        """Edit."""
        client.post(ADDED, json={"username": "ada"})
        seen = Reader(browser, address)
        tab = seen.tab
        seen.go(ADA)
        tab.fill("#who", "Bea")
        tab.fill("#add-tags", "law; art; wax")
        tab.keyboard.press("Enter")
        seen.wait_for("#told", "Edit 1 is stored")
        assert seen.focus == "add-tags"
        tab.focus("#rename-1")
        tab.keyboard.press("Enter")
        seen.until("document.activeElement.name === 'new'")
        tab.keyboard.type("water law")
        tab.keyboard.press("Enter")
        seen.wait_for("#told", "Edit 2 is stored")
        assert seen.focus == "rename-1"
        tab.focus("#remove-1")
        tab.keyboard.press("Enter")
        seen.wait_for("#told", "Edit 3 is stored")
        assert seen.focus == "remove-1"
        tab.focus("#remove-2")
        tab.keyboard.press("Enter")
        seen.wait_for("#told", "Edit 4 is stored")
        assert seen.focus == "add-tags"
        tab.focus("#past")
        tab.keyboard.press("Enter")
        tab.focus("#undo-4")
        tab.keyboard.press("Enter")
        seen.wait_for("#told", "Edit 5 is stored")
        assert seen.focus == "undo-4"
        assert len(client.get("/api/people/ada/tags").json()["tags"]) == 2
        seen.wait_for("#history", "Bea")
        assert seen.complaints == []

    read(workspace, reader)


def test_the_later_of_two_tabs_sees_both_edits(workspace: Workspace) -> None:
    """What changed meanwhile is said and shown, nothing is lost, and it is done all the same once that is wanted."""
    workspace.begin()

    def reader(browser: Any, address: str, client: httpx2.Client) -> None:
        """Edit one person in two tabs."""
        client.post(ADDED, json={"username": "ada"})
        first = Reader(browser, address)
        first.go(ADA)
        later = first.beside()
        first.tab.fill("#who", "Bea")
        for seen, tag in ((first, "law"), (later, "art")):
            seen.tab.fill("#add-tags", tag)
            seen.tab.keyboard.press("Enter")
            seen.wait_for("#tags .tags, #tags [role=alert]", tag if seen is first else "changed meanwhile")
        later.wait_for(".tags", "law")
        later.tab.click("#again")
        later.wait_for(".tags", "art")
        assert client.get("/api/people/ada/tags").json()["tags"] == ["law", "art"]
        assert first.complaints == []

    read(workspace, reader)


@contextmanager
def serving(workspace: Workspace, port: str = "0") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Serve the page from a process of its own, which a test may kill; give the process and its address."""
    command = [sys.executable, "-m", "jobs", "web", "--no-open", "--port", port]
    environ = {**os.environ, **workspace.environ}
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_a_server_that_is_killed_loses_nothing_of_an_open_page(workspace: Workspace) -> None:
    """The page says so, keeps what was typed, and goes on once the server is back, which has another token then."""
    workspace.begin()

    def reader(browser: Any, _address: str, _client: httpx2.Client) -> None:
        """Type, press while the server is gone, and once more after it is back."""
        with serving(workspace) as (process, address):
            seen = Reader(browser, address)
            seen.go("/people/new")
            seen.tab.fill("[name=username]", "ada")
            process.send_signal(signal.SIGKILL)
            process.wait()
        seen.tab.click("#add button")
        seen.wait_for("#added", "cannot be reached")
        seen.wait_for("#away", "does not answer")
        port = address.rpartition("/?")[0].rpartition(":")[2]
        with serving(workspace, port) as (_, anew):
            seen.wait_for("#away", "started again")
            seen.tab.context.new_page().goto(anew)
            seen.wait_for("#told", "there again")
            assert seen.tab.input_value("[name=username]") == "ada"
            seen.tab.click("#add button")
            seen.wait_for("#added", "ada is saved")

    read(workspace, reader)


def test_an_answer_that_comes_takes_nothing_from_one_who_types(
    workspace: Workspace, api: Api, people: Callable[..., list[str]]
) -> None:
    """What was typed stays, is said again on the tags that came, and then the page shows the person anew."""
    people(1)
    api.fault("prompt_blocked", times=100, path=LIVE)
    workspace.ran("tag-live")
    api.clear_faults()

    def reader(browser: Any, address: str, client: httpx2.Client) -> None:
        """Type while the answer comes."""
        seen = Reader(browser, address)
        tab = seen.tab
        seen.go("/item?key=person-0000")
        seen.wait_for("#warnings", "Parked:")
        tab.fill("#who", "Bea")
        tab.focus("#add-tags")
        tab.keyboard.type("wax")
        client.post("/api/tasks/experts/item/ask?key=person-0000")
        while not (answered := client.get("/api/people/person-0000/tags").json()["tags"]):
            tab.wait_for_timeout(50)
        assert (seen.focus, tab.input_value("#add-tags"), tab.input_value("#who")) == ("add-tags", "wax", "Bea")
        tab.keyboard.press("Enter")
        seen.wait_for("#tags [role=alert]", "changed meanwhile")
        tab.click("#again")
        seen.wait_for("#told", "Edit 1 is stored")
        assert client.get("/api/people/person-0000/tags").json()["tags"] == [*answered, "wax"]
        seen.wait_for("h1 .state", "tagged")
        assert seen.complaints == []

    read(workspace, reader)


def test_a_file_is_looked_at_and_then_imported(workspace: Workspace, tmp_path: Path) -> None:
    """What would go in is shown before anything is written; a column that is not known is named by hand.

    Passages come in the same way, where there were none.
    """
    workspace.begin()
    (path := tmp_path / "people.csv").write_text("Username,Zrg\nada,Bees and law.\nbea,Bells.\n")
    (texts := tmp_path / "texts.jsonl").write_text('{"id": "a", "text": "Bells are cast."}\n')

    def reader(browser: Any, address: str, client: httpx2.Client) -> None:
        """Drop it, look, name the column, import."""
        seen = Reader(browser, address)
        tab = seen.tab
        tab.click("#to-import")
        tab.fill("#drop [name=map]", "bio=Zrg")
        tab.set_input_files("#drop [type=file]", path)
        seen.wait_for("#import .figures li:first-child", "2")
        seen.wait_for("#import dd", "Zrg")
        assert client.get("/api/status").json()["experts"]["total"] == 0
        tab.click("#import button.go")
        seen.wait_for("#import .done", "2 added")
        tab.click("text=What comes next")
        seen.wait_for(".figures li:nth-child(3)", "2")
        seen.go("/items")
        tab.click("text=Import a file")
        tab.click("#into-passages")
        tab.set_input_files("#drop [type=file]", texts)
        seen.wait_for("#import .figures li:first-child", "1")
        assert [one["name"] for one in client.get("/api/tasks").json()] == ["experts"]
        tab.click("#import button.go")
        seen.wait_for("#import .done", "1 added")
        tab.click("text=All passages")
        seen.wait_for("#list", "Bells are cast.")
        assert seen.complaints == []

    read(workspace, reader)
