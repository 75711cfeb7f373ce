"""`make soak`: run four commands at a time on a workspace, kill some of them, and finish the work.

SEED= draws the commands and the kills, MINUTES= limits the time. Every invariant applies after each
round, while no command runs. At the end every person was asked once for each answer or charged
failure, despite the kills, and no work is left.
"""

import json
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

from tests.acceptance.checker import Inspection, Memory, check_invariants
from tests.acceptance.engine import Engine
from tests.acceptance.process import end_sessions
from tests.acceptance.product import Workspace

PARALLEL_COMMANDS = 4
# Exit codes of commands while the server fails and other commands run.
CODES = {0, 2, 3, 4, 5, 6, -signal.SIGKILL}
KILLED_SHARE = 0.4
# A killed command runs for less than this time.
MAX_KILL_DELAY_S = 1.5
COMMANDS = (
    ("submit",),
    ("submit",),
    ("poll",),
    ("poll",),
    ("ingest",),
    ("ingest",),
    ("index",),
    ("run",),
    ("tag_live",),
    ("add",),
    ("score",),
    ("status",),
    ("search", "bees"),
)
OPTIONS: dict[str, dict[str, Any]] = {
    "submit": {"limit": 3},
    "tag_live": {"limit": 2, "yes": True},
    "run": {"yes": True},
}
FAULTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("create_lost_reply", {}),
    ("no_name", {}),
    ("quota_batch", {}),
    ("list_lag", {"seconds": 0.6}),
    ("batch_fails", {}),
    ("page_status", {"code": 503}),
    ("download_status", {"code": 503}),
    ("batch_expires", {"partial": 0.5}),
    ("missing_line", {"fraction": 0.2}),
    ("garbage_line", {"fraction": 0.2}),
    ("max_tokens", {"fraction": 0.2}),
    ("duplicate_different", {"fraction": 0.2}),
    ("error_line", {"fraction": 0.2, "code": 13}),
)
SETTINGS = {"BATCH_ROWS": "3", "CREATE_TIMEOUT": "5"}


def run_crowd(folder: Path, *, seed: str, seconds: float) -> int:
    """Run rounds of commands for a time, at least one round; return the number of killed commands.

    Raises:
        AssertionError: An invariant is violated, or a command ended with an unexpected code.
    """
    dice = random.Random(seed)  # noqa: S311 - a repeatable choice
    memory = Memory()
    killed_count = 0
    round_number = 0
    deadline = time.monotonic() + seconds
    with Engine(folder / "api") as api:
        workspace = Workspace(folder / "here", api.url, settings=SETTINGS)
        workspace.import_people(12)
        while not round_number or time.monotonic() < deadline:
            round_number += 1
            workspace.import_people(2, first=100 * round_number)
            word, args = dice.choice(FAULTS)
            api.script_fault(word, times=dice.randint(1, 2), nth=dice.randint(1, 3), args=args)
            killed_count += run_round(workspace, dice, round_number)
            api.clear_faults()
            check_invariants(Inspection(workspace, api.batches(), api.creates(), memory))

        # The second pass asks again for rows that failed once.
        for _ in range(2):
            workspace.run_commands("submit", "poll", "ingest")
        workspace.run_command("index", code="any")
        workspace.run_command("index")
        check_invariants(
            Inspection(workspace, api.batches(), api.creates(), memory, is_settled=True)
        )

        answer_counts = Counter(
            request["row"]
            for request in workspace.logged_requests()
            if request["outcome"] == "answered"
        )
        repeated_rows = [item for item, count in answer_counts.items() if count > 1]
        assert not repeated_rows, repeated_rows
        workspace.run_command("doctor")
    return killed_count


def run_round(workspace: Workspace, dice: random.Random, round_number: int) -> int:
    """Start commands, kill some of them, and wait for all; return the number of killed commands."""
    killed_count = 0
    with ExitStack() as stack:
        started_commands = []
        for position in range(PARALLEL_COMMANDS):
            verb, *words = dice.choice(COMMANDS)
            if verb == "add":
                name = f"added-{round_number}-{position}"
                person = {"username": name, "first_name": "A", "bio": "I mend clocks."}
                workspace.write_file(f"{name}.json", json.dumps(person))
                words = [f"{name}.json"]
            running = workspace.start_command(verb, *words, **OPTIONS.get(verb, {}))
            started_commands.append((verb, stack.enter_context(running)))

        for verb, running in dice.sample(started_commands, len(started_commands)):
            if dice.random() < KILLED_SHARE:
                time.sleep(dice.random() * MAX_KILL_DELAY_S / PARALLEL_COMMANDS)
                # The command may have ended.
                with suppress(ProcessLookupError):
                    running.signal(signal.SIGKILL)
            process = running.wait()
            assert process.code in CODES, (verb, process)
            killed_count += process.code == -signal.SIGKILL
    return killed_count


def main() -> None:
    """Run the crowd, and print the number of killed commands."""
    seed = os.environ.get("ASKROWS_SEED") or "7"
    minutes = float(os.environ.get("ASKROWS_MINUTES") or 30)
    with tempfile.TemporaryDirectory(prefix="askrows-crowd-") as name:
        killed_count = run_crowd(Path(name), seed=seed, seconds=60 * minutes)
    end_sessions()
    sys.stdout.write(
        f"seed {seed}: {killed_count} commands were killed, and nothing was lost or asked twice\n"
    )


if __name__ == "__main__":
    main()
