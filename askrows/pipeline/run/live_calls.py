"""The calls of a live run: which request comes next, and how its reply or failure is handled.

- A reply is appended to the batch's unsealed result file before its call slot is free, so a killed
  process loses no reply.
- A request that fails because of the service is tried again for a while and blocks no other
  request. After that its row is open again and no attempt is charged.
"""

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from askrows.pipeline.batch.batch_files import OpenLiveBatch
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import INTERRUPTED_REASON, RunResult, TrialOutcome
from askrows.pipeline.core import errors
from askrows.pipeline.provider import requests
from askrows.pipeline.provider.models import find_serving_model, load_models
from askrows.pipeline.provider.rate_limiter import StartedCall
from askrows.pipeline.provider.retry import RetryPolicy
from askrows.pipeline.provider.usage import calculate_cost
from askrows.pipeline.run.live_throttle import MAX_PAUSE_S, OVERLOADED_CODE, LiveThrottle
from askrows.pipeline.store.claims import LOST_CALL_PREFIX
from askrows.pipeline.tasks.request_builder import PlannedRequest, choose_response_parser

# After this many 400s without any answer, the request itself must be wrong.
MAX_INITIAL_400S = 3
# A call without a reply may have been paid for. After this many for one row, the row is given up.
MAX_UNANSWERED_CALLS = 2
# The lowest HTTP status code of an error.
MIN_ERROR_CODE = 400


@dataclass(eq=False)
class PendingCall:
    """A request of an open live batch that has no reply yet."""

    request: PlannedRequest
    batch: OpenLiveBatch
    # Monotonic time before which the call is not repeated after a failure of the service.
    not_before: float = -math.inf
    # Monotonic time of the first failure of the service.
    failing_since: float = math.inf
    # Failures of the service.
    failures: int = 0
    # Failures without any reply; each of these calls may have been paid for.
    unanswered_calls: int = 0

    @property
    def row_id(self) -> str:
        """Return the id of the row."""
        return self.request.row.id

    @property
    def prompt_tokens(self) -> int:
        """Return the estimated prompt tokens of the call."""
        return self.request.usage.prompt


class LiveCalls:
    """The queue of a live run, and the calls that are made from it.

    Only for the thread of the run's event loop.
    """

    def __init__(
        self,
        run: Run,
        throttle: LiveThrottle,
        result: RunResult,
    ) -> None:
        """Start with an empty queue.

        Args:
            throttle: Learns of every reply and failure.
            result: Gets the costs and the outcomes of the calls.
        """
        self._run = run
        self._throttle = throttle
        self._result = result
        self._parse_response = choose_response_parser(run.task, run.model)
        self._models = load_models(run.workspace.settings.models_file)
        self._retry_policy = RetryPolicy(
            run.workspace.settings.retry_wait, MAX_PAUSE_S, min_share=0.5
        )
        # Requests that wait for a call or for the repetition of a call.
        self.queue: deque[PendingCall] = deque()
        # 400s before any answer: either the row or every request may be at fault.
        self._unsettled_refusals: list[tuple[PendingCall, errors.RefusedError]] = []

    # The queue

    def queue_requests(
        self, open_batch: OpenLiveBatch, planned_requests: Sequence[PlannedRequest]
    ) -> None:
        """Queue the requests of a batch.

        A request with more tokens than the limit per minute is not queued. Its row is given up,
        with a reason that names the tokens and the limit.
        """
        for request in planned_requests:
            call = PendingCall(request, open_batch)
            if self._throttle.rate_limiter.fits(call.prompt_tokens):
                self.queue.append(call)
                continue

            reason = (
                f"the request has {call.prompt_tokens:,} tokens, and the limit is "
                f"{self._run.rate_limits.tpm:,} tokens per minute"
            )
            self._give_up(call, reason, may_be_paid=False)

    def pop_ready(self) -> PendingCall | None:
        """Remove and return the first call that may be made now, or None if all have to wait."""
        now = self._run.workspace.monotonic()
        call = next((call for call in self.queue if call.not_before <= now), None)
        if call is not None:
            self.queue.remove(call)
        return call

    def seconds_to_next(self) -> float:
        """Return the seconds until a queued call may be made; infinity if none is queued."""
        next_start = min((call.not_before for call in self.queue), default=math.inf)
        return max(0.0, next_start - self._run.workspace.monotonic())

    # A call

    async def make_call(self, call: PendingCall, started_call: StartedCall) -> None:
        """Make a call, append its reply to the reply file of its batch, and count it.

        The reply is in the file, but not synced, when this returns. Its cost is added to the
        result. A trial also keeps the reply in the result. After an error of the API the call is
        repeated later, or its row is given up, or the run stops. If the call is cancelled, its row
        is given up, and the call may have been paid for.

        Args:
            started_call: The entry of the rate limiter for this call.

        Raises:
            LockLostError: Another process took over the batch; the call was not made.
            CancelledError: The call was cancelled.
            ConfigurationError: The number of calls or the reply could not be written to its file.
        """
        run = self._run
        started_at = run.workspace.monotonic()
        await asyncio.to_thread(call.batch.lock.raise_if_lost)

        try:
            reply = await self._send(call)
        except asyncio.CancelledError:
            reason = self._throttle.late_reason
            if self._result.is_interrupted:
                reason = INTERRUPTED_REASON
            self._give_up(call, reason, may_be_paid=True)
            raise
        except errors.RemoteError as error:
            self._handle_failure(call, started_call, error, started_at=started_at)
            return

        # The reply is in the file before the slot of this call is free, so a killed process loses
        # none. The file is synced every second.
        duration_s = run.workspace.monotonic() - started_at
        call.batch.append_reply(requests.make_result_line(call.request.line, response=reply))
        call.batch.seconds += duration_s
        if run.is_trial:
            self._result.trial_outcomes[call.row_id] = TrialOutcome(reply, "", duration_s)

        parsed_reply = self._parse_response(reply)
        serving_model = find_serving_model(run.model, parsed_reply.model_version, self._models)
        if serving_model is not run.model:
            self._result.other_models.add(serving_model.name)
        self._result.calls_cost += calculate_cost(
            serving_model,
            parsed_reply.usage,
            parsed_reply.served_tier or run.mode.facts.tier,
            day=run.workspace.now().date(),
        )
        if parsed_reply.usage.prompt:
            self._throttle.rate_limiter.replace_estimated_tokens(
                started_call, parsed_reply.usage.prompt
            )
        self._throttle.note_answer(duration_s=duration_s)
        self._charge_kept_refusals()
        self._count_reply(call.batch)

    async def _send(self, call: PendingCall) -> dict[str, Any]:
        """Send a request to the method of the model's kind, and return the raw reply.

        The call is counted directly before it is sent, so that a killed process hides no call that
        may be paid for, and counts no other.
        """
        client = self._run.client
        model = self._run.model
        request = requests.parse_request(call.request.line)
        on_send = call.batch.record_calls
        if model.kind == "decide":
            return await client.ask_decision_model(model.name, request, on_send=on_send)
        tier = self._run.mode.facts.tier
        return await client.generate(model.name, request, service_tier=tier, on_send=on_send)

    # Failures of a call

    def _handle_failure(
        self,
        call: PendingCall,
        started_call: StartedCall,
        error: errors.RemoteError,
        *,
        started_at: float,
    ) -> None:
        """Decide after a failed call: repeat it, give its row up, or stop the run.

        - A 429: the call becomes the next call, after the pause that the throttle sets.
        - A lasting refusal, such as a bad key: the run stops.
        - Any other refusal, usually a 400: if a call of this run was answered, the row is charged,
          so the failure counts against it. Before the first answer the refusal is kept, and
          MAX_INITIAL_400S kept refusals stop the run.
        - A failure of the service, or an unreadable reply: the call is repeated after a pause. Its
          row is given up after too many such calls, or after the throttle's patience.

        A refused call, or a call with the code 503, was not paid for and is taken off the batch's
        number of calls. A call with a 429 or that was not sent is taken off the rate limits.

        Args:
            started_call: The entry of the rate limiter for this call.
            started_at: Monotonic time at which the call started.
        """
        if isinstance(error, errors.RefusedError) or error.code == OVERLOADED_CODE:
            call.batch.record_calls(-1)
        # No quota counted a throttled or unsent call.
        if isinstance(error, errors.ThrottledError | errors.NotSentError):
            self._throttle.rate_limiter.remove_call(started_call)
        if isinstance(error, errors.ThrottledError):
            self._throttle.note_refusal(error)
            self.queue.appendleft(call)
        elif isinstance(error, errors.LASTING_REFUSALS):
            self._throttle.stop(error)
        elif isinstance(error, errors.RefusedError):
            self._unsettled_refusals.append((call, error))
            if self._throttle.has_answered:
                self._charge_kept_refusals()
            elif len(self._unsettled_refusals) >= MAX_INITIAL_400S:
                self._throttle.stop(error)
        else:
            self._throttle.note_failure(error, started_s=started_at, row_id=call.row_id)
            self._repeat_or_give_up(call, error)

    def _repeat_or_give_up(self, call: PendingCall, error: errors.RemoteError) -> None:
        """Queue a call again after a failure of the service, or give its row up.

        The row is given up after MAX_UNANSWERED_CALLS calls without a readable reply (one call in a
        run with a single batch), or if its calls have failed for longer than the throttle's
        patience. If its last reply arrived but cannot be read, and another call of this run was
        answered, the row is charged: the failure counts against it.

        The pause before the next call doubles each time, with jitter. It is longer if the service
        asked for more, but never longer than MAX_PAUSE_S.
        """
        now = self._run.workspace.monotonic()
        call.failures += 1
        call.failing_since = min(call.failing_since, now)
        was_sent = not isinstance(error, errors.NotSentError)
        is_unanswered = (error.code or 0) < MIN_ERROR_CODE and was_sent
        call.unanswered_calls += is_unanswered

        max_unanswered_calls = 1 if self._run.is_single_batch else MAX_UNANSWERED_CALLS
        is_too_silent = call.unanswered_calls >= max_unanswered_calls
        is_too_old = now - call.failing_since > self._throttle.patience_s(error)
        if is_too_silent or is_too_old:
            if isinstance(error, errors.UnreadableError) and self._throttle.has_answered:
                self._charge(call, error.message, response=error.message)
            else:
                self._give_up(call, error.message, may_be_paid=is_unanswered)
            return

        requested_s = min(error.retry_after_s or 0.0, MAX_PAUSE_S)
        call.not_before = now + self._retry_policy.compute_delay_s(
            call.failures, requested_s=requested_s
        )
        self.queue.append(call)

    # Rows without a reply

    def _charge_kept_refusals(self) -> None:
        """Charge the rows whose requests were refused, because another request was answered.

        To charge a row is to count the failure against it. Each kept refusal is appended to the
        reply file of its batch, counts as a call of the batch, and is then no longer kept. The row
        is charged when the replies are ingested. Does nothing if no refusal is kept.
        """
        refusals = self._unsettled_refusals
        self._unsettled_refusals = []
        for call, error in refusals:
            error_document = {
                "code": error.code or MIN_ERROR_CODE,
                "message": error.server_text or error.message,
                "status": error.status,
            }
            # The line of the refusal counts as the reply to a call.
            call.batch.record_calls()
            self._charge(call, error.message, is_refused=True, error=error_document)

    def _charge(
        self,
        call: PendingCall,
        reason: str,
        *,
        is_refused: bool = False,
        **reply_members: Any,
    ) -> None:
        """Append a failed reply to the reply file, so that the ingest charges the row.

        Args:
            reason: Why the row got no answer, for a trial's outcome.
            is_refused: The service refused the request by a 400. Only a trial's outcome shows it.
            reply_members: As in `make_result_line`.
        """
        call.batch.append_reply(requests.make_result_line(call.request.line, **reply_members))
        outcome = TrialOutcome(None, reason, is_refused=is_refused)
        self._result.trial_outcomes[call.row_id] = outcome
        self._count_reply(call.batch)

    def give_up_refused(self) -> None:
        """Give up the rows whose requests were refused, uncharged, because no request was answered.

        The refusals may be the fault of every request.
        """
        for call, error in self._unsettled_refusals:
            self._give_up(call, error.message, may_be_paid=False, is_refused=True)

    def _give_up(
        self,
        call: PendingCall,
        reason: str,
        *,
        may_be_paid: bool,
        is_refused: bool = False,
    ) -> None:
        """Record why a row got no reply in this run; its row is open again after the ingest.

        Counts the request as finished. Nothing is stored yet.

        Args:
            may_be_paid: The call may have been paid for. The reason begins with LOST_CALL_PREFIX
                then.
            is_refused: The service refused the request by a 400. Only a trial's outcome shows it.
        """
        failure_reason = f"{LOST_CALL_PREFIX}{reason}" if may_be_paid else reason
        call.batch.failure_reasons[call.row_id] = failure_reason
        outcome = TrialOutcome(None, reason, is_refused=is_refused)
        self._result.trial_outcomes[call.row_id] = outcome
        self._count_reply(call.batch)

    def _count_reply(self, open_batch: OpenLiveBatch) -> None:
        """Count a request that needs no more calls, in its batch and in the progress."""
        open_batch.open_requests -= 1
        self._throttle.progress.replies += 1
