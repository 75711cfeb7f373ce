"""A day with rows that ask the same dies at its steps and goes on: each row accounted once, each question paid once."""

import random
from pathlib import Path

import pytest

from tests import ledger
from tests.crash import homes
from tests.crash.program import LIVES, Ended, Mortal
from tests.crash.steps import Fate
from tests.lab import Workspace
from tests.own.test_equal_rows import A, B, C, declared, rows

COLLECT = ("batch-poll", "batch-ingest")
# what rows there are when a command runs
DAY = (
    ((A, B, A), "batch-submit"),
    ((A, B, A, B), "batch-submit"),
    *(((A, B, A, B), command) for command in COLLECT),
    ((A, B, A, B, C, A, C), "batch-submit"),
    *(((A, B, A, B, C, A, C), command) for command in COLLECT),
    ((A, B, A, B, C, A, C, "d", "d", B), "tag-live"),
)
SAMPLE = 2  # lives in `make test`
MOST_ROUNDS = 5
KILLED = -9


def lived(mortal: Mortal, home: Path, url: str, death: int = -1, fate: Fate = LIVES) -> tuple[Workspace, list[Ended]]:
    """Live the day in a folder, with a death in one of its commands, which is run again; then until all is answered.

    A command that has fewer steps this time, as it looked at the batch less often, ends well before its death.
    """
    home.mkdir()
    workspace = declared(homes.workspace_at(home / "data", url, BATCH_ROWS="2", RETRY_WAIT="0.01", POLL_MOST="0.1"))
    ends = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for number, (texts, command) in enumerate(DAY):
            rows(*texts)
            if number == death:
                assert homes.run(mortal, workspace, command, fate=fate).code in {KILLED, 0}
            ends.append(homes.run(mortal, workspace, command))
            assert ends[-1].code == 0, (death, fate, command, ends[-1])
        for _ in range(MOST_ROUNDS):
            if ledger.people(workspace) == {"total": len(texts), "answered": len(texts)}:
                return workspace, ends
            for command in ("batch-submit", *COLLECT):
                homes.run(mortal, workspace, command)
    raise AssertionError((death, fate, ledger.people(workspace)))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.full)], ids=["some", "every"])
def test_a_day_with_rows_that_ask_the_same_dies(mortal: Mortal, tmp_path: Path, *, every: bool) -> None:
    """Before each of its steps: what is claimed, asked, shared and paid is that of a day in peace."""
    with homes.at_home(tmp_path) as (server, _):
        _, ends = lived(mortal, tmp_path / "peace", server.url)
        deaths = [(number, at) for number, ended in enumerate(ends) for at in range(1, len(ended.trail) + 1)]
        some = deaths if every else random.Random(SAMPLE).sample(deaths, SAMPLE)  # noqa: S311 - always the same
        for number, at in some:
            workspace, _ = lived(mortal, tmp_path / f"{number}-{at}", server.url, number, Fate(at))
            ledger.check(workspace)
            assert {one["check"] for one in ledger.findings(workspace)} <= {"litter", "leases", "uploads"}, (number, at)
            paid = "SELECT count(*) FROM findable_answers WHERE applied AND shares IS {}"
            assert [workspace.scalar(paid.format(what)) for what in ("NULL", "NOT NULL")] == [4, 6], (number, at)
            lost = workspace.scalar("SELECT count(*) FROM findable_calls WHERE outcome = 'lost'")
            calls = workspace.scalar("SELECT count(*) FROM findable_calls")
            sent = workspace.scalar("SELECT sum(requests) FROM findable_batches WHERE state = 'ingested'")
            assert sent + calls - lost == 4, (number, at)
