"""Rounds of two commands at the same time on one workspace: what is run, how it is disturbed, what must hold after."""

import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.core import files
from pipeline.index.builds import Builds
from tests import ledger
from tests.concurrency.conftest import WAITS, Life
from tests.integration.hands import Ended, Hand
from tests.integration.looks import asked_ids

HEAD = re.compile(r"(GET|POST|DELETE) /")
CREATE = ":batchGenerateContent"
MOST_COMMANDS = 15  # that it may take until there is nothing to do
LONGEST_S = 250.0
COMMANDS: dict[str, int] = {  # about how many steps each takes in mid-life; a new command is one more line here
    "import {files}/later.csv": 1,
    "batch-submit": 36,
    "batch-poll": 20,
    "batch-poll --no-wait": 20,
    "batch-ingest": 4,
    "index": 49,
    "index --rollback": 7,
    "add-expert {files}/added.json": 6,
    "tag-live": 12,
    "batch-cancel 3": 3,
    "batch-cancel 4": 3,
    "unpark --all": 1,
    "score": 1,
    "doctor --fix": 5,
    "export {files}/people-out.csv": 1,
    "search water-law": 3,
    "status --json": 1,
    "show person-0": 1,
    "batches": 1,
}
WEIGHTY = ("batch-submit", "batch-poll", "batch-ingest", "index", "add-expert {files}/added.json", "tag-live")
CODES = {0, 2, 4}  # done, nothing of that kind to do, or run again later; a lost lease is no error of the data


@dataclass(frozen=True)
class Part:
    """One of the two: a command, and before or after which of its steps it is killed or stopped (0: not at all)."""

    command: str
    step: int = 0
    side: str = "before"
    how: str = "STOP"
    pause_s: float = 0.0

    def words(self, life: Life) -> list[str]:
        """Return the command with its files put in."""
        return [word.format(files=life.files) for word in self.command.split()]


@dataclass(repr=False)
class Round:
    """Two parts, and what became of them."""

    parts: tuple[Part, Part]
    ended: list[Ended] = field(default_factory=list)

    def __repr__(self) -> str:
        """Return what was run, before which step it was disturbed, how it ended, and what it said."""
        pairs = zip(self.parts, self.ended, strict=False)
        return "\n".join(f"{part} {_at(part, ended)!r}: {ended.code} {ended.err[-400:]}" for part, ended in pairs)

    def runs(self, start: str) -> bool:
        """Return whether one of the parts begins so."""
        return any(part.command.startswith(start) for part in self.parts)

    def stopped_in_create(self) -> int:
        """Return how many parts stood still in the middle of a create, after the last look at their lease."""
        return sum(
            part.how == "STOP" and _is_in_create(ended.trail[: part.step])
            for part, ended in zip(self.parts, self.ended, strict=True)
            if 0 < part.step <= ended.steps
        )


def _at(part: Part, ended: Ended) -> str:
    return ended.trail[part.step - 1] if 0 < part.step <= ended.steps else ""


def _is_in_create(trail: list[str]) -> bool:
    """Return whether the last thing that was sent, or was about to be, is a create."""
    heads = [step for step in trail if HEAD.search(step)]
    return bool(heads) and CREATE in heads[-1]


def drawn(dice: random.Random) -> Round:
    """Draw a round: any two commands, those that do most more often, and half of them disturbed."""
    first, second = _part(dice), _part(dice)
    return Round((first, second))


def _part(dice: random.Random) -> Part:
    command = dice.choice(WEIGHTY if dice.random() < 0.6 else tuple(COMMANDS))
    fate = dice.choice(("", "", "KILL", "STOP", "STOP"))
    if not fate:
        return Part(command)
    lease = float(WAITS["FINDABLE_LEASE"])
    step, side = dice.randint(1, COMMANDS[command]), dice.choice(("before", "after"))
    return Part(command, step, side, fate, pause_s=lease + dice.uniform(-0.2, 1.0))


def play(life: Life, hands: tuple[Hand, Hand], one: Round) -> None:
    """Run the two at once, let the one that stands still go on after its pause, and wait for both."""
    for hand, part in zip(hands, one.parts, strict=True):
        hand.start(life.workspace, *part.words(life), stop_at=part.step, side=part.side, how=part.how)
    waiting = {hand: part.pause_s for hand, part in zip(hands, one.parts, strict=True) if part.step}
    until = time.monotonic() + LONGEST_S
    while not all(hand.has_ended() for hand in hands):
        assert time.monotonic() < until, f"they never ended: {one.parts}"
        for hand in [hand for hand in waiting if hand.is_stopped()]:
            time.sleep(waiting.pop(hand))
            hand.go_on()
        time.sleep(0.01)
    one.ended = [hand.ended() for hand in hands]


def finish(life: Life, one: Round) -> None:
    """Run again what was killed, as a person would, then whatever `status` says until there is nothing to do."""
    for part, ended in zip(one.parts, one.ended, strict=True):
        if ended.code < 0:
            again = life.workspace.run(*part.words(life))
            assert again.exit_code in CODES, (one, again.output)
    for _ in range(MOST_COMMANDS):
        following = ledger.next_by_batch(ledger.status(life.workspace))
        if following.startswith("make search"):
            break
        life.workspace.ran(*following.split()[1:])
    else:
        raise AssertionError(f"still something to do: {following}, {one}")
    if any(ended.code < 0 for ended in one.ended):  # what a process left that was killed
        life.workspace.ran("doctor", "--fix")


def check(life: Life, one: Round) -> None:
    """Hold that nothing was asked twice, applied twice or lost, and that whatever is sealed is as it was sealed."""
    for part, ended in zip(one.parts, one.ended, strict=True):
        assert ended.code in (CODES | {-9} if part.how == "KILL" and part.step else CODES), one
        assert "bug in findable" not in ended.err, one
    ledger.check(life.workspace)
    _check_people(life, one)
    _check_creates(life, one)
    _check_files(life, one)
    _check_index(life, one)


def _check_people(life: Life, one: Round) -> None:
    there = dict(life.workspace.query("SELECT username, tags FROM experts"))
    names = {f"person-{number}" for number in range(10)}
    names |= {"late-1", "late-2"} if one.runs("import") else set()
    names |= {"added"} if one.runs("add-expert") else set()
    assert set(there) == names, one
    assert all(there.values()), (one, there)
    twice = "SELECT task, item_id FROM findable_answers WHERE applied GROUP BY 1, 2 HAVING count(*) > 1"
    assert life.workspace.query(twice) == [], one


def _check_creates(life: Life, one: Round) -> None:
    """Each batch has one remote batch; a second one is the known twin of a sender that was stopped in its call."""
    query = "SELECT number, remote_name FROM findable_batches WHERE remote_name IS NOT NULL"
    ours = dict(life.workspace.query(query))
    remote = [batch["name"] for batch in life.api.batches()]
    assert len(set(ours.values())) == len(ours), one
    twins = set(remote) - set(ours.values())
    known = life.workspace.query("SELECT remote_name FROM findable_twins WHERE cancelled_at IS NOT NULL")
    assert twins == {row[0] for row in known}, one
    assert len(twins) <= one.stopped_in_create(), one
    if not one.runs("batch-cancel"):
        _check_asked(life, one, Counter(asked_ids(life.workspace, list(ours))))


def _check_asked(life: Life, one: Round, asked: Counter[str]) -> None:
    """Every person stands in one batch, and in one more for each answer that did not come.

    Who is asked live is not asked in a batch, unless the process that asked was killed.
    """
    failed = Counter(key for (key,) in life.workspace.query("SELECT item_id FROM findable_attempts"))
    live = {key for (key,) in life.workspace.query("SELECT item_id FROM findable_requests WHERE batch IS NULL")}
    assert all(count == 1 + failed[item] for item, count in asked.items() if item not in live), (one, asked)
    killed = any(ended.code < 0 for ended in one.ended)
    assert killed or not live & set(asked), (one, asked)


def _check_files(life: Life, one: Round) -> None:
    """Every sealed file has the bytes that were recorded, and nothing lies about that is not needed."""
    query = "SELECT request_file, request_sha256, result_file, result_sha256 FROM findable_batches"
    for request, request_hash, result, result_hash in life.workspace.query(query):
        files.verify(life.workspace.data / request, sha256=request_hash, what=f"{request} of {one}")
        if result:
            files.verify(life.workspace.data / result, sha256=result_hash, what=f"{result} of {one}")
    assert list(_litter(life)) == [], one


def _litter(life: Life) -> Iterator[str]:
    for path in life.workspace.data.rglob("*"):
        if path.name.endswith((".part", ".staging", ".link-part")):
            yield str(path)
    known = {row[0] for row in life.workspace.query("SELECT request_file FROM findable_batches")}
    known |= {row[0] for row in life.workspace.query("SELECT result_file FROM findable_batches")}
    for path in (life.workspace.data / "batches").iterdir():
        if str(path.relative_to(life.workspace.data)) not in known:
            yield str(path)


def _check_index(life: Life, one: Round) -> None:
    """The index in service is a pair of one build that holds all people, and whole."""
    with life.workspace.open() as ws:
        manifest = Builds(ws.data).current()
        assert manifest is not None, one
        assert Builds(ws.data).damage(manifest.number) == [], one
    metadata = json.loads((life.workspace.data / "metadata.json").read_bytes())
    there = life.workspace.query("SELECT username FROM experts ORDER BY username")
    assert sorted(entry["username"] for entry in metadata) == [row[0] for row in there], one
