"""Send every open row in batches, which move from prepared over submitting to submitted.

A submit first sends the batches that an earlier run left, then new batches. If it is stopped,
another submit continues, and no row is sent twice.
"""

import contextlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from askrows.pipeline.batch import batch_plan, budget, prepare, send
from askrows.pipeline.batch.batch_plan import BatchPlan, DraftEnd, Selection
from askrows.pipeline.batch.budget import QuotaFullError
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import CREATED_OUTCOMES, RunResult, RunStop, StopReason
from askrows.pipeline.batch.send import SendOutcome, fail_batch_and_release_claims
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import RemoteError, StateConflictError, ThrottledError
from askrows.pipeline.core.states import BatchState, Mode, Outcome
from askrows.pipeline.core.text import format_usd, plural
from askrows.pipeline.provider.usage import Usage
from askrows.pipeline.store import answers, batches
from askrows.pipeline.store.batches import BatchRow
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.tasks import claiming
from askrows.pipeline.tasks.task import Task

# Rounds of batches with a refused line each, in a run, before a person should look.
MAX_REBUILDS = 20


def submit_batches(
    run: Run,
    selection: Selection,
    result: RunResult,
    *,
    is_confirmed: bool = False,
    should_report_full_api: bool = False,
    number: int | None = None,
) -> Mapping[int, SendOutcome]:
    """Send the batches that an earlier run left, then batches of the selected claimable rows.

    Prints the plan and asks to confirm its cost before anything is written or sent. Batches with an
    unclear create (its reply was lost, so it may have made a remote batch) go first. Returns at
    once if there is neither a row nor an earlier batch.

    In an outage (see `batches.find_last_batch_if_outage`) only one batch is sent, and none while
    another batch of the task is at the API. Unclear creates are resolved in any case.

    The result gets the plan, the outcome of each batch, and as `stop` why rows were not sent: an
    outage, else a full API, else a budget.

    Args:
        is_confirmed: A person confirmed the cost already; tokens are not counted, and no plan is
            printed.
        should_report_full_api: If the API accepts no more batches while a batch of the task is
            submitted, this is the reason in the result, instead of an error. The error of a daily
            quota is raised anyway.
        number: The only batch of an earlier run that is sent; None sends all of them. The number
            does not restrict the new batches of the selected rows.

    Returns:
        The outcome of each batch that was sent now, by number.

    Raises:
        BudgetError: A budget has no room for any request.
        RemoteError: The API refused a batch, or its create stays unclear.
        ConfigurationError: There is no usable key, or the provider has no batches.
        InputError: A person did not confirm the cost, or it is above `run.agreed_usd`, the highest
            cost that the person agreed to before.
    """
    with run.workspace.store.read() as tx:
        earlier_batches = batches.list_batches_in_states(
            tx,
            BatchState.SUBMITTING,
            BatchState.PREPARED,
            task=run.task.name,
        )
        prepared_plan = sum_prepared_batches(tx, run.task)
        outage_batch = batches.find_last_batch_if_outage(tx, run.task.name)
        running = batches.list_batches_in_states(tx, BatchState.SUBMITTED, task=run.task.name)
    result.stop = RunStop()
    # Requests, tokens and cost of the new rows are not counted if they are confirmed.
    new_plan = BatchPlan(selection.count_claimable_rows(run.workspace.store, run.task))
    if new_plan.rows and not is_confirmed:
        with run.workspace.display.bar("counting tokens", new_plan.rows) as bar:
            new_plan = batch_plan.plan_batches(run, selection, bar=bar)
    result.plan = plan = prepared_plan + new_plan
    if not plan.rows and not earlier_batches:
        return {}

    # A missing key, or an engine that cannot start, is reported before anything is written.
    _open_batch_client(run)
    if not is_confirmed:
        _print_and_confirm_plan(run, plan)

    # Only a token count shows which rows share a request.
    new_requests = new_plan.rows if is_confirmed else new_plan.requests
    # Batches with an unclear create go first.
    earlier_batches.sort(key=lambda batch: batch.state is BatchState.PREPARED)
    max_new_batches = None
    if outage_batch is not None:
        earlier_batches = _select_batches_to_send_in_outage(
            earlier_batches, is_running=bool(running)
        )
        max_new_batches = 0 if earlier_batches or running else 1
    earlier_numbers = [batch.number for batch in earlier_batches]
    submission = _Submission(run, max_new_batches)
    try:
        submission.send_batches(earlier for earlier in earlier_numbers if number in (None, earlier))
        submission.prepare_and_send(selection, new_requests, has_new_rows=bool(new_plan.rows))
        result.stop = submission.find_budget_or_quota_stop(new_requests, set(earlier_numbers))
    except (ThrottledError, QuotaFullError) as error:
        if not should_report_full_api or not _may_accept_after_batch_end(run, error):
            raise
        run.workspace.display.say(f"the other batches wait until a batch ends: {error.message}")
        unsent_count = _count_unsent_rows(run.workspace.store, run.task, selection)
        result.stop = RunStop(StopReason.API_FULL, rows=unsent_count)
    finally:
        result.sent |= submission.sent
        result.equal_rows += submission.equal_rows

    result.sent_requests += submission.count_sent_requests()
    if outage_batch is not None:
        message = f"{describe_outage(outage_batch)}, so one batch is sent at a time"
        result.stop = RunStop(StopReason.BATCHES_FAILED, message)
    return submission.sent


def _open_batch_client(run: Run) -> None:
    """Open the client of a provider that has batches.

    Raises:
        ConfigurationError: The provider has none, no key is set, or the engine cannot start.
    """
    run.service.check_mode_is_offered(Mode.BATCH)
    run.open_client()


def _print_and_confirm_plan(run: Run, plan: BatchPlan) -> None:
    """Print the model and what is sent, and confirm the cost as `Run.confirm_cost` does.

    Raises:
        InputError: The cost was not confirmed; nothing was written or sent.
    """
    announcement = "sending batches of an earlier run"
    if plan.rows:
        announcement = describe_plan(run, plan)
    run.workspace.display.say(f"{run.model.name}, {announcement}")
    run.confirm_cost(plan.cost, unchanged_text="nothing was written or sent")


def _select_batches_to_send_in_outage(
    earlier_batches: list[BatchRow], *, is_running: bool
) -> list[BatchRow]:
    """Return the earlier batches that are sent in an outage.

    They are all batches with an unclear create, or else the first batch, or else none. The first is
    not sent while another batch is running.
    """
    unclear = [batch for batch in earlier_batches if batch.state is BatchState.SUBMITTING]
    if unclear or is_running:
        return unclear
    return earlier_batches[:1]


def _may_accept_after_batch_end(run: Run, error: RemoteError) -> bool:
    """Return whether the end of a submitted batch makes room at an API that accepts no more.

    False for a daily quota, or if no batch of the task is submitted.
    """
    if isinstance(error, ThrottledError) and error.resets_at is not None:
        return False
    return bool(
        run.workspace.store.query(
            batches.list_batches_in_states, BatchState.SUBMITTED, task=run.task.name
        )
    )


def describe_outage(last_batch: BatchRow) -> str:
    """Return in words that the last batches of a task got no reply.

    Args:
        last_batch: The last of them.
    """
    return (
        f"the last {batches.MIN_OUTAGE_BATCHES} batches ended without a reply "
        f"(batch {last_batch.number}: {last_batch.reason})"
    )


def describe_plan(run: Run, plan: BatchPlan) -> str:
    """Return rows, batches and cost of a plan in words, with the date of the prices."""
    batch_count = plural(plan.batches, "batch", "batches")
    cost_text = f"estimated {format_usd(plan.cost)} (prices of {run.model.priced_on})"
    return f"{plan.describe_rows(run.task.nouns)}; {batch_count}, {cost_text}"


def _count_unsent_rows(store: Store, task: Task, selection: Selection) -> int:
    """Return the rows in prepared batches plus the selected claimable rows.

    The claimable rows do not count if the limit of the selection is used up.
    """
    prepared = store.query(batches.list_batches_in_states, BatchState.PREPARED, task=task.name)
    unsent_count = sum(batch.requests for batch in prepared)
    if selection.limit != 0:
        unsent_count += replace(selection, limit=None).count_claimable_rows(store, task)
    return unsent_count


def fail_outdated_batches(run: Run) -> None:
    """Give up the task's prepared batches that are outdated, so that their rows are asked again.

    A batch is outdated if the task's declaration changed, or if another model is set and the
    provider refuses the model of the batch. Prints each batch that is given up. Batches that
    another process sends are left alone.
    """
    prepared_batches = run.workspace.store.query(
        batches.list_batches_in_states, BatchState.PREPARED, task=run.task.name
    )
    for batch in prepared_batches:
        reason = ""
        if batch.fingerprint != run.task.fingerprint:
            reason = "the task's declaration changed"
        elif batch.model != run.model.name and _is_model_refused(run.workspace.store, batch.model):
            reason = f"{run.workspace.provider.name} refuses its model {batch.model}"
        if not reason:
            continue

        with contextlib.suppress(StateConflictError), run.workspace.store.write() as tx:
            full_reason = f"{reason} before it was sent"
            released_rows = fail_batch_and_release_claims(
                tx, batch, reason=full_reason, now=run.workspace.now()
            )
            run.workspace.display.say(
                f"batch {batch.number} was not sent because {reason}; "
                f"{plural(released_rows, 'row')} can be asked again",
            )


def _is_model_refused(store: Store, model: str) -> bool:
    """Return whether the newest create call of a model was refused because of the model."""
    return store.query(batches.read_last_create_outcome, model) == batches.MODEL_REFUSED


def sum_prepared_batches(tx: Connection, task: Task) -> BatchPlan:
    """Return the plan of the task's prepared batches, at their estimates.

    Batches with an unclear create are left out.
    """
    return sum_stored_batches(
        batches.list_batches_in_states(tx, BatchState.PREPARED, task=task.name)
    )


def sum_stored_batches(stored_batches: Iterable[BatchRow]) -> BatchPlan:
    """Return the plan of stored batches, at their estimates; `control_cost` is always 0."""
    plan = BatchPlan()
    for batch in stored_batches:
        plan += BatchPlan(
            rows=batch.requests,
            batches=1,
            requests=batch.requests,
            counted_prompt_tokens=batch.counted_in or 0,
            usage=Usage(batch.estimated_in, batch.estimated_out),
            cost=batch.estimated_cost,
            control_requests=batch.control_requests,
        )
    return plan


@dataclass
class _Submission:
    """The batches that a submit sends."""

    run: Run
    # The most batches to prepare in each round, or None for all.
    max_new_batches: int | None
    # The outcome of each batch, by number.
    sent: dict[int, SendOutcome] = field(default_factory=dict)
    # Rows that got the answer of a row with the same input.
    equal_rows: int = 0
    # Batches with a refused line, whose other requests are in no batch yet.
    rebuild_numbers: list[int] = field(default_factory=list)
    # Why no more batches were prepared.
    draft_ends: set[DraftEnd] = field(default_factory=set)

    def send_batches(self, numbers: Iterable[int]) -> None:
        """Send the batches with these numbers in this order, and record each outcome.

        A batch with a refused line is noted, so that its other requests go into a new batch. An
        error of a batch is raised, and the following batches are not sent.
        """
        for number in numbers:
            outcome = send.send_batch(self.run, number)
            self.sent[number] = outcome
            if outcome is SendOutcome.REBUILD:
                self.rebuild_numbers.append(number)

    def prepare_and_send(
        self, selection: Selection, max_requests: int, *, has_new_rows: bool
    ) -> None:
        """Prepare and send batches of at most as many requests as were announced.

        If a line of a batch was refused, another round prepares its other requests in a new batch.
        Returns if no request is left. Fills `equal_rows` and `sent`.

        Args:
            selection: The rows to send. Each round uses a copy with its own limit and excluded ids.
            max_requests: The number of requests that was announced to the person, for all batches.
            has_new_rows: There are open rows. They are prepared even if `max_requests` is 0,
                because each may get the answer of a row with the same input.

        Raises:
            RemoteError: A line was refused in each of MAX_REBUILDS rounds. Errors of a send are
                raised too.
        """
        run = self.run
        refused_ids = set[str]()
        for round_index in range(MAX_REBUILDS):
            rebuild_numbers = self.rebuild_numbers
            self.rebuild_numbers = []
            with run.workspace.store.read() as tx:
                newly_refused_ids = set(
                    answers.list_row_ids_with_attempts(tx, rebuild_numbers, Outcome.REFUSED)
                )
            max_requests += self._count_requests(rebuild_numbers) - len(newly_refused_ids)
            is_first_round_with_rows = round_index == 0 and has_new_rows
            if max_requests < 1 and not is_first_round_with_rows:
                return

            refused_ids |= newly_refused_ids
            round_selection = replace(selection, limit=max_requests, excluded_ids=refused_ids)
            max_requests = 0
            with run.workspace.display.bar("writing requests", round_selection.limit) as bar:
                prepared = prepare.prepare_batches(
                    run,
                    round_selection,
                    bar=bar,
                    max_batches=self.max_new_batches,
                )
            self.draft_ends.add(prepared.draft_end)
            self.equal_rows += prepared.equal_rows
            self.send_batches(prepared.numbers)

        parked = run.task.nouns.command("parked")
        name = run.workspace.provider.name
        raise RemoteError(
            f"{name} refused one line in each of {MAX_REBUILDS} request files; "
            "the other rows were not sent",
            hint=f"`{parked}` and `{CommandHint('batches')}` list the reasons",
        )

    def count_sent_requests(self) -> int:
        """Return the number of requests in the batches that reached the API."""
        return self._count_requests(
            [number for number, outcome in self.sent.items() if outcome in CREATED_OUTCOMES]
        )

    def find_budget_or_quota_stop(
        self, announced_requests: int, earlier_numbers: set[int]
    ) -> RunStop:
        """Return how many rows a budget or the quota of queued tokens held back, and which of them.

        The stop has no reason if neither did, also if rows are unsent for another reason. If both
        did, it is the budget. The count is the announced requests without those in new batches, at
        most the claimable rows.

        Args:
            announced_requests: The requests of new rows in the plan; those of batches that an
                earlier run left are not included.
            earlier_numbers: Batches that existed before this submit.

        Raises:
            BudgetError: A budget held all rows back, so nothing was prepared or sent.
        """
        if not self.draft_ends & {DraftEnd.BUDGET, DraftEnd.QUOTA}:
            return RunStop()

        new_numbers = [number for number in self.sent if number not in earlier_numbers]
        intact_numbers = [
            number for number in new_numbers if self.sent[number] is not SendOutcome.REBUILD
        ]
        # A refused line counts as sent.
        refused_lines = len(new_numbers) - len(intact_numbers)
        sent_requests = self._count_requests(intact_numbers) + refused_lines
        unsent_requests = announced_requests - sent_requests
        with self.run.workspace.store.read() as tx:
            open_rows = claiming.count_claimable(tx, self.run.task)
            unsent_rows = max(0, min(unsent_requests, open_rows))
            if not unsent_rows:
                return RunStop()
            if DraftEnd.BUDGET not in self.draft_ends:
                message = "the API has no room in its quota of queued tokens"
                return RunStop(StopReason.API_FULL, message, unsent_rows)
            current_budgets = budget.make_current_budgets(self.run)
            tightest = current_budgets.find_tightest_budget(tx)
            if tightest is None:
                return RunStop()
            if not self.sent:
                raise current_budgets.make_no_room_error(tx)
        message = f"{tightest.name}={tightest.usd:g} does not cover the other rows"
        return RunStop(StopReason.BUDGET, message, unsent_rows)

    def _count_requests(self, numbers: Collection[int]) -> int:
        """Return the number of requests in these batches."""
        with self.run.workspace.store.read() as tx:
            return sum(batches.get_batch(tx, number).requests for number in numbers)
