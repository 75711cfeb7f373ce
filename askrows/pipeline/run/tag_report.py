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
class TagReport(RunResult):
    """The result of `tag` or a pilot, with its mode, as it is reported."""

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
        return (
            f"<tagged with {self.version}: {self.answered:,} answered, {self.parked:,} "
            f"parked, {self.left:,} open; ${self.spent:.4f}>"
        )

    @property
    def reported_cost(self) -> float | None:
        """Return the cost of the batches and the calls, or None if the result has neither."""
        if not self.ingested and not self.has_calls:
            return None
        batches_cost = sum(summary.batch.cost or 0.0 for summary in self.ingested)
        return batches_cost + self.calls_cost

    def to_report(self, run: Run, *, strict: bool = False) -> Report:
        """Return the report of `tag`, or of a pilot: rows by outcome, cost, and failed requests.

        Args:
            run: The run, for nouns of the task.
            strict: A failed gate is an error.
        """
        nouns = run.task.nouns
        report = Report(
            {**self.document(), "placeholder": run.workspace.has_placeholder_answers},
            self._title(nouns),
            warnings=self.list_warnings(nouns, strict=strict),
            errors=self.list_errors(nouns, strict=strict),
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
        if self.failed:
            failures = [
                f"{count:,} {describe_reason(reason)}"
                for reason, count in self.failed.most_common()
            ]
            report.parts.append(f"without an answer: {', '.join(failures)}")
        if self.other_models:
            models = ", ".join(sorted(self.other_models))
            asked_model = self.version.partition("/")[2]
            report.warnings.append(
                f"asked {asked_model}, answered by {models}, which sets the price"
            )
        for row_name, reason in self.first_failures:
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
        figures = {"lost": self.lost_usd, "calls": self.calls, "cost": self.reported_cost}
        if self.reported_cost is None:
            figures["cost"] = self.spent
        rows = nouns.singular if self.under_way == 1 else nouns.plural
        counts = {
            nouns.answered: self.answered,
            "parked": self.parked,
            f"{rows} in unfinished batches": self.under_way,
            f"waiting for the answers of equal {nouns.plural}": self.waiting,
            "waiting until the API accepts more tokens": self.no_room,
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
            "answered": self.answered,
            "submitted": self.created_batches,
            "left": self.left,
            "no_room": self.no_room,
            "under_way": self.under_way,
            "parked": self.parked,
            "held_back": "" if self.has_stopped_calls else self.stop.message,
            "out_of_money": self.budget_message,
            "is_over": not self.left and not self.under_way,
            "is_down": self.is_down,
            "cost": self.reported_cost,
            "spent": self.spent,
            "pilot": None if self.pilot is None else self.pilot.document(),
            "failed": {str(number): reason for number, reason in self.failed_batches.items()},
            "held": {str(error.number): error.reason for error in self.held_errors},
            "live": self._calls_document() if self.has_calls else None,
            **answer_members,
        }

    def _calls_document(self) -> dict[str, Any]:
        """Return the calls as JSON members."""
        return {
            "answered": self.answered_by_calls,
            "failed": self.failed,
            "calls": self.calls,
            "cost": self.calls_cost,
            "run": self.first_calls_batch,
            "interrupted": self.is_interrupted,
            "left": self.unasked,
            "samples": [
                {"username": name, "reason": reason} for name, reason in self.first_failures
            ],
            "stopped": self.calls_error.message if self.calls_error else None,
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
