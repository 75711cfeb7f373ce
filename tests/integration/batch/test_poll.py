"""`batch-poll` against the emulator: every ending of a batch, every failure on the way, and what is left as it was."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pipeline.batch import cancel as batch_cancel
from pipeline.batch import poll as batch_poll
from pipeline.core.states import RemoteState
from pipeline.gemini.operations import RemoteBatch
from pipeline.store import batches
from tests import ledger
from tests.integration.looks import crowd
from tests.lab import Api, Workspace, slowness

pytestmark = pytest.mark.sampled(3)

ALWAYS = 10_000
People = Callable[..., list[str]]


def remote_names(workspace: Workspace) -> list[str]:
    """Return the remote names of the batches, oldest first."""
    return [row[0] for row in workspace.query("SELECT remote_name FROM findable_batches ORDER BY number")]


def submit(workspace: Workspace, **values: str) -> None:
    """Submit everything, and expect that it works."""
    workspace.ran("batch-submit", **values)


def poll(workspace: Workspace, *args: str, code: int = 0, **values: str) -> Any:
    """Run `batch-poll --json`, expect an exit code, and return its document."""
    result = workspace.ran("batch-poll", "--json", *args, **values, code=code)
    ledger.check(workspace)
    return json.loads(result.stdout)


def ingest(workspace: Workspace) -> None:
    """Ingest what is downloaded, and expect that it works."""
    workspace.ran("batch-ingest")
    ledger.check(workspace)


def finish(api: Api) -> None:
    """Wait until the emulator has done its work, whatever it is told to say of it."""
    until = time.monotonic() + 30
    while any(batch["state"] in {"PENDING", "RUNNING"} for batch in api.batches()["batches"]):
        assert time.monotonic() < until
        time.sleep(0.01)


def uncharged(workspace: Workspace) -> int:
    """Return how many attempts are recorded that no person is charged for."""
    count: int = workspace.scalar("SELECT count(*) FROM findable_attempts WHERE NOT charged")
    return count


def told(api: Api, workspace: Workspace, number: int, fault: str, *, times: int = ALWAYS, **args: str) -> None:
    """Let the API say something of one batch whenever it is looked at."""
    api.fault(fault, times=times, args=args, method="GET", path=f"/{remote_names(workspace)[number]}$")


def test_a_result_is_brought_home_however_the_batch_ended(workspace: Workspace, api: Api, people: People) -> None:
    """Both families of state words end a batch; a result that is named is fetched, and how it ended is its reason."""
    words = ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")
    people(len(words) + 2)
    submit(workspace, BATCH_ROWS="1")
    finish(api)
    for number, word in enumerate((*words, "SUCCEEDED", "EXPIRED")):
        family = "JOB_STATE_" if number < len(words) else "BATCH_STATE_"
        told(api, workspace, number, "unknown_state", state=family + word)
    assert sorted(poll(workspace)["downloaded"]) == list(range(1, len(words) + 3))
    reasons = [row[0] for row in workspace.query("SELECT reason FROM findable_batches ORDER BY number")]
    assert reasons[2:5] == ["failed", "cancelled", "expired"]
    assert reasons[6] == "expired"
    ingest(workspace)
    assert ledger.people(workspace) == {"total": len(words) + 2, "tagged": len(words) + 2}


def test_a_state_that_is_no_end_is_waited_out(workspace: Workspace, api: Api, people: People) -> None:
    """Unknown, missing and passing states mean that a batch is not over; only odd ones are told, and once."""
    states = ("BATCH_STATE_NEW", "JOB_STATE_UNSPECIFIED", "JOB_STATE_QUEUED", "JOB_STATE_PAUSED", "JOB_STATE_UPDATING")
    people(len(states) + 1)
    submit(workspace, BATCH_ROWS="1")
    finish(api)
    told(api, workspace, 0, "missing_state", times=3)
    for number, state in enumerate(states, 1):
        told(api, workspace, number, "unknown_state", times=3, state=state)
    result = workspace.ran("batch-poll")
    assert result.stderr.count("never seen before") == 2
    assert [len(api.seen("GET", name)) for name in remote_names(workspace)] == [4] * (len(states) + 1)
    assert set(ledger.batches(workspace)) == {"downloaded"}


def test_a_result_that_never_comes_fails_the_batch(workspace: Workspace, api: Api, people: People) -> None:
    """A batch that succeeded and never names a result ends, also by single looks; its people go back uncharged."""
    people(2)
    submit(workspace)
    finish(api)
    api.fault("no_output_yet", times=ALWAYS)
    for _ in range(2):
        assert poll(workspace, "--no-wait")["waiting"] == [1]
    assert poll(workspace, "--no-wait", POLL_PATIENCE="0")["failed"] == {"1": "succeeded without a result"}
    spent = json.loads(workspace.run("status", "--json").stdout)["spent"]
    assert spent["actual"] == 0
    assert spent["estimated"] > 0, "Gemini will have it paid all the same"
    assert ledger.people(workspace) == {"total": 2, "untagged": 2}
    assert uncharged(workspace) == 2


def test_a_batch_without_a_result_lets_its_people_go(workspace: Workspace, api: Api, people: People) -> None:
    """No person is charged for what became of the batch, and each goes out with the next one; uploads are deleted.

    The API's own code and words are recorded. A partial file that answers 404 is no reason to wait.
    """
    people(4)
    for nth, fault in enumerate(("batch_expires", "batch_cancelled"), 1):
        api.fault(fault, nth=nth)
    api.fault("batch_fails", nth=3, args={"error": {"code": 9, "message": "The schema is nested too deeply."}})
    api.fault("batch_expires", nth=4, args={"partial": 0.5})
    submit(workspace, BATCH_ROWS="1")
    uploads = workspace.query("SELECT upload FROM findable_batches")
    api.fault("download_status", times=ALWAYS, args={"code": 404})
    failed = poll(workspace)["failed"]
    assert list(failed) == ["1", "2", "3", "4"]
    assert failed["3"] == "failed: 9: The schema is nested too deeply."
    kept = workspace.query("SELECT reason FROM findable_requests WHERE batch = 3 AND NOT open")
    assert kept == [(failed["3"],)] == workspace.query("SELECT reason FROM findable_batches WHERE number = 3")
    assert [len(api.seen("DELETE", upload)) for (upload,) in uploads] == [1] * 4
    assert uncharged(workspace) == 4
    api.clear_faults()
    submit(workspace)
    poll(workspace)
    ingest(workspace)
    assert ledger.people(workspace) == {"total": 4, "tagged": 4}


def test_what_vanished_is_kept_until_it_is_given_up(workspace: Workspace, api: Api, people: People) -> None:
    """A batch that the API shows no more, or whose result is not there, keeps its claims; the others come home."""
    people(4)
    submit(workspace, BATCH_ROWS="1")
    names = remote_names(workspace)
    for number, code in enumerate((404, 403)):
        api.fault("batch_vanishes", times=ALWAYS, args={"code": code}, path=f"/{names[number]}$")
    api.fault(
        "download_status", times=ALWAYS, args={"code": 404}, path=f"{names[2].removeprefix('batches/')}.*:download"
    )
    report = poll(workspace, code=3)
    assert (list(report["gone"]), report["downloaded"]) == (["1", "2", "3"], [4])
    assert ledger.batches(workspace) == ["submitted"] * 3 + ["downloaded"]
    assert ledger.people(workspace) == {"total": 4, "claimed": 4}
    assert workspace.run("batch-cancel", "3").exit_code == 0
    assert poll(workspace, code=3)["failed"] == {"3": "succeeded, but its result could not be had"}
    assert ledger.people(workspace) == {"total": 4, "claimed": 3, "untagged": 1}


def test_one_sick_batch_does_not_hide_the_others(workspace: Workspace, api: Api, people: People) -> None:
    """Whatever looking at one batch, or fetching its result, gives, the others are brought home; exit code 4."""
    people(5)
    submit(workspace, BATCH_ROWS="1")
    names = remote_names(workspace)
    for name, fault in zip(names, ("get_status", "drop", "html_200"), strict=False):
        api.fault(fault, times=ALWAYS, method="GET", path=f"/{name}$")
    api.fault("download_status", times=ALWAYS, path=names[3].removeprefix("batches/"))
    finish(api)
    patience = f"{slowness():.1f}"  # enough to look at each once
    report = poll(workspace, code=4, RETRY_FOR="0.05", POLL_PATIENCE=patience, POLL_MOST="1")
    assert report["downloaded"] == [5]
    assert 4 in report["waiting"]
    assert "503" in report["stopped"]
    assert ledger.batches(workspace) == ["submitted"] * 4 + ["downloaded"]
    api.clear_faults()
    assert poll(workspace)["downloaded"] == [1, 2, 3, 4]


def test_a_page_instead_of_a_result_charges_nobody(workspace: Workspace, api: Api, people: People) -> None:
    """A proxy that answers downloads with HTML and 200 leaves the batch at the API, however often it does so."""
    people(3)
    submit(workspace)
    api.fault("html_200", times=ALWAYS, path=":download")
    assert "HTML" in poll(workspace, code=4, POLL_PATIENCE="0.1")["stopped"]
    assert ledger.people(workspace) == {"total": 3, "claimed": 3}
    api.clear_faults()
    api.fault("html_200", path=":download")
    assert poll(workspace)["downloaded"] == [1]
    ingest(workspace)
    assert ledger.people(workspace) == {"total": 3, "tagged": 3}


def test_a_cut_inside_the_last_line_is_seen(workspace: Workspace, api: Api, people: People) -> None:
    """A body that lost only the end of its last line has too few whole lines, and is fetched again."""
    people(5)
    submit(workspace)
    api.fault("cut_without_length", args={"fraction": 0.99})
    assert poll(workspace)["downloaded"] == [1]
    assert len(api.seen("GET", ":download")) == 2
    ingest(workspace)
    assert ledger.people(workspace) == {"total": 5, "tagged": 5}


def test_a_cut_is_seen_where_lines_stand_twice(workspace: Workspace, api: Api, people: People) -> None:
    """As many lines as were asked for came, and not all that were asked have one."""
    people(6)
    api.fault("duplicate_equal", times=6)
    submit(workspace)
    api.fault("cut_without_length", args={"fraction": 0.8})
    assert poll(workspace)["downloaded"] == [1]
    assert len(api.seen("GET", ":download")) == 2
    ingest(workspace)
    assert ledger.people(workspace) == {"total": 6, "tagged": 6}


def test_the_fullest_of_three_results_is_taken(workspace: Workspace, api: Api, people: People) -> None:
    """A line is missing each time, and the last two bodies are cut beside: what came at first is not lost."""
    people(6)
    api.fault("missing_line")
    submit(workspace)
    api.fault("cut_without_length", nth=2, times=2, args={"fraction": 0.4})
    assert poll(workspace)["downloaded"] == [1]
    assert len(api.seen("GET", ":download")) == 3
    ingest(workspace)
    assert workspace.query("SELECT answered, missing FROM findable_batch_accounts") == [(5, 1)]
    assert not list((workspace.data / "batches").glob("*.part"))


@pytest.mark.full
def test_too_few_lines_are_fetched_twice_more_and_taken(workspace: Workspace, api: Api, people: People) -> None:
    """A result with fewer lines than the API counts, or none, is sealed as it is in the end; the rest is missing."""
    people(8)
    api.fault("missing_line", times=1)
    submit(workspace, BATCH_ROWS="4")
    finish(api)
    api.fault("empty_200", times=ALWAYS, path=f"{remote_names(workspace)[1].removeprefix('batches/')}.*:download")
    assert poll(workspace)["downloaded"] == [1, 2]
    assert len(api.seen("GET", ":download")) == 6
    ingest(workspace)
    accounts = "SELECT answered, missing FROM findable_batch_accounts ORDER BY batch"
    assert workspace.query(accounts) == [(3, 1), (0, 4)]
    assert workspace.query("SELECT charged FROM findable_attempts") == [(1,)] * 5
    assert ledger.people(workspace) == {"total": 8, "tagged": 3, "untagged": 5}


def test_a_batch_that_is_too_old_is_cancelled_and_goes_out_again(
    workspace: Workspace, api: Api, people: People
) -> None:
    """A batch that does not end is cancelled at the API, and when that shows its people go into a new one."""
    people(2)
    api.fault("never_ends")
    submit(workspace)
    assert poll(workspace, BATCH_HOURS="0")["failed"] == {"1": "cancelled"}
    assert len(api.seen("POST", ":cancel")) == 1
    assert uncharged(workspace) == 2
    assert workspace.scalar("SELECT count(*) FROM findable_attempts WHERE forgiven") == 0
    submit(workspace)
    poll(workspace)
    ingest(workspace)
    assert ledger.people(workspace) == {"total": 2, "tagged": 2}


@pytest.mark.full
def test_a_cancel_by_hand_is_held_against_nobody(workspace: Workspace, api: Api, people: People) -> None:
    """However often a person cancels, no person is parked for it."""
    people(2)
    for number in range(1, 4):
        api.fault("never_ends")
        submit(workspace)
        assert workspace.run("batch-cancel", str(number)).exit_code == 0
        assert poll(workspace)["failed"] == {str(number): "cancelled by hand"}
    assert ledger.people(workspace) == {"total": 2, "untagged": 2}


def test_twins_are_found_cancelled_and_recorded(workspace: Workspace, api: Api, people: People) -> None:
    """A create that came to light after a second one is cancelled at the next poll, and its cost is recorded."""
    people(2)
    api.configure(batch_looks=2)
    api.fault("create_lost_reply")
    api.fault("list_lag", args={"seconds": 600})
    submit(workspace)
    assert len(api.batches()["batches"]) == 2
    assert workspace.query("SELECT * FROM findable_twins") == []
    crowd(api, 1)
    api.advance(601)
    assert poll(workspace)["downloaded"] == [1]
    states = {batch["name"]: batch["state"] for batch in api.batches()["batches"]}
    twins = workspace.query("SELECT remote_name, estimated_cost > 0, cancelled_at IS NOT NULL FROM findable_twins")
    assert [row[1:] for row in twins] == [(1, 1)]
    assert states.pop(twins[0][0]) == "CANCELLED"
    assert {*remote_names(workspace)} < states.keys()
    assert "CANCELLED" not in states.values()
    assert workspace.scalar("SELECT twins_checked FROM findable_batches") == 1


def test_a_late_batch_of_what_was_given_up_is_found_and_cancelled(
    workspace: Workspace, api: Api, people: People
) -> None:
    """One unclear create, nothing in the list, given up by hand: what shows up afterwards is not left running."""
    people(2)
    api.fault("never_ends")
    api.fault("create_lost_reply")
    api.fault("list_lag", args={"seconds": 600})
    api.fault("status", times=ALWAYS, method="GET", path=r"/batches\?")
    assert workspace.run("batch-submit", RETRY_FOR="0.05").exit_code == 4
    api.clear_faults()
    assert workspace.run("batch-cancel", "1").exit_code == 0
    assert ledger.batches(workspace) == ["failed"]
    api.advance(601)
    poll(workspace)
    assert [batch["state"] for batch in api.batches()["batches"]] == ["CANCELLED"]
    assert workspace.scalar("SELECT count(*) FROM findable_twins WHERE cancelled_at IS NOT NULL") == 1


def test_poll_never_creates(workspace: Workspace, api: Api, people: People) -> None:
    """A create that left nothing stays unclear for poll, which says who clears it up; the others come home."""
    people(4)
    submit(workspace, LIMIT="2")
    api.fault("drop", method="POST", path=":batchGenerateContent")
    api.fault("status", times=ALWAYS, method="GET", path=r"/batches\?")
    assert workspace.run("batch-submit", RETRY_FOR="0.05").exit_code == 4
    unread = poll(workspace, code=4, RETRY_FOR="0.05")
    assert (unread["downloaded"], unread["unclear"]) == ([1], [2])
    api.clear_faults()
    result = workspace.ran("batch-poll", code=4)
    assert "make batch-submit" in result.stderr
    assert ledger.batches(workspace) == ["downloaded", "submitting"]
    assert len(api.seen("POST", ":batchGenerateContent")) == 2


def test_waits_grow_up_to_a_bound(workspace: Workspace, api: Api, people: People) -> None:
    """The first look is at once, then waits grow from `poll_first` to `poll_most` and stay there; one look is one."""
    people(2)
    assert "nothing to poll" in workspace.ran("batch-poll").stdout
    assert api.journal() == []
    api.configure(batch_looks=10)
    submit(workspace)
    finish(api)
    assert "1 batch not over yet" in workspace.ran("batch-poll", WAIT="0").stdout
    assert len(api.seen("GET", remote_names(workspace)[0])) == 1
    workspace.environ |= {"FINDABLE_POLL_FIRST": "5", "FINDABLE_POLL_MOST": "60"}
    waits: list[float] = []
    with workspace.open() as ws:
        ws.sleep = waits.append
        assert batch_poll.run(ws, wait=True).downloaded == [1]
    assert waits == [5, 7.5, 11.25, 16.875, 25.3125, 37.96875, 56.953125, 60]


@pytest.mark.full
def test_a_poll_that_waits_keeps_nobody_waiting(workspace: Workspace, api: Api, people: People) -> None:
    """While it waits others ingest, submit and cancel, and it follows what came."""
    people(4)
    submit(workspace, LIMIT="2")
    poll(workspace)
    api.fault("never_ends")
    submit(workspace, LIMIT="1")
    with workspace.open() as ws:
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            """Do all that others do during the first wait."""
            if not waits:
                assert workspace.query("SELECT name FROM findable_leases") == []
                ingest(workspace)
                submit(workspace)
                workspace.ran("batch-cancel", "2")
            waits.append(seconds)

        ws.sleep = sleep
        report = batch_poll.run(ws, wait=True)
    assert (report.downloaded, report.failed) == ([3], {2: "cancelled by hand"})
    assert ledger.people(workspace) == {"total": 4, "tagged": 2, "claimed": 1, "untagged": 1}


def test_a_poll_that_sees_a_cancel_before_its_sender_does_forgives(
    workspace: Workspace, api: Api, people: People
) -> None:
    """Whose doing a cancel was is known before the API is asked: its items are charged with nothing."""
    people(2)
    api.fault("never_ends")
    submit(workspace)
    with workspace.open() as ws:
        real = ws.client.cancel_batch

        def late(name: str) -> Any:
            """Cancel, and let another command see that before the answer is read here."""
            found = real(name)
            assert "batch 1 failed (cancelled by hand)" in workspace.ran("batch-poll").output
            return found

        ws.client.cancel_batch = late
        batch_cancel.run(ws, number=1, confirm=lambda _question: True)
    assert workspace.query("SELECT charged, forgiven FROM findable_attempts") == [(0, 1), (0, 1)]


def test_a_look_that_comes_late_does_not_undo_what_another_process_saw(workspace: Workspace, people: People) -> None:
    """Of a batch that was brought home meanwhile an older answer is forgotten: its missing lines stay charged."""
    people(2)
    submit(workspace)
    with workspace.open() as ws:
        real = ws.client.get_batch

        def late(name: str) -> RemoteBatch:
            """Answer with what was true before another poll brought the batch home."""
            ws.client.get_batch = real
            old: RemoteBatch = real(name)
            assert workspace.run("batch-poll").exit_code == 0
            return replace(old, word="BATCH_STATE_RUNNING", state=RemoteState.WAITING)

        ws.client.get_batch = late
        assert batch_poll.run(ws, wait=True).downloaded == [1]
    assert workspace.scalar("SELECT remote_word FROM findable_batches") == "BATCH_STATE_SUCCEEDED"


@pytest.mark.parametrize("command", [("batch-poll", "--no-wait"), ("doctor", "--fix")])
def test_a_sender_may_record_its_create_while_another_adopts_it(
    command: tuple[str, ...], workspace: Workspace, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second process finds nothing unclear any more, and goes on."""
    people(2)
    submit(workspace)
    (name,) = remote_names(workspace)
    workspace.change("UPDATE findable_batches SET state = 'submitting', remote_name = NULL, submitted_at = NULL")
    usual = batches.name_prefixes

    def recorded_meanwhile(tx: Any, number: int) -> Any:
        """Let the sender, who stood still, record what it made, as late as can be."""
        query = "UPDATE findable_batches SET state = 'submitted', remote_name = :name WHERE state = 'submitting'"
        workspace.change(query, name=name)
        return usual(tx, number)

    with monkeypatch.context() as patch:
        patch.setattr(batches, "name_prefixes", recorded_meanwhile)
        workspace.ran(*command)
    assert remote_names(workspace) == [name]
    assert workspace.query("SELECT * FROM findable_twins") == []
