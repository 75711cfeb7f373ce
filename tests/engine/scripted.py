"""The engine's state and worker, which do what a script says where a live service leaves a client in doubt."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO

from emulator import generate, state, worker
from emulator.catalogue import MODELS
from emulator.messages import ApiError
from emulator.state import Row
from tests.engine.failing import BROKEN, ENDS, USED_UP, Fault, Script, made

ACTIVE = ("PENDING", "RUNNING")
EVERY = (10_000, 2**62)  # all batches, as the state is asked for a page of them
TARGET: ContextVar[str] = ContextVar(
    "target", default=""
)  # path and query of the request that is served


class Clock:
    """The time as the engine tells it; it stands in the place of the module `time` there."""

    def __init__(self) -> None:
        """Begin with the machine's."""
        self._ahead_s = 0.0
        vars(state)["time"] = self

    def advance(self, seconds: float) -> None:
        """Move it on."""
        self._ahead_s += seconds

    def time_ns(self) -> int:
        """Return nanoseconds since 1970."""
        return time.time_ns() + int(self._ahead_s * 1e9)


class State(state.EngineState):
    """What is true of batches and files, and what of it is shown.

    What a script decides about a batch at its create, its fate, is kept in a file beside it, whoever is killed.
    """

    def __init__(
        self, root: Path, script: Script, settings: Mapping[str, Any], clock: Clock
    ) -> None:
        """Open it under a folder."""
        super().__init__(root)
        self.settings = settings
        self.creating = threading.RLock()
        self._root = root
        self._script = script
        self._clock = clock
        self._deleted: list[Row] = []
        self._lines: dict[str, list[Fault]] = {}

    def fate(self, batch_id: str) -> dict[str, Any]:
        """Return the fate of a batch; of one that another host made nothing."""
        try:
            found: dict[str, Any] = json.loads(
                (self._root / f"fate-{batch_id}").read_text(encoding="utf-8")
            )
        except FileNotFoundError:
            return {}
        return found

    def decide(self, batch_id: str, **fate: Any) -> None:
        """Change the fate of a batch."""
        part = self._root / f"fate-{batch_id}.part"
        part.write_text(json.dumps(self.fate(batch_id) | fate), encoding="utf-8")
        part.replace(self._root / f"fate-{batch_id}")

    def lines(self, batch_id: str) -> list[Fault]:
        """Return the faults that strike the lines of its result."""
        if batch_id not in self._lines:
            self._lines[batch_id] = [made(one) for one in self.fate(batch_id).get("lines", ())]
        return self._lines[batch_id]

    def looked(self, batch_id: str) -> None:
        """Count a look at a batch that needs some."""
        fate = self.fate(batch_id)
        if fate.get("looks", 0) < fate.get("needed", 0):
            self.decide(batch_id, looks=fate.get("looks", 0) + 1)

    def _shown(self, row: Row) -> Row:
        fate = self.fate(row["id"])
        looks = fate.get("looks", 0)
        if row["state"] in ACTIVE or looks >= fate.get("needed", 0):
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
        """Return a batch as it shows itself."""
        return self._shown(super().get_batch(batch_id))

    def list_batches(self, limit: int, before: int) -> list[Row]:
        """Return a page of those that are listed by now; a client that gave up on a create finds its batch there."""
        with self.creating:
            rows = super().list_batches(EVERY[0], before)
        now = self._clock.time_ns()
        return [
            self._shown(row) for row in rows if self.fate(row["id"]).get("listed_ns", 0) <= now
        ][:limit]

    def everything(self) -> list[Row]:
        """Return every batch there ever was, oldest first, as it is in truth."""
        rows = sorted(
            [*super().list_batches(*EVERY), *self._deleted], key=lambda row: int(row["number"])
        )
        return [{**row, "state": self._end(row["id"], row["state"])} for row in rows]

    def _end(self, batch_id: str, found: str) -> str:
        """Return the end of a batch that gives up a part of its results, which its worker calls SUCCEEDED."""
        return str(self.fate(batch_id).get("end", found)) if found == "SUCCEEDED" else found

    def with_ends(self, said: dict[str, Any]) -> dict[str, Any]:
        """Return a document of a batch, or of a list of some, with the ends that were scripted."""
        if "operations" in said:
            return {
                **said,
                "operations": [self.with_ends(operation) for operation in said["operations"]],
            }
        if "metadata" not in said:
            return said
        found = said["metadata"]["state"].removeprefix("BATCH_STATE_")
        batch_id = said["name"].removeprefix("batches/")
        end = self._end(batch_id, found)
        shown = (
            said
            if end == found
            else {**said, "metadata": {**said["metadata"], "state": f"BATCH_STATE_{end}"}}
        )
        return {**shown, "error": self.fate(batch_id)["error"]} if "error" in said else shown

    def delete_batch(self, batch_id: str) -> None:
        """Delete a batch, and remember that there was one."""
        row = self.get_batch(batch_id)
        super().delete_batch(batch_id)
        self._deleted.append(row)

    def move_batch(
        self, batch_id: str, state: str, *, succeeded: int = 0, failed: int = 0, error: str = ""
    ) -> bool:
        """Move a batch; one that is cancelled before it showed that it was over never was."""
        moved = super().move_batch(batch_id, state, succeeded=succeeded, failed=failed, error=error)
        if state == "CANCELLED" and not moved and self.get_batch(batch_id)["state"] in ACTIVE:
            moved = self._execute("UPDATE batches SET state = 'CANCELLED' WHERE id = ?", batch_id)
            self.decide(batch_id, needed=0)
        return moved

    def create_batch(
        self,
        file_id: str,
        *,
        model: str,
        display_name: str,
        count_requests: Callable[[Path], int],
    ) -> Row:
        """Make a batch, or two, with the fate that the script gives it."""
        struck = self._script.firing("batch", "POST", TARGET.get())
        lines = self._script.matching("line", "POST", TARGET.get())
        raw = self.blob_path("file", self.get_file(file_id)["id"]).read_bytes()
        with self.creating:
            self._check_quota(model, raw)
            for _ in range(1 + any(one.word == "duplicate_batch" for one in struck)):
                batch = super().create_batch(
                    file_id,
                    model=model,
                    display_name=display_name,
                    count_requests=count_requests,
                )
                self._lines[batch["id"]] = lines
                self.decide(batch["id"], **self._fate_of(struck, lines))
                note = {
                    "name": display_name,
                    "lines": [json.loads(one) for one in raw.split(b"\n") if one.strip()],
                }
                with (self._root / "creates.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps(note) + "\n")
        return batch

    def _fate_of(self, struck: list[Fault], lines: list[Fault]) -> dict[str, Any]:
        lag_s = float(self.settings["list_lag_seconds"])
        fate: dict[str, Any] = {
            "needed": self.settings["batch_looks"],
            "lines": [one.told() for one in lines],
        }
        for one in struck:
            if one.word in ENDS:
                fate |= {"end": ENDS[one.word], "share": float(one.args.get("partial", 0))}
                error = {"code": 13, "message": BROKEN, **one.args.get("error", {})}
                fate |= {"shows": one.args.get("state", "PENDING"), "error": error}
            if one.word == "list_lag":
                lag_s = float(one.args.get("seconds", 30))
        return fate | ({"listed_ns": self._clock.time_ns() + int(lag_s * 1e9)} if lag_s else {})

    def _check_quota(self, model: str, raw: bytes) -> None:
        """Refuse a batch over the number of those that are not over, or over the tokens in them."""
        limits = self.settings["enqueued_tokens"]
        active = self.list_unfinished_batches()
        limit = limits.get(model, limits.get("*"))
        held = [
            self.blob_path("input", row["id"]).read_bytes()
            for row in active
            if limit and row["model"] == model
        ]
        tokens = sum(
            generate.count_tokens(worker._read_line(line, 0)[0], MODELS[model])
            for one in (*held, raw if limit else b"")
            for line in one.split(b"\n")
            if line.strip()
        )
        if len(active) >= self.settings["active_batches"] or (limit and tokens > limit):
            raise ApiError(429, USED_UP)


class Worker(worker.BatchWorker):
    """Works on batches as the script says."""

    _state: State

    def _process_batch(self, batch: Row) -> None:
        with self._state.creating:  # what a batch is to become is decided before it is begun
            fate = self._state.fate(batch["id"])
        if self._state.settings["paused"] or (
            fate.get("end") == "NEVER" and fate["shows"] == "PENDING"
        ):
            return
        if fate.get("end") == "NEVER":
            self._state.move_batch(batch["id"], "RUNNING")
        elif "end" in fate and not fate["share"]:
            self._state.move_batch(
                batch["id"],
                fate["end"],
                error=fate["error"]["message"] if fate["end"] == "FAILED" else "",
            )
        else:
            super()._process_batch(batch)

    def _write_answers(self, batch: Row, input_file: BinaryIO, part_path: Path) -> int | None:
        """Answer all, give up a share of it where that was scripted, and let faults strike lines."""
        failed = super()._write_answers(batch, input_file, part_path)
        fate = self._state.fate(batch["id"])
        faults = self._state.lines(batch["id"])
        if failed is None or not (faults or "share" in fate):
            return failed
        input_file.seek(0)
        struck = dict(
            _struck((json.loads(raw).get("key", "") for raw in input_file if raw.strip()), faults)
        )
        answered = part_path.read_bytes().splitlines()
        with part_path.open("wb") as out:
            for raw in answered[: int(len(answered) * fate.get("share", 1))]:
                lines: list[Any] = [json.loads(raw)]
                for one in struck.get(lines[0].get("key", ""), ()):
                    failed += one.word == "error_line"
                    lines = one.spoil(lines)
                for line in lines:
                    out.write(
                        (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n"
                    )
        return failed


def _struck(keys: Iterator[str], faults: list[Fault]) -> Iterator[tuple[str, list[Fault]]]:
    """Yield which faults strike each key, counted in the order of the requests."""
    for key in keys:
        yield key, [fault for fault in faults if re.search(fault.key, key) and fault.fire()]
