"""What asks live is killed while all that is left is under way: the same command, or another, goes on behind it."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import ledger
from tests.integration.hands import LONGEST_S, Hand
from tests.lab import Api, Workspace
from tests.own.test_equal_rows import declared, rows

People = Callable[..., list[str]]
LATENCY = ":generateContent"
LIVE = ("tag", "--mode", "live")
BATCH = ("tag", "--mode", "batch", "--wait")
RUN = ("run", "--yes", "--on-done", "cat > done.json")
FAILED = (
    "INSERT INTO findable_pilots (number, task, extractor, seed, size, verdict, began_at)"
    " VALUES (1, 'expert-tags', :extractor, 1, 1, 'failed', '2026-11-20 00:00:00.000000')"
)
UNDER_WAY = "SELECT count(*) FROM findable_calls WHERE outcome IS NULL"


@pytest.fixture(scope="module")
def hand() -> Iterator[Hand]:
    """A program that runs the command which is killed."""
    one = Hand()
    yield one
    one.close()


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def die(hand: Hand, workspace: Workspace, api: Api, *options: str, calls: int = 1) -> None:
    """Let `tag` be killed when so many calls are under way."""
    api.configure(latencies={LATENCY: {"kind": "constant", "seconds": 3600}})
    hand.start(workspace, *LIVE, *options, values={"CALL_TIMEOUT": "600"})
    until = time.monotonic() + LONGEST_S
    while workspace.scalar(UNDER_WAY) < calls:
        assert time.monotonic() < until, hand.child()
        time.sleep(0.01)
    child = hand.child()
    assert child is not None
    child.kill()
    assert hand.ended().code == -9
    api.configure(latencies={})


def read(workspace: Workspace, *args: str) -> Any:
    """Return the document that a command prints."""
    return json.loads(workspace.ran(*args, "--json").stdout)


@pytest.mark.parametrize("is_own", [False, True], ids=["people", "own"])
@pytest.mark.parametrize("again", [LIVE, BATCH, RUN], ids=["live", "batch", "run"])
def test_what_a_dead_process_asked_is_asked_again(
    hand: Hand, workspace: Workspace, people: People, api: Api, *, again: tuple[str, ...], is_own: bool
) -> None:
    """Estimates count it, the next command asks it, and the calls whose replies were lost may have cost."""
    if is_own:
        declared(workspace.begin())
        rows("the kettle leaks", "a lamp that hums")
    else:
        people(2)
    die(hand, workspace, api, calls=2)
    if again is RUN:
        dry = read(workspace, "batch-submit", "--dry")
        assert (dry["items"], dry["requests"]) == (2, 2)
    else:
        estimated = read(workspace, "preflight")
        assert (estimated["items"], estimated["questions"]) == (2, 2)
    workspace.ran(*again)
    if again is RUN:
        assert json.loads(Path("done.json").read_text())["did"] == ["2 submitted in 1 batch"]
        workspace.ran_each("batch-poll", "batch-ingest")
    items = ledger.people(workspace)
    assert items["total"] == items.get("answered", items.get("tagged")) == 2
    assert ledger.status(workspace)["spent"]["lost"] > 0
    ends = workspace.query("SELECT outcome FROM findable_calls ORDER BY id")
    assert [one for (one,) in ends] == ["lost"] * 2 + ["answered"] * 2 * (again is LIVE)
    ledger.check(workspace)


def test_it_is_not_asked_without_the_pilot_that_is_wanted(
    hand: Hand, workspace: Workspace, people: People, api: Api
) -> None:
    """A pilot that failed stops the rest, though a dead process holds all of it."""
    people(2)
    die(hand, workspace, api, calls=2)
    extractor = workspace.scalar("SELECT max(extractor) FROM findable_calls")
    workspace.change(FAILED, extractor=extractor)
    workspace.ran("tag-live", code=6)
    assert ledger.people(workspace)["untagged"] == 2


def test_its_budget_is_kept_until_then(hand: Hand, workspace: Workspace, people: People, api: Api) -> None:
    """A batch that is ingested meanwhile does not end it, though no item is free."""
    people(2)
    workspace.ran("batch-submit", "--limit", "1")
    workspace.ran("batch-poll")
    die(hand, workspace, api, "--budget", "1.5")
    workspace.ran("batch-ingest")
    assert "with BUDGET=1.5" in workspace.ran(*LIVE).stderr
    assert ledger.people(workspace)["tagged"] == 2
