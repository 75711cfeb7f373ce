"""A task whose rows have answers of two versions, and labels that tell which version is right."""

from collections.abc import Iterable
from pathlib import Path

from tests.integration import reviews
from tests.lab import Api, Workspace

TASK = {"task": "reviews"}
ROW_COUNT = 30
TASK_TEMPLATE = """\
from typing import Literal

from pydantic import BaseModel
from askrows import Task


class Answer(BaseModel):
    tone: Literal["praise", "blame"]
    is_urgent: bool


task = Task(answer=Answer, items="reviews.csv", prompt="{{text}}", version={version})
"""


def answer_with_version(workspace: Workspace, api: Api, version: int, tone: str) -> None:
    """Declare a version of the task, and give all its rows the same answer under this version."""
    Path("tasks", "reviews.py").write_text(TASK_TEMPLATE.format(version=version), encoding="utf-8")
    text = f'{{"tone": "{tone}", "is_urgent": false}}'
    api.script_fault("answer_text", times=ROW_COUNT, args={"text": text})
    workspace.ran("tag-live")


def answer_with_two_versions(workspace: Workspace, api: Api) -> None:
    """Write the task to the current directory; version 1 praises, and version 2 blames."""
    reviews.set_up_task(workspace)
    lines = [f'{number},"Lamp {number} flickers."' for number in range(1, ROW_COUNT + 1)]
    Path("tasks", "reviews.csv").write_text("\n".join(["id,text", *lines, ""]), encoding="utf-8")
    for version, tone in ((1, "praise"), (2, "blame")):
        answer_with_version(workspace, api, version, tone)


def label_tones(workspace: Workspace, tone: str, numbers: Iterable[int]) -> None:
    """Correct or confirm the tone of rows."""
    lines = [f"{number},{tone}" for number in numbers]
    Path("labels.csv").write_text("\n".join(["id,tone", *lines, ""]), encoding="utf-8")
    workspace.ran("correct", FILE="labels.csv", WHO="Bea")
