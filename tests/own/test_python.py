"""A workspace in Python: what calls give, with tasks of files and of notebooks, beside commands on one workspace."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest
from pydantic import BaseModel, Field

import findable
from findable import Quote, Task
from pipeline.engine.declared import given
from tests.lab import ROOT, Api, Workspace
from tests.own.test_images import saved

LIVE = ":generateContent"
KEYS = {"GEMINI_API_KEY": "api_key", "GOOGLE_GEMINI_BASE_URL": "base_url"}
TABLES = Path(__file__).parent / "tables"
FINDABLE = Path(sys.executable).parent / "findable"


class Verdict(BaseModel):
    """One thing that a review judges."""

    verdict: Literal["praise", "blame"]
    quote: Quote


class Review(BaseModel):
    """All that a review judges."""

    verdicts: list[Verdict]
    stars: int | None = Field(default=None, ge=1, le=5)


class Stars(BaseModel):
    """How good an image is."""

    stars: int


class Stricter(Review):
    """The same with one field more."""

    sure: bool


def rows(count: int) -> list[dict[str, Any]]:
    """Return invented reviews."""
    return [{"id": n, "text": f"Kettle {n} boils in two minutes. The lid broke."} for n in range(1, count + 1)]


def declared(**changed: Any) -> Task[Review]:
    """Return a task that stands in no module."""
    return Task(**{"answer": Review, "name": "reviews", "items": "reviews.csv", "prompt": "{text}", **changed})


@pytest.fixture
def ws(workspace: Workspace) -> findable.Workspace:
    """The workspace of a test, opened in Python."""
    named: dict[str, Any] = {
        KEYS.get(name, name.removeprefix("FINDABLE_").lower()): value for name, value in workspace.environ.items()
    }
    return findable.open(quiet=True, **{name: value for name, value in named.items() if name != "given"})


@pytest.fixture(autouse=True)
def _nothing_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand over nothing from one test to the next."""
    monkeypatch.setattr(given, "_tasks", {})


def asked(api: Api) -> int:
    """Return how many live calls were made."""
    return len(api.seen("POST", LIVE))


def test_a_task_without_a_file_is_asked_and_read_in_its_own_types(ws: findable.Workspace, api: Api) -> None:
    """Rows are given with the call; answers are instances of the declared class, with located quotations."""
    task = declared()
    assert ws.preflight(task, items=rows(3)).plan.requests == 3
    assert ws.tag(task, "live", items=pa.Table.from_pylist(rows(3))).left == 0
    found = list(ws.answers(task))
    assert [one.key for one in found] == ["1", "2", "3"]
    for one in found:
        assert type(one.answer) is Review
        assert one.extractor.startswith("reviews@1/")
        assert one.answer.verdicts
        assert all(one.row["text"][said.quote.start : said.quote.end] == said.quote for said in one.answer.verdicts)
    ws.tag(task, "live", items=rows(4))
    assert asked(api) == 4
    assert {one["item"] for one in ws.log(9, task)} == {"1", "2", "3", "4"}
    flat = ws.answers("reviews").to_dicts()
    assert [row["id"] for row in flat] == [1, 2, 3, 4]
    assert flat[0]["verdicts"][0]["quote"].keys() == {"quote", "start", "end"}
    assert ws.answers(task).to_arrow().num_rows == 4


@pytest.mark.full
def test_rows_may_hold_images_as_bytes(ws: findable.Workspace, workspace: Workspace) -> None:
    """Equal ones are one question; what stands in the workspace's table is their hash."""
    pictures = {1: saved("red"), 2: saved("red"), 3: saved("blue")}
    task = declared(prompt="What is it?", images=["photo"], answer=Stars)
    ws.tag(task, items=[{"id": key, "photo": data} for key, data in pictures.items()], mode="live")
    assert workspace.scalar("SELECT count(*) FROM reviews_answers") == 3
    assert workspace.scalar("SELECT count(*) FROM reviews_kept_images") == 2
    assert workspace.scalar("SELECT count(DISTINCT photo) FROM reviews_items WHERE photo LIKE 'sha256:%'") == 2


@pytest.mark.full
def test_a_task_of_a_file_is_one_for_python_and_for_commands(
    ws: findable.Workspace, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python submits, commands collect, and the object of the imported module has the file's record."""
    for name in ("reviews.py", "reviews.csv"):
        (tmp_path / "own").mkdir(exist_ok=True)
        shutil.copy(TABLES / name, tmp_path / "own")
    monkeypatch.syspath_prepend(tmp_path / "own")
    module = __import__("reviews")
    monkeypatch.setitem(sys.modules, "reviews", module)
    report = ws.tag(module.task, "batch", wait=False, limit=3)
    assert report.under_way == 3
    assert [one.batch.requests for one in ws.batches()] == [3]
    workspace.ran_each("batch-poll", "batch-ingest", TASK="reviews")
    found = list(ws.answers(module.task))
    assert len(found) == 3
    assert all(isinstance(one.answer, module.Answer) for one in found)
    assert workspace.scalar("SELECT path FROM findable_tasks") == str(tmp_path / "own" / "reviews.py")
    assert ws.tag("reviews", limit=1).left == ws.tag(tmp_path / "own" / "reviews.py", limit=1).left + 1


@pytest.mark.full
def test_a_task_without_a_file_needs_its_object_to_be_judged(
    ws: findable.Workspace, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere all but asking and judging works; once it is saved as a file, that works, too."""
    ws.tag(declared(), "batch", items=rows(2), wait=False)
    monkeypatch.setattr(given, "_tasks", {})
    workspace.ran("batch-poll", TASK="reviews")
    assert "declared in Python" in workspace.ran("batch-ingest", code=2, TASK="reviews").output
    assert "declared in Python" in workspace.ran("tag", code=2, TASK="reviews").output
    assert "2 claimed" in workspace.ran("status", TASK="reviews").output
    report = ws.tag(declared(), items=rows(2))
    assert [batch.answered for batch in report.ingested] == [2]


def test_one_name_is_one_task(ws: findable.Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task of a file is not taken for one of a notebook; a change under one version is told with its ways on."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(TABLES, tmp_path / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    ws.preflight("reviews")
    with pytest.raises(findable.FindableError, match="same name"):
        ws.preflight(declared(), items=rows(1))
    ours = declared(name="mine")
    ws.tag(ours, "live", items=rows(1))
    changed = declared(name="mine", prompt="Review: {text}")
    with pytest.raises(findable.FindableError, match="under version 1") as caught:
        ws.tag(changed, items=rows(2))
    assert caught.value.exit_code == 3
    assert any("ACCEPT_CHANGED" in note for note in caught.value.__notes__)
    assert ws.tag(changed, "live", items=rows(2), accept_changed=True).left == 0
    newer: Task[Stricter] = Task(name="mine", answer=Stricter, items="x", prompt="Review: {text}", version=2)
    ws.preflight(newer, items=rows(2))
    assert not list(ws.answers(newer))
    with pytest.raises(findable.FindableError, match="is none of what mine declares"):
        list(ws.answers(newer, extractor="mine@1"))


@pytest.mark.full
def test_calls_work_inside_a_running_event_loop(ws: findable.Workspace, api: Api) -> None:
    """As in a notebook: one that waits, some at once, and one that is cancelled and goes on later."""

    async def notebook() -> list[str]:
        assert ws.tag(declared(), "live", items=rows(1)).left == 0
        others = [declared(name=f"other{number}") for number in (1, 2)]
        done = await asyncio.gather(*(ws.tag_async(one, "batch", items=rows(2)) for one in others))
        assert [one.left for one in done] == [0, 0]
        api.configure(paused=True)
        cut = asyncio.create_task(ws.tag_async(declared(), "batch", items=rows(2)))
        while len(ws.batches()) < 3 or ws.batches()[-1].batch.submitted_at is None:  # noqa: ASYNC110 - of a thread
            await asyncio.sleep(0.05)
        cut.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cut
        api.configure(paused=False)
        await ws.tag_async(declared(), items=rows(2))
        return [one.key for one in ws.answers(declared())]

    assert asyncio.run(notebook()) == ["1", "2"]
    assert len(ws.batches()) == 3


def test_people_go_in_and_are_found(ws: findable.Workspace, workspace: Workspace) -> None:
    """Rows of any kind are imported as a file is; the built-in task is asked and read, and its index searched."""
    people = [
        {"username": f"person-{n}", "first_name": "Ada", "bio": f"I keep bees and mend clocks, number {n}."}
        for n in range(3)
    ]
    assert ws.add(people).added == 3
    assert ws.add(_Frame(people)).unchanged == 3
    assert ws.preflight("experts").plan.requests == 3
    ws.tag("experts", "live", budget=1)
    assert len(list(ws.answers("experts"))) == len(ws.answers("experts").to_dicts()) == 3
    workspace.ran("index")
    assert ws.search("bees", 2)[0].rank == 1
    where = "bio CONTAINS 'number 1'"
    for rank in ("hybrid", "words", "vectors"):
        (hit,) = ws.search("bees", rank=rank, where=where, why=True)
        assert hit.metadata["username"] == "person-1"
        assert hit.why is not None
    assert ws.search("bees", tag=["opera", "law"], min_score=1) == []
    assert {hit.metadata["username"] for hit in ws.search(like="person-1")} == {"person-0", "person-2"}
    found = ws.search_many(["bees", "clocks -1"], 3, where="bio IS NOT NULL")
    assert [len(hits) for hits in found] == [3, 2]
    with pytest.raises(findable.FindableError, match="'clocks \"old': the quotation mark"):
        ws.search_many(["bees", 'clocks "old'])
    with pytest.raises(findable.FindableError):
        ws.add([{"username": ""}])


class _Frame:
    """A frame as pandas has it, where pyarrow cannot read it."""

    def __init__(self, held: Sequence[Mapping[str, Any]]) -> None:
        """Keep its rows."""
        self._held = held

    def to_dict(self, orient: str) -> list[dict[str, Any]]:
        """Return the rows, with an empty cell as pandas has it."""
        assert orient == "records"
        return [{**row, "company": float("nan")} for row in self._held]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda _: findable.open(budgett=5), "no setting 'budgett'"),
        (lambda _: findable.open(rpm="many"), "rpm is 'many'"),
        (lambda ws: ws.tag("tasks/nowhere.py"), "no such file"),
        (lambda ws: ws.tag(declared(name="")), "needs a name"),
        (lambda ws: ws.tag(declared(), items=7), "rows are a list of dicts"),
        (lambda ws: ws.tag("experts", items=rows(1)), "items= goes with a Task"),
        (lambda ws: ws.tag(declared(), items=[{"id": 1}]), "'text'"),
        (lambda ws: ws.tag(declared(), items=rows(1), confirm_above=0, model="gemini-3.5-flash"), "CONFIRM_ABOVE"),
        (lambda ws: list(ws.answers("experts")), "no workspace"),
        (lambda ws: ws.search(), "a question or like="),
        (lambda ws: ws.tag(declared(), items=rows(2), limit=0), "limit is 0"),
        (lambda ws: ws.tag(declared(), items=rows(2), limit=-1), "limit is -1"),
        (lambda ws: ws.tag(declared(), items=rows(2), budget=-1), "budget is -1"),
        (lambda ws: ws.tag(declared(), items=rows(2), mode="none"), "mode is 'none'"),
        (lambda ws: ws.search("bees", 0), "k is 0"),
        (lambda ws: ws.search("bees", rank="bm25"), "rank is 'bm25'"),
        (lambda ws: ws.search_many(["bees"], wheer="bio IS NULL"), "a search has no wheer="),
    ],
)
def test_what_is_wrong_is_told(ws: findable.Workspace, wrong: Any, said: str) -> None:
    """By an error of findable's own, before anything is asked."""
    with pytest.raises(findable.FindableError, match=said):
        wrong(ws)


@pytest.fixture
def home(workspace: Workspace, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A folder with a task of forty rows, and the environment in which programs find the workspace."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "reviews.py").write_text((TABLES / "reviews.py").read_text(encoding="utf-8"))
    lines = ["id,product,text", *(f"{row['id']},Kettle,{row['text']}" for row in rows(40))]
    (tmp_path / "tasks" / "reviews.csv").write_text("\n".join(lines), encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ours = {name: value for name, value in workspace.environ.items() if name != "FINDABLE_GIVEN"}
    return tmp_path, {**kept, **ours, "FINDABLE_TASK": "reviews"}


@pytest.mark.full
def test_python_and_a_command_at_once_ask_every_row_once(
    home: tuple[Path, dict[str, str]], workspace: Workspace, api: Api
) -> None:
    """Both are begun at the same moment, and both ask."""
    folder, environ = home
    script = (
        'import findable; print(findable.open(quiet=True).tag("reviews", "live", concurrency=2).live.asked.answered)'
    )
    programs = [
        subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command in ([sys.executable, "-c", script], [str(FINDABLE), "tag", "--mode", "live", "--json"])
    ]
    said = [program.communicate(timeout=250) for program in programs]
    assert [program.returncode for program in programs] == [0, 0], said
    by_python, by_command = int(said[0][0]), json.loads(said[1][0])["live"]["answered"]
    assert by_python + by_command == asked(api) == 40
    assert workspace.scalar("SELECT count(DISTINCT item_id) FROM findable_answers WHERE applied") == 40


@pytest.mark.full
def test_folders_of_the_same_names_do_no_harm_or_are_named(home: tuple[Path, dict[str, str]]) -> None:
    """The command works where a user has packages called as ours; Python says which folder is in the way."""
    folder, environ = home
    for name in ("pipeline", "jobs"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise RuntimeError('not to be run')", encoding="utf-8")

    def run(*command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=250
        )

    done = run(str(FINDABLE), "preflight", "--json")
    assert done.returncode == 0, done.stderr
    (folder / "script.py").write_text("import findable", encoding="utf-8")
    hidden = run(sys.executable, "script.py")
    assert f"ImportError: findable needs its own package `pipeline` in {ROOT}" in hidden.stderr
    assert str(folder / "pipeline") in hidden.stderr
    shutil.rmtree(folder / "pipeline")
    shutil.rmtree(folder / "jobs")
    (folder / "script.py").write_text(
        textwrap.dedent("""\
            from tasks.reviews import task
            import findable
            print(findable.open(quiet=True).preflight(task).plan.requests)
            """),
        encoding="utf-8",
    )
    works = run(sys.executable, "script.py")
    assert works.stdout == "40\n", works.stderr
