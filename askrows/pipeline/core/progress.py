"""Interfaces for lines, warnings and progress of a long command.

`askrows.jobs.output` prints them on a terminal or in a log.
"""

import contextlib
from collections.abc import Iterator
from typing import Protocol


class ProgressBar(Protocol):
    """A progress bar of a piece of work."""

    def show(self, completed_count: int, *, total: int | None = None, note: str = "") -> None:
        """Show a completed count and a short note; without a total the last total stays."""


class Progress(Protocol):
    """An output for messages and progress, never standard output."""

    def say(self, line: str) -> None:
        """Print a line."""

    def warn(self, line: str) -> None:
        """Print a warning."""

    def bar(
        self,
        label: str,
        total: int | None,
        *,
        has_rate: bool = True,
    ) -> contextlib.AbstractContextManager[ProgressBar]:
        """Show a bar during a `with` block, without a percentage if there is no total.

        Rate and remaining time are left out without `has_rate`: the units are not finished at a
        steady rate.
        """


class NoProgress:
    """An output and a progress bar that print nothing."""

    def say(self, line: str) -> None:
        """Ignore a line."""

    warn = say

    def show(self, completed_count: int, *, total: int | None = None, note: str = "") -> None:
        """Ignore the progress."""

    @contextlib.contextmanager
    def bar(self, *_: object, **__: object) -> Iterator[ProgressBar]:
        """Show nothing during a `with` block."""
        yield self
