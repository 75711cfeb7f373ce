"""What a user says of an import beside the file."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ImportOptions:
    """`mapping` is MAP=, `strict` takes all rows or none, `report` lists all findings.

    `dry` writes nothing to the workspace, and says what would go in.
    """

    mapping: str = ""
    strict: bool = False
    report: Path | None = None
    dry: bool = False

    @property
    def report_name(self) -> str | None:
        """Return the report's path as text."""
        return str(self.report) if self.report else None


USUAL = ImportOptions()
