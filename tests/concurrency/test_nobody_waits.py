"""No command waits for another's network, and reading commands wait for nothing at all."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.concurrency.conftest import Life
from tests.integration.hands import Hand

Live = Callable[[str], Life]

HANGS = {  # which command hangs in which of its calls
    "a submit in its upload": (("batch-submit",), "POST", r"^/upload/"),
    "a submit in its create": (("batch-submit",), "POST", ":batchGenerateContent"),
    "a poll in its look": (("batch-poll",), "GET", r"/batches/[^/?]+$"),
    "a poll in its download": (("batch-poll",), "GET", ":download"),
    "an index in its embedding": (("index",), "POST", "EmbedContents"),
    "an add-expert in its question": (("add-expert", "{files}/added.json"), "POST", ":generateContent"),
    "a tag-live in its question": (("tag-live",), "POST", ":generateContent"),
    "a cancel in its look": (("batch-cancel", "3"), "GET", r"/batches/[^/?]+$"),
}
READING = (
    ("status",),
    ("batches",),
    ("show", "person-0"),
    ("search", "who knows water law"),
    ("export", "{files}/people-out.csv"),
    ("parked",),
    ("batch-submit", "--dry"),
)
WORKING = (
    ("import", "{files}/later.csv"),
    ("batch-ingest",),
    ("score",),
    ("index",),
    ("batch-poll", "--no-wait"),
    ("batch-submit",),
    ("batch-cancel", "4"),
    ("unpark", "--all"),
)


def spelled(command: tuple[str, ...], life: Life) -> list[str]:
    """Return a command with its files put in."""
    return [word.format(files=life.files) for word in command]


@contextmanager
def hanging(life: Life, command: tuple[str, ...], method: str, path: str) -> Iterator[Hand]:
    """Run a command in a process of its own until it hangs in one of its calls, for the length of a block."""
    life.api.fault("hang", method=method, path=path)
    settings = {"CALL_TIMEOUT": "300", "CREATE_TIMEOUT": "300", "TRANSFER_TIMEOUT": "300"}
    hand = Hand()
    hand.start(life.workspace, *spelled(command, life), values=settings)
    try:
        until = time.monotonic() + 60
        while not any(fault["used_up"] for fault in life.api.faults()["faults"]):
            assert not hand.has_ended(), "it ended"
            assert time.monotonic() < until, "it never hung"
            time.sleep(0.02)
        yield hand
    finally:
        hand.close()


def done(life: Life, command: tuple[str, ...], *, codes: tuple[int, ...] = (0,)) -> str:
    """Run a command to its end; return what it said."""
    result = life.workspace.run(*spelled(command, life))
    assert result.exit_code in codes, (command, result.output)
    return str(result.output)


@pytest.mark.sampled(0, sqlite=8)
@pytest.mark.parametrize("who", HANGS)
def test_whoever_hangs_in_a_call_keeps_nobody_waiting(who: str, live: Live) -> None:
    """Every other command ends before it; what it does not touch is the batch, or the person, of the one that hangs."""
    life = live("data")
    command, method, path = HANGS[who]
    if command == ("index",):
        done(life, ("batch-ingest",))  # so that there is a person to embed
    with hanging(life, command, method, path) as hand:
        for other in (*READING, *WORKING):
            done(life, other, codes=(0, 2, 4) if other[0] == "batch-cancel" else (0,))
            assert not hand.has_ended(), f"{other} waited for it"
        hand.signal(signal.SIGINT)
        assert hand.ended().code == 130


class UndoneError(Exception):
    """What was written is not to be kept."""


@contextmanager
def long_transaction(life: Life) -> Iterator[None]:
    """Be a process that has written, and neither commits nor gives up for the length of a block."""
    with suppress(UndoneError), life.workspace.open() as ws, ws.store.write() as tx:
        tx.exec_driver_sql("UPDATE experts SET job_title = 'changed, and not committed'")
        yield
        raise UndoneError


def test_readers_do_not_wait_for_a_long_transaction(live: Live) -> None:
    """While another process writes and does not commit, reading commands end, and see what was there before."""
    life = live("data")
    with long_transaction(life):
        for command in READING:
            assert "not committed" not in done(life, command)


@pytest.mark.full
def test_an_interrupt_ends_the_wait_for_a_long_transaction(live: Live) -> None:
    """Who must write waits, and Ctrl-C ends that while the other one still writes."""
    life = live("data")
    with long_transaction(life):
        hand = Hand()
        hand.start(life.workspace, "score")
        hand.wait_until_ended(1)
        assert not hand.has_ended()
        hand.signal(signal.SIGINT)
        assert hand.ended().code == 130
        hand.close()
