"""Faults that a pilot and a backfill meet: those of every batch, and what only answers with quotations can have.

The commands submit, look, fetch and ingest by themselves, so a row tells where they stop and with which code; run again
without the fault, they come to the end and have asked nobody twice who was not charged.
"""

import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.faults import ground, words
from tests.faults.cells import CREATE, DOWNLOAD, GET, LIST, PIECE, START, Endpoint, each
from tests.faults.ground import ALWAYS, RESIGNATION, Ground, Script, haste
from tests.faults.words import Words, plain, without
from tests.integration import many_passages as passages
from tests.integration.many_passages import KEY, NOTHING_THERE
from tests.lab import Workspace

pytestmark = pytest.mark.sampled(12, sqlite=6)

TEXTS = (
    "Bees were kept in clay tubes by the farmers of the delta.",
    "A court for water meets at noon on each Thursday in front of the cathedral.",
    "Silver oxide turns molten glass yellow when it is fired twice.",
    "Ships of oak outlive those of pine wherever shipworm is rare.",
)
MANY = len(TEXTS)
COMMANDS = (("passages-pilot", "--n", str(MANY)), ("passages-backfill", "--skip-pilot", "--wait", "--yes"))
SLOW = {word for word, _ in words.SLOW}
EVERY = os.environ.get("FAULTS") == "all"


@dataclass(frozen=True)
class Facts:
    """What there is after a command: each batch's state, passages claimed and with concepts, creates that were seen."""

    states: tuple[str, ...] = ()
    claimed: int = 0
    done: int = 0
    creates: int = 0


DONE = Facts(("ingested",), done=MANY, creates=1)
BACK = Facts(("prepared",), claimed=MANY)
UNCLEAR = Facts(("submitting",), claimed=MANY, creates=1)
SENT = Facts(("submitted",), claimed=MANY, creates=1)


@dataclass(frozen=True)
class Cell:
    """One fault that one command meets, the code it ends with, and the facts then; `before` strikes first."""

    command: tuple[str, ...]
    at: str
    fault: Script
    code: int
    facts: Facts
    before: tuple[Script, ...] = ()

    def __str__(self) -> str:
        """Return the cell's name."""
        return f"{self.command[0]} at {self.at}: {self.fault}"


def cells() -> Iterator[Cell]:
    """Yield the cells of both commands."""
    for command in COMMANDS:
        yield from _of_creates(command)
        for at, endpoint, stays in (
            ("the start of an upload", START, BACK),
            ("a piece of an upload", PIECE, BACK),
            ("a look", GET, SENT),
            ("a download", DOWNLOAD, SENT),
        ):
            lasting = words.LASTING if endpoint is not DOWNLOAD else without(words.LASTING, "empty_200")
            yield from _row(command, at, endpoint, words.PASSING, 0, DONE)
            yield from _row(command, at, endpoint, words.SLOW + lasting, 4, stays, always=True)
            yield from _row(command, at, endpoint, words.DAILY + words.REFUSED, 4, stays)
            yield from _row(command, at, endpoint, words.KEY, 3, stays)
            yield from _row(command, at, endpoint, words.GONE, 3, stays)


def _of_creates(command: tuple[str, ...]) -> Iterator[Cell]:
    """Yield what meets the create, and the list that is read after one whose reply was lost."""
    undone = plain("hang") + words.BROKEN
    done = without(words.SLOW, "hang") + words.LOST
    again = Facts(("ingested",), done=MANY, creates=2)
    once = Facts(("prepared",), claimed=MANY, creates=1)
    yield from _row(command, "create", CREATE, undone, 0, again)
    yield from _row(command, "create", CREATE, done + plain("no_name") + words.HARMLESS, 0, DONE)
    yield from _row(command, "create", CREATE, words.DAILY + words.THROTTLED + words.REFUSED, 4, once)
    yield from _row(command, "create", CREATE, words.KEY + words.GONE, 3, once)
    lost = (Script("create_lost_reply"),)
    yield from _row(command, "the list", LIST, words.PASSING, 0, DONE, before=lost)
    yield from _row(command, "the list", LIST, words.SLOW + words.LASTING, 4, UNCLEAR, before=lost, always=True)
    yield from _row(command, "the list", LIST, words.DAILY, 4, UNCLEAR, before=lost)
    yield from _row(command, "the list", LIST, words.KEY + words.GONE, 3, UNCLEAR, before=lost)


def _row(  # noqa: PLR0917 - the columns of a table
    command: tuple[str, ...],
    at: str,
    endpoint: Endpoint,
    table: Words,
    code: int,
    facts: Facts,
    *,
    before: tuple[Script, ...] = (),
    always: bool = False,
) -> Iterator[Cell]:
    """Yield the cells of a class of faults at an endpoint; one of them, where not all are wanted."""
    row = [Cell(command, at, one, code, facts, before) for one in each(table, endpoint, always=always)]
    if EVERY:
        yield from row
    else:
        yield random.Random(f"{command[0]} {at} {code} {always}").choice(row)  # noqa: S311 - a sample for a test


@pytest.fixture(scope="module", name="populated")
def _populated(forge: Any) -> Workspace:
    """A workspace with passages that were never asked about."""
    workspace = ground.empty(forge.root / "passages", forge.api.url)
    path = forge.root / "passages.jsonl"
    path.write_text("".join(f"{json.dumps({'id': f'p-{n}', 'text': text})}\n" for n, text in enumerate(TEXTS)))
    workspace.ran("import-passages", str(path))
    return workspace


@pytest.fixture(name="reading")
def _reading(forge: Any, populated: Workspace, tmp_path: Path) -> Iterator[Ground]:
    """A cell's ground with passages to ask about."""
    yield from ground.standing(forge.api, populated, tmp_path / "data")


JUDGED = {"GATES": "coverage=off,evidence=off,concepts=off,parse-failure=off"}  # of four passages one is too many


def facts(here: Ground) -> Facts:
    """Return what there is now."""
    found = passages.counts(here.workspace)
    states = here.workspace.query("SELECT state FROM findable_batches ORDER BY number")
    return Facts(
        tuple(state for (state,) in states),
        claimed=found.get("claimed", 0),
        done=found.get("with_concepts", 0),
        creates=passages.sent(here.api),
    )


def recover(here: Ground, command: tuple[str, ...]) -> None:
    """Run the same command again without faults: it comes to the end."""
    here.api.clear_faults()
    here.ran(*command)
    assert passages.check(here.workspace)


@pytest.mark.parametrize("cell", list(cells()), ids=str)
def test_a_fault_leaves_what_the_table_says(cell: Cell, reading: Ground) -> None:
    """The command ends with the code and facts of its row; run again it comes home, and each was asked in one batch."""
    reading.script(*cell.before, cell.fault)
    limits = {**(haste() if cell.fault.word in SLOW else {}), **(RESIGNATION if cell.fault.times == ALWAYS else {})}
    done = reading.run(*cell.command, **limits)
    assert done.exit_code == cell.code, done.output
    assert facts(reading) == cell.facts, done.output
    assert reading.struck(), "the fault never struck"
    recover(reading, cell.command)
    assert passages.counts(reading.workspace) == {"total": MANY, "with_concepts": MANY}
    assert set(passages.asked(reading.workspace).values()) == {1}
    assert reading.live() == 1


def answer_of(**changes: Any) -> str:
    """Return an answer about the second passage with one good concept, and with some members of it changed."""
    good = {"name": "water court", "type": "process", "aliases": [], "confidence": 0.9, "quotes": [TEXTS[1][:29]]}
    return json.dumps({"concepts": [{**good, **changes}]})


@dataclass(frozen=True)
class Row:
    """One fault of a result line, what the batch counts of it (answered, refused, invalid, missing), and why."""

    word: str
    counted: tuple[int, int, int, int]
    args: dict[str, Any] = field(default_factory=dict)
    says: str = ""
    key: str = rf"{KEY}/p-1$"
    times: int | None = 1

    def __str__(self) -> str:
        """Return the row's name."""
        return f"{self.word} {self.args.get('text', '')}"[:70].strip()


WELL, REFUSED, INVALID, MISSING = (MANY, 0, 0, 0), (MANY - 1, 1, 0, 0), (MANY - 1, 0, 1, 0), (MANY - 1, 0, 0, 1)
TWO = (MANY - 2, 0, 2, 0)


def text(answer: str) -> dict[str, Any]:
    """Return the arguments that make this the text of an answer."""
    return {"text": answer}


ROWS = [
    Row("missing_line", MISSING),
    Row("broken_line", MISSING),
    Row("garbage_line", WELL),
    Row("error_line", REFUSED, {"code": 13}),
    Row("max_tokens", INVALID),
    Row("max_tokens_empty", REFUSED),
    Row("safety", REFUSED),
    Row("invalid_utf8", INVALID),
    Row("markdown_fence", INVALID),
    Row("schema_mismatch", INVALID),
    Row("swapped_bodies", TWO, says="no quote", key=rf"{KEY}/p-[12]$", times=2),
    Row("answer_text", REFUSED, text("")),
    Row("answer_text", INVALID, text(answer_of()[:60])),
    Row("answer_text", INVALID, text("{}")),
    Row("answer_text", INVALID, text('{"concepts": []}')),
    Row("answer_text", INVALID, text('{"concepts": null}')),
    Row("answer_text", INVALID, text(NOTHING_THERE), "no quote"),
    Row("answer_text", INVALID, text(answer_of(quotes=[])), "no quote"),
    Row("answer_text", INVALID, text(answer_of(quotes=[""])), "no quote"),
    Row("answer_text", INVALID, text(answer_of(quotes=TEXTS[1])), "quotes"),
    Row("answer_text", INVALID, text(answer_of(confidence=7))),
    Row("answer_text", INVALID, text(answer_of(confidence="high"))),
    Row("answer_text", INVALID, text(answer_of(name="   "))),
    Row("answer_text", INVALID, text(answer_of(page=4))),
    Row("answer_text", WELL, text(answer_of())),
    Row("answer_text", WELL, text(answer_of(type="vehicle"))),
    Row("answer_text", WELL, text(answer_of(quotes=["words that are nowhere at all", TEXTS[1][:29].upper()]))),
    Row("duplicate_error_first", WELL),
    Row("other_model", WELL),
    Row("crlf", WELL, key=""),
    Row("bom", WELL, key=""),
]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_answer_of_a_spoilt_result_is_accounted_for(row: Row, reading: Ground) -> None:
    """The first batch counts what the row says; who failed is asked once more by the same command, and all are done."""
    reading.script(Script(row.word, row.args, key=row.key, times=row.times))
    done = reading.ran(*COMMANDS[1], **JUDGED)
    columns = "answered, refused, invalid, missing"
    sql = f"SELECT {columns} FROM findable_batch_accounts WHERE batch = 1"  # noqa: S608 - a constant
    assert reading.workspace.query(sql) == [row.counted], done.output
    assert reading.struck(), "the fault never struck"
    reasons = [reason for (reason,) in reading.workspace.query("SELECT reason FROM findable_attempts WHERE charged")]
    assert len(reasons) == MANY - row.counted[0]
    assert all(row.says in reason for reason in reasons), reasons
    assert passages.counts(reading.workspace) == {"total": MANY, "with_concepts": MANY}
    assert passages.asked(reading.workspace).total() == MANY + len(reasons)
    assert passages.check(reading.workspace)


def test_what_is_good_of_an_answer_is_kept(reading: Ground) -> None:
    """A type nobody knows is another; a concept without a quotation in the passage is stored without evidence."""
    good = json.loads(answer_of(type="Vehicle"))["concepts"]
    bad = json.loads(answer_of(name="dry dock", quotes=["words that are nowhere at all"]))["concepts"]
    reading.script(Script("answer_text", text(json.dumps({"concepts": good + bad})), key=rf"{KEY}/p-1$"))
    reading.ran(*COMMANDS[1], **JUDGED)
    stored = "SELECT concept_name, concept_type FROM passage_concepts WHERE passage_id = 'p-1' AND evidence IS "
    assert reading.workspace.query(f"{stored} NOT NULL") == [("water court", "other")]
    assert reading.workspace.query(f"{stored} NULL") == [("dry dock", "process")]


def test_after_a_cut_answer_there_is_more_room(reading: Ground) -> None:
    """What was cut by its token limit is asked again with a larger one."""
    reading.script(Script("max_tokens", {}, key=rf"{KEY}/p-1$"))
    assert reading.run(*COMMANDS[1], **JUDGED).exit_code == 0
    limits = []
    for path in sorted((reading.workspace.data / "batches").glob("*-requests.jsonl")):
        for line in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            if line["key"] == f"{KEY}/p-1":
                config = line["request"].get("generationConfig") or line["request"]["generation_config"]
                limits.append(config.get("maxOutputTokens") or config["max_output_tokens"])
    assert len(limits) == 2
    assert limits[1] > limits[0]


@pytest.mark.parametrize("word", ["batch_fails", "batch_expires", "batch_cancelled"])
@pytest.mark.parametrize("partial", [0, 0.5])
def test_a_batch_that_ends_badly_charges_nobody(word: str, partial: float, reading: Ground) -> None:
    """What it has is stored, and the others go out again with the same command later, uncharged."""
    reading.script(Script(word, {"partial": partial}))
    stopped = reading.run(*COMMANDS[1], **JUDGED)
    assert (stopped.exit_code, "failed at the API" in stopped.stderr) == (4, True), stopped.output
    reading.ran(*COMMANDS[1], **JUDGED)
    assert passages.counts(reading.workspace) == {"total": MANY, "with_concepts": MANY}
    assert reading.workspace.scalar("SELECT count(*) FROM findable_attempts WHERE charged") == 0
    assert passages.asked(reading.workspace).total() == MANY + MANY * (1 - partial)
    assert passages.check(reading.workspace)
