"""Fields of an answer are edited in the shape of their type, by mouse and by selecting words."""

from typing import Any

import httpx2
import pytest

from tests.browser.seen import reading
from tests.integration.web.reviewed import answer_two_rows
from tests.lab import Api, Workspace

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800), pytest.mark.alike]
NARROW = {"viewport": {"width": 360, "height": 720}}
# Select words of the displayed text, as a mouse does.
SELECT_WORDS = """(words) => {
  const walker = document.createTreeWalker(document.getElementById("text"), NodeFilter.SHOW_TEXT);
  while (!walker.nextNode().data.includes(words));
  const node = walker.currentNode;
  const start = node.data.indexOf(words);
  document.getSelection().setBaseAndExtent(node, start, node, start + words.length);
}"""


def read_answer(client: httpx2.Client) -> dict[str, Any]:
    """Return the answer in force."""
    shown = client.get("/api/show", params={"task": "reviews", "row": "1"}).json()
    answer: dict[str, Any] = [one for one in shown["answers"] if one["applied"]][-1]["answer"]
    return answer


def test_a_late_reply_keeps_another_open_form(workspace: Workspace, api: Api) -> None:
    """Text that is typed while another field is saved stays, and is saved next."""
    answer_two_rows(workspace, api)
    late_responses: list[tuple[Any, Any]] = []

    def delay_first(route: Any) -> None:
        """Keep the first response."""
        if late_responses:
            route.continue_()
        else:
            late_responses.append((route, route.fetch()))

    with reading(workspace) as (reader, tab, client):
        reader.go("/row?task=reviews&key=1")
        tab.route("**/parts/row?*", delay_first)
        tab.click("#edit-stars-open")
        tab.fill("#edit-stars-value", "4")
        tab.click("#edit-stars-save")
        tab.fill("#who-name", "Bea")
        tab.keyboard.press("Enter")
        while not late_responses:
            tab.wait_for_timeout(50)
        tab.click("#edit-topics-open")
        tab.fill("[name='value.0']", "heat")
        route, response = late_responses[0]
        route.fulfill(response=response)
        reader.wait_for("#answer dd:has(#edit-stars) .ok", "Saved")
        assert reader.focus == "edit-topics-value.0"
        tab.click("#edit-topics-save")
        reader.wait_for("#answer dd:has(#edit-topics) .ok", "Saved")
        assert read_answer(client)["topics"] == ["heat"]


def test_a_choice_that_is_corrected_in_the_table_stays_and_is_marked(
    workspace: Workspace, api: Api
) -> None:
    """Two clicks correct it; the row keeps its place in a filter, and its message undoes it."""
    answer_two_rows(workspace, api)
    with reading(workspace) as (reader, tab, client):
        reader.go("/?task=reviews&only=tone+%3D+'praise'")
        reader.wait_until_loaded()
        tab.click("button.choice >> nth=0")
        tab.select_option("form.cell select", "blame")
        tab.fill("#who-name", "Bea")
        tab.keyboard.press("Enter")
        reader.wait_for("td .saved", "Saved")
        reader.wait_for("#rows .gallery", "No row matches")
        assert tab.locator("#rows tbody tr").count() == 1
        assert read_answer(client)["tone"] == "blame"
        tab.click("td .saved button")
        reader.wait_for("td .saved", "Undone")
        assert read_answer(client)["tone"] == "praise"
        tab.click("button.choice >> nth=0")
        tab.select_option("form.cell select", "mixed")
        reader.wait_for("td .saved", "Saved")
        reader.go("/?task=reviews")
        assert tab.locator("button.choice.corrected").inner_text() == "mixed"


def test_a_filter_that_cannot_be_read_is_refused_beside_its_field(
    workspace: Workspace, api: Api
) -> None:
    """The sentence is there until the filter is right."""
    answer_two_rows(workspace, api)
    with reading(workspace) as (reader, tab, _):
        reader.go("/?task=reviews")
        tab.click("summary:has-text('Advanced filter')")
        tab.fill("[name=where]", "price between 10 and 30")
        reader.until("document.getElementById('find-message').textContent.length > 20")
        tab.fill("[name=where]", "stars > 2")
        reader.until("!document.getElementById('find-message').textContent")
        # The browser itself reports the status of a refused request.
        assert all("422" in complaint for complaint in reader.complaints)
        reader.complaints.clear()


@pytest.mark.parametrize("looks", [{}, NARROW], ids=["wide", "narrow"])
def test_fields_of_each_type_are_edited(
    workspace: Workspace,
    api: Api,
    looks: dict[str, Any],
) -> None:
    """A refusal keeps the typed text; a quotation is selected; lines are added and removed."""
    answer_two_rows(workspace, api)
    with reading(workspace, looks) as (reader, tab, client):
        reader.go("/row?task=reviews&key=1")

        def save(field: str) -> None:
            """Save an open form, and wait for its message."""
            tab.click(f"#edit-{field}-save")
            reader.wait_for(f"#answer dd:has(#edit-{field}) .ok", "Saved")

        tab.click("#edit-stars-open")
        tab.fill("#edit-stars-value", "9")
        tab.click("#edit-stars-save")
        tab.fill("#who-name", "Bea")
        tab.keyboard.press("Enter")
        reader.wait_for("#edit-stars-message", "Stars must be less than or equal to 5")
        assert tab.input_value("#edit-stars-value") == "9"
        tab.fill("#edit-stars-value", "3")
        save("stars")

        tab.click("#edit-why-open")
        tab.fill("#edit-why-value", "no such words")
        tab.click("#edit-why-save")
        reader.wait_for("#edit-why-message", "does not contain these words")
        tab.evaluate(SELECT_WORDS, "the lid burned my hand")
        reader.until("document.getElementById('edit-why-value').value.startsWith('the lid')")
        save("why")
        reader.wait_for("#text mark", "the lid burned my hand")

        tab.click("#edit-aspects-open")
        tab.click("#edit-aspects [data-add]")
        tab.fill("[name='value.new1.name']", "speed")
        tab.select_option("[name='value.new1.verdict']", "praise")
        tab.click("#edit-aspects [data-remove] >> nth=0")
        box = tab.locator("[name='value.new1.name']").bounding_box()
        assert box["width"] > 120
        save("aspects")

        answer = read_answer(client)
        assert answer["aspects"] == [{"name": "speed", "verdict": "praise"}]
        assert answer["stars"] == 3
        assert answer["why"]["quote"] == "the lid burned my hand"
        tab.click("#undo-3")
        reader.wait_for("#one", "Undone")
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert reader.violations() == ""
