"""A field of many rows is set at once: each row by its own rules, and undone as a whole."""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine import corrections
from tests.integration.web.reviewed import TASK, list_ids, open_reviewed_page
from tests.lab import Api, Workspace
from tests.page import Page


@pytest.fixture(name="page")
def _page(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: Api
) -> Iterator[Page]:
    """Open the page of a task with four rows; the first two have answers."""
    monkeypatch.chdir(tmp_path)
    with open_reviewed_page(workspace, api) as page:
        yield page


def _set(
    page: Page, field: str, row_count: int, *, params: dict[str, str] | None = None, **form: Any
) -> str:
    """Submit the form for rows, by default all answered ones; return the page after its end."""
    params = params or {**TASK, "state": "answered", "field": field}
    data = {"count": str(row_count), "who": "Bea", **form}
    reply = page.post("/set", params=params, data=data)
    if reply.status_code != 303:
        return _words(reply.text)
    page.settle()
    return _words(page.get(reply.headers["location"]).text)


def _correct(page: Page, row_id: str, change: str) -> None:
    """Correct a row by itself."""
    body = {"item": row_id, "set": change, "who": "Ada"}
    assert page.post("/api/correct", params=TASK, json=body).status_code == 202
    page.settle()


def _words(html: str) -> str:
    """Return HTML with single blanks."""
    return " ".join(unescape(html).split())


@pytest.mark.sampled(0)
def test_a_field_is_set_and_undone(page: Page) -> None:
    """The number of rows is said before; a row that has the value already does not change."""
    text = _words(page.get("/set", params={**TASK, "state": "answered", "field": "tone"}).text)
    assert '<h1>Set a field of <span class="row-count">2 rows</span></h1>' in text
    assert 'Set tone in <span class="row-count">2 rows</span>' in text

    text = _set(page, "tone", 2, value="mixed")
    assert "tone set in 1, 1 unchanged, 0 refused" in text
    assert list_ids(page, where="tone = 'mixed'") == ["1", "2"]
    assert re.search(r"tone, 1 changed by <bdi>Bea</bdi>", text)
    assert list_ids(page, where="reviewed = true") == ["1"]

    assert "undone in 1, 0 unchanged, 0 refused" in _set(page, "tone", 2, undo="1")
    assert list_ids(page, where="tone = 'mixed'") == ["2"]

    too_long = "1" * 5_000
    assert "is not the number of an edit" in _set(page, "tone", 2, undo=too_long)
    assert "2 rows" in _set(page, "tone", 2, value="mixed", count=too_long)


@pytest.mark.sampled(0)
def test_the_number_of_rows_follows_the_edit(page: Page) -> None:
    """The part that ends the progress replaces the number of rows in the heading and the form."""
    row_filter = {**TASK, "where": "tone = 'mixed'", "field": "tone"}

    def read_counts() -> list[str]:
        """Return the number for heading and button, and that of the form."""
        text = _words(page.get("/parts/set", params=row_filter).text)
        button_count = re.findall(r'oob="innerHTML:.row-count">(\d+ rows?)<', text)
        return button_count + re.findall(r'id="set-count" name="count" value="(\d+)"', text)

    for row_id in ("1", "2"):
        _set(page, "tone", 1, value="mixed", params={**row_filter, "where": "", "id": row_id})
    _set(page, "tone", 2, value="praise", params=row_filter)
    assert read_counts() == ["0 rows", "0"]
    _set(page, "tone", 0, undo="3", params=row_filter)
    assert read_counts() == ["2 rows", "2"]


@pytest.mark.sampled(0)
def test_refused_rows_are_listed_and_unchanged(page: Page) -> None:
    """A quotation that only one text contains changes that row alone."""
    text = _set(page, "why", 2, value="lid burned my hand")
    assert "why set in 1, 0 unchanged, 1 refused" in text
    assert re.search(r'<th scope="row"><a href="/row\?task=reviews&key=2">2</a></th> <td>\w', text)
    edited = [page.get("/api/show", params={**TASK, "item": key}).json() for key in ("1", "2")]
    assert [len(document["answers"]) for document in edited] == [2, 1]


@pytest.mark.sampled(0)
def test_a_row_without_an_answer_is_refused_in_words(page: Page) -> None:
    """A single field is no answer; the reason is that the row has none."""
    text = _set(page, "stars", 1, params={**TASK, "id": "4", "field": "stars"}, value="3")
    assert "stars set in 0, 0 unchanged, 1 refused" in text
    assert "it has no answer yet" in text


@pytest.mark.sampled(0)
def test_wrong_forms_change_nothing(page: Page) -> None:
    """A wrong value, no name and another number of rows are refused, and the text is kept."""
    assert "Type a whole number from 1 to 5" in _set(page, "stars", 2, value="9")
    assert 'value="9"' in _set(page, "stars", 2, value="9")
    assert "Type your name" in _set(page, "stars", 2, value="3", who=" ")
    assert "The filter now has 2 rows; nothing was changed" in _set(page, "stars", 3, value="3")
    assert "Choose a field" in _set(page, "nothing", 2, value="3")
    assert "there is no edit 7 of many rows" in _set(page, "stars", 2, undo="7")
    assert list_ids(page, where="reviewed = true") == []


@pytest.mark.sampled(0)
def test_an_interrupted_edit_continues(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done stays done; the same form continues, and the undo undoes both parts."""
    plan_edits = corrections.plan_edits

    def fail_at_second(*arguments: Any, **options: Any) -> Any:
        """Raise instead of correcting the second row."""
        if "2" in arguments[2]:
            raise SystemExit
        return plan_edits(*arguments, **options)

    monkeypatch.setattr("pipeline.engine.bulk_edits.CHUNK_ROWS", 1)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.engine.corrections.plan_edits", fail_at_second)
        _set(page, "stars", 2, value="4")
    assert list_ids(page, where="stars = 4") == ["1"]
    text = _words(page.get("/set", params=TASK).text)
    assert "interrupted; set the same value again to continue" in text

    text = _set(page, "stars", 2, value="4")
    assert "stars set in 1, 1 unchanged, 0 refused" in text
    assert "stars, 2 changed by" in text
    assert "undone in 2, 0 unchanged, 0 refused" in _set(page, "stars", 2, undo="1")
    assert list_ids(page, where="stars = 4") == []


@pytest.mark.sampled(0)
def test_a_program_sets_and_undoes_a_field(page: Page) -> None:
    """The API has the rules of the form: the number of rows, the field and the name are checked."""
    path = "/api/tasks/reviews/items/set"
    params = {"state": "answered", "field": "tone"}
    body = {"value": "mixed", "count": 2, "who": "Bea"}
    for status, changed_params, changed_body in (
        (409, {}, {"count": 3}),
        (422, {}, {"who": " "}),
        (422, {"field": "moon"}, {}),
        (422, {"where": "moon"}, {}),
    ):
        response = page.post(path, params=params | changed_params, json=body | changed_body)
        assert response.status_code == status, response.text
    assert list_ids(page, where="tone = 'mixed'") == ["2"]

    work = page.post(path, params=params, json=body)
    assert work.status_code == 202, work.text
    page.settle()
    result = page.get(work.headers["location"]).json()["result"]
    assert (result["changed"], result["unchanged"], result["refused"]) == (1, 1, 0)
    assert list_ids(page, where="tone = 'mixed'") == ["1", "2"]

    undo_path = f"/api/tasks/reviews/edits/{result['number']}/undo"
    assert page.post(undo_path, json={"who": "Bea"}).status_code == 202
    page.settle()
    assert list_ids(page, where="tone = 'mixed'") == ["2"]


@pytest.mark.sampled(0)
def test_a_program_marks_a_row_as_reviewed(page: Page) -> None:
    """The mark is set and removed; a row without an answer has none."""
    path = "/api/tasks/reviews/items/review"
    assert page.post(path, json={"key": "2", "who": "Bea"}).json()["reviewed"] is True
    assert list_ids(page, where="reviewed = true") == ["2"]
    page.post(path, json={"key": "2", "who": "Bea", "reviewed": False})
    assert list_ids(page, where="reviewed = true") == []
    assert page.post(path, json={"key": "4", "who": "Bea"}).status_code == 422


@pytest.mark.sampled(0)
def test_the_end_of_an_edit_offers_its_undo_without_a_reload(page: Page) -> None:
    """The part that follows an edit brings the list of edits at its end."""
    params = {**TASK, "state": "answered", "field": "tone"}
    page.post("/set", params=params, data={"count": "2", "who": "Bea", "value": "mixed"})
    page.settle()
    part = page.get("/parts/set", params=params).text
    assert 'hx-swap-oob="true"' in part
    assert "undo all" in part


@pytest.mark.sampled(0)
def test_an_edit_that_was_changed_later_is_not_undone(page: Page) -> None:
    """It can be undone after the later edit; then no row has a value that counts as undone."""
    _set(page, "stars", 2, value="1")
    _set(page, "stars", 1, value="3", params={**TASK, "id": "1", "field": "stars"})
    text = _set(page, "stars", 2, undo="1")
    assert "undone in 1, 1 unchanged, 0 refused; 1 changed later <" in text
    assert "undone except in 1" in text
    assert 'name="undo" value="1"' in text

    _set(page, "stars", 2, undo="2")
    assert list_ids(page, where="stars = 1") == ["1"]
    text = _set(page, "stars", 2, undo="1")
    assert "undone in 1, 1 unchanged, 0 refused <" in text
    assert 'name="undo"' not in text
    assert list_ids(page, where="stars = 2") == ["1", "2"]


@pytest.mark.sampled(0)
def test_a_second_undo_keeps_newer_edits(page: Page) -> None:
    """A row that was undone, and then got the value of the edit again, keeps it."""
    _set(page, "stars", 2, value="1")
    _correct(page, "1", "stars=3")
    assert "undone in 1, 1 unchanged" in _set(page, "stars", 2, undo="1")
    _correct(page, "2", "stars=1")

    text = _set(page, "stars", 2, undo="1")
    assert "undone in 0, 2 unchanged, 0 refused; 1 changed later <" in text
    assert "undone except in 1" in text
    assert list_ids(page, where="stars = 1") == ["2"]
    assert list_ids(page, where="stars = 3") == ["1"]


@pytest.mark.sampled(0)
def test_an_undo_names_no_edit_of_another_field(page: Page) -> None:
    """A later edit of another field is not the reason why a row keeps its edit."""
    _set(page, "stars", 2, value="1")
    _set(page, "tone", 2, value="mixed")
    _correct(page, "1", "stars=3")
    text = _set(page, "stars", 2, undo="1")
    assert "1 changed later <" in text
    assert "edit 2: undo" not in text


@pytest.mark.sampled(0)
def test_an_interrupted_edit_that_was_partly_undone_does_not_continue(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same form is a new edit, and the list does not offer to continue the old one."""
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.engine.bulk_edits.edits.count_bulk_edited", _stop)
        _set(page, "stars", 2, value="1")
    _correct(page, "1", "stars=3")
    text = _set(page, "stars", 2, undo="1")
    assert "undone except in 1" in text
    assert "set the same value again" not in text

    text = _set(page, "stars", 2, value="1")
    assert re.findall(r"Edit (\d): stars, (\w+)", text) == [("2", "2"), ("1", "interrupted")]


@pytest.mark.sampled(0)
def test_an_undo_counts_a_row_once(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit that continued after a correction changed the row twice."""
    monkeypatch.setattr("pipeline.engine.bulk_edits.CHUNK_ROWS", 1)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.engine.bulk_edits.edits.count_bulk_edited", _stop)
        _set(page, "stars", 2, value="1")
    _correct(page, "1", "stars=3")
    _set(page, "stars", 2, value="1")
    _correct(page, "1", "stars=4")
    text = _set(page, "stars", 2, undo="1")
    assert "undone in 1, 1 unchanged, 0 refused; 1 changed later <" in text
    assert "undone except in 1" in text


@pytest.mark.sampled(0)
def test_an_interrupted_edit_before_another_one_is_a_new_edit(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are counted once, and the edits are listed in the order in which they count."""
    monkeypatch.setattr("pipeline.engine.bulk_edits.CHUNK_ROWS", 1)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.engine.bulk_edits.edits.count_bulk_edited", _stop)
        _set(page, "stars", 2, value="1")
    _set(page, "stars", 2, value="2")
    text = _set(page, "stars", 2, value="1")
    assert re.findall(r"Edit (\d): stars, (\w+)", text) == [
        ("3", "2"),
        ("2", "2"),
        ("1", "interrupted"),
    ]
    assert "set the same value again" not in text


def _stop(*_arguments: Any) -> int:
    """End the background work like a kill."""
    raise SystemExit
