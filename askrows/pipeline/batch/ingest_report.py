"""Summarize an ingested batch from the database: failures by reason, and odd lines.

- Requests are grouped by outcome and reason, with a few examples.
- Examples of unmatched result lines are not stored; only the ingest has them.
- Nothing here writes.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any, NamedTuple

from askrows.pipeline.core.errors import AccountError, RemoteError, RequestFormError
from askrows.pipeline.core.states import Mode, Outcome
from askrows.pipeline.core.text import join_first, plural
from askrows.pipeline.provider.responses import WRONG_FORM_REASON, ParsedReply
from askrows.pipeline.store import answers, batches
from askrows.pipeline.store.batches import BatchRow
from askrows.pipeline.store.database import Connection
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_values import TaskNouns

MAX_EXAMPLES = 3
# Unmatched result lines: kind, name of their count in the row of the batch, description.
UNMATCHED_LINE_KINDS = (
    ("unknown", "unknown", "unknown key"),
    ("duplicate", "duplicates", "second line for the same key"),
    ("unreadable", "unreadable", "not JSON, and without a key"),
)
# A control request asks for a text, to show that replies are not mixed up.
UNPROVEN_REASON = "not answered with its text, so that it proves nothing"


# Rows named in the warning about answers for an earlier input.
MAX_OUTDATED_ROWS_SHOWN = 10

# Members of an ingested batch in the JSON document: attributes of the batch.
BATCH_COUNT_NAMES = (
    "requests",
    *batches.INGEST_COLUMNS,
    "cost",
    "control_requests",
    "control_cost",
)
# Further members: attributes of the batch's summary.
SUMMARY_FIELD_NAMES = (
    "unapplied",
    "outdated",
    "other_versions",
    "equal_rows",
    "left_out_values",
)


@dataclass(frozen=True)
class Anomaly:
    """A kind of problem in a batch."""

    # The outcome of the requests, the kind of unmatched result lines, or "control".
    outcome: str
    reason: str
    count: int
    # Up to MAX_EXAMPLES pairs of a row's name, or a line number, and an excerpt.
    examples: tuple[tuple[str, str], ...]


class FailureError(NamedTuple):
    """An error line of a failed request."""

    code: int
    # It is about billing or permissions of the key's project.
    is_of_account: bool
    # It is about the form that all requests share.
    is_of_form: bool


@dataclass
class IngestSummary:
    """Result of an ingested batch. The four outcomes in `batch` add up to its requests."""

    batch: BatchRow
    anomalies: list[Anomaly] = field(default_factory=list)
    # Names of rows whose answer was not applied.
    unapplied: list[str] = field(default_factory=list)
    # Unapplied rows with an unchanged input: the row was removed, answered meanwhile or parked.
    rejected: list[str] = field(default_factory=list)
    # Names of rows whose input changed after the request was written.
    outdated: list[str] = field(default_factory=list)
    # Model versions that answered and are not of the model that was asked.
    other_versions: list[str] = field(default_factory=list)
    # Rows with the same input as a row of the batch, which got its answer.
    equal_rows: int = 0
    # Values of answers beyond the number that an answer may have.
    left_out_values: int = 0
    # Failed requests by error, and the first reply with each error.
    error_counts: Counter[FailureError] = field(default_factory=Counter)
    first_replies: dict[FailureError, ParsedReply] = field(default_factory=dict)

    @property
    def answered_rows(self) -> int:
        """Return how many rows the batch answered, including equal rows."""
        return self.batch.applied_answers + self.equal_rows

    @property
    def document(self) -> dict[str, Any]:
        """Return the batch for JSON: its counts and cost, its problems, and odd answers."""
        return {
            "batch": self.batch.number,
            **{name: getattr(self.batch, name) for name in BATCH_COUNT_NAMES},
            "reasons": [asdict(anomaly) for anomaly in self.anomalies],
            **{name: getattr(self, name) for name in SUMMARY_FIELD_NAMES},
        }

    def iterate_warnings(self, nouns: TaskNouns) -> Iterator[str]:
        """Yield a warning for each kind of unusual answers of the batch.

        These are unmatched result lines, answers that were not applied (the row was removed,
        parked, answered meanwhile, or refused by the table of `write_to=`), answers whose row
        changed after the request, and answers of a model that was not requested. At most
        MAX_OUTDATED_ROWS_SHOWN changed rows are named.
        """
        batch = self.batch
        if batch.unmatched_lines:
            counts = [
                f"{description}: {getattr(batch, column):,}"
                for _, column, description in UNMATCHED_LINE_KINDS
                if getattr(batch, column)
            ]
            yield (
                f"{plural(batch.unmatched_lines, 'result line')} not stored, and not in the known "
                f"cost ({'; '.join(counts)})"
            )
        if self.rejected:
            rejected_count = plural(len(self.rejected), "answer")
            yield (
                f"{rejected_count} not applied ({join_first(self.rejected)}): "
                f"the {nouns.singular} was removed, answered meanwhile, parked, "
                "or refused by your table; "
                f"`{nouns.command('parked')}` lists reasons"
            )
        if self.outdated:
            row_names = join_first(self.outdated, MAX_OUTDATED_ROWS_SHOWN)
            yield f"the {nouns.input_noun} changed after the request: {row_names}"
        if self.other_versions:
            yield f"asked {batch.model}, answered by {', '.join(self.other_versions)}"

    def make_error_to_raise(self, nouns: TaskNouns) -> RemoteError | None:
        """Return the error to raise after a batch was stored; None without one, or if it was live.

        The first of these that applies is returned:

        1. AccountError, if any request failed because of the account.
        2. RequestFormError, if any request was refused for the form that all requests share.
        3. RemoteError, if all of at least two requests failed with the same error. Its hint is to
           change the model or the task if another try cannot help, else to try again later.
        """
        if self.batch.mode is not Mode.BATCH:
            return None
        account_errors = sorted(error for error in self.first_replies if error.is_of_account)
        if account_errors:
            count = sum(self.error_counts[error] for error in account_errors)
            reasons = "; ".join(
                f"code {error.code}: {self.first_replies[error].excerpt}"
                for error in account_errors
            )
            return AccountError(
                f"{self._describe_requests(count)} failed with {reasons}; no row was charged",
                hint="check billing and the permissions of the key's project, "
                f"then `{nouns.ask_command}` asks these rows again",
            )

        request_count = self.batch.requests
        form_error = next((error for error in self.first_replies if error.is_of_form), None)
        if form_error is not None:
            return RequestFormError(
                f"{self._describe_requests(self.error_counts[form_error])} were refused alike: "
                f"{self.first_replies[form_error].excerpt}; no row was charged",
                hint=f"change the answer or the settings of the task, then `{nouns.ask_command}` "
                "asks these rows again",
            )
        if request_count == 1 or request_count not in self.error_counts.values():
            return None

        [(error, common)] = self.first_replies.items()
        hint = f"run `{nouns.ask_command}` again later"
        if common.is_final:
            unpark = nouns.command("unpark", all=True)
            hint = f"change the model or the task, then `{unpark}` lets these rows be asked again"
        return RemoteError(
            f"{self._describe_requests(request_count)} failed with code {error.code}: "
            f"{common.excerpt}",
            hint=hint,
        )

    def _describe_requests(self, count: int) -> str:
        """Return how many requests of the batch these are, and the number of the batch."""
        all_count = self.batch.requests
        requests_text = f"{count:,} of {all_count:,} requests"
        if count == all_count:
            requests_text = f"all {count:,} requests" if count > 1 else "the only request"
        return f"{requests_text} of batch {self.batch.number}"


def summarize_batches(
    tx: Connection,
    task: Task,
    numbers: Sequence[int],
    *,
    examples: Mapping[str, Sequence[tuple[int, str]]] | None = None,
    unproven_controls: int = 0,
    equal_rows: int = 0,
    left_out_values: int = 0,
) -> IngestSummary:
    """Return the summary of a batch, or of a live run: its problems by reason, with examples.

    Unmatched result lines come first, then control requests that prove nothing, then
    failed attempts, the most frequent reason first. Nothing is written.

    Args:
        numbers: The number of a batch, or those of all batches of a live run.
        examples: Kind of unmatched result lines, to pairs of line number and excerpt. Only
            an ingest knows them; they are not stored.
        unproven_controls: Number of control requests that prove nothing; it is not stored either.
        equal_rows: Number of other rows with the same inputs that got an answer; not stored.
        left_out_values: Number of values beyond the number that an answer may have; not stored.
    """
    batch = batches.combine_batches([batches.get_batch(tx, number) for number in numbers])
    unapplied_ids, outdated_ids, other_versions = answers.find_answer_anomalies(
        tx,
        numbers,
        model=batch.model,
    )
    names = task.rows.read_names(tx, [*unapplied_ids, *outdated_ids])
    # Several rows can have the same name, so ids distinguish the rows.
    outdated_id_set = set(outdated_ids)

    anomalies = []
    for kind, column, description in UNMATCHED_LINE_KINDS:
        line_count = getattr(batch, column)
        if line_count:
            line_examples = (examples or {}).get(kind, ())
            named_examples = tuple((f"line {line}", excerpt) for line, excerpt in line_examples)
            anomalies.append(Anomaly(kind, description, line_count, named_examples))
    if unproven_controls:
        anomalies.append(Anomaly("control", UNPROVEN_REASON, unproven_controls, ()))

    summary = IngestSummary(
        batch,
        anomalies,
        unapplied=[names.get(row_id, row_id) for row_id in unapplied_ids],
        rejected=[
            names.get(row_id, row_id) for row_id in unapplied_ids if row_id not in outdated_id_set
        ],
        outdated=[names.get(row_id, row_id) for row_id in outdated_ids],
        other_versions=other_versions,
        equal_rows=equal_rows,
        left_out_values=left_out_values,
    )
    _add_failures_by_reason(tx, task, summary, numbers)
    return summary


def _add_failures_by_reason(
    tx: Connection,
    task: Task,
    summary: IngestSummary,
    numbers: Sequence[int],
) -> None:
    """Add the failed attempts of batches to their summary: an anomaly per group, largest first.

    Attempts are in the same group if they have the same outcome, error code and beginning of the
    reason, up to its first colon. The first MAX_EXAMPLES attempts of each group are its examples.
    Attempts with an error code are also counted in the summary's `error_counts`, and the first of
    each error is kept in `first_replies`.
    """
    counts = Counter[tuple[str, str]]()
    # Row id and excerpt of the first attempts of each group.
    examples = defaultdict[tuple[str, str], list[tuple[str, str]]](list)
    for attempt in answers.iterate_failed_attempts(tx, numbers):
        outcome, reason, code, row_id, excerpt = attempt
        if code is not None:
            reply = ParsedReply(Outcome.REFUSED, reason, rpc_code=code, excerpt_source=excerpt)
            is_of_form = reason == WRONG_FORM_REASON
            error = FailureError(code, reply.is_account_failure and not is_of_form, is_of_form)
            summary.error_counts[error] += 1
            summary.first_replies.setdefault(error, reply)
        short_reason, _, detail = reason.partition(": ")
        group = (outcome, short_reason if code is None else f"{short_reason}, code {code}")
        counts[group] += 1
        if counts[group] <= MAX_EXAMPLES:
            text = " | ".join(part for part in (detail, excerpt) if part)
            examples[group].append((row_id, text))

    row_ids = [row_id for row_id, _ in chain.from_iterable(examples.values())]
    names = task.rows.read_names(tx, row_ids)
    for group, count in sorted(counts.items(), key=lambda group: (-group[1], group[0])):
        named_examples = tuple(
            (names.get(row_id, row_id), text) for row_id, text in examples[group]
        )
        summary.anomalies.append(Anomaly(*group, count, named_examples))
