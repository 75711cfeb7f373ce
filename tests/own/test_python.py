"""A workspace in Python: what calls give, with tasks of files and of notebooks, beside commands on one workspace."""

import asyncio
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

import findable
from findable import Quote, Task
from pipeline.engine import task_file
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
    monkeypatch.setattr(task_file, "_tasks", {})


def test_calls_work_inside_a_running_event_loop(ws: findable.Workspace, api: Api) -> None:
    """As in a notebook: one that waits, some at once, and one that is cancelled and goes on later."""

    async def notebook() -> list[str]:
        assert ws.tag(declared(), "live", items=rows(1)).left == 0
        others = [declared(name=f"other{number}") for number in (1, 2)]
        done = await asyncio.gather(*(ws.tag_async(one, "batch", items=rows(2)) for one in others))
        assert [one.left for one in done] == [0, 0]
        api.configure(paused=True)
        cut = asyncio.create_task(ws.tag_async(declared(), "batch", items=rows(2)))
        while len(ws.batches()) < 4 or ws.batches()[-1].batch.submitted_at is None:  # noqa: ASYNC110 - of a thread
            await asyncio.sleep(0.05)
        cut.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cut
        api.configure(paused=False)
        await ws.tag_async(declared(), items=rows(2))
        return [one.key for one in ws.answers(declared())]

    assert asyncio.run(notebook()) == ["1", "2"]
    assert len(ws.batches()) == 4
