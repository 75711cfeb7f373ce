"""Our own calls: replies on disk as they come, one line that fails holds no other, who comes next ends what is left."""

import json
import signal
import time
from collections import Counter
from typing import Any

import pytest

from tests.acceptance.engine import Engine
from tests.acceptance.process import LIVES, Running
from tests.acceptance.product import Workspace
from tests.acceptance.steps import Fate
from tests.outside.answers import Json, RefusedLine, fill, user_text
from tests.outside.server import Outside

LIVE = ":generateContent$"
LONGEST_S = 60.0
HANGS = {"seconds": 300}


def calls(api: Engine) -> int:
    """Return how often the server was asked live."""
    return sum(1 for one in api.journal() if one["path"].endswith(":generateContent"))


def killed(
    workspace: Workspace, api: Engine, verb: str, *arguments: object, after: int, **options: Any
) -> None:
    """Run a command until so many live calls were made, and kill it."""
    with workspace.start(verb, *arguments, CALL_TIMEOUT=200, **options) as running:
        until_called(api, running, after)
        running.signal(signal.SIGKILL)
        assert running.wait().code == -signal.SIGKILL


def until_called(api: Engine, running: Running, count: int) -> None:
    """Wait until so many live calls were made."""
    deadline = time.monotonic() + LONGEST_S
    while calls(api) < count:
        assert time.monotonic() < deadline, running.so_far()
        time.sleep(0.01)


def test_one_line_that_fails_for_ever_holds_no_other_back(
    workspace: Workspace, outside_server: Outside
) -> None:
    """It is tried for as long as RETRY_FOR says and goes back uncharged; all others are answered meanwhile."""
    workspace.url = outside_server.url
    names = workspace.people(20)
    tried = Counter[bool]()

    def answer(request: Json) -> Json:
        """Refuse one person, whenever they are asked about."""
        is_bad = "number 3." in user_text(request)
        tried[is_bad] += 1
        if is_bad:
            raise RefusedLine(14)
        return fill(request)

    outside_server.answerer = answer
    live = workspace.read("tag_live", CONCURRENCY=2, RETRY_FOR=1)["live"]
    assert (live["answered"], sum(live["failed"].values()), live["left"]) == (len(names) - 1, 1, 0)
    assert (tried[False], tried[True] > 1) == (len(names) - 1, True)
    assert workspace.states() == {"tagged": len(names) - 1, "untagged": 1}
    outside_server.answerer = fill
    workspace.do("tag_live")
    assert workspace.states() == {"tagged": len(names)}


@pytest.mark.parametrize("left", [0, 1, 700], ids=["nothing", "a byte", "a line and a part"])
def test_a_file_of_replies_that_was_cut_is_taken_up_at_its_last_whole_line(
    workspace: Workspace, api: Engine, left: int
) -> None:
    """Power may take what was not synced: what stands there whole is ingested, and the rest is asked again."""
    workspace.people(6)
    api.fault("hang", nth=5, times=99, path=LIVE, args=HANGS)
    killed(workspace, api, "tag_live", after=5, CONCURRENCY=1)
    api.clear_faults()
    [part] = (workspace.data / "batches").glob("*-results.asked")
    file_bytes = part.read_bytes()
    part.write_bytes(cut := file_bytes[: min(left, len(file_bytes) - 2)])
    kept = cut.count(b"\n")
    workspace.do("ingest")
    assert workspace.states() == (
        {"tagged": kept, "untagged": 6 - kept} if kept else {"untagged": 6}
    )
    workspace.do("tag_live")
    assert (file_bytes.count(b"\n"), workspace.states(), calls(api)) == (
        4,
        {"tagged": 6},
        5 + 6 - kept,
    )


def test_who_is_added_is_told_how_it_stands_in_time(workspace: Workspace, api: Engine) -> None:
    """While Gemini hangs, and another process holds the lock on preparing: saved, untagged, due; later it is tagged.

    That it ends shows that it waits for neither: both stand still until it did.
    """
    peace = Workspace(workspace.home / "peace", api.url)
    for one in (workspace, peace):
        one.people(3)
    trail = peace.run("submit", fate=LIVES).trail
    at = next(
        number
        for number, step in enumerate(trail, 1)
        if step.startswith("write") and "requests.jsonl" in step
    )
    path = workspace.put(
        "new.json", json.dumps({"username": "ada", "bio": "Keeps bees and teaches water law."})
    )
    api.fault("hang", times=99, path=LIVE, args=HANGS)
    with workspace.start("submit", fate=Fate(at, how="STOP")) as other:
        assert other.until_stopped()
        add_run = workspace.run("add", path, CALL_TIMEOUT=200)
        other.signal(signal.SIGCONT)
        other.wait()
    assert (add_run.code, "ada is saved without tags" in add_run.err) == (0, True)
    assert [one["name"] for one in workspace.status()["due"] if one["outcome"] is None] == ["ada"]
    api.clear_faults()
    workspace.each("submit", "poll", "ingest")
    assert workspace.states() == {"tagged": 4}
    assert [one["outcome"] for one in workspace.status()["due"]] == ["tagged"]
