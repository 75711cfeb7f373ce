"""Download the result of a batch that is over, and seal it or fail the batch.

A batch that expired, failed or was cancelled is downloaded if it has a result. Otherwise its rows
are released, and the failure counts against none of them.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from askrows.pipeline.batch.batch_files import (
    iterate_claim_pages,
    make_batch_lock_name,
    result_path,
)
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.send import (
    fail_batch_and_release_claims,
    store_failures_and_park_equal_rows,
    try_delete_upload,
)
from askrows.pipeline.core import errors, files
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.states import BatchState, Outcome, RemoteState
from askrows.pipeline.provider.control_requests import CONTROL_KEYS
from askrows.pipeline.provider.remote_batch import RemoteBatch
from askrows.pipeline.provider.requests import make_request_key
from askrows.pipeline.provider.result_file import ResultFile
from askrows.pipeline.provider.result_lines import (
    EMPTY_BODY_DESCRIPTION,
    describe_unusable_download,
    rewrite_result_as_lines,
    write_inline_results,
)
from askrows.pipeline.provider.retry import RetryPolicy
from askrows.pipeline.store import batches, claims
from askrows.pipeline.store.batches import CANCELLED_BY_USER, BatchRow, is_cancelled_without_move
from askrows.pipeline.store.database import PAGE_ROWS, Store
from askrows.pipeline.store.locks import LockLostError, Locks
from askrows.pipeline.tasks.request_outcomes import make_provenance
from askrows.pipeline.tasks.task_values import RequestOutcome

if TYPE_CHECKING:
    from askrows.pipeline.provider.port import ProviderClient

# A result with fewer lines than the API counted is downloaded this often at a look. Then the
# fullest file is sealed, unless a later one may have more lines.
MAX_DOWNLOADS = 3
# Factor by which each pause between two looks or downloads is longer than the pause before.
POLL_GROWTH = 1.5


class Download(NamedTuple):
    """A download of a result. A better download is greater, by its first two fields."""

    # False if the file provably ends inside a line.
    is_complete: bool = False
    # Requests of the batch that have a line in the file; -1 if nothing was downloaded.
    matched_requests: int = -1
    # Description of the received file, in words.
    arrival_text: str = ""
    # The SHA-256 of the bytes as they came.
    sha256: str = ""


class RepeatedDownload(NamedTuple):
    """The downloads of one result, which is downloaded again while requests are missing in it."""

    # The download with the most requests, and the last.
    best: Download
    latest: Download
    # False if a later download may have more requests: some are missing after MAX_DOWNLOADS
    # downloads, and a download had none or the last had more than all others.
    is_settled: bool


def download_result_or_fail_batch(run: Run, number: int, remote: RemoteBatch) -> None:
    """Seal the result of a batch that is over, or fail the batch; then delete its upload.

    A batch without a result file is moved to failed. Does nothing if another process has the
    batch's lock or has moved the batch; a lost lock is no error. Temporary files are deleted.
    An upload that cannot be deleted is printed.

    Raises:
        RemoteError: The result could not be downloaded. The batch stays submitted.
    """
    upload = None
    path = result_path(run.workspace.data, number)
    with (
        contextlib.suppress(LockLostError, errors.StateConflictError),
        run.workspace.locks.try_lock(make_batch_lock_name(number)) as lock,
    ):
        if lock is None:
            # Another process downloads it. The next look reads the state again.
            return
        batch = run.workspace.store.query(batches.get_batch, number)
        files.remove_abandoned_parts(path)
        if batch.state is BatchState.SUBMITTED:
            path.parent.mkdir(parents=True, exist_ok=True)
            best_path = files.new_part_path(path)
            try:
                download = _download_best_result(run, batch, remote, best_path)
                if download is not None:
                    draft = files.sync_part(best_path)
                    _seal_result(
                        batch,
                        remote,
                        draft,
                        download_sha256=download.sha256,
                        data=run.workspace.data,
                        store=run.workspace.store,
                        now=run.workspace.now,
                    )
                else:
                    _fail_batch_and_release_rows_as_missing(run, batch, remote)
            finally:
                best_path.unlink(missing_ok=True)
            upload = batch.upload
    try_delete_upload(run.client, upload, warn=run.workspace.display.warn)


def download_result_file(run: Run, batch: BatchRow, path: Path) -> Download:
    """Download the result of a batch that is over to a path; nothing else is changed.

    Raises:
        RemoteError: The API could not be reached, or does not have the batch or its result.
    """
    remote = run.client.get_batch(batch.remote_name or "")
    download = _download_best_result(run, batch, remote, path)
    if download is None:
        raise errors.MissingError(
            f"{run.workspace.provider.name} has no result of batch {batch.number} any more; "
            "the batch was not changed"
        )
    return download


def _seal_result(
    batch: BatchRow,
    remote: RemoteBatch,
    draft: files.SealedFile,
    *,
    download_sha256: str,
    data: Path,
    store: Store,
    now: Callable[[], datetime],
) -> None:
    """Move a batch to downloaded and give the result its final name, in one transaction.

    The batch's `reason` is set only if the batch did not succeed. The file is renamed inside the
    transaction. So the state is committed only when the file is on disk, and a process that lost
    the lock cannot replace the file.

    Args:
        draft: The downloaded file, synced to disk under a temporary name.
        download_sha256: The hash of its bytes as they came.

    Raises:
        StateConflictError: Another process has moved the batch to another state.
    """
    end_reason = _describe_ending(remote)
    path = result_path(data, batch.number)
    columns = {"remote_word": remote.state_name, "download_sha256": download_sha256}
    if remote.state is not RemoteState.SUCCEEDED:
        columns["reason"] = end_reason
    with store.write() as tx:
        batches.record_downloaded(
            tx,
            batch,
            path,
            draft,
            event_reason=end_reason,
            now=now(),
            **columns,
        )
        files.rename_sealed(draft, path)


def _fail_batch_and_release_rows_as_missing(run: Run, batch: BatchRow, remote: RemoteBatch) -> None:
    """Move a batch without a result to failed, and release its rows.

    Stores the outcome MISSING for each claimed row, in one transaction. It counts against no row,
    because without a single reply no row can be at fault.

    Raises:
        StateConflictError: Another process has moved the batch to another state. Nothing was
            changed.
    """
    reason = _describe_ending(remote, has_no_download=True)
    if batch.cancel_asked_at is not None and remote.state is RemoteState.CANCELLED:
        reason = batch.reason or CANCELLED_BY_USER
    provenance = make_provenance(batch, settings=run.workspace.settings)
    with run.workspace.store.write() as tx:
        batches.update_columns_if_submitted(tx, batch, remote_word=remote.state_name)
        while page := claims.read_claims_of_batch(tx, batch.number, limit=PAGE_ROWS):
            request_outcomes = [
                RequestOutcome(
                    claim,
                    Outcome.MISSING,
                    reason,
                    is_charged=False,
                    is_forgiven=True,
                )
                for claim in page
            ]
            store_failures_and_park_equal_rows(
                tx, run.task, run.workspace.now, request_outcomes, source=provenance
            )
        fail_batch_and_release_claims(tx, batch, reason=reason, now=run.workspace.now())


def _download_best_result(
    run: Run,
    batch: BatchRow,
    remote: RemoteBatch,
    best_path: Path,
) -> Download | None:
    """Download the result to `best_path`; return the download if it is there to be sealed.

    As many requests are expected in the result as the API counted. If it counted none, all requests
    of a batch that succeeded are expected. A file with fewer requests is downloaded again, up to
    MAX_DOWNLOADS downloads in all, because a file that was cut between two lines looks whole. The
    file with the most requests is used; a warning says how many are missing.

    A file is usable in each of these cases:

    - It has a request of the batch, and does not end inside a line. If requests are missing, each
      of the downloads had requests of the batch, and the last had not more than all others.
    - It has a request of the batch, and a person cancelled the batch.
    - It is empty, and the batch did not succeed.

    Args:
        best_path: Gets the download with the most requests.

    Returns:
        None if the API names no result. None also, after a warning, if a person cancelled the
        batch and the result does not exist or is not usable, or if the batch did not succeed and
        the result does not exist.

    Raises:
        MissingError: The batch succeeded and no person cancelled it, but its result does not exist.
        UnavailableError: No file is usable, and no person cancelled the batch. Its rows would be
            charged although their answers exist at the API.
    """
    if not remote.has_result:
        return None

    is_abandoned = is_cancelled_without_move(batch)
    is_succeeded = remote.state is RemoteState.SUCCEEDED
    expected_count = remote.ended_request_count
    if not expected_count and is_succeeded:
        expected_count = batch.requests + batch.control_requests
    # Each download gets this file first.
    latest_path = files.new_part_path(result_path(run.workspace.data, batch.number))
    try:
        repeated = _download_until_complete(
            run,
            batch,
            remote,
            latest_path=latest_path,
            best_path=best_path,
            expected_count=expected_count,
        )
    except errors.MissingError as error:
        if is_succeeded and not is_abandoned:
            raise
        run.workspace.display.warn(
            f"batch {batch.number}: its result is not available: {error.message}"
        )
        return None
    finally:
        # Nobody deletes this file later, once the batch has moved.
        latest_path.unlink(missing_ok=True)

    best = repeated.best
    # A batch that did not succeed may have no lines, and the API sends an empty file for it.
    is_empty_result = not is_succeeded and best.arrival_text == EMPTY_BODY_DESCRIPTION
    is_part = best.matched_requests > 0 and best.is_complete
    is_usable = is_part and repeated.is_settled
    if is_abandoned:
        is_usable = best.matched_requests > 0
    shortfall = _describe_shortfall(best, expected_count)
    if is_usable or is_empty_result:
        if best.matched_requests < expected_count:
            run.workspace.display.warn(
                f"batch {batch.number}: {shortfall}; the most complete download is used"
            )
        return best

    name = run.workspace.provider.name
    message = (
        f"{name} sent {repeated.latest.arrival_text} instead of the result of batch {batch.number}"
    )
    if is_part:
        message = (
            f"{name} sent only a part of the result of batch {batch.number} ({shortfall}), "
            "and its downloads still differ"
        )
    if is_abandoned:
        run.workspace.display.warn(f"{message}; the result is given up")
        return None
    poll = run.task.nouns.command("batch-poll")
    give_up = CommandHint("batch-cancel", batch=batch.number)
    raise errors.UnavailableError(
        f"{message}; the batch was not changed",
        hint=f"run `{poll}` again later, or give up the batch: {give_up}",
    )


def _download_until_complete(
    run: Run,
    batch: BatchRow,
    remote: RemoteBatch,
    *,
    latest_path: Path,
    best_path: Path,
    expected_count: int,
) -> RepeatedDownload:
    """Download a result up to MAX_DOWNLOADS times, until all expected requests are in the file.

    Inline results are read once. The first pause between downloads is `poll_first` seconds, and
    later pauses grow. Prints a warning before a download is repeated, if the last had some
    requests.

    Args:
        latest_path: Gets each download first.
        best_path: Gets the download with the most requests.
        expected_count: The number of requests that a complete file has.

    Returns:
        The best and the latest download. Nothing is at `best_path` if no download had a file.

    Raises:
        MissingError: The result does not exist, and no file was downloaded before.
    """
    best = Download()
    latest = Download()
    is_settled = True
    request_counts = list[int]()
    pauses = RetryPolicy(
        run.workspace.settings.poll_first, max_delay_s=math.inf, growth=POLL_GROWTH
    )
    for remaining_tries in reversed(range(MAX_DOWNLOADS)):
        try:
            latest = _download_and_count_requests(
                run.client, run.workspace.store, batch=batch, remote=remote, path=latest_path
            )
        except errors.MissingError:
            if best.matched_requests < 0:
                raise
            break
        request_counts.append(latest.matched_requests)
        if latest[:2] > best[:2]:
            best = latest
            latest_path.replace(best_path)
        is_complete = latest.is_complete and latest.matched_requests >= expected_count
        if is_complete or remote.inline_results:
            break
        if remaining_tries and latest.matched_requests > 0:
            shortfall = _describe_shortfall(latest, expected_count)
            run.workspace.display.warn(f"batch {batch.number}: {shortfall}; downloading it again")
        run.workspace.sleep(pauses.compute_delay_s(len(request_counts)) if remaining_tries else 0)
    else:
        *earlier_counts, last_count = request_counts
        is_growing = last_count > max(earlier_counts)
        is_settled = min(request_counts) > 0 and not is_growing
    return RepeatedDownload(best, latest, is_settled)


def _download_and_count_requests(
    client: "ProviderClient",
    store: Store,
    *,
    batch: BatchRow,
    remote: RemoteBatch,
    path: Path,
) -> Download:
    """Download the result to a path and count the batch's requests in it.

    The `Download` says whether the file is complete, how many of the batch's requests have a line
    in it, and in words what arrived.

    - If the client reports that it got only a part (IncompleteError), nothing is counted:
      `matched_requests` is -1, and there may be no file.
    - If the client reports no error, but the file ends inside a line, the file is not complete, and
      its requests are counted.
    - A file whose last line is whole counts as complete, even if requests are missing.

    Raises:
        MissingError: The result does not exist.
        RemoteError: Any other error of the download.
    """
    try:
        arrival_text, sha256 = _write_result_as_lines(
            client, store, batch, remote=remote, path=path
        )
    except errors.IncompleteError as error:
        return Download(arrival_text=f"only a part ({error.message})")
    with ResultFile(path) as results:
        key_count = results.count_present_keys(_iterate_request_keys(store, batch))
        if results.is_truncated:
            arrival_text = "a file that ends inside a line"
        return Download(not results.is_truncated, key_count, arrival_text, sha256)


def _write_result_as_lines(
    client: "ProviderClient",
    store: Store,
    batch: BatchRow,
    *,
    remote: RemoteBatch,
    path: Path,
) -> tuple[str, str]:
    """Write the result of a batch to a path, one line per request with its key.

    Takes inline results from `remote`, or else downloads the result file.

    Returns:
        The kind of the received file in words, for messages, and the SHA-256 of its bytes as they
        came.

    Raises:
        IncompleteError: Only a part was received.
        MissingError: The result does not exist.
    """
    if remote.inline_results:
        write_inline_results(path, remote.inline_results)
        sha256 = files.hash_file(path)
    else:
        keys = _iterate_request_keys(store, batch)
        sha256 = client.download_result(remote.result_file or "", path, keys=keys)
    arrival_text = describe_unusable_download(path)
    rewrite_result_as_lines(path, task_name=batch.task)
    return arrival_text, sha256


def _iterate_request_keys(store: Store, batch: BatchRow) -> Iterator[str]:
    """Yield the keys of a batch's control requests, then of its claims in the order of their lines.

    Reads page by page, each in a transaction of its own.
    """
    if batch.control_requests:
        yield from CONTROL_KEYS
    for page in iterate_claim_pages(store, batch.number):
        for claim in page:
            yield make_request_key(batch.task, claim.row_id)


def download_lost_result_again(
    client: "ProviderClient",
    store: Store,
    locks: Locks,
    batch: BatchRow,
    path: Path,
    *,
    display: Progress,
    now: Callable[[], datetime],
) -> None:
    """Download a lost result again; do nothing if another process has the batch's lock.

    The file gets its final name only if the bytes as they came have the recorded hash. If a newer
    version translates them differently, the hash of the file is recorded anew. Prints whether the
    result was restored. An error of the API, or other bytes, is printed with the command that
    gives the batch up. The state of the batch stays.
    """
    number = batch.number
    part = files.new_part_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with locks.try_lock(make_batch_lock_name(number)) as lock:
            if lock is None:
                return
            remote = client.get_batch(batch.remote_name or "")
            _, sha256 = _write_result_as_lines(client, store, batch, remote=remote, path=part)
            draft = files.sync_part(part)
            is_same_file = draft.sha256 == batch.result_sha256
            if not is_same_file and sha256 != batch.download_sha256:
                raise errors.MissingError("the API sent other bytes")
            if not is_same_file:
                with store.write() as tx:
                    batches.record_replaced_result(
                        tx, batch, draft, download_sha256=sha256, now=now()
                    )
            files.rename_sealed(draft, path)
            display.say(f"batch {number}: its lost result was downloaded again, byte for byte")
    except errors.RemoteError as error:
        give_up = CommandHint("batch-cancel", batch=number)
        display.warn(
            f"batch {number}: its lost result cannot be downloaded again ({error.message}); "
            f"`{give_up}` gives up the batch, so that its rows are asked again",
        )
    finally:
        part.unlink(missing_ok=True)


def _describe_shortfall(download: Download, expected_count: int) -> str:
    """Return how many of the expected requests have no line in a result, in words."""
    missing_count = expected_count - max(0, download.matched_requests)
    return f"{missing_count:,} of {expected_count:,} results are missing"


def _describe_ending(remote: RemoteBatch, *, has_no_download: bool = False) -> str:
    """Return how a batch ended, in words, with the API's error.

    Args:
        has_no_download: No result was downloaded. Then the words for a batch that succeeded say
            that it has no result or, if it names a result file, that this is not available.
    """
    description = str(remote.state)
    if remote.state is RemoteState.SUCCEEDED and has_no_download:
        description = "succeeded without a result"
        if remote.has_result:
            description = "succeeded, but its result is not available"
    return f"{description}: {remote.error}" if remote.error else description
