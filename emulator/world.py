"""All that the server is apart from its wire: files, batches and the thread that works on them, on one state folder."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emulator import operations
from emulator.batches import ACTIVE, Batch, Batches
from emulator.clock import Clock
from emulator.database import Database
from emulator.fate import fate_of
from emulator.fault_words import WORDS
from emulator.faults import Fault, Faults
from emulator.files import Files
from emulator.journal import Journal
from emulator.latency import Latencies
from emulator.quotas import Quotas
from emulator.settings import Settings
from emulator.worker import Worker

_LAST_LOOK_S = 20.0


class World:
    """One host's view of the shared state, and its own faults, journal and settings."""

    def __init__(self, root: Path, *, settings: Settings, read_ns: Callable[[], int] = time.time_ns) -> None:
        """Open the state under `root` and make ready; work begins with `start`."""
        self.database = Database(root)
        self.clock = Clock(self.database, read_ns=read_ns)
        self.settings = settings
        self.faults = Faults(WORDS)
        self.journal = Journal()
        self.latencies = Latencies()
        self.files = Files(self.database, clock=self.clock)
        self.batches = Batches(self.database, clock=self.clock, files=self.files)
        self.quotas = Quotas(self.database, clock=self.clock, settings=lambda: self.settings)
        self.worker = Worker(
            self.database,
            batches=self.batches,
            files=self.files,
            clock=self.clock,
            faults=self.faults,
            settings=lambda: self.settings,
        )
        self._closing = threading.Event()
        self._calm = threading.Condition()
        self._creating = 0

    def start(self) -> None:
        """Let the worker begin."""
        self.worker.start()

    def close(self) -> None:
        """Stop the worker and close the state; batches that are not over go on with the next host."""
        self._closing.set()
        self.worker.stop()
        self.database.close()

    def change_settings(self, document: Mapping[str, Any]) -> None:
        """Change settings while running, from the next decision on.

        Raises:
            ApiError: 400 for what is no setting.
        """
        self.settings = self.settings.changed(document)
        self.worker.wake()

    def create_batch(
        self, owner: str, asked: Mapping[str, Any], *, model: str, kind: str, target: str
    ) -> tuple[Batch, list[Fault]]:
        """Create a batch, with the fate that the faults about this request give it, and return it and those faults.

        Raises:
            ApiError: as `Batches.create`.
        """
        struck = self.faults.firing("batch", "POST", target=target)
        lines = self.faults.matching("line", "POST", target=target)
        whole = self.faults.matching("whole", "POST", target=target)
        fate = fate_of(struck, lines=lines, whole=whole)
        settings = self.settings
        with self._creation():
            batch = self.batches.create(owner, asked, model=model, kind=kind, settings=settings, fate=fate)
            if any(fault.word == "duplicate_batch" for fault in struck):
                self.batches.create(owner, asked, model=model, kind=kind, settings=settings, fate=fate)
        self.worker.wake()
        return batch, [*struck, *lines, *whole]

    @contextmanager
    def _creation(self) -> Iterator[None]:
        """Hold back lists while a batch is made."""
        with self._calm:
            self._creating += 1
        try:
            yield
        finally:
            with self._calm:
                self._creating -= 1
                self._calm.notify_all()

    def list_batches(self, owner: str, *, size: int, before: int | None) -> list[Batch]:
        """Return a page of batches as `Batches.page`, once every create that is under way on this host is through.

        A client that gave up on a create, because a large file takes long to check, finds the batch in the list it
        asks for next, unless a lag was scripted.
        """
        with self._calm:
            self._calm.wait_for(lambda: self._creating == 0, timeout=_LAST_LOOK_S)
        return self.batches.page(owner, size=size, before=before)

    def look_at_batch(self, owner: str, batch_id: str) -> Batch:
        """Return a batch as a get sees it; the last look a batch was told to take waits until its work is done.

        Raises:
            ApiError: 404 as `Batches.get`.
        """
        batch = self.batches.get(owner, batch_id, look=True)
        deadline = time.monotonic() + _LAST_LOOK_S
        while self._must_wait(batch) and time.monotonic() < deadline:
            self._closing.wait(0.005)
            batch = self.batches.get(owner, batch_id)
        return batch

    def operation(self, batch: Batch) -> dict[str, Any]:
        """Return the operation of a batch as a client sees it now."""
        return operations.document(batch, now_ns=self.clock.now_ns(), files=self.files)

    def _must_wait(self, batch: Batch) -> bool:
        """Tell whether a batch has had all its looks and only its work is missing."""
        told_to_end = batch.looks_needed > 0 and batch.looks >= batch.looks_needed
        idle = self.settings.paused or self._closing.is_set() or batch.told.get("end") == "NEVER"
        return told_to_end and batch.state in ACTIVE and not idle
