"""Rows are tagged again, alone or selected, and forgotten."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.integration import reviews
from tests.lab import Api, Workspace
from tests.page import Page


def wait_for_result(page: Page, response: Any) -> dict[str, Any]:
    """Return the outcome of the work that an answer started."""
    assert response.status_code == 202, response.text
    page.settle()
    document: dict[str, Any] = page.get(response.headers["location"]).json()
    return document


@pytest.mark.alike
@pytest.mark.usefixtures("api")
def test_an_unknown_cost_is_not_free(workspace: Workspace) -> None:
    """A model without a price is said to have an unknown cost; rows that are not asked, none."""
    reviews.set_up_task(workspace).ran("tag", TASK="tasks/reviews.py")
    environ = {**workspace.environ, "ASKROWS_MODEL": "a-model-without-a-price"}
    with Page(replace(workspace, environ=environ)) as page:
        path = "/api/tasks/reviews/rows/cost"
        reply = page.post(path, json={"ids": ["1", "2"]}).json()
        assert reply["cost"] is None
        assert reply["question"].startswith("Ask 2 rows again, cost unknown? ")
        row_html = page.get("/row", params={"task": "reviews", "key": "1"}).text
        assert re.search(r"Ask again · cost unknown\s+</button>", row_html)
        refusal = page.post(path, json={"ids": ["no-such-row"]})
        assert (refusal.status_code, "cost" in refusal.json()) == (409, False)


@pytest.mark.full
@pytest.mark.alike
def test_rows_of_a_user_task(workspace: Workspace) -> None:
    """A row is tagged from its file; a forgotten row warns that the file still contains it."""
    reviews.set_up_task(workspace).ran("tag", "--dry", TASK="tasks/reviews.py")
    row_params = {"task": "reviews", "key": "1"}
    with Page(workspace) as page:

        def act(**form: str) -> None:
            """Press a button of the row's page, and wait for its work."""
            page.post("/parts/row", params=row_params, data=form)
            page.settle()

        unparked = page.post("/api/tasks/reviews/rows/free", json={"ids": ["1"]}).json()
        assert (unparked["freed"], unparked["said"]) == (0, "0 of 1 will be asked again")
        assert page.post("/api/tasks/reviews/rows/cost", json={"ids": ["1"]}).json()["cost"] > 0

        response = page.post("/api/tasks/reviews/rows/ask", json={"ids": ["1", "2"]})
        assert wait_for_result(page, response)["result"] == {
            "answered": 2,
            "asked": 2,
            "left_out": "",
        }

        text = page.get("/rows.csv", params={"task": "reviews", "id": ["2"]}).text
        assert len(text.splitlines()) == 2
        assert page.get("/row", params=row_params).status_code == 200

        act(act="forget", name="1")
        assert "your own files" in page.get("/parts/row", params=row_params).text


def test_an_edited_task_file_is_asked_without_a_new_start(workspace: Workspace, api: Api) -> None:
    """A running page shows and asks what the file has now."""
    reviews.set_up_task(workspace).ran("tag", "--dry", TASK="tasks/reviews.py")
    with Page(workspace) as page:
        for version, system in ((1, "Be brief."), (2, "Be exact.")):
            reviews.write_task_file(version=version, system=system)
            assert system in page.get("/question?task=reviews").text
            response = page.post("/api/tasks/reviews/rows/ask", json={"ids": ["1"]})
            assert wait_for_result(page, response)["result"]["answered"] == 1
            assert system in json.dumps(api.seen("POST", "generateContent")[-1])


@pytest.mark.full
@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "empty"])
def test_answer_stays_if_its_row_cannot_be_asked(workspace: Workspace, *, is_gone: bool) -> None:
    """A refused ask changes nothing, also beside rows that are asked; no button offers it."""
    reviews.set_up_task(workspace).ran("tag", TASK="tasks/reviews.py", MODE="live", YES="1")
    source = Path("tasks", "reviews.csv")
    without_row = source.read_text(encoding="utf-8").partition("\n4,")[0]
    source.write_text(without_row + ("\n" if is_gone else '\n4,""\n'), encoding="utf-8")
    ask_path = "/api/tasks/reviews/rows/ask"
    with Page(workspace) as page:

        def is_applied() -> list[bool]:
            """Return for each answer of row 4 whether it is in force."""
            params = {"task": "reviews", "row": "4"}
            document = page.get("/api/show", params=params).json()
            return [answer["applied"] for answer in document["answers"]]

        response = page.post(ask_path, json={"ids": ["4"]})
        assert response.status_code == 409
        assert (
            "being asked, so they are not asked; nothing was changed" in response.json()["detail"]
        )
        assert is_applied() == [True]

        response = page.post(ask_path, json={"ids": ["3", "4"]})
        assert wait_for_result(page, response)["result"] == {
            "answered": 1,
            "asked": 1,
            "left_out": "Not asked: 1 without text, gone or being asked.",
        }
        assert is_applied() == [True]
    # Quality counts the rows that the list counts.
    assert json.loads(workspace.ran("qc", JSON="1").stdout)["rows"] == 4 - is_gone
