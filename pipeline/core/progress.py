"""What a long command tells the person who waits: lines, warnings, and how far it has come.

The pipeline speaks through this protocol and knows no terminal; `jobs.output` draws bars or plain lines.
"""

import contextlib
from collections.abc import Iterator
from typing import Protocol


class Bar(Protocol):
    """How far one piece of work has come."""

    def show(self, done: int, *, total: int | None = None, note: str = "") -> None:
        """Show that `done` of `total` are done, with a short note; a total that is not given stays as it was."""


class Progress(Protocol):
    """Where messages and progress go; never standard output."""

    def say(self, line: str) -> None:
        """Tell something a person wants to know."""

    def warn(self, line: str) -> None:
        """Tell something a person should look at."""

    def bar(
        self, label: str, total: int | None, *, done: int = 0, late: bool = False
    ) -> contextlib.AbstractContextManager[Bar]:
        """Show progress for the length of a block; without a total, only what is done.

        What was `done` before it began counts towards the total and not towards the rate. A `late` one, of what is
        mostly over in a moment, is not to be seen before it has taken two seconds.
        """


class _NoBar:
    """Progress that nobody looks at."""

    def show(self, done: int, *, total: int | None = None, note: str = "") -> None:
        """Show nothing."""


class NullProgress:
    """A display for programs: nothing is shown, and the lines are kept."""

    def __init__(self) -> None:
        """Begin without lines."""
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        """Keep a line."""
        self.lines.append(line)

    def warn(self, line: str) -> None:
        """Keep a warning."""
        self.lines.append(line)

    @contextlib.contextmanager
    def bar(
        self,
        label: str,  # noqa: ARG002 - nothing is shown
        total: int | None,  # noqa: ARG002
        *,
        done: int = 0,  # noqa: ARG002
        late: bool = False,  # noqa: ARG002
    ) -> Iterator[Bar]:
        """Show nothing for the length of a block."""
        yield _NoBar()
