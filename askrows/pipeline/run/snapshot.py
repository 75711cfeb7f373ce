"""One account of the state of a workspace and its task in use: the `Snapshot`.

`status`, the next step, the page and the progress of runs read it. All of it is read in one
transaction, and each part when it is first asked for, so that a caller pays only for its parts.

- The progress of a run counts requests. Rows with equal inputs share a request, so it may cover
  several rows. A request that was asked again counts once, and progress never goes back.
- A held batch is not ingested, because its replies seem to belong to other rows.
- A row is doubtful if its answer has a low confidence.
- A live run is a series of live batches of one command; it is killed if its process is dead.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from askrows.pipeline.batch import batch_files
from askrows.pipeline.batch.budget import find_quota_refusal_reason
from askrows.pipeline.batch.held_batches import make_hold_hint
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import AskrowsError
from askrows.pipeline.core.states import BatchState, Mode, describe_remote_state, parse_remote_state
from askrows.pipeline.core.text import describe_requests, format_duration, shorten
from askrows.pipeline.index.builds import Builds, count_stale_entries
from askrows.pipeline.index.indexed_tasks import is_task_indexed
from askrows.pipeline.provider.providers import Provider
from askrows.pipeline.rows.kept_counts import reuse_or_count_states
from askrows.pipeline.rows.row_state import StateCounts
from askrows.pipeline.rows.source import read_file_stamp
from askrows.pipeline.rows.task_rows import TaskRows
from askrows.pipeline.store import answers, batches, claims, runs
from askrows.pipeline.store.batches import BatchRow
from askrows.pipeline.store.confidences import has_rows_asked_by_decisions
from askrows.pipeline.store.database import Connection
from askrows.pipeline.store.money import Spending, calculate_batch_spending, sum_spending
from askrows.pipeline.store.runs import PilotRow
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_values import IndexedTask, TaskNouns
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

MAX_REFUSAL_CHARACTERS = 300


@dataclass(frozen=True, kw_only=True)
class RunProgress:
    """A run that is not over."""

    # The batch, or the sums of all batches of the live run.
    batch: BatchRow
    # Distinct requests of the run, and those of them that ended.
    requests: int
    done: int
    # The rows that the requests cover; None if that is not known.
    rows: int | None = None
    # Its process is dead. The next command that asks rows continues it.
    is_killed: bool
    # When the batch was sent, if it waits at the API; None with the local engine.
    waits_since: datetime | None
    # The provider at which it waits.
    provider: Provider
    # The time of this account.
    now: datetime

    @property
    def number(self) -> int:
        """Return the number of the run, which is that of its first batch."""
        return self.batch.number

    @property
    def is_live(self) -> bool:
        """Return whether the run makes single calls."""
        return self.batch.mode is not Mode.BATCH

    @property
    def phase(self) -> str:
        """Return in a word or two what happens to the run now."""
        if self.batch.is_held:
            return "held"
        if self.is_live:
            return "stopped" if self.is_killed else "asking"
        if self.batch.state is BatchState.DOWNLOADED:
            return "downloaded"
        return describe_remote_state(self.batch.remote_word or self.batch.state)

    @property
    def age_s(self) -> float:
        """Return the seconds since the run began."""
        return (self.now - self.batch.created_at).total_seconds()

    @property
    def eta_s(self) -> float | None:
        """Return the estimated seconds to the end of a live run, or None if that is not known.

        It is not known before the first reply, and if the run is killed.
        """
        if self.phase != "asking" or not self.done:
            return None
        return (self.requests - self.done) * self.age_s / self.done

    @property
    def wait(self) -> dict[str, Any] | None:
        """Return how long the batch has waited at the API, for JSON, or None if it does not wait.

        A batch is slow if it waits longer than the provider's target. It ends at `expires_at`.
        """
        if self.waits_since is None:
            return None
        elapsed = self.now - self.waits_since
        return {
            "batch": self.batch.number,
            "elapsed_s": round(elapsed.total_seconds()),
            "is_slow": elapsed > self.provider.target_batch_age,
            "expires_at": (self.waits_since + self.provider.max_batch_age).isoformat(),
        }

    @property
    def size(self) -> str:
        """Return the number of requests, and of the rows that they cover, in words."""
        return describe_requests(self.requests, self.rows or self.requests)

    @property
    def counts(self) -> str:
        """Return how many requests ended and, by the service's own count, failed; "" if none."""
        if not self.done:
            return ""
        counts = f"{self.done:,} of {self.requests:,} done"
        return (
            f"{counts}, {self.batch.remote_failed:,} failed" if self.batch.remote_failed else counts
        )

    @property
    def document(self) -> dict[str, Any]:
        """Return the progress for JSON."""
        return {
            "number": self.number,
            "task": self.batch.task,
            "mode": self.batch.mode.value,
            "phase": self.phase,
            "requests": self.requests,
            "rows": self.rows,
            "done": self.done,
            "failed": self.batch.remote_failed,
            "eta_s": self.eta_s and round(self.eta_s),
        }

    def describe(self, nouns: TaskNouns) -> str:
        """Return a line about the run: size, phase, age and notes.

        Notes are the progress, why a batch is held and what ends that, the reason of a cancel or of
        a refused create call, and a long wait at the API.

        Args:
            nouns: The nouns of its task.
        """
        name = f"live run {self.number}" if self.is_live else f"batch {self.number}"
        notes = [
            f"{name}, {self.size}, {self.phase} for {format_duration(self.age_s)}",
            self.counts,
        ]
        if self.eta_s is not None:
            notes.append(f"about {format_duration(self.eta_s)} left")
        if self.batch.is_held:
            notes += [self.batch.held or "", str(make_hold_hint(self.number, nouns))]
        elif not self.is_live:
            notes.append(shorten(self.batch.reason or "", MAX_REFUSAL_CHARACTERS))
        notes.append(self.describe_slow_wait())
        return "; ".join(filter(None, notes))

    def describe_slow_wait(self) -> str:
        """Return that the batch is slower than the target, when it expires, and another mode.

        "" if it is not slow.
        """
        target_age = self.provider.target_batch_age
        if self.waits_since is None or self.now - self.waits_since <= target_age:
            return ""
        target = format_duration(target_age.total_seconds())
        expires_at = self.waits_since + self.provider.max_batch_age
        expiry = "expires" if expires_at > self.now else "should have expired"
        move = CommandHint("batch-move", batch=self.number, to=Mode.FLEX.value)
        return (
            f"longer than {self.provider.company}'s target of {target}; "
            f"{expiry} at {expires_at:%Y-%m-%d %H:%M} UTC; `{move}` asks its rows in another mode"
        )


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The state of a workspace and its task in use, at the time of one transaction.

    Its parts can be read until the transaction ends.
    """

    ws: OpenWorkspace
    # The task in use, in the version that its file declares now.
    task: Task
    # The version of that file, if it is not the recorded one; else "".
    file_version: str
    # All tasks of the workspace.
    tasks: Sequence[Task]
    tx: Connection
    # Compare the index with all rows, to find changes by other programs.
    is_exact: bool = False

    # Rows

    @cached_property
    def rows(self) -> TaskRows:
        """Return the rows of the task in use."""
        return self.task.rows

    @cached_property
    def counts(self) -> StateCounts:
        """Return the number of rows in each state."""
        return reuse_or_count_states(self.tx, self.rows, self.ws.data)

    @cached_property
    def marked_count(self) -> int:
        """Return the number of stale rows that a person asked for again."""
        if not self.counts.stale:
            return 0
        return self.rows.count_rows_by_state(self.tx, self.rows.is_marked).stale

    @cached_property
    def parked_reasons(self) -> Mapping[str, str]:
        """Return the reason of each parked row, by row id."""
        parked_rows = claims.list_parked_rows(
            self.tx, self.task.name, prompt_version=self.task.parked_version
        )
        return {record.row_id: record.reason for record in parked_rows}

    @cached_property
    def parked_counts(self) -> dict[str, int]:
        """Return the number of parked rows for each reason, the most frequent first."""
        return dict(Counter(self.parked_reasons.values()).most_common())

    @cached_property
    def doubtful_document(self) -> dict[str, Any] | None:
        """Return {count, answered, below, hint} of doubtful rows, or None without any confidence.

        - `count`: rows whose preferred answer has a confidence below the setting DOUBTFUL, and was
          not reviewed
        - `answered`: rows whose preferred answer has a confidence; other rows do not count
        - `below`: the setting DOUBTFUL
        - `hint`: the command that lists the doubtful rows
        """
        grid = self.task.make_grid(self.tx)
        counts = grid.count_doubtful_rows(self.tx)
        if not counts.with_confidence:
            return None

        condition = f"{grid.judgements.doubtful_name} = true"
        return {
            "count": counts.doubtful,
            "answered": counts.with_confidence,
            "below": self.ws.settings.doubtful,
            "hint": str(self.task.nouns.command("items", where=condition)),
        }

    @cached_property
    def syntax_error(self) -> str:
        """Return the syntax error of the task's file, or ""."""
        return self.task.user_file.describe_syntax_error()

    @cached_property
    def changed_source(self) -> str:
        """Return the name of the task's row file if it changed since it was read, else "".

        A file that is missing now does not count as changed.
        """
        record = self.task.record
        if record.items_stamp is None:
            return ""
        path = Path(record.items)
        stamp = read_file_stamp(path)
        return path.name if stamp not in {None, record.items_stamp} else ""

    @cached_property
    def other_answered_tasks(self) -> list[str]:
        """Return the names of the other tasks that have answers, as users type them."""
        answered_tasks = answers.list_tasks_with_versions(self.tx)
        return [
            other.subject
            for other in self.tasks
            if other.name in answered_tasks and other.name != self.task.name
        ]

    # Batches and runs

    @cached_property
    def batches(self) -> list[BatchRow]:
        """Return the batches of all tasks, oldest first."""
        return batches.list_batches_in_states(self.tx)

    @cached_property
    def task_batches(self) -> list[BatchRow]:
        """Return the batches of the task in use, oldest first."""
        return [batch for batch in self.batches if batch.task == self.task.name]

    @cached_property
    def dead_batches(self) -> list[BatchRow]:
        """Return the live batches of all tasks whose process is dead, without trials."""
        if all(batch.state is not BatchState.ASKING for batch in self.batches):
            return []
        dead_batches = batch_files.find_live_batches_of_dead_processes(self.ws.store, self.ws.locks)
        return [batch for batch in dead_batches if batch.mode.facts.claims_rows]

    @cached_property
    def runs(self) -> list[RunProgress]:
        """Return the batches and live runs of all tasks that are not over, without trials.

        Those of all processes are included. A `tag` knows how many requests it will make, unless
        two processes share it. Otherwise those of its batches count.
        """
        killed_numbers = {batch.run or batch.number for batch in self.dead_batches}
        now = self.ws.now()
        open_runs = []
        open_parts = [
            parts
            for parts in batches.group_batches_by_run(self.batches)
            if not all(part.is_finished for part in parts)
        ]
        live_run_counts = Counter(parts[0].task for parts in open_parts if parts[0].run is not None)
        for parts in open_parts:
            run = batches.combine_batches(parts)
            done_count = sum(batch_files.count_ended_requests(self.ws.data, part) for part in parts)
            tag_run = None
            if run.run is not None and live_run_counts[run.task] == 1:
                tag_run = runs.find_unfinished_tag_run(self.tx, run.task)
            request_count = (tag_run and tag_run.requests) or run.requests
            progress = RunProgress(
                batch=run,
                requests=request_count,
                done=min(done_count, request_count),
                rows=None if tag_run is None else tag_run.rows,
                is_killed=run.number in killed_numbers,
                provider=self.ws.provider,
                waits_since=None if self.ws.backend == "local" else _find_wait_start(run, now=now),
                now=now,
            )
            open_runs.append(progress)
        return open_runs

    @cached_property
    def task_runs(self) -> list[RunProgress]:
        """Return the batches and live runs of the task in use that are not over."""
        return [run for run in self.runs if run.batch.task == self.task.name]

    @cached_property
    def held_step(self) -> CommandHint | None:
        """Return the command for the held batches of the task in use; None if none is held.

        A result is worth a second download. If that brings the same result for all held batches,
        the first of them is given up, so that its rows are asked again.
        """
        held_numbers = [batch.number for batch in self.task_batches if batch.is_held]
        for number in held_numbers:
            if not batches.is_repeated_download_unchanged(self.tx, number):
                return self.task.nouns.command("batch-poll", batch=number)
        if held_numbers:
            return self.task.nouns.command("batch-cancel", batch=held_numbers[0])
        return None

    @cached_property
    def is_waiting_for_quota(self) -> bool:
        """Return whether an unsent batch of the task waits until submitted ones free their quota.

        That is if the API has refused a prepared batch before, or if it would refuse the oldest one
        by our own count. False if no batch of the task is submitted. Also False if it is unclear
        whether the API created a batch, because the next submission must find out first.
        """
        states = {batch.state for batch in self.task_batches}
        prepared_batches = [
            batch for batch in self.task_batches if batch.state is BatchState.PREPARED
        ]
        is_unclear = BatchState.SUBMITTING in states
        if not prepared_batches or is_unclear or BatchState.SUBMITTED not in states:
            return False
        if any(batch.tries and batch.upload for batch in prepared_batches):
            return True
        return bool(find_quota_refusal_reason(self.tx, prepared_batches[0], self.ws.settings))

    # Versions and costs

    @cached_property
    def model_name(self) -> str:
        """Return the name of the model that the task asks."""
        return self.task.choose_model_name(self.ws.settings, self.ws.backend)

    @property
    def version(self) -> str:
        """Return the version that asks. An unknown model must not stop an account of the state."""
        return f"{self.task.prompt_version}/{self.model_name.removeprefix('models/')}"

    @cached_property
    def pilot(self) -> PilotRow | None:
        """Return the newest pilot of that version, or None."""
        return runs.find_newest_pilot(self.tx, self.version)

    @cached_property
    def is_decided(self) -> bool:
        """Return whether the open rows are asked in the mode decide, as earlier rows were.

        Rows of this version, or all rows of earlier versions, were asked in the mode.
        """
        if has_rows_asked_by_decisions(self.tx, self.task.name, self.task.prompt_version):
            return True
        # A closed task that only decisions answered is asked by decisions in a new version, too.
        modes = {batch.mode for batch in self.task_batches if batch.mode.facts.claims_rows}
        return modes == {Mode.DECIDE} and self.task.is_closed

    @cached_property
    def task_spending(self) -> Spending:
        """Return the spending of the task in use, without its unsent and duplicate batches."""
        amounts = [
            calculate_batch_spending(batch)
            for batch in self.task_batches
            if batch.state is not BatchState.PREPARED
        ]
        return Spending(*map(sum, zip(Spending(), *amounts, strict=True)))

    @cached_property
    def spent(self) -> dict[str, float]:
        """Return {actual, estimated, lost} of all tasks in USD, for JSON.

        - `actual`: cost of the batches
        - `lost`: estimated cost of requests that may have been paid for and got no reply
        - `estimated`: `lost` and the estimated cost of running batches, without unsent batches
        """
        actual_cost = sum((batch.cost or 0.0 for batch in self.batches), 0.0)
        unsent_cost = sum(
            batch.estimated_cost for batch in self.batches if batch.state is BatchState.PREPARED
        )
        spending = sum_spending(self.tx)
        estimated_cost = max(0.0, spending.lost_usd + spending.under_way_usd - unsent_cost)
        return {
            "actual": round(actual_cost, 6),
            "estimated": round(estimated_cost, 6),
            "lost": round(spending.lost_usd, 6),
        }

    # Index

    @cached_property
    def index_document(self) -> dict[str, Any] | None:
        """Return the build in service of the task's index, for JSON, or None if it has no index."""
        if self.task.index is None or not is_task_indexed(self.ws, self.task):
            return None
        return self._describe_index(self.task.index)

    def _describe_index(self, indexed_task: IndexedTask) -> dict[str, Any]:
        """Return the build in service of an index, for JSON.

        Returns:
            `count`, `model`, `dim`, `behind` (number of outdated entries), `build`, `built_at`,
            `refused` (the name of each row whose text the embedding model refused, and the reason),
            and `model_differs` (whether the settings name another model or dim). If there is no
            build, `count` is 0, `refused` and `model_differs` are missing, and all members except
            `count` and `behind` are null. If the build is damaged, `problem` is the error message.
        """
        settings = self.ws.settings
        document: dict[str, Any] = {
            "count": 0,
            "model": None,
            "dim": None,
            "build": None,
            "built_at": None,
        }
        builds = Builds(settings.data, indexed_task.folder)
        try:
            manifest = builds.read_current_manifest()
            if manifest is not None:
                with builds.open_current() as index:
                    behind = count_stale_entries(
                        indexed_task, self.tx, index, must_compare=self.is_exact
                    )
                names = self.rows.read_names(self.tx, list(manifest.refused))
                model_name = settings.embedding_model.removeprefix("models/")
                return {
                    "count": manifest.count,
                    "model": manifest.model,
                    "dim": manifest.dim,
                    "behind": behind,
                    "build": manifest.number,
                    "built_at": manifest.built_at.isoformat(),
                    "refused": [
                        {"name": names.get(entry_id, entry_id), "reason": refused_text.reason}
                        for entry_id, refused_text in manifest.refused.items()
                    ],
                    "model_differs": (manifest.model, manifest.dim) != (model_name, settings.dim),
                }
        except AskrowsError as error:
            document["problem"] = error.message

        document["behind"] = count_stale_entries(indexed_task, self.tx, None)
        return document


@contextlib.contextmanager
def read_snapshot(
    ws: OpenWorkspace, task: Task, tasks: Sequence[Task], *, is_exact: bool = False
) -> Iterator[Snapshot]:
    """Read a snapshot for the length of a block; nothing is changed.

    The version of the task is read from its file.

    Args:
        ws: The workspace.
        task: The task in use.
        tasks: All tasks of the workspace.
        is_exact: Find changes by other programs, too: the index is always compared with the rows.
            If false, it is compared only if a command changed rows since the build.
    """
    # It is imported here, because most commands do not need it.
    from askrows.pipeline.tasks import task_registry

    with ws.store.read() as tx:
        present_task = task_registry.copy_with_version_in_file(task)
        file_version = "" if present_task is task else present_task.prompt_version
        yield Snapshot(ws, present_task, file_version, tasks, tx, is_exact)


def _find_wait_start(batch: BatchRow, *, now: datetime) -> datetime | None:
    """Return when a batch that waits at the API was sent, or None for any other batch.

    A time in the future was recorded by a wrong clock, and counts as now. A batch that the API
    reported as over does not wait.
    """
    is_submitted = batch.mode is Mode.BATCH and batch.state is BatchState.SUBMITTED
    if not is_submitted or parse_remote_state(batch.remote_word).is_final:
        return None
    return min(now, batch.create_sent_at or batch.submitted_at or batch.created_at)
