"""Report on a command that asks in rounds: counts, cost, quality, reason of open rows.

The report also raises the error that stopped the command, and warns of failed batches and gates. A
held batch is not ingested, because its replies seem to belong to other rows.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pipeline.batch.budget import BudgetError
from pipeline.batch.held_batches import HeldBatchError
from pipeline.batch.ingest_report import IngestSummary
from pipeline.batch.live_report import LiveReport
from pipeline.batch.poll import PollReport
from pipeline.core.errors import FindableError, RemoteError
from pipeline.core.progress import Progress
from pipeline.engine.task_values import TaskNouns
from pipeline.quality.report import QualityReport
from pipeline.store.runs import PilotRow


class TagStopReason(StrEnum):
    """Why open rows are not sent."""

    BATCHES_FAILED = "batches failed"
    GATE_FAILED = "gate failed"
    BUDGET = "budget"
    API_FULL = "API full"


@dataclass(frozen=True)
class TagStop:
    """The reason for which a command left rows open."""

    # None if nothing stopped them.
    reason: TagStopReason | None = None
    # The reason for people.
    message: str = ""
    # Rows that wait for the budget or the API, if they were counted.
    rows: int = 0
    # Set if a budget was used up before anything was sent.
    budget_error: BudgetError | None = None


@dataclass(repr=False)
class TagReport:
    """Result of a command that asks in rounds, and the task's state after it; costs in USD."""

    # Version that asks.
    extractor: str
    # Live, flex or batch; empty if no row was open.
    mode: str = ""
    # Why that mode was chosen.
    reason: str = ""
    # Rows that were open when the command started. For a pilot, its rows.
    asked: int = 0
    # Only of a pilot's report: the pilot.
    drawn_pilot: PilotRow | None = None
    # Report of the pilot that ran before the other rows.
    pilot: "TagReport | None" = None
    live: LiveReport | None = None
    # Rows that a live run did not get to.
    unasked: int = 0
    # Open rows that get the answer of an equal row in an open batch.
    waiting: int = 0
    # Numbers of the batches that this command sent, and their rows.
    submitted: list[int] = field(default_factory=list)
    items: int = 0
    # Report of the last poll.
    last_poll: PollReport = field(default_factory=PollReport)
    # Why batches failed at the API, wholly or partly, by number.
    failed_batches: dict[int, str] = field(default_factory=dict)
    ingested: list[IngestSummary] = field(default_factory=list)
    # The errors of held batches, which wait for a person.
    held_errors: list[HeldBatchError] = field(default_factory=list)
    # Rows that got the stored answer of an equal row.
    shared: int = 0
    # Newest quality report of each version.
    quality_reports: dict[str, QualityReport] = field(default_factory=dict)
    # Whether answers of the version in use failed a gate by far.
    is_hopeless: bool = False
    # Rows that are still open.
    left: int = 0
    # Rows in open batches.
    under_way: int = 0
    # Rows that were parked since the command started.
    parked: int = 0
    # Known cost since the command, or the run that it resumed, started.
    spent: float = 0.0
    # Estimated cost since then of replies that were lost or have no readable token count.
    lost_usd: float = 0.0
    # Why rows are still open.
    stop: TagStop = field(default_factory=TagStop)

    def __repr__(self) -> str:
        """Return one line with the counts of rows and the cost."""
        answered_count = self.answered_rows + self._live_answered_rows
        return (
            f"<tagged with {self.extractor}: {answered_count:,} answered, {self.parked:,} parked, "
            f"{self.left:,} open; ${self.spent:.4f}>"
        )

    @property
    def answered_rows(self) -> int:
        """Return how many rows got an answer, including copied answers of equal rows."""
        return self.shared + sum(summary.answered_rows for summary in self.ingested)

    @property
    def _live_answered_rows(self) -> int:
        """Return how many rows a live run answered."""
        return 0 if self.live is None else self.live.answered

    @property
    def reported_cost(self) -> float | None:
        """Return the cost of the batches and the live run; None if the report has neither."""
        if not self.ingested and self.live is None:
            return None
        batches_cost = sum(summary.batch.cost or 0.0 for summary in self.ingested)
        return batches_cost + (0.0 if self.live is None else self.live.cost)

    @property
    def is_over(self) -> bool:
        """Return whether no row is open or in a batch."""
        return not self.left and not self.under_way

    @property
    def is_down(self) -> bool:
        """Return whether all batches failed at the API, so that nothing more was sent."""
        return self.stop.reason is TagStopReason.BATCHES_FAILED

    @property
    def no_room(self) -> int:
        """Return how many open or prepared rows wait until the API accepts more."""
        return self.stop.rows if self.stop.reason is TagStopReason.API_FULL else 0

    @property
    def budget_message(self) -> str:
        """Return the message of the budget that stops open rows; empty if no budget does."""
        return self.stop.message if self.stop.reason is TagStopReason.BUDGET else ""

    @property
    def newest_quality(self) -> QualityReport | None:
        """Return the newest quality report of the version in use."""
        return self.quality_reports.get(self.extractor)

    def list_failures(self, nouns: TaskNouns) -> list[RemoteError]:
        """Return an error for each batch that failed at the API.

        Args:
            nouns: Nouns of the task, for messages.
        """
        return [
            RemoteError(
                f"batch {number} failed at the API ({reason})",
                hint=f"`{nouns.ask_command}` asks its open {nouns.plural} again",
            )
            for number, reason in self.failed_batches.items()
        ]

    def list_errors(self, nouns: TaskNouns) -> list[FindableError]:
        """Return the errors that stopped the command early, the most important first.

        The order is: the error of the live run, the errors of the last poll, all failed batches if
        no batch succeeded, and held batches, whose replies seem to belong to other rows. Failed
        gates are not included.

        Args:
            nouns: Nouns of the task, for messages.
        """
        errors = list[FindableError]()
        if self.live is not None and self.live.stopped is not None:
            errors.append(self.live.stopped)

        errors += self.last_poll.list_errors(nouns)
        if self.is_down:
            errors += self.list_failures(nouns)
        return errors + self.held_errors

    def raise_first_error(
        self, nouns: TaskNouns, display: Progress, *, strict: bool = False
    ) -> None:
        """Raise the error that stopped the command, and warn of others and of failed batches.

        If only some batches failed, there is a warning for each. If all failed, that is the error.
        Gates are checked only if no error is raised.

        Args:
            nouns: Nouns of the task.
            display: Prints the warnings.
            strict: A failed gate is an error.

        Raises:
            KeyboardInterrupt: The live run was interrupted. Then no warning is printed.
            FindableError: The first of `list_errors`, after warnings about the others.
            GateError: A gate failed, and `strict` is set or the answers miss it by far and rows are
                open.
        """
        if self.live is not None and self.live.interrupted:
            raise KeyboardInterrupt

        if not self.is_down:
            for number, reason in self.failed_batches.items():
                display.warn(
                    f"batch {number} failed at the API ({reason}); its "
                    f"{nouns.plural} can be asked again",
                )

        errors = self.list_errors(nouns)
        for error in errors[1:]:
            display.warn(f"{error.message}; {error.hint}")
        if errors:
            raise errors[0]

        self.check_gates(display, strict=strict)

    def check_gates(self, display: Progress, *, strict: bool = False) -> None:
        """Warn of the failed quality gates of each version, or raise the first error; answers stay.

        A version's error names all its failed gates.

        Args:
            display: Prints the warnings.
            strict: Failed gates are an error.

        Raises:
            GateError: The error of the first version with failed gates, if `strict` is set, or if
                the answers fail by far and rows are open.
        """
        for quality in self.quality_reports.values():
            error = quality.error
            if error is None:
                continue
            if strict or (self.is_hopeless and self.left):
                raise error
            display.warn(f"{error.message}; {error.hint}")

    def document(self) -> dict[str, Any]:
        """Return the report as JSON members; a pilot's report has fewer, with its quality."""
        quality = self.newest_quality
        answer_members = {
            "ingested": {
                str(summary.batch.number): summary.answered_rows for summary in self.ingested
            },
            "passed": None if quality is None else quality.passed,
            "report": None if quality is None else str(quality.path),
        }
        if self.drawn_pilot is not None:
            return {
                "pilot": self.drawn_pilot.number,
                "extractor": self.drawn_pilot.version,
                "drawn": self.asked,
                "seed": self.drawn_pilot.seed,
                **answer_members,
                "quality": None if quality is None else quality.document,
            }

        return {
            "extractor": self.extractor,
            "mode": self.mode,
            "reason": self.reason,
            "asked": self.asked,
            "answered": self.answered_rows + self._live_answered_rows,
            "submitted": self.submitted,
            "left": self.left,
            "no_room": self.no_room,
            "under_way": self.under_way,
            "parked": self.parked,
            "held_back": self.stop.message,
            "out_of_money": self.budget_message,
            "is_over": self.is_over,
            "is_down": self.is_down,
            "cost": self.reported_cost,
            "spent": self.spent,
            "pilot": None if self.pilot is None else self.pilot.document(),
            "failed": {str(number): reason for number, reason in self.failed_batches.items()},
            "held": {str(error.number): error.reason for error in self.held_errors},
            "live": self._live_document(),
            **answer_members,
        }

    def _live_document(self) -> dict[str, Any] | None:
        """Return the live run as JSON members, or None if there was no live run."""
        live_report = self.live
        if live_report is None:
            return None

        return {
            "answered": live_report.answered,
            "failed": live_report.failed,
            "calls": live_report.calls,
            "cost": live_report.cost,
            "run": live_report.run,
            "interrupted": live_report.interrupted,
            "left": self.unasked,
            "samples": [
                {"username": name, "reason": reason} for name, reason in live_report.first_failures
            ],
            "stopped": live_report.stopped.message if live_report.stopped else None,
        }
