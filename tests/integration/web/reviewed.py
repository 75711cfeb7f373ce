"""A task with four rows for tests of reviews; the first two rows have answers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import update

from askrows.pipeline.store.confidences import FieldConfidence, make_confidence_columns
from askrows.pipeline.store.schema import answers
from tests.integration import reviews
from tests.lab import Api, Workspace
from tests.page import Page

TASK = {"task": "reviews"}
TASK_TEXT = """\
from typing import Literal

from pydantic import BaseModel, Field
from askrows import Quote, Task


class Aspect(BaseModel):
    name: str = Field(max_length=20)
    verdict: Literal["praise", "blame"]


class Answer(BaseModel):
    tone: Literal["praise", "blame", "mixed"]
    stars: int | None = Field(default=None, ge=1, le=5)
    is_urgent: bool
    topics: list[str] = Field(max_length=3)
    why: Quote
    aspects: list[Aspect]


task = Task(answer=Answer, items="reviews.csv", prompt="{text}")
"""
ANSWER = (
    '{"tone": "praise", "stars": 2, "is_urgent": false, "topics": ["lid"],'
    ' "why": "Boils in two minutes", "aspects": [{"name": "lid", "verdict": "blame"}]}'
)
MIXED_ANSWER = ANSWER.replace('"praise", "stars"', '"mixed", "stars"').replace(
    "Boils in two minutes", "easy to dim"
)


def answer_two_rows(workspace: Workspace, api: Api) -> None:
    """Write the task to the current directory, and answer its first two rows."""
    reviews.set_up_task(workspace)
    Path("tasks", "reviews.py").write_text(TASK_TEXT, encoding="utf-8")
    for text in (ANSWER, MIXED_ANSWER):
        api.script_fault("answer_text", times=1, args={"text": text})
        workspace.ran("tag-live", LIMIT="1")


def store_confidences(
    workspace: Workspace, probabilities: Mapping[str, Mapping[str, float]]
) -> None:
    """Store the probabilities of the fields of answers, by row id."""
    with workspace.open() as ws, ws.workspace.store.write() as tx:
        for row_id, by_field in probabilities.items():
            confidences = {
                name: FieldConfidence(probability, "gemini-decision-1")
                for name, probability in by_field.items()
            }
            change = update(answers).where(answers.c.row_id == row_id)
            tx.execute(change.values(make_confidence_columns(confidences)))


def list_ids(page: Page, **parameters: Any) -> list[str]:
    """Return the ids of the listed rows."""
    listing = page.get("/api/items", params={**TASK, **parameters}).json()
    return [row["id"] for row in listing["rows"]]


def answer_many_rows(workspace: Workspace, api: Api, count: int) -> None:
    """Write the task with many rows to the current directory, and answer all but the last."""
    reviews.set_up_task(workspace)
    Path("tasks", "reviews.py").write_text(TASK_TEXT, encoding="utf-8")
    lines = [f'{number},"Boils in two minutes. Number {number}."' for number in range(1, count + 1)]
    Path("tasks", "reviews.csv").write_text("\n".join(["id,text", *lines, ""]), encoding="utf-8")
    api.script_fault("answer_text", times=count, args={"text": ANSWER})
    workspace.ran("tag-live", LIMIT=str(count - 1))
    api.clear_faults()
