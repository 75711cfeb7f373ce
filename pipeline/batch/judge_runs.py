"""Find a run of `judge` that did not end, and the command that continues it.

A run is recorded with the options that select its rows, because only the same options select the
same rows again.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.core.command_hint import CommandHint
from pipeline.core.states import Mode
from pipeline.engine.task import Task
from pipeline.store import runs
from pipeline.store.database import Connection
from pipeline.store.locks import Locks

# Rows of a sample, so that the 95 % interval of a share is at most 14 percentage points wide.
DEFAULT_SAMPLE_ROWS = 200
DEFAULT_SEED = 1


@dataclass(frozen=True)
class JudgedRows:
    """The options of `judge` that select rows and fields."""

    # Names of fields, separated by commas; empty for all fields.
    fields: str = ""
    # Rows of the sample; None for all rows.
    sample_rows: int | None = DEFAULT_SAMPLE_ROWS
    seed: int = DEFAULT_SEED

    def encode(self) -> str:
        """Return the options as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def decode(cls, encoded_options: str | None) -> "JudgedRows":
        """Return options from JSON; those of a run without any are the defaults."""
        return cls(**json.loads(encoded_options or "{}"))

    def command(self, task: Task) -> CommandHint:
        """Return the `judge` command of a task with these options; defaults are left out.

        The command, which asks how probable stored answers are, is only for messages.
        """
        options: dict[str, Any] = {}
        if self.fields:
            options["fields"] = self.fields
        if self.sample_rows is None:
            options["all"] = True
        elif self.sample_rows != DEFAULT_SAMPLE_ROWS:
            options["n"] = self.sample_rows
        if self.sample_rows is not None and self.seed != DEFAULT_SEED:
            options["seed"] = self.seed
        return task.labels.command("judge", **options)


def judge_lock(task_name: str) -> str:
    """Return the name of the lock of the process that judges a task."""
    return f"judge-{task_name}"


@dataclass(frozen=True)
class UnfinishedJudgement:
    """A run of `judge` that did not end."""

    # No process goes on with the run.
    is_stopped: bool
    # The command that continues the run.
    command: CommandHint


def find_unfinished_judgement(
    tx: Connection,
    locks: Locks,
    task: Task,
) -> UnfinishedJudgement | None:
    """Return the run of `judge` of a task that did not end, or None."""
    run = runs.find_unfinished_run(tx, task.name, mode=Mode.JUDGE)
    if run is None:
        return None
    return UnfinishedJudgement(
        locks.is_free(judge_lock(task.name)),
        JudgedRows.decode(run.condition).command(task),
    )
