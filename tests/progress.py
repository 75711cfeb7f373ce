"""The display that tests give to what they run: it shows nothing and keeps the lines."""

from pipeline.core.progress import NoProgress


class NullProgress(NoProgress):
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
