"""Provide a display for tests that prints nothing and stores the lines."""

from askrows.pipeline.core.progress import NoProgress


class NullProgress(NoProgress):
    """Progress that prints nothing and stores its lines."""

    def __init__(self) -> None:
        """Start without lines."""
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        """Store a line."""
        self.lines.append(line)

    warn = say
