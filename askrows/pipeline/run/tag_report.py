"""Report to people and programs the work of `tag` or a pilot: counts, cost, quality, open rows."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from askrows.pipeline.batch.ingest_report import IngestSummary
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import RunResult
from askrows.pipeline.core.report import (
    Report,
    Table,
    format_counts,
    format_figures,
    make_table,
)
from askrows.pipeline.core.states import describe_reason
from askrows.pipeline.store.runs import PilotRow
from askrows.pipeline.tasks.task_values import TaskNouns

# Characters of an example in the table of failed requests.
MAX_EXAMPLE_CHARS = 60
# Columns of the table of failed requests; see `make_table`.
REASON_COLUMNS = "batch outcome count reason examples"


@dataclass(repr=False)
class TagReport:
    """The result of `tag` or a pilot, as it is reported."""

    result: RunResult
    # Batch, flex, live or decide; empty if no row was open.
    mode: str = ""
    # Why that mode was chosen.
    reason: str = ""
    # Only of a pilot's report: the pilot.
    drawn_pilot: PilotRow | None = None
    # Report of the pilot that ran before the other rows.
    pilot: "TagReport | None" = None

    def __repr__(self) -> str:
        """Return one line with the counts of rows and the cost."""
        result = self.result
        return (
            f"<tagged with {result.version}: {result.answered:,} answered, {result.parked:,} "
            f"parked, {result.left:,} open; ${result.spent:.4f}>"
        )

    @property
    def left(self) -> int:
        """Return how many rows are still open."""
        return self.result.left

    @property
    def under_way(self) -> int:
        """Return how many rows are in open batches."""
        return self.result.under_way

    @property
    def answered(self) -> int:
        """Return how many rows got an answer."""
        return self.result.answered

    @property
    def parked(self) -> int:
        """Return how many rows were parked."""
        return self.result.parked

    @property
    def spent(self) -> float:
        """Return the known cost in USD, of the run that was continued, too."""
        return self.result.spent

    @property
    def reported_cost(self) -> float | None:
        """Return the cost of the batches and the calls, or None if the result has neither."""
        result = self.result
        if not result.ingested and not result.has_calls:
            return None
        batches_cost = sum(summary.batch.cost or 0.0 for summary in result.ingested)
        return batches_cost + result.calls_cost

    def to_report(self, run: Run, *, strict: bool = False) -> Report:
        """Return the report of `tag`, or of a pilot: rows by outcome, cost, and failed requests.

        Args:
            run: The run, for nouns of the task.
            strict: A failed gate is an error.
        """
        nouns = run.task.nouns
        result = self.result
        report = Report(
            {**self.document(), "placeholder": run.workspace.has_placeholder_answers},
            self._title(nouns),
            warnings=result.list_warnings(nouns, strict=strict),
            errors=result.list_errors(nouns, strict=strict),
        )
        if self.drawn_pilot is not None:
            report.title = self.pilot_line
        elif not self.mode:
            report.title = f"nothing to tag: {nouns.none_open_message}"
        if result.budget_message:
            report.warnings.append(result.budget_message)
        if self.pilot is not None:
            report.notes.append(self.pilot.pilot_line)
        report.parts += make_failure_tables(result.ingested)
        if result.failed:
            failures = [
                f"{count:,} {describe_reason(reason)}"
                for reason, count in result.failed.most_common()
            ]
            report.parts.append(f"without an answer: {', '.join(failures)}")
        if result.other_models:
            models = ", ".join(sorted(result.other_models))
            asked_model = result.version.partition("/")[2]
            report.warnings.append(
                f"asked {asked_model}, answered by {models}, which sets the price"
            )
        for row_name, reason in result.first_failures:
            report.warnings.append(f"{row_name}: {describe_reason(reason)}")
        return report

    @property
    def pilot_line(self) -> str:
        """Return a line with number, version and quality of a pilot, and the path of its report."""
        document = self.document()
        pilot = f"pilot {document['pilot']} of {document['version']}"
        return f"{pilot}: {document['quality']['verdict']}. Report: {document['report']}"

    def _title(self, nouns: TaskNouns) -> str:
        """Return the rows by outcome, and the cost of the command or of the run it continues."""
        result = self.result
        figures = {"lost": result.lost_usd, "calls": result.calls, "cost": self.reported_cost}
        if self.reported_cost is None:
            figures["cost"] = result.spent
        rows = nouns.singular if result.under_way == 1 else nouns.plural
        counts = {
            nouns.answered: result.answered,
            "parked": result.parked,
            f"{rows} in unfinished batches": result.under_way,
            f"waiting for the answers of equal {nouns.plural}": result.waiting,
            "waiting until Gemini accepts more tokens": result.no_room,
            "still open": result.left,
        }
        cost = format_figures(figures, "calls spent=cost perhaps_lost=lost")
        return f"{format_counts(counts) or 'no row answered'}; {cost}"

    def document(self) -> dict[str, Any]:
        """Return the report as JSON members; a pilot's report has fewer, with its quality."""
        result = self.result
        quality = result.newest_quality
        answer_members = {
            "ingested": {
                str(summary.batch.number): summary.answered_rows for summary in result.ingested
            },
            "passed": None if quality is None else quality.passed,
            "report": None if quality is None else str(quality.path),
        }
        if self.drawn_pilot is not None:
            return {
                "pilot": self.drawn_pilot.number,
                "version": self.drawn_pilot.version,
                "drawn": result.asked,
                "seed": self.drawn_pilot.seed,
                **answer_members,
                "quality": None if quality is None else quality.document,
            }

        return {
            "version": result.version,
            "mode": self.mode,
            "reason": self.reason,
            "asked": result.asked,
            "answered": result.answered,
            "submitted": result.created_batches,
            "left": result.left,
            "no_room": result.no_room,
            "under_way": result.under_way,
            "parked": result.parked,
            "held_back": "" if result.has_stopped_calls else result.stop.message,
            "out_of_money": result.budget_message,
            "is_over": not result.left and not result.under_way,
            "is_down": result.is_down,
            "cost": self.reported_cost,
            "spent": result.spent,
            "pilot": None if self.pilot is None else self.pilot.document(),
            "failed": {str(number): reason for number, reason in result.failed_batches.items()},
            "held": {str(error.number): error.reason for error in result.held_errors},
            "live": self._calls_document() if result.has_calls else None,
            **answer_members,
        }

    def _calls_document(self) -> dict[str, Any]:
        """Return the calls as JSON members."""
        result = self.result
        return {
            "answered": result.answered_by_calls,
            "failed": result.failed,
            "calls": result.calls,
            "cost": result.calls_cost,
            "run": result.first_calls_batch,
            "interrupted": result.is_interrupted,
            "left": result.unasked,
            "samples": [
                {"username": name, "reason": reason} for name, reason in result.first_failures
            ],
            "stopped": result.calls_error.message if result.calls_error else None,
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
