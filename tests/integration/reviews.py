"""A task of one's own for tests: reviews, with a quotation and a number, in the folder that a test stands in."""

from pathlib import Path

from pipeline.engine.task_file import forget_loaded_files
from tests.lab import Workspace

NAME = "reviews"
TEXTS = {
    "1": "Boils in two minutes, but the lid burned my hand. Two stars.",
    "2": "Warm light, easy to dim. Five stars.",
    "3": "It broke after a week. Three stars.",
    "4": "Solid oak and quick delivery. Four stars.",
}
BY_BATCH = ("batch-submit", "batch-poll", "batch-ingest")
DECLARED = """\
from pydantic import BaseModel, Field
from findable import Quote, Task


class Answer(BaseModel):
    praise: list[str]
    quote: Quote
    stars: int | None = Field(default=None, ge=1, le=5)


task = Task(answer=Answer, items="reviews.csv", prompt="{{text}}", version={version}, system="{system}")
"""


def declare(*, version: int = 1, system: str = "Be brief.", name: str = NAME) -> Path:
    """Write the file of the task, and return its path."""
    path = Path("tasks", f"{name}.py")
    path.parent.mkdir(exist_ok=True)
    path.write_text(DECLARED.format(version=version, system=system), encoding="utf-8")
    forget_loaded_files()  # a process loads a file once, and a test is many processes' work in one
    return path


def put(workspace: Workspace, **texts: str) -> Workspace:
    """Write table and task, which the workspace's commands are about from now on; `texts` come in their place."""
    declare()
    rows = [f'{key},"{text}"' for key, text in {**TEXTS, **texts}.items()]
    Path("tasks", "reviews.csv").write_text("\n".join(["id,text", *rows, ""]), encoding="utf-8")
    workspace.begin().environ["FINDABLE_TASK"] = NAME
    return workspace
