"""The ground a cell stands on: a workspace at the stage its command needs, on an engine of its own.

The workspace is a copy of one made before.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import Result

from pipeline.experts import table
from tests import ledger
from tests.acceptance.engine import call
from tests.lab import Api, Workspace, slowness

PEOPLE = 4
ALWAYS = 10_000
DEAD = "http://127.0.0.1:9"  # no server listens there
SENT = "SELECT state FROM findable_batches WHERE way = 'batch' ORDER BY number"  # no run of our own calls
CODES = {0, 2, 3, 4, 5, 6, 130}
_KEYS = itertools.count(1)

BOUNDS = {
    "FINDABLE_LIST_LAG": "0",
    "FINDABLE_CREATE_TIMEOUT": "10",
    "FINDABLE_CALL_TIMEOUT": "10",
    "FINDABLE_RETRY_FOR": "10",
    "FINDABLE_RETRY_WAIT": "0.01",
    "FINDABLE_POLL_FIRST": "0.02",
    "FINDABLE_POLL_MOST": "0.1",
    "FINDABLE_POLL_PATIENCE": "10",
    "FINDABLE_CONCURRENCY": "1",
}
"""Waits that are short, limits that a busy machine keeps, and one live call at a time, so that the first one is hit."""

RESIGNATION = {"RETRY_FOR": "0.05", "POLL_PATIENCE": "0.05"}
"""Bounds for a fault that never passes."""


def haste() -> dict[str, str]:
    """Return limits for a server that does not answer, longer where the machine is busy; what is slow takes 3 s."""
    limit = f"{min(2.0, 0.4 * slowness()):.1f}"
    return {"CREATE_TIMEOUT": limit, "CALL_TIMEOUT": limit}


@dataclass(frozen=True)
class Script:
    """One fault of a cell: its word, arguments, what it is about, and how often it strikes."""

    word: str
    args: Mapping[str, Any] = field(default_factory=dict)
    method: str = ""
    path: str = ""
    key: str = ""
    times: int | None = 1
    nth: int = 1

    def __str__(self) -> str:
        """Return the fault as a test's name shows it."""
        often = "" if self.times == 1 else " always"
        detail = ",".join(str(value) for value in self.args.values())
        return f"{self.word}{f'({detail})' if detail else ''}{often}"


@dataclass(frozen=True)
class Facts:
    """What the database and the server hold after a command.

    The state of each batch at the API, how many people are claimed and how many are tagged, attempts that were counted
    against a person, create calls that the server saw and batches that exist because of them.
    """

    states: tuple[str, ...] = ()
    claimed: int = 0
    tagged: int = 0
    charged: int = 0
    creates: int = 0
    remote: int = 0


@dataclass
class Ground:
    """One cell's workspace, and its engine."""

    api: Api
    workspace: Workspace

    def script(self, *faults: Script) -> None:
        """Let the emulator fail as told."""
        documents = [
            {
                "fault": one.word,
                "match": {
                    name: value
                    for name, value in (("method", one.method), ("path", one.path), ("key", one.key))
                    if value
                },
                "nth": one.nth,
                "times": one.times,
                "args": dict(one.args),
            }
            for one in faults
        ]
        call(f"{self.api.url}/_emu/faults", method="POST", document=documents)

    def run(self, *args: str, **values: str) -> Result:
        """Run a command and hold it to what every command promises: a code of ours, words, no traceback, no key."""
        result = self.workspace.run(*args, **values)
        assert result.exit_code in CODES, result.output
        assert "Traceback" not in result.output
        assert "this is a bug" not in result.stderr
        assert self.workspace.environ["GEMINI_API_KEY"] not in result.output
        assert result.exit_code == 0 or len(_own_lines(result.stderr)) >= 1, "it failed without a word"
        return result

    def ran(self, *args: str, code: int | str = 0, **values: str) -> Result:
        """Run a command that must end with a code."""
        result = self.run(*args, **values)
        assert result.exit_code == code, (args, result.output)
        return result

    def facts(self) -> Facts:
        """Return what there is now."""
        people = ledger.people(self.workspace)
        return Facts(
            states=tuple(state for (state,) in self.workspace.query(SENT)),
            claimed=people.get("claimed", 0),
            tagged=people.get("tagged", 0) + people.get("answered", 0),
            charged=self.workspace.scalar("SELECT count(*) FROM findable_attempts WHERE charged"),
            creates=len(self.api.seen("POST", ":batchGenerateContent")),
            remote=len(self.remote()),
        )

    def remote(self) -> list[dict[str, Any]]:
        """Return the batches that were made for this cell, whatever became of them."""
        return self.api.batches()

    def struck(self) -> bool:
        """Return whether every fault that was scripted struck at least once."""
        return all(one["fired"] for one in self.api.faults()["faults"])

    def recover(self) -> None:
        """Clear the faults and run the same commands again until there is nothing left to do."""
        self.api.clear_faults()
        for _ in range(4):
            for command in ("batch-submit", "batch-poll", "batch-ingest"):
                self.ran(command)
            if not re.search("batch-(submit|poll|ingest)", ledger.next_by_batch(ledger.status(self.workspace))):
                break
        else:
            raise AssertionError("it never came to an end")
        ledger.check(self.workspace)

    def live(self) -> int:
        """Return how many remote batches of this cell were not cancelled."""
        return sum(one["state"] != "CANCELLED" for one in self.remote())


def _own_lines(said: str) -> list[str]:
    """Return the lines of standard error that tell of an error."""
    return [line for line in said.splitlines() if line.startswith("error")]


def empty(data: Path, url: str) -> Workspace:
    """Return a workspace that says it is one of its own at the emulator, and has only short waits."""
    environ = {"FINDABLE_DATA": str(data), "GOOGLE_GEMINI_BASE_URL": url, **BOUNDS}
    return Workspace(data, environ | {"GEMINI_API_KEY": f"key-that-nobody-may-see-{next(_KEYS):06d}"})


def populated(data: Path, url: str) -> Workspace:
    """Return a workspace with a few people who can be asked about."""
    workspace = empty(data, url)
    add_people(workspace, first=0, until=PEOPLE)
    return workspace


def add_people(workspace: Workspace, *, first: int, until: int) -> None:
    """Put people who can be asked about into a workspace."""
    with workspace.open() as ws, ws.store.write() as tx:
        for number in range(first, until):
            bio = f"I keep bees and teach water law, number {number}."
            table.insert_person(tx, f"person-{number}", {"first_name": "Person", "bio": bio})


def indexed(data: Path, url: str) -> Workspace:
    """Return a workspace whose people are tagged and can be searched."""
    workspace = populated(data, url)
    for command in ("batch-submit", "batch-poll", "batch-ingest", "index"):
        workspace.ran(command)
    return workspace


def standing(template: Workspace, folder: Path) -> Iterator[Ground]:
    """Yield a cell's own copy of a workspace, and an engine without faults and without a past."""
    template.copy_to(folder / "data")
    with Api(folder / "api") as api:
        yield Ground(api, empty(folder / "data", api.url))


def person_file(path: Path) -> str:
    """Write a file with one new person and return its name."""
    path.write_text(json.dumps({"username": "newcomer", "bio": "I mend clocks and teach horology."}))
    return str(path)
