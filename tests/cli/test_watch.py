"""`status WATCH=1`: in place on a terminal, and a good end with Ctrl-C."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.lab import ROOT, Workspace

People = Callable[..., list[str]]
OFTEN = "from jobs import cli, output; output.WATCH_S = 0.3; cli.main()"  # as people look, but sooner again
COMMAND = [sys.executable, "-c", OFTEN, "status", "--watch"]
LONG_S = 60.0  # until a look must have come


def environ(workspace: Workspace) -> dict[str, str]:
    """Return the environment of a process that works on a workspace."""
    return {**os.environ, **workspace.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}


@pytest.mark.full
def test_a_terminal_is_drawn_upon_in_place(workspace: Workspace, people: People) -> None:
    """The lines before are overwritten; the last state stays when Ctrl-C ends it."""
    people(3)
    ours, theirs = pty.openpty()
    with subprocess.Popen(COMMAND, env=environ(workspace), stdin=theirs, stdout=theirs, stderr=theirs) as watching:
        os.close(theirs)
        assert b"3 untagged" in shown_until(b"next", ours)
        workspace.ran("tag-live")
        again = shown_until(b"3 tagged", ours)
        assert b"\x1b[1A" in again  # the cursor goes up
        watching.send_signal(signal.SIGINT)
        assert watching.wait(LONG_S) == 0
        assert b"rror" not in shown_until(b"", ours)
    os.close(ours)


def shown_until(words: bytes, screen: int) -> bytes:
    """Return what a terminal shows until some words are there."""
    shown, until = b"", time.monotonic() + LONG_S
    while words not in shown or not words:
        assert time.monotonic() < until, shown
        if select.select([screen], [], [], 0.5)[0]:
            try:
                shown += os.read(screen, 65536)
            except OSError:  # no process has it open any more
                return shown
        elif not words:
            return shown
    return shown


@pytest.mark.parametrize("command", ["status", "passages-status"])
def test_one_document_or_a_pipe_is_not_many(command: str, workspace: Workspace, people: People) -> None:
    """With --json it would be a document after another, in a pipe a text after another: that is refused."""
    people(1)
    result = workspace.ran(command, "--watch", "--json", code=2)
    assert "--watch" in result.stderr
    assert "needs a terminal" in workspace.ran(command, "--watch", code=2).stderr
