"""Follow batches at the API until each is over and its result is sealed.

- A batch moves from submitted to downloaded or failed.
- Only `get` decides whether a batch still exists, never its absence from a list.
- No lock is held while a poll waits, so a poll of a whole day blocks no other process.
- An error of one batch does not stop the others. Unclear creates are left to `batch-submit`.
- A batch that expired, failed or was cancelled is downloaded if it has a result. Otherwise its rows
  are released and not charged; rows that failed in this way too often in a row are parked.
"""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from pipeline.batch.batch_files import lock_of, result_path, sealed_result
from pipeline.batch.reconcile import cancel_duplicates
from pipeline.batch.send import CANCELLED_BY_USER, abandon_batch, delete_upload, write_failures
from pipeline.core import errors, files
from pipeline.core.command_hint import CommandHint
from pipeline.core.progress import ProgressBar
from pipeline.core.states import BatchState, Outcome, RemoteState, is_known_state
from pipeline.engine.judging import JudgedReply, provenance_of
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task_parts import TaskLabels
from pipeline.gemini.remote import RemoteBatch
from pipeline.gemini.requests import make_request_key
from pipeline.gemini.result_file import ResultFile
from pipeline.gemini.result_lines import (
    EMPTY_BODY_DESCRIPTION,
    describe_body,
    rewrite_as_lines,
    write_inline_results,
)
from pipeline.gemini.retry import RetryPolicy
from pipeline.store import batches, claims
from pipeline.store.batches import BatchRow
from pipeline.store.database import PAGE_ROWS
from pipeline.store.locks import LockLostError

# How long a single look lets the local engine work.
LOCAL_LOOK_S = 5.0
# Factor by which each pause between two looks is longer than the pause before.
POLL_GROWTH = 1.5
# After these errors a batch is looked at again.
TRANSIENT_ERRORS = (errors.UnavailableError, errors.NotSentError, errors.ThrottledError)
# A result with fewer lines than the API counted is downloaded this often, then sealed as it is.
MAX_DOWNLOADS = 3
# Our choice: the API lets a batch run for as long.
UNNAMED_RESULT_WAIT = timedelta(hours=48)
# Our choice: a batch of a create whose reply was lost is searched for this long.
LATE_DUPLICATE_WINDOW = timedelta(days=2)
# States of batches that were created at the API, or may have been.
CREATED_STATES = (
    BatchState.SUBMITTED,
    BatchState.DOWNLOADED,
    BatchState.INGESTED,
    BatchState.FAILED,
)


class Download(NamedTuple):
    """A download of a result. A better download is greater, by its first two fields."""

    # False if the file provably ends inside a line.
    is_complete: bool = False
    # Requests of the batch that have a line in the file; -1 if nothing was downloaded.
    matched_requests: int = -1
    # Description of the received file, in words.
    body: str = ""


@dataclass
class PollReport:
    """State of the followed batches, by batch number. Its fields are members of JSON documents."""

    downloaded: list[int] = field(default_factory=list)
    # Batch number to the reason.
    failed: dict[int, str] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)
    # Batches that the API does not know: batch number to its message.
    gone: dict[int, str] = field(default_factory=dict)
    # Batches whose create is unclear; `batch-submit` resolves them.
    unclear: list[int] = field(default_factory=list)
    # The error that ended the poll early.
    stopped: errors.RemoteError | None = None

    def errors(self, labels: TaskLabels) -> list[errors.FindableError]:
        """Return the errors of the report, to be raised by the caller.

        The order is: batches that the API does not know, the error that ended the poll, batches
        with an unclear create.
        """
        report_errors: list[errors.FindableError] = []
        for number, reason in self.gone.items():
            give_up = CommandHint("batch-cancel", batch=number)
            missing_error = errors.ConfigurationError(
                f"batch {number}: {reason}; it was left as it is, claims kept",
                hint=f"check the key, or give it up: {give_up}",
            )
            report_errors.append(missing_error)

        if self.stopped:
            report_errors.append(self.stopped)

        hint = f"`{labels.command('batch-submit')}` finds out"
        for number in self.unclear:
            message = f"batch {number}: it is unclear whether it was created"
            report_errors.append(errors.RemoteError(message, hint=hint))
        return report_errors

    def document(self) -> dict[str, object]:
        """Return the report for JSON; `stopped` is the message of the error, or None."""
        return vars(self) | {"stopped": self.stopped.message if self.stopped else None}


def poll_batches(
    ws: WorkspaceSession,
    *,
    wait: bool,
    first: bool = False,
    number: int | None = None,
    fetches: bool = True,
) -> PollReport:
    """Look at the task's submitted batches, and seal the results of those that are over.

    Batches with an unclear create are only reported as `unclear`, if no process works on them. Also
    downloads lost results of downloaded batches again, and cancels duplicate batches. Shows the
    progress. Ends early if no look succeeds for `poll_patience` seconds or a daily quota is used
    up; the error is in the report's `stopped`. Nothing is ingested.

    Args:
        wait: Look until all batches are over, instead of once.
        first: If `wait` is set, look only until the first batch is over.
        number: Look at this batch only.
        fetches: Download results. If false, batches that are over stay submitted, and only their
            remote state is stored.

    Returns:
        The report; without submitted batches only `unclear` may be filled.

    Raises:
        KeyRefusedError: The API refuses the key.
    """
    poll = _Poll(ws, number, should_download=fetches)
    for batch in poll.batches_in(BatchState.SUBMITTING):
        lock_name = lock_of(batch.number)
        if ws.locks.is_free(lock_name):
            poll.report.unclear.append(batch.number)
        else:
            ws.display.say(f"batch {batch.number}: {ws.locks.describe_holder(lock_name)}")
    poll.check_duplicates()
    poll.restore_lost_results()
    poll.add_submitted()
    if not poll.done_counts:
        return poll.report

    label = f"{len(poll.done_counts)} batches"
    if len(poll.done_counts) == 1:
        label = f"batch {next(iter(poll.done_counts))}"
    with ws.display.bar(label, sum(poll.request_counts.values())) as bar:
        poll.follow(wait=wait, stops_at_first=first, bar=bar)
    poll.update_report()
    if poll.report.downloaded or poll.report.failed:
        poll.check_duplicates()
    return poll.report


@dataclass
class _Poll:
    """A poll command: the batches that it follows, and the errors of its looks."""

    ws: WorkspaceSession
    only_number: int | None
    should_download: bool
    report: PollReport = field(default_factory=PollReport)
    # Batch number to its number of requests.
    request_counts: dict[int, int] = field(default_factory=dict)
    # Batch number to its number of finished requests.
    done_counts: dict[int, int] = field(default_factory=dict)
    # Batch number to the error of its last look, transient or not.
    check_errors: dict[int, errors.RemoteError] = field(default_factory=dict)
    # Monotonic time of the first failed look after the last success.
    failing_since: float | None = None
    # Remote states of a kind never seen before that were reported already.
    unknown_states: set[str] = field(default_factory=set)

    @property
    def _retry_policy(self) -> RetryPolicy:
        """Return the pauses between looks, and how long the poll goes on while all looks fail."""
        settings = self.ws.settings
        return RetryPolicy(
            first_delay_s=settings.poll_first,
            max_delay_s=settings.poll_most,
            max_elapsed_s=settings.poll_patience,
            growth=POLL_GROWTH,
        )

    def add_submitted(self) -> None:
        """Follow all submitted batches of the task, also batches submitted since the last call."""
        for batch in self.batches_in(BatchState.SUBMITTED):
            self.request_counts[batch.number] = batch.requests
            self.done_counts.setdefault(batch.number, 0)

    def _is_followed(self, number: int) -> bool:
        """Return whether a batch should be looked at again.

        False if the API does not know it, or if its last look had a lasting error.
        """
        error = self.check_errors.get(number)
        may_pass = error is None or isinstance(error, TRANSIENT_ERRORS)
        return number not in self.report.gone and may_pass

    def follow(self, *, wait: bool, stops_at_first: bool, bar: ProgressBar) -> None:
        """Look at the followed batches again and again, with growing pauses, until the poll ends.

        Before each further round, batches that were submitted meanwhile are followed too. The poll
        ends if:

        - no batch is to be looked at again: each is over, unknown to the API, or has a lasting
          error
        - `stops_at_first` is set and a batch is over
        - an error stops it, which is set as the report's `stopped`; see `_find_stop_error`
        - `wait` is false, after one look; the local engine is looked at for LOCAL_LOOK_S seconds
          instead if results are downloaded

        Raises:
            KeyRefusedError: The API refuses the key.
        """
        ws = self.ws
        started = ws.monotonic()
        for look_number in itertools.count(1):
            self._check_batches(bar)
            submitted_numbers = [
                batch.number
                for batch in self.batches_in(BatchState.SUBMITTED)
                if batch.number in self.done_counts
            ]
            waiting = [number for number in submitted_numbers if self._is_followed(number)]
            self.report.stopped = self._find_stop_error(waiting, wait=wait)
            has_ended_batch = len(submitted_numbers) < len(self.done_counts)
            if (
                not waiting
                or self.report.stopped is not None
                or (stops_at_first and has_ended_batch)
            ):
                return

            is_local = ws.backend == "local"
            may_look_again = is_local and ws.monotonic() - started < LOCAL_LOOK_S
            if not wait and not (may_look_again and self.should_download):
                return
            ws.sleep(self._retry_policy.delay_s(look_number))
            self.add_submitted()

    def _check_batches(self, bar: ProgressBar) -> None:
        """Look once at each followed batch and show the progress.

        Batches that left the state submitted count as done and are not looked at. Batches with a
        lasting error, or unknown to the API, are skipped. Stops after a look if the poll is out of
        patience.

        Raises:
            KeyRefusedError: The API refuses the key.
        """
        for number in list(self.done_counts):
            with self.ws.store.read() as tx:
                batch = batches.get_batch(tx, number)
            note = ""
            if batch.state is not BatchState.SUBMITTED:
                self.done_counts[number] = batch.requests
            elif self._is_followed(number):
                note = self._try_check(batch)
                if self.check_errors and self._is_out_of_patience():
                    return
            done_count = sum(self.done_counts.values())
            bar.show(done_count, total=sum(self.request_counts.values()), note=note)

    def _try_check(self, batch: BatchRow) -> str:
        """Look at a batch and return its state in words; record an error instead of raising it.

        A batch that the API does not know is added to the report's `gone`. All other errors are
        kept in `check_errors` until a look succeeds. The first transient error of a batch is
        printed. A success ends the time of failures.

        Returns:
            "" after an error.

        Raises:
            KeyRefusedError: The API refuses the key.
        """
        try:
            note = self._check_batch(batch)
        except errors.KeyRefusedError:
            raise
        except errors.MissingError as error:
            self.report.gone[batch.number] = error.message
        except errors.RemoteError as error:
            if isinstance(error, TRANSIENT_ERRORS):
                if batch.number not in self.check_errors:
                    self.ws.display.warn(f"batch {batch.number}: {error.message}")
                if self.failing_since is None:
                    self.failing_since = self.ws.monotonic()
            self.check_errors[batch.number] = error
        else:
            self.check_errors.pop(batch.number, None)
            self.failing_since = None
            return note
        return ""

    def _check_batch(self, batch: BatchRow) -> str:
        """Store the remote state of a batch, download its result if it is over; return the state.

        The state is stored if it changed. A state of an unknown kind is printed once and counts as
        running. A batch that is over is not downloaded if the poll downloads nothing, or while the
        batch may still name its result.

        Returns:
            The API's state in lower case, with the number of the batch if several are followed.

        Raises:
            RemoteError: The API could not be reached, or does not have the batch or its result.
        """
        ws = self.ws
        number = batch.number
        remote = ws.client.get_batch(batch.remote_name or "")
        self.done_counts[number] = min(remote.ended_request_count, batch.requests)
        if (remote.state_name, remote.ended_request_count) != (
            batch.remote_word,
            batch.remote_done,
        ):
            with ws.store.write() as tx:
                batches.update_if_submitted(
                    tx,
                    batch,
                    remote_word=remote.state_name,
                    remote_done=remote.ended_request_count,
                )
        if (
            not is_known_state(remote.state_name)
            and str(remote.state_name) not in self.unknown_states
        ):
            self.unknown_states.add(str(remote.state_name))
            ws.display.warn(
                f"batch {number}: a state never seen before, {remote.state_name!r}; "
                "taken as not over",
            )

        is_settled = remote.state.is_final and not self._should_wait_for_result(batch, remote)
        if is_settled and self.should_download:
            self._download_result(number, remote)
        state = (remote.state_name or "no state").lower().rpartition("state_")[2]
        return state if len(self.done_counts) == 1 else f"batch {number}: {state}"

    def _should_wait_for_result(self, batch: BatchRow, remote: RemoteBatch) -> bool:
        """Return whether a batch that succeeded without naming a result may still name it.

        False for a batch that did not succeed, has a result, or was cancelled by a person. The
        first look stores and prints when the wait began. It ends after UNNAMED_RESULT_WAIT.
        """
        is_succeeded = remote.state is RemoteState.SUCCEEDED
        if not is_succeeded or remote.has_result or batch.cancel_asked_at is not None:
            return False

        now = self.ws.now()
        # A time in the future was recorded by a wrong clock, and counts as just now.
        if batch.over_at is None or batch.over_at > now:
            with self.ws.store.write() as tx:
                batches.update_if_submitted(tx, batch, over_at=now)
            wait_ends_at = now + UNNAMED_RESULT_WAIT
            self.ws.display.warn(
                f"batch {batch.number} succeeded, but Gemini does not name its result yet; it "
                f"stays open and is looked at again until {wait_ends_at:%Y-%m-%d %H:%M} UTC",
            )
            return True
        return now - batch.over_at < UNNAMED_RESULT_WAIT

    def _find_stop_error(self, waiting: list[int], *, wait: bool) -> errors.RemoteError | None:
        """Return the error that ends this poll now, or None.

        While a batch is waiting, only errors of waiting batches count:

        - a daily quota, which is a throttle with a reset time, ends the poll at once
        - any other error ends it if `wait` is false, or if the poll is out of patience

        If no batch is waiting, the first lasting error of any batch is returned.

        Args:
            waiting: Numbers of the submitted batches that are looked at again. Batches with a
                lasting error, or unknown to the API, are not in it.
            wait: The poll looks until all batches are over, instead of once.
        """
        waiting_errors = [
            self.check_errors[number] for number in waiting if number in self.check_errors
        ]
        for error in waiting_errors:
            if isinstance(error, errors.ThrottledError) and error.resets_at is not None:
                return error
        if waiting_errors and (not wait or self._is_out_of_patience()):
            return waiting_errors[-1]

        if waiting:
            return None
        for error in self.check_errors.values():
            if not isinstance(error, TRANSIENT_ERRORS):
                return error
        return None

    def _is_out_of_patience(self) -> bool:
        """Return whether no look has succeeded for more than `poll_patience` seconds."""
        if self.failing_since is None:
            return False
        return self._retry_policy.is_over(self.ws.monotonic() - self.failing_since)

    def update_report(self) -> None:
        """Add the stored state of each followed batch to the report's lists.

        Reads the states again, so changes by other processes are included. Failed batches get their
        reason; a submitted batch that the API does not know is only in `gone`. A batch that another
        process downloaded meanwhile leaves `gone`.
        """
        report = self.report
        with self.ws.store.read() as tx:
            followed_batches = [batches.get_batch(tx, number) for number in self.done_counts]
        for batch in followed_batches:
            if batch.state is BatchState.FAILED:
                report.failed[batch.number] = batch.reason or ""
            elif batch.state is not BatchState.SUBMITTED:
                report.downloaded.append(batch.number)
            elif batch.number not in report.gone:
                report.waiting.append(batch.number)
        report.gone = {
            number: reason
            for number, reason in report.gone.items()
            if number not in report.downloaded
        }

    def batches_in(self, state: BatchState) -> list[BatchRow]:
        """Return the batches of the task in a state, or only the selected batch."""
        with self.ws.store.read() as tx:
            task_batches = batches.batches_in_states(tx, state, task=self.ws.task.name)
        return [batch for batch in task_batches if self.only_number in (None, batch.number)]

    def _download_result(self, number: int, remote: RemoteBatch) -> None:
        """Seal the result of a batch that is over, or fail the batch; then delete its upload.

        A batch without a result file is moved to failed. Does nothing if another process has the
        batch's lock or has moved the batch; a lost lock is no error. Temporary files are deleted.
        An upload that cannot be deleted is printed.

        Raises:
            RemoteError: The result could not be downloaded. The batch stays submitted.
        """
        upload = None
        path = result_path(self.ws.data, number)
        with (
            contextlib.suppress(LockLostError, errors.StateConflictError),
            self.ws.locks.try_lock(lock_of(number)) as lock,
        ):
            if lock is None:
                # Another process downloads it. The next look reads the state again.
                return
            with self.ws.store.read() as tx:
                batch = batches.get_batch(tx, number)
            files.remove_abandoned_parts(path)
            if batch.state is BatchState.SUBMITTED:
                path.parent.mkdir(parents=True, exist_ok=True)
                best_path = files.new_part_path(path)
                latest_path = files.new_part_path(path)
                try:
                    has_result = remote.has_result and self._fetch(
                        batch,
                        remote,
                        latest_path=latest_path,
                        best_path=best_path,
                    )
                    # Nobody deletes this file later, once the batch has moved.
                    latest_path.unlink(missing_ok=True)
                    if has_result:
                        self._seal_result(batch, remote, files.sync_part(best_path))
                    else:
                        self._fail(batch, remote)
                finally:
                    best_path.unlink(missing_ok=True)
                    latest_path.unlink(missing_ok=True)
                upload = batch.upload
        delete_upload(self.ws.client, upload, warn=self.ws.display.warn)

    def _seal_result(self, batch: BatchRow, remote: RemoteBatch, draft: files.SealedFile) -> None:
        """Move a batch to downloaded and give the result its final name, in one transaction.

        The batch's `reason` is set only if the batch did not succeed. Renaming inside the
        transaction keeps a process that lost the lock from replacing the file, and the state is
        committed only when the file is on disk.

        Args:
            draft: The downloaded file, synced to disk under a temporary name.

        Raises:
            StateConflictError: Another process has moved the batch.
        """
        end_reason = _describe_ending(remote)
        path = result_path(self.ws.data, batch.number)
        columns = {"remote_word": remote.state_name}
        if remote.state is not RemoteState.SUCCEEDED:
            columns["reason"] = end_reason
        with self.ws.store.write() as tx:
            batches.mark_downloaded(
                tx,
                batch,
                path,
                draft,
                event_reason=end_reason,
                now=self.ws.now(),
                **columns,
            )
            files.rename_sealed(draft, path)

    def _fail(self, batch: BatchRow, remote: RemoteBatch) -> None:
        """Move a batch without a result to failed, and release its rows without charging them.

        Stores the outcome MISSING for each claimed row, in one transaction. Rows that failed in
        this way too often are parked. Rows of a batch that a person cancels are not counted for
        that.

        Raises:
            StateConflictError: Another process has moved the batch. Nothing was changed.
        """
        is_cancelled_by_hand = batch.cancel_asked_at is not None
        reason = _describe_ending(remote, has_lost_result=True)
        if is_cancelled_by_hand and remote.state is RemoteState.CANCELLED:
            reason = CANCELLED_BY_USER
        provenance = provenance_of(batch, settings=self.ws.settings)
        with self.ws.store.write() as tx:
            batches.update_if_submitted(tx, batch, remote_word=remote.state_name)
            while page := claims.claimed_rows(tx, batch.number, limit=PAGE_ROWS):
                judgements = [
                    JudgedReply(
                        claim,
                        Outcome.MISSING,
                        reason,
                        is_charged=False,
                        is_forgiven=is_cancelled_by_hand,
                    )
                    for claim in page
                ]
                write_failures(tx, self.ws, judgements, source=provenance)
            abandon_batch(tx, batch, reason=reason, now=self.ws.now())

    def _fetch(
        self,
        batch: BatchRow,
        remote: RemoteBatch,
        *,
        latest_path: Path,
        best_path: Path,
    ) -> bool:
        """Download the result to `best_path`; return false if it is missing or not needed.

        A file with fewer requests than the API counted (than were asked, if it gives no count) is
        downloaded again. A file that was cut may look whole if it came without a length, or if it
        has lines twice. The best file is used even if requests are missing; a warning is printed
        then.

        Args:
            latest_path: Temporary file of each download.
            best_path: Gets the download with the most requests.

        Returns:
            False, after a warning, if the batch did not succeed or a person cancelled it and its
            result does not exist, or if it was cancelled and no download is usable.

        Raises:
            MissingError: The batch succeeded and was not cancelled, but its result does not exist.
            UnavailableError: No download is usable: it is provably cut, or has no request of the
                batch. Its rows would be charged although their answers exist at the API.
        """
        ws = self.ws
        is_cancelled = batch.cancel_asked_at is not None
        is_succeeded = remote.state is RemoteState.SUCCEEDED
        expected_count = remote.ended_request_count
        if not expected_count and is_succeeded:
            expected_count = batch.requests
        try:
            best, latest = self._download_best(
                batch,
                remote,
                latest_path=latest_path,
                best_path=best_path,
                expected_count=expected_count,
            )
        except errors.MissingError as error:
            if is_succeeded and not is_cancelled:
                raise
            ws.display.warn(f"batch {batch.number}: its result cannot be had: {error.message}")
            return False

        # A batch that did not succeed may have no lines, and the API sends an empty file for it.
        is_empty_result = not is_succeeded and best.body == EMPTY_BODY_DESCRIPTION
        is_usable = best.matched_requests > 0 and (best.is_complete or is_cancelled)
        if is_usable or is_empty_result:
            if best.matched_requests < expected_count:
                shortfall = _describe_shortfall(best, expected_count)
                ws.display.warn(f"batch {batch.number}: {shortfall}; the fullest is taken")
            return True

        message = f"Gemini sent {latest.body} in the place of the result of batch {batch.number}"
        if is_cancelled:
            ws.display.warn(f"{message}; it is given up")
            return False
        poll = ws.task.labels.command("batch-poll")
        give_up = CommandHint("batch-cancel", batch=batch.number)
        hint = f"run `{poll}` again later, or give it up: {give_up}"
        raise errors.UnavailableError(f"{message}; the batch was left as it is", hint=hint)

    def _download_best(
        self,
        batch: BatchRow,
        remote: RemoteBatch,
        *,
        latest_path: Path,
        best_path: Path,
        expected_count: int,
    ) -> tuple[Download, Download]:
        """Download up to MAX_DOWNLOADS times, until all expected requests are in the file.

        Inline results are read once. Pauses `poll_first` seconds between downloads. Prints a
        warning before a download is repeated, if the last had some requests.

        Returns:
            The best download, whose file is at `best_path`, and the latest. Nothing is at
            `best_path` if no download had a file.

        Raises:
            MissingError: The result does not exist, and no file was downloaded before.
        """
        best = Download()
        latest = Download()
        for remaining_tries in reversed(range(MAX_DOWNLOADS)):
            try:
                latest = self._download_once(batch, remote, latest_path)
            except errors.MissingError:
                if best.matched_requests < 0:
                    raise
                break
            if latest[:2] > best[:2]:
                best = latest
                latest_path.replace(best_path)
            is_complete = latest.is_complete and latest.matched_requests >= expected_count
            if is_complete or remote.inline_results:
                break
            if remaining_tries and latest.matched_requests > 0:
                shortfall = _describe_shortfall(latest, expected_count)
                self.ws.display.warn(f"batch {batch.number}: {shortfall}; fetching again")
            self.ws.sleep(self.ws.settings.poll_first if remaining_tries else 0)
        return best, latest

    def _download_once(self, batch: BatchRow, remote: RemoteBatch, path: Path) -> Download:
        """Download the result to a path and count the batch's requests in it.

        A download that was cut on the way gives a `Download` without requests, and there may be no
        file. A file that ends inside a line is not complete, but its requests are counted.

        Raises:
            MissingError: The result does not exist.
        """
        try:
            body = self._write_result(batch, remote, path)
        except errors.IncompleteError as error:
            return Download(body=f"a part ({error.message})")
        with ResultFile(path) as results:
            key_count = results.count_present_keys(self._request_keys(batch))
            if results.is_truncated:
                body = "a file that ends inside a line"
            return Download(not results.is_truncated, key_count, body)

    def _write_result(self, batch: BatchRow, remote: RemoteBatch, path: Path) -> str:
        """Write the result of a batch to a path, one line per request with its key.

        Takes inline results from `remote`, or else downloads the result file.

        Returns:
            A description of the received file.

        Raises:
            IncompleteError: Only a part was received.
            MissingError: The result does not exist.
        """
        if remote.inline_results:
            write_inline_results(path, remote.inline_results)
        else:
            self.ws.client.download(remote.result_file or "", path)
        body = describe_body(path)
        rewrite_as_lines(path, task_name=batch.task)
        return body

    def _request_keys(self, batch: BatchRow) -> Iterator[str]:
        """Yield the request keys of a batch's present claims, in the order of their lines.

        Reads page by page, each in a transaction of its own.
        """
        last_line = 0
        while True:
            with self.ws.store.read() as tx:
                page = claims.claimed_rows(tx, batch.number, after=last_line, limit=PAGE_ROWS)
            if not page:
                return
            for claim in page:
                yield make_request_key(batch.task, claim.item_id)
            last_line = page[-1].line or 0

    def restore_lost_results(self) -> None:
        """Download the result of each downloaded batch again whose file was lost or damaged.

        Concerns batches of the task in state downloaded, or only the selected batch. A file is
        accepted only if it has exactly the recorded bytes. Failures are printed, not raised.
        """
        for batch in self.batches_in(BatchState.DOWNLOADED):
            path = sealed_result(self.ws.data, batch)
            if not files.is_sealed(path, batch.result_sha256):
                self._restore_result(batch, path)

    def _restore_result(self, batch: BatchRow, path: Path) -> None:
        """Download a lost result again; do nothing if another process has the batch's lock.

        The file gets its final name only if its hash is the recorded hash. Prints whether the
        result was restored. An error of the API, or other bytes, is printed with the command that
        gives the batch up. The state of the batch stays.
        """
        ws = self.ws
        number = batch.number
        part = files.new_part_path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with ws.locks.try_lock(lock_of(number)) as lock:
                if lock is None:
                    return
                self._write_result(batch, ws.client.get_batch(batch.remote_name or ""), part)
                if files.hash_file(part) != batch.result_sha256:
                    raise errors.MissingError("the API has other bytes")
                files.rename_sealed(files.sync_part(part), path)
                ws.display.say(f"batch {number}: its lost result was fetched again, byte for byte")
        except errors.RemoteError as error:
            give_up = CommandHint("batch-cancel", batch=number)
            ws.display.warn(
                f"batch {number}: its result is lost and cannot be had again ({error.message}); "
                f"`{give_up}` gives it up, and its items are asked again",
            )
        finally:
            part.unlink(missing_ok=True)

    def check_duplicates(self) -> None:
        """Find, record and cancel duplicate batches in the remote list, for all tasks.

        Reads the list only while a batch is submitted, or while a batch may have a duplicate: a
        duplicate is not cancelled yet, or a create call was lost and the search for its batch has
        not ended. If the list cannot be read, nothing is changed; this is printed if a duplicate is
        suspected. Ends the search for batches that are old enough.
        """
        with self.ws.store.read() as tx:
            duplicates = batches.list_duplicates(tx)
            created_batches = {
                batch.number: batch for batch in batches.batches_in_states(tx, *CREATED_STATES)
            }
            numbers_by_prefix = batches.list_numbers_by_prefix(tx)

        running_duplicates = {
            duplicate["batch"] for duplicate in duplicates if duplicate["cancelled_at"] is None
        }
        suspects = {
            batch.number
            for batch in created_batches.values()
            if batch.number in running_duplicates or _may_have_duplicate(batch)
        }
        is_any_submitted = any(
            batch.state is BatchState.SUBMITTED for batch in created_batches.values()
        )
        if not suspects and not is_any_submitted:
            return

        try:
            listing = self.ws.client.list_batches()
        except errors.RemoteError as error:
            if suspects:
                self.ws.display.warn(f"could not look for duplicates: {error.message}")
            return
        recorded_names = {duplicate["remote_name"] for duplicate in duplicates}
        recorded_names |= {batch.remote_name for batch in created_batches.values()}
        unrecorded_numbers = {
            numbers_by_prefix.get(batches.strip_try(remote.display_name))
            for remote in listing
            if remote.name not in recorded_names
        }
        for number in sorted(created_batches.keys() & (suspects | unrecorded_numbers)):
            cancel_duplicates(self.ws, number, listing)
            self._end_duplicate_search(created_batches[number])

    def _end_duplicate_search(self, batch: BatchRow) -> None:
        """Record that no more duplicates are expected, if the batch left the API and is old enough.

        Does nothing while the batch is submitted, within LATE_DUPLICATE_WINDOW after its last
        create call, or while one of its duplicates is not cancelled.
        """
        with self.ws.store.write() as tx:
            now = self.ws.now()
            age = now - (batch.create_sent_at or now)
            is_submitted = batch.state is BatchState.SUBMITTED
            if age <= LATE_DUPLICATE_WINDOW or is_submitted:
                return
            if not batches.open_duplicates(tx, batch.number):
                batches.set_columns(tx, batch.number, twins_checked=True)


def _may_have_duplicate(batch: BatchRow) -> bool:
    """Return whether a create call of the batch was lost and its search has not ended.

    A call was lost if the batch has more tries than known remote batches.
    """
    known_creates = 1 if batch.remote_name else 0
    return batch.tries > known_creates and not batch.twins_checked


def _describe_shortfall(download: Download, expected_count: int) -> str:
    """Return how many requests of a result were downloaded and expected, in words."""
    return f"lines for {download.matched_requests} requests came and {expected_count} are expected"


def _describe_ending(remote: RemoteBatch, *, has_lost_result: bool = False) -> str:
    """Return how a batch ended, in words, with the API's error.

    Args:
        has_lost_result: No result was downloaded. It changes only the words for a batch that
            succeeded.
    """
    description = str(remote.state)
    if remote.state is RemoteState.SUCCEEDED and has_lost_result:
        description = "succeeded without a result"
        if remote.has_result:
            description = "succeeded, but its result could not be had"
    return f"{description}: {remote.error}" if remote.error else description
