"""`batch-poll`: every ending of a batch, every failure on the way, and what is left as it was."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.checker import Look, check
from tests.acceptance.database import two_days_later
from tests.acceptance.engine import Engine
from tests.acceptance.process import LONGEST_S
from tests.acceptance.product import Workspace

ALWAYS = 10_000


def remote_names(workspace: Workspace) -> list[str]:
    """Return the remote names of the batches, oldest first."""
    return [one["remote_name"] for one in workspace.batches()]


def poll(workspace: Workspace, *, code: int = 0, **options: Any) -> Any:
    """Run `batch-poll`, expect an exit code, and return its document."""
    return workspace.do("poll", json=True, code=code, **options).json


def finish(api: Engine) -> None:
    """Wait until the engine has done its work, whatever it is told to say of it."""
    deadline = time.monotonic() + LONGEST_S
    while any(batch["state"] in {"PENDING", "RUNNING"} for batch in api.batches()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def looks(api: Engine, method: str, part: str) -> int:
    """Return how many requests of a method the engine was sent that have `part` in their path."""
    return sum(one["method"] == method and part in one["path"] for one in api.journal())


def test_a_batch_is_brought_home_however_it_ended(workspace: Workspace, api: Engine) -> None:
    """Words of both families end a batch, and its reason; unknown, missing and passing ones are waited out, told once.

    Waits grow up to a bound, and one look is one.
    """
    ends = ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")
    words = [f"JOB_STATE_{end}" for end in ends] + ["BATCH_STATE_SUCCEEDED", "BATCH_STATE_EXPIRED"]
    passing = [
        "BATCH_STATE_NEW",
        *(f"JOB_STATE_{one}" for one in ("UNSPECIFIED", "QUEUED", "PAUSED", "UPDATING")),
    ]
    workspace.people(len(words) + len(passing) + 1)
    assert "nothing to poll" in workspace.do("poll").out
    workspace.do("submit", BATCH_ROWS=1)
    finish(api)
    names = remote_names(workspace)
    for word, name in zip(words, names, strict=False):
        api.fault(
            "unknown_state", times=ALWAYS, args={"state": word}, method="GET", path=f"/{name}$"
        )
    for word, name in zip(passing, names[len(words) :], strict=False):
        api.fault("unknown_state", times=3, args={"state": word}, method="GET", path=f"/{name}$")
    api.fault("missing_state", times=3, method="GET", path=f"/{names[-1]}$")
    assert "6 batches not over yet" in workspace.do("poll", no_wait=True).out
    assert [looks(api, "GET", f"/{name}") for name in names[len(words) :]] == [1] * 6
    assert workspace.do("poll").err.count("never seen before") <= 2
    assert [looks(api, "GET", f"/{name}") for name in names[len(words) :]] == [4] * 6
    reasons = [one["reason"] for one in workspace.batches()]
    assert reasons[2:5] == ["failed", "cancelled", "expired"]
    assert reasons[6] == "expired"
    workspace.do("ingest")
    assert workspace.states() == {"tagged": len(names)}


def test_a_result_that_never_comes_fails_the_batch(workspace: Workspace, api: Engine) -> None:
    """A batch that succeeded and names no result stays open for two days, then ends, and may have to be paid."""
    workspace.people(2)
    workspace.do("submit")
    finish(api)
    api.fault("no_output_yet", times=ALWAYS)
    said = [workspace.do("poll", no_wait=True, POLL_PATIENCE=0).err for _ in range(2)]
    assert ["stays open and is looked at again until" in one for one in said] == [True, False]
    assert workspace.states() == {"claimed": 2}
    two_days_later(workspace, 1)
    assert poll(workspace, no_wait=True)["failed"] == {"1": "succeeded without a result"}
    spent = workspace.spent()
    assert (spent["actual"], spent["estimated"] + spent["lost"] > 0) == (0, True)
    assert workspace.states() == {"untagged": 2}


def test_a_batch_without_a_result_lets_its_people_go(workspace: Workspace, api: Engine) -> None:
    """Each goes out with the next one; the API's own code and words are recorded, and uploads are deleted.

    A partial file that answers 404 is no reason to wait.
    """
    workspace.people(4)
    for nth, fault in enumerate(("batch_expires", "batch_cancelled"), 1):
        api.fault(fault, nth=nth)
    api.fault(
        "batch_fails",
        nth=3,
        args={"error": {"code": 9, "message": "The schema is nested too deeply."}},
    )
    api.fault("batch_expires", nth=4, args={"partial": 0.5})
    workspace.do("submit", BATCH_ROWS=1)
    api.fault("download_status", times=ALWAYS, args={"code": 404})
    failed = poll(workspace)["failed"]
    assert [*failed] == ["1", "2", "3", "4"]
    assert (
        failed["3"]
        == workspace.batches()[2]["reason"]
        == "failed: 9: The schema is nested too deeply."
    )
    assert looks(api, "DELETE", "/files/") == 4
    api.clear_faults()
    workspace.each("submit", "poll", "ingest")
    assert workspace.states() == {"tagged": 4}


def test_an_upload_that_cannot_be_deleted_is_told(workspace: Workspace, api: Engine) -> None:
    """The result is there and goes in; what stays at Gemini, and for how long, is said."""
    workspace.people(1)
    workspace.do("submit")
    api.fault("status", times=ALWAYS, method="DELETE", args={"code": 500, "message": "not now"})
    assert (
        "could not be deleted, and the API forgets it after 48 h"
        in workspace.do("poll", RETRY_FOR=0.05).err
    )
    workspace.do("ingest")
    assert workspace.states() == {"tagged": 1}


@pytest.mark.parametrize("fault", ["batch_expires", "batch_cancelled"])
def test_a_partial_result_is_taken_and_the_rest_goes_back(
    fault: str, workspace: Workspace, api: Engine
) -> None:
    """Who has a line is answered; who has none is charged with nothing, however often it happens."""
    workspace.people(4)
    api.fault(fault, args={"partial": 0.5})
    workspace.each("submit", "poll", "ingest")
    assert workspace.batch_states() == ["ingested"]
    assert workspace.states() == {"tagged": 2, "untagged": 2}
    assert [one["reason"] for one in workspace.asked() if one["outcome"] == "missing"] == [
        f"no line in the result: {'expired' if fault == 'batch_expires' else 'cancelled'}"
    ] * 2
    workspace.each("submit", "poll", "ingest")
    assert workspace.states() == {"tagged": 4}


def test_what_vanished_is_kept_until_it_is_given_up(workspace: Workspace, api: Engine) -> None:
    """A batch that the API shows no more, or whose result is not there, keeps its claims; the others come home."""
    workspace.people(4)
    workspace.do("submit", BATCH_ROWS=1)
    names = remote_names(workspace)
    for name, code in zip(names, (404, 403), strict=False):
        api.fault("batch_vanishes", times=ALWAYS, args={"code": code}, path=f"/{name}$")
    lost = f"{names[2].removeprefix('batches/')}.*:download"
    api.fault("download_status", times=ALWAYS, args={"code": 404}, path=lost)
    report = poll(workspace, code=3)
    assert ([*report["gone"]], report["downloaded"]) == (["1", "2", "3"], [4])
    assert workspace.batch_states() == ["submitted"] * 3 + ["downloaded"]
    assert workspace.states() == {"claimed": 4}
    workspace.do("cancel", 3)
    assert poll(workspace, code=3)["failed"] == {"3": "succeeded, but its result could not be had"}
    assert workspace.states() == {"claimed": 3, "untagged": 1}
    assert "not confirmed; nothing was changed" in workspace.do("cancel", 1, code=2).err
    workspace.do("cancel", 1, yes=True)
    assert (workspace.states(), workspace.batch_states()[0]) == (
        {"claimed": 2, "untagged": 2},
        "failed",
    )
    cost = workspace.batches()[0]["estimated_cost"]
    assert workspace.spent()["lost"] >= round(cost, 6) > 0, "it may have been worked on"
    assert workspace.do("submit", BUDGET_PER_DAY=f"{cost * 4:.9f}", code=3).err


def test_one_sick_batch_does_not_hide_the_others(workspace: Workspace, api: Engine) -> None:
    """Whatever looking at one batch, or fetching its result, gives, the others are brought home; exit code 4."""
    workspace.people(5)
    workspace.do("submit", BATCH_ROWS=1)
    names = remote_names(workspace)
    for name, fault in zip(names, ("get_status", "drop", "html_200"), strict=False):
        api.fault(fault, times=ALWAYS, method="GET", path=f"/{name}$")
    api.fault("download_status", times=ALWAYS, path=names[3].removeprefix("batches/"))
    finish(api)
    report = poll(workspace, code=4, RETRY_FOR=0.05, POLL_PATIENCE=1)
    assert report["downloaded"] == [5]
    assert 4 in report["waiting"]
    assert "503" in report["stopped"]
    assert workspace.batch_states() == ["submitted"] * 4 + ["downloaded"]
    api.clear_faults()
    assert poll(workspace)["downloaded"] == [1, 2, 3, 4]


CUT: dict[
    str, tuple[list[tuple[str, dict[str, Any]]], int, int]
] = {  # faults, downloads, how many are missing
    "a page of HTML, once": ([("html_200", {"path": ":download"})], 2, 0),
    "cut inside the last line": ([("cut_without_length", {"args": {"fraction": 0.99}})], 2, 0),
    "cut where lines stand twice": (
        [("duplicate_equal", {"times": 6}), ("cut_without_length", {"args": {"fraction": 0.8}})],
        2,
        0,
    ),
    "the fullest of three": (
        [
            ("missing_line", {}),
            ("cut_without_length", {"nth": 2, "times": 2, "args": {"fraction": 0.4}}),
        ],
        3,
        1,
    ),
}


@pytest.mark.parametrize(("faults", "downloads", "missing"), CUT.values(), ids=CUT)
def test_too_few_lines_are_fetched_again_and_taken_at_last(
    faults: list[tuple[str, dict[str, Any]]],
    downloads: int,
    missing: int,
    workspace: Workspace,
    api: Engine,
) -> None:
    """A result with fewer lines than the API counts is downloaded three times at most; then the rest is missing."""
    workspace.people(6)
    for word, how in faults:
        api.fault(word, **how)
    workspace.do("submit")
    assert poll(workspace)["downloaded"] == [1]
    assert looks(api, "GET", ":download") == downloads
    workspace.do("ingest")
    [batch] = workspace.batches()
    assert (batch["answered"], batch["missing"]) == (6 - missing, missing)
    assert not [*(workspace.data / "batches").glob("*.part*")]


def test_a_page_instead_of_a_result_charges_nobody(workspace: Workspace, api: Engine) -> None:
    """A proxy that answers downloads with HTML and 200 leaves the batch at the API, however often it does so."""
    workspace.people(3)
    workspace.do("submit")
    api.fault("html_200", times=ALWAYS, path=":download")
    assert "HTML" in poll(workspace, code=4, POLL_PATIENCE=0.1)["stopped"]
    assert workspace.states() == {"claimed": 3}
    api.clear_faults()
    workspace.each("poll", "ingest")
    assert workspace.states() == {"tagged": 3}


def test_a_poll_that_waits_keeps_nobody_waiting(workspace: Workspace, api: Engine) -> None:
    """While it waits others ingest, submit and cancel, and it follows what came."""
    workspace.people(4)
    workspace.do("submit", limit=2)
    workspace.do("poll")
    api.fault("never_ends")
    workspace.do("submit", limit=1)
    with workspace.start("poll", json=True, POLL_PATIENCE=LONGEST_S) as running:
        while not looks(api, "GET", remote_names(workspace)[1]):
            assert not running.has_ended(), running.wait()
        workspace.each("ingest", "submit")
        workspace.do("cancel", 2)
        ended_process = running.wait()
    assert (ended_process.code, ended_process.json["downloaded"], ended_process.json["failed"]) == (
        0,
        [3],
        {"2": "cancelled by hand"},
    )
    assert workspace.states() == {"tagged": 2, "claimed": 1, "untagged": 1}


def test_every_batch_is_listed_as_it_stands(workspace: Workspace, api: Engine) -> None:
    """Number, state, name, rows, cost and reason of each, oldest first; estimates are marked in the table."""
    workspace.people(6)
    assert "findable batch-submit" in workspace.do("batches").out
    api.fault("batch_fails", nth=1)
    api.fault("never_ends", nth=2)
    workspace.do("submit", BATCH_ROWS=2)
    while [one["state"] for one in api.batches()] != ["FAILED", "PENDING", "SUCCEEDED"]:
        time.sleep(0.01)
    workspace.do("poll", no_wait=True)
    workspace.do("ingest")
    rows = workspace.batches()
    assert [
        (one["number"], one["state"], one["requests"], one["cost_is_actual"]) for one in rows
    ] == [
        (1, "failed", 2, False),
        (2, "submitted", 2, False),
        (3, "ingested", 2, True),
    ]
    assert all(one["cost"] > 0 for one in rows)
    assert rows[0]["reason"].startswith("failed: 13")
    table = workspace.do("batches").out.splitlines()[1:]
    assert [line.split()[0] for line in table] == ["1", "2", "3"]
    assert all(one["remote_name"] in line for one, line in zip(rows, table, strict=True))
    assert ["~" in line for line in table] == [True, True, False]


def test_a_single_look_lets_the_embedded_engine_work(tmp_path: Path) -> None:
    """Without a server of the API, `--no-wait` gives the engine, which lives in this process, a few seconds."""
    workspace = Workspace(tmp_path / "here")
    workspace.people(3)
    workspace.do("submit")
    assert poll(workspace, no_wait=True)["downloaded"] == [1]
    workspace.do("ingest")
    assert workspace.states() == {"tagged": 3}
    check(Look(workspace, is_only=True))
