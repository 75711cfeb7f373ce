"""The thread that works on batches: one at a time, under a lease, some requests and one commit at a time.

The lease is three columns of the batch's row. It is renewed by every commit, and the commit itself is guarded by it:
what a host wrote that lost its lease meanwhile is rolled back, so no request is answered twice. A lease is free when
its time is over or its process is dead. Real time decides, not the engine's clock.
"""

import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, BinaryIO

import orjson

from emulator import embed, generate, media
from emulator.batches import ACTIVE, LIFETIME_NS, Batch, Batches
from emulator.catalogue import MODELS, Model
from emulator.clock import Clock
from emulator.database import Database
from emulator.errors import ApiError
from emulator.faults import Faults
from emulator.files import Files
from emulator.intake import Line, read_line
from emulator.results import ResultWriter
from emulator.settings import Settings

LEASE_S = 15.0
"""How long a host that went silent keeps a batch; far above the time one commit takes."""
_LOOK_S = 0.25
_CHUNK_BYTES = 1024 * 1024
"""So much of the input between two commits at the most, that a stop is quick and a lease never runs out."""
_SWEEP_S = 60.0
_Row = tuple[int, int, str | None, int, bytes]
"""A row of `results`: batch, position, key, whether it failed, its line."""


class Worker:
    """Works on the batches of one state file until it is told to stop."""

    def __init__(
        self,
        database: Database,
        *,
        batches: Batches,
        files: Files,
        clock: Clock,
        faults: Faults,
        settings: Callable[[], Settings],
    ) -> None:
        """Look for work in `database`; nothing runs before `start`."""
        self._database = database
        self._batches = batches
        self._files = files
        self._clock = clock
        self._faults = faults
        self._settings = settings
        self._host = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="local-engine-worker", daemon=True)

    def start(self) -> None:
        """Begin to look for work."""
        self._thread.start()

    def wake(self) -> None:
        """Look for work at once: there is some."""
        self._wake.set()

    def stop(self) -> None:
        """Stop after the request being answered now and wait until the thread is over."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        """Work while there is work; look again a little later, or when woken."""
        swept = 0.0
        while not self._stopping.is_set():
            self._wake.clear()
            if time.monotonic() - swept > _SWEEP_S:
                self._files.sweep()
                self._batches.sweep()
                swept = time.monotonic()
            batch = None if self._settings().paused else self._claim()
            if batch is None:
                self._wake.wait(_LOOK_S)
            else:
                self._advance(batch)

    def _claim(self) -> Batch | None:
        """Take the lease of the oldest batch that has work and no living host, and return it running."""
        waiting = "SELECT * FROM batches WHERE state IN (?, ?) AND deleted = 0 ORDER BY number"
        if not self._database.rows(waiting, ACTIVE):
            return None  # without asking for the write lock, which an idle host must not hold up others with
        with self._database.transaction():
            for row in self._database.rows(waiting, ACTIVE):
                batch = Batch(**row)
                if not self._is_free(batch):
                    continue
                if self._expired(batch):
                    self._batches.end(batch, "EXPIRED")
                    continue
                state = batch.told.get("state", "RUNNING")
                if batch.told.get("end") == "NEVER" and batch.state == state:
                    continue
                self._database.change(
                    "UPDATE batches SET state = ?, updated_ns = ?, host = ?, host_pid = ?, lease_until = ? "
                    "WHERE number = ? AND state IN (?, ?)",
                    (
                        state,
                        self._clock.now_ns(),
                        self._host,
                        os.getpid(),
                        time.time() + LEASE_S,
                        batch.number,
                        *ACTIVE,
                    ),
                )
                return self._batches.find(batch.id)
        return None

    def _is_free(self, batch: Batch) -> bool:
        """Tell whether no process, or no live one, holds the batch."""
        if batch.host in ("", self._host) or batch.lease_until < time.time():
            return True
        return not _is_alive(batch.host_pid)

    def _expired(self, batch: Batch) -> bool:
        return self._clock.now_ns() >= batch.created_ns + LIFETIME_NS

    def _advance(self, batch: Batch) -> None:
        """Work on one batch until it is over, lost to another host, or this host stops or pauses."""
        fate = batch.told
        if fate.get("end") == "NEVER":
            return
        if fate.get("end") == "FAILED" and not fate["partial"]:
            self._batches.end(batch, "FAILED", error=fate["error"])
            return
        try:
            file = self._batches.input_path(batch.id).open("rb")
        except FileNotFoundError:
            # Cancelled or deleted between the claim and here; a batch that still says otherwise has lost its input.
            self._batches.end(batch, "FAILED", error={"code": 13, "message": "The batch's input is gone."})
            return
        try:
            with file:
                self._answer_all(batch, file)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one batch, it must end and others go on
            reason = f"{type(error).__name__}: {error}"
            self._batches.end(batch, "FAILED", error={"code": 13, "message": f"The local engine failed: {reason}"})

    def _answer_all(self, batch: Batch, file: BinaryIO) -> None:
        """Answer what has no answer yet and finish the batch; give it back where the host must not go on."""
        model = MODELS[batch.model]
        file.seek(batch.read_bytes)
        position = self._answered(batch)
        while not self._stopping.is_set() and not self._settings().paused and not self._expired(batch):
            lines = _next_lines(file.readline, batch.kind, count=self._settings().chunk_lines)
            if not lines:
                self._finish(batch)
                return
            rows = self._answer(batch, lines, model=model, position=position)
            if not self._keep(batch, rows, read_bytes=file.tell()):
                return
            position += len(lines)
        self._release(batch)

    def _answered(self, batch: Batch) -> int:
        query = "SELECT COUNT(*) AS n FROM results WHERE batch = ?"
        return int(self._database.rows(query, (batch.number,))[0]["n"])

    def _answer(self, batch: Batch, lines: Sequence[Line], *, model: Model, position: int) -> list[_Row]:
        """Return the rows for some requests, the first of them at `position`."""
        bodies = (
            self._embed(lines, model)
            if batch.kind == "embed"
            else [self._generate(batch, line, model) for line in lines]
        )
        return [
            (
                batch.number,
                position + index,
                line.key,
                int("error" in body),
                orjson.dumps({**body, **line.echoed}, option=orjson.OPT_SERIALIZE_NUMPY),
            )
            for index, (line, body) in enumerate(zip(lines, bodies, strict=True))
        ]

    def _generate(self, batch: Batch, line: Line, model: Model) -> dict[str, Any]:
        """Return the members of a result line for one request for text."""
        try:
            settings = self._settings()
            seen = media.looked_at(line.request, partial(self._files.medium, batch.owner))
            reply = generate.answer(line.request, model, seen=seen, seed=settings.seed)
        except ApiError as refusal:
            return {"error": refusal.line()}
        return {"response": reply}

    def _embed(self, lines: Sequence[Line], model: Model) -> list[dict[str, Any]]:
        """Return the members of the result lines for some requests for vectors."""
        requests = [line.request for line in lines]
        bodies: list[dict[str, Any]] = []
        for request, outcome in zip(requests, embed.vectors_or_refusals(requests, model), strict=True):
            if isinstance(outcome, ApiError):
                bodies.append({"error": outcome.line()})
            else:
                tokens = str(generate.count_tokens(request, model).total)
                bodies.append({"response": {"tokenCount": tokens, "embedding": {"values": outcome}}})
        return bodies

    def _keep(self, batch: Batch, rows: Sequence[_Row], *, read_bytes: int) -> bool:
        """Commit answers, progress and the renewed lease in one; False where the batch is no longer this host's."""
        failed = sum(row[3] for row in rows)
        with self._database.transaction():
            kept = self._database.change(
                "UPDATE batches SET read_bytes = ?, succeeded = succeeded + ?, failed = failed + ?, updated_ns = ?, "
                "lease_until = ? WHERE number = ? AND host = ? AND state = 'RUNNING' AND deleted = 0",
                (
                    *(read_bytes, len(rows) - failed, failed, self._clock.now_ns(), time.time() + LEASE_S),
                    *(batch.number, self._host),
                ),
            )
            if kept:
                self._database.change_many("INSERT INTO results VALUES (?, ?, ?, ?, ?)", rows)
        return bool(kept)

    def _finish(self, batch: Batch) -> None:
        """Write the results and move the batch to its end, all or nothing."""
        fate = batch.told
        state = fate.get("end", "SUCCEEDED")
        has_output = int("end" not in fate or fate["partial"] > 0)
        path = self._database.folder / f"results-{batch.id}-{self._host}"
        try:
            written = ResultWriter(self._database, batch, faults=self._faults, settings=self._settings()).write(path)
            with self._database.transaction():
                now = self._clock.now_ns()
                moved = self._database.change(
                    "UPDATE batches SET state = ?, error = ?, has_output = ?, succeeded = ?, failed = ?, ended_ns = ?, "
                    "updated_ns = ? WHERE number = ? AND host = ? AND state = 'RUNNING' AND deleted = 0",
                    (
                        *(state, orjson.dumps(fate["error"]).decode() if "error" in fate else "", has_output),
                        *(written.succeeded, written.failed, now, now, batch.number, self._host),
                    ),
                )
                if moved and has_output:
                    self._files.add_result(batch.owner, batch.id, written=path, sha256=written.sha256)
                if moved:
                    self._database.change("DELETE FROM results WHERE batch = ?", (batch.number,))
        finally:
            path.unlink(missing_ok=True)
        if moved:
            self._batches.input_path(batch.id).unlink(missing_ok=True)

    def _release(self, batch: Batch) -> None:
        self._database.change(
            "UPDATE batches SET host = '', host_pid = 0, lease_until = 0 WHERE number = ? AND host = ?",
            (batch.number, self._host),
        )


def _next_lines(readline: Callable[[], bytes], kind: str, *, count: int) -> list[Line]:
    """Return the next requests of a file that was checked before, blank lines left out."""
    lines: list[Line] = []
    size = 0
    while len(lines) < count and size < _CHUNK_BYTES and (raw := readline()):
        size += len(raw)
        if raw.strip():
            lines.append(read_line(raw.rstrip(b"\r\n"), kind=kind))
    return lines


def _is_alive(pid: int) -> bool:
    """Tell whether a process of that id runs; one of another user counts as alive."""
    with suppress(ProcessLookupError):
        try:
            os.kill(pid, 0)
        except PermissionError:
            return True
        return True
    return False
