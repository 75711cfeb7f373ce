"""Fields of an answer are edited in the shape of their type, by mouse and by selecting words."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from pipeline.engine.task_file import forget_loaded_files
from tests.browser.seen import reading
from tests.integration import reviews
from tests.integration.web.test_field_forms import ANSWER, TASK_TEXT
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
    shown = client.get("/api/show", params={"task": "reviews", "item": "1"}).json()
    answer: dict[str, Any] = [one for one in shown["answers"] if one["applied"]][-1]["answer"]
    return answer


@pytest.mark.parametrize("looks", [{}, NARROW], ids=["wide", "narrow"])
def test_fields_of_each_type_are_edited(
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    api: Api,
    looks: dict[str, Any],
) -> None:
    """A refusal keeps the typed text; a quotation is selected; lines are added and removed."""
    monkeypatch.chdir(tmp_path)
    reviews.set_up_task(workspace)
    Path("tasks", "reviews.py").write_text(TASK_TEXT, encoding="utf-8")
    forget_loaded_files()
    api.script_fault("answer_text", times=1, args={"text": ANSWER})
    workspace.ran("tag-live", LIMIT="1")
    with reading(workspace, looks) as (reader, tab, client):
        reader.go("/row?task=reviews&key=1")

        def save(field: str, number: int) -> None:
            """Save an open form, and wait for the number of its edit."""
            tab.click(f"#edit-{field}-save")
            reader.wait_for("#answer", f"Saved as edit {number}")

        tab.click("#edit-stars-open")
        tab.fill("#edit-stars-value", "9")
        tab.fill("#edit-stars-who", "Bea")
        tab.click("#edit-stars-save")
        reader.wait_for("#edit-stars-message", "Type a whole number from 1 to 5")
        assert tab.input_value("#edit-stars-value") == "9"
        tab.fill("#edit-stars-value", "3")
        save("stars", 1)

        tab.click("#edit-tone-open")
        tab.select_option("#edit-tone-value", "mixed")
        save("tone", 2)

        tab.click("#edit-why-open")
        tab.focus("#edit-why-value")
        tab.evaluate(SELECT_WORDS, "the lid burned my hand")
        reader.until("document.getElementById('edit-why-value').value.startsWith('the lid')")
        save("why", 3)
        reader.wait_for("#text mark", "the lid burned my hand")

        tab.click("#edit-aspects-open")
        tab.click("#edit-aspects [data-add]")
        tab.fill("[name='value.new1.name']", "speed")
        tab.select_option("[name='value.new1.verdict']", "praise")
        tab.click("#edit-aspects [data-remove] >> nth=0")
        box = tab.locator("[name='value.new1.name']").bounding_box()
        assert box["width"] > 120
        save("aspects", 4)

        tab.click("#edit-topics-open")
        tab.fill("[name='value.0']", "price; tone=praise; stars=5")
        save("topics", 5)
        answer = read_answer(client)
        assert answer["aspects"] == [{"name": "speed", "verdict": "praise"}]
        assert answer["topics"] == ["price; tone=praise; stars=5"]
        assert (answer["tone"], answer["stars"]) == ("mixed", 3)
        assert answer["why"]["quote"] == "the lid burned my hand"
        tab.click("#undo-5")
        reader.wait_for("#one", "Edit 5 undone")
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert reader.violations() == ""
