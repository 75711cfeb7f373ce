"""The test lab: an emulator that can be steered, and a workspace on it."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from click.testing import CliRunner, Result

from emulator.server import Server
from jobs.cli import main
from pipeline import settings
from pipeline.display import Silent
from pipeline.runtime import open_runtime

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
CONTROL = httpx2.Client(verify=False, limits=httpx2.Limits(max_keepalive_connections=0))  # certificates take 60 ms
KEY = "test-key-that-must-never-be-seen-anywhere"


@dataclass
class Api:
    """The emulator as the tests steer it, through its control paths."""

    server: Server

    @property
    def url(self) -> str:
        """Return the base URL for a client."""
        return self.server.url

    def fault(
        self, word: str, *, nth: int = 1, times: int = 1, args: Mapping[str, Any] | None = None, **match: str
    ) -> None:
        """Script one fault; `match` has method, path (a regular expression) and key (of a line)."""
        fault = {"fault": word, "match": match, "nth": nth, "times": times, "args": dict(args or {})}
        CONTROL.post(f"{self.url}/_emu/faults", json=[fault]).raise_for_status()

    def faults(self) -> Any:
        """Return each scripted fault and how often it struck."""
        return CONTROL.get(f"{self.url}/_emu/faults").raise_for_status().json()

    def clear_faults(self) -> None:
        """Forget every fault."""
        CONTROL.delete(f"{self.url}/_emu/faults").raise_for_status()

    def configure(self, **values: Any) -> None:
        """Change how the emulator behaves."""
        CONTROL.post(f"{self.url}/_emu/settings", json=values).raise_for_status()

    def advance(self, seconds: float) -> None:
        """Move the emulator's clock on."""
        CONTROL.post(f"{self.url}/_emu/clock", json={"advance_seconds": seconds}).raise_for_status()

    def batches(self) -> Any:
        """Return every batch that really exists, deleted ones too."""
        return CONTROL.get(f"{self.url}/_emu/batches").raise_for_status().json()

    def journal(self) -> list[dict[str, Any]]:
        """Return the requests the emulator has seen, oldest first."""
        document = CONTROL.get(f"{self.url}/_emu/journal").raise_for_status().json()
        entries: list[dict[str, Any]] = document["requests"] if isinstance(document, dict) else document
        return entries

    def seen(self, method: str, part: str) -> list[dict[str, Any]]:
        """Return the requests of a method whose path holds a text, oldest first."""
        return [entry for entry in self.journal() if entry["method"] == method and part in entry["path"]]


@dataclass
class Workspace:
    """A workspace on the emulator through the gemini backend, as a user with a key has it; nothing in it waits."""

    data: Path
    environ: dict[str, str] = field(default_factory=dict)

    def run(self, *args: str, **values: str) -> Result:
        """Run one command in this process; `values` are settings by their bare names."""
        environ = self.environ | {f"FINDABLE_{name}": value for name, value in values.items()}
        return CliRunner().invoke(main, list(args), env=environ, catch_exceptions=False)

    def open(self) -> Any:
        """Open the workspace for the length of a block, as the commands do."""
        return open_runtime(settings.load(self.environ), Silent())

    def query(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT on the workspace's database."""
        connection = sqlite3.connect(self.data / "findable.db")
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def scalar(self, sql: str, **values: Any) -> Any:
        """Return the first cell of a SELECT."""
        return self.query(sql, **values)[0][0]
