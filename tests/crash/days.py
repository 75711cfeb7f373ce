"""Days that die: commands in a folder of its own, one of them killed at a step and run again, until all is answered."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import ledger
from tests.acceptance.steps import Fate
from tests.crash import homes
from tests.crash.program import KILLED, LIVES, Ended, Mortal
from tests.lab import Workspace

MOST_ROUNDS = 5
SOME_OR_EVERY = pytest.mark.parametrize(
    "every", [False, pytest.param(True, marks=pytest.mark.full)], ids=["some", "every"]
)


@dataclass(frozen=True)
class Day:
    """How a day begins in a folder at a URL, its commands, and what is done before the n-th of them.

    In `make test` it dies where `some` says: of which command before which step.
    """

    begin: Callable[[Path, str], Workspace]
    commands: tuple[str, ...]
    some: tuple[int, int]
    before: Callable[[Workspace, int], object] = lambda _workspace, _number: None

    def lived(self, mortal: Mortal, root: Path, *, every: bool) -> Iterator[tuple[str, Workspace]]:
        """Yield where the day dies, and its workspace when all is answered; with `every` step, after one in peace."""
        with homes.at_home(root) as (server, _):
            deaths, killed = [self.some], 0
            if every:
                workspace, ended = self._live(mortal, root / "peace", server.url)
                yield "in peace", workspace
                deaths = [(number, at) for number, one in enumerate(ended) for at in range(1, len(one.trail) + 1)]
            for number, at in deaths:
                workspace, ended = self._live(mortal, root / f"{number}-{at}", server.url, number, Fate(at))
                killed += any(one.code == KILLED for one in ended)
                yield f"{self.commands[number]} before step {at}", workspace
        assert killed > len(deaths) / 2  # what looked at a batch less often than in peace ended before its death

    def _live(
        self, mortal: Mortal, home: Path, url: str, death: int = -1, fate: Fate = LIVES
    ) -> tuple[Workspace, list[Ended]]:
        home.mkdir()
        ended = []
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(home)
            workspace = self.begin(home, url)
            for number, command in enumerate(self.commands):
                self.before(workspace, number)
                if number == death:
                    ended.append(homes.run(mortal, workspace, command, fate=fate))
                    assert ended[-1].code in {KILLED, 0}, (command, fate, ended[-1])
                ended.append(homes.run(mortal, workspace, command))
                assert ended[-1].code == 0, (death, fate, command, ended[-1])
            for _ in range(MOST_ROUNDS):
                items = ledger.people(workspace)
                if items["total"] == items.get("answered", items.get("tagged")):
                    return workspace, ended
                for command in dict.fromkeys(self.commands):
                    homes.run(mortal, workspace, command)
        raise AssertionError((death, fate, items))
