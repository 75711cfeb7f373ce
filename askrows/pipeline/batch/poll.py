"""Follow batches at the API until each is over and its result is sealed.

- A batch moves from submitted to downloaded or failed.
- A look at a batch is one `get` call about it. A batch is over if the API will not change it any
  more.
- Only `get` decides whether a batch still exists, never its absence from a list.
- No lock is taken while a poll waits, so a poll of a whole day blocks no other process.
- An error of one batch does not stop the others. Unclear creates are left to `batch-submit`.
- A batch that expired, failed or was cancelled is downloaded if it has a result. Otherwise its rows
  are released, and the failure counts against none of them.
"""

import itertools
from dataclasses import dataclass, field
from typing import NamedTuple

from askrows.pipeline.batch.batch_files import (
    count_ended_requests,
    get_checked_result_path,
    make_batch_lock_name,
)
from askrows.pipeline.batch.reconcile import record_and_cancel_duplicates_of_all_tasks
from askrows.pipeline.batch.result_download import (
    POLL_GROWTH,
    download_lost_result_again,
    download_result_or_fail_batch,
)
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import RunResult
from askrows.pipeline.core import errors, files
from askrows.pipeline.core.progress import ProgressBar
from askrows.pipeline.core.states import (
    BatchState,
    RemoteState,
    describe_remote_state,
    is_known_remote_state,
    parse_remote_state,
)
from askrows.pipeline.core.text import describe_requests, format_duration
from askrows.pipeline.provider.remote_batch import RemoteBatch
from askrows.pipeline.provider.retry import RetryPolicy
from askrows.pipeline.store import batches
from askrows.pipeline.store.batches import BatchRow, is_cancelled_without_move

# How long a single look lets the local engine work.
LOCAL_LOOK_S = 5.0
# After these errors a batch is looked at again.
TRANSIENT_ERRORS = (errors.UnavailableError, errors.NotSentError, errors.ThrottledError)
# States of a batch that has no complete result.
UNSUCCESSFUL_STATES = (RemoteState.FAILED, RemoteState.EXPIRED, RemoteState.CANCELLED)


def poll_and_download_batches(
    run: Run,
    result: RunResult,
    *,
    should_wait: bool,
    stops_at_first: bool = False,
    number: int | None = None,
) -> None:
    """Look at the task's submitted batches, and seal the results of those that are over.

    A look reads the state of a batch from the API and stores it. To seal a result is to store its
    file and record its hash. Shows the progress. Nothing is ingested. Also:

    - A batch with an unclear create may or may not exist at the API. It is only added to the
      result's `unclear_batches`. If another process has the lock of such a batch, that process is
      printed and the batch is not added.
    - The result of a downloaded batch is downloaded again if its file was lost or damaged. The
      result does not mention it.
    - Duplicate batches of all tasks are cancelled.

    Ends early if no look succeeds for as many seconds as the setting `poll_patience`, or if a daily
    quota is used up; the error is the result's `poll_error`.

    The members of the result about the newest poll are replaced. If no batch is submitted, all of
    them except `unclear_batches` are empty.

    Args:
        run: The run.
        result: Gets the state of the followed batches.
        should_wait: Look until all batches are over, instead of once (with the local engine:
            instead of for some seconds).
        stops_at_first: If `should_wait` is set, look only until the first batch is over.
        number: Look at this batch only. A number that no batch of the task has is no error.

    Raises:
        KeyRefusedError: The API refuses the key.
    """
    result.downloaded = []
    result.waiting_batches = []
    result.failed_polls = {}
    result.unknown_batches = {}
    result.unclear_batches = []
    result.poll_error = None
    poll = _Poll(run, number, result)
    for batch in poll.list_batches_in_state(BatchState.SUBMITTING):
        lock_name = make_batch_lock_name(batch.number)
        if not run.workspace.locks.is_free(lock_name):
            run.workspace.display.say(
                f"batch {batch.number}: {run.workspace.locks.describe_lock_holder(lock_name)}"
            )
        # The process that had the lock may have created the batch meanwhile.
        elif (
            run.workspace.store.query(batches.get_batch, batch.number).state
            is BatchState.SUBMITTING
        ):
            result.unclear_batches.append(batch.number)
    record_and_cancel_duplicates_of_all_tasks(run)
    poll.download_lost_results_again()
    poll.follow_submitted_batches()
    if not poll.followed:
        return

    # The end of a batch cannot be computed from the ended requests of other batches.
    counts = poll.count_polled_requests()
    label = describe_requests(counts.all_requests, counts.rows)
    with run.workspace.display.bar(label, None, has_rate=False) as bar:
        poll.poll_until_end(should_wait=should_wait, stops_at_first=stops_at_first, bar=bar)
    poll.add_followed_batches_to_result()
    if result.downloaded or result.failed_polls:
        record_and_cancel_duplicates_of_all_tasks(run)


class PolledRequests(NamedTuple):
    """Requests of a run that waits for batches."""

    ended: int
    # Each request counts once, also if it is asked again.
    all_requests: int
    # The rows that the requests ask, with those of equal input.
    rows: int


@dataclass
class _Poll:
    """A poll command: the batches that it follows, and the errors of its looks."""

    run: Run
    only_number: int | None
    result: RunResult
    # Numbers of the batches, oldest first.
    followed: list[int] = field(default_factory=list)
    # Batch number to the error of its last look, transient or not.
    check_errors: dict[int, errors.RemoteError] = field(default_factory=dict)
    # Monotonic time of the first failed look after the last success.
    failing_since: float | None = None

    @property
    def _retry_policy(self) -> RetryPolicy:
        """Return the pauses between looks, and how long the poll goes on while all looks fail."""
        settings = self.run.workspace.settings
        return RetryPolicy(
            first_delay_s=settings.poll_first,
            max_delay_s=settings.poll_most,
            max_elapsed_s=settings.poll_patience,
            growth=POLL_GROWTH,
        )

    def follow_submitted_batches(self) -> None:
        """Follow all submitted batches of the task, also batches submitted since the last call."""
        for batch in self.list_batches_in_state(BatchState.SUBMITTED):
            if batch.number not in self.followed:
                self.followed.append(batch.number)
        self.result.polled.update(self.followed)

    def _needs_another_look(self, number: int) -> bool:
        """Return whether a batch should be looked at again.

        False if the API does not know it, or if its last look had a lasting error.
        """
        error = self.check_errors.get(number)
        may_pass = error is None or isinstance(error, TRANSIENT_ERRORS)
        return number not in self.result.unknown_batches and may_pass

    def poll_until_end(self, *, should_wait: bool, stops_at_first: bool, bar: ProgressBar) -> None:
        """Look at the followed batches in rounds, with growing pauses, until the poll ends.

        Each round looks at all followed batches. A look at a batch that is over downloads its
        result. Before a further round, batches that were submitted meanwhile are
        followed, too. The poll ends after a round in each of these cases:

        - No batch needs another look: each is over, unknown to the API, or has an error that
          another look cannot end.
        - An error ends the poll, such as a daily quota, or `poll_patience` seconds without a
          successful look. It is not raised: it is the result's `poll_error`.
        - `should_wait` or `stops_at_first` ends it.

        Args:
            should_wait: Look until the batches are over. Otherwise there is one round; with the
                local engine there are rounds for LOCAL_LOOK_S seconds, because local batches run
                only while a command looks at them.
            stops_at_first: End the poll when a batch is over.
            bar: Displays the progress.

        Raises:
            KeyRefusedError: The API refuses the key.
        """
        run = self.run
        started = run.workspace.monotonic()
        for look_number in itertools.count(1):
            self._poll_each_batch_once(bar)
            submitted_numbers = [
                batch.number
                for batch in self.list_batches_in_state(BatchState.SUBMITTED)
                if batch.number in self.followed
            ]
            waiting = [number for number in submitted_numbers if self._needs_another_look(number)]
            self.result.poll_error = self._find_stop_error(waiting, should_wait=should_wait)
            has_ended_batch = len(submitted_numbers) < len(self.followed)
            if (
                not waiting
                or self.result.poll_error is not None
                or (stops_at_first and has_ended_batch)
            ):
                return

            is_local = run.workspace.backend == "local"
            may_look_again = is_local and run.workspace.monotonic() - started < LOCAL_LOOK_S
            if not should_wait and not may_look_again:
                return
            run.workspace.sleep(self._retry_policy.compute_delay_s(look_number))
            self.follow_submitted_batches()

    def _poll_each_batch_once(self, bar: ProgressBar) -> None:
        """Look once at each followed batch and show the progress.

        Batches that left the state submitted are not looked at. Batches with a lasting error, or
        unknown to the API, are skipped. Ends early if no look has succeeded for
        `poll_patience` seconds.

        Raises:
            KeyRefusedError: The API refuses the key.
        """
        for number in self.followed:
            batch = self.run.workspace.store.query(batches.get_batch, number)
            note = ""
            if batch.state is BatchState.SUBMITTED and self._needs_another_look(number):
                note = self._poll_batch_and_keep_error(batch)
                if self.check_errors and self._has_failed_too_long():
                    return
            counts = self.count_polled_requests()
            bar.show(counts.ended, total=counts.all_requests, note=note)

    def count_polled_requests(self) -> PolledRequests:
        """Return how many requests the run has, how many of them ended, and how many rows they ask.

        Batches that are over count, too, so the progress does not go back from poll to poll. If the
        run does not know its requests before, they are those of the batches that it has polled.
        """
        task_batches = self.run.workspace.store.query(
            batches.list_batches_in_states, task=self.run.task.name
        )
        polled_batches = [batch for batch in task_batches if batch.number in self.result.polled]
        polled_count = sum(batch.requests for batch in polled_batches)
        request_count = self.result.expected.requests or polled_count
        row_count = self.result.expected.rows or polled_count
        ended_count = sum(
            count_ended_requests(self.run.workspace.data, batch) for batch in polled_batches
        )
        return PolledRequests(min(ended_count, request_count), request_count, row_count)

    def _poll_batch_and_keep_error(self, batch: BatchRow) -> str:
        """Look at a batch and return its state in words; record an error instead of raising it.

        - A batch that the API does not know, or does not show to this key, is added to the
          result's `unknown_batches`.
        - Any other error is kept in `check_errors` until a look at this batch succeeds. A transient
          error is one that may end by itself, such as a lost connection. It is printed if the batch
          has no error in `check_errors` yet. `failing_since` is the time of the first transient
          error of any batch; after a successful look at any batch it is None.

        A look stores the state that the API reports. If the batch is over, the look also downloads
        its result.

        Returns:
            "" after an error.

        Raises:
            KeyRefusedError: The API refuses the key.
        """
        try:
            state_text = self._store_remote_state_and_download(batch)
        except errors.KeyRefusedError:
            raise
        except errors.MissingError as error:
            self.result.unknown_batches[batch.number] = error.message
        except errors.RemoteError as error:
            if isinstance(error, TRANSIENT_ERRORS):
                if batch.number not in self.check_errors:
                    self.run.workspace.display.warn(f"batch {batch.number}: {error.message}")
                if self.failing_since is None:
                    self.failing_since = self.run.workspace.monotonic()
            self.check_errors[batch.number] = error
        else:
            self.check_errors.pop(batch.number, None)
            self.failing_since = None
            return state_text
        return ""

    def _store_remote_state_and_download(self, batch: BatchRow) -> str:
        """Store the remote state of a batch, download its result if it is over; return the state.

        The state is stored if it changed, and so are the counts of its ended and failed requests. A
        new state of an unknown kind is printed and counts as running.

        Nothing is downloaded if the batch succeeded but the API does not name its result yet.

        Returns:
            The number of the batch and the API's state in lower case, with the age of a cancel.

        Raises:
            RemoteError: The API could not be reached, or does not have the batch or its result.
        """
        run = self.run
        number = batch.number
        remote = run.client.get_batch(batch.remote_name or "")
        # The API counts control requests, too. If it sends no statistics, the earlier counts stay.
        ended_count = max(batch.remote_done or 0, min(remote.ended_request_count, batch.requests))
        failed_count = max(batch.remote_failed or 0, remote.failed_request_count)
        columns: dict[str, object] = {
            "remote_word": remote.state_name,
            "remote_done": ended_count,
            "remote_failed": min(failed_count, ended_count),
        }
        changes = {name: value for name, value in columns.items() if value != getattr(batch, name)}
        if changes:
            with run.workspace.store.write() as tx:
                batches.update_columns_if_submitted(tx, batch, **changes)
        if "remote_word" in changes and not is_known_remote_state(remote.state_name):
            run.workspace.display.warn(
                f"batch {number}: unknown remote state {remote.state_name!r}; "
                "the batch counts as running",
            )

        is_settled = remote.state.is_final and not self._defer_if_result_unnamed(batch, remote)
        if is_settled:
            download_result_or_fail_batch(run, number, remote)
        state = describe_remote_state(remote.state_name or "no state")
        if batch.cancel_asked_at is not None:
            waited = format_duration((run.workspace.now() - batch.cancel_asked_at).total_seconds())
            state += f", asked to cancel {waited} ago"
        return f"batch {number}: {state}"

    def _defer_if_result_unnamed(self, batch: BatchRow, remote: RemoteBatch) -> bool:
        """Put off the end of a batch that succeeded but whose result the API does not name yet.

        The first call stores the present time as the start of the wait, and prints when the wait
        ends. It is as long as a batch may run: `Provider.max_batch_age`. Later calls only compare
        the time.

        Returns:
            Whether the batch is put off. False if it did not succeed, if its result is named, if a
            person cancelled it, or after the wait.
        """
        is_succeeded = remote.state is RemoteState.SUCCEEDED
        if not is_succeeded or remote.has_result or is_cancelled_without_move(batch):
            return False

        now = self.run.workspace.now()
        provider = self.run.workspace.provider
        # A time in the future was recorded by a wrong clock, and counts as just now.
        if batch.over_at is None or batch.over_at > now:
            with self.run.workspace.store.write() as tx:
                batches.update_columns_if_submitted(tx, batch, over_at=now)
            wait_ends_at = now + provider.max_batch_age
            self.run.workspace.display.warn(
                f"batch {batch.number} succeeded, but {provider.name} does not name its result "
                f"yet; it is checked again until {wait_ends_at:%Y-%m-%d %H:%M} UTC",
            )
            return True
        return now - batch.over_at < provider.max_batch_age

    def _find_stop_error(
        self, waiting_numbers: list[int], *, should_wait: bool
    ) -> errors.RemoteError | None:
        """Return the error that ends this poll now, or None if the poll goes on.

        A batch is waiting if the poll will look at it again. While batches are waiting, only the
        errors of the last looks at them count:

        - A daily quota ends the poll at once.
        - Any other error ends the poll if it looks only once, or if no look has succeeded for
          `poll_patience` seconds. If several waiting batches have an error, that of the last batch
          is returned.

        If no batch is waiting, the first lasting error of any batch is returned; transient errors
        are ignored.

        Args:
            waiting_numbers: Numbers of the submitted batches that the poll will look at again. A
                batch that has a lasting error, or that the API does not know, is not in it.
            should_wait: The poll looks until all batches are over, instead of once.
        """
        waiting_errors = [
            self.check_errors[number] for number in waiting_numbers if number in self.check_errors
        ]
        for error in waiting_errors:
            if isinstance(error, errors.ThrottledError) and error.resets_at is not None:
                return error
        if waiting_errors and (not should_wait or self._has_failed_too_long()):
            return waiting_errors[-1]

        if waiting_numbers:
            return None
        lasting_errors = (
            error for error in self.check_errors.values() if not isinstance(error, TRANSIENT_ERRORS)
        )
        return next(lasting_errors, None)

    def _has_failed_too_long(self) -> bool:
        """Return whether no look has succeeded for more than `poll_patience` seconds."""
        if self.failing_since is None:
            return False
        return self._retry_policy.is_over(self.run.workspace.monotonic() - self.failing_since)

    def add_followed_batches_to_result(self) -> None:
        """Add the stored state of each followed batch to the result's lists.

        Reads the states again, so changes by other processes are included. Failed batches get their
        reason; a submitted batch that the API does not know is only in `unknown_batches`. A batch
        that another process downloaded meanwhile leaves it. A batch that the API failed, expired or
        cancelled counts as failed, even if it has a partial result; one that a person cancelled
        does not.
        """
        result = self.result
        with self.run.workspace.store.read() as tx:
            followed_batches = [batches.get_batch(tx, number) for number in self.followed]
        for batch in followed_batches:
            if batch.state is BatchState.FAILED:
                result.failed_polls[batch.number] = batch.reason or ""
            elif batch.state is not BatchState.SUBMITTED:
                result.downloaded.append(batch.number)
            else:
                if batch.number not in result.unknown_batches:
                    result.waiting_batches.append(batch.number)
                continue

            remote = parse_remote_state(batch.remote_word)
            has_failed = batch.state is BatchState.FAILED or remote in UNSUCCESSFUL_STATES
            if has_failed and batch.cancel_asked_at is None:
                result.failed_batches[batch.number] = batch.reason or str(remote)
        result.unknown_batches = {
            number: reason
            for number, reason in result.unknown_batches.items()
            if number not in result.downloaded
        }

    def list_batches_in_state(self, state: BatchState) -> list[BatchRow]:
        """Return the batches of the task in a state, or only the selected batch."""
        task_batches = self.run.workspace.store.query(
            batches.list_batches_in_states,
            state,
            task=self.run.task.name,
        )
        return [batch for batch in task_batches if self.only_number in (None, batch.number)]

    def download_lost_results_again(self) -> None:
        """Download the result of each downloaded batch again whose file was lost or damaged.

        Concerns batches of the task in state downloaded, or only the selected batch. A file is
        accepted only if it has exactly the recorded bytes. Failures are printed, not raised.
        """
        run = self.run
        for batch in self.list_batches_in_state(BatchState.DOWNLOADED):
            path = get_checked_result_path(run.workspace.data, batch)
            if not files.is_sealed(path, batch.result_sha256):
                download_lost_result_again(
                    run.client,
                    run.workspace.store,
                    run.workspace.locks,
                    batch,
                    path,
                    display=run.workspace.display,
                    now=run.workspace.now,
                )
