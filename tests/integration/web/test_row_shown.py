"""A row on the page: answers and links for people, without HTML of the answer."""

import json
import re
from pathlib import Path

import pytest

from askrows.web.quotation_marks import color_quotations
from tests.integration import reviews
from tests.lab import Api, Workspace
from tests.page import Page


def read_page(page: Page, task: str, key: str, **options: str) -> str:
    """Return the page of a row."""
    return page.get("/row", params={"task": task, "key": key, **options}).text


def test_only_numbers_mark_a_quotation() -> None:
    """Fields of a user's model named start and end mark nothing."""
    user_answer = {"quote": "bees", "start": "spring", "end": None}
    quotation = {"quote": "law", "start": 4, "end": 7}
    _, marks = color_quotations({"a": user_answer, "b": [quotation, {"c": quotation}]})
    assert [mark[:3] for mark in marks] == [(4, 7, "law")] * 2


@pytest.mark.full
def test_an_answer_of_parts_is_laid_out_and_its_quotations_are_marked(
    workspace: Workspace,
    api: Api,
) -> None:
    """Parts appear as words below each other; the row marks each quotation once."""
    reviews.set_up_task(
        workspace, **{"1": "Boils in <i>two</i> minutes, but the lid burned my hånd."}
    )
    part = (
        "class Part(BaseModel):\n    name: str\n    quote: Quote\n    good: bool\n\n\nclass Answer"
    )
    path = reviews.write_task_file()
    # Give the task an answer with a list of parts.
    path.write_text(
        path.read_text()
        .replace("    quote: Quote\n", "    parts: list[Part]\n")
        .replace("class Answer", part)
    )
    parts = [
        {"name": "speed", "quote": "Boils in <i>two</i> minutes", "good": True},
        {"name": "lid", "quote": "<i>two</i> minutes, but the lid burned my hånd", "good": False},
    ]
    api.script_fault(
        "answer_text",
        times=1,
        args={"text": json.dumps({"praise": ["speed"], "parts": parts, "stars": None})},
    )
    workspace.ran("tag-live", LIMIT="1")
    with Page(workspace) as page:
        html = read_page(page, "reviews", "1")

    answer_index = html.index("<h2>Answer")
    row_html = html[:answer_index]
    answer_html = html[answer_index : html.index("<h2>History")]
    first, second = re.findall(r'<mark class="h(\d)" data-name="(\w+)">([^<]*)</mark>', row_html)
    assert [first[1:], second[1:]] == [
        ("speed", "Boils in &lt;i&gt;two&lt;/i&gt; minutes"),
        ("lid", ", but the lid burned my hånd"),
    ]
    assert first[0] != second[0]

    for hue, text in (
        (second[0], "&lt;i&gt;two&lt;/i&gt; minutes, but the lid"),
        (first[0], "Boils in &lt;i&gt;two"),
    ):
        assert f'<q class="h{hue}" dir="auto">{text}' in answer_html
    assert '<span class="chip" dir="auto">speed</span>' in answer_html
    assert "<pre>" not in answer_html


@pytest.mark.full
def test_the_index_is_named_only_if_it_differs(workspace: Workspace) -> None:
    """A row says whether the index has an earlier state, lacks it, or is up to date."""
    reviews.set_up_task(workspace)
    path = reviews.write_task_file()
    source = path.read_text().replace('prompt="{text}"', 'prompt="{text}", index="{text}"')
    path.write_text(source)
    workspace.ran("tag", TASK="tasks/reviews.py", MODE="live", LIMIT="1", YES="1")
    workspace.ran("index")
    with Page(workspace) as page:

        def read_note(key: str) -> str:
            """Return the note about the index on the page of a row."""
            html = read_page(page, "reviews", key)
            note = re.search(r">([^<>]*)<a href=\"[^\"]*#index\">Update the search", html)
            return note[1].strip() if note else ""

        # Row 2 is open: an update of the index would not add it.
        assert [read_note("1"), read_note("2")] == ["", ""]

        table = Path("tasks", "reviews.csv")
        table.write_text(table.read_text(encoding="utf-8").replace("Boils", "Sings"), "utf-8")
        page.post("/api/tasks/reviews/rows/ask", json={"ids": ["1", "2"]})
        page.settle()
        assert read_note("1") == "The search finds this row by an earlier text or answer."
        assert read_note("2") == "The search does not find this row yet."

        # The list of rows says how they were asked, but not that the search was prepared.
        page.post("/api/index", params={"task": "reviews", "cost": 1}, json={})
        page.settle()
        state = page.get("/parts/state", params={"task": "reviews"}).text
        assert ("2 of 2 answered" in state, "Preparing the search" in state) == (True, False)


@pytest.mark.alike
def test_the_asked_text_is_before_the_other_columns(workspace: Workspace) -> None:
    """A short text that is asked about is the first column of the row's page."""
    Path("boats.csv").write_text(
        f"id,owner,note,remark\n1,Ada Penhallow,{'The owner told us. ' * 9},Leaks.\n",
        encoding="utf-8",
    )
    workspace.ran(
        "ask", "boats.csv", "Does it leak?", FIELDS="leak: yes|no", TEXT="remark", NAME="boats"
    )
    with Page(workspace) as page:
        shown_text = read_page(page, "boats", "1").partition('id="text"')[2]
    places = [shown_text.index(name) for name in ("<dt>remark", ">Note</h2>", "<dt>owner")]
    assert places == sorted(places)
