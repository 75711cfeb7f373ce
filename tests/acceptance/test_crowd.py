"""Commands that run together and are killed at random lose nothing and ask nothing twice.

Every invariant applies after each round, while no command runs. `make soak` runs the same for
MINUTES=30; SEED= draws other commands and kills.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.checker import Inspection, Memory, check_invariants
from tests.acceptance.engine import Engine
from tests.acceptance.product import Workspace

SEED = os.environ.get("ASKROWS_SEED") or "a short one"
MINUTES = float(os.environ.get("ASKROWS_MINUTES") or 0)
SHORT_RUN_S = 4
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


# The limit applies to the processor time of all parallel commands as well.
@pytest.mark.timeout(600 + 60 * MINUTES * PARALLEL_COMMANDS)
@pytest.mark.promise("parallel")
def test_killed_commands_lose_nothing(tmp_path: Path) -> None:
    """Parallel commands, server failures and kills leave a complete workspace."""
    killed_count = run_crowd(tmp_path, seconds=60 * MINUTES or SHORT_RUN_S)
    sys.stdout.write(
        f"seed {SEED}: {killed_count} commands were killed, and nothing was lost or asked twice\n"
    )


def run_crowd(folder: Path, *, seconds: float) -> int:
    """Run rounds of commands for a time, at least one round; return the number of killed commands.

    At the end every person was asked once for each answer or charged failure, despite the kills,
    and no work is left.
    """
    dice = random.Random(SEED)  # noqa: S311 - a repeatable choice
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
        repeated_rows = [row for row, count in answer_counts.items() if count > 1]
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
