"""Ask about a few rows by live calls, and show each request and reply to a person.

- A trial only validates the replies and stores no answer. The workspace stores a trial batch, which
  counts against all budgets and quotas, and its cost. So rows can be tried that are answered,
  parked or claimed.
- `ask_and_store` is the exception: it asks open rows and stores their answers.
- If the task's file changed under a version that has answers, the draft is tried: the task as the
  file declares it now. Its rows are those that were last read.
- The mode decide asks a decision model about the fields, which all have a fixed choice.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from askrows.pipeline.batch import batch_files, budget
from askrows.pipeline.batch.batch_plan import BatchPlan, Selection
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import RunResult, TrialOutcome
from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.errors import AskrowsError, InputError, QuestionChangedError
from askrows.pipeline.core.quotes import format_value_for_people
from askrows.pipeline.core.report import Failure, Report, make_document_parts
from askrows.pipeline.core.states import SINGLE_ROW_MODES, STANDARD, Mode, Outcome
from askrows.pipeline.core.text import format_usd, make_short_repr, plural, shorten
from askrows.pipeline.provider import requests
from askrows.pipeline.provider.usage import NO_USAGE, calculate_cost
from askrows.pipeline.quality import evaluate, pilot
from askrows.pipeline.quality.right_value_accuracy import (
    FieldComparison,
    compare_with_right_values,
    make_comparison_documents,
    read_valid_right_values,
)
from askrows.pipeline.run import live, preflight
from askrows.pipeline.store import request_history
from askrows.pipeline.store.claims import RowClaim
from askrows.pipeline.store.database import Connection
from askrows.pipeline.store.task_record import belongs_to_version
from askrows.pipeline.tasks import claiming, task_registry
from askrows.pipeline.tasks.request_builder import (
    PlannedRequest,
    RequestBuilder,
    choose_response_parser,
)
from askrows.pipeline.tasks.request_outcomes import validate_reply
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_values import TaskNouns, TaskRow
from askrows.pipeline.workflows import labelled_rows

# How many rows are tried by default.
DEFAULT_ROW_COUNT = 3
OUTCOME_LOST = "lost"
OUTCOME_NOT_ASKED = "not asked"
OUTCOME_NOT_JUDGED = "not judged"
# Longer texts are cut for people.
MAX_TEXT_CHARS = 2_000
# Outcomes of rows whose reply was not judged.
UNJUDGED_OUTCOMES = (OUTCOME_NOT_ASKED, OUTCOME_LOST, OUTCOME_NOT_JUDGED)


@dataclass
class TriedRow:
    """One tried row: its request, and what came back."""

    id: str
    name: str
    # The request that was sent, as people read it.
    request: dict[str, Any]
    # An `Outcome`, "claimed", or one of UNJUDGED_OUTCOMES.
    outcome: str = OUTCOME_NOT_ASKED
    # Why there is no valid answer; empty if there is one.
    reason: str = ""
    # The answer as it would be stored.
    answer: dict[str, Any] | None = None
    # The probability of each field that a decision model answered.
    confidences: dict[str, float] = field(default_factory=dict)
    # Text of the reply, or the beginning of a reply without a text.
    reply: str = ""
    calls: int = 0
    # In USD.
    cost: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    # Duration of the call.
    seconds: float = 0.0

    __repr__ = make_short_repr


@dataclass(repr=False)
class TryReport:
    """Result of a try."""

    # Version that was tried.
    version: str
    # Schema of an answer, or the closed questions, as they are sent.
    schema: dict[str, Any]
    rows: list[TriedRow]
    # The error that ended the calls early.
    stopped: AskrowsError | None = None
    interrupted: bool = False
    # Rows beside these that got the answer of an equal row, because their input is equal.
    equal_rows: int = 0
    # Version whose draft was tried; empty if the question did not change.
    draft_of: str = ""
    # How often the answers to labelled rows are right, by field.
    accuracy: Sequence[FieldComparison] = ()

    def __repr__(self) -> str:
        """Return one line with the outcomes and the cost."""
        outcome_counts = Counter(row.outcome for row in self.rows).most_common()
        outcomes_text = ", ".join(f"{count} {outcome}" for outcome, count in outcome_counts)
        return f"<tried with {self.version}: {outcomes_text}; {format_usd(self.cost)}>"

    @property
    def cost(self) -> float:
        """Return the cost of all replies, in USD."""
        return sum(row.cost for row in self.rows)

    @property
    def document(self) -> dict[str, Any]:
        """Return the report as JSON members."""
        return {
            "version": self.version,
            "schema": self.schema,
            "cost": self.cost,
            "interrupted": self.interrupted,
            "draft_of": self.draft_of or None,
            "rows": [vars(row) for row in self.rows],
            "stopped": self.stopped.message if self.stopped else None,
            "accuracy": make_comparison_documents(self.accuracy),
        }

    @property
    def errors(self) -> list[Failure]:
        """Return what ended the calls early: an interrupt, a budget, a quota, or the service."""
        if self.interrupted:
            return [KeyboardInterrupt()]
        return [] if self.stopped is None else [self.stopped]

    def to_report(self, run: Run, *, mode: str) -> Report:
        """Return the report of `try`: prompt and schema, each row with its answer, and the cost.

        A reply is shown only if there is no valid answer.
        """
        nouns = run.task.nouns
        row_texts = [
            {
                "name": row.name,
                "request": list_prompt_texts(row.request),
                "reason": row.reason,
                "answer": row.answer,
                "confidences": row.confidences,
                "reply": shorten(row.reply, MAX_TEXT_CHARS) if row.answer is None else None,
            }
            for row in self.rows
        ]
        prompt = requests.read_system_text(self.rows[0].request)
        members = {
            **self.document,
            "prompt": shorten(prompt, MAX_TEXT_CHARS),
            "schema": format_value_for_people(self.schema),
            "row_texts": row_texts,
        }
        parts = make_document_parts(
            members, f"prompt schema {nouns.singular}=row_texts rows accuracy"
        )

        version = f"the draft {self.draft_of}" if self.draft_of else self.version
        asked_count = len([row for row in self.rows if row.calls])
        asked_rows = plural(asked_count, nouns.singular, nouns.plural)
        parts.append(
            f"{asked_rows} tried with {version}, {format_usd(self.cost)}; no answer was stored"
        )
        return Report(
            {**self.document, "placeholder": run.workspace.has_placeholder_answers},
            parts=parts,
            errors=self.errors,
            next_step=self._choose_next_step(nouns, mode=mode),
        )

    def _choose_next_step(self, nouns: TaskNouns, *, mode: str) -> CommandHint | str | None:
        """Return the step after a try; None for that of the task, "" if no answer is valid.

        After decisions, it is the command that asks all rows in the mode decide. If the question in
        the task's file differs from the question of its version (a draft), the next version number
        must be set in the file first.
        """
        if not any(row.calls and row.answer is not None for row in self.rows):
            return ""

        is_decided = mode == Mode.DECIDE
        ask_command = nouns.command("tag", mode=mode if is_decided else None)
        if self.draft_of:
            version_number = self.draft_of.partition("@")[2]
            return f"set version={int(version_number) + 1} in its file, then {ask_command}"
        return ask_command if is_decided else None


def list_prompt_texts(request: Mapping[str, Any]) -> list[str]:
    """Return the texts that a request sends about its row; an attachment is its description."""
    return [
        shorten(part["text"], MAX_TEXT_CHARS) if "text" in part else format_value_for_people(part)
        for part in requests.list_prompt_parts(request)
    ]


def try_task(
    run: Run,
    size: int = DEFAULT_ROW_COUNT,
    name: str | None = None,
    seed: int | None = None,
    *,
    mode: str = Mode.LIVE.value,
    labelled: bool = False,
) -> TryReport:
    """Sync the rows, then ask about a few of them; store the cost, but no answers.

    Prints the number of rows and the estimate before anything is spent. If the task's file changed
    under a version that has answers, the changed question is tried and the rows are not synced. The
    report compares answers with the right values of people.

    Args:
        run: The run.
        size: How many rows are asked if there is no `name`.
        name: Take only the row with this name.
        seed: Draw the rows at random with this seed. If None, take the first open rows, or draw
            rows if no row is open.
        mode: One of SINGLE_ROW_MODES.
        labelled: Ask labelled rows first, because their answers can be compared: up
            to `size` of them, drawn at random. If there are fewer, the rows above are added.

    Returns:
        The report. Errors of calls are stored in it and not raised.

    Raises:
        InputError: The row does not exist, there is no row to try, `labelled` is set and no row is
            labelled, or the estimate was not confirmed; nothing was asked.
        ConfigurationError: No key is set, the model does not exist, or GATES is invalid.
    """
    # Invalid gates are refused before anything is spent.
    evaluate.read_effective_gates(run.task, run.workspace.settings, tasks=run.tasks)
    draft_of = ""
    try:
        run = run.sync_task()
    except QuestionChangedError:
        # The task is tried as its file declares it now.
        draft_of = run.task.prompt_version
        draft = task_registry.load_draft_about_registered_rows(run.task, now=run.workspace.now())
        run = replace(run, task=draft)
    run = choose_single_row_mode(run, mode)
    with run.workspace.store.read() as tx:
        right_values_by_id = read_valid_right_values(tx, run.task)
        if labelled and not right_values_by_id:
            raise InputError(
                f"no {run.task.nouns.singular} is labelled, except examples in the prompt; "
                "nothing was asked",
                hint=labelled_rows.make_review_hint(run.task),
            )
        if name is not None:
            row_ids: Sequence[str] = [run.task.require_row_id(tx, name)]
        else:
            row_ids = _choose_row_ids_to_try(tx, run.task, run.version, size, seed)
        if labelled:
            row_ids = labelled_rows.put_labelled_first(
                right_values_by_id,
                row_ids,
                size=size,
                seed=seed,
            )

    run.announce_placeholders()
    report = try_rows(run, row_ids)
    report.draft_of = draft_of
    tried_answers = {row.id: row.answer for row in report.rows if row.answer is not None}
    report.accuracy = compare_with_right_values(right_values_by_id, [tried_answers])
    return report


def choose_single_row_mode(run: Run, mode: str) -> Run:
    """Return the run that asks a few rows in a mode: live or decide.

    Raises:
        InputError: There is no such mode for a few rows, or the mode is decide and the task has
            open fields; nothing was asked.
    """
    if mode not in SINGLE_ROW_MODES:
        raise InputError(
            f"there is no mode {mode!r} for a few rows; nothing was asked",
            hint=f"modes: {', '.join(SINGLE_ROW_MODES)}",
        )
    return run.copy_with_mode(Mode(mode))


class PlannedRows(NamedTuple):
    """Rows with their requests, before anything is asked."""

    # Schema of an answer, or the closed questions.
    schema: dict[str, Any]
    # Requests and rows, by row id.
    requests: Mapping[str, PlannedRequest]
    tried_rows: Mapping[str, TriedRow]
    # Estimated cost in USD.
    cost: float


def build_requests_and_estimate(run: Run, row_ids: Sequence[str]) -> PlannedRows:
    """Build a request for each of some rows in their order, and estimate the cost; ask nothing.

    The rows may be in any state; ids without a row are left out. The cost is that of live calls,
    corrected by past answers.

    Args:
        run: The run.
        row_ids: Ids of the rows.

    Raises:
        InputError: There is no row to ask about.
    """
    builder = RequestBuilder(run.task, run.model)
    with run.workspace.store.read() as tx:
        rows = run.task.read_rows(tx, row_ids)
        ordered_rows = {row_id: rows[row_id] for row_id in row_ids if row_id in rows}
        planned_requests = {
            request.row.id: request for request in builder.build_requests(tx, ordered_rows)
        }
        names = run.task.rows.read_names(tx, list(planned_requests))
        calibration = budget.measure_calibration(tx, run.version, run.task.fingerprint)

    if not planned_requests:
        run.check_has_rows()
        raise InputError(
            f"{run.task.nouns.none_open_message}; nothing was asked",
            hint=f"{OptionHint('row')} tries a {run.task.nouns.singular} in any state",
        )

    tried_rows = dict[str, TriedRow]()
    usage = NO_USAGE
    for row_id, request in planned_requests.items():
        shown_request = requests.parse_request(requests.replace_line_images_by_hashes(request.line))
        tried_rows[row_id] = TriedRow(row_id, names.get(row_id, row_id), shown_request)
        usage += request.usage
    request_count = len(planned_requests)
    likely_usage = calibration.correct_usage(usage, request_count=request_count)
    plan = BatchPlan(request_count, requests=request_count, usage=likely_usage)
    cost = preflight.estimate_plan(run, plan).live_cost
    return PlannedRows(builder.sent_answer_form, planned_requests, tried_rows, cost)


def confirm_cost(run: Run, planned: PlannedRows) -> None:
    """Print the rows and the estimate of planned calls, and confirm the cost.

    A person must confirm a cost above CONFIRM_ABOVE, and any cost if the model's price is unknown.

    Raises:
        InputError: The cost was not confirmed. No call was made.
    """
    nouns = run.task.nouns
    count_text = plural(len(planned.tried_rows), nouns.singular, nouns.plural)
    run.workspace.display.say(
        f"{run.model.name}: {count_text}, estimated {format_usd(planned.cost)}"
    )
    run.confirm_cost(planned.cost, unchanged_text="nothing was asked")


def try_rows(run: Run, row_ids: Sequence[str]) -> TryReport:
    """Confirm the cost, ask about some rows, and validate the replies; no answer is stored.

    Before anything is asked, the reply files of live runs whose process died are sealed, so that
    their cost counts; their replies are ingested by a later command. Errors of calls, and of
    validating code in the task's file, do not raise: they are in the report. A row without an
    outcome is reported as "not asked".

    Raises:
        InputError: There is no row to ask about, or the estimate was not confirmed.
    """
    batch_files.end_live_batches_of_dead_processes(run)
    planned = build_requests_and_estimate(run, row_ids)
    confirm_cost(run, planned)

    result = RunResult(run.version)
    _ask_live(replace(run, is_trial=True), list(planned.tried_rows), result)
    report = TryReport(
        run.version,
        planned.schema,
        list(planned.tried_rows.values()),
        result.stop.error,
        result.is_interrupted,
    )
    for row_id, trial_outcome in result.trial_outcomes.items():
        task_row = planned.requests[row_id].row
        try:
            _validate_row_reply(run, planned.tried_rows[row_id], task_row, trial_outcome)
        except AskrowsError as error:
            # The task's own code cannot judge the reply.
            report.stopped = report.stopped or error
    return report


def ask_and_store(run: Run, row_ids: Sequence[str]) -> TryReport:
    """Ask about those of some rows that are open, by live calls, and store the answers.

    The rows are claimed before the first call. After a kill, the same command asks the rows that
    are still open. The cost is confirmed first, unless a cost was agreed before (`run.agreed_usd`).
    If no row is open, nothing is asked. Errors of calls are not raised: they are in the report.

    Returns:
        The report on the given rows that exist, with their stored outcomes; rows that were answered
        before are in it, too.

    Raises:
        InputError: There is no row to ask about, or the estimate was not confirmed.
    """
    planned = build_requests_and_estimate(run, row_ids)
    open_ids = run.workspace.store.query(claiming.filter_claimable_ids, run.task, row_ids)

    result = RunResult(run.version)
    if open_ids:
        if run.agreed_usd is None:
            confirm_cost(run, build_requests_and_estimate(run, open_ids))
        _ask_live(run, open_ids, result)

    with run.workspace.store.read() as tx:
        tried_rows = [
            _copy_with_stored_outcome(tx, run.task, row) for row in planned.tried_rows.values()
        ]
    answered_count = sum(
        row.id in open_ids and row.outcome == Outcome.ANSWERED for row in tried_rows
    )
    return TryReport(
        run.version,
        planned.schema,
        tried_rows,
        result.stop.error,
        result.is_interrupted,
        equal_rows=max(0, result.answered_by_calls - answered_count),
    )


def _ask_live(run: Run, row_ids: Sequence[str], result: RunResult) -> None:
    """Ask about some rows by live calls, with a progress bar."""
    trying_run = replace(run, stops_without_connection=True)
    with run.workspace.display.bar("asking", len(row_ids)) as bar:
        live.ask_rows(trying_run, Selection(row_ids=row_ids), result, bar)


def _copy_with_stored_outcome(tx: Connection, task: Task, row: TriedRow) -> TriedRow:
    """Return a copy of a row with its newest stored outcome and the cost of all its requests.

    Only requests under the task's version count. Outcome, reason, answer and tokens are those of
    the newest request. Cost and number of calls are sums over all requests. A missing reply is
    "lost".

    If a request is unfinished, only the outcome is changed, to "claimed". A row without a request
    may have the answer of an equal row; otherwise nothing is changed.
    """
    stored_requests = [
        request
        for request in request_history.list_requests_of_row(tx, task.name, row.id)
        if belongs_to_version(request["version"], task.prompt_version)
    ]
    if not stored_requests:
        preferred = task.read_preferred_answers(tx, [row.id]).get(row.id)
        if preferred is None:
            return row
        return replace(row, outcome=Outcome.ANSWERED, answer=json.loads(preferred.answer))
    finished_requests = [request for request in stored_requests if request["outcome"] is not None]
    if len(finished_requests) < len(stored_requests):
        return replace(row, outcome="claimed")

    newest = finished_requests[0]
    return replace(
        row,
        outcome=OUTCOME_LOST if newest["outcome"] == Outcome.MISSING else newest["outcome"],
        reason=newest["reason"],
        answer=newest["answer"],
        calls=sum(request["batch"] is not None for request in finished_requests),
        cost=sum(request["cost"] for request in finished_requests),
        tokens_in=newest["tokens_in"],
        tokens_out=newest["tokens_out"],
    )


def _validate_row_reply(
    run: Run,
    tried_row: TriedRow,
    task_row: TaskRow,
    trial: TrialOutcome,
) -> None:
    """Validate the reply about a row, and write outcome, answer and cost into `tried_row`.

    If there is no reply, the outcome is "lost" or "refused", with the reason of the trial. Nothing
    is stored in the workspace.

    Args:
        run: The run that asked.
        tried_row: The row of the report; it is changed.
        task_row: The row as it was asked.
        trial: The reply, or why there is none.

    Raises:
        AskrowsError: The task's own code fails to validate the reply; the outcome is "not judged".
    """
    tried_row.calls = 1
    tried_row.seconds = round(trial.seconds, 3)
    tried_row.reason = trial.reason
    tried_row.outcome = OUTCOME_LOST
    if trial.is_refused:
        tried_row.outcome = Outcome.REFUSED.value
    if trial.reply is None:
        return

    reply = choose_response_parser(run.task, run.model)(trial.reply)
    tried_row.tokens_in = reply.usage.prompt
    tried_row.tokens_out = reply.usage.answer + reply.usage.thoughts
    tried_row.outcome = OUTCOME_NOT_JUDGED
    tried_row.reply = reply.text or reply.excerpt
    tried_row.cost = calculate_cost(
        run.model,
        reply.usage,
        STANDARD,
        day=run.workspace.now().date(),
    )

    claim = RowClaim(task_row.id, task_row.input_hash)
    request_outcome = validate_reply(
        run.task,
        claim,
        reply,
        row=task_row.context,
    )
    tried_row.outcome = request_outcome.outcome.value
    if request_outcome.answer is None:
        tried_row.reason = request_outcome.reason
    elif request_outcome.unsupported_reason:
        tried_row.reason = request_outcome.unsupported_reason
    else:
        tried_row.reason = ""
        tried_row.answer = request_outcome.answer.model_dump(mode="json")
        tried_row.confidences = dict(reply.confidences)


def _choose_row_ids_to_try(
    tx: Connection,
    task: Task,
    version: str,
    size: int,
    seed: int | None,
) -> Sequence[str]:
    """Return the ids of at most `size` rows to try.

    If `seed` is None, these are the first open rows. They can be fewer than `size`. If a seed is
    given, or no row is open, the ids are drawn at random, in the order of the draw. The draw is
    among rows that are open, claimed or parked, and rows with an answer of the version.

    Args:
        version: Version (`task@n/model`) whose answered rows may be drawn.
        size: Largest number of rows.
        seed: Seed of the draw. If None and no row is open, DEFAULT_PILOT_SEED is the seed.
    """
    if seed is None:
        open_ids = tx.execute(claiming.select_claimable_rows(tx, task).limit(size)).scalars().all()
        if open_ids:
            return open_ids
        seed = pilot.DEFAULT_PILOT_SEED
    return pilot.draw_pilot_row_ids(
        tx,
        task,
        version,
        size=size,
        seed=seed,
    )
