"""A dropped file becomes a task: roles of columns, fields of an answer, a trial, and the modes."""

import re
from html import unescape

import pytest

from tests.integration.web.intake import (
    HEADER,
    KEY_TEXT,
    ROWS,
    TONE,
    WHY,
    drop_file,
    drop_reviews,
    list_roles,
    press_button,
    try_question,
)
from tests.lab import Api
from tests.page import Page


def test_first_rows_have_a_role_under_each_header(page: Page) -> None:
    """The guessed roles are selected, and a column that is not sent is grey and says so."""
    number = drop_reviews(page)
    html = unescape(page.get("/add", params={"task": "new", "number": number}).text)
    assert list_roles(html) == KEY_TEXT
    assert 'data-drop="new"' in html
    assert 'data-drop="new"' in page.get("/settings").text
    assert html.count('<td class="unsent">') == 4
    assert re.search(r'<th scope="col" class="unsent">\s*<span dir="auto">product', html)


def test_rows_that_are_not_asked_are_counted_in_words(page: Page) -> None:
    """The counts follow the roles of the columns; without a key the reason is told."""
    content = HEADER + ROWS + "r1,Kettle 1,It hums.\nr9,Kettle 9,\n"
    number = drop_file(page, content, "new", "kettles.csv")["number"]
    html = unescape(page.get("/parts/import", params={"number": number}).text)
    assert "'id' has 'r1' twice, again on line 9, so the rows are numbered" in html
    params = {"number": number, **KEY_TEXT}
    text = page.get("/parts/import/rows", params=params).text
    left_out = "1 of them left out (line 9: the name of the row is already on line 3)"
    assert f'9 rows · 1 has no text · <span class="warn">{left_out}</span>' in text
    html = try_question(page, number, **TONE, **KEY_TEXT | {"role.0": "unsent"})
    assert '<td data-label="Row">1</td>' in html
    assert 'id="outdated" role="status" hidden>' in html
    # The answers of a try stay, but the question is not asked with other columns than it was tried.
    page.get("/parts/import/rows", params=params)
    html = press_button(page, number, keep="kettles", mode="live")
    assert '<td data-label="Row">1</td>' in html
    assert 'id="outdated" role="status">' in html
    assert "The question was not tried as it is now" in html


def test_a_failed_try_is_beside_its_button(page: Page, api: Api) -> None:
    """The message of Gemini is below the button that was pressed, not above the table."""
    api.script_fault("status", times=9, args={"code": 403})
    html = try_question(page, drop_reviews(page), **TONE, **KEY_TEXT)
    assert html.count('role="alert"') == 1
    assert 'role="alert"' in html.partition('id="try"')[2]


def test_choices_have_lines_or_commas(page: Page) -> None:
    """A single line has commas; in several lines a comma belongs to its choice."""
    for text, schema in (
        ("praise, blame,", ["praise", "blame"]),
        ("yes, fully\r\nno\r\n", ["yes, fully", "no"]),
    ):
        number = drop_reviews(page)
        try_question(page, number, **TONE | {"field0.choices": text}, **KEY_TEXT)
        task = page.desk.uploads.get(number).tried_task
        assert task is not None
        assert list(task.fields[0].choices) == schema


def test_a_title_and_a_row_without_a_name_are_proposed(page: Page) -> None:
    """The table below a title is read at once, and its nearly unique column names the rows."""
    lines = [f"C-{number},It boils in {number} minutes.\n" for number in range(12)]
    lines[7] = ",It does not boil at all any more.\n"
    content = "Complaints of the quarter,\n\nCase no.,text\n" + "".join(lines)
    number = drop_file(page, content, "new", "cases.csv")["number"]
    html = unescape(page.get("/parts/import", params={"number": number}).text)
    assert list_roles(html) == {"role.0": "key", "role.1": "text"}
    counts = " ".join(html.partition('id="row-counts"')[2].partition("</span>\n    ")[0].split())
    assert "Case no.: 1 row has none" in counts
    assert 'line 3 is the header · <a href="#header-line">change</a>' in counts
    assert re.search(r'id="header-line" name="header" value="3"', html)
    # Another line can be chosen.
    html = press_button(page, number, task="new", header="4")
    page.settle()
    html = unescape(page.get("/parts/import", params={"number": number}).text)
    assert '<span dir="auto">C-0' in html
    assert "is the header" not in html


def test_a_question_without_usable_answers_says_why(page: Page, api: Api) -> None:
    """The reason and what to change are told before the run is offered."""
    api.script_fault("answer_text", times=9, args={"text": '{"tone": "fair"}'})
    number = drop_reviews(page)
    html = try_question(page, number, **TONE, **KEY_TEXT)
    assert html.index("No answer can be used") < html.index('id="ask"')
    assert "Change the question or the fields" in html
    # A try that fails does not take the answers of the earlier try away.
    api.script_fault("status", times=9, args={"code": 403})
    html = try_question(page, number, **TONE | {"question": "Is it loud?"}, **KEY_TEXT)
    assert "No answer can be used" in html
    assert 'id="outdated" role="status">' in html


@pytest.mark.full
def test_decisions_are_offered_for_fields_with_listed_values_alone(page: Page) -> None:
    """A question without such a field has no such choice, and a forged form is refused."""
    number = drop_reviews(page)
    open_field = {"field0.kind": "text", "field0.choices": ""}
    html = try_question(page, number, **TONE | open_field, **KEY_TEXT)
    modes = html.partition('id="mode"')[2].partition("</select>")[0]
    assert re.findall(r'value="(\w+)"', modes) == ["batch", "flex", "live"]
    assert "Choose a mode" in press_button(page, number, keep="kettles", mode="decide")


@pytest.mark.parametrize(
    ("changes", "control", "message"),
    [
        ({"question": " ?"}, "question", "Write a question"),
        ({"field0.choices": "praise"}, "field0", "“tone” needs at least 2 choices"),
        ({"field0.choices": "a\na"}, "field0", "“tone” needs at least 2 choices, all different"),
        ({"new1.name": "1 tone?"}, "field1", "“1 tone?” is not a name"),
        ({"new1.name": ""}, "field1", "is not a name"),
        ({"role.2": "unsent"}, "roles", "Exactly 1 column must be the text, not 0"),
        ({"role.1": "key"}, "roles", "Only 1 column can name the rows, not 2"),
    ],
)
def test_a_refusal_is_beside_its_control(
    page: Page, changes: dict[str, str], control: str, message: str
) -> None:
    """The message names no setting, and everything that was typed is still in the form."""
    number = drop_reviews(page)
    html = press_button(page, number, **(TONE | WHY | KEY_TEXT | changes))
    beside = html.partition(f'id="{control}-message"')[2].partition("</p>")[0]
    assert message in beside, html
    assert "quote; " not in beside
    assert "FIELDS" not in html
    for text in ("How the review sounds.", changes.get("new1.name", "why")):
        assert f'value="{text}"' in html
    assert changes.get("question", TONE["question"]) in html
    assert list_roles(html) == KEY_TEXT | {
        name: role for name, role in changes.items() if name.startswith("role.")
    }
    html = press_button(page, number, keep="reviews")
    assert "The question was not tried" in html.partition('id="try"')[2]


def test_the_first_field_needs_no_name(page: Page) -> None:
    """Its name is proposed without a text that a click and a word would extend."""
    number = drop_reviews(page)
    html = page.get("/parts/import", params={"number": number}).text
    field = re.findall(r'<input\s+name="field0.name"[^>]*>', html)[0]
    assert 'value=""' in field
    assert 'placeholder="answer"' in field
    html = try_question(page, number, **TONE | {"field0.name": ""}, **KEY_TEXT)
    assert '<th scope="col">answer</th>' in html


def test_the_price_is_the_estimate_of_the_run(page: Page) -> None:
    """One button creates the task and asks all rows, for the price that the run estimates."""
    number = drop_reviews(page)
    try_question(page, number, **TONE, **WHY, **KEY_TEXT)
    estimate = page.desk.uploads.get(number).estimate
    assert estimate is not None
    press_button(page, number, keep="kettles", mode="live")
    page.settle()
    page.settle()
    response = page.get("/parts/import", params={"number": number})
    assert response.headers["hx-redirect"] == "/?task=kettles"
    (batch,) = page.get("/api/batches", params={"task": "kettles"}).json()
    assert estimate.mode_estimates["live"].cost == batch["estimated_cost"]


def test_a_changed_row_with_a_correction_is_not_counted_as_asked(page: Page) -> None:
    """The preview of a newer table shows the rows it changes, and asks the others of them."""
    number = drop_reviews(page)
    html = try_question(page, number, **TONE, **KEY_TEXT)
    assert "at once, full price · less than $0.01" in html
    press_button(page, number, keep="Kettles!", mode="live")
    page.settle()
    page.settle()
    params = {"task": "kettles", "key": "r1"}
    cell = page.get("/parts/cell", params={**params, "field": "tone"}).text
    state = re.findall(r'name="state" value="(\w+)"', cell)[0]
    value = re.findall(r'<option value="([^"]*)">', cell)[0]
    data = {"state": state, "field": "tone", "value": value, "who": "Bea"}
    saved = page.post("/parts/cell", params=params, data=data)
    assert saved.headers["hx-trigger"] == "answer-changed"
    question = page.post("/api/tasks/kettles/rows/cost", json={"ids": ["r1", "r2"]}).json()
    assert re.fullmatch(
        r"Ask 1 row again, .* Not asked: 1 corrected by a person\.", question["question"]
    )

    newer_rows = ROWS.replace("r6", "r9").replace("in 1 ", "in 9 ").replace("in 2 ", "in 9 ")
    found = drop_file(page, HEADER + newer_rows, "kettles", "kettles.csv")
    html = unescape(page.get("/parts/import", params={"number": found["number"]}).text)
    assert "Replace, and ask 2 rows ·" in html
    chips = re.findall(r'class="chip">([\w, ]+)<', html)
    assert chips == ["changed, corrected", "changed", "added", "gone"]
    assert "1 corrected row changed and is not asked; check its correction." in html
    press_button(page, found["number"])
    page.settle()
    row = page.get("/row", params=params).text
    assert "The row changed after its correction." in row
    # A new correction ends the warning, until it is undone.
    for change, is_warned in (({"field": "tone", "value": "praise"}, False), ({"undo": "2"}, True)):
        state = re.findall(r'name="state" value="(\w+)"', row)[0]
        form = {"act": "correct", "state": state, "who": "Bea", **change}
        row = page.post("/parts/row", params=params, data=form).text
        assert ("The row changed after its correction." in row) == is_warned


def test_unreadable_rows_of_a_new_file_are_findings(page: Page) -> None:
    """The findings of a file for a new task are shown before anything is written."""
    rows = [f'{{"id": {number}, "text": "It boils in {number} minutes."}}' for number in range(30)]
    rows[20] = '{"id": 20, "text": '
    rows[25] = '{"id": 25 "text": "It broke."}'
    read = drop_file(page, "\n".join(rows), "new", "kettles.jsonl")
    assert read["state"] == "ready"
    html = unescape(page.get("/parts/import", params={"number": read["number"]}).text)
    assert "<h2>What was noticed in the file</h2>" in html
    assert re.findall(r'data-label="line">(\d+)<', html) == ["21", "26"]


def test_a_file_of_people_is_read_again_as_people(page: Page) -> None:
    """The button imports a file for a new task as people instead."""
    number = drop_file(page, "username,bio\nada,I keep bees.\n", "new", "p.csv")["number"]
    press_button(page, number, task="experts")
    page.settle()
    html = page.get("/parts/import", params={"number": number}).text
    assert "Import 1 row" in html
