"""A workspace of the version before is opened by a command that dies at any step: the next one opens it as in peace."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from emulator.server import start
from tests import ledger
from tests.acceptance.steps import Fate
from tests.crash.program import Mortal
from tests.lab import ON_POSTGRESQL, Api, copy_tree
from tests.yardstick.going_on import check_asked_once, check_healthy, go_on_with_passages, go_on_with_people
from tests.yardstick.opened import Kept, opened

SCHEMA = "SELECT version_num FROM findable_version"
# a number that PostgreSQL gave to a row of a transaction which came to nothing is not given again
VARYING = ledger.TIMES | {"id"} if ON_POSTGRESQL else ledger.TIMES


@pytest.fixture(scope="module")
def mortal() -> Iterator[Mortal]:
    """The program that runs commands which die at a chosen step."""
    with Mortal() as program:
        yield program


def lived(kept: Kept, name: str) -> Kept:
    """Return a copy of a workspace with its API's state, for one life."""
    home = kept.home.with_name(name)
    copy_tree(kept.home, home)
    return Kept(home, {**kept.environ, "FINDABLE_DATA": str(home / "data")})


@pytest.mark.full
def test_killed_in_the_migration_it_goes_on(mortal: Mortal, tmp_path: Path) -> None:
    """Before each step and after the last: opened again it is what it is in peace; after one death it goes to the end.

    Whatever the first command does on opening is among the steps, of however many migrations.
    """
    kept = opened("gemini", tmp_path)
    before = kept.workspace().scalar(SCHEMA)
    peace = lived(kept, "peace")
    ended = mortal.run(peace.workspace().environ, "status", cwd=peace.home)
    assert ended.code == 0, ended
    wanted = ledger.snapshot(peace.workspace(), without=VARYING)
    assert ended.trail or peace.workspace().scalar(SCHEMA) == before
    last = len(ended.trail)
    for fate in [*(Fate(at, "before") for at in range(1, last + 1)), Fate(last, "after")] if last else []:
        here = lived(kept, f"{fate.side}-{fate.at}")
        died = mortal.run(here.workspace().environ, "status", cwd=here.home, fate=fate)
        assert died.code == -9, died
        again = mortal.run(here.workspace().environ, "status", cwd=here.home)
        assert again.code == 0, (fate, again)
        assert ledger.snapshot(here.workspace(), without=VARYING) == wanted, fate
        if fate.side == "after":
            check_end(here)


def check_end(here: Kept) -> None:
    """Go on to the end, and hold that all was asked once."""
    with start(here.engine, settings={"batch_looks": 1}) as server:
        workspace = here.workspace(server.url)
        go_on_with_people(workspace)
        go_on_with_passages(workspace)
        check_healthy(workspace)
        check_asked_once(workspace, Api(server))
