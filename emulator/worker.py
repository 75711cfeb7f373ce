"""Answering batches: each whole, into a file that gets its name when all is answered.

An answer is a pure function of its request, so nothing is kept of a batch whose host died: the next one starts it anew.
A lock on the input, which ends with its process, keeps two hosts from doing the same work; where they do, the results
are the same to the byte, and the first to move the batch's row has ended it.
"""

import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from emulator import generate, media, messages
from emulator.catalogue import MODELS
from emulator.messages import ApiError, invalid
from emulator.state import EngineState, Row

_LOOK_S = 0.25
_TELL_S = 0.5
"""How often it looks for work where nobody tells it of some, and how often it tells how far it is."""


def _read_line(raw: bytes, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the request of one line of a request file, and what is echoed beside its answer: the key, mostly.

    Lists come back empty, as the live service was seen to do. A line that is none is refused with its column.
    """
    column = 1
    name = ""
    try:
        document = orjson.loads(raw)
        if not isinstance(document, dict):
            reason = f"unexpected character: {raw.decode('utf-8', 'replace')[:1]!r}; expected '{{'"
        elif "request" not in document:
            reason = "missing field: 'request'"
        elif not isinstance(document.get("key", ""), str):
            name = "key"
            reason = f"invalid value for 'key': {document['key']!r}"
        else:
            request = messages.read(
                "GenerateContentRequest", document.pop("request"), where="request"
            )
            return request, {
                name: [] if isinstance(value, list) else value for name, value in document.items()
            }
    except orjson.JSONDecodeError as error:
        found = raw.decode("utf-8", "replace")[error.pos : error.pos + 1]
        column = error.pos + 1
        reason = f"unexpected character: {found!r}" if found else "unexpected end"
    except messages.FieldError as error:
        name = error.name
        reason = error.of_line
    column = max(raw.find(f'"{name}"'.encode()), 0) + 1 if name else column
    raise invalid(f"Error on line {number}: invalid JSON, near column {column}: {reason}")


def _lines(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    place = 0
    for number, raw in enumerate(file, start=1):
        if raw.strip():
            yield number, place, raw.rstrip(b"\r\n")
        place += len(raw)


def count_requests(path: Path) -> int:
    """Return how many requests a file has; refuse it for its first bad line, or where there is none."""
    with path.open("rb") as file:
        count = sum(bool(_read_line(raw, number)) for number, _, raw in _lines(file))
    if not count:
        raise invalid("The input file holds no requests.")
    return count


class BatchWorker:
    """Works on the batches of one state until it is told to stop."""

    def __init__(self, state: EngineState) -> None:
        """Begin to look for work; who makes some sets `wake`."""
        self._state = state
        self.wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="local-engine-worker", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the request being answered now and wait until the thread is over."""
        self._stopping.set()
        self.wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.wake.clear()
            for batch in self._state.unfinished():
                try:
                    self._work(batch)
                except Exception as error:  # noqa: BLE001 - whatever is wrong with one batch, it must end, others go on
                    reason = f"The local engine failed: {type(error).__name__}: {error}"
                    self._state.move_batch(batch["id"], "FAILED", error=reason)
            self.wake.wait(_LOOK_S)

    def _work(self, batch: Row) -> None:
        """Answer a batch and end it, unless another host does, it was ended meanwhile, or this host stops."""
        path = self._state.path("results", batch["id"])
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        with self._state.path("input", batch["id"]).open("rb") as file:
            if not _is_locked(file) or not self._state.move_batch(batch["id"], "RUNNING"):
                return
            for left in path.parent.glob(f"{path.name}.*.part"):
                left.unlink(missing_ok=True)
            failed = self._answer_all(batch, file, part)
            if failed is None:
                part.unlink()
                return
            part.replace(path)
            self._state.move_batch(
                batch["id"], "SUCCEEDED", succeeded=batch["requests"] - failed, failed=failed
            )

    def _answer_all(self, batch: Row, file: BinaryIO, part: Path) -> int | None:
        """Write all answers, shuffled as the live service's are, and return how many are refusals; None: not all."""
        places = [place for _, place, _ in _lines(file)]
        random.Random(batch["id"]).shuffle(places)  # noqa: S311 - to be the same again, not to be secret
        model = MODELS[batch["model"]]
        failed = 0
        told = time.monotonic()
        with part.open("wb") as out:
            for count, place in enumerate(places):
                if self._stopping.is_set():
                    return None
                if time.monotonic() - told > _TELL_S:
                    told = time.monotonic()
                    if not self._state.move_batch(
                        batch["id"], "RUNNING", succeeded=count - failed, failed=failed
                    ):
                        return None
                file.seek(place)
                request, echoed = _read_line(file.readline().rstrip(b"\r\n"), 0)
                try:
                    answer = {
                        "response": generate.answer(request, model, seen=media.looked_at(request))
                    }
                except ApiError as refusal:
                    answer = {"error": refusal.line()}
                    failed = failed + 1
                out.write(orjson.dumps(answer | echoed) + b"\n")
        return failed


def _is_locked(file: BinaryIO) -> bool:
    """Lock a file until it is closed, and tell whether no other process holds it."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # Windows: two hosts may do the same work there
        pass
    except BlockingIOError:
        return False
    return True
