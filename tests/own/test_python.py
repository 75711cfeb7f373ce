"""A workspace in Python: what calls give, with tasks of files and of notebooks, beside commands on one workspace."""

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

import findable
from findable import Quote, Task
from pipeline.engine.declared import given
from tests.lab import Api, Workspace

KEYS = {"GEMINI_API_KEY": "api_key", "GOOGLE_GEMINI_BASE_URL": "base_url"}
TABLES = Path(__file__).parents[1] / "acceptance" / "tables"


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
        (hit,) = ws.search("bees", rank=rank, where=where)
        assert hit.metadata["username"] == "person-1"
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
