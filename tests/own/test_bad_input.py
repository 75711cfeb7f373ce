"""A task of one's own with input that is not as it should be: through the commands, on either database."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine.declared.task_file import look_again
from tests.crash import homes
from tests.crash.program import Mortal
from tests.lab import Workspace, ran

TASK = """
from pydantic import BaseModel
from findable import Quote, Task

class Answer(BaseModel):
    note: {kind}

task = Task(answer=Answer, items="{rows}.csv", prompt={prompt!r}{more})
"""
ROWS = "id,text\na,Old bees keep longer than new ones.\nb,New glass is thin.\n"


def put(name: str, rows: str = ROWS, *, kind: str = "str", prompt: str = "{text}", more: str = "") -> None:
    """Write a task and the file of its rows."""
    folder = Path("tasks")
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.csv").write_text(rows, encoding="utf-8")
    (folder / f"{name}.py").write_text(TASK.format(kind=kind, rows=name, prompt=prompt, more=more), encoding="utf-8")
    look_again()  # a process loads a file once, and a test is many processes' work in one


def counts(workspace: Workspace, name: str) -> dict[str, int]:
    """Return how many rows are in each state; states without any are left out."""
    document: dict[str, Any] = json.loads(workspace.ran("status", "--json", TASK=name).stdout)
    return {state: count for state, count in document[name].items() if count and state != "total"}


def asked(workspace: Workspace) -> list[Any]:
    """Return the lines of the request files."""
    files = sorted((workspace.data / "batches").glob("*-requests.jsonl"))
    return [json.loads(line) for path in files for line in path.read_bytes().splitlines()]


@pytest.fixture
def mortal() -> Iterator[Mortal]:
    """The program that runs commands in processes of their own."""
    with Mortal() as program:
        yield program


@pytest.mark.full
def test_a_row_without_the_text_to_be_quoted_is_empty(workspace: Workspace) -> None:
    """Where no answer is valid without a quotation; where one may be, the rest of the row is asked about."""
    rows = "id,title,text\na,Bees,Old bees keep longer than new ones.\nb,Glass, \n"
    told: dict[str, Any] = {"prompt": "{title}: {text}", "more": ", quotes_in='text'"}
    put("quoted", rows, kind="list[Quote]", **told)
    workspace.ran("preflight", TASK="quoted")
    assert counts(workspace, "quoted") == {"open": 2}
    put("quoted", rows, kind="Quote", **told)
    workspace.ran("tag-live", TASK="quoted", ACCEPT_CHANGED="1")
    assert counts(workspace, "quoted") == {"answered": 1, "empty": 1}
    put("quoted", rows, kind="Quote | None", **told)
    workspace.ran("preflight", TASK="quoted", ACCEPT_CHANGED="1")
    assert counts(workspace, "quoted") == {"answered": 1, "open": 1}


@pytest.mark.full
def test_a_folder_that_moved(workspace: Workspace, mortal: Mortal) -> None:
    """A task whose file is elsewhere now goes on from there, once it is named by its path."""
    put("moved")
    workspace.ran("batch-submit", TASK="moved")
    Path("tasks").rename("elsewhere")
    workspace.ran("batch-poll", TASK="moved")
    refused = homes.run(mortal, workspace, "batch-ingest", environ={"FINDABLE_TASK": "moved"})
    assert refused.code == 2
    assert "takes the path where it is now" in refused.err
    workspace.ran("batch-ingest", TASK="elsewhere/moved.py")
    assert counts(workspace, "moved") == {"answered": 2}
    assert "nothing to ask" in ran(workspace, "preflight", TASK="moved")


@pytest.mark.full
@pytest.mark.sqlite_only("a database on a server is in no backup")
def test_restored_from_before(workspace: Workspace) -> None:
    """What was before a task's first use knows nothing of it, and it begins anew; what was after it has it."""
    workspace.begin().ran("backup", "before")
    put("later")
    workspace.ran("tag-live", TASK="later")
    workspace.ran("backup", "after")
    first, then = (Workspace(Path(name), workspace.environ | {"FINDABLE_DATA": name}) for name in ("first", "then"))
    first.ran("restore", "before")
    assert "never used" in ran(first, "status", TASK="later", code=3)
    first.ran("tag-live", TASK="later")
    then.ran("restore", "after")
    assert counts(then, "later") == {"answered": 2}
    assert "nothing contradicts" in ran(then, "doctor")


def test_two_processes_find_two_contents_of_one_file(workspace: Workspace, mortal: Mortal) -> None:
    """One that waits takes all of what it finds when its turn comes, or nothing; the next one mends it."""
    put("shared")
    workspace.ran("preflight", TASK="shared")
    file, environ = Path("tasks/shared.csv"), {"FINDABLE_TASK": "shared"}
    with ThreadPoolExecutor() as pool:
        with workspace.held():
            file.write_text("id,text\nx,Some rows.\ny,That were there.\n")
            waiting = pool.submit(homes.run, mortal, workspace, "preflight", environ=environ)
            time.sleep(0.5)
            file.write_text("id,text\nlast,Others now.\n")
        assert waiting.result().code in {0, 2}
    here = "SELECT id FROM shared_items WHERE findable_gone_at IS NULL ORDER BY id"
    assert workspace.query(here) in ([("a",), ("b",)], [("x",), ("y",)], [("last",)])
    workspace.ran("preflight", TASK="shared")
    assert workspace.query(here) == [("last",)]
