"""A day with rows that ask the same dies at its steps and goes on: each row accounted once, each question paid once."""

from pathlib import Path

import pytest

from tests import ledger
from tests.crash import homes
from tests.crash.days import SOME_OR_EVERY, Day
from tests.crash.program import Mortal
from tests.own.test_equal_rows import A, B, C, declared, rows

COLLECT = ("batch-poll", "batch-ingest")
COMMANDS = ("batch-submit", "batch-submit", *COLLECT, "batch-submit", *COLLECT, "tag-live")
THERE = (3, 4, 4, 4, 7, 7, 7, 10)  # so many of these rows, when each command comes
ROWS = (A, B, A, B, C, A, C, "d", "d", B)
DAY = Day(
    lambda home, url: declared(
        homes.workspace_at(home / "data", url, BATCH_ROWS="2", RETRY_WAIT="0.01", POLL_MOST="0.1")
    ),
    COMMANDS,
    (4, 29),
    lambda _workspace, number: rows(*ROWS[: THERE[number]]),
)


@pytest.mark.timeout(3600)
@SOME_OR_EVERY
def test_a_day_with_rows_that_ask_the_same_dies(mortal: Mortal, tmp_path: Path, *, every: bool) -> None:
    """Before each of its steps: what is claimed, asked, shared and paid is that of a day in peace."""
    for where, workspace in DAY.lived(mortal, tmp_path, every=every):
        ledger.check(workspace)
        assert {one["check"] for one in ledger.findings(workspace)} <= {"litter", "leases", "uploads"}, where
        paid = "SELECT count(*) FROM findable_answers WHERE applied AND shares IS {}"
        assert [workspace.scalar(paid.format(what)) for what in ("NULL", "NOT NULL")] == [4, 6], where
        lost = workspace.scalar("SELECT count(*) FROM findable_calls WHERE outcome = 'lost'")
        calls = workspace.scalar("SELECT count(*) FROM findable_calls")
        sent = workspace.scalar("SELECT sum(requests) FROM findable_batches WHERE state = 'ingested'")
        assert sent + calls - lost == 4, where
