"""`tag-live` while others work: batches, imports, a second process; and what Ctrl-C and SIGTERM leave.

A slow call is answered when the engine's clock has moved on, so that what happens meanwhile happens meanwhile.
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from pipeline.live import tag
from tests import ledger, postgresql
from tests.integration.live.asking import LIVE, People, asked, ends, tagged
from tests.integration.looks import claimed
from tests.lab import ON_POSTGRESQL, ROOT, Api, Workspace
from tests.ledger import COUNTED

HOUR_S = 3600.0
LONGEST_S = 60.0
PARKING = (
    "INSERT INTO findable_asks (task, item_id, extractor, state, input_hash, reason, at) "
    "SELECT 'expert-tags', id, 'expert-tags@2/x', 'parked', '', 'so', '2026-11-20 00:00:00.000000' "
    "FROM experts WHERE id = :id"
)


def slow(api: Api) -> None:
    """Let every answer that is asked for from now on take an hour of the engine's clock."""
    api.configure(latencies={LIVE: {"kind": "constant", "seconds": HOUR_S}})


def let_go(api: Api) -> None:
    """Let an hour pass at the engine, after which answers come at once."""
    api.configure(latencies={})
    api.advance(HOUR_S)


def wait_for_calls(api: Api, count: int, process: "subprocess.Popen[str] | None" = None) -> None:
    """Wait until so many live calls have come in."""
    until = time.monotonic() + LONGEST_S
    while len(api.seen("POST", LIVE)) < count:
        assert time.monotonic() < until, "it never asked"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.01)


@contextmanager
def while_asking(workspace: Workspace, api: Api, **values: str) -> Iterator[list[tag.TagLiveReport]]:
    """Run `tag-live` one call at a time; during the block the first is under way. Afterwards its report is there."""
    reports: list[tag.TagLiveReport] = []
    there = Workspace(workspace.data, workspace.environ | {f"FINDABLE_{name}": text for name, text in values.items()})
    there.environ |= {"FINDABLE_CONCURRENCY": "1", "FINDABLE_CALL_TIMEOUT": "60"}

    def run() -> None:
        """Be the thread that asks."""
        with there.open() as ws:
            reports.append(tag.run(ws, limit=None))

    slow(api)
    thread = Thread(target=run)
    thread.start()
    try:
        wait_for_calls(api, 1)
        yield reports
    finally:
        let_go(api)
        thread.join(LONGEST_S)
    assert reports, "it did not end"


@contextmanager
def another(workspace: Workspace, *, calls: int, api: Api, **values: str) -> Iterator["subprocess.Popen[str]"]:
    """Run `tag-live` in a process of its own; the block begins when so many calls have come in."""
    environ = {**os.environ, **workspace.environ, "PYTHONPATH": str(ROOT), "FINDABLE_CALL_TIMEOUT": "60"}
    environ |= {f"FINDABLE_{name}": text for name, text in values.items()}
    command = [sys.executable, "-m", "jobs", "tag-live"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for_calls(api, calls, process)
            yield process
        finally:
            process.kill()


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for a process and return its exit code and what it said."""
    out, err = process.communicate(timeout=LONGEST_S)
    return process.returncode, out + err


def test_who_is_being_asked_is_left_alone_by_a_batch(workspace: Workspace, api: Api, people: People) -> None:
    """A submit meanwhile takes all others, and the run leaves these to the batch: no person is asked twice."""
    people(3)
    with while_asking(workspace, api) as reports:
        assert claimed(workspace) == ["1"]
        assert workspace.run("batch-submit").exit_code == 0
        assert claimed(workspace) == ["1", "2", "3"]
    assert (reports[0].asked.answered, reports[0].asked.elsewhere, reports[0].asked.calls) == (1, 2, 1)
    assert claimed(workspace) == ["2", "3"]
    in_a_batch = tagged(workspace)
    assert (in_a_batch["skipped"], in_a_batch["calls"]) == (3, 0)
    for command in ("batch-poll", "batch-ingest"):
        assert workspace.run(command).exit_code == 0
    assert tagged(workspace)["calls"] == 0
    assert ledger.people(workspace) == {"total": 3, "tagged": 3}
    assert len(api.seen("POST", LIVE)) == 1
    ledger.check(workspace)


def test_a_row_that_changes_meanwhile_is_asked_about_as_it_is_then(
    workspace: Workspace, api: Api, people: People
) -> None:
    """Deleted, tagged, emptied or parked since the page was read: no mark, no call, no failure.

    With another bio its question is written anew. An answer that was under way is kept for what it was asked about.
    """
    people(7)
    with while_asking(workspace, api) as reports:
        workspace.change("UPDATE experts SET bio = 'I build clocks out of brass.' WHERE id IN (1, 2)")
        workspace.change("DELETE FROM experts WHERE id = 3")
        workspace.change("UPDATE experts SET tags = '[\"theirs\"]' WHERE id = 4")
        workspace.change("UPDATE experts SET bio = NULL WHERE id = 5")
        workspace.change(PARKING, id=6)
    assert (reports[0].asked.answered, reports[0].asked.elsewhere, reports[0].left) == (3, 4, 0)
    assert ends(workspace) == [("1", "answered"), ("7", "answered"), ("2", "answered")]
    said = [json.dumps(entry["json"]) for entry in api.seen("POST", LIVE)]
    assert ["clocks out of brass" in one for one in said] == [False, False, True]
    assert workspace.query("SELECT item_id FROM findable_answers WHERE outdated") == [("1",)]
    assert claimed(workspace) == []


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ("DELETE FROM experts WHERE id = 1", []),
        ("UPDATE experts SET tags = '[\"theirs\"]' WHERE id = 1", ['["theirs"]']),
    ],
    ids=["deleted", "tagged"],
)
def test_an_answer_that_comes_too_late_overwrites_nothing(
    workspace: Workspace, api: Api, people: People, change: str, left: list[str]
) -> None:
    """Deleted or tagged while the call was under way: the answer is kept with its cost and not applied."""
    people(1)
    with while_asking(workspace, api):
        workspace.change(change)
    assert [row[0] for row in workspace.query("SELECT tags FROM experts")] == left
    assert [bool(row[0]) for row in workspace.query("SELECT applied FROM findable_answers")] == [False]
    assert (ends(workspace), claimed(workspace)) == ([("1", "answered")], [])


@pytest.mark.full
def test_two_runs_at_once_share_the_people_and_the_day(workspace: Workspace, api: Api, people: People) -> None:
    """No person is asked by both, and together they end exactly where the day's requests do."""
    people(30)
    slow(api)
    with (
        another(workspace, calls=5, api=api, RPD="20", CONCURRENCY="5") as one,
        another(workspace, calls=10, api=api, RPD="20", CONCURRENCY="5") as other,
    ):
        let_go(api)
        (code, said), (other_code, other_said) = ended(one), ended(other)
    assert {code, other_code} == {4}, said + other_said
    assert len(api.seen("POST", LIVE)) == workspace.scalar(COUNTED) == 20
    assert sorted(asked(api).values()) == [1] * 20
    assert workspace.scalar("SELECT count(DISTINCT owner) FROM findable_calls") == 2
    assert ledger.people(workspace) == {"total": 30, "tagged": 20, "untagged": 10}
    ledger.check(workspace)


@pytest.mark.full
def test_an_interrupt_lets_what_is_under_way_finish(workspace: Workspace, api: Api, people: People) -> None:
    """SIGTERM or Ctrl-C, once: no further call begins, answers that come are kept, exit code 130."""
    people(20)
    slow(api)
    with another(workspace, calls=3, api=api, CONCURRENCY="3") as process:
        process.send_signal(signal.SIGTERM)
        let_go(api)
        code, said = ended(process)
    assert code == 130, said
    assert "Traceback" not in said
    assert "3 tagged, 17 left; 3 calls" in said
    assert len(api.seen("POST", LIVE)) == 3
    assert {how for _, how in ends(workspace)} == {"answered"}
    assert ledger.people(workspace) == {"total": 20, "tagged": 3, "untagged": 17}
    assert workspace.scalar("SELECT why FROM findable_runs") == "interrupted"


@pytest.mark.full
def test_an_interrupt_ends_the_wait_for_the_last_calls(workspace: Workspace, api: Api, people: People) -> None:
    """Where a key that is refused ended the run already, what is under way still gets five seconds and no more."""
    people(3)
    api.fault("hang", path=LIVE, args={"seconds": LONGEST_S})
    api.fault("status", path=LIVE, args={"code": 401, "message": "API key not valid"})
    with another(workspace, calls=2, api=api, CONCURRENCY="2") as process:
        until = time.monotonic() + LONGEST_S
        while workspace.scalar("SELECT count(*) FROM findable_calls WHERE outcome IS NOT NULL") < 1:
            assert time.monotonic() < until, "nothing was refused"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=0.6 * LONGEST_S)
    assert process.returncode == 130, said
    assert sorted(str(how) for _, how in ends(workspace)) == ["lost", "not sent"]  # whichever came first to the server
    assert ledger.people(workspace) == {"total": 3, "untagged": 3}


@pytest.mark.full
def test_an_interrupt_ends_the_wait_for_a_window(workspace: Workspace, api: Api, people: People) -> None:
    """With one call a minute, no command has to wait the minute to stop."""
    people(3)
    with another(workspace, calls=1, api=api, RPM="1") as process:
        until = time.monotonic() + LONGEST_S
        while {how for _, how in ends(workspace)} != {"answered"}:
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in said
    assert ledger.people(workspace) == {"total": 3, "tagged": 1, "untagged": 2}


def test_what_a_dead_run_was_asking_is_asked_again(workspace: Workspace, api: Api, people: People) -> None:
    """SIGKILL: its marks are lost ones, its claims free; the next run tags all people, and counts what it may cost."""
    people(5)
    slow(api)
    with another(workspace, calls=2, api=api, CONCURRENCY="2") as process:
        process.kill()
        process.communicate()
    let_go(api)
    assert ledger.people(workspace) == {"total": 5, "untagged": 5}
    assert tagged(workspace)["answered"] == 5
    hows = [how for _, how in ends(workspace)]
    assert (hows.count("lost"), hows.count("answered")) == (2, 5)
    assert len(api.seen("POST", LIVE)) == 7 == workspace.scalar(COUNTED)
    ledger.check(workspace)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["VARCHAR(40)", "UUID"] if ON_POSTGRESQL else ["TEXT"])
def test_ids_of_another_application_are_no_numbers(workspace: Workspace, api: Api, tmp_path: Path, kind: str) -> None:
    """People of an adopted table whose ids are UUIDs are asked in the order of their ids, each once, over pages."""
    if ON_POSTGRESQL:
        workspace.environ["FINDABLE_DATABASE_URL"] = postgresql.database_of(tmp_path / "theirs")
    workspace.data.mkdir(exist_ok=True)
    workspace.change(f"CREATE TABLE experts (id {kind} PRIMARY KEY, username TEXT, bio TEXT)")
    ids = [str(uuid.UUID(int=number * 7919 % 1009)) for number in range(1, 121)]
    rows = ", ".join(f"('{one}', 'u{number}', 'I teach water law, {number}.')" for number, one in enumerate(ids))
    workspace.change(f"INSERT INTO experts VALUES {rows}")  # noqa: S608 - our own words
    workspace.begin()
    api.fault("safety", times=2, path=LIVE)
    assert tagged(workspace)["answered"] == 120
    assert max(asked(api).values()) == 2
    assert {item for item, _ in ends(workspace)} == set(ids)
    assert workspace.scalar("SELECT count(*) FROM experts WHERE tags LIKE '[%'") == 120
