"""`status`, `score`, `parked` and `unpark`: what they say, that it adds up, and that reading changes nothing."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from pipeline.cost import queue_quota
from pipeline.experts import table
from pipeline.store import answers
from tests.lab import ROOT, Api, Workspace

EXPERTS = ("total", "tagged", "untagged", "no_bio", "claimed", "parked")
BATCHES = ("prepared", "submitting", "submitted", "downloaded", "ingested", "failed")


def _status(workspace: Workspace) -> dict[str, Any]:
    """Return the document of `status --json`."""
    result = workspace.ran("status", "--json")
    document: dict[str, Any] = json.loads(result.stdout)
    assert tuple(document["experts"]) == EXPERTS
    assert tuple(document["batches"]) == BATCHES
    assert sum(document["experts"][kind] for kind in EXPERTS[1:]) == document["experts"]["total"]
    return document


def _park(workspace: Workspace, **reasons: str) -> None:
    """Park people by username."""
    with workspace.open() as ws, ws.store.write() as tx:
        ids = {name: str(row["id"]) for name, row in table.by_usernames(tx, list(reasons)).items()}
        answers.park(tx, ws.task.name, {ids[name]: why for name, why in reasons.items()}, at=ws.now())


def _followed(workspace: Workspace, steps: int) -> list[str]:
    """Do what is next, so many times, and return what it was; each must work."""
    seen = []
    for _ in range(steps):
        seen.append(_status(workspace)["next"])
        assert workspace.run(seen[-1].removeprefix("make ")).exit_code == 0
    return seen


def test_an_empty_workspace_says_how_to_begin(workspace: Workspace) -> None:
    """All keys are there from the first command on, and the next thing to type is the import."""
    document = _status(workspace)
    assert set(document) >= {"experts", "batches", "index", "backend", "workspace", "next"}
    assert document["experts"] == dict.fromkeys(EXPERTS, 0)
    assert document["batches"] == dict.fromkeys(BATCHES, 0)
    assert {key: document["index"][key] for key in ("count", "model", "dim", "behind")} == {
        "count": 0,
        "model": None,
        "dim": None,
        "behind": 0,
    }
    assert (document["backend"], document["workspace"]) == ("gemini", str(workspace.data))
    assert document["next"] == "make import EXPERTS=people.csv"


def test_next_goes_on_with_open_batches_when_everybody_is_gone(
    workspace: Workspace, people: Callable[..., list[str]]
) -> None:
    """Another program may delete everybody; batches that are not over are brought to their end all the same."""
    people(2)
    assert workspace.run("batch-submit").exit_code == 0
    workspace.change("DELETE FROM experts")
    seen = []
    for _ in range(3):
        seen.append(_status(workspace)["next"])
        workspace.run(seen[-1].split()[1])
    assert seen == ["make batch-poll", "make batch-ingest", "make import EXPERTS=people.csv"]


def test_next_leads_through_the_chain(workspace: Workspace, people: Callable[..., list[str]]) -> None:
    """Typing what `next` says, from the first person to the last, ends where there is something to find."""
    people(3, without_bio=1)
    seen = []
    for _ in range(4):
        document = _status(workspace)
        seen.append(document["next"])
        assert workspace.run(document["next"].removeprefix("make "), MODE="batch").exit_code == 0
    assert seen == ["make tag", "make batch-poll", "make batch-ingest", "make index"]
    document = _status(workspace)
    assert document["next"].startswith("make search")
    assert (document["index"]["count"], document["index"]["dim"], document["index"]["behind"]) == (3, 768, 0)
    assert document["batches"]["ingested"] == 1
    assert document["spent"]["actual"] > 0
    assert document["spent"]["estimated"] == 0


def test_states_while_a_batch_is_under_way(workspace: Workspace, api: Api, people: Callable[..., list[str]]) -> None:
    """Claimed while submitted and downloaded, with the estimate as money that is under way."""
    people(5, without_bio=2)
    assert workspace.run("batch-submit", "--limit", "3").exit_code == 0
    document = _status(workspace)
    assert document["experts"] == {"total": 7, "tagged": 0, "untagged": 2, "no_bio": 2, "claimed": 3, "parked": 0}
    assert (document["batches"]["submitted"], document["spent"]["estimated"] > 0) == (1, True)
    assert workspace.run("batch-poll").exit_code == 0
    assert _status(workspace)["batches"]["downloaded"] == 1
    assert "batch 1 downloaded, 3 rows" in workspace.run("status").stdout
    assert api.seen("POST", "Embed") == []


def test_next_waits_for_room_where_a_batch_was_refused_for_want_of_it(
    workspace: Workspace, api: Api, people: Callable[..., list[str]]
) -> None:
    """A quota refuses the second batch while the first is under way: what makes room comes first, then the sending."""
    people(2)
    api.configure(paused=True)
    assert workspace.run("batch-submit", "--limit", "1").exit_code == 0
    api.fault("quota_batch", method="POST", path=":batchGenerateContent")
    assert workspace.run("batch-submit").exit_code == 4
    api.configure(paused=False)
    assert _followed(workspace, 3) == ["make batch-poll", "make batch-ingest", "make batch-submit"]


def test_next_waits_for_room_where_the_api_takes_no_more_batches(
    workspace: Workspace, api: Api, people: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By our own count the second batch waits as prepared, never uploaded: following what is next ends it well."""
    monkeypatch.setattr(queue_quota, "MAX_ACTIVE_BATCHES", 1)
    people(2)
    api.configure(paused=True)
    refused = workspace.run("batch-submit", BATCH_ROWS="1")
    assert (refused.exit_code, "make batch-poll" in refused.stderr) == (4, True), refused.output
    api.configure(paused=False)
    assert _followed(workspace, 3) == ["make batch-poll", "make batch-ingest", "make batch-submit"]


def test_what_may_have_been_spent_is_not_told_as_under_way(
    workspace: Workspace, api: Api, people: Callable[..., list[str]]
) -> None:
    """A live call whose reply was lost may have cost its estimate, for ever; nothing of it is under way."""
    people(1)
    api.fault("drop", path=":generateContent")
    assert workspace.run("tag-live", CALL_TIMEOUT="2").exit_code == 0
    (lost,) = workspace.query("SELECT estimated_cost FROM findable_calls WHERE outcome = 'lost'")
    spent = _status(workspace)["spent"]
    assert spent["lost"] == spent["estimated"] == pytest.approx(lost[0], abs=1e-6)
    (line,) = [one for one in workspace.run("status").stdout.splitlines() if one.startswith("spent")]
    assert line.endswith(f", and about $0.00 under way; about ${lost[0]:.4f} more may have been spent on lost replies")


def test_status_asks_nobody_and_writes_nothing(
    workspace: Workspace, api: Api, people: Callable[..., list[str]]
) -> None:
    """Not a byte goes out, and the position of the database stays."""
    people(2)
    before = workspace.query("SELECT * FROM findable_workspace"), workspace.query("SELECT * FROM findable_events")
    _status(workspace)
    assert api.journal() == []
    assert before == (
        workspace.query("SELECT * FROM findable_workspace"),
        workspace.query("SELECT * FROM findable_events"),
    )


def test_status_with_an_index_loads_neither_faiss_nor_numpy(
    workspace: Workspace, people: Callable[..., list[str]]
) -> None:
    """How far the index is behind is told from its list of hashes; the vectors stay on the disk."""
    people(2)
    for command in ("batch-submit", "batch-poll", "batch-ingest", "index"):
        assert workspace.run(command).exit_code == 0
    script = (
        "import sys\nfrom jobs.cli import main\n"
        "try:\n    main(['status', '--json'])\nexcept SystemExit:\n    pass\n"
        "assert not {'faiss', 'numpy', 'pydantic', 'google.genai', 'alembic'} & set(sys.modules)\n"
    )
    environ = {**workspace.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["index"]["count"] == 2


def test_parked_people_are_counted_with_their_reasons(workspace: Workspace, people: Callable[..., list[str]]) -> None:
    """`status` groups them by reason, the most frequent first; `parked` lists each, oldest first."""
    names = people(4)
    _park(workspace, **{names[0]: "too odd", names[1]: "too long", names[2]: "too long"})
    document = _status(workspace)
    assert document["experts"]["parked"] == 3
    assert list(document["parked"].items()) == [("too long", 2), ("too odd", 1)]
    listed = json.loads(workspace.run("parked", "--json").stdout)
    assert {row["name"]: row["reason"] for row in listed} == {
        names[0]: "too odd",
        names[1]: "too long",
        names[2]: "too long",
    }
    assert all(datetime.fromisoformat(row["since"]).tzinfo for row in listed)
    assert "parked 2: too long" in workspace.run("status").stdout
    assert names[1] in workspace.run("parked").stdout


def test_unpark_lets_one_or_everyone_go(workspace: Workspace, people: Callable[..., list[str]]) -> None:
    """One by username, all after confirming; nobody parked is no error; without a terminal `--yes` is needed."""
    names = people(3)
    _park(workspace, **dict.fromkeys(names, "it failed 2 times"))
    assert workspace.run("unpark", names[0]).exit_code == 0
    assert _status(workspace)["experts"]["parked"] == 2
    refused = workspace.ran("unpark", "--all", code=2)
    assert "YES=1" in refused.stderr
    assert _status(workspace)["experts"]["parked"] == 2
    assert json.loads(workspace.run("unpark", "--all", "--yes", "--json").stdout) == {"unparked": names[1:]}
    assert _status(workspace)["experts"]["untagged"] == 3
    again = workspace.run("unpark", "--all", "--yes")
    assert (again.exit_code, again.stdout.strip()) == (0, "no person to unpark")


def test_score_mends_what_another_program_spoilt(workspace: Workspace, people: Callable[..., list[str]]) -> None:
    """Only scores that differ are written; the second time none does."""
    people(5, without_bio=1)
    with workspace.open() as ws, ws.store.write() as tx:
        tx.exec_driver_sql("UPDATE experts SET findability_score = 77 WHERE id < 3")
    assert json.loads(workspace.run("score", "--json").stdout) == {"total": 6, "changed": 2}
    assert "6 scores checked, 0 changed" in workspace.run("score").stdout
    assert workspace.scalar("SELECT max(findability_score) FROM experts") < 10


def test_score_of_an_empty_workspace_says_so(workspace: Workspace) -> None:
    """Nothing to do is no error."""
    result = workspace.ran("score")
    assert result.stdout.startswith("0 scores checked")
