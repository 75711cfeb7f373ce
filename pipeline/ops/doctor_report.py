"""The result of `doctor`: the findings of each check, and a summary of the checked rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.errors import ConfigurationError, InconsistentError, RemoteError
from pipeline.core.text import plural
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task_values import RowFault


def create_notice(message: str, consequence: str, next_step: object) -> RowFault:
    """Return a finding that does not mean that stored data are wrong.

    Args:
        message: The finding as one sentence.
        consequence: Why the finding matters.
        next_step: The action that repairs it, as a text or a command hint.
    """
    return RowFault(message, consequence, next_step, is_contradiction=False)


@dataclass
class DoctorReport:
    """Findings of all checks in their order; the checks fill the report while they run."""

    ws: WorkspaceSession
    # Number of checks that ran.
    check_count: int = 0
    # Pairs of the name of a check and a finding of that check.
    findings: list[tuple[str, RowFault]] = field(default_factory=list)
    # The figures of each task with a check of its rows, by its name.
    row_figures: dict[str, Mapping[str, int]] = field(default_factory=dict)
    # The first error that prevented a comparison with the backend.
    backend_error: ConfigurationError | RemoteError | None = None
    # Numbers in the names of remote batches that the database does not contain.
    unknown_numbers: set[int] = field(default_factory=set)

    @property
    def contradictions(self) -> list[RowFault]:
        """Return the findings that contradict the stored data."""
        return [finding for _, finding in self.findings if finding.is_contradiction]

    @property
    def document(self) -> dict[str, Any]:
        """Return the report as a dictionary for JSON output."""
        findings = [
            {
                "said": finding.message,
                "why": finding.consequence,
                "next": str(finding.hint),
                "contradiction": finding.is_contradiction,
                "check": check_name,
            }
            for check_name, finding in self.findings
        ]
        return {
            "healthy": not self.contradictions,
            "checks": self.check_count,
            "rows": self.row_figures,
            "findings": findings,
        }

    def raise_errors(self) -> None:
        """Raise an error if a finding is a contradiction, or else if the backend was not compared.

        Raises:
            InconsistentError: At least one finding contradicts the stored data.
            ConfigurationError: The backend refused the API key or another setting.
            RemoteError: The backend cannot be reached.
        """
        contradictions = self.contradictions
        if contradictions:
            count = plural(len(contradictions), "finding contradicts", "findings contradict")
            raise InconsistentError(
                f"{count} the stored data",
                hint=contradictions[0].hint,
            )

        if self.backend_error is not None:
            raise self.backend_error
