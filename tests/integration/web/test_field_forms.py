"""Each field of an answer is corrected in the shape of its type, and no other field changes."""

import re
from html import unescape
from typing import Any

import pytest

from tests.page import Page

ROW = {"task": "reviews", "key": "1"}
IS_PART = {"hx-request": "true"}


@pytest.fixture(name="page")
def _page(reviewed_page: Page) -> Page:
    """Open the page of a task with a field of each type."""
    return reviewed_page


def _submit(page: Page, field: str, **form: str) -> str:
    """Save a field with the state that the page shows, and return the new part."""
    state = re.findall(r'name="state" value="(\w+)"', unescape(page.get("/row", params=ROW).text))[
        0
    ]
    data = {"act": "correct", "state": state, "field": field, "who": "Bea", **form}
    return unescape(page.post("/parts/row", params=ROW, data=data, headers=IS_PART).text)


def _read_answer(page: Page) -> dict[str, Any]:
    """Return the answer in force."""
    answers = page.get("/api/show", params={"task": "reviews", "row": "1"}).json()["answers"]
    answer: dict[str, Any] = [answer for answer in answers if answer["applied"]][-1]["answer"]
    return answer


@pytest.mark.full
@pytest.mark.alike
def test_only_the_submitted_field_changes(page: Page) -> None:
    """A text with the grammar of the command is a text, and each type is stored as such."""
    before = _read_answer(page)
    part = _submit(page, "topics", **{"value.0": "price; tone=mixed; stars=5", "value.7": " "})
    assert "Saved" in part
    assert _read_answer(page) == {**before, "topics": ["price; tone=mixed; stars=5"]}

    _submit(page, "tone", value="mixed")
    _submit(page, "stars", value="")
    _submit(page, "is_urgent", value="true")
    _submit(page, "why", value="the lid burned my hand")
    _submit(page, "aspects", **{"value.new1.name": "heat", "value.new1.verdict": "praise"})
    answer = _read_answer(page)
    assert answer["why"] == {"quote": "the lid burned my hand", "start": 26, "end": 48}
    assert answer["aspects"] == [{"name": "heat", "verdict": "praise"}]
    assert (answer["tone"], answer["stars"], answer["is_urgent"]) == ("mixed", None, True)

    _submit(page, "is_urgent")
    _submit(page, "topics")
    assert _read_answer(page) == {**answer, "is_urgent": False, "topics": []}
    part = _submit(page, "", undo="8")
    assert "Undone" in part
    assert 'id="undo-7"' in part
    assert 'id="undo-8"' not in part
    assert _read_answer(page)["topics"] == ["price; tone=mixed; stars=5"]


@pytest.mark.full
@pytest.mark.alike
def test_a_choice_is_corrected_in_its_cell(page: Page) -> None:
    """A cell has the choices and the state of its answer, and is refused in another state."""
    rows = page.get("/", params={"task": "reviews"}).text
    assert 'data-field="tone"' in rows
    assert '<tr id="row-' in rows
    address = "/parts/cell?task=reviews&key=1&field=tone"
    form = page.get(address).text
    assert re.findall(r'<option value="(\w+)"', form) == ["praise", "blame", "mixed"]
    state = re.findall(r'name="state" value="(\w+)"', form)[0]
    data = {"field": "tone", "value": "blame", "state": state, "who": "Bea"}
    assert '<span class="chip h1" dir="auto">blame</span>' in page.post(address, data=data).text
    assert "changed this answer meanwhile" in page.post(address, data=data).text
    assert _read_answer(page)["tone"] == "blame"


@pytest.mark.full
@pytest.mark.alike
def test_a_refused_form_keeps_its_texts_and_says_why(page: Page) -> None:
    """The message is beside the field in plain words; nothing is stored."""
    before = _read_answer(page)
    for field, form, message in (
        ("stars", {"value": "9"}, "Stars must be less than or equal to 5"),
        ("stars", {"value": "two"}, "Stars must be a valid integer"),
        ("tone", {"value": "glad"}, "Tone must be "),
        ("why", {"value": "It is green"}, "The text does not contain these words"),
        ("why", {"value": ""}, "The text does not contain these words"),
        (
            "topics",
            dict.fromkeys(("value.0", "value.1", "value.2", "value.3"), "ab"),
            "Topics must have at most 3 items",
        ),
        (
            "aspects",
            {"value.0.name": "x" * 21, "value.0.verdict": "blame"},
            "Aspects.0.name must have at most 20 characters",
        ),
        ("tone", {"value": "mixed", "who": ""}, "Type your name"),
    ):
        part = _submit(page, field, **form)
        opened = re.search(rf'<details id="edit-{field}" data-edit open>', part)
        assert opened, (field, part)
        alert = re.findall(r'role="alert">([^<]*)<', part)
        assert len(alert) == 1, alert
        assert message in alert[0], (message, alert)
        assert not re.search(r"valid answer|Input should|nothing was changed", alert[0])
        for text in form.values():
            # A select cannot display a value that it does not have.
            assert text in part or text == "glad"
    assert _read_answer(page) == before

    # Another tab has saved meanwhile: the text stays, and the next save has the new state.
    late_form = {"act": "correct", "state": "0", "field": "stars", "value": "4", "who": "Ann"}
    part = unescape(page.post("/parts/row", params=ROW, data=late_form, headers=IS_PART).text)
    message = (
        "This answer was changed meanwhile; it is shown as it is now. Save again to replace it."
    )
    assert message in part
    assert 'value="4"' in part
