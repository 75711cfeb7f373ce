"""Run a user's Python script in the folder of a workspace."""

import json
import subprocess
import textwrap
from typing import Any

from tests.acceptance.loaded import SCRIPT
from tests.acceptance.process import PRODUCT, PYTHON, Running
from tests.acceptance.product import Workspace, start_product
from tests.scratch import BASE_ENVIRON

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


def script(
    workspace: Workspace, text: str, *, head: str = DECLARED, code: int = 0, is_fresh: bool = False
) -> Any:
    """Run a script in the folder of a workspace.

    Return the last printed line as JSON, or the error output if the exit code is not 0. The script
    runs in a fork of a process that has the product loaded. With `is_fresh` it runs in a new
    interpreter, which has loaded and configured nothing yet.
    """
    workspace.home.mkdir(parents=True, exist_ok=True)
    path = workspace.write_file("script.py", head + textwrap.dedent(text))

    if not is_fresh:
        running = Running(
            start_product(),
            [[SCRIPT, str(path)]],
            environ=workspace.environ,
            cwd=workspace.home,
            below=workspace.step_folder,
        )
        ended_process = running.wait()
        assert ended_process.code == code, ended_process
        return (
            json.loads(ended_process.stdout.splitlines()[-1]) if code == 0 else ended_process.stderr
        )

    environ = {**BASE_ENVIRON, **workspace.environ, "PYTHONPATH": str(PRODUCT)}
    command = [PYTHON, "-W", "ignore", str(path)]
    process = subprocess.run(
        command,
        cwd=workspace.home,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert process.returncode == code, process.stderr
    return json.loads(process.stdout.splitlines()[-1]) if code == 0 else process.stderr
