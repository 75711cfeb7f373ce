"""Copy the folder of a workspace and its engine between commands, and restore the copies."""

import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from tests import postgresql
from tests.acceptance.engine import Engine
from tests.acceptance.process import end_sessions

PARTS = ("home", "engine")


class Stage:
    """The home of a workspace and the state of its engine, in the same folder for every run.

    A workspace stores the paths of images and of task files.
    """

    def __init__(self, root: Path) -> None:
        """Use an empty folder."""
        self._root = root
        self.home = root / "home"
        # The engine pauses until a command configures it, or it would change its batches before.
        self.engine = Engine(root / "engine", settings={"paused": True})

    def save_copy(self, name: str) -> None:
        """Copy the folder while no command runs."""
        end_sessions()
        self.engine.kill()
        self._copy(self._root, self._root / "copies" / name)
        self.engine.start()

    def restore_copy(self, name: str) -> None:
        """Restore a copy of the folder."""
        end_sessions()
        self.engine.kill()
        for part in PARTS:
            shutil.rmtree(self._root / part, ignore_errors=True)
        postgresql.drop_below(self.home)
        self._copy(self._root / "copies" / name, self._root)
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
        traceback: TracebackType | None,
    ) -> None:
        """Kill the engine."""
        self.engine.kill()
