"""Ask about a random sample of rows, validate the answers, and record the verdict.

Such a sample is a pilot. Its verdict is "passed" if its quality report meets all gates. A pilot
that failed or is unfinished blocks all other rows of its version until another pilot passes, or a
person waives it.
"""

from collections.abc import Sequence

from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import RunResult, TagReport
from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import GateError, InputError
from askrows.pipeline.core.report import Failure, raise_first_and_warn_of_others
from askrows.pipeline.quality import evaluate, pilot
from askrows.pipeline.run.drive import drive
from askrows.pipeline.run.run_state import RunState
from askrows.pipeline.run.units import submit_rows, sync_and_recover_task
from askrows.pipeline.store import answer_counts, runs
from askrows.pipeline.tasks import claiming


def run_pilot_if_blocked(
    run: Run, *, size: int, limit: int | None = None, is_confirmed: bool = True
) -> TagReport | None:
    """Run or continue a pilot of `size` rows, unless the newest ended pilot allows to ask all rows.

    A pilot is a small sample that is asked first, which costs money. If there is neither an open
    row nor an unfinished pilot, nothing is run.

    Args:
        run: The run, with the version in use.
        size: Number of rows of the pilot.
        limit: Upper limit of `size`.
        is_confirmed: A person confirmed the cost before; otherwise the person is asked.

    Returns:
        The report of the pilot that was run and passed, or None if no pilot was run.

    Raises:
        GateError: The pilot failed its gates or got no answer.
        InputError: The estimate of the pilot was not confirmed.
        RemoteError, ConfigurationError: The pilot was stopped; the next run continues it.
    """
    with run.workspace.store.read() as tx:
        # Counting reads all rows, so it is left out if no pilot is needed.
        if not pilot.describe_blocking_pilot(tx, run.version, is_required=True):
            return None
        has_open_rows = claiming.count_claimable(tx, run.task) > 0
        if not (has_open_rows or pilot.is_newest_pilot_unfinished(tx, run.version)):
            return None

    report = run_pilot(run, size=min(size, limit or size), seed=None, is_confirmed=is_confirmed)
    raise_first_and_warn_of_others(report.gate_errors, run.workspace.display)
    return report


def run_pilot(
    run: Run,
    *,
    size: int | None,
    seed: int | None,
    is_confirmed: bool = False,
) -> TagReport:
    """Ask about a random sample by batch, wait for the answers, and record the verdict.

    The rows are synced first. An unfinished pilot is continued, unless another size or seed is
    given. When all rows of the sample are answered or parked, a quality report is written, and the
    pilot is recorded as passed or failed.

    Args:
        run: The run.
        size: Rows of the sample; if None, as the unfinished pilot, else the default.
        seed: Seed of the draw; if None, as the unfinished pilot, else the default.
        is_confirmed: A person confirmed the cost before; otherwise the person is asked.

    Returns:
        The report, also of a pilot that failed its gates, which raises nothing here.

    Raises:
        InputError: No row is open, or the estimate was not confirmed.
        RemoteError, ConfigurationError: The pilot was stopped; the next run continues it.
        GateError: No reply came, so the pilot stays unfinished; or no reply was a valid answer, and
            the pilot is recorded as failed.
    """
    run = sync_and_recover_task(run)
    plan = run.workspace.store.query(
        pilot.plan_next_pilot,
        run.task,
        run.version,
        size=size,
        seed=seed,
    )
    if not plan.row_ids:
        raise InputError(
            f"{run.task.nouns.none_open_message}; nothing was sent",
            hint=f"a new {OptionHint('version')} asks about all of them again",
        )

    with run.workspace.store.write() as tx:
        pilot_row = runs.find_or_insert_pilot(
            tx,
            run.task.name,
            run.version,
            size=plan.size,
            seed=plan.seed,
            now=run.workspace.now(),
        )
    report = TagReport(run.version, asked=len(plan.row_ids), drawn_pilot=pilot_row)
    _ask_sample(run, plan.row_ids, report, is_confirmed=is_confirmed)

    sample_text = f"{len(plan.row_ids)} {run.task.nouns.plural}"
    note = f"Pilot {pilot_row.number}: {sample_text}, seed {pilot_row.seed}."
    quality = evaluate.measure_and_write_report(
        run.workspace, run.task, tasks=run.tasks, version=run.version, notes=[note]
    )
    parked_hint = f"`{run.task.nouns.command('parked')}` lists the reasons"
    if quality is None:
        raise GateError(
            "the pilot got no reply; nothing was judged",
            hint=f"{parked_hint}; then run the same command again",
        )

    report.quality_reports[run.version] = quality
    with run.workspace.store.write() as tx:
        # The gates need a minimum of answers to fail.
        has_answers = answer_counts.count_answered_rows(tx, run.task.name, run.version) > 0
        is_passed = quality.passed and has_answers
        verdict = runs.PilotVerdict.PASSED if is_passed else runs.PilotVerdict.FAILED
        report_path = str(quality.path.relative_to(run.workspace.data))
        runs.record_pilot_verdict(
            tx, pilot_row.number, verdict, report=report_path, now=run.workspace.now()
        )
    if quality.passed and not has_answers:
        raise GateError(f"the pilot got no valid answer about its {sample_text}", hint=parked_hint)
    return report


def _ask_sample(run: Run, row_ids: Sequence[str], result: RunResult, *, is_confirmed: bool) -> None:
    """Send and ingest batches until a sample's rows are answered or parked.

    Waits for batches, and for rows that another process claimed. No quality report is written.

    Args:
        run: The run.
        row_ids: The rows of the sample.
        result: Gets the figures.
        is_confirmed: A person confirmed the cost before; otherwise the person is asked.

    Raises:
        AskrowsError: A poll or a batch failed, or rows of the sample are open and a budget or the
            API has no room.
    """
    state = RunState(run, row_ids=row_ids, has_quality_reports=False, result=result)
    submit_rows(state, is_confirmed=is_confirmed)
    drive(state)

    state.complete_result_and_end_finished_run()
    # If every batch failed at the API but no row is open, all rows were parked: no error.
    errors = list[Failure]()
    if result.left or result.is_poll_stopped or not result.is_down:
        errors += result.list_errors(run.task.nouns)
    if result.left and result.stop.error is not None:
        errors.append(result.stop.error)
    elif result.left and result.stop.reason is not None:
        message = f"{result.stop.message}; nothing was lost"
        hint = "run the same command again later"
        errors.append(result.stop.reason.error_type(message, hint=hint))
    if errors:
        raise errors[0]
