"""A move to a server dies, or the server does: there is nothing or everything, and only one database takes writes.

What is so after a step is so before the next: to die before each and after the last is to die everywhere. The server
goes away before each step, or, unless `KEEPING=all`, before every other one and the commit.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.experts.schema import experts
from pipeline.store import marker, tables
from tests import ledger, postgresql
from tests.acceptance.steps import CUT, ON_SERVER, TO_CUT, Fate
from tests.crash import homes
from tests.crash.homes import at_home
from tests.crash.program import Ended, Mortal
from tests.integration import many_passages as passages
from tests.lab import ROOT, URL, Workspace

EVERYTHING = (*tables.metadata.sorted_tables, experts)

pytestmark = pytest.mark.sqlite_only("begins with an SQLite file")

EVERY = os.environ.get("KEEPING") == "all"
MANY = 4000  # rows that take a while to copy
KILLS = 4
UNREACHABLE = 4
GATE = 6  # so few are no reason to trust them


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Four people of whom two went through the chain; a batch of the others is prepared. And passages with concepts."""
    with at_home(tmp_path_factory.mktemp("moving")) as (server, made):
        homes.put_people(made, 4)
        for words in (("batch-submit", "--limit", "2"), ("batch-poll",), ("batch-ingest",), ("index",)):
            assert made.run(*words).exit_code == 0
        server.world.faults.script([{"fault": "quota_batch"}])
        assert made.run("batch-submit").exit_code == UNREACHABLE
        assert ledger.batches(made) == ["ingested", "prepared"]
        passages.put(made, 2)
        for command in ("batch-submit", "batch-poll", "batch-ingest"):
            assert made.run(command, TASK="passages").exit_code in {0, GATE}
        assert counts(made)["passage_concepts"]
        yield made


def copied(source: Workspace, where: Path) -> tuple[Workspace, Workspace]:
    """Return a copy of the workspace, and the same with its database on the server, which is empty."""
    here = homes.copied(source, where)
    return here, Workspace(here.data, {**here.environ, URL: postgresql.database_of(where / "moved")})


def counts(workspace: Workspace) -> dict[str, int]:
    """Return how many rows each table has."""
    names = (*(one.name for one in EVERYTHING), "passages", "passage_concepts")
    return {name: workspace.scalar(f"SELECT count(*) FROM {name}") for name in names}  # noqa: S608 - our names


def check(here: Workspace, there: Workspace, *, before: dict[str, int]) -> bool:
    """Hold that all is there or nothing, the file as it was, and no two that take writes; return whether all is."""
    tables = there.tables()
    assert tables == [] or counts(there) == before
    assert counts(here) == before
    assert not tables or marker.find_moved(here.data / "findable.db") is not None, "both take writes"
    return bool(tables)


def settle(mortal: Mortal, here: Workspace, there: Workspace, *, before: dict[str, int]) -> None:
    """Move again, hold that all is there and adds up, and that work goes on there and nowhere else."""
    again = homes.run(mortal, here, "move", there.environ[URL])
    assert again.code == 0, again
    assert check(here, there, before=before)
    assert homes.run(mortal, here, "batch-submit").code == 3
    assert homes.run(mortal, there, "score").code == 0
    ledger.check(there)


def moving(mortal: Mortal, here: Workspace, there: Workspace, fate: Fate) -> Ended:
    """Move, and let the fate come true."""
    cut = {TO_CUT: there.environ[URL]} if fate.how == CUT else {}
    return homes.run(mortal, here, "move", there.environ[URL], fate=fate, environ=cut)


@pytest.fixture(scope="module")
def trail(source: Workspace, mortal: Mortal, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The steps of a move in peace."""
    here, there = copied(source, tmp_path_factory.mktemp("peace"))
    ended = moving(mortal, here, there, Fate())
    assert ended.code == 0, ended
    assert check(here, there, before=counts(source))
    return ended.trail


def test_the_mark_is_made_before_all_is_committed(trail: list[str]) -> None:
    """So that at no moment both databases take writes."""
    mark = next(number for number, step in enumerate(trail) if step.startswith("os.rename") and ".moved" in step)
    assert mark < trail.index(ON_SERVER)
    assert trail.count(ON_SERVER) == 1


def test_a_move_that_is_killed_can_be_run_again(
    source: Workspace, mortal: Mortal, trail: list[str], tmp_path: Path
) -> None:
    """Killed before or after any of its steps it left nothing or everything there; the next run ends it."""
    before = counts(source)
    every = (*(Fate(number, "before") for number in range(1, len(trail) + 1)), Fate(len(trail), "after"))
    for fate in every[:: -1 if EVERY else -9]:
        here, there = copied(source, tmp_path / f"{fate.at}-{fate.side}")
        ended = moving(mortal, here, there, fate)
        assert ended.code == -signal.SIGKILL, (fate, ended)
        assert check(here, there, before=before) == (ON_SERVER in trail[: fate.at - (fate.side == "before")])
        settle(mortal, here, there, before=before)


@pytest.mark.full
def test_a_move_that_is_killed_while_it_copies_left_nothing(source: Workspace, mortal: Mortal, tmp_path: Path) -> None:
    """Killed between its first row and its last, it is undone by the server, and the next run waits for that."""
    model, _ = copied(source, tmp_path / "model")
    homes.put_people(model, MANY, first=4)
    before, killed = counts(model), 0
    for number in range(KILLS):
        here, there = copied(model, tmp_path / str(number))
        with python(here, "-m", "jobs", "move", there.environ[URL]) as process:
            wait_for_copy(there, process)
            time.sleep(0.05 * number)
            process.kill()
        killed += process.returncode == -signal.SIGKILL
        check(here, there, before=before)
        again = homes.run(mortal, here, "move", there.environ[URL])
        assert again.code == 0, again
        assert check(here, there, before=before)
    assert killed >= KILLS / 2


def python(here: Workspace, *words: str) -> "subprocess.Popen[bytes]":
    """Start Python on a workspace, in its folder."""
    environ = here.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, *words], env=environ, cwd=here.data.parent, stderr=subprocess.PIPE)


def wait_for_copy(there: Workspace, process: "subprocess.Popen[bytes]") -> None:
    """Wait until the server receives rows."""
    busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%'"
    until = time.monotonic() + 60
    while not there.scalar(busy) and process.poll() != 0:  # it may be over before it is looked at
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until


@pytest.mark.full
def test_a_server_that_goes_away_is_no_harm(
    source: Workspace, mortal: Mortal, trail: list[str], tmp_path: Path
) -> None:
    """Where it ends the connection before any step nothing is there, exit 4 says so, and the next run moves all."""
    before = counts(source)
    commit = trail.index(ON_SERVER) + 1
    for number in range(commit, 0, -1 if EVERY else -10):
        here, there = copied(source, tmp_path / str(number))
        ended = moving(mortal, here, there, Fate(number, how=CUT))
        assert ended.code == UNREACHABLE, (number, ended)
        assert not check(here, there, before=before)
        settle(mortal, here, there, before=before)
