"""Ctrl-C at any wait ends a command within a second, with code 130, and leaves its work to the next run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import ledger
from tests.faults import cells
from tests.faults.ground import ALWAYS, PEOPLE, Ground, Script, person_file
from tests.lab import ROOT, Workspace, slowness

pytestmark = pytest.mark.sampled(6, sqlite=2)

ENDS_WITHIN_S = 3.0  # a second on a quiet machine
DEADLINE_S = 60.0
LONG = {
    "FINDABLE_CREATE_TIMEOUT": "300",
    "FINDABLE_CALL_TIMEOUT": "300",
    "FINDABLE_TRANSFER_TIMEOUT": "300",
    "FINDABLE_RETRY_FOR": "300",
    "FINDABLE_RETRY_WAIT": "300",
    "FINDABLE_POLL_FIRST": "300",
    "FINDABLE_POLL_MOST": "300",
    "FINDABLE_LIST_LAG": "300",
}
"""Every wait there is, longer than any test."""

Process = subprocess.Popen[str]


def _start(ground: Ground, *args: str) -> Process:
    """Start a command as a process of its own, whose every wait is long."""
    environ = {**os.environ, **ground.workspace.environ, **LONG, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "jobs", *args],
        env=environ,
        cwd=Path.cwd(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for(condition: Callable[[], object], process: Process) -> None:
    """Look until something holds while the process is alive."""
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.poll() is None, process.communicate()
        if time.monotonic() > until:
            process.kill()
            raise AssertionError(f"it never came to the wait: {process.communicate()}")
        time.sleep(0.02)


def _interrupt(process: Process) -> None:
    """Send Ctrl-C and hold the process to its promise."""
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=DEADLINE_S)
    took = time.monotonic() - began
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert took < ENDS_WITHIN_S * slowness(), f"it took {took:.1f} s"


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


@pytest.mark.sampled(4, sqlite=5)
@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_at_a_wait_for_the_server(wait: str, request: pytest.FixtureRequest) -> None:
    """The command ends at once; no lease and no part file is left, and run again without the fault all is done."""
    command, stage, fault, (method, part) = WAITS[wait]
    ground: Ground = request.getfixturevalue("serving" if stage in {"served", "later"} else "asking")
    person_file(Path("newcomer.json"))
    _bring_to(ground, stage)
    ground.script(fault)
    seen = len(ground.api.seen(method, part))
    process = _start(ground, *command)
    _wait_for(lambda: len(ground.api.seen(method, part)) > seen, process)
    time.sleep(0.1)  # from the request to the wait for its answer
    _interrupt(process)
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


@pytest.mark.parametrize("command", [("add-expert", "newcomer.json"), ("tag-live",)], ids=["add-expert", "tag-live"])
def test_a_second_ctrl_c_at_a_live_call(command: tuple[str, ...], asking: Ground) -> None:
    """The first lets the call finish, for some seconds; the second ends it at once, and the next run does it all."""
    person_file(Path("newcomer.json"))
    asking.script(_hang(cells.GENERATE))
    process = _start(asking, *command)
    _wait_for(lambda: asking.api.seen("POST", ":generateContent"), process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)  # two signals at once may come as one
    assert process.poll() is None, "it did not let the call finish"
    _interrupt(process)
    assert not list(asking.workspace.data.rglob("*.part"))
    asking.recover()
    assert asking.facts().tagged == PEOPLE + (command[0] == "add-expert")


def test_ctrl_c_while_another_program_holds_the_database(asking: Ground) -> None:
    """The wait for the database's lock is one that can be interrupted too."""
    with asking.workspace.held():
        process = _start(asking, "batch-submit")
        _wait_for(lambda: _waits_for_lock(asking.workspace, process), process)
        _interrupt(process)
    asking.recover()
    assert asking.facts().tagged == PEOPLE


def _waits_for_lock(workspace: Workspace, process: Process) -> bool:
    """Return whether a process waits for the database; of a file, whether it has it open and has done nothing since."""
    if workspace.on_postgresql:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(workspace.scalar(waiting))
    import psutil

    one = psutil.Process(process.pid)
    before = sum(one.cpu_times()[:2])
    time.sleep(0.6)
    has_it_open = any(Path(file.path).name == "findable.db" for file in one.open_files())
    return has_it_open and sum(one.cpu_times()[:2]) - before < 0.05


@pytest.mark.parametrize("command", ["batch-ingest", "index"])
def test_ctrl_c_while_another_process_holds_the_lease(command: str, serving: Ground) -> None:
    """A command that waits for another one's work ends at once; the other one goes on."""
    if command == "batch-ingest":
        _wait_for_a_batch(serving)
    name = "index" if command == "index" else "batch:2"
    with _holder(serving, name):
        process = _start(serving, command)
        said = _first_words(process)
        assert "another process" in said
        _interrupt(process)
        assert [row[0] for row in serving.workspace.query("SELECT name FROM findable_leases")] == [name]
    assert serving.run(command).exit_code == 0


def _wait_for_a_batch(ground: Ground) -> None:
    """Bring one more person's batch home, to be ingested."""
    from pipeline.experts import table

    with ground.workspace.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, "later", {"bio": "I mend clocks."})
    for command in ("batch-submit", "batch-poll"):
        assert ground.run(command).exit_code == 0


@contextmanager
def _holder(ground: Ground, name: str) -> Iterator[None]:
    """Hold a lease in this process, which is alive, for the length of a block."""
    with ground.workspace.open() as ws, ws.lease(name) as lease:
        assert lease is not None
        yield


def _first_words(process: Process) -> str:
    """Return what a process says until it tells that it waits."""
    assert process.stderr is not None
    said = ""
    while "another process" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    return said
