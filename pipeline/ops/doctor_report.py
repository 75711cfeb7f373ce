"""What `doctor` found: faults by check, and what was looked at."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pipeline.core.errors import ConfigurationError, InconsistentError, RemoteError
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import RowFault

notice = partial(RowFault, contradiction=False)  # what does no harm to data


@dataclass
class DoctorReport:
    """What was found by which check, in their order, how many checks there were, and which rows were looked at.

    Of each subject `seen` has what was looked at row by row, in words and in figures, also where nothing is wrong.
    """

    ws: WorkspaceSession
    looked: int = 0
    findings: list[tuple[str, RowFault]] = field(default_factory=list)
    seen: list[tuple[str, str, Mapping[str, int]]] = field(default_factory=list)
    # The first error that kept doctor from asking the backend.
    failure: ConfigurationError | RemoteError | None = None
    unknown: set[int] = field(
        default_factory=set
    )  # the numbers of remote batches that are not known here

    @property
    def contradictions(self) -> list[RowFault]:
        """Return what contradicts what is stored."""
        return [one for _, one in self.findings if one.contradiction]

    @property
    def document(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "healthy": not self.contradictions,
            "checks": self.looked,
            "rows": {subject: figures for subject, _, figures in self.seen},
            "findings": [
                {**one._asdict(), "next": str(one.next), "check": name}
                for name, one in self.findings
            ],
        }

    def check(self) -> None:
        """Pass when nothing contradicts and the backend could be asked.

        Raises:
            InconsistentError: something contradicts.
            ConfigurationError, RemoteError: the key is refused, or the backend cannot be reached.
        """
        if wrong := self.contradictions:
            raise InconsistentError(
                f"{len(wrong)} of the findings contradict what is stored", hint=wrong[0].next
            )
        if self.failure is not None:
            raise self.failure
