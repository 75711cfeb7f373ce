"""Answer batches: each completely, into a file that is renamed when the last answer is written.

- An answer is a pure function of its request, so nothing is kept of a batch whose process died.
  The next process answers it again from the start.
- A lock on the input file, which ends with its process, keeps two processes from the same work.
- If two processes still do the same work, their results are equal to the byte, and the first update
  of the batch's row counts.
"""

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from askrows.emulator import generate, messages
from askrows.emulator.catalogue import MODELS, Model
from askrows.emulator.messages import ApiError, make_invalid_argument_error
from askrows.emulator.state import EngineState, Row

# The state is searched for new batches at this interval, because another process may create them.
_POLL_INTERVAL_S = 0.25
# The progress of a batch is saved at this interval.
_PROGRESS_INTERVAL_S = 0.5


class BatchWorker:
    """A background thread that answers the batches of one state."""

    def __init__(self, state: EngineState) -> None:
        """Start the thread. Set `wake` after creating a batch to start it immediately."""
        self._state = state
        self.wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._answer_batches_until_stop, name="local-engine-worker", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current request, and wait for the thread to end."""
        self._stopping.set()
        self.wake.set()
        self._thread.join()

    def _answer_batches_until_stop(self) -> None:
        """Answer unfinished batches, oldest first, until `stop` is called.

        A batch that `stop` interrupts stays unfinished. If answering a batch raises an error, the
        batch becomes FAILED with this error. The thread searches for new batches every
        `_POLL_INTERVAL_S`, and when `wake` is set.
        """
        while not self._stopping.is_set():
            self.wake.clear()
            for batch in self._state.list_unfinished_batches():
                try:
                    self._answer_batch(batch)
                except Exception as error:  # noqa: BLE001 - one failing batch must not stop others
                    reason = f"The local engine failed: {type(error).__name__}: {error}"
                    self._state.update_unfinished_batch(batch["id"], "FAILED", error=reason)
            self.wake.wait(_POLL_INTERVAL_S)

    def _answer_batch(self, batch: Row) -> None:
        """Answer a batch: move it to RUNNING, write its result file, and move it to SUCCEEDED.

        Nothing is changed if another process answers the batch, or if the batch was cancelled or
        deleted. Otherwise the batch is RUNNING first, and part files of dead processes are deleted.
        The answers are written to a part file, which becomes the result file. If the batch is
        cancelled or deleted meanwhile, or this worker stops, the part file is deleted and the state
        of the batch stays.

        Raises:
            OSError: The input file is missing, or the answers cannot be written. The part file may
                remain.
        """
        results_path = self._state.get_blob_path("results", batch["id"])
        part_path = results_path.with_name(f"{results_path.name}.{os.getpid()}.part")
        with self._state.get_blob_path("input", batch["id"]).open("rb") as input_file:
            if not _try_lock(input_file) or not self._state.update_unfinished_batch(
                batch["id"], "RUNNING"
            ):
                return

            # The lock is ours, so these files are from processes that died.
            for stale_path in results_path.parent.glob(f"{results_path.name}.*.part"):
                stale_path.unlink(missing_ok=True)

            failed_count = self._write_answers_and_count_errors(batch, input_file, part_path)
            if failed_count is None:
                part_path.unlink()
                return

            part_path.replace(results_path)
            self._state.update_unfinished_batch(
                batch["id"],
                "SUCCEEDED",
                succeeded=batch["requests"] - failed_count,
                failed=failed_count,
            )

    def _write_answers_and_count_errors(
        self, batch: Row, input_file: BinaryIO, part_path: Path
    ) -> int | None:
        """Write the answer lines of a batch, shuffled as those of the live service.

        Saves the counts of answers and errors in the batch's row every `_PROGRESS_INTERVAL_S`. A
        request that is refused gets a line with its error.

        Args:
            input_file: The open request file.
            part_path: The file to write.

        Returns:
            Number of lines that contain an error; None if the batch ended meanwhile or the worker
            stops, with an incomplete file.
        """
        offsets = [line.offset for line in _iter_lines(input_file)]
        # The batch's id is the seed, so that each process writes the same order.
        random.Random(batch["id"]).shuffle(offsets)  # noqa: S311 - the order is no secret

        model = MODELS[batch["model"]]
        failed_count = 0
        last_save_s = time.monotonic()
        with part_path.open("wb") as part_file:
            for answered_count, offset in enumerate(offsets):
                if self._stopping.is_set():
                    return None

                if time.monotonic() - last_save_s > _PROGRESS_INTERVAL_S:
                    last_save_s = time.monotonic()
                    is_active = self._state.update_unfinished_batch(
                        batch["id"],
                        "RUNNING",
                        succeeded=answered_count - failed_count,
                        failed=failed_count,
                    )
                    if not is_active:
                        return None

                input_file.seek(offset)
                raw_line = input_file.readline().rstrip(b"\r\n")
                request, echoed_members = _parse_request_and_other_members(raw_line, 0)
                outcome = _answer_or_refuse_request(request, model)
                if "error" in outcome:
                    failed_count += 1
                part_file.write(orjson.dumps(outcome | echoed_members) + b"\n")
        return failed_count


def check_and_count_requests(path: Path) -> int:
    """Check a request file, and return the number of its requests; blank lines are ignored.

    Raises:
        ApiError: 400 for the first line that is invalid, or if there is no line.
    """
    request_count = 0
    with path.open("rb") as file:
        for line in _iter_lines(file):
            _parse_request_and_other_members(line.content, line.number)
            request_count += 1

    if not request_count:
        raise make_invalid_argument_error("The input file holds no requests.")
    return request_count


class _Line(NamedTuple):
    """A line of a request file."""

    # Counted from 1.
    number: int
    # Bytes before the line.
    offset: int
    # Bytes without the line break.
    content: bytes


def _iter_lines(file: BinaryIO) -> Iterator[_Line]:
    """Yield the lines of a file that are not blank."""
    offset = 0
    for number, raw_line in enumerate(file, start=1):
        if raw_line.strip():
            yield _Line(number, offset, raw_line.rstrip(b"\r\n"))
        offset += len(raw_line)


def _parse_request_and_other_members(
    raw_line: bytes, number: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parse one line of a request file.

    Args:
        raw_line: A JSON object with a `request`.
        number: Number of the line, for error messages.

    Returns:
        (request message, other members of the line). The other members, usually only the key, are
        copied to the answer line.

    Raises:
        ApiError: 400 with the line number, if the line is invalid.
    """
    try:
        document = orjson.loads(raw_line)
        raw_request = document.pop("request")
        request = messages.parse_message("GenerateContentRequest", raw_request, path="request")
        messages.parse_message("string", document.get("key", ""), path="key")
    except (ValueError, LookupError, TypeError, AttributeError, ApiError) as error:
        raise make_invalid_argument_error(
            f"Error on line {number}: invalid JSON: {error}"
        ) from error
    return request, document


def _answer_or_refuse_request(request: dict[str, Any], model: Model) -> dict[str, Any]:
    """Return the `response` to a request, or the `error` that refuses it, as the only member."""
    try:
        return {"response": generate.answer_request(request, model)}
    except ApiError as error:
        return {"error": error.to_line_error()}


def _try_lock(file: BinaryIO) -> bool:
    """Lock a file until it is closed; return False if another process has locked it.

    On Windows it returns True without a lock, so two processes may do the same work there.
    """
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        pass
    except BlockingIOError:
        return False
    return True
