"""`status`, `score`, `parked` and `unpark`: what they say, that it adds up, and that reading changes nothing."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from pipeline.experts import table
from pipeline.store import asks
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
        stopped = {asks.Ask(ids[name], ""): why for name, why in reasons.items()}
        asks.add_ended(tx, ws.task.name, ws.extractor, asks.Ends((), stopped, ()), at=ws.now())


def test_an_empty_workspace_says_how_to_begin(workspace: Workspace) -> None:
    """All keys are there from the first command on, and the next thing to type is the import; no score is no error."""
    document = _status(workspace.begin())
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
    assert workspace.ran("score").stdout.startswith("0 scores checked")


def test_next_goes_on_with_open_batches_when_everybody_is_gone(
    workspace: Workspace, people: Callable[..., list[str]]
) -> None:
    """Another program may delete all people; batches that are not over are brought to their end all the same."""
    people(2)
    assert workspace.run("batch-submit").exit_code == 0
    workspace.change("DELETE FROM experts")
    seen = []
    for _ in range(3):
        seen.append(_status(workspace)["next"])
        workspace.run(seen[-1].split()[1])
    assert seen == ["make batch-poll", "make batch-ingest", "make import EXPERTS=people.csv"]


@pytest.mark.full
def test_next_leads_through_the_chain(workspace: Workspace, api: Api, people: Callable[..., list[str]]) -> None:
    """Typing what `next` says, from the first person to the last, ends where there is something to find.

    Claimed while submitted and downloaded, with the estimate as money that is under way. Status asks nothing, writes
    nothing, and with an index it tells from its list of hashes how far that is behind; the vectors stay on the disk.
    """
    people(3, without_bio=2)
    before = workspace.query("SELECT * FROM findable_workspace"), workspace.query("SELECT * FROM findable_events")
    assert _status(workspace)["next"] == "make tag"
    after = workspace.query("SELECT * FROM findable_workspace"), workspace.query("SELECT * FROM findable_events")
    assert (api.journal(), after) == ([], before)
    assert workspace.run("batch-submit", "--limit", "3").exit_code == 0
    document = _status(workspace)
    assert document["experts"] == {"total": 5, "tagged": 0, "untagged": 0, "no_bio": 2, "claimed": 3, "parked": 0}
    assert (document["batches"]["submitted"], document["spent"]["estimated"] > 0) == (1, True)
    assert document["next"] == "make batch-poll"
    assert workspace.run("batch-poll").exit_code == 0
    document = _status(workspace)
    assert (document["batches"]["downloaded"], document["next"]) == (1, "make batch-ingest")
    assert "batch 1 downloaded, 3 rows" in workspace.run("status").stdout
    assert workspace.run("batch-ingest").exit_code == 0
    assert _status(workspace)["next"] == "make index"
    assert workspace.run("index").exit_code == 0
    document = _status(workspace)
    assert document["next"].startswith("make search")
    assert (document["index"]["count"], document["index"]["dim"], document["index"]["behind"]) == (3, 768, 0)
    assert document["batches"]["ingested"] == 1
    assert document["spent"]["actual"] > 0
    assert document["spent"]["estimated"] == 0
    script = (
        "import sys\nfrom jobs.cli import main\n"
        "try:\n    main(['status', '--json'])\nexcept SystemExit:\n    pass\n"
        "assert not {'faiss', 'numpy', 'pydantic', 'google.genai'} & set(sys.modules)\n"
    )
    environ = {**workspace.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["index"]["count"] == 3


@pytest.mark.full
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
    for following in ("batch-poll", "batch-ingest", "batch-submit"):
        assert _status(workspace)["next"] == f"make {following}"
        workspace.ran(following)


def test_what_may_have_been_spent_is_not_told_as_under_way(
    workspace: Workspace, api: Api, people: Callable[..., list[str]]
) -> None:
    """A live call whose reply was lost may have cost its estimate, for ever; nothing of it is under way."""
    people(1)
    api.fault("drop", path=":generateContent")
    assert workspace.run("tag-live", CALL_TIMEOUT="2").exit_code == 0
    spent = _status(workspace)["spent"]
    assert spent["lost"] == spent["estimated"] > 0
    (line,) = [one for one in workspace.run("status").stdout.splitlines() if one.startswith("spent")]
    assert line.endswith(f"under way; about ${spent['lost']:.4f} more may have been spent on lost replies")


def test_parked_people_are_counted_and_let_go(workspace: Workspace, people: Callable[..., list[str]]) -> None:
    """`status` groups them by reason, the most frequent first; `parked` lists each, oldest first.

    `unpark` lets one by username go, or all after confirming: without a terminal `--yes` is needed. Who is being
    forgotten stays.
    """
    names = people(5)
    _park(workspace, **{names[0]: "too odd", names[1]: "too long", names[2]: "too long"})
    document = _status(workspace)
    assert document["experts"]["parked"] == 3
    assert list(document["parked"].items()) == [("too long", 2), ("too odd", 1)]
    listed = json.loads(workspace.run("parked", "--json").stdout)
    reasons = {names[0]: "too odd", names[1]: "too long", names[2]: "too long"}
    assert {row["name"]: row["reason"] for row in listed} == reasons
    assert all(datetime.fromisoformat(row["since"]).tzinfo for row in listed)
    assert "parked 2: too long" in workspace.run("status").stdout
    assert names[1] in workspace.run("parked").stdout
    assert workspace.run("unpark", names[0]).exit_code == 0
    assert "YES=1" in workspace.ran("unpark", "--all", code=2).stderr
    assert _status(workspace)["experts"]["parked"] == 2
    assert json.loads(workspace.run("unpark", "--all", "--yes", "--json").stdout) == {"unparked": names[1:3]}
    assert _status(workspace)["experts"]["untagged"] == 5
    with workspace.open() as ws, ws.store.write() as tx:
        asks.park_unasked(tx, ws.task.name, {ws.task.id_of(tx, names[4]): "is being forgotten"}, at=ws.now())
    assert workspace.ran("unpark", "--all", "--yes").stdout.strip() == "no person to unpark"
    assert _status(workspace)["experts"]["parked"] == 1
