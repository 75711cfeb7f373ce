"""Rows that ask the same share one request and its answer, whichever way it is asked; each is accounted by itself."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings, strategies

from pipeline.batch import draft
from pipeline.core import files
from pipeline.live import questions
from pipeline.live.questions import OpenQuestions
from pipeline.store import claims
from tests import ledger
from tests.crash import homes
from tests.lab import Api, Workspace

FILE = """
from pydantic import BaseModel
from findable import Task

class Answer(BaseModel):
    topic: str

def check(answer, row):
    return "not of this row" if row["note"] == "bad" else None

task = Task(answer=Answer, items="notes.csv", prompt="About: {text}", check=check)
"""
A, B, C = "the kettle leaks", "a lamp that hums", "two chairs, one leg short"
TEXTS = (A, B, C, "d", "e")
LIVE = ":generateContent"
COLLECT = ("batch-submit", "batch-poll", "batch-ingest")
KEPT = "SELECT item_id, cost > 0, shares IS NOT NULL FROM findable_answers WHERE applied ORDER BY length(item_id), 1"
FAILED = "SELECT item_id, charged, cost > 0, outcome FROM findable_attempts ORDER BY item_id, id"


def declared(workspace: Workspace) -> Workspace:
    """Write a task of one's own into the folder of a workspace, and return that."""
    path = workspace.data.parent / "tasks" / "notes.py"
    path.parent.mkdir()
    path.write_text(FILE, encoding="utf-8")
    workspace.environ |= {"FINDABLE_TASK": "notes", "FINDABLE_YES": "1"}
    return workspace


@pytest.fixture
def notes(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with a task of one's own, whose rows are still to be written."""
    monkeypatch.chdir(tmp_path)
    return declared(workspace)


def rows(*texts: str, bad: tuple[int, ...] = ()) -> None:
    """Write the rows of the task; those of the numbers `bad` take no answer."""
    lines = (f'{number},"{text}",{"bad" if number in bad else ""}' for number, text in enumerate(texts, 1))
    Path("tasks/notes.csv").write_text("\n".join(["id,text,note", *lines, ""]), encoding="utf-8")


def asked(api: Api) -> int:
    """Return how many requests were ever made, in batches and live."""
    batches = sum(int(one["requests"]) for one in api.batches())
    return batches + len(api.seen("POST", LIVE))


def check(notes: Workspace) -> None:
    """Hold the accounts against one another, by the tests' rules and by those of `doctor`."""
    ledger.check(notes)
    assert ledger.findings(notes) == []


@pytest.mark.parametrize(("most", "together"), [("2", 500), ("50", 500), ("50", 2)])
def test_by_batch_one_asks_and_pays_and_the_others_share(
    notes: Workspace, api: Api, most: str, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the same file or a later one, looked up together or apart; `preflight` tells rows and questions."""
    monkeypatch.setattr(draft, "TOGETHER", together)
    rows(A, B, C, A, B, A)
    told = json.loads(notes.ran("preflight", "--json").stdout)
    assert (told["items"], told["questions"], told["live"]["calls"]) == (6, 3, 3)
    notes.ran_each(*COLLECT, BATCH_ROWS=most)
    check(notes)
    assert notes.query(KEPT) == [(str(n), n < 4, n > 3) for n in range(1, 7)]
    assert asked(api) == 3
    assert ledger.people(notes) == {"total": 6, "answered": 6}
    shown = json.loads(notes.ran("show", "--item", "6", "--raw", "--json").stdout)
    assert (shown["cost"], shown["requests"][0]["shared"]) == (0, True)
    assert '"key":"notes/1"' in shown["requests"][0]["wire"]["request"]
    assert notes.scalar("SELECT sum(cost) FROM findable_answers") == pytest.approx(
        notes.scalar("SELECT sum(cost) FROM findable_batch_accounts")
    )


def test_rows_that_are_answered_already_are_written_together(
    notes: Workspace, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that takes them up makes the question of each once, and asks nothing."""
    rows(A)
    notes.ran("tag-live")
    rows(*[A] * 40)
    monkeypatch.setattr(OpenQuestions, "again", lambda *_: pytest.fail("a question was made twice"))
    notes.ran("tag-live", GATES="same=off")
    check(notes)
    assert asked(api) == 1
    assert ledger.people(notes) == {"total": 40, "answered": 40}


@pytest.mark.parametrize(("way", "many"), [(COLLECT, 3), (("tag-live",), 5)], ids=["batch", "live"])
def test_a_question_that_fails_is_charged_to_all_who_ask_it_and_parks_them(
    notes: Workspace, api: Api, way: tuple[str, ...], many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Together, also those that a run reads later, and paid once; let go they are asked together again."""
    monkeypatch.setattr(questions, "PAGE", 2)
    rows(*[A] * many)
    if len(way) > 1:
        api.fault("error_line", key="notes/1", times=9)
    else:
        api.fault("safety", times=2, path=LIVE)
    for _ in range(3):
        notes.ran_each(*way, CONCURRENCY="1")
        check(notes)
    assert ledger.people(notes) == {"total": many, "parked": many}
    assert asked(api) == 2
    failed = notes.query(FAILED)
    assert [row[:2] for row in failed] == [(item, True) for item in sorted(map(str, range(1, many + 1))) for _ in "12"]
    assert sum(row[2] for row in failed) == (0 if len(way) > 1 else 2)
    api.clear_faults()
    notes.ran("unpark", "--all")
    notes.ran_each(*way)
    check(notes)
    assert ledger.people(notes) == {"total": many, "answered": many}
    assert asked(api) == 3


@pytest.mark.full
def test_rows_that_come_later_join_what_is_asked_or_take_what_was_answered(notes: Workspace, api: Api) -> None:
    """A batch that is under way takes them in, by batch and live; what no answer is valid for is asked by itself."""
    rows(A, B)
    notes.ran("batch-submit")
    rows(A, B, A)
    assert "1 ask what was asked already" in notes.ran("batch-submit").output
    rows(A, B, A, B)
    notes.ran("tag-live")
    check(notes)
    assert ledger.people(notes) == {"total": 4, "claimed": 4}
    notes.ran_each("batch-poll", "batch-ingest")
    rows(A, B, A, B, A, C, B, bad=(7,))
    assert "1 ask what was asked already" in notes.ran("batch-submit", LIMIT="2").output
    check(notes)
    assert ledger.people(notes) == {"total": 7, "answered": 5, "claimed": 1, "open": 1}
    notes.ran_each(*COLLECT)
    check(notes)
    assert asked(api) == 4
    assert ledger.people(notes) == {"total": 7, "answered": 6, "open": 1}


@pytest.mark.full
def test_a_line_that_is_refused_is_charged_to_all_who_share_it(notes: Workspace, api: Api) -> None:
    """The others of its batch, who share lines too, go out in the same run."""
    rows(A, A, B, B)
    api.fault("bad_line", args={"line": 1})
    notes.ran("batch-submit")
    check(notes)
    assert notes.query(FAILED) == [("1", 1, 0, "refused"), ("2", 1, 0, "refused")]
    assert ledger.people(notes) == {"total": 4, "open": 2, "claimed": 2}
    notes.ran_each("batch-poll", "batch-ingest", *COLLECT)
    check(notes)
    assert ledger.people(notes) == {"total": 4, "answered": 4}


def test_a_row_that_joins_while_a_batch_is_ingested_is_accounted_for(
    notes: Workspace, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its place among the lines was passed already."""
    rows(A, B)
    notes.ran_each("batch-submit", "batch-poll")
    read = claims.request_page
    joined: list[bool] = []

    def page(*args: Any, **more: Any) -> Any:
        """Read a page, and let the first be followed by a row that shares a line of it."""
        found = read(*args, **more)
        if not joined:
            joined.append(True)
            rows(A, B, A)
            notes.ran("batch-submit")
        return found

    monkeypatch.setattr(claims, "request_page", page)
    notes.ran("batch-ingest")
    check(notes)
    assert (asked(api), ledger.people(notes)) == (2, {"total": 3, "answered": 3})


@pytest.mark.full
def test_what_is_asked_live_while_a_file_is_written_is_not_asked_by_it(
    notes: Workspace, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes with rows that ask the same: one asks, and the other's row takes the answer."""
    rows(A, A, B)
    seal = files.SealedWriter.seal
    met: list[bool] = []

    def sealed(self: Any) -> Any:
        """Seal a file after its first row was asked live."""
        if not met:
            met.append(True)
            notes.ran("tag-live", LIMIT="1")
        return seal(self)

    monkeypatch.setattr(files.SealedWriter, "seal", sealed)
    notes.ran_each(*COLLECT)
    check(notes)
    assert (asked(api), ledger.people(notes)) == (2, {"total": 3, "answered": 3})


@settings(max_examples=settings().max_examples // 12)
@given(data=strategies.data())
def test_whatever_rows_there_are_each_is_accounted_once_and_each_question_asked_once(
    data: strategies.DataObject,
) -> None:
    """By batches of any size and live, in any order, as they come."""
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder, Api(Path(folder) / "api") as api:
        patch.chdir(folder)
        notes = declared(homes.workspace_at(Path(folder) / "data", api.url))
        texts: list[str] = []
        for way in data.draw(
            strategies.lists(strategies.sampled_from(("batch-submit", "tag-live", "collect")), max_size=5)
        ):
            texts += data.draw(strategies.lists(strategies.sampled_from(TEXTS), min_size=1, max_size=4))
            rows(*texts)
            limit = str(data.draw(strategies.integers(1, 5)))
            commands = COLLECT[1:] if way == "collect" else (way,)
            notes.ran_each(*commands, BATCH_ROWS=limit, **({} if way == "collect" else {"LIMIT": limit}))
            ledger.check(notes)
        rows(*texts, A)
        notes.ran_each(*COLLECT)
        check(notes)
        assert ledger.people(notes) == {"total": len(texts) + 1, "answered": len(texts) + 1}
        assert asked(api) == len({*texts, A})


def test_a_row_that_says_in_part_what_others_say_is_forgotten(notes: Workspace) -> None:
    """What is looked for of it is what no other row says."""
    shared = "\n".join(f"All of these notes have a line of this kind, number {number}" for number in range(5))
    rows(shared, f"{shared}\nthe moths are by the canal", shared)
    notes.ran_each(*COLLECT)
    notes.ran("forget", "--item", "2")
    check(notes)
    kept = [path.read_bytes() for path in notes.data.rglob("*") if path.is_file()]
    assert [any(words in one for one in kept) for words in (b"by the canal", b"number 4")] == [False, True]
    assert ledger.findings(notes) == []
