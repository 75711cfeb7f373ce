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
BROKEN = "    return 1 / 0"
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
FAILING = {
    "check": ((("    return None", BROKEN),), "line 11: check() failed on '1': ZeroDivisionError"),
    "validator": (VALIDATOR, "line 13: a validator failed on '1': KeyError: 'the kettle'"),
}
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


CHANGES = {
    "prompt": (("About:", "On:"), "prompt"),
    "schema": (("max_length=40", "max_length=30"), "schema.properties.topic.maxLength"),
    "example": (("check=check", 'check=check, examples=[({"text": "x y"}, {"topic": "x", "quote": "y"})]'), "examples"),
}


@pytest.mark.sampled(3, sqlite=3)
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_needs_a_new_version_or_to_be_accepted(notes: Notes, change: str) -> None:
    """It is refused with the difference, and nothing is changed; both ways on lead on, and are kept."""
    replaced, named = CHANGES[change]
    notes.run("batch-submit")
    before = notes.workspace.query("SELECT * FROM findable_tasks")
    notes.write(replaced)
    said = notes.run("batch-submit", code=3)
    assert named in said
    assert "raise version= to 2" in said
    assert notes.workspace.query("SELECT * FROM findable_tasks") == before
    assert notes.count("findable_fingerprints") == 1
    assert "goes on with a changed declaration" in notes.run("preflight", ACCEPT_CHANGED="1")
    assert notes.count("findable_events", "kind = 'task'") == 1
    notes.run("preflight")
    notes.write(replaced, ("check=check", "check=check, version=2"))
    notes.run("preflight")
    assert notes.count("findable_fingerprints") == 3  # a document for each version, also where it is the same


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


def test_open_batches_are_let_go_or_judged_as_they_were_asked(notes: Notes) -> None:
    """One that is only prepared is dissolved; one that was sent waits for the file, or AS_ASKED=1."""
    notes.run("batch-submit", LIMIT="1")
    first = notes.fingerprint()
    notes.server.die()
    notes.workspace.run("batch-submit", LIMIT="1")
    notes.server.come_back()
    assert notes.count("findable_batches", "state IN ('prepared', 'submitting')") == 1
    notes.workspace.change("UPDATE findable_batches SET state = 'prepared' WHERE number = 2")
    notes.write(("topic: str = Field(max_length=40)", "subject: str"))
    said = notes.run("batch-submit", ACCEPT_CHANGED="1")
    assert "batch 2 was not sent" in said
    assert notes.fingerprint() != first
    notes.server.answerer = lambda request: {**answer(request), "subject": "s"}
    notes.run("batch-poll")
    assert "was asked with another declaration" in notes.run("batch-ingest", code=3)
    assert notes.count("findable_batches", "state = 'downloaded'") == 1
    assert notes.count("findable_answers", f"fingerprint = '{first}'") == 0
    kept = notes.path.read_text(encoding="utf-8")
    notes.path.write_text("1 +", encoding="utf-8")
    look_again()
    notes.run("batch-ingest", AS_ASKED="1")
    notes.path.write_text(kept, encoding="utf-8")
    look_again()
    found = notes.workspace.query("SELECT answer, applied FROM findable_answers WHERE fingerprint = :it", it=first)
    assert [(json.loads(one), is_applied) for one, is_applied in found] == [
        ({"topic": ROWS[0][:10], "quote": {"quote": ROWS[0], "start": 0, "end": len(ROWS[0])}}, True)
    ]
    asked = notes.workspace.query("SELECT batch, fingerprint FROM findable_answers")
    held = dict(notes.workspace.query("SELECT number, fingerprint FROM findable_batches"))
    assert all(held[batch] == fingerprint for batch, fingerprint in asked)
    notes.run("doctor")


def test_an_invented_quotation_is_refused_as_asked_too(notes: Notes) -> None:
    """The document that was kept says which fields are quotations, and the limits of the others."""
    notes.server.answerer = lambda request: (
        {**answer(request), "quote": "nowhere"}
        | ({"quote": ROWS[1], "topic": "x" * 50} if "lamp" in user_text(request) else {})
    )
    notes.run("batch-submit")
    notes.run("batch-poll")
    notes.path.unlink()
    look_again()
    notes.run("batch-ingest", AS_ASKED="1")
    assert notes.count("findable_attempts", "outcome = 'invalid'") == len(ROWS)
    assert notes.count("findable_answers") == 0


@pytest.mark.parametrize("failing", [pytest.param("check", marks=pytest.mark.full), "validator"])
def test_code_of_a_file_that_fails_is_the_files_fault(notes: Notes, failing: str) -> None:
    """Ingest stops and names file, line and row; nothing is charged, and it goes on when the file is mended."""
    changes, said = FAILING[failing]
    notes.write(*changes)
    notes.run("batch-submit")
    notes.run("batch-poll")
    assert f"{notes.path}, {said}" in notes.run("batch-ingest", code=3)
    notes.write(("    return None", "    return 3"))
    assert "must say in a text" in notes.run("batch-ingest", code=3)
    assert notes.count("findable_batches", "state = 'downloaded'") == 1
    assert notes.count("findable_attempts") == 0
    notes.write(("    return None", '    return "too short" if "lamp" in row["text"] else None'))
    notes.run("batch-ingest")
    assert notes.count("notes_answers") == len(ROWS) - 1
    assert notes.workspace.scalar("SELECT reason FROM findable_attempts") == "check: too short"


@pytest.mark.sampled(2, sqlite=2)
@pytest.mark.parametrize(
    ("failing", "commands"),
    [("check", ("tag-live",)), ("check", ("batch-submit", "batch-poll", "batch-ingest")), ("validator", ("tag-live",))],
)
def test_a_live_reply_that_a_file_fails_on_is_paid_for_once(
    notes: Notes, failing: str, commands: tuple[str, ...]
) -> None:
    """The run stops after the first; its reply is kept, judged whichever way is asked next, and not asked for again."""
    changes, said = FAILING[failing]
    notes.write(*changes)
    for _ in range(2):
        assert f"{notes.path}, {said}" in notes.run("tag-live", code=3, CONCURRENCY="1")
        assert sum(notes.server.kept.questions().values()) == 1
    assert notes.count("findable_attempts") == notes.count("findable_answers") == 0
    cost = notes.workspace.scalar("SELECT cost FROM findable_calls")
    assert cost
    notes.write()
    for command in commands:
        notes.run(command, CONCURRENCY="1")
    assert sorted(notes.server.kept.questions().values()) == [1] * len(ROWS)
    assert notes.count("notes_answers") == len(ROWS)
    assert notes.count("findable_calls", "outcome = 'answered'") == (len(ROWS) if commands == ("tag-live",) else 1)
    assert notes.count("findable_calls", "reply IS NOT NULL") == 0
    assert notes.workspace.scalar("SELECT cost FROM findable_calls ORDER BY id") == cost
    notes.run("doctor")


def test_a_file_that_is_edited_while_calls_run_asks_nothing_more(notes: Notes) -> None:
    """Questions of the new file would go out under the old fingerprint; what was asked before keeps its own."""

    def editing(request: Json) -> Json:
        notes.path.write_text(FILE.replace("About:", "On:"), encoding="utf-8")
        return answer(request)

    notes.server.answerer = editing
    notes.run("tag-live", CONCURRENCY="1")
    assert {row[0] for row in notes.workspace.query("SELECT fingerprint FROM findable_answers")} == {
        notes.fingerprint()
    }
    assert notes.count("findable_answers") == len(ROWS)
    assert not any("On:" in str(one) for one in notes.server.kept.questions())
    look_again()
    notes.run("tag-live", code=3)


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


ERRORS = {
    "syntax": (("check=check)", "check=check"), "line 13"),
    "import": (("from typing import Literal", "import no_such_thing"), "line 2: ModuleNotFoundError"),
    "member": (("check=check", "chekc=check"), "line 13: Task has no member 'chekc'; did you mean 'check'?"),
    "one column": (("check=check", "images='{text}'"), "line 13: images= must be a list of columns"),
    "column": (("{text}", "{txt}"), "line 13: prompt= names the column 'txt'"),
    "image": (("check=check", "images=['photo']"), "name one of these columns"),
    "recursion": (("    quote: Quote", "    quote: Quote\n    more: list['Answer']"), "line 6"),
    "exit": (("def check", "raise SystemExit(0)\ndef check"), "line 10: SystemExit"),
    "input": (("def check", "input()\ndef check"), "line 10: EOFError"),
    "example": (("check=check", "examples=[\n  ({'text': 'a b'}, {'topic': 'x', 'quote': 'c'})]"), "line 14"),
    "example's row": (("check=check", "examples=[({'body': 'a'}, {'topic': 'x', 'quote': 'a'})]"), "has no 'text'"),
    "example's answer": (("check=check", "examples=[({'text': 'a'}, {'quote': 'a'})]"), "topic: Field required"),
    "temperature": (("check=check", "temperature=3.0"), "line 13: temperature= lies between 0 and 2"),
    "thinking": (("check=check", "thinking={'budget': 3}"), "thinking= holds 'budget'"),
    "gate": (("check=check", "gates={'answered': [1]}"), "line 13: gates= holds 'answered'"),
    "check": (("check=check", "check=3"), "line 13: check= must be a function"),
}


@pytest.mark.parametrize("error", ERRORS)
def test_what_is_wrong_with_a_file_is_told_by_its_line(notes: Notes, error: str) -> None:
    """Before anything is made or asked."""
    change, said = ERRORS[error]
    notes.write(change)
    told = notes.run("tag-live", code=2)
    assert f"{notes.path}" in told
    assert said in told
    assert not notes.workspace.data.exists() or "notes_items" not in notes.workspace.tables()
    assert not notes.server.kept.questions()


def test_an_example_that_a_validator_fails_on_is_told_by_the_line_in_it(notes: Notes) -> None:
    """As what is wrong with a file otherwise."""
    notes.write(*VALIDATOR, ("check=check", "examples=[({'text': 'a'}, {'topic': 'x', 'quote': 'a'})]"))
    assert f"{notes.path}, line 13: KeyError: 'x'; nothing was asked" in notes.run("tag-live", code=2)


def test_what_a_file_prints_is_not_in_what_a_command_gives(notes: Notes) -> None:
    """It goes to stderr, whenever it is printed, so that JSON stays JSON."""
    notes.write(("class Answer", "print('loaded')\n\nclass Answer"), ("    return None", "    print('checked')"))
    done = notes.workspace.ran("tag-live", "--json")
    assert json.loads(done.stdout)["answered"] == len(ROWS)
    assert [done.stderr.count(word) for word in ("loaded", "checked")] == [1, len(ROWS)]


def test_a_broken_file_harms_no_other_command(notes: Notes) -> None:
    """Other tasks go on, and so does all of its own that neither asks nor judges."""
    notes.run("tag-live")
    notes.write(("def check", "raise SystemExit(0)\ndef check"))
    for command in ("status", "run"):
        notes.run(command, TASK="experts")
    for command in ("index", "search"):
        said = notes.run(command, *(["q"] if command == "search" else []), code=2)
        assert "not in the search index yet" in said
    for command in ("status", "versions", "batches", "costs", "qc", "doctor"):
        notes.run(command)
    notes.run("tag-live", code=2)


def test_a_second_file_of_one_name_is_refused(notes: Notes, tmp_path: Path) -> None:
    """The message names both; the first goes on."""
    notes.run("tag-live")
    other = tmp_path / "notes.py"
    other.write_text(FILE, encoding="utf-8")
    (tmp_path / "notes.csv").write_text("id,text\n1,a\n", encoding="utf-8")
    said = notes.run("preflight", TASK=str(other), code=3)
    assert f"is in {notes.path} here, and {other} has the same name" in said
    notes.run("preflight")


def test_parameters_go_out_as_they_are_declared(notes: Notes) -> None:
    """Thinking takes the catalogue's place, a temperature goes to models that heed one, and examples are told."""
    own = 'max_output_tokens=99, temperature=0.5, thinking={"thinkingBudget": 64}, model="gemini-2.5-flash", '
    example = 'examples=[({"text": "my hat"}, {"topic": "hat", "quote": "my hat"})]'
    notes.write(("check=check", 'thinking={"thinkingBudget": 64}, model="gemini-3.5-flash-lite"'))
    assert "takes thinkingLevel" in notes.run("batch-submit", code=3)
    notes.write(("check=check", f"{own}{example}, version=2"))
    notes.run("batch-submit")
    asked = notes.asked()[0]
    settings = asked["generationConfig"]
    assert settings["temperature"] == 0.5
    assert settings["maxOutputTokens"] == 99
    assert settings["thinkingConfig"] == {"thinkingBudget": 64}
    assert '{"topic":"hat","quote":"my hat"}' in asked["systemInstruction"]["parts"][0]["text"]
    notes.write(("check=check", 'temperature=0.5, model="gemini-3.5-flash-lite", version=3'))
    assert "temperature= is not sent" in notes.run("preflight")


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
