"""One item on the page: answers and links as people read them, and nothing of it as HTML."""

import json
import re
from pathlib import Path

import pytest

from tests.integration import reviews
from tests.lab import Api, Workspace
from tests.page import Page
from web.views.row import coloured

ADD = "/api/admin/experts"


def shown(page: Page, task: str, key: str, **more: str) -> str:
    """Return the page of one item."""
    return page.get("/row", params={"task": task, "key": key, **more}).text


@pytest.mark.sampled(0)
def test_edits_by_hand_have_their_editors_and_a_person_their_name(page: Page, api: Api) -> None:
    """Each edit stands with its own editor and tags; addresses of the web alone are links, and tell of nothing."""
    api.fault("answer_text", times=1, args={"text": '{"tags": ["bees"]}'})
    about = {"username": "ada", "first_name": "Ada", "last_name": "<i>L</i>", "bio": "Bees."}
    page.post(ADD, json={**about, "profile_url": "https://ada.example/?a=1&b=2", "company": "javascript:alert(1)"})
    for who, tags in (("Ünal", ["bees", "law"]), ("bob", ["bees", "law", "art"])):
        page.post("/api/correct", json={"item": "ada", "set": f"tags={json.dumps(tags)}", "who": who})
        page.settle()
    found = shown(page, "experts", "ada")
    assert '<h1 data-back>Ada &lt;i&gt;L&lt;/i&gt;</h1><span class="soft small">ada</span>' in found
    history = found[found.index("<h2>History") :].split("<li>")[1:]
    assert [one.partition("</b>")[0] for one in history[:2]] == ["<b>bob", "<b>Ünal"]
    assert [re.findall("<ins>(.*?)</ins>", one) for one in history[:3]] == [["bees, law, art"], ["bees, law"], []]
    answer = found[found.index("<h2>Answer") : found.index("<h2>History")]
    assert re.findall('<span class="chip">(.*?)</span>', answer) == ["bees", "law", "art"]
    assert '<a href="https://ada.example/?a=1&amp;b=2" target="_blank" rel="noopener noreferrer nofollow">' in found
    assert 'href="javascript' not in found


def test_a_field_that_is_only_called_like_a_place_is_none() -> None:
    """A quotation has numbers for its place; what an own model calls start and end is marked nowhere."""
    own = {"quote": "bees", "start": "spring", "end": None}
    stored = {"quote": "law", "start": 4, "end": 7}
    _, marks = coloured({"a": own, "b": [stored, {"c": stored}]})
    assert [one[:3] for one in marks] == [(4, 7, "law")] * 2


def test_an_answer_of_parts_is_laid_out_and_its_quotations_are_marked(
    workspace: Workspace, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts stand one below the other, in words and not as JSON; the row shows what is quoted, nothing of it twice."""
    monkeypatch.chdir(tmp_path)
    reviews.put(workspace, **{"1": "Boils in <i>two</i> minutes, but the lid burned my hånd."})
    part = "class Part(BaseModel):\n    name: str\n    quote: Quote\n    good: bool\n\n\nclass Answer"
    path = reviews.declare()
    path.write_text(
        path.read_text().replace("    quote: Quote\n", "    parts: list[Part]\n").replace("class Answer", part)
    )
    parts = [
        {"name": "speed", "quote": "Boils in <i>two</i> minutes", "good": True},
        {"name": "lid", "quote": "<i>two</i> minutes, but the lid burned my hånd", "good": False},
    ]
    api.fault("answer_text", times=1, args={"text": json.dumps({"praise": ["speed"], "parts": parts, "stars": None})})
    workspace.ran("tag-live", LIMIT="1")
    with Page(workspace) as page:
        found = shown(page, "reviews", "1")
    at = found.index("<h2>Answer")
    row, answer = found[:at], found[at : found.index("<h2>History")]
    first, second = re.findall(r'<mark class="h(\d)" data-name="(\w+)">([^<]*)</mark>', row)
    assert [first[1:], second[1:]] == [
        ("speed", "Boils in &lt;i&gt;two&lt;/i&gt; minutes"),
        ("lid", ", but the lid burned my hånd"),
    ]
    assert first[0] != second[0]
    for hue, said in ((second[0], "&lt;i&gt;two&lt;/i&gt; minutes, but the lid"), (first[0], "Boils in &lt;i&gt;two")):
        assert f'<q class="h{hue}">{said}' in answer
    assert '<span class="chip">speed</span>' in answer
    assert "<pre>" not in answer
