"""Report lines, warnings and progress of a long command; `jobs.output` draws them on a terminal or in a log."""

import contextlib
from collections.abc import Iterator
from typing import Protocol


class ProgressBar(Protocol):
    """How far one piece of work has come."""

    def show(self, done: int, *, total: int | None = None, note: str = "") -> None:
        """Show `done` of `total`, with a short note; a total that is not given stays as it was."""


class Progress(Protocol):
    """Where messages and progress go; never standard output."""

    def say(self, line: str) -> None:
        """Print a line."""

    def warn(self, line: str) -> None:
        """Print a warning."""

    def bar(
        self, label: str, total: int | None, *, late: bool = False
    ) -> contextlib.AbstractContextManager[ProgressBar]:
        """Show progress for the length of a block, of what is done alone without a total; after two seconds if late."""


class NoProgress:
    """Progress that is not shown, as a bar and as where it goes."""

    def say(self, line: str) -> None:
        """Leave a line out."""

    warn = say

    def show(self, done: int, *, total: int | None = None, note: str = "") -> None:
        """Leave out how far it is."""

    @contextlib.contextmanager
    def bar(self, *_: object, **__: object) -> Iterator[ProgressBar]:
        """Show nothing for the length of a block."""
        yield self
