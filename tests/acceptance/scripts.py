"""Run a user's Python script in the folder of a workspace."""

import json
import textwrap
from typing import Any

from tests.acceptance.loaded import SCRIPT
from tests.acceptance.process import Running
from tests.acceptance.product import Workspace, start_product

# Opens the workspace.
PREAMBLE = "import json\n\nimport askrows\n\nws = askrows.open(quiet=True)\n"
# Opens the workspace, and declares a task.
DECLARED = """
import asyncio
import json
from typing import Literal

import askrows
from askrows import Quote, Task
from pydantic import BaseModel, Field


class Verdict(BaseModel):
    verdict: Literal["praise", "blame"]
    quote: Quote


class Review(BaseModel):
    verdicts: list[Verdict]
    stars: int | None = Field(default=None, ge=1, le=5)


def rows(count):
    text = "Kettle {} boils in two minutes. The lid broke."
    return [{"id": n, "text": text.format(n)} for n in range(1, count + 1)]


def declared(**changes):
    arguments = {"answer": Review, "name": "reviews", "items": "reviews.csv", "prompt": "{text}"}
    return Task(**{**arguments, **changes})


def refusal(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except askrows.AskrowsError as error:
        return " ".join([str(error), *getattr(error, "__notes__", ())])
    raise AssertionError(f"{arguments} {options} was not refused")


ws = askrows.open(quiet=True)
"""


def script(workspace: Workspace, text: str, *, head: str = DECLARED, code: int = 0) -> Any:
    """Run a script in the folder of a workspace, in a fork of a process with the loaded product.

    Return the last printed line as JSON, or the error output if the exit code is not 0.
    """
    workspace.home.mkdir(parents=True, exist_ok=True)
    path = workspace.write_file("script.py", head + textwrap.dedent(text))
    running = Running(
        start_product(),
        [[SCRIPT, str(path)]],
        environ=workspace.environ,
        cwd=workspace.home,
        below=workspace.step_folder,
    )
    process = running.wait()
    assert process.code == code, process
    return json.loads(process.stdout.splitlines()[-1]) if code == 0 else process.stderr
