"""The files of a batch and its lock; replies to our own calls, sealed as a result by who asked, or by who comes next.

A reply is written in one go before its slot is free, so kill -9 loses none; a line that was cut is taken off. A process
that asks holds its batch's lock: where that is free, the process is dead, and what it left is sealed by another.
"""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pipeline.core import files
from pipeline.core.errors import ConfigurationError, StateConflictError
from pipeline.core.states import BatchState, Mode, Outcome
from pipeline.engine.record import source_of
from pipeline.engine.workspace import WorkspaceSession
from pipeline.gemini import responses
from pipeline.store import batches
from pipeline.store.batches import BatchRow
from pipeline.store.locks import Lock, LockLostError

T = TypeVar("T")
FOLDER = "batches"


def request_path(data: Path, number: int) -> Path:
    """Return where the request file of a batch is, in the workspace's directory."""
    return data / FOLDER / f"{number:06d}-requests.jsonl"


def result_path(data: Path, number: int) -> Path:
    """Return where the result file of a batch is, in the workspace's directory."""
    return data / FOLDER / f"{number:06d}-results.jsonl"


def part_path(data: Path, number: int) -> Path:
    """Return where the replies to our own calls of a batch are written before they are sealed."""
    return result_path(data, number).with_suffix(".asked")


def is_whole(data: Path, name: str | None, sha256: str | None) -> bool:
    """Return whether a file of a batch is on disk as it was sealed."""
    path = data / (name or "")
    return path.is_file() and files.sha256_of(path) == sha256


def lock_of(number: int) -> str:
    """Return the name of the lock on what is done with a batch."""
    return f"batch-{number}"


def read_again(once: Callable[[], T], *, times: int) -> T:
    """Do what begins by reading its rows, anew where another process went on with them; so often at the most."""
    for _ in range(times - 1):
        with contextlib.suppress(StateConflictError, LockLostError):
            return once()
    return once()


@dataclass
class OpenLiveBatch:
    """A batch that is being asked: lines left, its lock, and the file of its replies, which ends at a whole line."""

    number: int
    left: int
    lock: Lock
    path: Path
    file: int = field(init=False)
    size: int = 0
    calls: int = 0
    counted: int = 0  # calls that the database knows of
    seconds: float = 0.0
    silent: dict[str, str] = field(default_factory=dict)  # why a row got no reply, by item id

    def __post_init__(self) -> None:
        """Open the file, which nothing stands in yet."""
        self.file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)

    def keep(self, line: bytes) -> None:
        """Append a line with a reply; whatever fails cuts back to the last whole line, and the asking is to end."""
        data = memoryview(line)
        size = len(line)
        try:
            while data:
                data = data[os.write(self.file, data) :]
        except OSError as error:
            os.ftruncate(self.file, self.size)
            os.lseek(self.file, self.size, os.SEEK_SET)
            said = f"cannot write {self.path}: {error.strerror}; nothing more was asked"
            raise ConfigurationError(
                said, hint="make room, then run the same command again"
            ) from error
        self.size += size

    def close(self) -> None:
        """Close the file; twice does no harm."""
        file = self.file
        self.file = -1
        if file >= 0:
            os.close(file)


def seal(ws: WorkspaceSession, number: int, *, patience_s: float | None = None) -> None:
    """Seal what came for a batch, up to its last whole line: asking -> downloaded; who calls holds its lock."""
    part = part_path(ws.data, number)
    path = result_path(ws.data, number)
    if not part.exists():
        part = path if path.exists() else part  # killed between the rename and the commit
        part.touch()
    _cut_to_whole_lines(part)
    draft = files.sync_part(part)
    with ws.store.write(patience_s=patience_s) as tx:
        batch = batches.get_batch(tx, number)
        if batch.state is BatchState.ASKING:
            batches.mark_downloaded(tx, batch, path, draft, why="asked", at=ws.now())
            files.rename(draft, path)


def account_trial(ws: WorkspaceSession, number: int, *, patience_s: float | None = None) -> None:
    """Keep what a trial cost, and remove its files: asking -> ingested."""
    part = part_path(ws.data, number)
    used = {Outcome.ANSWERED: 0, Outcome.REFUSED: 0, Outcome.INVALID: 0}
    spent = [0, 0]
    cost = 0.0
    with ws.store.read() as tx:
        asked = batches.get_batch(tx, number)
    source = source_of(asked, settings=ws.settings)
    now = ws.now()
    if part.exists():
        _cut_to_whole_lines(part)
        for _, line in files.read_lines(part):
            reply = responses.judge_line(line)
            used[reply.outcome] += 1
            spent = [
                spent[0] + reply.usage.prompt,
                spent[1] + reply.usage.answer + reply.usage.thoughts,
            ]
            cost += source.cost_of(reply, now)
    with ws.store.write(patience_s=patience_s) as tx:
        batch = batches.get_batch(tx, number)
        if batch.state is BatchState.ASKING:
            account = {outcome.value: count for outcome, count in used.items()}
            account |= {
                "missing": batch.requests - sum(used.values()),
                "tokens_in": spent[0],
                "tokens_out": spent[1],
            }
            account["calls"] = max(batch.calls, sum(used.values()))
            batches.mark_ingested(tx, batch, at=now, cost=cost, **account)
    _remove_files(ws.data, batch)


def _remove_files(data: Path, batch: BatchRow) -> None:
    """Remove the files of a trial; that of the replies goes last, by which a later command sees what is left."""
    for path in (data / batch.request_file, part_path(data, batch.number)):
        path.unlink(missing_ok=True)


def _cut_to_whole_lines(part: Path) -> None:
    with part.open("rb+") as file:
        file.truncate(sum(len(line) for line in file if line.endswith(b"\n")))


def dead_batches(ws: WorkspaceSession) -> list[BatchRow]:
    """Return the batches of our own calls whose process is gone."""
    with ws.store.read() as tx:
        asking = batches.batches_in_states(tx, BatchState.ASKING)
    return [one for one in asking if ws.locks.is_free(lock_of(one.number))]


def seal_dead(ws: WorkspaceSession) -> None:
    """Seal what dead processes left of our own calls; nothing is written where there is none."""
    for batch in dead_batches(ws):
        with contextlib.suppress(StateConflictError), ws.locks.hold(lock_of(batch.number)) as lock:
            if lock is None:
                continue
            account_trial(ws, batch.number) if batch.way is Mode.TRIAL else seal(ws, batch.number)
    left = {path.name for path in (ws.data / FOLDER).glob("*-results.asked")}
    with ws.store.read() as tx:
        over = batches.batches_in_states(tx, BatchState.INGESTED) if left else []
    for batch in over:  # trials that were accounted for by a process that died then
        if batch.way is Mode.TRIAL and part_path(ws.data, batch.number).name in left:
            _remove_files(ws.data, batch)
