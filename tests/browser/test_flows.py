"""Complete flows of a user on the page, by mouse and keyboard, in a browser."""

from collections.abc import Callable

import pytest

from tests.browser.furnished import furnish_images, furnish_passages, furnish_people
from tests.browser.seen import reading
from tests.lab import Api, Workspace

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800), pytest.mark.alike]
BIO = "I keep bees and teach water law."
LIVE = ":generateContent"
ADD_PATH = "/api/admin/experts"
PARTS = ".skip, nav, main"
FIND_FOCUS = f"""(() => {{ const one = document.activeElement; const part = one.closest("{PARTS}");
  const index = "{PARTS}".split(", ").findIndex((name) => part.matches(name));
  return [index, getComputedStyle(one).outlineStyle]; }})()"""

# A medium window, and one that is wide and low.
WINDOWS = ((768, 800), (1280, 560))
COUNT_VERTICAL_SCROLL_BARS = """[document.scrollingElement, document.querySelector("#rows .wide")]
  .filter((element) => element.scrollHeight > element.clientHeight + 1).length"""


@pytest.fixture
def sample(workspace: Workspace, begun: Callable[..., None]) -> Workspace:
    """A workspace with the first people of the sample, tagged and indexed."""

    def prepare() -> None:
        """Add the people."""
        furnish_people(workspace)

    begun(prepare)
    return workspace


def test_person_added_without_gemini_is_tagged_and_indexed_later(
    workspace: Workspace, api: Api
) -> None:
    """The page saves the person, offers tagging with its price later, and rebuilds the index."""
    workspace.begin()
    api.script_fault("status", times=1000, path=LIVE, args={"code": 503})
    with reading(workspace) as (reader, tab, _):
        reader.go("/add?task=experts")
        tab.fill("[name=username]", "ada")
        tab.fill("[name=bio]", BIO)
        tab.click("#add button")
        reader.wait_for("#told", "ada is saved; the answer is asked for in the background")
        reader.go("/")
        reader.wait_for("#begin", "Ask the 1 waiting person · less than $0.01")
        tab.click("#begin")
        reader.wait_for("#told", "Started")
        # Not earlier: the page asks again in the background, and the button would be gone.
        api.clear_faults()
        reader.wait_for("#state", "1 of 1 answered")
        tab.click("nav a:has-text('Search')")
        tab.wait_for_url("**/search**")
        tab.keyboard.press("/")
        tab.keyboard.type("water law")
        tab.keyboard.press("Enter")
        reader.wait_for("#found", "The search is not prepared yet")
        tab.click("#rebuild")
        reader.wait_for("#index", "1 person can be found")
        reader.wait_for(".hits", "ada")


def test_texts_and_images_are_opened(workspace: Workspace) -> None:
    """Concepts are marked in a passage, keys open an image, and a state filters images."""
    furnish_passages(workspace)
    furnish_images(workspace)
    with reading(workspace) as (reader, tab, _):
        tab.click(".tasks summary")
        tab.click(".tasks a:text-is('Passages')")
        reader.until("document.querySelectorAll('#list mark[data-name]').length > 3")
        tab.click(".tasks summary")
        tab.click(".tasks a:text-is('Images')")
        reader.until("document.querySelector('.gallery img').naturalWidth > 0")
        reader.wait_until_loaded()
        tab.keyboard.press("j")
        tab.keyboard.press("Enter")
        tab.wait_for_url("**/row?**")
        reader.until("document.querySelector('.picture')?.naturalWidth > 0")
        tab.keyboard.press("Escape")
        tab.wait_for_url("**task=images")
        tab.click("#facets a:has-text('answered')")
        tab.wait_for_url("**state=**")
        assert tab.locator(".gallery img").count() == 3
        tab.click("#facets a[aria-current]")
        tab.wait_for_url("**task=images")
        tab.click("#facets a:has-text('unusable')")
        reader.wait_for(".none", "0 bytes")


def test_every_element_is_reached_by_tab_and_displays_its_focus(sample: Workspace) -> None:
    """A link to the content comes first, then all elements in reading order with an outline."""
    with reading(sample) as (reader, tab, _):
        for path in ("/", "/row?key=lorcan-d", "/search?q=film", "/settings"):
            reader.go(path)
            tab.wait_for_load_state()
            tab.evaluate("document.activeElement.blur()")
            tops = []
            for _ in range(8):
                tab.keyboard.press("Tab")
                top, outline = tab.evaluate(FIND_FOCUS)
                assert outline != "none", (path, reader.focus)
                tops.append(top)
            assert tops == sorted(tops), (path, tops)
        reader.go("/runs")
        tab.keyboard.press("Tab")
        assert tab.locator(".skip").bounding_box()["width"] > 1
        tab.keyboard.press("Enter")
        assert reader.focus == "main"


def test_the_table_of_rows_has_one_vertical_scroll_bar(sample: Workspace) -> None:
    """If the window is too small for a table with its own scroll bar, the page has the only one."""
    with reading(sample) as (reader, tab, _):
        for width, height in WINDOWS:
            tab.set_viewport_size({"width": width, "height": height})
            reader.go("/")
            reader.wait_until_loaded()
            assert tab.evaluate(COUNT_VERTICAL_SCROLL_BARS) == 1, (width, height)
