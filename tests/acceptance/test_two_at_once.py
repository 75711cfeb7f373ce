"""A command stops at a step while others work on the same workspace; nothing is done twice."""

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
from tests.acceptance.checker import Inspection, Memory, check_invariants
from tests.acceptance.database import move_to_other_server
from tests.acceptance.engine import CREATE_CALL, Engine
from tests.acceptance.process import MAX_WAIT_S, ROOT, EndedCommand, Running
from tests.acceptance.product import ON_POSTGRESQL, Workspace
from tests.acceptance.steps import Fate

SETTINGS = {"BATCH_ROWS": "2", "CREATE_TIMEOUT": "5", "CALL_TIMEOUT": "20", "RETRY_FOR": "5"}
# Time for the other command to do its work, unless the stopped command blocks it.
PATIENCE_S = 1.0
# Exit codes: done, nothing of that kind to do, or run again later.
CODES = {0, 2, 4}
# Steps that other processes can observe.
VISIBLE_STEPS = ("commit", "send", "recv", "os.rename", "os.symlink", "os.remove")
FORGOTTEN = {"forget": "person-0001", "forget whom an answer is for": "person-0003"}
ADDED = {"username": "added", "first_name": "A", "bio": "I mend clocks and teach horology."}
# Labels of the tests with the command and options of each.
COMMANDS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "submit": (("submit",), {}),
    "poll": (("poll",), {}),
    "ingest": (("ingest",), {}),
    "index": (("index",), {}),
    "index back": (("index",), {"rollback": True}),
    "add": (("add", "../added.json"), {}),
    "live": (("tag_live",), {"yes": True}),
    **{label: (("forget", name), {"yes": True}) for label, name in FORGOTTEN.items()},
    "cancel 3": (("cancel", "3"), {"yes": True}),
    "cancel 4": (("cancel", "4"), {"yes": True}),
}
# The stopped command, and the commands that run meanwhile.
PAIRS = (
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
CANCELLATIONS = {"cancel 3", "cancel 4"}
# Checks that do not apply after a person was forgotten, whose lines were removed from sealed files.
EXCUSED_CHECKS = (
    "batches_are_made_once",
    "spend_adds_up",
)
MOMENTS_PER_PAIR = int(os.environ.get("ASKROWS_ROUNDS", "1"))


@dataclass(frozen=True)
class Life:
    """A workspace in mid-life and its server."""

    workspace: Workspace
    api: Engine

    def start(self, label: str, **process_options: Any) -> Running:
        """Start the command of a label."""
        (verb, *arguments), options = COMMANDS[label]
        return self.workspace.start_command(verb, *arguments, **options, **process_options)


Lives = Callable[[str], Life]


@pytest.fixture(scope="module")
def mid_life(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a workspace whose batches are in every state, and the server's state.

    Two people are in the index. Batch 2 is downloaded, batch 3 has ended at the server, and batch 4
    is prepared. Two people were never asked about.
    """
    folder = tmp_path_factory.mktemp("mid-life")
    with Engine(folder / "api") as api:
        workspace = Workspace(folder / "here", api.url, settings=SETTINGS)
        workspace.import_people(10)
        workspace.run_command("submit", limit=2)
        workspace.run_commands("poll", "ingest", "index", "index")
        workspace.run_command("submit", limit=2)
        workspace.run_command("poll")
        workspace.run_command("submit", limit=2)
        api.script_fault("quota_batch")
        workspace.run_command("submit", limit=2, code=4)
        assert workspace.batch_states() == ["ingested", "downloaded", "submitted", "prepared"]
    return folder


@pytest.fixture
def lives(mid_life: Path, tmp_path: Path) -> Iterator[Lives]:
    """A function that copies the workspace under a name, each copy with its own server."""
    with ExitStack() as stack:

        def copy_life(name: str) -> Life:
            """Copy the workspace and its server under a name."""
            shutil.copytree(mid_life, tmp_path / name, symlinks=True)
            if ON_POSTGRESQL:
                postgresql.copy_below(mid_life, tmp_path / name)
            api = stack.enter_context(Engine(tmp_path / name / "api"))
            (tmp_path / name / "added.json").write_text(f"{ADDED}".replace("'", '"'))
            workspace = Workspace(tmp_path / name / "here", api.url, settings=SETTINGS)
            move_to_other_server(workspace)
            return Life(workspace, api)

        yield copy_life


@dataclass(frozen=True)
class Moment:
    """The step at which a command stops, as a share of its steps, and the other commands."""

    first: str
    other_labels: tuple[str, ...]
    share: float
    side: str

    def __str__(self) -> str:
        """Return the id of the test case."""
        return f"{self.first}, {' and '.join(self.other_labels)} {self.side} {self.share}"


def draw_moments() -> Iterator[Moment]:
    """Draw the moments of all pairs; they differ between commits and repeat for a commit."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    seed = os.environ.get("ASKROWS_SEED", commit)
    dice = random.Random(seed)  # noqa: S311 - a seed repeats the draw

    for first, labels in PAIRS:
        for _ in range(MOMENTS_PER_PAIR):
            yield Moment(first, labels, round(dice.random(), 3), dice.choice(("before", "after")))


def undisturbed_trail(lives: Lives, label: str, trails: dict[str, list[str]]) -> list[str]:
    """Return the steps of a labelled command that runs alone."""
    if label not in trails:
        with lives(f"peace-{label}").start(label) as running:
            ended_process = running.wait()
        assert ended_process.code == 0, ended_process
        trails[label] = ended_process.trail
    return trails[label]


# Steps of commands that ran alone, by label.
TRAILS: dict[str, list[str]] = {}


def overtake(life: Life, moment: Moment, fate: Fate) -> list[EndedCommand]:
    """Stop a command at a step, run the other commands as far as possible, and resume it."""
    ended_processes = []
    with life.start(moment.first, fate=fate) as first_process:
        is_stopped = first_process.wait_until_stopped()
        for number, label in enumerate(moment.other_labels, start=1):
            with life.start(label) as other_process:
                deadline = time.monotonic() + (PATIENCE_S if is_stopped else MAX_WAIT_S)
                while not other_process.is_finished() and time.monotonic() < deadline:
                    time.sleep(0.01)

                # The last command, or a blocked command, needs the first command to continue.
                if is_stopped and (
                    number == len(moment.other_labels) or not other_process.is_finished()
                ):
                    first_process.signal(signal.SIGCONT)
                    is_stopped = False
                ended_processes.append(other_process.wait())
        return [first_process.wait(), *ended_processes]


@pytest.mark.parametrize("moment", list(draw_moments()), ids=str)
def test_stopped_command_does_no_harm(lives: Lives, moment: Moment) -> None:
    """Rows are asked and answered once, batches are created once, and the counts add up."""
    trail = undisturbed_trail(lives, moment.first, TRAILS)
    visible_steps = [
        number for number, step in enumerate(trail, start=1) if step.startswith(VISIBLE_STEPS)
    ]
    step_number = visible_steps[int(moment.share * len(visible_steps))]
    life = lives("life")
    processes = overtake(life, moment, Fate(step=step_number, side=moment.side, event="STOP"))
    context = (
        step_number,
        trail[step_number - 1],
        [(process.code, process.stderr[-400:]) for process in processes],
    )
    assert {process.code for process in processes} <= CODES, context
    finish_work(life)
    labels = (moment.first, *moment.other_labels)
    check_settled(
        life,
        {label for label, process in zip(labels, processes, strict=True) if process.code == 0},
        context,
    )


@pytest.mark.promise("parallel", postgresql=True)
def test_batch_of_a_stopped_command_is_not_sent_by_others(lives: Lives) -> None:
    """Commands that meet a batch of a stopped command name its process and create no batch."""
    trail = undisturbed_trail(lives, "submit", TRAILS)
    step_number = next(
        number
        for number, step in enumerate(trail, start=1)
        if step.startswith("send POST") and CREATE_CALL in step
    )
    life = lives("life")

    with life.start("submit", fate=Fate(step=step_number, event="STOP")) as first_process:
        assert first_process.wait_until_stopped()
        for label in ("submit", "poll", "submit"):
            with life.start(label, CREATE_TIMEOUT="0.01") as other_process:
                ended_process = other_process.wait()
            assert ended_process.code == 0, ended_process
            assert (
                f"batch 4: held by pid {first_process.pid}, batch-submit, stopped"
                in ended_process.stderr
            )
        first_process.signal(signal.SIGCONT)
        assert first_process.wait().code == 0, first_process
    finish_work(life)
    check_settled(life, {"submit"}, step_number)


@pytest.mark.promise("parallel", postgresql=True)
def test_stopped_command_that_lost_its_lock_sends_nothing(lives: Lives) -> None:
    """Another command sends the batch after the database session ended or the lock file is gone."""
    trail = undisturbed_trail(lives, "submit", TRAILS)
    create_index = next(
        index
        for index, step in enumerate(trail)
        if step.startswith("send POST") and CREATE_CALL in step
    )
    step_number = max(
        number
        for number, step in enumerate(trail[:create_index], start=1)
        if step.startswith("commit")
    )
    life = lives("life")

    # The intent is committed before the stop.
    with life.start(
        "submit", fate=Fate(step=step_number, side="after", event="STOP")
    ) as first_process:
        assert first_process.wait_until_stopped()
        if ON_POSTGRESQL:
            name = postgresql.name_of(life.workspace.data)
            condition = (
                f"datname = '{name}' AND application_name LIKE 'askrows {first_process.pid} %'"
            )
            query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            postgresql.shared().execute(f"{query} WHERE {condition}")
        else:
            (life.workspace.data / "locks" / "batch-4.lock").unlink()
        with life.start("submit", CREATE_TIMEOUT="0.01") as other_process:
            assert other_process.wait().code == 0, other_process
        first_process.signal(signal.SIGCONT)
        assert first_process.wait().code in CODES, first_process
    finish_work(life)
    check_settled(life, {"submit"}, step_number)


def finish_work(life: Life) -> None:
    """Run the remaining steps of the chain."""
    for verb in ("submit", "poll", "ingest", "index"):
        life.workspace.run_command(verb)


def check_settled(life: Life, completed: set[str], context: object) -> None:
    """Assert that all work was done exactly once; `completed` are the labels that ended well."""
    workspace = life.workspace
    snapshot = Inspection(
        workspace, life.api.batches(), life.api.creates(), Memory(), is_settled=True
    )
    check_invariants(snapshot, excused=EXCUSED_CHECKS if completed & FORGOTTEN.keys() else ())

    request_counts = Counter[str]()
    for create in life.api.creates():
        request_counts.update(line["key"] for line in create["lines"])
    if not completed & CANCELLATIONS:
        assert set(request_counts.values()) == {1}, (context, request_counts)

    answer_counts = Counter(
        request["row"]
        for request in workspace.logged_requests()
        if request["outcome"] == "answered"
    )
    assert set(answer_counts.values()) == {1}, (context, answer_counts)

    expected_names = {f"person-{number:04d}" for number in range(10)}
    if "add" in completed:
        expected_names.add("added")
    expected_names -= {name for label, name in FORGOTTEN.items() if label in completed}
    assert {name for name, tags in workspace.exported_tags().items() if tags} == expected_names, (
        context
    )
    assert set(workspace.search("what do they know", k=99)) == expected_names, context
    workspace.run_command("doctor")
