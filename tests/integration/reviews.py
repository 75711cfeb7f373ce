"""A user task for tests: reviews, with a quotation and a number, in the current directory."""

from pathlib import Path

from tests.lab import Workspace

NAME = "reviews"
TEXTS = {
    "1": "Boils in two minutes, but the lid burned my hand. Two stars.",
    "2": "Warm light, easy to dim. Five stars.",
    "3": "It broke after a week. Three stars.",
    "4": "Solid oak and quick delivery. Four stars.",
}
BY_BATCH = ("batch-submit", "batch-poll", "batch-ingest")
TASK_TEMPLATE = """\
from pydantic import BaseModel, Field
from askrows import Quote, Task


class Answer(BaseModel):
    praise: list[str]
    quote: Quote
    stars: int | None = Field(default=None, ge=1, le=5)


task = Task(
    answer=Answer,
    items="reviews.csv",
    prompt="{{text}}",
    version={version},
    system="{system}",
)
"""


def write_task_file(*, version: int = 1, system: str = "Be brief.", name: str = NAME) -> Path:
    """Write the task's file, and return its path."""
    path = Path("tasks", f"{name}.py")
    path.parent.mkdir(exist_ok=True)
    path.write_text(TASK_TEMPLATE.format(version=version, system=system), encoding="utf-8")
    return path


def set_up_task(workspace: Workspace, **texts: str) -> Workspace:
    """Write table and task, and select the task for later commands; `texts` replaces texts."""
    write_task_file()
    rows = [f'{key},"{text}"' for key, text in {**TEXTS, **texts}.items()]
    Path("tasks", "reviews.csv").write_text("\n".join(["id,text", *rows, ""]), encoding="utf-8")
    workspace.begin().environ["ASKROWS_TASK"] = NAME
    return workspace
