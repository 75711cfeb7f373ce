"""A quotation that says another thing than the row never gets in; one with a slip does, with its mark."""

import json
from pathlib import Path

import pytest

from pipeline.engine.task_file import look_again
from tests.lab import KEY, Workspace
from tests.outside.answers import Json, user_text
from tests.outside.server import Outside

ROWS = {
    "1": "Note that the drug is not safe in any of these patients.",
    "2": "In all the dose was 1,500 mg a day for most adults.",
    "3": "Then Mr Smith met the whole of the committee.",
    "4": "The nurses measured the temperature of the patients.",
}
OPPOSITE = {
    "1": "the drug is safe in any of these patients",
    "2": "the dose was 9,500 mg a day for most adults",
    "3": "Then Mr Smyth met the whole of the committee",
}
WHY = {"1": "negation", "2": "number", "3": "name"}
SLIP, SLICE = "nurses meassured the temperature of the patients", "nurses measured the temperature of the patients"
OWN = """\
from pydantic import BaseModel
from findable import Quote, Task


class Answer(BaseModel):
    quote: Quote


task = Task(answer=Answer, items="notes.csv", prompt="{{text}}")
"""


def said(request: Json) -> str:
    """Return what is quoted of the row that a request asks about."""
    [key] = [key for key, text in ROWS.items() if text in user_text(request)]
    return OPPOSITE.get(key, SLIP)


def workspace_of(root: Path, outside: Outside) -> Workspace:
    """Return a workspace on the task that asks the second server."""
    waits = {"LIST_LAG": "0", "POLL_MOST": "0.1", "RETRY_WAIT": "0.01", "CREATE_TIMEOUT": "1"}
    named = waits | {"TASK": "notes", "YES": "1", "DATA": str(root / "data")}
    environ = {f"FINDABLE_{name}": value for name, value in named.items()}
    return Workspace(root / "data", {**environ, "GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": outside.url})


def ran(workspace: Workspace, *args: str, **values: str) -> str:
    """Run a command that must succeed, and return what it said on one line."""
    return " ".join(workspace.ran(*args, **values).output.split())


def test_a_row_is_parked_where_its_quotation_says_another_thing(
    tmp_path: Path, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reason says what the text has otherwise; a slip is stored as the slice, with its mark, and shown so."""
    monkeypatch.chdir(tmp_path)
    Path("tasks").mkdir()
    Path("tasks/notes.py").write_text(OWN, encoding="utf-8")
    look_again()
    lines = (f'{key},"{text}"' for key, text in ROWS.items())
    Path("tasks/notes.csv").write_text("\n".join(["id,text", *lines, ""]), encoding="utf-8")
    outside.answerer = lambda request: {"quote": said(request)}
    workspace = workspace_of(tmp_path, outside)
    workspace.run("tag-live")
    parked = {one["name"]: one["reason"] for one in json.loads(ran(workspace, "parked", "--json"))}
    assert parked.keys() == OPPOSITE.keys()
    for key, reason in parked.items():
        assert f'quote is not in the text, which has another {WHY[key]}: "{OPPOSITE[key]}"' in reason
    start = ROWS["4"].index(SLICE)
    stored = {"quote": SLICE, "start": start, "end": start + len(SLICE), "likeness": 0.98}
    [cell] = [row[0] for row in workspace.query("SELECT quote FROM notes_answers WHERE quote IS NOT NULL")]
    assert (json.loads(cell) if isinstance(cell, str) else cell) == stored
    assert json.loads(ran(workspace, "show", "--json", ITEM="4"))["answers"][0]["answer"]["quote"] == stored
    assert f"(characters {start} to {stored['end']}, by likeness 0.98)" in ran(workspace, "show", ITEM="4")
