"""Faults that a pilot and a backfill meet: where they stop, and what only answers with quotations can have.

The commands submit, look, fetch and ingest by themselves, so a row tells where they stop and with which code; run again
without the fault, they come to the end and have asked about none twice who was not charged.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.faults import ground
from tests.faults.cells import CREATE, GET, LIST, START
from tests.faults.ground import ALWAYS, RESIGNATION, Ground, Script
from tests.integration import many_passages as passages
from tests.integration.many_passages import KEY, NOTHING_THERE, text_of
from tests.lab import Workspace

COMMANDS = (("passages-pilot", "--n", "4"), ("passages-backfill", "--skip-pilot", "--wait", "--yes"))
BACKFILL = COMMANDS[1]
JUDGED = {"GATES": "coverage=off,evidence=off,concepts=off,parse-failure=off"}  # of few passages one is too many


@dataclass(frozen=True)
class Cell:
    """Faults that a command meets, the code it ends with, and then: batches' states, creates, passages claimed, done.

    The first fault has struck before the last one does.
    """

    faults: tuple[Script, ...]
    code: int
    states: tuple[str, ...]
    creates: int
    claimed: int = 4
    done: int = 0

    def __str__(self) -> str:
        """Return the cell's name."""
        return " then ".join(map(str, self.faults))


CELLS = (
    Cell((Script("drop", {}, *CREATE),), 0, ("ingested",), 2, claimed=0, done=4),
    Cell((Script("lost_reply", {}, *CREATE),), 0, ("ingested",), 1, claimed=0, done=4),
    Cell((Script("status", {"code": 500}, *START, times=ALWAYS),), 4, ("prepared",), 0),
    Cell((Script("key_invalid", {}, *START),), 3, ("prepared",), 0),
    Cell((Script("html_502", {}, *GET, times=ALWAYS),), 4, ("submitted",), 1),
    Cell((Script("create_lost_reply"), Script("quota_day", {}, *LIST)), 4, ("submitting",), 1),
)


@pytest.fixture(scope="module", name="few")
def _few(forge: Any) -> Workspace:
    """A workspace with four passages that were never asked about."""
    workspace = ground.empty(forge.root / "few" / "data", forge.api.url)
    workspace.data.parent.mkdir(exist_ok=True)
    passages.put(workspace, 4)
    return workspace


@pytest.fixture(name="reading")
def _reading(forge: Any, few: Workspace, tmp_path: Path) -> Iterator[Ground]:
    """A cell's ground with passages to ask about."""
    yield from ground.standing(forge.api, few, tmp_path / "data")


@pytest.mark.sampled(12, sqlite=6)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_a_fault_stops_a_command_where_it_may(command: tuple[str, ...], cell: Cell, reading: Ground) -> None:
    """It ends with the code and the facts of its row; run again it comes home, and each was asked in one batch."""
    reading.script(*cell.faults)
    done = reading.run(*command, **(RESIGNATION if cell.faults[-1].times == ALWAYS else {}))
    assert done.exit_code == cell.code, done.output
    states = reading.workspace.query("SELECT state FROM findable_batches ORDER BY number")
    found = passages.counts(reading.workspace)
    assert tuple(state for (state,) in states) == cell.states
    assert (found.get("claimed", 0), found.get("with_concepts", 0)) == (cell.claimed, cell.done), done.output
    assert passages.sent(reading.api) == cell.creates
    assert reading.struck(), "the fault never struck"
    reading.api.clear_faults()
    reading.ran(*command)
    assert passages.check(reading.workspace)
    assert passages.counts(reading.workspace) == {"total": 4, "with_concepts": 4}
    assert set(passages.asked(reading.workspace).values()) == {1}
    assert reading.live() == 1


@dataclass(frozen=True)
class Row:
    """One fault of a result line, as what it is counted, and what the reason says; `changes` are of a good answer."""

    word: str
    counted: str
    args: dict[str, Any] = field(default_factory=dict)
    says: str = ""
    changes: dict[str, Any] | None = None

    def script(self, number: int) -> Script:
        """Return the fault of a passage's line."""
        changed = self.changes is not None and {"text": json.dumps({"concepts": [concept(number, self.changes)]})}
        return Script(self.word, changed or self.args, key=rf"{KEY}/p-{number:04d}$")


def concept(number: int, changes: dict[str, Any]) -> dict[str, Any]:
    """Return a good concept of a passage, with some members of it changed."""
    good = {"name": "water court", "type": "process", "aliases": [], "confidence": 0.9}
    return {**good, "quotes": [text_of(number)[:29]], **changes}


ROWS = (
    Row("other_model", "answered"),
    Row("missing_line", "missing"),
    Row("broken_line", "missing"),
    Row("garbage_line", "answered"),
    Row("error_line", "refused", {"code": 13}),
    Row("max_tokens", "invalid"),
    Row("max_tokens_empty", "refused"),
    Row("safety", "refused"),
    Row("invalid_utf8", "invalid"),
    Row("markdown_fence", "invalid"),
    Row("schema_mismatch", "invalid"),
    Row("answer_text", "refused", {"text": ""}),
    Row("answer_text", "invalid", {"text": '{"concepts": [{"name": "water court", "ty'}),
    Row("answer_text", "invalid", {"text": '{"concepts": []}'}),
    Row("answer_text", "invalid", {"text": NOTHING_THERE}, "no quote"),
    Row("answer_text", "invalid", says="no quote", changes={"quotes": [""]}),
    Row("answer_text", "invalid", says="quotes", changes={"quotes": "no list"}),
    Row("answer_text", "invalid", changes={"confidence": 7}),
    Row("answer_text", "invalid", changes={"name": "   "}),
    Row("answer_text", "invalid", changes={"page": 4}),
    Row("answer_text", "answered", changes={"type": "vehicle"}),
    Row("duplicate_error_first", "answered"),
)
CUT = next(number for number, row in enumerate(ROWS) if row.word == "max_tokens")
VEHICLE = next(number for number, row in enumerate(ROWS) if row.changes == {"type": "vehicle"})


def test_every_answer_of_a_spoilt_result_is_accounted_for(reading: Ground) -> None:
    """In one batch with every fault the account is what the rows say; who failed is asked once more, and all are done.

    A type that is not known is another; what was cut by its token limit is asked again with a larger one.
    """
    passages.put(reading.workspace, len(ROWS))
    reading.script(*(row.script(number) for number, row in enumerate(ROWS)))
    done = reading.ran(*BACKFILL, **JUDGED)
    outcomes = dict(reading.workspace.query("SELECT item_id, outcome FROM findable_requests WHERE batch = 1"))
    assert outcomes == {f"p-{number:04d}": row.counted for number, row in enumerate(ROWS)}, done.output
    assert reading.struck(), "a fault never struck"
    reasons = dict(reading.workspace.query("SELECT item_id, reason FROM findable_attempts WHERE charged"))
    failed = {f"p-{number:04d}": row.says for number, row in enumerate(ROWS) if row.counted != "answered"}
    assert {item: says in reasons[item] for item, says in failed.items()} == dict.fromkeys(reasons, True), reasons
    assert passages.counts(reading.workspace) == {"total": len(ROWS), "with_concepts": len(ROWS)}
    assert passages.asked(reading.workspace).total() == len(ROWS) + len(failed)
    assert passages.check(reading.workspace)
    type_of = "SELECT concept_type FROM passage_concepts WHERE passage_id = :id"
    assert reading.workspace.query(type_of, id=f"p-{VEHICLE:04d}") == [("other",)]
    first, second = limits(reading, f"{KEY}/p-{CUT:04d}")
    assert second > first


def limits(reading: Ground, key: str) -> list[int]:
    """Return how many tokens each request about a passage had for its answer."""
    found = []
    for path in sorted((reading.workspace.data / "batches").glob("*-requests.jsonl")):
        for line in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            if line["key"] == key:
                config = line["request"].get("generationConfig") or line["request"]["generation_config"]
                found.append(config.get("maxOutputTokens") or config["max_output_tokens"])
    return found


@pytest.mark.full
@pytest.mark.sampled(3, sqlite=3)
@pytest.mark.parametrize("word", ["batch_fails", "batch_expires", "batch_cancelled"])
def test_a_batch_that_ends_badly_charges_nobody(word: str, reading: Ground) -> None:
    """What it has is stored, and the others go out again with the same command later, uncharged."""
    reading.script(Script(word, {"partial": 0.5}))
    stopped = reading.run(*BACKFILL, **JUDGED)
    assert (stopped.exit_code, "failed at the API" in stopped.stderr) == (4, True), stopped.output
    reading.ran(*BACKFILL, **JUDGED)
    assert passages.counts(reading.workspace) == {"total": 4, "with_concepts": 4}
    assert reading.workspace.scalar("SELECT count(*) FROM findable_attempts WHERE charged") == 0
    assert passages.asked(reading.workspace).total() == 6
    assert passages.check(reading.workspace)
