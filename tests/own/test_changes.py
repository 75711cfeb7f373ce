"""What a task's file may say and what is made of it, and what becomes of open work when the file is changed or broken.

The tasks ask the second server, whose answers each test says itself.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine.declared.task_file import look_again
from pipeline.store import tasks
from tests.crash import homes
from tests.outside.answers import Json, user_text
from tests.outside.server import Outside

FILE = """
from typing import Literal
from pydantic import BaseModel, Field
from findable import Quote, Task

class Answer(BaseModel):
    topic: str = Field(max_length=40)
    quote: Quote

def check(answer, row):
    return None

task = Task(answer=Answer, items="notes.csv", prompt="About: {text}", check=check)
"""
ROWS = ("the kettle leaks", "a lamp that hums", "two chairs, one leg short")
LEAKED = "a very long lost ladder"
VALIDATOR = (
    ("BaseModel, Field", "BaseModel, Field, field_validator"),
    (
        "    quote: Quote",
        """    quote: Quote

    @field_validator("topic")
    @classmethod
    def code(cls, topic):
        return {"the": 1}[topic]
""",
    ),
)
SUMS = "SELECT count(*) FROM {}"


class Notes:
    """A task in the file `tasks/notes.py`, as it is written and rewritten, on a workspace of its own."""

    def __init__(self, root: Path, server: Outside) -> None:
        """Write the task and its rows."""
        self.server, self.path = server, root / "tasks" / "notes.py"
        self.path.parent.mkdir()
        self.rows(*ROWS)
        self.write()
        self.workspace = homes.workspace_at(
            root / "data", server.url, RETRY_WAIT="0.01", POLL_MOST="0.1", TASK="notes", YES="1"
        )

    def rows(self, *texts: str) -> None:
        """Write the table of the rows."""
        lines = (f'{number},"{text}"' for number, text in enumerate(texts, 1))
        self.path.with_name("notes.csv").write_text("\n".join(["id,text", *lines, ""]), encoding="utf-8")

    def write(self, *changes: tuple[str, str]) -> None:
        """Write the file, with texts in it replaced."""
        text = FILE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        self.path.write_text(text, encoding="utf-8")
        look_again()  # a process loads a file once, and a test is many processes' work in one

    def count(self, table: str, where: str = "1 = 1") -> int:
        """Return how many rows a table has."""
        return int(self.workspace.scalar(f"{SUMS.format(table)} WHERE {where}"))

    def run(self, *args: str, code: int = 0, **values: str) -> str:
        """Run a command that must end with a code, and return what it said on one line."""
        return " ".join(self.workspace.ran(*args, code=code, **values).output.split())

    def fingerprint(self) -> str:
        """Return the fingerprint that is asked with."""
        return str(self.workspace.scalar("SELECT fingerprint FROM findable_tasks"))

    def asked(self) -> list[Json]:
        """Return the requests of the newest batch."""
        path = max((self.workspace.data / "batches").glob("*-requests.jsonl"))
        return [json.loads(line)["request"] for line in path.read_text(encoding="utf-8").splitlines()]


def answer(request: Json) -> Json:
    """Return an answer whose quotation is the whole row."""
    text = user_text(request).split(">", 1)[1].split("<", 1)[0].strip()
    return {"topic": text[:10], "quote": text}


@pytest.fixture
def notes(tmp_path: Path, outside: Outside, monkeypatch: pytest.MonkeyPatch) -> Notes:
    """The task, asked of the second server."""
    monkeypatch.chdir(tmp_path)
    outside.answerer = answer
    return Notes(tmp_path, outside)


@pytest.mark.full
def test_a_version_and_another_task_hold_what_they_ask_like_the_first(notes: Notes) -> None:
    """A change is refused under a version, or a name, that began with what another one asks."""
    notes.run("tag-live")
    for beginning in (("check=check", "check=check, version=2"), ("check=check", 'check=check, name="others"')):
        notes.write(beginning)
        other = str(notes.path) if "others" in beginning[1] else "notes"
        if other != "notes":
            notes.workspace.change("UPDATE findable_tasks SET path = '/gone.py'")
        notes.run("preflight", TASK=other)
        notes.write(beginning, ("About:", "On:"))
        notes.run("preflight", TASK=other, code=3)


@pytest.mark.full
def test_more_room_for_an_answer_is_no_other_question(notes: Notes) -> None:
    """What the limit cut is asked with more tokens, under the same fingerprint."""
    notes.server.answerer = lambda _request: {"topic": "cut"}
    notes.run("batch-submit")
    notes.run("batch-poll")
    notes.run("batch-ingest")
    assert notes.count("findable_attempts") == len(ROWS)
    notes.workspace.change("UPDATE findable_attempts SET reason = 'max-tokens'")
    notes.server.answerer = answer
    notes.run("batch-submit")
    assert {one["generationConfig"]["maxOutputTokens"] for one in notes.asked()} == {4 * 8192}
    assert len(notes.workspace.query("SELECT DISTINCT fingerprint FROM findable_batches")) == 1


def test_an_example_that_a_validator_fails_on_is_told_by_the_line_in_it(notes: Notes) -> None:
    """As what is wrong with a file otherwise."""
    notes.write(*VALIDATOR, ("check=check", "examples=[({'text': 'a'}, {'topic': 'x', 'quote': 'a'})]"))
    assert f"{notes.path}, line 13: KeyError: 'x'; nothing was asked" in notes.run("tag-live", code=2)


@pytest.mark.full
def test_gates_see_what_an_example_leaked(notes: Notes) -> None:
    """The file sets bounds of its own, GATES= goes above them, and a gate that there is not is told before asking."""
    notes.rows(*(f"note {number} on nothing" for number in range(25)))
    example = f'examples=[({{"text": "{LEAKED}"}}, {{"topic": "{LEAKED}", "quote": "{LEAKED}"}})]'
    notes.server.answerer = lambda request: {**answer(request), "topic": LEAKED}
    notes.write(("check=check", f'{example}, gates={{"leek": "off"}}'))
    for command in ("try", "tag-live"):
        assert "gates= of the task notes: there is no gate 'leek'" in notes.run(command, code=3)
    notes.write(("check=check", f'{example}, gates={{"same": "off", "leak": 0.5}}'))
    notes.run("tag-live", code=6)
    said = notes.run("qc", code=6)
    assert "leak is 100 %, wanted: at most 50 %" in said
    assert "switched off" in said
    notes.run("qc", GATES="leak=1")


@pytest.mark.full
def test_a_row_that_was_asked_again_is_measured_once(notes: Notes) -> None:
    """By its last answer: the report holds as many rows as there are."""
    notes.write(("check=check", "refresh=True"))
    for text in ("the kettle leaks", "the kettle is whole again", "the kettle leaks once more"):
        notes.rows(text)
        notes.run("tag-live", REFRESH="1")
    assert notes.count("findable_answers", "applied") == 3
    said = json.loads(notes.workspace.ran("qc", "--json", GATES="same=1").stdout)
    assert (said["figures"]["answers"]["value"], said["items"]) == (1, 1)


@pytest.mark.sampled(2, sqlite=2)
@pytest.mark.parametrize("moment", ["put_task", "keep_fingerprint"])
def test_a_task_is_recorded_with_its_tables_or_not_at_all(
    notes: Notes, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Killed between its tables and its record, or between a new column and its version, it begins anew."""

    def die(*_given: Any, **_named: Any) -> None:
        raise KeyboardInterrupt

    def killed() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(tasks, moment, die)
            assert notes.workspace.run("preflight").exit_code not in {0, 1}

    killed()
    assert "notes_items" not in notes.workspace.tables()
    notes.run("tag-live")
    columns = notes.workspace.columns("notes_answers")
    notes.write(("    quote: Quote", "    quote: Quote\n    more: int = 0"), ("check=check", "check=check, version=2"))
    killed()
    assert notes.workspace.columns("notes_answers") == columns
    notes.run("preflight")
    assert "more" in notes.workspace.columns("notes_answers")
    assert notes.workspace.scalar("SELECT version FROM findable_tasks") == 2
