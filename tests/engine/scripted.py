"""Provide the engine's state and worker, which follow the script of a test."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO

from askrows.emulator import generate, state, worker
from askrows.emulator.catalogue import Model
from askrows.emulator.messages import ApiError
from askrows.emulator.openai import OpenAIApi
from askrows.emulator.state import Row
from tests.engine.failing import (
    BATCH_ERROR_MESSAGE,
    END_STATES,
    QUOTA_MESSAGE,
    Fault,
    Script,
    parse_fault,
)

ACTIVE_STATES = ("PENDING", "RUNNING")
# A page of all batches: its size and its end.
ALL_BATCHES_PAGE = (10_000, 2**62)
# Path and query of the current request.
TARGET: ContextVar[str] = ContextVar("target", default="")


class Clock:
    """The time of the engine, which replaces the module `time` there."""

    def __init__(self) -> None:
        """Start with the time of the machine."""
        self._ahead_s = 0.0
        vars(state)["time"] = self

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self._ahead_s += seconds

    def time_ns(self) -> int:
        """Return nanoseconds since 1970."""
        return time.time_ns() + int(self._ahead_s * 1e9)


class State(state.EngineState):
    """The batches and files, in the form that clients see.

    The fate of a batch is the decision of the script at its create. It is stored in a file, so that
    it survives a killed process.
    """

    def __init__(
        self, root: Path, script: Script, settings: Mapping[str, Any], clock: Clock
    ) -> None:
        """Open the state in a folder."""
        super().__init__(root)
        self.settings = settings
        self.creating = threading.RLock()
        self._root = root
        self._script = script
        self._clock = clock
        self._deleted: list[Row] = []
        self._lines: dict[str, list[Fault]] = {}

    def fate(self, batch_id: str) -> dict[str, Any]:
        """Return the fate of a batch; empty for a batch of another host."""
        try:
            fate: dict[str, Any] = json.loads(
                (self._root / f"fate-{batch_id}").read_text(encoding="utf-8")
            )
        except FileNotFoundError:
            return {}
        return fate

    def decide(self, batch_id: str, **fate: Any) -> None:
        """Change the fate of a batch."""
        part = self._root / f"fate-{batch_id}.part"
        part.write_text(json.dumps(self.fate(batch_id) | fate), encoding="utf-8")
        part.replace(self._root / f"fate-{batch_id}")

    def lines(self, batch_id: str) -> list[Fault]:
        """Return the faults for the lines of a batch's result."""
        if batch_id not in self._lines:
            self._lines[batch_id] = [
                parse_fault(fault_document)
                for fault_document in self.fate(batch_id).get("lines", ())
            ]
        return self._lines[batch_id]

    def count_look(self, batch_id: str) -> None:
        """Count a get of a batch that shows its end only after several gets."""
        fate = self.fate(batch_id)
        if fate.get("looks", 0) < fate.get("needed", 0):
            self.decide(batch_id, looks=fate.get("looks", 0) + 1)

    def _hide_end(self, row: Row) -> Row:
        fate = self.fate(row["id"])
        looks = fate.get("looks", 0)
        if row["state"] in ACTIVE_STATES or looks >= fate.get("needed", 0):
            return row
        return {
            **row,
            "state": "RUNNING" if looks else "PENDING",
            "over": 0,
            "succeeded": 0,
            "failed": 0,
            "error": "",
        }

    def get_batch(self, batch_id: str) -> Row:
        """Return a batch in the form that clients see."""
        return self._hide_end(super().get_batch(batch_id))

    def list_batches(self, limit: int, before: int) -> list[Row]:
        """Return a page of the batches that the list shows by now."""
        with self.creating:
            rows = super().list_batches(ALL_BATCHES_PAGE[0], before)
        now = self._clock.time_ns()
        return [
            self._hide_end(row) for row in rows if self.fate(row["id"]).get("listed_ns", 0) <= now
        ][:limit]

    def list_all_batches(self) -> list[Row]:
        """Return all batches in their true state, including deleted batches, oldest first."""
        rows = sorted(
            [*super().list_batches(*ALL_BATCHES_PAGE), *self._deleted],
            key=lambda row: int(row["number"]),
        )
        return [{**row, "state": self._find_end(row["id"], row["state"])} for row in rows]

    def _find_end(self, batch_id: str, worker_state: str) -> str:
        """Return the scripted end of a batch that its worker calls SUCCEEDED."""
        return (
            str(self.fate(batch_id).get("end", worker_state))
            if worker_state == "SUCCEEDED"
            else worker_state
        )

    def with_ends(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return the document of a batch or of a list of batches with the scripted ends."""
        if "operations" in content:
            return {
                **content,
                "operations": [self.with_ends(operation) for operation in content["operations"]],
            }
        if "metadata" not in content:
            return content
        worker_state = content["metadata"]["state"].removeprefix("BATCH_STATE_")
        batch_id = content["name"].removeprefix("batches/")
        end = self._find_end(batch_id, worker_state)
        changed_content = dict(content)
        if end != worker_state:
            changed_content["metadata"] = {**content["metadata"], "state": f"BATCH_STATE_{end}"}
        if "error" in content:
            changed_content["error"] = self.fate(batch_id)["error"]
        return changed_content

    def delete_batch(self, batch_id: str) -> None:
        """Delete a batch, and remember it."""
        row = self.get_batch(batch_id)
        super().delete_batch(batch_id)
        self._deleted.append(row)

    def update_unfinished_batch(
        self, batch_id: str, state: str, *, succeeded: int = 0, failed: int = 0, error: str = ""
    ) -> bool:
        """Move a batch; a cancelled batch that did not show its end gets no other end."""
        has_moved = super().update_unfinished_batch(
            batch_id, state, succeeded=succeeded, failed=failed, error=error
        )
        if (
            state == "CANCELLED"
            and not has_moved
            and self.get_batch(batch_id)["state"] in ACTIVE_STATES
        ):
            has_moved = self._execute(
                "UPDATE batches SET state = 'CANCELLED' WHERE id = ?", batch_id
            )
            self.decide(batch_id, needed=0)
        return has_moved

    def create_batch(
        self,
        file_id: str,
        *,
        model: str,
        display_name: str,
        check_and_count_requests: Callable[[Path], int],
    ) -> Row:
        """Create a batch, or two equal batches, with the fate of the script."""
        batch_faults = self._script.firing("batch", "POST", TARGET.get())
        lines = self._script.matching("line", "POST", TARGET.get())
        request_lines = self.get_blob_path("file", self.get_file(file_id)["id"]).read_bytes()
        with self.creating:
            self._check_quota(model, request_lines)
            for _ in range(1 + any(fault.word == "duplicate_batch" for fault in batch_faults)):
                batch = super().create_batch(
                    file_id,
                    model=model,
                    display_name=display_name,
                    check_and_count_requests=check_and_count_requests,
                )
                self._lines[batch["id"]] = lines
                self.decide(batch["id"], **self._fate_of(batch_faults, lines))
                create_record = {
                    "name": display_name,
                    "lines": [
                        json.loads(line) for line in request_lines.split(b"\n") if line.strip()
                    ],
                }
                with (self._root / "creates.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps(create_record) + "\n")
        return batch

    def _fate_of(self, batch_faults: list[Fault], lines: list[Fault]) -> dict[str, Any]:
        lag_s = float(self.settings["list_lag_seconds"])
        fate: dict[str, Any] = {
            "needed": self.settings["batch_looks"],
            "lines": [fault.to_document() for fault in lines],
        }
        for fault in batch_faults:
            if fault.word in END_STATES:
                fate |= {
                    "end": END_STATES[fault.word],
                    "share": float(fault.args.get("partial", 0)),
                }
                error = {"code": 13, "message": BATCH_ERROR_MESSAGE, **fault.args.get("error", {})}
                fate |= {"shows": fault.args.get("state", "PENDING"), "error": error}
            if fault.word == "list_lag":
                lag_s = float(fault.args.get("seconds", 30))

        if lag_s:
            fate["listed_ns"] = self._clock.time_ns() + int(lag_s * 1e9)
        return fate

    def _check_quota(self, model: str, request_lines: bytes) -> None:
        """Refuse a batch above the limit of unfinished batches or of their tokens."""
        limits = self.settings["enqueued_tokens"]
        active = self.list_unfinished_batches()
        limit = limits.get(model, limits.get("*"))
        if len(active) >= self.settings["active_batches"]:
            raise ApiError(429, QUOTA_MESSAGE)
        if not limit:
            return

        batch_inputs = [
            self.get_blob_path("input", row["id"]).read_bytes()
            for row in active
            if row["model"] == model
        ]
        tokens = sum(
            generate.count_tokens(worker._parse_request_and_other_members(line, 0)[0])
            for line in b"\n".join([*batch_inputs, request_lines]).split(b"\n")
            if line.strip()
        )
        if tokens > limit:
            raise ApiError(429, QUOTA_MESSAGE)


class ScriptedOpenAI(OpenAIApi):
    """Answers in OpenAI's form as the script says."""

    _state: State

    def __init__(self, state: State, worker: worker.BatchWorker, script: Script) -> None:
        """Answer the requests of a state."""
        super().__init__(state, worker)
        self._script = script

    def find_state(self, batch: Row) -> str:
        """Return the scripted end of a batch, or its state."""
        return self._state._find_end(batch["id"], batch["state"])

    def find_error(self, batch: Row) -> dict[str, Any]:
        """Return the scripted error of a failed batch."""
        return {**super().find_error(batch), **self._state.fate(batch["id"]).get("error", {})}

    def answer_message(self, message: dict[str, Any], model: Model) -> dict[str, Any]:
        """Return the reply to a live call, which counts as a result line without a key."""
        reply = super().answer_message(message, model)
        for fault in self._script.matching("line", "POST", TARGET.get()):
            if not fault.key and fault.fire():
                reply = fault.spoil([{"response": reply}])[0].get("response", reply)
        return reply


class Worker(worker.BatchWorker):
    """Processes batches as the script says."""

    _state: State

    def _answer_batch(self, batch: Row) -> None:
        # The fate of a batch is decided before its work starts.
        with self._state.creating:
            fate = self._state.fate(batch["id"])
        if self._state.settings["paused"] or (
            fate.get("end") == "NEVER" and fate["shows"] == "PENDING"
        ):
            return
        if fate.get("end") == "NEVER":
            self._state.update_unfinished_batch(batch["id"], "RUNNING")
        elif "end" in fate and not fate["share"]:
            message = fate["error"]["message"] if fate["end"] == "FAILED" else ""
            self._state.update_unfinished_batch(batch["id"], fate["end"], error=message)
        else:
            super()._answer_batch(batch)

    def _write_answers_and_count_errors(
        self, batch: Row, input_file: BinaryIO, part_path: Path
    ) -> int | None:
        """Answer all requests, write the scripted share, and apply the faults of lines."""
        failed_count = super()._write_answers_and_count_errors(batch, input_file, part_path)
        fate = self._state.fate(batch["id"])
        faults = self._state.lines(batch["id"])
        if failed_count is None or not (faults or "share" in fate):
            return failed_count
        input_file.seek(0)
        faults_by_key = dict(
            _assign_faults(
                (json.loads(line).get("key", "") for line in input_file if line.strip()), faults
            )
        )
        answer_lines = part_path.read_bytes().splitlines()
        with part_path.open("wb") as part_file:
            for answer_line in answer_lines[: int(len(answer_lines) * fate.get("share", 1))]:
                lines: list[Any] = [json.loads(answer_line)]
                for fault in faults_by_key.get(lines[0].get("key", ""), ()):
                    failed_count += fault.word == "error_line"
                    lines = fault.spoil(lines)
                for line in lines:
                    line_bytes = line if isinstance(line, bytes) else json.dumps(line).encode()
                    part_file.write(line_bytes + b"\n")
        return failed_count


def _assign_faults(keys: Iterator[str], faults: list[Fault]) -> Iterator[tuple[str, list[Fault]]]:
    """Yield each key with its faults, counted in the order of the requests."""
    for key in keys:
        yield key, [fault for fault in faults if re.search(fault.key, key) and fault.fire()]
