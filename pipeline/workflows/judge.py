"""Ask a decision model whether texts support stored answers, and store the probabilities.

- A decision model answers a closed question with a probability instead of a text.
- A sample is drawn by its seed from all rows whose answers can be judged. Answers that were judged
  before are drawn too and not asked again, so a killed command continues with the same sample.
- One process judges a task at a time, because judging claims no rows.
- A run is recorded with its budget until it has ended, as a run of `tag`.
"""

from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from pipeline.batch import batch_files, live
from pipeline.batch.budget import BudgetError, load_calibration, resume_budget
from pipeline.batch.judge_batches import make_judge_version
from pipeline.batch.judge_plan import (
    JudgePlanner,
    JudgeSelection,
    draw_sample,
    read_answer_pages,
)
from pipeline.batch.judge_runs import JudgedRows, judge_lock
from pipeline.batch.live_report import LiveReport
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError
from pipeline.core.progress import Progress
from pipeline.core.states import Mode
from pipeline.core.text import plural, split_names
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.gemini.usage import NO_USAGE, calculate_cost, describe_cost
from pipeline.quality import evaluate
from pipeline.quality.support import SupportedShare, SupportTally
from pipeline.store import runs
from pipeline.store.database import Connection, Store
from pipeline.tables.grid import Grid

ALL_ASKED_REASON = "all rows were asked"


@dataclass(frozen=True)
class JudgeOptions:
    """Options of `judge`."""

    rows: JudgedRows
    # In USD.
    budget: float | None = None
    # Only estimate.
    dry: bool = False


@dataclass
class JudgeReport:
    """Result of `judge`."""

    # The decision model.
    model: str
    fields: tuple[str, ...]
    # Rows of the sample that was asked for; None for all rows.
    sample_rows: int | None
    seed: int
    # Rows of the selection whose answers can be judged.
    selected: int = 0
    # Rows that need a request, and the values in question.
    open_rows: int = 0
    questions: int = 0
    # In USD.
    estimated_cost: float = 0.0
    # Rows without a request, by reason.
    left_out: dict[str, int] = field(default_factory=dict)
    # The live run; None if nothing was asked.
    live: LiveReport | None = None
    # The error of the budget that ended the run, if one did.
    budget_error: BudgetError | None = None
    # How many judged answers of the selection are supported, in total and by field.
    supported: list[SupportedShare] = field(default_factory=list)
    # Rows of the task with a confidence below DOUBTFUL, also of decided fields.
    doubtful: int = 0
    # None if no answer of the selection is judged.
    next_command: CommandHint | None = None
    # The command that judges a sample of twice the size; None if all rows are selected already.
    larger_sample: CommandHint | None = None

    @property
    def judged(self) -> int:
        """Return how many rows this command judged."""
        return self.live.answered if self.live is not None else 0

    @property
    def judged_before(self) -> int:
        """Return how many selected rows were judged by earlier commands."""
        return self.selected - self.open_rows - sum(self.left_out.values())

    @property
    def remaining(self) -> int:
        """Return how many rows still have no probability, without those that are left out."""
        return self.open_rows - self.judged

    def document(self) -> dict[str, Any]:
        """Return the report as JSON members.

        They are the model, the fields and the sample, the counts of rows and calls, the estimated
        and the real cost in USD, the shares of supported answers, and why the run ended early.
        `failed` has the number of failed rows by reason, most frequent first.
        """
        live_report = self.live
        failures = {} if live_report is None else dict(live_report.failed.most_common())
        error = None
        if live_report is not None and live_report.stopped is not None:
            error = live_report.stopped.message
        return {
            "model": self.model,
            "fields": list(self.fields),
            "n": self.sample_rows,
            "seed": self.seed,
            "selected": self.selected,
            "open": self.open_rows,
            "judged_before": self.judged_before,
            "questions": self.questions,
            "estimated_cost": round(self.estimated_cost, 6),
            "left_out": self.left_out,
            "judged": self.judged,
            "failed": failures,
            "left": self.remaining,
            "calls": 0 if live_report is None else live_report.calls,
            "cost": 0.0 if live_report is None else round(live_report.cost, 6),
            "interrupted": live_report is not None and live_report.interrupted,
            "stopped": error,
            "out_of_money": self.budget_error.message if self.budget_error else "",
            "supported": [share.document for share in self.supported],
            "doubtful": self.doubtful,
        }

    def check(self) -> None:
        """Raise the stored error that ended the run early, if any; not that of a used-up budget.

        Raises:
            KeyboardInterrupt: The run was interrupted.
            FindableError: The service refuses or is down.
        """
        if self.live is None:
            return
        if self.live.interrupted:
            raise KeyboardInterrupt
        if self.live.stopped is not None:
            raise self.live.stopped


def judge_task(ws: WorkspaceSession, options: JudgeOptions) -> JudgeReport:
    """Ask a decision model whether texts support stored answers; store the probabilities.

    The answers are those of a sample or of all rows. First this waits, without a limit, until no
    other process judges the task, and stores the replies of runs that were killed. Then it prints
    the estimate and confirms it. If there are new probabilities, a quality report is written. The
    report has the share of supported answers, with those that earlier commands judged.

    An error that ends the calls early is in the report and not raised; `JudgeReport.check` raises
    it.

    With `options.dry` the report has only the estimate and the number of doubtful rows, and nothing
    is asked, waited for or stored.

    Raises:
        InputError: A field does not exist, the task sends images, or the cost was not confirmed;
            nothing was asked.
        ConfigurationError: There is no usable key, GATES is invalid, or the price is needed and
            unknown.
    """
    if ws.task.prompt.sends_images:
        raise InputError(
            f"the answers of {ws.task.subject} are about images, and a decision model judges texts "
            "only; nothing was asked",
        )
    field_names = _choose_fields(ws.task, options.rows.fields)
    # A wrong GATES is reported before anything is spent.
    evaluate.read_effective_gates(ws.task, ws.settings, tasks=ws.tasks)
    judge_ws = ws.for_decisions()
    if options.dry:
        report, _ = _plan_report(judge_ws, options, field_names)
        with ws.store.read() as tx:
            report.doubtful = _count_doubtful_rows(tx, ws.task.rows.grid(tx))
        return report

    # The other process may be judging the same answers, which claim no rows.
    with ws.lock(judge_lock(ws.task.name)):
        judge_ws.announce_placeholders()
        batch_files.seal_dead_batches(ws)
        report, selection = _plan_report(judge_ws, options, field_names)
        if report.open_rows:
            _announce(judge_ws, report)
            _ask(judge_ws, options, report, selection)
            has_new_judgements = report.judged > 0
        else:
            has_new_judgements = _end_unfinished_run(judge_ws, options.rows)
        _complete_report_and_views(ws.store, ws.task, report=report, selection=selection)
    # `qc` and the page show the newest report.
    if has_new_judgements:
        evaluate.write_report(ws)
    return report


def _complete_report_and_views(
    store: Store,
    task: Task,
    *,
    report: JudgeReport,
    selection: JudgeSelection,
) -> None:
    """Add supported shares, doubtful rows and next command to a report; update the task's views.

    A supported share is the share of a field's values that the text of the row supports, among the
    selected answers. Doubtful rows, which have a confidence below DOUBTFUL, are counted in the
    whole task. The database views of the task get columns for the judged fields, in a transaction
    of their own.

    Args:
        report: The report; it is changed.
        selection: The answers that this command judges.
    """
    with store.read() as tx:
        report.supported = _measure_support(tx, task, selection)
        grid = task.rows.grid(tx)
        report.doubtful = _count_doubtful_rows(tx, grid)
    if report.doubtful:
        condition = f"{grid.judgements.doubtful_name} = true"
        report.next_command = task.labels.command("items", where=condition)
    elif report.supported:
        report.next_command = task.labels.command("qc")

    # A command that ended a killed run stored its probabilities without these columns.
    judged_fields = [share.field for share in report.supported if share.field is not None]
    task.own_tables.refresh_views(store, judged_fields)


def _count_doubtful_rows(tx: Connection, grid: Grid) -> int:
    """Return the number of rows with a confidence below DOUBTFUL that nobody reviewed."""
    doubt_counts = grid.count_doubtful(tx)
    return doubt_counts.doubtful_rows if doubt_counts else 0


def _choose_fields(task: Task, names_text: str) -> tuple[str, ...]:
    """Return the fields to judge: the named fields in their order, or all fields of an answer.

    Args:
        names_text: Names separated by commas; repeated names are dropped. Empty for all fields.

    Raises:
        InputError: A field does not exist.
    """
    field_names = task.prompt.field_names
    chosen_names = split_names(names_text)
    for name in chosen_names:
        if name not in field_names:
            similar_names = get_close_matches(name, field_names, n=1) or field_names
            raise InputError(
                f"an answer of {task.subject} has no field {name!r}; nothing was asked",
                hint=f"fields: {', '.join(field_names)}; for example "
                f"{OptionHint(fields=similar_names[0])}",
            )
    return tuple(dict.fromkeys(chosen_names)) or field_names


def _plan_report(
    ws: WorkspaceSession,
    options: JudgeOptions,
    field_names: tuple[str, ...],
) -> tuple[JudgeReport, JudgeSelection]:
    """Return the report with its estimate, and the selected answers; nothing is asked.

    A sample is drawn by its seed. Without a sample size, all rows are selected. Rows that cannot be
    judged are counted by reason. The measured tokens of past judgements correct the estimated cost.
    """
    judged_rows = options.rows
    report = JudgeReport(ws.model.name, field_names, judged_rows.sample_rows, judged_rows.seed)
    with ws.store.read() as tx:
        row_ids = None
        if judged_rows.sample_rows is not None:
            row_ids = draw_sample(
                tx,
                ws.task,
                field_names,
                size=judged_rows.sample_rows,
                seed=judged_rows.seed,
            )
        selection = JudgeSelection(field_names, row_ids)

        planner = JudgePlanner(ws.task, ws.model, selection)
        usage = NO_USAGE
        for request in planner.plan_requests(tx):
            report.open_rows += 1
            usage += request.usage
        calibration = load_calibration(tx, make_judge_version(ws.task, ws.model.name))

    expected_usage = calibration.applied(usage, count=report.open_rows)
    report.selected = planner.selected_count
    # Only a full sample can be larger; otherwise all rows are in it.
    if judged_rows.sample_rows is not None and report.selected == judged_rows.sample_rows:
        larger_rows = replace(judged_rows, sample_rows=2 * judged_rows.sample_rows)
        report.larger_sample = larger_rows.command(ws.task)
    report.left_out = dict(planner.left_out)
    report.questions = planner.question_count
    report.estimated_cost = calculate_cost(
        ws.model,
        expected_usage,
        Mode.JUDGE.tier,
        day=ws.now().date(),
    )
    return report, selection


def _announce(ws: WorkspaceSession, report: JudgeReport) -> None:
    """Print the model, the number of rows and values to judge, and the estimated cost."""
    labels = ws.task.labels
    rows_text = plural(report.open_rows, labels.singular, labels.plural)
    cost_text = describe_cost(ws.model, report.estimated_cost, usage_tier=ws.settings.tier)
    ws.display.say(
        f"{ws.model.name}: {rows_text}, {plural(report.questions, 'value')} to judge, {cost_text}"
    )


def _ask(
    ws: WorkspaceSession,
    options: JudgeOptions,
    report: JudgeReport,
    selection: JudgeSelection,
) -> None:
    """Confirm the cost, record the run, and ask by live calls; `report.live` is the live run.

    If there is an unfinished run, it is continued. If the unfinished run is of other rows, it goes
    on with the rows of this command, and a line is printed.

    The run ends when all rows were asked, or when a budget has no room: then `report.budget_error`
    is that error. After an interrupt or an error of the service, the run stays unfinished, so that
    a later command continues it, and the error is in `report.live`. None of these is raised.

    Raises:
        InputError: The cost was not confirmed; nothing was asked.
    """
    unfinished_run = ws.store.query(runs.find_unfinished_run, ws.task.name, mode=Mode.JUDGE)
    started_at = resume_budget(ws, options.budget, unfinished_run)
    ws.confirm_cost(report.estimated_cost, unchanged_text="nothing was asked")
    # A missing key is reported before the run is recorded.
    ws.ensure_client()
    with ws.store.write() as tx:
        if unfinished_run is not None:
            run_number = unfinished_run.number
            runs.update_run(tx, run_number, condition=options.rows.encode())
            if options.budget is not None:
                runs.update_run(tx, run_number, budget=options.budget)
        else:
            run_number = runs.begin_run(
                tx,
                started_at=started_at,
                items=report.open_rows,
                estimated_cost=report.estimated_cost,
                budget=options.budget,
                task=ws.task.name,
                extractor=make_judge_version(ws.task, ws.model.name),
                mode=Mode.JUDGE.value,
                condition=options.rows.encode(),
            )

    if unfinished_run is not None:
        _announce_replacement(
            ws.display, ws.task, JudgedRows.decode(unfinished_run.condition), options.rows
        )
    planner = JudgePlanner(ws.task, ws.model, selection)
    with ws.display.bar("judging", report.open_rows) as bar:
        report.live = live.judge_answers(
            ws,
            planner,
            on_progress=lambda live_report: bar.show(live_report.replies),
        )
    stop_error = report.live.stopped
    if isinstance(stop_error, BudgetError):
        report.budget_error = stop_error
        report.live.stopped = None
    if not (report.live.interrupted or report.live.stopped):
        reason = report.budget_error.message if report.budget_error else ALL_ASKED_REASON
        with ws.store.write() as tx:
            runs.end_run(tx, run_number, reason=reason, now=ws.now())


def _announce_replacement(
    display: Progress,
    task: Task,
    unfinished_rows: JudgedRows,
    rows: JudgedRows,
) -> None:
    """Print that a run over other rows goes on with the rows of this command, if it does."""
    if unfinished_rows != rows:
        display.say(
            f"a run that was stopped before its end is replaced by `{rows.command(task)}`; "
            f"`{unfinished_rows.command(task)}` judges its other rows"
        )


def _end_unfinished_run(ws: WorkspaceSession, rows: JudgedRows) -> bool:
    """End the task's unfinished run of judgements if none of its rows is left to judge.

    A command that was killed can leave such a run. A run that has rows left is not ended: the
    command that continues it is printed.

    Args:
        ws: A session that asks closed questions of the decision model.
        rows: The rows of this command, of which none is left to judge.

    Returns:
        Whether a run was ended. Without such a run nothing is written.
    """
    unfinished_run = ws.store.query(runs.find_unfinished_run, ws.task.name, mode=Mode.JUDGE)
    if unfinished_run is None:
        return False
    unfinished_rows = JudgedRows.decode(unfinished_run.condition)
    if unfinished_rows != rows and _has_open_rows(ws, unfinished_rows):
        command = unfinished_rows.command(ws.task)
        ws.display.say(f"a run was stopped before its end: `{command}` continues it")
        return False
    with ws.store.write() as tx:
        runs.end_run(tx, unfinished_run.number, reason=ALL_ASKED_REASON, now=ws.now())
    return True


def _has_open_rows(ws: WorkspaceSession, rows: JudgedRows) -> bool:
    """Return whether some rows of a run are left to judge, or one of its fields is gone."""
    if not set(split_names(rows.fields)) <= set(ws.task.prompt.field_names):
        return True
    report, _ = _plan_report(ws, JudgeOptions(rows), _choose_fields(ws.task, rows.fields))
    return report.open_rows > 0


def _measure_support(
    tx: Connection,
    task: Task,
    selection: JudgeSelection,
) -> list[SupportedShare]:
    """Return how many of the selected answers are supported, in total and by field."""
    tally = SupportTally()
    for page in read_answer_pages(tx, task, selection):
        for answer in page:
            tally.add(
                {
                    name: confidence
                    for name, confidence in answer.confidences.items()
                    if name in selection.fields
                }
            )
    return tally.shares
