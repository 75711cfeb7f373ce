"""Steps of a dropped file that becomes a task, on the page."""

import re
from html import unescape
from typing import Any

from tests.page import Page

DROP = "/api/imports"
HEADER = "id,product,text\n"
ROWS = "".join(f"r{number},Kettle {number},It boils in {number} minutes.\n" for number in range(7))
KEY_TEXT = {"role.0": "key", "role.1": "unsent", "role.2": "text"}
TONE = {
    "question": "Praise or blame?",
    "field0.name": "tone",
    "field0.kind": "a|b|c",
    "field0.choices": "praise\r\nblame\r\n",
    "field0.description": "How the review sounds.",
}
WHY = {"new1.name": "why", "new1.kind": "quote", "new1.choices": "", "new1.description": ""}


def drop_file(
    page: Page, content: Any, task: str = "experts", name: str = "people.csv"
) -> dict[str, Any]:
    """Drop a file and wait until it is read."""
    response = page.post(DROP, params={"task": task, "name": name}, content=content)
    assert response.status_code == 202, response.text
    assert response.headers["location"] == f"{DROP}/{response.json()['number']}"
    page.settle()
    document: dict[str, Any] = page.get(f"{DROP}/{response.json()['number']}").json()
    return document


def press_button(page: Page, number: int, **form: str) -> str:
    """Press a button of a file, and return the page's answer."""
    return unescape(page.post("/parts/import", params={"number": number}, data=form).text)


def drop_reviews(page: Page) -> int:
    """Drop the reviews for a new task, and return the number of the file."""
    number = drop_file(page, HEADER + ROWS, "new", "Kettle reviews.csv")["number"]
    assert isinstance(number, int)
    return number


def try_question(page: Page, number: int, **form: str) -> str:
    """Try a question, wait, and return the part of the page."""
    html = press_button(page, number, **form)
    assert 'role="alert"' not in html, html
    page.settle()
    return unescape(page.get("/parts/import", params={"number": number}).text)


def list_roles(html: str) -> dict[str, str]:
    """Return the selected role of each column."""
    selects = re.findall(r'<select\s+name="(role\.\d)".*?</select>', html, re.DOTALL)
    options = re.findall(r'<option value="(\w+)" selected>', html)
    return dict(zip(selects, options, strict=False))
