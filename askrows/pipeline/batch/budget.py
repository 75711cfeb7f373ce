"""Limit new work of all commands and processes: budgets in USD, and token quotas of the API.

- A budget counts the spending since its start, running batches, and the batch about to start.
- A batch that is not over counts at its estimated cost plus a reserve.
- Budgets are checked in the transaction that starts a batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import ConfigurationError, InputError, RemoteError
from askrows.pipeline.core.settings import Budget, Settings
from askrows.pipeline.core.states import BatchState
from askrows.pipeline.core.text import plural
from askrows.pipeline.provider.models import Model, find_recorded_model, load_models
from askrows.pipeline.provider.providers import Provider, find_provider
from askrows.pipeline.provider.responses import parse_token_limit
from askrows.pipeline.provider.usage import Usage
from askrows.pipeline.store import batches, money, runs, workspace
from askrows.pipeline.store.batches import BatchRow
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.tasks.task import Task

# Our choice: a budget keeps this share of each estimate free, because estimates have errors.
RESERVE_SHARE = 0.10
# If there are fewer answers, counted characters estimate better. A comparison asks at least this
# many rows.
MIN_CALIBRATION_ANSWERS = 5
# States of batches that are at the API, or may be.
API_STATES = (BatchState.SUBMITTING, BatchState.SUBMITTED)
# States of batches that are at the API or about to be sent.
QUEUED_STATES = (BatchState.PREPARED, *API_STATES)


class BudgetError(ConfigurationError):
    """A budget allows no more work to start; running batches continue."""


class QuotaFullError(RemoteError):
    """The API would refuse another batch now, by our own count; it can be sent when others end."""


def add_reserve(usd: float) -> float:
    """Return an estimated cost with the reserve that a budget keeps free for it."""
    return usd * (1 + RESERVE_SHARE)


@dataclass(frozen=True)
class Budgets:
    """The budgets that limit this command: that of the command or `tag`, and that of the day."""

    budgets: tuple[Budget, ...]
    now: datetime
    # Whose day the budget of the day counts.
    provider: Provider

    def list_budgets_with_remaining_usd(
        self, tx: Connection, *, next_batch: int | None = None
    ) -> list[tuple[Budget, float]]:
        """Return each budget with its remaining amount in USD, which is negative if it is passed.

        Spending since the budget's start counts: known costs, costs of lost calls, and estimates of
        batches that are not over, with their reserve.

        Args:
            next_batch: The number of a batch that is about to start. This batch does not count, and
                neither do prepared batches with a higher number, because they are sent after it.
        """
        remaining = []
        for budget in self.budgets:
            spending = money.sum_spending(
                tx,
                sent_since=budget.starts_at,
                next_batch=next_batch,
            )
            used_usd = spending.known_usd + spending.lost_usd + add_reserve(spending.under_way_usd)
            remaining.append((budget, budget.usd - used_usd))
        return remaining

    def compute_remaining_usd(self, tx: Connection) -> float | None:
        """Return how much may still be started, in USD, at least 0, or None without a budget."""
        amounts = [amount for _, amount in self.list_budgets_with_remaining_usd(tx)]
        if not amounts:
            return None
        return max(0.0, min(amounts))

    def check_batch_fits(self, tx: Connection, batch: BatchRow) -> None:
        """Refuse to start a prepared batch that no longer fits a budget.

        Its estimated cost is compared without its reserve; the batch was cut to fit with the
        reserve when it was prepared. Prepared batches after it are not counted.

        Raises:
            BudgetError: The estimated cost of the batch is more than a budget has left.
        """
        for budget, remaining in self.list_budgets_with_remaining_usd(tx, next_batch=batch.number):
            if batch.estimated_cost > remaining:
                raise self._make_budget_error(
                    budget,
                    f"would be exceeded: ${max(0.0, remaining):.4f} is left, and batch "
                    f"{batch.number} needs about ${batch.estimated_cost:.4f}; "
                    "the batch was not sent",
                )

    def find_tightest_budget(self, tx: Connection) -> Budget | None:
        """Return the budget with the least money left, or None without budgets."""
        remaining = self.list_budgets_with_remaining_usd(tx)
        if not remaining:
            return None
        budget, _ = min(remaining, key=lambda pair: pair[1])
        return budget

    def make_no_room_error(self, tx: Connection) -> BudgetError:
        """Return the error that the tightest budget allows no further request.

        At least one budget must be set. Nothing is raised here.
        """
        budget = self.find_tightest_budget(tx)
        # A budget stopped the caller, so a budget is set.
        assert budget is not None  # noqa: S101
        return self._make_budget_error(
            budget, "does not cover another request; no further request was sent"
        )

    def _make_budget_error(self, budget: Budget, reason: str) -> BudgetError:
        """Return the error to raise if a budget does not allow new work.

        The hint says how to raise the budget, and for the daily budget when it resets.

        Args:
            reason: The end of the message, which begins with the name, the amount and the start of
                the budget. The start is left out for BUDGET_PER_DAY.
        """
        start = f" (since {budget.starts_at:%Y-%m-%d %H:%M} UTC)"
        hint = f"set a larger {budget.name}"
        if budget.name == "BUDGET_PER_DAY":
            start = ""
            resets_at = self.provider.next_reset(self.now)
            hint += f", or run the command again after {resets_at:%Y-%m-%d %H:%M} UTC"
        return BudgetError(f"{budget.name}={budget.usd:g}{start} {reason}", hint=hint)


def make_current_budgets(run: Run, unfinished_tag_budget: Budget | None = None) -> Budgets:
    """Return the budgets that limit this command now: its own, and the budget of the day.

    The own budget is `run.budget`; it counts spending since its own start. The budget of the day is
    the setting BUDGET_PER_DAY, and starts at midnight where the provider's quotas do.

    Args:
        unfinished_tag_budget: The budget of an unfinished `tag`, which replaces the budget of this
            command, `run.budget`.

    Returns:
        No budgets if none is set.

    """
    active_budgets = []
    command_budget = unfinished_tag_budget or run.budget
    if command_budget is not None:
        active_budgets.append(command_budget)

    now = run.workspace.now()
    provider = run.workspace.provider
    if run.workspace.settings.budget_per_day is not None:
        started_at = provider.start_of_day(provider.quota_day(now))
        active_budgets.append(
            Budget(run.workspace.settings.budget_per_day, started_at, "BUDGET_PER_DAY")
        )
    return Budgets(tuple(active_budgets), now, provider)


def list_budgets_with_used_usd(run: Run) -> list[tuple[Budget, float]]:
    """Return each budget of the task in use, with the USD of it that are used.

    The budget of an unfinished `tag` is among them. The amount is at most that of the budget.
    """
    with run.workspace.store.read() as tx:
        budgets = make_current_budgets(run, find_unfinished_tag_budget(tx, run.task))
        list_budgets_with_remaining_usd = budgets.list_budgets_with_remaining_usd(tx)
    return [
        (budget, budget.usd - max(0.0, amount))
        for budget, amount in list_budgets_with_remaining_usd
    ]


def reset_future_tag_start(store: Store, task: Task, *, now: Callable[[], datetime]) -> None:
    """Set the start of an unfinished `tag` to now if a wrong clock recorded it in the future.

    Otherwise its budget would not count batches that are sent before that time. Writes nothing in
    all other cases.
    """
    tag_run = store.query(runs.find_unfinished_tag_run, task.name)
    current_time = now()
    if tag_run is not None and tag_run.started_at > current_time:
        with store.write() as tx:
            runs.update_run_columns(tx, tag_run.number, started_at=current_time)


def check_budget_amount(usd: float) -> None:
    """Refuse a budget that is negative or NaN.

    Raises:
        InputError: The amount is invalid.
    """
    # NaN is refused too.
    if not usd >= 0:
        raise InputError(
            f"budget is {usd}, but must be 0 or more; nothing was asked",
            hint=f"{OptionHint(budget='2.50')} allows 2.50 USD",
        )


def find_unfinished_tag_budget(tx: Connection, task: Task) -> Budget | None:
    """Return the budget of the task's unfinished `tag`.

    It limits every command that continues the `tag`.

    Returns:
        None if no `tag` is unfinished, or if it has no budget.
    """
    tag_run = runs.find_unfinished_tag_run(tx, task.name)
    if tag_run is None or tag_run.budget is None:
        return None
    return Budget(tag_run.budget, tag_run.started_at, "BUDGET")


def copy_with_unfinished_tag_budget(run: Run) -> Run:
    """Return a run with the budget of the task's unfinished `tag`; without one, the run as it is.

    The budget counts the spending since the start of the `tag`.
    """
    tag_budget = run.workspace.store.query(find_unfinished_tag_budget, run.task)
    return replace(run, budget=tag_budget or run.budget)


@dataclass(frozen=True)
class Calibration:
    """Corrections of token estimates, measured from the past answers of a version."""

    # Billed prompt tokens per counted prompt token.
    prompt: float = 1.0
    # Tokens per answer, with thoughts, or None if not measured, so the task's own figure is used.
    answer: float | None = None
    # Number of measured answers.
    answers: int = 0

    def correct_usage(self, usage: Usage, *, request_count: int) -> Usage:
        """Return the expected tokens of `request_count` requests whose counted usage is `usage`.

        It is `usage` if no answer was measured.
        """
        if self.answer is None:
            return usage
        return Usage(
            prompt=round(usage.prompt * self.prompt), answer=round(self.answer * request_count)
        )


def measure_calibration(tx: Connection, version: str, fingerprint: str | None) -> Calibration:
    """Return the factors that correct the estimates of a question, measured by its ended batches.

    A counted prompt token is one that was estimated from the text before the batch was sent.

    Returns:
        The calibration: the billed prompt tokens for each counted prompt token, the answer tokens
        for each answer, and the number of measured answers. If there are fewer than
        MIN_CALIBRATION_ANSWERS answers, the default, which changes no estimate of tokens.
    """
    counted_tokens = 0.0
    answer_count = 0
    prompt_tokens = 0
    answer_tokens = 0
    for batch, used_requests in money.list_newest_fully_counted_batches(tx, version, fingerprint):
        counted_tokens += (batch.counted_in or 0) * used_requests / batch.requests
        answer_count += used_requests
        prompt_tokens += batch.tokens_in or 0
        answer_tokens += batch.tokens_out or 0

    if answer_count < MIN_CALIBRATION_ANSWERS or not counted_tokens:
        return Calibration()
    return Calibration(prompt_tokens / counted_tokens, answer_tokens / answer_count, answer_count)


def find_max_queued_tokens(tx: Connection, model: Model, settings: Settings) -> int | None:
    """Return how many prompt tokens of a model may be queued at the API; None without a limit.

    It is the limit in the table of models, or the limit in the error of the newest failed batch of
    the model, if that is lower.
    """
    limits = [model.find_max_enqueued_tokens(settings.tier)]
    failed_batches = [
        batch
        for batch in batches.list_batches_in_states(tx, BatchState.FAILED)
        if batch.model == model.name
    ]
    limits += [parse_token_limit(batch.reason or "") for batch in failed_batches[-1:]]
    return min((limit for limit in limits if limit is not None), default=None)


def compute_remaining_queue_tokens(
    tx: Connection,
    model: Model,
    settings: Settings,
) -> int | None:
    """Return how many more prompt tokens a new batch of a model may have now.

    The limit is reduced by the estimated prompt tokens of the model's prepared, submitting and
    submitted batches of all tasks, because these batches are queued.

    Returns:
        At least 0. None if there is no limit, or if no batch of the model is queued: waiting
        does not help then, so a batch of any size may be tried.
    """
    max_tokens = find_max_queued_tokens(tx, model, settings)
    if max_tokens is None:
        return None
    queued_tokens = [
        batch.estimated_in
        for batch in batches.list_batches_in_states(tx, *QUEUED_STATES)
        if batch.model == model.name
    ]
    if not queued_tokens:
        return None
    return max(0, max_tokens - sum(queued_tokens))


def find_quota_refusal_reason(tx: Connection, batch: BatchRow, settings: Settings) -> str:
    """Return why the API would refuse a batch now; "" if it should accept it.

    It refuses the batch if as many others as it allows are there, or if too many prompt tokens
    would be queued for the batch's model together with this batch. Submitting and submitted batches
    of all tasks are at the API. If no other batch of any model is there, a batch of any size may be
    tried, and the result is "". The tokens are not checked if the model is unknown now. A cancelled
    batch counts until the API says that it is over; a reason about tokens names it.
    """
    provider = find_provider(workspace.read_workspace(tx).backend)
    active_batches = [
        active
        for active in batches.list_batches_in_states(tx, *API_STATES)
        if active.number != batch.number
    ]
    max_batches = provider.max_active_batches
    if len(active_batches) >= max_batches:
        active_text = plural(len(active_batches), "batch is", "batches are")
        return f"{active_text} at the API, which accepts {max_batches}"

    models_by_name = load_models(settings.models_file)
    model = find_recorded_model(batch.model, models_by_name, settings)
    if model is None or not active_batches:
        return ""
    max_tokens = find_max_queued_tokens(tx, model, settings)
    queued_batches = [queued for queued in active_batches if queued.model == batch.model]
    tokens = batch.estimated_in + sum(queued.estimated_in for queued in queued_batches)
    if max_tokens is None or tokens <= max_tokens:
        return ""
    reason = (
        f"{tokens:,} tokens would be queued for {batch.model}, and the API accepts {max_tokens:,}"
    )
    cancelled_text = describe_cancelled_in_queue(queued_batches, provider)
    if cancelled_text:
        reason += f"; {cancelled_text}"
    return reason


def describe_cancelled_in_queue(queued_batches: Sequence[BatchRow], provider: Provider) -> str:
    """Return which batches are cancelled but still use queued tokens; "" if none is cancelled.

    The text has the time of the cancel, the tokens, and the time at which the API ends the batch at
    the latest.

    Args:
        queued_batches: Batches at the API.
    """
    return "; ".join(
        f"batch {batch.number} was cancelled at {batch.cancel_asked_at:%Y-%m-%d %H:%M} UTC and "
        f"holds {batch.estimated_in:,} queued tokens until the API says that it is over, "
        f"at the latest at {batch.create_sent_at + provider.max_batch_age:%Y-%m-%d %H:%M} UTC"
        for batch in queued_batches
        if batch.cancel_asked_at is not None and batch.create_sent_at is not None
    )
