"""The display that tests give to what they run: it shows nothing and keeps the lines."""

import contextlib
from collections.abc import Iterator

from pipeline.core.progress import Bar


class _NoBar:
    """A bar that is not shown."""

    def show(self, done: int, *, total: int | None = None, note: str = "") -> None:
        """Show nothing."""


class NullProgress:
    """Progress that is not shown; its lines are kept."""

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
