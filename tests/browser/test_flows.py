"""What a person does on the page, from start to end, by click and by keyboard, in a browser."""

import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.furnished import furnish_images, furnish_passages, furnish_people
from tests.browser.seen import Reader, chromium, reading, serving
from tests.lab import Api, Workspace

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800), pytest.mark.sampled(0)]
BIO = "I keep bees and teach water law."
LIVE = ":generateContent"
ADDED = "/api/admin/experts"
TAGS = "/api/items?fields=username,tags&find=ada"
ADA = "/row?task=experts&key=ada"
HOSTILE = "<img src=x onerror=alert(1)>"
PARTS = ".skip, nav, main"
FOCUSED = f"""(() => {{ const one = document.activeElement; const part = one.closest("{PARTS}");
  return ["{PARTS}".split(", ").findIndex((name) => part.matches(name)), getComputedStyle(one).outlineStyle]; }})()"""
NAMES = "[...document.querySelectorAll('#list tbody th a')].map((one) => one.textContent)"


@pytest.fixture
def sample(workspace: Workspace, begun: Callable[..., None]) -> Workspace:
    """A workspace with the first people of the sample, tagged and indexed."""

    def prepare() -> None:
        """Make it."""
        furnish_people(workspace)

    begun(prepare)
    return workspace


def test_a_person_added_while_gemini_is_down_is_tagged_indexed_and_found(
    workspace: Workspace, api: Api
) -> None:
    """Saved without tags; once it is back the next step says what it costs and tags; the index is rebuilt; found."""
    workspace.begin()
    api.fault("status", times=1000, path=LIVE, args={"code": 503})
    with reading(workspace) as (seen, tab, _):
        tab.click("text=Add rows")
        tab.fill("[name=username]", "ada")
        tab.fill("[name=bio]", BIO)
        tab.click("#add button")
        seen.wait_for("#added", "Saved without tags")
        api.clear_faults()
        seen.go("/")
        seen.wait_for("#begin", "Ask the 1 open person · $0.00")
        tab.click("#begin")
        seen.wait_for("#told", "begun")
        seen.wait_for("#state", "1 tagged")
        seen.wait_for("#begin", "Bring the search index up to date")
        tab.click("nav a:has-text('Settings')")
        tab.click("#rebuild")
        seen.wait_for("#index", "is in service: 1")
        tab.keyboard.press("/")
        tab.wait_for_url("**/search**")
        tab.fill("[name=q]", "water law")
        tab.press("[name=q]", "Enter")
        seen.wait_for(".hits", "ada")


def test_tags_are_corrected_and_undone_by_keyboard_alone(workspace: Workspace) -> None:
    """After each the focus is where one goes on, and what a person said stands above what a model did."""
    workspace.begin()
    with reading(workspace) as (seen, tab, client):
        client.post(ADDED, json={"username": "ada", "bio": BIO})
        seen.go(ADA)
        tab.focus("#correct-tags summary")
        tab.keyboard.press("Enter")
        tab.fill("#value-tags", "law, art, wax")
        tab.keyboard.press("Tab")
        tab.keyboard.type("Bea")
        tab.keyboard.press("Enter")
        seen.wait_for(".history", "Bea")
        assert seen.focus == "one"
        assert client.get(TAGS).json()["items"][0]["tags"] == ["law", "art", "wax"]
        tab.focus("#undo-1")
        tab.keyboard.press("Enter")
        seen.wait_for(".history", "undid edit 1")
        assert "law" not in client.get(TAGS).json()["items"][0]["tags"]


def test_a_file_is_looked_at_and_then_imported(workspace: Workspace, tmp_path: Path) -> None:
    """Its first rows stand under the columns they go to before anything is written; one is named by hand.

    Passages come in the same way, where there were none.
    """
    workspace.begin()
    (path := tmp_path / "people.csv").write_text("Username,Zrg\nada,Bees and law.\nbea,Bells.\n")
    (texts := tmp_path / "texts.jsonl").write_text('{"id": "a", "text": "Bells are cast."}\n')
    with reading(workspace) as (seen, tab, client):
        seen.go("/add")
        tab.click("text=Columns by other names")
        tab.fill("#drop [name=map]", "bio=Zrg")
        tab.set_input_files("#drop [type=file]", path)
        seen.wait_for("#import", "2 would be added")
        seen.wait_for("#import th", "goes to Bio")
        seen.wait_for("#import td", "Bells.")
        assert client.get("/api/status").json()["experts"]["total"] == 0
        tab.click("#import button.first")
        seen.wait_for("#import", "2 added")
        tab.click("text=To the people")
        seen.wait_for("#state", "2 open")
        tab.click(".tasks summary")
        tab.click("text=Add or import")
        tab.check("[name=task][value=passages]")
        tab.set_input_files("#drop [type=file]", texts)
        seen.wait_for("#import", "1 would be added")
        assert [one["name"] for one in client.get("/api/tasks").json()] == ["experts"]
        tab.click("#import button.first")
        seen.wait_for("#import", "1 added")
        tab.click("text=To the passages")
        seen.wait_for("#list", "Bells are cast.")


def test_a_build_is_rolled_back_after_asking(workspace: Workspace) -> None:
    """Two builds; a no leaves all as it is, a yes puts the first one back, and all is checked."""
    workspace.begin()
    with reading(workspace) as (seen, tab, client):
        for number, name in enumerate(("ada", "bea"), start=1):
            client.post(ADDED, json={"username": name, "bio": BIO})
            seen.go("/settings")
            tab.click("#rebuild")
            seen.wait_for("#index", f"Build {number} is in service")
        tab.once("dialog", lambda dialog: dialog.dismiss())
        tab.click("#rollback")
        assert client.get("/api/status").json()["index"]["build"] == 2
        tab.once("dialog", lambda dialog: dialog.accept())
        tab.click("#rollback")
        seen.wait_for("#index", "Build 1 is in service")
        tab.click("#check")
        seen.wait_for("#doctor", "checks passed")


def test_texts_and_images_are_opened(workspace: Workspace) -> None:
    """A passage has its concepts marked in its text; j and Enter open an image, a count shows those of one tag."""
    furnish_passages(workspace)
    furnish_images(workspace)
    with reading(workspace) as (seen, tab, _):
        tab.click(".tasks summary")
        tab.click(".tasks a:text-is('Passages')")
        seen.until("document.querySelectorAll('#list mark[data-name]').length > 3")
        tab.click(".tasks summary")
        tab.click(".tasks a:text-is('Images')")
        seen.until("document.querySelector('.gallery img').naturalWidth > 0")
        tab.keyboard.press("j")
        tab.keyboard.press("Enter")
        tab.wait_for_url("**/row?**")
        seen.until("document.querySelector('.picture')?.naturalWidth > 0")
        tab.keyboard.press("Escape")
        tab.wait_for_url("**task=images")
        tab.click("#facets a:has-text('green')")
        tab.wait_for_url("**tag=green**")
        assert tab.locator(".gallery img").count() == 1
        tab.click("#facets a[aria-current]")
        tab.wait_for_url("**task=images")
        tab.click("#facets a:has-text('cannot be opened')")
        seen.wait_for(".none", "0 bytes")


def test_what_happens_elsewhere_is_seen_without_losing_the_focus(workspace: Workspace) -> None:
    """A person whom a program adds is counted on the open page; what has the focus keeps it while nothing changes."""
    workspace.begin()
    with reading(workspace) as (seen, tab, client):
        seen.wait_for("#state", "none open")
        assert client.post(ADDED, json={"username": HOSTILE}).status_code == 201
        seen.wait_for("#state", "1 without a bio")
        tab.focus("#state a >> nth=0") if tab.locator("#state a").count() else tab.focus("#find")
        has = seen.focus
        with tab.expect_response("**/parts/state?*"), tab.expect_response("**/parts/state?*"):
            pass
        assert seen.focus == has
        tab.reload()
        seen.wait_for("#list", HOSTILE)


def test_a_server_that_is_killed_loses_nothing_of_an_open_page(workspace: Workspace) -> None:
    """The page says so, keeps what was typed, and goes on once the server is back, which has another token then."""
    workspace.begin()
    with chromium() as browser:
        with serving(workspace) as (process, address):
            reader = Reader(browser, address)
            reader.go("/add")
            reader.tab.fill("[name=username]", "ada")
            process.send_signal(signal.SIGKILL)
            process.wait()
        reader.tab.click("#add button")
        reader.wait_for("#added", "cannot be reached")
        reader.wait_for("#away", "does not answer")
        port = address.rpartition("/?")[0].rpartition(":")[2]
        with serving(workspace, port) as (_, anew):
            reader.wait_for("#away", "started again")
            reader.tab.context.new_page().goto(anew)
            reader.wait_for("#told", "there again")
            assert reader.tab.input_value("[name=username]") == "ada"
            reader.tab.click("#add button")
            reader.wait_for("#added", "ada is saved")


def test_all_is_reached_by_the_tab_key_and_what_has_the_focus_is_seen(sample: Workspace) -> None:
    """First a link to the content, which goes there; then all in the order of reading, each with an outline."""
    with reading(sample) as (seen, tab, _):
        for path in ("/", "/row?key=lorcan-d", "/search?q=film", "/settings"):
            seen.go(path)
            tab.wait_for_load_state()
            tab.evaluate("document.activeElement.blur()")
            tops = []
            for _ in range(10):
                tab.keyboard.press("Tab")
                top, outline = tab.evaluate(FOCUSED)
                assert outline != "none", (path, seen.focus)
                tops.append(top)
            assert tops == sorted(tops), (path, tops)
        seen.go("/runs")
        tab.keyboard.press("Tab")
        assert tab.locator(".skip").bounding_box()["x"] > 0
        tab.keyboard.press("Enter")
        assert seen.focus == "main"
        tab.click("main .list a >> nth=0")
        seen.wait_for("main h1", "Batch 1")
        with tab.expect_download() as taken:
            tab.click("text=Requests")
        assert re.search(r"000001-requests.jsonl$", taken.value.suggested_filename)
