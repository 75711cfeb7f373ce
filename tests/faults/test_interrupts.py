"""Ctrl-C at any wait ends a command, with code 130, and leaves its work to the next run."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import ledger
from tests.faults import cells
from tests.faults.ground import ALWAYS, PEOPLE, Ground, Script, person_file
from tests.integration.hands import Hand
from tests.lab import Workspace

pytestmark = pytest.mark.sampled(6, sqlite=2)

DEADLINE_S = 60.0
LONG = dict.fromkeys(
    (
        *("CREATE_TIMEOUT", "CALL_TIMEOUT", "TRANSFER_TIMEOUT", "RETRY_FOR", "RETRY_WAIT"),
        *("POLL_FIRST", "POLL_MOST", "LIST_LAG"),
    ),
    "300",
)
"""Every wait there is, longer than any test lasts: a command that sits one out is killed with the test."""


@pytest.fixture(name="hand")
def _hand() -> Iterator[Hand]:
    """A program that runs the command which is interrupted."""
    hand = Hand()
    yield hand
    hand.close()


def _wait_for(condition: Callable[[], object], hand: Hand) -> None:
    """Look until something holds while the command runs."""
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert not hand.has_ended(), hand.ended()
        assert time.monotonic() < until, "it never came to the wait"
        time.sleep(0.02)


def _interrupt(hand: Hand) -> str:
    """Send Ctrl-C and hold the command to its promise; return what it said."""
    hand.signal(signal.SIGINT)
    ended = hand.ended()
    assert ended.code == 130, ended
    assert "interrupted" in ended.err
    assert "Traceback" not in ended.err
    return ended.err


def _hang(endpoint: tuple[str, str]) -> Script:
    """Return the fault of an endpoint that never answers."""
    return Script("hang", {}, *endpoint, times=ALWAYS)


WAITS: dict[str, tuple[tuple[str, ...], str, Script, tuple[str, str]]] = {
    "an upload's start": (("batch-submit",), "", _hang(cells.START), ("POST", "/upload/")),
    "an upload's piece": (("batch-submit",), "", _hang(cells.PIECE), ("POST", "upload_id=")),
    "a try of an upload": (
        ("batch-submit",), "", Script("status", {}, *cells.START, times=ALWAYS), ("POST", "/upload/"),
    ),
    "a create": (("batch-submit",), "", _hang(cells.CREATE), ("POST", ":batchGenerateContent")),
    "the list's lag": (("batch-submit",), "", Script("drop", {}, *cells.CREATE), ("GET", "/batches?")),
    "a list": (("batch-submit",), "unclear", _hang(cells.LIST), ("GET", "/batches?")),
    "a look": (("batch-poll",), "submitted", _hang(cells.GET), ("GET", "/batches/")),
    "the pause between looks": (("batch-poll",), "running", Script("slow_drip", {}, *cells.GET), ("GET", "/batches/")),
    "a download": (("batch-poll",), "submitted", _hang(cells.DOWNLOAD), ("GET", ":download")),
    "the deletion of an upload": (("batch-poll",), "submitted", _hang(cells.DELETE), ("DELETE", "/files/")),
    "a cancel": (("batch-cancel", "1"), "running", _hang(cells.CANCEL), ("POST", ":cancel")),
    "a call that embeds": (("index",), "later", _hang(cells.EMBED), ("POST", ":batchEmbed")),
    "a question": (("search", "bees"), "served", _hang(cells.EMBED), ("POST", ":batchEmbed")),
    "the pause between live calls": (
        ("tag-live",), "", Script("status", {}, *cells.GENERATE, times=ALWAYS), ("POST", ":generateContent"),
    ),
    "doctor's list": (("doctor",), "submitted", _hang(cells.LIST), ("GET", "/batches?")),
}  # fmt: skip
if os.environ.get("FAULTS") != "all":
    for name in (
        "a try of an upload",
        "a list",
        "the deletion of an upload",
        "a cancel",
        "a question",
        "doctor's list",
    ):
        del WAITS[name]
"""For every wait on the server: the command, the stage it begins at, the fault, and the request it then waits for."""


@pytest.mark.sampled(10, sqlite=10)
@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_at_a_wait_for_the_server(wait: str, hand: Hand, request: pytest.FixtureRequest) -> None:
    """The command ends at once; no lease and no part file is left, and run again without the fault all is done."""
    command, stage, fault, (method, part) = WAITS[wait]
    ground: Ground = request.getfixturevalue("serving" if stage in {"served", "later"} else "asking")
    person_file(Path("newcomer.json"))
    _bring_to(ground, stage)
    ground.script(fault)
    seen = len(ground.api.seen(method, part))
    hand.start(ground.workspace, *command, values=LONG)
    _wait_for(lambda: len(ground.api.seen(method, part)) > seen, hand)
    time.sleep(0.1)  # from the request to the wait for its answer
    _interrupt(hand)
    assert ledger.living_leases(ground.workspace) == []
    assert not list(ground.workspace.data.rglob("*.part"))
    ground.api.configure(paused=False)
    ground.recover()
    people = ground.facts()
    assert (people.claimed, people.tagged >= PEOPLE) == (0, True)
    assert stage in {"served", "later"} or ground.live() == 1


def _bring_to(ground: Ground, stage: str) -> None:
    """Bring a workspace to the stage at which the wait is met."""
    if stage == "later":
        from pipeline.experts import table

        with ground.workspace.open() as ws, ws.store.write() as tx:
            table.insert_person(tx, "later", {"bio": "I mend clocks.", "tags": '["horology"]'})
    if stage == "unclear":
        ground.script(Script("create_lost_reply"), Script("status", {}, *cells.LIST, times=ALWAYS))
        assert ground.run("batch-submit", RETRY_FOR="0").exit_code == 4
        ground.api.clear_faults()
    if stage in {"submitted", "running"}:
        ground.api.configure(paused=stage == "running")
        assert ground.run("batch-submit").exit_code == 0


@pytest.mark.full
@pytest.mark.parametrize("command", [("add-expert", "newcomer.json"), ("tag-live",)], ids=["add-expert", "tag-live"])
def test_a_second_ctrl_c_at_a_live_call(command: tuple[str, ...], hand: Hand, asking: Ground) -> None:
    """The first lets the call finish, for some seconds; the second ends it at once, and the next run does it all."""
    person_file(Path("newcomer.json"))
    asking.script(_hang(cells.GENERATE))
    hand.start(asking.workspace, *command, values=LONG)
    _wait_for(lambda: asking.api.seen("POST", ":generateContent"), hand)
    hand.signal(signal.SIGINT)
    time.sleep(0.3)  # two signals at once may come as one
    assert not hand.has_ended(), "it did not let the call finish"
    _interrupt(hand)
    assert not list(asking.workspace.data.rglob("*.part"))
    asking.recover()
    assert asking.facts().tagged == PEOPLE + (command[0] == "add-expert")


@pytest.mark.full
def test_ctrl_c_while_another_program_holds_the_database(hand: Hand, asking: Ground) -> None:
    """The wait for the database's lock is one that can be interrupted too."""
    with asking.workspace.held():
        hand.start(asking.workspace, "batch-submit", values=LONG)
        _wait_for(lambda: _waits_for_lock(asking.workspace, hand), hand)
        _interrupt(hand)
    asking.recover()
    assert asking.facts().tagged == PEOPLE


def _waits_for_lock(workspace: Workspace, hand: Hand) -> bool:
    """Return whether a command waits for the database; of a file, whether it has it open and has done nothing since."""
    if workspace.on_postgresql:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(workspace.scalar(waiting))
    child = hand.child()
    if child is None:
        return False
    before = sum(child.cpu_times()[:2])
    time.sleep(0.6)
    has_it_open = any(Path(file.path).name == "findable.db" for file in child.open_files())
    return has_it_open and sum(child.cpu_times()[:2]) - before < 0.05


@pytest.mark.full
@pytest.mark.parametrize("command", ["batch-ingest", "index"])
def test_ctrl_c_while_another_process_holds_the_lease(command: str, hand: Hand, serving: Ground) -> None:
    """A command that waits for another one's work ends at once; the other one goes on."""
    if command == "batch-ingest":
        _wait_for_a_batch(serving)
    name = "index" if command == "index" else "batch:2"
    with serving.workspace.open() as ws, ws.lease(name) as lease:
        assert lease is not None
        hand.start(serving.workspace, command, values=LONG)
        hand.wait_until_ended(1)
        assert "another process" in _interrupt(hand)
        assert [row[0] for row in serving.workspace.query("SELECT name FROM findable_leases")] == [name]
    assert serving.run(command).exit_code == 0


def _wait_for_a_batch(ground: Ground) -> None:
    """Bring one more person's batch home, to be ingested."""
    from pipeline.experts import table

    with ground.workspace.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, "later", {"bio": "I mend clocks."})
    for command in ("batch-submit", "batch-poll"):
        assert ground.run(command).exit_code == 0
