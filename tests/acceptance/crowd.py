"""`make soak`: four commands at once on one workspace, drawn by SEED, killed at random, for MINUTES; then all is ended.

After each round, when nobody works, every invariant holds; in the end every person was asked once for each answer or
charged failure, however often the commands died, and nothing is left to do.
"""

import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from tests.acceptance.checker import Look, Memory, check
from tests.acceptance.engine import Engine
from tests.acceptance.process import end_sessions
from tests.acceptance.product import Workspace

AT_ONCE = 4
CODES = {
    0,
    2,
    3,
    4,
    5,
    6,
    -signal.SIGKILL,
}  # what a command may end with while the server fails and others work
KILLED = 0.4  # of the commands
LONGEST_S = 1.5  # until a command that is killed is killed
COMMANDS = (
    *(
        ("submit",),
        ("submit",),
        ("poll",),
        ("poll",),
        ("ingest",),
        ("ingest",),
        ("index",),
        ("run",),
    ),
    *(("tag_live",), ("add",), ("score",), ("status",), ("search", "bees")),
)
OPTIONS: dict[str, dict[str, Any]] = {
    "submit": {"limit": 3},
    "tag_live": {"limit": 2, "yes": True},
    "run": {"yes": True},
}
FAULTS: tuple[tuple[str, dict[str, Any]], ...] = (
    *(
        ("create_lost_reply", {}),
        ("no_name", {}),
        ("quota_batch", {}),
        ("list_lag", {"seconds": 0.6}),
        ("batch_fails", {}),
    ),
    *(
        ("page_status", {"code": 503}),
        ("download_status", {"code": 503}),
        ("batch_expires", {"partial": 0.5}),
    ),
    *(
        (word, {"fraction": 0.2})
        for word in ("missing_line", "garbage_line", "max_tokens", "duplicate_different")
    ),
    ("error_line", {"fraction": 0.2, "code": 13}),
)
SETTINGS = {"BATCH_ROWS": "3", "CREATE_TIMEOUT": "5"}


def lived(folder: Path, *, seed: str, seconds: float, faults: bool = True) -> int:
    """Let the crowd work on a workspace in a folder for so long, one round at least; return how many were killed.

    Raises:
        AssertionError: an invariant is violated, or a command ended as none may.
    """
    dice = random.Random(seed)  # noqa: S311 - a repeatable choice
    memory = Memory()
    killed = 0
    rounds = 0
    deadline = time.monotonic() + seconds
    with Engine(folder / "api") as api:
        workspace = Workspace(folder / "here", api.url, settings=SETTINGS)
        workspace.people(12)
        while not rounds or time.monotonic() < deadline:
            rounds += 1
            workspace.people(2, first=100 * rounds)
            if faults:
                word, how = dice.choice(FAULTS)
                api.fault(word, times=dice.randint(1, 2), nth=dice.randint(1, 3), args=how)
            killed += round_of(workspace, dice, rounds)
            api.clear_faults()
            check(Look(workspace, api.batches(), api.creates(), memory))
        for _ in range(2):  # who failed once is asked once more
            workspace.each("submit", "poll", "ingest")
        workspace.do("index", code="any")
        workspace.do("index")
        check(Look(workspace, api.batches(), api.creates(), memory, is_settled=True))
        kept = [one for one in workspace.asked() if one["outcome"] == "answered"]
        twice = [name for name, count in Counter(one["item"] for one in kept).items() if count > 1]
        assert not twice, twice
        workspace.do("doctor")
    return killed


def round_of(workspace: Workspace, dice: random.Random, number: int) -> int:
    """Start commands, kill some of them, and wait for the others; return how many were killed."""
    killed = 0
    with ExitStack() as stack:
        running = []
        for place in range(AT_ONCE):
            verb, *words = dice.choice(COMMANDS)
            if verb == "add":
                name = f"added-{number}-{place}"
                workspace.put(
                    f"{name}.json",
                    f'{{"username": "{name}", "first_name": "A", "bio": "I mend clocks."}}',
                )
                words = [f"{name}.json"]
            running.append(
                (verb, stack.enter_context(workspace.start(verb, *words, **OPTIONS.get(verb, {}))))
            )
        for verb, one in dice.sample(running, len(running)):
            if dice.random() < KILLED:
                time.sleep(dice.random() * LONGEST_S / AT_ONCE)
                with suppress(ProcessLookupError):  # it ended before
                    one.signal(signal.SIGKILL)
            ended_process = one.wait()
            assert ended_process.code in CODES, (verb, ended_process)
            killed += ended_process.code == -signal.SIGKILL
    return killed


def main() -> None:
    """Let the crowd work, and say what came of it."""
    seed = os.environ.get("FINDABLE_SEED") or "7"
    minutes = float(os.environ.get("FINDABLE_MINUTES") or 30)
    with tempfile.TemporaryDirectory(prefix="findable-crowd-") as name:
        killed = lived(Path(name), seed=seed, seconds=60 * minutes)
    end_sessions()
    sys.stdout.write(
        f"seed {seed}: {killed} commands were killed, and nothing was lost or asked twice\n"
    )


if __name__ == "__main__":
    main()
