"""One item on the page: answers and links as people read them, and nothing of it as HTML."""

import json
from pathlib import Path

import pytest

from tests.integration import reviews
from tests.lab import Api, Workspace
from tests.page import Page
from web.views.row import quotations_in

ADD = "/api/admin/experts"
TAGS = "/api/people/ada/tags"


def shown(page: Page, task: str, key: str, **more: str) -> str:
    """Return the page of one item."""
    return page.get("/item", params={"task": task, "key": key, **more}).text


@pytest.mark.sampled(0)
def test_edits_by_hand_have_their_editors_and_a_person_their_name(page: Page, api: Api) -> None:
    """Each edit stands with its own editor and tags; addresses of the web alone are links, and tell of nothing."""
    api.fault("answer_text", times=1, args={"text": '{"tags": ["bees"]}'})
    about = {"username": "ada", "first_name": "Ada", "last_name": "<i>L</i>", "bio": "Bees."}
    page.post(ADD, json={**about, "profile_url": "https://ada.example/?a=1&b=2", "company": "javascript:alert(1)"})
    for who, tag in (("Ünal", "law"), ("bob", "art")):
        page.patch(TAGS, json={"add": [tag], "who": who}, headers={"if-match": "*"})
    found = shown(page, "experts", "ada")
    assert '<h1 data-back>Ada &lt;i&gt;L&lt;/i&gt; <span class="beside">ada</span>' in found
    answers = found[found.index("<h2>Answers") :].split('<div class="answer">')[1:]
    assert [("<b>bob</b>" in one, "<b>Ünal</b>" in one) for one in answers] == [
        (True, False),
        (False, True),
        (False, False),
    ]
    assert [one.count('"tag"') for one in answers] == [3, 2, 1]
    assert '<a href="https://ada.example/?a=1&amp;b=2" target="_blank" rel="noopener noreferrer nofollow">' in found
    assert 'href="javascript' not in found


def test_a_field_that_is_only_called_like_a_place_is_none() -> None:
    """A quotation has numbers for its place; what an own model calls start and end is marked nowhere."""
    own = {"quote": "bees", "start": "spring", "end": None}
    stored = {"quote": "law", "start": 4, "end": 7}
    assert list(quotations_in({"a": own, "b": [stored, {"c": stored}]})) == [(4, 7, "law")] * 2


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
    row, answer = found[: found.index("<h2>Answers")], found[found.index("<h2>Answers") : found.index("As JSON")]
    assert row.count("<mark>") == 2
    assert (
        "<mark>Boils in &lt;i&gt;two&lt;/i&gt; minutes</mark><mark>, but the lid burned my hånd</mark>.</dd>"
    ) in row
    assert "<dt>name</dt><dd>lid</dd><dt>quote</dt><dd><q>&lt;i&gt;two&lt;/i&gt; minutes, but the lid" in answer
    assert "characters 9 to 55</span>" in answer
    assert (answer.count("<dd>true</dd>"), answer.count("<dd>false</dd>")) == (1, 1)
    assert '<span class="tag">speed</span>' in answer
    assert "<pre>" not in answer
    assert "hånd" in found[found.index("As JSON") :]
