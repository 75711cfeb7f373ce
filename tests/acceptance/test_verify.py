"""What `verify-gemini` finds of a server that does otherwise, and what is left of it."""

import json
import random
import signal
from typing import Any

from tests.acceptance.engine import Engine
from tests.acceptance.product import KEY, Workspace
from tests.acceptance.steps import Fate
from tests.outside.answers import Json, RefusedLine, fill
from tests.outside.server import Outside

KILLED, KILLS = -9, 3


def found(workspace: Workspace, **how: Any) -> dict[str, str]:
    """Return what a run finds, by what it looked at; the report it wrote says the same, and may be sent."""
    document = workspace.read("verify-gemini", yes=True, **how)
    newest = max((workspace.data / "reports").glob("verify-gemini-*.json"), key=lambda path: path.stat().st_mtime_ns)
    assert json.loads(newest.read_text()) == document
    for text in (newest.read_text(), newest.with_suffix(".md").read_text()):
        assert not [word for word in (KEY, "files/", "batches/", str(workspace.home), workspace.url) if word in text]
    return {one["what"]: one["found"] for one in document["facts"]}


def check_nothing_left(outside: Outside) -> None:
    """Hold that no batch is to be seen at the server, and no file but results."""
    assert outside.kept.rows("SELECT id FROM batches WHERE NOT hidden") == []
    assert outside.kept.rows("SELECT id FROM files WHERE NOT generated") == []


def test_it_passes_on_the_engine_and_is_accounted_for(workspace: Workspace, api: Engine) -> None:
    """A new folder does; nothing is in the way of what is asked later, nor of doctor."""
    workspace.do("verify-gemini", code=2)
    assert api.batches() == []
    facts = found(workspace)
    assert (facts["a new batch in the list"], facts["keys of the result"]) == ("at once", "each once")
    assert facts["the batch"].endswith("5 requests, 5 succeeded, 0 failed")
    spent = workspace.spent()
    assert 0 < spent["actual"] < 0.01 > spent["lost"]
    assert workspace.batches() == []
    workspace.do("verify-gemini", yes=True, code=3, BUDGET_PER_DAY=f"{spent['actual']:.6f}")
    workspace.people(2)
    workspace.each("submit", "poll", "ingest", "doctor")
    assert workspace.states() == {"tagged": 2}


def test_what_a_server_does_otherwise_is_found(elsewhere: Workspace, outside: Outside) -> None:
    """The list that lags, the tier that served; nothing is left there."""
    facts = found(elsewhere)
    assert facts["a new batch in the list"] == "at once"
    assert facts["flex"].startswith("5 served as flex")
    check_nothing_left(outside)
    outside.manner.stats = "none"
    outside.manner.in_order = True
    outside.troubles.unlisted, outside.troubles.downgraded = 3, 1.0
    facts = found(elsewhere, LIST_LAG="")
    assert facts["a new batch in the list"].startswith("after ")
    assert facts["the batch"].endswith("it has no counts")
    assert facts["flex"].startswith("5 served as standard")
    outside.troubles.unlisted = 3
    assert "a new batch in the list" in elsewhere.do("verify-gemini", yes=True, code=4, LIST_LAG=0).err
    outside.troubles.shed = 1.0
    assert found(elsewhere)["flex"] == "5 shed (503 UNAVAILABLE)"
    check_nothing_left(outside)


def test_a_batch_that_fails_is_told_by_the_exit_code(elsewhere: Workspace, outside: Outside) -> None:
    """What findable cannot work with is no success; the report is written all the same."""
    outside.troubles.failed_batches = 1
    assert "the batch" in elsewhere.do("verify-gemini", yes=True, code=4).err
    assert list((elsewhere.data / "reports").glob("*.md"))
    check_nothing_left(outside)


def test_killed_the_next_run_ends_what_it_left_and_tells_what_it_cost(elsewhere: Workspace, outside: Outside) -> None:
    """Again and again, at any step behind the first create; doctor and poll see nothing of theirs in it."""
    chance = random.Random(3)  # noqa: S311 - no secret
    elsewhere.people(1)
    steps = elsewhere.run("verify-gemini", yes=True, fate=Fate()).trail
    created = next(at for at, step in enumerate(steps, start=1) if "batchGenerateContent" in step)
    for side in ("after", "before") * KILLS:
        done = elsewhere.run("verify-gemini", yes=True, fate=Fate(chance.randrange(created + 1, len(steps)), side))
        assert done.code == KILLED
        elsewhere.each("doctor", "poll")
    with elsewhere.start("verify-gemini", yes=True) as running:

        def answer(_request: Json) -> Json:
            """Kill who asks."""
            running.signal(signal.SIGKILL)
            raise RefusedLine(14)

        outside.answerer = answer
        assert running.wait().code == KILLED
    outside.answerer = fill
    assert outside.kept.rows("SELECT id FROM batches WHERE NOT hidden") != []
    told = elsewhere.do("verify-gemini", yes=True).err
    assert "a run that was killed left is deleted, and $0.0" in told
    check_nothing_left(outside)
    assert elsewhere.spent()["lost"] > 0
