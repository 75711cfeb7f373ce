"""Batches: their rows, their states, and the operation a client sees.

PENDING -> RUNNING -> SUCCEEDED | FAILED, and to CANCELLED or EXPIRED from either of the first two. A state changes only
by an UPDATE that names the states it may come from. What a client is shown can lag behind the row: a batch told to
take some looks or some time shows RUNNING until both are over, however fast the work went.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from emulator.clock import HOUR_NS, SECOND_NS, Clock
from emulator.database import Database
from emulator.errors import ApiError, invalid, quota_full
from emulator.files import Files, new_id
from emulator.intake import Intake, check_file, snapshot, write_inlined
from emulator.settings import Settings

LIFETIME_NS = 48 * HOUR_NS
"""A batch that is not over by then expires, pending or running (Batch API guide, read 2026-11)."""
ACTIVE = ("PENDING", "RUNNING")
_LEFT_BEHIND_S = 3600


@dataclass(frozen=True)
class Batch:
    """One row of `batches`. Times are nanoseconds since 1970, `lease_until` seconds of real time."""

    number: int
    id: str
    owner: str
    model: str
    kind: str
    display_name: str
    input_file: str
    state: str
    created_ns: int
    updated_ns: int
    ended_ns: int
    requests: int
    tokens: int
    read_bytes: int
    succeeded: int
    failed: int
    has_output: int
    looks: int
    looks_needed: int
    due_ns: int
    listed_ns: int
    fate: str
    error: str
    deleted: int
    host: str
    host_pid: int
    lease_until: float

    @cached_property
    def told(self) -> dict[str, Any]:
        """What a script decided about this batch at its create."""
        return dict(json.loads(self.fate))

    def shown_state(self, now_ns: int) -> str:
        """Return the state a client sees."""
        held = self.looks < self.looks_needed or now_ns < self.due_ns
        if not held or self.state in ACTIVE:
            return self.state
        return "RUNNING" if self.looks else "PENDING"


class Batches:
    """All batches of the engine."""

    def __init__(self, database: Database, *, clock: Clock, files: Files) -> None:
        """Keep rows in `database`; inputs and results are found through `files`."""
        self._database = database
        self._clock = clock
        self._files = files

    def input_path(self, batch_id: str) -> Path:
        """Return where the batch's own copy of its requests is."""
        return self._database.folder / f"input-{batch_id}"

    def create(
        self,
        owner: str,
        asked: Mapping[str, Any],
        *,
        model: str,
        kind: str,
        settings: Settings,
        fate: Mapping[str, Any],
    ) -> Batch:
        """Check the input, keep a snapshot of it and a pending batch, committed when this returns.

        Two equal calls make two batches: nothing is deduplicated.

        Raises:
            ApiError: 400 for a bad line or no input, 403 for a file that is not there, 429 over a quota.
        """
        batch_id = new_id(36)
        name = self._take_input(owner, asked.get("inputConfig", {}), target=self.input_path(batch_id))
        try:
            intake = check_file(self.input_path(batch_id), kind=kind, model=model)
            with self._database.transaction():
                self._check_quota(model, intake, settings=settings)
                facts: dict[str, object] = {
                    "id": batch_id,
                    "owner": owner,
                    "model": model,
                    "kind": kind,
                    "input_file": name,
                }
                facts |= {"display_name": asked.get("displayName", ""), "fate": json.dumps(fate)}
                facts |= {"requests": intake.requests, "tokens": intake.tokens}
                self._insert(
                    facts, lag_s=float(fate.get("list_lag_seconds", settings.list_lag_seconds)), settings=settings
                )
        except BaseException:
            self.input_path(batch_id).unlink(missing_ok=True)
            raise
        return self.find(batch_id)

    def _take_input(self, owner: str, config: Mapping[str, Any], *, target: Path) -> str:
        """Make the snapshot of the input and return the file's name, empty for requests inside the call."""
        if "fileName" in config:
            file = self._files.usable(owner, config["fileName"].removeprefix("files/"))
            snapshot(self._files.path(file.id), target)
            return f"files/{file.id}"
        if "requests" in config:
            write_inlined(config["requests"].get("requests", []), target)
            return ""
        raise invalid("* CreateBatchRequest.batch.input_config: one of file_name and requests must be set.")

    def _check_quota(self, model: str, intake: Intake, *, settings: Settings) -> None:
        """Refuse a batch over the number of active batches or over its model's enqueued tokens."""
        count = "SELECT COUNT(*) AS n, COALESCE(SUM(CASE WHEN model = ? THEN tokens END), 0) AS tokens FROM batches "
        row = self._database.rows(f"{count} WHERE state IN (?, ?) AND deleted = 0", (model, *ACTIVE))[0]
        limit = settings.enqueued_tokens.get(model, settings.enqueued_tokens.get("*"))
        if row["n"] >= settings.active_batches or (limit is not None and row["tokens"] + intake.tokens > limit):
            raise quota_full()

    def _insert(self, facts: Mapping[str, object], *, lag_s: float, settings: Settings) -> None:
        """Insert the row of a new batch, pending from now on and out of the list for `lag_s`."""
        now = self._clock.now_ns()
        values = {
            **facts,
            "state": "PENDING",
            "created_ns": now,
            "updated_ns": now,
            "looks_needed": settings.batch_looks,
            "due_ns": now + int(settings.batch_seconds * SECOND_NS) if settings.batch_seconds else 0,
            "listed_ns": now + int(lag_s * SECOND_NS),
        }
        columns, marks = ", ".join(values), ", ".join("?" * len(values))
        self._database.change(f"INSERT INTO batches ({columns}) VALUES ({marks})", list(values.values()))  # noqa: S608 - columns are ours

    def find(self, batch_id: str) -> Batch:
        """Return a batch by its id, of any owner, whether or not it was deleted."""
        return Batch(**self._database.rows("SELECT * FROM batches WHERE id = ?", (batch_id,))[0])

    def get(self, owner: str, batch_id: str, *, look: bool = False) -> Batch:
        """Return a batch as it stands, expired if its time is over; a `look` counts toward those it needs.

        Raises:
            ApiError: 404 where it is foreign, deleted or was never there.
        """
        if look:
            self._database.change("UPDATE batches SET looks = looks + 1 WHERE id = ? AND owner = ?", (batch_id, owner))
        found = self._database.rows(
            "SELECT * FROM batches WHERE id = ? AND owner = ? AND deleted = 0", (batch_id, owner)
        )
        if not found:
            raise ApiError(404, "Requested entity was not found.")
        batch = Batch(**found[0])
        if batch.state in ACTIVE and self._clock.now_ns() >= batch.created_ns + LIFETIME_NS:
            self.end(batch, "EXPIRED")
            return self.find(batch_id)
        return batch

    def page(self, owner: str, *, size: int, before: int | None) -> list[Batch]:
        """Return at most `size` batches that the list shows by now, newest first, older than the number `before`."""
        query = (
            "SELECT * FROM batches WHERE owner = ? AND deleted = 0 AND listed_ns <= ? AND number < ? "
            "ORDER BY number DESC LIMIT ?"
        )
        top = before if before is not None else 2**62
        return [Batch(**row) for row in self._database.rows(query, (owner, self._clock.now_ns(), top, size))]

    def everything(self) -> list[Batch]:
        """Return every batch there ever was, deleted ones too, oldest first."""
        return [Batch(**row) for row in self._database.rows("SELECT * FROM batches ORDER BY number")]

    def end(self, batch: Batch, state: str, *, error: Mapping[str, Any] | None = None) -> bool:
        """Move an active batch to a final state without results and tell whether it was this call that did."""
        now = self._clock.now_ns()
        with self._database.transaction():
            moved = self._database.change(
                "UPDATE batches SET state = ?, error = ?, ended_ns = ?, updated_ns = ? "
                "WHERE number = ? AND state IN (?, ?) AND deleted = 0",
                (state, json.dumps(error) if error else "", now, now, batch.number, *ACTIVE),
            )
            if moved:
                self._database.change("DELETE FROM results WHERE batch = ?", (batch.number,))
        if moved:
            self.input_path(batch.id).unlink(missing_ok=True)
        return bool(moved)

    def cancel(self, owner: str, batch_id: str) -> None:
        """Cancel a batch at once, without results; one that shows itself over stays as it is.

        Raises:
            ApiError: 404 as `get`.
        """
        batch = self.get(owner, batch_id)
        if not self.end(batch, "CANCELLED") and batch.shown_state(self._clock.now_ns()) not in ACTIVE:
            return
        # Nothing is held back any more; nor is what was done in truth, of which no client was shown that it was over.
        self._database.change(
            "UPDATE batches SET state = 'CANCELLED', has_output = 0, looks_needed = 0, due_ns = 0 WHERE number = ?",
            (batch.number,),
        )

    def delete(self, owner: str, batch_id: str, *, with_results: bool) -> None:
        """Take a batch out of every answer; its work stops.

        Raises:
            ApiError: 404 as `get`.
        """
        batch = self.get(owner, batch_id)
        self._database.change("UPDATE batches SET deleted = 1 WHERE number = ?", (batch.number,))
        self._database.change("DELETE FROM results WHERE batch = ?", (batch.number,))
        self.input_path(batch.id).unlink(missing_ok=True)
        if with_results:
            self._files.remove(f"batch-{batch.id}")

    def sweep(self, *, older_than_s: float = _LEFT_BEHIND_S) -> None:
        """Delete what hosts that died left behind: old inputs and half-written results of no active batch."""
        active = {batch.id for batch in self.everything() if batch.state in ACTIVE and not batch.deleted}
        for path in [*self._database.folder.glob("input-*"), *self._database.folder.glob("results-*")]:
            age_s = time.time() - path.stat().st_ctime
            if path.name.split("-")[1] not in active and age_s > older_than_s:
                path.unlink(missing_ok=True)
