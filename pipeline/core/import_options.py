"""What a user says of an import beside the file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ImportOptions:
    """`mapping` is MAP=, `confirm` asks about a guess, `strict` takes all rows or none, `report` lists all findings.

    `dry` writes nothing to the workspace, and says what would go in.
    """

    mapping: str = ""
    confirm: Callable[[str], bool] | None = None
    strict: bool = False
    report: Path | None = None
    dry: bool = False

    @property
    def report_name(self) -> str | None:
        """Return the report's path as text."""
        return str(self.report) if self.report else None


USUAL = ImportOptions()
