"""Ask about a few rows by live calls, and show each request and reply to a person.

- A trial only validates the replies and stores no answer. The workspace stores a trial batch, which
  counts against all budgets and quotas, and its cost. So rows can be tried that are answered,
  parked or claimed.
- `ask_and_store` is the exception: it asks open rows and stores their answers.
- If the task's file changed under a version that has answers, the draft is tried: the task as the
  file declares it now. Its rows are those that were last read.
- The mode decide asks a decision model about the closed fields, those with a fixed choice. A mixed
  task has closed fields and others.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from pipeline.batch import batch_files, budget, live
from pipeline.batch.batch_plan import Selection
from pipeline.batch.live_report import LiveReport, RunPolicy, TrialOutcome
from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import FindableError, InputError, QuestionChangedError
from pipeline.core.states import STANDARD, Mode, Outcome
from pipeline.core.text import format_object, format_usd, plural
from pipeline.engine import claiming, closed_questions, task_registry
from pipeline.engine.closed_questions import choose_response_parser
from pipeline.engine.request_builder import PlannedRequest, RequestBuilder
from pipeline.engine.request_outcomes import PARTIAL_REASON, validate_reply
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.engine.task_parts import TaskRow
from pipeline.gemini import requests
from pipeline.gemini.models import Model
from pipeline.gemini.usage import NO_USAGE, Usage, calculate_cost, describe_cost
from pipeline.quality import evaluate, pilot
from pipeline.quality.label_accuracy import (
    FieldComparison,
    compare_with_labels,
    read_valid_labels,
    to_field_documents,
)
from pipeline.store import answers, request_history
from pipeline.store.claims import RowClaim
from pipeline.store.database import Connection
from pipeline.store.partial_answers import PartialAnswer
from pipeline.workflows import decisions, labelled_rows
from pipeline.workflows.decisions import make_session_in_mode

# How many rows are tried by default.
DEFAULT_ROW_COUNT = 3
OUTCOME_LOST = "lost"
OUTCOME_NOT_ASKED = "not asked"
OUTCOME_NOT_JUDGED = "not judged"
# Outcomes of rows whose reply was not judged.
UNJUDGED_OUTCOMES = (OUTCOME_NOT_ASKED, OUTCOME_LOST, OUTCOME_NOT_JUDGED)


@dataclass
class TriedRow:
    """One tried row: its request, and what came back."""

    id: str
    name: str
    # The request that was sent, as people read it.
    request: dict[str, Any]
    # The request about the closed fields of a mixed task, which was sent before.
    decide_request: dict[str, Any] | None = None
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

    __repr__ = format_object


@dataclass(repr=False)
class TryReport:
    """Result of a try."""

    # Version that was tried.
    extractor: str
    # Schema of an answer, or the closed questions, as they are sent.
    schema: dict[str, Any]
    items: list[TriedRow]
    # The error that ended the calls early.
    stopped: FindableError | None = None
    interrupted: bool = False
    # Rows beside these that got a copied answer, because their input is equal.
    copied_rows: int = 0
    # Version whose draft was tried; empty if the question did not change.
    draft_of: str = ""
    # How often the answers to labelled rows are right, by field.
    accuracy: Sequence[FieldComparison] = ()

    def __repr__(self) -> str:
        """Return one line with the outcomes and the cost."""
        outcome_counts = Counter(row.outcome for row in self.items).most_common()
        outcomes_text = ", ".join(f"{count} {outcome}" for outcome, count in outcome_counts)
        return f"<tried with {self.extractor}: {outcomes_text}; {format_usd(self.cost)}>"

    @property
    def cost(self) -> float:
        """Return the cost of all replies, in USD."""
        return sum(row.cost for row in self.items)

    @property
    def document(self) -> dict[str, Any]:
        """Return the report as JSON members."""
        return {
            "extractor": self.extractor,
            "schema": self.schema,
            "cost": self.cost,
            "interrupted": self.interrupted,
            "draft_of": self.draft_of or None,
            "items": [vars(row) for row in self.items],
            "stopped": self.stopped.message if self.stopped else None,
            "accuracy": to_field_documents(self.accuracy),
        }

    def check(self) -> None:
        """Raise the error that ended the calls early, if there is one.

        Raises:
            FindableError: A quota or budget was used up, or the service is down.
            KeyboardInterrupt: The calls were interrupted.
        """
        if self.interrupted:
            raise KeyboardInterrupt
        if self.stopped is not None:
            raise self.stopped


def try_task(
    ws: WorkspaceSession,
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
    report compares answers with the labels of people.

    Args:
        ws: The workspace.
        size: How many rows are asked if there is no `name`.
        name: Take only the row with this name.
        seed: Draw the rows at random with this seed. If None, take the first open rows, or draw
            rows if no row is open.
        mode: One of SINGLE_ROW_MODES.
        labelled: Ask labelled rows first, because their answers can be compared with the labels: up
            to `size` of them, drawn at random. If there are fewer, the rows above are added.

    Returns:
        The report. Errors of calls are stored in it and not raised.

    Raises:
        InputError: The row does not exist, there is no row to try, `labelled` is set and no row is
            labelled, or the estimate was not confirmed; nothing was asked.
        ConfigurationError: No key is set, the model does not exist, or GATES is invalid.
    """
    # Invalid gates are refused before anything is spent.
    evaluate.read_effective_gates(ws.task, ws.settings, tasks=ws.tasks)
    ws, draft_of = _sync_or_load_draft(ws)
    ws = make_session_in_mode(ws, mode)
    with ws.store.read() as tx:
        row_labels = read_valid_labels(tx, ws.task)
        if labelled and not row_labels:
            raise labelled_rows.no_labels_error(tx, ws.task)
        if name is not None:
            row_ids: Sequence[str] = [ws.task.rows.id_of(tx, name)]
        else:
            row_ids = _select_rows(tx, ws.task, ws.version, size, seed)
        if labelled:
            row_ids = labelled_rows.put_labelled_first(row_labels, row_ids, size=size, seed=seed)

    ws.announce_placeholders()
    report = try_rows(ws, row_ids)
    report.draft_of = draft_of
    tried_answers = {row.id: row.answer for row in report.items if row.answer is not None}
    report.accuracy = compare_with_labels(row_labels, [tried_answers])
    return report


class PlannedRows(NamedTuple):
    """Rows with their requests, before anything is asked."""

    # Schema of an answer, or the closed questions.
    schema: dict[str, Any]
    # Requests and rows, by row id.
    requests: Mapping[str, PlannedRequest]
    tried_rows: Mapping[str, TriedRow]
    # Estimated cost in USD.
    cost: float


def plan_rows(ws: WorkspaceSession, row_ids: Sequence[str]) -> PlannedRows:
    """Build a request for each of some rows in their order, and estimate the cost; ask nothing.

    The rows may be in any state; ids without a row are left out. The cost is that of live calls,
    corrected by past answers.

    Args:
        ws: The workspace.
        row_ids: Ids of the rows.

    Raises:
        InputError: There is no row to ask about.
    """
    builder = RequestBuilder(ws.task, ws.model)
    with ws.store.read() as tx:
        rows = ws.task.rows.read(tx, row_ids)
        ordered_rows = {row_id: rows[row_id] for row_id in row_ids if row_id in rows}
        planned_requests = {
            request.row.id: request for request in builder.plan_requests(tx, ordered_rows)
        }
        names = ws.task.rows.table(tx).read_names(tx, list(planned_requests))
        calibration = budget.load_calibration(tx, ws.version)

    if not planned_requests:
        ws.check_has_rows()
        raise InputError(
            f"{ws.task.labels.none_open_message}; nothing was asked",
            hint=f"{OptionHint('item')} tries a {ws.task.labels.singular} in any state",
        )

    tried_rows = dict[str, TriedRow]()
    usage = NO_USAGE
    for row_id, request in planned_requests.items():
        shown_request = requests.redact_request(request.line)
        tried_rows[row_id] = TriedRow(row_id, names.get(row_id, row_id), shown_request)
        usage += request.usage
    likely_usage = calibration.applied(usage, count=len(planned_requests))
    return PlannedRows(
        builder.sent_form,
        planned_requests,
        tried_rows,
        _live_cost(likely_usage, model=ws.model, now=ws.now()),
    )


class PlannedCalls(NamedTuple):
    """Rows that a session asks, before anything is asked."""

    ws: WorkspaceSession
    rows: PlannedRows


def plan_calls(ws: WorkspaceSession, row_ids: Sequence[str]) -> list[PlannedCalls]:
    """Build the requests about some rows and estimate their cost; ask nothing.

    The result has one element, or two for a mixed task in the mode decide: first the requests about
    the closed fields, then those about the other fields, in a session of their own.

    Raises:
        InputError: There is no row to ask about.
    """
    sessions = [ws]
    if _needs_two_requests(ws.task, is_deciding=ws.is_deciding):
        sessions.append(decisions.make_session_of_other_fields(ws))
    return [PlannedCalls(session, plan_rows(session, row_ids)) for session in sessions]


def _needs_two_requests(task: Task, *, is_deciding: bool) -> bool:
    """Return whether a session asks a decision model, and the task also has other fields to ask."""
    return is_deciding and closed_questions.is_mixed(task)


def confirm_cost(planned_calls: Sequence[PlannedCalls]) -> float:
    """Print rows and estimates of planned calls, and return the total cost in USD.

    A person must confirm a cost above CONFIRM_ABOVE, and any cost if a model's price is unknown.

    Raises:
        InputError: The cost was not confirmed. No call was made.
    """
    for ws, planned in planned_calls:
        labels = ws.task.labels
        count_text = plural(len(planned.tried_rows), labels.singular, labels.plural)
        cost_text = describe_cost(ws.model, planned.cost, usage_tier=ws.settings.tier)
        ws.display.say(f"{ws.model.name}: {count_text}, {cost_text}")

    cost = sum(planned.cost for _, planned in planned_calls)
    # A generating model without a price must be confirmed.
    planned_calls[-1].ws.confirm_cost(cost, unchanged_text="nothing was asked")
    return cost


def try_rows(ws: WorkspaceSession, row_ids: Sequence[str]) -> TryReport:
    """Confirm the cost, ask about some rows, and validate the replies; no answer is stored.

    In the mode decide, a mixed task has two requests about a row: one about the closed fields,
    those with a fixed choice, and if these got an answer, one about the other fields. Before
    anything is asked, the reply files of live runs whose process died are sealed, so that their
    cost counts; their replies are ingested by a later command. Errors of calls, and of validating
    code in the task's file, do not raise: they are in the report. A row without an outcome is
    reported as "not asked".

    Raises:
        InputError: There is no row to ask about, or the estimate was not confirmed.
    """
    batch_files.seal_dead_batches(ws)
    if _needs_two_requests(ws.task, is_deciding=ws.is_deciding):
        # Both sessions share the client.
        ws.ensure_client()
    planned_calls = plan_calls(ws, row_ids)
    confirm_cost(planned_calls)

    last_ws, last_plan = planned_calls[-1]
    report = TryReport(last_ws.version, last_plan.schema, list(last_plan.tried_rows.values()))
    if len(planned_calls) > 1:
        for row in report.items:
            row.decide_request = planned_calls[0].rows.tried_rows[row.id].request
    asked_ids = [row.id for row in report.items]
    partial_answers: dict[str, PartialAnswer] = {}
    for planned in planned_calls:
        _try_planned_rows(planned, asked_ids, report, partial_answers)
        asked_ids = list(partial_answers)
        if report.stopped is not None or report.interrupted or not asked_ids:
            break
    return report


def _try_planned_rows(
    planned: PlannedCalls,
    row_ids: Sequence[str],
    report: TryReport,
    partial_answers: dict[str, PartialAnswer],
) -> None:
    """Ask about planned rows, and write the outcomes into the rows of the report.

    If the task's own code fails to validate a reply, or if the calls are stopped, the report gets
    the error; nothing is raised.

    Args:
        planned: The requests, and the session that asks.
        row_ids: The rows to ask.
        report: The report; it is changed.
        partial_answers: The answered closed fields (with a fixed choice) of a task that also has
            other fields, by row id. Replies of a decision model are added. Replies about the other
            fields are joined with them.
    """
    ws = planned.ws
    live_report = _ask_live(ws, row_ids, mode=Mode.TRIAL)
    report.stopped = live_report.stopped
    report.interrupted = live_report.interrupted
    rows_by_id = {row.id: row for row in report.items}
    for row_id, trial_outcome in live_report.trial_outcomes.items():
        tried_row = rows_by_id[row_id]
        try:
            partial_answer = _validate_row_reply(
                ws,
                tried_row,
                planned.rows.requests[row_id].row,
                trial_outcome,
                partial_answer=partial_answers.get(row_id),
            )
        except FindableError as error:
            # The task's own code cannot judge the reply.
            report.stopped = report.stopped or error
        else:
            if partial_answer is not None:
                partial_answers[row_id] = partial_answer


def ask_and_store(ws: WorkspaceSession, row_ids: Sequence[str]) -> TryReport:
    """Ask about those of some rows that are open, by live calls, and store the answers.

    The rows are claimed before the first call. After a kill, the same command asks the rows that
    are still open. The cost is confirmed first, unless a cost was agreed before (`ws.agreed_usd`).
    If no row is open, nothing is asked. Errors of calls are not raised: they are in the report.

    Returns:
        All given rows with their stored outcome, including rows that were answered before.

    Raises:
        InputError: There is no row to ask about, or the estimate was not confirmed.
    """
    last_ws, last_plan = plan_calls(ws, row_ids)[-1]
    open_ids = ws.store.query(claiming.filter_claimable, ws.task, row_ids)

    live_report = LiveReport()
    if open_ids:
        if ws.agreed_usd is None:
            confirm_cost(plan_calls(ws, open_ids))
        live_report = _ask_open_rows(ws, open_ids)

    with ws.store.read() as tx:
        tried_rows = [
            _with_stored_outcome(tx, ws.task, row) for row in last_plan.tried_rows.values()
        ]
    answered_count = sum(
        row.id in open_ids and row.outcome == Outcome.ANSWERED for row in tried_rows
    )
    return TryReport(
        last_ws.version,
        last_plan.schema,
        tried_rows,
        live_report.stopped,
        live_report.interrupted,
        copied_rows=max(0, live_report.answered - answered_count),
    )


def _ask_open_rows(ws: WorkspaceSession, row_ids: Sequence[str]) -> LiveReport:
    """Ask about open rows by live calls, store the answers, and return the last run's report.

    In the mode decide, a task with closed fields (with a fixed choice) and other fields is asked in
    two runs. The first run asks the closed fields. If it is stopped or interrupted, its report is
    returned, and the other fields are not asked. Otherwise its report is dropped.
    """
    if not _needs_two_requests(ws.task, is_deciding=ws.is_deciding):
        return _ask_live(ws, row_ids, mode=Mode.DECIDE if ws.is_deciding else Mode.LIVE)

    decide_ws = decisions.make_session_of_undecided_rows(ws)
    other_ws = decisions.make_session_of_other_fields(decide_ws)
    other_ws.task = ws.task.with_open_rows(has_partial_answer=True)
    live_report = _ask_live(decide_ws, row_ids, mode=Mode.DECIDE)
    if live_report.stopped is not None or live_report.interrupted:
        return live_report
    return _ask_live(other_ws, row_ids, mode=Mode.LIVE)


def _ask_live(ws: WorkspaceSession, row_ids: Sequence[str], *, mode: Mode) -> LiveReport:
    """Ask about some rows by live calls, with a progress bar."""
    with ws.display.bar("asking", len(row_ids)) as bar:
        return live.ask_rows(
            ws,
            Selection(row_ids=row_ids),
            mode=mode,
            policy=RunPolicy(stops_without_connection=True),
            on_progress=lambda live_report: bar.show(live_report.replies),
        )


def _with_stored_outcome(tx: Connection, task: Task, row: TriedRow) -> TriedRow:
    """Return a copy of a row with its newest stored outcome and the cost of all its requests.

    Only requests under the task's version count. Outcome, reason, answer and tokens are those of
    the newest request. Cost and number of calls are sums over all requests. A missing reply is
    "lost".

    If a request is unfinished, only the outcome is changed, to "claimed". Without a request nothing
    is changed.
    """
    stored_requests = [
        request
        for request in request_history.list_requests_of_row(tx, task.name, row.id)
        if answers.belongs_to_version(request["extractor"], task.version_label)
    ]
    if not stored_requests:
        return replace(row)
    finished_requests = [request for request in stored_requests if request["outcome"] is not None]
    if len(finished_requests) < len(stored_requests):
        return replace(row, outcome="claimed")

    newest = finished_requests[0]
    return replace(
        row,
        outcome=OUTCOME_LOST if newest["outcome"] == Outcome.MISSING else newest["outcome"],
        reason=newest["reason"] or "",
        answer=newest["answer"],
        calls=sum(request["batch"] is not None for request in finished_requests),
        cost=sum(request["cost"] for request in finished_requests),
        tokens_in=newest["tokens_in"],
        tokens_out=newest["tokens_out"],
    )


def _live_cost(usage: Usage, *, model: Model, now: datetime) -> float:
    """Return the cost of tokens in USD, at today's standard price of the model."""
    return calculate_cost(model, usage, STANDARD, day=now.date())


def _validate_row_reply(
    ws: WorkspaceSession,
    tried_row: TriedRow,
    task_row: TaskRow,
    trial: TrialOutcome,
    *,
    partial_answer: PartialAnswer | None = None,
) -> PartialAnswer | None:
    """Validate the reply about a row, and write outcome, answer and cost into `tried_row`.

    Calls, tokens, time and cost are added to those of an earlier reply about the row. If there is
    no reply, the outcome is "lost" or "refused", with the reason of the trial. A mixed task has
    closed fields, which a decision model answers, and other fields. If the reply has its closed
    fields, there is no outcome yet: these fields are returned, to be joined with the reply about
    the other fields. Nothing is stored in the workspace.

    Args:
        ws: The session that asked.
        tried_row: The row of the report; it is changed.
        task_row: The row as it was asked.
        trial: The reply, or why there is none.
        partial_answer: The closed fields that an earlier call returned, or None.

    Returns:
        The closed fields, if the reply is one of a decision model about a mixed task; else None.

    Raises:
        FindableError: The task's own code fails to validate the reply; the outcome is "not judged".
    """
    tried_row.calls += 1
    tried_row.seconds = round(tried_row.seconds + trial.seconds, 3)
    tried_row.reason = trial.reason
    tried_row.outcome = OUTCOME_LOST
    if trial.is_refused:
        tried_row.outcome = Outcome.REFUSED.value
    if trial.reply is None:
        return None

    reply = choose_response_parser(ws.task, ws.model)(trial.reply)
    tried_row.tokens_in += reply.usage.prompt
    tried_row.tokens_out += reply.usage.answer + reply.usage.thoughts
    tried_row.outcome = OUTCOME_NOT_JUDGED
    tried_row.reply = reply.text or reply.excerpt
    tried_row.cost += _live_cost(reply.usage, model=ws.model, now=ws.now())
    tried_row.confidences |= reply.confidences
    is_decision = ws.model.kind == "decide" and reply.outcome is Outcome.ANSWERED
    if is_decision and closed_questions.is_mixed(ws.task):
        tried_row.reason = PARTIAL_REASON
        confidences = closed_questions.make_confidences(reply, ws.model.name)
        return PartialAnswer(task_row.id, task_row.input_hash, reply.text, confidences)

    claim = RowClaim(task_row.id, task_row.input_hash)
    request_outcome = validate_reply(
        ws.task, claim, reply, partial_answer=partial_answer, row=task_row.context
    )
    tried_row.outcome = request_outcome.outcome.value
    if request_outcome.answer is None:
        tried_row.reason = request_outcome.reason
        tried_row.answer = None
        tried_row.confidences = {}
    else:
        tried_row.reason = ""
        tried_row.answer = request_outcome.answer.model_dump(mode="json")
    return None


def _sync_or_load_draft(ws: WorkspaceSession) -> tuple[WorkspaceSession, str]:
    """Sync the rows with their source, or return a session for the task's changed file.

    The draft is the task as its file declares it now. It is used only if the file differs under a
    version that has answers; then the rows are not synced, and the given session stays as it is. A
    file that differs under a version without answers is simply synced.

    Returns:
        The same session and "", or a copy with the draft as task, and the label of the changed
        version.
    """
    try:
        ws.sync_rows()
    except QuestionChangedError:
        draft = ws.store.query(task_registry.load_current_draft, ws.task, now=ws.now())
        # The client announces the backend, so it is made before the session is copied.
        client = ws.client
        draft_ws = replace(ws, task=draft)
        draft_ws.client = client
        return draft_ws, ws.task.version_label
    return ws, ""


def _select_rows(
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
        open_ids = tx.execute(claiming.select_claimable(tx, task).limit(size)).scalars().all()
        if open_ids:
            return open_ids
        seed = pilot.DEFAULT_PILOT_SEED
    return pilot.draw_pilot(tx, task, version, size=size, seed=seed)
