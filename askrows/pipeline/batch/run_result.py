"""The result of a run, which its units fill: rows, batches, costs, and why rows stay open.

`TagReport` is the result of `tag` or a pilot, as it is reported to people and programs.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from askrows.pipeline.batch.batch_plan import BatchPlan
from askrows.pipeline.batch.budget import BudgetError
from askrows.pipeline.batch.held_batches import HeldBatchError
from askrows.pipeline.batch.ingest_report import IngestSummary
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.send import SendOutcome
from askrows.pipeline.core.command_hint import CommandHint, HintTemplate, OptionHint
from askrows.pipeline.core.errors import AskrowsError, ConfigurationError, GateError, RemoteError
from askrows.pipeline.core.report import (
    Failure,
    Report,
    Table,
    format_counts,
    format_members_as_phrase,
    make_table,
)
from askrows.pipeline.core.states import describe_reason
from askrows.pipeline.quality.report import QualityReport
from askrows.pipeline.store.runs import PilotRow
from askrows.pipeline.tasks.task_values import TaskNouns

# Outcomes of batches that the API has.
CREATED_OUTCOMES = (SendOutcome.CREATED, SendOutcome.ADOPTED)
# Rows without an answer that are kept with their reasons.
MAX_NAMED_FAILURES = 3
# Reason of a call that a person ended.
INTERRUPTED_REASON = "interrupted"

# Characters of an example in the table of failed requests.
MAX_EXAMPLE_CHARS = 60
# Columns of the table of failed requests; see `make_table`.
REASON_COLUMNS = "batch outcome count reason examples"


class StopReason(Enum):
    """Why a run leaves rows open: the error of a command that ends for it, and the sentence.

    The exit code of the command is that of the error.
    """

    # The command ends as after Ctrl-C.
    INTERRUPTED = (AskrowsError, "interrupted; finished work is stored")
    # The error of the call, and its message, are more exact.
    CALLS_FAILED = (RemoteError, "the calls were stopped by an error")
    BATCHES_FAILED = (RemoteError, "all batches failed at the API, so no more rows were sent")
    GATE_FAILED = (
        GateError,
        HintTemplate(
            "the answers fail a quality gate by far, so no more rows were sent; {} sends them "
            "anyway",
            OptionHint(skip_pilot=True),
        ),
    )
    BUDGET = (BudgetError, "a budget does not cover the other rows")
    API_FULL = (RemoteError, "the API accepts no more batches for now")
    NO_PILOT = (GateError, "no pilot has passed its gates")
    OUTAGE = (RemoteError, "the last batches got no reply, so one batch is sent at a time")

    def __init__(self, error_type: type[AskrowsError], sentence: object) -> None:
        self.error_type = error_type
        self.sentence = sentence


# Reasons for which calls stopped.
CALL_STOPS = (StopReason.INTERRUPTED, StopReason.CALLS_FAILED)


@dataclass(frozen=True)
class RunStop:
    """The reason for which a run left rows open."""

    # None if nothing stopped it.
    reason: StopReason | None = None
    # The sentence of the reason for people; by default without details.
    message: str = ""
    # Rows that wait for the budget or the API, if they were counted.
    rows: int = 0
    # The error that stopped the run, if there was one.
    error: AskrowsError | None = None

    def __post_init__(self) -> None:
        """Use the message of the error, or the sentence of the reason, if there is no other."""
        if self.reason is not None and not self.message:
            message = self.error.message if self.error else str(self.reason.sentence)
            object.__setattr__(self, "message", message)


class TrialOutcome(NamedTuple):
    """Result of one row of a trial: the raw reply, or the reason why there is no reply."""

    reply: Any
    reason: str
    # Duration of the call.
    seconds: float = 0.0
    # The service refused this request by a 400.
    is_refused: bool = False


@dataclass
class RunResult:
    """The result of a run, and the state of its task after it; costs in USD."""

    # Version that asks.
    version: str = ""
    # Rows that were open at the start. For a pilot, its rows.
    asked: int = 0
    # Why rows are still open.
    stop: RunStop = RunStop()

    # Batches. The expected requests are those that the run makes or waits for, if it knows them;
    # a request that is asked again counts once. The plan has the new rows of the newest submission,
    # and earlier batches.
    expected: BatchPlan = field(default_factory=BatchPlan)
    plan: BatchPlan = field(default_factory=BatchPlan)
    # The outcome of each batch that was sent, by number, and the requests that reached the API.
    sent: dict[int, SendOutcome] = field(default_factory=dict)
    sent_requests: int = 0
    # Rows that got the stored answer of an equal row before they were sent.
    equal_rows: int = 0
    # Numbers of the batches that were polled.
    polled: set[int] = field(default_factory=set)
    # The newest poll, by number of the batch: failed with the reason, unknown to the API with its
    # message, and of an unclear create, which the next submission resolves.
    downloaded: list[int] = field(default_factory=list)
    waiting_batches: list[int] = field(default_factory=list)
    failed_polls: dict[int, str] = field(default_factory=dict)
    unknown_batches: dict[int, str] = field(default_factory=dict)
    unclear_batches: list[int] = field(default_factory=list)
    # The error that ended the newest poll early.
    poll_error: RemoteError | None = None
    # Why batches failed at the API, wholly or partly, without those that a person cancelled.
    failed_batches: dict[int, str] = field(default_factory=dict)
    ingested: list[IngestSummary] = field(default_factory=list)
    # The errors of held batches, which wait for a person.
    held_errors: list[HeldBatchError] = field(default_factory=list)

    # Calls: whether any were to be made, and why those for single rows asked nothing.
    has_calls: bool = False
    idle_reason: str = ""
    # Their number is that of ended batches that were or may have been paid for, as `costs`
    # counts them: without refused, unsent and overloaded (503) calls.
    calls: int = 0
    calls_cost: float = 0.0
    # Rows that calls answered.
    answered_by_calls: int = 0
    # Rows that got no valid answer and are not asked again by the calls, by reason, and the row id
    # (later the name) and reason of the first.
    failed: Counter[str] = field(default_factory=Counter)
    first_failures: list[tuple[str, str]] = field(default_factory=list)
    # Models that replied although another model was asked.
    other_models: set[str] = field(default_factory=set)
    # Number of the first batch of calls that was ingested.
    first_calls_batch: int | None = None
    # Open rows that the calls did not get to.
    unasked: int = 0
    # Outcomes of a trial by row id.
    trial_outcomes: dict[str, TrialOutcome] = field(default_factory=dict)

    # Newest quality report of each version.
    quality_reports: dict[str, QualityReport] = field(default_factory=dict)
    # Whether answers of the version in use failed a gate by far.
    is_hopeless: bool = False

    # Open rows, rows in open batches, and open rows that get the answer of an equal row in a batch.
    left: int = 0
    under_way: int = 0
    waiting: int = 0
    # Rows that were parked since the start.
    parked: int = 0
    # Known cost since the start of the run, or of the `tag` that it continues.
    spent: float = 0.0
    # Estimated cost since then of replies that were lost or have no readable token count.
    lost_usd: float = 0.0

    @property
    def answered(self) -> int:
        """Return how many rows got an answer, including answers of equal rows."""
        answered_in_batches = sum(summary.answered_rows for summary in self.ingested)
        return self.equal_rows + answered_in_batches + self.answered_by_calls

    @property
    def created_batches(self) -> list[int]:
        """Return the numbers of the batches that the run created or adopted."""
        return [number for number, outcome in self.sent.items() if outcome in CREATED_OUTCOMES]

    @property
    def is_down(self) -> bool:
        """Return whether all batches failed at the API, so that at most one more was sent."""
        return self.stop.reason is StopReason.BATCHES_FAILED

    @property
    def is_interrupted(self) -> bool:
        """Return whether a person interrupted the calls."""
        return self.stop.reason is StopReason.INTERRUPTED

    @property
    def is_poll_stopped(self) -> bool:
        """Return whether the newest poll could not go on, or a batch needs a person.

        A poll cannot go on if the API is down for too long or a daily quota is used up. A batch
        needs a person if the API does not know it, or if it is unclear whether the API created it.
        """
        return bool(self.poll_error or self.unknown_batches or self.unclear_batches)

    @property
    def rows_waiting_for_api(self) -> int:
        """Return how many open or prepared rows wait until the API accepts more."""
        return self.stop.rows if self.stop.reason is StopReason.API_FULL else 0

    @property
    def budget_message(self) -> str:
        """Return the message of the budget that stops open rows; empty if no budget does."""
        return self.stop.message if self.stop.reason is StopReason.BUDGET else ""

    @property
    def calls_error(self) -> AskrowsError | None:
        """Return the error that stopped the calls, other than that of a budget."""
        return self.stop.error if self.stop.reason is StopReason.CALLS_FAILED else None

    @property
    def newest_quality(self) -> QualityReport | None:
        """Return the newest quality report of the version that asks."""
        return self.quality_reports.get(self.version)

    @property
    def gate_errors(self) -> list[GateError]:
        """Return the error of each version that failed gates; its answers are stored."""
        errors = [quality.gate_error for quality in self.quality_reports.values()]
        return [error for error in errors if error is not None]

    @property
    def is_stopped_by_gate(self) -> bool:
        """Return whether rows stay open because the answers miss a gate by far."""
        return self.is_hopeless and self.left > 0

    @property
    def shared_members(self) -> dict[str, Any]:
        """Return the JSON members that `tag` and `work` share."""
        return {
            "failed": {str(number): reason for number, reason in self.failed_batches.items()},
            "held": {str(error.number): error.reason for error in self.held_errors},
            "ingested": {
                str(summary.batch.number): summary.answered_rows for summary in self.ingested
            },
            "parked": self.parked,
            "no_room": self.rows_waiting_for_api,
        }

    def record_calls_error(self, error: AskrowsError) -> None:
        """Record the error that stops the calls as the reason; an earlier reason stays.

        The reason is BUDGET for the error of a budget, else CALLS_FAILED.
        """
        if self.stop.reason is None:
            is_budget = isinstance(error, BudgetError)
            reason = StopReason.BUDGET if is_budget else StopReason.CALLS_FAILED
            self.stop = RunStop(reason, error=error)

    def count_failed_row(self, row_id: str, reason: str) -> None:
        """Count a row that failed and is not asked again by these calls.

        Rows are counted by the beginning of the reason, up to a colon and a blank. The first
        MAX_NAMED_FAILURES rows are kept with their reasons. A call that a person interrupted is
        counted as INTERRUPTED_REASON, and its row is not kept.
        """
        if self.is_interrupted and reason.endswith(INTERRUPTED_REASON):
            self.failed[INTERRUPTED_REASON] += 1
            return
        self.failed[reason.partition(": ")[0]] += 1
        if len(self.first_failures) < MAX_NAMED_FAILURES:
            self.first_failures.append((row_id, reason))

    def list_poll_errors(self, nouns: TaskNouns) -> list[AskrowsError]:
        """Return the errors of the newest poll, to be raised by the caller.

        The order is: an error for each batch that the API does not know, the error that ended the
        poll, and an error for each batch with an unclear create (it may or may not exist at the
        API). Empty if all went well.
        """
        errors: list[AskrowsError] = []
        for number, reason in self.unknown_batches.items():
            give_up = CommandHint("batch-cancel", batch=number)
            unknown_error = ConfigurationError(
                f"batch {number}: {reason}; the batch was not changed, and its rows stay claimed",
                hint="set GEMINI_API_KEY to a key of the project that created it (OpenAI: "
                "OPENAI_API_KEY), check the address of the API, and run the command again later; "
                f"or give up the batch, whose rows are then paid for again: {give_up}",
            )
            errors.append(unknown_error)

        if self.poll_error:
            errors.append(self.poll_error)

        hint = f"`{nouns.command('batch-submit')}` checks that"
        for number in self.unclear_batches:
            message = f"batch {number}: it is unclear whether it was created"
            errors.append(RemoteError(message, hint=hint))
        return errors

    def list_batch_errors(self, nouns: TaskNouns) -> list[RemoteError]:
        """Return an error for each batch that failed at the API."""
        return [
            RemoteError(
                f"batch {number} failed at the API ({reason})",
                hint=f"`{nouns.ask_command}` asks its open {nouns.plural} again",
            )
            for number, reason in self.failed_batches.items()
        ]

    def list_errors(self, nouns: TaskNouns, *, strict: bool = False) -> list[Failure]:
        """Return what stopped the run early, the most important first.

        The order is: the interrupt or error of the calls, the errors of the newest poll, all failed
        batches and the sentence of the stop if no batch succeeded, and held batches, whose replies
        seem to belong to other rows.
        Without any of these, the errors are those of gates that count.

        Args:
            nouns: Nouns of the task, for messages.
            strict: Any failed gate counts. Otherwise a failed gate counts only if the answers miss
                it by far and rows are open.
        """
        errors = list[Failure]()
        if self.is_interrupted:
            errors.append(KeyboardInterrupt())
        elif self.calls_error is not None:
            errors.append(self.calls_error)

        errors += self.list_poll_errors(nouns)
        if self.is_down:
            errors += self.list_batch_errors(nouns)
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
            errors += self.list_batch_errors(nouns)
        if not (strict or self.is_stopped_by_gate):
            errors += self.gate_errors
        return [f"{error.message}; {error.hint}" for error in errors]


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

        If no row was open, the title says so. Also warns of a budget that stopped rows, of other
        models that answered, and of the first rows without an answer.

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
        """Return the rows by outcome and the cost in words.

        It is the cost of the batches and calls of this command. If it has neither, it is the amount
        spent since the start of the run.
        """
        figures = {"lost": self.lost_usd, "calls": self.calls, "cost": self.reported_cost}
        if self.reported_cost is None:
            figures["cost"] = self.spent
        rows = nouns.singular if self.under_way == 1 else nouns.plural
        counts = {
            nouns.answered: self.answered,
            "parked": self.parked,
            f"{rows} in unfinished batches": self.under_way,
            f"waiting for the answers of equal {nouns.plural}": self.waiting,
            "waiting until the API accepts more tokens": self.rows_waiting_for_api,
            # The rows that wait for equal rows are open, too, and are counted once.
            "still open": self.left - self.waiting,
        }
        cost = format_members_as_phrase(figures, "calls spent=cost perhaps_lost=lost")
        return f"{format_counts(counts) or 'no row answered'}; {cost}"

    def document(self) -> dict[str, Any]:
        """Return the report as JSON members; a pilot's report has fewer, with its quality."""
        quality = self.newest_quality
        calls = {
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
        quality_members = {
            "passed": None if quality is None else quality.passed,
            "report": None if quality is None else str(quality.path),
        }
        if self.drawn_pilot is not None:
            return {
                "pilot": self.drawn_pilot.number,
                "version": self.drawn_pilot.version,
                "drawn": self.asked,
                "seed": self.drawn_pilot.seed,
                "ingested": self.shared_members["ingested"],
                **quality_members,
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
            "under_way": self.under_way,
            "held_back": "" if self.stop.reason in CALL_STOPS else self.stop.message,
            "out_of_money": self.budget_message,
            "is_over": not self.left and not self.under_way,
            "is_down": self.is_down,
            "cost": self.reported_cost,
            "spent": self.spent,
            "pilot": None if self.pilot is None else self.pilot.document(),
            "live": calls if self.has_calls else None,
            **self.shared_members,
            **quality_members,
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
