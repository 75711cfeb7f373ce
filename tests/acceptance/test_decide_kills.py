"""A table goes from `ask` to an export by decisions, and kills lose and repeat nothing.

Two thousand rows are asked by `make test-full`, and fewer by `make test`.
"""

import json
import os
import signal
import time
from collections import Counter
from typing import Any

import pytest

from tests.acceptance.product import Workspace
from tests.acceptance.steps import Fate
from tests.outside.deciding import decide
from tests.outside.server import Outside

KILLED = -signal.SIGKILL
LONGEST_S = 300.0
CONCURRENCY = 5
# A busy machine must not repeat a call.
PATIENCE = {"YES": "1", "CALL_TIMEOUT": "200", "RETRY_FOR": "200"}
QUESTION: dict[str, Any] = {
    "q": "What does the guest say?",
    "fields": "tone: praise|blame|neutral; is_urgent: bool",
    "name": "tickets",
    "mode": "decide",
}
TABLE = "Gäste März.csv"
TASK = "tickets"
# The key, the text, and a column with the name of a confidence.
HEADER = "Nr.;Wünsche / «Liste»;tone_confidence"
# Every row with this number has no text.
EMPTY_EVERY = 40
ROW_COUNT = 120
MAX_RUNNING_CALLS = CONCURRENCY
if os.environ.get("FAULTS") == "all":
    ROW_COUNT = 2_000
    # With these requests per minute, more calls than CONCURRENCY run at the same time.
    PATIENCE |= {"RPM": "60000", "TPM": "100M"}
    MAX_RUNNING_CALLS = 64
# Durable steps at which `ask` is killed: while the workspace is made, and while the file, the
# requests and the answers of the first rows are stored.
ASK_KILLS = (Fate(9), Fate(34, "after"))
# Steps of the next lives of `tag`: the requests, the batch, the calls and their replies.
TAG_KILLS = (Fate(6), Fate(10, "after"), Fate(31), Fate(60, "after"))
# Shares of the rows after which `tag` is killed.
KILL_SHARES = (0.3, 0.55, 0.8)
EXPORT_KILL = Fate(2, "after")
KILL_COUNT = len(ASK_KILLS) + len(TAG_KILLS) + len(KILL_SHARES) + 1


def make_text(number: int) -> str:
    """Return the text of a row; some are empty, long, or have signs that a format could change."""
    if number % EMPTY_EVERY == 0:
        return " "
    words = (
        "Lob für Zimmer",
        "praise and blame: «лампа»",
        'The "blue" chair; 椅子',
        "=1+1 \U0001f642",
    )
    return f"{words[number % len(words)]} {number}"


def write_table(workspace: Workspace, row_count: int) -> None:
    """Write the table with keys that count from 1."""
    rows = []
    for number in range(1, row_count + 1):
        text = make_text(number).replace('"', '""')
        rows.append(f'{number};"{text}";own {number}')
    workspace.write_file(TABLE, "\n".join([HEADER, *rows, ""]))


def list_asked_numbers(row_count: int) -> set[int]:
    """Return the numbers of the rows with a text."""
    return {number for number in range(1, row_count + 1) if number % EMPTY_EVERY}


def kill_after_decisions(workspace: Workspace, server: Outside, count: int) -> None:
    """Kill `tag` when the server has made a number of decisions."""
    command = workspace.start_command("tag", TASK=TASK, mode="decide", CONCURRENCY=CONCURRENCY)
    with command as running:
        deadline = time.monotonic() + LONGEST_S
        while len(server.decisions) < count:
            assert time.monotonic() < deadline, running.read_output()
            assert not running.is_finished(), running.read_output()
            time.sleep(0.01)
        running.signal(signal.SIGKILL)
        assert running.wait().code == KILLED


def check_export(workspace: Workspace, row_count: int) -> dict[int, dict[str, Any]]:
    """Assert that each row with a text is answered, with a probability of each field.

    Returns:
        The rows of the export by number.
    """
    rows = {int(row["Nr."]): row for row in workspace.exported_rows(TASK)}
    assert list(rows) == list(range(1, row_count + 1))
    asked_numbers = list_asked_numbers(row_count)
    for number, row in rows.items():
        assert row["tone_confidence"] == f"own {number}"
        probabilities = (row["answer_tone_confidence"], row["is_urgent_confidence"])
        if number not in asked_numbers:
            assert (row["state"], *probabilities) == ("empty", None, None)
            continue
        assert row["state"] == "answered"
        assert row["tone"] in {"praise", "blame", "neutral"}
        assert isinstance(row["is_urgent"], bool)
        assert 1 / 3 <= probabilities[0] <= 1
        assert 0.5 <= probabilities[1] <= 1
    answered_items = [
        request["item"]
        for request in workspace.logged_requests(TASK)
        if request["outcome"] == "answered"
    ]
    assert sorted(map(int, answered_items)) == sorted(asked_numbers)
    return rows


def expect_values(request: dict[str, Any]) -> tuple[str, float, bool, float]:
    """Return tone and urgency with their probabilities, as the server answers a request."""
    tone, urgency = (decide(request)["answers"][name] for name in ("tone", "is_urgent"))
    yes = urgency["noul"]
    return (
        tone["choice"],
        round(tone["probabilities"][tone["choice"]], 4),
        yes >= 0.5,
        round(max(yes, 1 - yes), 4),
    )


def check_answers(rows: dict[int, dict[str, Any]], requests: dict[int, dict[str, Any]]) -> None:
    """Assert that each row has values and probabilities of the decision about its own text."""
    for number, request in requests.items():
        row = rows[number]
        stored_values = (
            row["tone"],
            row["answer_tone_confidence"],
            row["is_urgent"],
            row["is_urgent_confidence"],
        )
        assert stored_values == expect_values(request), number


def requests_by_number(server: Outside, numbers: set[int]) -> dict[int, dict[str, Any]]:
    """Return the decision about each row by its number, which ends the text."""
    numbers_by_text = {make_text(number): number for number in numbers}
    requests = {}
    for request in server.decisions:
        text = request["input"].rpartition(">")[0].rpartition("<")[0].rpartition(">")[2]
        requests[numbers_by_text[text.strip()]] = request
    return requests


@pytest.mark.timeout(1800)
def test_ten_kills_between_ask_and_export_lose_nothing(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Every row is answered once; only calls that were in flight at a kill are repeated."""
    served_workspace.settings |= PATIENCE | {"CONCURRENCY": str(CONCURRENCY)}
    # The file of the task and the export are steps, too.
    served_workspace.step_folder = served_workspace.home
    write_table(served_workspace, ROW_COUNT)
    asked_numbers = list_asked_numbers(ROW_COUNT)

    for fate in ASK_KILLS:
        assert served_workspace.try_command("ask", TABLE, fate=fate, **QUESTION).code == KILLED
    served_workspace.run_command("ask", TABLE, code="any", **QUESTION)
    for fate in TAG_KILLS:
        tag_run = served_workspace.try_command("tag", TASK=TASK, mode="decide", fate=fate)
        assert tag_run.code == KILLED, tag_run
    for share in KILL_SHARES:
        kill_after_decisions(served_workspace, outside_server, int(share * len(asked_numbers)))
    served_workspace.run_command("tag", TASK=TASK, mode="decide")

    export = {"fate": EXPORT_KILL, "TASK": TASK}
    assert served_workspace.try_command("export", "out.csv", **export).code == KILLED
    served_workspace.run_command("export", "out.csv", TASK=TASK)
    assert len((served_workspace.home / "out.csv").read_text("utf-8-sig").splitlines()) > ROW_COUNT
    rows = check_export(served_workspace, ROW_COUNT)
    check_answers(rows, requests_by_number(outside_server, asked_numbers))

    decision_counts = Counter(json.dumps(request["input"]) for request in outside_server.decisions)
    assert len(decision_counts) == len(asked_numbers)
    repeated_count = len(outside_server.decisions) - len(asked_numbers)
    assert repeated_count <= (KILL_COUNT - 1) * MAX_RUNNING_CALLS


@pytest.mark.alike
def test_rows_are_decided_by_the_local_engine(workspace: Workspace) -> None:
    """Without a key the same commands lead to an export with placeholders and probabilities."""
    workspace.settings |= PATIENCE
    workspace.url = ""
    write_table(workspace, ROW_COUNT)
    workspace.run_command("ask", TABLE, **QUESTION)
    workspace.run_command("tag", TASK=TASK, mode="decide")
    check_export(workspace, ROW_COUNT)
    assert workspace.read_json("status", TASK=TASK)["spent"]["actual"] == 0
