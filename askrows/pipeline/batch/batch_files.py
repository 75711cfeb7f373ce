"""The files and the lock of a batch, and the unsealed replies of live batches.

- A live batch is sent as single API calls. Each reply is appended to its reply file before the call
  slot is free, so `kill -9` loses no reply.
- To seal the reply file is to sync it, give it the name of a result file, and record its hash.
- Before a call is sent, the length of the calls file becomes the number of calls of the batch, so
  `kill -9` leaves no call uncounted. The database has this number once a second only.
- The process that sends a live batch has the lock of the batch. If the lock is free, the process is
  dead, and another process seals the replies.
- A trial is a live batch that tests a prompt. It claims no rows, and its answers are not stored.
"""

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from askrows.pipeline.batch.run import Run
from askrows.pipeline.core import files
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import (
    AskrowsError,
    ConfigurationError,
    InconsistentError,
    StateConflictError,
)
from askrows.pipeline.core.states import BatchState, Mode, Outcome
from askrows.pipeline.provider import responses
from askrows.pipeline.provider.responses import ParsedReply, ResponseParser
from askrows.pipeline.store import batches, claims
from askrows.pipeline.store.batches import BatchRow
from askrows.pipeline.store.claims import RowClaim
from askrows.pipeline.store.database import PAGE_ROWS, Store
from askrows.pipeline.store.locks import Lock, LockLostError, Locks
from askrows.pipeline.tasks.request_builder import choose_response_parser
from askrows.pipeline.tasks.request_outcomes import Provenance, make_provenance

T = TypeVar("T")
BATCHES_FOLDER = "batches"
# The length of a file with this suffix is the number of calls of a live batch.
CALLS_SUFFIX = ".calls"
# A command tries again this often if another process changes the rows of a batch meanwhile.
MAX_TRIES = 3


def request_path(data: Path, number: int) -> Path:
    """Return the path of a batch's request file; `data` is the folder of the workspace."""
    return data / BATCHES_FOLDER / f"{number:06d}-requests.jsonl"


def result_path(data: Path, number: int) -> Path:
    """Return the path of a batch's result file; `data` is the folder of the workspace."""
    return data / BATCHES_FOLDER / f"{number:06d}-results.jsonl"


def live_replies_path(data: Path, number: int) -> Path:
    """Return the path of a live batch's replies before they are sealed as its result file."""
    return result_path(data, number).with_suffix(".asked")


def get_checked_request_path(data: Path, batch: BatchRow) -> Path:
    """Return the path of a batch's request file; refuse another name in the database."""
    return _check_stored_path(data, batch, batch.request_file, request_path(data, batch.number))


def get_checked_result_path(data: Path, batch: BatchRow) -> Path:
    """Return the path of a batch's result file; refuse another name in the database.

    A batch without a result gets the path that its result will have.
    """
    path = result_path(data, batch.number)
    if batch.result_file is None:
        return path
    return _check_stored_path(data, batch, batch.result_file, path)


def _check_stored_path(
    data: Path,
    batch: BatchRow,
    name: str,
    expected: Path,
) -> Path:
    """Return the expected path if the stored name is the same and no link leads elsewhere.

    Raises:
        InconsistentError: The name is different, or a link leads out of the workspace.
    """
    # Whoever may change the database must not choose the files that are read, sent or deleted.
    own_name = expected.relative_to(data).as_posix()
    if name != own_name:
        raise InconsistentError(
            f"the database names the file {name!r} for batch {batch.number}, expected {own_name}; "
            "the file was not read or changed",
            hint=f"restore a backup: {CommandHint('restore', from_='…')}",
        )
    return files.resolve_stored_path(data, name)


def make_batch_lock_name(number: int) -> str:
    """Return the name of the lock that a process has while it works on a batch."""
    return f"batch-{number}"


def iterate_claim_pages(
    store: Store, number: int, *, page_rows: int = PAGE_ROWS
) -> Iterator[Sequence[RowClaim]]:
    """Yield the claims of a batch page by page, in the order of their lines.

    Each page is read from the database when it is requested, in a snapshot of its own.
    """
    last_line = 0
    while page := store.query(
        claims.read_claims_of_batch, number, after=last_line, limit=page_rows
    ):
        yield page
        last_line = page[-1].line or 0


def retry_on_conflict(attempt: Callable[[], T], *, max_calls: int = MAX_TRIES) -> T:
    """Call `attempt`, again if another process changed the rows that it read; return its result.

    Waits for nothing between two calls.

    Args:
        max_calls: The number of calls at most.

    Raises:
        StateConflictError, LockLostError: The last call failed too.
    """
    for _ in range(max_calls - 1):
        with contextlib.suppress(StateConflictError, LockLostError):
            return attempt()
    return attempt()


@dataclass
class OpenLiveBatch:
    """A live batch while its requests are sent: its lock, and its files of replies and calls."""

    number: int
    # Requests that need more calls.
    open_requests: int
    lock: Lock
    # The file of the replies, which always ends with a whole line.
    path: Path
    # Descriptors of the file and of the calls file, -1 after `close`.
    descriptor: int = field(init=False)
    calls_descriptor: int = field(init=False)
    # Bytes of whole lines in the file.
    file_bytes: int = 0
    # Calls that may have been paid for. Two threads count them.
    calls: int = 0
    _counting_lock: threading.Lock = field(default_factory=threading.Lock)
    # Calls whose number is in the database.
    recorded_calls: int = 0
    # Sum of the durations of calls with a reply.
    seconds: float = 0.0
    # Row id to the reason why the row got no reply.
    failure_reasons: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Open the reply file and the calls file for writing, and empty both."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self.descriptor = os.open(self.path, flags, 0o644)
        self.calls_descriptor = os.open(self.path.with_suffix(CALLS_SUFFIX), flags, 0o644)

    def record_calls(self, change: int = 1) -> None:
        """Count a call, here and in the calls file, whose length is the number of calls.

        The kernel keeps the length if this process is killed; `sync_to_disk` writes it to disk.

        Args:
            change: -1 takes back the count of a call that was not paid for.

        Raises:
            ConfigurationError: The file could not be changed; the number of calls is as before.
        """
        with self._counting_lock:
            try:
                os.ftruncate(self.calls_descriptor, self.calls + change)
            except OSError as error:
                raise _make_write_error(self.path.with_suffix(CALLS_SUFFIX), error) from error
            self.calls += change

    def sync_to_disk(self) -> None:
        """Write the replies and the number of calls to disk."""
        os.fdatasync(self.descriptor)
        os.fsync(self.calls_descriptor)

    def append_reply(self, line: bytes) -> None:
        """Append one reply to the reply file without syncing it to disk.

        If the write fails, the file is truncated to the replies before.

        Args:
            line: The reply as a JSON line, with its line end.

        Raises:
            ConfigurationError: The line could not be written, for example because the disk is full.
        """
        unwritten = memoryview(line)
        try:
            while unwritten:
                unwritten = unwritten[os.write(self.descriptor, unwritten) :]
        except OSError as error:
            os.ftruncate(self.descriptor, self.file_bytes)
            os.lseek(self.descriptor, self.file_bytes, os.SEEK_SET)
            raise _make_write_error(self.path, error) from error
        self.file_bytes += len(line)

    def close(self) -> None:
        """Close both files. A second call does nothing."""
        for descriptor in (self.descriptor, self.calls_descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self.descriptor = -1
        self.calls_descriptor = -1


def _make_write_error(path: Path, error: OSError) -> ConfigurationError:
    """Return the error for a file of a live batch that cannot be written."""
    return ConfigurationError(
        f"cannot write {path}: {error.strerror}; no further row was asked",
        hint="free disk space, then run the same command again",
    )


def move_call_count_to_database(run: Run, batch: BatchRow) -> None:
    """Store the total number of calls that a dead process made for a batch; delete its calls file.

    The size of the calls file is the number of calls that may have been paid for. It replaces the
    number in the database, because a living process stores its number only once a second. If there
    is no calls file, nothing is stored. The total counts for the quota of the day that is stored
    with the batch, or else of the day on which the batch began. The caller has the lock of the
    batch.
    """
    path = live_replies_path(run.workspace.data, batch.number).with_suffix(CALLS_SUFFIX)
    calls = path.stat().st_size if path.exists() else batch.calls
    if calls != batch.calls:
        sent_at = batch.submitted_at or run.workspace.now()
        day = batch.day or run.workspace.provider.quota_day(sent_at).isoformat()
        with run.workspace.store.write() as tx:
            batches.update_batch_columns(tx, batch.number, day=day, calls=calls)
    # The number is committed, so it is safe from a kill between this and the seal.
    path.unlink(missing_ok=True)


def seal_live_result_and_record_downloaded(
    data: Path,
    store: Store,
    now: Callable[[], datetime],
    number: int,
    *,
    max_write_wait_s: float | None = None,
) -> None:
    """Seal the reply file of a live batch as its result file, and move the batch to downloaded.

    The caller has the lock of the batch. An incomplete last line is deleted from the reply file. If
    the state of the batch is not asking, nothing more is done. Without a reply file, the result
    file that a killed process left is sealed, or else an empty file. No answer is ingested.

    Args:
        now: The clock.
        max_write_wait_s: The longest wait for another writer of the database; None means the
            default of all commands.

    Raises:
        UnavailableError: Another process wrote to the database for the whole time.
    """
    replies_path = live_replies_path(data, number)
    sealed_path = result_path(data, number)
    if not replies_path.exists():
        # A process may have been killed between the rename and the commit.
        if sealed_path.exists():
            replies_path = sealed_path
        replies_path.touch()
    _truncate_to_whole_lines(replies_path)
    draft = files.sync_part(replies_path)
    with store.write(max_write_wait_s=max_write_wait_s) as tx:
        batch = batches.get_batch(tx, number)
        if batch.state is BatchState.ASKING:
            batches.record_downloaded(
                tx,
                batch,
                sealed_path,
                draft,
                event_reason="asked",
                now=now(),
            )
            files.rename_sealed(draft, sealed_path)


def store_trial_totals_and_delete_files(
    run: Run, number: int, *, max_write_wait_s: float | None = None
) -> None:
    """Store the outcome counts and the cost of a trial, and delete its request and reply files.

    A trial tests a prompt: its answers are not stored. The batch moves from asking to ingested.
    Requests without a reply count as missing. If the batch is in another state, only its files are
    deleted. The caller has the lock of the batch.

    Args:
        max_write_wait_s: The longest wait for another writer of the database; None means the
            default of all commands.

    Raises:
        UnavailableError: Another process wrote to the database for the whole time. Nothing was
            stored, and no file was deleted.
    """
    replies_path = live_replies_path(run.workspace.data, number)
    trial = run.workspace.store.query(batches.get_batch, number)
    provenance = make_provenance(trial, settings=run.workspace.settings)
    # If the file of its task is missing, the replies to a dead trial count at their estimate.
    parse_generated_response: ResponseParser = responses.parse_generated_response
    with contextlib.suppress(AskrowsError):
        parse_generated_response = choose_response_parser(
            run.find_task_or_current(trial.task), provenance.model
        )
    replies = []
    if replies_path.exists():
        _truncate_to_whole_lines(replies_path)
        replies = [
            responses.parse_result_line(line, parse_generated_response)
            for _, line in files.iterate_lines_with_offsets(replies_path)
        ]

    now = run.workspace.now()
    with run.workspace.store.write(max_write_wait_s=max_write_wait_s) as tx:
        trial = batches.get_batch(tx, number)
        if trial.state is BatchState.ASKING:
            account = _compute_trial_totals(trial, replies, provenance, now)
            batches.record_ingested(tx, trial, now=now, **account)
    _delete_trial_files(run.workspace.data, trial)


def _compute_trial_totals(
    batch: BatchRow,
    replies: Sequence[ParsedReply],
    provenance: Provenance,
    now: datetime,
) -> dict[str, Any]:
    """Return the columns to store when a batch ends: outcomes, tokens, calls and cost in USD.

    `missing` is the number of requests without a reply. `calls` is the recorded number of calls, or
    the number of replies if that is larger. `uncounted` is the number of replies without a count of
    prompt tokens, except refused replies.

    Args:
        replies: The replies of the batch. A request has at most one.
        provenance: Gives the model and the mode, which determine the prices.
        now: Its day determines the prices.

    Returns:
        Column name to number.
    """
    outcome_counts = Counter(reply.outcome for reply in replies)
    uncounted_replies = [
        reply
        for reply in replies
        if reply.outcome is not Outcome.REFUSED and reply.usage.prompt == 0
    ]
    return {
        "answered": outcome_counts[Outcome.ANSWERED],
        "refused": outcome_counts[Outcome.REFUSED],
        "invalid": outcome_counts[Outcome.INVALID],
        "missing": batch.requests - len(replies),
        "tokens_in": sum(reply.usage.prompt for reply in replies),
        "tokens_out": sum(reply.usage.answer + reply.usage.thoughts for reply in replies),
        "calls": max(batch.calls, len(replies)),
        "cost": sum(provenance.calculate_reply_cost(reply, now) for reply in replies),
        "uncounted": len(uncounted_replies),
    }


def _delete_trial_files(data: Path, batch: BatchRow) -> None:
    """Delete the request file and the reply file of a trial.

    A request file that was changed stays. The reply file is deleted last: while it exists, a later
    command finishes the deletion.
    """
    request = get_checked_request_path(data, batch)
    if files.is_sealed(request, batch.request_sha256):
        request.unlink()
    live_replies_path(data, batch.number).unlink(missing_ok=True)


def _truncate_to_whole_lines(path: Path) -> None:
    """Truncate a file after its last line end."""
    with path.open("rb+") as file:
        file.truncate(sum(len(line) for line in file if line.endswith(b"\n")))


def _count_replies(data: Path, number: int) -> int:
    """Return how many replies a live batch has in its file, sealed or not; 0 without a file."""
    for path in (live_replies_path(data, number), result_path(data, number)):
        with contextlib.suppress(FileNotFoundError):
            return path.read_bytes().count(b"\n")
    return 0


def count_ended_requests(data: Path, batch: BatchRow) -> int:
    """Return how many requests of a batch ended, at most all.

    - live batch that is asking: the replies in its file, because the database is older
    - submitted: the number that the API reported last
    - downloaded, or over: all requests
    - any other state: 0
    """
    ended_count = 0
    if batch.state is BatchState.ASKING:
        ended_count = _count_replies(data, batch.number)
    elif batch.state is BatchState.SUBMITTED:
        ended_count = batch.remote_done or 0
    elif batch.is_finished or batch.state is BatchState.DOWNLOADED:
        ended_count = batch.requests
    return min(ended_count, batch.requests)


def find_live_batches_of_dead_processes(store: Store, locks: Locks) -> list[BatchRow]:
    """Return the live batches of all tasks whose process is dead: nobody has their lock."""
    asked_batches = store.query(batches.list_batches_in_states, BatchState.ASKING)
    return [batch for batch in asked_batches if locks.is_free(make_batch_lock_name(batch.number))]


def end_live_batches_of_dead_processes(run: Run) -> None:
    """End the live batches of all tasks whose process is dead.

    Their lock is free, because a process has the lock of its live batch until it ends. The number
    of their calls is stored.

    - For a trial, a test of a prompt, the outcome counts and the cost are stored.
    - For any other live batch, the replies are sealed as its result file. They are not ingested
      here.

    The files of trials are deleted. Such files are also deleted if an earlier process ended the
    trial but died before it deleted them. A batch that another process locks meanwhile is skipped.
    """
    for batch in find_live_batches_of_dead_processes(run.workspace.store, run.workspace.locks):
        with (
            contextlib.suppress(StateConflictError),
            run.workspace.locks.try_lock(make_batch_lock_name(batch.number)) as lock,
        ):
            if lock is None:
                continue
            move_call_count_to_database(run, batch)
            if batch.mode is Mode.TRIAL:
                store_trial_totals_and_delete_files(run, batch.number)
            else:
                seal_live_result_and_record_downloaded(
                    run.workspace.data, run.workspace.store, run.workspace.now, batch.number
                )

    leftover_names = {
        path.name for path in (run.workspace.data / BATCHES_FOLDER).glob("*-results.asked")
    }
    if not leftover_names:
        return

    ingested_batches = run.workspace.store.query(
        batches.list_batches_in_states, BatchState.INGESTED
    )
    for batch in ingested_batches:
        is_leftover = live_replies_path(run.workspace.data, batch.number).name in leftover_names
        if not batch.mode.facts.claims_rows and is_leftover:
            _delete_trial_files(run.workspace.data, batch)
