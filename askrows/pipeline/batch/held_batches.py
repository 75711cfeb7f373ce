"""Hold batches whose result provably gives replies to the wrong requests, or is hardly readable.

Nothing of a held batch is stored. It stays downloaded until a person does one of these:

- download the result again, because the API may send another file
- give up the batch, so that its rows are asked again
- accept the result in spite of the reason

The reason is stored with the batch, because an accepted batch must not be examined again.
"""

from askrows.pipeline.batch.batch_files import (
    make_batch_lock_name,
    result_path,
)
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core import files
from askrows.pipeline.core.command_hint import CommandHint, HintTemplate
from askrows.pipeline.core.errors import InconsistentError, InputError, RemoteError
from askrows.pipeline.core.states import BatchState
from askrows.pipeline.provider.result_file import ResultFile
from askrows.pipeline.store import batches
from askrows.pipeline.store.batches import BatchRow
from askrows.pipeline.tasks.task_values import TaskNouns

# A batch is held if more than this share of its result lines, and more than one, cannot be read.
# One line may be damaged; more of them mean another form of the file.
MAX_BROKEN_SHARE = 0.1


class HeldBatchError(InconsistentError):
    """The result of a batch is mixed up or hardly readable; nothing of it was stored."""

    def __init__(self, batch: BatchRow, nouns: TaskNouns) -> None:
        """Describe the reason of the hold and the three ways to end it."""
        self.number = batch.number
        self.reason = batch.held or ""
        super().__init__(
            f"batch {batch.number} is held: {batch.held}; "
            "nothing of it was stored, and it stays downloaded",
            hint=make_hold_hint(batch.number, nouns),
        )


def make_hold_hint(number: int, nouns: TaskNouns) -> HintTemplate:
    """Return the hint with the three commands that end the hold of a batch."""
    return HintTemplate(
        "`{}` downloads the result again, `{}` lets its rows be asked again, "
        "`{}` stores the replies as they are",
        nouns.command("batch-poll", batch=number),
        nouns.command("batch-cancel", batch=number),
        nouns.command("batch-ingest", accept=number),
    )


def describe_excess_broken_lines(results: ResultFile) -> str:
    """Return how many lines of a result cannot be read; "" if they are too few to hold its batch.

    Each of them would charge its row for a reply that the provider may have sent in another form.
    """
    max_broken_lines = max(1, results.line_count * MAX_BROKEN_SHARE)
    if results.broken_count <= max_broken_lines:
        return ""
    return f"{results.broken_count:,} of its {results.line_count:,} lines cannot be read"


def record_held_batch_accepted(run: Run, number: int) -> None:
    """Record that a held batch is to be ingested as it is.

    If it was accepted before and is not ingested yet, nothing is written.

    Raises:
        InputError: There is no such batch, or it is not held.
    """
    with run.workspace.store.write() as tx:
        batch = batches.get_batch(tx, number)
        # An earlier command may have died after it accepted the batch.
        if batch.state is BatchState.DOWNLOADED and batch.held == "":
            return
        _check_held(batch)
        batches.record_held_accepted(tx, batch, now=run.workspace.now())


def replace_held_result_if_changed(run: Run, number: int) -> bool:
    """Download the result of a held batch again, under its lock; return whether it differs.

    A batch is held if its result gives replies to the wrong requests. Other bytes replace the
    result file, and the hold ends. The same bytes change nothing except the journal, so that
    `status` does not propose the download again.

    A held batch is in the state downloaded, and keeps it when the hold ends: it can be ingested
    then. The new hash is committed before the file is replaced. If the process is killed between
    the two, the file counts as damaged, and `batch-poll` downloads it again.

    Raises:
        InputError: There is no such batch, or it is not held.
        RemoteError: The API cannot send the result, or another process has the lock of the batch.
            Nothing was changed.
    """
    lock_name = make_batch_lock_name(number)
    with run.workspace.locks.try_lock(lock_name) as lock:
        if lock is None:
            holder = run.workspace.locks.describe_lock_holder(lock_name)
            raise RemoteError(
                f"batch {number}: {holder}; nothing was changed",
                hint="run the command again in a moment",
            )
        batch = run.workspace.store.query(batches.get_batch, number)
        _check_held(batch)

        path = result_path(run.workspace.data, number)
        files.remove_abandoned_parts(path)
        from askrows.pipeline.batch.result_download import download_result_file

        part = files.new_part_path(path)
        try:
            download = download_result_file(run, batch, part)
            draft = files.sync_part(part)
            if draft.sha256 == batch.result_sha256:
                with run.workspace.store.write() as tx:
                    batches.record_same_result(tx, batch, now=run.workspace.now())
                return False
            lock.raise_if_lost()
            with run.workspace.store.write() as tx:
                batches.record_replaced_result(
                    tx, batch, draft, download_sha256=download.sha256, now=run.workspace.now()
                )
            files.rename_sealed(draft, path)
        finally:
            part.unlink(missing_ok=True)
    return True


def _check_held(batch: BatchRow) -> None:
    """Refuse a batch that is not held.

    Raises:
        InputError: The batch is in another state, or nothing holds it.
    """
    if not batch.is_held:
        raise InputError(
            f"batch {batch.number} is {batch.state} and not held; nothing was changed",
            hint=f"`{CommandHint('batches')}` lists all batches",
        )
