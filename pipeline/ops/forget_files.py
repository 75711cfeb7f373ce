"""Remove the lines of forgotten rows from sealed files.

A sealed file is a request or result file of a batch; its SHA-256 is in the database.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from pipeline.core import files
from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import InconsistentError
from pipeline.engine.task import Task
from pipeline.gemini.requests import make_request_key
from pipeline.gemini.result_file import read_line_key
from pipeline.ops import clean
from pipeline.store import batches, erasure, marks
from pipeline.store.batches import BatchRow
from pipeline.store.database import Connection, Store


def read_batch_numbers(tx: Connection, task: Task, row_ids: Sequence[str]) -> set[int]:
    """Return the numbers of all batches that may have asked about any of the rows."""
    return set().union(
        *(erasure.list_batches_that_may_have_row(tx, task.name, row_id) for row_id in row_ids)
    )


def _find_sealed_files(data: Path, batch: BatchRow) -> list[clean.SealedFile]:
    """Return the sealed files of a batch that exist, also those that a killed `clean` left.

    Raises:
        InconsistentError: The database has another file name for the batch than its number gives.
    """
    return [file for file in clean.list_sealed_files(data, batch) if file.path.is_file()]


def _changed_file_error(batch: BatchRow, file: clean.SealedFile) -> InconsistentError:
    """Return the error for a changed file, which may contain lines about the person."""
    return InconsistentError(
        f"{file.description} of batch {batch.number} was changed after sealing "
        f"and may contain the row: {file.path}; the file was not changed",
        hint=f"put it back or remove it, then run `{CommandHint('forget')}` again",
    )


def check_sealed_files(data: Path, task: Task, tx: Connection, row_ids: Sequence[str]) -> None:
    """Raise InconsistentError if a sealed file that may have lines about the rows was changed.

    Reads the existing files of all batches that may have asked about the rows. The check is skipped
    while any `forget` of the workspace is unfinished, because it may have rewritten files.
    """
    # A killed run may have recorded a hash before its file; `drop_lines` checks those files.
    if marks.open_erasures(tx):
        return

    batch_numbers = read_batch_numbers(tx, task, row_ids)
    for number in sorted(batch_numbers):
        batch = batches.get_batch(tx, number)
        for file in _find_sealed_files(data, batch):
            if not file.is_sealed:
                raise _changed_file_error(batch, file)


def drop_lines(
    data: Path,
    store: Store,
    batch: BatchRow,
    row_ids: Collection[str],
) -> dict[str, int]:
    """Rewrite the sealed files of a batch without the lines about some rows of its task.

    Files that do not exist are skipped. The new hashes are recorded in the database.

    Returns:
        The number of deleted lines of each rewritten file, by path relative to DATA.

    Raises:
        InconsistentError: A file, or its record, was changed.
    """
    forgotten_keys = {make_request_key(batch.task, row_id) for row_id in row_ids}
    dropped_counts = {}
    for file in _find_sealed_files(data, batch):
        dropped_count = _drop_lines_of_file(store, batch, file, forgotten_keys)
        if dropped_count:
            dropped_counts[file.path.relative_to(data).as_posix()] = dropped_count
    return dropped_counts


def _drop_lines_of_file(
    store: Store,
    batch: BatchRow,
    file: clean.SealedFile,
    forgotten_keys: Collection[str],
) -> int:
    """Rewrite a sealed file without the lines of some keys; return the number of deleted lines.

    Lines without a readable key are deleted too. If no line is deleted, the file stays as it is.
    The new hash is committed before the new file replaces the old file. If a killed run has
    committed the new hash already, only the file is replaced.

    Args:
        store: The database.
        batch: The batch of the file.
        file: The file, with its recorded hash.
        forgotten_keys: Request keys of the rows to forget.

    Raises:
        InconsistentError: The file, or its record, was changed.
    """
    current_sha256 = files.hash_file(file.path)
    draft_path = files.new_part_path(file.path)
    dropped_count = 0
    try:
        with files.SealedWriter(draft_path) as writer, file.path.open("rb") as sealed_lines:
            for line in sealed_lines:
                key = read_line_key(line)
                if key and key not in forgotten_keys:
                    writer.write(line)
                else:
                    dropped_count += 1
            draft = writer.seal()

        # A run that was killed before the rename has recorded the new file.
        if file.sha256 not in {current_sha256, draft.sha256}:
            raise _changed_file_error(batch, file)
        if dropped_count:
            if current_sha256 == file.sha256:
                with store.write() as tx:
                    is_recorded = erasure.record_resealed_file(
                        tx,
                        batch.number,
                        old_sha256=current_sha256,
                        sha256=draft.sha256,
                        size=draft.size,
                    )
                    if not is_recorded:
                        raise _changed_file_error(batch, file)
            files.rename_sealed(draft, file.path)
    finally:
        draft_path.unlink(missing_ok=True)
    return dropped_count
