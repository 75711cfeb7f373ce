"""Report on a command that asks in rounds: counts, cost, quality, reason of open rows.

A held batch is not ingested, because its replies seem to belong to other rows. A gate is a bound on
a quality figure of the answers.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from askrows.pipeline.batch.budget import BudgetError
from askrows.pipeline.batch.held_batches import HeldBatchError
from askrows.pipeline.batch.ingest_report import IngestSummary
from askrows.pipeline.batch.poll import PollReport
from askrows.pipeline.batch.session import WorkspaceSession
from askrows.pipeline.core.errors import AskrowsError, GateError, RemoteError
from askrows.pipeline.core.report import (
    Failure,
    Report,
    Table,
    format_counts,
    format_figures,
    make_table,
)
from askrows.pipeline.core.states import describe_reason
from askrows.pipeline.quality.report import QualityReport
from askrows.pipeline.run.live_report import LiveReport
from askrows.pipeline.store.runs import PilotRow
from askrows.pipeline.tasks.task_values import TaskNouns

# Characters of an example in the table of failed requests.
MAX_EXAMPLE_CHARS = 60
# Columns of the table of failed requests; see `make_table`.
REASON_COLUMNS = "batch outcome count reason examples"


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
    version: str
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
    # Numbers of the batches that this command sent.
    submitted: list[int] = field(default_factory=list)
    # Report of the last poll.
    last_poll: PollReport = field(default_factory=PollReport)
    # Why batches failed at the API, wholly or partly, by number.
    failed_batches: dict[int, str] = field(default_factory=dict)
    ingested: list[IngestSummary] = field(default_factory=list)
    # The errors of held batches, which wait for a person.
    held_errors: list[HeldBatchError] = field(default_factory=list)
    # Rows that got the stored answer of an equal row.
    equal_rows: int = 0
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
            f"<tagged with {self.version}: {answered_count:,} answered, {self.parked:,} parked, "
            f"{self.left:,} open; ${self.spent:.4f}>"
        )

    @property
    def answered_rows(self) -> int:
        """Return how many rows got an answer, including answers of equal rows."""
        return self.equal_rows + sum(summary.answered_rows for summary in self.ingested)

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
        """Return whether all batches failed at the API, so that at most one more was sent."""
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
        return self.quality_reports.get(self.version)

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

    def list_errors(self, nouns: TaskNouns, *, strict: bool = False) -> list[Failure]:
        """Return what stopped the command early, the most important first.

        The order is: the interrupt or error of the live run, the errors of the last poll, all
        failed batches if no batch succeeded, and held batches, whose replies seem to belong to
        other rows. If there is none of these, the errors are those of gates that count.

        Args:
            nouns: Nouns of the task, for messages.
            strict: Any failed gate counts. Otherwise a failed gate counts only if the answers miss
                it by far and rows are open.
        """
        errors = list[Failure]()
        if self.live is not None and self.live.interrupted:
            errors.append(KeyboardInterrupt())
        elif self.live is not None and self.live.stopped is not None:
            errors.append(self.live.stopped)

        errors += self.last_poll.list_errors(nouns)
        if self.is_down:
            errors += self.list_failures(nouns)
            hint = f"`{nouns.ask_command}` continues"
            errors.append(RemoteError(self.stop.message, hint=hint))
        errors += self.held_errors
        if not errors and (strict or self.is_stopped_by_gate):
            errors += self.gate_errors
        return errors

    def list_warnings(self, nouns: TaskNouns, *, strict: bool = False) -> list[str]:
        """Return a warning for each failed batch and failed gate that is no error."""
        errors = list[AskrowsError]()
        if not self.is_down:
            errors += self.list_failures(nouns)
        if not (strict or self.is_stopped_by_gate):
            errors += self.gate_errors
        return [f"{error.message}; {error.hint}" for error in errors]

    @property
    def gate_errors(self) -> list[GateError]:
        """Return the error of each version that failed gates; its answers are stored."""
        errors = [quality.error for quality in self.quality_reports.values()]
        return [error for error in errors if error is not None]

    @property
    def is_stopped_by_gate(self) -> bool:
        """Return whether rows stay open because the answers miss a gate by far."""
        return self.is_hopeless and self.left > 0

    def to_report(self, ws: WorkspaceSession, *, strict: bool = False) -> Report:
        """Return the report of `tag`, or of a pilot: rows by outcome, cost, and failed requests.

        Args:
            ws: The workspace, for nouns of the task.
            strict: A failed gate is an error.
        """
        nouns = ws.task.nouns
        figures = {**self.document(), "placeholder": ws.workspace.has_placeholder_answers}
        errors = self.list_errors(nouns, strict=strict)
        warnings = self.list_warnings(nouns, strict=strict)
        report = Report(
            figures,
            self._title(nouns),
            warnings=warnings,
            errors=errors,
        )
        if self.drawn_pilot is not None:
            report.title = self.pilot_line
        elif not self.mode:
            report.title = f"nothing to tag: {nouns.none_open_message}"
        if self.budget_message:
            report.warnings.append(self.budget_message)
        if self.pilot is not None:
            report.notes.append(self.pilot.pilot_line)
        report.parts += make_failure_tables(self.ingested)
        if self.live is not None:
            asked_model = self.version.partition("/")[2]
            report.parts += _describe_live_failures(self.live)
            report.warnings += _list_live_warnings(self.live, asked_model=asked_model)
        return report

    @property
    def pilot_line(self) -> str:
        """Return a line with number, version and quality of a pilot, and the path of its report."""
        document = self.document()
        pilot = f"pilot {document['pilot']} of {document['version']}"
        return f"{pilot}: {document['quality']['verdict']}. Report: {document['report']}"

    def _title(self, nouns: TaskNouns) -> str:
        """Return the rows by outcome, and the cost of the command or of the run it continues."""
        calls = 0 if self.live is None else self.live.calls
        figures = {"lost": self.lost_usd, "calls": calls, "cost": self.reported_cost}
        if self.reported_cost is None:
            figures["cost"] = self.spent
        rows = nouns.singular if self.under_way == 1 else nouns.plural
        counts = {
            nouns.answered: self.answered_rows + self._live_answered_rows,
            "parked": self.parked,
            f"{rows} in unfinished batches": self.under_way,
            f"waiting for the answers of equal {nouns.plural}": self.waiting,
            "waiting until Gemini accepts more tokens": self.no_room,
            "still open": self.left,
        }
        cost = format_figures(figures, "calls spent=cost perhaps_lost=lost")
        return f"{format_counts(counts) or 'no row answered'}; {cost}"

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
                "version": self.drawn_pilot.version,
                "drawn": self.asked,
                "seed": self.drawn_pilot.seed,
                **answer_members,
                "quality": None if quality is None else quality.document,
            }

        return {
            "version": self.version,
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


def make_failure_tables(summaries: Iterable[IngestSummary]) -> Iterator[Table]:
    """Yield a table with the problems of ingested batches by reason, or nothing without problems.

    Its examples are cut after MAX_EXAMPLE_CHARS characters.
    """
    failures = list[dict[str, Any]]()
    for summary in summaries:
        failures += [
            {
                "batch": summary.batch.number,
                **vars(anomaly),
                "examples": "; ".join(
                    f"{name} {text}".strip()[:MAX_EXAMPLE_CHARS] for name, text in anomaly.examples
                ),
            }
            for anomaly in summary.anomalies
        ]
    if failures:
        yield make_table(failures, REASON_COLUMNS)


def _describe_live_failures(live_report: LiveReport) -> Iterator[str]:
    """Yield a line with the failed rows of a live run by reason, or nothing without failures."""
    failures = [
        f"{count:,} {describe_reason(reason)}" for reason, count in live_report.failed.most_common()
    ]
    if failures:
        yield f"without an answer: {', '.join(failures)}"


def _list_live_warnings(live_report: LiveReport, *, asked_model: str) -> Iterator[str]:
    """Yield warnings about models that were not asked, and about the first failed rows."""
    if live_report.other_models:
        models = ", ".join(sorted(live_report.other_models))
        yield f"asked {asked_model}, answered by {models}, which sets the price"
    for row_name, reason in live_report.first_failures:
        yield f"{row_name}: {describe_reason(reason)}"
