"""Estimate cost and duration of asking all rows by batch, by flex and live.

No request is sent, and no key is needed.

- Tokens and costs come from the estimator of batches.
- The duration of a batch is the provider's target. Durations of calls come from past calls of this
  workspace.
- Limits come from the tier and the settings; their use today counts the calls of all processes.
- `run/mode_choice.py` recommends a mode.
- The mode decide asks a decision model, which answers fields with a fixed choice (closed fields)
  with probabilities.

An unknown figure is None and not guessed: a duration that was not measured, or a limit that the
provider does not publish.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from askrows.pipeline.batch import batch_files, budget, submit
from askrows.pipeline.batch.batch_plan import BatchPlan, Selection, plan_batches
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import ConfigurationError
from askrows.pipeline.core.report import Report, make_table
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.core.states import AUTOMATIC_MODES, Mode
from askrows.pipeline.core.text import format_usd, make_short_repr, plural
from askrows.pipeline.provider.models import (
    FREE_TIER,
)
from askrows.pipeline.provider.service import Service
from askrows.pipeline.provider.usage import Usage, calculate_cost, sum_usage
from askrows.pipeline.quality import pilot
from askrows.pipeline.run.live_throttle import max_parallel_calls
from askrows.pipeline.run.mode_choice import (
    ModeEstimate,
    estimate_live_seconds,
    recommend_mode,
)
from askrows.pipeline.store import batches
from askrows.pipeline.tasks import claiming, request_builder
from askrows.pipeline.tasks.task_values import TaskNouns

# A mode counts as dearer than another if it costs more than this in addition, in USD.
MIN_DEARER_USD = 0.01
# Columns of the table of modes; see `make_table`.
MODE_COLUMNS = "mode cost time=seconds batches_or_calls"
# Warn from this share of the daily quota on.
DAILY_QUOTA_WARNING_SHARE = 0.8


@dataclass(frozen=True, repr=False)
class Preflight:
    """Estimates of all modes, with the figures that they need."""

    # Rows, batches and likely tokens of the open rows.
    plan: BatchPlan
    # Estimates by mode.
    mode_estimates: Mapping[str, ModeEstimate]
    # The recommended mode, or None if there is nothing to ask or a person must decide.
    recommended: str | None
    reason: str
    # Name of the model.
    model: str
    # Source and date of the prices.
    prices: str
    tier: str
    # Corrections of estimates, from past answers.
    calibration: budget.Calibration
    deadline_s: float | None = None
    # Prepared batches and stopped live runs of earlier commands, whose rows are sent too.
    waiting: BatchPlan = field(default_factory=BatchPlan)
    # The same estimate for the model that a key would use, or None if that is the model.
    with_key: "Preflight | None" = None

    __repr__ = make_short_repr

    def document(self) -> dict[str, Any]:
        """Return the estimate as JSON members: tokens, USD, seconds; unknown figures are null."""
        usage = self.plan.usage
        calibration = self.calibration
        mode_members = {
            mode: estimate.document("batches" if mode == "batch" else "calls")
            for mode, estimate in self.mode_estimates.items()
            if mode != Mode.DECIDE
        }
        decide = self.mode_estimates.get(Mode.DECIDE)
        decide_members: dict[str, Any] | None = None
        if decide is not None:
            decide_members = decide.document("calls")
            decide_members["absent"] = decide.absence_reason or None
        return {
            "rows": self.plan.rows,
            "questions": self.plan.requests,
            "model": self.model,
            "prices": self.prices,
            "tier": self.tier,
            "tokens_in": usage.prompt,
            "tokens_out": usage.answer + usage.thoughts,
            "estimate": {"answers": calibration.answers},
            "deadline_s": self.deadline_s,
            "control": {
                "requests": self.plan.control_requests,
                "cost": round(self.plan.control_cost, 6),
            },
            **mode_members,
            "decide": decide_members,
            "waiting": {"rows": self.waiting.rows, "cost": round(self.waiting.cost, 6)},
            "recommended": self.recommended,
            "reason": self.reason,
            "with_key": None if self.with_key is None else self.with_key.document(),
        }

    @property
    def is_dear(self) -> bool:
        """Return whether the recommended mode costs more than the cheapest available mode.

        A difference up to MIN_DEARER_USD does not count. False if no mode is recommended.
        """
        if self.recommended is None:
            return False
        available_costs = [
            estimate.compared_cost
            for mode, estimate in self.mode_estimates.items()
            if not estimate.absence_reason and mode in {self.recommended, *AUTOMATIC_MODES}
        ]
        recommended_cost = self.mode_estimates[self.recommended].compared_cost
        return recommended_cost > min(available_costs) + MIN_DEARER_USD

    @property
    def possible_mode_estimates(self) -> Mapping[str, ModeEstimate]:
        """Return the estimates by mode, with that of the mode decide only if it is possible."""
        return {
            mode: estimate
            for mode, estimate in self.mode_estimates.items()
            if mode in AUTOMATIC_MODES or not estimate.absence_reason
        }

    def sent_cost(self, mode: str) -> float:
        """Return the cost in USD of all rows to send in a mode, and of batches of earlier runs."""
        return self.mode_estimates[mode].cost + self.waiting.cost

    def to_report(self, nouns: TaskNouns) -> Report:
        """Return the report of `tag --dry`: tokens, cost and time of each mode, recommendation.

        If the local engine would answer, the figures for people are those of the model that a key
        would use. A line says so, and another line is about the batches of an earlier run.
        """
        estimate = self.with_key or self
        report = Report(self.document())
        if self.waiting.rows:
            waiting_rows = self.waiting.describe_rows(nouns)
            cost = format_usd(self.waiting.cost)
            report.parts.append(
                f"also sent: {waiting_rows} in batches of an earlier run, about {cost}"
            )
        if not self.plan.rows:
            report.parts.append(f"nothing to ask: {nouns.none_open_message}")
            return report

        if self.with_key is not None:
            report.parts.append(
                f"without an API key, {self.model} answers at no cost; with an API key:"
            )
        rows = estimate.plan.describe_rows(nouns)
        usage = estimate.plan.usage
        output_tokens = usage.answer + usage.thoughts
        report.parts.append(
            f"{estimate.model}: {rows}, about {usage.prompt:,} tokens in and {output_tokens:,} out "
            f"({estimate.basis})"
        )
        estimate.add_modes(report)
        decide = estimate.mode_estimates.get(Mode.DECIDE)
        if decide is not None and decide.absence_reason:
            report.parts.append(f"no decide: {decide.absence_reason}")
        mode_name = estimate.recommended or "no mode yet"
        report.parts.append(f"recommended: {mode_name}, because {estimate.reason}")
        return report

    @property
    def basis(self) -> str:
        """Return how the output tokens were estimated, and the control requests of a batch."""
        basis = "the length of answers is guessed"
        if self.calibration.answers:
            basis = f"measured on {plural(self.calibration.answers, 'answer')}"
        if self.plan.control_requests:
            control_count = plural(self.plan.control_requests, "control request")
            basis += f"; a batch has {control_count} for {format_usd(self.plan.control_cost)}"
        return basis

    def add_modes(self, report: Report) -> None:
        """Add a table with cost and time of each available mode to a report, and warnings.

        Batch is in the table even if it is not available; its warning says why.
        """
        modes = [
            {"mode": mode, **estimate.document("batches_or_calls")}
            for mode, estimate in self.possible_mode_estimates.items()
            if mode == Mode.BATCH or not estimate.absence_reason
        ]
        report.parts.append(make_table(modes, MODE_COLUMNS))
        for mode in modes:
            report.warnings += [f"{mode['mode']}: {warning}" for warning in mode["warnings"]]

    @property
    def live_cost(self) -> float:
        """Return the cost in USD of live calls at full price, or of decisions if they are asked."""
        estimate = self.mode_estimates.get(Mode.LIVE) or self.mode_estimates[Mode.DECIDE]
        return estimate.cost

    @property
    def sent_plan(self) -> BatchPlan:
        """Return the plan of all rows to send, with those of prepared batches.

        The cost of the plan is that of the mode batch.
        """
        return self.plan + self.waiting


def estimate_rows(
    run: Run,
    *,
    limit: int | None = None,
    row_ids: Sequence[str] | None = None,
    table_size: tuple[int, int] | None = None,
    measured_usages: Sequence[Usage] = (),
    deadline_s: float | None = None,
    is_pilot_waived: bool = False,
) -> Preflight:
    """Count the tokens of the open rows, or of named rows, and return the estimates of all modes.

    A row is open if it has a text and is neither claimed nor answered nor parked. The requests are
    built and not sent. Shows the progress; nothing is written.

    Args:
        run: The run.
        limit: Estimate at most this many rows, or None for all.
        row_ids: Estimate these rows, whatever their state, instead of the open rows.
        table_size: Rows of a table, and requests for them, as equal rows share a request. The named
            rows are its first; the other requests are estimated with the mean tokens of these rows.
        measured_usages: Tokens of replies about the first of the named rows. They correct the
            counted tokens, instead of stored answers.
        deadline_s: Seconds from now, or None for no deadline.
        is_pilot_waived: Ignore a pilot that blocks the rows.

    Raises:
        InputError: A request cannot be sent; the message names its row.
    """
    rows_mode = Mode.TRIAL
    if row_ids is None:
        rows_mode = Mode.BATCH
        counted_rows = run.workspace.store.query(claiming.count_claimable, run.task)
    else:
        counted_rows = len(row_ids)
    selection = Selection(limit, row_ids=row_ids)
    with run.workspace.display.bar(
        "counting tokens", min(counted_rows, limit or counted_rows)
    ) as bar:
        plan = partial(plan_batches, run, bar=bar, rows_mode=rows_mode)
        calibration = None
        if row_ids is not None and measured_usages:
            answer_count = len(measured_usages)
            measured_plan = plan(Selection(row_ids=row_ids[:answer_count]))
            counted_prompt = measured_plan.counted_prompt_tokens / measured_plan.requests
            usage = sum_usage(measured_usages)
            calibration = budget.Calibration(
                usage.prompt / answer_count / counted_prompt,
                usage.answer / answer_count,
                answer_count,
            )
        rows_plan = plan(selection, calibration=calibration)
    if table_size is not None:
        rows_plan = _extend_plan(rows_plan, *table_size, settings=run.workspace.settings)
    estimate = estimate_plan(
        run,
        rows_plan,
        deadline_s=deadline_s,
        is_pilot_waived=is_pilot_waived,
    )
    if calibration is not None:
        estimate = replace(estimate, calibration=calibration)
    return estimate


def add_gemini_estimate(
    run: Run,
    estimate: Preflight,
    estimate_again: Callable[[Run], Preflight],
) -> Preflight:
    """Return an estimate, with that for Gemini's model as `with_key` if the local engine answers.

    If the second estimate cannot be made, a warning is printed instead.
    """
    if not run.model.local:
        return estimate

    workspace = run.workspace
    settings = replace(
        workspace.settings, model=Settings.model, decision_model=Settings.decision_model
    )
    gemini_run = replace(
        run,
        workspace=replace(workspace, backend="gemini", settings=settings),
        service=Service(
            settings, "gemini", workspace.display, now=workspace.now, sleep=workspace.sleep
        ),
        mode=Mode.BATCH,
    )
    try:
        return replace(estimate, with_key=estimate_again(gemini_run))
    except ConfigurationError as error:
        workspace.display.warn(f"no estimate for a key: {error.message}")
        return estimate


def _extend_plan(
    plan: BatchPlan, row_count: int, request_count: int, *, settings: Settings
) -> BatchPlan:
    """Return the plan for all rows of a table, from the plan for the first of them.

    The number of further batches follows from requests and prompt tokens, not from the size of the
    files. The number of control requests and their separate cost stay those of the first rows.
    """
    share = request_count / plan.requests
    usage = Usage(*(round(tokens * share) for tokens in plan.usage))
    batches_for_requests = request_count / settings.batch_rows
    batches_for_tokens = usage.prompt / settings.batch_tokens
    return replace(
        plan,
        rows=row_count,
        batches=math.ceil(max(plan.batches, batches_for_requests, batches_for_tokens)),
        requests=request_count,
        counted_prompt_tokens=round(plan.counted_prompt_tokens * share),
        usage=usage,
        cost=plan.cost * share,
    )


def estimate_plan(
    run: Run,
    plan: BatchPlan,
    *,
    deadline_s: float | None = None,
    is_pilot_waived: bool = False,
) -> Preflight:
    """Return the estimates of all modes for a plan, and the best mode; nothing is written.

    Budgets, quotas and past durations are read. The result also has, if it applies, the estimate of
    the mode decide, which asks a decision model about fields with a fixed choice. If the run
    itself is one of the mode decide, the result has only that mode.

    Args:
        run: The run.
        plan: The rows, with their tokens.
        deadline_s: Seconds from now, or None for no deadline.
        is_pilot_waived: Ignore a pilot that blocks the rows. Otherwise a blocking pilot refuses the
            mode batch, and no mode is recommended.
    """
    model = run.model
    estimator = _PlanEstimator(run, plan, is_pilot_waived=is_pilot_waived)
    if run.mode is Mode.DECIDE:
        return Preflight(
            plan=plan,
            mode_estimates={Mode.DECIDE.value: estimator.estimate_live_calls(Mode.DECIDE)},
            recommended=Mode.DECIDE.value,
            reason="decisions were requested",
            model=model.name,
            prices=f"{model.source} ({model.priced_on})",
            tier=run.workspace.settings.tier,
            calibration=estimator.calibration,
        )

    mode_estimates = {Mode.BATCH.value: estimator.estimate_batch()}
    for mode in AUTOMATIC_MODES:
        if mode is not Mode.BATCH:
            mode_estimates[mode.value] = estimator.estimate_live_calls(mode)
    recommended, reason = recommend_mode(mode_estimates, row_count=plan.rows, deadline_s=deadline_s)
    if run.workspace.provider.offers(Mode.DECIDE):
        mode_estimates[Mode.DECIDE.value] = _estimate_decisions(run, plan)
    return Preflight(
        plan=plan,
        mode_estimates=mode_estimates,
        recommended=recommended,
        reason=reason,
        model=model.name,
        prices=f"{model.source} ({model.priced_on})",
        tier=run.workspace.settings.tier,
        calibration=estimator.calibration,
        deadline_s=deadline_s,
        waiting=estimator.waiting_plan,
    )


def _estimate_decisions(run: Run, plan: BatchPlan) -> ModeEstimate:
    """Return the estimate of asking a decision model about the rows of a user task's plan.

    If the task has fields without a fixed choice, the estimate has only that reason. There are no
    control requests, which show if a batch has confused its replies, because decisions are live
    calls. The prompt tokens of each row are those of the plan, plus those of the closed questions.
    The measured tokens of past decisions correct the sum.

    Args:
        run: The run of the task.
        plan: The plan of asking a generating model about the rows.
    """
    open_fields = request_builder.list_open_fields(run.task)
    if open_fields:
        return ModeEstimate(absence_reason=request_builder.describe_open_fields(open_fields))

    decide_run = run.copy_with_mode(Mode.DECIDE)
    lines = request_builder.QuestionLines(run.task, decide_run.model)
    calibration = run.workspace.store.query(
        budget.measure_calibration, decide_run.version, run.task.fingerprint
    )
    prompt_tokens = plan.counted_prompt_tokens + plan.requests * lines.question_tokens
    decide_plan = replace(
        plan,
        usage=calibration.correct_usage(Usage(prompt=prompt_tokens), request_count=plan.requests),
        control_requests=0,
        control_cost=0.0,
    )
    estimator = _PlanEstimator(decide_run, decide_plan, is_pilot_waived=True)
    return estimator.estimate_live_calls(Mode.DECIDE)


class _PlanEstimator:
    """Estimates a plan by each mode, from figures that are read once."""

    def __init__(
        self,
        run: Run,
        plan: BatchPlan,
        *,
        is_pilot_waived: bool,
    ) -> None:
        """Read the budgets, quotas, past durations and pilot as they are now, in one transaction.

        Also plans the rows that earlier commands left in prepared batches and stopped live runs.

        Args:
            is_pilot_waived: Ignore a pilot that blocks the rows.
        """
        self.run = run
        self.plan = plan
        self.now = run.workspace.now()
        # When the daily quota is reset.
        self.reset_at = run.workspace.provider.next_reset(self.now)
        model_name = run.model.name
        quota_day = run.workspace.provider.quota_day(self.now).isoformat()
        with run.workspace.store.read() as tx:
            self.calibration = budget.measure_calibration(tx, run.version, run.task.fingerprint)
            # Prepared batches of earlier commands.
            prepared_plan = submit.sum_prepared_batches(tx, run.task)
            # USD that all budgets still allow, or None without a budget.
            self.budget_room = budget.make_current_budgets(run).compute_remaining_usd(tx)
            # Live calls that already count for today's quota.
            self.calls_today = batches.count_live_calls_of_day(tx, model_name, day=quota_day)
            # Mean duration of past calls by mode, or None if unknown.
            self.call_durations_s = {
                mode: batches.compute_mean_call_seconds(tx, model_name, mode)
                for mode in Mode
                if mode.facts.usual_call_s
            }
            # Why a pilot stops the rows; empty if none does.
            self.pilot_reason = (
                "" if is_pilot_waived else pilot.describe_blocking_pilot(tx, run.version)
            )

        # The rows of a stopped live run are asked again, at most at its price.
        stopped_runs = (
            batch
            for batch in batch_files.find_live_batches_of_dead_processes(
                run.workspace.store, run.workspace.locks
            )
            if batch.task == run.task.name and batch.mode.facts.claims_rows
        )
        self.waiting_plan = prepared_plan + submit.sum_stored_batches(stopped_runs)

    def estimate_live_calls(self, mode: Mode) -> ModeEstimate:
        """Return the estimate of live calls in a mode: cost, duration, warnings.

        The duration follows from the measured or usual duration of a call, the calls at the same
        time and the limits. Calls of the local engine do not count, because the first ones contain
        its start: its duration is None without limits. If the model is not served in the mode,
        this is not available, and `absence_reason` says so.

        Args:
            mode: Live, flex or decide. The mode batch has `estimate_batch`.
        """
        model = self.run.model
        call_s = 0.0
        calls_per_s: float | None = None
        if not model.local:
            call_s = self.call_durations_s[mode] or mode.facts.usual_call_s
            parallel_calls = max_parallel_calls(
                self.run.workspace.settings.concurrency,
                self.run.rate_limits.rpm,
                call_s,
            )
            calls_per_s = parallel_calls / call_s

        seconds = estimate_live_seconds(
            self.plan.requests,
            self.plan.usage.prompt,
            limits=self.run.rate_limits,
            used_today=self.calls_today,
            until_reset_s=(self.reset_at - self.now).total_seconds(),
            calls_per_s=calls_per_s,
        )
        # Even a single call takes its time.
        if seconds:
            seconds = max(seconds, call_s)

        is_available = self.run.workspace.provider.offers(mode) and model.serves(mode)
        return self._make_priced_estimate(
            mode,
            seconds=seconds,
            count=self.plan.requests,
            warnings=self._list_daily_quota_warnings(),
            absence_reason="" if is_available else f"{model.name} is not served by {mode}",
        )

    def _list_daily_quota_warnings(self) -> list[str]:
        """Return a warning if live calls would use most of the daily quota, or exceed it.

        Most is DAILY_QUOTA_WARNING_SHARE. The calls that were made today count, too. If the quota
        is exceeded, the warning says when the remaining calls are made. Otherwise, and without a
        daily quota, the list is empty.
        """
        daily_quota = self.run.rate_limits.rpd
        if daily_quota is None:
            return []

        calls_today = self.calls_today + self.plan.requests
        if calls_today > daily_quota:
            remaining = max(0, daily_quota - self.calls_today)
            return [
                (
                    f"{remaining:,} of today's {daily_quota:,} requests are left; "
                    f"the others are sent after {self.reset_at:%Y-%m-%d %H:%M} UTC"
                ),
            ]
        if calls_today >= DAILY_QUOTA_WARNING_SHARE * daily_quota:
            return [f"{calls_today:,} of today's {daily_quota:,} requests would be used"]
        return []

    def estimate_batch(self) -> ModeEstimate:
        """Return the estimate of the mode batch.

        If the API has no room for all batches at once, they are sent one group after another: the
        duration is that of a batch times the number of groups, and a warning says so. The duration
        is None on the local engine.

        The mode is not available if the provider has no batches. It is also not available in the
        free tier, unless the engine is local; a warning says so. A pilot is a sample that is asked
        first. If it failed or is unfinished, the mode is available, but refused: a person must
        decide about the pilot first.
        """
        tier = self.run.workspace.settings.tier
        plan = self.plan
        warnings = list[str]()
        absence_reason = ""
        if tier == FREE_TIER and not self.run.model.local:
            absence_reason = "the free tier has no batches"
            warnings.append(f"{absence_reason}; if your tier is another, set {OptionHint('tier')}")

        if not self.run.workspace.provider.has_batches:
            absence_reason = f"{self.run.workspace.provider.name} has no batches"

        turns = math.ceil(plan.batches / self._compute_max_batches_at_once())
        if turns > 1:
            warnings.append(
                f"{plan.batches} batches are sent in {turns} turns, "
                "because the API limits the tokens and batches that may wait",
            )

        # Batches of the local engine run only while a command looks at them.
        is_local = self.run.model.local
        target_s = self.run.workspace.provider.target_batch_age.total_seconds()
        return self._make_priced_estimate(
            Mode.BATCH,
            seconds=None if is_local else target_s * turns,
            count=plan.batches,
            warnings=warnings,
            refusal_reason=self.pilot_reason,
            absence_reason=absence_reason,
        )

    def _compute_max_batches_at_once(self) -> int:
        """Return how many batches of the plan's mean size may wait at the API at the same time.

        The result is at least 1, and may be more than the plan has. The bounds are
        those of the provider and the prompt tokens that may be queued for the model. Batches that
        wait at the API already are not subtracted.
        """
        plan = self.plan
        max_batches = self.run.workspace.provider.max_active_batches
        prompt_tokens = plan.usage.prompt
        max_tokens = self.run.model.find_max_enqueued_tokens(self.run.workspace.settings.tier)
        if max_tokens is None or not prompt_tokens:
            return max_batches
        batches_for_tokens = int(max_tokens * plan.batches / prompt_tokens)
        return max(1, min(max_batches, batches_for_tokens))

    def _make_priced_estimate(
        self,
        mode: Mode,
        *,
        seconds: float | None,
        count: int,
        warnings: Sequence[str],
        refusal_reason: str = "",
        absence_reason: str = "",
    ) -> ModeEstimate:
        """Return a mode's estimate with its cost; add warnings about budget and spending cap.

        The mode is affordable if the budget has room for the cost and its reserve, a share that
        covers the error of the estimate. The warning about the budget comes first.

        Args:
            mode: The mode.
            seconds: Duration, or None if unknown.
            count: Batches or calls.
            warnings: Further warnings.
            refusal_reason: Why a person must decide first; empty if the mode is not refused.
            absence_reason: Why the mode is not available; empty if it is.
        """
        model = self.run.model
        tier = self.run.workspace.settings.tier
        # Live calls need no control requests, because their replies need no keys.
        control_cost = self.plan.control_cost if mode is Mode.BATCH else 0.0
        cost = (
            calculate_cost(
                model,
                self.plan.usage,
                mode.facts.tier,
                day=self.now.date(),
            )
            + control_cost
        )
        room = self.budget_room
        is_affordable = room is None or budget.add_reserve(cost) <= room
        spending_caps = self.run.workspace.provider.monthly_spending_caps
        spending_cap = spending_caps.get(tier, math.inf)

        all_warnings = list(warnings)
        if not is_affordable:
            all_warnings.insert(0, f"a budget has ${room or 0:,.4f} left, too little for all rows")
        if cost > spending_cap:
            all_warnings.append(f"tier {tier} may spend only {format_usd(spending_cap)} a month")

        return ModeEstimate(
            cost=cost,
            control_cost=control_cost,
            seconds=seconds,
            count=count,
            warnings=tuple(all_warnings),
            affordable=is_affordable,
            refusal_reason=refusal_reason,
            absence_reason=absence_reason,
        )
