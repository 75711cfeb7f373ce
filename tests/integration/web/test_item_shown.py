"""One item on the page: answers and links as people read them, and nothing of it as HTML."""

import json
import re
from pathlib import Path

import pytest

from tests.integration import reviews
from tests.lab import Api, Workspace
from tests.page import Page
from web.views.row import color_quotations

ADD = "/api/admin/experts"


def shown(page: Page, task: str, key: str, **options: str) -> str:
    """Return the page of one item."""
    return page.get("/row", params={"task": task, "key": key, **options}).text


def test_a_field_that_is_only_called_like_a_place_is_none() -> None:
    """A quotation has numbers for its place; what an own model calls start and end is marked nowhere."""
    own = {"quote": "bees", "start": "spring", "end": None}
    stored = {"quote": "law", "start": 4, "end": 7}
    _, marks = color_quotations({"a": own, "b": [stored, {"c": stored}]})
    assert [mark[:3] for mark in marks] == [(4, 7, "law")] * 2


def test_an_answer_of_parts_is_laid_out_and_its_quotations_are_marked(
    workspace: Workspace, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts stand one below the other, in words and not as JSON; the row shows what is quoted, nothing of it twice."""
    monkeypatch.chdir(tmp_path)
    reviews.set_up_task(
        workspace, **{"1": "Boils in <i>two</i> minutes, but the lid burned my hånd."}
    )
    part = (
        "class Part(BaseModel):\n    name: str\n    quote: Quote\n    good: bool\n\n\nclass Answer"
    )
    path = reviews.write_task_file()
    path.write_text(
        path.read_text()
        .replace("    quote: Quote\n", "    parts: list[Part]\n")
        .replace("class Answer", part)
    )
    parts = [
        {"name": "speed", "quote": "Boils in <i>two</i> minutes", "good": True},
        {"name": "lid", "quote": "<i>two</i> minutes, but the lid burned my hånd", "good": False},
    ]
    api.fault(
        "answer_text",
        times=1,
        args={"text": json.dumps({"praise": ["speed"], "parts": parts, "stars": None})},
    )
    workspace.ran("tag-live", LIMIT="1")
    with Page(workspace) as page:
        found = shown(page, "reviews", "1")
    at = found.index("<h2>Answer")
    row = found[:at]
    answer = found[at : found.index("<h2>History")]
    first, second = re.findall(r'<mark class="h(\d)" data-name="(\w+)">([^<]*)</mark>', row)
    assert [first[1:], second[1:]] == [
        ("speed", "Boils in &lt;i&gt;two&lt;/i&gt; minutes"),
        ("lid", ", but the lid burned my hånd"),
    ]
    assert first[0] != second[0]
    for hue, said in (
        (second[0], "&lt;i&gt;two&lt;/i&gt; minutes, but the lid"),
        (first[0], "Boils in &lt;i&gt;two"),
    ):
        assert f'<q class="h{hue}">{said}' in answer
    assert '<span class="chip">speed</span>' in answer
    assert "<pre>" not in answer
