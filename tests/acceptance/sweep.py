"""Repeat a day with faults, and compare everything that a user sees with the day without a fault.

The day without a fault saves a copy of the folder before each command. A repetition starts from the
copy, causes the fault at step n of a command, and types the same commands again until `status`
proposes nothing. Then a user must see the same end. A `short` repetition ends earlier: after the
first command whose state equals the state of the day without a fault.
"""

import copy
import os
import random
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.acceptance.checker import Inspection, Memory, find_violations, index_is_of_one_build
from tests.acceptance.database import connect, list_tables, run_sql
from tests.acceptance.days import (
    DAYS,
    Command,
    Day,
    begin_day,
    finish_day,
    run_day,
    run_day_command,
)
from tests.acceptance.engine import CREATE_CALL, Engine
from tests.acceptance.process import NO_FATE, ROOT, EndedCommand
from tests.acceptance.product import ON_POSTGRESQL, PROVIDER, Workspace
from tests.acceptance.stage import Stage
from tests.acceptance.state import describe_workspace, group_creates, list_differences
from tests.acceptance.steps import CUT, FULL, ROT, TAKES_ROOM, Fate

# Exit codes that each fate allows.
CODES = {
    "KILL": {0, -9},
    "INT": {0, 130},
    "TERM": {0, 130},
    FULL: {0, 3},
    ROT: {5},
    CUT: {0, 4},
}
# Commands with a file that the user names. If the disk is full, they ask for another name: code 2.
COMMANDS_WITH_USER_FILES = ("export", "import", "ask", "backup", "restore")
DATABASE = "postgresql" if ON_POSTGRESQL else "sqlite"
# OpenAI has no decision models.
DAY_NAMES = tuple(
    day.name
    for day in DAYS
    if DATABASE in day.databases and (PROVIDER == "gemini" or day.name != "decided")
)
PARTIAL_SUFFIXES = (".part", ".staging", ".link-part")
SIDES = ("before", "after")
VERIFIED_FILES = ("/faiss.index", "/metadata.json", ".npy")
# From this number of repetitions on, most must have met their fault.
MIN_JUDGED_REPETITIONS = 10
# A full database may still grow by fewer pages than this.
MAX_FREE_PAGES = 12
# Tables with ids that a server counts, unless another program created them.
NUMBERED_TABLES = ("experts", "assets")


class IdleWorkspace(Workspace):
    """A workspace without changes, so that it runs each command once and caches the output."""

    def run_command(
        self, verb: str, *arguments: object, code: int | str = 0, **options: Any
    ) -> EndedCommand:
        """Run a command that must end with an exit code, or return its cached end."""
        cache: dict[str, EndedCommand] = self.__dict__.setdefault("ended_commands", {})
        key = repr((verb, arguments, sorted(options.items())))
        if key not in cache:
            cache[key] = super().run_command(verb, *arguments, code=code, **options)
        return cache[key]

    def outputs(self, *commands: Sequence[str]) -> list[str]:
        """Return the outputs of commands that must succeed, from the cache if they ran before."""
        cache: dict[tuple[str, ...], str] = self.__dict__.setdefault("cached_outputs", {})
        new_commands = [tuple(words) for words in commands if tuple(words) not in cache]
        if new_commands:
            cache.update(zip(new_commands, super().outputs(*new_commands), strict=True))
        return [cache[tuple(words)] for words in commands]


def as_idle(workspace: Workspace) -> IdleWorkspace:
    """Return a workspace as an idle workspace."""
    idle = IdleWorkspace(workspace.home, workspace.url, workspace.task, workspace.settings)
    idle.data = workspace.data
    idle.step_folder = workspace.step_folder
    idle.used_tasks = workspace.used_tasks
    return idle


def describe_end(workspace: Workspace, engine: Engine) -> dict[str, Any]:
    """Return everything that a user sees of a workspace, without its reports.

    A repeated command may write a second report. `rows` has the row states of each task.
    """
    description = describe_workspace(workspace)
    paths = description["files"]
    description["files"] = [path for path in paths if not path.startswith("reports/")]
    # A server leaves out the ids that a rolled back transaction took.
    if workspace.server:
        for concept in description["tables"].get("passage_concepts", []):
            concept.pop("id")

    statuses = description["status"].items()
    description["rows"] = {task: status["rows"] for task, status in statuses}
    description["creates"] = group_creates(engine)
    return description


@dataclass(frozen=True)
class Misfortune:
    """The fates of command `number` of a day, in their order."""

    number: int
    fates: tuple[Fate, ...]


@dataclass
class Repetition:
    """The repetition of a day with fates."""

    day: str
    command: Command
    fates: Sequence[Fate]
    # The end of each disturbed command.
    processes: list[EndedCommand] = field(default_factory=list)
    # Descriptions of everything that differs from the day without a fault.
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Describe the fates and the faults."""
        fates = "; then ".join(
            f"{fate.event} {fate.side} step {fate.step} ({fate.free_pages})" for fate in self.fates
        )
        last_steps = " / ".join(
            process.trail[-1] if process.trail else "" for process in self.processes
        )
        faults = "; ".join(self.faults) or "no difference"
        return f"{self.day}: {self.command.verb}: {fates} ({last_steps}): {faults}"


class Sweep:
    """A day without a fault, and repetitions that start from its copies."""

    def __init__(self, root: Path, day: Day) -> None:
        """Use an empty folder."""
        self.day = day
        self.stage = Stage(root)
        # The durable steps of each command.
        self.trails: list[list[str]] = []
        # The description of the state after each command.
        self._states: list[dict[str, Any]] = []
        # The memory of the checker before each command.
        self._memories: list[Memory] = []
        self._end: dict[str, Any] = {}

    @property
    def step_count(self) -> int:
        """Return the number of durable steps of the day without a fault."""
        return sum(map(len, self.trails))

    @property
    def is_on_server(self) -> bool:
        """Return whether the database is on a PostgreSQL server."""
        return ON_POSTGRESQL or self.day.on_server

    def run_undisturbed(self, *, for_short_repetitions: bool = False) -> None:
        """Run the day and its earlier days without a fault, with a copy before each command."""
        day = self.day
        stage = self.stage
        engine = stage.engine
        if day.earlier_days:
            run_day(day.earlier_days[-1], stage.home, engine)
        stage.home.mkdir(exist_ok=True)

        memory = Memory()
        for number, command in enumerate(day.commands):
            stage.save_copy(str(number))
            workspace = begin_day(day, stage.home, engine)
            if number or day.earlier_days:
                self._check(as_idle(workspace), memory)
            self._memories.append(copy.deepcopy(memory))
            process = run_day_command(workspace, day, engine, command, fate=NO_FATE)
            self.trails.append(process.trail)
            state = describe_end(as_idle(workspace), engine) if for_short_repetitions else {}
            self._states.append(state)

        finish_day(workspace, day, engine)
        idle_workspace = as_idle(workspace)
        self._check(idle_workspace, memory, is_settled=True)
        self._end = describe_end(idle_workspace, engine)

    def repeat(self, misfortune: Misfortune, *, short: bool = False) -> Repetition:
        """Repeat the day from the command that meets its fates, and then meets no fate."""
        day = self.day
        stage = self.stage
        command = day.commands[misfortune.number]
        repetition = Repetition(day.name, command, misfortune.fates)
        stage.restore_copy(str(misfortune.number))
        workspace = begin_day(day, stage.home, stage.engine)
        try:
            self._meet_fates(workspace, repetition)
            self._complete(workspace, misfortune.number, repetition, short=short)
        except AssertionError as error:
            repetition.faults.append(str(error))
        return repetition

    def try_read_only(self, number: int) -> tuple[EndedCommand, list[str]]:
        """Run a command on a read-only disk; return its end and the names of changed files."""
        self.stage.restore_copy(str(number))
        workspace = begin_day(self.day, self.stage.home, self.stage.engine)
        contents_before = _read_contents(workspace.home)
        process = run_day_command(
            workspace,
            self.day,
            self.stage.engine,
            self.day.commands[number],
            codes=range(256),
            read_only=True,
        )

        contents_after = _read_contents(workspace.home)
        changed_names = [
            name
            for name in contents_before.keys() | contents_after.keys()
            if contents_before.get(name) != contents_after.get(name)
        ]
        return process, sorted(changed_names)

    def _meet_fates(self, workspace: Workspace, repetition: Repetition) -> None:
        command = repetition.command
        for fate in repetition.fates:
            earlier_files = _find_partial_files(workspace.home)
            process = run_day_command(
                workspace,
                self.day,
                self.stage.engine,
                command,
                codes=_allowed_codes(command, fate),
                fate=fate,
                off_days=command.off_days,
            )
            repetition.processes.append(process)
            reset_id_sequences(workspace)
            repetition.faults += index_is_of_one_build(Inspection(workspace))

            # Only a killed command may leave files that it did not finish.
            new_files = sorted(_find_partial_files(workspace.home) - earlier_files)
            if new_files and process.code >= 0:
                repetition.faults.append(f"unfinished files of a finished command: {new_files}")

    def _complete(
        self, workspace: Workspace, number: int, repetition: Repetition, *, short: bool
    ) -> None:
        """Type the commands from a number on, and record every difference."""
        day = self.day
        engine = self.stage.engine
        memory = copy.deepcopy(self._memories[number])
        for index, command in enumerate(day.commands[number:], number):
            run_day_command(workspace, day, engine, command, codes=command.repeated_codes)
            if short:
                idle_workspace = as_idle(workspace)
                if describe_end(idle_workspace, engine) == self._states[index]:
                    repetition.faults += self._find_violations(idle_workspace, memory)
                    return

        finish_day(workspace, day, engine)
        idle_workspace = as_idle(workspace)
        repetition.faults += self._find_violations(idle_workspace, memory, is_settled=True)
        end = describe_end(idle_workspace, engine)
        parts = day.compared_parts or tuple(self._end)
        expected_parts = {part: self._end[part] for part in parts}
        repetition.faults += list_differences(expected_parts, {part: end[part] for part in parts})

    def _find_violations(
        self, workspace: Workspace, memory: Memory, *, is_settled: bool = False
    ) -> list[str]:
        engine = self.stage.engine
        inspection = Inspection(
            workspace,
            () if self.day.is_embedded else engine.batches(),
            engine.creates(),
            memory,
            is_settled=is_settled,
        )
        return find_violations(inspection, excused=self.day.excused)

    def _check(self, workspace: Workspace, memory: Memory, *, is_settled: bool = False) -> None:
        broken_invariants = self._find_violations(workspace, memory, is_settled=is_settled)
        assert not broken_invariants, f"{self.day.name} without a fault: {broken_invariants}"


def reset_id_sequences(workspace: Workspace) -> None:
    """Make PostgreSQL reuse the ids of a rolled back transaction, so that ends are comparable."""
    if not workspace.server:
        return
    with connect(workspace) as connection:
        tables = {*list_tables(connection)}
    for table in tables.intersection(NUMBERED_TABLES):
        if run_sql(workspace, f"SELECT pg_get_serial_sequence('{table}', 'id')") == [(None,)]:
            continue
        next_id = f"coalesce((SELECT max(id) FROM {table}), 0) + 1"  # noqa: S608
        run_sql(
            workspace, f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {next_id}, false)"
        )


def _find_partial_files(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if path.name.endswith(PARTIAL_SUFFIXES)}


def _read_contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _allowed_codes(command: Command, fate: Fate) -> Sequence[int]:
    is_full = fate.event == FULL or fate.free_pages >= 0
    codes = CODES[FULL if is_full else fate.event] | {*command.repeated_codes}
    if is_full and command.verb in COMMANDS_WITH_USER_FILES:
        codes = codes | {2}
    return sorted(codes)


Kind = Callable[[Sweep], Iterator[Misfortune]]


def deaths(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield a death before and a death after every step of every command."""
    for number, trail in enumerate(sweep.trails):
        for step in range(1, len(trail) + 1):
            for side in SIDES:
                yield Misfortune(number, (Fate(step, side),))


def death_pairs(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield two deaths in a row: the repeated command dies too, a third of its steps away."""
    for number, trail in enumerate(sweep.trails):
        for step in range(1, len(trail) + 1):
            second_step = (step + len(trail) // 3) % len(trail) + 1
            yield Misfortune(number, (Fate(step), Fate(second_step, SIDES[step % 2])))


def signals(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield Ctrl-C and SIGTERM at every step."""
    for death in deaths(sweep):
        fate = death.fates[0]
        for signal_name in ("INT", "TERM"):
            yield Misfortune(death.number, (Fate(fate.step, fate.side, signal_name),))


def full_disks(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield a full disk for every step that needs room: from that step on, and at that step."""
    for number, trail in enumerate(sweep.trails):
        for index, step in enumerate(trail, 1):
            if step.startswith(TAKES_ROOM) and not sweep.day.is_embedded:
                yield Misfortune(
                    number, (Fate(index, event=FULL), Fate(index, event=FULL, is_single_step=True))
                )


def full_databases(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield a database file that may only grow by a few pages."""
    for number, trail in enumerate(sweep.trails):
        if trail and not sweep.day.is_embedded and not sweep.is_on_server:
            for pages in range(MAX_FREE_PAGES):
                yield Misfortune(number, (Fate(free_pages=pages),))


def cuts(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield a lost server connection before every step, for odd steps also in the next run."""
    for number, trail in enumerate(sweep.trails if sweep.is_on_server else ()):
        for step in range(1, len(trail) + 1):
            yield Misfortune(number, (Fate(step, event=CUT),) * (1 + step % 2))


def rots(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield a changed byte in a file of a build between its sealing and its verification."""
    for number, trail in enumerate(sweep.trails):
        for index, step in enumerate(trail, 1):
            is_sealing = step.startswith("os.rename") and step.endswith(VERIFIED_FILES)
            if is_sealing and _is_staged(step) and not sweep.day.is_embedded:
                yield Misfortune(number, (Fate(index, "after", ROT),))


def deaths_in_creates(sweep: Sweep) -> Iterator[Misfortune]:
    """Yield a death after each step from the intent of a create to the commit of its reply."""
    for number, trail in enumerate(sweep.trails):
        commits = [index for index, step in enumerate(trail, 1) if step.startswith("commit")]
        for create, step in enumerate(trail, 1):
            is_create = step.startswith("send POST") and CREATE_CALL in step
            if is_create and not sweep.day.is_embedded:
                intent = max(index for index in commits if index < create)
                record = min(index for index in commits if index > create)
                for index in range(intent, record + 1):
                    yield Misfortune(number, (Fate(index, "after"),))


def _is_staged(step: str) -> bool:
    return ".staging/" in step.rpartition(" ")[2]


# Number of repetitions of each rare kind among twenty.
RARE_KINDS: Mapping[Kind, int] = {
    death_pairs: 2,
    signals: 3,
    full_disks: 2,
    full_databases: 1,
    cuts: 2,
    rots: 1,
    deaths_in_creates: 2,
}


def repeat_with(
    sweep: Sweep,
    misfortunes: Sequence[Misfortune],
    record_property: Callable[[str, object], None],
    *,
    short: bool = False,
) -> list[Repetition]:
    """Repeat a day once for each misfortune, and assert that no end differs.

    Args:
        record_property: Receives the summary of the repetitions.
    """
    repetitions = [sweep.repeat(misfortune, short=short) for misfortune in misfortunes]
    disturbed_count = 0
    for repetition in repetitions:
        disturbed_count += sum(process.code != 0 for process in repetition.processes)
    differing = [str(repetition) for repetition in repetitions if repetition.faults]

    counts = [len(repetitions), disturbed_count, len(differing)]
    record_property("crash sweep", [sweep.day.name, sweep.step_count, *counts])
    assert not differing, "\n".join(differing)
    is_large_sample = len(repetitions) >= MIN_JUDGED_REPETITIONS
    assert not is_large_sample or 2 * disturbed_count > len(repetitions), (
        "most repetitions had no death in them"
    )
    return repetitions


def _read_seed() -> int:
    """Return SEED, or the number of the commit: each commit has other days and deaths."""
    seed = os.environ.get("ASKROWS_SEED")
    if seed:
        return int(seed)
    command = ["git", "rev-parse", "--short=8", "HEAD"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return int(process.stdout.strip() or "1", 16)


# Read before a test removes the environment variable.
SEED = _read_seed()


def make_dice(name: str) -> random.Random:
    """Return a random generator with the same numbers each time, for a seed and a name."""
    return random.Random(f"{SEED} {DATABASE} {name}")  # noqa: S311 - a sample, no secret
