"""A folder with a workspace and its engine, of which pictures are taken between commands, to go back to."""

import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from tests import postgresql
from tests.acceptance.engine import Engine
from tests.acceptance.process import end_sessions

PARTS = ("home", "engine")


class Stage:
    """One workspace's home and the state of its engine, at the same place for every life that is lived there.

    A workspace knows images, and files of tasks, by where they are.
    """

    def __init__(self, root: Path) -> None:
        """Take a folder; nothing is in it."""
        self._root = root
        self.home = root / "home"
        # stands still until a command says how it behaves, or it would go on with what is to stay as it is
        self.engine = Engine(root / "engine", settings={"paused": True})

    def keep(self, name: str) -> None:
        """Take a picture, while no command runs."""
        end_sessions()
        self.engine.kill()
        self._copy(self._root, self._root / "pictures" / name)
        self.engine.start()

    def back_to(self, name: str) -> None:
        """Make all as it was when a picture was taken."""
        end_sessions()
        self.engine.kill()
        for part in PARTS:
            shutil.rmtree(self._root / part, ignore_errors=True)
        postgresql.drop_below(self.home)
        self._copy(self._root / "pictures" / name, self._root)
        self.engine.start()

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        for part in PARTS:
            if (source / part).exists():
                shutil.copytree(source / part, target / part, symlinks=True)
        postgresql.copy_below(source / "home", target / "home")

    def __enter__(self) -> Self:
        """Start the engine."""
        self.engine.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Kill it."""
        self.engine.kill()
