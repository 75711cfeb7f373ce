"""Two commands on one workspace, of which one stands still at a step while the other does all it can: nothing twice."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import postgresql
from tests.acceptance.checker import Look, Memory, check
from tests.acceptance.engine import Engine
from tests.acceptance.process import LONGEST_S, ROOT, Done, Running
from tests.acceptance.product import ON_POSTGRESQL, Workspace
from tests.acceptance.steps import Fate

SETTINGS = {"BATCH_ROWS": "2", "CREATE_TIMEOUT": "5", "CALL_TIMEOUT": "20", "RETRY_FOR": "5"}
PATIENCE_S = 1.0  # what the other one is given to do its work, unless the first keeps it from that
CREATE = ":batchGenerateContent"
CODES = {0, 2, 4}  # done, nothing of that kind to do, or run again later
SEEN = ("commit", "send", "recv", "os.rename", "os.symlink", "os.remove")  # steps that others see
GONE = {"forget": "person-0001", "forget whom an answer is for": "person-0003"}
ADDED = {"username": "added", "first_name": "A", "bio": "I mend clocks and teach horology."}
WORDS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {  # what a test says, and what is run
    "submit": (("submit",), {}),
    "poll": (("poll",), {}),
    "ingest": (("ingest",), {}),
    "index": (("index",), {}),
    "index back": (("index",), {"rollback": True}),
    "add": (("add", "../added.json"), {}),
    "live": (("tag_live",), {"yes": True}),
    **{what: (("forget", name), {"yes": True}) for what, name in GONE.items()},
    "cancel 3": (("cancel", "3"), {"yes": True}),
    "cancel 4": (("cancel", "4"), {"yes": True}),
}
PAIRS = (  # what stands still, and what is done meanwhile
    ("submit", ("submit",)),
    ("submit", ("live",)),
    ("live", ("submit",)),
    ("add", ("submit", "index")),
    ("poll", ("poll",)),
    ("poll", ("cancel 3",)),
    ("cancel 3", ("poll",)),
    ("cancel 4", ("submit",)),
    ("ingest", ("ingest",)),
    ("ingest", ("forget whom an answer is for",)),
    ("forget", ("ingest",)),
    ("index", ("ingest", "index")),
    ("index back", ("ingest", "index")),
)
TAKEN_BACK = {"cancel 3", "cancel 4"}
HOLES = (
    "batches_are_made_once",
    "spend_adds_up",
)  # sealed files have some where somebody is forgotten
EACH = int(os.environ.get("FINDABLE_ROUNDS", "1"))  # moments of each pair


@dataclass(frozen=True)
class Life:
    """A workspace in mid-life and the server that it is on."""

    workspace: Workspace
    api: Engine

    def start(self, what: str, **how: Any) -> Running:
        """Start one of WORDS."""
        (verb, *arguments), options = WORDS[what]
        return self.workspace.start(verb, *arguments, **options, **how)


Lives = Callable[[str], Life]


@pytest.fixture(scope="module")
def mid_life(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a workspace whose batches are in every state, and the server's state beside it.

    Two people are in the index, batch 2 is downloaded, 3 is over at the server, 4 is prepared; two were never asked.
    """
    folder = tmp_path_factory.mktemp("mid-life")
    with Engine(folder / "api") as api:
        one = Workspace(folder / "here", api.url, settings=SETTINGS)
        one.people(10)
        one.do("submit", limit=2)
        one.each("poll", "ingest", "index", "index")
        one.do("submit", limit=2)
        one.do("poll")
        one.do("submit", limit=2)
        api.fault("quota_batch")
        one.do("submit", limit=2, code=4)
        assert one.batch_states() == ["ingested", "downloaded", "submitted", "prepared"]
    return folder


@pytest.fixture
def lives(mid_life: Path, tmp_path: Path) -> Iterator[Lives]:
    """What makes copies of that workspace by name, each on a server of its own."""
    with ExitStack() as stack:

        def copied(name: str) -> Life:
            shutil.copytree(mid_life, tmp_path / name, symlinks=True)
            if ON_POSTGRESQL:
                postgresql.copy_below(mid_life, tmp_path / name)
            api = stack.enter_context(Engine(tmp_path / name / "api"))
            (tmp_path / name / "added.json").write_text(f"{ADDED}".replace("'", '"'))
            return Life(Workspace(tmp_path / name / "here", api.url, settings=SETTINGS), api)

        yield copied


@dataclass(frozen=True)
class Moment:
    """When a command stands still, in shares of all its steps, and what is done meanwhile."""

    first: str
    others: tuple[str, ...]
    share: float
    side: str

    def __str__(self) -> str:
        """Return it in a few words."""
        return f"{self.first}, {' and '.join(self.others)} {self.side} {self.share}"


def drawn() -> Iterator[Moment]:
    """Draw when each stands still: other moments with each commit, the same for one commit."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    dice = random.Random(os.environ.get("FINDABLE_SEED", commit))  # noqa: S311 - drawn again by its seed
    for first, others in PAIRS:
        for _ in range(EACH):
            yield Moment(first, others, round(dice.random(), 3), dice.choice(("before", "after")))


def trail_in_peace(lives: Lives, what: str, known: dict[str, list[str]]) -> list[str]:
    """Return the steps of one of WORDS that nothing disturbs."""
    if what not in known:
        with lives(f"peace-{what}").start(what) as running:
            ended_process = running.wait()
        assert ended_process.code == 0, ended_process
        known[what] = ended_process.trail
    return known[what]


KNOWN: dict[str, list[str]] = {}


def overtake(life: Life, moment: Moment, fate: Fate) -> list[Done]:
    """Stop a command at a step, do the others' work as far as it can be done, and let the first go on."""
    ended = []
    with life.start(moment.first, fate=fate) as one:
        stands = one.until_stopped()
        for number, what in enumerate(moment.others, start=1):
            with life.start(what) as other:
                deadline = time.monotonic() + (PATIENCE_S if stands else LONGEST_S)
                while not other.has_ended() and time.monotonic() < deadline:
                    time.sleep(0.01)
                if stands and (number == len(moment.others) or not other.has_ended()):
                    one.signal(signal.SIGCONT)
                    stands = False
                ended.append(other.wait())
        return [one.wait(), *ended]


@pytest.mark.parametrize("moment", list(drawn()), ids=str)
def test_who_stands_still_does_no_harm(lives: Lives, moment: Moment) -> None:
    """Each row is asked once and answered once, each batch is made once, and the counts add up, whoever went on."""
    trail = trail_in_peace(lives, moment.first, KNOWN)
    seen = [number for number, step in enumerate(trail, start=1) if step.startswith(SEEN)]
    at = seen[int(moment.share * len(seen))]
    life = lives("life")
    done = overtake(life, moment, Fate(at=at, side=moment.side, how="STOP"))
    said = (at, trail[at - 1], [(one.code, one.err[-400:]) for one in done])
    assert {one.code for one in done} <= CODES, said
    finish(life)
    every = (moment.first, *moment.others)
    settled(life, {what for what, one in zip(every, done, strict=True) if one.code == 0}, said)


def test_nobody_sends_what_one_that_stands_still_is_sending(lives: Lives) -> None:
    """Stopped right before its create, past every time-out: who comes meanwhile says who has it, and makes none."""
    trail = trail_in_peace(lives, "submit", KNOWN)
    at = next(
        number
        for number, step in enumerate(trail, start=1)
        if step.startswith("send POST") and CREATE in step
    )
    life = lives("life")
    with life.start("submit", fate=Fate(at=at, how="STOP")) as one:
        assert one.until_stopped()
        for what in ("submit", "poll", "submit"):
            with life.start(what, CREATE_TIMEOUT="0.01") as other:
                ended_process = other.wait()
            assert ended_process.code == 0, ended_process
            assert f"batch 4: held by pid {one.pid}, batch-submit, stopped" in ended_process.err
        one.signal(signal.SIGCONT)
        assert one.wait().code == 0, one
    finish(life)
    settled(life, {"submit"}, at)


def test_who_lost_its_lock_while_it_stood_still_sends_nothing(lives: Lives) -> None:
    """Its intent is committed, then its session ends, or its lock's file is removed: another one sends, it does not."""
    trail = trail_in_peace(lives, "submit", KNOWN)
    create = next(
        at for at, step in enumerate(trail) if step.startswith("send POST") and CREATE in step
    )
    at = max(
        number for number, step in enumerate(trail[:create], start=1) if step.startswith("commit")
    )
    life = lives("life")
    with life.start("submit", fate=Fate(at=at, side="after", how="STOP")) as one:
        assert one.until_stopped()
        if ON_POSTGRESQL:
            name = postgresql.name_of(life.workspace.data)
            where = f"datname = '{name}' AND application_name LIKE 'findable {one.pid} %'"
            cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {where}"  # noqa: S608
            postgresql.shared().execute(cut)
        else:
            (life.workspace.data / "locks" / "batch-4.lock").unlink()
        with life.start("submit", CREATE_TIMEOUT="0.01") as other:
            assert other.wait().code == 0, other
        one.signal(signal.SIGCONT)
        assert one.wait().code in CODES, one
    finish(life)
    settled(life, {"submit"}, at)


def finish(life: Life) -> None:
    """Do what is left to do."""
    for verb in ("submit", "poll", "ingest", "index"):
        life.workspace.do(verb)


def settled(life: Life, ran: set[str], said: object) -> None:
    """Hold that all was done once, and nothing is left to do; `ran` is what ended well."""
    ws = life.workspace
    look = Look(ws, life.api.batches(), life.api.creates(), Memory(), is_settled=True)
    check(look, excused=HOLES if ran & GONE.keys() else ())
    counter = Counter(line["key"] for one in life.api.creates() for line in one["lines"])
    if not ran & TAKEN_BACK:
        assert set(counter.values()) == {1}, (said, counter)
    answered = Counter(one["item"] for one in ws.asked() if one["outcome"] == "answered")
    assert set(answered.values()) == {1}, (said, answered)
    names = {f"person-{number:04d}" for number in range(10)} | (
        {"added"} if "add" in ran else set()
    )
    names -= {name for what, name in GONE.items() if what in ran}
    assert {name for name, tags in ws.tags().items() if tags} == names, said
    assert set(ws.found("what do they know", k=99)) == names, said
    ws.do("doctor")
