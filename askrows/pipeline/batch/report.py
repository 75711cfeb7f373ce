"""Report on batches and runs: the list, waits, costs, prices of models, and due rows.

- The cost of an ingested batch comes from its token usage, and counts on the day it was sent.
- A live run counts on the day it began, and a duplicate on the day it was found.
- A batch that ended without a reply is reported separately at its estimate: it may have been paid.
- Embeddings are not in the costs.
- Batches of the local engine do not wait: they run when a command looks at them.
- Only the database and the models file are read, and nothing is sent.
- The report of a run is about an API batch, or about all batches of a live run, which is one
  command that makes single calls.
- A trial is a live batch whose answers are not stored. A batch is held if its replies belong to
  other requests.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from askrows.pipeline.batch.ingest_report import IngestSummary, summarize_batches
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.report import EstimatedCost, Report, make_table
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.core.states import BatchState, Mode, Outcome, describe_reason
from askrows.pipeline.core.text import format_duration, format_usd, plural
from askrows.pipeline.provider.models import Model, load_models
from askrows.pipeline.provider.providers import find_provider
from askrows.pipeline.provider.service import choose_backend_by_model_or_keys
from askrows.pipeline.rows.row_state import RowState
from askrows.pipeline.store import answer_counts, answers, batches, claims, money, workspace
from askrows.pipeline.store.batches import CANCEL_REASONS, BatchRow
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.tasks import claiming
from askrows.pipeline.tasks.task import Task

# Columns of a batch that are members of its JSON document after the version, in this order.
BATCH_DOCUMENT_COLUMNS = (
    "model",
    "reason",
    "created_at",
    "submitted_at",
    "ended_at",
    "remote_name",
    "remote_word",
    "remote_done",
    "remote_failed",
    "tries",
    "requests",
    "estimated_in",
    "estimated_out",
    "estimated_cost",
    "priced_on",
    *batches.INGEST_COLUMNS,
    "held",
    "control_requests",
    "control_cost",
)
# Columns of the lists of batches, costs and models; see `make_table`.
BATCH_COLUMNS = (
    "batch=number task state remote=remote_name rows=requests done cost started=created_at "
    "duration=age_s reason"
)
COST_COLUMNS = (
    "batches live_calls=calls tokens_in tokens_out cost lost_calls perhaps_lost=lost under_way"
)
PRICE_COLUMNS = (
    "model use live=live_price batch=batch_price RPM=rpm TPM=tpm RPD=rpd "
    "enqueued=enqueued_tokens until=shutdown"
)
# How costs may be grouped.
COST_KEYS = ("day", "task", "model", "batch")
# The figures of a row of costs.
COST_FIGURES = (
    "batches",
    "calls",
    "lost_calls",
    "tokens_in",
    "tokens_out",
    "cost",
    "lost",
    "under_way",
)


# Outcomes of a request without an answer.
FAILED_OUTCOMES = (Outcome.REFUSED, Outcome.INVALID, Outcome.MISSING)
CANCELLED_WORD = "cancelled"
# Members of a state change in the JSON document.
MOVE_MEMBERS = ("at", "old", "new", "why")
# Members of a run in the JSON document: attributes of the summary of its batches.
SUMMARY_FIELD_NAMES = ("unapplied", "rejected", "outdated", "other_versions")


class BatchSummary(NamedTuple):
    """One batch, or all batches of a live run, with its age and cost."""

    batch: BatchRow
    # Time since the batch was prepared; for a batch that is over, until it ended.
    age: timedelta
    # In USD: the actual cost if `is_actual`, else the estimated cost.
    cost: float
    is_actual: bool

    def __repr__(self) -> str:
        """Return number, task, state, size and cost in one line."""
        batch = self.batch
        return (
            f"<batch {batch.number} of {batch.task}: {batch.state}, "
            f"{plural(batch.requests, 'request')}, {format_usd(self.cost)}>"
        )

    @property
    def done_text(self) -> str:
        """Return the number of finished requests as text.

        It is the answers of an ingested batch, else the requests finished at the API, else "-".
        """
        done_count = self.batch.answered
        if done_count is None:
            done_count = self.batch.remote_done
        return "-" if done_count is None else str(done_count)

    @property
    def age_words(self) -> str:
        """Return the age in words; "-" if it is negative, because a clock was set back."""
        seconds = self.age.total_seconds()
        return "-" if seconds < 0 else format_duration(seconds)

    @property
    def document(self) -> dict[str, Any]:
        """Return the batch for JSON: columns, state, cost in USD, age in seconds.

        The columns are number, mode, task, version and BATCH_DOCUMENT_COLUMNS. If `cost_is_actual`
        is false, the cost is an estimate.
        """
        members = {name: getattr(self.batch, name) for name in BATCH_DOCUMENT_COLUMNS}
        return {
            "number": self.batch.number,
            "mode": self.batch.mode,
            "task": self.batch.task,
            "version": self.batch.version,
            **members,
            "state": self.batch.state.value,
            "cost": self.cost,
            "cost_is_actual": self.is_actual,
            "age_s": round(self.age.total_seconds()),
        }

    @property
    def table_row(self) -> dict[str, Any]:
        """Return the batch as a row of BATCH_COLUMNS, with a tilde before an estimated cost.

        The reason of a held batch is the reason of the hold.
        """
        columns = {**self.document, "done": self.done_text}
        if not self.is_actual:
            columns["cost"] = EstimatedCost(self.cost)
        if self.batch.is_held:
            columns["reason"] = f"held: {self.batch.held}"
        return columns


def report_batches(run: Run) -> Report:
    """Report the batches of all tasks, or only of the task in use if TASK= is set."""
    summaries = list_batches(run.workspace.store, now=run.workspace.now())
    if "task" in run.workspace.settings.sources:
        summaries = [summary for summary in summaries if summary.batch.task == run.task.name]
    table = make_table((summary.table_row for summary in summaries), BATCH_COLUMNS)
    return Report([summary.document for summary in summaries], parts=[table])


def list_batches(store: Store, *, now: datetime) -> list[BatchSummary]:
    """Return a summary of every batch of all tasks, oldest first.

    The batches of a live run share a summary.
    """
    with store.read() as tx:
        all_batches = batches.combine_batches_by_run(batches.list_batches_in_states(tx))
    return [make_batch_summary(batch, now=now) for batch in all_batches]


def make_batch_summary(batch: BatchRow, *, now: datetime) -> BatchSummary:
    """Return a batch with its age and its cost.

    The cost in USD is the actual cost if it is stored, else the estimated cost; `is_actual` says
    which. A failed batch that was never created costs 0. The age is the time since the batch was
    prepared, and ends with the batch if the batch is over.
    """
    age = (batch.ended_at or now) - batch.created_at
    if batch.cost is not None:
        return BatchSummary(batch, age, batch.cost, is_actual=True)

    is_never_sent = batch.state is BatchState.FAILED and batch.remote_name is None
    estimated_cost = 0.0 if is_never_sent else batch.estimated_cost
    return BatchSummary(batch, age, estimated_cost, is_actual=False)


def report_costs(run: Run, group_key: str) -> Report:
    """Report the spending of all tasks, or only of the task in use if TASK= is set.

    The last row of the table is the total.

    Args:
        group_key: The group of a row: one of COST_KEYS.
    """
    task_name = run.task.name if "task" in run.workspace.settings.sources else None
    figures = summarize_costs(
        run.workspace.store, run.tasks, group_key=group_key, task_name=task_name
    )
    total_row = {group_key: "all"} | figures["total"]
    group_column = group_key
    if group_key == "day":
        group_column = f"day_({run.workspace.provider.timezone_name})=day"
    table = make_table([*figures["rows"], total_row], f"{group_column} {COST_COLUMNS}")
    return Report(figures, parts=[table])


def summarize_costs(
    store: Store,
    tasks: Sequence[Task],
    *,
    group_key: str,
    task_name: str | None = None,
) -> dict[str, Any]:
    """Return the spending, for JSON, from a single snapshot of the database.

    Args:
        tasks: Their stored names are replaced by the names that users type. The spending of all
            other tasks is included under their stored names.
        group_key: The group of a row: one of COST_KEYS.
        task_name: The stored name of the only task to count, or None for all tasks.

    Returns:
        `by`, which is the group key, `rows` in the order of their keys (numbers by value, before
        texts), and `total`. Rows and total have COST_FIGURES: counts of batches and live calls,
        tokens, the known USD, the USD that lost replies may have cost, and the estimated USD of
        running batches.
    """
    subjects = {task.name: task.subject for task in tasks}
    rows = defaultdict[str, Counter[str]](Counter)
    total = Counter[str]()
    with store.read() as tx:
        for group_keys, figures in _iterate_costs_with_group_keys(tx, subjects, task_name):
            rows[group_keys[group_key]].update(figures)
            total.update(figures)

    # Numbers by value come before all other texts.
    ordered_keys = sorted(rows, key=lambda key: (int(key) if key.isdecimal() else math.inf, key))
    return {
        "by": group_key,
        "rows": [{group_key: key} | _round_figures(rows[key]) for key in ordered_keys],
        "total": _round_figures(total),
    }


def _round_figures(amounts: Mapping[str, float]) -> dict[str, float]:
    """Return all COST_FIGURES, rounded to six decimals; missing amounts are 0."""
    return {name: round(amounts.get(name, 0), 6) for name in COST_FIGURES}


def _iterate_costs_with_group_keys(
    tx: Connection,
    subjects: Mapping[str, str],
    task_name: str | None,
) -> Iterator[tuple[dict[str, str], dict[str, float]]]:
    """Yield the cost of each batch that was sent, then of each duplicate.

    A batch counts on the day of its create call, a duplicate on the day it was found. A duplicate
    has only its estimate, as a cost that is perhaps lost. Prepared batches, and batches without a
    create call, are left out. Live batches do not add to the figure `batches`.
    For the member `batch` of COST_KEYS, the key is the number of the batch, except:

    - All batches of a live run have the number of its first batch.
    - All trials, which test prompts, have the key "trials".

    Args:
        subjects: Task name to the name that users type.
        task_name: The name of the only task to count, or None for all tasks.

    Yields:
        A key for each of COST_KEYS, and all COST_FIGURES of a batch, or only `lost` of a duplicate.
    """
    provider = find_provider(workspace.read_workspace(tx).backend)
    keys_by_batch: dict[int, dict[str, str]] = {}
    for batch in batches.list_batches_in_states(tx, task=task_name):
        keys = {
            "day": provider.quota_day(batch.create_sent_at or batch.created_at).isoformat(),
            "task": subjects.get(batch.task, batch.task),
            "model": batch.model,
            "batch": "trials" if batch.mode is Mode.TRIAL else str(batch.run or batch.number),
        }
        keys_by_batch[batch.number] = keys
        if batch.create_sent_at is None or batch.state is BatchState.PREPARED:
            continue

        spending = money.calculate_batch_spending(batch)
        yield (
            keys,
            {
                "batches": int(batch.mode is Mode.BATCH),
                "calls": batch.calls,
                "lost_calls": money.count_lost_calls(batch),
                "tokens_in": batch.tokens_in or 0,
                "tokens_out": batch.tokens_out or 0,
                "cost": spending.known_usd,
                "lost": spending.lost_usd,
                "under_way": spending.under_way_usd,
            },
        )

    for duplicate in batches.list_duplicates(tx):
        if duplicate["batch"] in keys_by_batch:
            found_day = provider.quota_day(duplicate["found_at"]).isoformat()
            keys = {**keys_by_batch[duplicate["batch"]], "day": found_day}
            yield keys, {"lost": duplicate["estimated_cost"]}


def report_prices(settings: Settings, *, day: date) -> Report:
    """Report every model of the catalogue: its use, limits, and prices on a day.

    Models are in the order of the catalogue, and those of the user's file come last. `live` and
    `batch` have the prices of live calls and of batches, as `in` and `out`, in USD per million
    tokens. `use` is "answers", "embeds" or "decides" for the models of the settings, else None.
    Rate limits are those of the catalogue. For the model that answers, limits that the settings
    have replace them.
    """
    settings = settings.copy_with_backend_defaults(choose_backend_by_model_or_keys(settings))
    uses = {
        settings.model.removeprefix("models/"): "answers",
        settings.embedding_model.removeprefix("models/"): "embeds",
        settings.decision_model.removeprefix("models/"): "decides",
    }
    own_limits = {"rpm": settings.rpm, "tpm": settings.tpm, "rpd": settings.rpd}
    documents = list[dict[str, Any]]()
    for model in load_models(settings.models_file).values():
        use = uses.get(model.name)
        model_limits = own_limits if use == "answers" else {}
        limits = model.find_rate_limits(settings.tier, **model_limits)._asdict()
        limits["tier"] = settings.tier
        limits["enqueued_tokens"] = model.find_max_enqueued_tokens(settings.tier)
        document = {
            "model": model.name,
            "use": use,
            "successor": model.successor or None,
            "limits": limits,
            "kind": model.kind,
            "source": model.source,
            "priced_on": model.priced_on,
            "shutdown": model.shutdown,
            "live": _make_price_members(model, Mode.LIVE, day=day),
            "batch": _make_price_members(model, Mode.BATCH, day=day),
            "unit": "USD per 1M tokens",
        }
        documents.append(document)

    models = [
        {
            **document["limits"],
            **document,
            "live_price": "{in:g}/{out:g}".format_map(document["live"]),
            "batch_price": "{in:g}/{out:g}".format_map(document["batch"]),
        }
        for document in documents
    ]
    note = "live, batch: USD per 1M tokens in/out; RPM, TPM: a minute; RPD: a day"
    return Report(documents, parts=[make_table(models, PRICE_COLUMNS)], notes=[note])


def _make_price_members(model: Model, mode: Mode, *, day: date) -> dict[str, Any]:
    """Return a model's prices of prompt (`in`) and answer tokens (`out`) in a mode."""
    prices = model.find_prices(mode.facts.tier, day=day)
    return {"in": prices.prompt, "out": prices.answer}


def list_due_retries(tx: Connection, task: Task) -> list[dict[str, Any]]:
    """Return the due rows for JSON, oldest first: open rows that failed when they were asked alone.

    Returns:
        For each row the name that users know, the time of its first failure, the reason, and its
        number of tries.
    """
    due_ids = set(claiming.find_due_ids(tx, task))
    names = task.rows.read_names(tx, list(due_ids))
    return [
        {
            "name": names[retry.row_id],
            "since": retry.first_failed_at.isoformat(),
            "reason": retry.reason,
            "tries": retry.tries,
        }
        for retry in claims.iterate_rows_with_failed_single_calls(tx, task.name)
        if retry.row_id in due_ids
    ]


@dataclass(frozen=True)
class RunReport:
    """A run with the outcomes of its requests."""

    # The batch, or the sums of all batches of a live run.
    batch: BatchRow
    # The numbers of its batches, in ascending order.
    numbers: Sequence[int]
    # Requests by outcome, of FAILED_OUTCOMES.
    failures: Mapping[str, int]

    @property
    def outcome_counts(self) -> dict[str, int]:
        """Return the numbers of answered, failed and waiting requests, which are all requests."""
        answered_count = self.batch.answered or 0
        other_count = self.batch.requests - answered_count
        failed_count = min(sum(self.failures.values()), other_count)
        return {
            "answered": answered_count,
            "failed": failed_count,
            "waiting": other_count - failed_count,
        }

    @property
    def state_word(self) -> str:
        """Return the state of the run, or CANCELLED_WORD if a person cancelled it, or "held"."""
        if (self.batch.reason or "").startswith(CANCEL_REASONS):
            return CANCELLED_WORD
        if self.batch.is_held:
            return "held"
        return str(self.batch.state)

    def summarize(self, tx: Connection, task: Task) -> IngestSummary:
        """Return the problems of the run by reason."""
        return summarize_batches(tx, task, self.numbers)

    def describe_hold_or_commonest_failure(self, tx: Connection, task: Task) -> str:
        """Return "12 of 30 failed: REASON" with the most frequent reason of the failed requests.

        The text is "" if no request failed. If the run is held, the text is "held: REASON".
        """
        if self.batch.is_held:
            return f"held: {self.batch.held}"
        failed_count = self.outcome_counts["failed"]
        if not failed_count:
            return ""
        for anomaly in self.summarize(tx, task).anomalies:
            if anomaly.outcome in FAILED_OUTCOMES:
                reason = describe_reason(anomaly.reason)
                return f"{anomaly.count:,} of {failed_count:,} failed: {reason}"
        return ""

    def make_document(self, tx: Connection, task: Task, now: datetime) -> dict[str, Any]:
        """Return the run as JSON members: its summary, state changes and errors.

        - The members of `BatchSummary.document`.
        - `moves`: the state changes of its first and last batch, sorted by time.
        - `reasons`: the errors of all batches.
        - `is_over`: whether the run has ended.
        - `unapplied`: names of rows whose answers were not written to the row.
        - `rejected`: those of them whose input did not change.
        - `outdated`: names of rows that changed after they were asked.
        - `other_versions`: models that answered although another model was asked.
        """
        summary = self.summarize(tx, task)
        moves = list[dict[str, Any]]()
        for number in sorted({self.numbers[0], self.numbers[-1]}):
            for event in workspace.list_events(tx, "batch", number):
                moves.append({name: event[name] for name in MOVE_MEMBERS})
        return {
            **make_batch_summary(self.batch, now=now).document,
            "moves": sorted(moves, key=lambda move: move["at"]),
            "is_over": self.batch.is_finished,
            "reasons": [asdict(anomaly) for anomaly in summary.anomalies],
            **{name: getattr(summary, name) for name in SUMMARY_FIELD_NAMES},
        }

    def list_row_ids(self, tx: Connection) -> list[str]:
        """Return the id of each row that the run asked, once; shorter ids come first."""
        ended_ids = answers.list_ended_row_ids(tx, self.numbers)
        row_ids = {*ended_ids, *claims.list_claimed_row_ids(tx, self.numbers)}
        return sorted(row_ids, key=lambda row_id: (len(row_id), row_id))

    def list_failed_row_ids_to_ask(self, tx: Connection, task: Task) -> list[str]:
        """Return the id of each row that failed and is open, stale or parked now.

        Shorter ids come first.
        """
        attempts = answers.iterate_failed_attempts(tx, self.numbers)
        failed_ids = dict.fromkeys(attempt.row_id for attempt in attempts)
        table = task.rows
        states_to_ask = (RowState.OPEN, RowState.STALE, RowState.PARKED)
        words_to_ask = {table.find_state_word(state) for state in states_to_ask}
        rows = table.read_by_ids(tx, list(failed_ids), [table.row_id, table.state_expression])
        ids_to_ask = {row_id for row_id, word in rows if word in words_to_ask}
        return [row_id for row_id in failed_ids if row_id in ids_to_ask]


def make_run_report(tx: Connection, parts: Sequence[BatchRow]) -> RunReport:
    """Return the report on the run that consists of these batches.

    The failures of a batch that failed at the API are counted from the stored errors, because it
    has no result file.

    Args:
        parts: The batches of one run, or a single batch, sorted by number; at least one.
    """
    failures = Counter[str](dict.fromkeys(FAILED_OUTCOMES, 0))
    for part in parts:
        counts: Mapping[str, int] = vars(part)
        if part.state is BatchState.FAILED:
            counts = answer_counts.count_requests_by_batch_and_outcome(tx, part.number).get(
                part.number, {}
            )
        failures.update({outcome: counts.get(outcome) or 0 for outcome in FAILED_OUTCOMES})
    return RunReport(batches.combine_batches(parts), [part.number for part in parts], failures)


def read_run_report(tx: Connection, batch_number: int) -> RunReport:
    """Return the run of a batch: all batches of its live run, or the batch alone.

    Raises:
        InputError: There is no batch of this number.
    """
    batch = batches.get_batch(tx, batch_number)
    task_batches = batches.list_batches_in_states(tx, task=batch.task)
    for parts in batches.group_batches_by_run(task_batches):
        if batch in parts:
            return make_run_report(tx, parts)
    return make_run_report(tx, [batch])


def list_newest_run_reports(tx: Connection, *, limit: int) -> list[RunReport]:
    """Return the newest runs of all tasks except trials, the newest first."""
    all_batches = batches.list_batches_in_states(tx)
    runs = batches.group_batches_by_run(all_batches)
    newest_runs = runs[: -limit - 1 : -1]
    return [make_run_report(tx, parts) for parts in newest_runs]
